//! Networks on bounds: what the weights admit for any input, and so which ranges are proven.
//!
//! After a norm `||x|| <= sqrt(d)` (times a factor that is divided out of the weights), so by
//! Cauchy-Schwarz an output of the next matrix is at most `sqrt(d)` times the norm of its column,
//! *for every input*. Where that lies within what the fixed-point rings hold, overflow is
//! impossible. The bounds are functions of the weights and stay with the server.
//!
//! What no useful static bound holds for is checked while the model runs
//! ([`sotto_protocol::overflow_check`]): the residual stream, scores, sums of values, the input of
//! the MLP's last matrix. There, the bounds have to show only that a number cannot wrap all the way
//! round to where it looks small again.
//!
//! | values                     | limit    | because                                               |
//! |----------------------------|----------|-------------------------------------------------------|
//! | queries and keys, rotated; up | `2^14` | extension from the truncated ring                    |
//! | values                     | `2^12`   | extension of their means from 26 bits, 12 of them fraction |
//! | sums of values, `2 n` of them at most | `2^18 - 2^16` | checked modulo `2^18`, to be below `2^16`: extension from 32 bits, 14 of them fraction |
//! | gate times up              | `2^18 - 2^14` | extension from 32 bits, 12 of them fraction      |
//! | gate                       | 503      | the ring of the activation's argument; or it is checked, to be below 256, and up to be below 512 |
//! | logits                     | 127.5 units | 16 bits, 8 of them fraction, are revealed          |
//! | scores, in base-2 units    | 15360, 64512 or 261120 | checked modulo `2^14`, or `2^16`, `2^18` where queries and keys lack one or two fraction bits, to be below 1024; where they are taken less another, their differences are, and the limit is half of it |
//! | scores before a soft cap, where 4 is the cap | 3840 | checked modulo `2^12`, to be below 256: the activation's argument |
//! | what joins the residual stream | `2^(10 + top)` units | checked modulo `2^(11 + top)`, to be below `2^14` before and after |
//! | the same, and what is normalised beside it | `2^(30 - w)` | extension from the truncated ring, `w` fraction bits of weights, less those that a gated product lacks |
//! | rows normalised beside the stream | norm `2^13.5` units | sums of squares; the unit follows from the bound, so nothing is checked |
//!
//! High precision ([`sotto_protocol::Precision`]) has two fraction bits more in every ring, four in
//! those of products, and the same limits. The MLP's part is bounded by what every neuron can
//! reach, or by the norms of its last matrix's columns and of their input as far as that is
//! checked: a row of norm `4.4 * 2^unit` goes unnoticed with probability `2^-18` at most. The same
//! holds for a stream that is read without a norm; what norms add to it bounds it, too. Bounds get
//! a thousandth on top for what fixed-point numbers are off.

mod matrix;

use std::{collections::BTreeMap, fmt, ops::Range};

use rayon::prelude::*;
use sotto_protocol::{Error, activation::Activation, linear::Weight, rms_norm};

use crate::evaluator::{
    AttentionShape, Evaluator, Norm, Part, Scales, Tokens,
    fixed_point::{CAP_TOP, CAP_UNIT, GATE_UNIT, STREAM_UNIT, UP_UNIT, VALUE_TOP, scaled_eps},
    scales::{GATE_TOPS, MOST_COARSE, MOST_ROOM, MOST_UNIT, Scale},
};
use matrix::{column_bounds, column_norms, largest, longest, row_norm, schur_bound};

/// Values that may exceed what their ring holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Which values.
    pub what: String,
    /// The largest magnitude that the weights admit.
    pub bound: f64,
    /// The largest magnitude that is represented.
    pub limit: f64,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { what, bound, limit } = self;
        match *bound < 1.0 {
            true => write!(f, "{what} is {bound:.1e}, the model has {limit:.1e}"),
            false => write!(f, "{what} may reach {bound:.0}, the limit is {limit:.0}"),
        }
    }
}

impl Finding {
    /// Whether the bound, with what fixed-point numbers may be off, is not below the limit.
    fn is_one(&self) -> bool {
        self.bound.is_nan() || self.bound * SLACK >= self.limit
    }
}

