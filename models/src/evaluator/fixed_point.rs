//! Networks on fixed-point numbers: which ring and how many fraction bits every tensor has, what is
//! truncated where, and what joins the overflow check.
//!
//! | tensor                        | ring                          | fraction bits                   |
//! |-------------------------------|-------------------------------|---------------------------------|
//! | residual stream               | 64                            | 18, in units of `2^exponent`    |
//! | activation: a norm's output   | [`Precision::linear`]         | `f`                             |
//! | a linear layer's output       | [`Precision::linear`]         | `f` and the weights'            |
//! | the same, for a norm          | 64                            | 18, in units of the norm's      |
//!
//! The exponents of the residual stream are those of [`Scales`]. A linear layer's output that joins
//! the stream loses its surplus of fraction bits locally and is then extended to 64 bits. Where the
//! exponent rises, the stream itself is shortened and extended once.

use std::ops::Range;

use sotto_protocol::{
    Error, Precision,
    activation::Activation,
    kv_cache::Heads,
    linear::{Matrix, WeightShape},
};
use sotto_shares::{Ring, Shape, Share};

use crate::evaluator::{
    Arithmetic, AttentionShape, Evaluator, Norm, NormKind, Part, Scales, Tokens,
    scales::{Scale, Stream},
};

/// The ring of the residual stream.
pub const RESIDUAL: Ring = Ring::new(64);
/// Fraction bits of the residual stream, in units of `2^exponent`.
pub const RESIDUAL_FRAC: u32 = 18;
/// The ring from which the stream is extended where its exponent rises: `|x| < 2^15` units.
const SHORT: Ring = Ring::new(RESIDUAL_FRAC + 16);

/// A tensor on its way through a network: `value = share * 2^exponent`.
pub struct Scaled {
    /// The fixed-point numbers.
    pub share: Share,
    /// Zero but for the residual stream.
    pub exponent: i32,
}

impl From<Share> for Scaled {
    fn from(share: Share) -> Scaled {
        Scaled { share, exponent: 0 }
    }
}

/// A network's evaluation on fixed-point numbers.
pub struct FixedPoint<'a, A> {
    /// What computes.
    pub arithmetic: A,
    scales: &'a Scales,
    /// The next of the stream's scales.
    next: usize,
    layer: usize,
    /// The next of the layer's norms beside the stream.
    beside: usize,
}

impl<'a, A: Arithmetic> FixedPoint<'a, A> {
    /// An evaluation by the scales of a model.
    pub fn new(arithmetic: A, scales: &'a Scales) -> FixedPoint<'a, A> {
        FixedPoint { arithmetic, scales, next: 0, layer: 0, beside: 0 }
    }

    fn precision(&self) -> Precision {
        self.arithmetic.precision()
    }

    /// What is known of the numbers that the stream takes on next.
    fn next_stream(&mut self) -> Stream {
        let scale = self.scales.stream(self.next);
        self.next += 1;
        scale
    }

    /// What is known of the layer's numbers.
    fn scale(&self) -> Scale {
        self.scales.layer(self.layer)
    }

    /// A linear layer's output in units of `2^exponent`, in the ring of the residual stream.
    async fn in_stream_units(&mut self, y: &Share, exponent: i32) -> Result<Share, Error> {
        let bits = (i64::from(y.frac()) - i64::from(RESIDUAL_FRAC) + i64::from(exponent)).max(0) as u32;
        let short = Ring::new(y.ring().bits() - bits);
        let short = match bits {
            0 => y.duplicate(),
            bits => self.arithmetic.truncate(y, bits, short).await?,
        };
        let missing = i64::from(RESIDUAL_FRAC) - i64::from(exponent) - i64::from(short.frac());
        let wide = self.arithmetic.extend(&short, RESIDUAL).await?;
        let wide = if missing > 0 { wide.shift_left(missing as u32) } else { wide };
        Ok(wide.with_frac(RESIDUAL_FRAC))
    }

    /// The stream in larger units.
    async fn raise(&mut self, h: &Scaled, exponent: i32) -> Result<Scaled, Error> {
        let bits = u32::try_from(exponent - h.exponent).expect("exponents of the stream only rise");
        if bits == 0 {
            return Ok(Scaled { share: h.share.duplicate(), exponent });
        }
        let short = h.share.reduce(SHORT);
        let ring = Ring::new(SHORT.bits() - bits);
        let short = self.arithmetic.truncate(&short, bits, ring).await?;
        let share = self.arithmetic.extend(&short, RESIDUAL).await?.with_frac(RESIDUAL_FRAC);
        Ok(Scaled { share, exponent })
    }
}

impl<A: Arithmetic> Evaluator for FixedPoint<'_, A> {
    type Tensor = Scaled;
    type Weight = A::Weight;

