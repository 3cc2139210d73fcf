//! The functionality of the COT roles, for tests: a dealer from which both parties' halves come.

use std::sync::Arc;

use sotto_net::Channel;
use sotto_shares::Rng;
use zeroize::Zeroizing;

use crate::{
    batch::{Batch, Stored},
    block::Block,
    cots::{RecvCots, SendCots},
    domain::{Direction, Domain},
    error::Error,
    hash::PadHash,
    roles::{RandomCotReceiver, RandomCotSender},
};

/// Both halves of COTs, from a seed.
pub(crate) struct Dealer {
    rng: Rng,
    delta: Block,
    send_hash: Arc<PadHash>,
    recv_hash: Arc<PadHash>,
    next: u64,
}

impl Dealer {
    pub(crate) fn new(seed: u8) -> Dealer {
        let mut rng = Rng::from_seed([seed; 32]);
        let domain = Domain::new([seed; 32], Direction::Forward, 0);
        let hash = || Arc::new(PadHash::new(&domain, false));
        let delta = Block::random(&mut rng).with_low_bit();
        Dealer { delta, rng, send_hash: hash(), recv_hash: hash(), next: 0 }
    }

    /// The next `n` COTs.
    pub(crate) fn deal(&mut self, n: usize) -> (SendCots, RecvCots) {
        let q: Vec<Block> = (0..n).map(|_| Block::random(&mut self.rng).without_low_bit()).collect();
        let t = q.iter().map(|&q| q ^ self.delta.times(self.rng.bytes::<1>()[0].into())).collect();
        let batch = |hash: &Arc<PadHash>, blocks| {
            Batch::new(hash.clone(), Arc::new(Stored(Zeroizing::new(blocks))), 0, self.next, n)
        };
        let (sent, received) = (batch(&self.send_hash, q), batch(&self.recv_hash, t));
        self.next += n as u64;
        (SendCots::new(self.delta, sent), RecvCots::new(received))
    }
}

/// `n` COTs.
pub(crate) fn cots(seed: u8, n: usize) -> (SendCots, RecvCots) {
    Dealer::new(seed).deal(n)
}

pub(crate) struct IdealSender(Dealer);
pub(crate) struct IdealReceiver(Dealer);

pub(crate) fn pair(seed: u8) -> (IdealSender, IdealReceiver) {
    (IdealSender(Dealer::new(seed)), IdealReceiver(Dealer::new(seed)))
}

impl RandomCotSender for IdealSender {
    fn delta(&self) -> Block {
        self.0.delta
    }
    fn ready(&self) -> usize {
        usize::MAX
    }
    async fn begin(&mut self, _: &mut Channel, _: usize) -> Result<(), Error> {
        Ok(())
    }
    async fn extend(&mut self, _: &mut Channel, n: usize) -> Result<SendCots, Error> {
        Ok(self.0.deal(n).0)
    }
}

impl RandomCotReceiver for IdealReceiver {
    fn ready(&self) -> usize {
        usize::MAX
    }
    async fn begin(&mut self, _: &mut Channel, _: usize) -> Result<(), Error> {
        Ok(())
    }
    async fn extend(&mut self, _: &mut Channel, n: usize) -> Result<RecvCots, Error> {
        Ok(self.0.deal(n).1)
    }
}
