//! The cases: inputs that both parties derive from a fixed seed, the protocol, and the right
//! answer.
//!
//! An error is that of the protocol: inputs are what the shares hold, numbers with so many fraction
//! bits, and the answer is computed from them in f64. Weights are integers over a power of two;
//! those of the blocks are real numbers, whose rounding to 16 bits counts as error.

mod bert;
mod block;
mod elementwise;
mod embed;
mod inputs;
mod layers;
mod linear;
mod matmul;
mod ot;
mod setup;

use std::{path::Path, pin::Pin};

use anyhow::Result;
use sotto_protocol::{Precision, Schedule, cost::CostModel};

use crate::{
    stage::{Me, Stage},
    tensor::Tensor,
};

/// One run of a party, giving its share of the output.
pub type Run<'a> = Pin<Box<dyn Future<Output = Result<Vec<Tensor>>> + 'a>>;

/// What is measured.
pub trait Case {
    /// What a reader should know of the figures, in half a line.
    fn about(&self) -> &'static str;

    /// Elements of the output: what bits are counted by.
    fn elements(&self) -> usize;

    /// The largest error that passes.
    fn tolerance(&self) -> f64;

    /// Whether a run needs a session; otherwise it makes its own connections.
    fn needs_session(&self) -> bool {
        true
    }

    /// Puts what both parties need into `scratch`, once, before they start.
    ///
    /// # Errors
    /// A file cannot be written.
    fn provide(&mut self, _scratch: &Path) -> Result<()> {
        Ok(())
    }

    /// One run of this party: its inputs, then, between start and stop of the stage's watch, the
    /// protocol.
    fn run<'a>(&'a mut self, stage: &'a mut Stage, me: Option<&'a mut Me>) -> Run<'a>;

    /// The result, from the opened outputs.
    fn answer(&self, opened: Vec<Vec<f64>>) -> Vec<f64> {
        opened.concat()
    }

    /// What the protocol says that it sends online, by its formulas, if the case is about one
    /// protocol.
    fn stated(&self, _schedule: Schedule) -> Option<CostModel> {
        None
    }

    /// Whether it makes offline what no such formula tells of: something encrypted.
    fn is_encrypted(&self) -> bool {
        false
    }

    /// The right result.
    ///
    /// # Errors
    /// A file of the case cannot be read.
    fn expected(&self) -> Result<Vec<f64>>;
}

/// The case of this name, on activations so exact.
pub fn parse(name: &str, precision: Precision) -> Option<Box<dyn Case>> {
    let (kind, shape) = name.split_once('/')?;
    let numbers: Option<Vec<usize>> =
        shape.split('x').map(|n| n.parse().ok().filter(|n| (1..=1 << 24).contains(n))).collect();
    let numbers = numbers.unwrap_or_default();
    match (kind, &numbers[..]) {
        ("setup", _) => setup::Setup::parse(shape).map(boxed),
        ("cot" | "rot" | "and", _) => ot::Correlations::parse(name).map(boxed),
        ("linear", &[rows, inner, outer]) => Some(boxed(linear::Linear { rows, inner, outer, precision })),
        ("matmul", &[batch, rows, inner, cols]) => Some(boxed(matmul::Matmul { batch, rows, inner, cols })),
        ("embed", &[tokens, vocabulary, width]) => Some(boxed(embed::Embed { tokens, vocabulary, width })),
        ("block", _) if name.starts_with("block/bert") => bert::Bert::parse(name, precision).map(boxed),
        ("block" | "layer", _) => block::Block::parse(name).map(boxed),
        (op, &[n]) if elementwise::Op::parse(op).is_some() => {
            elementwise::Op::parse(op).map(|op| boxed(elementwise::Elementwise { op, n, precision }))
        }
        (kind, sizes) => layers::parse(kind, sizes, precision),
    }
}

fn boxed(case: impl Case + 'static) -> Box<dyn Case> {
    Box::new(case)
}
