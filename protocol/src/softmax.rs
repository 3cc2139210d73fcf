//! Softmax of rows of scores, left unnormalised: numerators `2^(x - m)` and the reciprocal of their sum.
//!
//! Scores come in base-2 units (`log2 e / sqrt d` is folded into the query's weights), 12 fraction bits, 12 integer bits.
//!
//! 1. `m`: the row maximum to one fraction bit, on 13-bit shares ([`crate::maximum`]); being off by a unit only
//!    scales numerators and denominator alike;
//! 2. numerators `2^(x - m)` with 14 fraction bits ([`crate::exp2`]);
//! 3. their sum, local, and its reciprocal ([`crate::reciprocal`]).
//!
//! The caller multiplies numerators by values first and by the reciprocal afterwards: `d` products a row, not `n`.
//! A causal mask is the omission of what a row may not see. Scores must differ by less than 2048 units within a row.
//! Error: total variation about `2e-3` at 128 entries. No leakage. Source: `nonlinear.md` 3.3 in the design notes.

use sotto_shares::{Ring, Shape, Share};

use crate::{
    Error, Session,
    exp2::{self, exp2},
    maximum::row_max,
    reciprocal::{self, Form},
};

/// Fraction bits kept in the maximum.
const MAX_FRAC: u32 = 1;
/// The ring of the sum of numerators.
const SUM: Ring = Ring::new(32);

/// Numerators and reciprocals of their sums.
pub struct Softmax {
    /// `[T, n]` in the ring asked for, 14 fraction bits; zero where a row does not see.
    pub numerators: Share,
    /// `[T, 1]` in the reciprocal's ring.
    pub reciprocal: Share,
}

/// Softmax of the first `visible[i]` entries of each row `i` of `x` `[T, n]`.
///
/// # Panics
/// If a row sees nothing, or the scores' ring or fraction are not those of [`exp2`].
pub async fn softmax(s: &mut Session, x: &Share, visible: &[usize], ring: Ring) -> Result<Softmax, Error> {
    assert_eq!((x.ring, x.frac), (exp2::ARGUMENT, exp2::ARGUMENT_FRAC), "scale of scores");
    assert_eq!(visible.len(), x.shape.rows, "one length per row");
    let n = x.shape.cols;
    let seen: Vec<u64> = (0..visible.len()).flat_map(|i| &x.data[i * n..i * n + visible[i]]).copied().collect();
    let seen = Share::new(x.ring, x.frac, Shape::new(seen.len(), 1), seen);

    let coarse = seen.truncate_reduce(x.frac - MAX_FRAC);
    let max = row_max(s, &coarse, visible).await?.widen_left(x.frac - MAX_FRAC);
    let spread = max.data.iter().zip(visible).flat_map(|(&m, &n)| std::iter::repeat_n(m, n)).collect();
    let shifted = &seen - &Share::new(x.ring, x.frac, seen.shape, spread);

    let powers = exp2(s, &shifted, ring).await?;
    let mut numerators = vec![0; x.len()];
    let mut sums = Vec::with_capacity(visible.len());
    let mut rest = &powers.data[..];
    for (i, &m) in visible.iter().enumerate() {
        let (row, after) = rest.split_at(m);
        numerators[i * n..i * n + m].copy_from_slice(row);
        sums.push(SUM.reduce(row.iter().fold(0u64, |a, b| a.wrapping_add(*b))));
        rest = after;
    }
    let sums = Share::new(SUM, powers.frac, Shape::new(visible.len(), 1), sums);
    let reciprocal = reciprocal::evaluate(s, &sums, &Form::reciprocal()).await?;
    Ok(Softmax { numerators: Share::new(ring, powers.frac, x.shape, numerators), reciprocal })
}

/// The functionality in real arithmetic: the normalised row, in base-2 units.
pub fn ideal(row: &[f64]) -> Vec<f64> {
    let max = row.iter().copied().fold(f64::MIN, f64::max);
    let powers: Vec<f64> = row.iter().map(|x| (x - max).exp2()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|p| p / sum).collect()
}
