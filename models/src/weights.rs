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
//! | [`Rounded`]             | the same, rounded as the server's are                         |
//!
//! Matrices that share an input are stacked. The gain and bias of the norm in front are multiplied
//! in, as is a public factor of each part: `W (g x + b) + c = (W g) x + (W b + c)`.

mod listing;
mod outline;
mod quantised;
mod real;
mod rounded;

use std::{cell::RefCell, fmt::Display, rc::Rc};

use sotto_protocol::linear::Exactness;

pub use listing::{Listing, Tensor};
pub use outline::Outline;
pub use quantised::{FEWEST_FRAC, Quantised};
pub use real::{Real, RealWeight};
pub use rounded::Rounded;

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

    /// An embedding's table, as a matrix that one-hot rows multiply.
    ///
    /// # Errors
    /// As [`Source::matrix`].
    fn table(&self, of: &Table) -> Result<Self::Weight, Error>;
}

/// The table of an embedding, `[rows, width]`.
#[derive(Clone, Debug)]
pub struct Table {
    /// The tensor's name.
    pub name: String,
    /// Rows that are meant.
    pub rows: usize,
    /// Columns.
    pub width: usize,
    /// What all are multiplied by.
    pub factor: f64,
    /// Rows of the tensor before those that are meant.
    pub skipped: usize,
    /// The tensor `[n, width]` of token types, and `n`. The first type's row is added to all rows.
    /// If there is a second type, what its row has beyond the first's is one more row at the end.
    pub types: Option<(String, usize)>,
}

impl Table {
    /// All rows of a tensor.
    pub fn new(name: impl Into<String>, rows: usize, width: usize) -> Table {
        Table { name: name.into(), rows, width, factor: 1.0, skipped: 0, types: None }
    }

    /// Times `factor`.
    pub fn times(self, factor: f64) -> Table {
        Table { factor: self.factor * factor, ..self }
    }

    /// Without the first rows of the tensor.
    pub fn after(self, skipped: usize) -> Table {
        Table { skipped, ..self }
    }

    /// With the rows of token types, of which there are so many in the tensor of this name.
    pub fn with_types(self, name: impl Into<String>, types: usize) -> Table {
        Table { types: Some((name.into(), types)), ..self }
    }

    /// Rows of the matrix.
    pub fn inputs(&self) -> usize {
        self.rows + usize::from(matches!(self.types, Some((_, 2..))))
    }

    /// Names and shapes of the tensors that it is made of.
    pub fn tensors(&self) -> Vec<Tensor> {
        let tensor = |name: &String, rows| Tensor { name: name.clone(), shape: vec![rows, self.width] };
        let types = self.types.iter().map(|(name, types)| tensor(name, *types));
        [tensor(&self.name, self.skipped + self.rows)].into_iter().chain(types).collect()
    }

    /// All rows, `[inputs, width]`.
    ///
    /// # Errors
    /// What `read` says.
    pub(crate) fn fold(
        &self,
        read: impl Fn(&str, &[usize]) -> Result<Vec<f32>, Error>,
    ) -> Result<Vec<f32>, Error> {
        let width = self.width;
        let mut rows = read(&self.name, &[self.skipped + self.rows, width])?;
        rows.drain(..self.skipped * width);
        if let Some((name, types)) = &self.types {
            let types = read(name, &[*types, width])?;
            let (first, others) = types.split_at(width);
            rows.iter_mut().zip(first.iter().cycle()).for_each(|(x, t)| *x += t);
            rows.extend(others.iter().take(width).zip(first).map(|(t, first)| t - first));
        }
        rows.iter_mut().for_each(|x| *x = (f64::from(*x) * self.factor) as f32);
        Ok(rows)
    }
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
    /// Whether the whole input, the norm's gain and bias included, is one more part, and what it is
    /// multiplied by: the residual stream of networks whose norms stand behind the sums, or gains
    /// by themselves.
    pub whole: Option<f64>,
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

