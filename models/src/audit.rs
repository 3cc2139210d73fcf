//! What a model's weights can make overflow: a static audit, at load, in the clear, by the server.
//!
//! After a norm `||x|| <= sqrt(d)` (times a factor that is divided out of the weights), so by Cauchy-Schwarz an output of the next matrix is at most `sqrt(d)` times the norm of its
//! column, *for every input*. Where that lies within what the fixed-point rings hold, overflow is impossible; where it does not, it is
//! unproven, and a value beyond the limit might come out wrong without a sign of it. So unproven models are refused
//! unless their owner accepts the risk. The bounds are functions of the weights and stay with the server.
//!
//! What no useful static bound holds for is watched while the model runs ([`sotto_protocol::overflow_check`]): the residual stream, scores, and the input of the
//! MLP's last matrix. There the audit has to show only that a number cannot wrap all the way round to where it looks small again.
//!
//! | values                     | limit    | because                                               |
//! |----------------------------|----------|-------------------------------------------------------|
//! | queries and keys, rotated; up | `2^14` | extension from the truncated ring                    |
//! | values                     | `2^12`   | extension of their means from 26 bits, 12 of them fraction |
//! | sums of values, `2 n` of them at most | `2^18 - 2^16` | watched modulo `2^18`, to be below `2^16`: extension from 32 bits, 14 of them fraction |
//! | gate times up              | `2^18 - 2^14` | watched modulo `2^18`; extension from 32 bits, 12 of them fraction |
//! | gate                       | 503      | the ring of the activation's argument                 |
//! | logits                     | 127.5    | 16 bits, 8 of them fraction, are revealed             |
//! | scores, in base-2 units    | 15360    | watched modulo `2^14`, to be below 1024               |
//! | attention's and the MLP's part of the residual stream | `2^15` | watched modulo `2^16`, to be below `2^14` before and after |
//!
//! High precision ([`sotto_protocol::Precision`]) has two fraction bits more in every ring, four in those of products, and the same limits.
//!
//! The MLP's part is bounded by what every neuron can reach, or by the norms of its last matrix's columns and of their input as far as that is
//! watched: a row of norm 9000 goes unnoticed with probability `2^-18` at most. Bounds get a thousandth on top for what fixed-point numbers are off.

use std::{fmt, ops::Range};

use sotto_protocol::{activation, linear::Weight, rms_norm};

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
pub(crate) const LOGIT: f64 = 127.5;
/// Limit of values, and so of their means.
pub(crate) const VALUE: f64 = 4096.0;
/// Limit of attention's sums before they are divided.
pub(crate) const SUM: f64 = 262_144.0 - 65536.0;
/// Limit of the gated product.
pub(crate) const PRODUCT: f64 = 262_144.0 - 16384.0;
/// Limit of scores.
pub(crate) const SCORE: f64 = 16384.0 - 1024.0;
/// Limit of what is added to the residual stream.
pub(crate) const ADDED: f64 = 32768.0;
/// Norms of the MLP's watched rows.
pub(crate) const WATCHED_NORM: f64 = 9000.0;

impl Finding {
    /// Whether the bound, with what fixed-point numbers may be off, is not below the limit.
    pub(crate) fn is_one(&self) -> bool {
        self.bound.is_nan() || self.bound * 1.001 >= self.limit
    }
}

/// The largest magnitude of the outputs `columns` of a matrix whose input is a norm's output.
pub(crate) fn bound(w: &Weight, columns: Range<usize>) -> f64 {
    let norms = column_norms(w, 0..w.shape.inner, columns);
    norms.into_iter().fold(0.0, f64::max) * input_norm(w)
}

/// The norm of what a norm puts out.
pub(crate) fn input_norm(w: &Weight) -> f64 {
    input_norm_of(w.shape.inner)
}

fn input_norm_of(width: usize) -> f64 {
    (width as f64).sqrt() * rms_norm::factor(width)
}

