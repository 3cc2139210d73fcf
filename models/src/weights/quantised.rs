//! The server's weights: matrices of integers with one power-of-two scale each.

use std::{cell::RefCell, collections::BTreeMap};

use sotto_protocol::{
    linear::{Exactness, Weight, WeightShape},
    rms_norm,
};

use crate::{
    Checkpoint, RealMatrix,
    error::Error,
    quantize::MAX_FRAC,
    weights::{Folded, Projection, Source, Table},
};

/// The fewest fraction bits a matrix may have: logits lose at least twelve bits before they are
/// revealed.
pub const FEWEST_FRAC: u32 = 8;

/// The fewest fraction bits of a matrix that gives the residual stream: it keeps 18 of its product.
const FEWEST_STREAM_FRAC: u32 = 10;

/// Biases stay below this, as sums of the linear layers' ring do.
const BIAS_BOUND: f64 = 1024.0;

/// Reads and rounds a checkpoint's tensors.
pub struct Quantised<'a> {
    checkpoint: &'a Checkpoint,
    /// Matrices by number that must have fewer fraction bits.
    caps: &'a BTreeMap<u32, u32>,
    fractions: RefCell<Vec<u32>>,
}

impl<'a> Quantised<'a> {
    /// Of a checkpoint; `caps` says which matrices, by number, have so many fraction bits at most.
    pub fn new(checkpoint: &'a Checkpoint, caps: &'a BTreeMap<u32, u32>) -> Quantised<'a> {
        Quantised { checkpoint, caps, fractions: RefCell::new(vec![]) }
    }

    /// The fraction bits of every matrix, in the order in which they were asked for: all that the
    /// client learns of them beyond shapes.
    pub fn fractions(self) -> Vec<u32> {
        self.fractions.into_inner()
    }

    fn weight(
        &self,
        name: &str,
        shape: [usize; 2],
        folded: &Folded,
        exactness: Exactness,
        fewest: u32,
    ) -> Result<Weight, Error> {
        let [outer, inner] = shape;
        let id = self.fractions.borrow().len() as u32;
        let most = self.caps.get(&id).map_or(MAX_FRAC, |&cap| cap.min(MAX_FRAC));
        let quantised = RealMatrix::new(name, &folded.weights, [outer, inner]).quantize(most)?;
        let frac = quantised.frac;
        let too_large = |actual| Err(Error::WeightTooLarge { matrix: name.into(), actual });
        if frac < fewest {
            return too_large(f64::from(i16::MAX) * (-f64::from(frac)).exp2());
        }
        if let Some(b) = folded.bias.iter().find(|b| b.abs() >= BIAS_BOUND as f32 || !b.is_finite()) {
            return too_large(f64::from(*b));
        }
        self.fractions.borrow_mut().push(frac);
        let shape = WeightShape { id, inner, outer, frac, exactness };
        let bias = folded.bias.iter().map(|&b| f64::from(b)).collect();
        Ok(Weight::new(shape, quantised.data, bias))
    }
}

impl Source for Quantised<'_> {
    type Weight = Weight;

    fn matrix(&self, of: &Projection) -> Result<Weight, Error> {
        let read = |name: &str, shape: &[usize]| self.checkpoint.tensor(name, shape);
        // What a norm multiplies by is divided out.
        let folded = of.fold(rms_norm::factor(of.inputs), read)?;
        let is_stream = of.whole.is_some() && of.exactness == Exactness::Rounded;
        let fewest = if is_stream { FEWEST_STREAM_FRAC } else { FEWEST_FRAC };
        self.weight(of.name(), [of.outputs(), of.inputs], &folded, of.exactness, fewest)
    }

    fn table(&self, of: &Table) -> Result<Weight, Error> {
        let table = of.fold(|name, shape| self.checkpoint.tensor(name, shape))?;
        let (rows, width) = (of.inputs(), of.width);
        let transposed = (0..width).flat_map(|i| (0..rows).map(move |v| (v, i)));
        let weights = transposed.map(|(v, i)| table[v * width + i]).collect();
        let folded = Folded { weights, bias: vec![] };
        self.weight(&of.name, [width, rows], &folded, Exactness::Rounded, FEWEST_FRAC)
    }
}
