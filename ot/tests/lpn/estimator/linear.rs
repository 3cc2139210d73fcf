//! Gaussian elimination on guessed samples, and statistical decoding.

use super::Lpn;
use super::math::noise_free;

/// Exponent of dense elimination (Strassen), as in [eprint
/// 2022/712](https://eprint.iacr.org/2022/712).
pub(super) const DENSE: f64 = 2.8;

/// Pooled Gauss: guess `k - t` samples free of noise, equally many in each block, and solve.
///
/// `(k - t)^2.8 / (1 - (k - t)/n)^t`. The `t` equations `sum of a block's noise = 1` save `t`
/// guesses. Source: eprint 2022/712, section 5.1; regular noise as in eprint 2023/1568, "Perm".
pub fn pooled_gauss(lpn: &Lpn) -> f64 {
    let m = lpn.k() - lpn.t();
    DENSE * m.log2() + noise_free(m / lpn.n(), lpn.t())
}

/// Statistical decoding: the bias of many parity checks of weight about `k/2` sums up.
///
/// `4 (k + 1) ((n - t + 1)/(n - k - t))^(2t)` at `(n - t, k - t, t)`.
/// Source: eprint 2022/712, the SD attack with `s = 0`; the factor 4 as in the estimator of mpz.
pub fn statistical_decoding(lpn: &Lpn) -> f64 {
    statistical(lpn, 0.0)
}

/// Statistical decoding 2.0: the same after a guess of `s` secret bits by a Fourier transform of
/// size `2^s`.
///
/// `s` is the cost of [`pooled_gauss`], an upper limit for what may be spent on the transform.
/// Source: eprint 2022/712, after Carrier, Debris-Alazard, Meyer-Hilfiger and Tillich, eprint
/// 2022/1000.
pub fn statistical_decoding_2(lpn: &Lpn) -> f64 {
    statistical(lpn, pooled_gauss(lpn).floor())
}

fn statistical(lpn: &Lpn, s: f64) -> f64 {
    let (n, k, t) = lpn.without_block_parities();
    let k = k - s;
    let ratio = (n - t + 1.0) / (n - k - t);
    (k + 1.0).log2() + 2.0 * t * ratio.log2() + 2.0
}
