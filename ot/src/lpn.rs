//! Learning parity with noise (LPN): the parameters of silent OT, and its code.
//!
//! A round adds `y = s A + e` to the leaves of its trees. `s` in F2^k are the choice bits of `k`
//! COTs; each column of the public matrix `A` has ten pseudo-random ones; `e` is regular noise, one
//! error in each of `t` blocks of `2^d` samples. The LPN assumption is that `y` looks uniform.
//!
//! | set    | k       | d   | t     | outputs a round | message   | bits/COT | table |
//! |--------|---------|-----|-------|-----------------|-----------|----------|-------|
//! | `FAST` | 131 072 | 10  | 1 360 | 1 247 968       | 217 600 B | 1.39     | 2 MiB |
//! | `LEAN` | 262 144 | 11  | 1 500 | 2 793 356       | 264 000 B | 0.76     | 4 MiB |
//!
//! Costs of the best attacks, as `log2` of bit operations over the probability of success, by the
//! estimator in `ot/tests/lpn`, which runs with the tests and prints them all:
//!
//! | attack                                         | `FAST` | `LEAN` | source                    |
//! |------------------------------------------------|--------|--------|---------------------------|
//! | ISD inside the densest window: a lower bound   | 136    | 136    | arXiv 2407.19215, derived |
//! | ISD inside a window found by peeling           | 143    | 143    | the same                  |
//! | ISD inside a random window                     | 164    | 164    | the same                  |
//! | hybrid linearisation, sparse algebra, degree 4 / 3 | 199 | 200   | eprint 2023/176, derived  |
//! | hybrid linearisation in two levels, dense algebra | 215 | 218    | eprint 2025/1476          |
//! | ISD for regular noise, on pooled samples       | 213    | 216    | eprint 2023/1568, derived |
//! | BJMM as published                              | 223    | 227    | eprint 2022/712           |
//!
//! ISD is information set decoding. No method to find the densest window is known. The binding
//! attacks use the locality of the code. A *window* is a set of `v` coordinates of `s` with more
//! than `v` samples that depend on no others. So an attack needs `v` samples without an error, not
//! `k`. Estimates that take `A` for a random matrix do not see this: the usual parameters of silent
//! OT, with `k / 2^d` about 64, have 130 to 150 bits in them, and some 75 to 90 against windows.
//! Here `k / 2^d` is 128. The eight bits above 128 are a margin for better searches for windows,
//! and for eliminations shared between windows.
//!
//! Not covered, as no method to find them is known: dual words of low weight (by a first-moment
//! bound they exist from weight 7 300 on). As ten is even, the all-ones word of F2^k is orthogonal
//! to every column of `A`, so one bit of `s` never matters.

use crate::{
    block::Block,
    domain::Domain,
    kernel::{Cipher, LOCALITY},
};

/// A parameter set of LPN over F2 with regular noise: one of the two constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LpnParams {
    k: usize,
    depth: usize,
    trees: usize,
}

impl LpnParams {
    /// The set with the smaller table: less computation a COT.
    pub const FAST: LpnParams = LpnParams { k: 131_072, depth: 10, trees: 1360 };
    /// The set with fewer bits a COT.
    pub const LEAN: LpnParams = LpnParams { k: 262_144, depth: 11, trees: 1500 };

    /// `k`, the length of the secret.
    pub const fn dimension(self) -> usize {
        self.k
    }

    /// `d`: the blocks of the noise have `2^d` samples each, one of them with an error.
    pub const fn depth(self) -> usize {
        self.depth
    }

    /// `t`, the weight of the noise.
    pub const fn weight(self) -> usize {
        self.trees
    }

    /// Samples of a round, `t 2^d`.
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

    /// Bits of a round's message for each COT that it hands out.
    pub fn bits(self) -> f64 {
        (128 * self.levels()) as f64 / self.outputs() as f64
    }

    /// COTs that a round starts from: `k` for the table and one for each level of each tree.
    pub(crate) const fn base(self) -> usize {
        self.k + self.levels()
    }

    /// Levels of all trees together.
    pub(crate) const fn levels(self) -> usize {
        self.trees * self.depth
    }
}

/// The code of one round: a key from which the matrix `A` is generated. Public.
///
/// Every round of every direction of every session has a code of its own, so that computation
/// against one matrix does not help against another. The column of `A` for a sample has ones at ten
/// positions, one for each of ten random words of 32 bits: the word times `k`, divided by `2^32`,
/// which is uniform as `k` is a power of two. A position that occurs twice cancels.
pub(crate) struct Code {
    columns: Cipher,
}

impl Code {
    /// The code of round number `round`.
    pub(crate) fn new(domain: &Domain, params: LpnParams, round: u64) -> Code {
        let key = domain.derive("sotto 2026 ot/lpn/code", &[&params.encode(), &round.to_le_bytes()]);
        Code { columns: Cipher::new(Block::from_bytes(key)) }
    }

    /// Adds entry `first + i` of `table A` to `out[i]`.
    pub(crate) fn add_rows(&self, table: &[Block], first: usize, out: &mut [Block]) {
        self.columns.gather(table, first as u64, out);
    }
}

impl LpnParams {
    /// The set as an input of key derivation.
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
        // The probability that a position occurs an odd number of times in ten draws of 64.
        let p = (1.0 - (1.0 - 2.0 / k as f64).powi(10)) / 2.0;
        let deviation = (rows as f64 * p * (1.0 - p)).sqrt();
        for column in 0..k {
            let ones = out.iter().filter(|row| row.bit(column) == 1).count() as f64;
            assert!((ones - rows as f64 * p).abs() < 6.0 * deviation, "column {column}: {ones}");
        }
    }
}
