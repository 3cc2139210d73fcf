//! `[x / sqrt(mean(x^2) + eps)] <- [x]`, row by row; the gain is folded into the weights that follow.
//!
//! 1. `x` from the residual ring (18 fraction bits) to Z_{2^64} ([`crate::extend`]);
//! 2. `V = sum x^2 + d eps` ([`crate::square`]), 36 fraction bits, so that tiny rows keep their digits;
//! 3. `rho = sqrt(d) / sqrt(V)` ([`crate::reciprocal`]), 26 fraction bits;
//! 4. `x rho` ([`crate::mul`]), 44 fraction bits; truncated to 12 in the ring of activations.
//!
//! Relative error `2e-4` for rows whose root mean square exceeds `2^-8`. Bound: `sum x^2 < 2^27`, `|x| < 2^14`.
//! 40 turns. No leakage: every opening is under masks of its own. Source: `nonlinear.md` 3.5 in the design notes.

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
    let sums =
        squares.data.chunks(cols).map(|row| row.iter().fold(0u64, |a, b| a.wrapping_add(*b))).collect();
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        extend, mul, square,
        testing::{self, Bill, reals},
    };

    const RESIDUAL: Ring = Ring::new(34);
    const RING: Ring = Ring::new(44);

    pub(crate) fn bill(shape: Shape) -> Bill {
        let n = shape.len();
        extend::tests::bill(n, &[(34, 64)])
            + square::tests::bill(n, 64)
            + reciprocal::tests::bill(shape.rows, 64, &Form::inverse_root(1.0))
            + mul::tests::bill(n, 64)
            + extend::tests::bill(n, &[(32, 44)])
    }

    /// Worst error of each row of `[T, d]`, where the result's root mean square is about one.
    fn errors(rows: &[Vec<f64>], eps: f64) -> Vec<f64> {
        let shape = Shape::new(rows.len(), rows[0].len());
        let raw: Vec<u64> = rows.iter().flatten().map(|&x| encode(x, 18, RESIDUAL)).collect();
        let (got, traffic) = testing::run(async |lab| {
            let x = lab.share(&raw, RESIDUAL, 18, shape);
            reciprocal::tests::stock(lab, shape.rows, 64, &Form::inverse_root(1.0)).await;
            lab.stock_squares(WIDE, shape.len()).await;
            lab.stock_triples(WIDE, 2 * shape.rows + shape.len()).await;
            lab.measure(async |s| rms_norm(s, &x, eps, RING, 12).await).await
        });
        assert_eq!(traffic.cost, bill(shape).cost());
        assert_eq!(traffic.cost.turns, 40);
        let got = reals(&got, RING, 12);
        let clear = reals(&raw, RESIDUAL, 18);
        let error = |(x, y): (&[f64], &[f64])| testing::worst(y, &ideal(x, eps));
        clear.chunks(shape.cols).zip(got.chunks(shape.cols)).map(error).collect()
    }

    #[test]
    fn rows_of_every_size() {
        let shape = |scale: f64| -> Vec<f64> {
            (0..30).map(|i| scale * (f64::from(i) * 1.7).sin() * if i == 3 { 2.0 } else { 1.0 }).collect()
        };
        let mut rows: Vec<Vec<f64>> =
            [1.0, 2f64.powi(-8), 30.0, 2000.0, 1e-4].into_iter().map(shape).collect();
        rows.push((0..30).map(|i| if i == 7 { 11_000.0 } else { 0.25 }).collect());
        rows.push(vec![0.0; 30]);
        let errors = errors(&rows, 1e-5);
        eprintln!("rms_norm: errors {errors:?}");
        // 2e-4 relative on results up to sqrt(30), two units for the truncation.
        let unit = 2f64.powi(-12);
        assert!(errors.iter().all(|&e| e < 2e-4 * 30f64.sqrt() + 2.0 * unit), "{errors:?}");
        assert!(errors[6] <= unit, "a row of zeros gives zeros");
    }
}
