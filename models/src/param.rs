//! The weights of a LLaMA: their names in a Hugging Face checkpoint, and their shapes.

use crate::config::Config;

/// One weight; the number is the layer, from 0.
///
/// Matrices are stored `[out, in]` and multiply a column: `y = W x`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Param {
    /// Token embedding, `[V, d]`.
    Embedding,
    /// Gain of the norm before attention, `[d]`.
    AttentionNorm(usize),
    /// Query projection, `[heads * head_dim, d]`.
    Query(usize),
    /// Key projection, `[kv_heads * head_dim, d]`.
    Key(usize),
    /// Value projection, `[kv_heads * head_dim, d]`.
    Value(usize),
    /// Projection of the attention's result, `[d, heads * head_dim]`.
    Output(usize),
    /// Gain of the norm before the MLP, `[d]`.
    MlpNorm(usize),
    /// The MLP's gate, `[intermediate, d]`.
    Gate(usize),
    /// The MLP's upward projection, `[intermediate, d]`.
    Up(usize),
    /// The MLP's downward projection, `[d, intermediate]`.
    Down(usize),
    /// Gain of the norm before the head, `[d]`.
    FinalNorm,
    /// Output head, `[V, d]`; the embedding itself where the two are tied.
    Head,
}

impl Param {
    /// Every weight of the model, in the order of use. A tied head appears under the embedding's name.
    pub fn all(config: &Config) -> impl Iterator<Item = Param> {
        let layers = (0..config.num_hidden_layers).flat_map(Param::of_layer);
        [Param::Embedding].into_iter().chain(layers).chain([Param::FinalNorm, Param::Head])
    }

    fn of_layer(i: usize) -> [Param; 9] {
        use Param::*;
        [AttentionNorm(i), Query(i), Key(i), Value(i), Output(i), MlpNorm(i), Gate(i), Up(i), Down(i)]
    }

    /// The layer that it belongs to; 0 for what stands outside the layers.
    pub(crate) fn layer(self) -> usize {
        use Param::*;
        match self {
            Embedding | FinalNorm | Head => 0,
            AttentionNorm(i) | Query(i) | Key(i) | Value(i) | Output(i) => i,
            MlpNorm(i) | Gate(i) | Up(i) | Down(i) => i,
        }
    }

    /// The name in the checkpoint.
    pub fn name(self, config: &Config) -> String {
        let layer = |i: usize, rest: &str| format!("model.layers.{i}.{rest}.weight");
        match self {
            Param::Embedding => "model.embed_tokens.weight".into(),
            Param::AttentionNorm(i) => layer(i, "input_layernorm"),
            Param::Query(i) => layer(i, "self_attn.q_proj"),
            Param::Key(i) => layer(i, "self_attn.k_proj"),
            Param::Value(i) => layer(i, "self_attn.v_proj"),
            Param::Output(i) => layer(i, "self_attn.o_proj"),
            Param::MlpNorm(i) => layer(i, "post_attention_layernorm"),
            Param::Gate(i) => layer(i, "mlp.gate_proj"),
            Param::Up(i) => layer(i, "mlp.up_proj"),
            Param::Down(i) => layer(i, "mlp.down_proj"),
            Param::FinalNorm => "model.norm.weight".into(),
            Param::Head if config.tie_word_embeddings => Param::Embedding.name(config),
            Param::Head => "lm_head.weight".into(),
        }
    }

    /// The shape according to the configuration: `[d]` for a gain, `[out, in]` for a matrix.
    pub fn shape(self, config: &Config) -> Vec<usize> {
        let (d, mlp) = (config.hidden_size, config.intermediate_size);
        match self {
            Param::Embedding | Param::Head => vec![config.vocab_size, d],
            Param::AttentionNorm(_) | Param::MlpNorm(_) | Param::FinalNorm => vec![d],
            Param::Query(_) => vec![config.query_size(), d],
            Param::Key(_) | Param::Value(_) => vec![config.key_value_size(), d],
            Param::Output(_) => vec![d, config.query_size()],
            Param::Gate(_) | Param::Up(_) => vec![mlp, d],
            Param::Down(_) => vec![d, mlp],
        }
    }
}
