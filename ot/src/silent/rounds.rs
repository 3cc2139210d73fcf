//! One round of silent OT: the message, and the outputs at either party.

use std::sync::Arc;

use rand::RngCore;
use rayon::prelude::*;
use zeroize::Zeroizing;

use crate::{
    batch::{Scratch, Source},
    block::{Block, LAMBDA},
    check::Security,
    domain::Domain,
    half_tree,
    kernel::Cipher,
    lpn::{Code, LpnParams},
};

/// The most levels that a tree may have.
const MOST_LEVELS: usize = 16;

/// A round at one party. Its outputs are the rows of the code times the table, plus the leaves.
pub(crate) struct Round<T> {
    pub(super) params: LpnParams,
    code: Code,
    /// The COTs that the round started from: one for each level of each tree, the table `q''` or
    /// `t''`, and, in a checked session, 128 masks.
    base: Zeroizing<Vec<Block>>,
    pub(super) trees: T,
}

/// The leaves of a round's trees at one party.
pub(crate) trait Trees: Send + Sync {
    /// Writes the leaves of tree number `tree`.
    fn leaves(&self, tree: usize, out: &mut [Block]);
}

/// The sender's trees: all leaves `v`.
pub(crate) struct FullTrees {
    params: LpnParams,
    hashes: Cipher,
    roots: Zeroizing<Vec<Block>>,
    delta: Zeroizing<Block>,
}

/// The receiver's trees: the leaves `w = v ^ e Delta`.
pub(crate) struct PuncturedTrees {
    params: LpnParams,
    hashes: Cipher,
    pub(super) paths: Zeroizing<Vec<u64>>,
    /// `[t][d]`: of each level the sum of the children that are not on the path's side.
    sums: Zeroizing<Vec<Block>>,
}

impl<T: Trees> Round<T> {
    /// The masks of a check; none unless the session is checked.
    pub(super) fn masks(&self) -> &[Block] {
        &self.base[self.params.base()..]
    }

    /// `q''` or `t''`.
    fn table(&self) -> &[Block] {
        &self.base[self.params.levels()..self.params.base()]
    }

    /// The first `n` outputs, from which the next round starts.
    pub(super) fn next_base(&self, n: usize) -> Zeroizing<Vec<Block>> {
        let mut base = Zeroizing::new(vec![Block::ZERO; n]);
        let size = 1 << self.params.depth();
        base.par_chunks_mut(size).enumerate().for_each_init(Scratch::default, |scratch, (tree, out)| {
            self.expand(tree * size, out, scratch);
        });
        base
    }
}

impl Round<FullTrees> {
    /// The sender's round number `number`, from the COTs `base`, and its message.
    pub(super) fn send(
        domain: &Domain,
        params: LpnParams,
        number: u64,
        delta: Block,
        base: Zeroizing<Vec<Block>>,
        rng: &mut impl RngCore,
    ) -> (Arc<Round<FullTrees>>, Vec<u8>) {
        let hashes = hashes(domain, params, number);
        let roots = Zeroizing::new((0..params.weight()).map(|_| Block::random(rng)).collect());
        let trees = FullTrees { params, hashes, roots, delta: Zeroizing::new(delta) };
        let mut message = vec![0; message_len(params)];
        let masked = base.par_chunks(params.depth()).zip(message.par_chunks_mut(16 * params.depth()));
        masked.enumerate().for_each_init(Scratch::default, |leaves, (tree, (q, message))| {
            leaves.resize(1 << params.depth(), Block::ZERO);
            let mut sums = Zeroizing::new([Block::ZERO; MOST_LEVELS]);
            trees.expand(tree, &mut sums[..params.depth()], leaves);
            for ((out, &sum), &q) in message.chunks_exact_mut(16).zip(sums.iter()).zip(q) {
                out.copy_from_slice(&(sum ^ q).to_bytes());
            }
        });
        let code = Code::new(domain, params, number);
        (Arc::new(Round { params, code, base, trees }), message)
    }
}

impl Round<PuncturedTrees> {
    /// The receiver's round number `number`, from the COTs `base` and the sender's message.
    ///
    /// # Panics
    /// If the message is not [`message_len`] bytes long.
    pub(super) fn recv(
        domain: &Domain,
        params: LpnParams,
        number: u64,
        base: Zeroizing<Vec<Block>>,
        message: &[u8],
    ) -> Arc<Round<PuncturedTrees>> {
        assert_eq!(message.len(), message_len(params), "length of a round's message");
        let masked = message.as_chunks::<16>().0.iter();
        let sums = masked.zip(base.iter()).map(|(c, &t)| Block::from_bytes(*c) ^ t).collect();
        let path = |t: &[Block]| t.iter().rev().fold(0, |path, t| path << 1 | (1 - t.bit(0)));
        let paths = base[..params.levels()].chunks_exact(params.depth()).map(path).collect();
        let trees = PuncturedTrees {
            params,
            hashes: hashes(domain, params, number),
            paths: Zeroizing::new(paths),
            sums: Zeroizing::new(sums),
        };
        Arc::new(Round { params, code: Code::new(domain, params, number), base, trees })
    }
}

