//! Consistency checks of OT extension, against a peer that does not follow the protocol; chosen at compile time.
//!
//! | mode           | detects                                                    | hash                  | costs more             |
//! |----------------|------------------------------------------------------------|-----------------------|------------------------|
//! | [`SemiHonest`] | nothing                                                    | one permutation       | -                      |
//! | [`Checked`]    | inconsistent trees, corrections and rounds: [`crate::Error::Inconsistent`] | two permutations, for inputs that the peer may have a hand in | two turns a round of silent OT, none for SoftSpoken OT |
//!
//! All checks compare values of polynomials over GF(2^128) at places that the checked messages fix through BLAKE3 (Fiat-Shamir): a
//! deviation that was decided on before survives with a probability of at most 2^-115 for each attempt. Where the parts of a message
//! have places of their own, one that the whole message fixes weighs the parts, so that parts whose values an adversary has
//! tried out one by one do not cancel.
//!
//! What a check cannot exclude is that a deviation *guesses* secret bits of the other side and passes if the guess is right
//! (selective failure); the sources count this as leakage of the bits guessed, and their functionalities have it.
//!
//! This makes the extension secure against a malicious peer, not what is built on it: inputs of later steps may be wrong.
//! Sources: Roy, CRYPTO 2022 (eprint 2022/192), sections 4 and 5 and figure 13; Yang et al., CCS 2020 (eprint 2020/924), figure 5.

use crate::{block::Block, domain::Domain, kernel};

/// Whether the peer's messages are checked.
pub trait Security: Send + Sync + 'static {
    /// Whether they are.
    const CHECKED: bool;
}

/// The peer follows the protocol, and tries to learn from what it sees.
pub struct SemiHonest;

/// The peer may deviate; that shows as an error.
pub struct Checked;

impl Security for SemiHonest {
    const CHECKED: bool = false;
}

impl Security for Checked {
    const CHECKED: bool = true;
}

/// The place that `message` fixes, for part `part` of message number `number`.
pub(crate) fn point(domain: &Domain, purpose: &str, number: u64, part: u64, message: &[u8]) -> Block {
    Block::from_bytes(domain.derive(purpose, &[&number.to_le_bytes(), &part.to_le_bytes(), message]))
}

/// Powers of one number in GF(2^128) with secret exponents.
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

    /// `b^exponent`, in a time that does not depend on it.
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
