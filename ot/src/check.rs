//! Consistency checks of OT extension against a peer that deviates from the protocol; chosen at
//! compile time.
//!
//! | mode           | detects               | hash             | additional cost                |
//! |----------------|-----------------------|------------------|--------------------------------|
//! | [`SemiHonest`] | nothing               | one permutation  | none                           |
//! | [`Checked`]    | inconsistent messages | two permutations | two turns a round of silent OT |
//!
//! A checked message that is inconsistent is [`crate::Error::Inconsistent`]. All checks compare
//! values of polynomials over GF(2^128), evaluated at points that hash the checked messages with
//! BLAKE3 (Fiat-Shamir). A deviation that is fixed before the point survives with probability at
//! most 2^-115 an attempt. Where parts of a message have points of their own, another point, which
//! hashes the whole message, weighs the parts; so an adversary cannot choose parts one by one whose
//! deviations cancel.
//!
//! A check cannot exclude selective failure: a deviation may guess secret bits of the other party
//! and pass if the guess is right. The functionalities of the sources count the guessed bits as
//! leakage.
//!
//! [`Checked`] makes the extension secure against a malicious peer, but not the protocols on top of
//! it: their messages are not checked.
//!
//! Sources: Roy, CRYPTO 2022 (eprint 2022/192), sections 4 and 5 and figure 13; Yang et al., CCS
//! 2020 (eprint 2020/924), figure 5.

use crate::{block::Block, domain::Domain, kernel};

/// The mode of a session: whether the peer's messages are checked.
pub trait Security: Send + Sync + 'static {
    /// Whether the peer's messages are checked.
    const CHECKED: bool;
}

/// The peer follows the protocol and tries to learn from the messages that it receives.
pub struct SemiHonest;

/// The peer may deviate from the protocol; a deviation is an error.
pub struct Checked;

impl Security for SemiHonest {
    const CHECKED: bool = false;
}

impl Security for Checked {
    const CHECKED: bool = true;
}

/// The point that hashes `message`: for part `part` of message number `number`.
pub(crate) fn point(domain: &Domain, purpose: &str, number: u64, part: u64, message: &[u8]) -> Block {
    Block::from_bytes(domain.derive(purpose, &[&number.to_le_bytes(), &part.to_le_bytes(), message]))
}

/// Powers of one element `b` of GF(2^128) with secret exponents.
pub(crate) struct Powers {
    /// `b^(2^j) - 1`.
    squares: Vec<Block>,
}

impl Powers {
    /// For exponents of `bits` bits.
    pub(crate) fn new(b: Block, bits: usize) -> Powers {
        let square = |b: &Block| Some(kernel::multiply(*b, *b));
        let squares = std::iter::successors(Some(b), square).take(bits);
        Powers { squares: squares.map(|b| b ^ Block(1)).collect() }
    }

    /// `b^exponent`, in constant time.
    pub(crate) fn power(&self, exponent: u64) -> Block {
        self.squares.iter().enumerate().fold(Block(1), |power, (j, &square)| {
            kernel::multiply(power, Block(1) ^ square.times(exponent >> j & 1))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_are_products() {
        let b = Block(0x1234_5678_9abc_def0_0fed_cba9_8765_4321);
        let mut product = Block(1);
        for n in 0..100 {
            assert!(Powers::new(b, 7).power(n).0 == product.0);
            product = kernel::multiply(product, b);
        }
    }
}
