//! `[onehot(t)] <- [x]`, `2^(p-1) < x < 2^(p+1)`, `t = p / step`: where the highest set bit of a
//! positive shared number is, or the position above it.
//!
//! To know the position exactly one has to know carries; a processor's floating-point unit predicts
//! it from the operands, and so does this. For shares `x0 + x1 = x mod 2^l` let `b = -x0` and `a =
//! x1`: `x = a - b mod 2^l`, whose signed digits `a_i - b_i` read, from the top, `0..0 1 -1..-1
//! t..` with `t` not `-1` (the leading 1 lies above the ring where the shares wrap, which needs no
//! care). The last digit before `t` is worth `2^p`, what follows it less than `2^p` in magnitude,
//! and more than `-2^(p-1)`. So `p` is the first position with `f_i = 1`, where `f_i = (a_i ^ b_i)
//! (1 ^ (1 ^ a_(i-1)) b_(i-1))`. Positions in places of `step` are told apart no further: `f_t`,
//! whether one of a place's `f_i` is 1, is a function of `step + 1` bits of either number.
//!
//! | client: `b = -x0` | | server: `a = x1` |
//! |---|---|---|
//! | bits of `b` at every place | `<- leading-one/anticipate ->` | bits of `a` |
//! | `f_t` ([`mod@crate::indicators`]) | | the same |
//! | the first of `f` in each group of places | `<- lookup/open ->` | the same |
//! | about `sqrt(m)` groups: the first that has one | `<- lookup/open ->` | the same |
//! | their products | `<- and/cross ->` | the same |
//!
//! Four turns, or two where a single group will do: up to 6 places, 12 by the latency schedule,
//! which takes two groups up to 22 places and three turns, as a group comes first if the other has
//! none. For `0 < x < 2^(l-1)`; zero gives the zero vector; no leakage. Bits: `2 (2^(step+1) - 1)
//! m` for `m` places; for `n` groups of `g` besides `2 n g`, then, for two, `2 (g + 1)`, for more
//! `2 n` and `2 n (g + 1)`. From stock: one-hots of `2^g` and `2^n`, COTs. Source: leading-zero
//! anticipation, Schmookler, Nowka (ARITH 2001), for the digits; this project for its use on
//! shares.

use std::ops::Range;

use sotto_ot::{Columns, RecvCots, SendCots};
use sotto_shares::{Party, Ring, Share, XorShare};
use zeroize::Zeroizing;

use crate::{Error, Schedule, Session, and::and, cost::CostModel, digit::parity, indicators, lookup::lookup};

/// Bit `j` of the result stands for place `places.start + j`, which is `step` positions from `step`
/// times that number on; other places do not occur.
///
/// # Panics
/// If there are no places, or they begin beyond the ring's bits.
pub async fn leading_one(
    s: &mut Session,
    x: &Share,
    places: Range<u32>,
    step: u32,
) -> Result<XorShare, Error> {
    let (send, recv) = cots(s.me, x.len(), places.len(), step);
    let cots = s.cots(send, recv).await?;
    let f = begin(s, cots, x, places, step)?.finish(s).await?;
    highest(s, &f).await
}

/// COTs that a party takes for its string as sender and as receiver.
pub(crate) fn cots(me: Party, n: usize, places: usize, step: u32) -> (usize, usize) {
    indicators::cots(me, n * places, step + 1)
}

/// A string `f` of which this party has sent its part, as in [`crate::cross`].
#[must_use]
pub(crate) struct Begun {
    places: u32,
    anticipated: indicators::Begun,
}

/// Sends this party's part of the string `f`, whose first one from the top is the result, on the
/// COTs that [`cots`] says.
pub(crate) fn begin(
    s: &mut Session,
    cots: (SendCots, RecvCots),
    x: &Share,
    places: Range<u32>,
    step: u32,
) -> Result<Begun, Error> {
    assert!(!places.is_empty() && (places.end - 1) * step < x.ring().bits(), "places within {:?}", x.ring());
    // The place's bits and the one below them.
    let mask = (2u64 << step) - 1;
    let digits = |v: u64| places.clone().map(move |t| (u128::from(v) << 1 >> (t * step)) as u64 & mask);
    let negate = s.me == Party::Client;
    let mine = x.data().iter().map(|&v| x.ring().reduce(if negate { v.wrapping_neg() } else { v }));
    let mine = Zeroizing::new(mine.flat_map(digits).collect::<Vec<_>>());
    let (tag, f) = ("leading-one/anticipate", |b, a| anticipated(b, a, step));
    let anticipated = indicators::begin(s, cots, tag, &mine, step + 1, f, 1)?;
    Ok(Begun { places: places.len() as u32, anticipated })
}

