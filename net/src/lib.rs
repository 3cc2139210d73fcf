//! Bytes between two parties: framed, counted, shaped, bounded.
//!
//! This crate knows no mathematics and is the only one that names the async runtime. A [`Channel`] carries
//! frames over any byte stream: each frame has a *tag* (which step of which protocol), a sequence number, a
//! *flight* number and a length, and the receiver states beforehand which tag and how many bytes it expects:
//! a length that comes from the peer never sizes a buffer.
//!
//! Cost is counted here and nowhere else. [`Meter`] attributes bytes, turns and seconds to spans; a *turn* is
//! a one-way message delay on the critical path, measured by a Lamport clock carried in the frames.

mod channel;
mod codec;
mod error;
mod link;
mod meter;
mod runtime;

pub use channel::{Abort, Channel, Stream, DEFAULT_TIMEOUT, HEADER_LEN};
pub use codec::MAX_CONTROL_LEN;
pub use error::Error;
pub use link::{Link, ParseLinkError, shape};
pub use meter::{Cost, Half, Meter, SpanKey};
pub use runtime::{Listener, Runtime, compute, connect, memory_pair, run_pair, unused_local_port};
