//! Half-trees: trees of pseudo-random blocks whose every level adds up to `Delta`.
//!
//! | holder of `Delta` and the root `k`            |           | puncturer: path bits `p_l`, `l = 0..d`              |
//! |-----------------------------------------------|-----------|-----------------------------------------------------|
//! | level 0: `k`, `k ^ Delta`                     |           |                                                     |
//! | node `v` has children `H(v)`, `v ^ H(v)`      |           |                                                     |
//! | `sum_l` = XOR of level `l`'s left children    | (masked)  | `sum_l ^ (1 - p_l) Delta`: of the children off its side |
//! | leaves `v_y`                                  |           | leaves `v_y`, and `v_p ^ Delta` in the place of `v_p`   |
//!
//! One hash a leaf, one block a level. Left and right children of a level differ by `Delta`, so what the puncturer is given is
//! one of the two keys of a COT: see [`crate::silent`]. The leaves' lowest bits are cleared, and the puncturer sets that of its
//! own: with `Delta` odd, the lowest bit of its leaf says where the path ends.
//!
//! Nodes lie in bit-reversed order: the children of node `j` of a level of `n` are `j` and `j + n`, so both halves of a level
//! are written in sequence, and bit `l` of the path is taken at level `l`. The puncturer keeps a zero where it knows nothing.
//! Every node is read and written at every level, whatever the path.
//!
//! `H(v) = pi(y) ^ y`, `y = sigma(v)`. Without the orthomorphism `sigma` a right child would be `pi(v)`: whoever inverts the
//! public `pi` on a known sibling of the path gets the path's node, and with it `Delta`. Requires circular correlation
//! robustness of `H`; each tree has a key of its own, so what an adversary computes for one helps against no other.
//! Source: Guo, Yang, Wang, Zhang, Xie, Liu, Zhao, EUROCRYPT 2023 (eprint 2022/1431), figures 3 and 4.

use crate::{
    block::Block,
    kernel::{self, Cipher, Correction},
};

/// Writes the `2^d` leaves under `root`, and for each of the `d` levels the XOR of its left children.
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

/// Writes the leaves of a tree that is punctured at `path`. `sums[l]` is the XOR of level `l`'s children on the side that
/// the path does not take.
///
/// # Panics
/// As [`full`].
pub(crate) fn punctured(h: &Cipher, path: u64, sums: &[Block], leaves: &mut [Block]) {
    assert_eq!(leaves.len(), 1 << sums.len(), "leaves of a tree of {} levels", sums.len());
    // What doubling makes of the zero on the path.
    let mut garbage = [Block::ZERO; 2];
    h.double(&mut garbage, None);
    let garbage = garbage[0];

    let right = path & 1;
    (leaves[0], leaves[1]) = (sums[0].times(right), sums[0].times(1 - right));
    let mut total = sums[0];
    let mut correction = None;
    for (level, &sum) in sums.iter().enumerate().skip(1) {
        let n = 1 << level;
        let left_sum = h.double(&mut leaves[..2 * n], correction);
        let right_sum = total ^ left_sum;
        let right = path >> level & 1;
        // The sibling is what is missing in its side's sum; the path's own node becomes zero.
        let near = (sum ^ left_sum).times(right) ^ garbage.times(1 - right);
        let far = (sum ^ right_sum).times(1 - right) ^ garbage.times(right);
        correction = Some(Correction { at: path as usize & (n - 1), add: [near, far] });
        total = sum ^ garbage ^ left_sum.times(1 - right) ^ right_sum.times(right);
    }
    // In the place of the path's leaf comes what all others add up to, and an odd one.
    let last = sums.len() - 1;
    let right = path >> last & 1;
    let missing = total.without_low_bit() ^ Block(1);
    let [near, far] = correction.map_or([Block::ZERO; 2], |c| c.add.map(Block::without_low_bit));
    let add = [near ^ missing.times(1 - right), far ^ missing.times(right)];
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

    /// From one tree the puncturer must not get `Delta`: `review.md` 9a, on every kernel. With `H(v) = pi(v) ^ v` the
    /// sibling of a right turn is `v ^ H(v) = pi(v)`, `pi` is public, and `v` with the known nodes of its level gives `Delta`.
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
                // The same attack on the plain hash works: the test can fail.
                let mut image = aes::Block::from(v.to_bytes());
                aes::cipher::BlockCipherEncrypt::encrypt_block(&pi, &mut image);
                let plain_sibling = v ^ (Block::from_bytes(image.into()) ^ v);
                assert!(invert(plain_sibling).0 == v.0);
            }
        }
    }
}
