//! The hash that turns COTs into pads. It is circular correlation robust: pads stay uniform for
//! payloads that depend on `Delta`.
//!
//! | mode | `H(x, index, segment)` | security if `pi` is an ideal permutation |
//! |-------------|---------------------------------------|----------------------------------------|
//! | semi-honest | `pi(y) ^ y`, `y = sigma(x) ^ tweak`   | circular correlation robustness        |
//! | checked | `pi(z) ^ y`, `y = pi(sigma(x))`, `z = y ^ tweak` | the same, chosen inputs |
//!
//! In the checked mode the adversary may choose inputs and tweaks. `tweak = segment || index`; `pi`
//! is AES-128; `sigma` is [`Block::sigma`]. Without `sigma`, `x ^ H(x) = pi(x)` at tweak 0;
//! inverting the public `pi` on that value gives `x`. Source: Guo, Katz, Wang, Yu, S&P 2020 (eprint
//! 2019/074), sections 7.3 and 7.4.
//!
//! Security in the ideal-permutation model. The pads that the receiver does not hold are `pi` at
//! the points `sigma(t) ^ sigma(Delta) ^ tweak`. `sigma(Delta)` is unknown, and the points are
//! distinct unless the pseudo-random `t` collide. So all these pads look uniform, except with
//! probability (pads under a key) (evaluations of AES under that key) / 2^127; 127 because the
//! lowest bit of `Delta` is known. Each [`KEY_SPAN`] consecutive COTs have a key of their own,
//! which bounds the number of pads under a key however many COTs a session uses. [`crate::lookup`]
//! hashes with `i_0 Delta + i_1 X Delta + ..` in GF(2^128) in place of `Delta`; these sums are
//! images of `Delta` under invertible linear maps, hence as unknown as `Delta` is.
//!
//! Every triple (direction, index, segment) is hashed once. Indices are 64-bit counters that only
//! grow, which [`PadHash::hand_out`] checks; each [`Purpose`] has a range of segments of its own;
//! and a batch yields the pads of a purpose once ([`crate::batch`]).

use std::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{
    block::Block,
    domain::Domain,
    kernel::{Cipher, Tweak},
};

/// What a COT's pads are used for. Each purpose has 2^32 segments of 128 bits of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// A set of purposes, one bit each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Purposes(u8);

impl Purposes {
    /// All purposes.
    pub(crate) const ALL: Purposes = Purposes(0b1_1111);

    /// The set of one purpose.
    pub(crate) fn only(purpose: Purpose) -> Purposes {
        Purposes(1 << purpose as u8)
    }

    /// Whether the set has the purpose.
    pub(crate) fn contains(self, purpose: Purpose) -> bool {
        self.0 >> purpose as u8 & 1 == 1
    }

    /// The purposes that both sets have.
    pub(crate) fn intersection(self, other: Purposes) -> Purposes {
        Purposes(self.0 & other.0)
    }
}

/// Consecutive COTs whose pads are computed under one key.
pub(crate) const KEY_SPAN: u64 = 1 << 10;

/// The hash of one direction of a session.
pub(crate) struct PadHash {
    /// Its images of 0, 1, .. are the keys.
    keys: Cipher,
    checked: bool,
    /// No index below this one may be handed out any more.
    next_index: AtomicU64,
}

impl PadHash {
    /// The hash of a domain, in the semi-honest or the checked mode.
    pub(crate) fn new(domain: &Domain, checked: bool) -> PadHash {
        let key = domain.derive("sotto 2026 ot/hash/key", &[&[u8::from(checked)]]);
        PadHash { keys: Cipher::new(Block::from_bytes(key)), checked, next_index: AtomicU64::new(0) }
    }

    /// Records that COTs with these indices are handed out.
    ///
    /// # Panics
    /// If an index as large as the first one was handed out before.
    pub(crate) fn hand_out(&self, indices: Range<u64>) {
        let next = self.next_index.fetch_max(indices.end, Ordering::Relaxed);
        assert!(indices.start >= next, "COTs {indices:?} are handed out where {next} is the next index");
    }

    /// The hash for the run of [`KEY_SPAN`] COTs in which `index` lies.
    pub(crate) fn key(&self, index: u64) -> Hasher {
        Hasher { pi: Cipher::new(self.keys.permute(index / KEY_SPAN)), checked: self.checked }
    }
}

impl Purpose {
    /// The high half of the tweak for one of the purpose's segments.
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
    fn every_argument_changes_the_pad() {
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

    /// Without `sigma`, `x ^ H(x)` would be an image of `x` under the public permutation: one
    /// decryption would give `x`.
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
    fn indices_only_grow() {
        let h = PadHash::new(&domain(), false);
        [0..0, 0..10, 10..10, 12..20].into_iter().for_each(|indices| h.hand_out(indices));
    }

    #[test]
    #[should_panic(expected = "COTs 19..30 are handed out where 20 is the next index")]
    fn an_index_is_not_handed_out_twice() {
        let h = PadHash::new(&domain(), false);
        h.hand_out(10..20);
        h.hand_out(19..30);
    }

    #[test]
    fn sets_of_purposes() {
        use Purpose::{Arithmetic, Lookup, Transfer, Triple, Xor};
        let all = [Xor, Arithmetic, Lookup, Transfer, Triple];
        for purpose in all {
            let only = Purposes::only(purpose);
            assert!(all.into_iter().all(|other| only.contains(other) == (other == purpose)));
            assert!(Purposes::ALL.contains(purpose) && only.intersection(Purposes::ALL) == only);
            assert!(purpose == Xor || !only.intersection(Purposes::only(Xor)).contains(Xor));
        }
    }
}
