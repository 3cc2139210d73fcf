//! `[x < y] <- x, y` for private `l`-bit numbers: the millionaires' protocol; signs and carries
//! from it.
//!
//! Digits of `k` bits compare to `(x_i < y_i, x_i = y_i)`, by OT of a table or, in one turn, by
//! products with indicators:
//!
//! | client: digits of `x` | | server: digits of `y` |
//! |---|---|---|
//! | `x_i` | table of `(x_i < y_i, x_i = y_i)` ([`mod@crate::joint_table`]) | `y_i` |
//! | or `x_i`, in one turn | `<- compare/cross ->` ([`mod@crate::indicators`]) | `y_i` |
//!
//! and then a tree over digits: `lt = lt_hi ^ eq_hi lt_lo`, `eq = eq_hi eq_lo` by ANDs
//! ([`mod@crate::and`]), no `eq` where the lowest digit is concerned.
//!
//! | schedule | `k` | digits by | turns | bits a digit, an inner node, a lowest one |
//! |---|---|---|---|---|
//! | throughput, `l > 16` | 2 | tables | `2 + ceil(log2(l / 2))` | 8, 6, 4 |
//! | throughput | 2 | indicators | `1 + ceil(log2(l / 2))` | 9, 6, 4 |
//! | latency | 2 to 4 | indicators | 2, or `1 + ceil(log2(l / 4))` | `3 (2^k - 1)`, 6, 4 |
//!
//! By the latency schedule the last three or four digits are joined by a table at once
//! ([`crate::lookup`]). Exact; no leakage. From stock: `k` COTs a digit in one direction or the
//! other, or `2^k - 1`, server to client; one COT an inner node and direction; one-hots for tables.
//! Source: CrypTFlow2 (2020/1002), figure 1, with the tree of Cheetah; indicators: this project.

use std::ops::RangeInclusive;

use sotto_ot::Columns;
use sotto_shares::{Party, Ring, Share, XorShare};

use crate::{
    Error, Schedule, Session, and,
    cost::CostModel,
    indicators::{self, indicators},
    joint_table::joint_table,
    lookup::lookup,
};

/// This party's side of `x < y`: the client gives `x`, the server `y`, all below `2^bits`.
pub async fn less_than(s: &mut Session, mine: &[u64], bits: u32) -> Result<XorShare, Error> {
    let k = digit_bits(s.schedule, bits);
    by_digits(s, mine, bits, k, digits_by(s.schedule, bits)).await
}

async fn by_digits(s: &mut Session, mine: &[u64], bits: u32, k: u32, by: Digits) -> Result<XorShare, Error> {
    let digits = bits.div_ceil(k) as usize;
    // Digit i of all elements, then the next.
    let digit = |i: usize| move |x: &u64| (x >> (k as usize * i)) & ((1 << k) - 1);
    let values: Vec<u64> = (0..digits).flat_map(|i| mine.iter().map(digit(i))).collect();
    let leaves = match by {
        Digits::Tables => joint_table(s, &values, k, relation, 2).await?,
        Digits::Indicators => indicators(s, "compare/cross", &values, k, relation, 2).await?,
    };
    // Bit 0 is "less", bit 1 is "equal".
    let mut level: Vec<XorShare> =
        leaves.words().chunks(mine.len().max(1)).map(|words| XorShare::new(2, words.to_vec())).collect();
    if level.is_empty() {
        return Ok(XorShare::new(1, vec![]));
    }
    while level.len() > 1 {
        if s.schedule == Schedule::Latency && JOINED.contains(&level.len()) {
            return join(s, &level).await;
        }
        level = merge(s, level).await?;
    }
    Ok(level[0].bit(0))
}

/// Digits that a table joins at once.
const JOINED: RangeInclusive<usize> = 3..=4;

/// How digits are compared.
enum Digits {
    Tables,
    Indicators,
}

/// Where there are few digits, the turn that indicators save is worth their bits.
fn digits_by(schedule: Schedule, bits: u32) -> Digits {
    match schedule {
        Schedule::Throughput if bits > 16 => Digits::Tables,
        _ => Digits::Indicators,
    }
}

