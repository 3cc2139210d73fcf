//! Learning parity with noise: the parameters of silent OT, and its code.
//!
//! A round adds `y = s A + e` to what the trees gave: `s` in F2^k are the choice bits of `k` COTs, `A` has ten pseudo-random
//! ones a column, `e` one error in each of `t` blocks of `2^d`. LPN with regular noise says that `y` looks uniform.
//!
//! | set    |     k    | d  |   t   | outputs a round | message     | bits/COT | table   |
//! |--------|----------|----|-------|-----------------|-------------|----------|---------|
//! | `FAST` |  131 072 | 10 | 1 360 | 1 247 968       | 217 600 B   | 1.39     | 2 MiB   |
//! | `LEAN` |  262 144 | 11 | 1 500 | 2 793 356       | 264 000 B   | 0.76     | 4 MiB   |
//!
//! Cost of the best attacks, `log2` of bit operations over the chance of success, by the estimator in `ot/tests/lpn`, which runs with
//! the tests and prints all of them:
//!
//! | attack                                                      | `FAST` | `LEAN` | source |
//! |-------------------------------------------------------------|--------|--------|--------|
//! | information set decoding inside the densest window (a bound: nobody knows how to find it) | 136 | 136 | arXiv 2407.19215, derived |
//! | the same in a window found by peeling                       | 143    | 143    | the same |
//! | the same in a random window                                 | 164    | 164    | the same |
//! | hybrid linearisation, sparse algebra, degree 4 / 3          | 199    | 200    | eprint 2023/176, derived |
//! | hybrid linearisation in two levels, dense algebra           | 215    | 218    | eprint 2025/1476 |
//! | regular-noise ISD on pooled samples                         | 213    | 216    | eprint 2023/1568, derived |
//! | BJMM as published                                           | 223    | 227    | eprint 2022/712 |
//!
//! What binds is the locality of the code. A *window* is a set of `v` coordinates of `s` with more than `v` samples that use no
//! others; only `v` samples, not `k`, must be free of errors. Estimates that take `A` for a random matrix do not see this: the usual
//! sets of silent OT, with `k / 2^d` about 64, have 130 to 150 bits in them and some 75 to 90 against windows. Here `k / 2^d` is 128.
//! The reserve of eight bits is for better searches for windows, and for eliminations shared between them.
//!
//! Not covered, as nobody knows how to find them: dual words of low weight (by first moment, from 7 300 on). Ten is even, so the
//! all-ones word of F2^k is in the kernel of every row: one bit of `s` never matters.

use crate::{
    block::Block,
    domain::Domain,
    kernel::{Cipher, LOCALITY},
};

/// A parameter set of LPN over F2 with regular noise. Only the sets of this file exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LpnParams {
    k: usize,
    depth: usize,
    trees: usize,
}

impl LpnParams {
    /// The smaller table: fewer cycles a COT.
    pub const FAST: LpnParams = LpnParams { k: 131_072, depth: 10, trees: 1360 };
    /// Fewer bits a COT.
    pub const LEAN: LpnParams = LpnParams { k: 262_144, depth: 11, trees: 1500 };

    /// The secret's length.
    pub const fn dimension(self) -> usize {
        self.k
    }

    /// `d`: blocks of the noise have `2^d` samples, one of them wrong.
    pub const fn depth(self) -> usize {
        self.depth
    }

    /// `t`: the noise's weight.
    pub const fn weight(self) -> usize {
        self.trees
    }

    /// Samples.
    pub const fn samples(self) -> usize {
        self.trees << self.depth
    }

    /// Ones in a column of the code's matrix.
    pub const fn locality(self) -> usize {
        LOCALITY
    }

    /// COTs that a round hands out.
    pub const fn outputs(self) -> usize {
        self.samples() - self.base()
    }

    /// Bits of a round's message for each of them.
    pub fn bits(self) -> f64 {
        (128 * self.levels()) as f64 / self.outputs() as f64
    }

