//! The hash that turns COTs into pads: correlation robust, also for payloads related to `Delta`.
//!
//! `H(x, index, segment) = pi(y) ^ y` with `y = sigma(x) ^ (segment || index)` and `pi` = AES-128 under a key
//! that both parties derive from the session and the direction. `sigma` (see [`Block::sigma`]) is what keeps
//! `x` safe when `x ^ H(x)` becomes known: with `y = x` that value would be `pi(x)`, and `pi` is public.
//! Source: Guo, Katz, Wang, Yu, S&P 2020 (eprint 2019/074).
//!
//! In the ideal-permutation model the receiver's view is `pi` at points `sigma(t) ^ sigma(Delta) ^ tweak` with
//! an unknown `sigma(Delta)`: distinct points, but for collisions of the pseudo-random `t`, so all pads that it
//! does not hold itself look uniform, up to (pads)(evaluations of AES) / 2^128.
//!
//! Every (direction, index, segment) is used once. Indices are 64-bit counters that never turn back; what one
//! COT is used for takes its own range of segments ([`Purpose`]). Debug builds keep a ledger and panic.

#[cfg(debug_assertions)]
use std::{collections::BTreeMap, ops::Range, sync::Mutex};

use aes::{
    Aes128Enc,
    cipher::{BlockEncrypt, KeyInit},
};

use crate::{block::Block, domain::Domain, indices::Indices};

/// What a COT's pad is used for; each purpose has 2^32 segments of 128 bits of its own.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    /// Correlated OT with XOR payloads.
    Xor = 0,
    /// Correlated OT with payloads in Z_{2^w}.
    Arithmetic = 1,
    /// 1-of-2^k OT.
    Lookup = 2,
}

/// The hash of one direction of a session.
pub(crate) struct CrHash {
    pi: Aes128Enc,
    #[cfg(debug_assertions)]
    ledger: Mutex<Ledger>,
}

impl CrHash {
    pub(crate) fn new(domain: &Domain) -> CrHash {
        CrHash {
            pi: Aes128Enc::new(&domain.derive::<16>("sotto 2026 ot/hash/key", &[]).into()),
            #[cfg(debug_assertions)]
            ledger: Mutex::default(),
        }
    }

    /// The pads of a batch of COTs, `segments` blocks a COT: to be asked for once.
    pub(crate) fn pads<'a>(&'a self, indices: &'a Indices, purpose: Purpose, segments: u64) -> Pads<'a> {
        assert!(segments < 1 << 32, "a purpose has 2^32 segments");
        let first_segment = (purpose as u64) << 32;
        #[cfg(debug_assertions)]
        for range in indices.ranges() {
            let mut ledger = self.ledger.lock().expect("no panic while the ledger was locked");
            ledger.claim(range, first_segment..first_segment + segments);
        }
        Pads { hash: self, indices, first_segment }
    }
}

/// The right to hash a batch of COTs for a purpose.
pub(crate) struct Pads<'a> {
    hash: &'a CrHash,
    indices: &'a Indices,
    first_segment: u64,
}

/// Blocks hashed at a time: enough to keep the AES pipeline full.
const WIDE: usize = 64;

impl Pads<'_> {
    /// Fills `out`; `input(i)` gives, for `out[i]`, the block, which COT of the batch it is, and the segment.
    pub(crate) fn fill(&self, out: &mut [Block], input: impl Fn(usize) -> (Block, usize, u64)) {
        let mut image = [aes::Block::default(); WIDE];
        for (batch, out) in out.chunks_mut(WIDE).enumerate() {
            for (i, (out, image)) in out.iter_mut().zip(&mut image).enumerate() {
                let (x, cot, segment) = input(batch * WIDE + i);
                *out = x.sigma() ^ self.tweak(cot, segment);
                *image = out.to_bytes().into();
            }
            let image = &mut image[..out.len()];
            self.hash.pi.encrypt_blocks(image);
            for (out, &image) in out.iter_mut().zip(image.iter()) {
                *out ^= Block::from_bytes(image.into());
            }
        }
        wipe(&mut image[..out.len().min(WIDE)]);
    }

    fn tweak(&self, cot: usize, segment: u64) -> Block {
        let (segment, index) = (self.first_segment + segment, self.indices.at(cot));
        Block(u128::from(segment) << 64 | u128::from(index))
    }
}