impl Begun {
    /// Receives the peer's part.
    pub(crate) async fn finish(self, s: &mut Session) -> Result<XorShare, Error> {
        let places = self.anticipated.finish(s).await?;
        let string = |of: &[u64]| of.iter().enumerate().fold(0, |f, (j, place)| f | place << j);
        Ok(XorShare::new(self.places, places.words().chunks(self.places as usize).map(string).collect()))
    }
}

/// Whether one of the `f_i` of a place is 1, given its bits of `b` and `a` and the ones below them.
fn anticipated(b: u64, a: u64, step: u32) -> u64 {
    let f = (a ^ b) & !((!a & b) << 1);
    u64::from(f >> 1 & ((1 << step) - 1) != 0)
}

/// The highest set bit alone of each word; zero for zero.
async fn highest(s: &mut Session, f: &XorShare) -> Result<XorShare, Error> {
    let (groups, size) = grouping(s.schedule, f.width());
    let inner = lookup(s, &split(f, groups, size), &highest_table(size)).await?;
    if groups <= 2 {
        let Some((none_above, lower)) = lower_of_two(s, &inner, groups) else {
            return Ok(inner);
        };
        return Ok(joined(&inner, &and(s, &none_above, &lower).await?, f.width()));
    }
    let any = inner.words().chunks(groups as usize);
    let any = any.map(|g| g.iter().enumerate().fold(0, |w, (j, e)| w | parity(*e) << j));
    let outer = lookup(s, &XorShare::new(groups, any.collect()), &highest_table(groups)).await?;
    let outer = outer.words().iter().flat_map(|w| (0..groups).map(move |g| w >> g & 1)).collect();
    let both = and(s, &XorShare::new(1, outer), &inner).await?;
    // The last group may reach beyond the word, where everything is zero.
    let mask = Ring::new(f.width()).mask();
    let word = |g: &[u64]| g.iter().enumerate().fold(0, |w, (j, e)| w | e << (j as u32 * size)) & mask;
    Ok(XorShare::new(f.width(), both.words().chunks(groups as usize).map(word).collect()))
}

/// The groups of each word, lowest first.
pub(crate) fn split(f: &XorShare, groups: u32, size: u32) -> XorShare {
    let words = f.words().iter().flat_map(|w| (0..groups).map(move |g| w >> (g * size) & ((1 << size) - 1)));
    XorShare::new(size, words.collect())
}

/// Of two groups, whether the upper one is zero, and the lower one, which counts in that case;
/// nothing if there is but one group.
pub(crate) fn lower_of_two(s: &Session, inner: &XorShare, groups: u32) -> Option<(XorShare, XorShare)> {
    if groups != 2 {
        return None;
    }
    let one = s.me.server_only(1);
    let (none_above, lower) = inner.words().chunks(2).map(|pair| (parity(pair[1]) ^ one, pair[0])).unzip();
    Some((XorShare::new(1, none_above), XorShare::new(inner.width(), lower)))
}

/// The upper of two groups, and below it the lower one where it counts.
pub(crate) fn joined(inner: &XorShare, lower: &XorShare, width: u32) -> XorShare {
    let mask = Ring::new(width).mask();
    let pairs = inner.words().chunks(2).zip(lower.words());
    XorShare::new(width, pairs.map(|(pair, low)| (pair[1] << inner.width() | low) & mask).collect())
}

