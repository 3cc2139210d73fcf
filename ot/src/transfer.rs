//! Random and chosen OT from COTs.
//!
//! | receiver: `b`, `t = q ^ b Delta`; bit `c` |  | sender: `q`, `Delta`; words `m_0`, `m_1` |
//! |----------------------------------------|-----------|-----------------------------------------|
//! | random OT: returns `b`, `H(t)`         |           | returns `H(q)`, `H(q ^ Delta)`          |
//! | chosen OT: `d = c ^ b` | `-- d ->` | `K_0 = q ^ d Delta`, `K_1 = K_0 ^ Delta` |
//! |                                        | `<- y --` | `y_i = m_i ^ H(K_i)`                    |
//! | returns `y_c ^ H(t)`                   |           |                                         |
//!
//! Random OT has no message. Chosen OT of words of `w` bits: two turns, `2 w + 1` bits. The sender
//! sees `d`, which `b` masks. The receiver sees `y_{1-c}`, which the pad of the key that it does
//! not hold masks. Where a *share* of the chosen word suffices, [`crate::lookup`] with `k = 1`
//! needs half as many bits. Source: Ishai, Kilian, Nissim, Petrank, CRYPTO 2003; Asharov et al.,
//! CCS 2013 (eprint 2013/552).

use sotto_shares::{BitReader, BitWriter};
use zeroize::Zeroizing;

use crate::{
    batch::{CHUNK, UNIT, chunk_buffer},
    bits::{bit, bits_len, correction},
    block::Block,
    cots::{RecvCots, SendCots, SendPads},
    hash::Purpose,
    kernel,
    parallel::parts_mut,
};

/// The COT sender's pads of both keys of every instance, packed.
pub(crate) struct BothPads {
    /// `H(K_0)`.
    pub(crate) zeros: Zeroizing<Vec<u8>>,
    /// `H(K_1)`.
    pub(crate) ones: Zeroizing<Vec<u8>>,
}

/// The COT receiver's choice bits and the pads of its keys, packed.
pub(crate) struct RandomPads {
    pub(crate) choices: Zeroizing<Vec<u8>>,
    pub(crate) pads: Zeroizing<Vec<u8>>,
}

impl SendCots {
    /// Random OT: both words of `w` bits of every instance, packed.
    ///
    /// # Panics
    /// Unless `1 <= w <= 64`.
    pub fn random_send(self, w: u32) -> [Vec<u8>; 2] {
        let BothPads { mut zeros, mut ones } = self.both_pads(Purpose::Transfer, None, w);
        [std::mem::take(&mut *zeros), std::mem::take(&mut *ones)]
    }

    /// Chosen OT of the words `m[0][i]`, `m[1][i]` of `w` bits, for the receiver's message
    /// `derand`. Returns the message of `2 ceil(n w / 8)` bytes.
    ///
    /// # Panics
    /// Unless `1 <= w <= 64`, and there are two words and one bit of `derand` per COT.
    pub fn chosen_send(self, derand: &[u8], m: [&[u64]; 2], w: u32) -> Vec<u8> {
        assert!(m.iter().all(|m| m.len() == self.len()), "a pair of words per COT");
        let BothPads { zeros, ones } = self.both_pads(Purpose::Transfer, Some(derand), w);
        let masked = |(m, pads): (&[u64], Zeroizing<Vec<u8>>)| {
            let words = Zeroizing::new(sotto_shares::pack(m, w));
            words.iter().zip(pads.iter()).map(|(word, pad)| word ^ pad).collect::<Vec<u8>>()
        };
        m.into_iter().zip([zeros, ones]).flat_map(masked).collect()
    }

    /// The pads of `w` bits of both keys, after the corrections `derand` if there are any.
    ///
    /// # Panics
    /// Unless `1 <= w <= 64` and there is one correction per COT.
    pub(crate) fn both_pads(self, purpose: Purpose, derand: Option<&[u8]>, w: u32) -> BothPads {
        assert!((1..=64).contains(&w), "words of {w} bits");
        let n = self.len();
        let SendPads { delta, pads } = self.pads(purpose, 1);
        let derand = derand.map(|derand| Corrections::new(derand, n));
        let len = bits_len(n * w as usize);
        let [mut zeros, mut ones] = [(); 2].map(|()| Zeroizing::new(vec![0; len]));
        let (part, units) = (UNIT * w as usize / 8, n.div_ceil(UNIT));
        let outputs = parts_mut(&mut zeros, part, units).zip(parts_mut(&mut ones, part, units));
        pads.for_units(UNIT, outputs, |unit, (zeros, ones)| {
            if let Some(derand) = &derand {
                derand.apply(unit.range.start, unit.blocks, *delta);
            }
            let (mut zeros, mut ones) = (BitWriter::new(zeros), BitWriter::new(ones));
            let (mut key1, mut pad) = (chunk_buffer(), chunk_buffer());
            for chunk in unit.chunks(1, CHUNK) {
                let (key0, n) = (&unit.blocks[chunk.items.clone()], chunk.items.len());
                chunk.hash(0, key0, &mut pad[..n]);
                pack(&pad[..n], w, &mut zeros);
                kernel::add_to_all(key0, *delta, &mut key1[..n]);
                chunk.hash(0, &key1[..n], &mut pad[..n]);
                pack(&pad[..n], w, &mut ones);
            }
            zeros.finish();
            ones.finish();
        });
        BothPads { zeros, ones }
    }
}

