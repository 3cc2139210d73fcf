//! Where the numbers of a matrix product sit in polynomials.
//!
//! With powers of two t n k = N, a block of t rows and k columns of X, and n columns of W, become
//!
//! ```text
//! x(X) = sum_{i < t, j < k} x[i][j] X^(i n k + j)
//! w(X) = sum_{r < n, j < k} W[j][r] X^(r k - j)
//! ```
//!
//! and coefficient (i n + r) k of x(X) w(X) is the inner product of row i and column r (Cheetah).
//! Longer inner dimensions are summed over blocks, other sides are padded with zeros. A product
//! fills one coefficient in k; the products of k column blocks are packed into one ciphertext
//! (BumbleBee): each of the log2 k levels, of gap h = k/2, k/4, .., 1, adds the image under X ->
//! X^(1 + N/h), which doubles the coefficients at multiples of 2h and cancels those at odd
//! multiples of h, where the other half is then laid.
//!
//! The first s levels can be done on the *input* instead (Rhombus): with P the 2^s products of
//! their automorphisms, the packed product of 2^s column blocks w_b is
//!
//! ```text
//! sum_{sigma in P} sigma(ct) W'_sigma,
//! W'_sigma = sum_b X^(e_b) sigma(w_b),     e_b = b k / 2^s
//! ```
//!
//! which costs no more products and saves key switches when there are more outputs than inputs.
//! What comes out of one such sum is called a *unit*; units are packed by the remaining levels,
//! across jobs too.

use crate::Context;
use crate::error::Error;
use crate::noise;
use crate::params::{MAX_LEVELS, MAX_RING_BITS, MIN_LEVELS, MIN_RING_BITS};
use crate::search;

/// X is `[tokens, inner]`, W is `[inner, outer]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MatmulShape {
    /// Rows of X.
    pub tokens: usize,
    /// Columns of X, rows of W.
    pub inner: usize,
    /// Columns of W.
    pub outer: usize,
}

/// What the evaluator multiplies by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    /// Signed integers of [`crate::Weights`].
    Weights,
    /// Elements of the ring, taken as centred integers; the noise estimate assumes uniform ones.
    Ring,
}

/// How one product is laid out; both parties compute the same from public values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    pub(crate) degree: usize,
    pub(crate) levels: usize,
    pub(crate) shape: MatmulShape,
    pub(crate) operand: Operand,
    pub(crate) bits: u32,
    pub(crate) tolerance: i32,
    /// Entries of a column of W that are not zero, at most.
    pub(crate) terms: usize,
    pub(crate) t: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    pub(crate) split: u32,
}

/// What results must have in common to share a reply.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) levels: usize,
    pub(crate) bits: u32,
    /// Bits kr of a coefficient of the reply.
    pub(crate) reply_bits: u32,
    pub(crate) k: usize,
    pub(crate) split: u32,
}

impl Format {
    /// Bytes of one reply ciphertext, of N coefficients.
    pub(crate) fn reply_len(&self, n: usize) -> usize {
        n * self.reply_bits as usize / 8
    }
}

/// The tolerance of a result that is exact: it is off by one with probability below 2^-40.
pub const EXACT: i32 = -40;

/// Bits of a reply below the tolerance: rounding a' to them makes an error of deviation sqrt(N /
/// 18) 2^-5, two thirds of it.
const REPLY_GUARD: i32 = 5;

/// Larger sides are refused, so that no count overflows.
const MAX_SIDE: usize = 1 << 24;

impl Layout {
    /// The cheapest layout for a product modulo 2^`bits`, by a fixed cost of upload, reply and
    /// computation, of those whose error has a deviation of at most 2^`tolerance` units of the
    /// ring, at most 2^-6 of which depends on W. `batch` is how many equal products will be
    /// answered together.
    ///
    /// # Errors
    /// If the shape is empty or a side exceeds 2^24, the ring or the tolerance is not served, or
    /// the noise would be too large.
    pub fn search(
        context: &Context,
        shape: MatmulShape,
        operand: Operand,
        bits: u32,
        tolerance: i32,
        batch: usize,
    ) -> Result<Self, Error> {
        Self::check(shape, bits, tolerance)?;
        search::cheapest(context.degree(), shape, operand, bits, tolerance, batch.max(1))
    }

