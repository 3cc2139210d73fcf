//! The public shape of a model: everything both parties know about it.
//!
//! A [`Config`] exists only if its fields are consistent and of a size that a real model could
//! have. It comes from a `config.json` (see `config_json.rs`) or, serialised, from the peer; both
//! ways run the same checks.

use std::ops::{Deref, RangeInclusive};

use serde::{Deserialize, Serialize};
use sotto_protocol::activation::Activation;

use crate::error::ConfigError;
use crate::network::{AnyNetwork, Architecture};
use crate::weights::Listing;

/// The fields of a [`Config`], not yet checked. Names and meanings are those of a LLaMA's
/// `config.json`; other architectures have their own names for them there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fields {
    /// Which network it is.
    pub architecture: Architecture,
    /// Rows of the embedding, `V`.
    pub vocab_size: usize,
    /// Width of the residual stream, `d`.
    pub hidden_size: usize,
    /// Width of the MLP.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key and value heads; divides the number of query heads.
    pub num_key_value_heads: usize,
    /// Width of one head; even.
    pub head_dim: usize,
    /// Positions that may be used: prompt and answer together.
    pub max_position_embeddings: usize,
    /// The MLP's activation function.
    pub activation: Activation,
    /// Added to the mean square or the variance in norms.
    pub norm_eps: f64,
    /// Columns of a head that are rotated by the position, an even number, if not all are. Zero in
    /// networks that add a learned row for each position.
    pub rotary_dim: Option<usize>,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How the rotary frequencies are changed for longer texts, if they are.
    pub rope_scaling: Option<RopeScaling>,
    /// Layers whose heads are not rotated.
    pub unrotated_layers: Vec<u32>,
    /// What numbers are multiplied by on their way.
    pub multipliers: Multipliers,
    /// Whether attention and MLP of a layer read the same residual stream.
    pub parallel_residual: bool,
    /// Whether queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Whether attention's output has.
    pub output_bias: bool,
    /// Whether the projections of the MLP have.
    pub mlp_bias: bool,
    /// Whether the output head is the embedding.
    pub tie_word_embeddings: bool,
    /// The token that starts a text.
    pub bos_token_id: Option<u32>,
    /// The tokens that end an answer; may be empty.
    pub eos_token_ids: Vec<u32>,
}

impl Default for Fields {
    /// A LLaMA's defaults. Sizes are zero, which no [`Config`] accepts.
    fn default() -> Fields {
        Fields {
            architecture: Architecture::Llama,
            vocab_size: 0,
            hidden_size: 0,
            intermediate_size: 0,
            num_hidden_layers: 0,
            num_attention_heads: 0,
            num_key_value_heads: 0,
            head_dim: 0,
            max_position_embeddings: 2048,
            activation: Activation::Silu,
            norm_eps: 1e-6,
            rotary_dim: None,
            rope_theta: 10_000.0,
            rope_scaling: None,
            unrotated_layers: vec![],
            multipliers: Multipliers::default(),
            parallel_residual: false,
            qkv_bias: false,
            output_bias: false,
            mlp_bias: false,
            tie_word_embeddings: false,
            bos_token_id: None,
            eos_token_ids: vec![],
        }
    }
}

/// What numbers are multiplied by on their way through a network.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Multipliers {
    /// Rows of the embedding.
    pub embedding: f64,
    /// Scores, in place of the inverse root of the heads' width.
    pub scores: Option<f64>,
    /// What attention and MLP add to the residual stream.
    pub residual: f64,
    /// Logits.
    pub logits: f64,
}

impl Default for Multipliers {
    fn default() -> Multipliers {
        Multipliers { embedding: 1.0, scores: None, residual: 1.0, logits: 1.0 }
    }
}

/// How rotary frequencies are changed for texts longer than those of the first training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum RopeScaling {
    /// All frequencies are divided by the factor, which is at least 1 (`"rope_type": "linear"`).
    Linear(f64),
    /// As in YaRN.
    Yarn(YarnScaling),
    /// As in LLaMA 3.
    Llama3(Llama3Scaling),
}

impl From<Llama3Scaling> for RopeScaling {
    fn from(scaling: Llama3Scaling) -> RopeScaling {
        RopeScaling::Llama3(scaling)
    }
}

