//! `[x] mod 2^l -> [floor(x / 2^s)]`: three truncations, by what they cost and promise.
//!
//! | function                   | ring       | error   | cost                                  |
//! |----------------------------|------------|---------|---------------------------------------|
//! | [`Share::truncate_reduce`] | `l - s`    | 0 or -1 | none, local                           |
//! | [`truncate`]               | any        | 0 or +1 | one extension, `|x| < 2^(l-2)`        |
//! | [`faithful`]               | `<= l - s` | none    | carry of `s` bits, B2A: fresh sharing |
//!
//! The error of the first two is the carry of the low bits, *a function of the two shares*: the
//! functionality is `F(x0, x1) = floor(x0 / 2^s) + floor(x1 / 2^s)` (and one more), not "a random
//! error". Whatever is opened afterwards is opened under a fresh mask, so that carry needs no
//! simulation; only [`faithful`] may precede a value's revelation: its output is a function of `x`
//! alone, and the revealing party's share is then determined by the output and the receiver's own
//! share. `faithful`: turns of `compare` on `s` bits plus 1; exact on every ring element. Source:
//! Cheetah (2022/207), section 5.2; CrypTFlow2 (2020/1002), appendix B.

use sotto_shares::{Ring, Share};

use crate::{Error, Session, b2a::b2a, compare, cost::CostModel, extend::extend};

/// Drops `bits` fraction bits and brings the result to `ring`: rounded up or down, without bias.
///
/// Local truncation loses a unit on average: half by rounding down, half by the carry. It is added
/// back, since sums over many entries (softmax's denominators) would feel it.
pub async fn truncate(s: &mut Session, x: &Share, bits: u32, ring: Ring) -> Result<Share, Error> {
    let short = x.truncate_reduce(bits).add_public(s.me, 1);
    if ring <= short.ring() {
        return Ok(short.reduce(ring));
    }
    let [out] = extend(s, [(&short, ring)]).await?;
    Ok(out)
}

/// `floor(x / 2^bits)` modulo the small `ring`, without error.
///
/// # Panics
/// If `ring` is larger than the ring of `x` less `bits`.
pub async fn faithful(s: &mut Session, x: &Share, bits: u32, ring: Ring) -> Result<Share, Error> {
    let low = Ring::new(bits);
    let mine: Vec<u64> = x.data().iter().map(|&x| low.reduce(x)).collect();
    let carries = compare::carry(s, &mine, bits).await?;
    let carries = b2a(s, &carries, ring, x.frac() - bits, x.shape()).await?;
    Ok(&x.truncate_reduce(bits).reduce(ring) + &carries)
}

/// The functionality of [`faithful`].
pub fn ideal(x: u64, from: Ring, bits: u32, to: Ring) -> u64 {
    to.reduce((from.signed(x) >> bits) as u64)
}

/// The faithful one of `bits` bits into a ring of `to` bits.
pub fn cost(n: usize, bits: u32, to: u32) -> CostModel {
    crate::compare::cost(crate::Schedule::Throughput, n, bits) + crate::b2a::cost(n, &[to - 1])
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use sotto_shares::Shape;

    use super::*;
    use crate::testing::{self, CostModel, elements};

    /// `F(x0, x1)` of the module's documentation.
    #[test]
    fn truncation_is_the_function_of_the_shares() {
        let (from, to) = (Ring::new(7), Ring::new(9));
        let (x0, x1): (Vec<u64>, Vec<u64>) = (0..1 << 14).map(|i| (i >> 7, i & 127)).unzip();
        let (got, faithfully) = testing::run(async |lab| {
            let x = lab.given(&x0, &x1, from).with_frac(3);
            let short = lab.measure(async |s| truncate(s, &x, 3, to).await).await.0;
            (short, lab.measure(async |s| faithful(s, &x, 3, Ring::new(4)).await).await.0)
        });
        for i in 0..x0.len() {
            let x = from.reduce(x0[i] + x1[i]);
            assert_eq!(faithfully[i], ideal(x, from, 3, Ring::new(4)), "{x} from {}", x0[i]);
            if (-32..24).contains(&from.signed(x)) {
                let short = Ring::new(4);
                let of_shares = short.signed(short.reduce((x0[i] >> 3) + (x1[i] >> 3) + 1));
                assert_eq!(to.signed(got[i]), of_shares);
                assert!([0, 1].contains(&(of_shares - (from.signed(x) >> 3))), "floor or one more");
            }
        }
    }

    #[test]
    fn faithful_is_exact_on_the_whole_ring_at_the_stated_cost() {
        for (l, bits, to) in [(44, 20, 16), (44, 1, 43), (64, 28, 16), (64, 62, 2), (13, 4, 9)] {
            let (ring, to) = (Ring::new(l), Ring::new(to));
            let x = elements(99, ring);
            let (got, traffic) = testing::run(async |lab| {
                let x = lab.share(&x, ring, 63, Shape::new(9, 11));
                lab.measure(async |s| faithful(s, &x, bits, to).await).await
            });
            assert_eq!(got, x.iter().map(|&x| ideal(x, ring, bits, to)).collect::<Vec<_>>());
            assert_eq!(traffic.cost, cost(99, bits, to.bits()).total());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever the ring, the shift and the sharing are.
        #[test]
        fn faithful_knows_no_shares(
            l in 3u32..=64,
            cut in any::<(u32, u32)>(),
            shares in prop::collection::vec(any::<(u64, u64)>(), 1..40),
        ) {
            let ring = Ring::new(l);
            let bits = 1 + cut.0 % (l - 2);
            let to = Ring::new(2 + cut.1 % (l - bits - 1));
            let (x0, x1): (Vec<u64>, Vec<u64>) =
                shares.iter().map(|&(a, b)| (ring.reduce(a), ring.reduce(b))).unzip();
            let got = testing::run(async |lab| {
                let x = lab.given(&x0, &x1, ring).with_frac(64);
                faithful(&mut lab.me, &x, bits, to).await.unwrap()
            });
            for (i, got) in got.into_iter().enumerate() {
                prop_assert_eq!(got, ideal(ring.reduce(x0[i].wrapping_add(x1[i])), ring, bits, to));
            }
        }
    }

    #[test]
    fn a_truncation_to_a_smaller_ring_is_local() {
        let x = elements(9, Ring::new(44));
        let (got, traffic) = testing::run(async |lab| {
            let x = lab.row(&x, Ring::new(44));
            lab.measure(async |s| truncate(s, &x, 12, Ring::new(32)).await).await
        });
        for (got, &x) in got.into_iter().zip(&x) {
            let short = Ring::new(32).reduce(x >> 12);
            assert!(got == short || got == Ring::new(32).reduce(short + 1));
        }
        assert_eq!(traffic.cost, CostModel::default().total());
    }
}
