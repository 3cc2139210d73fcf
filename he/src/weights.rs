//! The server's matrix as polynomials, one group of columns and one block of rows at a time.
//!
//! The tile of a group has 2^s polynomials w_b (see [`crate::layout`]); the butterfly turns them into W'_sigma: for
//! each of the s levels, with gap h and automorphism sigma, pairs become
//! `(E, O) -> (E + X^h O, sigma(E - X^h O))`, because sigma(X^h) = -X^h.

use crate::context::{Context, Prime};
use crate::kernel;
use crate::layout::{Layout, Operand};
use crate::params::PRIME_BITS;
use crate::rows::Rows;
use std::ops::Range;
use zeroize::Zeroize;

/// Rows of the matrix taken at a time while a tile is filled.
const ROWS: usize = 16;

/// The evaluator's matrix, `[inner, outer]` row-major.
#[derive(Clone, Copy)]
pub enum Plain<'a> {
    /// Signed 16-bit integers.
    Weights(&'a [i16]),
    /// Elements of Z_{2^l}; only the low l bits count, read as centred integers.
    Ring(&'a [u64]),
}

impl Plain<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Weights(w) => w.len(),
            Self::Ring(w) => w.len(),
        }
    }

    pub(crate) fn operand(&self) -> Operand {
        match self {
            Self::Weights(_) => Operand::Weights,
            Self::Ring(_) => Operand::Ring,
        }
    }

    /// Some centred entries of one column.
    fn column(&self, layout: &Layout, rows: Range<usize>, column: usize) -> impl Iterator<Item = i64> {
        let (outer, shift) = (layout.shape.outer, 64 - layout.bits);
        let (weights, ring): (&[i16], &[u64]) = match self {
            Self::Weights(w) => (w, &[]),
            Self::Ring(w) => (&[], w),
        };
        let entries =
            |length: usize| if length == 0 { 0..0 } else { rows.start * outer + column..rows.end * outer };
        let small = weights[entries(weights.len())].iter().step_by(outer).map(|&w| i64::from(w));
        small.chain(
            ring[entries(ring.len())].iter().step_by(outer).map(move |&w| ((w << shift) as i64) >> shift),
        )
    }
}

/// The polynomials of one group of columns and one block of rows.
pub(crate) struct Tile {
    polynomials: Rows<i64>,
    difference: Vec<i64>,
    /// Every coefficient is below 2^43 in absolute value.
    small: bool,
}

impl Tile {
    pub(crate) fn new(layout: &Layout) -> Self {
        let width = if layout.operand == Operand::Weights { 15 } else { layout.bits - 1 };
        Self {
            polynomials: Rows::new(layout.images(), layout.degree),
            difference: vec![0; layout.degree],
            small: width + layout.split < PRIME_BITS - 1,
        }
    }

    /// Fills the tile with W'_sigma of this group and block.
    pub(crate) fn load(
        &mut self,
        context: &Context,
        layout: &Layout,
        w: Plain<'_>,
        group: usize,
        block: usize,
    ) {
        let (n, k) = (layout.n, layout.k);
        let rows = block * k..((block + 1) * k).min(layout.shape.inner);
        let first = group * layout.unit_columns();
        let columns = first..(first + layout.unit_columns()).min(layout.shape.outer);
        self.polynomials.fill(0);
        // A few rows at a time, so that both the matrix and the polynomials stay in the cache.
        for start in rows.clone().step_by(ROWS) {
            let some = start..(start + ROWS).min(rows.end);
            for column in columns.clone() {
                let inside = column - first;
                let values = w.column(layout, some.clone(), column);
                place(self.polynomials.row_mut(inside / n), inside % n * k, start - rows.start, values);
            }
        }
        self.butterfly(context, layout);
    }

    fn butterfly(&mut self, context: &Context, layout: &Layout) {
        for level in 1..=layout.split {
            let h = layout.k >> level;
            let sigma = &context.automorphisms()[context.automorphism_of_gap(h)];
            let distance = 1 << (layout.split - level);
            for even in (0..layout.images()).filter(|b| b & distance == 0) {
                let (e, o) = self.polynomials.pair_mut(even, even + distance);
                kernel::shifted_integers(h, e, o, &mut self.difference);
                sigma.integers(&self.difference, o);
            }
        }
    }

    /// W'_sigma modulo one prime, in slots.
    pub(crate) fn to_slots(&self, prime: &Prime, sigma: usize, out: &mut [u64]) {
        let polynomial = self.polynomials.row(sigma);
        if self.small {
            kernel::embed(prime.modulus, polynomial, out);
        } else {
            out.iter_mut().zip(polynomial).for_each(|(out, &x)| *out = prime.modulus.reduce_signed(x));
        }
        prime.forward(out);
    }
}

/// Puts values at X^(lead - j), j = first, first + 1, .., where X^-j = -X^(N - j).
fn place(polynomial: &mut [i64], lead: usize, first: usize, values: impl Iterator<Item = i64>) {
    let degree = polynomial.len();
    for (j, value) in (first..).zip(values) {
        if j <= lead {
            polynomial[lead - j] = value;
        } else {
            polynomial[degree + lead - j] = value.wrapping_neg();
        }
    }
}

impl Drop for Tile {
    fn drop(&mut self) {
        self.polynomials.zeroize();
        self.difference.zeroize();
    }
}
