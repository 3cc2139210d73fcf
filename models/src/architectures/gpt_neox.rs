//! GPT-NeoX and Pythia: LayerNorm, heads rotated in part, one projection whose rows go head by
//! head. Attention and MLP mostly read the same residual stream.

use sotto_protocol::Error;

use crate::{
    Config, ConfigError, Fields,
    config_json::{Reader, Rotated},
    error::Error as LoadError,
    evaluator::{Evaluator, Norm},
    layers::{self, Attention, Decoder, Mlp, Names, in_pairs},
    weights::{At, Source},
};

/// A GPT-NeoX as one side knows it.
pub struct GptNeox<W>(pub Decoder<W, Layer<W>>);

/// A layer.
pub struct Layer<W> {
    parallel: bool,
    attention_norm: Norm,
    attention: Attention<W>,
    mlp_norm: Norm,
    mlp: Mlp<W>,
}

impl<W> GptNeox<W> {
    pub(crate) const PREFIX: &'static str = "gpt_neox";
    pub(crate) const BUFFERS: &'static [&'static str] = &["attention.bias", "attention.masked_bias"];

    pub(crate) fn fields(r: &mut Reader<'_>) -> Result<Fields, ConfigError> {
        let common = r.decoder(Rotated::Part("rotary_pct", 0.25))?;
        let (bos_token_id, eos_token_ids) = r.ends(Some(0), Some(2))?;
        let bias = r.json.flag_or("attention_bias", true)?;
        let known = ["gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh"];
        Ok(Fields {
            activation: r.activation("hidden_act", "gelu", &known)?,
            norm_eps: r.eps("layer_norm_eps", 1e-5)?,
            num_key_value_heads: common.num_attention_heads,
            parallel_residual: r.json.flag_or("use_parallel_residual", true)?,
            qkv_bias: bias,
            output_bias: bias,
            mlp_bias: true,
            bos_token_id,
            eos_token_ids,
            ..common
        })
    }

    /// From the tensors of a checkpoint.
    ///
    /// # Errors
    /// A tensor is missing or misshapen, or has numbers that cannot be represented.
    pub fn load<S: Source<Weight = W>>(c: &Config, s: &S) -> Result<GptNeox<W>, LoadError> {
        let names = Names {
            embedding: "gpt_neox.embed_in",
            layers: "gpt_neox.layers",
            norm: "gpt_neox.final_layer_norm",
            head: "embed_out",
        };
        Ok(GptNeox(Decoder::load(c, s, names, Norm::layer, false, Layer::load)?))
    }
}

impl<W> Layer<W> {
    fn load<S: Source<Weight = W>>(c: &Config, s: &At<S>, index: usize) -> Result<Layer<W>, LoadError> {
        let (d, heads, width) = (c.hidden_size, c.num_attention_heads, c.head_dim);
        let attention_norm = Norm::layer(c, s.name("input_layernorm"));
        let mlp_norm = Norm::layer(c, s.name("post_attention_layernorm"));
        let fused = |part: usize, count: usize| {
            let of_head = move |head: usize| (head * 3 + part) * width..(head * 3 + part + 1) * width;
            let rows = (0..count).flat_map(of_head);
            s.part("attention.query_key_value", d, c.qkv_bias).rows(3 * heads * width, rows)
        };
        let keys = c.num_key_value_heads;
        let qkv = [in_pairs(c, fused(0, heads)), in_pairs(c, fused(1, keys)), fused(2, keys)];
        let output = s.part("attention.dense", d, c.output_bias);
        let mlp =
            [s.part("mlp.dense_h_to_4h", c.intermediate_size, true), s.part("mlp.dense_4h_to_h", d, true)];
        let shape = layers::causal(c, index);
        Ok(Layer {
            parallel: c.parallel_residual,
            attention: Attention::load(s.source, &attention_norm, shape, qkv, output, false)?,
            mlp: Mlp::load(s.source, &mlp_norm, c.activation, mlp, false)?,
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
        // The two norms differ in gain and bias only, which belong to the matrices behind them.
        let parallel = if self.parallel { Some(self.mlp.forward(e, &x).await?) } else { None };
        let h = e.add(h, &y).await?;
        let y = match parallel {
            Some(y) => y,
            None => {
                let x = e.norm(&self.mlp_norm, &h).await?;
                self.mlp.forward(e, &x).await?
            }
        };
        e.add(&h, &y).await
    }
}
