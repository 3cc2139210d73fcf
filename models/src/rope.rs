//! Frequencies of the rotary position embedding.
//!
//! Position `p` turns the pair `(x_i, x_{i + head_dim / 2})` of a query or key head by the angle `p * w_i`.

use std::f64::consts::TAU;

use crate::config::{Config, Llama3Scaling};

/// The angles per position `w_i = rope_theta^(-2 i / head_dim)`, `[head_dim / 2]`, in radians, stretched as
/// LLaMA 3 does where the configuration says so.
pub fn rope_inverse_frequencies(config: &Config) -> Vec<f64> {
    // Both parties must get the same.
    let plain = (0..config.head_dim / 2)
        .map(|i| libm::pow(config.rope_theta, -2.0 * i as f64 / config.head_dim as f64));
    match &config.rope_scaling {
        None => plain.collect(),
        Some(scaling) => plain.map(|w| stretch(w, scaling)).collect(),
    }
}

/// Divides slow rotations by `factor`, leaves fast ones alone, and interpolates between.
fn stretch(w: f64, scaling: &Llama3Scaling) -> f64 {
    let Llama3Scaling { factor, low_freq_factor: low, high_freq_factor: high, .. } = *scaling;
    let turns = scaling.original_max_position_embeddings as f64 * w / TAU;
    let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
    kept * w + (1.0 - kept) * w / factor
}
