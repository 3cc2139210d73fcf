//! Frames: what a message looks like on the wire.
//!
//! | header field | bytes | checked by the receiver                                              |
//! |--------------|-------|----------------------------------------------------------------------|
//! | tag          | 4     | equals the tag of the step it is at (first bytes of BLAKE3)          |
//! | number       | 4     | one more than the last one; in a piece: the background request's     |
//! | flight       | 4     | from the last one up to one more than the newest this side sent in   |
//! | length       | 4     | equals the length the step prescribes                                |
//!
//! The content follows the header. All fields are little-endian. A *piece* is a frame with a part
//! of a background message ([`super::background`]); the top bit of its flight is set.

use bytes::Bytes;

/// Bytes of framing in front of each message.
pub const HEADER_LEN: usize = 16;

/// Bytes of content that a frame has at most: what its length field can state.
pub(crate) const MAX_LEN: usize = u32::MAX as usize;

/// Bytes of content in a piece; the last piece of a message may have fewer.
pub(crate) const PIECE_LEN: usize = 16 << 10;

/// The bit that marks the flight of a piece.
const PIECE_FLAG: u32 = 1 << 31;

/// A header and its content.
pub(crate) type Frame = [Bytes; 2];

/// The fields of a header.
#[derive(Clone, Copy)]
pub(crate) struct Header {
    pub tag: [u8; 4],
    pub number: u32,
    pub flight: u32,
    /// Whether this is a piece of a background message.
    pub is_piece: bool,
    /// Bytes of content.
    pub len: usize,
}

impl Header {
    /// The header as it travels.
    ///
    /// # Panics
    /// If the length is 2^32 or more: [`super::Channel::send`] refuses such messages.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let len = u32::try_from(self.len).expect("a frame is shorter than 4 GiB");
        let flight = if self.is_piece { self.flight | PIECE_FLAG } else { self.flight };
        let mut bytes = [0; HEADER_LEN];
        bytes[..4].copy_from_slice(&self.tag);
        bytes[4..8].copy_from_slice(&self.number.to_le_bytes());
        bytes[8..12].copy_from_slice(&flight.to_le_bytes());
        bytes[12..].copy_from_slice(&len.to_le_bytes());
        bytes
    }

    /// The fields of a header that arrived; nothing in them is checked yet.
    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Header {
        let [tag, number, flight, len] =
            [0, 4, 8, 12].map(|at| -> [u8; 4] { std::array::from_fn(|i| bytes[at + i]) });
        let flight = u32::from_le_bytes(flight);
        Header {
            tag,
            number: u32::from_le_bytes(number),
            flight: flight & !PIECE_FLAG,
            is_piece: flight & PIECE_FLAG != 0,
            len: u32::from_le_bytes(len) as usize,
        }
    }
}

/// The tag of a step as it travels.
pub(crate) fn tag_bytes(step: &str) -> [u8; 4] {
    let hash = blake3::hash(step.as_bytes());
    std::array::from_fn(|i| hash.as_bytes()[i])
}
