//! Networks on shapes alone: what a step takes, part by part.
//!
//! Both parties run the page on shapes before they run it on shares, so that what a step takes can be made
//! together, and ahead of time.

use std::ops::Range;

use sotto_protocol::{
    Error, Precision, Schedule, activation::Activation, ahead::Matrix, cost::Bill, kv_cache::Heads,
    layer_norm, rms_norm, softmax,
};
use sotto_shares::Shape;

use crate::evaluator::{
    AttentionShape, Evaluator, Norm, NormKind, Part, Scales, Tokens, fixed_point::scaled_eps,
};

/// A function of a layer, and its public shape.
#[derive(Clone, Debug, PartialEq)]
pub enum Function {
    /// A norm of a shape, with its epsilon.
    Norm(NormKind, Shape, f64),
    /// Softmax over so many entries of each row.
    Softmax(Vec<usize>),
    /// An activation of so many numbers, from the ring of its argument to the same ring or, if `wide`, to
    /// that of activations.
    Activation {
        /// Which.
        function: Activation,
        /// How many numbers.
        n: usize,
        /// Whether the result is in the ring of activations.
        wide: bool,
    },
}

impl Function {
    /// Numbers that an activation function is evaluated of.
    pub fn neurons(&self) -> usize {
        match self {
            Function::Activation { n, .. } => *n,
            Function::Norm(..) | Function::Softmax(_) => 0,
        }
    }

    /// What it takes `positions` positions later.
    pub fn bill(&self, precision: Precision, schedule: Schedule, positions: usize) -> Bill {
        match *self {
            Function::Norm(NormKind::Rms, shape, eps) => rms_norm::bill(precision, schedule, shape, eps),
            Function::Norm(NormKind::Layer, shape, eps) => layer_norm::bill(precision, schedule, shape, eps),
            Function::Softmax(ref visible) => {
                let visible: Vec<usize> = visible.iter().map(|n| n + positions).collect();
                softmax::bill(precision, schedule, &visible)
            }
            Function::Activation { function, n, wide } => {
                let ring = if wide { precision.linear() } else { precision.argument() };
                sotto_protocol::activation::bill(function, precision, schedule, n, ring.bits())
            }
        }
    }
}

/// What a part of a network takes in a step.
#[derive(Clone, Debug)]
pub struct Demand<W> {
    /// Matrices that rows are multiplied by, and how many rows.
    pub matrices: Vec<(W, usize)>,
    /// Width of the rows that are normalised, and how many.
    pub norms: Option<(usize, usize)>,
    /// The layer's heads and the number of new positions.
    pub attention: Option<(Heads, usize)>,
    /// Functions.
    pub functions: Vec<Function>,
}

impl<W> Default for Demand<W> {
    fn default() -> Demand<W> {
        Demand { matrices: vec![], norms: None, attention: None, functions: vec![] }
    }
}

/// What a step takes.
#[derive(Debug)]
pub struct Plan<'a, W> {
    /// Rows of the step: positions that are new.
    pub rows: usize,
    /// Positions before them.
    pub position: usize,
    /// Embedding, layers, head.
    pub parts: Vec<Demand<W>>,
    /// Visits of the residual stream so far.
    pub visits: usize,
    scales: &'a Scales,
}

impl<'a, W> Plan<'a, W> {
    /// Of a step after so many positions, by a model's scales; filled in by running the network on it.
    pub fn new(position: usize, scales: &'a Scales) -> Plan<'a, W> {
        Plan { rows: 0, position, parts: vec![], visits: 0, scales }
    }

    /// The heads of every layer that has attention.
    pub fn heads(&self) -> Vec<Heads> {
        self.parts.iter().filter_map(|part| part.attention.map(|(heads, _)| heads)).collect()
    }

    /// Number of layers.
    pub fn layers(&self) -> usize {
        self.parts.len().saturating_sub(2)
    }

    fn part(&mut self) -> &mut Demand<W> {
        self.parts.last_mut().expect("a network enters a part first")
    }
}

impl<W: Matrix + Clone> Evaluator for Plan<'_, W> {
    type Tensor = Shape;
    type Weight = W;

    fn position(&self) -> usize {
        self.position
    }

    async fn enter(&mut self, _: Part) -> Result<(), Error> {
        self.parts.push(Demand::default());
        Ok(())
    }

    async fn embed(&mut self, table: &W, tokens: Tokens<'_>) -> Result<Shape, Error> {
        self.rows = tokens.count();
        self.visits += 1;
        let rows = self.rows;
        self.linear(table, &Shape::new(rows, table.shape().inner)).await
    }

    async fn norm(&mut self, norm: &Norm, x: &Shape) -> Result<Shape, Error> {
        let eps = scaled_eps(norm.eps, self.scales.stream(self.visits.saturating_sub(1)).exponent);
        let part = self.part();
        let rows = part.norms.map_or(0, |(_, rows)| rows);
        part.norms = Some((x.cols, rows + x.rows));
        part.functions.push(Function::Norm(norm.kind, *x, eps));
        Ok(*x)
    }

    async fn linear(&mut self, w: &W, x: &Shape) -> Result<Shape, Error> {
        self.part().matrices.push((w.clone(), x.rows));
        Ok(Shape::new(x.rows, w.shape().outer))
    }

    async fn attention(&mut self, _: usize, shape: &AttentionShape, qkv: &Shape) -> Result<Shape, Error> {
        let visible = shape.visible(qkv.rows, self.position);
        let part = self.part();
        part.attention = Some((shape.heads, qkv.rows));
        part.functions.push(Function::Softmax(visible));
        Ok(Shape::new(qkv.rows, shape.query_columns()))
    }

    async fn activate(&mut self, function: Activation, x: &Shape) -> Result<Shape, Error> {
        self.part().functions.push(Function::Activation { function, n: x.len(), wide: true });
        Ok(*x)
    }

    async fn gate(&mut self, function: Activation, x: &Shape, _: &Shape) -> Result<Shape, Error> {
        self.part().functions.push(Function::Activation { function, n: x.len(), wide: false });
        Ok(*x)
    }

    async fn add(&mut self, h: &Shape, _: &Shape) -> Result<Shape, Error> {
        self.visits += 1;
        Ok(*h)
    }

    async fn stream(&mut self, y: &Shape, _: u32) -> Result<Shape, Error> {
        Ok(*y)
    }

    fn columns(&self, x: &Shape, range: Range<usize>) -> Shape {
        Shape::new(x.rows, range.len())
    }

    fn rows(&self, x: &Shape, range: Range<usize>) -> Shape {
        Shape::new(range.len(), x.cols)
    }
}
