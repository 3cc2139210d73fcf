//! `[x / sqrt(mean(x^2) + eps)] <- [x]`, row by row; the gain is folded into the weights that follow.
//!
//! 1. `x` from the residual ring (18 fraction bits) to Z_{2^64} ([`crate::extend`]);
//! 2. `V = sum x^2 + d eps` ([`crate::square`]), 36 fraction bits, so that tiny rows keep their digits;
//! 3. `rho = sqrt(d) / sqrt(V)` ([`crate::reciprocal`]), 26 fraction bits;
//! 4. `x rho` ([`crate::mul`]), 44 fraction bits; truncated to 12 in the ring of activations.
//!
//! Relative error `2e-4` for rows whose root mean square exceeds `2^-8`. Bound: `sum x^2 < 2^27`, `|x| < 2^14`.
//! No leakage: every opening is under masks of its own. Source: `nonlinear.md` 3.5 in the design notes.

use sotto_shares::{Ring, Shape, Share, encode};

use crate::{
    Error, Session,
    extend::extend,
    mul::mul_rows,
    reciprocal::{self, Form},
    square::square,
    truncate::truncate,
};

/// The ring in which squares are summed.
const WIDE: Ring = Ring::new(64);

/// Normalises each row of `x` `[T, d]`; result in `ring` with `frac` fraction bits.
pub async fn rms_norm(s: &mut Session, x: &Share, eps: f64, ring: Ring, frac: u32) -> Result<Share, Error> {
    let Shape { rows, cols } = x.shape;
    let [wide] = extend(s, [(x, WIDE)]).await?;
    let squares = square(s, &wide).await?;
    let sums = squares.data.chunks(cols).map(|row| row.iter().fold(0u64, |a, b| a.wrapping_add(*b))).collect();
    let sums = Share::new(WIDE, squares.frac, Shape::new(rows, 1), sums);
    let sums = sums.add_public(s.me, encode(eps * cols as f64, squares.frac, WIDE));
    let form = Form::inverse_root((cols as f64).sqrt());
    let rho = reciprocal::evaluate(s, &sums, &form).await?;
    let product = mul_rows(s, &wide, &rho).await?;
    truncate(s, &product, product.frac - frac, ring).await
}

/// The functionality in real arithmetic.
pub fn ideal(row: &[f64], eps: f64) -> Vec<f64> {
    let mean = row.iter().map(|x| x * x).sum::<f64>() / row.len() as f64;
    row.iter().map(|x| x / (mean + eps).sqrt()).collect()
}
