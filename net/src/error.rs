//! What can go wrong between two parties, and whose doing it is.

use std::{io, net::SocketAddr, time::Duration};

/// An error of the transport or of the peer. Messages never contain payload bytes.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers at the address.
    #[error("cannot reach {addr}: {source}; is the server running there, and is the address right?")]
    Connect {
        /// The address tried.
        addr: String,
        /// What the system said.
        source: io::Error,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}: {source}; choose another address with --listen")]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The connection broke.
    #[error("connection lost at step {step}: {source}")]
    Transport {
        /// The protocol step this party was at.
        step: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The peer closed the connection in the middle of a protocol.
    #[error("the peer closed the connection while this side waited for {step}")]
    Closed {
        /// The protocol step this party was at.
        step: &'static str,
    },
    /// The peer has sent nothing for too long.
    #[error("the peer sent nothing for {} s while this side waited for {step}; raise --timeout if it is only slow", after.as_secs())]
    Timeout {
        /// The protocol step this party was at.
        step: &'static str,
        /// How long this party waited.
        after: Duration,
    },
    /// The peer is at another step of the protocol.
    #[error("the peer sent frame {got} where this side expects {expected}: the two programs are out of step")]
    WrongTag {
        /// The step this party is at.
        expected: &'static str,
        /// The peer's step, by name when it is one that this side knows.
        got: String,
    },
    /// A frame has another length than the step prescribes.
    #[error("the peer sent {got} bytes at step {step}, where {expected} are expected")]
    WrongLength {
        /// The step.
        step: &'static str,
        /// What the step prescribes.
        expected: usize,
        /// What the frame's header says.
        got: usize,
    },
    /// A frame was lost, repeated or reordered.
    #[error("the peer sent frame number {got} at step {step}, where number {expected} is due")]
    WrongSequence {
        /// The step.
        step: &'static str,
        /// The number due.
        expected: u32,
        /// The number received.
        got: u32,
    },
    /// A control message does not decode.
    #[error("the peer sent a malformed control message at step {step}: {reason}")]
    Malformed {
        /// The step.
        step: &'static str,
        /// What the codec said.
        reason: String,
    },
    /// The peer gave up and said so.
    #[error("the peer ended the session while this side waited for {step}: {reason}")]
    Aborted {
        /// The step this party was at.
        step: &'static str,
        /// The name of the code that the peer sent.
        reason: &'static str,
    },
}
