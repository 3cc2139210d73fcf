//! The COT receiver of SoftSpoken OT.

use std::{marker::PhantomData, sync::Arc};

use rand::RngCore;
use rayon::prelude::*;
use sotto_net::{Channel, compute};
use zeroize::Zeroizing;

use super::{
    check::{digest, total, values},
    rows::Workspace,
    sizes::{CHUNK, Position, U, batch, ggm_len, padded, rows_len},
};
use crate::{
    base::BaseSend,
    batch::{Batch, Stored},
    block::{Block, LAMBDA},
    check::{Security, SemiHonest},
    cots::RecvCots,
    domain::Domain,
    error::Error,
    ggm,
    hash::PadHash,
    kernel::Bank,
    roles::RandomCotReceiver,
};

/// The COT receiver of SoftSpoken OT with subfields of `2^K` elements, `K` in 1, 2, 4, 8.
pub struct SoftSpokenReceiver<const K: usize, S: Security = SemiHonest> {
    /// For each tree the generators of its `2^K` leaves.
    trees: Vec<Bank>,
    at: Position,
    /// COTs made and not handed out.
    stock: RecvCots,
    hash: Arc<PadHash>,
    domain: Domain,
    security: PhantomData<S>,
}

impl<const K: usize, S: Security> SoftSpokenReceiver<K, S> {
    /// The receiver, from both keys of 128 base OTs, and its message to the COT sender.
    pub(crate) fn new(domain: &Domain, base: BaseSend, rng: &mut impl RngCore) -> (Self, Vec<u8>) {
        const { assert!(LAMBDA.is_multiple_of(K) && K <= 8) };
        let mut message = Vec::with_capacity(ggm_len::<K, S>());
        let mut trees = Vec::with_capacity(LAMBDA / K);
        for (tree, keys) in base.0.chunks_exact(K).enumerate() {
            let (leaves, sums) = ggm::full(domain, tree, Block::random(rng), K);
            trees.push(leaves);
            for (sums, keys) in sums.iter().zip(keys.iter().rev()) {
                message.extend((sums[0] ^ keys[0]).to_bytes());
                message.extend((sums[1] ^ keys[1]).to_bytes());
            }
        }
        if S::CHECKED {
            message.extend(ggm::prove(domain, &mut trees));
        }
        let hash = Arc::new(PadHash::new(domain, S::CHECKED));
        let stock = RecvCots::empty(&hash);
        let trees = trees.iter().map(|leaves| Bank::new(leaves)).collect();
        let at = Position::default();
        (SoftSpokenReceiver { trees, at, stock, hash, domain: *domain, security: PhantomData }, message)
    }

    /// The blocks `t` of the next `n` COTs and of those that a check adds, the index of the first,
    /// and the message to the sender.
    pub(super) fn expand(&mut self, n: usize) -> (Zeroizing<Vec<Block>>, u64, Vec<u8>) {
        let n = padded::<S>(n);
        let at = self.at.advance(n);
        let mut t = Zeroizing::new(vec![Block::ZERO; n]);
        let mut message = vec![0; rows_len::<K>(n)];
        let chunks = t.par_chunks_mut(CHUNK).zip(message.par_chunks_mut(rows_len::<K>(CHUNK)));
        let expand = |work: &mut Workspace, (chunk, (t, message)): (usize, (&mut [Block], &mut [u8]))| {
            work.resize(t.len());
            let mut rows = message.chunks_exact_mut(t.len().div_ceil(8));
            for (tree, leaves) in self.trees.iter().enumerate() {
                work.fold::<K>(tree, leaves, at.block_of(chunk));
                if tree == 0 {
                    work.keep_choices();
                } else {
                    work.write_correction(rows.next().expect("a row for each tree but the first"));
                }
            }
            let values = values::<S>(&self.domain, work, at, chunk, message);
            work.put_choices_lowest();
            work.transpose(t);
            values
        };
        let values: Vec<Zeroizing<Vec<Block>>> =
            chunks.enumerate().map_init(Workspace::default, expand).collect();
        if S::CHECKED {
            let total = total(&self.domain, at, &values, &message);
            message.extend(total[0].to_bytes());
            message.extend(digest(total[1..].iter().copied()));
        }
        (t, at.index, message)
    }

    /// The blocks of `n` COTs that another extension starts from, and the message to the sender.
    pub(crate) fn blocks(&mut self, n: usize) -> (Zeroizing<Vec<Block>>, Vec<u8>) {
        let (mut t, _, message) = self.expand(n);
        t.truncate(n);
        (t, message)
    }
}

impl<const K: usize, S: Security> RandomCotReceiver for SoftSpokenReceiver<K, S> {
    fn ready(&self) -> usize {
        self.stock.len()
    }

    async fn begin(&mut self, ch: &mut Channel, n: usize) -> Result<(), Error> {
        if let Some(n) = batch(n, self.ready()) {
            let (t, first, message) = compute(|| self.expand(n));
            ch.send(U, message)?;
            let batch = Batch::new(self.hash.clone(), Arc::new(Stored(t)), 0, first, n);
            self.stock.append(RecvCots::new(batch));
        }
        Ok(())
    }

    async fn extend(&mut self, ch: &mut Channel, n: usize) -> Result<RecvCots, Error> {
        self.begin(ch, n).await?;
        Ok(self.stock.take(n))
    }
}
