//! Weights by path: what a network's page asks for, and who answers.
//!
//! A page describes each matrix once, by the names and shapes of the tensors that it is made of
//! ([`Projection`]). A [`Source`] makes of it what its side holds:
//!
//! | source                  | gives                                                         |
//! |-------------------------|---------------------------------------------------------------|
//! | [`Listing`]             | nothing; it lists the tensors, for checks and random models   |
//! | [`Quantised`]           | the server's matrix of integers                               |
//! | [`Outline`]             | the client's knowledge: a shape, with the server's fraction bits |
//! | [`Real`]                | the reference's f32 numbers                                   |
//!
//! Matrices that share an input are stacked. The gain and bias of the norm in front are multiplied
//! in, as is a public factor of each part: `W (g x + b) + c = (W g) x + (W b + c)`.

mod listing;
mod outline;
mod quantised;
mod real;

use std::{cell::RefCell, fmt::Display, rc::Rc};

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

    /// The table `[rows, width]` of an embedding, times `factor`, as a matrix that one-hot rows
    /// multiply.
    ///
    /// # Errors
    /// As [`Source::matrix`].
    fn table(&self, name: &str, rows: usize, width: usize, factor: f64) -> Result<Self::Weight, Error>;
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

/// A tensor `[outputs, inputs]` of a checkpoint, or some rows of one, and its bias.
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
    /// Which rows of the stored tensor they are, if not all in their order.
    pub picked: Option<Picked>,
    /// Whether the tensor is stored as `[inputs, outputs]`.
    pub transposed: bool,
}

/// Some rows of a tensor.
#[derive(Clone, Debug)]
pub struct Picked {
    /// Rows that the tensor has.
    pub of: usize,
    /// Those that are meant, in this order.
    pub rows: Vec<usize>,
}

impl ProjectionPart {
    /// Times `factor`.
    pub fn times(self, factor: f64) -> ProjectionPart {
        ProjectionPart { factor: self.factor * factor, ..self }
    }

    /// Stored as `[inputs, outputs]`.
    pub fn transposed(self) -> ProjectionPart {
        ProjectionPart { transposed: true, ..self }
    }

    /// So many outputs of a tensor that has `of` rows: those numbered `rows`.
    pub fn rows(self, of: usize, rows: impl IntoIterator<Item = usize>) -> ProjectionPart {
        let rows: Vec<usize> = rows.into_iter().collect();
        ProjectionPart { outputs: rows.len(), picked: Some(Picked { of, rows }), ..self }
    }

    /// The rows among those that were picked before.
    pub fn reordered(self, rows: impl IntoIterator<Item = usize>) -> ProjectionPart {
        let (of, rows) = match &self.picked {
            None => (self.outputs, rows.into_iter().collect()),
            Some(Picked { of, rows: before }) => (*of, rows.into_iter().map(|i| before[i]).collect()),
        };
        ProjectionPart { picked: Some(Picked { of, rows }), ..self }
    }

    /// Rows of the stored tensor.
    fn stored(&self) -> usize {
        self.picked.as_ref().map_or(self.outputs, |picked| picked.of)
    }

    /// Shape of the stored tensor.
    fn shape(&self, inputs: usize) -> Vec<usize> {
        if self.transposed { vec![inputs, self.stored()] } else { vec![self.stored(), inputs] }
    }

    /// The rows that are meant, `[outputs, inputs]`, of the stored numbers.
    fn pick(&self, stored: &[f32], inputs: usize) -> Vec<f32> {
        let all = self.stored();
        if self.picked.is_none() && !self.transposed {
            return stored.to_vec();
        }
        let row = |i: usize| match self.transposed {
            true => (0..inputs).map(|j| stored[j * all + i]).collect(),
            false => stored[i * inputs..(i + 1) * inputs].to_vec(),
        };
        (0..self.outputs).flat_map(|i| row(self.place(i))).collect()
    }

    /// Where output `i` is stored.
    fn place(&self, i: usize) -> usize {
        self.picked.as_ref().map_or(i, |picked| picked.rows[i])
    }
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
            all.push(Tensor { name: part.weight.clone(), shape: part.shape(self.inputs) });
            all.extend(part.bias.iter().map(|name| vector(name, part.stored())));
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
        let gain = gain.map(|gain| {
            let offset = norm.map_or(0.0, |norm| norm.gain_offset) as f32;
            gain.into_iter().map(|g| g + offset).collect::<Vec<f32>>()
        });
        let shift = norm.and_then(|norm| norm.bias.as_ref().map(|name| read(name, &[norm.width])));
        let shift = shift.transpose()?;
        let mut folded = Folded { weights: vec![], bias: vec![] };
        // Several parts may be rows of one tensor.
        let last: RefCell<Option<(String, Rc<Vec<f32>>)>> = RefCell::default();
        let read_once = |part: &ProjectionPart| match &*last.borrow() {
            Some((name, stored)) if *name == part.weight => Ok(stored.clone()),
            _ => read(&part.weight, &part.shape(self.inputs)).map(Rc::new),
        };
        for part in &self.parts {
            let stored = read_once(part)?;
            last.replace(Some((part.weight.clone(), stored.clone())));
            let rows = part.pick(&stored, self.inputs);
            drop(stored);
            let own = part.bias.as_ref().map(|name| read(name, &[part.stored()])).transpose()?;
            let own = own.map(|own| (0..part.outputs).map(|i| own[part.place(i)]).collect::<Vec<f32>>());
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

    /// The tensor `[outputs, inputs]` called `weight` here, with a bias or without.
    pub fn this(&self, outputs: usize, bias: bool) -> ProjectionPart {
        let bias = bias.then(|| self.name("bias"));
        let weight = self.name("weight");
        ProjectionPart { weight, bias, outputs, factor: 1.0, picked: None, transposed: false }
    }

    /// A tensor `[outputs, inputs]` called `name.weight`, with a bias `name.bias` or without.
    pub fn part(&self, name: &str, outputs: usize, bias: bool) -> ProjectionPart {
        self.at(name).this(outputs, bias)
    }
}
