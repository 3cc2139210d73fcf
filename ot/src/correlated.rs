//! Correlated OT: shares of `c x`, with `c` the receiver's bit and `x` the sender's word.
//!
//! | receiver: `b`, `t = q ^ b Delta`; bit `c` | |           | sender: `q`, `Delta`; word `x`    |
//! |------------------------------------|-----------|------------------------------------|
//! | `d = c ^ b`                        | `-- d ->` | (not sent if the random `b` will do) |
//! |                                    |           | `K0 = q ^ d Delta`, `K1 = K0 ^ Delta` |
//! |                                    | `<- m --` | `m = x + H(K0) - H(K1)`            |
//! | returns `H(t) + c m`               |           | returns `-H(K0)`                   |
//!
//! `w` bits, and one more if the choice is chosen; in Z_{2^w}, or with XOR for plus and minus. The sender sees
//! `d`, masked by `b`; the receiver sees `m`, masked by the pad of the key that it does not hold. Sans I/O: the
//! caller puts several messages into one. Source: Asharov et al., CCS 2013 (eprint 2013/552).

use sotto_shares::{BitReader, BitWriter};
use zeroize::Zeroizing;

use crate::{
    RecvCots, SendCots,
    block::{Block, LAMBDA, bit},
    cots::derand_len,
    hash::Purpose,
};

/// Pads hashed at a time.
const BATCH: usize = 256;

impl SendCots {
    /// Arithmetic: one word of `x` per COT, item `i` in Z_{2^w} with `w = pattern[i % pattern.len()]`, at most
    /// 64; 0 leaves the item out. Returns the message of [`pattern_message_len`] bytes and the own shares;
    /// `own_i + got_i = c_i x_i mod 2^w`. Without `derand`, the random choices are the choices.
    ///
    /// # Panics
    /// If lengths do not fit together.
    pub fn cot_send(self, derand: Option<&[u8]>, x: &[u64], pattern: &[u32]) -> (Vec<u8>, Vec<u64>) {
        assert_eq!(x.len(), self.len(), "one word per COT");
        let mut message = BitWriter::with_capacity(pattern_message_len(self.len(), pattern));
        let own = self.add_into(derand, |i| x[i], |i| pattern[i % pattern.len()], &mut message);
        (message.finish(), own)
    }

    /// XOR: `x` is `[n][ceil(bits/64)]`, `bits` bits per COT, the excess ignored. Returns the message of
    /// `ceil(n bits / 8)` bytes and the own shares in the same layout; `own_i ^ got_i = c_i x_i`.
    ///
    /// # Panics
    /// If lengths do not fit together.
    pub fn xor_send(self, derand: Option<&[u8]>, x: &[u64], bits: usize) -> (Vec<u8>, Vec<u64>) {
        let words = bits.div_ceil(64);
        assert_eq!(x.len(), self.len() * words, "one vector per COT");
        let mut message = BitWriter::with_capacity((self.len() * bits).div_ceil(8));
        let own = self.xor_into(derand, |i| &x[i * words..][..words], bits, &mut message);
        (message.finish(), own)
    }

    /// [`SendCots::cot_send`] into a message that holds more; a batch may be used so once.
    pub(crate) fn add_into(
        &self,
        derand: Option<&[u8]>,
        x: impl Fn(usize) -> u64,
        width: impl Fn(usize) -> u32,
        message: &mut BitWriter,
    ) -> Vec<u64> {
        self.check(derand);
        let pads = self.pads(Purpose::Arithmetic, 1);
        let mut own = Vec::with_capacity(self.len());
        let mut pad = Zeroizing::new([Block::ZERO; BATCH]);
        for start in (0..self.len()).step_by(BATCH / 2) {
            let items = start..self.len().min(start + BATCH / 2);
            pads.fill(&mut pad[..2 * items.len()], |p| {
                let i = start + p / 2;
                (self.key0(i, derand) ^ self.delta().times(p as u64 & 1), i, 0)
            });
            for (i, pad) in items.zip(pad.chunks_exact(2)) {
                let (pad0, pad1, w) = (pad[0].0 as u64, pad[1].0 as u64, width(i));
                message.push(x(i).wrapping_add(pad0).wrapping_sub(pad1), w);
                own.push(low(pad0.wrapping_neg(), w));
            }
        }
        own
    }

