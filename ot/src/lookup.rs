//! 1-of-2^k OT for table lookup: XOR shares of `f(c)`, with `c` the receiver's index and `f` the sender's table.
//!
//! | receiver: `k` COTs; index `c`            | |           | sender: `k` COTs; `f(0), .., f(2^k - 1)` of `w` bits |
//! |------------------------------------|-----------|---------------------------------------------|
//! | `d_j = c_j ^ b_j`                  | `-- d ->` | `K_j^v = q_j ^ (v ^ d_j) Delta`             |
//! |                                    |           | `P(i) = XOR_j G(K_j^{i_j})[i]`, `r = P(0) ^ f(0)` |
//! |                                    | `<- m --` | `m_i = P(i) ^ f(i) ^ r`, `i = 1 .. 2^k - 1` |
//! | returns `P(c) ^ m_c` (`m_0 = 0`)   |           | returns `r`                                 |
//!
//! `k + (2^k - 1) w` bits. The share `r` is *defined* by the pad of index 0, so that entry need not travel.
//! `G(K)[i]` is the `i`-th stretch of `w` bits of the hash's segments under `K`; stretches do not overlap, so
//! that `P(i)` for `i != c` contains, at a `j` where `i_j != c_j`, a stretch under a key that the receiver does
//! not hold and that is part of no other pad. So the pads of all `i != c` are independent and uniform in its view:
//! with `c = 0` every `m_i` is, and it holds `P(0) = r ^ f(0)`; with `c != 0`, `r` is uniform by `P(0)`, the other
//! `m_i` by their own pads, and `m_c` gives `r ^ f(c)`. The sender sees `d`, masked by `b`.
//! Source: Naor, Pinkas, 1999; Cheetah (eprint 2022/207), section 4; the implied entry: `ot.md`, section 3.

