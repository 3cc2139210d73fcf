//! What a party holds: elements of Z_{2^l}, fixed point, additive and XOR shares, generators. No
//! I/O.

mod bits;
mod fixed;
mod pack;
mod ring;
mod rng;
mod share;

pub use bits::XorShare;
pub use fixed::{decode, encode};
pub use pack::{BitReader, BitWriter, pack, packed_len, pattern_len, unpack};
pub use ring::Ring;
pub use rng::Rng;
pub use share::{Party, Shape, Share};
