//! The operations of the f32 model, on rows of plain numbers: `[T, n]` row-major, one row a position.

use rayon::prelude::*;

/// A matrix `[out, in]`.
pub(crate) struct Matrix {
    weights: Vec<f32>,
    ins: usize,
}

impl Matrix {
    pub(crate) fn new(weights: Vec<f32>, ins: usize) -> Matrix {
        assert!(ins > 0 && weights.len().is_multiple_of(ins), "{} weights in rows of {ins}", weights.len());
        Matrix { weights, ins }
    }

    pub(crate) fn row(&self, out: usize) -> &[f32] {
        &self.weights[out * self.ins..(out + 1) * self.ins]
    }

    /// `W x` for each row `x`: `[T, in]` to `[T, out]`. Each weight is read from memory once.
    pub(crate) fn times(&self, x: &[f32]) -> Vec<f32> {
        let (rows, outs) = (x.len() / self.ins, self.weights.len() / self.ins);
        let mut columns = vec![0.0; outs * rows];
        columns.par_chunks_mut(rows).zip(self.weights.par_chunks(self.ins)).with_min_len(16).for_each(
            |(y, w)| {
                for (y, x) in y.iter_mut().zip(x.chunks_exact(self.ins)) {
                    *y = dot(w, x);
                }
            },
        );
        transpose(&columns, outs, rows)
    }
}

fn transpose(columns: &[f32], outs: usize, rows: usize) -> Vec<f32> {
    if rows == 1 {
        return columns.to_vec();
    }
    let mut y = vec![0.0; columns.len()];
    y.par_chunks_mut(outs).enumerate().for_each(|(t, row)| {
        row.iter_mut().enumerate().for_each(|(out, y)| *y = columns[out * rows + t]);
    });
    y
}

/// Eight sums side by side, which the compiler keeps in one register.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for i in 0..8 {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

/// `x / sqrt(mean(x^2) + eps) * gain`, row by row.
pub(crate) fn rms_norm(x: &[f32], gain: &[f32], eps: f64) -> Vec<f32> {
    let row = |x: &[f32]| {
        let mean = x.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() / x.len() as f64;
        let scale = ((mean + eps).sqrt().recip()) as f32;
        x.iter().zip(gain).map(|(x, gain)| x * scale * gain).collect::<Vec<_>>()
    };
    x.chunks_exact(gain.len()).flat_map(row).collect()
}

/// Turns the pairs `(x_i, x_{i + dim / 2})` of each head by the angle of its row's position, the first of
/// which is `start`.
pub(crate) fn rope(mut x: Vec<f32>, heads: usize, start: usize, frequencies: &[f64]) -> Vec<f32> {
    let half = frequencies.len();
    for (t, row) in x.chunks_exact_mut(heads * 2 * half).enumerate() {
        let angle = |w: &f64| ((start + t) as f64 * w).sin_cos();
        let turns: Vec<_> =
            frequencies.iter().map(angle).map(|(sin, cos)| (sin as f32, cos as f32)).collect();
        for head in row.chunks_exact_mut(2 * half) {
            let (left, right) = head.split_at_mut(half);
            for ((a, b), (sin, cos)) in left.iter_mut().zip(right).zip(&turns) {
                (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
            }
        }
    }
    x
}

/// How the columns of queries, keys and values fall into heads.
#[derive(Clone, Copy)]
pub(crate) struct Heads {
    /// Width of a head.
    pub(crate) dim: usize,
    /// Number of query heads.
    pub(crate) query: usize,
    /// Number of key heads; `query / key` neighbouring query heads share one.
    pub(crate) key: usize,
}

/// Keys and values of the past positions of a layer, `[n, kv_heads * dim]` each.
#[derive(Clone, Default)]
pub(crate) struct KeysValues {
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl KeysValues {
    pub(crate) fn push(&mut self, keys: &[f32], values: &[f32]) {
        self.keys.extend_from_slice(keys);
        self.values.extend_from_slice(values);
    }
}

/// Causal attention of the queries of positions `start..`, `[T, heads * dim]`, over all keys and values.
pub(crate) fn attention(q: &[f32], past: &KeysValues, start: usize, heads: Heads) -> Vec<f32> {
    let width = heads.query * heads.dim;
    let mut out = vec![0.0; q.len()];
    out.par_chunks_mut(width).zip(q.par_chunks(width)).enumerate().for_each(|(t, (out, q))| {
        let seen = start + t + 1;
        for (head, (out, q)) in out.chunks_exact_mut(heads.dim).zip(q.chunks_exact(heads.dim)).enumerate() {
            let shared = head / (heads.query / heads.key);
            let columns = |x| rows_of(x, heads, shared).take(seen);
            let weights =
                softmax(columns(&past.keys).map(|k| dot(q, k) / (heads.dim as f32).sqrt()).collect());
            for (weight, v) in weights.into_iter().zip(columns(&past.values)) {
                out.iter_mut().zip(v).for_each(|(out, v)| *out += weight * v);
            }
        }
    });
    out
}

/// One head's columns, position by position.
fn rows_of(x: &[f32], heads: Heads, head: usize) -> impl Iterator<Item = &[f32]> {
    x.chunks_exact(heads.key * heads.dim).map(move |row| &row[head * heads.dim..(head + 1) * heads.dim])
}

fn softmax(mut scores: Vec<f32>) -> Vec<f32> {
    let largest = scores.iter().copied().fold(f32::MIN, f32::max);
    scores.iter_mut().for_each(|s| *s = (*s - largest).exp());
    let sum: f32 = scores.iter().sum();
    scores.iter_mut().for_each(|s| *s /= sum);
    scores
}

/// `SiLU(gate) * up`, element by element.
pub(crate) fn silu_times(mut gate: Vec<f32>, up: &[f32]) -> Vec<f32> {
    gate.iter_mut().zip(up).for_each(|(g, up)| *g = *g / (1.0 + (-*g).exp()) * up);
    gate
}

/// `x += y`.
pub(crate) fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}
