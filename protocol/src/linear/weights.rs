//! `[x W] <- [x], W`: the server's private matrix times shared rows, with encryption on random
//! masks only.
//!
//! Offline, for rows that do not exist yet:
//!
//! | client: key          |                       | server: `W` of integers ([`Weights`])        |
//! |----------------------|-----------------------|----------------------------------------------|
//! | `r` uniform `[T, K]` | `-- linear/upload ->` | `Enc(r)`                                     |
//! | `y0` from `a'`       | `<- linear/reply --`  | `(b, a') = Enc(r W) + Enc(0)`; `y1` from `b` |
//!
//! Online:
//!
//! | client: `x0` |                     | server: `x1`                   |
//! |--------------|---------------------|--------------------------------|
//! | `x0 - r`     | `-- linear/open ->` |                                |
//! | returns `y0` |                     | returns `(x1 + x0 - r) W + y1` |
//!
//! Online one turn, `l T K` bits. Ring 44, or 46 ([`Precision`]). The shares add up to `x W +
//! delta`: this is the functionality. For an exact layer delta is zero but with probability
//! `2^-40`; for the others its deviation is below `2^-18`, far below what the next step keeps.
//! Where delta is not zero it depends, for a small part, on `W` (module docs of [`sotto_he`]), and
//! is linear in the client's key, so such sums are never opened, only masked anew after some bits
//! have been dropped; only an exact layer's outputs are revealed, after a faithful truncation. The
//! server sees `x - r`, uniform; a row of masks is consumed by one opening. The client sees
//! `a'` of a re-randomised ciphertext, pseudo-random whatever `W` is. Masks are made by
//! [`crate::planner`]. Source: Delphi (2020/050) for the split; Cheetah (2022/207), BumbleBee
//! (2023/1678) for the encrypted product.

use std::{ops::Range, sync::Arc};

use sotto_he::{EXACT, EncryptedMatrix, Job, Layout, MatmulShape, Operand, Plain};
use sotto_shares::{Ring, Shape, Share, encode, pack, packed_len, unpack};
use zeroize::Zeroize;

use crate::{
    Client, Error, Precision, Server, Session,
    background::{self, Outline},
    lattice,
    stock::{self, Entries, Stock},
};

pub use sotto_he::Weights;

/// How exact a layer's encrypted product must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exactness {
    /// An error of deviation below `2^-18`.
    Rounded,
    /// None but with probability `2^-40`: for outputs that the client sees.
    Exact,
}

/// An error of this deviation, as a power of two, is lost on all that follows a rounded layer.
const ROUNDED: i32 = -18;

/// What both parties know of a matrix of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WeightShape {
    /// Names the matrix in the pool; different for every matrix of a model.
    pub id: u32,
    /// Rows of the matrix: the width of its input.
    pub inner: usize,
    /// Columns of the matrix: the width of its output.
    pub outer: usize,
    /// Fraction bits of its integers.
    pub frac: u32,
    /// How exact its product must be.
    pub exactness: Exactness,
}

/// A matrix of the server.
#[derive(Clone)]
pub struct Weight {
    shape: WeightShape,
    /// `[inner, outer]`.
    data: Arc<Weights>,
    /// `[outer]`, or nothing.
    bias: Vec<f64>,
}

/// What both parties know of a matrix.
pub trait Matrix {
    /// Its public shape.
    fn shape(&self) -> &WeightShape;

    /// Some rows of it, and their fraction bits, if this party has them.
    ///
    /// # Panics
    /// If there are no such rows.
    fn rows(&self, _: Range<usize>) -> Option<(Vec<i32>, u32)> {
        None
    }
}

impl Matrix for Weight {
    fn shape(&self) -> &WeightShape {
        &self.shape
    }

    fn rows(&self, rows: Range<usize>) -> Option<(Vec<i32>, u32)> {
        assert!(rows.end <= self.shape.inner, "rows of the matrix");
        let some = self.data.rows().skip(rows.start).take(rows.len());
        Some((some.flatten().collect(), self.shape.frac))
    }
}

impl Matrix for WeightShape {
    fn shape(&self) -> &WeightShape {
        self
    }
}

impl Weight {
    /// The matrix `data` `[inner, outer]`, and what the server adds to each row of a product with
    /// it, `[outer]`, or nothing.
    ///
    /// # Panics
    /// If there are as many integers as the shape does not have, or a bias that is not for every
    /// column.
    pub fn new(shape: WeightShape, data: impl Into<Arc<Weights>>, bias: Vec<f64>) -> Weight {
        let data = data.into();
        assert_eq!(data.len(), shape.inner * shape.outer, "integers of a [inner, outer] matrix");
        assert!(bias.is_empty() || bias.len() == shape.outer, "one bias per output");
        Weight { shape, data, bias }
    }

