//! Networks in f32: the reference that private inference is measured against, and what calibration
//! runs.
//!
//! Keys and values of past positions are kept, so that a text can be given whole or token by token,
//! with the same result up to rounding.

use std::ops::Range;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sotto_protocol::{Error, activation::Activation};

use crate::{
    evaluator::{AttentionShape, Evaluator, Norm, NormKind, Part, Tokens},
    weights::RealWeight,
};

/// Rows of numbers, `[T, columns]` row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// The numbers.
    pub data: Vec<f32>,
    /// Columns of a row.
    pub columns: usize,
}

impl Rows {
    /// Rows of so many columns.
    pub fn new(data: Vec<f32>, columns: usize) -> Rows {
        assert!(columns > 0 && data.len().is_multiple_of(columns), "{} in rows of {columns}", data.len());
        Rows { data, columns }
    }

    /// Row by row.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.data.chunks_exact(self.columns)
    }

    fn largest(&self) -> f32 {
        self.data.iter().fold(0.0, |largest, x| largest.max(x.abs()))
    }

    /// What the overflow check of rows may see of a row at most: its few largest magnitudes and
    /// 3.75 times the norm of the others, by the number of large ones for which that is least.
    fn reach(&self) -> f32 {
        let of_row = |row: &[f32]| {
            let mut sizes: Vec<f32> = row.iter().map(|x| x.abs()).collect();
            sizes.sort_by(|a, b| b.total_cmp(a));
            let mut rest: f64 = sizes.iter().map(|&x| f64::from(x).powi(2)).sum();
            let (mut large, mut least) = (0.0, 3.75 * rest.sqrt());
            for &x in sizes.iter().take(FEW) {
                (large, rest) = (large + f64::from(x), (rest - f64::from(x).powi(2)).max(0.0));
                least = f64::min(least, large + 3.75 * rest.sqrt());
            }
            least as f32
        };
        self.data.par_chunks_exact(self.columns).map(of_row).reduce(|| 0.0, f32::max)
    }
}

/// Large numbers of a row that the overflow check may see one by one.
const FEW: usize = 8;

/// The largest and smallest numbers that a network has met, place by place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// What the overflow check may see of a row of the residual stream at most, visit by visit.
    pub stream: Vec<f32>,
    /// The same of the rows that enter the last matrix of an MLP, by layer.
    pub inner: Vec<f32>,
    /// Largest magnitude of values, by layer.
    pub values: Vec<f32>,
    /// Largest magnitude of scores in base-2 units, by layer.
    pub scores: Vec<f32>,
    /// The same of scores less that of the last position that their row sees.
    pub spread: Vec<f32>,
    /// Least mean square, or variance, that a norm has met, and the stream's visit that it belongs
    /// to.
    pub least_square: Vec<(usize, f64)>,
}

impl Observed {
    /// What was observed here or there.
    pub(crate) fn or(mut self, other: Observed) -> Observed {
        let both = [
            (&mut self.stream, other.stream),
            (&mut self.inner, other.inner),
            (&mut self.values, other.values),
            (&mut self.scores, other.scores),
            (&mut self.spread, other.spread),
        ];
        for (mine, others) in both {
            others.into_iter().enumerate().for_each(|(place, x)| grow(mine, place, x));
        }
        self.least_square.extend(other.least_square);
        self
    }
}

/// Evaluates a network in f32.
#[derive(Default)]
pub struct Float {
    caches: Vec<KeysValues>,
    position: usize,
    visit: usize,
    layer: usize,
    observed: Option<Observed>,
}

impl Float {
    /// An evaluation from the first position on that remembers how large numbers become.
    pub fn observing() -> Float {
        Float { observed: Some(Observed::default()), ..Float::default() }
    }

    /// Forgets all positions, and nothing else.
    pub fn reset(&mut self) {
        (self.caches, self.position) = (vec![], 0);
    }

    /// What was observed.
    pub fn observed(&self) -> Observed {
        self.observed.clone().unwrap_or_default()
    }

    fn see_stream(&mut self, x: &Rows) {
        let visit = self.visit;
        self.visit += 1;
        if let Some(observed) = &mut self.observed {
            grow(&mut observed.stream, visit, x.reach());
        }
    }

