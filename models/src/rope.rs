//! Frequencies of the rotary position embedding.
//!
//! Position `p` turns the pair `(x_i, x_{i + n / 2})` of a query or key head by the angle `p *
//! w_i`, and multiplies it by the attention factor, for `n` columns of a head.

use std::f64::consts::TAU;

use crate::config::{Config, Llama3Scaling, RopeScaling, YarnScaling};

/// The angles per position `w_i = rope_theta^(-2 i / n)`, `[n / 2]`, in radians, changed as the
/// configuration's `rope_scaling` says; `n` columns of a head are rotated.
pub fn rope_inverse_frequencies(config: &Config) -> Vec<f64> {
    let (theta, width) = (config.rope_theta, config.rotated() as f64);
    let plain = plain(theta, config.rotated());
    match &config.rope_scaling {
        None => plain.collect(),
        Some(RopeScaling::Linear(factor)) => plain.map(|w| w / factor).collect(),
        Some(RopeScaling::Llama3(scaling)) => plain.map(|w| stretch(w, scaling)).collect(),
        Some(RopeScaling::Yarn(scaling)) => {
            let (low, high) = yarn_bounds(scaling, theta, width);
            plain.enumerate().map(|(i, w)| mix(w, scaling.factor, 1.0 - ramp(i as f64, low, high))).collect()
        }
    }
}

/// The same of a layer, which may have frequencies of its own, and what scores are multiplied by on
/// account of the rotation.
pub(crate) fn of_layer(config: &Config, layer: usize) -> (Vec<f64>, f64) {
    match &config.local_rope {
        Some(local) if local.layers.contains(&(layer as u32)) => {
            (plain(local.rope_theta, config.rotated()).collect(), 1.0)
        }
        // Queries and keys are both multiplied by the factor as they are rotated.
        _ => (rope_inverse_frequencies(config), rope_attention_factor(config).powi(2)),
    }
}

/// Of so many columns, unscaled. Both parties must get the same.
fn plain(theta: f64, columns: usize) -> impl Iterator<Item = f64> {
    (0..columns / 2).map(move |i| libm::pow(theta, -2.0 * i as f64 / columns as f64))
}

/// What the cosines and sines of the rotary embedding are multiplied by, for queries and for keys:
/// scores grow by its square. It is 1 but for YaRN.
pub fn rope_attention_factor(config: &Config) -> f64 {
    match &config.rope_scaling {
        Some(RopeScaling::Yarn(scaling)) => scaling.attention_factor,
        _ => 1.0,
    }
}

/// Divides slow rotations by `factor`, leaves fast ones alone, and interpolates between.
fn stretch(w: f64, scaling: &Llama3Scaling) -> f64 {
    let Llama3Scaling { factor, low_freq_factor: low, high_freq_factor: high, .. } = *scaling;
    let turns = scaling.original_max_position_embeddings as f64 * w / TAU;
    mix(w, factor, ramp(turns, low, high))
}

/// The pairs at which the original context has `beta_fast` and `beta_slow` turns: section 3.2 of
/// YaRN.
fn yarn_bounds(scaling: &YarnScaling, theta: f64, width: f64) -> (f64, f64) {
    let positions = scaling.original_max_position_embeddings as f64;
    let pair = |turns: f64| width * libm::log(positions / (turns * TAU)) / (2.0 * libm::log(theta));
    let (low, high) = (pair(scaling.beta_fast), pair(scaling.beta_slow));
    let (low, high) = if scaling.truncate { (low.floor(), high.ceil()) } else { (low, high) };
    let (low, high) = (low.max(0.0), high.min(width - 1.0));
    // A step in place of a ramp of no width.
    if low == high { (low, high + 0.001) } else { (low, high) }
}

/// `0` up to `low`, `1` from `high` on, straight between.
fn ramp(x: f64, low: f64, high: f64) -> f64 {
    ((x - low) / (high - low)).clamp(0.0, 1.0)
}

/// The share `kept` of a frequency, and the rest of it divided by `factor`.
fn mix(w: f64, factor: f64, kept: f64) -> f64 {
    kept * w + (1.0 - kept) * w / factor
}
