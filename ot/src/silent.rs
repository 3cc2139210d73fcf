//! Silent OT: about a million random-choice COTs from one message of 218 kB.
//!
//! Round `r`. Both parties start from `k + t d` COTs of round `r - 1`: `(q, Delta)` and
//! `(b, t = q ^ b Delta)`, all `q` even, `Delta` odd. The first `t d` of them are written `q'`,
//! `t'`, one for each level of each tree; the other `k` are written `q''`, `t''`.
//!
//! | sender: `q`, `Delta`              |                      | receiver: `b`, `t`                |
//! |-----------------------------------|----------------------|-----------------------------------|
//! | `t` half-trees with level sums `K_l` and leaves `v` |    |                                   |
//! | `c_l = q'_l ^ K_l` for each level | `-- silent/round ->` | `c_l ^ t'_l = K_l ^ b'_l Delta`   |
//! |  |  | punctures the trees at the paths `p_l = 1 - b'_l` |
//! |                                   |                      | leaves `w = v ^ e Delta`          |
//! | `q = q'' A ^ v`                   |                      | `t = t'' A ^ w`                   |
//! |  |  | lowest bits of `t`: `b = b'' A ^ e` |
//!
//! One message of `16 t d` bytes from the sender to the receiver, and no answer. It may be sent
//! long before the COTs are needed; then they cost no turn. The first `k + t d` outputs of a round
//! are the input of the next round and are never handed out. Paths are random choice bits, so the
//! receiver sends nothing.
//!
//! What each side learns. The sender receives nothing; it knows the code `A`, but neither `b''` nor
//! `e`, so by LPN the receiver's bits `b` look uniform to it. The receiver learns of each level the
//! one sum that puncturing at its path needs, `K_l ^ b'_l Delta`; the COT masks the other one.
//!
//! In a checked session ([`crate::check`]) both parties start from 128 more COTs of the round
//! before: `(y, Delta)` and `(x, z = y ^ x Delta)`.
//!
//! | sender                           |                        | receiver                         |
//! |----------------------------------|------------------------|----------------------------------|
//! | `V`: value of its leaves |  | `W`, `rho`: values of leaves and `e`; `W = V ^ rho Delta` |
//! |                                  | `<- silent/answer --`  | `phi = rho ^ x`                  |
//! | `Y = sum_j X^j (y_j ^ phi_j Delta)` |                     | `Z = sum_j X^j z_j`              |
//! | `digest(V ^ Y)`                  | `-- silent/verdict ->` | compares it with `digest(W ^ Z)` |
//!
//! Values are those of polynomials at a point that hashes the round's message. Two more turns a
//! round, 16 bytes back and 32 bytes forth. `x` masks `rho`, and so the paths. A receiver that
//! sends a wrong `phi` obtains a digest that tests one guess of `Delta`.
//!
//! Both parties keep of a round its table `q''` or `t''`, the roots or the paths of its trees, and
//! the level sums; they compute an output when it is used, a tree at a time ([`crate::batch`]).
//! Memory is wiped when the last batch of the round is dropped.
//!
//! | memory of a round | at the sender            | at the receiver        |
//! |-------------------|--------------------------|------------------------|
//! |                   | `16 (k + t d + t)` bytes | `16 (k + 2 t d)` bytes |
//!
//! Source: Yang, Weng, Lan, Zhang, Wang, CCS 2020 (eprint 2020/924), with the half-trees of eprint
//! 2022/1431. Deviation: the paths are random. Parameters and attacks: [`crate::lpn`].

mod check;
mod outputs;
mod roles;
mod rounds;

pub use roles::{SilentReceiver, SilentSender};
pub(crate) use rounds::base_len;
#[cfg(test)]
pub(crate) use rounds::message_len;