/// Overwrites AES blocks that held secrets.
pub(crate) fn wipe(blocks: &mut [aes::Block]) {
    for block in blocks {
        zeroize::Zeroize::zeroize(block.as_mut_slice());
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
    use aes::{Aes128, cipher::BlockDecrypt};
    use sotto_shares::Rng;

    use super::*;
    use crate::domain::Direction;

    fn domain() -> Domain {
        Domain::new([5; 32], Direction::Forward)
    }

    fn hash(h: &CrHash, x: Block, index: u64, segment: u64) -> Block {
        let mut out = [Block::ZERO];
        Pads { hash: h, indices: &Indices::new(index, 1), first_segment: 0 }
            .fill(&mut out, |_| (x, 0, segment));
        out[0]
    }

    #[test]
    fn batches_agree_with_the_formula() {
        let h = CrHash::new(&domain());
        let mut rng = Rng::from_seed([1; 32]);
        let x: Vec<Block> = (0..200).map(|_| Block::random(&mut rng)).collect();
        let mut out = vec![Block::ZERO; 200];
        let indices = Indices::new(1000, 100);
        let pads = h.pads(&indices, Purpose::Lookup, 2);
        pads.fill(&mut out, |i| (x[i], i / 2, i as u64 % 2));
        for i in 0..200 {
            let tweak = ((2u128 << 32) + (i as u128 % 2)) << 64 | (1000 + i as u128 / 2);
            let y = x[i].sigma() ^ Block(tweak);
            let mut image = y.to_bytes().into();
            h.pi.encrypt_block(&mut image);
            assert!(out[i].0 == Block::from_bytes(image.into()).0 ^ y.0, "block {i}");
        }
    }

    /// `review.md` 9a: from `x ^ H(x)` the plain Matyas-Meyer-Oseas hash gives `x` by one decryption.
    #[test]
    fn decrypting_a_sibling_does_not_give_the_parent() {
        let key = domain().derive::<16>("sotto 2026 ot/hash/key", &[]);
        let pi = Aes128::new(&key.into());
        let invert = |x: Block| {
            let mut block = x.to_bytes().into();
            pi.decrypt_block(&mut block);
            Block::from_bytes(block.into())
        };
        let h = CrHash::new(&domain());
        let mut rng = Rng::from_seed([2; 32]);
        for _ in 0..200 {
            let x = Block::random(&mut rng);
            let tweak = Block(3u128 << 64 | 9);
            let mut image = (x ^ tweak).to_bytes().into();
            pi.encrypt_block(&mut image);
            let plain = Block::from_bytes(image.into()) ^ x ^ tweak;
            assert!((invert(x ^ plain ^ tweak) ^ tweak).0 == x.0, "the attack works on the plain hash");
            let sibling = x ^ hash(&h, x, 9, 3);
            // The attacker's guesses: with and without undoing the tweak and sigma around the decryption.
            for inner in [Block::ZERO, tweak] {
                let guess = invert(sibling ^ inner);
                let unsigma = |g: Block| Block((g.0 << 64) | ((g.0 >> 64) ^ (g.0 & u128::from(u64::MAX))));
                for g in [guess, guess ^ tweak, unsigma(guess), unsigma(guess ^ tweak)] {
                    assert!(g.0 != x.0, "sigma must break the relation");
                }
            }
        }
    }

    #[test]
    fn every_argument_matters() {
        let h = CrHash::new(&domain());
        let other = CrHash::new(&Domain::new([5; 32], Direction::Reverse));
        let x = Block(77);
        let outs = [
            hash(&h, x, 1, 2),
            hash(&h, x, 2, 1),
            hash(&h, x, 1, 3),
            hash(&h, Block(78), 1, 2),
            hash(&other, x, 1, 2),
        ];
        for i in 0..outs.len() {
            assert!((0..i).all(|j| outs[i].0 != outs[j].0));
        }
    }

    #[test]
    fn disjoint_pads_may_be_claimed() {
        let h = CrHash::new(&domain());
        h.pads(&Indices::new(10, 10), Purpose::Xor, 4);
        h.pads(&Indices::new(10, 10), Purpose::Arithmetic, 1);
        h.pads(&Indices::new(20, 10), Purpose::Xor, 4);
        h.pads(&Indices::new(0, 10), Purpose::Xor, 4);
        h.pads(&Indices::new(15, 0), Purpose::Xor, 4);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "hashed twice")]
    fn a_repeated_segment_panics() {
        let h = CrHash::new(&domain());
        h.pads(&Indices::new(10, 10), Purpose::Xor, 4);
        h.pads(&Indices::new(10, 10), Purpose::Xor, 1);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "overlap")]
    fn a_repeated_index_panics() {
        let h = CrHash::new(&domain());
        h.pads(&Indices::new(10, 10), Purpose::Xor, 4);
        h.pads(&Indices::new(5, 6), Purpose::Arithmetic, 1);
    }
}
