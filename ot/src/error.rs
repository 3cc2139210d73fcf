//! Errors of oblivious transfer. Each variant names who caused it.

/// An error of the transport or of the peer. A wrong call by this party panics instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection failed, or a frame has the wrong tag or the wrong length.
    #[error(transparent)]
    Net(#[from] sotto_net::Error),
    /// The peer sent 32 bytes that are not the encoding of an element of ristretto255.
    #[error("the peer's point {index} at step {step} is no canonical ristretto255 encoding")]
    InvalidPoint {
        /// The tag of the frame.
        step: &'static str,
        /// Number of the point in the frame.
        index: usize,
    },
    /// The peer sent bytes that are not the encoding of an ML-KEM key.
    #[error("the peer's key {index} at step {step} has coefficients out of range")]
    InvalidKey {
        /// The tag of the frame.
        step: &'static str,
        /// Number of the key in the frame.
        index: usize,
    },
    /// An earlier error ended the oblivious transfers of this session; all their secrets are wiped.
    #[error("the session's oblivious transfers ended with an earlier error: a new session is needed")]
    Over,
    /// A consistency check failed: the peer deviates from the protocol. No COT of the batch was
    /// used.
    #[error("the peer cheats at step {step}: its message does not pass the consistency check")]
    Inconsistent {
        /// The tag of the frame that failed the check.
        step: &'static str,
    },
    /// The peer sent the identity, or two points that yield it: an observer could compute the key.
    #[error("the peer's point {index} at step {step} is, or leads to, the identity")]
    IdentityPoint {
        /// The tag of the frame.
        step: &'static str,
        /// Number of the point in the frame.
        index: usize,
    },
}
