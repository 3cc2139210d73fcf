//! What a model's weights can make overflow: a static audit, at load, in the clear, by the server.
//!
//! After a norm `||x|| <= sqrt(d)`, so by Cauchy-Schwarz an output of the next matrix is at most `sqrt(d)` times the norm of its
//! column, *for every input*. Where that lies within what the fixed-point rings hold, overflow is impossible; where it does not, it is
//! unproven, and a value beyond the limit would come out wrong without a sign of it. So unproven models are refused
//! unless their owner accepts the risk. The bounds are functions of the weights and stay with the server.
//!
//! | values                     | limit    | because                                               |
//! |----------------------------|----------|-------------------------------------------------------|
//! | queries and keys, rotated; values; up | `2^14` | extension from the truncated ring            |
//! | sums of values, `2 n` of them at most | `2^16` | extension from 32 bits, 14 of them fraction  |
//! | gate times up              | `2^18`   | extension from 32 bits, 12 of them fraction           |
//! | gate                       | 503      | the ring of the activation's argument                 |
//! | logits                     | 128      | 16 bits, 8 of them fraction, are revealed             |
//!
//! Not covered: the residual stream (`|x| < 2^14`, `sum x^2 < 2^27` a row) and scores (rows must not spread over more than 2047 base-2 units),
//! whose static bounds are too weak to be of use.

use std::{fmt, ops::Range};

use sotto_protocol::{activation, linear::Weight};

/// Values that may exceed what their ring holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Which values.
    pub what: String,
    /// The largest magnitude that the weights admit.
    pub bound: f64,
    /// The largest magnitude that is represented.
    pub limit: f64,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} may reach {:.0}, the limit is {:.0}", self.what, self.bound, self.limit)
    }
}

/// Limit of what is extended from a truncated ring.
pub(crate) const EXTENDED: f64 = 16384.0;
/// Limit of the gate.
pub(crate) const GATE: f64 = activation::Activation::Silu.bound();
/// Limit of logits.
pub(crate) const LOGIT: f64 = 128.0;

/// Limit of attention's sums before they are divided.
pub(crate) const SUM: f64 = 65536.0;
/// Limit of the gated product.
pub(crate) const PRODUCT: f64 = 262_144.0;

/// The largest magnitude of the outputs `columns` of a matrix whose input is a norm's output.
pub(crate) fn bound(w: &Weight, columns: Range<usize>) -> f64 {
    let mut squares = vec![0f64; columns.len()];
    for row in w.data.chunks(w.shape.outer) {
        for (sum, &q) in squares.iter_mut().zip(&row[columns.clone()]) {
            *sum += f64::from(q).powi(2);
        }
    }
    let largest = squares.into_iter().fold(0.0, f64::max).sqrt();
    largest * (-f64::from(w.shape.frac)).exp2() * (w.shape.inner as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use sotto_protocol::linear::{Exactness, WeightShape};

    use super::*;

    #[test]
    fn the_bound_is_attained_by_the_worst_input() {
        let shape = WeightShape { id: 0, inner: 4, outer: 2, frac: 1, exactness: Exactness::Rounded };
        let w = Weight { shape, data: vec![1, 100, 1, 100, 1, 100, 1, 100], bias: vec![] };
        // An input of norm 2 along the column: all ones. Its output is half the column's sum.
        assert_eq!(bound(&w, 1..2), 200.0);
        assert_eq!(bound(&w, 0..1), 2.0);
    }
}
