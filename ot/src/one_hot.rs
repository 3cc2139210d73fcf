//! Random one-hot vectors: XOR shares of the unit vector `e_r` of 2^k bits, with `r` shared bitwise and mod 2^m.
//!
//! Both parties hold a share `b_j` of bit `j` of `r`: their choice bits in COTs of which the other is the sender
//! (the first party draws its bit 0). The vector of the bits below `j` grows by bit `j`: its upper half becomes
//! `p = e r_j`, its lower half `e ^ p`.
//!
//! | first party                                      |                        | second party                         |
//! |--------------------------------------------------|------------------------|--------------------------------------|
//! | COT payload `-b_j mod 2^(m-j-1)`, all `j`        | `-- one-hot/level ->`  | choice `b_j`: `r_j = b_j + b'_j - 2 b_j b'_j` |
//! | level `j = 1 .. k-1`: COT payload `e` but its last bit | `<- one-hot/level ->` | the same, at the same time       |
//! | `p = e b_j ^ own ^ got`                          |                        | the same                             |
//! | `p`'s last bit: `b_j` ^ its others, as `e` sums to 1 |                    | the same                             |
//!
//! `max(k-1, 1)` turns after the reservation's one, of the largest `k` where several kinds are made at a time; [`one_hot_bits`] bits. `k` COTs an element from the first
//! party to the second, `k - 1` back; XOR and arithmetic payloads of a COT take disjoint segments of its pad, and
//! no choice bit is derandomised. Both see masked payloads only: neither learns anything of `r`.
//! Deviation: the cross term of `r_j` is even, so its payload is one bit shorter than the AM(k, m) of the source.
//! Source: FLUTE (S&P 2023) for the idea; `nonlinear.md` 1.3 for the recursion and the last-entry trick.

use std::collections::VecDeque;

use rand::RngCore;
use sotto_net::{Channel, compute};
use sotto_shares::Ring;
use zeroize::Zeroizing;

use crate::{
    CotPads, Error, OneHots, OtSession, RecvCots, SendCots, XorPads, block::bit, pattern_message_len,
    vectors::Vectors,
};

/// The tag of a round's message.
pub const LEVEL: &str = "ot/one-hot/level";

/// One-hot vectors to make: `n` of `2^k` bits, with their positions in `ring`, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// How many.
    pub n: usize,
    /// Bits of a position, at least 1 and at most 12.
    pub k: u32,
    /// The ring of positions, of `k` bits or more.
    pub ring: Ring,
}

/// Random one-hot vectors of several kinds, in as many turns as the longest of them takes alone. The peer asks for the same.
///
/// # Errors
/// Transport, or the peer asks for something else.
///
/// # Panics
/// If something wanted is out of range.
pub async fn random_one_hots(
    ch: &mut Channel,
    ot: &mut OtSession,
    wanted: &[Wanted],
    rng: &mut (impl RngCore + Send),
) -> Result<Vec<OneHots>, Error> {
    let reserved = OneHotCots::reserve(ch, ot, wanted).await?;
    let mut rounds = compute(|| reserved.begin(rng));
    for (round, len) in round_lens(!ot.is_first(), wanted).into_iter().enumerate() {
        let message = compute(|| rounds.message(round));
        if !message.is_empty() {
            ch.send(LEVEL, message)?;
        }
        let message = if len > 0 { ch.recv(LEVEL, len).await? } else { Vec::new() };
        compute(|| rounds.take(round, &message));
    }
    Ok(rounds.finish())
}

/// The COTs of one-hot vectors to be made.
pub struct OneHotCots {
    first: bool,
    wanted: Vec<Wanted>,
    send: SendCots,
    recv: RecvCots,
}

