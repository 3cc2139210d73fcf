//! Additive shares of fixed-point tensors.

use std::ops::{Add, AddAssign, Neg, Range, Sub};

use zeroize::Zeroize;

use crate::{Ring, decode};

/// Which of the two parties this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Party {
    /// Holds the prompt and the decryption key.
    Client,
    /// Holds the weights.
    Server,
}

impl Party {
    /// The value for the server, zero for the client: only one party adds public constants.
    pub fn server_only(self, value: u64) -> u64 {
        if self == Party::Server { value } else { 0 }
    }
}

/// Rows and columns of a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shape {
    /// Number of rows: tokens, usually.
    pub rows: usize,
    /// Number of columns: features, usually.
    pub cols: usize,
}

impl Shape {
    /// A `[rows, cols]` shape.
    pub const fn new(rows: usize, cols: usize) -> Shape {
        Shape { rows, cols }
    }

    /// Number of elements.
    pub const fn len(self) -> usize {
        self.rows * self.cols
    }

    /// Whether there are no elements.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// One party's additive share of a `[rows, cols]` matrix over Z_{2^l} with `frac` fraction bits.
///
/// The sum of both parties' shares modulo 2^l is the value. Wiped on drop, not printable.
pub struct Share {
    ring: Ring,
    frac: u32,
    shape: Shape,
    /// Row-major, reduced modulo 2^l; as many as the shape has.
    data: Vec<u64>,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.data.zeroize();
    }
}

impl Share {
    /// A share from its elements.
    ///
    /// # Panics
    /// If the number of elements is not the shape's.
    pub fn new(ring: Ring, frac: u32, shape: Shape, data: Vec<u64>) -> Share {
        assert_eq!(data.len(), shape.len(), "elements of a {shape:?} share");
        debug_assert!(data.iter().all(|&x| x == ring.reduce(x)), "share is reduced");
        Share { ring, frac, shape, data }
    }

    /// The all-zero share. If both parties hold it, it is a sharing of zero; if one does, the value
    /// is the other party's share.
    pub fn zeros(ring: Ring, frac: u32, shape: Shape) -> Share {
        Share::new(ring, frac, shape, vec![0; shape.len()])
    }

    /// The ring.
    pub fn ring(&self) -> Ring {
        self.ring
    }

    /// Fraction bits of the shared value.
    pub fn frac(&self) -> u32 {
        self.frac
    }

