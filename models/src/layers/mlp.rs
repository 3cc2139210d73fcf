//! The plain MLP behind a norm that stands behind a sum: `down(f(up(x)))`.

use sotto_protocol::{Error, activation::Activation};

use crate::{
    error::Error as LoadError,
    evaluator::{Evaluator, Norm},
    weights::{At, DIAGONAL, Source},
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
    /// Behind `norm`, `inner` wide inside, with tensors called up and down and their biases. The
    /// norm's output, gain and bias included, comes out beside.
    ///
    /// # Errors
    /// As [`Source::matrix`].
    pub fn load<S: Source<Weight = W>>(
        s: &At<S>,
        norm: &Norm,
        function: Activation,
        inner: usize,
        names: [&str; 2],
    ) -> Result<Mlp<W>, LoadError> {
        let [up, down] = names;
        let (up, down) = (s.part(up, inner, true), s.part(down, norm.width, true));
        Ok(Mlp {
            function,
            inner,
            width: norm.width,
            up: super::matrix(s.source, norm.width, Some(norm), vec![up], true)?,
            down: super::matrix(s.source, inner, None, vec![down], false)?,
        })
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
