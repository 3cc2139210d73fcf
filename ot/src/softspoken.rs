//! SoftSpoken OT extension: any number of random-choice COTs from 128 base OTs.
//!
//! | receiver: all leaves of `128/k` trees           |                      | sender: `Delta`, all leaves but `Delta_i`     |
//! |--------------------------------------------------|----------------------|------------------------------------------------|
//! | `u_i = sum_x PRG(x)`, `v_i = sum_x x PRG(x)`     |                      | `w_i = sum_y y PRG(y ^ Delta_i) = v_i ^ Delta_i u_i` |
//! | `b = u_0`, `c_i = u_i ^ b`, `i >= 1`             | `-- softspoken/u ->` |                                                |
//! | `t` = columns of `v`                             |                      | `q` = columns of `w_i ^ Delta_i c_i`           |
//! | returns `b_j`, `t_j = q_j ^ b_j Delta`           |                      | returns `q_j`                                  |
//!
//! One message, no answer: `(128/k - 1) ceil(n/8)` bytes for `n` COTs; one turn. `Delta_i` in GF(2^k) is the
//! `i`-th group of `k` bits of `Delta`; sums are XORs; a row of `v_i` per bit of `x`. The sender sees `c`,
//! which the unknown leaf masks; the receiver sees nothing. Semi-honest: no consistency check.
//! `Delta` is odd, so row 0 of `v` is row 0 of `w` plus `b`: it is replaced by `b`, and by zeros at the sender, so that `q` is even.
//! Setup: one message `softspoken/ggm` of 4096 bytes punctures the trees (see [`crate::ggm`]).
//! Source: Roy, CRYPTO 2022 (eprint 2022/192), figure 8 with the repetition code.

use std::{collections::VecDeque, sync::Arc};

use rand::RngCore;
use rayon::prelude::*;
use sotto_net::{Channel, Expected, compute};
use zeroize::Zeroizing;

use crate::{
    Error, RandomCotReceiver, RandomCotSender, RecvCots, SendCots,
    base::{BaseRecv, BaseSend},
    block::{Block, LAMBDA},
    cots::{Batch, Stored},
    domain::Domain,
    ggm,
    hash::PadHash,
    kernel::{Bank, Cipher},
    small_field::Workspace,
};

pub(crate) const U: &str = "ot/softspoken/u";
pub(crate) const GGM: &str = "ot/softspoken/ggm";
/// Bytes of the message that punctures the trees.
pub(crate) const GGM_LEN: usize = 2 * LAMBDA * 16;

/// COTs expanded at a time: the rows of a chunk fit the first-level cache.
const CHUNK: usize = 2048;

/// COTs of a message at least.
const BATCH: usize = 1 << 15;

/// The COT sender of SoftSpoken OT with subfields of `2^K` elements, `K` in 1, 2, 4, 8.
pub struct SoftSpokenSender<const K: usize> {
    /// Per tree, `2^K` generators in the order of [`ggm::punctured`]; the first is meaningless.
    trees: Vec<Bank>,
    delta: Zeroizing<Block>,
    at: Position,
    stock: SendCots,
    hash: Arc<PadHash>,
    /// Messages that are on their way: about how many COTs, from where.
    announced: VecDeque<(usize, Position, Expected)>,
}

/// The COT receiver of SoftSpoken OT with subfields of `2^K` elements, `K` in 1, 2, 4, 8.
pub struct SoftSpokenReceiver<const K: usize> {
    trees: Vec<Bank>,
    at: Position,
    stock: RecvCots,
    hash: Arc<PadHash>,
}

