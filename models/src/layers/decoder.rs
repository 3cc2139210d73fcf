//! A stack of layers between an embedding and a head: all decoders.

use sotto_protocol::Error;

use crate::evaluator::{Evaluator, Norm, Part, Tokens};

/// A layer of a decoder: from residual stream `[T, d]` to residual stream.
#[allow(async_fn_in_trait)]
pub trait Layer<W> {
    /// What the layer makes of the residual stream.
    ///
    /// # Errors
    /// What the peer or the network connection does.
    async fn forward<E: Evaluator<Weight = W>>(
        &self,
        e: &mut E,
        index: usize,
        h: &E::Tensor,
    ) -> Result<E::Tensor, Error>;
}

/// A decoder as one side knows it.
pub struct Decoder<W, L> {
    /// The rows of all tokens.
    pub embedding: W,
    /// The rows of all positions, if positions are learned.
    pub positions: Option<W>,
    /// The layers.
    pub layers: Vec<L>,
    /// Behind the last.
    pub norm: Norm,
    /// Logits of the norm's output.
    pub head: W,
}

impl<W, L: Layer<W>> Decoder<W, L> {
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
        if let Some(table) = &self.positions {
            h = e.add_positions(&h, table).await?;
        }
        for (i, layer) in self.layers.iter().enumerate() {
            e.enter(Part::Layer(i)).await?;
            h = layer.forward(e, i, &h).await?;
        }
        e.enter(Part::Head).await?;
        let rows = tokens.count();
        let h = if all { h } else { e.rows(&h, rows - 1..rows) };
        let x = e.norm(&self.norm, &h).await?;
        e.linear(&self.head, &x).await
    }
}