    fn position(&self) -> usize {
        self.arithmetic.position()
    }

    async fn enter(&mut self, part: Part) -> Result<(), Error> {
        match part {
            Part::Embedding => self.next = 0,
            Part::Layer(i) => (self.layer, self.beside) = (i, 0),
            Part::Head => {}
        }
        self.arithmetic.enter(part).await
    }

    async fn embed(&mut self, table: &A::Weight, tokens: Tokens<'_>) -> Result<Scaled, Error> {
        let Stream { exponent, .. } = self.next_stream();
        let rows = self.arithmetic.embed(table, tokens).await?;
        Ok(Scaled { share: self.in_stream_units(&rows, exponent).await?, exponent })
    }

    async fn add_positions(&mut self, h: &Scaled, table: &A::Weight) -> Result<Scaled, Error> {
        let (start, share, exponent) = (self.position(), &h.share, h.exponent);
        let rows = start..start + share.shape().rows;
        let Some((numbers, frac)) = self.arithmetic.rows_of(table, rows) else {
            return Ok(Scaled { share: share.duplicate(), exponent });
        };
        let unit = i64::from(RESIDUAL_FRAC) - i64::from(exponent) - i64::from(frac);
        let added = numbers.iter().map(|&q| in_units(q, unit) as u64);
        let sums = share.data().iter().zip(added).map(|(h, p)| share.ring().reduce(h.wrapping_add(p)));
        let share = Share::new(share.ring(), share.frac(), share.shape(), sums.collect());
        Ok(Scaled { share, exponent })
    }

    async fn norm(&mut self, norm: &Norm, x: &Scaled) -> Result<Scaled, Error> {
        // In units of 2^exponent, the model's epsilon is smaller by the square.
        let eps = scaled_eps(norm.eps, x.exponent);
        self.check_stream(&x.share);
        let out = match norm.kind {
            NormKind::Rms => self.arithmetic.rms_norm(&x.share, eps).await?,
            NormKind::Layer => self.arithmetic.layer_norm(&x.share, eps).await?,
        };
        Ok(out.into())
    }

    async fn norm_parts(&mut self, norm: &Norm, y: &Scaled) -> Result<Scaled, Error> {
        let (exponent, Shape { rows, cols }) = (self.scale().beside[self.beside], y.share.shape());
        self.beside += 1;
        let parts = y.share.duplicate().reshape(Shape::new(rows * cols / norm.width, norm.width));
        let x = self.in_stream_units(&parts, exponent as i32).await?;
        let eps = scaled_eps(norm.eps, exponent as i32);
        let out = match norm.kind {
            NormKind::Rms => self.arithmetic.rms_norm(&x, eps).await?,
            NormKind::Layer => self.arithmetic.layer_norm(&x, eps).await?,
        };
        Ok(out.reshape(Shape::new(rows, cols)).into())
    }

    async fn unnormalised(&mut self, h: &Scaled) -> Result<Scaled, Error> {
        self.check_stream(&h.share);
        let (p, share) = (self.precision(), &h.share);
        let share = match RESIDUAL_FRAC as i32 - p.frac() as i32 - h.exponent {
            bits @ 1.. => self.arithmetic.truncate(share, bits as u32, p.linear()).await?,
            bits => share.reduce(p.linear()).shift_left(-bits as u32),
        };
        Ok(share.with_frac(p.frac()).into())
    }

    async fn linear(&mut self, w: &A::Weight, x: &Scaled) -> Result<Scaled, Error> {
        let (WeightShape { inner, outer, .. }, Shape { rows, cols }) = (*w.shape(), x.share.shape());
        let parts = cols / inner;
        if parts == 1 {
            return Ok(self.arithmetic.linear(w, &x.share).await?.into());
        }
        let x = x.share.duplicate().reshape(Shape::new(rows * parts, inner));
        let y = self.arithmetic.linear(w, &x).await?;
        Ok(y.reshape(Shape::new(rows, parts * outer)).into())
    }

