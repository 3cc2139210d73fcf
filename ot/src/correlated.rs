//! Correlated OT: shares of `c x`, with `c` the receiver's bit and `x` the sender's word.
//!
//! | receiver: `b`, `t = q ^ b Delta`; bit `c` | |           | sender: `q`, `Delta`; word `x`    |
//! |------------------------------------|-----------|------------------------------------|
//! | `d = c ^ b`                        | `-- d ->` | (not sent if the random `b` will do) |
//! |                                    | `<- m --` | `m = x + H(q) - H(q ^ Delta)`      |
//! | returns `c m + H(t)`; `c m - H(t)` if `d = 1` | | returns `-H(q)`; `H(q ^ Delta)` if `d = 1` |
//!
//! The messages do not depend on each other, so both travel in the same turn: `c m` is the receiver's to compute, and of
//! `c (x - m) = c (H(q ^ Delta) - H(q))` the COT gives shares for the choice `b`, which `d`, known to both, turns into shares for `c`.
//!
//! `w` bits, and one more if the choice is chosen; in Z_{2^w}, or with XOR for plus and minus. The sender sees
//! `d`, masked by `b`; the receiver sees `m`, masked by the pad of the key that it does not hold. Sans I/O: the
//! caller puts several messages into one. The receiver makes its pads when it chooses and keeps those, `w` bits
//! each, until the message is there. Source: Asharov et al., CCS 2013 (eprint 2013/552); both messages at once: this project.

use sotto_shares::{BitReader, BitWriter};
use zeroize::Zeroizing;

use crate::{
    RecvCots, SendCots,
    block::{Block, LAMBDA, bit},
    cots::{CHUNK, UNIT, bits_len, chunk_buffer, correction},
    hash::Purpose,
    kernel,
};

impl SendCots {
    /// Arithmetic, for the receiver's random choices: one word of `x` per COT, item `i` in Z_{2^w} with `w = pattern[i % pattern.len()]`,
    /// at most 64; 0 leaves the item out. Returns the message of [`pattern_message_len`] bytes and the own shares;
    /// `own_i + got_i = c_i x_i mod 2^w`.
    ///
    /// # Panics
    /// If lengths do not fit together.
    pub fn cot_send(self, x: &[u64], pattern: &[u32]) -> (Vec<u8>, Vec<u64>) {
        assert_eq!(x.len(), self.len(), "one word per COT");
        let (message, [own, _]) = self.words::<false>(|i| x[i], pattern);
        (message, own)
    }

    /// As [`SendCots::cot_send`], for choices that the receiver corrects at the same time.
    ///
    /// # Panics
    /// If lengths do not fit together.
    pub fn cot_send_chosen(self, x: &[u64], pattern: &[u32]) -> (Vec<u8>, Uncorrected) {
        assert_eq!(x.len(), self.len(), "one word per COT");
        let (message, shares) = self.words::<true>(|i| x[i], pattern);
        (message, Uncorrected { shares: shares.map(Zeroizing::new), words: 1 })
    }

    /// XOR, for choices that the receiver corrects at the same time: `x` is `[n][ceil(bits/64)]`, `bits` bits per COT, the excess ignored.
    /// Returns the message of `ceil(n bits / 8)` bytes and the own shares in the same layout; `own_i ^ got_i = c_i x_i`.
    ///
    /// # Panics
    /// If lengths do not fit together.
    pub fn xor_send_chosen(self, x: &[u64], bits: usize) -> (Vec<u8>, Uncorrected) {
        let words = bits.div_ceil(64);
        assert_eq!(x.len(), self.len() * words, "one vector per COT");
        let (message, shares) = self.vectors::<true>(|i| &x[i * words..][..words], bits);
        (message, Uncorrected { shares: shares.map(Zeroizing::new), words })
    }

