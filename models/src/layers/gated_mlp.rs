//! The gated MLP: `down(f(gate(x)) * up(x))`.

use sotto_protocol::{Error, activation::Activation};

use super::Input;
use crate::{
    Config,
    error::Error as LoadError,
    evaluator::Evaluator,
    weights::{At, ProjectionPart, Source},
};

/// A gated MLP as one side knows it.
pub struct GatedMlp<W> {
    function: Activation,
    inner: usize,
    gate_up: W,
    down: W,
}

impl<W> GatedMlp<W> {
    /// Behind a norm, or of the residual stream, with projections called gate, up and down.
    ///
    /// # Errors
    /// As [`Source::matrix`].
    pub fn load<'a, S: Source<Weight = W>>(
        source: &S,
        input: impl Into<Input<'a>>,
        function: Activation,
        [gate, up, down]: [ProjectionPart; 3],
    ) -> Result<GatedMlp<W>, LoadError> {
        let (inner, input) = (gate.outputs, input.into());
        Ok(GatedMlp {
            function,
            inner,
            gate_up: super::matrix(source, input.width, input.norm, vec![gate, up], false)?,
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
        let both = e.linear(&self.gate_up, x).await?;
        let gate = e.columns(&both, 0..self.inner);
        let up = e.columns(&both, self.inner..2 * self.inner);
        let inside = e.gate(self.function, &gate, &up).await?;
        e.linear(&self.down, &inside).await
    }
}

/// The projections called gate, up and down, below their place, by the names that most have.
pub fn gated_projections<S: Source>(c: &Config, s: &At<S>) -> [ProjectionPart; 3] {
    let all =
        [("gate_proj", c.intermediate_size), ("up_proj", c.intermediate_size), ("down_proj", c.hidden_size)];
    all.map(|(name, outputs)| s.part(name, outputs, c.mlp_bias))
}
