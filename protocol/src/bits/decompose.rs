//! `[onehot(u_i)] <- [x]`, where `u_i` are the top base-4 digits of `x mod 2^l`: an adder of two
//! private numbers.
//!
//! | client: `a = x0` | | server: `b = x1` |
//! |---|---|---|
//! | digits `a_i` | `<- decompose/cross ->` ([`mod@crate::indicators`]) | digits `b_i` |
//! | `g_i`: does `a_i + b_i` carry? | | the same |
//! | `p_i`: does it pass a carry on? | | the same |
//! | of top digits: which of 1, 2, 3 is `a_i + b_i mod 4`? | | the same |
//! | prefixes: `g = g_hi ^ p_hi g_lo`, `p = p_hi p_lo` | `<- and/cross ->` | the same |
//! | the next digit where a carry comes in | `<- and/cross ->` | the same |
//!
//! Of a digit 1, 2 and 3 have a bit each: zero is none of them. `2 + ceil(log2(m - 1))` turns for
//! `m` digits in all; 15 bits a top digit, 9 a lower one, 4 or 6 a node of the prefixes, 8 a top
//! digit for its carry. Exact; no leakage. From stock: COTs. Source: Sklansky (1960) for the
//! prefixes.

use std::{collections::BTreeSet, ops::Range};

use sotto_shares::{Share, XorShare};
use zeroize::Zeroizing;

use crate::{Error, Session, and, cost::CostModel, digit::parity, indicators};

const TAG: &str = "decompose/cross";

/// The `count` highest base-4 digits of `x`, the highest first. If the ring has an odd number of
/// bits, the lowest digit has one.
///
/// # Panics
/// If there is no digit below them, or none is asked for.
pub async fn decompose(s: &mut Session, x: &Share, count: usize) -> Result<Vec<XorShare>, Error> {
    let (l, n) = (x.ring().bits(), x.len());
    let digits = l.div_ceil(2) as usize;
    let low = digits - count;
    assert!(low > 0 && count > 0, "digits on both sides");
    // Digit i of all elements, then the next.
    let digit = |i: usize| move |v: &u64| (u128::from(*v) << (l % 2) >> (2 * i)) as u64 & 3;
    let of = |range: Range<usize>| -> Zeroizing<Vec<u64>> {
        Zeroizing::new(range.flat_map(|i| x.data().iter().map(digit(i))).collect())
    };
    let cots = [low * n, count * n].map(|items| indicators::cots(s.me, items, 2));
    let [of_low, of_top] = s.cots_for(cots).await?;
    let lower = indicators::begin(s, of_low, TAG, &of(0..low), 2, passing, 2)?;
    let upper = indicators::begin(s, of_top, TAG, &of(low..digits), 2, sum_digit, 4)?;
    let (lower, upper) = (lower.finish(s).await?, upper.finish(s).await?);

    // For each digit whether it carries (bit 0), and whether it passes a carry on (bit 1): then its
    // sum is 3.
    let of_sum = |w: u64| w >> 3 | (w >> 1 & 2);
    let mut states: Vec<XorShare> = [lower, upper.map_linear(2, of_sum)]
        .iter()
        .flat_map(|of| of.words().chunks(n).map(|words| XorShare::new(2, words.to_vec())))
        .collect();
    for level in prefixes(low - 1..digits - 1) {
        join(s, &mut states, &level).await?;
    }

    let one = s.me.server_only(1);
    let sums = upper.map_linear(3, |w| w & 7);
    // What a carry changes: 1, 2, 3 are what 0, 1, 2 were.
    let carried = |w: &u64| (w << 1 & 7) | (parity(*w) ^ one);
    let changes = sums.words().iter().map(|w| w ^ carried(w)).collect();
    let carries =
        states[low - 1..digits - 1].iter().flat_map(|state| state.words().iter().map(|w| w & 1)).collect();
    let changed = and::and(s, &XorShare::new(1, carries), &XorShare::new(3, changes)).await?;
    let sums = changed.xor(&sums);
    Ok(sums.words().chunks(n).rev().map(|words| XorShare::new(3, words.to_vec())).collect())
}

/// Whether two digits carry, and whether they pass a carry on.
fn passing(a: u64, b: u64) -> u64 {
    u64::from(a + b > 3) | u64::from(a + b == 3) << 1
}

/// Which of 1, 2, 3 the sum of two digits is, modulo 4, and whether they carry.
fn sum_digit(a: u64, b: u64) -> u64 {
    (1 << ((a + b) & 3)) >> 1 | u64::from(a + b > 3) << 3
}

/// The joins of one level of prefixes: pairs of a digit and the last one of the block below it.
struct Level {
    /// Those whose joint block reaches down to digit 0, into which nothing is carried.
    whole: Vec<(usize, usize)>,
    /// The others.
    parts: Vec<(usize, usize)>,
}

