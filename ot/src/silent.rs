//! Silent OT: a million random-choice COTs from one short message.
//!
//! Round `r`. Both start from `k + t d` COTs of the round before: `(q, Delta)` and `(b, t = q ^ b Delta)`, all `q` even, `Delta` odd.
//!
//! | sender: `q`, `Delta`                                 |                  | receiver: `b`, `t`                              |
//! |------------------------------------------------------|------------------|-------------------------------------------------|
//! | `t` half-trees, level sums `K_l`, leaves `v`         |                  |                                                 |
//! | `c_l = q'_l ^ K_l`, a COT of the first `t d` a level | `-- silent/round ->` | `c_l ^ t'_l = K_l ^ b'_l Delta`             |
//! |                                                      |                  | trees punctured where `p_l = 1 - b'_l` leads: leaves `w = v ^ e Delta` |
//! | `q = q'' A ^ v`, the other `k` COTs times the code   |                  | `t = t'' A ^ w`, of which the lowest bits are `b = b'' A ^ e` |
//!
//! One message of `16 t d` bytes from the sender to the receiver, no answer: it can be sent ahead, and then costs no turn. The first
//! `k + t d` outputs are the next round's input and are never handed out. The punctures are random, being random choice bits, so
//! the receiver says nothing. `K_l` is masked by `q'_l`; the receiver learns `K_l` for the side that its path does not take, which
//! a COT gives it, and by LPN its bits `b` look uniform to the sender, who knows the code and nothing of `b''` and `e`.
//!
//! Checked ([`crate::check`]), both start from 128 COTs more: `(y, Delta)` and `(x, z = y ^ x Delta)`.
//!
//! | sender                                              |                     | receiver                                            |
//! |-----------------------------------------------------|---------------------|-----------------------------------------------------|
//! | `V` = value of all leaves as a polynomial, at a place that the message fixes | | `W` = the same of its leaves, `rho` of its noise: `W = V ^ rho Delta` |
//! |                                                     | `<- silent/answer --` | `phi = rho ^ x`                                   |
//! | `Y = sum_j X^j (y_j ^ phi_j Delta)`                 | `-- silent/verdict ->` | `digest(V ^ Y) = digest(W ^ sum_j X^j z_j)`, or the sender cheats |
//!
//! Two turns a round, 16 bytes back and 32 there. The receiver's punctures stay hidden by `x`; the sender answers one guess of `Delta`.
//!
//! Nothing of a round is kept but its table `q''` or `t''`, the trees' roots or punctures and the message: outputs are made where and
//! when they are used, a tree at a time ([`crate::cots::Batch`]). What is handed out can be made again until its batch is dropped;
//! a round is wiped with its last batch.
//!
//! | what        | memory at the sender     | at the receiver         |
//! |-------------|--------------------------|-------------------------|
//! | a round     | `16 (k + t d + t)` bytes | `16 (k + 2 t d)` bytes  |
//!
//! Source: Yang, Weng, Lan, Zhang, Wang, CCS 2020 (eprint 2020/924), with the half-trees of eprint 2022/1431 and punctures at random
//! places. Parameters and attacks: [`crate::lpn`].

use std::{collections::VecDeque, marker::PhantomData, sync::Arc};

use rand::RngCore;
use rayon::prelude::*;
use sotto_net::{Channel, Expected, compute};
use sotto_shares::Rng;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{
    Error, RandomCotReceiver, RandomCotSender, RecvCots, Security, SemiHonest, SendCots,
    block::{Block, LAMBDA},
    check::{Powers, point},
    cots::{Batch, Scratch, Source},
    domain::Domain,
    half_tree,
    hash::PadHash,
    kernel::{Cipher, Place},
    lpn::{Code, LpnParams},
};

const ROUND: &str = "ot/silent/round";
const ANSWER: &str = "ot/silent/answer";
const VERDICT: &str = "ot/silent/verdict";

