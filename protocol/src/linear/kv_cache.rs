//! `[q K^T]` and `[p V]` against keys and values that stay: each row of them is opened once in its
//! life, under a mask that stays with it.
//!
//! Offline. Masks `B` of rows to come are made in chunks; masks `a` of queries and `a'` of weights
//! `p` for the next positions, with their products with all masks of rows so far; the figure is
//! that of queries and keys, and that of `p` and values is the same without the transpositions:
//!
//! | client: key | | server: `a1`, `B1` uniform |
//! |---|---|---|
//! | once a chunk: `B0` uniform, `Enc(B0)` | `-- attention/upload ->` | keeps `Enc(B0)` |
//! | `a0` uniform, `Enc(a0)` | (the same frame) | |
//! | its shares from their `a'` | `<- attention/reply --` | `Enc(a0 B1^T)`, `Enc(B0 a1^T)`; its shares from `b` |
//! | `[a B^T]`: `a0 B0^T` + shares | | `a1 B1^T` + shares |
//!
//! Online, for new queries `q` and rows `k`, then for weights `p` and rows `v`, a turn each (the
//! second one is shared, where turns are saved: [`mod@crate::attend`]):
//!
//! | client | | server |
//! |---|---|---|
//! | `q0 - a0`, `k0 - B0` | `<- attention/open-keys ->` | `q1 - a1`, `k1 - B1` |
//! | `q0 K'^T + q' B0^T + [a B^T]0` | | `q1 K'^T + q' B1^T + [a B^T]1` |
//! | `p0 - a'0`, `v0 - B0` | `<- attention/open-values ->` | `p1 - a'1`, `v1 - B1` |
//! | `p0 V' + p' B0 + [a' B]0` | | `p1 V' + p' B1 + [a' B]1` |
//!
//! with `K' = K - B`, `q' = q - a` public. A step opens what is new, and one number of `p` for each
//! position that its masks look back on: `2 (l d + l' d)` bits for `d`-wide keys and values, `2 l`
//! for each element of `q` and `2 l'` for each of `p`. Scores are in a ring of 38 bits, sums in one
//! of 44 (42 and 48 by high precision, [`Precision`]); the errors, of deviations below `2^-17` and
//! `2^-15` (`2^-16` and `2^-17`), are independent of the inputs, and the caller drops what is below
//! `2^-12` and `2^-14`.
//!
//! *What each side learns.* Nothing: the view of a party is `K', V', q'_1, p'_1, q'_2, ...`,
//! jointly uniform, and shares from the triples' functionality. `Enc(B0)` serves many products,
//! since it hides `B0` however often it is used, and each reply gets its own encryption of zero. A
//! mask of a row is named by the order in which it was made, never by a position of a text: a
//! [`KvCache`] only grows, and cannot be copied or cut, so that no mask meets two values.
//!
//! Where `p` is a zero that both sides know (positions to come, and those that a row does not see),
//! the opening tells each side the other's share of `a'`. That is a plaintext coefficient of an
//! encryption to the server, and a factor of a re-randomised product to the client; neither says
//! anything of the others, and such an `a'` is not used again.
//!
//! Source: Beaver (1991) with one factor kept; the encrypted product as in [`crate::linear`].

mod masks;

use std::{ops::Range, sync::Arc};

use sotto_he::Layout;
use sotto_shares::{Shape, Share};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    Error, Precision, Session,
    background::Request,
    matmul::product,
    mul::subtract,
    open::{self, open},
};

use masks::Made;
pub(crate) use masks::{Coming, answer, ask};

/// Heads and widths, public.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Heads of keys and values.
    pub key_value: usize,
    /// Query heads for each of them.
    pub group: usize,
    /// Width of a head.
    pub width: usize,
}

impl Heads {
    /// Width of a row of keys or of values: that of all heads.
    fn row(&self) -> usize {
        self.key_value * self.width
    }
}

/// A secret matrix of each head of keys and values.
type PerHead = Vec<Zeroizing<Vec<u64>>>;

