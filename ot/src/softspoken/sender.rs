//! The COT sender of SoftSpoken OT.

use std::{collections::VecDeque, marker::PhantomData, sync::Arc};

use rayon::prelude::*;
use sotto_net::{Channel, Expected, compute};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    check::{digest, total, values},
    rows::Workspace,
    sizes::{CHUNK, GGM, Position, SUMS_LEN, U, batch, ggm_len, message_len, padded, rows_len},
};
use crate::{
    base::BaseRecv,
    batch::{Batch, Stored},
    block::{Block, LAMBDA},
    check::{Security, SemiHonest},
    cots::SendCots,
    domain::Domain,
    error::Error,
    ggm,
    hash::PadHash,
    kernel::Bank,
    roles::RandomCotSender,
};

/// The COT sender of SoftSpoken OT with subfields of `2^K` elements, `K` in 1, 2, 4, 8.
pub struct SoftSpokenSender<const K: usize, S: Security = SemiHonest> {
    /// For each tree `2^K` generators, in the order of [`ggm::punctured`]; the first one is not the
    /// tree's.
    trees: Vec<Bank>,
    delta: Zeroizing<Block>,
    pub(super) at: Position,
    /// COTs made and not handed out.
    stock: SendCots,
    hash: Arc<PadHash>,
    /// Messages that have begun and are not received.
    expected: VecDeque<ExpectedMessage>,
    domain: Domain,
    security: PhantomData<S>,
}

/// A message that the receiver sends, or has sent.
struct ExpectedMessage {
    /// COTs that it is for.
    cots: usize,
    /// Where they begin.
    at: Position,
    frame: Expected,
}

impl<const K: usize, S: Security> SoftSpokenSender<K, S> {
    /// The sender, from the chosen keys of 128 base OTs and the COT receiver's message. `Delta` is
    /// the complement of the base OTs' choices.
    ///
    /// # Errors
    /// [`Error::Inconsistent`] in a checked session.
    ///
    /// # Panics
    /// If the message is not [`ggm_len`] bytes long, or `Delta` is even.
    pub(crate) fn new(domain: &Domain, base: BaseRecv, message: &[u8]) -> Result<Self, Error> {
        assert_eq!(message.len(), ggm_len::<K, S>(), "length of {GGM}");
        let delta = !base.choices;
        assert!(delta.bit(0) == 1, "an odd Delta");
        let (sums, proof) = message.split_at(SUMS_LEN);
        let path = |tree: usize| (delta.0 >> (K * tree)) as u64 & ((1 << K) - 1);
        let mut trees = Vec::with_capacity(LAMBDA / K);
        for (tree, sums) in sums.chunks_exact(32 * K).enumerate() {
            let sums = sums.chunks_exact(32).enumerate().map(|(level, pair)| {
                let j = K * tree + K - 1 - level;
                let side = |i: usize| Block::from_bytes(std::array::from_fn(|n| pair[16 * i + n]));
                side(0) ^ (side(0) ^ side(1)).times(base.choices.bit(j)) ^ base.keys[j]
            });
            let sums = Zeroizing::new(sums.collect::<Vec<_>>());
            trees.push(ggm::punctured(domain, tree, path(tree), &sums));
        }
        if S::CHECKED && !ggm::verify(domain, &mut trees, path, proof) {
            return Err(Error::Inconsistent { step: GGM });
        }
        let hash = Arc::new(PadHash::new(domain, S::CHECKED));
        let stock = SendCots::empty(delta, &hash);
        Ok(SoftSpokenSender {
            trees: trees.iter().map(|leaves| Bank::new(leaves)).collect(),
            delta: Zeroizing::new(delta),
            at: Position::default(),
            stock,
            hash,
            expected: VecDeque::new(),
            domain: *domain,
            security: PhantomData,
        })
    }

    /// The blocks `q` of the `n` COTs that `message` is for, and of those that a check adds.
    pub(super) fn expand(
        &self,
        n: usize,
        at: Position,
        message: &[u8],
    ) -> Result<Zeroizing<Vec<Block>>, Error> {
        let n = padded::<S>(n);
        let (message, proof) = message.split_at(rows_len::<K>(n));
        let mut q = Zeroizing::new(vec![Block::ZERO; n]);
        let chunks = q.par_chunks_mut(CHUNK).zip(message.par_chunks(rows_len::<K>(CHUNK)));
        let expand = |work: &mut Workspace, (chunk, (q, message)): (usize, (&mut [Block], &[u8]))| {
            work.resize(q.len());
            let mut rows = message.chunks_exact(q.len().div_ceil(8));
            for (tree, leaves) in self.trees.iter().enumerate() {
                work.fold::<K>(tree, leaves, at.block_of(chunk));
                if tree > 0 {
                    let c = rows.next().expect("a row for each tree but the first");
                    work.correct::<K>(tree, *self.delta, c);
                }
            }
            let values = values::<S>(&self.domain, work, at, chunk, message);
            work.clear_lowest();
            work.transpose(q);
            values
        };
        let values: Vec<Zeroizing<Vec<Block>>> =
            chunks.enumerate().map_init(Workspace::default, expand).collect();
        if S::CHECKED {
            let (choices, stated) = proof.split_at(16);
            let choices = Block::from_bytes(std::array::from_fn(|i| choices[i]));
            let rows = total(&self.domain, at, &values, message);
            let expected = rows[1..].iter().enumerate().map(|(j, &w)| w ^ choices.times(self.delta.bit(j)));
            if !bool::from(digest(expected).ct_eq(stated)) {
                return Err(Error::Inconsistent { step: U });
            }
        }
        Ok(q)
    }

    /// The blocks of `n` COTs that another extension starts from.
    ///
    /// # Errors
    /// As [`RandomCotSender::receive`].
    pub(crate) async fn blocks(
        &mut self,
        ch: &mut Channel,
        n: usize,
    ) -> Result<Zeroizing<Vec<Block>>, Error> {
        let at = self.at.advance(padded::<S>(n));
        let message = ch.recv(U, message_len::<K, S>(n)).await?;
        let mut q = compute(|| self.expand(n, at, &message))?;
        q.truncate(n);
        Ok(q)
    }
}

impl<const K: usize, S: Security> RandomCotSender for SoftSpokenSender<K, S> {
    fn delta(&self) -> Block {
        *self.delta
    }

    fn ready(&self) -> usize {
        self.stock.len() + self.expected.iter().map(|message| message.cots).sum::<usize>()
    }

    async fn begin(&mut self, ch: &mut Channel, n: usize) -> Result<(), Error> {
        if let Some(cots) = batch(n, self.ready()) {
            let at = self.at.advance(padded::<S>(cots));
            let frame = ch.expect(U, message_len::<K, S>(cots));
            self.expected.push_back(ExpectedMessage { cots, at, frame });
        }
        Ok(())
    }

    async fn receive(&mut self, ch: &mut Channel, n: usize) -> Result<(), Error> {
        while self.stock.len() < n {
            let Some(ExpectedMessage { cots, at, frame }) = self.expected.pop_front() else { break };
            let message = ch.claim(frame).await?;
            let q = Arc::new(Stored(compute(|| self.expand(cots, at, &message))?));
            let batch = Batch::new(self.hash.clone(), q, 0, at.index, cots);
            self.stock.append(SendCots::new(*self.delta, batch));
        }
        Ok(())
    }

    async fn extend(&mut self, ch: &mut Channel, n: usize) -> Result<SendCots, Error> {
        self.begin(ch, n).await?;
        self.receive(ch, n).await?;
        Ok(self.stock.take(n))
    }
}
