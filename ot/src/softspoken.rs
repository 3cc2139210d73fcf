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
//! Setup: one message `softspoken/ggm` of 4096 bytes punctures the trees (see [`crate::ggm`]).
//! Source: Roy, CRYPTO 2022 (eprint 2022/192), figure 8 with the repetition code.

use std::sync::Arc;

use rand::RngCore;
use sotto_net::{Channel, compute};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    Error, RandomCotReceiver, RandomCotSender, RecvCots, SendCots,
    base::{BaseRecv, BaseSend},
    block::{Block, LAMBDA},
    domain::Domain,
    ggm,
    hash::CrHash,
    small_field::{Prg, Workspace},
};

const U: &str = "ot/softspoken/u";
pub(crate) const GGM: &str = "ot/softspoken/ggm";
/// Bytes of the message that punctures the trees.
pub(crate) const GGM_LEN: usize = 2 * LAMBDA * 16;

/// COTs expanded at a time; bounds the working memory beside message and result.
const CHUNK: usize = 8192;

/// The COT sender of SoftSpoken OT with subfields of `2^K` elements, `K` in 1, 2, 4, 8.
pub struct SoftSpokenSender<const K: usize = 4> {
    /// Per tree, `2^K` generators in the order of [`ggm::punctured`]; the first is meaningless.
    leaves: Vec<Prg>,
    delta: Block,
    at: Position,
    hash: Arc<CrHash>,
}

/// The COT receiver of SoftSpoken OT with subfields of `2^K` elements, `K` in 1, 2, 4, 8.
pub struct SoftSpokenReceiver<const K: usize = 4> {
    leaves: Vec<Prg>,
    at: Position,
    hash: Arc<CrHash>,
}

impl<const K: usize> SoftSpokenReceiver<K> {
    /// The receiver, from the sender's end of 128 base OTs, and its message to the COT sender.
    pub(crate) fn new(domain: &Domain, base: BaseSend, rng: &mut impl RngCore) -> (Self, Vec<u8>) {
        const { assert!(LAMBDA.is_multiple_of(K) && K <= 8) };
        let mut message = Vec::with_capacity(GGM_LEN);
        let mut all = Vec::with_capacity((LAMBDA / K) << K);
        for (tree, keys) in base.0.chunks_exact(K).enumerate() {
            let (leaves, sums) = ggm::full(domain, tree, Block::random(rng), K);
            all.extend(leaves.iter().map(Prg::new));
            for (sums, keys) in sums.iter().zip(keys.iter().rev()) {
                message.extend((sums[0] ^ keys[0]).to_bytes());
                message.extend((sums[1] ^ keys[1]).to_bytes());
            }
        }
        let hash = Arc::new(CrHash::new(domain));
        (SoftSpokenReceiver { leaves: all, at: Position::default(), hash }, message)
    }

    /// Makes `n` COTs and the message that the sender needs to make its half of them.
    fn expand(&mut self, n: usize) -> (RecvCots, Vec<u8>) {
        let mut work = Workspace::new(K, n.min(CHUNK));
        let mut t = Zeroizing::new(Vec::with_capacity(n));
        let mut b = Zeroizing::new(Vec::with_capacity(n));
        let mut message = Vec::with_capacity(message_len::<K>(n));
        let (first, blocks) = self.at.advance(n);
        for (chunk, lanes, at) in chunks(n, blocks) {
            work.lanes = lanes;
            for (tree, leaves) in self.leaves.chunks_exact(1 << K).enumerate() {
                work.fold::<K>(tree, leaves, at);
                if tree == 0 {
                    work.keep_choices(chunk, &mut b);
                } else {
                    work.put_correction(chunk.div_ceil(8), &mut message);
                }
            }
            work.transpose(chunk, &mut t);
        }
        (RecvCots::new(self.hash.clone(), first, b, t), message)
    }
}

impl<const K: usize> RandomCotReceiver for SoftSpokenReceiver<K> {
    async fn extend(&mut self, ch: &mut Channel, n: usize) -> Result<RecvCots, Error> {
        let (cots, message) = compute(|| self.expand(n));
        if n > 0 {
            ch.send(U, message)?;
        }
        Ok(cots)
    }
}

impl<const K: usize> SoftSpokenSender<K> {
    /// The sender, from the receiver's end of 128 base OTs and the receiver's message; `Delta` is the
    /// complement of the base OTs' choices.
    pub(crate) fn new(domain: &Domain, base: BaseRecv, message: &[u8]) -> Self {
        assert_eq!(message.len(), GGM_LEN, "length of {GGM}");
        let delta = !base.choices;
        let mut all = Vec::with_capacity((LAMBDA / K) << K);
        for (tree, message) in message.chunks_exact(32 * K).enumerate() {
            let path = (delta.0 >> (K * tree)) as u64 & ((1 << K) - 1);
            let sums = message.chunks_exact(32).enumerate().map(|(level, pair)| {
                let j = K * tree + K - 1 - level;
                let side = |i: usize| Block::from_bytes(std::array::from_fn(|n| pair[16 * i + n]));
                side(0) ^ (side(0) ^ side(1)).times(base.choices.bit(j)) ^ base.keys[j]
            });
            let sums = Zeroizing::new(sums.collect::<Vec<_>>());
            all.extend(ggm::punctured(domain, tree, path, &sums).iter().map(Prg::new));
        }
        SoftSpokenSender { leaves: all, delta, at: Position::default(), hash: Arc::new(CrHash::new(domain)) }
    }

