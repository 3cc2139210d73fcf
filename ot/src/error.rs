//! What can go wrong in oblivious transfer, and whose doing it is.

/// An error of the transport or of the peer. What this party does wrong itself is a panic.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection, or a frame of the wrong step or length.
    #[error(transparent)]
    Net(#[from] sotto_net::Error),
    /// The peer sent 32 bytes that encode no element of ristretto255.
    #[error("the peer's point {index} at step {step} is no canonical ristretto255 encoding")]
    InvalidPoint {
        /// The protocol step.
        step: &'static str,
        /// Which of the step's points.
        index: usize,
    },
    /// The peer sent bytes that encode no key.
    #[error("the peer's key {index} at step {step} has coefficients out of range")]
    InvalidKey {
        /// The protocol step.
        step: &'static str,
        /// Which of the step's keys.
        index: usize,
    },
    /// An earlier error has ended the session's oblivious transfers; all its secrets are wiped.
    #[error("the session's oblivious transfers ended with an earlier error: a new session is needed")]
    Over,
    /// The peer's messages contradict each other: it does not follow the protocol. Nothing of the batch was used.
    #[error("the peer cheats at step {step}: its message does not pass the consistency check")]
    Inconsistent {
        /// The protocol step.
        step: &'static str,
    },
    /// The peer sent the neutral element, or points that sum up to it: its key would be known to all.
    #[error("the peer's point {index} at step {step} is, or leads to, the identity")]
    IdentityPoint {
        /// The protocol step.
        step: &'static str,
        /// Which of the step's points.
        index: usize,
    },
}
