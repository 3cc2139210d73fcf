//! SoftSpoken OT extension: any number of random-choice COTs from 128 base OTs.
//!
//! `Delta` is divided into `128/k` groups of `k` bits; group `i` is an element `Delta_i` of
//! GF(2^k). For each group the receiver holds a tree with `2^k` leaves and the sender all its
//! leaves but one ([`crate::ggm`]). Sums are XORs; `v_i` and `w_i` have one row for each bit of `x`
//! or `y`.
//!
//! | receiver: leaves `x` of tree `i` |  | sender: `Delta`, leaves `y ^ Delta_i`, `y != 0` |
//! |-----------------------------------|----------------------|-----------------------------------|
//! | `u_i = sum_x PRG(x)`, `v_i = sum_x x PRG(x)` |           | `w_i = sum_y y PRG(y ^ Delta_i)`  |
//! |                                   |                      | so `w_i = v_i ^ Delta_i u_i`      |
//! | `b = u_0`; `c_i = u_i ^ b`, `i >= 1` | `-- softspoken/u ->` |                                |
//! | `t`: the columns of `v` |  | `q`: the columns of `w_i ^ Delta_i c_i` |
//! | returns `b_j`, `t_j = q_j ^ b_j Delta` |                 | returns `q_j`                     |
//!
//! One message and no answer: `(128/k - 1) ceil(n/8)` bytes for `n` COTs, one turn. The sender sees
//! `c`, which the leaf that it does not know masks; the receiver sees nothing. Set-up: one message
//! `softspoken/ggm` of 4096 bytes, which punctures the trees.
//!
//! Deviation from the source: `Delta` is odd, so row 0 of `v` equals row 0 of `w` plus `b`. The
//! receiver replaces it by `b`, the sender by zeros. Then `q` is even and the choice is the lowest
//! bit of `t`.
//!
//! In a checked session ([`crate::check`]) the receiver makes at least 512 more COTs, which nobody
//! uses. It adds 48 bytes to the message: the value `h(u_0)` of its choices as a polynomial, which
//! the choices of the additional COTs mask, and a digest of the values `h(v_j)` of the 128 rows of
//! `v`. `h` is linear, so the sender expects `h(v_j) = h(w_j) ^ Delta_j h(u_0)` of each row, and
//! compares digests. No more turns.
//!
//! Source: Roy, CRYPTO 2022 (eprint 2022/192), figure 8 with the repetition code, section 4.1 for
//! the check.

mod check;
mod receiver;
mod rows;
mod sender;
mod sizes;
mod transpose;

pub use receiver::SoftSpokenReceiver;
pub use sender::SoftSpokenSender;
pub(crate) use sizes::{GGM, U, ggm_len};

#[cfg(test)]
mod tests;
