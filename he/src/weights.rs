//! The server's matrix as polynomials, one group of columns and one block of rows at a time.
//!
//! The tile of a group has 2^s polynomials w_b (see [`crate::layout`]); the butterfly turns them
//! into W'_sigma: for each of the s levels, with gap h and automorphism sigma, pairs become
//! `(E, O) -> (E + X^h O, sigma(E - X^h O))`, because sigma(X^h) = -X^h.
//!
//! The automorphisms are put off to the slots, where they are permutations of lines. With g the
//! product of those before a level, and `E = e(X^g)`, `O = o(X^g)`, the pair is
//! `(e + X^f o, e - X^f o)` for `f = h / g mod 2 N`, up to g and g sigma: shifts and sums of small
//! integers.

use crate::automorphism::SlotPermutation;
use crate::context::Prime;
use crate::kernel;
use crate::layout::{Layout, Operand};
use crate::params::PRIME_BITS;
use crate::rows::{Rows, Windows};
use std::ops::{Add, Neg, Sub};
use zeroize::Zeroize;

/// Rows of the matrix taken at a time while a tile is filled.
const ROWS: usize = 16;

/// A matrix `[inner, outer]` of integers of at most 22 bits, of which 16 are
/// significant in each column: what is stored of column c is its integers over `2^shift`, for a
/// shift of its own. Only the owner of the matrix knows the shifts.
#[derive(Clone)]
pub struct Weights {
    /// Row-major.
    digits: Vec<i16>,
    /// One a column.
    shifts: Vec<u8>,
}

impl Weights {
    /// Largest shift of a column.
    pub const MAX_SHIFT: u32 = 6;

    /// A matrix of `digits` `[inner, outer]`, row-major, of which column c stands for
    /// `digits << shifts[c]`.
    ///
    /// # Panics
    /// If the digits are no whole rows of a shift each, or a shift is above [`Self::MAX_SHIFT`].
    pub fn new(digits: Vec<i16>, shifts: Vec<u8>) -> Self {
        assert!(digits.len().is_multiple_of(shifts.len().max(1)), "whole rows, one shift a column");
        assert!(shifts.iter().all(|&shift| u32::from(shift) <= Self::MAX_SHIFT), "small shifts");
        Self { digits, shifts }
    }

    /// A matrix of 16-bit integers as they are.
    ///
    /// # Panics
    /// If they are no whole rows of `outer` columns.
    pub fn plain(digits: Vec<i16>, outer: usize) -> Self {
        Self::new(digits, vec![0; outer])
    }

    /// Number of integers.
    #[expect(clippy::len_without_is_empty, reason = "no product has an empty matrix")]
    pub fn len(&self) -> usize {
        self.digits.len()
    }

    /// The integer at a place, row by row.
    ///
    /// # Panics
    /// If there is none.
    pub fn at(&self, place: usize) -> i64 {
        i64::from(self.digits[place]) << self.shifts[place % self.shifts.len()]
    }

    /// The integers, row by row.
    pub fn rows(&self) -> impl Iterator<Item = impl ExactSizeIterator<Item = i32>> {
        let rows = self.digits.chunks(self.shifts.len().max(1));
        rows.map(|row| row.iter().zip(&self.shifts).map(|(&digit, shift)| i32::from(digit) << shift))
    }

    /// What is stored of the integers.
    pub(crate) fn digits(&self) -> &[i16] {
        &self.digits
    }

    /// The shift of each column.
    pub(crate) fn shifts(&self) -> &[u8] {
        &self.shifts
    }
}

/// Bits of an entry of [`Weights`], the sign included.
pub(crate) const WEIGHT_BITS: u32 = 16 + Weights::MAX_SHIFT;

/// The evaluator's matrix, `[inner, outer]` row-major.
#[derive(Clone, Copy)]
pub enum Plain<'a> {
    /// Signed integers of a few bits.
    Weights(&'a Weights),
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
}