/// The COT sender of silent OT.
pub struct SilentSender<S: Security = SemiHonest> {
    domain: Domain,
    delta: Zeroizing<Block>,
    hash: Arc<PadHash>,
    rng: Rng,
    rounds: Rounds<FullTrees>,
    /// Rounds whose check the receiver has not yet asked for.
    unproved: VecDeque<Proof>,
    security: PhantomData<S>,
}

/// A round that the receiver has not yet asked to be proved, and its places.
struct Proof {
    round: Arc<Round<FullTrees>>,
    places: Places,
}

/// The COT receiver of silent OT.
pub struct SilentReceiver<S: Security = SemiHonest> {
    domain: Domain,
    hash: Arc<PadHash>,
    rounds: Rounds<PuncturedTrees>,
    /// Messages that are on their way.
    announced: VecDeque<Expected>,
    unverified: VecDeque<Unverified>,
    security: PhantomData<S>,
}

/// A round that was answered, and what its verdict must be.
struct Unverified {
    round: Arc<Round<PuncturedTrees>>,
    expected: [u8; 32],
}

impl<S: Security> SilentSender<S> {
    /// From the first COTs, [`base_len`] of them.
    pub(crate) fn new(
        domain: Domain,
        params: LpnParams,
        delta: Block,
        base: Zeroizing<Vec<Block>>,
        rng: Rng,
    ) -> SilentSender<S> {
        let hash = Arc::new(PadHash::new(&domain, S::CHECKED));
        let (delta, rounds) = (Zeroizing::new(delta), Rounds::new(params, base_len::<S>(params), base));
        SilentSender { domain, delta, hash, rng, rounds, unproved: VecDeque::new(), security: PhantomData }
    }
}

impl<S: Security> RandomCotSender for SilentSender<S> {
    fn delta(&self) -> Block {
        *self.delta
    }

    fn ready(&self) -> usize {
        self.rounds.ready + self.unproved.len() * self.rounds.outputs()
    }

    async fn prepay(&mut self, ch: &mut Channel, n: usize) -> Result<(), Error> {
        while self.ready() < n {
            let (params, number) = (self.rounds.params, self.rounds.made);
            let (round, message) = compute(|| {
                let base = self.rounds.next_base();
                Round::send(&self.domain, params, number, *self.delta, base, &mut self.rng)
            });
            let places = S::CHECKED.then(|| Places::new(&self.domain, number, &message));
            ch.send(ROUND, message)?;
            self.rounds.made(&round);
            if let Some(places) = places {
                self.unproved.push_back(Proof { round, places });
            } else {
                self.rounds.open(round);
            }
        }
        Ok(())
    }

    async fn confirm(&mut self, ch: &mut Channel, n: usize) -> Result<(), Error> {
        while self.rounds.ready < n {
            let Some(Proof { round, places }) = self.unproved.pop_front() else { break };
            // While the receiver does the same.
            let value = Zeroizing::new(compute(|| round.value(&places, |_| Block::ZERO)[0]));
            let answer = ch.recv(ANSWER, 16).await?;
            ch.send(VERDICT, verdict(*value, round.masks(), *self.delta, &answer).to_vec())?;
            self.rounds.open(round);
        }
        Ok(())
    }

    async fn settle(&mut self, _: &mut Channel) -> Result<(), Error> {
        Ok(())
    }

    async fn extend(&mut self, ch: &mut Channel, n: usize) -> Result<SendCots, Error> {
        self.prepay(ch, n).await?;
        self.confirm(ch, n).await?;
        Ok(SendCots::new(self.hash.clone(), *self.delta, self.rounds.take(n)))
    }
}