/// Bits of a digit.
fn digit_bits(schedule: Schedule, bits: u32) -> u32 {
    match schedule {
        Schedule::Throughput => 2,
        Schedule::Latency => (2..=4).min_by_key(|&k| latency_cost(bits, k)).expect("three sizes"),
    }
}

/// Levels of the tree over digits of `k` bits, and about what the digits cost.
fn latency_cost(bits: u32, k: u32) -> (u32, u32) {
    fn levels(digits: u32) -> u32 {
        match digits {
            1 => 0,
            2..=4 => 1,
            _ => 1 + levels(digits.div_ceil(2)),
        }
    }
    let digits = bits.div_ceil(k);
    // A table for four digits has 128 entries.
    (levels(digits), digits * ((1 << k) - 1) * 3 + if digits == 4 { 200 } else { 0 })
}

/// Whether the sum of the two parties' numbers below `2^bits` reaches `2^bits`.
pub async fn carry(s: &mut Session, mine: &[u64], bits: u32) -> Result<XorShare, Error> {
    let ring = Ring::new(bits);
    match s.me {
        Party::Client => {
            let complement: Vec<u64> = mine.iter().map(|x| ring.mask() - x).collect();
            less_than(s, &complement, bits).await
        }
        Party::Server => less_than(s, mine, bits).await,
    }
}

/// The sign bit of each shared number: 1 where it is negative.
pub async fn is_negative(s: &mut Session, x: &Share) -> Result<XorShare, Error> {
    let low = Ring::new(x.ring().bits() - 1);
    let mine: Vec<u64> = x.data().iter().map(|&x| low.reduce(x)).collect();
    let carries = carry(s, &mine, low.bits()).await?;
    let tops = XorShare::new(1, x.data().iter().map(|&v| x.ring().msb(v)).collect());
    Ok(carries.xor(&tops))
}

/// The sign bits of a handful of numbers, of at least three bits, in two turns whatever it costs:
/// two digits.
pub(crate) async fn few_are_negative(s: &mut Session, x: &Share) -> Result<XorShare, Error> {
    let low = Ring::new(x.ring().bits() - 1);
    let mask = if s.me == Party::Client { low.mask() } else { 0 };
    let mine: Vec<u64> = x.data().iter().map(|&x| low.reduce(x) ^ mask).collect();
    let carries = by_digits(s, &mine, low.bits(), low.bits().div_ceil(2), Digits::Indicators).await?;
    let tops = XorShare::new(1, x.data().iter().map(|&v| x.ring().msb(v)).collect());
    Ok(carries.xor(&tops))
}

/// What [`few_are_negative`] sends for `n` numbers of `l` bits, and which COTs it takes.
pub(crate) fn few_cost(n: usize, l: u32) -> CostModel {
    indicators::cost(2 * n, (l - 1).div_ceil(2), 2) + and::cost(n, 1).in_parallel(and::cost(0, 2))
}

/// The functionality of [`less_than`].
pub fn ideal(x: u64, y: u64) -> bool {
    x < y
}

/// `(z < y, z = y)` as two bits.
fn relation(z: u64, y: u64) -> u64 {
    u64::from(z < y) | u64::from(z == y) << 1
}

/// "Less" of three or four digits by a table, lowest digit first; of that one only "less" counts.
async fn join(s: &mut Session, level: &[XorShare]) -> Result<XorShare, Error> {
    let bits = 2 * level.len() as u32 - 1;
    let shift = |i: usize| if i == 0 { 0 } else { 2 * i as u32 - 1 };
    let place = |i: usize, word: u64| (word & if i == 0 { 1 } else { 3 }) << shift(i);
    let index =
        |at: usize| level.iter().enumerate().fold(0, |all, (i, digit)| all | place(i, digit.words()[at]));
    let index = XorShare::new(bits, (0..level[0].len()).map(index).collect());
    let less = |index: u64| {
        let digits = (0..level.len()).map(|i| index >> shift(i) & if i == 0 { 1 } else { 3 });
        digits.fold(0, |low, digit| digit & 1 | (digit >> 1) & low)
    };
    let table: Vec<u64> = (0..1 << bits).map(less).collect();
    lookup(s, &index, &Columns::new(&table, 1)).await
}

