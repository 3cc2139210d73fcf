//! 1-of-2^k OT as table lookup: XOR shares of `f(c)`, with `c` the receiver's index and `f` the
//! sender's table of `2^k` entries of `w` bits.
//!
//! | receiver: `k` COTs; index `c`        |           | sender: the same `k` COTs; `f`            |
//! |--------------------------------------|-----------|-------------------------------------------|
//! | `d_j = c_j ^ b_j` | `-- d ->` | `Q = sum_j X^j (q_j ^ d_j Delta)` in GF(2^128) |
//! | `T = sum_j X^j t_j = Q ^ c(X) Delta` |  | `P(i) = H(Q ^ i(X) Delta)`, `r = P(0) ^ f(0)` |
//! |  | `<- m --` | `m_i = P(i) ^ f(i) ^ r`, `i = 1 .. 2^k - 1` |
//! | returns `H(T) ^ m_c`, with `m_0 = 0` |           | returns `r`                               |
//!
//! Two turns, `k + (2^k - 1) w` bits; `2^k` hashes for the sender, one for the receiver. `i(X)` is
//! the polynomial whose coefficients are the bits of `i`; GF(2^128) is taken modulo
//! `X^128 + X^7 + X^2 + X + 1`. The pad of index 0 defines the share `r`, so entry 0 is not sent.
//!
//! Security. The sender sees `d`, which `b` masks. The receiver holds `H(T)`; the other pads are
//! `H(T ^ e(X) Delta)` for the `2^k - 1` nonzero `e = i ^ c`. Multiplication by the nonzero
//! constant `e(X)` is a linear bijection, so `e(X) Delta` is as unknown as `Delta`, and distinct
//! `e` give distinct points. So the argument of [`crate::hash`] in the ideal-permutation model
//! holds for these images of `Delta`, too; an adversary's advantage grows with the number of pads,
//! `2^k` an item instead of two. Hence the pads of all `i != c` look independent and uniform. If
//! `c = 0`, every `m_i` looks uniform, and the receiver has `P(0) = r ^ f(0)`. If `c != 0`, `P(0)`
//! makes `r` uniform, the other `m_i` are masked by their own pads, and `m_c` gives `r ^ f(c)`.
//!
//! Source: Naor, Pinkas, 1999; Cheetah (eprint 2022/207), section 4. The sum in GF(2^128) and the
//! omitted entry: this project.

use std::ops::Range;

use sotto_shares::{BitReader, BitWriter, packed_len};
use zeroize::Zeroizing;

use crate::{
    batch::UNIT,
    bits::{bits_len, reduce},
    block::Block,
    cots::{RecvCots, SendCots, SendPads},
    hash::Purpose,
    kernel,
    parallel::{self, parts_mut},
    transfer::Corrections,
};

/// Lookups hashed at a time.
const GROUP: usize = 16;

