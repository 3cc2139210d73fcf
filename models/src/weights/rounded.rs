//! The reference's weights, rounded as the server's are: what the 16 bits of a weight cost alone.

use std::collections::BTreeMap;

use sotto_protocol::{linear::Matrix as _, rms_norm};

use crate::{
    Checkpoint,
    error::Error,
    evaluator::float::Matrix,
    weights::{Projection, Quantised, Real, RealWeight, Source, Table},
};

/// Reads a checkpoint's tensors and rounds them to the server's integers; f32 all the same.
pub struct Rounded<'a> {
    quantised: Quantised<'a>,
    checkpoint: &'a Checkpoint,
}

impl<'a> Rounded<'a> {
    /// Of a checkpoint; `fractions` says how many fraction bits each matrix has at most, by its
    /// number.
    pub fn new(checkpoint: &'a Checkpoint, fractions: &'a BTreeMap<u32, u32>) -> Rounded<'a> {
        Rounded { quantised: Quantised::new(checkpoint, fractions), checkpoint }
    }
}

impl Source for Rounded<'_> {
    type Weight = RealWeight;

    fn matrix(&self, of: &Projection) -> Result<RealWeight, Error> {
        let rounded = self.quantised.matrix(of)?;
        let read = |name: &str, shape: &[usize]| self.checkpoint.tensor(name, shape);
        // What the server's weights are rounded from: another number where a norm stands in front.
        let exact = of.fold(rms_norm::factor(of.inputs), read)?.weights;
        let RealWeight { matrix, bias } = Real(self.checkpoint).matrix(of)?;
        let (inputs, outputs) = (of.inputs, of.outputs());
        let mut weights = matrix.into_weights();
        for input in 0..inputs {
            let (row, frac) = rounded.rows(input..input + 1).expect("the server's matrix is here");
            let unit = (-(frac as f32)).exp2();
            for (output, &q) in (0..outputs).zip(&row) {
                let at = output * inputs + input;
                if exact[at] != 0.0 {
                    weights[at] *= q as f32 * unit / exact[at];
                }
            }
        }
        Ok(RealWeight { matrix: Matrix::new(weights, inputs), bias })
    }

    fn table(&self, of: &Table) -> Result<RealWeight, Error> {
        let rounded = self.quantised.table(of)?;
        let (rows, frac) = rounded.rows(0..of.inputs()).expect("the server's table is here");
        let unit = (-(frac as f32)).exp2();
        let table = rows.iter().map(|&q| q as f32 * unit).collect();
        Ok(RealWeight { matrix: Matrix::new(table, of.width), bias: vec![] })
    }
}