impl<const K: usize> SoftSpokenReceiver<K> {
    /// The receiver, from the sender's end of 128 base OTs, and its message to the COT sender.
    pub(crate) fn new(domain: &Domain, base: BaseSend, rng: &mut impl RngCore) -> (Self, Vec<u8>) {
        const { assert!(LAMBDA.is_multiple_of(K) && K <= 8) };
        let mut message = Vec::with_capacity(GGM_LEN);
        let mut trees = Vec::with_capacity(LAMBDA / K);
        for (tree, keys) in base.0.chunks_exact(K).enumerate() {
            let (leaves, sums) = ggm::full(domain, tree, Block::random(rng), K);
            trees.push(Bank::new(&leaves, Cipher::new));
            for (sums, keys) in sums.iter().zip(keys.iter().rev()) {
                message.extend((sums[0] ^ keys[0]).to_bytes());
                message.extend((sums[1] ^ keys[1]).to_bytes());
            }
        }
        let hash = Arc::new(PadHash::new(domain, false));
        let stock = RecvCots::new(hash.clone(), Batch::empty());
        (SoftSpokenReceiver { trees, at: Position::default(), stock, hash }, message)
    }

    /// Makes `n` COTs' blocks, the first one's index, and the message that the sender needs to make its half.
    fn expand(&mut self, n: usize) -> (Zeroizing<Vec<Block>>, u64, Vec<u8>) {
        let at = self.at.advance(n);
        let mut t = Zeroizing::new(vec![Block::ZERO; n]);
        let mut message = vec![0; message_len::<K>(n)];
        let chunks = t.par_chunks_mut(CHUNK).zip(message.par_chunks_mut(message_len::<K>(CHUNK)));
        chunks.enumerate().for_each_init(Workspace::default, |work, (chunk, (t, message))| {
            work.resize(t.len());
            let mut message = message.chunks_exact_mut(t.len().div_ceil(8));
            for (tree, leaves) in self.trees.iter().enumerate() {
                work.fold::<K>(tree, leaves, at.block_of(chunk));
                if tree == 0 {
                    work.keep_choices();
                } else {
                    work.write_correction(message.next().expect("a row for each tree but the first"));
                }
            }
            work.put_choices_lowest();
            work.transpose(t);
        });
        (t, at.index, message)
    }

    /// Exactly `n` COTs' blocks, for what starts from them, and the message.
    pub(crate) fn blocks(&mut self, n: usize) -> (Zeroizing<Vec<Block>>, Vec<u8>) {
        let (t, _, message) = self.expand(n);
        (t, message)
    }
}

impl<const K: usize> RandomCotReceiver for SoftSpokenReceiver<K> {
    fn ready(&self) -> usize {
        self.stock.len()
    }

    async fn prepay(&mut self, ch: &mut Channel, n: usize) -> Result<(), Error> {
        if let Some(n) = batch(n, self.ready()) {
            let (t, first, message) = compute(|| self.expand(n));
            ch.send(U, message)?;
            self.stock.append(RecvCots::new(self.hash.clone(), Batch::new(Arc::new(Stored(t)), 0, first, n)));
        }
        Ok(())
    }

    async fn settle(&mut self, _: &mut Channel) -> Result<(), Error> {
        Ok(())
    }

    async fn extend(&mut self, ch: &mut Channel, n: usize) -> Result<RecvCots, Error> {
        self.prepay(ch, n).await?;
        Ok(self.stock.take(n))
    }
}

impl<const K: usize> SoftSpokenSender<K> {
    /// The sender, from the receiver's end of 128 base OTs and the receiver's message; `Delta`, which must be odd, is the
    /// complement of the base OTs' choices.
    pub(crate) fn new(domain: &Domain, base: BaseRecv, message: &[u8]) -> Self {
        assert_eq!(message.len(), GGM_LEN, "length of {GGM}");
        let delta = !base.choices;
        assert!(delta.bit(0) == 1, "an odd Delta");
        let mut trees = Vec::with_capacity(LAMBDA / K);
        for (tree, message) in message.chunks_exact(32 * K).enumerate() {
            let path = (delta.0 >> (K * tree)) as u64 & ((1 << K) - 1);
            let sums = message.chunks_exact(32).enumerate().map(|(level, pair)| {
                let j = K * tree + K - 1 - level;
                let side = |i: usize| Block::from_bytes(std::array::from_fn(|n| pair[16 * i + n]));
                side(0) ^ (side(0) ^ side(1)).times(base.choices.bit(j)) ^ base.keys[j]
            });
            let sums = Zeroizing::new(sums.collect::<Vec<_>>());
            trees.push(Bank::new(&ggm::punctured(domain, tree, path, &sums), Cipher::new));
        }
        let hash = Arc::new(PadHash::new(domain, false));
        let stock = SendCots::new(hash.clone(), delta, Batch::empty());
        let (delta, at) = (Zeroizing::new(delta), Position::default());
        SoftSpokenSender { trees, delta, at, stock, hash, announced: VecDeque::new() }
    }

