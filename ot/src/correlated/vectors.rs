//! Correlated OT with bit vectors: XOR shares of `c x`, where `x` has the same number of bits for
//! every COT. Vectors lie in `ceil(bits / 64)` words each.

use sotto_shares::{BitReader, BitWriter};
use zeroize::Zeroizing;

use super::shares::{Uncorrected, with_room};
use crate::{
    batch::{CHUNK, Scratch, UNIT, chunk_buffer},
    bits::{bits_len, correction, reduce},
    block::{Block, LAMBDA},
    cots::{RecvCots, SendCots, SendPads},
    hash::Purpose,
    kernel,
    parallel::{self, parts_mut},
};

impl SendCots {
    /// For choices that the receiver corrects in the same turn: `x` is `[n][ceil(bits / 64)]`, of
    /// which the lowest `bits` bits count.
    ///
    /// Returns the message of `ceil(n bits / 8)` bytes behind `head`, and this party's shares `own`
    /// in the layout of `x`, with `own_i ^ got_i = c_i x_i`.
    ///
    /// # Panics
    /// If `x` does not have one vector per COT.
    pub fn xor_send_chosen(self, x: &[u64], bits: usize, head: &[u8]) -> (Vec<u8>, Uncorrected) {
        let words = bits.div_ceil(64);
        assert_eq!(x.len(), self.len() * words, "one vector per COT");
        let (message, shares) = self.vectors::<true>(|i| &x[i * words..][..words], bits, head);
        (message, Uncorrected::new(shares, words))
    }

