//! The consistency check of a round of silent OT.
//!
//! Leaf `x` of tree `i` is the coefficient of `leaf^x tree^i`, at a point `(leaf, tree)` that
//! hashes the round's message.

use rayon::prelude::*;
use zeroize::Zeroizing;

use super::rounds::{FullTrees, PuncturedTrees, Round, Trees};
use crate::{
    batch::Scratch,
    block::{Block, LAMBDA},
    check::{Powers, point},
    domain::Domain,
    kernel::Place,
};

/// The point at which a round's leaves are evaluated.
pub(super) struct Places {
    leaf: Block,
    tree: Block,
}

impl Places {
    /// The point for round number `number` with this message.
    pub(super) fn new(domain: &Domain, number: u64, message: &[u8]) -> Places {
        let [leaf, tree] =
            [0, 1].map(|part| point(domain, "sotto 2026 ot/silent/place", number, part, message));
        Places { leaf, tree }
    }
}

impl<T: Trees> Round<T> {
    /// The value of all leaves, and that of one more number `other(i)` for each tree `i`.
    fn value(&self, places: &Places, other: impl Fn(usize) -> Block + Sync) -> [Block; 2] {
        let leaf = Place::new(places.leaf, 1 << self.params.depth());
        let tree = Place::new(places.tree, self.params.weight());
        let of_tree = |leaves: &mut Scratch, tree: usize| {
            leaves.resize(1 << self.params.depth(), Block::ZERO);
            self.trees.leaves(tree, leaves);
            (leaf.value(leaves), other(tree))
        };
        let trees = (0..self.params.weight()).into_par_iter();
        let (values, others): (Vec<Block>, Vec<Block>) = trees.map_init(Scratch::default, of_tree).unzip();
        [Zeroizing::new(values), Zeroizing::new(others)].map(|values| tree.value(&values))
    }
}

impl Round<FullTrees> {
    /// `V`.
    pub(super) fn sender_value(&self, places: &Places) -> Zeroizing<Block> {
        Zeroizing::new(self.value(places, |_| Block::ZERO)[0])
    }

    /// The sender's proof, for the receiver's answer `phi`: the digest of `V ^ Y`.
    pub(super) fn proof(&self, value: &Block, delta: Block, phi: &[u8; 16]) -> [u8; 32] {
        let phi = Block::from_bytes(*phi);
        let y = self.masks().iter().enumerate().map(|(j, &y)| y ^ delta.times(phi.bit(j)));
        digest(*value ^ Place::new(Block::X, LAMBDA).value(&Zeroizing::new(y.collect::<Vec<Block>>())))
    }
}

impl Round<PuncturedTrees> {
    /// The receiver's answer `phi`, and the proof that it expects: the digest of `W ^ Z`.
    pub(super) fn answer(&self, places: &Places) -> (Block, [u8; 32]) {
        let powers = Powers::new(places.leaf, self.params.depth());
        let [value, rho] = self.value(places, |tree| powers.power(self.trees.paths[tree]));
        let x = self.masks().iter().rev().fold(0, |x, z| x << 1 | u128::from(z.bit(0)));
        (rho ^ Block(x), digest(value ^ Place::new(Block::X, LAMBDA).value(self.masks())))
    }
}

fn digest(value: Block) -> [u8; 32] {
    blake3::derive_key("sotto 2026 ot/silent/verdict", &value.to_bytes())
}