    /// Makes the sender's half of the COTs that `message` is about.
    fn expand(&self, n: usize, at: Position, message: &[u8]) -> Zeroizing<Vec<Block>> {
        let mut q = Zeroizing::new(vec![Block::ZERO; n]);
        let chunks = q.par_chunks_mut(CHUNK).zip(message.par_chunks(message_len::<K>(CHUNK)));
        chunks.enumerate().for_each_init(Workspace::default, |work, (chunk, (q, message))| {
            work.resize(q.len());
            let mut message = message.chunks_exact(q.len().div_ceil(8));
            for (tree, leaves) in self.trees.iter().enumerate() {
                work.fold::<K>(tree, leaves, at.block_of(chunk));
                if tree > 0 {
                    let c = message.next().expect("a row for each tree but the first");
                    work.correct::<K>(tree, *self.delta, c);
                }
            }
            work.clear_lowest();
            work.transpose(q);
        });
        q
    }

    /// Receives announced messages until `n` COTs are there, or all that were announced.
    async fn make_ready(&mut self, ch: &mut Channel, n: usize) -> Result<(), Error> {
        while self.stock.len() < n {
            let Some((len, at, announced)) = self.announced.pop_front() else { break };
            let message = ch.claim(announced).await?;
            let q = Arc::new(Stored(compute(|| self.expand(len, at, &message))));
            self.stock.append(SendCots::new(self.hash.clone(), *self.delta, Batch::new(q, 0, at.index, len)));
        }
        Ok(())
    }

    /// As [`SoftSpokenReceiver::blocks`].
    pub(crate) async fn blocks(
        &mut self,
        ch: &mut Channel,
        n: usize,
    ) -> Result<Zeroizing<Vec<Block>>, Error> {
        let at = self.at.advance(n);
        let message = ch.recv(U, message_len::<K>(n)).await?;
        Ok(compute(|| self.expand(n, at, &message)))
    }
}

impl<const K: usize> RandomCotSender for SoftSpokenSender<K> {
    fn delta(&self) -> Block {
        *self.delta
    }

    fn ready(&self) -> usize {
        self.stock.len() + self.announced.iter().map(|(n, ..)| n).sum::<usize>()
    }

    async fn prepay(&mut self, ch: &mut Channel, n: usize) -> Result<(), Error> {
        if let Some(n) = batch(n, self.ready()) {
            let at = self.at.advance(n);
            self.announced.push_back((n, at, ch.expect(U, message_len::<K>(n))));
        }
        Ok(())
    }

    async fn settle(&mut self, ch: &mut Channel) -> Result<(), Error> {
        self.make_ready(ch, usize::MAX).await
    }

    async fn extend(&mut self, ch: &mut Channel, n: usize) -> Result<SendCots, Error> {
        self.prepay(ch, n).await?;
        self.make_ready(ch, n).await?;
        Ok(self.stock.take(n))
    }
}

/// COTs of the next message, if `n` are wanted and `ready` are there.
fn batch(n: usize, ready: usize) -> Option<usize> {
    (n > ready).then(|| (n - ready).max(BATCH))
}

/// Bytes of the message for `n` COTs: `128/k - 1` bits each; every row of a chunk ends at a byte.
fn message_len<const K: usize>(n: usize) -> usize {
    (LAMBDA / K - 1) * n.div_ceil(8)
}

/// What has been used up: never turns back, also after an error.
#[derive(Clone, Copy, Default)]
struct Position {
    /// The next COT's index.
    index: u64,
    /// The generators' next block.
    block: u64,
}