impl OneHotCots {
    /// Draws the COTs that they take. The peer asks for the same.
    ///
    /// # Errors
    /// As [`OtSession::reserve`].
    ///
    /// # Panics
    /// If something wanted is out of range.
    pub async fn reserve(
        ch: &mut Channel,
        ot: &mut OtSession,
        wanted: &[Wanted],
    ) -> Result<OneHotCots, Error> {
        for w in wanted {
            assert!((1..=12).contains(&w.k) && w.k <= w.ring.bits(), "{w:?}");
        }
        let first = ot.is_first();
        let (forward, back) =
            wanted.iter().map(|w| one_hot_cots(w.n, w.k)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
        let (send, recv) = if first { (forward, back) } else { (back, forward) };
        let (send, recv) = ot.reserve(ch, send, recv).await?;
        Ok(OneHotCots { first, wanted: wanted.to_vec(), send, recv })
    }

    /// Makes their bits, and what the first messages are made of.
    pub fn begin(mut self, rng: &mut impl RngCore) -> OneHotRounds {
        let (send, recv) = (&mut self.send, &mut self.recv);
        OneHotRounds(self.wanted.iter().map(|w| Kind::begin(self.first, *w, send, recv, rng)).collect())
    }
}

/// One-hot vectors on their way, without the means of travel: in each round both parties say something, whatever the peer says in it, and then hear the peer.
pub struct OneHotRounds(Vec<Kind>);

impl OneHotRounds {
    /// This party's message of a round, of which [`round_lens`] tells the length.
    pub fn message(&mut self, round: usize) -> Vec<u8> {
        let j = round + 1;
        let mut message = Vec::new();
        for kind in self.0.iter_mut().filter(|kind| kind.first && j == 1) {
            message.extend(kind.send_index());
        }
        for kind in self.0.iter_mut().filter(|kind| j < kind.k()) {
            let (level, own) = kind.e.send_level(j, &kind.send[j]);
            match message.is_empty() {
                true => message = level,
                false => message.extend(level),
            }
            kind.own = own;
        }
        message
    }

    /// Takes the peer's message of a round.
    ///
    /// # Panics
    /// If it has another length than [`round_lens`] tells, or this party has not said its own.
    pub fn take(&mut self, round: usize, message: &[u8]) {
        let (j, mut rest) = (round + 1, message);
        let mut next = |len: usize| {
            let (now, later) = rest.split_at(len);
            rest = later;
            now
        };
        for kind in self.0.iter_mut().filter(|kind| !kind.first && j == 1) {
            kind.recv_index(next((0..kind.k()).map(|j| index_len(kind.wanted, j)).sum()));
        }
        for kind in self.0.iter_mut().filter(|kind| j < kind.k()) {
            kind.grow(j, next(level_len(kind.wanted, j)));
        }
    }

    /// The vectors, after the last round.
    pub fn finish(self) -> Vec<OneHots> {
        self.0.into_iter().map(Kind::finish).collect()
    }
}

/// Bytes of a party's message in each round.
pub fn round_lens(first: bool, wanted: &[Wanted]) -> Vec<usize> {
    let levels = wanted.iter().map(|w| w.k as usize).max().unwrap_or(0);
    let round = |j: usize| {
        let index = wanted
            .iter()
            .filter(|_| first && j == 1)
            .flat_map(|w| (0..w.k as usize).map(|j| index_len(*w, j)));
        let levels = wanted.iter().filter(|w| j < w.k as usize).map(|w| level_len(*w, j));
        index.chain(levels).sum()
    };
    (1..levels.max(2)).map(round).collect()
}

/// Bits in both directions for one vector, COTs apart: the sum of `2 (2^j - 1)` for `0 < j < k` and of
/// `m - 1 - j` for `j < k`, in a ring of `m` bits.
pub fn one_hot_bits(k: u32, ring: Ring) -> usize {
    (1..k).map(|j| 2 * ((1 << j) - 1)).sum::<usize>() + index_bits(k, ring)
}

/// COTs for `n` vectors: from the first party to the second, and back.
pub fn one_hot_cots(n: usize, k: u32) -> (usize, usize) {
    (n * k as usize, n * (k as usize - 1))
}

/// The vectors of one kind on their way, their COTs by bit, and this party's shares of the bits.
struct Kind {
    first: bool,
    wanted: Wanted,
    /// Bit 0 has none where this party is second.
    send: Vec<SendCots>,
    /// Bit 0 has none where this party is first.
    recv: Vec<RecvCots>,
    /// The first party's pads for the levels: made along with the choices, which are needed before.
    level_pads: VecDeque<XorPads>,
    /// The second party's pads for the positions, likewise.
    index_pads: Vec<CotPads>,
    /// `[k][n]`, 0 or 1.
    b: Zeroizing<Vec<Vec<u64>>>,
    e: Vectors,
    /// Own shares of this round's products.
    own: Zeroizing<Vec<u64>>,
    /// Additive shares of the positions.
    index: Zeroizing<Vec<u64>>,
}

impl Kind {
    fn begin(
        first: bool,
        wanted: Wanted,
        send: &mut SendCots,
        recv: &mut RecvCots,
        rng: &mut impl RngCore,
    ) -> Kind {
        let Wanted { n, k, .. } = wanted;
        let sizes = |skip_bit_0: bool| (0..k).map(move |j| if skip_bit_0 && j == 0 { 0 } else { n });
        let send = sizes(!first).map(|n| send.take(n)).collect();
        let recv: Vec<RecvCots> = sizes(first).map(|n| recv.take(n)).collect();
        let (mut level_pads, mut index_pads) = (VecDeque::new(), vec![]);
        let mut b: Zeroizing<Vec<Vec<u64>>> = Zeroizing::new(Vec::with_capacity(k as usize));
        for (j, recv) in recv.iter().enumerate() {
            let choices = if first {
                level_pads.push_back(recv.xor_random(level_bits(j)));
                level_pads[j].choices()
            } else {
                index_pads.push(recv.words(&[cross_bits(wanted, j)]));
                index_pads[j].choices()
            };
            b.push((0..recv.len()).map(|i| bit(choices, i)).collect());
        }
        if first {
            // Bit 0 has no level.
            level_pads.pop_front();
            b[0] = (0..n).map(|_| rng.next_u64() & 1).collect();
        }
        let e = Vectors::of_bit_0(k, first, &b[0]);
        let index = Zeroizing::new(vec![0; n]);
        let own = Zeroizing::new(vec![]);
        Kind { first, wanted, send, recv, level_pads, index_pads, b, e, own, index }
    }

