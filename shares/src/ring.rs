//! The rings Z_{2^l}, `1 <= l <= 64`, with elements held in `u64` and always reduced.

/// The ring Z_{2^l}.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ring(u32);

impl Ring {
    /// The ring of `bits`-bit integers.
    ///
    /// # Panics
    /// Unless `1 <= bits <= 64`.
    pub const fn new(bits: u32) -> Ring {
        assert!(1 <= bits && bits <= 64, "a ring has 1 to 64 bits");
        Ring(bits)
    }

    /// `l`.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// `2^l - 1`.
    pub const fn mask(self) -> u64 {
        u64::MAX >> (64 - self.0)
    }

    /// `x mod 2^l`.
    pub const fn reduce(self, x: u64) -> u64 {
        x & self.mask()
    }

    /// The representative of `x` in `[-2^(l-1), 2^(l-1))`.
    pub const fn signed(self, x: u64) -> i64 {
        ((x << (64 - self.0)) as i64) >> (64 - self.0)
    }

    /// The top bit of `x`, as 0 or 1.
    pub const fn msb(self, x: u64) -> u64 {
        (x >> (self.0 - 1)) & 1
    }
}