impl<S: Security> SilentReceiver<S> {
    /// As [`SilentSender::new`].
    pub(crate) fn new(domain: Domain, params: LpnParams, base: Zeroizing<Vec<Block>>) -> SilentReceiver<S> {
        let hash = Arc::new(PadHash::new(&domain, S::CHECKED));
        let rounds = Rounds::new(params, base_len::<S>(params), base);
        let (announced, unverified) = (VecDeque::new(), VecDeque::new());
        SilentReceiver { domain, hash, rounds, announced, unverified, security: PhantomData }
    }

    /// Receives the next announced round, and asks for its check.
    async fn receive(&mut self, ch: &mut Channel, announced: Expected) -> Result<(), Error> {
        let message = ch.claim(announced).await?;
        let (params, number) = (self.rounds.params, self.rounds.made);
        let round = compute(|| {
            let base = self.rounds.next_base();
            Round::recv(&self.domain, params, number, base, &message)
        });
        self.rounds.made(&round);
        if S::CHECKED {
            let (phi, value) = compute(|| round.answer(&Places::new(&self.domain, number, &message)));
            ch.send(ANSWER, phi.to_bytes().to_vec())?;
            self.unverified.push_back(Unverified { round, expected: digest(value) });
        } else {
            self.rounds.open(round);
        }
        Ok(())
    }

    /// COTs of rounds that were received.
    fn received(&self) -> usize {
        self.rounds.ready + self.unverified.len() * self.rounds.outputs()
    }
}

impl<S: Security> RandomCotReceiver for SilentReceiver<S> {
    fn ready(&self) -> usize {
        self.received() + self.announced.len() * self.rounds.outputs()
    }

    async fn prepay(&mut self, ch: &mut Channel, n: usize) -> Result<(), Error> {
        while self.ready() < n {
            self.announced.push_back(ch.expect(ROUND, message_len(self.rounds.params)));
        }
        Ok(())
    }

    async fn answer(&mut self, ch: &mut Channel, n: usize) -> Result<(), Error> {
        while self.received() < n {
            let announced = self.announced.pop_front().expect("as many are announced as are needed");
            self.receive(ch, announced).await?;
        }
        Ok(())
    }

    async fn settle(&mut self, ch: &mut Channel) -> Result<(), Error> {
        while let Some(announced) = self.announced.pop_front() {
            self.receive(ch, announced).await?;
        }
        Ok(())
    }

    async fn verify(&mut self, ch: &mut Channel, n: usize) -> Result<(), Error> {
        while self.rounds.ready < n {
            let Some(Unverified { round, expected }) = self.unverified.pop_front() else { break };
            if !bool::from(ch.recv(VERDICT, 32).await?.ct_eq(&expected)) {
                return Err(Error::Inconsistent { step: ROUND });
            }
            self.rounds.open(round);
        }
        Ok(())
    }

    async fn extend(&mut self, ch: &mut Channel, n: usize) -> Result<RecvCots, Error> {
        self.prepay(ch, n).await?;
        self.answer(ch, n).await?;
        self.verify(ch, n).await?;
        Ok(RecvCots::new(self.hash.clone(), self.rounds.take(n)))
    }
}

/// A party's rounds: those with outputs left, and the last one, which the next starts from.
struct Rounds<T> {
    params: LpnParams,
    /// COTs that a round starts from; what lies behind them is handed out.
    base_len: usize,
    /// What the first round starts from.
    base: Zeroizing<Vec<Block>>,
    /// By number; the first one has handed out what lies before `at`.
    open: VecDeque<(u64, Arc<Round<T>>)>,
    last: Option<Arc<Round<T>>>,
    made: u64,
    opened: u64,
    at: usize,
    ready: usize,
}

