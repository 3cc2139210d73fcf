//! Random one-hot vectors: XOR shares of the unit vector `e_r` of 2^k bits, with `r` shared bitwise and mod 2^m.
//!
//! Both parties hold a share `b_j` of bit `j` of `r`: their choice bits in COTs of which the other is the sender
//! (the first party draws its bit 0). The vector of the bits below `j` grows by bit `j`: its upper half becomes
//! `p = e r_j`, its lower half `e ^ p`.
//!
//! | first party                                      |                        | second party                         |
//! |--------------------------------------------------|------------------------|--------------------------------------|
//! | COT payload `-b_j mod 2^(m-j-1)`, all `j`        | `-- one-hot/index ->`  | choice `b_j`: `r_j = b_j + b'_j - 2 b_j b'_j` |
//! | level `j = 1 .. k-1`: COT payload `e` but its last bit | `<- one-hot/level ->` | the same, at the same time       |
//! | `p = e b_j ^ own ^ got`                          |                        | the same                             |
//! | `p`'s last bit: `b_j` ^ its others, as `e` sums to 1 |                    | the same                             |
//!
//! `max(k-1, 1)` turns after the reservation's one; [`one_hot_bits`] bits. `k` COTs an element from the first
//! party to the second, `k - 1` back; XOR and arithmetic payloads of a COT take disjoint segments of its pad, and
//! no choice bit is derandomised. Both see masked payloads only: neither learns anything of `r`.
//! Deviation: the cross term of `r_j` is even, so its payload is one bit shorter than the AM(k, m) of the source.
//! Source: FLUTE (S&P 2023) for the idea; `nonlinear.md` 1.3 for the recursion and the last-entry trick.

use rand::RngCore;
use sotto_net::{Channel, compute};
use sotto_shares::Ring;
use zeroize::Zeroizing;

use crate::{
    Error, OneHots, OtSession, RecvCots, SendCots, block::bit, pattern_message_len, vectors::Vectors,
};

const INDEX: &str = "ot/one-hot/index";
const LEVEL: &str = "ot/one-hot/level";