    fn k(&self) -> usize {
        self.wanted.k as usize
    }

    fn finish(self) -> OneHots {
        let bits = |i: usize| self.b.iter().rev().fold(0, |bits, b| bits << 1 | b[i]);
        let bits = Zeroizing::new((0..self.wanted.n).map(bits).collect());
        OneHots::new(self.e, bits, self.index, self.wanted.ring)
    }

    /// Level `j`: from `2^j` bits to twice as many.
    fn grow(&mut self, j: usize, message: &[u8]) {
        let own = std::mem::take(&mut self.own);
        let pads = self.level_pads.pop_front();
        let pads = pads.unwrap_or_else(|| self.recv[j].xor_random(level_bits(j)));
        self.e.grow(j, &self.b[j], &own, pads, message);
    }

    /// The first party's corrections, after which it has its additive shares of the positions.
    fn send_index(&mut self) -> Vec<u8> {
        let mut message = Vec::new();
        let mut index = std::mem::take(&mut self.index);
        for (j, (send, b)) in self.send.iter().zip(self.b.iter()).enumerate() {
            let (corrections, [cross, _]) =
                send.words::<false>(|i| b[i].wrapping_neg(), &[cross_bits(self.wanted, j)], &[]);
            message.extend(corrections);
            self.add_bit(&mut index, j, &Zeroizing::new(cross));
        }
        self.index = index;
        message
    }

    /// The second party's additive shares of the positions.
    fn recv_index(&mut self, message: &[u8]) {
        let mut rest = message;
        let mut index = std::mem::take(&mut self.index);
        for (j, pads) in std::mem::take(&mut self.index_pads).into_iter().enumerate() {
            let (now, later) = rest.split_at(index_len(self.wanted, j));
            let cross = pads.finish(now);
            self.add_bit(&mut index, j, &Zeroizing::new(cross));
            rest = later;
        }
        self.index = index;
    }

    /// `index += 2^j (b_j + 2 cross)`.
    fn add_bit(&self, index: &mut [u64], j: usize, cross: &[u64]) {
        for ((index, cross), b) in index.iter_mut().zip(cross).zip(&self.b[j]) {
            *index = self.wanted.ring.reduce(index.wrapping_add(b.wrapping_add(cross << 1) << j));
        }
    }
}

/// Bytes of the corrections for bit `j` of all positions.
fn index_len(wanted: Wanted, j: usize) -> usize {
    pattern_message_len(wanted.n, &[cross_bits(wanted, j)])
}

/// Bytes of the payloads of level `j`.
fn level_len(wanted: Wanted, j: usize) -> usize {
    (wanted.n * level_bits(j)).div_ceil(8)
}

/// Bits of the payload of level `j`.
fn level_bits(j: usize) -> usize {
    (1 << j) - 1
}

/// Width of the share of `-b_j b'_j`, which counts `2^(j+1)` times.
fn cross_bits(wanted: Wanted, j: usize) -> u32 {
    wanted.ring.bits() - 1 - j as u32
}

/// AM(k, m) - k: the widths of the cross terms.
fn index_bits(k: u32, ring: Ring) -> usize {
    (0..k).map(|j| (ring.bits() - 1 - j) as usize).sum()
}

#[cfg(test)]
mod tests {
    use sotto_net::{Cost, HEADER_LEN, run_pair};
    use sotto_shares::Rng;