impl SendCots {
    /// Lookups in `n` tables on `n k` COTs, `k` consecutive ones for each: `table(i, e)` is entry
    /// `e` of table `i`, of which `w` bits count; `derand` is the receiver's message.
    ///
    /// Returns the message of [`lookup_message_len`] bytes and this party's `n` shares `own`, with
    /// `own_i ^ got_i = table(i, index i)`.
    ///
    /// # Panics
    /// Unless `1 <= k <= 8`, `1 <= w <= 64`, and there is one bit of `derand` per COT.
    pub fn lookup_send(
        self,
        k: u32,
        derand: &[u8],
        table: impl Fn(usize, u64) -> u64 + Sync,
        w: u32,
    ) -> (Vec<u8>, Vec<u64>) {
        let cots = self.len();
        let (n, stride) = (items(cots, k, w), k as usize);
        let derand = Corrections::new(derand, cots);
        let SendPads { delta, pads } = self.pads(Purpose::Lookup, 1);
        let (offsets, runs) = (multiples(*delta, k), runs(k, w));
        let unit = whole_items(stride);
        let mut message = vec![0; lookup_message_len(n, k, w)];
        let mut own = vec![0; n];
        let (items, units) = (unit / stride, cots.div_ceil(unit));
        let messages = parts_mut(&mut message, lookup_message_len(items, k, w), units);
        pads.for_units(unit, messages.zip(own.chunks_mut(items)), |unit, (message, own)| {
            derand.apply(unit.range.start, unit.blocks, *delta);
            let first = unit.range.start / stride;
            let mut message = BitWriter::new(message);
            let mut pad = Zeroizing::new(vec![Block::ZERO; GROUP << k]);
            let (mut q, mut key) =
                (Zeroizing::new([Block::ZERO; GROUP]), Zeroizing::new([Block::ZERO; GROUP]));
            for chunk in unit.chunks(stride, GROUP) {
                let group = chunk.items.len();
                combine(&unit.blocks[chunk.items.start * stride..], stride, &mut q[..group]);
                for (&offset, pad) in offsets.iter().zip(pad.chunks_exact_mut(GROUP)) {
                    kernel::add_to_all(&q[..group], offset, &mut key[..group]);
                    chunk.hash(0, &key[..group], &mut pad[..group]);
                }
                for (at, item) in chunk.items.enumerate() {
                    let masked = |e: u64| pad[e as usize * GROUP + at].0 as u64 ^ table(first + item, e);
                    let r = reduce(masked(0), w);
                    for run in &runs {
                        let word = run.clone().rev().fold(0, |all, e| join(all, reduce(masked(e) ^ r, w), w));
                        message.push(word, (run.end - run.start) as u32 * w);
                    }
                    own[item] = r;
                }
            }
            message.finish();
        });
        (message, own)
    }
}

/// The receiver's side of [`SendCots::lookup_send`], before the message arrives. Wiped when
/// dropped.
pub struct LookupPads {
    k: u32,
    w: u32,
    indices: Zeroizing<Vec<u64>>,
    pads: Zeroizing<Vec<u64>>,
}

impl RecvCots {
    /// For `n` indices of `k` bits, on `n k` COTs: the message `derand`, and what the sender's
    /// message is then combined with.
    ///
    /// # Panics
    /// Unless `1 <= k <= 8`, `1 <= w <= 64`, the indices are below `2^k`, and there are `k` COTs
    /// per index.
    pub fn lookup_choose(self, k: u32, indices: &[u64], w: u32) -> (Vec<u8>, LookupPads) {
        let cots = self.len();
        let (n, stride) = (items(cots, k, w), k as usize);
        assert_eq!(indices.len(), n, "k COTs per index");
        assert!(indices.iter().fold(0, |all, i| all | i) >> k == 0, "indices have k bits");
        let unit = whole_items(stride);
        let mut derand = vec![0; bits_len(cots)];
        let mut pads = Zeroizing::new(vec![0; n]);
        let outputs = derand.chunks_mut(unit / 8).zip(pads.chunks_mut(unit / stride));
        self.batch.pads(Purpose::Lookup, 1).for_units(unit, outputs, |unit, (derand, pads)| {
            let indices = &indices[unit.range.start / stride..][..pads.len()];
            let mut random = Zeroizing::new(vec![0; derand.len()]);
            kernel::low_bits(unit.blocks, &mut random);
            let mut chosen = BitWriter::new(derand);
            indices.iter().for_each(|&c| chosen.push(c, k));
            chosen.finish();
            derand.iter_mut().zip(random.iter()).for_each(|(d, b)| *d ^= b);
            let (mut t, mut pad) =
                (Zeroizing::new([Block::ZERO; GROUP]), Zeroizing::new([Block::ZERO; GROUP]));
            for chunk in unit.chunks(stride, GROUP) {
                let group = chunk.items.len();
                combine(&unit.blocks[chunk.items.start * stride..], stride, &mut t[..group]);
                chunk.hash(0, &t[..group], &mut pad[..group]);
                pads[chunk.items]
                    .iter_mut()
                    .zip(pad.iter())
                    .for_each(|(out, pad)| *out = reduce(pad.0 as u64, w));
            }
        });
        (derand, LookupPads { k, w, indices: Zeroizing::new(indices.to_vec()), pads })
    }
}

