//! Half-trees: trees of pseudo-random blocks in which the nodes of every level add up to `Delta`.
//!
//! | holder of `Delta` and the root `k`      |          | puncturer: path bits `p_l`, `l = 0..d`  |
//! |-----------------------------------------|----------|-----------------------------------------|
//! | level 0: `k`, `k ^ Delta`               |          |                                         |
//! | node `v` has children `H(v)`, `v ^ H(v)` |         |                                         |
//! | `sum_l`: XOR of left children | (masked) | `sum_l ^ (1 - p_l) Delta`: XOR of side `1 - p_l` |
//! | leaves `v_y` |  | leaves `v_y`, except `v_p ^ Delta` in place of `v_p` |
//!
//! One hash a leaf, one block a level. The sums of left and right children of a level differ by
//! `Delta`, so the one that the puncturer needs is one of the two keys of a COT. The lowest bits of
//! leaves are cleared, and the puncturer sets that of its leaf `p`: as `Delta` is odd, the lowest
//! bit marks the end of the path.
//!
//! Nodes are in bit-reversed order: the children of node `j` of a level of `n` nodes are `j` and
//! `j + n`. So both halves of a level are written in sequence, and bit `l` of the path chooses the
//! child at level `l`. The puncturer stores a zero for the node that it does not know. It reads and
//! writes every node of every level, whatever the path.
//!
//! `H(v) = pi(y) ^ y`, `y = sigma(v)`, with a public permutation `pi`. Without the orthomorphism
//! `sigma` a right child would be `pi(v)`; inverting `pi` on the path's known sibling would give
//! the path's node, and so `Delta`. `H` must be circular correlation robust. Each tree has a key of
//! its own, so that a computation against one tree does not help against another.
//!
//! Source: Guo, Yang, Wang, Zhang, Xie, Liu, Zhao, EUROCRYPT 2023 (eprint 2022/1431), figures 3 and
//! 4.

use crate::{
    block::Block,
    kernel::{self, Cipher, Correction},
};

/// Writes the `2^d` leaves under `root`, and for each of the `d` levels the XOR of its left
/// children.
///
/// # Panics
/// Unless there are `2^d` leaves for `d` sums.
pub(crate) fn full(h: &Cipher, delta: Block, root: Block, sums: &mut [Block], leaves: &mut [Block]) {
    assert_eq!(leaves.len(), 1 << sums.len(), "leaves of a tree of {} levels", sums.len());
    (leaves[0], leaves[1]) = (root, root ^ delta);
    sums[0] = root;
    for (level, sum) in sums.iter_mut().enumerate().skip(1) {
        *sum = h.double(&mut leaves[..2 << level], None);
    }
    kernel::clear_low_bits(leaves, None);
}

