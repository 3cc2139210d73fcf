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
//! which the unknown leaf masks; the receiver sees nothing.
//!
//! Checked ([`crate::check`]): the receiver makes at least 512 COTs more, which are not used, and adds to the message
//! the value `h(u_0)` of its choices as a polynomial, masked by those of the COTs more, and a digest of the values `h(v)` of all 128 rows.
//! `h` is linear, so rows that fit give `h(w) = h(v) ^ Delta_j h(u_0)`, row by row, which the sender compares. 48 bytes, no turn.
//!
//! `Delta` is odd, so row 0 of `v` is row 0 of `w` plus `b`: it is replaced by `b`, and by zeros at the sender, so that `q` is even.
//! Setup: one message `softspoken/ggm` of 4096 bytes punctures the trees (see [`crate::ggm`]).
//! Source: Roy, CRYPTO 2022 (eprint 2022/192), figure 8 with the repetition code; the check: section 4.1.

use std::{collections::VecDeque, marker::PhantomData, sync::Arc};

use rand::RngCore;
use rayon::prelude::*;
use sotto_net::{Channel, Expected, compute};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{
    Error, RandomCotReceiver, RandomCotSender, RecvCots, Security, SemiHonest, SendCots,
    base::{BaseRecv, BaseSend},
    block::{Block, LAMBDA},
    check::point,
    cots::{Batch, Stored},
    domain::Domain,
    ggm,
    hash::PadHash,
    kernel::{Bank, Place},
    small_field::Workspace,
};

pub(crate) const U: &str = "ot/softspoken/u";
pub(crate) const GGM: &str = "ot/softspoken/ggm";
/// Bytes of the sums that puncture the trees.
const SUMS_LEN: usize = 2 * LAMBDA * 16;
/// Bytes of a check: a value and a digest.
const PROOF_LEN: usize = 48;
/// Columns that a check needs whole.
const LANES: usize = 512;

/// COTs expanded at a time: the rows of a chunk fit the first-level cache.
const CHUNK: usize = 2048;

/// COTs of a message at least.
const BATCH: usize = 1 << 15;

/// The COT sender of SoftSpoken OT with subfields of `2^K` elements, `K` in 1, 2, 4, 8.
pub struct SoftSpokenSender<const K: usize, S: Security = SemiHonest> {
    /// Per tree, `2^K` generators in the order of [`ggm::punctured`]; the first is meaningless.
    trees: Vec<Bank>,
    delta: Zeroizing<Block>,
    at: Position,
    stock: SendCots,
    hash: Arc<PadHash>,
    /// Messages that are on their way: about how many COTs, from where.
    announced: VecDeque<(usize, Position, Expected)>,
    domain: Domain,
    security: PhantomData<S>,
}

/// The COT receiver of SoftSpoken OT with subfields of `2^K` elements, `K` in 1, 2, 4, 8.
pub struct SoftSpokenReceiver<const K: usize, S: Security = SemiHonest> {
    trees: Vec<Bank>,
    at: Position,
    stock: RecvCots,
    hash: Arc<PadHash>,
    domain: Domain,
    security: PhantomData<S>,
}

impl<const K: usize, S: Security> SoftSpokenReceiver<K, S> {
    /// The receiver, from the sender's end of 128 base OTs, and its message to the COT sender.
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
        let stock = RecvCots::new(hash.clone(), Batch::empty());
        let (trees, at) = (banks(&trees), Position::default());
        (SoftSpokenReceiver { trees, at, stock, hash, domain: *domain, security: PhantomData }, message)
    }

    /// Makes `n` COTs' blocks and maybe more, the first one's index, and the message that the sender needs to make its half.
    fn expand(&mut self, n: usize) -> (Zeroizing<Vec<Block>>, u64, Vec<u8>) {
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

    /// Exactly `n` COTs' blocks, for what starts from them, and the message.
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

    async fn prepay(&mut self, ch: &mut Channel, n: usize) -> Result<(), Error> {
        if let Some(n) = batch(n, self.ready()) {
            let (t, first, message) = compute(|| self.expand(n));
            ch.send(U, message)?;
            self.stock.append(RecvCots::new(self.hash.clone(), Batch::new(Arc::new(Stored(t)), 0, first, n)));
        }
        Ok(())
    }

    async fn answer(&mut self, _: &mut Channel, _: usize) -> Result<(), Error> {
        Ok(())
    }

    async fn verify(&mut self, _: &mut Channel, _: usize) -> Result<(), Error> {
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

impl<const K: usize, S: Security> SoftSpokenSender<K, S> {
    /// The sender, from the receiver's end of 128 base OTs and the receiver's message; `Delta`, which must be odd, is the
    /// complement of the base OTs' choices.
    ///
    /// # Errors
    /// [`Error::Inconsistent`], if that is checked.
    ///
    /// # Panics
    /// If the message is not [`ggm_len`] bytes long.
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
        let stock = SendCots::new(hash.clone(), delta, Batch::empty());
        let (trees, delta, at) = (banks(&trees), Zeroizing::new(delta), Position::default());
        let (domain, security, announced) = (*domain, PhantomData, VecDeque::new());
        Ok(SoftSpokenSender { trees, delta, at, stock, hash, announced, domain, security })
    }

    /// Makes the sender's half of the COTs that `message` is about, and maybe more.
    fn expand(&self, n: usize, at: Position, message: &[u8]) -> Result<Zeroizing<Vec<Block>>, Error> {
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
            let (choices, said) = proof.split_at(16);
            let choices = Block::from_bytes(std::array::from_fn(|i| choices[i]));
            let rows = total(&self.domain, at, &values, message);
            let expected = rows[1..].iter().enumerate().map(|(j, &w)| w ^ choices.times(self.delta.bit(j)));
            if !bool::from(digest(expected).ct_eq(said)) {
                return Err(Error::Inconsistent { step: U });
            }
        }
        Ok(q)
    }

    /// As [`SoftSpokenReceiver::blocks`].
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

    /// Receives announced messages until `n` COTs are there, or all that were announced.
    async fn make_ready(&mut self, ch: &mut Channel, n: usize) -> Result<(), Error> {
        while self.stock.len() < n {
            let Some((len, at, announced)) = self.announced.pop_front() else { break };
            let message = ch.claim(announced).await?;
            let q = Arc::new(Stored(compute(|| self.expand(len, at, &message))?));
            self.stock.append(SendCots::new(self.hash.clone(), *self.delta, Batch::new(q, 0, at.index, len)));
        }
        Ok(())
    }
}

