//! Correlated randomness from oblivious transfer, semi-honest, 128-bit computational security.
//!
//! | file           | functionality                                   | source            | turns | bits              |
//! |----------------|-------------------------------------------------|-------------------|-------|-------------------|
//! | `check`        | what a checked session verifies                 | eprint 2022/192   | 0, 2  | 48 bytes a message |
//! | `base`         | 128 random OTs                                  | eprint 2019/706   | 1     | 65 792            |
//! | `kem`          | the same from ML-KEM, on top; a feature         | eprint 2019/706   | 2     | 4 620 288         |
//! | `ggm`          | all leaves of a tree / all but one              | eprint 2019/1159  | -     | 32 768 for all    |
//! | `softspoken`   | random-choice COTs                              | eprint 2022/192   | 1     | 15, 31 or 63 each |
//! | `bootstrap`    | base OTs from COTs                              | Beaver 1996       | 1     | 1                 |
//! | `half_tree`    | trees whose levels add up to `Delta`            | eprint 2022/1431  | -     | 128 a level       |
//! | `lpn`          | parameters and code of silent OT                | eprint 2020/924   | -     | -                 |
//! | `silent`       | random-choice COTs, sent ahead                  | eprint 2020/924   | 0     | 1.4 or 0.74 each  |
//! | `session`      | COTs in both directions, prepaid                |                   | 3     | set-up            |
//! | `hash`         | pads from COTs                                  | eprint 2019/074   | -     | -                 |
//! | `transfer`     | random and chosen OT                            | eprint 2013/552   | 0, 2  | 0, `2 w + 1`      |
//! | `triples`      | AND triples, bit times vector                   | eprint 2013/552   | 0     | 0                 |
//! | `correlated`   | shares of bit times word, mod 2^w or XOR        | eprint 2013/552   | 1     | `w` (+ 1)         |
//! | `lookup`       | shares of a table entry at a private index      | eprint 2022/207   | 2     | `k + (2^k - 1) w` |
//! | `one_hot`      | random one-hot vectors with arithmetic position | `nonlinear.md`    | `k-1` | [`one_hot_bits`]  |
//!
//! A party makes one [`OtSession`], asks it for batches of COTs ([`OtSession::reserve`]) and spends them. A batch
//! cannot be copied; what spends it takes it by value and returns bytes that the caller sends, so that several
//! spendings share a message. Every COT has a 64-bit index, every hash of it a (direction, index, segment) of
//! its own. Keys come from the session id, which must hold fresh nonces of both parties.

mod base;
mod block;
mod bootstrap;
mod check;
mod correlated;
mod cots;
mod domain;
mod error;
mod extension;
mod ggm;
mod half_tree;
mod hash;
#[cfg(test)]
mod ideal;
#[cfg(feature = "post-quantum")]
mod kem;
mod kernel;
mod lookup;
mod lpn;
mod one_hot;
mod parallel;
mod queue;
mod selectors;
mod session;
mod silent;
mod small_field;
mod softspoken;
mod transfer;
mod transpose;
mod triples;
mod vectors;

/// The problems that the base OTs rest on; both parties must have the same.
pub const BASE_OT: &str =
    if cfg!(feature = "post-quantum") { "ristretto255 and ML-KEM-768" } else { "ristretto255" };

pub use block::Block;
pub use check::{Checked, Security, SemiHonest};
pub use correlated::{CotPads, Uncorrected, XorPads, pattern_message_len};
pub use cots::{RecvCots, SendCots, bits_len};
pub use error::Error;
pub use extension::{Extension, RandomCotReceiver, RandomCotSender};
pub use lookup::{LookupPads, lookup_message_len};
pub use lpn::LpnParams;
pub use one_hot::{
    LEVEL, OneHotCots, OneHotRounds, Wanted, one_hot_bits, one_hot_cots, random_one_hots, round_lens,
};
pub use selectors::{Columns, OneHots, Selectors};
pub use session::OtSession;
pub use silent::{SilentReceiver, SilentSender};
pub use softspoken::{SoftSpokenReceiver, SoftSpokenSender};
pub use transfer::ChosenPads;
pub use triples::BitTriples;
