//! The arithmetic in the clear: the same rings, tables and roundings, no protocol. The oracle of
//! the tests.
//!
//! Truncations round to nearest; on shares they come out rounded up or down. Row functions (norms,
//! softmax) are computed in real numbers and rounded once. So `Clear` and the protocols agree up to
//! the errors that the protocols state.

use std::ops::Range;

use sotto_protocol::{
    Error, Precision,
    activation::Activation,
    exp2,
    kv_cache::Heads,
    layer_norm, linear,
    linear::{Matrix, Weight},
    matmul, mul_small, reveal, rms_norm,
    rope::{self, Angles},
    softmax::Softmax,
    truncate,
};
use sotto_shares::{Ring, Shape, Share, decode, encode};

use crate::evaluator::{Arithmetic, Part, Tokens, two_party::one_hots};

/// Evaluates a network on plain fixed-point numbers.
#[derive(Default)]
pub struct Clear {
    /// How exact they are.
    pub precision: Precision,
    /// Positions before this step.
    position: usize,
    caches: Vec<Cache>,
}

/// Keys and values in the clear.
struct Cache {
    heads: Heads,
    keys: Option<Share>,
    values: Option<Share>,
}

impl Clear {
    /// An evaluation from the first position on.
    pub fn new(precision: Precision) -> Clear {
        Clear { precision, ..Clear::default() }
    }

    /// What is revealed of `x`, rounded down as the protocol does.
    pub fn reveal(&self, x: &Share) -> Vec<f64> {
        let (bits, ring) = (x.frac() - reveal::FRAC, reveal::RING);
        let data = x.data().iter().map(|&v| truncate::ideal(v, x.ring(), bits, ring)).collect();
        reals(&Share::new(ring, reveal::FRAC, x.shape(), data))
    }

    fn cache(&mut self, layer: usize, heads: Heads) -> &mut Cache {
        let empty = || Cache { heads, keys: None, values: None };
        if self.caches.len() <= layer {
            self.caches.resize_with(layer + 1, empty);
        }
        &mut self.caches[layer]
    }

    /// Numerators and the reciprocals of their sums, in real numbers and rounded once.
    fn softmax(&self, x: &Share, visible: &[usize]) -> Softmax {
        let values = reals(x);
        let mut numerators = vec![0.0; x.len()];
        let mut reciprocals = vec![];
        for (i, &n) in visible.iter().enumerate() {
            let row = &values[i * x.shape().cols..i * x.shape().cols + n];
            let max = row.iter().copied().fold(f64::MIN, f64::max);
            let powers: Vec<f64> = row.iter().map(|v| exp2::ideal(self.precision, v - max)).collect();
            reciprocals.push(1.0 / powers.iter().sum::<f64>());
            numerators[i * x.shape().cols..i * x.shape().cols + n].copy_from_slice(&powers);
        }
        let p = self.precision;
        let (ring, frac) = p.reciprocal();
        Softmax {
            numerators: rounded(numerators, p.sums(), p.power_frac(), x.shape()),
            reciprocal: rounded(reciprocals, ring, frac, Shape::new(x.shape().rows, 1)),
        }
    }
}

impl Arithmetic for Clear {
    type Weight = Weight;

    fn precision(&self) -> Precision {
        self.precision
    }

    fn position(&self) -> usize {
        self.position
    }

    async fn enter(&mut self, part: Part) -> Result<(), Error> {
        if part == Part::Embedding {
            let keys = self.caches.first().and_then(|cache| cache.keys.as_ref());
            self.position = keys.map_or(0, |keys| keys.shape().rows);
        }
        Ok(())
    }

    async fn embed(&mut self, table: &Weight, tokens: Tokens<'_>) -> Result<Share, Error> {
        let x = one_hots(tokens, table.shape().inner, self.precision);
        self.linear(table, &x).await
    }

    fn rows_of(&self, table: &Weight, rows: Range<usize>) -> Option<(Vec<i32>, u32)> {
        table.rows(rows)
    }

    async fn linear(&mut self, w: &Weight, x: &Share) -> Result<Share, Error> {
        let mut y = linear::ideal(x.data(), w.data(), w.shape().inner, w.shape().outer, x.ring());
        let bias = w.encoded_bias(x.frac(), x.ring());
        y.iter_mut().zip(bias.iter().cycle()).for_each(|(y, b)| *y = x.ring().reduce(y.wrapping_add(*b)));
        Ok(Share::new(x.ring(), x.frac() + w.shape().frac, Shape::new(x.shape().rows, w.shape().outer), y))
    }

    async fn scores(&mut self, layer: usize, heads: Heads, q: &Share, k: &Share) -> Result<Share, Error> {
        let cache = self.cache(layer, heads);
        let keys = cache.keys.take().map_or(k.duplicate(), |keys| keys.stack(k));
        let scores = by_head(heads, q, |q, columns| product(q, &keys.columns(columns).transpose()));
        cache.keys = Some(keys);
        Ok(scores)
    }

    async fn truncate(&mut self, x: &Share, bits: u32, ring: Ring) -> Result<Share, Error> {
        Ok(shorten(x, bits, ring))
    }

    async fn extend(&mut self, x: &Share, ring: Ring) -> Result<Share, Error> {
        Ok(shorten(x, 0, ring))
    }

