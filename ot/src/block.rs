//! Blocks of 128 bits: seeds, OT keys, the blocks of COTs and their difference `Delta`.

use std::{
    hint::black_box,
    ops::{BitAnd, BitXor, BitXorAssign, Not},
};

use rand::RngCore;
use zeroize::DefaultIsZeroes;

/// Bits of a block, the computational security parameter, and the number of base OTs.
pub const LAMBDA: usize = 128;

/// A secret of 128 bits. It can be neither printed nor compared. Who stores one wipes it.
#[derive(Clone, Copy, Default)]
#[repr(transparent)]
pub struct Block(pub(crate) u128);

impl Block {
    /// All bits zero.
    pub(crate) const ZERO: Block = Block(0);
    /// The generator `X` of GF(2^128).
    pub(crate) const X: Block = Block(2);

    /// A uniform block.
    pub(crate) fn random(rng: &mut impl RngCore) -> Block {
        let mut bytes = [0; 16];
        rng.fill_bytes(&mut bytes);
        Block::from_bytes(bytes)
    }

    /// From its 16 bytes, little-endian.
    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Block {
        Block(u128::from_le_bytes(bytes))
    }

    /// Its 16 bytes, little-endian.
    pub(crate) fn to_bytes(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }

    /// The block if `bit` is 1, zero if it is 0. The barrier hides from the compiler that `bit` is
    /// 0 or 1, so that it cannot introduce a branch.
    pub(crate) fn times(self, bit: u64) -> Block {
        Block(self.0 & u128::from(black_box(bit & 1)).wrapping_neg())
    }

    /// Bit `j`.
    pub(crate) fn bit(self, j: usize) -> u64 {
        (self.0 >> j) as u64 & 1
    }

    /// The block with its lowest bit 0.
    pub(crate) fn without_low_bit(self) -> Block {
        Block(self.0 & !1)
    }

    /// The block with its lowest bit 1.
    pub(crate) fn with_low_bit(self) -> Block {
        Block(self.0 | 1)
    }

    /// The block times `X` in GF(2^128) modulo `X^128 + X^7 + X^2 + X + 1`.
    pub(crate) fn times_x(self) -> Block {
        Block(self.0 << 1 ^ Block(0x87).times((self.0 >> 127) as u64).0)
    }

    /// The linear orthomorphism `xL || xR -> (xL ^ xR) || xL`: both it and `x ^ sigma(x)` are
    /// permutations.
    pub(crate) fn sigma(self) -> Block {
        let (left, right) = ((self.0 >> 64) as u64, self.0 as u64);
        Block(u128::from(left ^ right) << 64 | u128::from(left))
    }
}

impl DefaultIsZeroes for Block {}

impl BitXor for Block {
    type Output = Block;
    fn bitxor(self, other: Block) -> Block {
        Block(self.0 ^ other.0)
    }
}

impl BitXorAssign for Block {
    fn bitxor_assign(&mut self, other: Block) {
        self.0 ^= other.0;
    }
}

impl BitAnd for Block {
    type Output = Block;
    fn bitand(self, other: Block) -> Block {
        Block(self.0 & other.0)
    }
}

impl Not for Block {
    type Output = Block;
    fn not(self) -> Block {
        Block(!self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn halves(x: u128) -> (u64, u64) {
        ((x >> 64) as u64, x as u64)
    }

    #[test]
    fn x_generates_the_field_that_is_stated() {
        // The reduction of X^128; and X^(2^128) = X, so the modulus divides X^(2^128) - X.
        assert!(Block(1 << 127).times_x().0 == 0x87);
        let square = |x: Block| (0..128).rev().fold(Block::ZERO, |sum, j| sum.times_x() ^ x.times(x.bit(j)));
        assert!((0..128).fold(Block(2), |x, _| square(x)).0 == 2);
    }

    proptest! {
        #[test]
        fn sigma_is_a_linear_orthomorphism(x in any::<u128>(), y in any::<u128>()) {
            let sigma = |x: u128| Block(x).sigma().0;
            prop_assert_eq!(sigma(x) ^ sigma(y), sigma(x ^ y));
            // The inverse of sigma is (a, b) -> (b, a ^ b). The inverse of x ^ sigma(x) = (xR, xL ^
            // xR) is (a, b) -> (a ^ b, a).
            let (a, b) = halves(sigma(x));
            prop_assert_eq!((b, a ^ b), halves(x));
            let (a, b) = halves(x ^ sigma(x));
            prop_assert_eq!((a ^ b, a), halves(x));
        }
    }
}
