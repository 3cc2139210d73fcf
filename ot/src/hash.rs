//! The hash that turns COTs into pads: correlation robust, also for payloads related to `Delta`.
//!
//! | mode       | `H(x, index, segment)`, `tweak = segment || index`                    | needed of `pi`, an ideal permutation |
//! |------------|------------------------------------------------------------------------|--------------------------------------|
//! | semi-honest| `pi(y) ^ y`, `y = sigma(x) ^ tweak`                                    | circular correlation robustness      |
//! | checked    | `pi(z) ^ y`, `y = pi(sigma(x))`, `z = y ^ tweak`                       | the same, for tweaks and inputs that the adversary influences |
//!
//! `pi` is AES-128. `sigma` (see [`Block::sigma`]) is what keeps `x` safe when `x ^ H(x)` becomes known: with `y = x` that
//! value would be `pi(x)`, and `pi` is public. Source: Guo, Katz, Wang, Yu, S&P 2020 (eprint 2019/074), sections 7.3 and 7.4.
//!
//! In the ideal-permutation model the receiver's view is `pi` at points `sigma(t) ^ sigma(Delta) ^ tweak` with
//! an unknown `sigma(Delta)`: distinct points, but for collisions of the pseudo-random `t`, so all pads that it
//! does not hold itself look uniform, up to (pads of a key)(evaluations of AES under it) / 2^127: the lowest bit of `Delta`
//! is known. Each run of [`KEY_SPAN`] COTs has a key of its own, so that number stays small however many COTs there are.
//! Sums `i_0 Delta + i_1 X Delta + ..` in GF(2^128) ([`crate::lookup`]) are as unknown as `Delta`, being invertible images of it.
//!
//! Every (direction, index, segment) is used once. Indices are 64-bit counters that never turn back; what one
//! COT is used for takes its own range of segments ([`Purpose`]). Debug builds keep a ledger and panic.

use std::ops::Range;
#[cfg(debug_assertions)]
use std::{collections::BTreeMap, sync::Mutex};

use crate::{
    block::Block,
    domain::Domain,
    kernel::{Cipher, Tweak},
};

/// What a COT's pad is used for; each purpose has 2^32 segments of 128 bits of its own.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    /// Correlated OT with XOR payloads.
    Xor = 0,
    /// Correlated OT with payloads in Z_{2^w}.
    Arithmetic = 1,
    /// 1-of-2^k OT.
    Lookup = 2,
    /// Random and chosen OT.
    Transfer = 3,
    /// Multiplication triples of bits.
    Triple = 4,
}

/// COTs whose pads are made under one key.
pub(crate) const KEY_SPAN: u64 = 1 << 10;

/// The hash of one direction of a session.
pub(crate) struct PadHash {
    /// The generator of the keys.
    keys: Cipher,
    checked: bool,
    #[cfg(debug_assertions)]
    ledger: Mutex<Ledger>,
}

impl PadHash {
    /// For the semi-honest or the checked mode.
    pub(crate) fn new(domain: &Domain, checked: bool) -> PadHash {
        let key = domain.derive("sotto 2026 ot/hash/key", &[&[u8::from(checked)]]);
        PadHash {
            keys: Cipher::new(Block::from_bytes(key)),
            checked,
            #[cfg(debug_assertions)]
            ledger: Mutex::default(),
        }
    }

    /// Notes that pads of `segments` blocks a COT are made, for a run of COTs.
    ///
    /// # Panics
    /// In debug builds, if some of them were made before.
    pub(crate) fn claim(&self, indices: Range<u64>, purpose: Purpose, segments: u64) {
        assert!(segments <= 1 << 32, "a purpose has 2^32 segments");
        #[cfg(debug_assertions)]
        {
            let first = purpose.segment(0);
            let mut ledger = self.ledger.lock().expect("no panic while the ledger was locked");
            ledger.claim(indices, first..first + segments);
        }
        #[cfg(not(debug_assertions))]
        let _ = (indices, purpose);
    }

    /// The hash for the COTs of the run that `index` lies in.
    pub(crate) fn key(&self, index: u64) -> Hasher {
        Hasher { pi: Cipher::new(self.keys.permute(index / KEY_SPAN)), checked: self.checked }
    }
}

impl Purpose {
    fn segment(self, segment: u64) -> u64 {
        (self as u64) << 32 | segment
    }
}

/// The hash under one key.
pub(crate) struct Hasher {
    pi: Cipher,
    checked: bool,
}

impl Hasher {
    /// `out[i] = H(x[i], index + stride i, segment)`.
    pub(crate) fn hash(
        &self,
        purpose: Purpose,
        segment: u64,
        index: u64,
        stride: usize,
        x: &[Block],
        out: &mut [Block],
    ) {
        let tweak = Tweak { segment: purpose.segment(segment), index, stride: stride as u64 };
        if self.checked {
            self.pi.hash_twice(tweak, x, out);
        } else {
            self.pi.hash(tweak, x, out);
        }
    }
}

