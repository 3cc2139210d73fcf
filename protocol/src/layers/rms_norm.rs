//! `[g x / sqrt(mean(x^2) + eps)] <- [x]`, row by row, with a public factor `g`, from 1 to 2 for
//! widths above 64 and up to 16384, that saves a multiplication: it makes the result's norm a power
//! of two ([`factor`]). The weights that follow make up for it, into which the model's own gain is
//! folded, too.
//!
//! 1. `delta = x - a` is opened, `a` the mask of a row triple ([`crate::rows`]);
//! 2. `V = sum delta^2 + 2 <delta, a> + [sum a^2] + d eps`, local, 36 fraction bits, so that tiny
//!    rows keep their digits;
//! 3. `rho = g sqrt(d) / sqrt(V)` ([`crate::reciprocal`]), 26 fraction bits, by high precision 28;
//! 4. `e = rho - b` is opened, and `x rho = delta rho + e a + [a b]`, 44 fraction bits (46), in a
//!    ring of 54 (56); less 32 of them in the ring of activations.
//!
//! `x` is in Z_{2^64}, with 18 fraction bits. The caller checks its rows for overflow
//! ([`crate::overflow_check`]).
//!
//! `eps` is taken as it is where `d eps >= 2^-22`; a smaller one is raised to that ([`least_eps`]).
//! With `S = sum x^2 + d eps`, the relative error is `2e-4` (`5e-5`), and half of `2^-25 / S`, the
//! deviation of the noise of `V`. Bound: `sum x^2 < 2^27`, `|x| < 2^14`, `d <= 2^15`. Seven turns,
//! six by the latency schedule, for widths from 16 on and `eps` from `2^-20` on; up to three more
//! where `d eps` is so small that the position of `V` has more than 22 places.
//!
//! No leakage: `delta` and `e` are uniform, each under
//! a mask of its own; that `a` also occurs in the triple's sums is Beaver with a shared factor, and
//! `x` is in Z_{2^64}, where `a` is uniform. Source: this project.

use sotto_shares::{Ring, Shape, Share, encode};

use crate::{
    Error, Precision, Schedule, Session,
    cost::CostModel,
    mul::subtract,
    open::open,
    reciprocal::{self, Form},
    rows::{self, RowShape},
    truncate::truncate,
};

/// The ring in which squares are summed.
pub(crate) const WIDE: Ring = Ring::new(64);

/// The row triples that rows of this width take. Of a product 32 bits are dropped; sums of squares
/// are exact to `2^-24` or so.
pub fn row_shape(precision: Precision, width: usize) -> RowShape {
    let product = Ring::new(precision.frac() + 42);
    RowShape { width, ring: WIDE, product, tolerance: 26, squares: Some(10) }
}

/// Normalises each row of `x` `[T, d]`; the result is an activation. Takes `T` rows of
/// [`row_shape`] from stock.
///
/// # Panics
/// If the stock is too small, or `x` is in another ring.
pub async fn rms_norm(s: &mut Session, x: &Share, eps: f64) -> Result<Share, Error> {
    assert_eq!(x.ring(), WIDE, "rows are normalised modulo 2^64");
    let precision = s.precision;
    let (Shape { rows, cols }, shape) = (x.shape(), row_shape(precision, x.shape().cols));
    let eps = eps.max(least_eps(cols));
    let triples = rows::draw(s, shape, rows).await?;
    let [delta] = open(s, "rms-norm/open", [&subtract(x, &triples.a)]).await?;
    let sums =
        delta.chunks(cols).zip(triples.a.chunks(cols)).zip(&triples.squares).map(|((d, a), squares)| {
            d.iter().zip(a).fold(*squares, |sum, (d, a)| {
                sum.wrapping_add(d.wrapping_mul(s.me.server_only(*d))).wrapping_add(d.wrapping_mul(*a) << 1)
            })
        });
    let sums = Share::new(WIDE, 2 * x.frac(), Shape::new(rows, 1), sums.collect());
    let sums = sums.add_public(s.me, encode(eps * cols as f64, sums.frac(), WIDE));
    let form = normaliser(precision, s.schedule, cols, eps, sums.frac());
    let rho = reciprocal::evaluate(s, &sums, &form).await?;
    let [e] = open(s, "rows/open", [&subtract(&rho, &triples.b)]).await?;
    let product = rows::product(shape, &triples, &delta, &rho, &e, x.frac());
    truncate(s, &product, product.frac() - precision.frac(), precision.linear()).await
}

/// The least `eps` of rows of width `d`: then `d eps` is eight deviations of the noise of the sums,
/// which stay positive with it.
pub fn least_eps(d: usize) -> f64 {
    2f64.powi(-22) / d as f64
}

/// log2 of the norm of results: at most 7, so that they stay within what the last truncation takes,
/// at least 4, so that `rho` needs none.
fn size(d: usize) -> u32 {
    d.next_power_of_two().ilog2().div_ceil(2).clamp(4, 7)
}

/// `g`: what a row of width `d` is multiplied by beside the inverse of its root mean square.
pub fn factor(d: usize) -> f64 {
    f64::from(1u32 << size(d)) / (d as f64).sqrt()
}

/// `2^size / sqrt(V)` of sums of `d` squares and of `d eps`, which bounds them from below.
fn normaliser(precision: Precision, schedule: Schedule, d: usize, eps: f64, frac: u32) -> Form {
    // The noise may take a bit of it.
    let least = ((eps * d as f64 * f64::from(frac).exp2()) as u64).max(2).ilog2() - 1;
    let ring = row_shape(precision, d).product;
    Form::inverse_root(precision, schedule, size(d), frac, least..WIDE.bits() - 1, ring)
}