/// Keys and values of one layer, masked, with one party's shares of the masks. Wiped on drop.
pub struct KvCache {
    heads: Heads,
    precision: Precision,
    /// Positions whose keys have come.
    length: usize,
    /// `K - B` `[positions, heads h]`, public.
    keys: Vec<u64>,
    /// `V - B`, the same.
    values: Vec<u64>,
    chunks: Chunks,
    queries: Queries,
    /// Masks for queries after these.
    in_flight: Option<Request<Made>>,
    pending: Option<Pending>,
}

/// Masks that were made together.
struct Chunk {
    positions: usize,
    /// Of the uploads.
    blocks: [Layout; 2],
    /// The uploads of each head's masks of keys and of values; empty at the client.
    uploads: Vec<[Vec<u8>; 2]>,
    /// Shares of the masks of keys, and of values, `[positions, h]` for each head.
    masks: [PerHead; 2],
}

/// All masks of keys and values, in the order in which they were made.
#[derive(Clone, Default)]
struct Chunks(Vec<Arc<Chunk>>);

impl Chunks {
    /// Positions that have masks.
    fn positions(&self) -> usize {
        self.0.iter().map(|chunk| chunk.positions).sum()
    }

    /// The masks of one head's keys (0) or values (1) at the first positions.
    fn head(&self, kind: usize, head: usize, width: usize, positions: usize) -> Zeroizing<Vec<u64>> {
        let mut out = Zeroizing::new(Vec::with_capacity(positions * width));
        for chunk in &self.0 {
            let left = positions - out.len() / width;
            out.extend(&chunk.masks[kind][head][..left.min(chunk.positions) * width]);
        }
        out
    }

    /// The masks of all heads' keys or values at some positions, `[positions, heads h]`.
    fn rows(&self, kind: usize, width: usize, positions: Range<usize>) -> Zeroizing<Vec<u64>> {
        let mut out = Zeroizing::new(vec![]);
        let mut first = 0;
        for chunk in &self.0 {
            let here = positions.start.max(first)..positions.end.min(first + chunk.positions);
            for position in here {
                let at = (position - first) * width;
                chunk.masks[kind].iter().for_each(|head| out.extend(&head[at..at + width]));
            }
            first += chunk.positions;
        }
        out
    }
}

/// Masks for the queries of the next positions, one entry a head, with their products.
#[derive(Default)]
struct Queries {
    positions: usize,
    /// Positions that they can look back on, their own included.
    columns: usize,
    /// `[positions group, h]`, and times the keys' masks, `[positions group, columns]`.
    a: PerHead,
    a_keys: PerHead,
    /// `[positions group, columns]`, and times the values' masks, `[positions group, h]`.
    weights: PerHead,
    weights_values: PerHead,
}

/// Masks for weights of positions whose scores are made.
struct Pending {
    positions: usize,
    columns: usize,
    weights: PerHead,
    weights_values: PerHead,
}

impl Queries {
    /// Moves the masks of the next positions out: for queries, with their products, and for
    /// weights.
    fn take(&mut self, positions: usize, heads: Heads) -> ([PerHead; 2], Pending) {
        assert!(
            positions <= self.positions,
            "a step of {positions} finds masks for {}: the planner makes them before they are used",
            self.positions
        );
        self.positions -= positions;
        let (rows, columns, width) = (positions * heads.group, self.columns, heads.width);
        let a = front(&mut self.a, rows * width);
        let a_keys = front(&mut self.a_keys, rows * columns);
        let weights = front(&mut self.weights, rows * columns);
        let weights_values = front(&mut self.weights_values, rows * width);
        ([a, a_keys], Pending { positions, columns, weights, weights_values })
    }
}

/// Splits off the first `n` words of each head; what is left moves to memory of its own.
fn front(heads: &mut PerHead, n: usize) -> PerHead {
    let split = |all: &mut Zeroizing<Vec<u64>>| {
        let rest = Zeroizing::new(all[n..].to_vec());
        all[n..].zeroize();
        all.truncate(n);
        std::mem::replace(all, rest)
    };
    heads.iter_mut().map(split).collect()
}

