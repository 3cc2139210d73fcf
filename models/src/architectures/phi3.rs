//! Phi-3: LLaMA with projections that are stored as one, and heads that may be rotated in part.

use crate::{
    Config, ConfigError, Fields,
    architectures::llama::Layer,
    config_json::{Reader, Rotated},
    error::Error as LoadError,
    evaluator::Norm,
    layers::{self, Attention, Decoder, GatedMlp, Names, in_pairs},
    weights::{At, Source},
};

/// A Phi-3 as one side knows it.
pub struct Phi3<W>(pub Decoder<W, Layer<W>>);

impl<W> Phi3<W> {
    pub(crate) const PREFIX: &'static str = "model";
    pub(crate) const BUFFERS: &'static [&'static str] = &[];

    pub(crate) fn fields(r: &mut Reader<'_>) -> Result<Fields, ConfigError> {
        let common = r.decoder(Rotated::Part("partial_rotary_factor", 1.0))?;
        let (bos_token_id, eos_token_ids) = r.ends(Some(1), Some(32_000))?;
        Ok(Fields {
            activation: r.activation("hidden_act", "silu", &["silu"])?,
            norm_eps: r.eps("rms_norm_eps", 1e-5)?,
            bos_token_id,
            eos_token_ids,
            ..common
        })
    }

    /// From the tensors of a checkpoint.
    ///
    /// # Errors
    /// A tensor is missing or misshapen, or has numbers that cannot be represented.
    pub fn load<S: Source<Weight = W>>(c: &Config, s: &S) -> Result<Phi3<W>, LoadError> {
        Ok(Phi3(Decoder::load(c, s, Names::USUAL, Norm::rms, false, layer)?))
    }
}

fn layer<W, S: Source<Weight = W>>(c: &Config, s: &At<S>, index: usize) -> Result<Layer<W>, LoadError> {
    let (attention, mlp) = (s.at("self_attn"), s.at("mlp"));
    let (d, inner, q, k) = (c.hidden_size, c.intermediate_size, c.query_size(), c.key_value_size());
    let attention_norm = Norm::rms(c, s.name("input_layernorm"));
    let mlp_norm = Norm::rms(c, s.name("post_attention_layernorm"));
    let of_qkv = |from: usize, n: usize| attention.part("qkv_proj", n, false).rows(q + 2 * k, from..from + n);
    let qkv = [in_pairs(c, of_qkv(0, q)), in_pairs(c, of_qkv(q, k)), of_qkv(q + k, k)];
    let of_gate_up = |from: usize| mlp.part("gate_up_proj", inner, false).rows(2 * inner, from..from + inner);
    let parts = [of_gate_up(0), of_gate_up(inner), mlp.part("down_proj", d, false)];
    let (shape, output) = (layers::causal(c, index), attention.part("o_proj", d, false));
    Ok(Layer {
        attention: Attention::load(s.source, &attention_norm, shape, qkv, output, false)?,
        mlp: GatedMlp::load(s.source, &mlp_norm, c.activation, parts)?,
        attention_norm,
        mlp_norm,
    })
}
