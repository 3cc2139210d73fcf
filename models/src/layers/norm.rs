//! A norm whose gains are not multiplied into the matrices that follow.

use sotto_protocol::{Error, linear::Exactness};

use crate::{
    error::Error as LoadError,
    evaluator::{Evaluator, Norm},
    weights::{Projection, Source},
};

/// A norm of what a linear layer gives, with its gains, as one side knows it.
///
/// Behind it stands what gains do not pass through: a rotation, or a sum. So they are a diagonal
/// matrix. The server alone knows it, and it is multiplied as every matrix is: for a row of `n`
/// numbers the client sends `n` numbers once, a quarter of what products of shares would take.
pub struct GainedNorm<W> {
    pub(crate) norm: Norm,
    pub(crate) gains: W,
}

impl<W> GainedNorm<W> {
    /// Gains times `factor`.
    ///
    /// # Errors
    /// As [`Source::matrix`].
    pub fn load<S: Source<Weight = W>>(
        source: &S,
        norm: Norm,
        factor: f64,
    ) -> Result<GainedNorm<W>, LoadError> {
        let gains = source.matrix(&Projection {
            inputs: norm.width,
            parts: vec![],
            norm: Some(norm.clone()),
            whole: Some(factor),
            exactness: Exactness::Rounded,
        })?;
        Ok(GainedNorm { norm, gains })
    }

    /// Of each part of a row that is as wide as the norm.
    ///
    /// # Errors
    /// What the peer or the network connection does.
    pub async fn forward<E: Evaluator<Weight = W>>(
        &self,
        e: &mut E,
        y: &E::Tensor,
    ) -> Result<E::Tensor, Error> {
        let x = e.norm_parts(&self.norm, y).await?;
        e.linear(&self.gains, &x).await
    }
}
