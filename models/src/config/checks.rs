//! What the fields of a configuration must be: checked alike whether they come from a file or from
//! the peer.

use std::ops::RangeInclusive;

use sotto_protocol::activation::Activation;

use super::{Config, Fields, Llama3Scaling, Multipliers, RopeScaling, Task, YarnScaling};
use crate::error::ConfigError;
use crate::network::Architecture;

/// Checks all of them.
///
/// # Errors
/// Names the first that is out of range or contradicts another.
pub(super) fn all(f: &Fields) -> Result<(), ConfigError> {
    check_sizes(f)?;
    check_heads(f)?;
    check_numbers(f)?;
    check_tokens(f)?;
    check_encoder(f)?;
    f.rope_scaling.as_ref().map_or(Ok(()), |scaling| check_scaling(scaling, f.rope_theta))
}

fn check_sizes(f: &Fields) -> Result<(), ConfigError> {
    within("vocab_size", f.vocab_size, 2..=Config::MAX_VOCAB)?;
    within("hidden_size", f.hidden_size, 2..=1 << 15)?;
    within("intermediate_size", f.intermediate_size, 1..=1 << 17)?;
    within("num_hidden_layers", f.num_hidden_layers, 1..=256)?;
    within("num_attention_heads", f.num_attention_heads, 1..=512)?;
    within("num_key_value_heads", f.num_key_value_heads, 1..=512)?;
    within("head_dim", f.head_dim, 2..=512)?;
    within("max_position_embeddings", f.max_position_embeddings, 1..=Config::MAX_POSITIONS)
}

fn check_heads(f: &Fields) -> Result<(), ConfigError> {
    let (heads, shared) = (f.num_attention_heads, f.num_key_value_heads);
    if !heads.is_multiple_of(shared) {
        return Err(refuse(
            "num_key_value_heads",
            shared,
            format!("a divisor of num_attention_heads = {heads}"),
        ));
    }
    if !f.head_dim.is_multiple_of(2) {
        return Err(refuse("head_dim", f.head_dim, "an even number (rotary embedding turns pairs)"));
    }
    if let Some(turned) = f.rotary_dim.filter(|n| !n.is_multiple_of(2) || *n > f.head_dim) {
        let expected = format!("an even number up to head_dim = {}", f.head_dim);
        return Err(refuse("rotary_dim", turned, expected));
    }
    // A norm spans all of them.
    if f.architecture == Architecture::Olmo2 && heads * f.head_dim > 1 << 15 {
        return Err(refuse("num_attention_heads", heads, "at most 32768 columns of queries"));
    }
    check_layers(f, "no_rope_layers", &f.unrotated_layers)?;
    match &f.local_rope {
        None => Ok(()),
        Some(local) => {
            between("rope_local_base_freq", local.rope_theta, 1.0..=1e12)?;
            check_layers(f, "layer_types", &local.layers)
        }
    }
}

/// Checks numbers of layers, which a field tells.
fn check_layers(f: &Fields, field: &str, layers: &[u32]) -> Result<(), ConfigError> {
    match layers.iter().find(|&&layer| layer as usize >= f.num_hidden_layers) {
        Some(layer) => {
            let expected = format!("layers below num_hidden_layers = {}", f.num_hidden_layers);
            Err(refuse(field, layer, expected))
        }
        None => within(&format!("number of {field}"), layers.len(), 0..=f.num_hidden_layers),
    }
}

fn check_numbers(f: &Fields) -> Result<(), ConfigError> {
    between("norm_eps", f.norm_eps, EPSILONS)?;
    between("rope_theta", f.rope_theta, 1.0..=1e12)?;
    if matches!(f.activation, Activation::Relu | Activation::SoftCap) {
        return Err(refuse("hidden_act", f.activation.name(), "another function"));
    }
    between("attn_logit_softcapping", f.score_cap.unwrap_or(1.0), SCORE_CAPS)?;
    between("final_logit_softcapping", f.logit_cap.unwrap_or(1.0), MULTIPLIERS)?;
    let Multipliers { embedding, scores, residual, logits } = f.multipliers;
    between("embedding_multiplier", embedding, MULTIPLIERS)?;
    between("attention_multiplier", scores.unwrap_or(1.0), MULTIPLIERS)?;
    between("residual_multiplier", residual, MULTIPLIERS)?;
    between("logits_scaling", logits, MULTIPLIERS)
}

/// What norms may add to the mean square or the variance.
pub(crate) const EPSILONS: RangeInclusive<f64> = 1e-12..=1e-2;
const MULTIPLIERS: RangeInclusive<f64> = 1e-4..=1e4;
/// Capped scores stay within what a softmax takes: 768 in base-2 units.
const SCORE_CAPS: RangeInclusive<f64> = 0.01..=500.0;