    /// With a bias of another name.
    pub fn biased(self, bias: impl Into<String>) -> ProjectionPart {
        ProjectionPart { bias: Some(bias.into()), ..self }
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

/// The residual stream among other parts is divided by two to this power, so that its gains take no
/// fraction bits from the others.
pub const DIAGONAL: u32 = 4;

impl Projection {
    /// All outputs.
    pub fn outputs(&self) -> usize {
        let whole = if self.whole.is_some() { self.columns() } else { 0 };
        self.parts.iter().map(|part| part.outputs).sum::<usize>() + whole
    }

    /// Columns that the parts take: those of the input, unless its norm has a projection behind.
    fn columns(&self) -> usize {
        self.norm.as_ref().map_or(self.inputs, Norm::outputs)
    }

    /// Names and shapes of the tensors that it is made of.
    pub fn tensors(&self) -> Vec<Tensor> {
        let vector = |name: &String, n| Tensor { name: name.clone(), shape: vec![n] };
        let mut all = vec![];
        if let Some(norm) = &self.norm {
            all.push(vector(&norm.gain, norm.width));
            all.extend(norm.bias.iter().map(|name| vector(name, norm.width)));
        }
        let through = self.through().map(|part| (part, self.inputs));
        for (part, inputs) in through.into_iter().chain(self.parts.iter().map(|part| (part, self.columns())))
        {
            all.push(Tensor { name: part.weight.clone(), shape: part.shape(inputs) });
            all.extend(part.bias.iter().map(|name| vector(name, part.stored())));
        }
        all
    }

    /// The projection behind the norm.
    fn through(&self) -> Option<&ProjectionPart> {
        self.norm.as_ref().and_then(|norm| norm.through.as_deref())
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
        let through =
            self.through().map(|part| Through::read(part, gain.as_deref(), shift.as_deref(), &read));
        let through = through.transpose()?;
        let (gain, shift) = match &through {
            None => (gain, shift),
            Some(through) => (None, Some(through.shift.clone())),
        };
        let columns = self.columns();
        let mut folded = Folded { weights: vec![], bias: vec![] };
        // Several parts may be rows of one tensor.
        let last: RefCell<Option<(String, Rc<Vec<f32>>)>> = RefCell::default();
        let read_once = |part: &ProjectionPart| match &*last.borrow() {
            Some((name, stored)) if *name == part.weight => Ok(stored.clone()),
            _ => read(&part.weight, &part.shape(columns)).map(Rc::new),
        };
        for part in &self.parts {
            let stored = read_once(part)?;
            last.replace(Some((part.weight.clone(), stored.clone())));
            let rows = part.pick(&stored, columns);
            drop(stored);
            let own = part.bias.as_ref().map(|name| read(name, &[part.stored()])).transpose()?;
            let own = own.map(|own| (0..part.outputs).map(|i| own[part.place(i)]).collect::<Vec<f32>>());
            for (i, row) in rows.chunks(columns).enumerate() {
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
            folded.weights.chunks_mut(columns).for_each(scaled);
        }
        if let Some(factor) = self.whole {
            for i in 0..columns {
                let g = gain.as_ref().map_or(1.0, |gain| f64::from(gain[i]));
                folded.weights.extend((0..columns).map(|j| if i == j { (g * factor) as f32 } else { 0.0 }));
                let b = shift.as_ref().map_or(0.0, |shift| f64::from(shift[i]));
                folded.bias.push((b * factor) as f32);
            }
        }
        if let Some(through) = &through {
            folded.weights = through.before(&folded.weights);
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
        let norm = self.norm.as_ref().map_or("output", |norm| &norm.gain);
        self.parts.first().map_or(norm, |part| &part.weight)
    }
}

/// A projection behind a norm, with gain and bias multiplied in.
struct Through {
    /// `[outputs, inputs]`.
    matrix: Vec<f32>,
    /// `[outputs]`.
    shift: Vec<f32>,
    inputs: usize,
}

impl Through {
    fn read(
        part: &ProjectionPart,
        gain: Option<&[f32]>,
        shift: Option<&[f32]>,
        read: impl Fn(&str, &[usize]) -> Result<Vec<f32>, Error>,
    ) -> Result<Through, Error> {
        let inputs = gain.map_or(0, <[f32]>::len);
        let mut matrix = part.pick(&read(&part.weight, &part.shape(inputs))?, inputs);
        let own = part.bias.as_ref().map(|name| read(name, &[part.stored()])).transpose()?;
        let mut shifts = own.unwrap_or_else(|| vec![0.0; part.outputs]);
        for (row, sum) in matrix.chunks_mut(inputs).zip(&mut shifts) {
            let shifted =
                row.iter().zip(shift.unwrap_or_default()).map(|(w, b)| f64::from(*w) * f64::from(*b));
            *sum = (f64::from(*sum) + shifted.sum::<f64>()) as f32;
            row.iter_mut().zip(gain.unwrap_or_default()).for_each(|(w, g)| *w *= g);
        }
        Ok(Through { matrix, shift: shifts, inputs })
    }

    /// Rows of weights that take its outputs, as rows that take its inputs.
    fn before(&self, weights: &[f32]) -> Vec<f32> {
        let of_row = |row: &[f32]| {
            let mut sums = vec![0f64; self.inputs];
            for (w, line) in row.iter().zip(self.matrix.chunks(self.inputs)) {
                sums.iter_mut().zip(line).for_each(|(sum, p)| *sum += f64::from(*w) * f64::from(*p));
            }
            sums.into_iter().map(|sum| sum as f32).collect::<Vec<f32>>()
        };
        weights.chunks(self.shift.len()).flat_map(of_row).collect()
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
