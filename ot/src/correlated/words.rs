//! Correlated OT with words in Z_{2^w}. Each COT has a width `w` of its own, from a repeated
//! pattern.

use sotto_shares::{BitReader, BitWriter};
use zeroize::Zeroizing;

use super::shares::{Uncorrected, with_room};
use crate::{
    batch::{CHUNK, UNIT, chunk_buffer},
    bits::{bits_len, correction, reduce},
    cots::{RecvCots, SendCots, SendPads},
    hash::Purpose,
    kernel,
    parallel::{self, parts, parts_mut},
};

impl SendCots {
    /// For the receiver's random choices: one word of `x` per COT. The word of COT `i` is in
    /// Z_{2^w}, `w = pattern[i % pattern.len()] <= 64`; width 0 leaves it out.
    ///
    /// Returns the message of [`pattern_message_len`] bytes, and this party's shares `own`, with
    /// `own_i + got_i = c_i x_i mod 2^w`.
    ///
    /// # Panics
    /// If `x` does not have one word per COT, or the pattern is empty.
    pub fn cot_send(self, x: &[u64], pattern: &[u32]) -> (Vec<u8>, Vec<u64>) {
        assert_eq!(x.len(), self.len(), "one word per COT");
        let (message, [own, _]) = self.words::<false>(|i| x[i], pattern, &[]);
        (message, own)
    }

    /// As [`SendCots::cot_send`], for choices that the receiver corrects in the same turn. The
    /// message follows the bytes of `head`.
    ///
    /// # Panics
    /// As [`SendCots::cot_send`].
    pub fn cot_send_chosen(self, x: &[u64], pattern: &[u32], head: &[u8]) -> (Vec<u8>, Uncorrected) {
        assert_eq!(x.len(), self.len(), "one word per COT");
        let (message, shares) = self.words::<true>(|i| x[i], pattern, head);
        (message, Uncorrected::new(shares, 1))
    }

