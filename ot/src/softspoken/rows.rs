//! The local computation of SoftSpoken OT: from the generators of a tree to rows, from rows to
//! COTs.
//!
//! Row `b` of a tree is the XOR of the streams of all leaves whose number has bit `b` set. The leaf
//! that the sender does not know has number 0 and enters no row.

use zeroize::Zeroizing;

use super::transpose::{TILE, Tile, columns};
use crate::{
    block::{Block, LAMBDA},
    kernel::{Bank, Place},
};

/// Bits of a word.
const WORD: usize = 64;

/// Buffers for one chunk of COTs, wiped on drop.
#[derive(Default)]
pub(crate) struct Workspace {
    /// `u_i` of the tree folded last.
    sum: Zeroizing<Vec<u64>>,
    /// The 128 rows of `v` or `w`.
    rows: Zeroizing<Vec<u64>>,
    /// `u_0`.
    choices: Zeroizing<Vec<u64>>,
}

impl Workspace {
    /// Makes room for a chunk of `n` COTs.
    pub(crate) fn resize(&mut self, n: usize) {
        let words = n.div_ceil(TILE) * (TILE / WORD);
        self.sum.resize(words, 0);
        self.choices.resize(words, 0);
        self.rows.resize(LAMBDA * words, 0);
    }

    /// Expands tree number `tree` into its `K` rows and the sum `u` of all streams.
    pub(crate) fn fold<const K: usize>(&mut self, tree: usize, leaves: &Bank, counter: u64) {
        let words = self.sum.len();
        leaves.fold::<K>(counter, &mut self.sum, &mut self.rows[K * tree * words..][..K * words]);
    }

    /// Keeps the sum of the tree folded last as `u_0`.
    pub(crate) fn keep_choices(&mut self) {
        self.choices.copy_from_slice(&self.sum);
    }

    /// Writes `c_i = u_i ^ u_0` of the tree folded last.
    pub(crate) fn write_correction(&self, out: &mut [u8]) {
        let mut rows =
            self.sum.iter().zip(self.choices.iter()).map(|(sum, choices)| (sum ^ choices).to_le_bytes());
        let (whole, rest) = out.as_chunks_mut::<8>();
        whole.iter_mut().zip(&mut rows).for_each(|(out, row)| *out = row);
        if let Some(row) = rows.next() {
            rest.copy_from_slice(&row[..rest.len()]);
        }
    }

    /// Adds `Delta_i c_i` to the tree's rows.
    pub(crate) fn correct<const K: usize>(&mut self, tree: usize, delta: Block, c: &[u8]) {
        let words = self.sum.len();
        for b in 0..K {
            let row = K * tree + b;
            let mask = delta.bit(row).wrapping_neg();
            let (whole, rest) = c.as_chunks::<8>();
            let (front, back) = self.rows[row * words..].split_at_mut(whole.len());
            for (out, c) in front.iter_mut().zip(whole) {
                *out ^= u64::from_le_bytes(*c) & mask;
            }
            if let [out, ..] = back {
                let mut padded = [0; 8];
                padded[..rest.len()].copy_from_slice(rest);
                *out ^= u64::from_le_bytes(padded) & mask;
            }
        }
    }

    /// The values at `place` of `u_0` and of all 128 rows, as polynomials with coefficients of 128
    /// bits.
    pub(crate) fn values(&self, place: &Place) -> Zeroizing<Vec<Block>> {
        let words = self.sum.len();
        let rows = self.rows.chunks_exact(words);
        let all = std::iter::once(&self.choices[..]).chain(rows);
        Zeroizing::new(all.map(|row| place.value_of_words(row)).collect())
    }

    /// Replaces row 0, the lowest bits of all columns, by `u_0`.
    pub(crate) fn put_choices_lowest(&mut self) {
        let words = self.sum.len();
        self.rows[..words].copy_from_slice(&self.choices);
    }

    /// Replaces row 0, the lowest bits of all columns, by zeros.
    pub(crate) fn clear_lowest(&mut self) {
        let words = self.sum.len();
        self.rows[..words].fill(0);
    }

    /// Writes as many columns as `out` has blocks.
    pub(crate) fn transpose(&self, out: &mut [Block]) {
        let words = self.sum.len();
        let mut tile: Zeroizing<Tile> = Zeroizing::new([[0; 8]; LAMBDA]);
        for (at, out) in out.chunks_mut(TILE).enumerate() {
            for (tile, row) in tile.iter_mut().zip(self.rows.chunks_exact(words)) {
                tile.copy_from_slice(&row[at * TILE / WORD..][..TILE / WORD]);
            }
            columns(&mut tile, out);
        }
    }
}
