//! OLMo 2: norms behind attention and MLP instead of in front of them, and of all queries and all
//! keys of a position.

use sotto_protocol::Error;

use crate::{
    Config, ConfigError, Fields,
    config_json::{Reader, Rotated},
    error::Error as LoadError,
    evaluator::{Evaluator, Norm},
    layers::{self, Attention, Decoder, GainedNorm, GatedMlp, Input, Names},
    weights::{At, Source},
};

/// An OLMo 2 as one side knows it.
pub struct Olmo2<W>(pub Decoder<W, Layer<W>>);

/// A layer.
pub struct Layer<W> {
    attention: Attention<W>,
    attention_norm: GainedNorm<W>,
    mlp: GatedMlp<W>,
    mlp_norm: GainedNorm<W>,
}

impl<W> Olmo2<W> {
    pub(crate) const PREFIX: &'static str = "model";
    pub(crate) const BUFFERS: &'static [&'static str] = &[];

    pub(crate) fn fields(r: &mut Reader<'_>) -> Result<Fields, ConfigError> {
        let common = r.decoder(Rotated::Whole)?;
        let (bos_token_id, eos_token_ids) = r.ends(None, Some(50_279))?;
        let bias = r.json.flag("attention_bias")?;
        Ok(Fields {
            activation: r.activation("hidden_act", "silu", &["silu"])?,
            norm_eps: r.eps("rms_norm_eps", 1e-5)?,
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
    pub fn load<S: Source<Weight = W>>(c: &Config, s: &S) -> Result<Olmo2<W>, LoadError> {
        Ok(Olmo2(Decoder::load(c, s, Names::USUAL, Norm::rms, false, Layer::load)?))
    }
}

impl<W> Layer<W> {
    fn load<S: Source<Weight = W>>(c: &Config, s: &At<S>, index: usize) -> Result<Layer<W>, LoadError> {
        let (attention, mlp, input) = (s.at("self_attn"), s.at("mlp"), Input::stream(c));
        let (qkv, output) = layers::projections(c, &attention);
        let of_all = |name: &str, width| Norm { width, ..Norm::rms(c, attention.name(name)) };
        let norms = [of_all("q_norm", c.query_size()), of_all("k_norm", c.key_value_size())];
        let parts = layers::gated_projections(c, &mlp);
        let behind = |name: &str| GainedNorm::load(s.source, Norm::rms(c, s.name(name)), 1.0);
        let shape = layers::causal(c, index);
        Ok(Layer {
            attention: Attention::load_normalised(s.source, input, shape, qkv, norms, output)?,
            attention_norm: behind("post_attention_layernorm")?,
            mlp: GatedMlp::load(s.source, input, c.activation, parts)?,
            mlp_norm: behind("post_feedforward_layernorm")?,
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
        let x = e.unnormalised(h).await?;
        let y = self.attention.forward(e, index, &x).await?;
        let y = self.attention_norm.forward(e, &y).await?;
        let h = e.add(h, &y).await?;
        let x = e.unnormalised(&h).await?;
        let y = self.mlp.forward(e, &x).await?;
        let y = self.mlp_norm.forward(e, &y).await?;
        e.add(&h, &y).await
    }
}