    /// As [`SendCots::cot_send`], with word `x(i)` for COT `i`, and the message behind `head`. The
    /// second shares, for `d = 1`, are empty unless `CHOSEN`.
    pub(crate) fn words<const CHOSEN: bool>(
        self,
        x: impl Fn(usize) -> u64 + Sync,
        pattern: &[u32],
        head: &[u8],
    ) -> (Vec<u8>, [Vec<u64>; 2]) {
        let n = self.len();
        let SendPads { delta, pads } = self.pads(Purpose::Arithmetic, 1);
        let unit = whole_patterns(pattern.len());
        let widths = repeated(pattern, unit.min(n));
        let units = n.div_ceil(unit);
        let mut message = with_room(head, pattern_message_len(n, pattern));
        let mut own = vec![0; n];
        let mut other = vec![0; if CHOSEN { n } else { 0 }];
        let outputs = parts_mut(&mut message[head.len()..], pattern_message_len(unit, pattern), units)
            .zip(own.chunks_mut(unit))
            .zip(parts_mut(&mut other, unit, units));
        pads.for_units(unit, outputs, |unit, ((message, own), other)| {
            let mut message = BitWriter::new(message);
            let (mut pad, mut key1) = (chunk_buffer(), chunk_buffer());
            let mut unkept = Zeroizing::new([0; CHUNK]);
            for chunk in unit.chunks(1, CHUNK) {
                let (items, n) = (chunk.items.clone(), chunk.items.len());
                let (key0, widths) = (&unit.blocks[items.clone()], &widths[items.clone()]);
                let own = &mut own[items.clone()];
                let other = if CHOSEN { &mut other[items.clone()] } else { &mut unkept[..n] };
                chunk.hash(0, key0, &mut pad[..n]);
                for ((own, pad), &w) in own.iter_mut().zip(pad.iter()).zip(widths) {
                    *own = reduce((pad.0 as u64).wrapping_neg(), w);
                }
                kernel::add_to_all(key0, *delta, &mut key1[..n]);
                chunk.hash(0, &key1[..n], &mut pad[..n]);
                for ((other, pad), &w) in other.iter_mut().zip(pad.iter()).zip(widths) {
                    *other = reduce(pad.0 as u64, w);
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
}

/// The receiver's side of [`SendCots::cot_send`], before the message arrives. Wiped when dropped.
pub struct CotPads {
    choices: Zeroizing<Vec<u8>>,
    /// The corrections `d`; empty if all are 0.
    flips: Vec<u8>,
    /// The pads, packed as the message is.
    pads: Zeroizing<Vec<u8>>,
    pattern: Vec<u32>,
    n: usize,
}

impl RecvCots {
    /// For the packed choice bits `choices`: the corrections to be sent, and what the sender's
    /// message is then combined with.
    ///
    /// # Panics
    /// If there is not a choice bit per COT, or the pattern is empty.
    pub fn cot_choose(self, choices: &[u8], pattern: &[u32]) -> (Vec<u8>, CotPads) {
        let random = self.cot_random(pattern);
        let derand = correction(&random.choices, choices, random.n);
        let choices = Zeroizing::new(choices.to_vec());
        (derand.clone(), CotPads { choices, flips: derand, ..random })
    }

    /// For the random choice bits.
    ///
    /// # Panics
    /// If the pattern is empty.
    pub fn cot_random(self, pattern: &[u32]) -> CotPads {
        let n = self.len();
        let unit = whole_patterns(pattern.len());
        let widths = repeated(pattern, unit.min(n));
        let mut choices = Zeroizing::new(vec![0; bits_len(n)]);
        let mut packed = Zeroizing::new(vec![0; pattern_message_len(n, pattern)]);
        let pads = parts_mut(&mut packed, pattern_message_len(unit, pattern), n.div_ceil(unit));
        let outputs = choices.chunks_mut(unit / 8).zip(pads);
        self.batch.pads(Purpose::Arithmetic, 1).for_units(unit, outputs, |unit, (choices, pads)| {
            kernel::low_bits(unit.blocks, choices);
            let (mut pads, mut pad) = (BitWriter::new(pads), chunk_buffer());
            for chunk in unit.chunks(1, CHUNK) {
                let n = chunk.items.len();
                chunk.hash(0, &unit.blocks[chunk.items.clone()], &mut pad[..n]);
                pad.iter().zip(&widths[chunk.items]).for_each(|(pad, &w)| pads.push(pad.0 as u64, w));
            }
            pads.finish();
        });
        CotPads { choices, flips: vec![], pads: packed, pattern: pattern.to_vec(), n }
    }
}

impl CotPads {
    /// The choice bits, packed.
    pub fn choices(&self) -> &[u8] {
        &self.choices
    }

    /// This party's shares, one word per COT, from the sender's message.
    ///
    /// # Panics
    /// If it is not [`pattern_message_len`] bytes long.
    pub fn finish(self, message: &[u8]) -> Vec<u64> {
        assert_eq!(message.len(), self.pads.len(), "length of the corrections");
        let unit = whole_patterns(self.pattern.len());
        let widths = repeated(&self.pattern, unit.min(self.n));
        let (bytes, units) = (pattern_message_len(unit, &self.pattern).max(1), self.n.div_ceil(unit));
        let mut got = vec![0; self.n];
        let packed = parts(message, bytes, units).zip(parts(&self.pads, bytes, units));
        let bits = self.choices.chunks(unit / 8).zip(parts(&self.flips, unit / 8, units));
        let units = got.chunks_mut(unit).zip(packed).zip(bits);
        parallel::for_each(units, |((got, packed), (choices, flips))| {
            let (mut message, mut pads) = (BitReader::new(packed.0), BitReader::new(packed.1));
            let bits = choices.iter().zip(flips.iter().chain(std::iter::repeat(&0)));
            for ((got, widths), (choices, flips)) in got.chunks_mut(8).zip(widths.chunks(8)).zip(bits) {
                for ((i, got), &w) in got.iter_mut().enumerate().zip(widths) {
                    let [choice, flip] = [choices, flips].map(|b| u64::from(b >> i & 1).wrapping_neg());
                    let pad = (pads.pull(w) ^ flip).wrapping_sub(flip);
                    *got = reduce(pad.wrapping_add(message.pull(w) & choice), w);
                }
            }
        });
        got
    }
}

/// Bytes of the message of [`SendCots::cot_send`] for `n` COTs with a repeated pattern of widths.
///
/// # Panics
/// If the pattern is empty.
pub fn pattern_message_len(n: usize, pattern: &[u32]) -> usize {
    let whole: usize = pattern.iter().map(|&w| w as usize).sum();
    let rest: usize = pattern[..n % pattern.len()].iter().map(|&w| w as usize).sum();
    bits_len(n / pattern.len() * whole + rest)
}

/// COTs at a time: a multiple of the pattern's length and of 8, so that a unit's part of any
/// message is whole bytes.
fn whole_patterns(pattern: usize) -> usize {
    let period = 8 * pattern;
    period * (UNIT / period).max(1)
}

/// The widths of the first `n` COTs.
fn repeated(pattern: &[u32], n: usize) -> Vec<u32> {
    pattern.iter().copied().cycle().take(n).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sotto_shares::{Ring, Rng};

    use super::*;
    use crate::{bits::bit, ideal};

    /// Shares made from dealt COTs add up to the products.
    fn check(n: usize, pattern: &[u32], chosen: bool, seed: u8) {
        let mut rng = Rng::from_seed([seed; 32]);
        let (s, r) = ideal::cots(seed, n);
        let x = rng.elements(n, Ring::new(64));
        let random: Vec<u8> = rng.elements(bits_len(n), Ring::new(8)).iter().map(|&b| b as u8).collect();
        let choices = if chosen { random } else { r.choices() };
        let (derand, pads) = if chosen {
            let (derand, pads) = r.cot_choose(&choices, pattern);
            (Some(derand), pads)
        } else {
            (None, r.cot_random(pattern))
        };
        assert_eq!(pads.choices(), choices);
        let last = derand.as_ref().and_then(|d| d.last()).copied().unwrap_or(0);
        assert!(n.is_multiple_of(8) || u32::from(last) >> (n % 8) == 0, "bits after the last choice are 0");
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
            let expected = reduce(x[i].wrapping_mul(bit(&choices, i)), w);
            assert_eq!(reduce(own[i].wrapping_add(got[i]), w), expected, "item {i} of {n}, {w} bits");
            assert!(reduce(own[i], w) == own[i] && reduce(got[i], w) == got[i], "shares are reduced");
        }
    }

    #[test]
    fn edge_sizes() {
        for n in [0, 1, 63, 64, 65, 127, 128, 129, 1000, UNIT - 1, UNIT, UNIT + 1, 2 * UNIT + 77] {
            for chosen in [false, true] {
                check(n, &[64], chosen, 1);
                check(n, &[1], chosen, 2);
                check(n, &[7, 0, 64, 13], chosen, 3);
            }
        }
    }

    proptest! {
        #[test]
        fn shares_add_up(
            n in 0usize..300,
            pattern in prop::collection::vec(0u32..=64, 1..6),
            chosen: bool,
            seed: u8,
        ) {
            check(n, &pattern, chosen, seed);
        }

        /// Whatever the peer sends in a message of the right length, the shares are reduced words.
        #[test]
        fn any_message_gives_reduced_shares(
            n in 0usize..100,
            pattern in prop::collection::vec(0u32..=64, 1..6),
            filling in prop::collection::vec(any::<u8>(), 1..50),
            seed: u8,
        ) {
            let bytes = |len: usize| filling.iter().copied().cycle().take(len).collect::<Vec<u8>>();
            let (s, r) = ideal::cots(seed, n);
            let (_, pads) = r.cot_choose(&bytes(bits_len(n)), &pattern);
            let got = pads.finish(&bytes(pattern_message_len(n, &pattern)));
            let (_, own) = s.cot_send_chosen(&vec![u64::MAX; n], &pattern, &[]);
            let own = own.finish(&bytes(bits_len(n)));
            for i in 0..n {
                let w = pattern[i % pattern.len()];
                prop_assert_eq!((reduce(got[i], w), reduce(own[i], w)), (got[i], own[i]));
            }
        }
    }
}
