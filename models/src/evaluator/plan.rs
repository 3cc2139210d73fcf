//! Networks on shapes alone: what a step takes, part by part.
//!
//! Both parties run the page on shapes before they run it on shares, so that what a step takes can
//! be made together, and ahead of time.

use std::ops::Range;

use sotto_protocol::{
    Error, Precision, Schedule,
    activation::Activation,
    kv_cache::Heads,
    linear::{Matrix, WeightShape},
    planner::{self, Attention, Function, Kind, Step},
};
use sotto_shares::Shape;

use crate::evaluator::{
    AttentionShape, Evaluator, Norm, NormKind, Part, Scales, Tokens,
    fixed_point::{capped_ring, scaled_eps},
};

/// Where a generation stands: what the next step saves, and what is around it.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What its protocols save.
    pub schedule: Schedule,
    /// Tokens that were evaluated before it, one at a time.
    pub tokens_before: usize,
    /// Tokens that may be evaluated after it, one at a time.
    pub tokens_after: usize,
    /// Positions that may follow its own in all.
    pub reach: usize,
}

impl Progress {
    /// A step with nothing around it.
    pub fn alone(schedule: Schedule) -> Progress {
        Progress { schedule, tokens_before: 0, tokens_after: 0, reach: 0 }
    }
}

/// What a step takes.
pub struct Plan<'a, W> {
    /// Rows of the step: positions that are new.
    pub rows: usize,
    /// Positions before them.
    pub position: usize,
    /// Embedding, layers, head.
    pub parts: Vec<planner::Part<W>>,
    /// Visits of the residual stream so far.
    pub visits: usize,
    precision: Precision,
    scales: &'a Scales,
    layer: usize,
    /// Norms beside the residual stream in this layer so far.
    beside: usize,
}

impl<'a, W> Plan<'a, W> {
    /// Of a step after so many positions, by a model's scales; filled in by running the network on
    /// it.
    pub fn new(position: usize, precision: Precision, scales: &'a Scales) -> Plan<'a, W> {
        Plan { rows: 0, position, parts: vec![], visits: 0, precision, scales, layer: 0, beside: 0 }
    }

    /// The heads of every layer that has attention.
    pub fn heads(&self) -> Vec<Heads> {
        self.parts.iter().filter_map(|part| part.attention.map(|attention| attention.heads)).collect()
    }

    /// Number of layers.
    pub fn layers(&self) -> usize {
        self.parts.iter().filter(|part| part.kind == Kind::Layer).count()
    }

    /// Numbers that activation functions of a layer are evaluated of.
    pub fn neurons(&self) -> usize {
        let layer = self.parts.iter().find(|part| part.kind == Kind::Layer);
        let functions = layer.into_iter().flat_map(|part| &part.functions);
        let count = |(function, times): &(Function, usize)| match function {
            Function::Activation(_, n, _) => n * times,
            _ => 0,
        };
        functions.map(count).sum()
    }

    /// The step, at its place among others.
    pub fn into_step(self, progress: Progress) -> Step<W> {
        let Progress { schedule, tokens_before, tokens_after, reach } = progress;
        Step { parts: self.parts, schedule, tokens: self.rows, tokens_before, tokens_after, reach }
    }

    fn part(&mut self) -> &mut planner::Part<W> {
        self.parts.last_mut().expect("a network enters a part first")
    }

    fn count_norm(&mut self, norm: &Norm, rows: Shape, exponent: i32) {
        let eps = scaled_eps(norm.eps, exponent);
        self.count(match norm.kind {
            NormKind::Rms => Function::RmsNorm(rows, eps),
            NormKind::Layer => Function::LayerNorm(rows, eps),
        });
    }

    fn count(&mut self, function: Function) {
        let functions = &mut self.part().functions;
        match functions.iter_mut().find(|(other, _)| *other == function) {
            Some((_, times)) => *times += 1,
            None => functions.push((function, 1)),
        }
    }
}

impl<W: Matrix + Clone> Evaluator for Plan<'_, W> {
    type Tensor = Shape;
    type Weight = W;

