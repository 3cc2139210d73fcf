//! StarCoder2: GPT-2's layer with rotary positions and shared keys.

use crate::{
    Config, ConfigError, Fields,
    architectures::gpt2::Layer,
    config_json::{Reader, Rotated},
    error::Error as LoadError,
    evaluator::Norm,
    layers::{self, Attention, Decoder, Mlp, Names},
    weights::{At, Source},
};

/// A StarCoder2 as one side knows it.
pub struct Starcoder2<W>(pub Decoder<W, Layer<W>>);

impl<W> Starcoder2<W> {
    pub(crate) const PREFIX: &'static str = "model";
    pub(crate) const BUFFERS: &'static [&'static str] = &[];

    pub(crate) fn fields(r: &mut Reader<'_>) -> Result<Fields, ConfigError> {
        let common = r.decoder(Rotated::Whole)?;
        let (bos_token_id, eos_token_ids) = r.ends(Some(50_256), Some(50_256))?;
        let bias = r.json.flag_or("use_bias", true)?;
        let known = ["gelu_pytorch_tanh", "gelu_new", "gelu"];
        Ok(Fields {
            activation: r.activation("hidden_act", "gelu_pytorch_tanh", &known)?,
            norm_eps: r.eps("norm_epsilon", 1e-5)?,
            qkv_bias: bias,
            output_bias: bias,
            mlp_bias: bias,
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
    pub fn load<S: Source<Weight = W>>(c: &Config, s: &S) -> Result<Starcoder2<W>, LoadError> {
        Ok(Starcoder2(Decoder::load(c, s, Names::USUAL, Norm::layer, false, layer)?))
    }
}

fn layer<W, S: Source<Weight = W>>(c: &Config, s: &At<S>, index: usize) -> Result<Layer<W>, LoadError> {
    let (attention, mlp) = (s.at("self_attn"), s.at("mlp"));
    let attention_norm = Norm::layer(c, s.name("input_layernorm"));
    let mlp_norm = Norm::layer(c, s.name("post_attention_layernorm"));
    let (qkv, output) = layers::projections(c, &attention);
    let parts =
        [mlp.part("c_fc", c.intermediate_size, c.mlp_bias), mlp.part("c_proj", c.hidden_size, c.mlp_bias)];
    let shape = layers::causal(c, index);
    Ok(Layer {
        attention: Attention::load(s.source, &attention_norm, shape, qkv, output, false)?,
        mlp: Mlp::load(s.source, &mlp_norm, c.activation, parts, false)?,
        attention_norm,
        mlp_norm,
    })
}
