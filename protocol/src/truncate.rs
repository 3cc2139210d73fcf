//! `[x] mod 2^l -> [floor(x / 2^s)]`: three truncations, by what they cost and promise.
//!
//! | function                          | ring      | error       | cost                                   |
//! |-----------------------------------|-----------|-------------|----------------------------------------|
//! | [`Share::truncate_reduce`]        | `l - s`   | 0 or -1     | none, local                            |
//! | [`truncate`]                      | any       | 0 or -1     | one extension, `|x| < 2^(l-2)`         |
//! | [`faithful`]                      | `<= l - s`| none        | carry of `s` bits, B2A: fresh sharing  |
//!
//! The error of the first two is the carry of the low bits, *a function of the two shares*: the functionality is
//! `F(x0, x1) = floor(x0 / 2^s) + floor(x1 / 2^s)`, not "a random error". Whatever is opened afterwards is
//! opened under a fresh mask, so that carry needs no simulation; only [`faithful`] may precede a value's
//! revelation: its output is a function of `x` alone, and the revealing party's share is then determined by the output
//! and the receiver's own share. `faithful`: turns of `compare` on `s` bits plus 2; exact on every ring element.
//! Source: Cheetah (2022/207), section 5.2; CrypTFlow2 (2020/1002), appendix B.

use sotto_shares::{Ring, Share};

use crate::{Error, Session, b2a::b2a, compare, extend::extend};

/// Drops `s` fraction bits and brings the result to `ring`, up to one unit too low.
pub async fn truncate(s: &mut Session, x: &Share, bits: u32, ring: Ring) -> Result<Share, Error> {
    let short = x.truncate_reduce(bits);
    if ring <= short.ring {
        return Ok(short.reduce(ring));
    }
    let [out] = extend(s, [(&short, ring)]).await?;
    Ok(out)
}

/// `floor(x / 2^bits)` modulo the small `ring`, without error.
///
/// # Panics
/// If `ring` is larger than the ring of `x` less `bits`.
pub async fn faithful(s: &mut Session, x: &Share, bits: u32, ring: Ring) -> Result<Share, Error> {
    let low = Ring::new(bits);
    let mine: Vec<u64> = x.data.iter().map(|&x| low.reduce(x)).collect();
    let carries = compare::carry(s, &mine, bits).await?;
    let carries = b2a(s, &carries, ring, x.frac - bits, x.shape).await?;
    Ok(&x.truncate_reduce(bits).reduce(ring) + &carries)
}

/// The functionality of [`faithful`].
pub fn ideal(x: u64, from: Ring, bits: u32, to: Ring) -> u64 {
    to.reduce((from.signed(x) >> bits) as u64)
}
