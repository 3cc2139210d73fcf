//! `[x]_{l'} <- [x]_l`, `l' > l`: the same number in a larger ring, if it is known to lie within a
//! quarter of the ring, or, unsigned, within half of it.
//!
//! | client: `x0`, `m0 = msb(x0)` |                         | server: `x1`, `m1 = msb(x1)` |
//! |------------------------------|-------------------------|------------------------------|
//! | choice `1 - m0`              | `<- extend/cross ->`    | number `1 - m1`              |
//! | `x0 + got 2^l`               |                         | `x1 + (own - 1) 2^l`         |
//!
//! For `0 <= x < 2^(l-1)` the shares wrap exactly if at least one of them has its top bit set, and
//! `m0 or m1 = 1 - (1 - m0)(1 - m1)`. A signed `|x| < 2^(l-2)` is moved by `2^(l-2)` first. One
//! turn and `l' - l + 1` bits; exact inside the bound, outside it right or off by `2^l`, as the
//! shares decide; no leakage. From stock: one COT an element, server to client. Source: SIRNN
//! (2021/459), section 3.2, with the known-MSB case of Cheetah.

use sotto_ot::{CotPads, RecvCots, SendCots};
use sotto_shares::{Party, Ring, Share};

use crate::{
    Error, Session,
    cost::CostModel,
    cross::{self, Cross},
};

const TAG: &str = "extend/cross";

/// Extends signed numbers, `|x| < 2^(l-2)`; shares of several rings but one length share the turn.
///
/// # Panics
/// If a target ring is not larger, a ring has one bit, or lengths differ.
pub async fn extend<const K: usize>(s: &mut Session, x: [(&Share, Ring); K]) -> Result<[Share; K], Error> {
    let bias = |x: &Share| 1u64 << (x.ring().bits() - 2);
    let moved = x.map(|(x, to)| (x.add_public(s.me, bias(x)), to));
    let mut i = 0;
    let wide = extend_positive(s, moved.each_ref().map(|(x, to)| (x, *to))).await?;
    Ok(wide.map(|wide| {
        let out = wide.add_public(s.me, bias(x[i].0).wrapping_neg());
        i += 1;
        out
    }))
}

/// As [`extend`], tensors of different lengths, in the same turn but in frames of their own.
///
/// # Panics
/// If a target ring is not larger.
pub async fn extend_each<const K: usize>(
    s: &mut Session,
    x: [(&Share, Ring); K],
) -> Result<[Share; K], Error> {
    let needed = x.map(|(x, _)| cots(s.me, x.len()));
    let mut cots = s.cots_for(needed).await?.into_iter();
    let mut begun = vec![];
    for (x, to) in x {
        begun.push(begin_signed(s, cots.next().expect("one a tensor"), x, to)?);
    }
    let mut out = vec![];
    for begun in begun {
        out.push(begun.finish(s).await?);
    }
    Ok(out.try_into().ok().expect("as many as given"))
}

/// An extension of signed numbers of which this party has sent its part.
#[must_use]
pub(crate) struct BegunSigned {
    bias: u64,
    moved: Begun<1>,
}

/// Sends this party's part of [`extend`], on the COTs that [`cots`] says.
pub(crate) fn begin_signed(
    s: &mut Session,
    cots: (SendCots, RecvCots),
    x: &Share,
    to: Ring,
) -> Result<BegunSigned, Error> {
    let bias = 1u64 << (x.ring().bits() - 2);
    let moved = begin(s, cots, [(&x.add_public(s.me, bias), to)])?;
    Ok(BegunSigned { bias, moved })
}

impl BegunSigned {
    /// Receives the peer's part.
    pub(crate) async fn finish(self, s: &mut Session) -> Result<Share, Error> {
        let [wide] = self.moved.finish(s).await?;
        Ok(wide.add_public(s.me, self.bias.wrapping_neg()))
    }
}

/// Extends numbers `0 <= x < 2^(l-1)`.
///
/// # Panics
/// If a target ring is not larger, or lengths differ.
pub async fn extend_positive<const K: usize>(
    s: &mut Session,
    x: [(&Share, Ring); K],
) -> Result<[Share; K], Error> {
    let (send, recv) = cots(s.me, K * x[0].0.len());
    let cots = s.cots(send, recv).await?;
    begin(s, cots, x)?.finish(s).await
}

/// COTs that a party takes as sender and as receiver, for extensions of `n` numbers in all.
pub(crate) fn cots(me: Party, n: usize) -> (usize, usize) {
    match me {
        Party::Client => (0, n),
        Party::Server => (n, 0),
    }
}

/// Extensions of which this party has sent its part, as in [`crate::cross`].
#[must_use]
pub(crate) struct Begun<const K: usize> {
    x: [(Share, Ring); K],
    no_wrap: cross::Begun<CotPads>,
}