fn check_tokens(f: &Fields) -> Result<(), ConfigError> {
    within("number of eos_token_id", f.eos_token_ids.len(), 0..=Config::MAX_EOS)?;
    let below = format!("an id below vocab_size = {}", f.vocab_size);
    let known = |&id: &u32| (id as usize) < f.vocab_size;
    if let Some(id) = f.bos_token_id.filter(|id| !known(id)) {
        return Err(refuse("bos_token_id", id, below));
    }
    match f.eos_token_ids.iter().find(|id| !known(id)) {
        Some(id) => Err(refuse("eos_token_id", id, below)),
        None => Ok(()),
    }
}

fn check_encoder(f: &Fields) -> Result<(), ConfigError> {
    let Some(e) = &f.encoder else {
        return match f.architecture.is_encoder() {
            true => Err(refuse("architectures", "no encoder", "an encoder")),
            false => Ok(()),
        };
    };
    if !f.architecture.is_encoder() || e.task == Task::Generate {
        return Err(refuse("architectures", "an encoder", "a model that continues texts"));
    }
    if (f.num_key_value_heads, f.head_dim * f.num_attention_heads) != (f.num_attention_heads, f.hidden_size) {
        let expected = format!("a multiple of num_attention_heads = {}", f.num_attention_heads);
        return Err(refuse("hidden_size", f.hidden_size, expected));
    }
    if f.architecture != Architecture::Electra && e.embedding_size != f.hidden_size {
        return Err(refuse("embedding_size", e.embedding_size, format!("hidden_size = {}", f.hidden_size)));
    }
    within("embedding_size", e.embedding_size, 2..=1 << 15)?;
    within("type_vocab_size", e.token_types, 0..=16)?;
    within("pad_token_id", e.first_position, 0..=Config::MAX_VOCAB)?;
    let labelled = matches!(e.task, Task::Classify | Task::Tag);
    within("max_seq_length", e.longest.unwrap_or(1), 1..=Config::MAX_POSITIONS)?;
    let bytes = e.labels.iter().map(|label| label.len() + 8).sum();
    within("bytes of id2label", bytes, if labelled { 1..=Config::MAX_LABELS } else { 0..=0 })?;
    within("out_features", e.dense.map_or(1, |dense| dense.outputs), 1..=1 << 15)?;
    match e.mask_token {
        Some(id) if id as usize >= f.vocab_size => {
            Err(refuse("mask_token", id, format!("an id below vocab_size = {}", f.vocab_size)))
        }
        _ => Ok(()),
    }
}

fn check_scaling(scaling: &RopeScaling, theta: f64) -> Result<(), ConfigError> {
    match scaling {
        RopeScaling::Linear(factor) => between("rope_scaling.factor", *factor, 1.0..=1e6),
        // Its bounds divide by the logarithm.
        RopeScaling::Yarn(_) if theta < 2.0 => between("rope_theta", theta, 2.0..=1e12),
        RopeScaling::Yarn(yarn) => check_yarn(yarn),
        RopeScaling::Llama3(llama3) => check_llama3(llama3),
    }
}

fn check_yarn(s: &YarnScaling) -> Result<(), ConfigError> {
    between("rope_scaling.factor", s.factor, 1.0..=1e6)?;
    between("rope_scaling.attention_factor", s.attention_factor, 1e-2..=1e2)?;
    between("rope_scaling.beta_fast", s.beta_fast, 1e-6..=1e6)?;
    between("rope_scaling.beta_slow", s.beta_slow, 1e-6..=1e6)?;
    check_original(s.original_max_position_embeddings)?;
    if s.beta_fast < s.beta_slow {
        let expected = format!("at least beta_slow = {}", s.beta_slow);
        return Err(refuse("rope_scaling.beta_fast", s.beta_fast, expected));
    }
    Ok(())
}

fn check_llama3(s: &Llama3Scaling) -> Result<(), ConfigError> {
    between("rope_scaling.factor", s.factor, 1.0..=1e6)?;
    between("rope_scaling.low_freq_factor", s.low_freq_factor, 1e-6..=1e6)?;
    between("rope_scaling.high_freq_factor", s.high_freq_factor, 1e-6..=1e6)?;
    check_original(s.original_max_position_embeddings)?;
    if s.high_freq_factor <= s.low_freq_factor {
        let expected = format!("more than low_freq_factor = {}", s.low_freq_factor);
        return Err(refuse("rope_scaling.high_freq_factor", s.high_freq_factor, expected));
    }
    Ok(())
}

fn check_original(positions: usize) -> Result<(), ConfigError> {
    within("rope_scaling.original_max_position_embeddings", positions, 1..=Config::MAX_POSITIONS)
}

fn within(field: &str, value: usize, range: RangeInclusive<usize>) -> Result<(), ConfigError> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(refuse(field, value, format!("{} to {}", range.start(), range.end())))
}

pub(crate) fn between(field: &str, value: f64, range: RangeInclusive<f64>) -> Result<(), ConfigError> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(refuse(field, value, format!("{:?} to {:?}", range.start(), range.end())))
}

fn refuse(field: &str, actual: impl ToString, expected: impl Into<String>) -> ConfigError {
    let cure = "check config.json; no supported model looks like this";
    ConfigError { field: field.into(), actual: actual.to_string(), expected: expected.into(), cure }
}
