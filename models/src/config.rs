//! The public shape of a model: everything both parties know about it.
//!
//! A [`Config`] exists only if its fields are consistent and of a size that a real model could
//! have. It comes from a `config.json` (see `config_json.rs`) or, serialised, from the peer; both
//! ways run the same checks.

mod checks;

use std::ops::Deref;

use serde::{Deserialize, Serialize};
use sotto_protocol::activation::Activation;

use crate::error::ConfigError;
use crate::network::{AnyNetwork, Architecture};
use crate::weights::Listing;

pub(crate) use checks::{EPSILONS, between};

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
    /// Layers whose heads are rotated by other frequencies.
    pub local_rope: Option<LocalRope>,
    /// What numbers are multiplied by on their way.
    pub multipliers: Multipliers,
    /// The soft cap of scores, `cap tanh(score / cap)`, if they have one.
    pub score_cap: Option<f64>,
    /// The soft cap of logits, if they have one. It is applied by whoever sees the logits.
    pub logit_cap: Option<f64>,
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
    /// What an encoder has besides; `None` for what continues texts.
    pub encoder: Option<EncoderFields>,
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
            local_rope: None,
            multipliers: Multipliers::default(),
            score_cap: None,
            logit_cap: None,
            parallel_residual: false,
            qkv_bias: false,
            output_bias: false,
            mlp_bias: false,
            tie_word_embeddings: false,
            bos_token_id: None,
            eos_token_ids: vec![],
            encoder: None,
        }
    }
}

/// What a model does with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    /// Continues it.
    Generate,
    /// Makes a vector of it.
    Embed,
    /// Says which label it has.
    Classify,
    /// Says which label each of its tokens has.
    Tag,
    /// Says which token is in place of a mask.
    FillMask,
    /// Says where in a text the answer to a question is.
    Answer,
}

impl Task {
    /// The client's subcommand for it.
    pub fn name(self) -> &'static str {
        match self {
            Task::Generate => "generate",
            Task::Embed => "embed",
            Task::Classify => "classify",
            Task::Tag => "tag",
            Task::FillMask => "fill-mask",
            Task::Answer => "answer",
        }
    }
}

/// The fields that only encoders have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EncoderFields {
    /// What its head is for.
    pub task: Task,
    /// Columns of the embedding: the width of the layers, unless there is a projection between.
    pub embedding_size: usize,
    /// Rows of the table of token types; zero if there is none.
    pub token_types: usize,
    /// The row of the first position in the table of positions.
    pub first_position: usize,
    /// Tokens of a text at most, if that is less than there are positions.
    pub longest: Option<usize>,
    /// What its labels are called, if it has any.
    pub labels: Vec<String>,
    /// What becomes of the labels' numbers.
    pub scores: Scores,
    /// The token in place of the one that is looked for, if the tokenizer has one.
    pub mask_token: Option<u32>,
    /// How the rows of a text become its vector.
    pub pooling: Pooling,
    /// A layer behind that.
    pub dense: Option<Dense>,
    /// Whether a vector is divided by its norm, by the client.
    pub normalise: bool,
}

/// What becomes of the numbers of labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scores {
    /// Probabilities of labels that exclude each other.
    Softmax,
    /// Probabilities of labels that do not.
    Sigmoid,
    /// Nothing.
    Plain,
}

/// How the rows of a text become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pooling {
    /// The first row.
    First,
    /// Their mean.
    Mean,
}

/// A layer behind the pooling.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Dense {
    /// Columns that it puts out.
    pub outputs: usize,
    /// Whether it has a bias.
    pub bias: bool,
    /// Its function, if it has one.
    pub function: Option<Activation>,
}

impl EncoderFields {
    /// The path of the layer behind the pooling among a checkpoint's tensors.
    pub const DENSE: &'static str = "dense behind the pooling";
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

/// Rotary frequencies of layers whose attention was trained on a window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LocalRope {
    /// Their base; they are not scaled.
    pub rope_theta: f64,
    /// These layers.
    pub layers: Vec<u32>,
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
    /// Bytes of all labels at most, and 8 for each: they travel in one message with the rest.
    pub const MAX_LABELS: usize = 48 << 10;

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

    /// What it does with a text.
    pub fn task(&self) -> Task {
        self.0.encoder.as_ref().map_or(Task::Generate, |encoder| encoder.task)
    }

    /// What an encoder has besides.
    ///
    /// # Panics
    /// If it is none.
    pub fn encoder(&self) -> &EncoderFields {
        self.0.encoder.as_ref().expect("an encoder's architecture has an encoder's fields")
    }

    /// Tokens of a text at most.
    pub fn longest(&self) -> usize {
        let longest = self.0.encoder.as_ref().and_then(|encoder| encoder.longest);
        longest.unwrap_or(usize::MAX).min(self.max_position_embeddings)
    }

    /// Brings logits under their soft cap, if they have one. It keeps their order; those that are
    /// not known stay minus infinity.
    pub fn cap_logits(&self, logits: &mut [f32]) {
        if let Some(cap) = self.logit_cap {
            let known = logits.iter_mut().filter(|x| x.is_finite());
            known.for_each(|x| *x = (cap * (f64::from(*x) / cap).tanh()) as f32);
        }
    }

    /// Columns of what is revealed.
    pub fn outputs(&self) -> usize {
        match (self.task(), &self.0.encoder) {
            (Task::Generate | Task::FillMask, _) | (_, None) => self.vocab_size,
            (Task::Embed, Some(f)) => f.dense.map_or(self.hidden_size, |dense| dense.outputs),
            (Task::Classify | Task::Tag, Some(f)) => f.labels.len(),
            (Task::Answer, _) => 2,
        }
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
        checks::all(&fields)?;
        Ok(Config(fields))
    }
}
