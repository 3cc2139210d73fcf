//! Punctured pseudo-random functions: binary trees of which one party knows all leaves, the other
//! all but one.
//!
//! | holder of the root                      |         | puncturer: path bits `p_l`, `l = 0..k`   |
//! |-----------------------------------------|---------|------------------------------------------|
//! | `sum_l^i`: XOR of level `l`'s `i`-th children |  | one base-OT key a level, choice `1 - p_l` |
//! | `sum_l^i ^ K_l^i`, `i = 0, 1` | `-- ->` | `sum_l^{1-p_l}`, which yields the path's sibling |
//!
//! `32 k` bytes a tree. The puncturer numbers nodes relative to the path: its node `y` is node
//! `y ^ path` of the tree. So the unknown node is always node 0, and no address depends on the
//! path.
//!
//! In a checked session each leaf is expanded into a seed and a tag of 32 bytes. The holder adds
//! the XOR of all tags of each tree, and a digest of all tags in their order. The puncturer
//! computes all tags but one of a tree, the last one from the XOR, and compares digests.
//!
//! Source: Goldreich, Goldwasser, Micali 1986; Boyle et al., CCS 2019 (eprint 2019/1159); the
//! check: eprint 2022/192, figure 13.

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::{block::Block, domain::Domain};

/// The `2^k` leaves under `root`, and for each level the XOR of its left and of its right children.
pub(crate) fn full(
    domain: &Domain,
    tree: usize,
    root: Block,
    k: usize,
) -> (Zeroizing<Vec<Block>>, Zeroizing<Vec<[Block; 2]>>) {
    let mut nodes = Zeroizing::new(vec![root]);
    let mut sums = Zeroizing::new(Vec::with_capacity(k));
    for level in 0..k {
        let children =
            Zeroizing::new(nodes.iter().map(|&n| children(domain, tree, level, n)).collect::<Vec<_>>());
        sums.push(children.iter().fold([Block::ZERO; 2], |s, c| [s[0] ^ c[0], s[1] ^ c[1]]));
        nodes = Zeroizing::new(children.as_flattened().to_vec());
    }
    (nodes, sums)
}

/// The leaves: leaf `y` is leaf `y ^ path` of the tree, except that leaf 0 has no meaning. Bit
/// `k - 1 - l` of `path` chooses the child at level `l`; `sums[l]` is the XOR of the level's
/// children that are not on the path's side.
pub(crate) fn punctured(domain: &Domain, tree: usize, path: u64, sums: &[Block]) -> Zeroizing<Vec<Block>> {
    let mut nodes = Zeroizing::new(vec![Block::ZERO]);
    for (level, &sum) in sums.iter().enumerate() {
        let p = (path >> (sums.len() - 1 - level)) as u8 & 1;
        let mut relative = Zeroizing::new(Vec::with_capacity(2 * nodes.len()));
        for &node in nodes.iter() {
            let [mut child0, mut child1] = children(domain, tree, level, node);
            u128::conditional_swap(&mut child0.0, &mut child1.0, p.into());
            relative.extend([child0, child1]);
        }
        relative[1] = relative.iter().skip(3).step_by(2).fold(sum, |sum, &node| sum ^ node);
        nodes = relative;
    }
    nodes
}

/// The part of an expanded leaf that a check compares.
type Tag = [u8; 32];

/// Bytes that a check adds to the message, for `trees` trees.
pub(crate) const fn proof_len(trees: usize) -> usize {
    32 * (trees + 1)
}

/// Replaces each tree's leaves by their seeds; returns the proof that the trees match their sums.
pub(crate) fn prove(domain: &Domain, trees: &mut [Zeroizing<Vec<Block>>]) -> Vec<u8> {
    let mut proof = Vec::with_capacity(proof_len(trees.len()));
    let mut digest = blake3::Hasher::new();
    for (tree, leaves) in trees.iter_mut().enumerate() {
        let tags = seeds_and_tags(domain, tree, leaves);
        proof.extend(sum_of(&tags));
        digest.update(tags.as_flattened());
    }
    proof.extend(digest.finalize().as_bytes());
    proof
}

/// Replaces each punctured tree's leaves by their seeds; returns whether the proof is right.
/// `path(i)` is the path of tree `i`.
///
/// # Panics
/// If the proof is not [`proof_len`] bytes long.
pub(crate) fn verify(
    domain: &Domain,
    trees: &mut [Zeroizing<Vec<Block>>],
    path: impl Fn(usize) -> u64,
    proof: &[u8],
) -> bool {
    assert_eq!(proof.len(), proof_len(trees.len()), "length of the proof");
    let mut digest = blake3::Hasher::new();
    for ((tree, leaves), sum) in trees.iter_mut().enumerate().zip(proof.chunks_exact(32)) {
        let mut tags = seeds_and_tags(domain, tree, leaves);
        tags[0] = [0; 32];
        let others = sum_of(&tags);
        tags[0] = std::array::from_fn(|i| sum[i] ^ others[i]);
        exchange(&mut tags, path(tree));
        digest.update(tags.as_flattened());
    }
    let stated = &proof[proof.len() - 32..];
    digest.finalize().as_bytes().ct_eq(stated).into()
}