/// What fixed-point numbers may be off.
const SLACK: f64 = 1.001;
/// Rows of a smaller variance than this may come out of a norm less exact, where its epsilon is too
/// small for the rings.
const LEAST_VARIANCE: f64 = 1e-4;
/// The same of rows whose variance was seen on texts: so many times smaller.
const VARIANCE_ROOM: f64 = 64.0;
/// How far a norm's output may be off, relatively, because of that.
const NORM_ERROR: f64 = 1.0 / 16384.0;
/// Limit of what is extended from a truncated ring.
const EXTENDED: f64 = 16384.0;
/// Limit of the norm of rows that are normalised beside the stream: 2^13.5.
const BESIDE: f64 = 11585.0;
/// Limit of values, and so of their means.
const VALUE: f64 = 4096.0;
/// Limit of attention's sums before they are divided.
const SUM: f64 = 262_144.0 - 65536.0;
/// Limit of the gated product.
const PRODUCT: f64 = 262_144.0 - 16384.0;
/// Limit of scores.
const SCORE: f64 = 16384.0 - 1024.0;
/// Fraction bits of weights below which their inputs give them some of theirs.
const FEW_BITS: f64 = 12.0;
/// Limit of logits, in their units.
const LOGIT: f64 = 127.5;

/// What is known of a tensor.
#[derive(Clone)]
pub enum Bound {
    /// The residual stream, checked while the model runs: the norm of a row, if it is known.
    Stream(f64),
    /// Inputs of a matrix whose norm is known: a norm's output, or the stream.
    Normed {
        /// The norm of each part of a row.
        norm: f64,
        /// Columns of a part.
        width: usize,
        /// Parts of a row.
        parts: usize,
    },
    /// Outputs of a matrix behind a norm: the matrix, the norm of its input, and the outputs meant;
    /// those of further parts of a row are counted on.
    Linear(Weight, f64, Range<usize>),
    /// Inputs of an MLP's last matrix: the largest magnitude of each, and the fraction bits that
    /// they lack, if they may lack any.
    Inner(Vec<f64>, Option<u32>),
    /// Attention's means: the norm of each query head's part of a row.
    Means(Vec<f64>),
    /// What may join the residual stream.
    Output {
        /// The matrix that it comes from.
        w: Weight,
        /// The norm of its input.
        input: f64,
        /// Its largest magnitudes, without the bias.
        reached: Vec<f64>,
        /// Fraction bits that its input lacks, as in [`Bound::Inner`].
        coarse: Option<u32>,
    },
}

/// Bounds a network.
pub struct Bounds<'a> {
    scales: &'a Scales,
    place: String,
    layer: usize,
    visit: usize,
    /// Norms beside the residual stream in this layer so far.
    beside: usize,
    findings: Vec<Finding>,
    /// Largest magnitude of values, layer by layer.
    pub values: Vec<f64>,
    /// Largest magnitude of scores in base-2 units.
    pub scores: f64,
    /// What joins the residual stream, visit by visit.
    pub added: Vec<f64>,
    /// Matrices by number whose weights must have fewer fraction bits, and how many they may have.
    pub caps: BTreeMap<u32, u32>,
    /// Layers that should have other scales.
    pub wanted: BTreeMap<usize, Scale>,
    /// Least variances that were seen of rows, by their visit of the residual stream.
    seen: &'a BTreeMap<usize, f64>,
}