    use super::*;
    use crate::{Columns, session::tests::party};

    const SIZES: [usize; 9] = [0, 1, 63, 64, 65, 127, 128, 129, 200];

    type Pair<T> = (T, T);

    /// Runs both parties for each `(n, k, m)`; returns what they got and what it cost after the reservation.
    fn run(calls: Vec<(usize, u32, u32)>) -> (Vec<Pair<OneHots>>, Vec<Pair<[Cost; 2]>>) {
        let side = |first: bool, calls: Vec<(usize, u32, u32)>| {
            move |mut ch: Channel| async move {
                let mut ot = party(&mut ch, first).await;
                let mut rng = Rng::from_seed([u8::from(first); 32]);
                // What the vectors need is there, at both, before the clock starts.
                let most = calls.iter().map(|&(n, k, _)| n * k as usize).sum();
                ot.prepay(&mut ch, most, most).await.unwrap();
                ch.exchange("ready", vec![0]).await.unwrap();
                let (mut out, mut costs) = (Vec::new(), Vec::new());
                for (n, k, m) in calls {
                    let before = ch.meter.total();
                    let wanted = [Wanted { n, k, ring: Ring::new(m) }];
                    let mut made = random_one_hots(&mut ch, &mut ot, &wanted, &mut rng).await.unwrap();
                    out.push(made.remove(0));
                    costs.push([before, ch.meter.total()]);
                }
                (out, costs)
            }
        };
        let ((a, cost_a), (b, cost_b)) = run_pair(side(true, calls.clone()), side(false, calls));
        (a.into_iter().zip(b).collect(), cost_a.into_iter().zip(cost_b).collect())
    }

    /// The vectors are one-hot at the positions that both other sharings name.
    fn positions(a: &OneHots, b: &OneHots) -> Vec<usize> {
        let stride = (1usize << a.k()).div_ceil(64);
        assert_eq!((a.words().len(), a.bits().len(), a.index().len()), (a.len() * stride, a.len(), a.len()));
        let position = |i: usize| {
            let r = (a.bits()[i] ^ b.bits()[i]) as usize;
            assert_eq!(a.ring().reduce(a.index()[i].wrapping_add(b.index()[i])), r as u64, "index of {i}");
            for w in 0..stride {
                let expected = if r / 64 == w { 1 << (r % 64) } else { 0 };
                assert_eq!(a.words()[i * stride + w] ^ b.words()[i * stride + w], expected, "vector {i}");
            }
            r
        };
        (0..a.len()).map(position).collect()
    }

    #[test]
    fn vectors_are_one_hot_at_uniform_positions() {
        let mut calls: Vec<_> = (1..=12).flat_map(|k| [(65, k, k), (9, k, 24), (1, k, 64)]).collect();
        calls.extend(SIZES.map(|n| (n, 4, 9)));
        calls.push((4000, 3, 3));
        let (out, _) = run(calls);
        out.iter().for_each(|(a, b)| drop(positions(a, b)));
        let (a, b) = out.last().unwrap();
        let mut counts = [0usize; 8];
        positions(a, b).iter().for_each(|&r| counts[r] += 1);
        // 500 expected, standard deviation 21.
        assert!(counts.iter().all(|c| (370..630).contains(c)), "{counts:?}");
        // Neither party's share of the vector correlates with the position's low bit.
        let agree = |x: &OneHots| {
            x.words().iter().zip(positions(a, b)).filter(|(w, r)| *w & 1 == (*r as u64 & 1)).count()
        };
        assert!((1800..2200).contains(&agree(a)) && (1800..2200).contains(&agree(b)));
    }