impl KvCache {
    /// Without any position.
    pub fn new(heads: Heads, precision: Precision) -> KvCache {
        let (keys, values, chunks, queries) = (vec![], vec![], Chunks::default(), Queries::default());
        KvCache { heads, precision, length: 0, keys, values, chunks, queries, in_flight: None, pending: None }
    }

    /// Positions so far.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Bytes held for the positions that have come and those whose masks are made: 32 a position
    /// and column of the heads, and at the server the uploads of the masks.
    pub fn bytes(&self) -> usize {
        let masks = 2 * self.chunks.positions() * self.heads.row();
        let words = self.keys.len() + self.values.len() + masks;
        let uploads = self.chunks.0.iter().flat_map(|chunk| &chunk.uploads).flatten();
        8 * words + uploads.map(Vec::len).sum::<usize>()
    }

    /// One head's columns of rows of all heads.
    fn head(&self, rows: &[u64], head: usize) -> Zeroizing<Vec<u64>> {
        let width = self.heads.width;
        let mut out = Zeroizing::new(Vec::with_capacity(rows.len() / self.heads.key_value));
        rows.chunks(self.heads.row()).for_each(|row| out.extend(&row[head * width..][..width]));
        out
    }
}

/// Scores of new positions, of which masks are there or in flight: queries `q`, `[positions group,
/// h]` for each head of keys, one after the other, positions outside, against all keys, the new `k`
/// `[positions, heads h]` included. Result `[heads positions group, all positions]`.
///
/// # Panics
/// If rings or shapes do not fit, or there are too few masks, or an earlier step has failed.
pub async fn scores(s: &mut Session, cache: &mut KvCache, q: &Share, k: &Share) -> Result<Share, Error> {
    let Heads { key_value, group, width } = cache.heads;
    let positions = k.shape().rows;
    let (rows, ring) = (positions * group, cache.precision.attention());
    assert_eq!((q.ring(), k.ring()), (ring, ring), "ring of queries and keys");
    assert_eq!(q.shape(), Shape::new(key_value * rows, width), "queries of the new positions");
    assert_eq!(k.shape().cols, cache.heads.row(), "keys of all heads");
    cache.arrive(s, positions).await?;
    s.stocks.record("scores", cache.length as u64, positions);
    // Used up before anything is sent, whatever comes of it.
    let ([a, a_keys], pending) = cache.queries.take(positions, cache.heads);
    let q_masked = subtract(q, a.iter().flat_map(|a| a.iter()));
    let k_masked = subtract(k, cache.chunks.rows(0, width, cache.length..cache.length + positions).iter());
    cache.length += positions;
    let [q_open, k_open] = open(s, "attention/open-keys", [&q_masked, &k_masked]).await?;
    cache.keys.extend(k_open);

    let (length, columns) = (cache.length, pending.columns);
    cache.pending = Some(pending);
    let data = sotto_net::compute(|| {
        let mut data = Vec::with_capacity(key_value * rows * length);
        for (head, a_keys) in a_keys.iter().enumerate() {
            let range = head * rows * width..(head + 1) * rows * width;
            let keys = cache.head(&cache.keys, head);
            let masks = cache.chunks.head(0, head, width, length);
            let first = times_transposed(&q.data()[range.clone()], &keys, width);
            let second = times_transposed(&q_open[range], &masks, width);
            for (i, (first, second)) in first.iter().zip(second.iter()).enumerate() {
                let third = a_keys[i / length * columns + i % length];
                data.push(ring.reduce(first.wrapping_add(*second).wrapping_add(third)));
            }
        }
        data
    });
    Ok(Share::new(ring, q.frac() + k.frac(), Shape::new(key_value * rows, length), data))
}

/// Sums of values of which this party has sent its part.
#[must_use]
pub(crate) struct BegunSums {
    p: Share,
    masked: [Share; 2],
    pending: Pending,
}