    /// Makes the sender's half of the `n` COTs that `message` is about.
    fn expand(&mut self, n: usize, at: (u64, u64), message: &[u8]) -> SendCots {
        let mut work = Workspace::new(K, n.min(CHUNK));
        let mut q = Zeroizing::new(Vec::with_capacity(n));
        let mut rest = message;
        for (chunk, lanes, at) in chunks(n, at.1) {
            work.lanes = lanes;
            for (tree, leaves) in self.leaves.chunks_exact(1 << K).enumerate() {
                work.fold::<K>(tree, leaves, at);
                if tree > 0 {
                    let (c, after) = rest.split_at(chunk.div_ceil(8));
                    work.correct::<K>(tree, self.delta, c);
                    rest = after;
                }
            }
            work.transpose(chunk, &mut q);
        }
        SendCots::new(self.hash.clone(), self.delta, at.0, q)
    }
}

impl<const K: usize> RandomCotSender for SoftSpokenSender<K> {
    fn delta(&self) -> Block {
        self.delta
    }

    async fn extend(&mut self, ch: &mut Channel, n: usize) -> Result<SendCots, Error> {
        let at = self.at.advance(n);
        let message = if n > 0 { ch.recv(U, message_len::<K>(n)).await? } else { Vec::new() };
        Ok(compute(|| self.expand(n, at, &message)))
    }
}

impl<const K: usize> Drop for SoftSpokenSender<K> {
    fn drop(&mut self) {
        self.delta.zeroize();
    }
}

/// Bytes of the message for `n` COTs: `128/k - 1` bits each; every row of a chunk ends at a byte.
fn message_len<const K: usize>(n: usize) -> usize {
    (LAMBDA / K - 1) * n.div_ceil(8)
}

/// What has been used up: never turns back, also after an error.
#[derive(Default)]
struct Position {
    /// The next COT's index.
    index: u64,
    /// The generators' next block.
    block: u64,
}

impl Position {
    /// Uses up `n` COTs; returns the first one's index and the first block.
    fn advance(&mut self, n: usize) -> (u64, u64) {
        let before = (self.index, self.block);
        self.index += n as u64;
        self.block += n.div_ceil(LAMBDA) as u64;
        before
    }
}

/// The chunks of `n` COTs: how many COTs, how many blocks of each generator, from which block.
fn chunks(n: usize, block: u64) -> impl Iterator<Item = (usize, usize, u64)> {
    (0..n).step_by(CHUNK).map(move |start| {
        let chunk = CHUNK.min(n - start);
        (chunk, chunk.div_ceil(LAMBDA), block + (start / LAMBDA) as u64)
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use sotto_net::{HEADER_LEN, run_pair};
    use sotto_shares::Rng;

    use super::*;
    use crate::{cots::tests::contract, domain::Direction};

    /// Both ends, from dealt base OTs.
    pub(crate) fn pair<const K: usize>(seed: u8) -> (SoftSpokenSender<K>, SoftSpokenReceiver<K>) {
        let mut rng = Rng::from_seed([seed; 32]);
        let domain = Domain::new([seed; 32], Direction::Forward);
        let choices = Block::random(&mut rng);
        let keys: Vec<[Block; 2]> =
            (0..LAMBDA).map(|_| [Block::random(&mut rng), Block::random(&mut rng)]).collect();
        let chosen = (0..LAMBDA).map(|j| keys[j][choices.bit(j) as usize]).collect();
        let (receiver, message) = SoftSpokenReceiver::new(&domain, BaseSend(Zeroizing::new(keys)), &mut rng);
        let base = BaseRecv { choices, keys: Zeroizing::new(chosen) };
        (SoftSpokenSender::new(&domain, base, &message), receiver)
    }

    #[test]
    fn keeps_the_contract_for_every_field_size() {
        contract(pair::<1>(1));
        contract(pair::<2>(2));
        contract(pair::<4>(4));
        contract(pair::<8>(8));
    }

    #[test]
    fn the_message_has_the_stated_length_and_takes_one_turn() {
        for n in [1, 63, 64, 65, 127, 128, 129, 1000, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 77] {
            let (mut sender, mut receiver) = pair::<4>(3);
            let (cost, _) = run_pair(
                move |mut ch| async move {
                    sender.extend(&mut ch, n).await.unwrap();
                    ch.meter.total()
                },
                move |mut ch| async move { receiver.extend(&mut ch, n).await.unwrap() },
            );
            assert_eq!((cost.sent, cost.turns), (0, 1));
            assert_eq!(cost.received as usize, HEADER_LEN + 31 * n.div_ceil(8));
        }
    }

    #[test]
    fn a_wrong_length_is_named() {
        let (mut sender, mut receiver) = pair::<4>(3);
        let (result, _) = run_pair(
            move |mut ch| async move { sender.extend(&mut ch, 100).await.map(drop) },
            move |mut ch| async move { receiver.extend(&mut ch, 200).await.map(drop) },
        );
        assert!(matches!(
            result,
            Err(Error::Net(sotto_net::Error::WrongLength { step: U, expected: 403, got: 775 }))
        ));
    }
}
