//! Weights by path: what a network's page asks for, and who answers.
//!
//! A page describes each matrix once, by the names and shapes of the tensors that it is made of
//! ([`Projection`]). A [`Source`] makes of it what its side holds:
//!
//! | source                  | gives                                                         |
//! |-------------------------|---------------------------------------------------------------|
//! | [`Listing`]             | nothing; it lists the tensors, for checks and random models   |
//! | [`Quantised`]           | the server's matrix of 16-bit integers                        |
//! | [`Outline`]             | the client's knowledge: a shape, with the server's fraction bits |
//! | [`Real`]                | the reference's f32 numbers                                   |
//!
//! Matrices that share an input are stacked. The gain and bias of the norm in front are multiplied
//! in, as is a public factor of each part: `W (g x + b) + c = (W g) x + (W b + c)`.

mod listing;
mod outline;
mod quantised;
mod real;

use std::fmt::Display;

use sotto_protocol::linear::Exactness;

pub use listing::{Listing, Tensor};
pub use outline::Outline;
pub use quantised::Quantised;
pub use real::{Real, RealWeight};

use crate::{error::Error, evaluator::Norm};

/// Who answers for weights.
pub trait Source {
    /// What a matrix is to this side.
    type Weight;

    /// A matrix.
    ///
    /// # Errors
    /// A tensor is missing or misshapen, or has numbers that cannot be represented.
    fn matrix(&self, of: &Projection) -> Result<Self::Weight, Error>;

    /// The table `[rows, width]` of an embedding, as a matrix that one-hot rows multiply.
    ///
    /// # Errors
    /// As [`Source::matrix`].
    fn table(&self, name: &str, rows: usize, width: usize) -> Result<Self::Weight, Error>;
}

/// A matrix made of stacked parts.
#[derive(Clone, Debug)]
pub struct Projection {
    /// Columns of the input.
    pub inputs: usize,
    /// Stacked outputs.
    pub parts: Vec<ProjectionPart>,
    /// The norm whose output is the input, if it is one's.
    pub norm: Option<Norm>,
    /// Whether the norm's whole output, gain and bias included, is one more part, divided by
    /// `2^DIAGONAL`: the residual stream of networks whose norms stand behind the sums.
    pub stream: bool,
    /// How exact the product must be.
    pub exactness: Exactness,
}

/// A tensor `[outputs, inputs]` of a checkpoint, and its bias.
#[derive(Clone, Debug)]
pub struct ProjectionPart {
    /// The tensor's name.
    pub weight: String,
    /// The name of the bias `[outputs]`, if there is one.
    pub bias: Option<String>,
    /// Rows.
    pub outputs: usize,
    /// What both are multiplied by.
    pub factor: f64,
}

/// The stream's part is divided by `2^DIAGONAL`, so that its gains take no fraction bits from the
/// others.
pub const DIAGONAL: u32 = 4;

impl Projection {
    /// All outputs.
    pub fn outputs(&self) -> usize {
        let stream = if self.stream { self.inputs } else { 0 };
        self.parts.iter().map(|part| part.outputs).sum::<usize>() + stream
    }

    /// Names and shapes of the tensors that it is made of.
    pub fn tensors(&self) -> Vec<Tensor> {
        let vector = |name: &String, n| Tensor { name: name.clone(), shape: vec![n] };
        let mut all = vec![];
        if let Some(norm) = &self.norm {
            all.push(vector(&norm.gain, norm.width));
            all.extend(norm.bias.iter().map(|name| vector(name, norm.width)));
        }
        for part in &self.parts {
            all.push(Tensor { name: part.weight.clone(), shape: vec![part.outputs, self.inputs] });
            all.extend(part.bias.iter().map(|name| vector(name, part.outputs)));
        }
        all
    }