    /// What the client knows of it.
    pub fn shape(&self) -> &WeightShape {
        &self.shape
    }

    /// The integers, `[inner, outer]`.
    pub fn data(&self) -> &Weights {
        &self.data
    }

    /// What is added to each row of a product, `[outer]`; or nothing.
    pub fn bias(&self) -> &[f64] {
        &self.bias
    }

    /// The bias as elements of the product's `ring`, for inputs with `frac` fraction bits.
    pub fn encoded_bias(&self, frac: u32, ring: Ring) -> Vec<u64> {
        self.bias.iter().map(|&b| encode(b, frac + self.shape.frac, ring)).collect()
    }
}

/// Masks for rows of one layer's input and shares of their images. Wiped on drop.
pub struct LinearMasks {
    rows: usize,
    /// The masks; empty at the server.
    r: Vec<u64>,
    y: Vec<u64>,
}

impl Drop for LinearMasks {
    fn drop(&mut self) {
        self.r.zeroize();
        self.y.zeroize();
    }
}

impl Entries for LinearMasks {
    fn len(&self) -> usize {
        self.rows
    }
    fn take(&mut self, n: usize) -> LinearMasks {
        let total = self.rows;
        let part = |v: &mut Vec<u64>| {
            let rest = v.split_off(v.len() / total.max(1) * n);
            std::mem::replace(v, rest)
        };
        self.rows -= n;
        LinearMasks { rows: n, r: part(&mut self.r), y: part(&mut self.y) }
    }
    fn append(&mut self, mut later: LinearMasks) {
        self.rows += later.rows;
        self.r.append(&mut later.r);
        self.y.append(&mut later.y);
    }
}

/// The client's side; learns nothing of `W` but its shape. Takes a mask from stock for each row.
///
/// # Errors
/// The peer's reply is malformed or missing.
///
/// # Panics
/// If ring or width do not fit, or there are too few masks.
pub async fn client(me: &mut Client, w: &WeightShape, x: &Share) -> Result<Share, Error> {
    check(me.session.precision, w, x);
    let (rows, ring, s) = (x.shape().rows, x.ring(), &mut me.session);
    let mut masks = draw(s, w, rows).await?;
    let masked: Vec<u64> = x.data().iter().zip(&masks.r).map(|(x, r)| x.wrapping_sub(*r)).collect();
    s.ch.send("linear/open", pack(&masked, ring.bits()))?;
    Ok(Share::new(ring, x.frac() + w.frac, Shape::new(rows, w.outer), std::mem::take(&mut masks.y)))
}

/// The server's side; learns nothing of `x`. Takes a mask from stock for each row.
///
/// # Errors
/// The peer's upload or opening is malformed or missing.
///
/// # Panics
/// If ring or width do not fit, or there are too few masks.
pub async fn server(me: &mut Server, w: &Weight, x: &Share) -> Result<Share, Error> {
    check(me.session.precision, &w.shape, x);
    let (rows, ring, s) = (x.shape().rows, x.ring(), &mut me.session);
    let masks = draw(s, &w.shape, rows).await?;
    let bytes = s.ch.recv("linear/open", packed_len(x.len(), ring.bits())).await?;
    let masked = unpack(&bytes, x.len(), ring.bits());
    let input: Vec<u64> = x.data().iter().zip(&masked).map(|(a, b)| a.wrapping_add(*b)).collect();
    let mut y = sotto_net::compute(|| sotto_he::product(&input, &w.data, w.shape.inner, w.shape.outer));
    y.iter_mut().zip(&masks.y).for_each(|(y, mask)| *y = ring.reduce(y.wrapping_add(*mask)));
    let bias = w.encoded_bias(x.frac(), ring);
    y.iter_mut().zip(bias.iter().cycle()).for_each(|(y, b)| *y = ring.reduce(y.wrapping_add(*b)));
    Ok(Share::new(ring, x.frac() + w.shape.frac, Shape::new(rows, w.shape.outer), y))
}

/// The functionality: `x W` in `ring`, `x` `[T, K]`.
pub fn ideal(x: &[u64], w: &Weights, inner: usize, outer: usize, ring: Ring) -> Vec<u64> {
    sotto_he::product(x, w, inner, outer).into_iter().map(|y| ring.reduce(y)).collect()
}

/// The masks of a matrix in stock and in flight.
fn masks<'a>(s: &'a mut Session, w: &WeightShape) -> &'a mut Stock<LinearMasks> {
    s.stocks.linear.entry((s.precision, w.id)).or_default()
}

