//! `[onehot(p)] <- [x]`, `2^(p-1) < x < 2^(p+1)`: where the highest set bit of a positive shared number is, or the position above it.
//!
//! To know the position exactly one has to know carries; a processor's floating-point unit predicts it from the operands, and so does
//! this. For shares `x0 + x1 = x mod 2^l` let `b = -x0` and `a = x1`: `x = a - b mod 2^l`, whose signed digits `a_i - b_i` read, from the top,
//! `0..0 1 -1..-1 t..` with `t` not `-1` (the leading 1 lies above the ring where the shares wrap, which needs no care). The last
//! digit before `t` is worth `2^p`, what follows it less than `2^p` in magnitude, and more than `-2^(p-1)`. So `p` is the first position with
//! `f_i = 1`, where `f_i = (a_i ^ b_i) (1 ^ (1 ^ a_(i-1)) b_(i-1))`.
//!
//! | client: `b = -x0`                          |                                | server: `a = x1`                                   |
//! |--------------------------------------------|--------------------------------|----------------------------------------------------|
//! | choices `b_(i-1)`, `b_i b_(i-1)`           | `<- leading-one/anticipate ->` | numbers `a_i (1 ^ a_(i-1))`, `1 ^ a_(i-1)`         |
//! | `f` = `a_i ^ b_i ^` the products           |                                | the same                                           |
//! | the first of `f` in each of about `sqrt(m)` groups | `<- lookup/open ->`    | the same                                           |
//! | the first group that has one               | `<- lookup/open ->`            | the same                                           |
//! | their products                             | `<- and/cross ->`              | the same                                           |
//!
//! Four turns, or two where a single group will do: up to 6 candidates, 10 by the latency schedule. For `0 < x < 2^(l-1)`; zero gives the zero vector; no leakage. Bits: `4 m` for `m`
//! candidates; for `n` groups of `g` besides `2 n g`, `2 n`, and `2 n (g + 1)`. From the pool: one-hots of `2^g` and `2^n`, COTs.
//! Source: leading-zero anticipation, Schmookler, Nowka (ARITH 2001), for the digits; this project for its use on shares.

use std::ops::Range;

use sotto_ot::Columns;
use sotto_shares::{Party, Ring, Share, XorShare};

use crate::{
    Error, Schedule, Session,
    and::and,
    cross::{self, Cross},
    digit::parity,
    lookup::lookup,
};

/// Bit `j` of the result stands for position `candidates.start + j`; positions outside the candidates do not occur.
///
/// # Panics
/// If there are no candidates, or more than the ring has bits.
pub async fn leading_one(s: &mut Session, x: &Share, candidates: Range<u32>) -> Result<XorShare, Error> {
    assert!(!candidates.is_empty() && candidates.end <= x.ring.bits(), "candidates within {:?}", x.ring);
    let f = anticipate(s, x, candidates).await?;
    highest(s, &f).await
}

/// The string `f`, whose first one from the top is the result.
async fn anticipate(s: &mut Session, x: &Share, candidates: Range<u32>) -> Result<XorShare, Error> {
    let (tag, width) = ("leading-one/anticipate", candidates.len());
    let numbers: Vec<u64> = match s.me {
        Party::Client => x.data.iter().map(|x| x.wrapping_neg()).collect(),
        Party::Server => x.data.clone(),
    };
    // This party's digit at every candidate position, and the one below it.
    let digits =
        numbers.iter().flat_map(|v| candidates.clone().map(move |i| ((v >> i) & 1, (v << 1 >> i) & 1)));
    let products = match s.me {
        Party::Client => {
            let choices: Vec<u8> = digits.flat_map(|(b, below)| [below as u8, (b & below) as u8]).collect();
            let c = Cross { tag, choices: &choices, widths_in: &[1], inputs: &[], widths_out: &[] };
            cross::add(s, c).await?.got
        }
        Party::Server => {
            let inputs: Vec<u64> = digits.flat_map(|(a, below)| [a & !below, 1 ^ below]).collect();
            let c = Cross { tag, choices: &[], widths_in: &[], inputs: &inputs, widths_out: &[1] };
            cross::add(s, c).await?.own
        }
    };
    let string = |(v, products): (&u64, &[u64])| {
        products
            .chunks(2)
            .enumerate()
            .fold(0, |f, (j, pair)| f | ((v >> (candidates.start + j as u32)) & 1 ^ pair[0] ^ pair[1]) << j)
    };
    Ok(XorShare::new(width as u32, numbers.iter().zip(products.chunks(2 * width)).map(string).collect()))
}