    /// [`SendCots::cot_send`]; a batch may be used so once. The second shares, for corrected choices, only if `CHOSEN`.
    pub(crate) fn words<const CHOSEN: bool>(
        &self,
        x: impl Fn(usize) -> u64 + Sync,
        pattern: &[u32],
    ) -> (Vec<u8>, [Vec<u64>; 2]) {
        let n = self.len();
        let pads = self.claim(Purpose::Arithmetic, 1);
        let unit = whole_patterns(pattern.len());
        let widths = repeated(pattern, unit);
        let units = n.div_ceil(unit);
        let mut message = vec![0; pattern_message_len(n, pattern)];
        let mut own = vec![0; n];
        let mut other = vec![0; if CHOSEN { n } else { 0 }];
        let outputs = chunks(&mut message, pattern_message_len(unit, pattern), units)
            .zip(own.chunks_mut(unit))
            .zip(chunks(&mut other, unit, units));
        self.batch.for_units(unit, outputs, |unit, ((message, own), other)| {
            let mut message = BitWriter::new(message);
            let (mut pad0, mut key1, mut pad1) = (chunk_buffer(), chunk_buffer(), chunk_buffer());
            for chunk in unit.chunks(pads, Purpose::Arithmetic, 1, CHUNK) {
                let (key0, n) = (&unit.blocks[chunk.items.clone()], chunk.items.len());
                chunk.hash(0, key0, &mut pad0[..n]);
                kernel::add_to_all(key0, self.delta(), &mut key1[..n]);
                chunk.hash(0, &key1[..n], &mut pad1[..n]);
                let keys = pad0.iter().zip(pad1.iter());
                for ((i, &w), (pad0, pad1)) in chunk.items.clone().zip(&widths[chunk.items]).zip(keys) {
                    let (pad0, pad1) = (pad0.0 as u64, pad1.0 as u64);
                    message.push(x(unit.range.start + i).wrapping_add(pad0).wrapping_sub(pad1), w);
                    own[i] = low(pad0.wrapping_neg(), w);
                    if CHOSEN {
                        other[i] = low(pad1, w);
                    }
                }
            }
            message.finish();
        });
        (message, [own, other])
    }

    /// [`SendCots::xor_send_chosen`]; a batch may be used so once. The second shares, for corrected choices, only if `CHOSEN`.
    pub(crate) fn vectors<'a, const CHOSEN: bool>(
        &self,
        x: impl Fn(usize) -> &'a [u64] + Sync,
        bits: usize,
    ) -> (Vec<u8>, [Vec<u64>; 2]) {
        let pads = self.claim(Purpose::Xor, bits.div_ceil(LAMBDA));
        let (unit, words) = (UNIT, bits.div_ceil(64));
        let widths: Vec<u32> = widths(bits).collect();
        let mut message = vec![0; bits_len(self.len() * bits)];
        let mut own = vec![0; self.len() * words];
        let mut other = vec![0; if CHOSEN { own.len() } else { 0 }];
        let units = self.len().div_ceil(unit);
        let outputs = chunks(&mut message, unit * bits / 8, units)
            .zip(chunks(&mut own, unit * words, units))
            .zip(chunks(&mut other, unit * words, units));
        self.batch.for_units(unit, outputs, |unit, ((message, own), other)| {
            let mut message = BitWriter::new(message);
            let mut key1 = chunk_buffer();
            let (mut pad0, mut pad1) = (segments_buffer(bits), segments_buffer(bits));
            for chunk in unit.chunks(pads, Purpose::Xor, 1, CHUNK) {
                let (key0, n) = (&unit.blocks[chunk.items.clone()], chunk.items.len());
                kernel::add_to_all(key0, self.delta(), &mut key1[..n]);
                for (segment, (pad0, pad1)) in pad0.iter_mut().zip(&mut pad1).enumerate() {
                    chunk.hash(segment as u64, key0, &mut pad0[..n]);
                    chunk.hash(segment as u64, &key1[..n], &mut pad1[..n]);
                }
                for (at, i) in chunk.items.enumerate() {
                    let x = x(unit.range.start + i);
                    for (j, &w) in widths.iter().enumerate() {
                        let (pad0, pad1) = (word(pad0[j / 2][at], j), word(pad1[j / 2][at], j));
                        message.push(x[j] ^ pad0 ^ pad1, w);
                        own[i * words + j] = low(pad0, w);
                        if CHOSEN {
                            other[i * words + j] = low(pad1, w);
                        }
                    }
                }
            }
            message.finish();
        });
        (message, [own, other])
    }

    /// Turns a unit's blocks into the keys for choice 0, after the receiver has sent `derand`.
    pub(crate) fn derandomise(&self, start: usize, blocks: &mut [Block], derand: Option<&[u8]>) {
        if let Some(derand) = derand {
            assert_eq!(derand.len(), bits_len(self.len()), "one bit of derandomisation per COT");
            kernel::add_where(blocks, &derand[start / 8..][..bits_len(blocks.len())], self.delta());
        }
    }
}