    async fn attention(
        &mut self,
        layer: usize,
        shape: &AttentionShape,
        [q, k, v]: [&Scaled; 3],
    ) -> Result<Scaled, Error> {
        let (heads, p) = (shape.heads, self.precision());
        let (q_columns, k_columns) = (shape.query_columns(), shape.key_columns());
        let Scale { scores, relative, values, .. } = self.scale();
        // What a server sends as scales must not meet layers that they are not for.
        let room = if shape.rotary.is_some() { scores } else { 0 };
        let relative = relative && shape.cap.is_none();
        let rows = v.share.shape().rows;
        let visible = shape.visible(rows, self.position());
        if let Some(unit) = values {
            self.arithmetic.check_numbers(&v.share, unit, VALUE_TOP);
        }
        let (qk, v) = match &shape.rotary {
            Some(frequencies) => {
                let qk = self.side_by_side(&[q, k]).await?;
                let [qk, v] = self.arithmetic.rope((&qk, p.frac() - room), frequencies, &v.share).await?;
                (qk, v)
            }
            None => {
                let qkv = self.side_by_side(&[q, k, v]).await?;
                let qkv = self.arithmetic.truncate(&qkv, qkv.frac() - p.frac(), p.sums()).await?;
                let v = qkv.columns(q_columns + k_columns..q_columns + 2 * k_columns);
                (qkv.columns(0..q_columns + k_columns), v)
            }
        };
        let q = by_group(heads, &qk.columns(0..q_columns)).reduce(p.attention());
        let k = qk.columns(q_columns..q_columns + k_columns).reduce(p.attention());
        let scores = self.arithmetic.scores(layer, heads, &q, &k).await?;
        let scores = if relative { less_last(&scores, &visible) } else { scores };
        if room > 0 {
            // What is left of them below sees less.
            let top = (SCORE_TOP + 2 * room).min(MOST_TOP);
            let (_, seen) = seen(&scores, &visible);
            self.arithmetic.check_numbers(&seen, SCORE_UNIT + SCORE_TOP + 2 * room - top, top);
        }
        let scores = self.arithmetic.truncate(&scores, scores.frac() - p.frac(), p.score()).await?;
        let scores = match shape.cap {
            None => scores,
            Some(cap) => self.capped(&scores, &visible, AttentionShape::after_cap(cap)).await?,
        };
        let scores = self.arithmetic.hide(scores);
        let [sums, reciprocal] = self.arithmetic.attend(layer, &scores, &visible, &v).await?;
        let means = self.arithmetic.mul_rows(&sums, &reciprocal).await?;
        let means = self.arithmetic.truncate(&means, means.frac() - p.frac(), p.linear()).await?;
        Ok(by_row(heads, &means, rows).into())
    }

    async fn activate(&mut self, f: Activation, x: &Scaled) -> Result<Scaled, Error> {
        let p = self.precision();
        let x = self.arithmetic.truncate(&x.share, x.share.frac() - p.frac(), p.argument()).await?;
        let y = self.arithmetic.activate(f, &x, p.linear()).await?;
        self.check_inner(&y);
        Ok(y.into())
    }

    async fn gate(&mut self, f: Activation, x: &Scaled, y: &Scaled) -> Result<Scaled, Error> {
        let p = self.precision();
        if let Some(top) = self.scale().gates {
            self.arithmetic.check_numbers(&x.share, GATE_UNIT, top);
            self.arithmetic.check_numbers(&y.share, UP_UNIT, top);
        }
        let x = self.arithmetic.truncate(&x.share, x.share.frac() - p.frac(), p.argument()).await?;
        let bits = p.frac() + self.scale().coarse;
        let product = self.arithmetic.gate(f, &x, &y.share, bits).await?;
        let product = self.arithmetic.truncate(&product, bits, p.linear()).await?;
        self.check_inner(&product);
        Ok(product.into())
    }

    async fn add(&mut self, h: &Scaled, y: &Scaled) -> Result<Scaled, Error> {
        let Stream { exponent, .. } = self.next_stream();
        let h = self.raise(h, exponent).await?;
        let y = self.in_stream_units(&y.share, exponent).await?;
        Ok(Scaled { share: &h.share + &y, exponent })
    }

