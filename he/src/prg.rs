//! Pseudo-random streams: AES-128 in counter mode under keys derived by BLAKE3.
//!
//! A 32-byte seed, a domain label and two indices give 16 bytes of key and 16 bytes of starting
//! counter. Public polynomials and secrets use different labels, hence unrelated streams, even from
//! equal seeds.

use aes::Aes128;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use zeroize::Zeroize;

/// A seed of one stream or of one family of streams.
pub(crate) type Seed = [u8; 32];

/// Words of one batch: 64 blocks, enough to keep the cipher's pipeline full.
const BATCH: usize = 128;

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Domain {
    /// Uniform part of the public key, from the session's seed.
    PublicKey,
    /// Uniform part of a Galois key; indices: digit, prime.
    GaloisKey,
    /// Uniform part of an uploaded ciphertext; indices: its number, prime.
    Upload,
    /// The public half u of the message of a compressed upload.
    Values,
    /// Secret key.
    Secret,
    /// Errors of keys and uploads.
    Error,
    /// The ephemeral u of an encryption under the public key.
    Ephemeral,
    /// Errors of an encryption under the public key.
    ReplyError,
}

impl Domain {
    const fn label(self) -> &'static str {
        match self {
            Self::PublicKey => "sotto-he v1 public: public key p1",
            Self::GaloisKey => "sotto-he v1 public: galois key a",
            Self::Upload => "sotto-he v1 public: upload a",
            Self::Values => "sotto-he v1 public: upload u",
            Self::Secret => "sotto-he v1 secret: key s",
            Self::Error => "sotto-he v1 secret: error e",
            Self::Ephemeral => "sotto-he v1 secret: ephemeral u",
            Self::ReplyError => "sotto-he v1 secret: reply errors e0 e1",
        }
    }
}

/// A stream of uniform words.
pub(crate) struct Prg {
    cipher: Aes128,
    counter: u128,
    words: [u64; BATCH],
    used: usize,
}

impl Prg {
    pub(crate) fn new(domain: Domain, seed: &Seed, index: [u32; 2]) -> Self {
        let mut kdf = blake3::Hasher::new_derive_key(domain.label());
        kdf.update(seed).update(&index[0].to_le_bytes()).update(&index[1].to_le_bytes());
        let mut derived = *kdf.finalize().as_bytes();
        let (key, start) = derived.split_at(16);
        let cipher = Aes128::new_from_slice(key).expect("half of 32 bytes");
        let counter = u128::from_le_bytes(start.try_into().expect("half of 32 bytes"));
        derived.zeroize();
        Self { cipher, counter, words: [0; BATCH], used: BATCH }
    }

    /// The next 64 uniform bits.
    #[inline(always)]
    pub(crate) fn word(&mut self) -> u64 {
        if self.used == BATCH {
            self.refill();
        }
        self.used += 1;
        self.words[self.used - 1]
    }

    #[inline(never)]
    fn refill(&mut self) {
        let mut blocks = [aes::Block::from([0u8; 16]); BATCH / 2];
        for block in &mut blocks {
            block.copy_from_slice(&self.counter.to_le_bytes());
            self.counter = self.counter.wrapping_add(1);
        }
        self.cipher.encrypt_blocks(&mut blocks);
        for (pair, block) in self.words.chunks_exact_mut(2).zip(&blocks) {
            let both = u128::from_le_bytes((*block).into());
            (pair[0], pair[1]) = (both as u64, (both >> 64) as u64);
        }
        blocks.iter_mut().for_each(|block| block.as_mut_slice().zeroize());
        self.used = 0;
    }
}

impl Drop for Prg {
    fn drop(&mut self) {
        self.words.zeroize();
        self.counter.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Domain; 8] = [
        Domain::PublicKey,
        Domain::GaloisKey,
        Domain::Upload,
        Domain::Values,
        Domain::Secret,
        Domain::Error,
        Domain::Ephemeral,
        Domain::ReplyError,
    ];

    #[test]
    fn no_two_domains_or_indices_share_a_stream() {
        let seed = [7; 32];
        let mut firsts: Vec<u64> = Vec::new();
        for domain in ALL {
            for index in [[0, 0], [0, 1], [1, 0]] {
                firsts.push(Prg::new(domain, &seed, index).word());
            }
        }
        firsts.sort_unstable();
        firsts.dedup();
        assert_eq!(firsts.len(), 3 * ALL.len());
    }

    #[test]
    fn streams_are_counter_mode_without_repeats() {
        let mut stream = Prg::new(Domain::Secret, &[1; 32], [0, 0]);
        let mut words: Vec<u64> = (0..4096).map(|_| stream.word()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), 4096);
    }
}