    /// [`SendCots::xor_send`] into a message that holds more; a batch may be used so once.
    pub(crate) fn xor_into<'a>(
        &self,
        derand: Option<&[u8]>,
        x: impl Fn(usize) -> &'a [u64],
        bits: usize,
        message: &mut BitWriter,
    ) -> Vec<u64> {
        self.check(derand);
        let segments = bits.div_ceil(LAMBDA);
        let pads = self.pads(Purpose::Xor, segments);
        let mut own = Vec::with_capacity(self.len() * bits.div_ceil(64));
        if segments == 0 {
            return own;
        }
        let (blocks, cots) = (2 * segments, cots_per_batch(2 * segments));
        let mut pad = Zeroizing::new(vec![Block::ZERO; blocks * cots]);
        for start in (0..self.len()).step_by(cots) {
            let items = start..self.len().min(start + cots);
            pads.fill(&mut pad[..blocks * items.len()], |p| {
                let (i, p) = (start + p / blocks, (p % blocks) as u64);
                (self.key0(i, derand) ^ self.delta().times(p & 1), i, p / 2)
            });
            for (i, pad) in items.zip(pad.chunks_exact(blocks)) {
                for (j, (&x, w)) in x(i).iter().zip(widths(bits)).enumerate() {
                    let (pad0, pad1) = (word(pad[j / 2 * 2], j), word(pad[j / 2 * 2 + 1], j));
                    message.push(x ^ pad0 ^ pad1, w);
                    own.push(low(pad0, w));
                }
            }
        }
        own
    }

    fn check(&self, derand: Option<&[u8]>) {
        assert!(
            derand.is_none_or(|d| d.len() == derand_len(self.len())),
            "one bit of derandomisation per COT"
        );
    }
}

impl RecvCots {
    /// The receiver's side of [`SendCots::cot_send`]. `choices` are those that were derandomised for.
    ///
    /// # Panics
    /// If lengths do not fit together.
    pub fn cot_recv(self, choices: Option<&[u8]>, pattern: &[u32], message: &[u8]) -> Vec<u64> {
        assert_eq!(message.len(), pattern_message_len(self.len(), pattern), "length of the corrections");
        self.add_from(choices, |i| pattern[i % pattern.len()], &mut BitReader::new(message))
    }

    /// The receiver's side of [`SendCots::xor_send`]: `[n][ceil(bits/64)]` words.
    ///
    /// # Panics
    /// If lengths do not fit together.
    pub fn xor_recv(self, choices: Option<&[u8]>, bits: usize, message: &[u8]) -> Vec<u64> {
        assert_eq!(message.len(), (self.len() * bits).div_ceil(8), "length of the corrections");
        self.xor_from(choices, bits, &mut BitReader::new(message))
    }

    /// [`RecvCots::cot_recv`] from a message that holds more; a batch may be used so once.
    pub(crate) fn add_from(
        &self,
        choices: Option<&[u8]>,
        width: impl Fn(usize) -> u32,
        message: &mut BitReader,
    ) -> Vec<u64> {
        let choice = self.chosen(choices);
        let pads = self.pads(Purpose::Arithmetic, 1);
        let mut got = Vec::with_capacity(self.len());
        let mut pad = Zeroizing::new([Block::ZERO; BATCH]);
        for start in (0..self.len()).step_by(BATCH) {
            let items = start..self.len().min(start + BATCH);
            pads.fill(&mut pad[..items.len()], |p| (self.key(start + p), start + p, 0));
            for (i, pad) in items.zip(pad.iter()) {
                let w = width(i);
                let m = message.pull(w) & choice(i).wrapping_neg();
                got.push(low((pad.0 as u64).wrapping_add(m), w));
            }
        }
        got
    }

