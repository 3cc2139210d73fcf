//! GPT-2: LayerNorm in front of attention and of a plain MLP, a learned row for each position,
//! matrices stored as `[in, out]`.

use sotto_protocol::Error;

use crate::{
    Config, ConfigError, Fields,
    config_json::Reader,
    error::Error as LoadError,
    evaluator::{Evaluator, Norm},
    layers::{self, Attention, Decoder, Mlp, Names},
    weights::{At, Source, Table},
};

/// A GPT-2 as one side knows it.
pub struct Gpt2<W>(pub Decoder<W, Layer<W>>);

/// A layer: attention, then the MLP.
pub struct Layer<W> {
    pub(crate) attention_norm: Norm,
    pub(crate) attention: Attention<W>,
    pub(crate) mlp_norm: Norm,
    pub(crate) mlp: Mlp<W>,
}

impl<W> Gpt2<W> {
    pub(crate) const PREFIX: &'static str = "transformer";
    pub(crate) const BUFFERS: &'static [&'static str] = &["attn.bias", "attn.masked_bias"];

    pub(crate) fn fields(r: &mut Reader<'_>) -> Result<Fields, ConfigError> {
        let json = r.json;
        let sizes = r.sizes(["n_embd", "n_layer", "n_head"])?;
        let cure = "use a GPT-2 as it was published";
        json.only("scale_attn_weights", &[true.into(), serde_json::Value::Null], cure)?;
        for switch in ["scale_attn_by_inverse_layer_idx", "add_cross_attention"] {
            json.only(switch, &[false.into(), serde_json::Value::Null], cure)?;
        }
        let (bos_token_id, eos_token_ids) = r.ends(Some(50_256), Some(50_256))?;
        let known = ["gelu_new", "gelu_pytorch_tanh", "gelu"];
        Ok(Fields {
            intermediate_size: json.size_or("n_inner", 4 * sizes.hidden_size)?,
            max_position_embeddings: json.size_or("n_positions", 1024)?,
            activation: r.activation("activation_function", "gelu_new", &known)?,
            norm_eps: r.eps("layer_norm_epsilon", 1e-5)?,
            rotary_dim: Some(0),
            qkv_bias: true,
            output_bias: true,
            mlp_bias: true,
            tie_word_embeddings: json.flag_or("tie_word_embeddings", true)?,
            bos_token_id,
            eos_token_ids,
            ..sizes
        })
    }

    /// From the tensors of a checkpoint.
    ///
    /// # Errors
    /// A tensor is missing or misshapen, or has numbers that cannot be represented.
    pub fn load<S: Source<Weight = W>>(c: &Config, s: &S) -> Result<Gpt2<W>, LoadError> {
        let names = Names {
            embedding: "transformer.wte",
            layers: "transformer.h",
            norm: "transformer.ln_f",
            head: "lm_head",
        };
        let decoder = Decoder::load(c, s, names, Norm::layer, false, Layer::load)?;
        let count = c.max_position_embeddings;
        let positions = s.table(&Table::new("transformer.wpe.weight", count, c.hidden_size))?;
        Ok(Gpt2(Decoder { positions: Some(positions), ..decoder }))
    }
}

impl<W> Layer<W> {
    fn load<S: Source<Weight = W>>(c: &Config, s: &At<S>, index: usize) -> Result<Layer<W>, LoadError> {
        let d = c.hidden_size;
        let (attention_norm, mlp_norm) = (Norm::layer(c, s.name("ln_1")), Norm::layer(c, s.name("ln_2")));
        let part = |name: &str, outputs| s.part(name, outputs, true).transposed();
        let (q, k) = (c.query_size(), c.key_value_size());
        let fused = |from: usize, n: usize| part("attn.c_attn", n).rows(q + 2 * k, from..from + n);
        let qkv = [fused(0, q), fused(q, k), fused(q + k, k)];
        let mlp = [part("mlp.c_fc", c.intermediate_size), part("mlp.c_proj", d)];
        let (shape, output) = (layers::causal(c, index), part("attn.c_proj", d));
        Ok(Layer {
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
        let h = e.add(h, &y).await?;
        let x = e.norm(&self.mlp_norm, &h).await?;
        let y = self.mlp.forward(e, &x).await?;
        e.add(&h, &y).await
    }
}