/// The receiver's packed corrections `d`, which turn its random choices into chosen ones.
pub(crate) struct Corrections<'a>(&'a [u8]);

impl Corrections<'_> {
    /// Corrections for `n` COTs.
    ///
    /// # Panics
    /// If there is not one bit per COT.
    pub(crate) fn new(derand: &[u8], n: usize) -> Corrections<'_> {
        assert_eq!(derand.len(), bits_len(n), "one bit of derandomisation per COT");
        Corrections(derand)
    }

    /// Turns the blocks `q` of the COTs from number `start` on, a multiple of 8, into the keys
    /// `K_0 = q ^ d Delta`.
    pub(crate) fn apply(&self, start: usize, blocks: &mut [Block], delta: Block) {
        kernel::add_where(blocks, &self.0[start / 8..][..bits_len(blocks.len())], delta);
    }
}

/// The receiver's side of [`SendCots::chosen_send`], before the message arrives. Wiped when
/// dropped.
pub struct ChosenPads {
    choices: Zeroizing<Vec<u8>>,
    pads: Zeroizing<Vec<u8>>,
    w: u32,
    n: usize,
}

impl RecvCots {
    /// Random OT: the choice bits and the chosen words of `w` bits, both packed.
    ///
    /// # Panics
    /// Unless `1 <= w <= 64`.
    pub fn random_recv(self, w: u32) -> (Vec<u8>, Vec<u8>) {
        let RandomPads { mut choices, mut pads } = self.random_pads(Purpose::Transfer, w);
        (std::mem::take(&mut *choices), std::mem::take(&mut *pads))
    }

    /// Chosen OT for the packed bits `choices`: the message `derand`, and what the sender's message
    /// is then combined with.
    ///
    /// # Panics
    /// Unless `1 <= w <= 64` and there is a choice bit per COT.
    pub fn chosen_choose(self, choices: &[u8], w: u32) -> (Vec<u8>, ChosenPads) {
        let n = self.len();
        let random = self.random_pads(Purpose::Transfer, w);
        let derand = correction(&random.choices, choices, n);
        (derand, ChosenPads { choices: Zeroizing::new(choices.to_vec()), pads: random.pads, w, n })
    }

    /// The random choices and the pads of `w` bits of their keys.
    ///
    /// # Panics
    /// Unless `1 <= w <= 64`.
    pub(crate) fn random_pads(self, purpose: Purpose, w: u32) -> RandomPads {
        assert!((1..=64).contains(&w), "words of {w} bits");
        let n = self.len();
        let mut choices = Zeroizing::new(vec![0; bits_len(n)]);
        let mut packed = Zeroizing::new(vec![0; bits_len(n * w as usize)]);
        let pads = parts_mut(&mut packed, UNIT * w as usize / 8, n.div_ceil(UNIT));
        let outputs = choices.chunks_mut(UNIT / 8).zip(pads);
        self.batch.pads(purpose, 1).for_units(UNIT, outputs, |unit, (choices, packed)| {
            kernel::low_bits(unit.blocks, choices);
            let (mut packed, mut pad) = (BitWriter::new(packed), chunk_buffer());
            for chunk in unit.chunks(1, CHUNK) {
                let n = chunk.items.len();
                chunk.hash(0, &unit.blocks[chunk.items.clone()], &mut pad[..n]);
                pack(&pad[..n], w, &mut packed);
            }
            packed.finish();
        });
        RandomPads { choices, pads: packed }
    }
}

impl ChosenPads {
    /// The chosen words, from the sender's message.
    ///
    /// # Panics
    /// If it is not `2 ceil(n w / 8)` bytes long.
    pub fn finish(self, message: &[u8]) -> Vec<u64> {
        let half = bits_len(self.n * self.w as usize);
        assert_eq!(message.len(), 2 * half, "length of the masked words");
        let (zeros, ones) = message.split_at(half);
        let [mut zeros, mut ones, mut pads] = [zeros, ones, &self.pads].map(BitReader::new);
        let word = |i: usize| {
            let (y0, y1) = (zeros.pull(self.w), ones.pull(self.w));
            y0 ^ ((y0 ^ y1) & bit(&self.choices, i).wrapping_neg()) ^ pads.pull(self.w)
        };
        (0..self.n).map(word).collect()
    }
}