impl LookupPads {
    /// This party's shares, one per index, from the sender's message.
    ///
    /// # Panics
    /// If it is not [`lookup_message_len`] bytes long.
    pub fn finish(self, message: &[u8]) -> Vec<u64> {
        assert_eq!(
            message.len(),
            lookup_message_len(self.pads.len(), self.k, self.w),
            "length of the masked tables"
        );
        let LookupPads { k, w, indices, pads } = self;
        let (items, runs) = (whole_items(k as usize) / k as usize, runs(k, w));
        let mut shares = vec![0; pads.len()];
        let messages = message.chunks(lookup_message_len(items, k, w));
        let parts = shares.chunks_mut(items).zip(pads.chunks(items)).zip(indices.chunks(items)).zip(messages);
        parallel::for_each(parts, |(((shares, pads), indices), message)| {
            let mut message = BitReader::new(message);
            for ((share, pad), &index) in shares.iter_mut().zip(pads).zip(indices) {
                *share = pad ^ entry(&mut message, &runs, w, index);
            }
        });
        shares
    }
}

/// The entry at `index` of the next table in the message, or 0 for index 0, which has no entry.
/// Reads all entries, whatever the index.
fn entry(table: &mut BitReader<'_>, runs: &[Range<u64>], w: u32, index: u64) -> u64 {
    runs.iter().fold(0, |found, run| {
        let n = run.end - run.start;
        let entries = table.pull(n as u32 * w);
        let place = index.wrapping_sub(run.start);
        // All ones if `0 <= place < n`: for numbers below 2^63 the top bit of `place - n` is set if
        // `place < n`, and that of `place` if `index < run.start`.
        let here = std::hint::black_box(((place.wrapping_sub(n) & !place) >> 63).wrapping_neg());
        found ^ reduce(entries >> (place.wrapping_mul(u64::from(w)) & here), w) & here
    })
}

/// The entries of a table from entry 1 on, in runs of as many as a word of 64 bits holds.
fn runs(k: u32, w: u32) -> Vec<Range<u64>> {
    let run = u64::from(u64::BITS / w);
    (1..1 << k).step_by(run as usize).map(|from| from..(from + run).min(1 << k)).collect()
}

/// `low`, of `w` bits, and `high` above it.
fn join(high: u64, low: u64, w: u32) -> u64 {
    if w == u64::BITS { low } else { high << w | low }
}

/// Bytes of the message of [`SendCots::lookup_send`]: `n (2^k - 1) w` bits.
pub fn lookup_message_len(n: usize, k: u32, w: u32) -> usize {
    packed_len(n * ((1 << k) - 1), w)
}

/// Number of lookups on `cots` COTs.
///
/// # Panics
/// Unless `1 <= k <= 8`, `1 <= w <= 64` and `k` divides `cots`.
fn items(cots: usize, k: u32, w: u32) -> usize {
    assert!((1..=8).contains(&k) && (1..=64).contains(&w), "lookup of {w} bits at {k} bits");
    assert!(cots.is_multiple_of(k as usize), "{k} COTs per lookup");
    cots / k as usize
}

/// COTs at a time: a multiple of `k` and of 8, so that a unit has whole lookups, and whole bytes of
/// any message.
fn whole_items(stride: usize) -> usize {
    UNIT / (8 * stride) * (8 * stride)
}

/// `out[i] = sum_j X^j blocks[i stride + j]`.
fn combine(blocks: &[Block], stride: usize, out: &mut [Block]) {
    for (blocks, out) in blocks.chunks_exact(stride).zip(out) {
        *out = blocks.iter().rev().fold(Block::ZERO, |sum, &block| sum.times_x() ^ block);
    }
}

