//! Correlated OT: shares of `c x`, with `c` the receiver's bit and `x` the sender's number.
//!
//! | receiver: `b`, `t = q ^ b Delta`; bit `c` |           | sender: `q`, `Delta`; number `x`  |
//! |-------------------------------------------|-----------|-----------------------------------|
//! | `d = c ^ b`, unless `c = b` always        | `-- d ->` |                                   |
//! |                                           | `<- m --` | `m = x + H(q) - H(q ^ Delta)`     |
//! | returns `c m + H(t)` if `d = 0`           |           | returns `-H(q)` if `d = 0`        |
//! | returns `c m - H(t)` if `d = 1`           |           | returns `H(q ^ Delta)` if `d = 1` |
//!
//! Neither message depends on the other, so both travel in the same turn: the receiver computes
//! `c m` itself; of `c (x - m) = c (H(q ^ Delta) - H(q))` the COT gives shares for the choice `b`,
//! and `d`, which both parties know, turns them into shares for `c`.
//!
//! `w` bits, and one more for a choice that is not random. Numbers are words in Z_{2^w} ([`words`])
//! or bit vectors with XOR for plus and minus ([`vectors`]). The sender sees `d`, which `b` masks.
//! The receiver sees `m`, which the pad of the key that it does not hold masks.
//!
//! These functions do no I/O: they return and take messages, so that a caller can put several into
//! one frame. The receiver computes its pads when it chooses, and keeps `w` bits each until the
//! message arrives.
//!
//! Source: Asharov et al., CCS 2013 (eprint 2013/552); both messages in one turn: this project.

mod shares;
pub(crate) mod vectors;
pub(crate) mod words;

pub use shares::Uncorrected;
pub use vectors::XorPads;
pub use words::{CotPads, pattern_message_len};