    fn see_inner(&mut self, x: &Rows) {
        let layer = self.layer;
        if let Some(observed) = &mut self.observed {
            grow(&mut observed.inner, layer, x.reach());
        }
    }
}

/// Keeps the larger of `x` and what is at `place`.
fn grow(all: &mut Vec<f32>, place: usize, x: f32) {
    if all.len() <= place {
        all.resize(place + 1, 0.0);
    }
    all[place] = all[place].max(x);
}

impl Evaluator for Float {
    type Tensor = Rows;
    type Weight = RealWeight;

    fn position(&self) -> usize {
        self.position
    }

    async fn enter(&mut self, part: Part) -> Result<(), Error> {
        match part {
            Part::Embedding => {
                self.visit = 0;
                self.position = self.caches.first().map_or(0, KeysValues::positions);
            }
            Part::Layer(i) => self.layer = i,
            Part::Head => {}
        }
        Ok(())
    }

    async fn embed(&mut self, table: &RealWeight, tokens: Tokens<'_>) -> Result<Rows, Error> {
        let ids = tokens.ids().expect("the reference knows its tokens");
        let width = table.matrix.inputs;
        let mut data: Vec<f32> = ids.iter().flat_map(|&id| table.matrix.row(id as usize)).copied().collect();
        for (_, row) in data.chunks_mut(width).enumerate().filter(|(at, _)| tokens.is_second(*at)) {
            row.iter_mut().zip(table.matrix.last_row()).for_each(|(x, t)| *x += t);
        }
        let x = Rows::new(data, width);
        self.see_stream(&x);
        Ok(x)
    }

    async fn add_positions(&mut self, h: &Rows, table: &RealWeight) -> Result<Rows, Error> {
        let rows = (0..h.iter().len()).flat_map(|t| table.matrix.row(self.position + t));
        let sum = h.data.iter().zip(rows).map(|(h, p)| h + p);
        let sum = Rows::new(sum.collect(), h.columns);
        self.visit -= 1;
        self.see_stream(&sum);
        Ok(sum)
    }

    async fn norm(&mut self, norm: &Norm, x: &Rows) -> Result<Rows, Error> {
        let (y, least) = normalised(norm, x);
        if let Some(observed) = &mut self.observed {
            observed.least_square.push((self.visit - 1, least));
        }
        Ok(y)
    }

    async fn norm_parts(&mut self, norm: &Norm, y: &Rows) -> Result<Rows, Error> {
        let parts = Rows::new(y.data.clone(), norm.width);
        Ok(Rows::new(normalised(norm, &parts).0.data, y.columns))
    }

    async fn unnormalised(&mut self, h: &Rows) -> Result<Rows, Error> {
        Ok(h.clone())
    }

    async fn linear(&mut self, w: &RealWeight, x: &Rows) -> Result<Rows, Error> {
        let mut y = w.matrix.times(&x.data);
        let columns = y.len() / x.iter().len();
        y.iter_mut().zip(w.bias.iter().cycle()).for_each(|(y, b)| *y += b);
        Ok(Rows::new(y, columns))
    }

    async fn attention(
        &mut self,
        layer: usize,
        shape: &AttentionShape,
        [q, k, v]: [&Rows; 3],
    ) -> Result<Rows, Error> {
        let (mut q, mut k) = (q.clone(), k.clone());
        if let Some(frequencies) = &shape.rotary {
            rotate(&mut q, self.position, frequencies);
            rotate(&mut k, self.position, frequencies);
        }
        if self.caches.len() <= layer {
            self.caches.resize(layer + 1, KeysValues::default());
        }
        let past = &mut self.caches[layer];
        past.columns = k.columns;
        past.keys.extend_from_slice(&k.data);
        past.values.extend_from_slice(&v.data);
        let visible = shape.visible(q.iter().len(), self.position);
        let (out, [score, spread]) = attend(shape, &q, past, &visible);
        if let Some(observed) = &mut self.observed {
            grow(&mut observed.values, layer, v.largest());
            grow(&mut observed.scores, layer, score);
            grow(&mut observed.spread, layer, spread);
        }
        Ok(out)
    }

    async fn activate(&mut self, f: Activation, x: &Rows) -> Result<Rows, Error> {
        let y = Rows::new(x.data.iter().map(|&x| f.real(x.into()) as f32).collect(), x.columns);
        self.see_inner(&y);
        Ok(y)
    }