/// The functionality in real arithmetic.
pub fn ideal(row: &[f64], eps: f64) -> Vec<f64> {
    let mean = row.iter().map(|x| x * x).sum::<f64>() / row.len() as f64;
    row.iter().map(|x| factor(row.len()) * x / (mean + eps.max(least_eps(row.len()))).sqrt()).collect()
}

/// What is sent online for rows `[T, d]` of the residual stream, and which COTs it takes.
pub fn cost(precision: Precision, schedule: Schedule, shape: Shape, eps: f64) -> CostModel {
    let (n, product) = (shape.len(), row_shape(precision, shape.cols).product.bits());
    CostModel::mutual(&[64 * n], 0)
        + reciprocal::cost(
            shape.rows,
            &normaliser(precision, schedule, shape.cols, eps.max(least_eps(shape.cols)), 36),
        )
        + CostModel::mutual(&[product as usize * shape.rows], 0)
        + crate::extend::cost(n, &[(product - 32, precision.linear().bits())])
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        planner::{self, Need},
        testing::{self, Holder, Lab, reals},
    };

    /// What one call draws from stock besides row triples and COTs.
    pub(crate) async fn stock<P: Holder>(lab: &mut Lab<P>, shape: Shape, eps: f64) {
        let (precision, schedule) = (lab.me.session().precision, lab.me.session().schedule);
        let form = normaliser(precision, schedule, shape.cols, eps.max(least_eps(shape.cols)), 36);
        reciprocal::tests::stock(lab, shape.rows, &form).await;
    }

    /// Worst error of each row of `[T, d]`, where the result's root mean square is about one.
    fn errors(precision: Precision, schedule: Schedule, rows: &[Vec<f64>], eps: f64) -> Vec<f64> {
        let shape = Shape::new(rows.len(), rows[0].len());
        let raw: Vec<u64> = rows.iter().flatten().map(|&x| encode(x, 18, WIDE)).collect();
        let (got, traffic) = testing::run_keyed(
            async |lab| {
                (lab.me.session.precision, lab.me.session.schedule) = (precision, schedule);
                let need = Need::rows(row_shape(precision, shape.cols), shape.rows);
                planner::ensure(&mut lab.me, vec![need]).await.unwrap();
                let x = lab.share(&raw, WIDE, 18, shape);
                stock(lab, shape, eps).await;
                lab.measure(async |me| rms_norm(&mut me.session, &x, eps).await).await
            },
            async |lab| {
                (lab.me.session.precision, lab.me.session.schedule) = (precision, schedule);
                let need = Need::rows(row_shape(precision, shape.cols), shape.rows);
                planner::ensure(&mut lab.me, vec![need]).await.unwrap();
                let x = lab.share(&raw, WIDE, 18, shape);
                stock(lab, shape, eps).await;
                lab.measure(async |me| rms_norm(&mut me.session, &x, eps).await).await
            },
        );
        assert_eq!(traffic.cost, cost(precision, schedule, shape, eps).total());
        if eps == 1e-5 {
            assert_eq!(traffic.cost.turns, [7, 6][schedule as usize]);
        }
        let got = reals(&got, precision.linear(), precision.frac());
        let clear = reals(&raw, WIDE, 18);
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
        for (precision, schedule) in testing::modes() {
            let errors = errors(precision, schedule, &rows, 1e-5);
            eprintln!("rms_norm, {precision:?}: errors {errors:?}");
            // 2e-4 relative on results up to sqrt(30), two units for the truncation.
            let (unit, relative) = (2f64.powi(-(precision.frac() as i32)), [2e-4, 5e-5][precision as usize]);
            assert!(errors.iter().all(|&e| e < relative * 30f64.sqrt() + 2.0 * unit), "{errors:?}");
            assert!(errors[6] <= unit, "a row of zeros gives zeros");
        }
    }

    /// Rows whose variance is near a small `eps`, and an `eps` below the least.
    #[test]
    fn small_epsilons_are_exact() {
        let d = 576;
        let row = |scale: f64| -> Vec<f64> {
            (0..d).map(|i| scale * std::f64::consts::SQRT_2 * (f64::from(i) * 1.7).sin()).collect()
        };
        let rows: Vec<Vec<f64>> =
            [1.0, 2f64.powi(-8), 2f64.powi(-12), 6e-5, 3e-5].into_iter().map(row).collect();
        for eps in [1e-9, 1e-12] {
            for (precision, schedule) in testing::modes() {
                let errors = errors(precision, schedule, &rows, eps);
                eprintln!("rms_norm, {precision:?}, eps {eps}: errors {errors:?}");
                let unit = 2f64.powi(-(precision.frac() as i32));
                for (row, error) in rows.iter().zip(errors) {
                    let sum = row.iter().map(|x| x * x).sum::<f64>()
                        + f64::from(d) * eps.max(least_eps(d as usize));
                    // Nine deviations of the sums' noise, on results up to 2; rows are rounded to
                    // 2^-18.
                    let noise = 9.0 * 2f64.powi(-25) / (2.0 * sum);
                    let relative = [2e-4, 5e-5][precision as usize] + noise;
                    assert!(error < 2.0 * relative + 2.0 * unit, "{error} of a row with sum {sum}");
                }
            }
        }
    }
}
