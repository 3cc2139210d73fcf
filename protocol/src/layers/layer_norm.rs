//! `[g (x - mean(x)) / sqrt(var(x) + eps)] <- [x]`, row by row, with the public factor `g` of
//! [`crate::rms_norm`]; gain and bias belong to the weights that follow.
//!
//! 1. the mean: the row's sum times the public `2^26 / d`, truncated ([`mod@crate::truncate`]): the
//!    only step that RMSNorm does not have;
//! 2. what is left is normalised as in [`mod@crate::rms_norm`].
//!
//! Error: RMSNorm's, and the mean's: a unit of `2^-18` and `d 2^-27` of itself. Bounds: as for
//! RMSNorm, of which the squares' holds after the mean is taken off; checked as there. Eight turns,
//! seven by the latency schedule; `l' - l + 1` bits a row more than RMSNorm. No leakage. Source: Ba
//! et al. (1607.06450).

use sotto_shares::{Shape, Share};

use crate::{
    Error, Precision, Schedule, Session,
    cost::CostModel,
    rms_norm::{self, WIDE},
    truncate::truncate,
};

/// Fraction bits of `1/d`.
const MEAN_FRAC: u32 = 26;

/// Normalises each row of `x` `[T, d]`; the result is an activation. Takes `T` rows of
/// [`rms_norm::row_shape`] from stock.
///
/// # Panics
/// If the stock is too small, or `x` is in another ring.
pub async fn layer_norm(s: &mut Session, x: &Share, eps: f64) -> Result<Share, Error> {
    assert_eq!(x.ring(), WIDE, "rows are normalised modulo 2^64");
    let Shape { rows, cols } = x.shape();
    let reciprocal = (f64::from(MEAN_FRAC).exp2() / cols as f64).round() as u64;
    let sums = x.data().chunks(cols).map(|row| row.iter().fold(0u64, |sum, x| sum.wrapping_add(*x)));
    let sums = sums.map(|sum| sum.wrapping_mul(reciprocal)).collect();
    let means = Share::new(WIDE, x.frac() + MEAN_FRAC, Shape::new(rows, 1), sums);
    let means = truncate(s, &means, MEAN_FRAC, WIDE).await?;
    let centred = x.data().iter().enumerate().map(|(i, x)| x.wrapping_sub(means.data()[i / cols])).collect();
    rms_norm::rms_norm(s, &Share::new(WIDE, x.frac(), x.shape(), centred), eps).await
}

/// The functionality in real arithmetic.
pub fn ideal(row: &[f64], eps: f64) -> Vec<f64> {
    let mean = row.iter().sum::<f64>() / row.len() as f64;
    let centred: Vec<f64> = row.iter().map(|x| x - mean).collect();
    rms_norm::ideal(&centred, eps)
}

/// What is sent online for rows `[T, d]` of the residual stream, and which COTs it takes.
pub fn cost(precision: Precision, schedule: Schedule, shape: Shape, eps: f64) -> CostModel {
    crate::extend::cost(shape.rows, &[(38, 64)]) + rms_norm::cost(precision, schedule, shape, eps)
}

#[cfg(test)]
mod tests {
    use sotto_shares::encode;

    use super::*;
    use crate::{
        planner::{self, Need},
        rms_norm::row_shape,
        testing::{self, reals},
    };

    #[test]
    fn rows_with_and_without_a_mean() {
        testing::modes().for_each(|(precision, schedule)| errors(precision, schedule));
    }

    fn errors(precision: Precision, schedule: Schedule) {
        let wave = |i: i32, scale: f64| scale * (f64::from(i) * 1.7).sin();
        let rows: Vec<Vec<f64>> = [(1.0, 0.0), (1.0, 40.0), (0.25, -3.0), (30.0, 300.0), (500.0, -2000.0)]
            .into_iter()
            .map(|(scale, mean)| (0..30).map(|i| mean + wave(i, scale)).collect())
            .chain([vec![7.25; 30]])
            .collect();
        let shape = Shape::new(rows.len(), 30);
        let raw: Vec<u64> = rows.iter().flatten().map(|&x| encode(x, 18, WIDE)).collect();
        let (got, traffic) = testing::run_keyed(
            async |lab| {
                (lab.me.session.precision, lab.me.session.schedule) = (precision, schedule);
                let need = Need::rows(row_shape(precision, 30), shape.rows);
                planner::ensure(&mut lab.me, vec![need]).await.unwrap();
                let x = lab.share(&raw, WIDE, 18, shape);
                rms_norm::tests::stock(lab, shape, 1e-5).await;
                lab.measure(async |me| layer_norm(&mut me.session, &x, 1e-5).await).await
            },
            async |lab| {
                (lab.me.session.precision, lab.me.session.schedule) = (precision, schedule);
                let need = Need::rows(row_shape(precision, 30), shape.rows);
                planner::ensure(&mut lab.me, vec![need]).await.unwrap();
                let x = lab.share(&raw, WIDE, 18, shape);
                rms_norm::tests::stock(lab, shape, 1e-5).await;
                lab.measure(async |me| layer_norm(&mut me.session, &x, 1e-5).await).await
            },
        );
        let stated = cost(precision, schedule, shape, 1e-5).total();
        assert_eq!((traffic.cost, traffic.cost.turns), (stated, [8, 7][schedule as usize]));
        let (got, clear) = (reals(&got, precision.linear(), precision.frac()), reals(&raw, WIDE, 18));
        let errors: Vec<f64> =
            (clear.chunks(30).zip(got.chunks(30))).map(|(x, y)| testing::worst(y, &ideal(x, 1e-5))).collect();
        eprintln!("layer_norm, {precision:?}: errors {errors:?}");
        let (unit, relative) = (2f64.powi(-(precision.frac() as i32)), [2e-4, 5e-5][precision as usize]);
        assert!(errors[..5].iter().all(|&e| e < relative * 3.0 + 2.0 * unit), "{errors:?}");
        assert!(
            errors[5] < 0.01,
            "a constant row is near zero, by what a unit of the mean is in units of sqrt(eps)"
        );
    }
}