    /// The shape.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The elements, row by row, reduced modulo 2^l.
    pub fn data(&self) -> &[u64] {
        &self.data
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// An equal share. Explicit, because every copy of a secret must be wiped.
    pub fn duplicate(&self) -> Share {
        Share { data: self.data.clone(), ..*self }
    }

    /// Applies `f` to every element, in the ring.
    pub fn map(&self, f: impl Fn(u64) -> u64) -> Share {
        self.with(self.data.iter().map(|&x| self.ring.reduce(f(x))).collect())
    }

    /// The same share with `frac` fraction bits: multiplies the value by a power of two, without
    /// work.
    pub fn with_frac(mut self, frac: u32) -> Share {
        self.frac = frac;
        self
    }

    /// The same elements in another shape.
    ///
    /// # Panics
    /// If the number of elements differs.
    pub fn reshape(mut self, shape: Shape) -> Share {
        assert_eq!(shape.len(), self.len(), "reshape {:?} to {shape:?}", self.shape);
        self.shape = shape;
        self
    }

    /// The sharing modulo a smaller power of two. Local and exact.
    ///
    /// # Panics
    /// If `ring` is larger.
    pub fn reduce(&self, ring: Ring) -> Share {
        assert!(ring <= self.ring, "reduction goes to a smaller ring");
        let data = self.data.iter().map(|&x| ring.reduce(x)).collect();
        Share { ring, frac: self.frac, shape: self.shape, data }
    }

    /// Truncate-and-reduce: drops the `s` low bits and `s` bits of the ring, `l -> l - s`.
    ///
    /// Local. The result is `floor(x / 2^s)` or one less. The carry of the low bits decides, a
    /// function of the two shares (Cheetah's 1-bit-error truncation).
    pub fn truncate_reduce(&self, s: u32) -> Share {
        let ring = Ring::new(self.ring.bits() - s);
        let data = self.data.iter().map(|&x| x >> s).collect();
        Share { ring, frac: self.frac.saturating_sub(s), shape: self.shape, data }
    }

    /// Multiplies every element by `2^k`, in the ring, and adds `k` fraction bits.
    pub fn shift_left(&self, k: u32) -> Share {
        let mut out = self.map(|x| x << k);
        out.frac += k;
        out
    }

    /// `2^k x` in the ring with `k` bits more. Local and exact.
    pub fn widen_left(&self, k: u32) -> Share {
        let data = self.data.iter().map(|&x| x << k).collect();
        Share { ring: Ring::new(self.ring.bits() + k), frac: self.frac + k, shape: self.shape, data }
    }

    /// Adds a public integer; `me` says which party's share this is.
    pub fn add_public(&self, me: Party, value: u64) -> Share {
        let value = me.server_only(value);
        self.map(|x| x.wrapping_add(value))
    }

    /// The rows in `range`.
    pub fn rows(&self, range: Range<usize>) -> Share {
        let cols = self.shape.cols;
        let data = self.data[range.start * cols..range.end * cols].to_vec();
        Share::new(self.ring, self.frac, Shape::new(range.len(), cols), data)
    }

    /// The columns in `range`.
    pub fn columns(&self, range: Range<usize>) -> Share {
        let shape = Shape::new(self.shape.rows, range.len());
        let data = self.data.chunks(self.shape.cols.max(1)).flat_map(|row| &row[range.clone()]).copied();
        Share::new(self.ring, self.frac, shape, data.collect())
    }

    /// The rows of `self`, then those of `below`.
    ///
    /// # Panics
    /// If rings, fractions or widths differ.
    pub fn stack(&self, below: &Share) -> Share {
        self.check_scale(below);
        assert_eq!(self.shape.cols, below.shape.cols, "columns of stacked shares");
        let shape = Shape::new(self.shape.rows + below.shape.rows, self.shape.cols);
        Share::new(self.ring, self.frac, shape, [&self.data[..], &below.data[..]].concat())
    }

    /// Blocks side by side.
    ///
    /// # Panics
    /// If there is none, or rings, fractions or heights differ.
    pub fn beside(blocks: &[Share]) -> Share {
        let first = blocks.first().expect("at least one block");
        let rows = first.shape.rows;
        let cols = blocks.iter().map(|b| b.shape.cols).sum();
        let mut data = Vec::with_capacity(rows * cols);
        for row in 0..rows {
            for block in blocks {
                first.check_scale(block);
                assert_eq!(block.shape.rows, rows, "rows of blocks side by side");
                data.extend_from_slice(&block.data[row * block.shape.cols..(row + 1) * block.shape.cols]);
            }
        }
        Share::new(first.ring, first.frac, Shape::new(rows, cols), data)
    }

    /// The elements in order, as columns of `size` elements.
    pub fn blocks(&self, size: usize) -> impl Iterator<Item = Share> {
        let column =
            |data: &[u64]| Share::new(self.ring, self.frac, Shape::new(data.len(), 1), data.to_vec());
        self.data.chunks(size).map(column)
    }

    /// The transposed matrix.
    pub fn transpose(&self) -> Share {
        let Shape { rows, cols } = self.shape;
        let data = (0..cols).flat_map(|c| (0..rows).map(move |r| self.data[r * cols + c])).collect();
        Share::new(self.ring, self.frac, Shape::new(cols, rows), data)
    }

    /// The real values; `other` is the other party's share.
    pub fn open_with(&self, other: &Share) -> Vec<f64> {
        self.check_scale(other);
        let sum = self.data.iter().zip(&other.data).map(|(&a, &b)| self.ring.reduce(a.wrapping_add(b)));
        sum.map(|x| decode(x, self.frac, self.ring)).collect()
    }

    fn check_scale(&self, other: &Share) {
        assert_eq!(self.ring, other.ring, "rings of two shares");
        assert_eq!(self.frac, other.frac, "fraction bits of two shares");
    }

    fn check_same(&self, other: &Share) {
        self.check_scale(other);
        assert_eq!(self.shape, other.shape, "shapes of two shares");
    }

    fn with(&self, data: Vec<u64>) -> Share {
        Share { ring: self.ring, frac: self.frac, shape: self.shape, data }
    }
}

impl Add for &Share {
    type Output = Share;
    fn add(self, other: &Share) -> Share {
        self.check_same(other);
        let sum = self.data.iter().zip(&other.data).map(|(&a, &b)| self.ring.reduce(a.wrapping_add(b)));
        self.with(sum.collect())
    }
}

impl Sub for &Share {
    type Output = Share;
    fn sub(self, other: &Share) -> Share {
        self.check_same(other);
        let difference =
            self.data.iter().zip(&other.data).map(|(&a, &b)| self.ring.reduce(a.wrapping_sub(b)));
        self.with(difference.collect())
    }
}

impl Neg for &Share {
    type Output = Share;
    fn neg(self) -> Share {
        self.map(u64::wrapping_neg)
    }
}

impl AddAssign<&Share> for Share {
    fn add_assign(&mut self, other: &Share) {
        *self = &*self + other;
    }
}