/// The sender's shares, waiting for the receiver's correction of its choices. Wiped when dropped.
pub struct Uncorrected {
    /// For choices that stay, for choices that are flipped.
    shares: [Zeroizing<Vec<u64>>; 2],
    words: usize,
}

impl Uncorrected {
    /// The shares, given the packed corrections.
    ///
    /// # Panics
    /// If there is not one bit per COT.
    pub fn finish(self, derand: &[u8]) -> Vec<u64> {
        let [stays, flips] = &self.shares;
        let cots = stays.len().checked_div(self.words);
        assert!(cots.is_none_or(|n| derand.len() == bits_len(n)), "one bit of correction per COT");
        let share =
            |(i, (s, f)): (usize, (&u64, &u64))| s ^ ((s ^ f) & bit(derand, i / self.words).wrapping_neg());
        stays.iter().zip(flips.iter()).enumerate().map(share).collect()
    }
}

/// The receiver's side of [`SendCots::cot_send`], waiting for the message. Wiped when dropped.
pub struct CotPads {
    choices: Zeroizing<Vec<u8>>,
    /// Where the choice is not the random one; empty if it always is.
    flips: Vec<u8>,
    pads: Zeroizing<Vec<u8>>,
    pattern: Vec<u32>,
    n: usize,
}

/// The receiver's side of [`SendCots::xor_send_chosen`], waiting for the message. Wiped when dropped.
pub struct XorPads {
    choices: Zeroizing<Vec<u8>>,
    pads: Zeroizing<Vec<u8>>,
    bits: usize,
    n: usize,
}

impl RecvCots {
    /// With chosen bits, packed: the bits that turn the random choices into them, to be sent, and what is needed
    /// for the sender's message.
    ///
    /// # Panics
    /// If there is not a bit per COT.
    pub fn cot_choose(self, choices: &[u8], pattern: &[u32]) -> (Vec<u8>, CotPads) {
        let (random, pads) = self.word_pads(pattern);
        let derand = correction(&random, choices, self.len());
        let choices = Zeroizing::new(choices.to_vec());
        (derand.clone(), CotPads { choices, flips: derand, pads, pattern: pattern.to_vec(), n: self.len() })
    }

    /// With the random choice bits.
    pub fn cot_random(self, pattern: &[u32]) -> CotPads {
        self.words(pattern)
    }

    /// As [`RecvCots::cot_choose`], for vectors of `bits` bits.
    ///
    /// # Panics
    /// If there is not a choice bit per COT.
    pub fn xor_choose(self, choices: &[u8], bits: usize) -> (Vec<u8>, XorPads) {
        let (random, pads) = self.vector_pads(bits);
        let derand = correction(&random, choices, self.len());
        let choices = Zeroizing::new(choices.to_vec());
        (derand, XorPads { choices, pads, bits, n: self.len() })
    }

