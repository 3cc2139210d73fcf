//! Logarithms base 2 of the quantities an estimate is made of.

use std::f64::consts::{LN_2, TAU};

/// `log2(2^a + 2^b)`.
pub(super) fn log2_sum(a: f64, b: f64) -> f64 {
    let (high, low) = if a > b { (a, b) } else { (b, a) };
    high + (low - high).exp2().ln_1p() / LN_2
}

/// `log2(n choose m)` for real arguments; minus infinity unless `0 <= m <= n`.
pub(super) fn log2_binomial(n: f64, m: f64) -> f64 {
    if m < 0.0 || m > n {
        return f64::NEG_INFINITY;
    }
    (ln_gamma(n + 1.0) - ln_gamma(m + 1.0) - ln_gamma(n - m + 1.0)) / LN_2
}

/// Stirling's series after a shift to `x >= 10`; the error is below 1e-9.
fn ln_gamma(mut x: f64) -> f64 {
    let mut shift = 1.0;
    while x < 10.0 {
        shift *= x;
        x += 1.0;
    }
    let tail = 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3)) + 1.0 / (1260.0 * x.powi(5));
    (x - 0.5) * x.ln() - x + 0.5 * TAU.ln() + tail - shift.ln()
}

/// `-blocks log2(1 - share)`: the price of a guess that no block has its noise in the chosen share
/// of it.
pub(super) fn noise_free(share: f64, blocks: f64) -> f64 {
    -blocks * (-share).ln_1p() / LN_2
}

/// Binary entropy of `x` in bits.
pub(super) fn entropy(x: f64) -> f64 {
    -x * x.log2() - (1.0 - x) * (1.0 - x).log2()
}

/// Relative entropy in bits of a coin of bias `a` to a coin of bias `b`.
pub(super) fn relative_entropy(a: f64, b: f64) -> f64 {
    a * (a / b).log2() + (1.0 - a) * ((1.0 - a) / (1.0 - b)).log2()
}

/// The smallest value; infinity for none.
pub(super) fn minimum(costs: impl IntoIterator<Item = f64>) -> f64 {
    costs.into_iter().fold(f64::INFINITY, f64::min)
}

/// The smallest `x` in `0..=last` with `holds(x)`, for a condition that stays true once it is.
pub(super) fn first(last: u64, holds: impl Fn(u64) -> bool) -> Option<u64> {
    if !holds(last) {
        return None;
    }
    let (mut low, mut high) = (0, last);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Some(high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binomials() {
        assert!((log2_binomial(10.0, 3.0) - 120f64.log2()).abs() < 1e-9);
        assert!((log2_binomial(1e6, 1.0) - 1e6f64.log2()).abs() < 1e-6);
        assert_eq!(log2_binomial(3.0, 4.0), f64::NEG_INFINITY);
        assert!(log2_binomial(5.0, 0.0).abs() < 1e-9);
    }

    #[test]
    fn sums() {
        assert!((log2_sum(3.0, 3.0) - 4.0).abs() < 1e-12);
        assert_eq!(log2_sum(f64::NEG_INFINITY, 5.0), 5.0);
    }

    #[test]
    fn bisection() {
        assert_eq!(first(100, |x| x >= 37), Some(37));
        assert_eq!(first(100, |_| true), Some(0));
        assert_eq!(first(100, |_| false), None);
    }
}
