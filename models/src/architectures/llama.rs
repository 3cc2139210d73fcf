//! LLaMA and what has its form: RMSNorm in front of attention and of a gated MLP, rotary positions.
//! Mistral, Qwen2 (biases), SmolLM3 (layers without positions), Granite (multipliers).

use sotto_protocol::Error;

use crate::{
    Config, ConfigError, Fields,
    config::Multipliers,
    config_json::{Reader, Rotated},
    error::Error as LoadError,
    evaluator::{Evaluator, Norm},
    layers::{self, Attention, Decoder, GatedMlp, Names},
    weights::{At, Source},
};

/// A LLaMA as one side knows it: with matrices of integers, of real numbers, or with shapes alone.
pub struct Llama<W>(pub Decoder<W, Layer<W>>);

/// A layer.
pub struct Layer<W> {
    pub(crate) attention_norm: Norm,
    pub(crate) attention: Attention<W>,
    pub(crate) mlp_norm: Norm,
    pub(crate) mlp: GatedMlp<W>,
}

impl<W> Llama<W> {
    pub(crate) const PREFIX: &'static str = "model";
    pub(crate) const BUFFERS: &'static [&'static str] = &[];

    pub(crate) fn fields(r: &mut Reader<'_>) -> Result<Fields, ConfigError> {
        let common = r.decoder(Rotated::Whole)?;
        let (bias, qkv_bias) = (r.json.flag("attention_bias")?, r.model_type == "qwen2");
        let (begin, end) = match r.model_type {
            "qwen2" => (None, None),
            "smollm3" => (Some(128_000), Some(128_001)),
            _ => (Some(1), Some(2)),
        };
        let (bos_token_id, eos_token_ids) = r.ends(begin, end)?;
        Ok(Fields {
            activation: r.activation("hidden_act", "silu", &["silu"])?,
            norm_eps: r.eps("rms_norm_eps", 1e-6)?,
            unrotated_layers: if r.model_type == "smollm3" { r.unrotated_layers()? } else { vec![] },
            multipliers: match r.model_type {
                "granite" => Multipliers {
                    embedding: r.json.number_or("embedding_multiplier", 1.0)?,
                    scores: Some(r.json.number_or("attention_multiplier", 1.0)?),
                    residual: r.json.number_or("residual_multiplier", 1.0)?,
                    logits: r.json.number_or("logits_scaling", 1.0)?.recip(),
                },
                _ => Multipliers::default(),
            },
            qkv_bias: bias || qkv_bias,
            output_bias: bias,
            mlp_bias: r.json.flag("mlp_bias")?,
            tie_word_embeddings: r.json.flag_or("tie_word_embeddings", r.model_type == "smollm3")?,
            bos_token_id,
            eos_token_ids,
            ..common
        })
    }

    /// From the tensors of a checkpoint.
    ///
    /// # Errors
    /// A tensor is missing or misshapen, or has numbers that cannot be represented.
    pub fn load<S: Source<Weight = W>>(c: &Config, s: &S) -> Result<Llama<W>, LoadError> {
        Ok(Llama(Decoder::load(c, s, Names::USUAL, Norm::rms, false, Layer::load)?))
    }
}

impl<W> Layer<W> {
    fn load<S: Source<Weight = W>>(c: &Config, s: &At<S>, index: usize) -> Result<Layer<W>, LoadError> {
        let (attention, mlp, m) = (s.at("self_attn"), s.at("mlp"), c.multipliers);
        let attention_norm = Norm::rms(c, s.name("input_layernorm"));
        let mlp_norm = Norm::rms(c, s.name("post_attention_layernorm"));
        let (qkv, output) = layers::projections(c, &attention);
        let output = output.times(m.residual);
        let [gate, up, down] = layers::gated_projections(c, &mlp);
        let mlp = [gate, up, down.times(m.residual)];
        let shape = layers::causal(c, index);
        Ok(Layer {
            attention: Attention::load(s.source, &attention_norm, shape, qkv, output, false)?,
            mlp: GatedMlp::load(s.source, &mlp_norm, c.activation, mlp)?,
            attention_norm,
            mlp_norm,
        })
    }
}

impl<W> layers::Layer<W> for Layer<W> {
    async fn forward<E: Evaluator<Weight = W>>(
        &self,
        e: &mut E,
        index: usize,
        h: &E::Tensor,
    ) -> Result<E::Tensor, Error> {
        let x = e.norm(&self.attention_norm, h).await?;
        let y = self.attention.forward(e, index, &x).await?;
        let h = e.add(h, &y).await?;
        let x = e.norm(&self.mlp_norm, &h).await?;
        let y = self.mlp.forward(e, &x).await?;
        e.add(&h, &y).await
    }
}
