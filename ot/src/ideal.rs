//! The functionality of the COT roles, for tests: a dealer that both parties' halves come from.

use std::sync::Arc;

use sotto_net::Channel;
use sotto_shares::Rng;
use zeroize::Zeroizing;

use crate::{
    Block, Error, RandomCotReceiver, RandomCotSender, RecvCots, SendCots,
    domain::{Direction, Domain},
    hash::CrHash,
};

/// Both halves of COTs, from a seed.
pub(crate) struct Dealer {
    rng: Rng,
    delta: Block,
    send_hash: Arc<CrHash>,
    recv_hash: Arc<CrHash>,
    next: u64,
}

impl Dealer {
    pub(crate) fn new(seed: u8) -> Dealer {
        let mut rng = Rng::from_seed([seed; 32]);
        let domain = Domain::new([seed; 32], Direction::Forward);
        let hash = || Arc::new(CrHash::new(&domain));
        Dealer { delta: Block::random(&mut rng), rng, send_hash: hash(), recv_hash: hash(), next: 0 }
    }

    pub(crate) fn deal(&mut self, n: usize) -> (SendCots, RecvCots) {
        let q: Vec<Block> = (0..n).map(|_| Block::random(&mut self.rng)).collect();
        let b: Vec<u8> = (0..n).map(|_| self.rng.bytes::<1>()[0] & 1).collect();
        let t = q.iter().zip(&b).map(|(&q, &b)| q ^ self.delta.times(b.into())).collect();
        let first = self.next;
        self.next += n as u64;
        let sent = SendCots::new(self.send_hash.clone(), self.delta, first, Zeroizing::new(q));
        (sent, RecvCots::new(self.recv_hash.clone(), first, Zeroizing::new(b), Zeroizing::new(t)))
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
    async fn extend(&mut self, _: &mut Channel, n: usize) -> Result<SendCots, Error> {
        Ok(self.0.deal(n).0)
    }
}

impl RandomCotReceiver for IdealReceiver {
    async fn extend(&mut self, _: &mut Channel, n: usize) -> Result<RecvCots, Error> {
        Ok(self.0.deal(n).1)
    }
}