/// `n` random one-hot vectors of `2^k` bits with the position in `ring`, too. The peer asks for the same.
///
/// # Errors
/// Transport, or the peer asks for something else.
///
/// # Panics
/// Unless `1 <= k <= 10` and the ring has `k` bits or more.
pub async fn random_one_hots(
    ch: &mut Channel,
    ot: &mut OtSession,
    n: usize,
    k: u32,
    ring: Ring,
    rng: &mut (impl RngCore + Send),
) -> Result<OneHots, Error> {
    let cots = Cots::reserve(ch, ot, n, k, ring, rng).await?;
    let mut e = Vectors::of_bit_0(k, cots.first, &cots.b[0]);
    let mut index = None;
    if cots.first {
        let (corrections, share) = compute(|| cots.send_index());
        index = Some(share);
        if cots.all_index_len() > 0 {
            ch.send(INDEX, corrections)?;
        }
    }
    for j in 1..k as usize {
        let (message, own) = compute(|| e.send_level(j, &cots.send[j]));
        let len = message.len();
        ch.send(LEVEL, message)?;
        if index.is_none() {
            // After this party's own first level: so it costs no turn.
            index = Some(cots.recv_index(ch).await?);
        }
        let message = ch.recv(LEVEL, len).await?;
        compute(|| e.grow(j, &cots.b[j], &own, cots.recv[j].xor_random((1 << j) - 1), &message));
    }
    let index = match index {
        Some(index) => index,
        None => cots.recv_index(ch).await?,
    };
    Ok(OneHots::new(e, cots.bits(), index, ring))
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

/// The COTs of one call, by bit, and this party's shares of the bits.
struct Cots {
    first: bool,
    n: usize,
    k: u32,
    ring: Ring,
    /// Bit 0 has none where this party is second.
    send: Vec<SendCots>,
    /// Bit 0 has none where this party is first.
    recv: Vec<RecvCots>,
    /// `[k][n]`, 0 or 1.
    b: Zeroizing<Vec<Vec<u64>>>,
}

impl Cots {
    async fn reserve(
        ch: &mut Channel,
        ot: &mut OtSession,
        n: usize,
        k: u32,
        ring: Ring,
        rng: &mut impl RngCore,
    ) -> Result<Cots, Error> {
        assert!((1..=10).contains(&k) && k <= ring.bits(), "one-hot of {k} bits with position in {ring:?}");
        let first = ot.is_first();
        let (forward, back) = one_hot_cots(n, k);
        let (send, recv) = if first { (forward, back) } else { (back, forward) };
        let (mut send, mut recv) = ot.reserve(ch, send, recv).await?;
        let sizes = |skip_bit_0: bool| (0..k).map(move |j| if skip_bit_0 && j == 0 { 0 } else { n });
        let send = sizes(!first).map(|n| send.take(n)).collect();
        let recv: Vec<RecvCots> = sizes(first).map(|n| recv.take(n)).collect();
        let mut b = Zeroizing::new(Vec::with_capacity(k as usize));
        for recv in &recv {
            let choices = recv.choices();
            b.push((0..recv.len()).map(|i| bit(&choices, i)).collect());
        }
        if first {
            b[0] = (0..n).map(|_| rng.next_u64() & 1).collect();
        }
        Ok(Cots { first, n, k, ring, send, recv, b })
    }

    /// The XOR shares of the positions.
    fn bits(&self) -> Zeroizing<Vec<u64>> {
        let bits = |i: usize| self.b.iter().rev().fold(0, |bits, b| bits << 1 | b[i]);
        Zeroizing::new((0..self.n).map(bits).collect())
    }

    /// Bytes of the corrections for bit `j` of all positions.
    fn index_len(&self, j: usize) -> usize {
        pattern_message_len(self.n, &[self.cross_bits(j)])
    }

    /// Bytes of the corrections of all positions.
    fn all_index_len(&self) -> usize {
        (0..self.k as usize).map(|j| self.index_len(j)).sum()
    }

    /// The first party's corrections and additive shares of the positions.
    fn send_index(&self) -> (Vec<u8>, Zeroizing<Vec<u64>>) {
        let mut message = Vec::with_capacity(self.all_index_len());
        let mut index = Zeroizing::new(vec![0; self.n]);
        for (j, (send, b)) in self.send.iter().zip(self.b.iter()).enumerate() {
            let (corrections, [cross, _]) =
                send.words::<false>(|i| b[i].wrapping_neg(), &[self.cross_bits(j)]);
            message.extend(corrections);
            self.add_bit(&mut index, j, &Zeroizing::new(cross));
        }
        (message, index)
    }

    /// The second party's additive shares of the positions.
    async fn recv_index(&self, ch: &mut Channel) -> Result<Zeroizing<Vec<u64>>, Error> {
        let len = self.all_index_len();
        let message = if len > 0 { ch.recv(INDEX, len).await? } else { Vec::new() };
        Ok(compute(|| {
            let mut rest = &message[..];
            let mut index = Zeroizing::new(vec![0; self.n]);
            for (j, recv) in self.recv.iter().enumerate() {
                let (now, later) = rest.split_at(self.index_len(j));
                let cross = recv.words(&[self.cross_bits(j)]).finish(now);
                self.add_bit(&mut index, j, &Zeroizing::new(cross));
                rest = later;
            }
            index
        }))
    }

    /// Width of the share of `-b_j b'_j`, which counts `2^(j+1)` times.
    fn cross_bits(&self, j: usize) -> u32 {
        self.ring.bits() - 1 - j as u32
    }

    /// `index += 2^j (b_j + 2 cross)`.
    fn add_bit(&self, index: &mut [u64], j: usize, cross: &[u64]) {
        for ((index, cross), b) in index.iter_mut().zip(cross).zip(&self.b[j]) {
            *index = self.ring.reduce(index.wrapping_add(b.wrapping_add(cross << 1) << j));
        }
    }
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
                    out.push(random_one_hots(&mut ch, &mut ot, n, k, Ring::new(m), &mut rng).await.unwrap());
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
        let mut calls: Vec<_> = (1..=10).flat_map(|k| [(65, k, k), (9, k, 24), (1, k, 64)]).collect();
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
            let frames = 2 * (k as usize - 1) + usize::from(index_bits(k, ring) > 0);
            assert_eq!(a.bytes() as usize, n * stated / 8 + frames * HEADER_LEN, "k = {k}, m = {m}");
            assert_eq!(b.bytes(), a.bytes());
            let stated = (k - 1).max(u32::from(index_bits(k, ring) > 0));
            assert_eq!(turns, u64::from(stated), "k = {k}, m = {m}");
        }
    }

    #[test]
    fn rotated_vectors_select_table_entries() {
        let (out, _) = run((1..=10).map(|k| (40, k, k + 2)).collect());
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
    fn an_early_close_is_named() {
        let (result, ()) = run_pair(
            |mut ch: Channel| async move {
                let mut ot = party(&mut ch, true).await;
                let mut rng = Rng::from_seed([1; 32]);
                random_one_hots(&mut ch, &mut ot, 10, 4, Ring::new(4), &mut rng).await.err()
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
