//! The outputs of a party's rounds, handed out in order.

use std::{collections::VecDeque, sync::Arc};

use zeroize::Zeroizing;

use super::rounds::{Round, Trees};
use crate::{batch::Batch, block::Block, hash::PadHash, lpn::LpnParams};

/// A party's rounds: those with outputs left, and the last one, from which the next one starts.
pub(super) struct Outputs<T> {
    pub(super) params: LpnParams,
    hash: Arc<PadHash>,
    /// COTs that a round starts from: the first outputs of the round before.
    base_len: usize,
    /// What the first round starts from.
    base: Zeroizing<Vec<Block>>,
    last: Option<Arc<Round<T>>>,
    /// Rounds computed so far: the number of the next one.
    pub(super) computed: u64,
    /// Rounds whose outputs may be handed out, with their numbers.
    open: VecDeque<(u64, Arc<Round<T>>)>,
    opened: u64,
    /// Position of the next output in the first open round.
    at: usize,
    /// Outputs left in open rounds.
    pub(super) ready: usize,
}

impl<T: Trees + 'static> Outputs<T> {
    /// No rounds yet; the first one starts from `base`.
    ///
    /// # Panics
    /// If these are not `base_len` COTs.
    pub(super) fn new(
        hash: Arc<PadHash>,
        params: LpnParams,
        base_len: usize,
        base: Zeroizing<Vec<Block>>,
    ) -> Outputs<T> {
        assert_eq!(base.len(), base_len, "COTs that a first round starts from");
        let open = VecDeque::new();
        Outputs {
            params,
            hash,
            base_len,
            base,
            last: None,
            computed: 0,
            open,
            opened: 0,
            at: base_len,
            ready: 0,
        }
    }

    /// COTs that a round hands out.
    pub(super) fn per_round(&self) -> usize {
        self.params.samples() - self.base_len
    }

    /// What the next round starts from. To be called once for each round.
    pub(super) fn next_base(&mut self) -> Zeroizing<Vec<Block>> {
        match self.last.take() {
            Some(last) => last.next_base(self.base_len),
            None => std::mem::take(&mut self.base),
        }
    }

    /// Makes the round the one from which the next one starts.
    pub(super) fn push(&mut self, round: &Arc<Round<T>>) {
        self.last = Some(round.clone());
        self.computed += 1;
    }

    /// Allows the outputs of the first round that is not open to be handed out.
    pub(super) fn open(&mut self, round: Arc<Round<T>>) {
        self.open.push_back((self.opened, round));
        self.opened += 1;
        self.ready += self.per_round();
    }

    /// The next `n` outputs.
    ///
    /// # Panics
    /// If fewer are ready.
    pub(super) fn take(&mut self, n: usize) -> Batch {
        let mut batch = Batch::empty(self.hash.clone());
        let mut missing = n;
        while missing > 0 {
            let (number, round) = self.open.front().expect("as many outputs are ready as are taken");
            let len = missing.min(self.params.samples() - self.at);
            let index = number * self.params.samples() as u64 + self.at as u64;
            batch.append(Batch::new(self.hash.clone(), round.clone(), self.at, index, len));
            self.at += len;
            if self.at == self.params.samples() {
                self.open.pop_front();
                self.at = self.base_len;
            }
            missing -= len;
        }
        self.ready -= n;
        batch
    }
}
