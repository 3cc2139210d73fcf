//! Qwen3: LLaMA with norms of each head of queries and keys.

use crate::{
    Config, ConfigError, Fields,
    architectures::llama::Layer,
    config_json::{Reader, Rotated},
    error::Error as LoadError,
    evaluator::Norm,
    layers::{self, Attention, Decoder, GatedMlp, Names},
    weights::{At, Source},
};

/// A Qwen3 as one side knows it.
pub struct Qwen3<W>(pub Decoder<W, Layer<W>>);

impl<W> Qwen3<W> {
    pub(crate) const PREFIX: &'static str = "model";
    pub(crate) const BUFFERS: &'static [&'static str] = &[];

    pub(crate) fn fields(r: &mut Reader<'_>) -> Result<Fields, ConfigError> {
        let common = r.decoder(Rotated::Whole)?;
        let (bos_token_id, eos_token_ids) = r.ends(None, None)?;
        let bias = r.json.flag("attention_bias")?;
        Ok(Fields {
            activation: r.activation("hidden_act", "silu", &["silu"])?,
            norm_eps: r.eps("rms_norm_eps", 1e-6)?,
            qkv_bias: bias,
            output_bias: bias,
            bos_token_id,
            eos_token_ids,
            ..common
        })
    }

    /// From the tensors of a checkpoint.
    ///
    /// # Errors
    /// A tensor is missing or misshapen, or has numbers that cannot be represented.
    pub fn load<S: Source<Weight = W>>(c: &Config, s: &S) -> Result<Qwen3<W>, LoadError> {
        Ok(Qwen3(Decoder::load(c, s, Names::USUAL, Norm::rms, false, layer)?))
    }
}

fn layer<W, S: Source<Weight = W>>(c: &Config, s: &At<S>, index: usize) -> Result<Layer<W>, LoadError> {
    let (attention, mlp) = (s.at("self_attn"), s.at("mlp"));
    let attention_norm = Norm::rms(c, s.name("input_layernorm"));
    let mlp_norm = Norm::rms(c, s.name("post_attention_layernorm"));
    let (qkv, output) = layers::projections(c, &attention);
    let of_head = |name: &str| Norm { width: c.head_dim, ..Norm::rms(c, attention.name(name)) };
    let norms = [of_head("q_norm"), of_head("k_norm")];
    let parts = layers::gated_projections(c, &mlp);
    let shape = layers::causal(c, index);
    Ok(Layer {
        attention: Attention::load_normalised(s.source, &attention_norm, shape, qkv, norms, output)?,
        mlp: GatedMlp::load(s.source, &mlp_norm, c.activation, parts)?,
        attention_norm,
        mlp_norm,
    })
}