    /// As [`RecvCots::cot_random`], for vectors of `bits` bits; a batch may be used so once.
    pub(crate) fn xor_random(&self, bits: usize) -> XorPads {
        let (choices, pads) = self.vector_pads(bits);
        XorPads { choices, pads, bits, n: self.len() }
    }

    /// As [`RecvCots::cot_random`]; a batch may be used so once.
    pub(crate) fn words(&self, pattern: &[u32]) -> CotPads {
        let (choices, pads) = self.word_pads(pattern);
        CotPads { choices, flips: vec![], pads, pattern: pattern.to_vec(), n: self.len() }
    }

    /// The random choices and the pads, as packed as the message.
    fn word_pads(&self, pattern: &[u32]) -> (Zeroizing<Vec<u8>>, Zeroizing<Vec<u8>>) {
        let hash = self.claim(Purpose::Arithmetic, 1);
        let unit = whole_patterns(pattern.len());
        let widths = repeated(pattern, unit);
        let mut choices = Zeroizing::new(vec![0; bits_len(self.len())]);
        let mut pads = Zeroizing::new(vec![0; pattern_message_len(self.len(), pattern)]);
        let outputs = choices.chunks_mut(unit / 8).zip(chunks(
            &mut pads,
            pattern_message_len(unit, pattern),
            self.len().div_ceil(unit),
        ));
        self.batch.for_units(unit, outputs, |unit, (choices, pads)| {
            kernel::low_bits(unit.blocks, choices);
            let (mut pads, mut pad) = (BitWriter::new(pads), chunk_buffer());
            for chunk in unit.chunks(hash, Purpose::Arithmetic, 1, CHUNK) {
                let n = chunk.items.len();
                chunk.hash(0, &unit.blocks[chunk.items.clone()], &mut pad[..n]);
                pad.iter().zip(&widths[chunk.items]).for_each(|(pad, &w)| pads.push(pad.0 as u64, w));
            }
            pads.finish();
        });
        (choices, pads)
    }

    fn vector_pads(&self, bits: usize) -> (Zeroizing<Vec<u8>>, Zeroizing<Vec<u8>>) {
        let hash = self.claim(Purpose::Xor, bits.div_ceil(LAMBDA));
        let widths: Vec<u32> = widths(bits).collect();
        let mut choices = Zeroizing::new(vec![0; bits_len(self.len())]);
        let mut pads = Zeroizing::new(vec![0; bits_len(self.len() * bits)]);
        let units = self.len().div_ceil(UNIT);
        let outputs = choices.chunks_mut(UNIT / 8).zip(chunks(&mut pads, UNIT * bits / 8, units));
        self.batch.for_units(UNIT, outputs, |unit, (choices, pads)| {
            kernel::low_bits(unit.blocks, choices);
            let (mut pads, mut pad) = (BitWriter::new(pads), segments_buffer(bits));
            for chunk in unit.chunks(hash, Purpose::Xor, 1, CHUNK) {
                let n = chunk.items.len();
                for (segment, pad) in pad.iter_mut().enumerate() {
                    chunk.hash(segment as u64, &unit.blocks[chunk.items.clone()], &mut pad[..n]);
                }
                for at in chunk.items.enumerate().map(|(at, _)| at) {
                    widths.iter().enumerate().for_each(|(j, &w)| pads.push(word(pad[j / 2][at], j), w));
                }
            }
            pads.finish();
        });
        (choices, pads)
    }
}

impl CotPads {
    /// The choice bits, packed.
    pub fn choices(&self) -> &[u8] {
        &self.choices
    }