    /// [`RecvCots::xor_recv`] from a message that holds more; a batch may be used so once.
    pub(crate) fn xor_from(&self, choices: Option<&[u8]>, bits: usize, message: &mut BitReader) -> Vec<u64> {
        let choice = self.chosen(choices);
        let segments = bits.div_ceil(LAMBDA);
        let pads = self.pads(Purpose::Xor, segments);
        let mut got = Vec::with_capacity(self.len() * bits.div_ceil(64));
        if segments == 0 {
            return got;
        }
        let cots = cots_per_batch(segments);
        let mut pad = Zeroizing::new(vec![Block::ZERO; segments * cots]);
        for start in (0..self.len()).step_by(cots) {
            let items = start..self.len().min(start + cots);
            pads.fill(&mut pad[..segments * items.len()], |p| {
                let i = start + p / segments;
                (self.key(i), i, (p % segments) as u64)
            });
            for (i, pad) in items.zip(pad.chunks_exact(segments)) {
                for (j, w) in widths(bits).enumerate() {
                    let m = message.pull(w) & choice(i).wrapping_neg();
                    got.push(low(word(pad[j / 2], j), w) ^ m);
                }
            }
        }
        got
    }

    /// The choice bit of each COT, 0 or 1.
    fn chosen<'a>(&'a self, choices: Option<&'a [u8]>) -> impl Fn(usize) -> u64 + 'a {
        assert!(choices.is_none_or(|c| c.len() == derand_len(self.len())), "one choice bit per COT");
        move |i| choices.map_or_else(|| self.choice(i), |c| bit(c, i))
    }
}

/// How many COTs of so many blocks each are hashed together, to keep the AES pipeline full.
fn cots_per_batch(blocks: usize) -> usize {
    (BATCH / blocks).max(1)
}

/// Bytes of the message of [`SendCots::cot_send`] for `n` COTs with a repeating pattern of widths.
pub fn pattern_message_len(n: usize, pattern: &[u32]) -> usize {
    let bits = |widths: &[u32]| widths.iter().map(|&w| w as usize).sum::<usize>();
    (n / pattern.len() * bits(pattern) + bits(&pattern[..n % pattern.len()])).div_ceil(8)
}

/// Bits in each word of a vector of `bits` bits.
fn widths(bits: usize) -> impl Iterator<Item = u32> {
    (0..bits).step_by(64).map(move |done| (bits - done).min(64) as u32)
}

/// Word `j` of a vector, in the segment that holds it.
fn word(segment: Block, j: usize) -> u64 {
    (segment.0 >> (64 * (j % 2))) as u64
}

fn low(x: u64, bits: u32) -> u64 {
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
        rng.elements(derand_len(n), Ring::new(8)).iter().map(|&b| b as u8).collect()
    }

    /// Arithmetic COTs on dealt COTs equal the functionality.
    fn check_add(n: usize, pattern: &[u32], chosen: bool, seed: u8) {
        let mut rng = Rng::from_seed([seed; 32]);
        let (s, r) = ideal::cots(seed, n);
        let x = rng.elements(n, Ring::new(64));
        let choices = if chosen { random_bits(n, &mut rng) } else { r.choices() };
        let derand = chosen.then(|| r.derandomise(&choices));
        let (message, own) = s.cot_send(derand.as_deref(), &x, pattern);
        let got = r.cot_recv(chosen.then_some(&choices), pattern, &message);
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
        let choices = if chosen { random_bits(n, &mut rng) } else { r.choices() };
        let derand = chosen.then(|| r.derandomise(&choices));
        let (message, own) = s.xor_send(derand.as_deref(), &x, bits);
        assert_eq!(message.len(), (n * bits).div_ceil(8));
        let got = r.xor_recv(chosen.then_some(&choices), bits, &message);
        for i in 0..n {
            for (j, w) in widths(bits).enumerate() {
                let at = i * words + j;
                assert_eq!(own[at] ^ got[at], low(x[at], w) & bit(&choices, i).wrapping_neg());
            }
        }
    }

    #[test]
    fn edge_sizes() {
        for n in [0, 1, 63, 64, 65, 127, 128, 129, 1000] {
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
        s.add_into(None, |_| 0, |_| 8, &mut BitWriter::default());
        s.add_into(None, |_| 0, |_| 8, &mut BitWriter::default());
    }
}