/// Sends this party's part of sums of values: weights `p` `[heads positions group, all positions]`
/// in the order of [`scores`], which has come before, times all values, the new `v` `[positions,
/// heads h]` included. Uses up the masks of these positions.
///
/// # Panics
/// If rings or shapes do not fit.
pub(crate) fn begin_sums(
    s: &mut Session,
    cache: &mut KvCache,
    p: &Share,
    v: &Share,
) -> Result<BegunSums, Error> {
    let Heads { key_value, group, width } = cache.heads;
    let (positions, length) = (v.shape().rows, cache.length);
    let (rows, ring) = (positions * group, cache.precision.sums());
    assert_eq!((p.ring(), v.ring()), (ring, ring), "ring of weights and values");
    assert_eq!(v.frac(), cache.precision.frac(), "fraction bits of values");
    assert_eq!(p.shape(), Shape::new(key_value * rows, length), "weights of the new positions");
    assert_eq!(v.shape().cols, cache.heads.row(), "values of all heads");
    let pending = cache.pending.take().expect("scores come first");
    assert_eq!(pending.positions, positions, "values of the positions whose scores were made");
    s.stocks.record("sums", length as u64, positions);
    let columns = pending.columns;
    // Positions to come are opened too, as nothing less their masks.
    let wide = p
        .data()
        .chunks(length)
        .flat_map(|row| row.iter().copied().chain(std::iter::repeat_n(0, columns - length)));
    let wide = Share::new(ring, p.frac(), Shape::new(key_value * rows, columns), wide.collect());
    let p_masked = subtract(&wide, pending.weights.iter().flat_map(|w| w.iter()));
    let v_masked = subtract(v, cache.chunks.rows(1, width, length - positions..length).iter());
    open::send(s, VALUES, [&p_masked, &v_masked])?;
    Ok(BegunSums { p: p.duplicate(), masked: [p_masked, v_masked], pending })
}

const VALUES: &str = "attention/open-values";

impl BegunSums {
    /// Receives the peer's part. Result `[heads positions group, h]`.
    pub(crate) async fn finish(self, s: &mut Session, cache: &mut KvCache) -> Result<Share, Error> {
        let [p_open, v_open] = open::receive(s, VALUES, self.masked.each_ref()).await?;
        cache.values.extend(v_open);
        Ok(sotto_net::compute(|| cache.weighted(&self.p, &p_open, &self.pending)))
    }
}

impl KvCache {
    /// The local end of [`BegunSums::finish`].
    fn weighted(&self, p: &Share, p_open: &[u64], pending: &Pending) -> Share {
        let Heads { key_value, width, .. } = self.heads;
        let (length, columns, ring) = (self.length, pending.columns, p.ring());
        let rows = p.shape().rows / key_value;
        let mut data = Vec::with_capacity(p.shape().rows * width);
        for head in 0..key_value {
            let values = self.head(&self.values, head);
            let masks = self.chunks.head(1, head, width, columns);
            let (of_p, of_open) = (rows * length, rows * columns);
            let first = Zeroizing::new(product(&p.data()[head * of_p..][..of_p], &values, length, width));
            let second =
                Zeroizing::new(product(&p_open[head * of_open..][..of_open], &masks, columns, width));
            let third = &pending.weights_values[head];
            for ((first, second), third) in first.iter().zip(second.iter()).zip(third.iter()) {
                data.push(ring.reduce(first.wrapping_add(*second).wrapping_add(*third)));
            }
        }
        Share::new(ring, p.frac() + self.precision.frac(), Shape::new(p.shape().rows, width), data)
    }
}

/// `x y^T` modulo `2^64`: `[T, inner]` times the transpose of `[cols, inner]`.
fn times_transposed(x: &[u64], y: &[u64], inner: usize) -> Zeroizing<Vec<u64>> {
    let dot =
        |a: &[u64], b: &[u64]| a.iter().zip(b).fold(0u64, |sum, (a, b)| sum.wrapping_add(a.wrapping_mul(*b)));
    let products = x.chunks(inner).flat_map(|x| y.chunks(inner).map(move |y| dot(x, y)));
    Zeroizing::new(products.collect())
}

#[cfg(test)]
mod tests;