    /// COTs that a round takes: a table and one for each level of each tree.
    pub(crate) const fn base(self) -> usize {
        self.k + self.levels()
    }

    /// Levels of all trees together.
    pub(crate) const fn levels(self) -> usize {
        self.trees * self.depth
    }
}

/// The code of one round: the matrix `A` in the form of a key that its entries come from. Public.
///
/// Every round of every direction of every session has its own, so that no work on one matrix helps with another. A word of
/// 32 random bits, times `k`, over `2^32`, is a column: uniform up to one part in 2^15. Ten words make a row; a
/// column that comes twice cancels.
pub(crate) struct Code {
    columns: Cipher,
}

impl Code {
    /// The code of a round, for the fastest kernel.
    pub(crate) fn new(domain: &Domain, params: LpnParams, round: u64) -> Code {
        let key = domain.derive("sotto 2026 ot/lpn/code", &[&params.encode(), &round.to_le_bytes()]);
        Code { columns: Cipher::new(Block::from_bytes(key)) }
    }

    /// Adds rows `first ..` of `table A` to `out`.
    pub(crate) fn add_rows(&self, table: &[Block], first: usize, out: &mut [Block]) {
        self.columns.gather(table, first as u64, out);
    }
}

impl LpnParams {
    /// The set as bytes, for key derivation.
    pub(crate) fn encode(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        for (bytes, n) in bytes.as_chunks_mut::<8>().0.iter_mut().zip([self.k, self.depth, self.trees]) {
            *bytes = (n as u64).to_le_bytes();
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Direction;

    #[test]
    fn the_table_of_this_file_is_right() {
        for (set, outputs, message) in
            [(LpnParams::FAST, 1_247_968, 217_600), (LpnParams::LEAN, 2_793_356, 264_000)]
        {
            assert_eq!((set.outputs(), 16 * set.levels()), (outputs, message));
        }
    }

    #[test]
    fn rounds_directions_and_sets_have_codes_of_their_own() {
        let table: Vec<Block> = (0..1000u128).map(|i| Block(1 << (i % 128) ^ i << 64)).collect();
        let row = |code: Code| {
            let mut out = [Block::ZERO; 40];
            code.add_rows(&table, 5, &mut out);
            out.map(|b| b.0)
        };
        let [forward, reverse] = [Direction::Forward, Direction::Reverse].map(|d| Domain::new([1; 32], d, 0));
        let rows = [
            row(Code::new(&forward, LpnParams::FAST, 0)),
            row(Code::new(&forward, LpnParams::FAST, 1)),
            row(Code::new(&forward, LpnParams::LEAN, 0)),
            row(Code::new(&reverse, LpnParams::FAST, 0)),
            row(Code::new(&Domain::new([2; 32], Direction::Forward, 0), LpnParams::FAST, 0)),
        ];
        for i in 0..rows.len() {
            assert!((0..i).all(|j| rows[i] != rows[j]));
        }
    }

    #[test]
    fn columns_are_used_evenly() {
        let (k, rows) = (64, 64_000);
        let table: Vec<Block> = (0..k).map(|i| Block(1 << i)).collect();
        let code = Code::new(&Domain::new([3; 32], Direction::Forward, 0), LpnParams::FAST, 0);
        let mut out = vec![Block::ZERO; rows];
        code.add_rows(&table, 0, &mut out);
        // An entry is there an odd number of times in ten draws of 64.
        let p = (1.0 - (1.0 - 2.0 / k as f64).powi(10)) / 2.0;
        let deviation = (rows as f64 * p * (1.0 - p)).sqrt();
        for column in 0..k {
            let ones = out.iter().filter(|row| row.bit(column) == 1).count() as f64;
            assert!((ones - rows as f64 * p).abs() < 6.0 * deviation, "column {column}: {ones}");
        }
    }
}