impl<const K: usize, S: Security> RandomCotSender for SoftSpokenSender<K, S> {
    fn delta(&self) -> Block {
        *self.delta
    }

    fn ready(&self) -> usize {
        self.stock.len() + self.announced.iter().map(|(n, ..)| n).sum::<usize>()
    }

    async fn prepay(&mut self, ch: &mut Channel, n: usize) -> Result<(), Error> {
        if let Some(n) = batch(n, self.ready()) {
            let at = self.at.advance(padded::<S>(n));
            self.announced.push_back((n, at, ch.expect(U, message_len::<K, S>(n))));
        }
        Ok(())
    }

    async fn confirm(&mut self, _: &mut Channel, _: usize) -> Result<(), Error> {
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

/// Bytes of the message that punctures the trees.
pub(crate) const fn ggm_len<const K: usize, S: Security>() -> usize {
    SUMS_LEN + if S::CHECKED { ggm::proof_len(LAMBDA / K) } else { 0 }
}

/// Bytes of the message for `n` COTs.
pub(crate) fn message_len<const K: usize, S: Security>(n: usize) -> usize {
    rows_len::<K>(padded::<S>(n)) + if S::CHECKED { PROOF_LEN } else { 0 }
}

/// Bytes of the corrections of `n` COTs: `128/k - 1` bits each; every row of a chunk ends at a byte.
fn rows_len<const K: usize>(n: usize) -> usize {
    (LAMBDA / K - 1) * n.div_ceil(8)
}

/// COTs made for `n`: a check needs whole registers, and one of them as a mask.
fn padded<S: Security>(n: usize) -> usize {
    if S::CHECKED { (n.div_ceil(LANES) + 1) * LANES } else { n }
}

fn banks(trees: &[Zeroizing<Vec<Block>>]) -> Vec<Bank> {
    trees.iter().map(|leaves| Bank::new(leaves)).collect()
}

/// What a check compares of a chunk: the values of choices and rows at the place that the chunk's message fixes.
fn values<S: Security>(
    domain: &Domain,
    work: &Workspace,
    at: Position,
    chunk: usize,
    message: &[u8],
) -> Zeroizing<Vec<Block>> {
    if !S::CHECKED {
        return Zeroizing::default();
    }
    let point = point(domain, "sotto 2026 ot/softspoken/chunk", at.index, chunk as u64, message);
    work.values(&Place::new(point, CHUNK / LAMBDA))
}

/// All chunks' values, at the place that the whole message fixes.
fn total(
    domain: &Domain,
    at: Position,
    values: &[Zeroizing<Vec<Block>>],
    message: &[u8],
) -> Zeroizing<Vec<Block>> {
    let point = point(domain, "sotto 2026 ot/softspoken/message", at.index, 0, message);
    let place = Place::new(point, values.len());
    let column = |j: usize| Zeroizing::new(values.iter().map(|values| values[j]).collect::<Vec<_>>());
    Zeroizing::new((0..=LAMBDA).map(|j| place.value(&column(j))).collect())
}

fn digest(values: impl Iterator<Item = Block>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for value in values {
        hasher.update(&value.to_bytes());
    }
    *hasher.finalize().as_bytes()
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
        Checked,
        cots::tests::{SIZES, contract},
        domain::Direction,
    };

    type Pair<const K: usize, S> = (SoftSpokenSender<K, S>, SoftSpokenReceiver<K, S>);

    /// Both ends, from dealt base OTs.
    fn pair<const K: usize, S: Security>(seed: u8) -> Pair<K, S> {
        set_up(seed, |_| ()).unwrap()
    }

    /// Both ends, after `spoil` has had its way with the message between them.
    fn set_up<const K: usize, S: Security>(
        seed: u8,
        spoil: impl Fn(&mut Vec<u8>),
    ) -> Result<Pair<K, S>, Error> {
        let mut rng = Rng::from_seed([seed; 32]);
        let domain = Domain::new([seed; 32], Direction::Forward, 0);
        let choices = Block::random(&mut rng).without_low_bit();
        let keys: Vec<[Block; 2]> =
            (0..LAMBDA).map(|_| [Block::random(&mut rng), Block::random(&mut rng)]).collect();
        let chosen = (0..LAMBDA).map(|j| keys[j][choices.bit(j) as usize]).collect();
        let (receiver, mut message) =
            SoftSpokenReceiver::new(&domain, BaseSend(Zeroizing::new(keys)), &mut rng);
        spoil(&mut message);
        let base = BaseRecv { choices, keys: Zeroizing::new(chosen) };
        Ok((SoftSpokenSender::new(&domain, base, &message)?, receiver))
    }

    #[test]
    fn keeps_the_contract_for_every_field_size() {
        contract(pair::<1, SemiHonest>(1), &SIZES);
        contract(pair::<2, SemiHonest>(2), &SIZES);
        contract(pair::<4, SemiHonest>(4), &[&SIZES[..]; 3].concat().leak()[..]);
        contract(pair::<8, SemiHonest>(8), &SIZES);
        contract(pair::<2, Checked>(2), &SIZES);
        contract(pair::<4, Checked>(4), &[&SIZES[..]; 3].concat().leak()[..]);
        contract(pair::<8, Checked>(8), &SIZES);
    }

    /// What the sender makes of a message in which `spoil` has changed something.
    fn spoilt<S: Security>(spoil: impl FnOnce(&mut Vec<u8>)) -> Result<(), Error> {
        let (mut sender, mut receiver) = pair::<4, S>(9);
        let n = 10_000;
        let at = sender.at.advance(padded::<S>(n));
        let (_, _, mut message) = receiver.expand(n);
        assert_eq!(message.len(), message_len::<4, S>(n));
        spoil(&mut message);
        sender.expand(n, at, &message).map(drop)
    }

    #[test]
    fn flipped_bits_are_found_and_named_where_that_is_checked() {
        let len = message_len::<4, Checked>(10_000);
        // Corrections at the front, in the middle, in the last COTs, in the mask; the value; the digest.
        for at in [0, 100, len / 2, len - PROOF_LEN - 1, len - PROOF_LEN, len - 33, len - 32, len - 1] {
            let flipped = spoilt::<Checked>(|message| message[at] ^= 1 << (at % 8));
            assert!(matches!(flipped, Err(Error::Inconsistent { step: U })), "byte {at}");
        }
        assert!(spoilt::<Checked>(|_| ()).is_ok());
        assert!(spoilt::<SemiHonest>(|message| message[100] ^= 1).is_ok(), "that is what semi-honest means");
    }

    /// The same difference in all rows of a tree is another choice vector for that tree.
    #[test]
    fn another_choice_for_one_tree_is_found() {
        let cheat = spoilt::<Checked>(|message| {
            let row = CHUNK / 8;
            message[5 * row..6 * row].iter_mut().for_each(|byte| *byte ^= 0x55);
        });
        assert!(matches!(cheat, Err(Error::Inconsistent { step: U })));
    }

    #[test]
    fn trees_that_do_not_fit_their_sums_are_found() {
        // A level's both sums of tree 3, so that it shows whatever the path.
        let spoil = |message: &mut Vec<u8>| {
            message[3 * 128 + 40] ^= 2;
            message[3 * 128 + 56] ^= 2;
        };
        let result = set_up::<4, Checked>(3, spoil).map(drop);
        assert!(matches!(result, Err(Error::Inconsistent { step: GGM })));
        assert!(set_up::<4, SemiHonest>(3, spoil).is_ok());
    }

    #[test]
    fn blocks_of_any_number_fit_together() {
        for n in [1, 63, 64, 65, 127, 128, 129, 1000, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 77] {
            let (mut sender, mut receiver) = pair::<8, SemiHonest>(3);
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
            let (mut sender, mut receiver) = pair::<4, SemiHonest>(3);
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
        let (mut sender, mut receiver) = pair::<4, SemiHonest>(3);
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
