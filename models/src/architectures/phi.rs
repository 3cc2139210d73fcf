//! Phi-1, Phi-1.5 and Phi-2: attention and a plain MLP behind one LayerNorm, heads rotated in part,
//! biases everywhere.

use sotto_protocol::Error;

use crate::{
    Config, ConfigError, Fields,
    config_json::{Reader, Rotated},
    error::Error as LoadError,
    evaluator::{Evaluator, Norm},
    layers::{self, Attention, Decoder, Mlp, Names, in_pairs},
    weights::{At, Source},
};

/// A Phi as one side knows it.
pub struct Phi<W>(pub Decoder<W, Layer<W>>);

/// A layer.
pub struct Layer<W> {
    norm: Norm,
    attention: Attention<W>,
    mlp: Mlp<W>,
}

impl<W> Phi<W> {
    pub(crate) const PREFIX: &'static str = "model";
    pub(crate) const BUFFERS: &'static [&'static str] = &[];

    pub(crate) fn fields(r: &mut Reader<'_>) -> Result<Fields, ConfigError> {
        let common = r.decoder(Rotated::Part("partial_rotary_factor", 0.5))?;
        let (bos_token_id, eos_token_ids) = r.ends(Some(1), Some(2))?;
        let off = [false.into(), serde_json::Value::Null];
        r.json.only("qk_layernorm", &off, "use a Phi without norms of queries and keys")?;
        Ok(Fields {
            activation: r.activation("hidden_act", "gelu_new", &["gelu_new", "gelu_pytorch_tanh", "gelu"])?,
            norm_eps: r.eps("layer_norm_eps", 1e-5)?,
            parallel_residual: true,
            qkv_bias: true,
            output_bias: true,
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
    pub fn load<S: Source<Weight = W>>(c: &Config, s: &S) -> Result<Phi<W>, LoadError> {
        let names = Names { norm: "model.final_layernorm", ..Names::USUAL };
        Ok(Phi(Decoder::load(c, s, names, Norm::layer, true, Layer::load)?))
    }
}

impl<W> Layer<W> {
    fn load<S: Source<Weight = W>>(c: &Config, s: &At<S>, index: usize) -> Result<Layer<W>, LoadError> {
        let (attention, norm) = (s.at("self_attn"), Norm::layer(c, s.name("input_layernorm")));
        let qkv = [
            in_pairs(c, attention.part("q_proj", c.query_size(), true)),
            in_pairs(c, attention.part("k_proj", c.key_value_size(), true)),
            attention.part("v_proj", c.key_value_size(), true),
        ];
        let output = attention.part("dense", c.hidden_size, true);
        let mlp = [s.part("mlp.fc1", c.intermediate_size, true), s.part("mlp.fc2", c.hidden_size, true)];
        let shape = layers::causal(c, index);
        Ok(Layer {
            attention: Attention::load(s.source, &norm, shape, qkv, output, false)?,
            mlp: Mlp::load(s.source, &norm, c.activation, mlp, false)?,
            norm,
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
        let x = e.norm(&self.norm, h).await?;
        let attention = self.attention.forward(e, index, &x).await?;
        let mlp = self.mlp.forward(e, &x).await?;
        let h = e.add(h, &attention).await?;
        e.add(&h, &mlp).await
    }
}