/// Groups and their size, for a word of so many bits.
pub(crate) fn grouping(schedule: Schedule, width: u32) -> (u32, u32) {
    // Bits of a word that a single lookup serves, and two.
    let (single, double) = match schedule {
        Schedule::Throughput => (6, 0),
        Schedule::Latency => (12, 22),
    };
    match width {
        w if w <= single => (1, w),
        w if w <= double => (2, w.div_ceil(2)),
        w => {
            let size = (1..).find(|g| g * g >= w).expect("a square is large enough");
            (w.div_ceil(size), size)
        }
    }
}

/// The highest set bit of every number of `bits` bits.
pub(crate) fn highest_table(bits: u32) -> Columns {
    let table: Vec<u64> = (0..1u64 << bits).map(ideal).collect();
    Columns::new(&table, bits)
}

/// The functionality on one element for places of one position, or its double.
pub fn ideal(x: u64) -> u64 {
    if x == 0 { 0 } else { 1 << x.ilog2() }
}

/// What is sent, and which COTs it takes.
pub fn cost(schedule: Schedule, n: usize, places: u32, step: u32) -> CostModel {
    let (groups, size) = grouping(schedule, places);
    let lookups = groups as usize * n;
    let first = indicators::cost(places as usize * n, step + 1, 1) + crate::lookup::cost(lookups, size);
    match groups {
        1 => first,
        2 => first + crate::and::cost(n, size),
        _ => first + crate::lookup::cost(n, groups) + crate::and::cost(lookups, size),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::testing::{self, Holder, Lab};

    /// What one call draws from stock besides COTs.
    pub(crate) async fn stock<P: Holder>(lab: &mut Lab<P>, n: usize, places: u32) {
        let (groups, size) = grouping(lab.me.session().schedule, places);
        lab.stock_one_hots(size, Ring::new(size), groups as usize * n).await;
        if groups > 2 {
            lab.stock_one_hots(groups, Ring::new(groups), n).await;
        }
    }

    /// Every sharing of every positive number of a small ring.
    #[test]
    fn every_pair_of_shares_is_within_a_position() {
        let ring = Ring::new(7);
        let (x0, x1): (Vec<u64>, Vec<u64>) = (0..1 << 14).map(|i| (i >> 7, i & 127)).unzip();
        let got = testing::run(async |lab| {
            let x = lab.given(&x0, &x1, ring);
            leading_one(&mut lab.me, &x, 0..7, 1).await.unwrap()
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
        let cases =
            [(9, 3..9, 1), (32, 13..28, 1), (64, 0..64, 1), (64, 14..32, 2), (64, 9..22, 3), (44, 20..21, 1)];
        for (schedule, (l, places, step)) in
            [Schedule::Throughput, Schedule::Latency].into_iter().flat_map(|s| cases.clone().map(|c| (s, c)))
        {
            let ring = Ring::new(l);
            // The string may have its first one right above the highest set bit.
            let powers = (places.start * step..(places.end * step - 1).min(l - 1)).flat_map(|p| {
                let low = Ring::new(p.max(1)).reduce(0x5555_5555_5555_5555);
                [1u64 << p, (1 << p) | low, (2 << p) - 1]
            });
            let powers = powers.filter(|&x| x < 1 << (l - 1));
            let x: Vec<u64> = [0].into_iter().chain(powers).collect();
            let m = places.len() as u32;
            let (got, traffic) = testing::run(async |lab| {
                lab.me.schedule = schedule;
                stock(lab, x.len(), m).await;
                let x = lab.row(&x, ring);
                lab.measure(async |s| leading_one(s, &x, places.clone(), step).await).await
            });
            for (&x, got) in x.iter().zip(got) {
                let place = |p: u32| 1u64 << (p / step - places.start);
                let right = match x {
                    0 => got == 0,
                    x => got == place(x.ilog2()) || got == place(x.ilog2() + 1),
                };
                assert!(right, "{x:b} gave {got:b} of {places:?}");
            }
            assert_eq!(traffic.cost, cost(schedule, x.len(), m, step).total());
            let turns = match (schedule, m) {
                (Schedule::Throughput, 0..=6) | (Schedule::Latency, 0..=12) => 2,
                (Schedule::Latency, 13..=22) => 3,
                _ => 4,
            };
            assert_eq!(traffic.cost.turns, turns);
        }
    }
}
