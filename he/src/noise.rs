//! The noise estimate, as variances relative to one unit Q / 2^l of the ring.
//!
//! With sigma^2 = 10.5 the variance of an error, w the root mean square of the weights, K n the
//! number of terms, zeros aside, that meet in a coefficient, s levels on the input and d on the
//! output:
//!
//! | source                | variance                                                  |
//! |-----------------------|-----------------------------------------------------------|
//! | fresh error           | `E = sigma^2 + 1/12`; after the product `E w^2 K n`       |
//! | one key switch        | `S = L N q^2 sigma^2 / (12 P^2) + N / 18`                 |
//! | s levels on the input | `S (s/2) w^2 K n 4^s` (an image is s/2 switches on average) |
//! | d levels on the output| `S (4^d - 1) / 3`                                         |
//! | encryption of zero    | `sigma^2 (4 N / 3 + 1)`                                   |
//! | rounding a' to 2^kr   | `(N / 18 + 1/12) (2^l / 2^kr)^2`, in units of the ring    |
//!
//! The input is divided by 2^s modulo Q before its levels, a unit by 2^d before its own, and the
//! levels multiply back; noise made in between is not divided, hence the factors 4^s and 4^d.
//! Errors are taken as independent and centred.
//!
//! A pair of shares of a result that is to be exact is off by one with probability E|noise| =
//! sqrt(2/pi) times the deviation.

use crate::layout::{Layout, Operand};
use crate::params::{self, ERROR_ETA, PRIME_BITS};
use crate::weights::WEIGHT_BITS;

/// The noise, of which the client knows much, is smaller than the tolerance by so many bits, so
/// than the rounding of the reply, of which it knows nothing, by half a bit less.
const DROWNED: i32 = 6;

/// Variance of one error coefficient.
const SIGMA_SQUARE: f64 = ERROR_ETA as f64 / 2.0;

/// Mean square of the weights the estimate assumes: the largest for weights, uniform ones for ring
/// elements.
pub(crate) fn weight_square(layout: &Layout) -> f64 {
    match layout.operand {
        Operand::Weights => power(2 * (WEIGHT_BITS as i32 - 1)),
        Operand::Ring => power(2 * (layout.bits as i32 - 1)) / 3.0,
    }
}

/// Variance before the reply is rounded, in squares of one unit of the ring.
pub(crate) fn variance(layout: &Layout, weight_square: f64) -> f64 {
    let n = layout.degree as f64;
    let levels = layout.levels as f64;
    let split = layout.split as i32;
    // In a batch a reply may be packed to the full, however few units this product has.
    let packed = layout.units_per_reply().ilog2() as i32;

    let terms = weight_square * (layout.terms * layout.n) as f64;
    let switch = levels * n * SIGMA_SQUARE / 12.0 + n / 18.0;
    let fresh = (SIGMA_SQUARE + 1.0 / 12.0) * terms;
    let input = switch * f64::from(split) / 2.0 * terms * power(2 * split);
    let output = switch * (power(2 * packed) - 1.0) / 3.0;
    let zero = SIGMA_SQUARE * (4.0 * n / 3.0 + 1.0);

    let modulus: f64 = params::data_primes()[..layout.levels].iter().map(|&q| q as f64).product();
    let unit = modulus / power(layout.bits as i32);
    (fresh + input + output + zero) / (unit * unit)
}

/// Deviation of the sum of two shares, before they are rounded to the ring, from the product.
pub(crate) fn error_deviation(layout: &Layout) -> f64 {
    let guard = layout.reply_bits() as i32 - layout.bits as i32;
    let rounding = (layout.degree as f64 / 18.0 + 1.0 / 12.0) * power(-2 * guard);
    (variance(layout, weight_square(layout)) + rounding).sqrt()
}

/// Whether the error keeps within its tolerance, and the part of it that W decides within 2^-6 of
/// that.
pub(crate) fn acceptable(layout: &Layout) -> bool {
    let decided_by_weights = variance(layout, weight_square(layout)).sqrt();
    // a' s must not wrap modulo Q.
    let wraps = layout.degree.ilog2() + layout.reply_bits() >= PRIME_BITS * layout.levels as u32 - 1;
    !wraps
        && error_deviation(layout) <= power(layout.tolerance)
        && decided_by_weights <= power(layout.tolerance - DROWNED)
}

