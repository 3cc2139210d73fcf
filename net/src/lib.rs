//! Bytes between two parties: framed, counted, shaped, bounded.
//!
//! This crate knows no mathematics. It starts the async runtime; besides it, only a front end names
//! that. A [`Channel`] carries frames over any byte stream. Each frame has a *tag* (which step of
//! which protocol), a number, a *flight* number and a length. The receiver states beforehand which
//! tag and how many bytes it expects: a length that comes from the peer never sizes a buffer.
//! Messages that are not urgent travel behind all others, as a [`BackgroundRequest`].
//!
//! A connection that leaves the machine is [TLS 1.3 between pinned identities](connect_tls): each
//! party is its key, known to the other by a [`Fingerprint`]; no authority vouches for anyone.
//!
//! Cost is counted here and nowhere else. [`Meter`] attributes bytes, turns and seconds to spans. A
//! *turn* is a one-way message delay on the critical path, measured by a Lamport clock: the flight
//! numbers of the frames.

mod channel;
mod codec;
mod error;
mod identity;
mod link;
mod meter;
mod runtime;
mod tls;

pub use channel::{
    Abort, BackgroundRequest, Channel, DEFAULT_BUDGET, DEFAULT_TIMEOUT, Expected, HEADER_LEN,
    IncomingMessage, LEAST_RATE, OutgoingMessage, Stream, background_len,
};
pub use codec::MAX_CONTROL_LEN;
pub use error::Error;
pub use identity::{Fingerprint, Identity, ParseFingerprintError};
pub use link::{Link, ParseLinkError, shape};
pub use meter::{Cost, Half, Meter, SpanKey};
pub use runtime::{
    Background, Listener, Queue, Runtime, compute, connect, memory_pair, run_pair, run_pair_over,
    unused_local_port,
};
pub use tls::{HANDSHAKE_TIMEOUT, Incoming, Peers, Secured, connect_tls};