/// Frequency scaling of YaRN (`"rope_type": "yarn"`; Peng et al. 2023, arXiv:2309.00071).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct YarnScaling {
    /// Low frequencies are divided by this; at least 1.
    pub factor: f64,
    /// Cosines and sines are multiplied by this.
    pub attention_factor: f64,
    /// Frequencies with more turns than this in the original context are left alone.
    pub beta_fast: f64,
    /// Frequencies with fewer turns than this in the original context are scaled in full.
    pub beta_slow: f64,
    /// Whether the bounds between the two are rounded outwards to whole pairs.
    pub truncate: bool,
    /// Positions before the scaling.
    pub original_max_position_embeddings: usize,
}

/// Frequency scaling of LLaMA 3.1 and later (`"rope_type": "llama3"`).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Llama3Scaling {
    /// Low frequencies are divided by this; at least 1.
    pub factor: f64,
    /// Wavelengths above `original_max_position_embeddings / low_freq_factor` are scaled in full.
    pub low_freq_factor: f64,
    /// Wavelengths below `original_max_position_embeddings / high_freq_factor` are left alone.
    pub high_freq_factor: f64,
    /// Positions before the scaling.
    pub original_max_position_embeddings: usize,
}

/// The checked, public shape of a model. Read its [`Fields`] directly: `config.hidden_size`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Fields", into = "Fields")]
pub struct Config(Fields);

impl Config {
    /// Largest `max_position_embeddings` accepted.
    pub const MAX_POSITIONS: usize = 1 << 22;
    /// Largest `vocab_size` accepted.
    pub const MAX_VOCAB: usize = 1 << 18;
    /// Largest number of ending tokens accepted.
    pub const MAX_EOS: usize = 16;

    /// Columns that the query projection puts out: `num_attention_heads * head_dim`.
    pub fn query_size(&self) -> usize {
        self.num_attention_heads * self.head_dim
    }

    /// Columns that the key and the value projection put out each: `num_key_value_heads *
    /// head_dim`.
    pub fn key_value_size(&self) -> usize {
        self.num_key_value_heads * self.head_dim
    }

    /// Columns of a head that are rotated by the position.
    pub fn rotated(&self) -> usize {
        self.rotary_dim.unwrap_or(self.head_dim)
    }

    /// Query heads that share a key head.
    pub fn group_size(&self) -> usize {
        self.num_attention_heads / self.num_key_value_heads
    }

    /// Number of weights; a tied head counts once.
    pub fn parameters(&self) -> u64 {
        let listing = Listing::default();
        AnyNetwork::load(self, &listing).expect("a list of names has no errors");
        listing.tensors().iter().map(|tensor| tensor.shape.iter().map(|&n| n as u64).product::<u64>()).sum()
    }
}

impl Deref for Config {
    type Target = Fields;

    fn deref(&self) -> &Fields {
        &self.0
    }
}

impl From<Config> for Fields {
    fn from(config: Config) -> Fields {
        config.0
    }
}

impl TryFrom<Fields> for Config {
    type Error = ConfigError;

    fn try_from(fields: Fields) -> Result<Config, ConfigError> {
        check_sizes(&fields)?;
        check_heads(&fields)?;
        check_numbers(&fields)?;
        check_tokens(&fields)?;
        fields.rope_scaling.as_ref().map_or(Ok(()), |scaling| check_scaling(scaling, fields.rope_theta))?;
        Ok(Config(fields))
    }
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
    match f.unrotated_layers.iter().find(|&&layer| layer as usize >= f.num_hidden_layers) {
        Some(layer) => {
            let expected = format!("layers below num_hidden_layers = {}", f.num_hidden_layers);
            Err(refuse("no_rope_layers", layer, expected))
        }
        None => within("number of no_rope_layers", f.unrotated_layers.len(), 0..=f.num_hidden_layers),
    }
}

fn check_numbers(f: &Fields) -> Result<(), ConfigError> {
    between("norm_eps", f.norm_eps, EPSILONS)?;
    between("rope_theta", f.rope_theta, 1.0..=1e12)?;
    let Multipliers { embedding, scores, residual, logits } = f.multipliers;
    between("embedding_multiplier", embedding, MULTIPLIERS)?;
    between("attention_multiplier", scores.unwrap_or(1.0), MULTIPLIERS)?;
    between("residual_multiplier", residual, MULTIPLIERS)?;
    between("logits_scaling", logits, MULTIPLIERS)
}

/// What norms may add to the mean square or the variance.
pub(crate) const EPSILONS: RangeInclusive<f64> = 1e-12..=1e-2;
const MULTIPLIERS: RangeInclusive<f64> = 1e-4..=1e4;

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