    /// Two layouts of the same ciphertexts, for a group of `rows` rows (a power of two) of `width`
    /// elements: transposed, `[width, rows]`, to be multiplied by a diagonal `[rows, rows]`; and
    /// flat, `[1, width rows]` in the same order, to be multiplied by a `[width rows, rows]` with
    /// `width` entries a column ([`crate::EncryptedMatrix::viewed`]). Each with as many levels on
    /// the input as are cheapest. Tolerances as in [`Self::search`], for ring elements.
    ///
    /// # Errors
    /// As [`Self::search`].
    pub fn group(
        context: &Context,
        rows: usize,
        width: usize,
        bits: u32,
        tolerances: [i32; 2],
    ) -> Result<[Self; 2], Error> {
        let degree = context.degree();
        let transposed = MatmulShape { tokens: width, inner: rows, outer: rows };
        tolerances.iter().try_for_each(|&tolerance| Self::check(transposed, bits, tolerance))?;
        if !rows.is_power_of_two() || rows > degree {
            let MatmulShape { tokens, inner, outer } = transposed;
            return Err(Error::Shape { tokens, inner, outer });
        }
        let flat = MatmulShape { tokens: 1, inner: width * rows, outer: rows };
        let layouts = |levels| {
            let of = |shape, tolerance, terms, t| {
                let (operand, k) = (Operand::Ring, degree / t);
                Self { degree, levels, shape, operand, bits, tolerance, terms, t, n: 1, k, split: 0 }
            };
            [of(transposed, tolerances[0], 1, degree / rows), of(flat, tolerances[1], width, 1)]
        };
        let quiet = |levels| {
            let [transposed, flat] = layouts(levels);
            Some([transposed.with_cheapest_split(1)?, flat.with_cheapest_split(1)?])
        };
        (MIN_LEVELS..=MAX_LEVELS).find_map(quiet).ok_or_else(|| {
            let [_, flat] = layouts(MAX_LEVELS);
            Error::Noise { best: flat.error_log2(), allowed: f64::from(flat.tolerance) }
        })
    }

    /// This layout with the cheapest number of levels on the input of those that are quiet enough.
    fn with_cheapest_split(&self, batch: usize) -> Option<Self> {
        let splits = 0..=search::MAX_SPLIT.min(self.k.ilog2()).min(63 - self.bits.min(63));
        let layouts = splits.map(|split| Self { split, ..*self });
        let fit = layouts
            .filter(|layout| !search::is_mostly_empty(layout))
            .filter(search::images_fit)
            .filter(noise::acceptable);
        fit.min_by_key(|layout| layout.price(batch))
    }

    /// A layout for ring elements with a fixed number of data primes (2 or 3), one column of W a
    /// polynomial, and blocks of `t` rows (a power of two) and N / t columns: X may grow by whole
    /// blocks ([`crate::EncryptedMatrix::joined`]).
    ///
    /// # Errors
    /// As [`Self::search`].
    pub fn dense(
        context: &Context,
        shape: MatmulShape,
        bits: u32,
        tolerance: i32,
        levels: usize,
        t: usize,
        batch: usize,
    ) -> Result<Self, Error> {
        Self::check(shape, bits, tolerance)?;
        let degree = context.degree();
        let MatmulShape { tokens, inner, outer } = shape;
        if !t.is_power_of_two() || t > degree || !(MIN_LEVELS..=MAX_LEVELS).contains(&levels) {
            return Err(Error::Shape { tokens, inner, outer });
        }
        let (k, operand) = (degree / t, Operand::Ring);
        let (n, terms) = (1, inner);
        let layout = Self { degree, levels, shape, operand, bits, tolerance, terms, t, n, k, split: 0 };
        let noise = || Error::Noise { best: layout.error_log2(), allowed: f64::from(tolerance) };
        layout.with_cheapest_split(batch).ok_or_else(noise)
    }

    fn check(shape: MatmulShape, bits: u32, tolerance: i32) -> Result<(), Error> {
        let MatmulShape { tokens, inner, outer } = shape;
        if [tokens, inner, outer].iter().any(|side| !(1..=MAX_SIDE).contains(side)) {
            return Err(Error::Shape { tokens, inner, outer });
        }
        if !(MIN_RING_BITS..=MAX_RING_BITS).contains(&bits) {
            return Err(Error::Ring { bits, max: MAX_RING_BITS });
        }
        if !(EXACT..bits as i32).contains(&tolerance) {
            return Err(Error::Tolerance { tolerance, bits });
        }
        Ok(())
    }

