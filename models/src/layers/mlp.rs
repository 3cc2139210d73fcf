//! The plain MLP: `down(f(up(x)))`.

use sotto_protocol::{Error, activation::Activation};

use crate::{
    error::Error as LoadError,
    evaluator::{Evaluator, Norm},
    weights::{DIAGONAL, ProjectionPart, Source},
};

/// An MLP as one side knows it.
pub struct Mlp<W> {
    function: Activation,
    inner: usize,
    width: usize,
    up: W,
    down: W,
}

impl<W> Mlp<W> {
    /// Behind `norm`, with projections called up and down. With `stream`, the norm's output, gain
    /// and bias included, comes out beside.
    ///
    /// # Errors
    /// As [`Source::matrix`].
    pub fn load<S: Source<Weight = W>>(
        source: &S,
        norm: &Norm,
        function: Activation,
        [up, down]: [ProjectionPart; 2],
        stream: bool,
    ) -> Result<Mlp<W>, LoadError> {
        let inner = up.outputs;
        Ok(Mlp {
            function,
            inner,
            width: norm.outputs(),
            up: super::matrix(source, norm.width, Some(norm), vec![up], stream)?,
            down: super::matrix(source, inner, None, vec![down], false)?,
        })
    }

    /// Row by row.
    ///
    /// # Errors
    /// What the peer or the network connection does.
    pub async fn forward<E: Evaluator<Weight = W>>(
        &self,
        e: &mut E,
        x: &E::Tensor,
    ) -> Result<E::Tensor, Error> {
        let inside = e.linear(&self.up, x).await?;
        let inside = e.activate(self.function, &inside).await?;
        e.linear(&self.down, &inside).await
    }

    /// Row by row, and the residual stream that the norm in front has put out.
    ///
    /// # Errors
    /// What the peer or the network connection does.
    pub async fn forward_beside_stream<E: Evaluator<Weight = W>>(
        &self,
        e: &mut E,
        x: &E::Tensor,
    ) -> Result<[E::Tensor; 2], Error> {
        let all = e.linear(&self.up, x).await?;
        let stream = e.stream(&e.columns(&all, self.inner..self.inner + self.width), DIAGONAL).await?;
        let inside = e.activate(self.function, &e.columns(&all, 0..self.inner)).await?;
        Ok([e.linear(&self.down, &inside).await?, stream])
    }
}
