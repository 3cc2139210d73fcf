//! The local half of [`crate::softspoken`]: trees of generators become rows, rows become COTs.
//!
//! Row `b` of a tree is the XOR of all leaves whose number has bit `b` set: halving from the top, each leaf is
//! added twice. A puncturer's unknown leaf has number 0 and enters no row.

use aes::{
    Aes128Enc,
    cipher::{BlockEncrypt, KeyInit},
};
use zeroize::Zeroizing;

use crate::{
    block::{Block, LAMBDA},
    hash::wipe,
    transpose::{TILE, Tile, columns},
};

/// AES-128 in counter mode.
pub(crate) struct Prg(Aes128Enc);

impl Prg {
    pub(crate) fn new(seed: &Block) -> Prg {
        Prg(Aes128Enc::new(&seed.to_bytes().into()))
    }

    fn fill(&self, at: u64, out: &mut [aes::Block]) {
        for (i, out) in out.iter_mut().enumerate() {
            *out = u128::from(at + i as u64).to_le_bytes().into();
        }
        self.0.encrypt_blocks(out);
    }
}

/// Buffers of one chunk, wiped on drop.
pub(crate) struct Workspace {
    /// One tree's expanded leaves, then `u_i` in front.
    leaves: Vec<aes::Block>,
    /// The 128 rows of `v` or `w`.
    rows: Vec<aes::Block>,
    /// `u_0`.
    choices: Vec<aes::Block>,
    /// Blocks per row.
    pub(crate) lanes: usize,
}

impl Workspace {
    /// For chunks of at most `n` COTs.
    pub(crate) fn new(k: usize, n: usize) -> Workspace {
        let lanes = n.div_ceil(LAMBDA);
        let blocks = |rows: usize| vec![aes::Block::default(); rows * lanes];
        Workspace { leaves: blocks(1 << k), rows: blocks(LAMBDA), choices: blocks(1), lanes }
    }

    /// Expands a tree's leaves into its `K` rows, row `b` the XOR of the leaves with bit `b` in their
    /// number, and their XOR `u`.
    pub(crate) fn fold<const K: usize>(&mut self, tree: usize, leaves: &[Prg], at: u64) {
        let lanes = self.lanes;
        for (leaf, out) in leaves.iter().zip(self.leaves.chunks_exact_mut(lanes)) {
            leaf.fill(at, out);
        }
        for b in (0..K).rev() {
            let (low, high) = self.leaves[..lanes << (b + 1)].split_at_mut(lanes << b);
            let row = &mut self.rows[(K * tree + b) * lanes..][..lanes];
            row.fill(aes::Block::default());
            high.chunks_exact(lanes).for_each(|piece| xor(row, piece));
            xor(low, high);
        }
    }

    /// `b = u_0`, one byte a COT.
    pub(crate) fn keep_choices(&mut self, n: usize, b: &mut Vec<u8>) {
        let u = &self.leaves[..self.lanes];
        b.extend((0..n).map(|j| u[j / LAMBDA][j % LAMBDA / 8] >> (j % 8) & 1));
        self.choices[..self.lanes].copy_from_slice(u);
    }

    /// Appends `bytes` bytes of `c_i = u_i ^ u_0`.
    pub(crate) fn put_correction(&mut self, bytes: usize, message: &mut Vec<u8>) {
        let c = &mut self.leaves[..self.lanes];
        xor(c, &self.choices[..self.lanes]);
        for (lane, c) in c.iter().enumerate() {
            message.extend_from_slice(&c[..16.min(bytes - 16 * lane)]);
        }
    }

    /// Adds `Delta_i c_i` to the tree's rows.
    pub(crate) fn correct<const K: usize>(&mut self, tree: usize, delta: Block, c: &[u8]) {
        for b in 0..K {
            let row = K * tree + b;
            let mask = Block(u128::MAX).times(delta.bit(row));
            for (out, c) in self.rows[row * self.lanes..].iter_mut().zip(c.chunks(16)) {
                let mut padded = [0; 16];
                padded[..c.len()].copy_from_slice(c);
                *out =
                    (Block::from_bytes((*out).into()) ^ (Block::from_bytes(padded) & mask)).to_bytes().into();
            }
        }
    }

    /// Appends the first `n` columns.
    pub(crate) fn transpose(&self, n: usize, out: &mut Vec<Block>) {
        let mut tile: Zeroizing<Tile> = Zeroizing::new([[0; 8]; LAMBDA]);
        for start in (0..n).step_by(TILE) {
            let lane = start / LAMBDA;
            for (words, row) in tile.iter_mut().zip(self.rows.chunks_exact(self.lanes)) {
                for (words, block) in words.as_chunks_mut::<2>().0.iter_mut().zip(&row[lane..]) {
                    let block = u128::from_le_bytes((*block).into());
                    *words = [block as u64, (block >> 64) as u64];
                }
            }
            columns(&mut tile, TILE.min(n - start), out);
        }
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        wipe(&mut self.leaves);
        wipe(&mut self.rows);
        wipe(&mut self.choices);
    }
}

fn xor(into: &mut [aes::Block], from: &[aes::Block]) {
    for (into, from) in into.iter_mut().zip(from) {
        *into =
            (u128::from_le_bytes((*into).into()) ^ u128::from_le_bytes((*from).into())).to_le_bytes().into();
    }
}
