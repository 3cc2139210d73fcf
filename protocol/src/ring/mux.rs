//! `[b x] <- [b], [x]`: a shared number or zero, by a shared bit.
//!
//! | client: `b0`, `x0`              |                   | server: `b1`, `x1`              |
//! |---------------------------------|-------------------|---------------------------------|
//! | choice `b0`, number `x0(1-2b0)` | `<- mux/cross ->` | choice `b1`, number `x1(1-2b1)` |
//! | `b0 x0 + own + got`             |                   | `b1 x1 + own + got`             |
//!
//! `b x = b0 x0 + b1 x1 + b1 x0 (1 - 2 b0) + b0 x1 (1 - 2 b1)` with `b = b0 xor b1`. One turn, `2
//! (l + 1)` bits an element, exact, no leakage. From stock: one COT an element and direction.
//! Source: CrypTFlow2 (2020/1002), section 3.1.

use sotto_shares::{Share, XorShare};

use crate::{
    Error, Session,
    cost::CostModel,
    cross::{self, Cross},
};

/// Multiplies each shared number by its shared bit; pairs of several rings share the turn.
///
/// # Panics
/// If a selector is not one bit wide or lengths differ.
pub async fn mux<const K: usize>(
    s: &mut Session,
    pairs: [(&XorShare, &Share); K],
) -> Result<[Share; K], Error> {
    let n = pairs[0].1.len();
    for (b, x) in &pairs {
        assert_eq!((b.width(), b.len(), x.len()), (1, n, n), "one selector bit per number");
    }
    let widths = pairs.map(|(_, x)| x.ring().bits());
    let choices: Vec<u8> = (0..n).flat_map(|i| pairs.map(|(b, _)| b.words()[i] as u8)).collect();
    let inputs: Vec<u64> = (0..n)
        .flat_map(|i| pairs.map(|(b, x)| x.ring().reduce(flip_sign(x.data()[i], b.words()[i]))))
        .collect();
    let tag = "mux/cross";
    let c = Cross { tag, choices: &choices, widths_in: &widths, inputs: &inputs, widths_out: &widths };
    let products = cross::add(s, c).await?;
    let mut k = 0;
    Ok(pairs.map(|(b, x)| {
        let at = |i: usize| i * K + k;
        let data = (0..n).map(|i| {
            let local = b.words()[i].wrapping_mul(x.data()[i]);
            x.ring().reduce(local.wrapping_add(products.own[at(i)]).wrapping_add(products.got[at(i)]))
        });
        let out = Share::new(x.ring(), x.frac(), x.shape(), data.collect());
        k += 1;
        out
    }))
}

/// The functionality on one element.
pub fn ideal(b: u64, x: u64) -> u64 {
    b * x
}

/// `x (1 - 2 b)` for a bit `b`, without a branch.
pub(crate) fn flip_sign(x: u64, b: u64) -> u64 {
    x.wrapping_mul(1u64.wrapping_sub(2 * b))
}

/// One frame each way, for numbers of `widths`.
pub fn cost(n: usize, widths: &[u32]) -> CostModel {
    let (k, bits) = (widths.len(), widths.iter().sum::<u32>() as usize);
    CostModel::products((k * n, bits * n), (k * n, bits * n))
}

#[cfg(test)]
pub(crate) mod tests {
    use sotto_shares::Ring;

    use super::*;
    use crate::testing::{self, CostModel, elements};

    fn selectors(n: usize) -> Vec<u64> {
        (0..n as u64).map(|i| (i / 3) & 1).collect()
    }

    #[test]
    fn real_is_ideal_at_the_stated_cost() {
        for (n, l) in [(1, 1), (7, 13), (100, 44), (33, 64)] {
            let ring = Ring::new(l);
            let (b, x) = (selectors(n), elements(n, ring));
            let (got, traffic) = testing::run(async |lab| {
                let (b, x) = (lab.bits(&b, 1), lab.row(&x, ring));
                lab.measure(async |s| mux(s, [(&b, &x)]).await).await
            });
            let want: Vec<u64> = b.iter().zip(&x).map(|(&b, &x)| ideal(b, x)).collect();
            assert_eq!(got, [want]);
            assert_eq!(traffic.cost, cost(n, &[l]).total());
        }
    }

    #[test]
    fn pairs_of_several_rings_share_the_turn() {
        let (small, large, n) = (Ring::new(5), Ring::new(64), 21);
        let (b, x, y) = (selectors(n), elements(n, small), elements(n, large));
        let ([c, d], traffic) = testing::run(async |lab| {
            let (p, q) = (lab.bits(&b, 1), lab.bits(&b, 1));
            let (x, y) = (lab.row(&x, small), lab.row(&y, large));
            lab.measure(async |s| mux(s, [(&p, &x), (&q, &y)]).await).await
        });
        assert_eq!(c, b.iter().zip(&x).map(|(&b, &x)| ideal(b, x)).collect::<Vec<_>>());
        assert_eq!(d, b.iter().zip(&y).map(|(&b, &y)| ideal(b, y)).collect::<Vec<_>>());
        assert_eq!(traffic.cost, cost(n, &[5, 64]).total());
    }

    #[test]
    fn nothing_costs_nothing() {
        let (got, traffic) = testing::run(async |lab| {
            let (b, x) = (lab.bits(&[], 1), lab.row(&[], Ring::new(9)));
            lab.measure(async |s| mux(s, [(&b, &x)]).await).await
        });
        assert_eq!((got, traffic.cost), ([vec![]], CostModel::default().total()));
    }
}