/// Joins neighbours, lowest digits first; an odd one out waits for the next level. Of the lowest
/// digit only "less" counts.
async fn merge(s: &mut Session, level: Vec<XorShare>) -> Result<Vec<XorShare>, Error> {
    let n = level[0].len();
    let pairs = level.len() / 2;
    let selectors = (1..pairs).flat_map(|p| level[2 * p + 1].words().iter().map(|w| w >> 1)).collect();
    let vectors = (1..pairs).flat_map(|p| level[2 * p].words().iter().copied()).collect();
    let [of_lowest, of_others] = s.cots_for([(n, n), ((pairs - 1) * n, (pairs - 1) * n)]).await?;
    let lowest = and::begin(s, of_lowest, &level[1].bit(1), &level[0].bit(0))?;
    let others = and::begin(s, of_others, &XorShare::new(1, selectors), &XorShare::new(2, vectors))?;
    let (lowest, others) = (lowest.finish(s).await?, others.finish(s).await?);
    let products = lowest.words().chunks(n).chain(others.words().chunks(n));
    let join = |(pair, products): (&[XorShare], &[u64])| {
        let high = pair[1].words().iter().map(|w| w & 1);
        XorShare::new(2, high.zip(products).map(|(high, product)| high ^ product).collect())
    };
    let mut next: Vec<XorShare> = level.chunks_exact(2).zip(products).map(join).collect();
    next.extend(level.into_iter().skip(2 * pairs));
    Ok(next)
}

