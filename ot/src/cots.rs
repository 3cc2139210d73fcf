//! Batches of random-choice correlated OTs (COTs).
//!
//! A COT is a block `q` and the global, odd `Delta` at the sender, and `t = q ^ b Delta` at the
//! receiver, with `b` uniform and `q` even. So the receiver's choice bit `b` is the lowest bit of
//! `t`. Both parties ask for the same numbers in the same order; hence indices and size of a batch
//! agree at both without a message.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::{
    batch::{Batch, Pads},
    block::Block,
    hash::{PadHash, Purpose},
};

/// The sender's half of a batch of COTs. It is neither copied nor printed.
pub struct SendCots {
    pub(crate) delta: Zeroizing<Block>,
    pub(crate) batch: Batch,
}

/// The receiver's half of a batch of COTs. It is neither copied nor printed.
pub struct RecvCots {
    pub(crate) batch: Batch,
}

impl SendCots {
    /// The COTs whose `q` are the blocks of `batch`.
    pub(crate) fn new(delta: Block, batch: Batch) -> SendCots {
        SendCots { delta: Zeroizing::new(delta), batch }
    }

    /// No COTs.
    pub(crate) fn empty(delta: Block, hash: &Arc<PadHash>) -> SendCots {
        SendCots::new(delta, Batch::empty(hash.clone()))
    }

    /// Number of COTs.
    pub fn len(&self) -> usize {
        self.batch.len()
    }

    /// Whether the batch has no COTs.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a batch that was made after this one, in the same direction of the same session.
    ///
    /// # Panics
    /// If it was not.
    pub fn append(&mut self, later: SendCots) {
        self.batch.append(later.batch);
    }

    /// Splits off the first `n` COTs.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn take(&mut self, n: usize) -> SendCots {
        SendCots { delta: self.delta.clone(), batch: self.batch.take(n) }
    }

    /// Computes all blocks and drops them: the computation of COTs without that of pads.
    pub fn expand(self) {
        self.batch.expand_all();
    }

    /// The pads for one purpose, as [`Batch::pads`].
    pub(crate) fn pads(self, purpose: Purpose, segments: usize) -> SendPads {
        SendPads { delta: self.delta, pads: self.batch.pads(purpose, segments) }
    }

    /// The same COTs twice, as [`Batch::split_by_purpose`].
    pub(crate) fn split_by_purpose(self, purposes: [Purpose; 2]) -> [SendCots; 2] {
        let delta = self.delta;
        self.batch.split_by_purpose(purposes).map(|batch| SendCots { delta: delta.clone(), batch })
    }
}

/// The sender's pads for one purpose, to be computed once, from the blocks `q` and `q ^ Delta`.
pub(crate) struct SendPads {
    pub(crate) delta: Zeroizing<Block>,
    pub(crate) pads: Pads,
}

impl RecvCots {
    /// The COTs whose `t` are the blocks of `batch`.
    pub(crate) fn new(batch: Batch) -> RecvCots {
        RecvCots { batch }
    }

    /// No COTs.
    pub(crate) fn empty(hash: &Arc<PadHash>) -> RecvCots {
        RecvCots::new(Batch::empty(hash.clone()))
    }

    /// Number of COTs.
    pub fn len(&self) -> usize {
        self.batch.len()
    }

    /// Whether the batch has no COTs.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a batch that was made after this one, in the same direction of the same session.
    ///
    /// # Panics
    /// If it was not.
    pub fn append(&mut self, later: RecvCots) {
        self.batch.append(later.batch);
    }

    /// Splits off the first `n` COTs.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn take(&mut self, n: usize) -> RecvCots {
        RecvCots { batch: self.batch.take(n) }
    }

    /// Computes all blocks and drops them: the computation of COTs without that of pads.
    pub fn expand(self) {
        self.batch.expand_all();
    }

    /// The same COTs twice, as [`Batch::split_by_purpose`].
    pub(crate) fn split_by_purpose(self, purposes: [Purpose; 2]) -> [RecvCots; 2] {
        self.batch.split_by_purpose(purposes).map(|batch| RecvCots { batch })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{bits::bits_len, kernel};

    impl SendCots {
        /// All `q`, of a batch that stays.
        pub(crate) fn blocks(&self) -> Zeroizing<Vec<Block>> {
            self.batch.blocks()
        }
    }

    impl RecvCots {
        /// All `t`, of a batch that stays.
        pub(crate) fn blocks(&self) -> Zeroizing<Vec<Block>> {
            self.batch.blocks()
        }

        /// The random choice bits, packed.
        pub(crate) fn choices(&self) -> Vec<u8> {
            let mut bits = vec![0; bits_len(self.len())];
            kernel::low_bits(&self.blocks(), &mut bits);
            bits
        }
    }
}