/// Level by level the joins for the prefixes that end at the digits `wanted`.
fn prefixes(wanted: Range<usize>) -> Vec<Level> {
    let levels = usize::BITS - (wanted.end - 1).leading_zeros();
    let mut needed: BTreeSet<usize> = wanted.collect();
    let mut all: Vec<Level> = (0..levels)
        .rev()
        .map(|level| {
            let joined = needed.iter().filter(|&i| i >> level & 1 == 1);
            let joined: Vec<_> = joined.map(|&i| (i, (i >> level << level) - 1)).collect();
            needed.extend(joined.iter().map(|pair| pair.1));
            let (whole, parts) = joined.into_iter().partition(|pair| pair.0 < 2 << level);
            Level { whole, parts }
        })
        .collect();
    all.reverse();
    all
}

async fn join(s: &mut Session, states: &mut [XorShare], level: &Level) -> Result<(), Error> {
    let n = states[0].len();
    let operands = |pairs: &[(usize, usize)], width: u32| {
        let passing =
            pairs.iter().flat_map(|&(high, _)| states[high].words().iter().map(|w| w >> 1)).collect();
        let below =
            pairs.iter().flat_map(|&(_, low)| states[low].words().iter().map(|w| w & ((1 << width) - 1)));
        (XorShare::new(1, passing), XorShare::new(width, below.collect()))
    };
    let (of_whole, of_parts) = (operands(&level.whole, 1), operands(&level.parts, 2));
    let cots = [&of_whole, &of_parts].map(|(passing, _)| (passing.len(), passing.len()));
    let [first, second] = s.cots_for(cots).await?;
    let whole = and::begin(s, first, &of_whole.0, &of_whole.1)?;
    let parts = and::begin(s, second, &of_parts.0, &of_parts.1)?;
    for (pairs, products) in [(&level.whole, whole.finish(s).await?), (&level.parts, parts.finish(s).await?)]
    {
        for (&(high, _), products) in pairs.iter().zip(products.words().chunks(n)) {
            // A product takes the place of what was passed on.
            let words = states[high].words().iter().zip(products).map(|(w, product)| (w & 1) ^ product);
            states[high] = XorShare::new(2, words.collect());
        }
    }
    Ok(())
}

/// The functionality on one element of `l` bits.
pub fn ideal(x: u64, l: u32, count: usize) -> Vec<u64> {
    let x = u128::from(x) << (l % 2);
    let digits = l.div_ceil(2) as usize;
    (digits - count..digits).rev().map(|i| (1 << (x >> (2 * i) & 3)) >> 1).collect()
}

/// What is sent for `n` elements of `l` bits, and which COTs it takes.
pub fn cost(n: usize, l: u32, count: usize) -> CostModel {
    let digits = l.div_ceil(2) as usize;
    let low = digits - count;
    let first = indicators::cost(low * n, 2, 2).in_parallel(indicators::cost(count * n, 2, 4));
    let level =
        |level: Level| and::cost(level.whole.len() * n, 1).in_parallel(and::cost(level.parts.len() * n, 2));
    let levels = prefixes(low - 1..digits - 1).into_iter().map(level);
    levels.fold(first, |all, level| all + level) + and::cost(count * n, 3)
}

#[cfg(test)]
mod tests {
    use sotto_shares::Ring;

    use super::*;
    use crate::testing::{self, elements, log2_ceil};

    #[test]
    fn digits_at_the_stated_cost() {
        for (l, count) in [(3, 1), (6, 2), (28, 8), (36, 8), (33, 16), (64, 31)] {
            let ring = Ring::new(l);
            let x = [elements(40, ring), vec![0, 1, ring.mask(), ring.mask() >> 1]].concat();
            let (got, traffic) = testing::run(async |lab| {
                let x = lab.row(&x, ring);
                lab.measure(async |s| decompose(s, &x, count).await).await
            });
            for (i, &x) in x.iter().enumerate() {
                assert_eq!(
                    got.iter().map(|digit| digit[i]).collect::<Vec<_>>(),
                    ideal(x, l, count),
                    "{x} of {l} bits"
                );
            }
            assert_eq!(traffic.cost, cost(x.len(), l, count).total());
            assert_eq!(traffic.cost.turns, 2 + log2_ceil(l.div_ceil(2) as usize - 1));
        }
    }

    /// Every sharing of every number of a small ring.
    #[test]
    fn every_pair_of_shares() {
        let ring = Ring::new(7);
        let (x0, x1): (Vec<u64>, Vec<u64>) = (0..1 << 14).map(|i| (i >> 7, i & 127)).unzip();
        let got = testing::run(async |lab| {
            let x = lab.given(&x0, &x1, ring);
            decompose(&mut lab.me, &x, 3).await.unwrap()
        });
        for i in 0..x0.len() {
            let want = ideal(ring.reduce(x0[i] + x1[i]), 7, 3);
            assert_eq!(got.iter().map(|digit| digit[i]).collect::<Vec<_>>(), want);
        }
    }
}