    /// As [`SendCots::xor_send_chosen`], with vector `x(i)` for COT `i`. The second shares, for
    /// `d = 1`, are empty unless `CHOSEN`.
    pub(crate) fn vectors<'a, const CHOSEN: bool>(
        self,
        x: impl Fn(usize) -> &'a [u64] + Sync,
        bits: usize,
        head: &[u8],
    ) -> (Vec<u8>, [Vec<u64>; 2]) {
        let n = self.len();
        let SendPads { delta, pads } = self.pads(Purpose::Xor, bits.div_ceil(LAMBDA));
        let words = bits.div_ceil(64);
        let widths: Vec<u32> = widths(bits).collect();
        let mut message = with_room(head, bits_len(n * bits));
        let mut own = vec![0; n * words];
        let mut other = vec![0; if CHOSEN { own.len() } else { 0 }];
        let units = n.div_ceil(UNIT);
        let outputs = parts_mut(&mut message[head.len()..], UNIT * bits / 8, units)
            .zip(parts_mut(&mut own, UNIT * words, units))
            .zip(parts_mut(&mut other, UNIT * words, units));
        pads.for_units(UNIT, outputs, |unit, ((message, own), other)| {
            let mut message = BitWriter::new(message);
            let (mut pad, mut key1, mut unkept) =
                (segments_buffer(bits), chunk_buffer(), words_buffer(words));
            for chunk in unit.chunks(1, CHUNK) {
                let (items, n) = (chunk.items.clone(), chunk.items.len());
                let (key0, part) = (&unit.blocks[items.clone()], items.start * words..items.end * words);
                let own = &mut own[part.clone()];
                let other = if CHOSEN { &mut other[part] } else { &mut unkept[..n * words] };
                chunk.hash_segments(key0, &mut pad);
                spread(&pad, &widths, own);
                kernel::add_to_all(key0, *delta, &mut key1[..n]);
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
}

/// The receiver's side of [`SendCots::xor_send_chosen`], before the message arrives. Wiped when
/// dropped.
pub struct XorPads {
    choices: Zeroizing<Vec<u8>>,
    /// The pads, packed as the message is.
    pads: Zeroizing<Vec<u8>>,
    bits: usize,
    n: usize,
}

impl RecvCots {
    /// For the packed choice bits `choices` and vectors of `bits` bits: the corrections to be sent,
    /// and what the sender's message is then combined with.
    ///
    /// # Panics
    /// If there is not a choice bit per COT.
    pub fn xor_choose(self, choices: &[u8], bits: usize) -> (Vec<u8>, XorPads) {
        let random = self.xor_random(bits);
        let derand = correction(&random.choices, choices, random.n);
        (derand, XorPads { choices: Zeroizing::new(choices.to_vec()), ..random })
    }

    /// For the random choice bits and vectors of `bits` bits.
    pub(crate) fn xor_random(self, bits: usize) -> XorPads {
        let n = self.len();
        let widths: Vec<u32> = widths(bits).collect();
        let mut choices = Zeroizing::new(vec![0; bits_len(n)]);
        let mut packed = Zeroizing::new(vec![0; bits_len(n * bits)]);
        let outputs =
            choices.chunks_mut(UNIT / 8).zip(parts_mut(&mut packed, UNIT * bits / 8, n.div_ceil(UNIT)));
        let pads = self.batch.pads(Purpose::Xor, bits.div_ceil(LAMBDA));
        pads.for_units(UNIT, outputs, |unit, (choices, pads)| {
            kernel::low_bits(unit.blocks, choices);
            let (mut pad, mut vectors) = (segments_buffer(bits), words_buffer(widths.len()));
            let mut pads = BitWriter::new(pads);
            for chunk in unit.chunks(1, CHUNK) {
                let vectors = &mut vectors[..chunk.items.len() * widths.len()];
                chunk.hash_segments(&unit.blocks[chunk.items.clone()], &mut pad);
                spread(&pad, &widths, vectors);
                for vector in vectors.chunks(widths.len().max(1)) {
                    vector.iter().zip(&widths).for_each(|(&word, &w)| pads.push(word, w));
                }
            }
            pads.finish();
        });
        XorPads { choices, pads: packed, bits, n }
    }
}

impl XorPads {
    /// The choice bits, packed.
    pub(crate) fn choices(&self) -> &[u8] {
        &self.choices
    }

    /// This party's shares, `[n][ceil(bits / 64)]`, from the sender's message.
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

/// The vectors of a chunk from the segments of their pads.
fn spread(segments: &[Scratch], widths: &[u32], vectors: &mut [u64]) {
    if let [w] = *widths {
        vectors.iter_mut().zip(segments[0].iter()).for_each(|(out, pad)| *out = reduce(pad.0 as u64, w));
        return;
    }
    for (at, vector) in vectors.chunks_exact_mut(widths.len().max(1)).enumerate() {
        for ((j, out), &w) in vector.iter_mut().enumerate().zip(widths) {
            *out = reduce(word(segments[j / 2][at], j), w);
        }
    }
}

/// A buffer for vectors of `words` words for each COT of a chunk.
fn words_buffer(words: usize) -> Zeroizing<Vec<u64>> {
    Zeroizing::new(vec![0; CHUNK * words])
}

/// Buffers for the pads of a chunk, one for each segment.
fn segments_buffer(bits: usize) -> Vec<Scratch> {
    (0..bits.div_ceil(LAMBDA)).map(|_| chunk_buffer()).collect()
}

/// The number of bits in each word of a vector of `bits` bits.
fn widths(bits: usize) -> impl Iterator<Item = u32> {
    (0..bits).step_by(64).map(move |done| (bits - done).min(64) as u32)
}

/// Word `j` of a vector, from segment `j / 2` of its pad.
fn word(segment: Block, j: usize) -> u64 {
    (segment.0 >> (64 * (j % 2))) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sotto_shares::{Ring, Rng};

    use super::*;
    use crate::{bits::bit, ideal};

    /// Shares made from dealt COTs add up to the products.
    fn check(n: usize, bits: usize, chosen: bool, seed: u8) {
        let mut rng = Rng::from_seed([seed; 32]);
        let (s, r) = ideal::cots(seed, n);
        let words = bits.div_ceil(64);
        let x = rng.elements(n * words, Ring::new(64));
        let random: Vec<u8> = rng.elements(bits_len(n), Ring::new(8)).iter().map(|&b| b as u8).collect();
        let choices = if chosen { random } else { r.choices() };
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
                assert_eq!(own[at] ^ got[at], reduce(x[at], w) & bit(&choices, i).wrapping_neg());
            }
        }
    }

    #[test]
    fn edge_sizes() {
        for n in [0, 1, 63, 64, 65, 127, 128, 129, 1000, UNIT - 1, UNIT, UNIT + 1, 2 * UNIT + 77] {
            for chosen in [false, true] {
                for bits in [0, 1, 63, 64, 65, 127, 128, 129, 511] {
                    check(n, bits, chosen, 4);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn shares_add_up(n in 0usize..300, bits in 0usize..300, chosen: bool, seed: u8) {
            check(n, bits, chosen, seed);
        }

        /// Whatever the peer sends in a message of the right length, the shares have `bits` bits.
        #[test]
        fn any_message_gives_shares_of_the_width(
            n in 0usize..100,
            bits in 0usize..200,
            filling in prop::collection::vec(any::<u8>(), 1..50),
            seed: u8,
        ) {
            let bytes = |len: usize| filling.iter().copied().cycle().take(len).collect::<Vec<u8>>();
            let (s, r) = ideal::cots(seed, n);
            let (_, pads) = r.xor_choose(&bytes(bits_len(n)), bits);
            let got = pads.finish(&bytes(bits_len(n * bits)));
            let (_, own) = s.xor_send_chosen(&vec![u64::MAX; n * bits.div_ceil(64)], bits, &[]);
            let own = own.finish(&bytes(bits_len(n)));
            let widths: Vec<u32> = widths(bits).collect();
            for (i, (got, own)) in got.iter().zip(&own).enumerate() {
                let w = widths[i % widths.len()];
                prop_assert_eq!((reduce(*got, w), reduce(*own, w)), (*got, *own));
            }
        }
    }
}