/// 2^e, exactly.
pub(crate) fn power(e: i32) -> f64 {
    f64::from_bits(((1023 + e) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, Session, exact, measured_deviation};
    use crate::{Context, EXACT, Error, MatmulShape, Plain};

    /// Mean square of uniform 16-bit integers, shifted by 0 to 6 bits.
    const UNIFORM: f64 = 65536.0 * 65536.0 / 12.0 * 5461.0 / 7.0;

    fn compare(session: &mut Session, levels: usize, operand: Operand, split: u32, n: usize, k: usize) {
        let (bits, degree) = (40, session.context.degree());
        let shape = MatmulShape { tokens: 4, inner: 300, outer: 70 };
        let t = degree / (n * k);
        let terms = shape.inner;
        let layout =
            Layout { shape, operand, bits, terms, t, n, k, split, ..testing::layout(degree, levels) };
        let (x, weights, ring) =
            (session.ring(4 * 300, bits), session.weights(300, 70), session.ring(300 * 70, bits));
        let (w, y, square) = match operand {
            Operand::Weights => (Plain::Weights(&weights), exact(&layout, &x, |i| weights.at(i)), UNIFORM),
            Operand::Ring => {
                (Plain::Ring(&ring), exact(&layout, &x, |i| ring[i] as i64), weight_square(&layout))
            }
        };
        let measured = measured_deviation(session, &layout, &x, w, &y).log2();
        let estimate = variance(&layout, square).log2() / 2.0;
        assert!((measured - estimate).abs() < 1.0, "{layout}: measured {measured}, estimated {estimate}");
    }

    #[test]
    fn estimate_agrees_with_measurement() {
        let mut session = Session::full(3);
        for levels in [2, 3] {
            for (split, n, k) in [(0, 8, 256), (1, 2, 512), (3, 8, 256), (5, 1, 2048)] {
                compare(&mut session, levels, Operand::Weights, split, n, k);
            }
        }
        compare(&mut session, 2, Operand::Ring, 0, 8, 256);
        compare(&mut session, 3, Operand::Ring, 0, 8, 256);
        compare(&mut session, 3, Operand::Ring, 4, 2, 512);
    }

    #[test]
    fn shapes_that_must_be_served_are_within_the_promise() {
        let context = Context::new().unwrap();
        let search = |tokens, inner, outer, operand, bits, tolerance| {
            let shape = MatmulShape { tokens, inner, outer };
            let layout = Layout::search(&context, shape, operand, bits, tolerance, 1).unwrap();
            assert!(layout.error_log2() <= f64::from(tolerance), "{layout}");
            assert!(layout.noise_bits() <= f64::from(tolerance - DROWNED), "{layout}");
            layout
        };
        for (tokens, inner, outer) in [
            (1, 128, 64),
            (16, 32000, 288),
            (1, 4096, 4096),
            (128, 768, 3072),
            (1, 11008, 4096),
            (7, 1, 1),
            (1, 1, 9000),
        ] {
            let layout = search(tokens, inner, outer, Operand::Weights, 44, 2);
            assert_eq!(layout.levels, 2);
            search(tokens, inner, outer, Operand::Weights, 44, EXACT);
            search(tokens, inner, outer, Operand::Weights, 64, 6);
        }
        for inner in [64, 128, 4096] {
            for bits in [44, 48, 52] {
                search(128, inner, 128, Operand::Ring, bits, 6);
                search(1, inner, 4096, Operand::Ring, bits, 6);
            }
        }
    }

    #[test]
    fn too_much_noise_is_a_named_error() {
        let context = Context::new().unwrap();
        let shape = MatmulShape { tokens: 4, inner: 4096, outer: 128 };
        let search = Layout::search(&context, shape, Operand::Ring, 44, EXACT, 1);
        assert!(matches!(search, Err(Error::Noise { .. })));
    }

    #[test]
    fn powers_of_two_are_exact() {
        assert!([-80, -1, 0, 1, 44, 300].iter().all(|&e| power(e) == 2f64.powi(e)));
    }
}