    fn position(&self) -> usize {
        self.position
    }

    async fn enter(&mut self, part: Part) -> Result<(), Error> {
        let kind = match part {
            Part::Embedding => Kind::Embedding,
            Part::Layer(_) => Kind::Layer,
            Part::Head => Kind::Head,
        };
        if let Part::Layer(i) = part {
            (self.layer, self.beside) = (i, 0);
        }
        self.parts.push(planner::Part { kind, matrices: vec![], attention: None, functions: vec![] });
        Ok(())
    }

    async fn embed(&mut self, table: &W, tokens: Tokens<'_>) -> Result<Shape, Error> {
        self.rows = tokens.count();
        self.visits += 1;
        let rows = self.rows;
        self.linear(table, &Shape::new(rows, table.shape().inner)).await
    }

    async fn add_positions(&mut self, h: &Shape, _: &W) -> Result<Shape, Error> {
        Ok(*h)
    }

    async fn norm(&mut self, norm: &Norm, x: &Shape) -> Result<Shape, Error> {
        let exponent = self.scales.stream(self.visits.saturating_sub(1)).exponent;
        self.count_norm(norm, *x, exponent);
        Ok(*x)
    }

    async fn norm_parts(&mut self, norm: &Norm, y: &Shape) -> Result<Shape, Error> {
        let exponent = self.scales.layer(self.layer).beside[self.beside];
        self.beside += 1;
        self.count_norm(norm, Shape::new(y.len() / norm.width, norm.width), exponent as i32);
        Ok(*y)
    }

    async fn unnormalised(&mut self, h: &Shape) -> Result<Shape, Error> {
        Ok(*h)
    }

    async fn linear(&mut self, w: &W, x: &Shape) -> Result<Shape, Error> {
        let WeightShape { inner, outer, .. } = *w.shape();
        let parts = x.cols / inner;
        self.part().matrices.push((w.clone(), x.rows * parts));
        Ok(Shape::new(x.rows, parts * outer))
    }

    async fn attention(
        &mut self,
        layer: usize,
        shape: &AttentionShape,
        [q, ..]: [&Shape; 3],
    ) -> Result<Shape, Error> {
        let visible = shape.visible(q.rows, self.position);
        let (heads, positions) = (shape.heads, q.rows);
        self.part().attention = Some(Attention { cache: layer, heads, positions });
        if shape.cap.is_some() {
            self.count(Function::SoftCap(visible.clone(), capped_ring(self.precision)));
        }
        self.count(Function::Softmax(visible));
        Ok(Shape::new(q.rows, shape.query_columns()))
    }

    async fn activate(&mut self, f: Activation, x: &Shape) -> Result<Shape, Error> {
        self.count(Function::Activation(f, x.len(), self.precision.linear()));
        Ok(*x)
    }

    async fn gate(&mut self, f: Activation, x: &Shape, _: &Shape) -> Result<Shape, Error> {
        self.count(Function::Activation(f, x.len(), self.precision.argument()));
        Ok(*x)
    }

    async fn add(&mut self, h: &Shape, _: &Shape) -> Result<Shape, Error> {
        self.visits += 1;
        Ok(*h)
    }

    async fn stream(&mut self, y: &Shape, _: u32) -> Result<Shape, Error> {
        Ok(*y)
    }

    async fn new_stream(&mut self, y: &Shape) -> Result<Shape, Error> {
        self.visits += 1;
        Ok(*y)
    }

    async fn mean(&mut self, x: &Shape) -> Result<Shape, Error> {
        Ok(Shape::new(1, x.cols))
    }

    async fn row_of(&mut self, x: &Shape, _: Tokens<'_>, _: u32) -> Result<Shape, Error> {
        Ok(Shape::new(1, x.cols))
    }

    fn columns(&self, x: &Shape, range: Range<usize>) -> Shape {
        Shape::new(x.rows, range.len())
    }

    fn rows(&self, x: &Shape, range: Range<usize>) -> Shape {
        Shape::new(range.len(), x.cols)
    }
}