    fn check_rows(&mut self, _: &Share, _: u32, _: u32) {}

    fn check_numbers(&mut self, _: &Share, _: u32, _: u32) {}

    async fn rms_norm(&mut self, x: &Share, eps: f64) -> Result<Share, Error> {
        let rows = reals(x).chunks(x.shape().cols).flat_map(|row| rms_norm::ideal(row, eps)).collect();
        Ok(rounded(rows, self.precision.linear(), self.precision.frac(), x.shape()))
    }

    async fn layer_norm(&mut self, x: &Share, eps: f64) -> Result<Share, Error> {
        let rows = reals(x).chunks(x.shape().cols).flat_map(|row| layer_norm::ideal(row, eps)).collect();
        Ok(rounded(rows, self.precision.linear(), self.precision.frac(), x.shape()))
    }

    async fn rope(
        &mut self,
        (x, frac): (&Share, u32),
        frequencies: &[f64],
        v: &Share,
    ) -> Result<[Share; 2], Error> {
        let (p, start) = (self.precision, self.position);
        let angles = Angles { frequencies, start };
        let wide = rope::rotate(&shorten(x, 0, Ring::new(64)), &angles, rope::factor_frac(frac));
        let v = shorten(v, v.frac() - p.frac(), p.sums());
        Ok([shorten(&wide, wide.frac() - frac, p.attention()), v])
    }

    async fn attend(
        &mut self,
        layer: usize,
        x: &Share,
        visible: &[usize],
        v: &Share,
    ) -> Result<[Share; 2], Error> {
        let p = self.precision;
        let Softmax { numerators, reciprocal } = self.softmax(x, visible);
        let cache = &mut self.caches[layer];
        let values = cache.values.take().map_or(v.duplicate(), |values| values.stack(v));
        let sums = by_head(cache.heads, &numerators, |p, columns| product(p, &values.columns(columns)));
        cache.values = Some(values);
        let sums = shorten(&sums, sums.frac() - p.power_frac(), p.reciprocal().0);
        Ok([sums, reciprocal])
    }

    async fn activate(&mut self, f: Activation, x: &Share, ring: Ring) -> Result<Share, Error> {
        let x = x.reduce(self.precision.argument());
        let values = x.data().iter().map(|&v| f.ideal(self.precision, x.ring().signed(v))).collect();
        Ok(rounded(values, ring, self.precision.frac(), x.shape()))
    }

    async fn gate(&mut self, f: Activation, x: &Share, y: &Share, _: u32) -> Result<Share, Error> {
        let p = self.precision;
        let x = self.activate(f, x, p.argument()).await?;
        let y = shorten(y, y.frac() - p.frac(), p.product());
        let product = |(a, b): (&u64, &u64)| mul_small::ideal(x.ring().signed(*a), *b, y.ring());
        let data = x.data().iter().zip(y.data()).map(product).collect();
        Ok(Share::new(y.ring(), x.frac() + y.frac(), x.shape(), data))
    }

    async fn row_of(&mut self, x: &Share, tokens: Tokens<'_>, id: u32) -> Result<Share, Error> {
        let mut out = Share::zeros(x.ring(), x.frac(), Shape::new(1, x.shape().cols));
        for at in 0..x.shape().rows {
            if tokens.ids().is_some_and(|ids| ids[at] == id) {
                out = &out + &x.rows(at..at + 1);
            }
        }
        Ok(out)
    }

    async fn mul_rows(&mut self, x: &Share, y: &Share) -> Result<Share, Error> {
        let cols = x.shape().cols;
        let data =
            (0..x.len()).map(|i| x.ring().reduce(x.data()[i].wrapping_mul(y.data()[i / cols]))).collect();
        Ok(Share::new(x.ring(), x.frac() + y.frac(), x.shape(), data))
    }
}

/// `of(rows of a head, the head's columns)`, head after head.
fn by_head(heads: Heads, x: &Share, of: impl Fn(&Share, Range<usize>) -> Share) -> Share {
    let (rows, width) = (x.shape().rows / heads.key_value, heads.width);
    let head = |i: usize| of(&x.rows(i * rows..(i + 1) * rows), i * width..(i + 1) * width);
    (1..heads.key_value).fold(head(0), |all, i| all.stack(&head(i)))
}

fn product(x: &Share, y: &Share) -> Share {
    let data = matmul::ideal(x.data(), y.data(), x.shape().cols, y.shape().cols, x.ring());
    Share::new(x.ring(), x.frac() + y.frac(), Shape::new(x.shape().rows, y.shape().cols), data)
}

/// `x / 2^bits`, rounded to nearest, in `ring`.
fn shorten(x: &Share, bits: u32, ring: Ring) -> Share {
    let half = if bits == 0 { 0 } else { 1 << (bits - 1) };
    let data = x.data().iter().map(|&v| ring.reduce(((x.ring().signed(v) + half) >> bits) as u64)).collect();
    Share::new(ring, x.frac() - bits, x.shape(), data)
}

fn reals(x: &Share) -> Vec<f64> {
    x.data().iter().map(|&v| decode(v, x.frac(), x.ring())).collect()
}

fn rounded(values: Vec<f64>, ring: Ring, frac: u32, shape: Shape) -> Share {
    Share::new(ring, frac, shape, values.into_iter().map(|v| encode(v, frac, ring)).collect())
}