    #[test]
    fn stated_bits_and_turns() {
        for (k, m, stated) in
            [(5, 5, 62), (7, 7, 261), (8, 8, 522), (10, 10, 2071), (1, 1, 0), (1, 9, 8), (5, 14, 107)]
        {
            let ring = Ring::new(m);
            assert_eq!(one_hot_bits(k, ring), stated);
            let n = 64;
            let (_, costs) = run(vec![(n, k, m)]);
            let (a, b) = costs[0];
            let turns = a[1].turns.max(b[1].turns) - a[0].turns.max(b[0].turns);
            let [a, b] = [a, b].map(|[before, after]| after - before);
            let frames = if k > 1 { 2 * (k as usize - 1) } else { usize::from(index_bits(k, ring) > 0) };
            assert_eq!(a.bytes() as usize, n * stated / 8 + frames * HEADER_LEN, "k = {k}, m = {m}");
            assert_eq!(b.bytes(), a.bytes());
            let stated = (k - 1).max(u32::from(index_bits(k, ring) > 0));
            assert_eq!(turns, u64::from(stated), "k = {k}, m = {m}");
        }
    }

    #[test]
    fn rotated_vectors_select_table_entries() {
        let (out, _) = run((1..=12).map(|k| (40, k, k + 2)).collect());
        let mut rng = Rng::from_seed([8; 32]);
        for (mut a, mut b) in out {
            let (k, n) = (a.k(), a.len());
            let r = positions(&a, &b);
            let (front_a, front_b) = (a.take(n - 3), b.take(n - 3));
            assert_eq!(
                (positions(&front_a, &front_b), positions(&a, &b)),
                (r[..n - 3].to_vec(), r[n - 3..].to_vec())
            );
            let mut d = rng.elements(n - 3, Ring::new(k));
            d[0] = 0;
            for width in [1, 13, 64] {
                let table = rng.elements(1 << k, Ring::new(width));
                let columns = Columns::new(&table, width);
                assert_eq!(columns.width(), width);
                let (a, b) = (duplicate(&front_a).rotate(&d), duplicate(&front_b).rotate(&d));
                assert_eq!((a.len(), b.is_empty()), (n - 3, false));
                let opened = a.parity(&columns).xor(&b.parity(&columns));
                for i in 0..n - 3 {
                    let at = (r[i] + d[i] as usize) % (1 << k);
                    assert_eq!(opened.words[i], table[at], "k = {k}, width = {width}");
                }
            }
        }
    }

    fn duplicate(x: &OneHots) -> OneHots {
        let copy = |words: &[u64]| Zeroizing::new(words.to_vec());
        let e = Vectors::new(x.k(), copy(x.words()));
        OneHots::new(e, copy(x.bits()), copy(x.index()), x.ring())
    }

    #[test]
    fn kinds_share_their_turns() {
        let wanted = [(70, 1, 1), (3, 8, 14), (0, 5, 5), (129, 4, 7), (5, 9, 9), (64, 3, 3)];
        let wanted = wanted.map(|(n, k, m)| Wanted { n, k, ring: Ring::new(m) });
        let side = |first: bool| {
            move |mut ch: Channel| async move {
                let mut ot = party(&mut ch, first).await;
                let mut rng = Rng::from_seed([u8::from(first); 32]);
                ot.prepay(&mut ch, 4000, 4000).await.unwrap();
                ch.exchange("ready", vec![0]).await.unwrap();
                let before = ch.meter.total();
                let made = random_one_hots(&mut ch, &mut ot, &wanted, &mut rng).await.unwrap();
                (made, ch.meter.total().turns - before.turns)
            }
        };
        let ((a, turns), (b, others)) = run_pair(side(true), side(false));
        assert_eq!(turns.max(others), 8);
        for ((a, b), wanted) in a.iter().zip(&b).zip(wanted) {
            assert_eq!((a.len(), a.k(), a.ring()), (wanted.n, wanted.k, wanted.ring));
            positions(a, b);
        }
    }

    #[test]
    fn an_early_close_is_named() {
        let (result, ()) = run_pair(
            |mut ch: Channel| async move {
                let mut ot = party(&mut ch, true).await;
                let mut rng = Rng::from_seed([1; 32]);
                let wanted = [Wanted { n: 10, k: 4, ring: Ring::new(4) }];
                random_one_hots(&mut ch, &mut ot, &wanted, &mut rng).await.err()
            },
            |mut ch: Channel| async move {
                let mut ot = party(&mut ch, false).await;
                ot.reserve(&mut ch, 30, 40).await.unwrap();
                ch.close().await.unwrap();
            },
        );
        assert!(matches!(result, Some(Error::Net(sotto_net::Error::Closed { step: LEVEL }))));
    }
}