/// Euclidean norms of a block's columns.
pub(crate) fn column_norms(w: &Weight, rows: Range<usize>, columns: Range<usize>) -> Vec<f64> {
    let mut squares = vec![0f64; columns.len()];
    for row in w.data.chunks(w.shape.outer).skip(rows.start).take(rows.len()) {
        for (sum, &q) in squares.iter_mut().zip(&row[columns.clone()]) {
            *sum += f64::from(q).powi(2);
        }
    }
    let unit = (-f64::from(w.shape.frac)).exp2();
    squares.into_iter().map(|square| square.sqrt() * unit).collect()
}

/// A bound on the norm of the outputs `columns` of a matrix whose input is a norm's output, at most 1.1 times the best for 128 columns: the
/// largest eigenvalue of the Gram matrix `G` is at most the 32nd root of the trace of `G^32`.
pub(crate) fn norm_bound(w: &Weight, columns: Range<usize>) -> f64 {
    let n = columns.len();
    let mut gram = vec![0f64; n * n];
    for row in w.data.chunks(w.shape.outer) {
        let row: Vec<f64> = row[columns.clone()].iter().map(|&q| f64::from(q)).collect();
        for (line, &a) in gram.chunks_exact_mut(n).zip(&row) {
            line.iter_mut().zip(&row).for_each(|(g, b)| *g += a * b);
        }
    }
    let trace = |g: &[f64]| (0..n).map(|i| g[i * n + i]).sum::<f64>();
    // log2 of the root, with G scaled to trace 1 before each squaring.
    let (mut log, mut power) = (0.0, 1.0);
    for round in 0..=5 {
        let size = trace(&gram);
        if size == 0.0 {
            return 0.0;
        }
        log += size.log2() / power;
        if round == 5 {
            break;
        }
        gram.iter_mut().for_each(|g| *g /= size);
        gram = squared(&gram, n);
        power *= 2.0;
    }
    let unit = (-f64::from(w.shape.frac)).exp2();
    (log / 2.0).exp2() * unit * input_norm(w)
}

/// `G^2` of a symmetric matrix `[n, n]`.
fn squared(g: &[f64], n: usize) -> Vec<f64> {
    let inner = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    g.chunks(n).flat_map(|a| g.chunks(n).map(move |b| inner(a, b))).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sotto_protocol::linear::{Exactness, WeightShape};

    use super::*;

    #[test]
    fn the_bound_is_attained_by_the_worst_input() {
        let shape = WeightShape { id: 0, inner: 4, outer: 2, frac: 1, exactness: Exactness::Rounded };
        let w = Weight { shape, data: vec![1, 100, 1, 100, 1, 100, 1, 100].into(), bias: vec![] };
        // An input of norm 2 along the column: all ones. Its output is half the column's sum.
        assert_eq!(bound(&w, 1..2) / rms_norm::factor(4), 200.0);
        assert_eq!(bound(&w, 0..1) / rms_norm::factor(4), 2.0);
    }

    #[test]
    fn norms_of_blocks_are_bounded_tightly() {
        let shape = WeightShape { id: 0, inner: 9, outer: 6, frac: 3, exactness: Exactness::Rounded };
        // A matrix of rank one, a diagonal one, nothing.
        let of = |f: fn(i64, i64) -> i64| {
            let data = (0..9).flat_map(|i| (0..6).map(move |j| f(i, j) as i16)).collect();
            norm_bound(&Weight { shape, data: Arc::new(data), bias: vec![] }, 0..5) / input_norm_of(9) * 8.0
        };
        let (u, v): (f64, f64) =
            ((0..9).map(|i| (i * i) as f64).sum(), (0..5).map(|j| ((j + 1) * (j + 1)) as f64).sum());
        assert!((of(|i, j| i * (j + 1)) / (u * v).sqrt() - 1.0).abs() < 1e-9);
        let diagonal = of(|i, j| if i == j { 10 + j } else { 0 });
        assert!((14.0..14.0 * 1.06).contains(&diagonal), "{diagonal}");
        assert_eq!(of(|_, _| 0), 0.0);
    }
}