/// `i(X) delta` for every `i` below `2^k`.
fn multiples(delta: Block, k: u32) -> Zeroizing<Vec<Block>> {
    let mut all = Zeroizing::new(vec![Block::ZERO; 1 << k]);
    let mut power = delta;
    for j in 0..k {
        let (done, next) = all.split_at_mut(1 << j);
        next.iter_mut().zip(done.iter()).for_each(|(next, &done)| *next = done ^ power);
        power = power.times_x();
    }
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sotto_shares::{Ring, Rng};

    use crate::{bits::reduce, ideal};

    fn check(n: usize, k: u32, w: u32, seed: u8) {
        let mut rng = Rng::from_seed([seed; 32]);
        let (s, r) = ideal::cots(seed, n * k as usize);
        let tables = rng.elements(n << k, Ring::new(w));
        let indices = rng.elements(n, Ring::new(k));
        let (derand, pads) = r.lookup_choose(k, &indices, w);
        let (message, own) = s.lookup_send(k, &derand, |i, e| tables[(i << k) + e as usize], w);
        assert_eq!(derand.len(), (n * k as usize).div_ceil(8));
        assert_eq!(message.len(), (n * ((1 << k) - 1) * w as usize).div_ceil(8));
        let got = pads.finish(&message);
        for i in 0..n {
            assert_eq!(own[i] ^ got[i], tables[(i << k) + indices[i] as usize], "k = {k}, w = {w}, item {i}");
        }
    }

    #[test]
    fn edge_sizes() {
        for n in [0, 1, 63, 64, 65, 127, 128, 129, 1000, 1365, 1366, 4099] {
            for (k, w) in [(1, 1), (1, 64), (2, 2), (4, 2), (4, 33), (8, 1), (8, 64), (3, 43)] {
                check(n, k, w, 6);
            }
        }
    }

    proptest! {
        #[test]
        fn shares_open_to_the_entry(n in 0usize..40, k in 1u32..=8, w in 1u32..=64, seed: u8) {
            check(n, k, w, seed);
        }

        /// Whatever the peer sends in messages of the right length, both parties finish.
        #[test]
        fn any_messages_are_taken(
            n in 0usize..20,
            k in 1u32..=8,
            w in 1u32..=64,
            filling in prop::collection::vec(any::<u8>(), 1..50),
            seed: u8,
        ) {
            let bytes = |len: usize| filling.iter().copied().cycle().take(len).collect::<Vec<u8>>();
            let (s, r) = ideal::cots(seed, n * k as usize);
            let derand = bytes((n * k as usize).div_ceil(8));
            let (message, own) = s.lookup_send(k, &derand, |_, _| u64::MAX, w);
            prop_assert!(own.len() == n && own.iter().all(|&x| reduce(x, w) == x));
            let (_, pads) = r.lookup_choose(k, &vec![(1 << k) - 1; n], w);
            let got = pads.finish(&bytes(message.len()));
            prop_assert!(got.len() == n && got.iter().all(|&x| reduce(x, w) == x));
        }
    }

    /// The sender's pads of all entries of a lookup are different random words.
    #[test]
    fn pads_of_the_entries_are_unrelated() {
        let (s, r) = ideal::cots(1, 8);
        let (derand, _) = r.lookup_choose(8, &[0], 64);
        let (message, own) = s.lookup_send(8, &derand, |_, _| 0, 64);
        let mut seen: Vec<u64> = sotto_shares::unpack(&message, 255, 64);
        seen.push(own[0]);
        let xor_of_four = seen[0] ^ seen[1] ^ seen[2] ^ seen[3];
        assert!(xor_of_four != 0, "entries 1 ^ 2 ^ 3 would cancel if pads were XORs of one word per key");
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 256);
    }
}