    /// Everything multiplied together, `[outputs, inputs]` and `[outputs]`; no bias where there is
    /// none at all. The norm's output comes multiplied by `norm_factor`, which is divided out.
    ///
    /// # Errors
    /// What `read` says.
    pub(crate) fn fold(
        &self,
        norm_factor: f64,
        read: impl Fn(&str, &[usize]) -> Result<Vec<f32>, Error>,
    ) -> Result<Folded, Error> {
        let norm = self.norm.as_ref();
        let gain = norm.map(|norm| read(&norm.gain, &[norm.width])).transpose()?;
        let shift = norm.and_then(|norm| norm.bias.as_ref().map(|name| read(name, &[norm.width])));
        let shift = shift.transpose()?;
        let mut folded = Folded { weights: vec![], bias: vec![] };
        for part in &self.parts {
            let rows = read(&part.weight, &[part.outputs, self.inputs])?;
            let own = part.bias.as_ref().map(|name| read(name, &[part.outputs])).transpose()?;
            for (i, row) in rows.chunks(self.inputs).enumerate() {
                let shifted = shift.as_ref().map_or(0.0, |shift| {
                    row.iter().zip(shift).map(|(w, b)| f64::from(*w) * f64::from(*b)).sum::<f64>()
                });
                let bias = shifted + own.as_ref().map_or(0.0, |own| f64::from(own[i]));
                folded.bias.push((bias * part.factor) as f32);
            }
            folded.weights.extend(rows.into_iter().map(|w| (f64::from(w) * part.factor) as f32));
        }
        if let Some(gain) = &gain {
            let scaled = |row: &mut [f32]| row.iter_mut().zip(gain).for_each(|(w, g)| *w *= g);
            folded.weights.chunks_mut(self.inputs).for_each(scaled);
        }
        if self.stream {
            let divisor = f64::from(1 << DIAGONAL);
            for i in 0..self.inputs {
                let g = gain.as_ref().map_or(1.0, |gain| f64::from(gain[i]));
                folded
                    .weights
                    .extend((0..self.inputs).map(|j| if i == j { (g / divisor) as f32 } else { 0.0 }));
                let b = shift.as_ref().map_or(0.0, |shift| f64::from(shift[i]));
                folded.bias.push((b / divisor) as f32);
            }
        }
        if norm.is_some() && norm_factor != 1.0 {
            let factor = norm_factor.recip();
            folded.weights.iter_mut().for_each(|w| *w = (f64::from(*w) * factor) as f32);
        }
        if folded.bias.iter().all(|&b| b == 0.0) {
            folded.bias.clear();
        }
        Ok(folded)
    }

    /// The first tensor, which names the matrix in messages.
    pub(crate) fn name(&self) -> &str {
        self.parts.first().map_or("stream", |part| &part.weight)
    }
}

/// A matrix with everything multiplied in.
pub(crate) struct Folded {
    /// `[outputs, inputs]`, row-major.
    pub(crate) weights: Vec<f32>,
    /// `[outputs]`, or nothing.
    pub(crate) bias: Vec<f32>,
}

/// A place among a checkpoint's tensors: names that begin with a path.
pub struct At<'a, S> {
    /// Who answers.
    pub source: &'a S,
    path: String,
}

impl<'a, S: Source> At<'a, S> {
    /// The place of all tensors.
    pub fn root(source: &'a S) -> At<'a, S> {
        At { source, path: String::new() }
    }

    /// A place below this one.
    pub fn at(&self, name: impl Display) -> At<'a, S> {
        At { source: self.source, path: self.name(name) }
    }

    /// A name below this place.
    pub fn name(&self, name: impl Display) -> String {
        if self.path.is_empty() { name.to_string() } else { format!("{}.{name}", self.path) }
    }

    /// A tensor `[outputs, inputs]` called `name.weight`, with a bias `name.bias` or without.
    pub fn part(&self, name: &str, outputs: usize, bias: bool) -> ProjectionPart {
        let bias = bias.then(|| self.name(format!("{name}.bias")));
        ProjectionPart { weight: self.name(format!("{name}.weight")), bias, outputs, factor: 1.0 }
    }
}
