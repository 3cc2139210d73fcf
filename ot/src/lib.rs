//! Correlated randomness from oblivious transfer, semi-honest, 128-bit computational security.
//!
//! | file           | functionality                                   | source            | turns | bits              |
//! |----------------|-------------------------------------------------|-------------------|-------|-------------------|
//! | `base`         | 128 random OTs                                  | eprint 2019/706   | 1     | 65 792            |
//! | `ggm`          | all leaves of a tree / all but one              | eprint 2019/1159  | -     | 32 768 for all    |
//! | `softspoken`   | random-choice COTs                              | eprint 2022/192   | 1     | 31 each           |
//! | `session`      | COTs in both directions                         |                   | 3     | the above         |
//! | `hash`         | pads from COTs                                  | eprint 2019/074   | -     | -                 |
//! | `correlated`   | shares of bit times word, mod 2^w or XOR        | eprint 2013/552   | 1-2   | `w` (+ 1)         |
//! | `lookup`       | shares of a table entry at a private index      | eprint 2022/207   | 2     | `k + (2^k - 1) w` |
//! | `one_hot`      | random one-hot vectors with arithmetic position | `nonlinear.md`    | `k-1` | [`one_hot_bits`]  |
//!
//! A party makes one [`OtSession`], asks it for batches of COTs ([`OtSession::reserve`]) and spends them. A batch
//! cannot be copied; what spends it takes it by value and returns bytes that the caller sends, so that several
//! spendings share a message. Every COT has a 64-bit index, every hash of it a (direction, index, segment) of
//! its own. Keys come from the session id, which must hold fresh nonces of both parties.

mod base;
mod block;
mod correlated;
mod cots;
mod domain;
mod error;
mod ggm;
mod hash;
#[cfg(test)]
mod ideal;
mod indices;
mod lookup;
mod one_hot;
mod queue;
mod selectors;
mod session;
mod small_field;
mod softspoken;
mod transpose;
mod vectors;

pub use block::Block;
pub use correlated::pattern_message_len;
pub use cots::{RandomCotReceiver, RandomCotSender, RecvCots, SendCots, derand_len};
pub use error::Error;
pub use lookup::lookup_message_len;
pub use one_hot::{one_hot_bits, one_hot_cots, random_one_hots};
pub use selectors::{Columns, OneHots, Selectors};
pub use session::OtSession;
pub use softspoken::{SoftSpokenReceiver, SoftSpokenSender};