    async fn stream(&mut self, y: &Scaled, doublings: u32) -> Result<Scaled, Error> {
        let frac = y.share.frac() - doublings;
        let y = y.share.duplicate().with_frac(frac);
        // The next addition is in the same units.
        let exponent = self.scales.stream(self.next).exponent;
        Ok(Scaled { share: self.in_stream_units(&y, exponent).await?, exponent })
    }

    async fn new_stream(&mut self, y: &Scaled) -> Result<Scaled, Error> {
        let Stream { exponent, .. } = self.next_stream();
        Ok(Scaled { share: self.in_stream_units(&y.share, exponent).await?, exponent })
    }

    async fn mean(&mut self, x: &Scaled) -> Result<Scaled, Error> {
        let (x, Shape { rows, cols }) = (&x.share, x.share.shape());
        let (ring, frac) = (x.ring(), x.frac());
        let reciprocal = (f64::from(MEAN_FRAC).exp2() / rows as f64).round() as u64;
        let column = |j: usize| (0..rows).fold(0u64, |sum, i| sum.wrapping_add(x.data()[i * cols + j]));
        let sums = (0..cols).map(|j| ring.reduce(column(j).wrapping_mul(reciprocal))).collect();
        let means = Share::new(ring, frac + MEAN_FRAC, Shape::new(1, cols), sums);
        Ok(self.arithmetic.truncate(&means, MEAN_FRAC, ring).await?.into())
    }

    async fn row_of(&mut self, x: &Scaled, tokens: Tokens<'_>, id: u32) -> Result<Scaled, Error> {
        Ok(self.arithmetic.row_of(&x.share, tokens, id).await?.into())
    }

    fn columns(&self, x: &Scaled, range: Range<usize>) -> Scaled {
        Scaled { share: x.share.columns(range), exponent: x.exponent }
    }

    fn rows(&self, x: &Scaled, range: Range<usize>) -> Scaled {
        Scaled { share: x.share.rows(range), exponent: x.exponent }
    }
}

/// Fraction bits of the reciprocal of a number of rows: a norm's outputs are below 2^9.
const MEAN_FRAC: u32 = 20;
/// The unit of the stream's overflow check: rows pass whose few large elements and 3.75 times the
/// norm of the others add up to less than `3 * 2^11`.
pub(crate) const STREAM_UNIT: u32 = 11;
/// The unit of the check of scores, and the bits that are looked at above it.
pub(crate) const SCORE_UNIT: u32 = 8;
const SCORE_TOP: u32 = 6;
/// Bits that a check looks at at most.
const MOST_TOP: u32 = 8;
/// Bits of values that are looked at, above their unit.
pub(crate) const VALUE_TOP: u32 = 7;
/// The unit of the check of scores before their soft cap, and the bits that are looked at above it.
pub(crate) const CAP_UNIT: u32 = 6;
pub(crate) const CAP_TOP: u32 = 6;
/// Fraction bits of what capped scores are multiplied by.
const CAP_FRAC: u32 = 12;

/// The ring of capped scores, from which those of the softmax follow locally.
pub(crate) fn capped_ring(precision: Precision) -> Ring {
    Ring::new(precision.score().bits() + CAP_FRAC)
}

/// The units of the checks of gates and of what they multiply.
pub(crate) const GATE_UNIT: u32 = 6;
pub(crate) const UP_UNIT: u32 = 7;
/// Integer bits of the rows that enter the last matrix of an MLP, modulo which they are looked at.
pub(crate) const INNER_BITS: u32 = 20;

