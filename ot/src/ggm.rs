//! Punctured pseudo-random functions: all leaves of a binary tree for one party, all but one for the other.
//!
//! | holder of the root                            |          | puncturer: path bits `p_l`, `l = 0..k`      |
//! |-----------------------------------------------|----------|---------------------------------------------|
//! | `sum_l^i` = XOR of level `l`'s nodes that are `i`-th children | | one base-OT key per level, choice `1 - p_l` |
//! | `sum_l^i ^ K_l^i`                             | `-- ->`  | `sum_l^{1-p_l}` gives the sibling of the path |
//!
//! `32 k` bytes a tree. The puncturer numbers nodes relative to the path: node `y` is the tree's node
//! `y ^ path`, so that the unknown node is always node 0 and no address depends on the path.
//! Source: Goldreich, Goldwasser, Micali 1986; Boyle et al., CCS 2019 (eprint 2019/1159).

use subtle::ConditionallySelectable;
use zeroize::Zeroizing;

use crate::{block::Block, domain::Domain};

/// The `2^k` leaves under `root`, and for each level the XOR of its left and of its right children.
pub(crate) fn full(
    domain: &Domain,
    tree: usize,
    root: Block,
    k: usize,
) -> (Zeroizing<Vec<Block>>, Vec<[Block; 2]>) {
    let mut nodes = Zeroizing::new(vec![root]);
    let mut sums = Vec::with_capacity(k);
    for level in 0..k {
        let children =
            Zeroizing::new(nodes.iter().map(|&n| children(domain, tree, level, n)).collect::<Vec<_>>());
        sums.push(children.iter().fold([Block::ZERO; 2], |s, c| [s[0] ^ c[0], s[1] ^ c[1]]));
        nodes = Zeroizing::new(children.as_flattened().to_vec());
    }
    (nodes, sums)
}

/// The leaves, leaf `y` being the full tree's leaf `y ^ path`; leaf 0 is meaningless. Bit `k - 1 - l` of
/// `path` is taken at level `l`, `sums[l]` is the XOR of that level's children off the path's side.
pub(crate) fn punctured(domain: &Domain, tree: usize, path: u64, sums: &[Block]) -> Zeroizing<Vec<Block>> {
    let mut nodes = Zeroizing::new(vec![Block::ZERO]);
    for (level, &sum) in sums.iter().enumerate() {
        let p = (path >> (sums.len() - 1 - level)) as u8 & 1;
        let mut relative = Zeroizing::new(Vec::with_capacity(2 * nodes.len()));
        for &node in nodes.iter() {
            let [mut near, mut far] = children(domain, tree, level, node);
            u128::conditional_swap(&mut near.0, &mut far.0, p.into());
            relative.extend([near, far]);
        }
        relative[1] = relative.iter().skip(3).step_by(2).fold(sum, |sum, &node| sum ^ node);
        nodes = relative;
    }
    nodes
}

/// The left and the right child.
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
