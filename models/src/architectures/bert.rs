//! A layer of BERT: attention to both sides, norms behind the sums, GELU.
//!
//! A layer takes and gives what a norm puts out, without gain and bias: these belong to the
//! matrices that follow, one part of which gives the residual stream. There is no reader of such
//! checkpoints yet.

use sotto_protocol::{Error, activation::Activation, kv_cache::Heads};

use crate::{
    error::Error as LoadError,
    evaluator::{AttentionShape, Evaluator, Norm, NormKind},
    layers::{Attention, Mlp},
    weights::{At, Source},
};

/// The public shape of a layer.
#[derive(Clone, Copy, Debug)]
pub struct BertShape {
    /// Columns of the residual stream.
    pub width: usize,
    /// Heads, all of them with keys of their own.
    pub heads: usize,
    /// Columns inside the MLP.
    pub inner: usize,
    /// Added to a norm's variance.
    pub eps: f64,
}

/// A layer as one side knows it.
pub struct BertLayer<W> {
    attention: Attention<W>,
    middle: Norm,
    mlp: Mlp<W>,
    /// Gain and bias belong to the next layer.
    last: Norm,
}

impl<W> BertLayer<W> {
    /// The layer whose tensors lie at `s`, behind the norm whose tensors are called `before`.
    ///
    /// # Errors
    /// A tensor is missing or misshapen, or has numbers that cannot be represented.
    pub fn load<S: Source<Weight = W>>(
        c: BertShape,
        s: &At<S>,
        before: &str,
    ) -> Result<BertLayer<W>, LoadError> {
        let norm = |path: String| Norm {
            kind: NormKind::Layer,
            width: c.width,
            eps: c.eps,
            gain: format!("{path}.weight"),
            gain_offset: 0.0,
            bias: Some(format!("{path}.bias")),
        };
        let width = c.width / c.heads;
        let heads = Heads { key_value: c.heads, group: 1, width };
        let scale = (width as f64).sqrt().recip();
        let shape = AttentionShape { heads, rotary: None, scale, causal: false };
        let attention = s.at("attention");
        let qkv = ["query", "key", "value"].map(|name| attention.at("self").part(name, c.width, true));
        let output = attention.part("output.dense", c.width, true);
        let middle = norm(attention.name("output.LayerNorm"));
        let mlp = [s.part("intermediate.dense", c.inner, true), s.part("output.dense", c.width, true)];
        Ok(BertLayer {
            attention: Attention::load(s.source, &norm(before.into()), shape, qkv, output, true)?,
            mlp: Mlp::load(s.source, &middle, Activation::Gelu, mlp, true)?,
            middle,
            last: norm(s.name("output.LayerNorm")),
        })
    }

    /// From the preceding norm's output `[T, d]` to that of the layer's own second norm, both
    /// without gain and bias.
    ///
    /// # Errors
    /// What the peer or the network connection does.
    pub async fn forward<E: Evaluator<Weight = W>>(
        &self,
        e: &mut E,
        index: usize,
        x: &E::Tensor,
    ) -> Result<E::Tensor, Error> {
        let [y, h] = self.attention.forward_beside_stream(e, index, x).await?;
        let h = e.add(&h, &y).await?;
        let x = e.norm(&self.middle, &h).await?;
        let [y, h] = self.mlp.forward_beside_stream(e, &x).await?;
        let h = e.add(&h, &y).await?;
        e.norm(&self.last, &h).await
    }
}