/// The highest set bit alone of each word; zero for zero.
async fn highest(s: &mut Session, f: &XorShare) -> Result<XorShare, Error> {
    let (groups, size) = grouping(s.schedule, f.width);
    let words = f.words.iter().flat_map(|w| (0..groups).map(move |g| w >> (g * size) & ((1 << size) - 1)));
    let inner = lookup(s, &XorShare::new(size, words.collect()), &highest_table(size)).await?;
    if groups == 1 {
        return Ok(inner);
    }
    let any = inner
        .words
        .chunks(groups as usize)
        .map(|g| g.iter().enumerate().fold(0, |w, (j, e)| w | parity(*e) << j));
    let outer = lookup(s, &XorShare::new(groups, any.collect()), &highest_table(groups)).await?;
    let outer = outer.words.iter().flat_map(|w| (0..groups).map(move |g| w >> g & 1)).collect();
    let both = and(s, &XorShare::new(1, outer), &inner).await?;
    let words = both.words.chunks(groups as usize);
    // The last group may reach beyond the word, where everything is zero.
    let mask = Ring::new(f.width).mask();
    let words = words.map(|g| g.iter().enumerate().fold(0, |w, (j, e)| w | e << (j as u32 * size)) & mask);
    Ok(XorShare::new(f.width, words.collect()))
}

/// Groups and their size, for a word of so many bits.
fn grouping(schedule: Schedule, width: u32) -> (u32, u32) {
    // Bits of a word that a single lookup serves.
    let single = match schedule {
        Schedule::Throughput => 6,
        Schedule::Latency => 10,
    };
    if width <= single {
        return (1, width);
    }
    let size = (1..).find(|g| g * g >= width).expect("a square is large enough");
    (width.div_ceil(size), size)
}

/// The highest set bit of every number of `bits` bits.
fn highest_table(bits: u32) -> Columns {
    let table: Vec<u64> = (0..1u64 << bits).map(ideal).collect();
    Columns::new(&table, bits)
}

/// The functionality on one element, or its double.
pub fn ideal(x: u64) -> u64 {
    if x == 0 { 0 } else { 1 << x.ilog2() }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        and, lookup,
        testing::{self, Bill, Holder, Lab},
    };

    pub(crate) fn bill(schedule: Schedule, n: usize, candidates: u32) -> Bill {
        let ((groups, size), m) = (grouping(schedule, candidates), 2 * candidates as usize * n);
        let lookups = groups as usize * n;
        let first = Bill::products((m, 0), (0, m)) + lookup::tests::bill(lookups, size);
        match groups {
            1 => first,
            _ => first + lookup::tests::bill(n, groups) + and::tests::bill(lookups, size),
        }
    }

    /// What one call draws from the pool beside COTs.
    pub(crate) async fn stock<P: Holder>(lab: &mut Lab<P>, n: usize, candidates: u32) {
        let (groups, size) = grouping(lab.me.session().schedule, candidates);
        if groups == 1 {
            return lab.stock_one_hots(size, Ring::new(size), n).await;
        }
        lab.stock_one_hots(size, Ring::new(size), groups as usize * n).await;
        lab.stock_one_hots(groups, Ring::new(groups), n).await;
    }

    /// Every sharing of every positive number of a small ring.
    #[test]
    fn every_pair_of_shares_is_within_a_position() {
        let ring = Ring::new(7);
        let (x0, x1): (Vec<u64>, Vec<u64>) = (0..1 << 14).map(|i| (i >> 7, i & 127)).unzip();
        let got = testing::run(async |lab| {
            let x = lab.given(&x0, &x1, ring);
            leading_one(&mut lab.me, &x, 0..7).await.unwrap()
        });
        for (i, got) in got.into_iter().enumerate() {
            let x = ring.reduce(x0[i] + x1[i]);
            if x < 64 {
                assert!(got == ideal(x) || x > 0 && got == 2 * ideal(x), "{x} from {}: {got:b}", x0[i]);
            }
        }
    }

    #[test]
    fn every_position_and_zero_at_the_stated_cost() {
        let cases = [(9, 3..9), (32, 13..28), (64, 0..64), (64, 29..63), (44, 20..21), (20, 9..19)];
        for (schedule, (l, candidates)) in
            [Schedule::Throughput, Schedule::Latency].into_iter().flat_map(|s| cases.clone().map(|c| (s, c)))
        {
            let (ring, start) = (Ring::new(l), candidates.start);
            // The string may have its first one right above the highest set bit.
            let powers = (candidates.start..candidates.end - 1).flat_map(|p| {
                let low = Ring::new(p.max(1)).reduce(0x5555_5555_5555_5555);
                [1u64 << p, (1 << p) | low, (2 << p) - 1]
            });
            let powers = powers.filter(|&x| l == 64 || x < 1 << (l - 1));
            let x: Vec<u64> = [0].into_iter().chain(powers).collect();
            let m = candidates.len() as u32;
            let (got, traffic) = testing::run(async |lab| {
                lab.me.schedule = schedule;
                stock(lab, x.len(), m).await;
                let x = lab.row(&x, ring);
                lab.measure(async |s| leading_one(s, &x, candidates.clone()).await).await
            });
            for (&x, got) in x.iter().zip(got) {
                let exact = ideal(x) >> start;
                assert!(got == exact || x > 0 && got == 2 * exact, "{x:b} gave {got:b} from {start}");
            }
            assert_eq!(traffic.cost, bill(schedule, x.len(), m).cost());
            let single = if schedule == Schedule::Throughput { 6 } else { 10 };
            assert_eq!(traffic.cost.turns, if m <= single { 2 } else { 4 });
        }
    }
}