/// Rows for which masks are neither in stock nor in flight.
pub(crate) fn missing(s: &mut Session, w: &WeightShape, rows: usize) -> usize {
    masks(s, w).missing(rows)
}

/// Waits for masks of `rows` rows, as far as they are in flight.
pub(crate) async fn arrive(s: &mut Session, w: &WeightShape, rows: usize) -> Result<(), Error> {
    let w = *w;
    stock::arrive(s, move |s| masks(s, &w), rows).await
}

async fn draw(s: &mut Session, w: &WeightShape, rows: usize) -> Result<LinearMasks, Error> {
    arrive(s, w, rows).await?;
    s.stocks.record("linear", w.id.into(), rows);
    Ok(masks(s, w).draw(rows))
}

/// Bytes that masks for `rows` rows take in stock at the client.
pub(crate) fn bytes(w: &WeightShape, rows: usize) -> usize {
    8 * rows * (w.inner + w.outer)
}

/// Layout and messages of a request for masks of `count` rows, which belongs to a span of the
/// meter.
fn outline(
    s: &Session,
    w: &WeightShape,
    count: usize,
    span: &'static str,
) -> Result<(Layout, Outline), Error> {
    let layout = layout(s.precision, w, count)?;
    let outline = Outline {
        span,
        upload: ("linear/upload", layout.upload_len()),
        reply: ("linear/reply", sotto_he::reply_len(lattice::context(), &[layout])),
        count,
        bytes: bytes(w, count),
    };
    Ok((layout, outline))
}

/// Begins to make masks for `rows` rows; the client's part.
///
/// # Errors
/// There is no layout for so many rows.
pub(crate) fn ask(me: &mut Client, w: &WeightShape, rows: usize, span: &'static str) -> Result<(), Error> {
    let s = &mut me.session;
    let (layout, outline) = outline(s, w, rows, span)?;
    let (context, mut rng) = (lattice::context(), s.rng.fork());
    let [key, again] = [me.key.clone(), me.key.clone()];
    let ask = move || sotto_he::encrypt_random(context, &key, &layout, &mut rng);
    let request = background::client(s, outline, ask, move |mut r, reply| {
        let mut y = sotto_he::decrypt(context, &again, &[layout], &reply)?;
        Ok(LinearMasks { rows, r: std::mem::take(&mut *r), y: y.swap_remove(0) })
    });
    masks(s, w).expect(request);
    Ok(())
}

/// The server's part of [`ask`].
pub(crate) fn answer(me: &mut Server, w: &Weight, rows: usize, span: &'static str) -> Result<(), Error> {
    let s = &mut me.session;
    let (layout, outline) = outline(s, &w.shape, rows, span)?;
    let (context, mut rng) = (lattice::context(), s.rng.fork());
    let (keys, data) = (me.keys.clone(), w.data.clone());
    let request = background::server(s, outline, move |upload| {
        let x = EncryptedMatrix::decode_random(context, &layout, &upload)?;
        let job = Job { x: &x, w: Plain::Weights(&data) };
        let (reply, mut y) = sotto_he::multiply(context, &keys, &[job], &mut rng);
        Ok((reply, LinearMasks { rows, r: vec![], y: y.swap_remove(0) }))
    });
    masks(s, &w.shape).expect(request);
    Ok(())
}

pub(crate) fn layout(precision: Precision, w: &WeightShape, rows: usize) -> Result<Layout, Error> {
    let tolerance = match w.exactness {
        Exactness::Rounded => (precision.frac() + w.frac) as i32 + ROUNDED,
        Exactness::Exact => EXACT,
    };
    let shape = MatmulShape { tokens: rows, inner: w.inner, outer: w.outer };
    let bits = precision.linear().bits();
    Ok(Layout::search(lattice::context(), shape, Operand::Weights, bits, tolerance, 1)?)
}

fn check(precision: Precision, w: &WeightShape, x: &Share) {
    assert_eq!(x.ring(), precision.linear(), "ring of a linear layer's input");
    assert_eq!(x.shape().cols, w.inner, "width of a linear layer's input");
}

#[cfg(test)]
mod tests {
    use sotto_net::background_len;

    use super::*;
    use crate::{
        planner::{self, Need},
        testing::{self, CostModel, Holder, Lab, elements},
    };

    fn weight(id: u32, inner: usize, outer: usize, exactness: Exactness) -> Weight {
        let draws = elements(inner * outer, Ring::new(16));
        let digits = draws.iter().map(|&w| w as u16 as i16).collect();
        let data = Arc::new(Weights::new(digits, (0..outer).map(|i| i as u8 % 7).collect()));
        Weight::new(WeightShape { id, inner, outer, frac: 8, exactness }, data, vec![])
    }