/// Replaces leaves by their seeds; returns their tags.
fn seeds_and_tags(domain: &Domain, tree: usize, leaves: &mut [Block]) -> Zeroizing<Vec<Tag>> {
    let split = |leaf: &mut Block| {
        let place = (tree as u64).to_le_bytes();
        let bytes: [u8; 48] = domain.derive("sotto 2026 ot/ggm/check", &[&place, &leaf.to_bytes()]);
        *leaf = Block::from_bytes(std::array::from_fn(|i| bytes[i]));
        std::array::from_fn(|i| bytes[16 + i])
    };
    Zeroizing::new(leaves.iter_mut().map(split).collect())
}

/// The XOR of tags.
fn sum_of(tags: &[Tag]) -> Tag {
    tags.iter().fold([0; 32], |sum, tag| std::array::from_fn(|i| sum[i] ^ tag[i]))
}

/// Moves item `y` to place `y ^ path`, in constant time.
fn exchange(tags: &mut [Tag], path: u64) {
    for bit in (0..tags.len().ilog2()).map(|j| 1usize << j) {
        let swap = Choice::from((path >> bit.ilog2() & 1) as u8);
        for low in (0..tags.len()).filter(|i| i & bit == 0) {
            let (front, back) = tags.split_at_mut(low + bit);
            for (a, b) in front[low].iter_mut().zip(&mut back[0]) {
                u8::conditional_swap(a, b, swap);
            }
        }
    }
}

/// The left and the right child of a node on level `level`.
fn children(domain: &Domain, tree: usize, level: usize, node: Block) -> [Block; 2] {
    let place = [tree as u8, level as u8];
    let bytes =
        Zeroizing::new(domain.derive::<32>("sotto 2026 ot/ggm/children", &[&place, &node.to_bytes()]));
    let half = |i: usize| Block::from_bytes(std::array::from_fn(|n| bytes[16 * i + n]));
    [half(0), half(1)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Direction;

    #[test]
    fn proofs_pass_for_honest_trees_only() {
        let domain = Domain::new([1; 32], Direction::Forward, 0);
        let paths = [5, 0, 15];
        type Spoil<'a> = &'a dyn Fn(&mut [Vec<Block>; 3], &mut Vec<u8>);
        let run = |spoil: Spoil<'_>| {
            let (mut trees, sums): (Vec<_>, Vec<_>) =
                (0..3).map(|tree| full(&domain, tree, Block(tree as u128 + 9), 4)).unzip();
            let mut off = [0, 1, 2].map(|tree| {
                (0..4).map(|l| sums[tree][l][1 - (paths[tree] >> (3 - l) & 1) as usize]).collect::<Vec<_>>()
            });
            let mut proof = prove(&domain, &mut trees);
            spoil(&mut off, &mut proof);
            let mut known: Vec<_> = (0..3).map(|t| punctured(&domain, t, paths[t], &off[t])).collect();
            let right = verify(&domain, &mut known, |tree| paths[tree], &proof);
            let fit = |t: usize| (1..16).all(|y| known[t][y].0 == trees[t][y ^ paths[t] as usize].0);
            (right, (0..3).all(fit))
        };
        assert_eq!(run(&|_, _| ()), (true, true));
        for (tree, level) in [(0, 0), (1, 2), (2, 3)] {
            assert_eq!(run(&|off, _| off[tree][level] ^= Block(1 << 77)), (false, false));
        }
        for byte in [0, 40, 95, 96, 127] {
            assert_eq!(run(&|_, proof| proof[byte] ^= 4), (false, true));
        }
    }

    #[test]
    fn all_leaves_but_the_punctured_one() {
        let domain = Domain::new([1; 32], Direction::Forward, 0);
        for (k, path) in [(1, 0), (1, 1), (2, 1), (4, 0), (4, 15), (4, 6), (8, 0xa5)] {
            let (leaves, sums) = full(&domain, 3, Block(42), k);
            let off = |l: usize| sums[l][1 - (path >> (k - 1 - l) & 1) as usize];
            let off: Vec<Block> = (0..k).map(off).collect();
            let known = punctured(&domain, 3, path, &off);
            assert_eq!(known.len(), 1 << k);
            for y in 0..1usize << k {
                let same = known[y].0 == leaves[y ^ path as usize].0;
                assert_eq!(same, y != 0, "k = {k}, path = {path}, y = {y}");
            }
        }
    }
}