/// Which segments of which COTs have been hashed: batches of indices, each with its segments.
#[cfg(debug_assertions)]
#[derive(Default)]
struct Ledger(BTreeMap<u64, (u64, Vec<Range<u64>>)>);

#[cfg(debug_assertions)]
impl Ledger {
    fn claim(&mut self, indices: Range<u64>, segments: Range<u64>) {
        if indices.is_empty() || segments.is_empty() {
            return;
        }
        let overlapping =
            self.0.range_mut(..indices.end).next_back().filter(|(_, (end, _))| *end > indices.start);
        match overlapping {
            None => drop(self.0.insert(indices.start, (indices.end, vec![segments]))),
            Some((&start, (end, used))) => {
                assert!((start..*end) == indices, "pads of COTs {indices:?} and {start}..{end} overlap");
                let reused = used.iter().any(|u| u.start < segments.end && segments.start < u.end);
                assert!(!reused, "segments {segments:?} of COTs {indices:?} are hashed twice");
                used.push(segments);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Direction;

    fn domain() -> Domain {
        Domain::new([5; 32], Direction::Forward, 0)
    }

    fn hash(h: &PadHash, purpose: Purpose, x: Block, index: u64, segment: u64) -> u128 {
        let mut out = [Block::ZERO];
        h.key(index).hash(purpose, segment, index, 1, &[x], &mut out);
        out[0].0
    }

    #[test]
    fn every_argument_matters() {
        use Purpose::{Lookup, Xor};
        let [h, checked] = [false, true].map(|mode| PadHash::new(&domain(), mode));
        let other = PadHash::new(&Domain::new([5; 32], Direction::Reverse, 0), false);
        let x = Block(77);
        let outs = [
            hash(&h, Xor, x, 1, 2),
            hash(&h, Xor, x, 2, 1),
            hash(&h, Xor, x, 1, 3),
            hash(&h, Lookup, x, 1, 2),
            hash(&h, Xor, x, 1 + KEY_SPAN, 2),
            hash(&h, Xor, Block(78), 1, 2),
            hash(&other, Xor, x, 1, 2),
            hash(&checked, Xor, x, 1, 2),
        ];
        for i in 0..outs.len() {
            assert!((0..i).all(|j| outs[i] != outs[j]));
        }
    }

    /// From `x ^ H(x)` the plain Matyas-Meyer-Oseas hash gives `x` by one decryption (`review.md` 9a).
    #[test]
    fn a_payload_related_to_the_key_does_not_give_the_key() {
        use aes::cipher::{BlockCipherDecrypt, KeyInit};
        let h = PadHash::new(&domain(), false);
        let (index, tweak) = (9, Block(u128::from(Purpose::Xor.segment(3)) << 64 | 9));
        let pi = aes::Aes128::new(&h.keys.permute(0).to_bytes().into());
        let invert = |x: Block| {
            let mut block = x.to_bytes().into();
            pi.decrypt_block(&mut block);
            Block::from_bytes(block.into())
        };
        let unsigma = |g: Block| Block((g.0 << 64) | ((g.0 >> 64) ^ (g.0 & u128::from(u64::MAX))));
        for seed in 0..200u128 {
            let x = Block(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) + 1);
            let known = x ^ Block(hash(&h, Purpose::Xor, x, index, 3));
            // With and without undoing the tweak and sigma around the decryption.
            for inner in [Block::ZERO, tweak] {
                let guess = invert(known ^ inner);
                for g in [guess, guess ^ tweak, unsigma(guess), unsigma(guess ^ tweak)] {
                    assert!(g.0 != x.0, "sigma must break the relation");
                }
            }
        }
    }

    #[test]
    fn disjoint_pads_may_be_claimed() {
        let h = PadHash::new(&domain(), false);
        h.claim(10..20, Purpose::Xor, 4);
        h.claim(10..20, Purpose::Arithmetic, 1);
        h.claim(20..30, Purpose::Xor, 4);
        h.claim(0..10, Purpose::Xor, 4);
        h.claim(15..15, Purpose::Xor, 4);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "hashed twice")]
    fn a_repeated_segment_panics() {
        let h = PadHash::new(&domain(), false);
        h.claim(10..20, Purpose::Xor, 4);
        h.claim(10..20, Purpose::Xor, 1);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "overlap")]
    fn a_repeated_index_panics() {
        let h = PadHash::new(&domain(), false);
        h.claim(10..20, Purpose::Xor, 4);
        h.claim(5..11, Purpose::Arithmetic, 1);
    }
}