impl<'a> Bounds<'a> {
    /// By a model's scales, and the least variances that were seen of rows, by their visit of the
    /// residual stream.
    pub fn new(scales: &'a Scales, seen: &'a BTreeMap<usize, f64>) -> Bounds<'a> {
        Bounds {
            scales,
            seen,
            place: String::new(),
            layer: 0,
            visit: 0,
            beside: 0,
            findings: vec![],
            values: vec![],
            scores: 0.0,
            added: vec![],
            caps: BTreeMap::new(),
            wanted: BTreeMap::new(),
        }
    }

    /// What the weights do not rule out, the network's outputs included.
    pub fn findings(mut self, logits: &Bound) -> Vec<Finding> {
        let limit = LOGIT * f64::from(self.scales.logits).exp2();
        self.place.clear();
        self.find("logits", logits.largest(), limit);
        self.findings
    }

    /// Positions at most for which sums of values are proven to stay in their ring.
    pub fn positions(&self) -> usize {
        let most = |layer: usize, v: f64| SUM / (2.0 * SLACK * self.checked_values(layer, v));
        let least = self.values.iter().enumerate().map(|(i, &v)| most(i, v));
        least.fold(f64::INFINITY, f64::min).min(1e9) as usize
    }

    fn checked_values(&self, layer: usize, bound: f64) -> f64 {
        let unit = self.scales.layer(layer).values;
        unit.map_or(bound, |unit| bound.min(4.0 * f64::from(unit).exp2()))
    }

    fn find(&mut self, what: &str, bound: f64, limit: f64) {
        let finding = Finding { what: format!("{}{what}", self.place), bound, limit };
        if finding.is_one() {
            self.findings.push(finding);
        }
    }

    /// Asks for another scale of this layer.
    fn want(&mut self, change: impl FnOnce(&mut Scale)) {
        change(self.wanted.entry(self.layer).or_insert(self.scales.layer(self.layer)));
    }

    fn next_visit(&mut self) {
        self.visit += 1;
    }

    /// A linear layer's output is extended from its truncated ring: its matrix gets as few fraction
    /// bits as that takes, and so does the gated product before it.
    fn fit_bits(&mut self, y: &Bound) {
        let (w, coarse) = match y {
            Bound::Linear(w, ..) => (w, None),
            Bound::Output { w, coarse, .. } => (w, *coarse),
            _ => panic!("outputs of a matrix"),
        };
        let fits = (30.0 - (y.largest() * SLACK).log2()).floor();
        // A bit that the input lacks is one more for the weights, which lack more than half.
        if let Some(0) = coarse
            && fits < FEW_BITS
        {
            self.want(|scale| scale.coarse = ((FEW_BITS - fits) as u32 + 1).min(MOST_COARSE));
        }
        let fits = fits + f64::from(coarse.unwrap_or(0));
        if fits < f64::from(w.shape().frac) {
            let cap = fits.max(0.0) as u32;
            let least = self.caps.entry(w.shape().id).or_insert(cap);
            *least = cap.min(*least);
        }
    }

    /// Reports a norm's epsilon for which rows in units of `2^exponent` have no room, of a variance
    /// that was seen or not.
    fn find_eps(&mut self, norm: &Norm, exponent: i32, seen: Option<f64>) {
        let eps = scaled_eps(norm.eps, exponent);
        let effective = eps.max(rms_norm::least_eps(norm.width));
        // What that changes of a row of the least variance.
        let variance = seen.map_or(0.0, |seen| seen / VARIANCE_ROOM).max(LEAST_VARIANCE);
        let least = variance * (-2.0 * f64::from(exponent)).exp2();
        if (effective - eps) / (2.0 * least) > NORM_ERROR {
            let what = "the least epsilon of a norm".into();
            self.findings.push(Finding { what, bound: effective, limit: eps });
        }
    }
}

/// What a norm puts out, in so many parts.
fn normed(norm: &Norm, parts: usize) -> Bound {
    let width = norm.width;
    Bound::Normed { norm: (width as f64).sqrt() * rms_norm::factor(width), width, parts }
}

impl Bound {
    /// The largest magnitude of some outputs of a matrix.
    ///
    /// # Panics
    /// If it is none of a matrix.
    pub fn largest(&self) -> f64 {
        match self {
            Bound::Linear(w, norm, columns) => {
                column_bounds(w, *norm, columns.clone()).into_iter().fold(0.0, f64::max)
            }
            Bound::Output { w, reached, .. } => {
                let bias = w.bias().iter().fold(0.0, |most: f64, b| most.max(b.abs()));
                reached.iter().copied().fold(0.0, f64::max) + bias
            }
            _ => panic!("outputs of a matrix"),
        }
    }

    /// The largest norms of a row's parts of so many columns.
    ///
    /// # Panics
    /// If it is none of a matrix.
    fn norms(&self, width: usize) -> Vec<f64> {
        match self {
            Bound::Linear(w, input, columns) => {
                let part = |i: usize| columns.start + i * width..columns.start + (i + 1) * width;
                let count = columns.len() / width;
                (0..count).into_par_iter().map(|i| row_norm(w, *input, part(i))).collect()
            }
            Bound::Output { w, input, reached, .. } => {
                let bias = w.bias().iter().map(|b| b * b).sum::<f64>().sqrt();
                let reached = reached.iter().map(|x| x * x).sum::<f64>().sqrt() + bias;
                vec![row_norm(w, *input, 0..w.shape().outer).min(reached)]
            }
            _ => panic!("outputs of a matrix"),
        }
    }

