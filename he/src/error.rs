//! What can go wrong, and who is to blame: our parameters, our request, or the peer's bytes.

use thiserror::Error;

/// Errors of this crate.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// Ours: the parameter set is below 128 bits of security.
    #[error("parameters refused: {0}")]
    Parameters(&'static str),
    /// Ours: the transform has no plan for this prime and degree.
    #[error("no number-theoretic transform of degree {degree} modulo {prime}")]
    NoTransform {
        /// Degree N of the ring.
        degree: usize,
        /// The prime.
        prime: u64,
    },
    /// Ours: the transform of this machine failed its start-up test.
    #[error("the number-theoretic transform modulo {prime} computes wrong products on this machine")]
    TransformSelfTest {
        /// The prime.
        prime: u64,
    },
    /// Ours: a shape with an empty side, or one too large to lay out.
    #[error("shape {tokens} x {inner} x {outer} cannot be laid out")]
    Shape {
        /// Rows of X.
        tokens: usize,
        /// Columns of X, rows of W.
        inner: usize,
        /// Columns of W.
        outer: usize,
    },
    /// Ours: a ring that is not served.
    #[error("ring of {bits} bits is outside 5..={max}")]
    Ring {
        /// Asked for.
        bits: u32,
        /// Largest ring served.
        max: u32,
    },
    /// Ours: an error that is asked to be below 2^-40 or may be as large as the ring.
    #[error("tolerance of 2^{tolerance} in a ring of {bits} bits: not between 2^-40 and the ring")]
    Tolerance {
        /// log2 of the tolerance.
        tolerance: i32,
        /// Width of the ring.
        bits: u32,
    },
    /// Ours: no layout of this product keeps the noise within its tolerance.
    #[error("noise: the error would have a deviation of 2^{best:.1} units, allowed 2^{allowed:.1}")]
    Noise {
        /// log2 of the deviation in the quietest layout.
        best: f64,
        /// log2 of the deviation allowed.
        allowed: f64,
    },
    /// The peer's: a message of the wrong length.
    #[error("{what}: expected {expected} bytes, got {actual}")]
    Length {
        /// Which message.
        what: &'static str,
        /// Bytes expected.
        expected: usize,
        /// Bytes received.
        actual: usize,
    },
    /// The peer's: a residue that is not below its prime.
    #[error("{what}: residue {index} is not below its prime")]
    Residue {
        /// Which message.
        what: &'static str,
        /// Position among the residues of one ciphertext or key.
        index: usize,
    },
}

/// `Ok` if `bytes` has the length the receiver computed beforehand.
pub(crate) fn check_length(what: &'static str, bytes: &[u8], expected: usize) -> Result<(), Error> {
    if bytes.len() == expected { Ok(()) } else { Err(Error::Length { what, expected, actual: bytes.len() }) }
}
