//! `[x y] <- [x], [y]`: the product of a gated layer, of an activation's results `x` in a small
//! ring and numbers `y` in a larger one.
//!
//! | | messages | schedule |
//! |---|---|---|
//! | by OTs for every bit of `x` | those of [`mod@crate::mul_small`] | fewest turns |
//! | by triples under encryption | `x` extended ([`crate::extend`]), then [`mod@crate::mul`] | fewest bits |
//!
//! Where bits are saved, the cost model decides: a few products take fewer bytes by OTs, since
//! ciphertexts hold thousands. Bytes of `n` products of `m` by `l` bits, with COTs of `c` bits
//! each:
//!
//! * OTs: `n (2 sum_(0 <= j <= m) (l + 1 - j) + 2 (m + 1) c) / 8`, about 200 each for 22 and 44
//!   bits;
//! * triples: their ciphertexts, and `n (l - m + 1 + c + 4 l) / 8`, 25 each.
//!
//! Turns, errors and leakage are those of the parts: exact by OTs, to a unit or a few by triples.
//! Source: this project.

use sotto_ot::Extension;
use sotto_shares::Share;

use crate::{
    Error, Role, Schedule, activation,
    cost::CostModel,
    extend,
    mul::{self, mul},
    mul_small::{self, mul_small},
    planner::{self, Need},
};

/// Elements at a time, which bounds memory.
const BLOCK: usize = 1 << 19;

/// Elementwise product of `x`, in the ring of activations' arguments and above minus
/// [`activation::least`], with `y`; fraction bits add up.
///
/// # Errors
/// What the peer or the network does.
///
/// # Panics
/// If shapes differ, or the ring of `x` is not the smaller one.
pub async fn product<R: Role>(me: &mut R, x: &Share, y: &Share) -> Result<Share, Error> {
    let mut data = Vec::with_capacity(x.len());
    for (x, y) in x.blocks(BLOCK).zip(y.blocks(BLOCK)) {
        data.extend_from_slice(block(me, &x, &y).await?.data());
    }
    Ok(Share::new(y.ring(), x.frac() + y.frac(), x.shape(), data))
}

async fn block<R: Role>(me: &mut R, x: &Share, y: &Share) -> Result<Share, Error> {
    let least = activation::least(me.session().precision());
    let (n, m, l) = (x.len(), x.ring().bits(), y.ring().bits());
    if me.session().schedule() == Schedule::Latency || takes_ots(n, m, l) {
        return mul_small(me.session_mut(), x, y, least).await;
    }
    planner::ensure(me, vec![Need::triples(y.ring(), n)]).await?;
    let s = me.session_mut();
    let moved = x.add_public(s.me, least);
    let [wide] = extend::extend_positive(s, [(&moved, y.ring())]).await?;
    let wide = wide.add_public(s.me, least.wrapping_neg());
    mul(s, &wide, y).await
}

/// Whether `n` products of `m` by `l` bits take fewer bytes by OTs.
fn takes_ots(n: usize, m: u32, l: u32) -> bool {
    by_ots(n, m, l) < mul::lattice_len(n) as f64 + by_triples(n, m, l)
}

/// Bytes of `n` products by OTs, with COTs of the leanest extension.
fn by_ots(n: usize, m: u32, l: u32) -> f64 {
    bytes(mul_small::cost(n, m, l))
}

/// The same by triples, but for their ciphertexts.
fn by_triples(n: usize, m: u32, l: u32) -> f64 {
    bytes(extend::cost(n, &[(m, l)]) + mul::cost(n, l))
}

fn bytes(cost: CostModel) -> f64 {
    cost.bits() as f64 / 8.0 + cost.offline_bytes(Extension::SilentLean.bits())
}

#[cfg(test)]
mod tests {
    use sotto_shares::Shape;

    use super::*;
    use crate::{
        Precision,
        testing::{self, elements},
    };

    /// Only thousands of products are worth ciphertexts.
    #[test]
    fn many_products_take_triples_and_few_take_ots() {
        for precision in Precision::ALL {
            let (m, l) = (precision.argument().bits(), precision.product().bits());
            assert!(takes_ots(100, m, l) && !takes_ots(1 << 17, m, l));
        }
    }

    /// The figure's formulas.
    #[test]
    fn a_product_costs_what_the_figure_says() {
        let c = Extension::SilentLean.bits();
        for precision in Precision::ALL {
            let (m, l) = (precision.argument().bits(), precision.product().bits());
            let n = 10_000;
            let bits: u32 = (0..=m).map(|j| l + 1 - j).sum();
            let ots = (2.0 * f64::from(bits) + 2.0 * f64::from(m + 1) * c) / 8.0;
            let triples = (f64::from(l - m + 1) + c + 4.0 * f64::from(l)) / 8.0;
            for (actual, formula) in [(by_ots(n, m, l), ots), (by_triples(n, m, l), triples)] {
                let each = actual / n as f64;
                assert!((each / formula - 1.0).abs() < 0.01, "{each} bytes, the figure says {formula}");
            }
        }
    }

    #[test]
    fn both_ways_give_products() {
        let precision = Precision::Default;
        let (small, ring, frac) = (precision.argument(), precision.product(), precision.frac());
        for n in [40, 9000] {
            let shape = Shape::new(n, 1);
            // Activations below 2^8, and numbers below 2^9.
            let x: Vec<u64> = elements(n, small).iter().map(|x| x >> 2).collect();
            let y: Vec<u64> = elements(n, ring).iter().map(|y| y >> 23).collect();
            let got = testing::run_keyed(
                async |lab| {
                    let (x, y) = (lab.share(&x, small, frac, shape), lab.share(&y, ring, frac, shape));
                    product(&mut lab.me, &x, &y).await.unwrap()
                },
                async |lab| {
                    let (x, y) = (lab.share(&x, small, frac, shape), lab.share(&y, ring, frac, shape));
                    product(&mut lab.me, &x, &y).await.unwrap()
                },
            );
            for ((got, x), y) in got.into_iter().zip(&x).zip(&y) {
                let off = ring.signed(ring.reduce(got.wrapping_sub(x.wrapping_mul(*y))));
                assert!(off.abs() <= 1, "{x} times {y} is off by {off}");
            }
        }
    }
}
