//! `[x < y] <- x, y` for private `l`-bit numbers: the millionaires' protocol; signs and carries from it.
//!
//! | client: digits of `x`     |                              | server: digits of `y`          |
//! |---------------------------|------------------------------|--------------------------------|
//! | index `x_i`               | `-- compare/digit ->`        | table `(z < y_i, z = y_i)`, z < 16 |
//! |                           | `<- compare/table --`        |                                |
//! | tree over digits: `lt = lt_hi ^ eq_hi lt_lo`, `eq = eq_hi eq_lo` by ANDs          |||
//!
//! `2 + 2 ceil(log2(ceil(l / 4)))` turns. Bits: `34` a digit (1-of-16 OT with one implied message, four
//! choice bits) and 6 an inner node. Exact; no leakage. From the pool: 4 COTs a
//! digit server to client, one COT an inner node and direction.
//! Source: CrypTFlow2 (2020/1002), figure 1, with the tree of Cheetah.

use sotto_ot::{bits_len, lookup_message_len};
use sotto_shares::{Party, Ring, Share, XorShare};

use crate::{Error, Session, and::and};

/// Bits per digit.
const DIGIT: u32 = 4;

/// This party's side of `x < y`: the client gives `x`, the server `y`, all below `2^bits`.
pub async fn less_than(s: &mut Session, mine: &[u64], bits: u32) -> Result<XorShare, Error> {
    let digits = bits.div_ceil(DIGIT) as usize;
    let leaves = leaves(s, mine, digits).await?;
    // Digit i of all elements; bit 0 is "less", bit 1 is "equal".
    let mut level: Vec<XorShare> = (0..digits)
        .map(|i| XorShare::new(2, leaves.iter().skip(i).step_by(digits).copied().collect()))
        .collect();
    while level.len() > 1 {
        level = merge(s, level).await?;
    }
    Ok(level[0].bit(0))
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
    let low = Ring::new(x.ring.bits() - 1);
    let mine: Vec<u64> = x.data.iter().map(|&x| low.reduce(x)).collect();
    let carries = carry(s, &mine, low.bits()).await?;
    let tops = XorShare::new(1, x.data.iter().map(|&v| x.ring.msb(v)).collect());
    Ok(carries.xor(&tops))
}

/// The functionality of [`less_than`].
pub fn ideal(x: u64, y: u64) -> bool {
    x < y
}

async fn leaves(s: &mut Session, mine: &[u64], digits: usize) -> Result<Vec<u64>, Error> {
    let items = mine.len() * digits;
    let digit = |x: &u64, i: usize| (x >> (DIGIT as usize * i)) & 15;
    let values: Vec<u64> = mine.iter().flat_map(|x| (0..digits).map(move |i| digit(x, i))).collect();
    let cots = items * DIGIT as usize;
    match s.me {
        Party::Client => {
            let (_, recv) = s.cots(0, cots).await?;
            let (derand, pads) = sotto_net::compute(|| recv.lookup_choose(DIGIT, &values, 2));
            s.ch.send("compare/digit", derand)?;
            let message = s.ch.recv("compare/table", lookup_message_len(items, DIGIT, 2)).await?;
            Ok(sotto_net::compute(|| pads.finish(&message)))
        }
        Party::Server => {
            let (send, _) = s.cots(cots, 0).await?;
            let table = |i: usize, z: u64| u64::from(z < values[i]) | u64::from(z == values[i]) << 1;
            let derand = s.ch.recv("compare/digit", bits_len(cots)).await?;
            let (message, own) = sotto_net::compute(|| send.lookup_send(DIGIT, &derand, table, 2));
            s.ch.send("compare/table", message)?;
            Ok(own)
        }
    }
}

/// Joins neighbours, lowest digits first; an odd one out waits for the next level.
async fn merge(s: &mut Session, level: Vec<XorShare>) -> Result<Vec<XorShare>, Error> {
    let n = level[0].len();
    let pairs = level.len() / 2;
    let selectors = (0..pairs).flat_map(|p| level[2 * p + 1].words.iter().map(|w| w >> 1)).collect();
    let vectors = (0..pairs).flat_map(|p| level[2 * p].words.iter().copied()).collect();
    let products = and(s, &XorShare::new(1, selectors), &XorShare::new(2, vectors)).await?;
    let mut next: Vec<XorShare> = (0..pairs)
        .map(|p| {
            let high = &level[2 * p + 1].words;
            let product = &products.words[p * n..(p + 1) * n];
            XorShare::new(2, high.iter().zip(product).map(|(high, product)| (high & 1) ^ product).collect())
        })
        .collect();
    next.extend(level.into_iter().skip(2 * pairs));
    Ok(next)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use sotto_shares::Shape;

    use super::*;
    use crate::{
        and,
        testing::{self, Bill, elements, log2_ceil},
    };

    /// A comparison of `n` pairs of `bits` bits.
    pub(crate) fn bill(n: usize, bits: u32) -> Bill {
        let mut digits = bits.div_ceil(DIGIT) as usize;
        let mut all = Bill::answered(4 * digits * n, 30 * digits * n, 4 * digits * n);
        while digits > 1 {
            all = all + and::tests::bill(digits / 2 * n, 2);
            digits = digits.div_ceil(2);
        }
        all
    }

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
            for bits in 1..=64 {
                let (x, y) = pairs(Ring::new(bits));
                let mine = if lab.me.me == Party::Client { x } else { y };
                let less = lab.measure(async |s| less_than(s, &mine, bits).await).await;
                all.push((less, lab.measure(async |s| carry(s, &mine, bits).await).await));
            }
            all
        });
        for (bits, ((less, first), (carries, second))) in (1..=64).zip(all) {
            let (x, y) = pairs(Ring::new(bits));
            for i in 0..x.len() {
                assert_eq!(less[i], u64::from(ideal(x[i], y[i])), "{} < {} in {bits} bits", x[i], y[i]);
                let sum = u128::from(x[i]) + u128::from(y[i]);
                assert_eq!(carries[i], (sum >> bits) as u64, "{} + {} in {bits} bits", x[i], y[i]);
            }
            let stated = bill(x.len(), bits);
            assert_eq!((first.cost, second.cost), (stated.cost(), stated.cost()));
            let digits = bits.div_ceil(4) as usize;
            assert_eq!(stated.bits(), x.len() * (34 * digits + 6 * (digits - 1)));
            assert_eq!(first.cost.turns, 2 + 2 * log2_ceil(digits));
        }
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
            assert_eq!(traffic.cost, bill(77, l - 1).cost());
        }
    }
}