/// What is sent for `n` comparisons of `bits` bits, and which COTs it takes.
pub fn cost(schedule: Schedule, n: usize, bits: u32) -> CostModel {
    let k = digit_bits(schedule, bits);
    let mut digits = bits.div_ceil(k) as usize;
    let mut all = match digits_by(schedule, bits) {
        Digits::Tables => crate::joint_table::cost(digits * n, k, 2),
        Digits::Indicators => indicators::cost(digits * n, k, 2),
    };
    while digits > 1 {
        if schedule == Schedule::Latency && JOINED.contains(&digits) {
            return all + crate::lookup::cost(n, 2 * digits as u32 - 1);
        }
        all = all + crate::and::cost(n, 1).in_parallel(crate::and::cost((digits / 2 - 1) * n, 2));
        digits = digits.div_ceil(2);
    }
    all
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use sotto_shares::Shape;

    use super::*;
    use crate::testing::{self, Lab, elements, log2_ceil};

    /// Pairs around every relation: equal, neighbours, extremes, random.
    fn pairs(ring: Ring) -> (Vec<u64>, Vec<u64>) {
        let x = elements(24, ring);
        let near = |d: u64| x.iter().map(move |&x| ring.reduce(x.wrapping_add(d)));
        let y = near(0).chain(near(1)).chain(near(u64::MAX)).chain(x.iter().rev().copied()).collect();
        (x.iter().cycle().take(4 * x.len()).copied().collect(), y)
    }

    #[test]
    fn every_width_compares_and_carries_at_the_stated_cost() {
        let all = testing::run(async |lab| {
            let mut all = vec![];
            for (schedule, bits) in cases() {
                let (x, y) = pairs(Ring::new(bits));
                lab.me.schedule = schedule;
                stock(lab, 2 * x.len(), bits).await;
                let mine = if lab.me.me == Party::Client { x } else { y };
                let less = lab.measure(async |s| less_than(s, &mine, bits).await).await;
                all.push((less, lab.measure(async |s| carry(s, &mine, bits).await).await));
            }
            all
        });
        for ((schedule, bits), ((less, first), (carries, second))) in cases().zip(all) {
            let (x, y) = pairs(Ring::new(bits));
            for i in 0..x.len() {
                assert_eq!(less[i], u64::from(ideal(x[i], y[i])), "{} < {} in {bits} bits", x[i], y[i]);
                let sum = u128::from(x[i]) + u128::from(y[i]);
                assert_eq!(carries[i], (sum >> bits) as u64, "{} + {} in {bits} bits", x[i], y[i]);
            }
            let stated = cost(schedule, x.len(), bits);
            assert_eq!((first.cost, second.cost), (stated.total(), stated.total()));
            let (digits, levels) = (bits.div_ceil(2) as usize, log2_ceil(bits.div_ceil(2) as usize));
            if schedule == Schedule::Throughput {
                let few = u64::from(bits <= 16);
                assert_eq!(first.cost.turns, 2 - few + levels);
                assert_eq!(stated.bits(), x.len() * ((14 + few as usize) * digits - 6 - 2 * levels as usize));
            } else {
                let most = 1 + log2_ceil(bits.div_ceil(4) as usize);
                assert!(first.cost.turns <= if bits <= 12 { 2 } else { most });
            }
        }
    }

    /// What one comparison takes besides COTs.
    pub(crate) async fn stock(lab: &mut Lab, n: usize, bits: u32) {
        if lab.me.schedule == Schedule::Throughput {
            return;
        }
        let mut digits = bits.div_ceil(digit_bits(lab.me.schedule, bits)) as usize;
        while digits > *JOINED.end() {
            digits = digits.div_ceil(2);
        }
        if JOINED.contains(&digits) {
            let k = 2 * digits as u32 - 1;
            lab.stock_one_hots(k, Ring::new(k), n).await;
        }
    }

    fn cases() -> impl Iterator<Item = (Schedule, u32)> {
        [Schedule::Throughput, Schedule::Latency]
            .into_iter()
            .flat_map(|s| (1..=64).map(move |bits| (s, bits)))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

        /// `x < y`, `y < x` and `x = y` exclude each other and leave nothing out.
        #[test]
        fn one_of_three_holds(bits in 1u32..=64, pairs in prop::collection::vec(any::<(u64, u64, bool)>(), 1..40)) {
            let ring = Ring::new(bits);
            let x: Vec<u64> = pairs.iter().map(|p| ring.reduce(p.0)).collect();
            let y: Vec<u64> = pairs.iter().map(|p| if p.2 { ring.reduce(p.0) } else { ring.reduce(p.1) }).collect();
            let (less, more) = testing::run(async |lab| {
                let (a, b) = if lab.me.me == Party::Client { (&x, &y) } else { (&y, &x) };
                let less = less_than(&mut lab.me, a, bits).await.unwrap();
                (less, less_than(&mut lab.me, b, bits).await.unwrap())
            });
            for i in 0..x.len() {
                prop_assert_eq!(less[i] + more[i] + u64::from(x[i] == y[i]), 1);
                prop_assert_eq!(less[i] == 1, ideal(x[i], y[i]));
            }
        }
    }

    #[test]
    fn signs_are_the_top_bits() {
        for l in [2, 13, 44, 64] {
            let ring = Ring::new(l);
            let x = elements(77, ring);
            let (got, traffic) = testing::run(async |lab| {
                let x = lab.share(&x, ring, 0, Shape::new(7, 11));
                lab.measure(async |s| is_negative(s, &x).await).await
            });
            assert_eq!(got, x.iter().map(|&x| ring.msb(x)).collect::<Vec<_>>());
            assert_eq!(traffic.cost, cost(Schedule::Throughput, 77, l - 1).total());
        }
        for l in [3, 12, 16, 20] {
            let ring = Ring::new(l);
            let x =
                [elements(5, ring), vec![0, ring.mask(), ring.mask() >> 1, (ring.mask() >> 1) + 1]].concat();
            let (got, traffic) = testing::run(async |lab| {
                let x = lab.row(&x, ring);
                lab.measure(async |s| few_are_negative(s, &x).await).await
            });
            assert_eq!(got, x.iter().map(|&x| ring.msb(x)).collect::<Vec<_>>());
            assert_eq!((traffic.cost, traffic.cost.turns), (few_cost(9, l).total(), 2));
        }
    }
}
