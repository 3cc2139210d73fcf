//! Attention: queries, keys and values from one matrix, their heads, and the output matrix.

use crate::{
    error::Error as LoadError,
    evaluator::{AttentionShape, Evaluator, Norm},
    weights::{At, DIAGONAL, Source},
};
use sotto_protocol::Error;

/// An attention as one side knows it.
pub struct Attention<W> {
    shape: AttentionShape,
    width: usize,
    qkv: W,
    output: W,
}

/// What its tensors are called, and which of them have biases.
#[derive(Clone, Copy)]
pub struct Names<'a> {
    /// Queries, keys, values.
    pub qkv: [&'a str; 3],
    /// Behind the heads.
    pub output: &'a str,
    /// Whether queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Whether the output has.
    pub output_bias: bool,
}

impl<W> Attention<W> {
    /// Behind `norm`. With `stream`, the norm's output, gain and bias included, comes out beside
    /// queries, keys and values.
    ///
    /// # Errors
    /// As [`Source::matrix`].
    pub fn load<S: Source<Weight = W>>(
        s: &At<S>,
        norm: &Norm,
        shape: AttentionShape,
        names: Names,
        stream: bool,
    ) -> Result<Attention<W>, LoadError> {
        let [q, k, v] = names.qkv;
        let (q_columns, k_columns) = (shape.query_columns(), shape.key_columns());
        let mut q = s.part(q, q_columns, names.qkv_bias);
        // Scores in base-2 units.
        q.factor = shape.scale * std::f64::consts::LOG2_E / (shape.heads.width as f64).sqrt();
        let k = s.part(k, k_columns, names.qkv_bias);
        let v = s.part(v, k_columns, names.qkv_bias);
        let output = s.part(names.output, norm.width, names.output_bias);
        Ok(Attention {
            width: norm.width,
            qkv: super::matrix(s.source, norm.width, Some(norm), vec![q, k, v], stream)?,
            output: super::matrix(s.source, q_columns, None, vec![output], false)?,
            shape,
        })
    }

    /// What the rows of `x` make of themselves and of what they see.
    ///
    /// # Errors
    /// What the peer or the network connection does.
    pub async fn forward<E: Evaluator<Weight = W>>(
        &self,
        e: &mut E,
        layer: usize,
        x: &E::Tensor,
    ) -> Result<E::Tensor, Error> {
        let qkv = e.linear(&self.qkv, x).await?;
        let means = e.attention(layer, &self.shape, &qkv).await?;
        e.linear(&self.output, &means).await
    }

    /// The same, and the residual stream that the norm in front has put out.
    ///
    /// # Errors
    /// What the peer or the network connection does.
    pub async fn forward_beside_stream<E: Evaluator<Weight = W>>(
        &self,
        e: &mut E,
        layer: usize,
        x: &E::Tensor,
    ) -> Result<[E::Tensor; 2], Error> {
        let all = e.linear(&self.qkv, x).await?;
        let end = self.shape.query_columns() + 2 * self.shape.key_columns();
        let stream = e.stream(&e.columns(&all, end..end + self.width), DIAGONAL).await?;
        let means = e.attention(layer, &self.shape, &e.columns(&all, 0..end)).await?;
        Ok([e.linear(&self.output, &means).await?, stream])
    }
}
