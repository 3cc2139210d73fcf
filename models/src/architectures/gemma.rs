//! Gemma, the first of its name: LLaMA with gains that are stored less one, a scaled embedding, and
//! GELU.

use crate::{
    Config, ConfigError, Fields,
    architectures::llama::Layer,
    config::Multipliers,
    config_json::{Reader, Rotated},
    error::Error as LoadError,
    evaluator::Norm,
    layers::{self, Attention, Decoder, GatedMlp, Names},
    weights::{At, Source},
};

/// A Gemma as one side knows it.
pub struct Gemma<W>(pub Decoder<W, Layer<W>>);

impl<W> Gemma<W> {
    pub(crate) const PREFIX: &'static str = "model";
    pub(crate) const BUFFERS: &'static [&'static str] = &[];

    pub(crate) fn fields(r: &mut Reader<'_>) -> Result<Fields, ConfigError> {
        let common = r.decoder(Rotated::Whole)?;
        let (bos_token_id, eos_token_ids) = r.ends(Some(2), Some(1))?;
        let bias = r.json.flag("attention_bias")?;
        // Whatever `hidden_act` says, the trained models have the approximation by tanh.
        let activation = r.activation("hidden_activation", "gelu_pytorch_tanh", &["gelu_pytorch_tanh"])?;
        Ok(Fields {
            activation,
            norm_eps: r.eps("rms_norm_eps", 1e-6)?,
            multipliers: Multipliers {
                embedding: (common.hidden_size as f64).sqrt(),
                ..Multipliers::default()
            },
            qkv_bias: bias,
            output_bias: bias,
            tie_word_embeddings: r.json.flag_or("tie_word_embeddings", true)?,
            bos_token_id,
            eos_token_ids,
            ..common
        })
    }

    /// From the tensors of a checkpoint.
    ///
    /// # Errors
    /// A tensor is missing or misshapen, or has numbers that cannot be represented.
    pub fn load<S: Source<Weight = W>>(c: &Config, s: &S) -> Result<Gemma<W>, LoadError> {
        Ok(Gemma(Decoder::load(c, s, Names::USUAL, norm, false, layer)?))
    }
}

fn norm(c: &Config, path: String) -> Norm {
    Norm { gain_offset: 1.0, ..Norm::rms(c, path) }
}

fn layer<W, S: Source<Weight = W>>(c: &Config, s: &At<S>, index: usize) -> Result<Layer<W>, LoadError> {
    let (attention, mlp) = (s.at("self_attn"), s.at("mlp"));
    let (attention_norm, mlp_norm) =
        (norm(c, s.name("input_layernorm")), norm(c, s.name("post_attention_layernorm")));
    let (qkv, output) = layers::projections(c, &attention);
    let parts = layers::gated_projections(c, &mlp);
    let shape = layers::causal(c, index);
    Ok(Layer {
        attention: Attention::load(s.source, &attention_norm, shape, qkv, output, false)?,
        mlp: GatedMlp::load(s.source, &mlp_norm, c.activation, parts)?,
        attention_norm,
        mlp_norm,
    })
}