    /// The shares, from the sender's message.
    ///
    /// # Panics
    /// If it is not [`pattern_message_len`] bytes long.
    pub fn finish(self, message: &[u8]) -> Vec<u64> {
        assert_eq!(message.len(), self.pads.len(), "length of the corrections");
        let (mut message, mut pads) = (BitReader::new(message), BitReader::new(&self.pads));
        let widths = self.pattern.iter().cycle();
        let flip = |i: usize| if self.flips.is_empty() { 0 } else { bit(&self.flips, i).wrapping_neg() };
        let share = |(i, &w): (usize, &u32)| {
            let (m, flip) = (message.pull(w) & bit(&self.choices, i).wrapping_neg(), flip(i));
            low(((pads.pull(w) ^ flip).wrapping_sub(flip)).wrapping_add(m), w)
        };
        (0..self.n).zip(widths).map(share).collect()
    }
}

impl XorPads {
    /// The shares, `[n][ceil(bits/64)]` words, from the sender's message.
    ///
    /// # Panics
    /// If it is not `ceil(n bits / 8)` bytes long.
    pub fn finish(self, message: &[u8]) -> Vec<u64> {
        assert_eq!(message.len(), self.pads.len(), "length of the corrections");
        let (mut message, mut pads) = (BitReader::new(message), BitReader::new(&self.pads));
        let mut got = Vec::with_capacity(self.n * self.bits.div_ceil(64));
        let widths: Vec<u32> = widths(self.bits).collect();
        for i in 0..self.n {
            let choice = bit(&self.choices, i).wrapping_neg();
            got.extend(widths.iter().map(|&w| pads.pull(w) ^ (message.pull(w) & choice)));
        }
        got
    }
}

/// COTs at a time: whole repetitions of a pattern, whole bytes of anything.
fn whole_patterns(pattern: usize) -> usize {
    let period = 8 * pattern;
    period * (UNIT / period).max(1)
}

/// The widths of a unit's items.
fn repeated(pattern: &[u32], unit: usize) -> Vec<u32> {
    pattern.iter().copied().cycle().take(unit).collect()
}

/// `n` parts of `len` items, the last one shorter; also where they are empty.
pub(crate) fn chunks<T>(mut items: &mut [T], len: usize, n: usize) -> impl Iterator<Item = &mut [T]> {
    (0..n).map(move |_| {
        let rest = std::mem::take(&mut items);
        let (part, rest) = rest.split_at_mut(len.min(rest.len()));
        items = rest;
        part
    })
}

/// Blocks for the pads of a chunk, by segment.
fn segments_buffer(bits: usize) -> Vec<Zeroizing<Vec<Block>>> {
    (0..bits.div_ceil(LAMBDA)).map(|_| chunk_buffer()).collect()
}

/// Bytes of the message of [`SendCots::cot_send`] for `n` COTs with a repeating pattern of widths.
pub fn pattern_message_len(n: usize, pattern: &[u32]) -> usize {
    let whole: usize = pattern.iter().map(|&w| w as usize).sum();
    let rest: usize = pattern[..n % pattern.len()].iter().map(|&w| w as usize).sum();
    bits_len(n / pattern.len() * whole + rest)
}

/// Bits in each word of a vector of `bits` bits.
fn widths(bits: usize) -> impl Iterator<Item = u32> {
    (0..bits).step_by(64).map(move |done| (bits - done).min(64) as u32)
}

/// Word `j` of a vector, in the segment that holds it.
fn word(segment: Block, j: usize) -> u64 {
    (segment.0 >> (64 * (j % 2))) as u64
}

