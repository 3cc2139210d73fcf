//! What a matrix can make of an input of bounded norm.

use std::ops::Range;

use rayon::prelude::*;
use sotto_protocol::linear::Weight;

/// The largest magnitudes of some outputs of a matrix, by the norm of its input.
pub(super) fn column_bounds(w: &Weight, norm: f64, columns: Range<usize>) -> Vec<f64> {
    let columns = stored(w, columns);
    let bias = |i: usize| w.bias().get(i).map_or(0.0, |b| b.abs());
    let norms = column_norms(w, 0..w.shape().inner, columns.clone());
    norms.into_iter().zip(columns).map(|(column, i)| column * norm + bias(i)).collect()
}

/// The largest magnitude in some rows of a table.
pub(super) fn largest(rows: impl IntoIterator<Item: IntoIterator<Item = i32>>, table: &Weight) -> f64 {
    let most = rows.into_iter().flatten().map(i32::unsigned_abs).max().unwrap_or(0);
    f64::from(most) * (-f64::from(table.shape().frac)).exp2()
}

/// The largest norm of some rows of a table.
pub(super) fn longest<R: IntoIterator<Item = i32>>(rows: impl IntoIterator<Item = R>, table: &Weight) -> f64 {
    let square = |row: R| row.into_iter().map(|q| f64::from(q).powi(2)).sum::<f64>();
    let most = rows.into_iter().map(square).fold(0.0, f64::max);
    most.sqrt() * (-f64::from(table.shape().frac)).exp2()
}

/// The columns of a matrix that outputs of a row's parts come from: those of one part, or all.
fn stored(w: &Weight, columns: Range<usize>) -> Range<usize> {
    let (outer, start) = (w.shape().outer, columns.start % w.shape().outer);
    if start + columns.len() <= outer { start..start + columns.len() } else { 0..outer }
}

/// A bound on the norm of some outputs of a matrix, with their bias.
pub(super) fn row_norm(w: &Weight, input: f64, columns: Range<usize>) -> f64 {
    let (count, columns) = (columns.len(), stored(w, columns));
    assert_eq!(columns.len(), count, "outputs of one part of a row");
    let bias = columns.clone().filter_map(|i| w.bias().get(i)).map(|b| b * b).sum::<f64>().sqrt();
    if columns.len() <= WIDEST {
        return norm_bound(w, input, columns) + bias;
    }
    let starts: Vec<usize> = columns.clone().step_by(BLOCK).collect();
    let block = |&at: &usize| norm_bound(w, input, at..(at + BLOCK).min(columns.end)).powi(2);
    let blocks = starts.par_iter().map(block).sum::<f64>().sqrt();
    blocks.min(input * schur_bound(w)) + bias
}

/// Columns that are bounded together: the head of an attention.
const WIDEST: usize = 512;
/// Columns of the blocks of more: it takes time in proportion.
const BLOCK: usize = 128;

/// Schur's bound on the norm of a matrix, the root of the largest row sum times the largest column
/// sum: that of a diagonal one.
pub(super) fn schur_bound(w: &Weight) -> f64 {
    let (mut columns, mut most) = (vec![0f64; w.shape().outer], 0f64);
    for row in w.data().rows() {
        let mut sum = 0.0;
        for (column, q) in columns.iter_mut().zip(row) {
            let size = f64::from(q).abs();
            *column += size;
            sum += size;
        }
        most = most.max(sum);
    }
    let unit = (-f64::from(w.shape().frac)).exp2();
    (columns.into_iter().fold(0.0, f64::max) * most).sqrt() * unit
}

/// Euclidean norms of a block's columns.
pub(super) fn column_norms(w: &Weight, rows: Range<usize>, columns: Range<usize>) -> Vec<f64> {
    let mut squares = vec![0f64; columns.len()];
    for row in w.data().rows().skip(rows.start).take(rows.len()) {
        for (sum, q) in squares.iter_mut().zip(row.skip(columns.start)) {
            *sum += f64::from(q).powi(2);
        }
    }
    let unit = (-f64::from(w.shape().frac)).exp2();
    squares.into_iter().map(|square| square.sqrt() * unit).collect()
}

/// A bound on the norm of some outputs of a matrix by the norm of its input, at most 1.1 times the
/// best for 128 columns: the largest eigenvalue of the Gram matrix `G` is at most the 32nd root of
/// the trace of `G^32`.
fn norm_bound(w: &Weight, norm: f64, columns: Range<usize>) -> f64 {
    let n = columns.len();
    let mut gram = vec![0f64; n * n];
    for row in w.data().rows() {
        let row: Vec<f64> = row.skip(columns.start).take(n).map(f64::from).collect();
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
    let unit = (-f64::from(w.shape().frac)).exp2();
    (log / 2.0).exp2() * unit * norm
}

/// `G^2` of a symmetric matrix `[n, n]`.
fn squared(g: &[f64], n: usize) -> Vec<f64> {
    let inner = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    g.chunks(n).flat_map(|a| g.chunks(n).map(move |b| inner(a, b))).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sotto_protocol::linear::{Exactness, WeightShape, Weights};

    use super::*;

    #[test]
    fn the_bound_is_attained_by_the_worst_input() {
        let shape = WeightShape { id: 0, inner: 4, outer: 2, frac: 1, exactness: Exactness::Rounded };
        let data = Arc::new(Weights::new(vec![1, 100, 1, 100, 1, 100, 1, 100], vec![0, 0]));
        let w = Weight::new(shape, data.clone(), vec![]);
        // An input of norm 2 along the column: all ones. Its output is half the column's sum.
        assert_eq!(column_bounds(&w, 2.0, 0..2), [2.0, 200.0]);
        let biased = Weight::new(shape, data, vec![-1.0, 0.5]);
        assert_eq!(column_bounds(&biased, 2.0, 0..2), [3.0, 200.5]);
    }

    #[test]
    fn norms_of_blocks_are_bounded_tightly() {
        let shape = WeightShape { id: 0, inner: 9, outer: 6, frac: 3, exactness: Exactness::Rounded };
        // A matrix of rank one, a diagonal one, nothing.
        let of = |f: fn(i64, i64) -> i64| {
            let data = (0..9).flat_map(|i| (0..6).map(move |j| f(i, j) as i16)).collect();
            norm_bound(&Weight::new(shape, Weights::plain(data, 6), vec![]), 8.0, 0..5)
        };
        let (u, v): (f64, f64) =
            ((0..9).map(|i| (i * i) as f64).sum(), (0..5).map(|j| ((j + 1) * (j + 1)) as f64).sum());
        assert!((of(|i, j| i * (j + 1)) / (u * v).sqrt() - 1.0).abs() < 1e-9);
        let diagonal = of(|i, j| if i == j { 10 + j } else { 0 });
        assert!((14.0..14.0 * 1.06).contains(&diagonal), "{diagonal}");
        assert_eq!(of(|_, _| 0), 0.0);
    }
}
