//! The reference's weights: f32 numbers, with the same factors multiplied in.

use crate::{
    Checkpoint,
    error::Error,
    evaluator::float::Matrix,
    weights::{Projection, Source},
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

    fn table(&self, name: &str, rows: usize, width: usize, factor: f64) -> Result<RealWeight, Error> {
        let mut table = self.0.tensor(name, &[rows, width])?;
        table.iter_mut().for_each(|x| *x = (f64::from(*x) * factor) as f32);
        Ok(RealWeight { matrix: Matrix::new(table, width), bias: vec![] })
    }
}