/// Sends this party's part of [`extend_positive`], on the COTs that [`cots`] says.
pub(crate) fn begin<const K: usize>(
    s: &mut Session,
    cots: (SendCots, RecvCots),
    x: [(&Share, Ring); K],
) -> Result<Begun<K>, Error> {
    let n = x[0].0.len();
    for (x, to) in x {
        assert!(to > x.ring() && x.len() == n, "extension of {n} elements to a larger ring");
    }
    let widths = x.map(|(x, to)| to.bits() - x.ring().bits());
    let clear: Vec<u64> = (0..n).flat_map(|i| x.map(|(x, _)| 1 - x.ring().msb(x.data()[i]))).collect();
    let choices: Vec<u8> = clear.iter().map(|&m| m as u8).collect();
    let c = match s.me {
        Party::Client => {
            Cross { tag: TAG, choices: &choices, widths_in: &widths, inputs: &[], widths_out: &[] }
        }
        Party::Server => {
            Cross { tag: TAG, choices: &[], widths_in: &[], inputs: &clear, widths_out: &widths }
        }
    };
    let no_wrap = cross::begin_add(s, cots, c)?;
    Ok(Begun { x: x.map(|(x, to)| (x.duplicate(), to)), no_wrap })
}

impl<const K: usize> Begun<K> {
    /// Receives the peer's part.
    pub(crate) async fn finish(self, s: &mut Session) -> Result<[Share; K], Error> {
        let products = self.no_wrap.finish(s).await?;
        let (no_wrap, one) = match s.me {
            Party::Client => (products.got, 0),
            Party::Server => (products.own, 1u64),
        };
        let mut k = 0;
        Ok(self.x.map(|(x, to)| {
            let data = x.data().iter().enumerate().map(|(i, &x_i)| {
                let wraps = one.wrapping_sub(no_wrap[i * K + k]);
                to.reduce(x_i.wrapping_sub(wraps << x.ring().bits()))
            });
            let out = Share::new(to, x.frac(), x.shape(), data.collect());
            k += 1;
            out
        }))
    }
}

/// The functionality on one element.
pub fn ideal(x: u64, from: Ring, to: Ring) -> u64 {
    to.reduce(from.signed(x) as u64)
}

/// What is sent for `n` elements of each of several tensors, from and to rings of these bits, and
/// which COTs it takes.
pub fn cost(n: usize, rings: &[(u32, u32)]) -> CostModel {
    let (k, bits) = (rings.len() * n, rings.iter().map(|(from, to)| (to - from) as usize * n).sum());
    CostModel::products((k, 0), (0, bits))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::testing::{self, elements};

    /// All pairs of shares of a six-bit ring: exact inside the bound, off by a multiple of `2^6`
    /// outside it.
    #[test]
    fn every_pair_of_shares_is_exact_inside_the_bound() {
        let (from, to) = (Ring::new(6), Ring::new(10));
        let (x0, x1): (Vec<u64>, Vec<u64>) = (0..1 << 12).map(|i| (i >> 6, i & 63)).unzip();
        let (signed, unsigned) = testing::run(async |lab| {
            let x = lab.given(&x0, &x1, from);
            let ([signed], _) = lab.measure(async |s| extend(s, [(&x, to)]).await).await;
            let ([unsigned], _) = lab.measure(async |s| extend_positive(s, [(&x, to)]).await).await;
            (signed, unsigned)
        });
        for (i, (got, positive)) in signed.into_iter().zip(unsigned).enumerate() {
            let x = from.reduce(x0[i] + x1[i]);
            assert_eq!((from.reduce(got), from.reduce(positive)), (x, x), "congruent in any case");
            if (-16..16).contains(&from.signed(x)) {
                assert_eq!(got, ideal(x, from, to), "{x}");
            }
            if x < 32 {
                assert_eq!(positive, x);
            } else {
                assert!(positive == x || positive == to.reduce(x.wrapping_sub(64)), "{x} gave {positive}");
            }
        }
    }

    #[test]
    fn wide_rings_at_the_stated_cost() {
        let n = 51;
        for (l, to) in [(2, 3), (18, 44), (34, 64), (44, 58), (63, 64)] {
            let (from, to) = (Ring::new(l), Ring::new(to));
            let half = Ring::new(l - 1);
            let x: Vec<u64> = elements(n, half).iter().map(|&x| from.reduce(half.signed(x) as u64)).collect();
            let ([a, b], traffic) = testing::run(async |lab| {
                let (a, b) = (lab.row(&x, from), lab.row(&x, from));
                lab.measure(async |s| extend(s, [(&a, to), (&b, Ring::new(64))]).await).await
            });
            assert_eq!(a, x.iter().map(|&x| ideal(x, from, to)).collect::<Vec<_>>());
            assert_eq!(b, x.iter().map(|&x| ideal(x, from, Ring::new(64))).collect::<Vec<_>>());
            assert_eq!(traffic.cost, cost(n, &[(l, to.bits()), (l, 64)]).total());
        }
    }
}
