//! The reference's weights: f32 numbers, with the same factors multiplied in.

use crate::{
    Checkpoint,
    error::Error,
    evaluator::float::Matrix,
    weights::{Projection, Source, Table},
};

/// A matrix and its bias, in f32.
pub struct RealWeight {
    /// `[out, in]`.
    pub(crate) matrix: Matrix,
    /// `[out]`, or nothing.
    pub(crate) bias: Vec<f32>,
}

/// Reads a checkpoint's tensors; they take 4 bytes a weight.
pub struct Real<'a>(pub &'a Checkpoint);

impl Source for Real<'_> {
    type Weight = RealWeight;

    fn matrix(&self, of: &Projection) -> Result<RealWeight, Error> {
        let folded = of.fold(1.0, |name, shape| self.0.tensor(name, shape))?;
        Ok(RealWeight { matrix: Matrix::new(folded.weights, of.inputs), bias: folded.bias })
    }

    fn table(&self, of: &Table) -> Result<RealWeight, Error> {
        let table = of.fold(|name, shape| self.0.tensor(name, shape))?;
        Ok(RealWeight { matrix: Matrix::new(table, of.width), bias: vec![] })
    }
}