/// Appends the low `w` bits of each block, of at most [`CHUNK`] blocks.
fn pack(blocks: &[Block], w: u32, out: &mut BitWriter) {
    if w > 1 {
        return blocks.iter().for_each(|block| out.push(block.0 as u64, w));
    }
    let mut bits = Zeroizing::new([0; CHUNK / 8]);
    kernel::low_bits(blocks, &mut bits[..blocks.len().div_ceil(8)]);
    for (word, blocks) in bits.as_chunks::<8>().0.iter().zip(blocks.chunks(64)) {
        out.push(u64::from_le_bytes(*word), blocks.len() as u32);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sotto_shares::{Ring, Rng, unpack};

    use super::*;
    use crate::ideal;

    fn check(n: usize, w: u32, seed: u8) {
        let (s, r) = ideal::cots(seed, n);
        let choices = r.choices();
        let ([zeros, ones], (got_choices, got)) = (s.random_send(w), r.random_recv(w));
        assert_eq!(*choices, got_choices);
        let [zeros, ones, got] = [zeros, ones, got].map(|packed| unpack(&packed, n, w));
        for i in 0..n {
            let (chosen, other) =
                if bit(&choices, i) == 1 { (ones[i], zeros[i]) } else { (zeros[i], ones[i]) };
            assert_eq!(got[i], chosen, "random OT {i} of {n}, {w} bits");
            assert!(w < 40 || got[i] != other);
        }

        let mut rng = Rng::from_seed([seed; 32]);
        let (s, r) = ideal::cots(seed, n);
        let m = [rng.elements(n, Ring::new(w)), rng.elements(n, Ring::new(w))];
        let choices: Vec<u8> = rng.elements(bits_len(n), Ring::new(8)).iter().map(|&b| b as u8).collect();
        let (derand, pads) = r.chosen_choose(&choices, w);
        let message = s.chosen_send(&derand, [&m[0], &m[1]], w);
        assert_eq!((derand.len(), message.len()), (bits_len(n), 2 * bits_len(n * w as usize)));
        let got = pads.finish(&message);
        assert!((0..n).all(|i| got[i] == m[bit(&choices, i) as usize][i]), "chosen OT, {n} of {w} bits");
    }

    #[test]
    fn edge_sizes() {
        for n in [0, 1, 7, 8, 9, 127, 128, 129, UNIT - 1, UNIT, UNIT + 1] {
            for w in [1, 2, 33, 64] {
                check(n, w, 3);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn the_receiver_gets_its_words(n in 0usize..300, w in 1u32..=64, seed: u8) {
            check(n, w, seed);
        }

        /// Whatever the peer sends in messages of the right length, both parties finish.
        #[test]
        fn any_messages_are_taken(
            n in 0usize..100,
            w in 1u32..=64,
            filling in prop::collection::vec(any::<u8>(), 1..50),
            seed: u8,
        ) {
            let bytes = |len: usize| filling.iter().copied().cycle().take(len).collect::<Vec<u8>>();
            let (s, r) = ideal::cots(seed, n);
            let m = vec![u64::MAX; n];
            let message = s.chosen_send(&bytes(bits_len(n)), [&m, &m], w);
            prop_assert_eq!(message.len(), 2 * bits_len(n * w as usize));
            let (_, pads) = r.chosen_choose(&bytes(bits_len(n)), w);
            let got = pads.finish(&bytes(message.len()));
            prop_assert!(got.len() == n && got.iter().all(|&x| crate::bits::reduce(x, w) == x));
        }
    }

    /// Both words of random OTs are fair bits, independent of each other and of the choice: within
    /// 6 deviations.
    #[test]
    fn random_bits_are_fair() {
        let n = 1 << 18;
        let (s, r) = ideal::cots(11, n);
        let ([zeros, ones], (choices, got)) = (s.random_send(1), r.random_recv(1));
        let count = |f: &dyn Fn(usize) -> u8| (0..n / 8).map(|i| f(i).count_ones()).sum::<u32>() as f64;
        let sums: [(&str, &dyn Fn(usize) -> u8); 6] = [
            ("zeros", &|i| zeros[i]),
            ("ones", &|i| ones[i]),
            ("choices", &|i| choices[i]),
            ("zeros ^ ones", &|i| zeros[i] ^ ones[i]),
            ("zeros ^ choices", &|i| zeros[i] ^ choices[i]),
            ("got ^ choices", &|i| got[i] ^ choices[i]),
        ];
        for (name, f) in sums {
            assert!((count(f) - n as f64 / 2.0).abs() < 3.0 * (n as f64).sqrt(), "{name}: {}", count(f));
        }
    }
}