impl<T: Trees> Source for Round<T> {
    fn expand(&self, at: usize, out: &mut [Block], scratch: &mut Scratch) {
        let size = 1 << self.params.depth();
        let (mut at, mut rest) = (at, out);
        while !rest.is_empty() {
            let (tree, skip) = (at / size, at % size);
            let (now, later) = rest.split_at_mut(rest.len().min(size - skip));
            if now.len() == size {
                self.trees.leaves(tree, now);
            } else {
                scratch.resize(size, Block::ZERO);
                self.trees.leaves(tree, scratch);
                now.copy_from_slice(&scratch[skip..skip + now.len()]);
            }
            self.code.add_rows(self.table(), at, now);
            at += now.len();
            rest = later;
        }
    }
}

impl Trees for FullTrees {
    fn leaves(&self, tree: usize, out: &mut [Block]) {
        let mut sums = Zeroizing::new([Block::ZERO; MOST_LEVELS]);
        self.expand(tree, &mut sums[..self.params.depth()], out);
    }
}

impl FullTrees {
    /// Writes the leaves of a tree and its level sums.
    fn expand(&self, tree: usize, sums: &mut [Block], leaves: &mut [Block]) {
        half_tree::full(&tree_hash(&self.hashes, tree), *self.delta, self.roots[tree], sums, leaves);
    }
}

impl Trees for PuncturedTrees {
    fn leaves(&self, tree: usize, out: &mut [Block]) {
        let sums = &self.sums[tree * self.params.depth()..][..self.params.depth()];
        half_tree::punctured(&tree_hash(&self.hashes, tree), self.paths[tree], sums, out);
    }
}

/// COTs that a round starts from.
pub(crate) fn base_len<S: Security>(params: LpnParams) -> usize {
    params.base() + if S::CHECKED { LAMBDA } else { 0 }
}

/// Bytes of a round's message.
pub(crate) fn message_len(params: LpnParams) -> usize {
    16 * params.levels()
}

/// The cipher whose images of 0, 1, .. are the hash keys of the trees. Public.
fn hashes(domain: &Domain, params: LpnParams, number: u64) -> Cipher {
    let key = domain.derive("sotto 2026 ot/silent/trees", &[&params.encode(), &number.to_le_bytes()]);
    Cipher::new(Block::from_bytes(key))
}

/// The hash of one tree. Public.
fn tree_hash(hashes: &Cipher, tree: usize) -> Cipher {
    Cipher::new(hashes.permute(tree as u64))
}

#[cfg(test)]
mod tests {
    use sotto_shares::Rng;

    use super::*;
    use crate::domain::Direction;

    const DOMAIN: fn() -> Domain = || Domain::new([3; 32], Direction::Forward, 0);
    const PARAMS: LpnParams = LpnParams::FAST;
    const DELTA: Block = Block(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);

    fn base(rng: &mut Rng) -> Zeroizing<Vec<Block>> {
        Zeroizing::new((0..PARAMS.base()).map(|_| Block::random(rng).without_low_bit()).collect())
    }

    /// From the same COTs, another round number gives another message and another code.
    #[test]
    fn rounds_have_new_trees_and_codes() {
        let mut rng = Rng::from_seed([4; 32]);
        let base = base(&mut rng);
        let mut send = |number| Round::send(&DOMAIN(), PARAMS, number, DELTA, base.clone(), &mut rng);
        let [(first, m0), (second, m1)] = [send(0), send(1)];
        let same = m0.chunks(16).zip(m1.chunks(16)).filter(|(a, b)| a == b).count();
        assert_eq!(same, 0, "level sums of other trees");
        let rows = |round: &Round<FullTrees>| {
            let mut out = vec![Block::ZERO; 64];
            round.code.add_rows(round.table(), 0, &mut out);
            out.iter().map(|b| b.0).collect::<Vec<_>>()
        };
        assert!(rows(&first).iter().zip(rows(&second)).all(|(a, b)| *a != b), "rows of another code");
    }

    #[test]
    fn blocks_are_the_same_however_they_are_cut() {
        let mut rng = Rng::from_seed([5; 32]);
        let base = base(&mut rng);
        let (round, _) = Round::send(&DOMAIN(), PARAMS, 0, DELTA, base, &mut rng);
        let mut scratch = Scratch::default();
        let mut all = vec![Block::ZERO; 9000];
        round.expand(0, &mut all, &mut scratch);
        for (from, to) in [(0, 1), (1, 9000), (1023, 1025), (2000, 2001), (4095, 8200), (77, 77)] {
            let mut part = vec![Block::ZERO; to - from];
            round.expand(from, &mut part, &mut scratch);
            assert!(part.iter().zip(&all[from..to]).all(|(a, b)| a.0 == b.0), "{from}..{to}");
        }
    }

    /// Any bytes of the right length give outputs, at any position.
    #[test]
    fn any_message_gives_outputs() {
        let mut rng = Rng::from_seed([6; 32]);
        for filling in [0u8, 0xff, 0x5a] {
            let message = vec![filling; message_len(PARAMS)];
            let round = Round::recv(&DOMAIN(), PARAMS, 0, base(&mut rng), &message);
            let mut out = vec![Block::ZERO; 3000];
            let last = PARAMS.samples() - out.len();
            for at in [0, 1000, last] {
                round.expand(at, &mut out, &mut Scratch::default());
            }
        }
    }
}