impl Position {
    /// Uses up `n` COTs; returns where they begin.
    fn advance(&mut self, n: usize) -> Position {
        let before = *self;
        self.index += n as u64;
        self.block += n.div_ceil(LAMBDA) as u64;
        before
    }

    /// The generators' block that a chunk begins with.
    fn block_of(self, chunk: usize) -> u64 {
        self.block + (chunk * CHUNK / LAMBDA) as u64
    }
}

#[cfg(test)]
mod tests {
    use sotto_net::{HEADER_LEN, run_pair};
    use sotto_shares::Rng;

    use super::*;
    use crate::{
        cots::tests::{SIZES, contract},
        domain::Direction,
    };

    /// Both ends, from dealt base OTs.
    fn pair<const K: usize>(seed: u8) -> (SoftSpokenSender<K>, SoftSpokenReceiver<K>) {
        let mut rng = Rng::from_seed([seed; 32]);
        let domain = Domain::new([seed; 32], Direction::Forward, 0);
        let choices = Block::random(&mut rng).without_low_bit();
        let keys: Vec<[Block; 2]> =
            (0..LAMBDA).map(|_| [Block::random(&mut rng), Block::random(&mut rng)]).collect();
        let chosen = (0..LAMBDA).map(|j| keys[j][choices.bit(j) as usize]).collect();
        let (receiver, message) = SoftSpokenReceiver::new(&domain, BaseSend(Zeroizing::new(keys)), &mut rng);
        let base = BaseRecv { choices, keys: Zeroizing::new(chosen) };
        (SoftSpokenSender::new(&domain, base, &message), receiver)
    }

    #[test]
    fn keeps_the_contract_for_every_field_size() {
        contract(pair::<1>(1), &SIZES);
        contract(pair::<2>(2), &SIZES);
        contract(pair::<4>(4), &[&SIZES[..]; 3].concat().leak()[..]);
        contract(pair::<8>(8), &SIZES);
    }

    #[test]
    fn blocks_of_any_number_fit_together() {
        for n in [1, 63, 64, 65, 127, 128, 129, 1000, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 77] {
            let (mut sender, mut receiver) = pair::<8>(3);
            let delta = sender.delta();
            let ((q, cost), t) = run_pair(
                move |mut ch| async move {
                    let q = sender.blocks(&mut ch, n).await.unwrap();
                    (q, ch.meter.total())
                },
                move |mut ch| async move {
                    let (t, message) = receiver.blocks(n);
                    ch.send(U, message).unwrap();
                    t
                },
            );
            assert!((0..n).all(|i| t[i].0 == (q[i] ^ delta.times(t[i].bit(0))).0));
            assert_eq!((cost.sent, cost.turns), (0, 1));
            assert_eq!(cost.received as usize, HEADER_LEN + 15 * n.div_ceil(8));
        }
    }

    #[test]
    fn the_message_has_the_stated_length_and_takes_one_turn() {
        for n in [1, BATCH, BATCH + 1, BATCH + CHUNK] {
            let (mut sender, mut receiver) = pair::<4>(3);
            let (cost, _) = run_pair(
                move |mut ch| async move {
                    sender.extend(&mut ch, n).await.unwrap();
                    ch.meter.total()
                },
                move |mut ch| async move { receiver.extend(&mut ch, n).await.unwrap() },
            );
            assert_eq!((cost.sent, cost.turns), (0, 1));
            assert_eq!(cost.received as usize, HEADER_LEN + 31 * n.max(BATCH).div_ceil(8));
        }
    }

    #[test]
    fn a_wrong_length_is_named() {
        let (mut sender, mut receiver) = pair::<4>(3);
        let (result, _) = run_pair(
            move |mut ch| async move { sender.extend(&mut ch, 40_000).await.map(drop) },
            move |mut ch| async move { receiver.extend(&mut ch, 80_000).await.map(drop) },
        );
        assert!(matches!(
            result,
            Err(Error::Net(sotto_net::Error::WrongLength { step: U, expected: 155_000, got: 310_000 }))
        ));
    }
}
