//! XOR shares of small bit vectors.

use zeroize::Zeroize;

/// One party's XOR share of `len` vectors of `width` bits. One vector is one word; unused high bits
/// are zero.
///
/// Wiped on drop, not printable.
pub struct XorShare {
    /// `1..=64`.
    width: u32,
    /// One for each element.
    words: Vec<u64>,
}

impl Drop for XorShare {
    fn drop(&mut self) {
        self.words.zeroize();
    }
}

impl XorShare {
    /// A share from its words.
    pub fn new(width: u32, words: Vec<u64>) -> XorShare {
        debug_assert!(words.iter().all(|w| width == 64 || w >> width == 0), "words fit the width");
        XorShare { width, words }
    }

    /// Bits per element, `1..=64`.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// One word per element.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Elementwise XOR.
    ///
    /// # Panics
    /// If widths or lengths differ.
    pub fn xor(&self, other: &XorShare) -> XorShare {
        assert_eq!((self.width, self.len()), (other.width, other.len()), "XOR of unlike shares");
        XorShare::new(self.width, self.words.iter().zip(&other.words).map(|(a, b)| a ^ b).collect())
    }

    /// Applies a linear map, that is one that commutes with XOR, to every word.
    pub fn map_linear(&self, width: u32, f: impl Fn(u64) -> u64) -> XorShare {
        XorShare::new(width, self.words.iter().map(|&w| f(w)).collect())
    }

    /// Bit `j` of every element.
    pub fn bit(&self, j: u32) -> XorShare {
        self.map_linear(1, |w| (w >> j) & 1)
    }
}
