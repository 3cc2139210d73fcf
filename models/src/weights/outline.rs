//! What the client knows of a network's weights: shapes, and the fraction bits that the server
//! tells.

use std::cell::Cell;

use sotto_protocol::linear::{Exactness, WeightShape};

use crate::{
    error::Error,
    quantize::MAX_FRAC,
    weights::{Projection, Source, Table, quantised::FEWEST_FRAC},
};

/// Shapes in the order in which a network asks for its matrices.
pub struct Outline<'a> {
    fractions: &'a [u32],
    next: Cell<usize>,
}

impl<'a> Outline<'a> {
    /// By the fraction bits of every matrix, in this order; `None` if one is not in its range.
    pub fn new(fractions: &'a [u32]) -> Option<Outline<'a>> {
        let fit = fractions.iter().all(|f| (FEWEST_FRAC..=MAX_FRAC).contains(f));
        fit.then_some(Outline { fractions, next: Cell::new(0) })
    }

    /// Whether there was one fraction for every matrix, and no more.
    pub fn is_used_up(&self) -> bool {
        self.next.get() == self.fractions.len()
    }

    fn shape(&self, inner: usize, outer: usize, exactness: Exactness) -> WeightShape {
        let id = self.next.replace(self.next.get() + 1);
        // One that is missing is noticed by `is_used_up`.
        let frac = self.fractions.get(id).copied().unwrap_or(FEWEST_FRAC);
        WeightShape { id: id as u32, inner, outer, frac, exactness }
    }
}

impl Source for Outline<'_> {
    type Weight = WeightShape;

    fn matrix(&self, of: &Projection) -> Result<WeightShape, Error> {
        Ok(self.shape(of.inputs, of.outputs(), of.exactness))
    }

    fn table(&self, of: &Table) -> Result<WeightShape, Error> {
        Ok(self.shape(of.inputs(), of.width, Exactness::Rounded))
    }
}
