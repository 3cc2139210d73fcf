//! One-hot vectors of one kind while they are made, level by level.

use std::collections::VecDeque;

use rand::RngCore;
use sotto_shares::Ring;
use zeroize::Zeroizing;

use super::{
    cost::{Wanted, cross_bits, level_bits, position_len},
    shares::OneHots,
    vectors::Vectors,
};
use crate::{
    bits::bit,
    correlated::{CotPads, XorPads},
    cots::{RecvCots, SendCots},
    hash::Purpose,
};

/// The vectors of one kind, and the COTs for what is left to do.
pub(super) struct Kind {
    pub(super) first: bool,
    pub(super) wanted: Wanted,
    /// This party's shares of the bits of the positions: `[k][n]`, 0 or 1.
    b: Zeroizing<Vec<Vec<u64>>>,
    e: Vectors,
    /// This party's additive shares of the positions.
    index: Zeroizing<Vec<u64>>,
    /// For the arithmetic payloads, a batch for each bit: the first party's COTs.
    position_send: Vec<SendCots>,
    /// The second party's pads for them.
    position_pads: Vec<CotPads>,
    /// For the levels left, as sender.
    level_send: VecDeque<SendCots>,
    /// For the levels left, as receiver.
    level_recv: VecDeque<LevelReceiver>,
    /// The shares of this level's products as sender.
    own: Zeroizing<Vec<u64>>,
}

/// A level's COTs at their receiver. The first party computes the pads when it computes its
/// choices; the second party when the level's message arrives, as it has its choices from the
/// arithmetic pads.
enum LevelReceiver {
    Pads(XorPads),
    Cots(RecvCots),
}

impl LevelReceiver {
    fn pads(self, bits: usize) -> XorPads {
        match self {
            LevelReceiver::Pads(pads) => pads,
            LevelReceiver::Cots(cots) => cots.xor_random(bits),
        }
    }
}

impl Kind {
    /// Takes the COTs of the vectors from `send` and `recv`, and computes this party's shares of
    /// the bits.
    pub(super) fn begin(
        first: bool,
        wanted: Wanted,
        send: &mut SendCots,
        recv: &mut RecvCots,
        rng: &mut impl RngCore,
    ) -> Kind {
        // The same COTs carry the payloads of a level and those for the positions.
        const BOTH: [Purpose; 2] = [Purpose::Xor, Purpose::Arithmetic];
        let Wanted { n, k, ring } = wanted;
        let mut b: Zeroizing<Vec<Vec<u64>>> = Zeroizing::new(Vec::with_capacity(k as usize));
        let (mut position_send, mut position_pads) = (vec![], vec![]);
        let (mut level_send, mut level_recv) = (VecDeque::new(), VecDeque::new());
        let unpacked = |choices: &[u8]| (0..n).map(|i| bit(choices, i)).collect();
        for j in 0..k as usize {
            if first {
                let [level, position] = send.take(n).split_by_purpose(BOTH);
                position_send.push(position);
                if j == 0 {
                    b.push((0..n).map(|_| rng.next_u64() & 1).collect());
                    continue;
                }
                let pads = recv.take(n).xor_random(level_bits(j));
                b.push(unpacked(pads.choices()));
                level_send.push_back(level);
                level_recv.push_back(LevelReceiver::Pads(pads));
            } else {
                let [level, position] = recv.take(n).split_by_purpose(BOTH);
                let pads = position.cot_random(&[cross_bits(ring, j)]);
                b.push(unpacked(pads.choices()));
                position_pads.push(pads);
                if j > 0 {
                    level_send.push_back(send.take(n));
                    level_recv.push_back(LevelReceiver::Cots(level));
                }
            }
        }
        let e = Vectors::of_bit_0(k, first, &b[0]);
        let index = Zeroizing::new(vec![0; n]);
        let own = Zeroizing::new(vec![]);
        Kind { first, wanted, b, e, index, position_send, position_pads, level_send, level_recv, own }
    }

    /// Bits of a position.
    pub(super) fn k(&self) -> usize {
        self.wanted.k as usize
    }

    /// The vectors, after the last level.
    pub(super) fn finish(self) -> OneHots {
        let bits = |i: usize| self.b.iter().rev().fold(0, |bits, b| bits << 1 | b[i]);
        let bits = Zeroizing::new((0..self.wanted.n).map(bits).collect());
        OneHots::new(self.e, bits, self.index, self.wanted.ring)
    }

    /// This party's payloads of level `j`, the next one.
    pub(super) fn send_level(&mut self, j: usize) -> Vec<u8> {
        let cots = self.level_send.pop_front().expect("COTs for each level");
        let (message, own) = self.e.send_level(j, cots);
        self.own = own;
        message
    }

    /// Level `j`, the next one, from the peer's payloads: vectors of `2^j` bits become twice as
    /// long.
    pub(super) fn grow(&mut self, j: usize, message: &[u8]) {
        let pads = self.level_recv.pop_front().expect("COTs for each level").pads(level_bits(j));
        let own = std::mem::take(&mut self.own);
        self.e.grow(j, &self.b[j], &own, pads, message);
    }

    /// The first party's arithmetic payloads, and its additive shares of the positions.
    pub(super) fn send_positions(&mut self) -> Vec<u8> {
        let mut message = Vec::new();
        for (j, cots) in std::mem::take(&mut self.position_send).into_iter().enumerate() {
            let (b, widths) = (&self.b[j], [cross_bits(self.wanted.ring, j)]);
            let (payloads, [cross, _]) = cots.words::<false>(|i| b[i].wrapping_neg(), &widths, &[]);
            message.extend(payloads);
            self.add_bit(j, &Zeroizing::new(cross));
        }
        message
    }

    /// The second party's additive shares of the positions.
    pub(super) fn recv_positions(&mut self, message: &[u8]) {
        let mut rest = message;
        for (j, pads) in std::mem::take(&mut self.position_pads).into_iter().enumerate() {
            let (now, later) = rest.split_at(position_len(self.wanted, j));
            rest = later;
            self.add_bit(j, &Zeroizing::new(pads.finish(now)));
        }
    }

    /// `index += 2^j (b_j + 2 cross)`.
    fn add_bit(&mut self, j: usize, cross: &[u64]) {
        let ring: Ring = self.wanted.ring;
        for ((index, cross), b) in self.index.iter_mut().zip(cross).zip(&self.b[j]) {
            *index = ring.reduce(index.wrapping_add(b.wrapping_add(cross << 1) << j));
        }
    }
}