    fn weights() -> [Weight; 4] {
        [
            weight(0, 33, 45, Exactness::Rounded),
            weight(1, 33, 45, Exactness::Exact),
            weight(2, 1, 1, Exactness::Rounded),
            weight(3, 129, 7, Exactness::Exact),
        ]
    }

    /// Bytes of the offline half.
    fn offline<P: Holder>(lab: &mut Lab<P>, w: &WeightShape, rows: usize) {
        let (context, s) = (lattice::context(), lab.me.session());
        let layout = layout(s.precision, w, rows).unwrap();
        let tags = s.ch.meter.tags();
        assert_eq!(tags["linear/upload"], background_len(layout.upload_len()) as u64);
        assert_eq!(tags["linear/reply"], background_len(sotto_he::reply_len(context, &[layout])) as u64);
    }

    #[test]
    fn products_are_exact_or_within_their_tolerance() {
        for precision in Precision::ALL {
            products(precision);
        }
    }

    fn products(precision: Precision) {
        let (weights, ring, frac) = (weights(), precision.linear(), precision.frac());
        let input = |w: &WeightShape, rows: usize| elements(rows * w.inner, ring);
        const ROWS: [usize; 3] = [1, 3, 17];
        let all = testing::run_keyed(
            async |lab| {
                lab.me.session.precision = precision;
                let mut all = vec![];
                for (w, rows) in weights.iter().flat_map(|w| ROWS.map(|rows| (w.shape, rows))) {
                    let x = lab.share(&input(&w, rows), ring, frac, Shape::new(rows, w.inner));
                    lab.renew();
                    // Masks for both calls.
                    planner::ensure(&mut lab.me, vec![Need::linear(&w, 2 * rows)]).await.unwrap();
                    let first = client(&mut lab.me, &w, &x).await.unwrap();
                    offline(lab, &w, 2 * rows);
                    all.push((first, lab.measure(async |me| client(me, &w, &x).await).await));
                }
                all
            },
            async |lab| {
                lab.me.session.precision = precision;
                let mut all = vec![];
                for (w, rows) in weights.iter().flat_map(|w| ROWS.map(|rows| (w, rows))) {
                    let x = lab.share(&input(&w.shape, rows), ring, frac, Shape::new(rows, w.shape.inner));
                    lab.renew();
                    planner::ensure(&mut lab.me, vec![Need::linear(w, 2 * rows)]).await.unwrap();
                    let first = server(&mut lab.me, w, &x).await.unwrap();
                    offline(lab, &w.shape, 2 * rows);
                    all.push((first, lab.measure(async |me| server(me, w, &x).await).await));
                }
                all
            },
        );
        let cases = weights.iter().flat_map(|w| ROWS.map(|rows| (w, rows)));
        for ((w, rows), (first, (second, traffic))) in cases.zip(all) {
            let WeightShape { inner, outer, exactness, .. } = w.shape;
            let want = ideal(&input(&w.shape, rows), &w.data, inner, outer, ring);
            let off = |got: Vec<u64>| -> u64 {
                let off = got.iter().zip(&want).map(|(&a, b)| ring.signed(ring.reduce(a.wrapping_sub(*b))));
                off.map(i64::unsigned_abs).max().unwrap()
            };
            // Nine deviations of 2^-18.
            let allowed = if exactness == Exactness::Exact { 0 } else { 9 << (frac + 8 - 18) };
            assert!(off(first) <= allowed && off(second) <= allowed, "{:?}", w.shape);
            assert_eq!(traffic.cost, CostModel::to_server(ring.bits() as usize * rows * inner).total());
        }
    }

    /// A wider ring needs no wider ciphertexts: the noise of both precisions is as far below what
    /// is kept.
    #[test]
    fn rounded_layers_take_replies_of_the_same_size_by_either_precision() {
        for (inner, outer) in [(768, 2304), (4096, 11008), (11008, 4096)] {
            for (frac, rows) in [(8, 1), (14, 16), (16, 128)] {
                let w = WeightShape { id: 0, inner, outer, frac, exactness: Exactness::Rounded };
                let [default, high] = Precision::ALL.map(|p| layout(p, &w, rows).unwrap());
                let replies =
                    [default, high].map(|layout| sotto_he::reply_len(lattice::context(), &[layout]));
                assert_eq!(replies[0], replies[1], "{inner} by {outer}, {frac} fraction bits");
                assert!(high.upload_len() < default.upload_len());
            }
        }
    }
}
