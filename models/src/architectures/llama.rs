//! LLaMA and what has its form: RMSNorm in front of attention and of a gated MLP, rotary positions.

use sotto_protocol::{Error, activation::Activation, kv_cache::Heads};

use crate::{
    Config,
    error::Error as LoadError,
    evaluator::{AttentionShape, Evaluator, Norm, NormKind, Part, Tokens},
    layers::{self, Attention, GatedMlp, Names},
    rope_attention_factor, rope_inverse_frequencies,
    weights::{At, Source},
};

/// A LLaMA as one side knows it: with matrices of integers, of real numbers, or with shapes alone.
pub struct Llama<W> {
    embedding: W,
    layers: Vec<Layer<W>>,
    norm: Norm,
    head: W,
}

struct Layer<W> {
    attention_norm: Norm,
    attention: Attention<W>,
    mlp_norm: Norm,
    mlp: GatedMlp<W>,
}

impl<W> Llama<W> {
    /// From the tensors of a checkpoint.
    ///
    /// # Errors
    /// A tensor is missing or misshapen, or has numbers that cannot be represented.
    pub fn load<S: Source<Weight = W>>(c: &Config, s: &S) -> Result<Llama<W>, LoadError> {
        let root = At::root(s);
        let s = root.at("model");
        let embedding = s.source.table(&s.name("embed_tokens.weight"), c.vocab_size, c.hidden_size)?;
        let layers = (0..c.num_hidden_layers).map(|i| Layer::load(c, &s.at("layers").at(i)));
        let layers = layers.collect::<Result<_, _>>()?;
        let norm = norm(c, &s, "norm");
        let head = match c.tie_word_embeddings {
            true => s.part("embed_tokens", c.vocab_size, false),
            false => root.part("lm_head", c.vocab_size, false),
        };
        Ok(Llama { embedding, layers, head: layers::head(root.source, &norm, head)?, norm })
    }

    /// Logits `[R, V]` after tokens that follow those before; of the last one only, or of all.
    ///
    /// # Errors
    /// What the peer or the network connection does.
    pub async fn forward<E: Evaluator<Weight = W>>(
        &self,
        e: &mut E,
        tokens: Tokens<'_>,
        all: bool,
    ) -> Result<E::Tensor, Error> {
        e.enter(Part::Embedding).await?;
        let mut h = e.embed(&self.embedding, tokens).await?;
        for i in 0..self.layers.len() {
            e.enter(Part::Layer(i)).await?;
            h = self.layer(e, i, &h).await?;
        }
        e.enter(Part::Head).await?;
        let rows = tokens.count();
        let h = if all { h } else { e.rows(&h, rows - 1..rows) };
        let x = e.norm(&self.norm, &h).await?;
        e.linear(&self.head, &x).await
    }

    /// Layer `index` on the residual stream `[T, d]`.
    ///
    /// # Errors
    /// What the peer or the network connection does.
    pub async fn layer<E: Evaluator<Weight = W>>(
        &self,
        e: &mut E,
        index: usize,
        h: &E::Tensor,
    ) -> Result<E::Tensor, Error> {
        let layer = &self.layers[index];
        let x = e.norm(&layer.attention_norm, h).await?;
        let y = layer.attention.forward(e, index, &x).await?;
        let h = e.add(h, &y).await?;
        let x = e.norm(&layer.mlp_norm, &h).await?;
        let y = layer.mlp.forward(e, &x).await?;
        e.add(&h, &y).await
    }
}

impl<W> Layer<W> {
    fn load<S: Source<Weight = W>>(c: &Config, s: &At<S>) -> Result<Layer<W>, LoadError> {
        let names = Names {
            qkv: ["q_proj", "k_proj", "v_proj"],
            output: "o_proj",
            qkv_bias: c.attention_bias,
            output_bias: c.attention_bias,
        };
        let shape = AttentionShape {
            heads: Heads { key_value: c.num_key_value_heads, group: c.group_size(), width: c.head_dim },
            rotary: Some(rope_inverse_frequencies(c)),
            // Queries and keys are both multiplied by it as they are rotated.
            scale: rope_attention_factor(c).powi(2),
            causal: true,
        };
        let (attention_norm, mlp_norm) =
            (norm(c, s, "input_layernorm"), norm(c, s, "post_attention_layernorm"));
        let attention = Attention::load(&s.at("self_attn"), &attention_norm, shape, names, false)?;
        let mlp = ["gate_proj", "up_proj", "down_proj"];
        let (inner, bias) = (c.intermediate_size, c.mlp_bias);
        let mlp = GatedMlp::load(&s.at("mlp"), &mlp_norm, Activation::Silu, inner, mlp, bias)?;
        Ok(Layer { attention_norm, attention, mlp_norm, mlp })
    }
}

fn norm<S: Source>(c: &Config, s: &At<S>, name: &str) -> Norm {
    let gain = s.name(format!("{name}.weight"));
    Norm { kind: NormKind::Rms, width: c.hidden_size, eps: c.rms_norm_eps, gain, bias: None }
}
