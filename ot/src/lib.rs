//! Correlated randomness from oblivious transfer (OT), with 128 bits of computational security
//! against a semi-honest peer.
//!
//! A correlated OT (COT) gives the sender a block `q`, and the receiver a random bit `b` and the
//! block `t = q ^ b Delta`. The difference `Delta` is a secret of the sender, the same in all its
//! COTs.
//!
//! In this table a *turn* is a one-way message delay on the critical path.
//!
//! | file         | functionality                   | source           | turns | bits             |
//! |--------------|---------------------------------|------------------|-------|------------------|
//! | `base`       | 128 random OTs from elliptic curves | eprint 2019/706 | 1  | 65 792           |
//! | `kem`        | a layer of ML-KEM on top | eprint 2019/706 | 2  | 4 620 288        |
//! | `ggm`        | all leaves of a tree; all but one | eprint 2019/1159 | -   | 32 768 in all    |
//! | `softspoken` | random-choice COTs              | eprint 2022/192  | 1     | 15, 31, 63 a COT |
//! | `bootstrap`  | base OTs from COTs              | Beaver 1996      | 1     | 1                |
//! | `half_tree`  | trees whose levels add up to `Delta` | eprint 2022/1431 | - | 128 a level     |
//! | `lpn`        | parameters and code of silent OT | eprint 2020/924 | -     | -                |
//! | `silent` | random-choice COTs, one message ahead | eprint 2020/924 | 0 | 1.39, 0.76 a COT |
//! | `check`      | consistency checks of extensions | eprint 2022/192 | 0, 2  | 384 a message    |
//! | `session`    | COTs in both directions         |                  | 4     | set-up           |
//! | `batch`      | batches of COTs, each pad used once |              | -     | -                |
//! | `hash`       | pads from COTs                  | eprint 2019/074  | -     | -                |
//! | `transfer`   | random OT, chosen OT            | eprint 2013/552  | 0, 2  | 0, `2 w + 1`     |
//! | `triples`    | AND triples, bit times vector   | eprint 2013/552  | 0     | 0                |
//! | `correlated` | shares of bit times word, mod 2^w or XOR | eprint 2013/552 | 1 | `w`, `w + 1` |
//! | `lookup`     | shares of an entry at a private index | eprint 2022/207 | 2 | `k + (2^k-1) w` |
//! | `one_hot` | random one-hot vectors, positions | FLUTE, S&P 2023 | `k-1` | [`one_hot_bits`] |
//!
//! A party makes one [`OtSession`], reserves batches of COTs ([`OtSession::reserve`]), and uses
//! them. A batch cannot be copied; a function that uses it takes it by value. It returns the bytes
//! of its message for the caller to send, so that several messages can share a frame. Each COT has
//! a 64-bit index in its direction of the session; the tweak of each hash is a (direction, index,
//! segment) of its own. All keys are derived from the session id, which must contain fresh nonces
//! of both parties.

mod base;
mod batch;
mod bits;
mod block;
mod bootstrap;
mod check;
mod correlated;
mod cots;
mod directions;
mod domain;
mod error;
mod extension;
mod ggm;
mod half_tree;
mod hash;
#[cfg(test)]
mod ideal;
mod kem;
mod kernel;
mod lookup;
mod lpn;
mod one_hot;
mod parallel;
mod roles;
mod session;
mod silent;
mod softspoken;
mod transfer;
mod triples;

/// The problems on which the base OTs rest: an adversary must solve both.
pub const BASE_OT: &str = "ristretto255 and ML-KEM-768";

pub use bits::bits_len;
pub use block::Block;
pub use check::{Checked, Security, SemiHonest};
pub use correlated::{CotPads, Uncorrected, XorPads, pattern_message_len};
pub use cots::{RecvCots, SendCots};
pub use directions::CotCounts;
pub use error::Error;
pub use extension::Extension;
pub use lookup::{LookupPads, lookup_message_len};
pub use lpn::LpnParams;
pub use one_hot::{
    Columns, LEVEL, OneHotCots, OneHotRounds, OneHots, Selectors, Wanted, one_hot_bits, one_hot_cots,
    random_one_hots, round_lens,
};
pub use roles::{RandomCotReceiver, RandomCotSender};
pub use session::OtSession;
pub use silent::{SilentReceiver, SilentSender};
pub use softspoken::{SoftSpokenReceiver, SoftSpokenSender};
pub use transfer::ChosenPads;
pub use triples::BitTriples;
