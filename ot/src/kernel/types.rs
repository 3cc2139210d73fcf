//! The constants and arguments that all kernels share.

use crate::block::Block;

/// Table entries that one row of the code adds.
pub(crate) const LOCALITY: usize = 10;

/// Words of a 512-bit register: the lengths of rows and planes are multiples of it.
pub(crate) const LANE: usize = 8;

/// The tweak of a hash, `segment || index`: which COT, and which block of its pad.
#[derive(Clone, Copy)]
pub(crate) struct Tweak {
    /// The high half.
    pub segment: u64,
    /// The low half for the first block.
    pub index: u64,
    /// The difference of the low halves of consecutive blocks.
    pub stride: u64,
}

/// Values added to two nodes of a level, at the same position in its two halves. The position is
/// secret.
#[derive(Clone, Copy)]
pub(crate) struct Correction {
    /// The position in each half.
    pub at: usize,
    /// The values for the first and for the second half.
    pub add: [Block; 2],
}

/// A point `b` of GF(2^128) at which polynomials are evaluated.
pub(crate) struct Place {
    /// `b^0, b^1, ..`: the products with as many coefficients share a reduction.
    pub(super) powers: Vec<Block>,
    /// The next power.
    pub(super) step: Block,
}