/// What is the same for all tiles of a layout.
pub(crate) struct Butterfly {
    /// For each level, the exponents f of its butterflies by the index of E.
    shifts: Vec<Vec<usize>>,
    /// For each image, the automorphism that was put off.
    permutations: Vec<SlotPermutation>,
}

impl Butterfly {
    pub(crate) fn new(layout: &Layout) -> Self {
        let n = layout.degree;
        // Modulo a power of two, Newton's iteration doubles the three bits of g^{-1} = g.
        let inverse =
            |g: usize| (0..5).fold(g, |x, _| x.wrapping_mul(2usize.wrapping_sub(g.wrapping_mul(x))));
        let shifts = |level: u32| {
            let shift = |index| {
                (layout.k >> level) * (inverse(element(layout, index, level - 1)) % (2 * n)) % (2 * n)
            };
            (0..layout.images()).map(shift).collect()
        };
        let permutation = |image| SlotPermutation::new(n, element(layout, image, layout.split));
        Self {
            shifts: (1..=layout.split).map(shifts).collect(),
            permutations: (0..layout.images()).map(permutation).collect(),
        }
    }

    /// Turns w_b into W'_sigma, automorphisms apart; `scratch` is as large.
    fn apply<T: Coefficient>(&self, polynomials: &mut Rows<T>, scratch: &mut Rows<T>) {
        let images = self.permutations.len();
        for (level, shifts) in self.shifts.iter().enumerate() {
            let distance = images >> (level + 1);
            for even in (0..images).filter(|b| b & distance == 0) {
                let (plus, minus) = scratch.pair_mut(even, even + distance);
                let (e, o) = (polynomials.row(even), polynomials.row(even + distance));
                T::shifted_sums(shifts[even], e, o, plus, minus);
            }
            std::mem::swap(polynomials, scratch);
        }
    }
}

/// g of the automorphism of an image in the first levels.
fn element(layout: &Layout, image: usize, levels: u32) -> usize {
    let gaps =
        (1..=levels).filter(|level| image >> (layout.split - level) & 1 == 1).map(|level| layout.k >> level);
    gaps.fold(1, |g, gap| g * (1 + layout.degree / gap) % (2 * layout.degree))
}

/// A coefficient of the server's polynomials.
trait Coefficient:
    Copy + Default + Zeroize + Neg<Output = Self> + Add<Output = Self> + Sub<Output = Self>
{
    /// See [`kernel::shifted_sums_32`].
    fn shifted_sums(shift: usize, e: &[Self], o: &[Self], plus: &mut [Self], minus: &mut [Self]);
}

impl Coefficient for i32 {
    fn shifted_sums(shift: usize, e: &[Self], o: &[Self], plus: &mut [Self], minus: &mut [Self]) {
        kernel::shifted_sums_32(shift, e, o, plus, minus);
    }
}

impl Coefficient for i64 {
    fn shifted_sums(shift: usize, e: &[Self], o: &[Self], plus: &mut [Self], minus: &mut [Self]) {
        kernel::shifted_sums_64(shift, e, o, plus, minus);
    }
}

/// The polynomials of one group of columns and one block of rows.
pub(crate) enum Tile {
    Weights(Rows<i32>),
    Ring {
        polynomials: Rows<i64>,
        /// Every coefficient is below 2^43 in absolute value.
        small: bool,
    },
}

impl Tile {
    pub(crate) fn new(layout: &Layout) -> Self {
        let (images, degree) = (layout.images(), layout.degree);
        match layout.operand {
            Operand::Weights => Self::Weights(Rows::new(images, degree)),
            Operand::Ring => {
                let small = layout.bits - 1 + layout.split < PRIME_BITS - 1;
                Self::Ring { polynomials: Rows::new(images, degree), small }
            }
        }
    }