/// Writes the leaves of a tree that is punctured at `path`. `sums[l]` is the XOR of level `l`'s
/// children that are not on the path's side.
///
/// # Panics
/// As [`full`].
pub(crate) fn punctured(h: &Cipher, path: u64, sums: &[Block], leaves: &mut [Block]) {
    assert_eq!(leaves.len(), 1 << sums.len(), "leaves of a tree of {} levels", sums.len());
    // The left child that doubling computes for the zero on the path.
    let mut garbage = [Block::ZERO; 2];
    h.double(&mut garbage, None);
    let garbage = garbage[0];

    let p = path & 1;
    (leaves[0], leaves[1]) = (sums[0].times(p), sums[0].times(1 - p));
    let mut total = sums[0];
    let mut correction = None;
    for (level, &sum) in sums.iter().enumerate().skip(1) {
        let n = 1 << level;
        let left_sum = h.double(&mut leaves[..2 * n], correction);
        let right_sum = total ^ left_sum;
        let p = path >> level & 1;
        // Completes the sibling to its side's sum, and clears the path's node.
        let left = (sum ^ left_sum).times(p) ^ garbage.times(1 - p);
        let right = (sum ^ right_sum).times(1 - p) ^ garbage.times(p);
        correction = Some(Correction { at: path as usize & (n - 1), add: [left, right] });
        total = sum ^ garbage ^ left_sum.times(1 - p) ^ right_sum.times(p);
    }
    // The path's leaf is the sum of all others, with the lowest bit set.
    let last = sums.len() - 1;
    let p = path >> last & 1;
    let missing = total.without_low_bit() ^ Block(1);
    let [left, right] = correction.map_or([Block::ZERO; 2], |c| c.add.map(Block::without_low_bit));
    let add = [left ^ missing.times(1 - p), right ^ missing.times(p)];
    kernel::clear_low_bits(leaves, Some(Correction { at: path as usize & ((1 << last) - 1), add }));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DELTA: Block = Block(0x0123_4567_89ab_cdef_0f1e_2d3c_4b5a_6979);

    /// Both parties' leaves of a tree of depth `d`.
    fn trees(cipher: fn(Block) -> Cipher, d: usize, path: u64, root: Block) -> (Vec<Block>, Vec<Block>) {
        let h = cipher(Block(7));
        let (mut sums, mut leaves) = (vec![Block::ZERO; d], vec![Block::ZERO; 1 << d]);
        full(&h, DELTA, root, &mut sums, &mut leaves);
        for (level, sum) in sums.iter_mut().enumerate() {
            *sum ^= DELTA.times(1 - (path >> level & 1));
        }
        let mut known = vec![Block(99); 1 << d];
        punctured(&h, path, &sums, &mut known);
        (leaves, known)
    }

    fn check(d: usize, path: u64, root: Block) {
        let (leaves, known) = trees(Cipher::new, d, path, root);
        let (portable, portable_known) = trees(Cipher::portable, d, path, root);
        for y in 0..1usize << d {
            let here = y as u64 == path;
            assert!(known[y].0 == (leaves[y] ^ DELTA.times(here.into())).0, "d = {d}, path {path}, leaf {y}");
            assert_eq!((leaves[y].bit(0), known[y].bit(0)), (0, here.into()));
            assert!(leaves[y].0 == portable[y].0 && known[y].0 == portable_known[y].0, "kernels agree");
        }
    }

    #[test]
    fn every_path_of_small_trees() {
        for d in 1..=6 {
            (0..1 << d).for_each(|path| check(d, path, Block(path as u128 * 77 + 5)));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn deep_trees(d in 7usize..=12, path: u64, root: u128) {
            check(d, path & ((1 << d) - 1), Block(root));
        }
    }

    /// One tree must not reveal `Delta`. With `H(v) = pi(v) ^ v` the sibling on the right would be
    /// `v ^ H(v) = pi(v)`; as `pi` is public, it would give `v`, and `v` and the known nodes of its
    /// level would give `Delta`.
    #[test]
    fn a_sibling_does_not_give_away_its_parent() {
        use aes::cipher::{BlockCipherDecrypt, KeyInit};
        let key = Block(7);
        let pi = aes::Aes128::new(&key.to_bytes().into());
        let invert = |x: Block| {
            let mut block = x.to_bytes().into();
            pi.decrypt_block(&mut block);
            Block::from_bytes(block.into())
        };
        let unsigma = |g: Block| Block((g.0 << 64) | ((g.0 >> 64) ^ (g.0 & u128::from(u64::MAX))));
        for cipher in [Cipher::new as fn(Block) -> Cipher, Cipher::portable] {
            for seed in 0..100u128 {
                let v = Block(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) + 1);
                let mut children = [v, Block::ZERO];
                cipher(key).double(&mut children, None);
                let sibling = children[1];
                assert!((sibling ^ children[0]).0 == v.0);
                // The attack, and its variants around sigma.
                for guess in [invert(sibling), invert(sibling.sigma()), invert(unsigma(sibling))] {
                    for guess in [guess, guess.sigma(), unsigma(guess)] {
                        assert!(guess.0 != v.0, "sigma must break the relation");
                    }
                }
                // The same attack on the hash without sigma works, so this test can fail.
                let mut image = aes::Block::from(v.to_bytes());
                aes::cipher::BlockCipherEncrypt::encrypt_block(&pi, &mut image);
                let plain_sibling = v ^ (Block::from_bytes(image.into()) ^ v);
                assert!(invert(plain_sibling).0 == v.0);
            }
        }
    }
}