    /// A bound on the norm of a row that takes less to find than [`Bound::norms`].
    fn joining(&self) -> f64 {
        match self {
            Bound::Linear(w, input, _) => {
                let bias = w.bias().iter().map(|b| b * b).sum::<f64>().sqrt();
                input * schur_bound(w) + bias
            }
            Bound::Output { w, reached, .. } => {
                let bias = w.bias().iter().map(|b| b * b).sum::<f64>().sqrt();
                reached.iter().map(|x| x * x).sum::<f64>().sqrt() + bias
            }
            _ => panic!("outputs of a matrix"),
        }
    }
}

impl Evaluator for Bounds<'_> {
    type Tensor = Bound;
    type Weight = Weight;

    fn position(&self) -> usize {
        0
    }

    async fn enter(&mut self, part: Part) -> Result<(), Error> {
        if let Part::Layer(i) = part {
            (self.layer, self.beside) = (i, 0);
            self.place = format!("layer {i}: ");
        }
        Ok(())
    }

    async fn embed(&mut self, table: &Weight, tokens: Tokens<'_>) -> Result<Bound, Error> {
        // Tokens of a second text add the last row.
        let second = if tokens.is_second(0) { largest(table.data().rows().last(), table) } else { 0.0 };
        self.added.push(largest(table.data().rows(), table) + second);
        self.next_visit();
        Ok(Bound::Stream(longest(table.data().rows(), table) + second * (table.shape().outer as f64).sqrt()))
    }

    async fn add_positions(&mut self, h: &Bound, table: &Weight) -> Result<Bound, Error> {
        let Bound::Stream(norm) = h else { panic!("positions join the stream") };
        *self.added.last_mut().expect("an embedding comes first") += largest(table.data().rows(), table);
        Ok(Bound::Stream(norm + longest(table.data().rows(), table)))
    }

    async fn norm(&mut self, norm: &Norm, _: &Bound) -> Result<Bound, Error> {
        let visit = self.visit.saturating_sub(1);
        self.find_eps(norm, self.scales.stream(visit).exponent, self.seen.get(&visit).copied());
        Ok(normed(norm, 1))
    }

    async fn norm_parts(&mut self, norm: &Norm, y: &Bound) -> Result<Bound, Error> {
        let unit = self.scales.layer(self.layer).beside[self.beside];
        let norms = y.norms(norm.width);
        let bound = norms.iter().copied().fold(0.0, f64::max);
        self.fit_bits(y);
        let needed = (bound * SLACK / BESIDE).log2().max(0.0).ceil();
        let needed = needed.min(f64::from(MOST_UNIT)) as u32;
        if needed > unit {
            let at = self.beside;
            self.want(|scale| scale.beside[at] = needed);
        }
        self.beside += 1;
        self.find("the norm of what is normalised", bound, BESIDE * f64::from(unit).exp2());
        self.find_eps(norm, unit as i32, None);
        Ok(normed(norm, norms.len()))
    }

    async fn unnormalised(&mut self, h: &Bound) -> Result<Bound, Error> {
        let Bound::Stream(norm) = h else { panic!("the residual stream") };
        let exponent = self.scales.stream(self.visit.saturating_sub(1)).exponent;
        let checked = 4.4 * f64::from(STREAM_UNIT as i32 + exponent).exp2();
        Ok(Bound::Normed { norm: norm.min(checked), width: 0, parts: 1 })
    }

    async fn linear(&mut self, w: &Weight, x: &Bound) -> Result<Bound, Error> {
        let all = 0..w.shape().outer;
        let coarse = if let Bound::Inner(_, coarse) = x { *coarse } else { None };
        let output = |input, reached| Bound::Output { w: w.clone(), input, reached, coarse };
        Ok(match x {
            Bound::Normed { norm, parts, .. } => Bound::Linear(w.clone(), *norm, 0..parts * w.shape().outer),
            Bound::Inner(neurons, _) => {
                let unit = (-f64::from(w.shape().frac)).exp2();
                let mut reached = vec![0f64; w.shape().outer];
                for (neuron, row) in neurons.iter().zip(w.data().rows()) {
                    reached.iter_mut().zip(row).for_each(|(sum, q)| {
                        *sum += neuron * unit * f64::from(q).abs();
                    });
                }
                let checked = 4.4 * f64::from(self.scales.layer(self.layer).inner).exp2();
                let norms = column_norms(w, 0..w.shape().inner, all);
                output(checked, reached.into_iter().zip(norms).map(|(a, b)| a.min(b * checked)).collect())
            }
            Bound::Means(heads) => {
                let width = w.shape().inner / heads.len();
                let mut sums = vec![0f64; w.shape().outer];
                for (head, value) in heads.iter().enumerate() {
                    let columns = column_norms(w, head * width..(head + 1) * width, all.clone());
                    sums.iter_mut().zip(columns).for_each(|(sum, norm)| *sum += norm * value);
                }
                output(heads.iter().map(|value| value * value).sum::<f64>().sqrt(), sums)
            }
            Bound::Stream(_) | Bound::Linear(..) | Bound::Output { .. } => {
                panic!("a matrix stands behind a norm, an activation or attention")
            }
        })
    }

    async fn attention(
        &mut self,
        layer: usize,
        shape: &AttentionShape,
        [q, k, v]: [&Bound; 3],
    ) -> Result<Bound, Error> {
        let turned = if shape.rotary.is_some() { std::f64::consts::SQRT_2 } else { 1.0 };
        let (qk, values) = (q.largest().max(k.largest()) * turned, v.largest());
        let [queries, keys, head_values] = [q, k, v].map(|x| x.norms(shape.heads.width));
        let score = queries.iter().enumerate().map(|(i, q)| q * keys[i / shape.heads.group]);
        let score = score.fold(0.0, f64::max);
        self.find("rotated queries and keys", qk, EXTENDED);
        let checked = self.checked_values(layer, values);
        self.find("values", checked, VALUE);
        if let Some(unit) = self.scales.layer(layer).values {
            self.find("values, before their check", values, f64::from(unit + VALUE_TOP - 1).exp2());
        }
        if shape.cap.is_some() {
            let limit = f64::from(CAP_UNIT + CAP_TOP).exp2() - 4.0 * f64::from(CAP_UNIT).exp2();
            self.find("scores before their soft cap", score, limit);
        }
        let Scale { scores, relative, .. } = self.scales.layer(layer);
        let room = if shape.rotary.is_some() { scores } else { 0 };
        let score = if shape.cap.is_some() { 0.0 } else { score };
        self.scores = self.scores.max(score);
        let score = if relative { 2.0 * score } else { score };
        let limit = |room: u32| (SCORE + 1024.0) * f64::from(2 * room).exp2() - 1024.0;
        let fits = |&room: &u32| score * SLACK < limit(room);
        let most = if shape.rotary.is_some() { MOST_ROOM } else { 0 };
        if let Some(more) = (room + 1..=most).find(fits).filter(|_| !fits(&room)) {
            self.want(|scale| scale.scores = more);
        }
        self.find("scores", score, limit(room));
        self.values.push(values);
        let of_query = |i: usize| head_values[i / shape.heads.group];
        Ok(Bound::Means((0..queries.len()).map(of_query).collect()))
    }

    async fn activate(&mut self, f: Activation, x: &Bound) -> Result<Bound, Error> {
        self.find("the activation's argument", x.largest(), f.bound());
        let Bound::Linear(w, norm, columns) = x else { panic!("an activation stands behind a norm") };
        let limit = if f == Activation::Tanh { 1.0 } else { f.bound() };
        let reached = column_bounds(w, *norm, columns.clone());
        Ok(Bound::Inner(reached.iter().map(|x| (x + ERROR).min(limit)).collect(), None))
    }

    async fn gate(&mut self, f: Activation, x: &Bound, y: &Bound) -> Result<Bound, Error> {
        let bounds = |of: &Bound| {
            let Bound::Linear(w, norm, columns) = of else { panic!("a gate stands behind a norm") };
            column_bounds(w, *norm, columns.clone())
        };
        let (gate, up) = (bounds(x), bounds(y));
        let most = |x: &[f64]| x.iter().copied().fold(0.0, f64::max);
        let limit = f.bound();
        // What is checked fails from four units on, and is taken modulo so many.
        let checked = |unit: u32| 4.0 * f64::from(unit).exp2();
        let room = |unit: u32, top: u32| f64::from(unit + top).exp2() - checked(unit);
        let fits = |top: &u32| {
            most(&gate) * SLACK < room(GATE_UNIT, *top) && most(&up) * SLACK < room(UP_UNIT, *top)
        };
        let (mut least_gate, mut least_up) = (most(&gate), most(&up));
        match self.scales.layer(self.layer).gates {
            Some(top) => {
                self.find("the gate, before its check", least_gate, room(GATE_UNIT, top));
                self.find("up, before its check", least_up, room(UP_UNIT, top));
                (least_gate, least_up) = (least_gate.min(checked(GATE_UNIT)), least_up.min(checked(UP_UNIT)));
            }
            None if least_gate * SLACK >= limit || least_gate * least_up * SLACK >= PRODUCT => {
                if let Some(top) = GATE_TOPS.into_iter().find(fits) {
                    self.want(|scale| scale.gates = Some(top));
                }
            }
            None => {}
        }
        self.find("the gate", least_gate, limit);
        self.find("up", least_up, EXTENDED);
        self.find("the gate's product", least_gate.min(limit) * least_up, PRODUCT);
        let coarse = self.scales.layer(self.layer).coarse;
        let rounding = f64::from(coarse).exp2() * ROUNDING;
        let neurons =
            gate.iter().zip(&up).map(|(g, u)| (g + ERROR).min(limit) * u.min(least_up) + rounding).collect();
        Ok(Bound::Inner(neurons, Some(coarse)))
    }

    async fn add(&mut self, h: &Bound, y: &Bound) -> Result<Bound, Error> {
        let Bound::Stream(norm) = h else { panic!("the residual stream") };
        let (scale, bound) = (self.scales.stream(self.visit), y.largest());
        let limit = f64::from(scale.exponent + (STREAM_UNIT + scale.top - 1) as i32).exp2();
        self.added.push(bound);
        self.fit_bits(y);
        self.find("what joins the residual stream", bound, limit);
        self.next_visit();
        Ok(Bound::Stream(norm + y.joining()))
    }

    async fn stream(&mut self, y: &Bound, doublings: u32) -> Result<Bound, Error> {
        let bound = y.largest() * f64::from(doublings).exp2();
        self.find("a norm's output", bound, f64::from(STREAM_UNIT + 3).exp2());
        Ok(Bound::Stream(f64::INFINITY))
    }

    async fn new_stream(&mut self, y: &Bound) -> Result<Bound, Error> {
        let Bound::Inner(neurons, _) = y else { panic!("a new stream stands behind an activation") };
        let checked = 4.4 * f64::from(self.scales.layer(self.layer).inner).exp2();
        self.added.push(neurons.iter().copied().fold(0.0, f64::max).min(checked));
        self.next_visit();
        Ok(Bound::Stream(f64::INFINITY))
    }

    async fn mean(&mut self, x: &Bound) -> Result<Bound, Error> {
        Ok(x.clone())
    }

    async fn row_of(&mut self, x: &Bound, _: Tokens<'_>, _: u32) -> Result<Bound, Error> {
        Ok(x.clone())
    }

    fn columns(&self, x: &Bound, range: Range<usize>) -> Bound {
        match x {
            Bound::Linear(w, norm, columns) => {
                Bound::Linear(w.clone(), *norm, columns.start + range.start..columns.start + range.end)
            }
            Bound::Normed { norm, width, parts } if *parts > 1 => {
                Bound::Normed { norm: *norm, width: *width, parts: range.len() / width }
            }
            other => other.clone(),
        }
    }

    fn rows(&self, x: &Bound, _: Range<usize>) -> Bound {
        x.clone()
    }
}

/// What an activation's number is off by rounding, at most.
const ROUNDING: f64 = 1.0 / 4096.0;
/// What an activation's table is off.
const ERROR: f64 = 0.003;