pub(crate) fn low(x: u64, bits: u32) -> u64 {
    if bits == 64 { x } else { x & ((1 << bits) - 1) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sotto_shares::{Ring, Rng};

    use super::*;
    use crate::ideal;

    /// Packed random bits.
    fn random_bits(n: usize, rng: &mut Rng) -> Vec<u8> {
        rng.elements(bits_len(n), Ring::new(8)).iter().map(|&b| b as u8).collect()
    }

    /// Arithmetic COTs on dealt COTs equal the functionality.
    fn check_add(n: usize, pattern: &[u32], chosen: bool, seed: u8) {
        let mut rng = Rng::from_seed([seed; 32]);
        let (s, r) = ideal::cots(seed, n);
        let x = rng.elements(n, Ring::new(64));
        let choices = if chosen { random_bits(n, &mut rng) } else { r.choices().to_vec() };
        let (derand, pads) = if chosen {
            let (derand, pads) = r.cot_choose(&choices, pattern);
            (Some(derand), pads)
        } else {
            (None, r.cot_random(pattern))
        };
        assert_eq!(pads.choices(), choices);
        let last = derand.as_ref().and_then(|d| d.last()).copied().unwrap_or(0);
        assert!(
            n.is_multiple_of(8) || u32::from(last) >> (n % 8) == 0,
            "bits beyond the last choice stay here"
        );
        let (message, own) = match derand {
            Some(derand) => {
                let (message, own) = s.cot_send_chosen(&x, pattern);
                (message, own.finish(&derand))
            }
            None => s.cot_send(&x, pattern),
        };
        let got = pads.finish(&message);
        let bits: usize = (0..n).map(|i| pattern[i % pattern.len()] as usize).sum();
        assert_eq!(message.len(), bits.div_ceil(8));
        for i in 0..n {
            let w = pattern[i % pattern.len()];
            let expected = low(x[i].wrapping_mul(bit(&choices, i)), w);
            assert_eq!(low(own[i].wrapping_add(got[i]), w), expected, "item {i} of {n}, {w} bits");
            assert!(low(own[i], w) == own[i] && low(got[i], w) == got[i], "shares are reduced");
        }
    }

    /// XOR COTs on dealt COTs equal the functionality.
    fn check_xor(n: usize, bits: usize, chosen: bool, seed: u8) {
        let mut rng = Rng::from_seed([seed; 32]);
        let (s, r) = ideal::cots(seed, n);
        let words = bits.div_ceil(64);
        let x = rng.elements(n * words, Ring::new(64));
        let choices = if chosen { random_bits(n, &mut rng) } else { r.choices().to_vec() };
        let (derand, pads) = if chosen {
            let (derand, pads) = r.xor_choose(&choices, bits);
            (Some(derand), pads)
        } else {
            (None, r.xor_random(bits))
        };
        let (message, own) = match derand {
            Some(derand) => {
                let (message, own) = s.xor_send_chosen(&x, bits);
                (message, own.finish(&derand))
            }
            None => {
                let (message, [own, _]) = s.vectors::<false>(|i| &x[i * words..][..words], bits);
                (message, own)
            }
        };
        assert_eq!(message.len(), (n * bits).div_ceil(8));
        let got = pads.finish(&message);
        for i in 0..n {
            for (j, w) in widths(bits).enumerate() {
                let at = i * words + j;
                assert_eq!(own[at] ^ got[at], low(x[at], w) & bit(&choices, i).wrapping_neg());
            }
        }
    }

    #[test]
    fn edge_sizes() {
        for n in [0, 1, 63, 64, 65, 127, 128, 129, 1000, UNIT - 1, UNIT, UNIT + 1, 2 * UNIT + 77] {
            for chosen in [false, true] {
                check_add(n, &[64], chosen, 1);
                check_add(n, &[1], chosen, 2);
                check_add(n, &[7, 0, 64, 13], chosen, 3);
                for bits in [0, 1, 63, 64, 65, 127, 128, 129, 511] {
                    check_xor(n, bits, chosen, 4);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn shares_add_up(
            n in 0usize..300,
            pattern in prop::collection::vec(0u32..=64, 1..6),
            bits in 0usize..300,
            chosen: bool,
            seed: u8,
        ) {
            check_add(n, &pattern, chosen, seed);
            check_xor(n, bits, chosen, seed);
        }
    }

    /// A repeated use of the same COTs must not go unnoticed in debug builds.
    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "hashed twice")]
    fn a_batch_is_used_once() {
        let (s, _) = ideal::cots(1, 10);
        s.words::<false>(|_| 0, &[8]);
        s.words::<false>(|_| 0, &[8]);
    }
}
