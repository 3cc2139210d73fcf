//! StableLM: LLaMA with LayerNorm and heads rotated in part.

use crate::{
    Config, ConfigError, Fields,
    architectures::llama::Layer,
    config_json::{Reader, Rotated},
    error::Error as LoadError,
    evaluator::Norm,
    layers::{self, Attention, Decoder, GatedMlp, Names, in_pairs},
    weights::{At, Source},
};

/// A StableLM as one side knows it.
pub struct StableLm<W>(pub Decoder<W, Layer<W>>);

impl<W> StableLm<W> {
    pub(crate) const PREFIX: &'static str = "model";
    pub(crate) const BUFFERS: &'static [&'static str] = &[];

    pub(crate) fn fields(r: &mut Reader<'_>) -> Result<Fields, ConfigError> {
        let common = r.decoder(Rotated::Part("partial_rotary_factor", 0.25))?;
        let (bos_token_id, eos_token_ids) = r.ends(None, Some(0))?;
        let off = [false.into(), serde_json::Value::Null];
        for switch in ["qk_layernorm", "use_parallel_residual"] {
            r.json.only(switch, &off, "use a StableLM without it")?;
        }
        Ok(Fields {
            activation: r.activation("hidden_act", "silu", &["silu"])?,
            norm_eps: r.eps("layer_norm_eps", 1e-5)?,
            qkv_bias: r.json.flag("use_qkv_bias")?,
            bos_token_id,
            eos_token_ids,
            ..common
        })
    }

    /// From the tensors of a checkpoint.
    ///
    /// # Errors
    /// A tensor is missing or misshapen, or has numbers that cannot be represented.
    pub fn load<S: Source<Weight = W>>(c: &Config, s: &S) -> Result<StableLm<W>, LoadError> {
        Ok(StableLm(Decoder::load(c, s, Names::USUAL, Norm::layer, false, layer)?))
    }
}

fn layer<W, S: Source<Weight = W>>(c: &Config, s: &At<S>, index: usize) -> Result<Layer<W>, LoadError> {
    let (attention, mlp) = (s.at("self_attn"), s.at("mlp"));
    let attention_norm = Norm::layer(c, s.name("input_layernorm"));
    let mlp_norm = Norm::layer(c, s.name("post_attention_layernorm"));
    let ([q, k, v], output) = layers::projections(c, &attention);
    let qkv = [in_pairs(c, q), in_pairs(c, k), v];
    let parts = layers::gated_projections(c, &mlp);
    let shape = layers::causal(c, index);
    Ok(Layer {
        attention: Attention::load(s.source, &attention_norm, shape, qkv, output, false)?,
        mlp: GatedMlp::load(s.source, &mlp_norm, c.activation, parts)?,
        attention_norm,
        mlp_norm,
    })
}