use sotto_shares::{BitReader, BitWriter, packed_len};
use subtle::{ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::{
    RecvCots, SendCots,
    block::{Block, LAMBDA},
    cots::derand_len,
    hash::Purpose,
};

impl SendCots {
    /// `tables` is `[n][2^k]` values of `w` bits, on `n k` COTs, `k` in a row for each table. Returns the
    /// message of [`lookup_message_len`] bytes and `n` shares; `own ^ got = tables[index]`.
    ///
    /// # Panics
    /// Unless `1 <= k <= 8`, `1 <= w <= 64` and the lengths fit together.
    pub fn lookup_send(self, k: u32, derand: &[u8], tables: &[u64], w: u32) -> (Vec<u8>, Vec<u64>) {
        let layout = Layout::new(k, w);
        let n = layout.items(self.len());
        assert_eq!(tables.len(), n << k, "2^k entries per lookup");
        assert_eq!(derand.len(), derand_len(self.len()), "k bits of derandomisation per lookup");
        let pads = self.pads(Purpose::Lookup, layout.segments);
        let (k, segments) = (k as usize, layout.segments);
        // [segment][j][v], then their combination [segment].
        let mut pad = Zeroizing::new(vec![Block::ZERO; segments * k * 2]);
        let mut combined = Zeroizing::new(vec![Block::ZERO; segments]);
        let mut message = BitWriter::with_capacity(lookup_message_len(n, k as u32, w));
        let mut own = Vec::with_capacity(n);
        for (item, table) in tables.chunks_exact(1 << k).enumerate() {
            pads.fill(&mut pad, |p| {
                let cot = item * k + p / 2 % k;
                let key = self.key0(cot, Some(derand)) ^ self.delta().times(p as u64 & 1);
                (key, cot, (p / 2 / k) as u64)
            });
            for (segment, (out, pad)) in combined.iter_mut().zip(pad.chunks_exact(2 * k)).enumerate() {
                let entry =
                    |j: usize| pad[2 * j] ^ ((pad[2 * j] ^ pad[2 * j + 1]) & layout.with_bit(j, segment));
                *out = (0..k).fold(Block::ZERO, |sum, j| sum ^ entry(j));
            }
            let p = |i: usize| layout.stretch(combined[i >> layout.log_entries], i);
            let r = p(0) ^ layout.low(table[0]);
            for (i, f) in table.iter().enumerate().skip(1) {
                message.push(p(i) ^ f ^ r, w);
            }
            own.push(r);
        }
        (message.finish(), own)
    }
}

impl RecvCots {
    /// The bits that turn the random choices of `n k` COTs into `n` indices of `k` bits; to be sent.
    ///
    /// # Panics
    /// If there are not `k` COTs per index.
    pub fn derandomise_indices(&self, k: u32, indices: &[u64]) -> Vec<u8> {
        assert_eq!(self.len(), indices.len() * k as usize, "k COTs per index");
        self.pack(|i| indices[i / k as usize] >> (i % k as usize))
    }

    /// The receiver's side of [`SendCots::lookup_send`]; `indices` as in [`RecvCots::derandomise_indices`].
    ///
    /// # Panics
    /// Unless `1 <= k <= 8`, `1 <= w <= 64`, the indices are below `2^k`, and the lengths fit together.
    pub fn lookup_recv(self, k: u32, indices: &[u64], w: u32, message: &[u8]) -> Vec<u64> {
        let layout = Layout::new(k, w);
        let n = layout.items(self.len());
        assert_eq!(indices.len(), n, "k COTs per index");
        assert_eq!(message.len(), lookup_message_len(n, k, w), "length of the masked tables");
        assert!(indices.iter().fold(0, |all, i| all | i) >> k == 0, "indices have k bits");
        let pads = self.pads(Purpose::Lookup, layout.segments);
        let mut pad = Zeroizing::new(vec![Block::ZERO; k as usize]);
        let mut message = BitReader::new(message);
        let mut got = Vec::with_capacity(n);
        for (item, &c) in indices.iter().enumerate() {
            let cot = |j: usize| item * k as usize + j;
            pads.fill(&mut pad, |j| (self.key(cot(j)), cot(j), c >> layout.log_entries));
            let combined = pad.iter().fold(Block::ZERO, |sum, &pad| sum ^ pad);
            let mut m = 0;
            for i in 1..1u64 << k {
                m.conditional_assign(&message.pull(w), i.ct_eq(&c));
            }
            got.push(layout.stretch(combined, c as usize) ^ m);
        }
        got
    }
}

/// Bytes of the message of [`SendCots::lookup_send`]: `n (2^k - 1) w` bits.
pub fn lookup_message_len(n: usize, k: u32, w: u32) -> usize {
    packed_len(n * ((1 << k) - 1), w)
}

/// Which bits of a key's hash mask which entry: a power of two of entries per segment, none across two.
struct Layout {
    k: u32,
    w: u32,
    log_entries: u32,
    segments: usize,
}

impl Layout {
    fn new(k: u32, w: u32) -> Layout {
        assert!((1..=8).contains(&k) && (1..=64).contains(&w), "lookup of {w} bits at {k} bits");
        let log_entries = (LAMBDA as u32 / w).ilog2().min(k);
        Layout { k, w, log_entries, segments: 1 << (k - log_entries) }
    }

    /// Lookups made from `cots` COTs.
    fn items(&self, cots: usize) -> usize {
        assert!(cots.is_multiple_of(self.k as usize), "{} COTs per lookup", self.k);
        cots / self.k as usize
    }

    /// All ones where a segment masks entries whose bit `j` is set.
    fn with_bit(&self, j: usize, segment: usize) -> Block {
        let entry = |e: usize| {
            u128::from(self.low(((segment << self.log_entries | e) as u64 >> j & 1).wrapping_neg()))
        };
        Block((0..1 << self.log_entries).fold(0, |mask, e| mask | entry(e) << (e as u32 * self.w)))
    }

    /// Entry `i`'s stretch of its segment, by shifts only: `i` may be secret.
    fn stretch(&self, segment: Block, i: usize) -> u64 {
        let place = i as u32 & ((1 << self.log_entries) - 1);
        self.low((segment.0 >> (place * self.w)) as u64)
    }

    fn low(&self, x: u64) -> u64 {
        x & (u64::MAX >> (64 - self.w))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sotto_shares::{Ring, Rng};

    use crate::ideal;

    fn check(n: usize, k: u32, w: u32, seed: u8) {
        let mut rng = Rng::from_seed([seed; 32]);
        let (s, r) = ideal::cots(seed, n * k as usize);
        let tables = rng.elements(n << k, Ring::new(w));
        let indices = rng.elements(n, Ring::new(k));
        let derand = r.derandomise_indices(k, &indices);
        let (message, own) = s.lookup_send(k, &derand, &tables, w);
        assert_eq!(derand.len(), (n * k as usize).div_ceil(8));
        assert_eq!(message.len(), (n * ((1 << k) - 1) * w as usize).div_ceil(8));
        let got = r.lookup_recv(k, &indices, w, &message);
        for i in 0..n {
            assert_eq!(own[i] ^ got[i], tables[(i << k) + indices[i] as usize], "k = {k}, w = {w}, item {i}");
        }
    }

    #[test]
    fn edge_sizes() {
        for n in [0, 1, 63, 64, 65, 127, 128, 129, 1000] {
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
    }

    /// The pads of all entries of an item, as the sender makes them, are different random words.
    #[test]
    fn pads_of_the_entries_are_unrelated() {
        let (s, r) = ideal::cots(1, 8);
        let (message, own) = s.lookup_send(8, &r.choices(), &[0; 256], 64);
        let mut seen: Vec<u64> = sotto_shares::unpack(&message, 255, 64);
        seen.push(own[0]);
        let xor_of_four = seen[0] ^ seen[1] ^ seen[2] ^ seen[3];
        assert!(xor_of_four != 0, "entries 1 ^ 2 ^ 3 would cancel if pads were XORs of one word per key");
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 256);
    }
}