    async fn gate(&mut self, f: Activation, x: &Rows, y: &Rows) -> Result<Rows, Error> {
        let product = x.data.iter().zip(&y.data).map(|(&x, y)| f.real(x.into()) as f32 * y);
        let y = Rows::new(product.collect(), x.columns);
        self.see_inner(&y);
        Ok(y)
    }

    async fn add(&mut self, h: &Rows, y: &Rows) -> Result<Rows, Error> {
        let sum = h.data.iter().zip(&y.data).map(|(h, y)| h + y);
        let sum = Rows::new(sum.collect(), h.columns);
        self.see_stream(&sum);
        Ok(sum)
    }

    async fn stream(&mut self, y: &Rows, doublings: u32) -> Result<Rows, Error> {
        let factor = (1u32 << doublings) as f32;
        Ok(Rows::new(y.data.iter().map(|y| y * factor).collect(), y.columns))
    }

    async fn new_stream(&mut self, y: &Rows) -> Result<Rows, Error> {
        self.see_stream(y);
        Ok(y.clone())
    }

    async fn mean(&mut self, x: &Rows) -> Result<Rows, Error> {
        let n = x.iter().len() as f64;
        let column = |j: usize| x.iter().map(|row| f64::from(row[j])).sum::<f64>() / n;
        Ok(Rows::new((0..x.columns).map(|j| column(j) as f32).collect(), x.columns))
    }

    async fn row_of(&mut self, x: &Rows, tokens: Tokens<'_>, id: u32) -> Result<Rows, Error> {
        let ids = tokens.ids().expect("the reference knows its tokens");
        let at = ids.iter().position(|&other| other == id).unwrap_or(0);
        Ok(self.rows(x, at..at + 1))
    }

    fn columns(&self, x: &Rows, range: Range<usize>) -> Rows {
        let data = x.iter().flat_map(|row| &row[range.clone()]).copied().collect();
        Rows::new(data, range.len())
    }

    fn rows(&self, x: &Rows, range: Range<usize>) -> Rows {
        Rows::new(x.data[range.start * x.columns..range.end * x.columns].to_vec(), x.columns)
    }
}

/// Each row normalised, and the least mean square or variance of one.
fn normalised(norm: &Norm, x: &Rows) -> (Rows, f64) {
    let mut least = f64::INFINITY;
    let mut data = Vec::with_capacity(x.data.len());
    for row in x.iter() {
        let n = row.len() as f64;
        let mean = match norm.kind {
            NormKind::Rms => 0.0,
            NormKind::Layer => row.iter().map(|&x| f64::from(x)).sum::<f64>() / n,
        };
        let square = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
        least = least.min(square);
        let scale = (square + norm.eps).sqrt().recip();
        data.extend(row.iter().map(|&x| ((f64::from(x) - mean) * scale) as f32));
    }
    (Rows::new(data, x.columns), least)
}

/// A matrix `[out, in]`.
pub(crate) struct Matrix {
    weights: Vec<f32>,
    pub(crate) inputs: usize,
}

impl Matrix {
    pub(crate) fn new(weights: Vec<f32>, inputs: usize) -> Matrix {
        let n = weights.len();
        assert!(inputs > 0 && n.is_multiple_of(inputs), "{n} weights in rows of {inputs}");
        Matrix { weights, inputs }
    }

    pub(crate) fn into_weights(self) -> Vec<f32> {
        self.weights
    }

    fn row(&self, out: usize) -> &[f32] {
        &self.weights[out * self.inputs..(out + 1) * self.inputs]
    }

    fn last_row(&self) -> &[f32] {
        self.row(self.weights.len() / self.inputs - 1)
    }

    /// `W x` for each row `x`: `[T, in]` to `[T, out]`. Each weight is read from memory once.
    fn times(&self, x: &[f32]) -> Vec<f32> {
        let (rows, outs) = (x.len() / self.inputs, self.weights.len() / self.inputs);
        let mut columns = vec![0.0; outs * rows];
        columns.par_chunks_mut(rows).zip(self.weights.par_chunks(self.inputs)).with_min_len(16).for_each(
            |(y, w)| {
                for (y, x) in y.iter_mut().zip(x.chunks_exact(self.inputs)) {
                    *y = dot(w, x);
                }
            },
        );
        transpose(columns, outs, rows)
    }
}

