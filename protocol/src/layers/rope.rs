//! Rotary position embedding of shared queries and keys: positions are public, so each party
//! rotates its share.
//!
//! `(x_i, x_{i+h/2}) <- (x_i cos - x_{i+h/2} sin, x_{i+h/2} cos + x_i sin)`, with cosines of two
//! fraction bits more than the result has, in a ring that has room for them and for the truncation
//! after them, which is local: one extension before, one turn, no other cost. Values, which are not
//! rotated, are truncated in the same turn. Bound: `|x| < 2^14`. Error: half a unit a factor, and
//! one and an eighth of the result's. No leakage. Source: Su et al. (2104.09864), the half-rotated
//! order of the public checkpoints.

use sotto_shares::{Ring, Share};

use crate::{Error, Session, extend::extend_each, truncate::truncate};

/// Fraction bits of sines and cosines for results of `frac` fraction bits.
pub fn factor_frac(frac: u32) -> u32 {
    frac + 2
}

/// The angle of each pair of a head at each position: `position * frequency`.
pub struct Angles<'a> {
    /// One inverse frequency a pair, `[h / 2]`.
    pub frequencies: &'a [f64],
    /// The position of the first row.
    pub start: usize,
}

/// Fraction bits of rotated numbers beyond those of the result.
const SPARE: u32 = 4;

/// Rotates every head of `x` `[T, heads h]`, and truncates `v`; results in their rings with `frac`
/// and `v_frac` fraction bits.
///
/// # Panics
/// If a row is not a whole number of heads, or the rings are too large for these fraction bits.
pub async fn rope(
    s: &mut Session,
    (x, ring): (&Share, Ring),
    angles: Angles<'_>,
    (v, v_ring): (&Share, Ring),
    [frac, v_frac]: [u32; 2],
) -> Result<[Share; 2], Error> {
    let short = |x: &Share, frac: u32| x.truncate_reduce(x.frac() - frac).add_public(s.me, 1);
    let (x, v) = (short(x, frac + SPARE), short(v, v_frac));
    let factor_frac = factor_frac(frac);
    let wide = Ring::new(ring.bits() + SPARE + factor_frac);
    let [x, v] = extend_each(s, [(&x, wide), (&v, v_ring)]).await?;
    let x = rotate(&x, &angles, factor_frac);
    Ok([truncate(s, &x, SPARE + factor_frac, ring).await?, v])
}

/// The rotation itself, on a share or on the value: it is linear. The result has `factor_frac` more
/// fraction bits.
pub fn rotate(x: &Share, angles: &Angles<'_>, factor_frac: u32) -> Share {
    let half = angles.frequencies.len();
    assert_eq!(x.shape().cols % (2 * half), 0, "whole heads");
    let (ring, mut data) = (x.ring(), x.data().to_vec());
    let unit = f64::from(1 << factor_frac);
    for (row, values) in data.chunks_mut(x.shape().cols).enumerate() {
        let position = (angles.start + row) as f64;
        let factor = |v: f64| (v * unit).round() as i64 as u64;
        for head in values.chunks_mut(2 * half) {
            let (low, high) = head.split_at_mut(half);
            for ((a, b), frequency) in low.iter_mut().zip(high).zip(angles.frequencies) {
                // Both parties must round alike.
                let (sin, cos) = libm::sincos(position * frequency);
                let (sin, cos) = (factor(sin), factor(cos));
                let (x, y) = (*a, *b);
                *a = ring.reduce(x.wrapping_mul(cos).wrapping_sub(y.wrapping_mul(sin)));
                *b = ring.reduce(y.wrapping_mul(cos).wrapping_add(x.wrapping_mul(sin)));
            }
        }
    }
    Share::new(ring, x.frac() + factor_frac, x.shape(), data)
}

#[cfg(test)]
mod tests {
    use sotto_shares::{Shape, encode};

    use super::*;
    use crate::{
        Precision,
        testing::{self, reals, worst},
    };

    #[test]
    fn rotations_agree_with_real_ones_at_the_stated_cost() {
        Precision::ALL.into_iter().for_each(rotations);
    }

    fn rotations(precision: Precision) {
        let (ring, rotated, frac) = (precision.linear(), precision.attention(), precision.frac());
        let value_ring = precision.sums();
        let (frequencies, start) = ([1.0, 0.1, 0.01, 0.001], 1000);
        let shape = Shape::new(3, 16);
        let mut x: Vec<f64> = (0..48).map(|i| 9.0 * (f64::from(i) * 0.7).sin()).collect();
        x[..3].copy_from_slice(&[0.0, 8191.0, -8191.0]);
        let raw: Vec<u64> = x.iter().map(|&x| encode(x, frac + 16, ring)).collect();
        let (got, traffic) = testing::run(async |lab| {
            let x = lab.share(&raw, ring, frac + 16, shape);
            let angles = Angles { frequencies: &frequencies, start };
            let v = lab.share(&raw[..20], ring, frac + 16, Shape::new(1, 20));
            let rotated = async |s: &mut Session| {
                let [x, v] = rope(s, (&x, rotated), angles, (&v, value_ring), [frac; 2]).await?;
                Ok((x, v))
            };
            lab.measure(rotated).await
        });
        let (got, values) = got;
        let mut want = x.clone();
        for (row, values) in want.chunks_mut(16).enumerate() {
            for head in values.chunks_mut(8) {
                for (i, frequency) in frequencies.iter().enumerate() {
                    let (sin, cos) = ((start + row) as f64 * frequency).sin_cos();
                    let (a, b) = (head[i], head[i + 4]);
                    (head[i], head[i + 4]) = (a * cos - b * sin, b * cos + a * sin);
                }
            }
        }
        let (got, values) = (reals(&got, rotated, frac), reals(&values, value_ring, frac));
        let (unit, factor_unit) = (2f64.powi(-(frac as i32)), 2f64.powi(-(factor_frac(frac) as i32)));
        assert!(worst(&values, &x[..20]) <= unit);
        // Half a unit of the factors times a pair's size, one unit of the result and an eighth for
        // either of a pair.
        let error = worst(&got[8..], &want[8..]);
        eprintln!("rope, {precision:?}: {error:.1e} for |x| < 9");
        assert!(error < 9.0 * factor_unit + 1.25 * unit, "{error}");
        assert!(worst(&got[..8], &want[..8]) < 8200.0 * factor_unit);
        let wide = rotated.bits() + SPARE + factor_frac(frac);
        let of_values = crate::extend::cost(20, &[(ring.bits() - 16, value_ring.bits())]);
        let stated = crate::extend::cost(48, &[(ring.bits() - 12, wide)]).in_parallel(of_values);
        assert_eq!(traffic.cost, stated.total());
        assert_eq!(traffic.cost.turns, 1);
    }
}
