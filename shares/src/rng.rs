//! The generator of a party's secrets: seeded by the operating system, passed in, never conjured.

use rand::{CryptoRng, RngCore, SeedableRng, TryRngCore, rngs::OsRng};
use rand_chacha::ChaCha20Rng;

use crate::Ring;

/// A cryptographic generator. It has no `Debug` and no `Clone`: a copied state repeats masks.
pub struct Rng(ChaCha20Rng);

impl Rng {
    /// A generator seeded by the operating system.
    ///
    /// # Panics
    /// If the operating system has no randomness to give.
    pub fn from_os() -> Rng {
        let mut seed = [0u8; 32];
        OsRng.try_fill_bytes(&mut seed).expect("the operating system gives randomness");
        Rng(ChaCha20Rng::from_seed(seed))
    }

    /// A generator with a fixed seed: every run repeats. For tests and for public randomness only.
    pub fn from_seed(seed: [u8; 32]) -> Rng {
        Rng(ChaCha20Rng::from_seed(seed))
    }

    /// An independent generator, seeded by this one.
    pub fn fork(&mut self) -> Rng {
        Rng::from_seed(self.bytes())
    }

    /// Random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.0.fill_bytes(&mut out);
        out
    }

    /// `n` uniform elements of `ring`.
    pub fn elements(&mut self, n: usize, ring: Ring) -> Vec<u64> {
        (0..n).map(|_| ring.reduce(self.0.next_u64())).collect()
    }
}

impl RngCore for Rng {
    fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }
    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }
    fn fill_bytes(&mut self, out: &mut [u8]) {
        self.0.fill_bytes(out);
    }
}

impl CryptoRng for Rng {}