impl<T: Trees + 'static> Rounds<T> {
    fn new(params: LpnParams, base_len: usize, base: Zeroizing<Vec<Block>>) -> Rounds<T> {
        assert_eq!(base.len(), base_len, "COTs that a first round takes");
        let (open, last, made, opened) = (VecDeque::new(), None, 0, 0);
        Rounds { params, base_len, base, open, last, made, opened, at: base_len, ready: 0 }
    }

    /// COTs that a round hands out.
    fn outputs(&self) -> usize {
        self.params.samples() - self.base_len
    }

    /// What the next round starts from; once.
    fn next_base(&mut self) -> Zeroizing<Vec<Block>> {
        match self.last.take() {
            Some(last) => last.next_base(self.base_len),
            None => std::mem::take(&mut self.base),
        }
    }

    /// The next round starts from this one.
    fn made(&mut self, round: &Arc<Round<T>>) {
        self.last = Some(round.clone());
        self.made += 1;
    }

    /// The next round's outputs may be handed out.
    fn open(&mut self, round: Arc<Round<T>>) {
        self.open.push_back((self.opened, round));
        self.opened += 1;
        self.ready += self.outputs();
    }

    /// The next `n` outputs, which are there.
    fn take(&mut self, n: usize) -> Batch {
        let mut batch = Batch::empty();
        let mut missing = n;
        while missing > 0 {
            let (number, round) = self.open.front().expect("as many outputs are ready as are taken");
            let len = missing.min(self.params.samples() - self.at);
            let index = number * self.params.samples() as u64 + self.at as u64;
            batch.append(Batch::new(round.clone(), self.at, index, len));
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

/// Levels of a tree at most.
const MOST_LEVELS: usize = 16;

/// A round's outputs, at one party.
pub(crate) struct Round<T> {
    params: LpnParams,
    code: Code,
    /// What the round started from: a COT for each level of each tree, the table `q''` or `t''`, and, if it is checked, 128 masks.
    base: Zeroizing<Vec<Block>>,
    trees: T,
}

/// Leaves of the trees of a round, at one party.
pub(crate) trait Trees: Send + Sync {
    /// Writes the leaves of tree number `tree`.
    fn leaves(&self, tree: usize, out: &mut [Block]);
}

/// The holder's trees.
pub(crate) struct FullTrees {
    params: LpnParams,
    hashes: Cipher,
    roots: Zeroizing<Vec<Block>>,
    delta: Zeroizing<Block>,
}

/// The puncturer's trees.
pub(crate) struct PuncturedTrees {
    params: LpnParams,
    hashes: Cipher,
    paths: Zeroizing<Vec<u64>>,
    /// `[t][d]`.
    sums: Zeroizing<Vec<Block>>,
}

impl<T: Trees> Round<T> {
    /// The value of all leaves as a polynomial, and that of one number a tree.
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

    fn table(&self) -> &[Block] {
        &self.base[self.params.levels()..self.params.base()]
    }

    fn masks(&self) -> &[Block] {
        &self.base[self.params.base()..]
    }

    /// The first `n` outputs, which the next round starts from.
    pub(crate) fn next_base(&self, n: usize) -> Zeroizing<Vec<Block>> {
        let mut base = Zeroizing::new(vec![Block::ZERO; n]);
        let size = 1 << self.params.depth();
        base.par_chunks_mut(size).enumerate().for_each_init(Scratch::default, |scratch, (tree, out)| {
            self.expand(tree * size, out, scratch);
        });
        base
    }
}

impl Round<FullTrees> {
    /// The sender's round number `number` from `base`, and its message.
    pub(crate) fn send(
        domain: &Domain,
        params: LpnParams,
        number: u64,
        delta: Block,
        base: Zeroizing<Vec<Block>>,
        rng: &mut impl RngCore,
    ) -> (Arc<Round<FullTrees>>, Vec<u8>) {
        let hashes = hashes(domain, params, number);
        let roots = Zeroizing::new((0..params.weight()).map(|_| Block::random(rng)).collect());
        let trees = FullTrees { params, hashes, roots, delta: Zeroizing::new(delta) };
        let mut message = vec![0; message_len(params)];
        let masked = base.par_chunks(params.depth()).zip(message.par_chunks_mut(16 * params.depth()));
        masked.enumerate().for_each_init(Scratch::default, |leaves, (tree, (q, message))| {
            leaves.resize(1 << params.depth(), Block::ZERO);
            let mut sums = Zeroizing::new([Block::ZERO; MOST_LEVELS]);
            trees.expand(tree, &mut sums[..params.depth()], leaves);
            for ((out, &sum), &q) in message.chunks_exact_mut(16).zip(sums.iter()).zip(q) {
                out.copy_from_slice(&(sum ^ q).to_bytes());
            }
        });
        let code = Code::new(domain, params, number);
        (Arc::new(Round { params, code, base, trees }), message)
    }
}

impl Round<PuncturedTrees> {
    /// The receiver's round from `base` and the sender's message.
    ///
    /// # Panics
    /// If the message is not [`message_len`] bytes long.
    pub(crate) fn recv(
        domain: &Domain,
        params: LpnParams,
        number: u64,
        base: Zeroizing<Vec<Block>>,
        message: &[u8],
    ) -> Arc<Round<PuncturedTrees>> {
        assert_eq!(message.len(), message_len(params), "length of a round's message");
        let masked = message.as_chunks::<16>().0.iter();
        let sums = masked.zip(base.iter()).map(|(c, &t)| Block::from_bytes(*c) ^ t).collect();
        let path = |t: &[Block]| t.iter().rev().fold(0, |path, t| path << 1 | (1 - t.bit(0)));
        let paths = base[..params.levels()].chunks_exact(params.depth()).map(path).collect();
        let trees = PuncturedTrees {
            params,
            hashes: hashes(domain, params, number),
            paths: Zeroizing::new(paths),
            sums: Zeroizing::new(sums),
        };
        Arc::new(Round { params, code: Code::new(domain, params, number), base, trees })
    }

    /// The receiver's answer `phi` to a round, and what the sender's verdict must be a digest of.
    fn answer(&self, places: &Places) -> (Block, Block) {
        let depth = self.params.depth();
        let powers = Powers::new(places.leaf, depth);
        let [value, rho] = self.value(places, |tree| powers.power(self.trees.paths[tree]));
        let x = self.masks().iter().rev().fold(0, |x, z| x << 1 | u128::from(z.bit(0)));
        (rho ^ Block(x), value ^ Place::new(Block::X, LAMBDA).value(self.masks()))
    }
}

impl<T: Trees> Source for Round<T> {
    fn expand(&self, at: usize, out: &mut [Block], scratch: &mut Scratch) {
        let size = 1 << self.params.depth();
        let (mut at, mut rest) = (at, out);
        while !rest.is_empty() {
            let (tree, skip) = (at / size, at % size);
            let (now, later) = rest.split_at_mut(rest.len().min(size - skip));
            if now.len() == size {
                self.trees.leaves(tree, now);
            } else {
                scratch.resize(size, Block::ZERO);
                self.trees.leaves(tree, scratch);
                now.copy_from_slice(&scratch[skip..skip + now.len()]);
            }
            self.code.add_rows(self.table(), at, now);
            at += now.len();
            rest = later;
        }
    }
}

impl Trees for FullTrees {
    fn leaves(&self, tree: usize, out: &mut [Block]) {
        let mut sums = Zeroizing::new([Block::ZERO; MOST_LEVELS]);
        self.expand(tree, &mut sums[..self.params.depth()], out);
    }
}

impl FullTrees {
    fn expand(&self, tree: usize, sums: &mut [Block], leaves: &mut [Block]) {
        half_tree::full(&tree_hash(&self.hashes, tree), *self.delta, self.roots[tree], sums, leaves);
    }
}

impl Trees for PuncturedTrees {
    fn leaves(&self, tree: usize, out: &mut [Block]) {
        let sums = &self.sums[tree * self.params.depth()..][..self.params.depth()];
        half_tree::punctured(&tree_hash(&self.hashes, tree), self.paths[tree], sums, out);
    }
}

/// COTs that a round takes.
pub(crate) fn base_len<S: Security>(params: LpnParams) -> usize {
    params.base() + if S::CHECKED { LAMBDA } else { 0 }
}

/// Where leaves and trees are evaluated: leaf `x` of tree `i` counts `leaf^x tree^i`.
struct Places {
    leaf: Block,
    tree: Block,
}

impl Places {
    /// Those that a round's message fixes.
    fn new(domain: &Domain, number: u64, message: &[u8]) -> Places {
        let [leaf, tree] =
            [0, 1].map(|part| point(domain, "sotto 2026 ot/silent/place", number, part, message));
        Places { leaf, tree }
    }
}

/// The sender's verdict on an answer: the digest of `V ^ Y`.
fn verdict(value: Block, masks: &[Block], delta: Block, answer: &[u8]) -> [u8; 32] {
    let phi = Block::from_bytes(std::array::from_fn(|i| answer[i]));
    let y = masks.iter().enumerate().map(|(j, &y)| y ^ delta.times(phi.bit(j)));
    digest(value ^ Place::new(Block::X, LAMBDA).value(&Zeroizing::new(y.collect::<Vec<Block>>())))
}

/// What a verdict says of a value.
fn digest(value: Block) -> [u8; 32] {
    blake3::derive_key("sotto 2026 ot/silent/verdict", &value.to_bytes())
}

/// Bytes of a round's message.
pub(crate) fn message_len(params: LpnParams) -> usize {
    16 * params.levels()
}

/// The generator of the trees' hash keys. Public.
fn hashes(domain: &Domain, params: LpnParams, number: u64) -> Cipher {
    let key = domain.derive("sotto 2026 ot/silent/trees", &[&params.encode(), &number.to_le_bytes()]);
    Cipher::new(Block::from_bytes(key))
}

fn tree_hash(hashes: &Cipher, tree: usize) -> Cipher {
    Cipher::new(hashes.permute(tree as u64))
}

#[cfg(test)]
mod tests {
    use sotto_net::run_pair;

    use super::*;
    use crate::{Checked, cots::tests::contract, domain::Direction};

    const DOMAIN: fn() -> Domain = || Domain::new([3; 32], Direction::Forward, 0);

    /// Both ends, from dealt COTs.
    fn pair<S: Security>(params: LpnParams, seed: u8) -> (SilentSender<S>, SilentReceiver<S>) {
        let mut rng = Rng::from_seed([seed; 32]);
        let delta = Block::random(&mut rng).with_low_bit();
        let q: Vec<Block> =
            (0..base_len::<S>(params)).map(|_| Block::random(&mut rng).without_low_bit()).collect();
        let t = q.iter().map(|&q| q ^ delta.times(rng.bytes::<1>()[0].into())).collect();
        let sender = SilentSender::new(DOMAIN(), params, delta, Zeroizing::new(q), rng);
        (sender, SilentReceiver::new(DOMAIN(), params, Zeroizing::new(t)))
    }

    /// Sizes around the borders of trees and rounds.
    fn sizes(params: LpnParams) -> &'static [usize] {
        let (tree, round) = (1 << params.depth(), params.outputs());
        let mut sizes = vec![1, 0, 2 * tree - 1, 1, tree, 3, round - 3 * tree - 4, 0, 1, 1];
        sizes.extend([round - 2, 2, 1, round + tree]);
        sizes.leak()
    }

    #[test]
    fn keeps_the_contract() {
        contract(pair::<SemiHonest>(LpnParams::FAST, 1), sizes(LpnParams::FAST));
        contract(pair::<SemiHonest>(LpnParams::LEAN, 2), sizes(LpnParams::LEAN));
        contract(pair::<Checked>(LpnParams::FAST, 3), sizes(LpnParams::FAST));
    }

    #[test]
    fn blocks_are_the_same_however_they_are_cut() {
        let (mut sender, _) = pair::<SemiHonest>(LpnParams::FAST, 3);
        let cots =
            run_pair(move |mut ch| async move { sender.extend(&mut ch, 9000).await.unwrap() }, |_| async {});
        let (all, batch) = (cots.0.blocks(), &cots.0.batch);
        let mut scratch = Scratch::default();
        for (from, to) in [(0, 1), (1, 9000), (1023, 1025), (2000, 2001), (4095, 8200), (77, 77)] {
            let mut part = vec![Block::ZERO; to - from];
            batch.expand(from..to, &mut part, &mut scratch);
            assert!(part.iter().zip(&all[from..to]).all(|(a, b)| a.0 == b.0), "{from}..{to}");
        }
    }

    /// What the receiver sees of a round is masked by COTs: with other ones, everything else equal, it is another message,
    /// and with other trees, too.
    #[test]
    fn rounds_have_new_trees_and_codes() {
        let messages = |seed: u8| {
            let (mut sender, _) = pair::<SemiHonest>(LpnParams::FAST, seed);
            let (base, params) = (sender.rounds.next_base(), LpnParams::FAST);
            let mut send =
                |number| Round::send(&DOMAIN(), params, number, *sender.delta, base.clone(), &mut sender.rng);
            [send(0), send(1)]
        };
        let [(first, m0), (second, m1)] = messages(4);
        let same = m0.chunks(16).zip(m1.chunks(16)).filter(|(a, b)| a == b).count();
        assert_eq!(same, 0, "level sums of other trees");
        let rows = |round: &Round<FullTrees>| {
            let mut out = vec![Block::ZERO; 64];
            round.code.add_rows(round.table(), 0, &mut out);
            out.iter().map(|b| b.0).collect::<Vec<_>>()
        };
        assert!(rows(&first).iter().zip(rows(&second)).all(|(a, b)| *a != b), "rows of another code");
    }

    /// Choice bits are fair, alone and in sums of neighbours, within 6 deviations.
    #[test]
    fn choice_bits_are_fair() {
        let (mut sender, mut receiver) = pair::<SemiHonest>(LpnParams::FAST, 5);
        let n = 1 << 19;
        let (_, bits) = run_pair(
            move |mut ch| async move {
                sender.extend(&mut ch, n).await.unwrap();
                ch.close().await.unwrap();
            },
            move |mut ch| async move { receiver.extend(&mut ch, n).await.unwrap().choices() },
        );
        let bit = |i: usize| bits[i / 8] >> (i % 8) & 1;
        for distance in [0, 1, 2, 3, 7, 8, 64, 1024, 1025] {
            let ones =
                (distance..n).filter(|&i| (bit(i) ^ if distance > 0 { bit(i - distance) } else { 0 }) == 1);
            let (ones, n) = (ones.count() as f64, (n - distance) as f64);
            assert!((ones - n / 2.0).abs() < 3.0 * n.sqrt(), "distance {distance}: {ones} of {n}");
        }
    }

    #[test]
    fn wrong_lengths_and_early_closes_are_named() {
        let peer = |message: Option<Vec<u8>>| {
            let (_, mut receiver) = pair::<SemiHonest>(LpnParams::FAST, 6);
            let ((), result) = run_pair(
                move |mut ch| async move {
                    if let Some(message) = message {
                        ch.send(ROUND, message).unwrap();
                    }
                    // The other side may be gone before it has read all.
                    let _ = ch.close().await;
                },
                move |mut ch| async move { receiver.extend(&mut ch, 5).await.map(drop) },
            );
            result
        };
        use sotto_net::Error::{Closed, WrongLength};
        let [short, long] = [217_599, 217_616].map(|n| peer(Some(vec![7; n])));
        assert!(matches!(
            short,
            Err(Error::Net(WrongLength { step: ROUND, expected: 217_600, got: 217_599 }))
        ));
        assert!(matches!(long, Err(Error::Net(WrongLength { got: 217_616, .. }))));
        assert!(matches!(peer(None), Err(Error::Net(Closed { step: ROUND }))));
    }

    /// What the receiver says to a sender that is honest but for what `spoil` does to its message and `lie` to its verdict.
    fn cheated<S: Security>(
        spoil: impl FnOnce(&mut [u8]) + Send + 'static,
        lie: impl FnOnce(&mut [u8]) + Send + 'static,
    ) -> Result<(), Error> {
        let (mut sender, mut receiver) = pair::<S>(LpnParams::FAST, 7);
        let ((), result) = run_pair(
            move |mut ch| async move {
                let (domain, params, base) = (DOMAIN(), LpnParams::FAST, sender.rounds.next_base());
                let (round, mut message) =
                    Round::send(&domain, params, 0, *sender.delta, base, &mut sender.rng);
                spoil(&mut message);
                let places = Places::new(&domain, 0, &message);
                ch.send(ROUND, message).unwrap();
                if S::CHECKED {
                    let [value, _] = round.value(&places, |_| Block::ZERO);
                    let answer = ch.recv(ANSWER, 16).await.unwrap();
                    let mut verdict = verdict(value, round.masks(), *sender.delta, &answer);
                    lie(&mut verdict);
                    ch.send(VERDICT, verdict.to_vec()).unwrap();
                }
                let _ = ch.close().await;
            },
            move |mut ch| async move { receiver.extend(&mut ch, 5).await.map(drop) },
        );
        result
    }

    #[test]
    fn a_cheating_sender_is_found_and_named_where_that_is_checked() {
        assert!(cheated::<Checked>(|_| (), |_| ()).is_ok());
        // The first and the last level of trees at the front, in the middle, at the end.
        for at in [0, 144, 160 * 700 + 32, 217_599] {
            let result = cheated::<Checked>(move |message| message[at] ^= 0x10, |_| ());
            assert!(matches!(result, Err(Error::Inconsistent { step: ROUND })), "byte {at}");
        }
        let result = cheated::<Checked>(|_| (), |verdict| verdict[31] ^= 1);
        assert!(matches!(result, Err(Error::Inconsistent { step: ROUND })));
        assert!(
            cheated::<SemiHonest>(|message| message[0] ^= 1, |_| ()).is_ok(),
            "that is what semi-honest means"
        );
    }

    /// Equal errors in two trees do not cancel: each tree has its own weight.
    #[test]
    fn errors_in_two_trees_do_not_cancel() {
        let result = cheated::<Checked>(
            |message| {
                message[150] ^= 1;
                message[160 * 9 + 150] ^= 1;
            },
            |_| (),
        );
        assert!(matches!(result, Err(Error::Inconsistent { step: ROUND })));
    }

    /// A receiver that lies in its answer only spoils its own check.
    #[test]
    fn a_verdict_on_a_lie_says_nothing() {
        let (mut sender, mut receiver) = pair::<Checked>(LpnParams::FAST, 8);
        let base = [sender.rounds.next_base(), receiver.rounds.next_base()];
        let [q, t] = base;
        let (round, message) = Round::send(&DOMAIN(), LpnParams::FAST, 0, *sender.delta, q, &mut sender.rng);
        let theirs = Round::recv(&DOMAIN(), LpnParams::FAST, 0, t, &message);
        let places = Places::new(&DOMAIN(), 0, &message);
        let [value, _] = round.value(&places, |_| Block::ZERO);
        let (phi, expected) = theirs.answer(&places);
        let say = |phi: Block| verdict(value, round.masks(), *sender.delta, &phi.to_bytes());
        assert!(say(phi) == digest(expected));
        assert!((0..128).all(|j| say(phi ^ Block(1 << j)) != digest(expected)));
    }
}