impl<A: Arithmetic> FixedPoint<'_, A> {
    /// The rows of the residual stream join the overflow check.
    fn check_stream(&mut self, h: &Share) {
        let top = self.scales.stream(self.next.saturating_sub(1)).top;
        self.arithmetic.check_rows(h, STREAM_UNIT, top);
    }

    /// Scores `x` under their soft cap and times `factor`, as far as rows see.
    async fn capped(&mut self, x: &Share, visible: &[usize], factor: f64) -> Result<Share, Error> {
        let p = self.precision();
        let (places, seen) = seen(x, visible);
        self.arithmetic.check_numbers(&seen, CAP_UNIT, CAP_TOP);
        let (ring, factor) = (capped_ring(p), (factor * f64::from(CAP_FRAC).exp2()).round() as u64);
        let y = self.arithmetic.activate(Activation::SoftCap, &seen.reduce(p.argument()), ring).await?;
        let y = y.map(|y| ring.reduce(y.wrapping_mul(factor))).with_frac(y.frac() + CAP_FRAC);
        let y = self.arithmetic.truncate(&y, CAP_FRAC, p.score()).await?;
        let mut all = vec![0; x.len()];
        places.into_iter().zip(y.data()).for_each(|(at, &y)| all[at] = y);
        Ok(Share::new(y.ring(), y.frac(), x.shape(), all))
    }

    /// Outputs of linear layers side by side, with the fraction bits of that which has the fewest.
    /// Local. They keep as many integer bits as that has which has the fewest.
    async fn side_by_side(&mut self, parts: &[&Scaled]) -> Result<Share, Error> {
        let fracs = || parts.iter().map(|part| part.share.frac());
        let (frac, most) = (fracs().min().unwrap_or(0), fracs().max().unwrap_or(0));
        let ring = Ring::new(self.precision().linear().bits() - (most - frac));
        let mut all = vec![];
        for part in parts.iter().map(|part| &part.share) {
            all.push(match part.frac() - frac {
                0 => part.reduce(ring),
                bits => self.arithmetic.truncate(part, bits, ring).await?,
            });
        }
        Ok(Share::beside(&all))
    }

    /// The rows that enter the last matrix of an MLP join the overflow check.
    fn check_inner(&mut self, x: &Share) {
        let unit = self.scale().inner;
        self.arithmetic.check_rows(x, unit, (INNER_BITS - unit).min(7));
    }
}

/// `q 2^bits`, rounded to nearest.
fn in_units(q: i32, bits: i64) -> i64 {
    match u32::try_from(bits) {
        Ok(bits) => i64::from(q) << bits,
        Err(_) => (i64::from(q) + (1 << (-bits - 1))) >> -bits,
    }
}

/// A norm's epsilon for numbers in units of `2^exponent`.
pub(crate) fn scaled_eps(eps: f64, exponent: i32) -> f64 {
    eps * (-2.0 * f64::from(exponent)).exp2()
}

/// The places of scores that their rows see, and these, one below the other. Local.
fn seen(x: &Share, visible: &[usize]) -> (Vec<usize>, Share) {
    let columns = x.shape().cols;
    let places: Vec<usize> =
        visible.iter().enumerate().flat_map(|(i, &n)| i * columns..i * columns + n).collect();
    let seen: Vec<u64> = places.iter().map(|&at| x.data()[at]).collect();
    (places, Share::new(x.ring(), x.frac(), Shape::new(seen.len(), 1), seen))
}

/// Scores less that of the last position that their row sees, which the softmax does not feel; zero
/// where it does not see. Local.
fn less_last(x: &Share, visible: &[usize]) -> Share {
    let (ring, columns) = (x.ring(), x.shape().cols);
    let mut data = vec![0; x.len()];
    for ((to, from), &n) in data.chunks_mut(columns).zip(x.data().chunks(columns)).zip(visible) {
        let last = from[n - 1];
        to.iter_mut().zip(&from[..n]).for_each(|(to, x)| *to = ring.reduce(x.wrapping_sub(last)));
    }
    Share::new(ring, x.frac(), x.shape(), data)
}

/// The queries `[T, heads h]` as rows of one head: `[T group, h]` for each head of keys.
fn by_group(heads: Heads, q: &Share) -> Share {
    let width = heads.group * heads.width;
    let group = |i: usize| {
        let columns = q.columns(i * width..(i + 1) * width);
        let rows = columns.len() / heads.width;
        columns.reshape(Shape::new(rows, heads.width))
    };
    (1..heads.key_value).fold(group(0), |all, i| all.stack(&group(i)))
}

/// The inverse order: to `[T, heads h]`.
fn by_row(heads: Heads, x: &Share, rows: usize) -> Share {
    let (group, width) = (heads.group, heads.group * heads.width);
    let of = |i: usize| x.rows(i * rows * group..(i + 1) * rows * group).reshape(Shape::new(rows, width));
    Share::beside(&(0..heads.key_value).map(of).collect::<Vec<_>>())
}
