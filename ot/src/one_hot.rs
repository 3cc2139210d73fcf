//! Random one-hot vectors: XOR shares of the unit vector `e_r` of `2^k` bits, for a uniform
//! position `r` of which the parties have XOR shares of the bits and additive shares modulo `2^m`.
//!
//! `b_j`, `b'_j` are the parties' shares of bit `j` of `r`: their choice bits in COTs of which the
//! other party is the sender; only the first party draws its bit 0 itself. `e` is the vector of the
//! bits below `j`. At level `j` it doubles in length: its upper half becomes `p = e r_j`, its lower
//! half `e ^ p`.
//!
//! | first party                        |                       | second party                    |
//! |------------------------------------|-----------------------|---------------------------------|
//! | COT payloads `-b_j mod 2^(m-j-1)` for all `j` | `- one-hot/level ->` | choices `b'_j`        |
//! |                                    |                       | `r_j = b_j + b'_j - 2 b_j b'_j` |
//! | `j = 1 .. k-1`: COT payload `e` without its last bit | `<- one-hot/level ->` | the same      |
//! | `p = e b_j ^ own ^ got`            |                       | the same                        |
//! | last bit of `p`: `b_j` ^ its other bits |                  | the same                        |
//!
//! The last line holds as the bits of `e_r` sum to 1, so those of `p` sum to `r_j`; so the last bit
//! of a payload need not be sent.
//!
//! Cost: `max(k-1, 1)` turns after the one of the reservation, with the largest `k` where several
//! kinds are made together; [`one_hot_bits`] bits and [`one_hot_cots`] COTs a vector. XOR and
//! arithmetic payloads of a COT use different pads of it, and choices are not corrected. Both
//! parties see masked payloads only: neither learns anything of `r`.
//!
//! Source: FLUTE (S&P 2023) for one-hot vectors from COTs; the doubling, the omitted last bit and
//! the additive shares: this project. The payload for the additive shares of `r_j` has `m - j - 1`
//! bits, not `m - j`, as it enters with a factor of 2.

mod cost;
mod kind;
mod queue;
mod rounds;
mod selectors;
mod shares;
mod vectors;

pub use cost::{Wanted, one_hot_bits, one_hot_cots, round_lens};
pub use rounds::{LEVEL, OneHotCots, OneHotRounds, random_one_hots};
pub use selectors::{Columns, Selectors};
pub use shares::OneHots;

#[cfg(test)]
mod tests;
