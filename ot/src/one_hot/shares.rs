//! Shares of one-hot vectors and of their positions.

use sotto_shares::Ring;
use zeroize::Zeroizing;

use super::{queue::Queue, selectors::Selectors, vectors::Vectors};

/// Shares of random one-hot vectors and of their positions. Neither copied nor printed; wiped when
/// dropped.
pub struct OneHots {
    e: Vectors,
    bits: Queue<u64>,
    index: Queue<u64>,
    ring: Ring,
}

impl OneHots {
    /// From this party's shares of the vectors, of the positions' bits, and of the positions in
    /// `ring`.
    pub(crate) fn new(
        e: Vectors,
        bits: Zeroizing<Vec<u64>>,
        index: Zeroizing<Vec<u64>>,
        ring: Ring,
    ) -> OneHots {
        OneHots { e, bits: Queue::new(bits), index: Queue::new(index), ring }
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.index.left().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bits of the position: vectors have `2^k` entries.
    pub fn k(&self) -> u32 {
        self.e.k()
    }

    /// The ring of [`OneHots::index`].
    pub fn ring(&self) -> Ring {
        self.ring
    }

    /// XOR shares of the positions, `[n]`, `k` bits each.
    pub fn bits(&self) -> &[u64] {
        self.bits.left()
    }

    /// Additive shares of the positions in [`OneHots::ring`], `[n]`.
    pub fn index(&self) -> &[u64] {
        self.index.left()
    }

    /// XOR shares of the vectors, `[n][ceil(2^k / 64)]`.
    pub fn words(&self) -> &[u64] {
        self.e.words()
    }

    /// Adds vectors behind these.
    ///
    /// # Panics
    /// If they differ in `k` or ring.
    pub fn append(&mut self, later: OneHots) {
        assert_eq!((self.k(), self.ring), (later.k(), later.ring), "vectors of one kind");
        self.e.append(later.e);
        self.bits.append(later.bits);
        self.index.append(later.index);
    }

    /// Splits off the first `n` vectors.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn take(&mut self, n: usize) -> OneHots {
        let e = self.e.take(n);
        OneHots { e, bits: self.bits.take(n), index: self.index.take(n), ring: self.ring }
    }

    /// XOR shares of the one-hot vectors at positions `(r_i + d_i) mod 2^k`, for public `d_i`.
    /// Typically `d = x - r` was opened, and the positions are `x`; the mask `r` is then used up.
    ///
    /// # Panics
    /// Unless there is one `d` per vector.
    pub fn rotate(mut self, d: &[u64]) -> Selectors {
        assert_eq!(d.len(), self.len(), "one rotation per vector");
        self.e.rotate(d);
        Selectors(self.e)
    }

    /// XOR shares of the one-hot vectors at positions `r_i xor d_i`, for public `d_i`. Typically
    /// `d = x xor r` was opened, and the positions are `x`; the mask `r` is then used up.
    ///
    /// # Panics
    /// Unless there is one `d` per vector.
    pub fn flip(mut self, d: &[u64]) -> Selectors {
        assert_eq!(d.len(), self.len(), "one mask per vector");
        self.e.flip(d);
        Selectors(self.e)
    }
}
