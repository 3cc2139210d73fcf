//! `x -> client`: the only place where a value leaves the shares.
//!
//! | client                    |                     | server                    |
//! |---------------------------|---------------------|---------------------------|
//! | faithful truncation to 16 bits, 8 of them fraction ([`crate::truncate`]) ||               |
//! |                           | `<- reveal/share --`| its share                 |
//! | `x = x0 + x1`             |                     |                           |
//!
//! Logits are dropped to `2^-8` by comparison, at least 12 bits, into a fresh sharing modulo `2^16`: the server's message is then a
//! function of the revealed value and the client's own share, and nothing else. Turns: those of the truncation and one.
//! The client learns `floor(256 x) mod 2^16`, for every entry; the server learns nothing. Source: `review.md` 7 in the design notes.

use sotto_shares::{Party, Ring, Share, pack, packed_len, unpack};

use crate::{Error, Session, truncate::faithful};

/// Fraction bits of what is revealed.
pub const FRAC: u32 = 8;
/// The ring of what is revealed: `|x| < 128`.
pub const RING: Ring = Ring::new(16);
/// The least number of bits dropped before anything is revealed.
pub const DROPPED: u32 = 12;

/// Reveals `x` to the client, who gets real values; the server gets none.
///
/// # Panics
/// If fewer than [`DROPPED`] bits would be dropped.
pub async fn to_client(s: &mut Session, x: &Share) -> Result<Option<Vec<f64>>, Error> {
    assert!(x.frac >= FRAC + DROPPED, "at least {DROPPED} bits are dropped before a value is revealed");
    let short = faithful(s, x, x.frac - FRAC, RING).await?;
    match s.me {
        Party::Server => {
            s.ch.send("reveal/share", pack(&short.data, RING.bits()))?;
            Ok(None)
        }
        Party::Client => {
            let n = short.len();
            let bytes = s.ch.recv("reveal/share", packed_len(n, RING.bits())).await?;
            let other = Share::new(RING, FRAC, short.shape, unpack(&bytes, n, RING.bits()));
            Ok(Some(short.open_with(&other)))
        }
    }
}