    /// Fills the tile with W'_sigma of this group and block; `scratch` is another tile of the
    /// layout.
    pub(crate) fn load(
        &mut self,
        layout: &Layout,
        butterfly: &Butterfly,
        w: Plain<'_>,
        [group, block]: [usize; 2],
        scratch: &mut Self,
    ) {
        match (self, w, scratch) {
            (Self::Weights(polynomials), Plain::Weights(w), Self::Weights(scratch)) => {
                let shifts = w.shifts();
                let integer = |digit, column: usize| i32::from(digit) << shifts[column];
                fill(layout, polynomials, w.digits(), [group, block], integer);
                butterfly.apply(polynomials, scratch);
            }
            (Self::Ring { polynomials, .. }, Plain::Ring(w), Self::Ring { polynomials: scratch, .. }) => {
                let shift = 64 - layout.bits;
                fill(layout, polynomials, w, [group, block], |w, _| ((w << shift) as i64) >> shift);
                butterfly.apply(polynomials, scratch);
            }
            _ => unreachable!("the caller has compared the operands"),
        }
    }

    /// W'_sigma modulo one prime, in slots, as factors, to a row of `out`; `slots` is room for a
    /// polynomial.
    pub(crate) fn to_slots(
        &self,
        prime: &Prime,
        butterfly: &Butterfly,
        sigma: usize,
        slots: &mut [u64],
        (out, row): (&mut Windows, usize),
    ) {
        match self {
            Self::Weights(polynomials) => prime.integers_to_factors(polynomials.row(sigma), slots),
            Self::Ring { polynomials, small } => {
                let modulus = prime.modulus;
                if *small {
                    kernel::embed(modulus, polynomials.row(sigma), slots);
                } else {
                    let residues = polynomials.row(sigma).iter().map(|&x| modulus.reduce_signed(x));
                    slots.iter_mut().zip(residues).for_each(|(slot, x)| *slot = x);
                }
                prime.forward_to_factors(slots);
            }
        }
        let width = out.width();
        for window in 0..out.windows() {
            let part = out.part_mut(row, window);
            if sigma == 0 {
                part.copy_from_slice(&slots[window * width..(window + 1) * width]);
            } else {
                butterfly.permutations[sigma].apply_part(slots, window * width, part);
            }
        }
    }
}

impl Drop for Tile {
    fn drop(&mut self) {
        match self {
            Self::Weights(polynomials) => polynomials.zeroize(),
            Self::Ring { polynomials, .. } => polynomials.zeroize(),
        }
    }
}

/// The polynomials w_b of a group of columns and a block of rows, as integers of the entries and
/// their columns: row j of column r at X^(r k - j),
/// where X^-j = -X^(N - j).
fn fill<W: Copy, T: Coefficient>(
    layout: &Layout,
    polynomials: &mut Rows<T>,
    w: &[W],
    [group, block]: [usize; 2],
    integer: impl Fn(W, usize) -> T,
) {
    let Layout { n, k, degree, .. } = *layout;
    let outer = layout.shape.outer;
    let rows = block * k..((block + 1) * k).min(layout.shape.inner);
    let first = group * layout.unit_columns();
    let columns = first..(first + layout.unit_columns()).min(outer);
    polynomials.fill(T::default());
    // A few rows at a time, so that both the matrix and the polynomials stay in the cache.
    for start in rows.clone().step_by(ROWS) {
        let count = ROWS.min(rows.end - start);
        // Those of the last row at X^lead' and before.
        let last = start - rows.start + count - 1;
        let entries = &w[start * outer..(start + count) * outer];
        for column in columns.clone() {
            let inside = column - first;
            let (polynomial, lead) = (polynomials.row_mut(inside / n), inside % n * k);
            let values = entries[column..].iter().step_by(outer).map(|&w| integer(w, column));
            if lead >= last {
                let places = &mut polynomial[lead - last..lead - last + count];
                places.iter_mut().rev().zip(values).for_each(|(place, value)| *place = value);
            } else {
                // The first column of a polynomial: only row 0 is not below X^0.
                let places = &mut polynomial[degree - last..degree.min(degree - last + count)];
                let skipped = count - places.len();
                let mut values = values;
                let zeroth = values.by_ref().take(skipped).next();
                places.iter_mut().rev().zip(values).for_each(|(place, value)| *place = -value);
                if let Some(value) = zeroth {
                    polynomial[0] = value;
                }
            }
        }
    }
}
