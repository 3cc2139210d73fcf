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
    block::{Block, LAMBDA},
    cots::{CHUNK, UNIT, bits_len, chunk_buffer, correction},
    hash::Purpose,
    kernel, parallel,
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
        let (message, [own, _]) = self.words::<false>(|i| x[i], pattern, &[]);
        (message, own)
    }

    /// As [`SendCots::cot_send`], for choices that the receiver corrects at the same time; the message stands behind `head`.
    ///
    /// # Panics
    /// If lengths do not fit together.
    pub fn cot_send_chosen(self, x: &[u64], pattern: &[u32], head: &[u8]) -> (Vec<u8>, Uncorrected) {
        assert_eq!(x.len(), self.len(), "one word per COT");
        let (message, shares) = self.words::<true>(|i| x[i], pattern, head);
        (message, Uncorrected { shares: shares.map(Zeroizing::new), words: 1 })
    }

    /// XOR, for choices that the receiver corrects at the same time: `x` is `[n][ceil(bits/64)]`, `bits` bits per COT, the excess ignored.
    /// Returns the message of `ceil(n bits / 8)` bytes behind `head`, and the own shares in the same layout; `own_i ^ got_i = c_i x_i`.
    ///
    /// # Panics
    /// If lengths do not fit together.
    pub fn xor_send_chosen(self, x: &[u64], bits: usize, head: &[u8]) -> (Vec<u8>, Uncorrected) {
        let words = bits.div_ceil(64);
        assert_eq!(x.len(), self.len() * words, "one vector per COT");
        let (message, shares) = self.vectors::<true>(|i| &x[i * words..][..words], bits, head);
        (message, Uncorrected { shares: shares.map(Zeroizing::new), words })
    }

    /// [`SendCots::cot_send`] behind `head`; a batch may be used so once. The second shares, for corrected choices, only if `CHOSEN`.
    pub(crate) fn words<const CHOSEN: bool>(
        &self,
        x: impl Fn(usize) -> u64 + Sync,
        pattern: &[u32],
        head: &[u8],
    ) -> (Vec<u8>, [Vec<u64>; 2]) {
        let n = self.len();
        let pads = self.claim(Purpose::Arithmetic, 1);
        let unit = whole_patterns(pattern.len());
        let widths = repeated(pattern, unit.min(n));
        let units = n.div_ceil(unit);
        let mut message = behind(head, pattern_message_len(n, pattern));
        let mut own = vec![0; n];
        let mut other = vec![0; if CHOSEN { n } else { 0 }];
        let outputs = chunks(&mut message[head.len()..], pattern_message_len(unit, pattern), units)
            .zip(own.chunks_mut(unit))
            .zip(chunks(&mut other, unit, units));
        self.batch.for_units(unit, outputs, |unit, ((message, own), other)| {
            let mut message = BitWriter::new(message);
            let (mut pad, mut key1, mut unkept) = (chunk_buffer(), chunk_buffer(), words_buffer(1));
            for chunk in unit.chunks(pads, Purpose::Arithmetic, 1, CHUNK) {
                let (items, n) = (chunk.items.clone(), chunk.items.len());
                let (key0, widths) = (&unit.blocks[items.clone()], &widths[items.clone()]);
                let own = &mut own[items.clone()];
                let other = if CHOSEN { &mut other[items.clone()] } else { &mut unkept[..n] };
                chunk.hash(0, key0, &mut pad[..n]);
                for ((own, pad), &w) in own.iter_mut().zip(pad.iter()).zip(widths) {
                    *own = low((pad.0 as u64).wrapping_neg(), w);
                }
                kernel::add_to_all(key0, self.delta(), &mut key1[..n]);
                chunk.hash(0, &key1[..n], &mut pad[..n]);
                for ((other, pad), &w) in other.iter_mut().zip(pad.iter()).zip(widths) {
                    *other = low(pad.0 as u64, w);
                }
                let shares = own.iter().zip(&*other);
                for ((i, &w), (own, other)) in items.zip(widths).zip(shares) {
                    message.push(x(unit.range.start + i).wrapping_sub(*own).wrapping_sub(*other), w);
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
        head: &[u8],
    ) -> (Vec<u8>, [Vec<u64>; 2]) {
        let pads = self.claim(Purpose::Xor, bits.div_ceil(LAMBDA));
        let (unit, words) = (UNIT, bits.div_ceil(64));
        let widths: Vec<u32> = widths(bits).collect();
        let mut message = behind(head, bits_len(self.len() * bits));
        let mut own = vec![0; self.len() * words];
        let mut other = vec![0; if CHOSEN { own.len() } else { 0 }];
        let units = self.len().div_ceil(unit);
        let outputs = chunks(&mut message[head.len()..], unit * bits / 8, units)
            .zip(chunks(&mut own, unit * words, units))
            .zip(chunks(&mut other, unit * words, units));
        self.batch.for_units(unit, outputs, |unit, ((message, own), other)| {
            let mut message = BitWriter::new(message);
            let (mut pad, mut key1, mut unkept) =
                (segments_buffer(bits), chunk_buffer(), words_buffer(words));
            for chunk in unit.chunks(pads, Purpose::Xor, 1, CHUNK) {
                let (items, n) = (chunk.items.clone(), chunk.items.len());
                let (key0, part) = (&unit.blocks[items.clone()], items.start * words..items.end * words);
                let own = &mut own[part.clone()];
                let other = if CHOSEN { &mut other[part] } else { &mut unkept[..n * words] };
                chunk.hash_segments(key0, &mut pad);
                spread(&pad, &widths, own);
                kernel::add_to_all(key0, self.delta(), &mut key1[..n]);
                chunk.hash_segments(&key1[..n], &mut pad);
                spread(&pad, &widths, other);
                let x = items.map(|i| x(unit.range.start + i));
                if let [w] = widths[..] {
                    for ((x, own), other) in x.zip(own).zip(other) {
                        message.push(x[0] ^ *own ^ *other, w);
                    }
                    continue;
                }
                let shares = own.chunks(words.max(1)).zip(other.chunks(words.max(1)));
                for (x, (own, other)) in x.zip(shares) {
                    for ((x, w), (own, other)) in x.iter().zip(&widths).zip(own.iter().zip(other)) {
                        message.push(x ^ own ^ other, *w);
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
        let Uncorrected { shares: [mut stays, flips], words } = self;
        let cots = stays.len().checked_div(words);
        assert!(cots.is_none_or(|n| derand.len() == bits_len(n)), "one bit of correction per COT");
        let unit = (UNIT * words).max(1);
        let parts = stays.chunks_mut(unit).zip(flips.chunks(unit)).zip(derand.chunks(UNIT / 8));
        parallel::for_each(parts, |((stays, flips), derand)| {
            let eight = 8 * words;
            let eights = stays.chunks_mut(eight).zip(flips.chunks(eight)).zip(derand);
            match words {
                1 => eights.for_each(|((stays, flips), &bits)| choose(stays, flips, bits, 1)),
                _ => eights.for_each(|((stays, flips), &bits)| choose(stays, flips, bits, words)),
            }
        });
        std::mem::take(&mut stays)
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
        let widths = repeated(pattern, unit.min(self.len()));
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
            let (mut pad, mut vectors) = (segments_buffer(bits), words_buffer(widths.len()));
            let mut pads = BitWriter::new(pads);
            for chunk in unit.chunks(hash, Purpose::Xor, 1, CHUNK) {
                let vectors = &mut vectors[..chunk.items.len() * widths.len()];
                chunk.hash_segments(&unit.blocks[chunk.items.clone()], &mut pad);
                spread(&pad, &widths, vectors);
                for vector in vectors.chunks(widths.len().max(1)) {
                    vector.iter().zip(&widths).for_each(|(&word, &w)| pads.push(word, w));
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
        let unit = whole_patterns(self.pattern.len());
        let widths = repeated(&self.pattern, unit.min(self.n));
        let (bytes, units) = (pattern_message_len(unit, &self.pattern).max(1), self.n.div_ceil(unit));
        let mut got = vec![0; self.n];
        let packed = stretches(message, bytes, units).zip(stretches(&self.pads, bytes, units));
        let bits = self.choices.chunks(unit / 8).zip(stretches(&self.flips, unit / 8, units));
        parallel::for_each(
            got.chunks_mut(unit).zip(packed).zip(bits),
            |((got, packed), (choices, flips))| {
                let (mut message, mut pads) = (BitReader::new(packed.0), BitReader::new(packed.1));
                let bits = choices.iter().zip(flips.iter().chain(std::iter::repeat(&0)));
                for ((got, widths), (choices, flips)) in got.chunks_mut(8).zip(widths.chunks(8)).zip(bits) {
                    for ((i, got), &w) in got.iter_mut().enumerate().zip(widths) {
                        let [choice, flip] = [choices, flips].map(|b| u64::from(b >> i & 1).wrapping_neg());
                        let pad = (pads.pull(w) ^ flip).wrapping_sub(flip);
                        *got = low(pad.wrapping_add(message.pull(w) & choice), w);
                    }
                }
            },
        );
        got
    }
}

impl XorPads {
    /// The choice bits, packed.
    pub(crate) fn choices(&self) -> &[u8] {
        &self.choices
    }

    /// The shares, `[n][ceil(bits/64)]` words, from the sender's message.
    ///
    /// # Panics
    /// If it is not `ceil(n bits / 8)` bytes long.
    pub fn finish(self, message: &[u8]) -> Vec<u64> {
        assert_eq!(message.len(), self.pads.len(), "length of the corrections");
        let (words, bytes) = (self.bits.div_ceil(64), UNIT * self.bits / 8);
        let widths: Vec<u32> = widths(self.bits).collect();
        let mut got = vec![0; self.n * words];
        let packed = message.chunks(bytes.max(1)).zip(self.pads.chunks(bytes.max(1)));
        let parts = got.chunks_mut((UNIT * words).max(1)).zip(packed).zip(self.choices.chunks(UNIT / 8));
        parallel::for_each(parts, |((got, packed), choices)| {
            let (mut message, mut pads) = (BitReader::new(packed.0), BitReader::new(packed.1));
            for (got, choices) in got.chunks_mut(8 * words).zip(choices) {
                for (i, got) in got.chunks_exact_mut(words).enumerate() {
                    let choice = u64::from(choices >> i & 1).wrapping_neg();
                    for (got, &w) in got.iter_mut().zip(&widths) {
                        *got = pads.pull(w) ^ (message.pull(w) & choice);
                    }
                }
            }
        });
        got
    }
}

/// COTs at a time: whole repetitions of a pattern, whole bytes of anything.
fn whole_patterns(pattern: usize) -> usize {
    let period = 8 * pattern;
    period * (UNIT / period).max(1)
}

/// The widths of the first `n` items.
fn repeated(pattern: &[u32], n: usize) -> Vec<u32> {
    pattern.iter().copied().cycle().take(n).collect()
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

/// As [`chunks`], to read.
fn stretches(items: &[u8], len: usize, n: usize) -> impl Iterator<Item = &[u8]> {
    (0..n).map(move |i| &items[items.len().min(i * len)..items.len().min((i + 1) * len)])
}

/// Replaces the vectors of up to eight COTs, of `words` words each, by those of `flips` where the bit is set.
#[inline(always)]
fn choose(stays: &mut [u64], flips: &[u64], bits: u8, words: usize) {
    for (i, (stays, flips)) in stays.chunks_exact_mut(words).zip(flips.chunks_exact(words)).enumerate() {
        let flip = u64::from(bits >> i & 1).wrapping_neg();
        stays.iter_mut().zip(flips).for_each(|(s, f)| *s ^= (*s ^ f) & flip);
    }
}

/// The vectors that pads are, from their segments.
fn spread(segments: &[Zeroizing<Vec<Block>>], widths: &[u32], vectors: &mut [u64]) {
    if let [w] = *widths {
        vectors.iter_mut().zip(segments[0].iter()).for_each(|(out, pad)| *out = low(pad.0 as u64, w));
        return;
    }
    for (at, vector) in vectors.chunks_exact_mut(widths.len().max(1)).enumerate() {
        for ((j, out), &w) in vector.iter_mut().enumerate().zip(widths) {
            *out = low(word(segments[j / 2][at], j), w);
        }
    }
}

/// `head`, and room for a message of `len` bytes.
fn behind(head: &[u8], len: usize) -> Vec<u8> {
    let mut all = vec![0; head.len() + len];
    all[..head.len()].copy_from_slice(head);
    all
}

/// Words for the shares of a chunk, `words` each.
fn words_buffer(words: usize) -> Zeroizing<Vec<u64>> {
    Zeroizing::new(vec![0; CHUNK * words])
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
    use crate::{block::bit, ideal};

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
                let (message, own) = s.cot_send_chosen(&x, pattern, &[7, 8, 9]);
                assert_eq!(message[..3], [7, 8, 9]);
                (message[3..].to_vec(), own.finish(&derand))
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
                let (message, own) = s.xor_send_chosen(&x, bits, &[7, 8, 9]);
                (message[3..].to_vec(), own.finish(&derand))
            }
            None => {
                let (message, [own, _]) = s.vectors::<false>(|i| &x[i * words..][..words], bits, &[]);
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
        s.words::<false>(|_| 0, &[8], &[]);
        s.words::<false>(|_| 0, &[8], &[]);
    }
}
