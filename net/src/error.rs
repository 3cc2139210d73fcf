//! What can go wrong between two parties, and who is responsible.

use std::{io, net::SocketAddr, path::PathBuf, time::Duration};

use crate::Fingerprint;

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
    /// The peer has sent nothing, or very little, for too long.
    #[error(
        "the peer sent too little for {after:?} while this side waited for {step}; raise --timeout if it is only slow"
    )]
    Timeout {
        /// The protocol step this party was at.
        step: &'static str,
        /// How long this party waited.
        after: Duration,
    },
    /// The peer sends a message too slowly.
    #[error("the peer sent {step} at less than {least} bytes per second")]
    TooSlow {
        /// The protocol step this party was at.
        step: &'static str,
        /// The least rate that is accepted.
        least: u64,
    },
    /// The peer does not read what this party sends.
    #[error("the peer does not read: {excess} bytes too many wait to be sent at step {step}")]
    Unread {
        /// The protocol step this party was at.
        step: &'static str,
        /// Bytes beyond what this party holds for a peer.
        excess: usize,
    },
    /// A part of the session took longer than this party allows.
    #[error("the {subject} took longer than {allowed:?} and was ended at step {step}")]
    DeadlinePassed {
        /// What took too long.
        subject: &'static str,
        /// How long it may take.
        allowed: Duration,
        /// The protocol step this party was at.
        step: &'static str,
    },
    /// A message of this party is too long for a frame.
    #[error("a message of {len} bytes at step {step} is too long: at most {max} can be sent")]
    TooLarge {
        /// The step.
        step: &'static str,
        /// What a frame can carry.
        max: usize,
        /// What the step would send.
        len: usize,
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
    /// A frame is longer than the step allows.
    #[error("the peer sent {got} bytes at step {step}, where at most {max} are allowed")]
    TooLong {
        /// The step.
        step: &'static str,
        /// What the step allows.
        max: usize,
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
    /// A frame claims to answer what this side has not sent, or to be older than the one before.
    #[error("the peer sent flight {got} at step {step}, where {least} to {most} are possible")]
    WrongFlight {
        /// The step.
        step: &'static str,
        /// The least that is possible: the flight of the frame before.
        least: u32,
        /// The greatest that is possible: an answer to the newest frame of this side.
        most: u32,
        /// What the frame's header says.
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
    /// The file of an identity cannot be used.
    #[error("cannot use the identity in {}: {reason}", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The server is not the one that this client has pinned.
    #[error(
        "the server at {addr} is {got}, not {expected}: if its operator confirms the new fingerprint, pin that \
         one; otherwise someone else is answering"
    )]
    WrongServer {
        /// The address tried.
        addr: String,
        /// The pinned identity.
        expected: Fingerprint,
        /// The identity presented.
        got: Fingerprint,
    },
    /// The client is not on the server's list.
    #[error("the client at {addr} is {got}, which is not on the list; add that fingerprint to let it in")]
    UnknownClient {
        /// Where the client connected from.
        addr: String,
        /// The identity presented.
        got: Fingerprint,
    },
    /// The peer does not accept this party's identity.
    #[error(
        "{addr} does not accept this side, which is {me}: a server needs that fingerprint on its list of \
         clients, a client needs it pinned"
    )]
    Rejected {
        /// The peer's address.
        addr: String,
        /// This party's identity.
        me: Fingerprint,
    },
    /// The peer does not speak this program's kind of TLS.
    #[error(
        "{addr} does not speak Sotto over TLS ({reason}): wrong port, another program, or TLS off there?"
    )]
    NotTls {
        /// The peer's address.
        addr: String,
        /// What the handshake failed on.
        reason: String,
    },
    /// The peer did not finish the TLS handshake in time.
    #[error(
        "{addr} did not finish the TLS handshake within {after:?}: a program without TLS, or a bad network?"
    )]
    HandshakeTimeout {
        /// The peer's address.
        addr: String,
        /// How long this party waited.
        after: Duration,
    },
}
