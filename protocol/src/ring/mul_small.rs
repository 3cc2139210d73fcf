//! `[x y] <- [x]_m, [y]_l`: a number of few bits, known to be positive, times one of many bits.
//!
//! With `x = x0 + x1 - 2^m w`: for `0 <= x < 2^(m-1)` the wrap is `w = 1 - n0 n1`, where `n` says
//! that a share's top bit is clear. So `x y = (x0 + x1)(y0 + y1) - 2^m (1 - n0 n1)(y0 + y1)`, and
//! each direction has one OT for each bit of `x`, and one for the wrap:
//!
//! | client: `x0`, `y0` | | server: `x1`, `y1` |
//! |---|---|---|
//! | choices: bits of `x0`, `n0` | `<- mul-small/cross ->` | choices: bits of `x1`, `n1` |
//! | numbers: `y0 2^j` mod `2^l`; `n0 y0 2^m` | | numbers: `y1 2^j` mod `2^l`; `n1 y1 2^m` |
//! | `x0 y0 - 2^m y0` + its halves | | `x1 y1 - 2^m y1` + its halves |
//!
//! One turn; `2 sum_{j <= m} (l + 1 - j)` bits an element, exact inside the bound, no leakage. From
//! stock: `m + 1` COTs a direction. Against a multiplication of two `l`-bit numbers it saves the
//! bits that `x` does not have. A number that is not positive is moved by a public constant.
//! Source: SIRNN (2021/459), section 3.3; Gilboa (1999).

use sotto_shares::{Ring, Share};

use crate::{
    Error, Session,
    cost::CostModel,
    cross::{self, Cross},
};

const TAG: &str = "mul-small/cross";

/// Elements at a time, which bounds memory.
const BLOCK: usize = 1 << 16;

/// Elementwise product of `x`, `-least <= x < 2^(m-1) - least`, with `y` in the ring of `y`;
/// fraction bits add up.
///
/// # Panics
/// If shapes differ or the ring of `x` is not the smaller one.
pub async fn mul_small(s: &mut Session, x: &Share, y: &Share, least: u64) -> Result<Share, Error> {
    assert!(x.shape() == y.shape() && x.ring() < y.ring(), "a small number for each large one");
    let moved = x.add_public(s.me, least);
    let mut data = Vec::with_capacity(x.len());
    for (x, y) in moved.blocks(BLOCK).zip(y.blocks(BLOCK)) {
        data.extend(positive(s, &x, &y).await?);
    }
    let unmoved =
        data.iter().zip(y.data()).map(|(z, y)| y.wrapping_mul(least).wrapping_neg().wrapping_add(*z));
    let unmoved = unmoved.map(|z| y.ring().reduce(z)).collect();
    Ok(Share::new(y.ring(), x.frac() + y.frac(), x.shape(), unmoved))
}

/// The figure, for `0 <= x < 2^(m-1)`.
async fn positive(s: &mut Session, x: &Share, y: &Share) -> Result<Vec<u64>, Error> {
    let (m, l, ring) = (x.ring().bits(), y.ring().bits(), y.ring());
    let items = m as usize + 1;
    let widths: Vec<u32> = (0..=m).map(|j| l - j).collect();
    let clear = |x: &u64| 1 ^ (x >> (m - 1));
    let choices: Vec<u8> = x
        .data()
        .iter()
        .flat_map(|x| (0..m).map(move |j| (x >> j) as u8 & 1).chain([clear(x) as u8]))
        .collect();
    let inputs: Vec<u64> = x
        .data()
        .iter()
        .zip(y.data())
        .flat_map(|(x, &y)| std::iter::repeat_n(y, m as usize).chain([y.wrapping_mul(clear(x))]))
        .collect();
    let c = Cross { tag: TAG, choices: &choices, widths_in: &widths, inputs: &inputs, widths_out: &widths };
    let products = cross::add(s, c).await?;
    let horner = |v: &[u64]| v.iter().enumerate().fold(0u64, |sum, (j, v)| sum.wrapping_add(v << j));
    let halves = products.own.chunks(items).zip(products.got.chunks(items));
    let out = halves.zip(x.data().iter().zip(y.data())).map(|((own, got), (x, y))| {
        let local = x.wrapping_sub(1 << m).wrapping_mul(*y);
        ring.reduce(local.wrapping_add(horner(own)).wrapping_add(horner(got)))
    });
    Ok(out.collect())
}

/// The functionality on one element: `x` signed, `y` in its ring.
pub fn ideal(x: i64, y: u64, ring: Ring) -> u64 {
    ring.reduce((x as u64).wrapping_mul(y))
}

/// What is sent, and which COTs it takes.
pub fn cost(n: usize, m: u32, l: u32) -> CostModel {
    let widths: u32 = (0..=m).map(|j| l - j).sum();
    let items = m as usize + 1;
    CostModel::products((items * n, widths as usize * n), (items * n, widths as usize * n))
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use sotto_shares::Shape;

    use super::*;
    use crate::testing::{self, elements};

    fn check(m: u32, l: u32, least: u64, x: &[i64], y: &[u64]) {
        let (small, large, n) = (Ring::new(m), Ring::new(l), x.len());
        let raw: Vec<u64> = x.iter().map(|&x| small.reduce(x as u64)).collect();
        let (got, traffic) = testing::run(async |lab| {
            let x = lab.share(&raw, small, 12, Shape::new(n, 1));
            let y = lab.share(y, large, 10, Shape::new(n, 1));
            lab.stock_cots((m as usize + 1) * n).await;
            let (out, side) = lab.measure(async |s| mul_small(s, &x, &y, least).await).await;
            assert_eq!((out.frac(), out.shape()), (22, Shape::new(n, 1)));
            (out, side)
        });
        assert_eq!(got, x.iter().zip(y).map(|(&x, &y)| ideal(x, y, large)).collect::<Vec<_>>());
        assert_eq!(traffic.cost, cost(n, m, l).total());
    }

    #[test]
    fn edges_meet_edges_at_the_stated_cost() {
        for (m, l, least) in [(22, 44, 4096), (2, 3, 0), (8, 64, 1), (31, 32, 1 << 20)] {
            let most = (1i64 << (m - 1)) - 1 - least as i64;
            let edges = [-(least as i64), 1 - least as i64, most, most - 1, 0, most / 2];
            let edges: Vec<i64> =
                edges.into_iter().filter(|x| (-(least as i64)..=most).contains(x)).collect();
            let large = elements(8, Ring::new(l));
            let pairs = edges.iter().flat_map(|&x| large.iter().map(move |&y| (x, y)));
            let (x, y): (Vec<i64>, Vec<u64>) = pairs.unzip();
            check(m, l, least, &x, &y);
        }
        assert_eq!(cost(1, 22, 44).bits(), 2 * (23 + 759));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

        #[test]
        fn real_is_ideal(m in 2u32..30, extra in 1u32..34, seed in prop::collection::vec(any::<(u64, u64)>(), 1..20)) {
            let l = m + extra;
            let (x, y): (Vec<i64>, Vec<u64>) =
                seed.iter().map(|(x, y)| ((x >> (65 - m)) as i64, y >> (64 - l))).unzip();
            check(m, l, 0, &x, &y);
        }
    }
}
