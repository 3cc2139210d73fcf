//! The first block of a LLaMA in f64, from an empty cache: what the case `block` is checked against.

use anyhow::Result;
use sotto_models::{Folder, Param, rope_inverse_frequencies};

/// `h + attention(norm(h))`, then `h + mlp(norm(h))`, of rows `[T, d]`.
///
/// # Errors
/// A weight cannot be read.
pub fn block(folder: &Folder, mut h: Vec<f64>) -> Result<Vec<f64>> {
    let product = |x: &[f64], param: Param| -> Result<Vec<f64>> {
        let shape = param.shape(folder.config());
        Ok(linear(x, &folder.param(param)?, shape[1]))
    };
    let x = normed(folder, &h, Param::AttentionNorm(0))?;
    let mut q = product(&x, Param::Query(0))?;
    let mut k = product(&x, Param::Key(0))?;
    let v = product(&x, Param::Value(0))?;
    let c = folder.config();
    rotate(&mut q, c.query_size(), &rope_inverse_frequencies(c));
    rotate(&mut k, c.key_value_size(), &rope_inverse_frequencies(c));
    let a = attention(folder, &q, &k, &v);
    add(&mut h, &product(&a, Param::Output(0))?);

    let x = normed(folder, &h, Param::MlpNorm(0))?;
    let (gate, up) = (product(&x, Param::Gate(0))?, product(&x, Param::Up(0))?);
    let silu = |x: f64| x / (1.0 + (-x).exp());
    let inside: Vec<f64> = gate.iter().zip(&up).map(|(&g, u)| silu(g) * u).collect();
    add(&mut h, &product(&inside, Param::Down(0))?);
    Ok(h)
}

fn normed(folder: &Folder, h: &[f64], gain: Param) -> Result<Vec<f64>> {
    let gain = folder.param(gain)?;
    let eps = folder.config().rms_norm_eps;
    let rows = h.chunks(gain.len()).map(|row| {
        let mean = row.iter().map(|x| x * x).sum::<f64>() / row.len() as f64;
        row.iter().map(|x| x / (mean + eps).sqrt()).collect::<Vec<f64>>()
    });
    Ok(rows
        .flat_map(|row| row.into_iter().zip(&gain).map(|(x, &g)| x * f64::from(g)).collect::<Vec<_>>())
        .collect())
}

/// `x W^T`, with `W` `[out, in]` as checkpoints have it.
pub fn linear(x: &[f64], w: &[f32], inner: usize) -> Vec<f64> {
    let dot = |x: &[f64], w: &[f32]| -> f64 { x.iter().zip(w).map(|(x, &w)| x * f64::from(w)).sum() };
    x.chunks(inner).flat_map(|x| w.chunks(inner).map(move |w| dot(x, w))).collect()
}

fn rotate(x: &mut [f64], width: usize, frequencies: &[f64]) {
    let half = frequencies.len();
    for (position, row) in x.chunks_mut(width).enumerate() {
        for head in row.chunks_mut(2 * half) {
            let (low, high) = head.split_at_mut(half);
            for ((a, b), frequency) in low.iter_mut().zip(high).zip(frequencies) {
                let (sin, cos) = (position as f64 * frequency).sin_cos();
                (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
            }
        }
    }
}

/// Causal attention of all heads, `[T, heads h]`.
fn attention(folder: &Folder, q: &[f64], k: &[f64], v: &[f64]) -> Vec<f64> {
    let c = folder.config();
    let size = c.head_dim;
    let mut out = vec![];
    for (t, q) in q.chunks(c.query_size()).enumerate() {
        for (head, q) in q.chunks(size).enumerate() {
            let at = head / c.group_size() * size;
            let past = |x: &'_ [f64], s: usize| x[s * c.key_value_size() + at..][..size].to_vec();
            let score = |s| q.iter().zip(past(k, s)).map(|(q, k)| q * k).sum::<f64>() / (size as f64).sqrt();
            let scores: Vec<f64> = (0..=t).map(score).collect();
            let max = scores.iter().copied().fold(f64::MIN, f64::max);
            let weights: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
            let sum: f64 = weights.iter().sum();
            let mut mean = vec![0.0; size];
            for (s, weight) in weights.iter().enumerate() {
                mean.iter_mut().zip(past(v, s)).for_each(|(m, v)| *m += weight / sum * v);
            }
            out.extend(mean);
        }
    }
    out
}

fn add(h: &mut [f64], more: &[f64]) {
    h.iter_mut().zip(more).for_each(|(h, x)| *h += x);
}