    /// Every layout that [`Self::search`] chooses from; to measure them.
    pub fn all(
        context: &Context,
        shape: MatmulShape,
        operand: Operand,
        bits: u32,
        tolerance: i32,
    ) -> Vec<Self> {
        search::candidates(context.degree(), shape, operand, bits, tolerance)
            .filter(noise::acceptable)
            .collect()
    }

    /// What [`Self::search`] minimises: nanoseconds of one product of a batch, its bytes on a link
    /// of 100 Mbit/s included.
    pub fn price(&self, batch: usize) -> u64 {
        search::price(self, batch as u64)
    }

    /// The part of [`Self::price`] that both sides compute, on one core.
    pub fn computation(&self, batch: usize) -> u64 {
        search::computation(self, batch as u64)
    }

    /// The shape of the product.
    pub fn shape(&self) -> MatmulShape {
        self.shape
    }

    /// Width l of the ring.
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// What the evaluator multiplies by.
    pub fn operand(&self) -> Operand {
        self.operand
    }

    /// Ciphertexts of the upload.
    pub fn upload_ciphertexts(&self) -> usize {
        self.token_blocks() * self.inner_blocks()
    }

    /// Bits of one coefficient of the reply: what is sent of a' so that rounding it stays within
    /// the tolerance.
    pub(crate) fn reply_bits(&self) -> u32 {
        (self.bits as i32 - self.tolerance + REPLY_GUARD) as u32
    }

    pub(crate) fn format(&self) -> Format {
        let Self { levels, bits, k, split, .. } = *self;
        Format { levels, bits, reply_bits: self.reply_bits(), k, split }
    }

    /// log2 of the estimated noise deviation over one unit of the ring, before the reply is
    /// rounded.
    pub fn noise_bits(&self) -> f64 {
        noise::variance(self, noise::weight_square(self)).log2() / 2.0
    }

    /// log2 of the estimated deviation of the sum of shares from the product, in units of the ring.
    /// Below zero it is, within a factor of 0.8, the probability that the sum is off by one.
    pub fn error_log2(&self) -> f64 {
        noise::error_deviation(self).log2()
    }

    /// log2 of the largest deviation of the error it was chosen for.
    pub fn tolerance(&self) -> i32 {
        self.tolerance
    }

    pub(crate) fn token_blocks(&self) -> usize {
        self.shape.tokens.div_ceil(self.t)
    }

    pub(crate) fn inner_blocks(&self) -> usize {
        self.shape.inner.div_ceil(self.k)
    }

    /// Rows and columns of X in one of its blocks.
    pub(crate) fn block_sides(&self, block: usize) -> (usize, usize) {
        let (tokens, inner) = self.block_origin(block);
        (self.t.min(self.shape.tokens - tokens), self.k.min(self.shape.inner - inner))
    }

    /// First row and column of X in one of its blocks.
    pub(crate) fn block_origin(&self, block: usize) -> (usize, usize) {
        (block / self.inner_blocks() * self.t, block % self.inner_blocks() * self.k)
    }

    /// Automorphic images of each input, and column blocks of one unit: 2^s.
    pub(crate) fn images(&self) -> usize {
        1 << self.split
    }

    /// Columns of W in one unit.
    pub(crate) fn unit_columns(&self) -> usize {
        self.n << self.split
    }

    /// Groups of columns, each of which gives a unit for every block of tokens.
    pub(crate) fn column_groups(&self) -> usize {
        self.shape.outer.div_ceil(self.unit_columns())
    }

    /// Units of the whole product.
    pub(crate) fn units(&self) -> usize {
        self.token_blocks() * self.column_groups()
    }

    /// Units that fill one reply ciphertext.
    pub(crate) fn units_per_reply(&self) -> usize {
        self.k >> self.split
    }

    /// Unit and, for a reply packed over `levels` levels in all, coefficient of one output; the
    /// position of the unit inside its reply comes on top.
    pub(crate) fn place(&self, token: usize, column: usize) -> (usize, usize) {
        let group = column / self.unit_columns();
        let inside = column % self.unit_columns();
        let (block, r) = (inside / self.n, inside % self.n);
        let unit = group * self.token_blocks() + token / self.t;
        (unit, ((token % self.t) * self.n + r) * self.k + block * (self.k >> self.split))
    }

    /// Index in a polynomial of x\[i\]\[j\] inside its block.
    pub(crate) fn input_index(&self, i: usize, j: usize) -> usize {
        i * self.n * self.k + j
    }
}

impl std::fmt::Display for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "t={} k={} n={} s={} L={}", self.t, self.k, self.n, self.split, self.levels)
    }
}
