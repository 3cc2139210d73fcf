//! The tensors that a network is made of, by name and shape.

use std::cell::RefCell;

use crate::{
    error::Error,
    weights::{Projection, Source, Table},
};

/// A tensor of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

/// Lists tensors in the order in which a network asks for them, each once.
#[derive(Default)]
pub struct Listing(RefCell<Vec<Tensor>>);

impl Listing {
    /// What was listed.
    pub fn tensors(self) -> Vec<Tensor> {
        self.0.into_inner()
    }

    fn add(&self, tensor: Tensor) {
        let mut all = self.0.borrow_mut();
        if all.iter().all(|other| other.name != tensor.name) {
            all.push(tensor);
        }
    }
}

impl Source for Listing {
    type Weight = ();

    fn matrix(&self, of: &Projection) -> Result<(), Error> {
        of.tensors().into_iter().for_each(|tensor| self.add(tensor));
        Ok(())
    }

    fn table(&self, of: &Table) -> Result<(), Error> {
        of.tensors().into_iter().for_each(|tensor| self.add(tensor));
        Ok(())
    }
}