fn transpose(columns: Vec<f32>, outs: usize, rows: usize) -> Vec<f32> {
    if rows == 1 {
        return columns;
    }
    let mut y = vec![0.0; columns.len()];
    y.par_chunks_mut(outs).enumerate().for_each(|(t, row)| {
        row.iter_mut().enumerate().for_each(|(out, y)| *y = columns[out * rows + t]);
    });
    y
}

/// Eight sums side by side, which the compiler keeps in one register.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for i in 0..8 {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

/// Turns the pairs `(x_i, x_{i + dim / 2})` of each head by the angle of its row's position, the
/// first of which is `start`.
fn rotate(x: &mut Rows, start: usize, frequencies: &[f64]) {
    let half = frequencies.len();
    for (t, row) in x.data.chunks_exact_mut(x.columns).enumerate() {
        let angle = |w: &f64| ((start + t) as f64 * w).sin_cos();
        let turns: Vec<_> =
            frequencies.iter().map(angle).map(|(sin, cos)| (sin as f32, cos as f32)).collect();
        for head in row.chunks_exact_mut(2 * half) {
            let (left, right) = head.split_at_mut(half);
            for ((a, b), (sin, cos)) in left.iter_mut().zip(right).zip(&turns) {
                (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
            }
        }
    }
}

/// Keys and values of the past positions of a layer, `[n, columns]` each.
#[derive(Clone, Default)]
struct KeysValues {
    columns: usize,
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl KeysValues {
    fn positions(&self) -> usize {
        self.keys.len().checked_div(self.columns).unwrap_or(0)
    }
}

/// Means of values by weights `2^score`; the largest score, and the largest less that of the last
/// position that a row sees.
fn attend(shape: &AttentionShape, q: &Rows, past: &KeysValues, visible: &[usize]) -> (Rows, [f32; 2]) {
    let (width, group, rows) = (shape.heads.width, shape.heads.group, q.iter().len());
    let mut out = vec![0.0; q.data.len()];
    let columns = q.columns;
    let of_row = |(t, (out, q)): (usize, (&mut [f32], &[f32]))| {
        let mut largest = [0f32; 2];
        let heads = out.chunks_exact_mut(width).zip(q.chunks_exact(width));
        for (head, (out, q)) in heads.enumerate() {
            let at = head / group * width;
            let seen = visible[head / group * rows * group + t * group];
            let row = |x: &'_ [f32], s: usize| -> std::ops::Range<usize> {
                debug_assert!(s * past.columns < x.len());
                s * past.columns + at..s * past.columns + at + width
            };
            let capped = |score: f32| match shape.cap {
                None => score,
                Some(cap) => (Activation::SoftCap.real(score.into()) * AttentionShape::after_cap(cap)) as f32,
            };
            let mut weights: Vec<f32> =
                (0..seen).map(|s| capped(dot(q, &past.keys[row(&past.keys, s)]))).collect();
            // What a cap has bent does not cancel.
            let last = weights.last().copied().filter(|_| shape.cap.is_none()).unwrap_or(0.0);
            largest = weights.iter().fold(largest, |m, s| larger(m, [s.abs(), (s - last).abs()]));
            softmax(&mut weights);
            for (s, weight) in weights.into_iter().enumerate() {
                let v = &past.values[row(&past.values, s)];
                out.iter_mut().zip(v).for_each(|(out, v)| *out += weight * v);
            }
        }
        largest
    };
    let largest = out.par_chunks_mut(columns).zip(q.data.par_chunks(columns)).enumerate().map(of_row);
    let largest = largest.reduce(|| [0.0; 2], larger);
    (Rows::new(out, columns), largest)
}

fn larger(a: [f32; 2], b: [f32; 2]) -> [f32; 2] {
    [a[0].max(b[0]), a[1].max(b[1])]
}

/// To base 2.
fn softmax(scores: &mut [f32]) {
    let largest = scores.iter().copied().fold(f32::MIN, f32::max);
    scores.iter_mut().for_each(|s| *s = (*s - largest).exp2());
    let sum: f32 = scores.iter().sum();
    scores.iter_mut().for_each(|s| *s /= sum);
}
