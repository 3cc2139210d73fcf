//! `x -> client`, or the position of each row's largest number: where a value leaves the shares.
//! The other place is [`crate::top_k`].
//!
//! | client                    |                     | server                    |
//! |---------------------------|---------------------|---------------------------|
//! | faithful truncation to 16 bits, 8 of them fraction ([`crate::truncate`]) ||               |
//! |                           | `<- reveal/share --`| its share                 |
//! | `x = x0 + x1`             |                     |                           |
//!
//! Logits are dropped to `2^-8` by comparison, at least 12 bits, into a fresh sharing modulo
//! `2^16`: the server's message is then a function of the revealed value and the client's own
//! share, and nothing else. One turn more than the truncation: `4 + ceil(log2(s / 2))` for `s > 16`
//! dropped bits.
//!
//! To reveal positions ([`best_to_client`]), numbers are truncated in the same way, into 18 bits.
//! To its share the client may add numbers of its own, of which the server learns nothing: Gumbel
//! noise makes of the largest a random sample of the softmax (Gumbel, 1954). Then come a tournament
//! ([`crate::maximum`]) and `reveal/position` with the server's share of the winners, again the
//! revealed value less the client's own. The client learns the position and nothing else: a
//! function of the numbers and of what it added.
//!
//! A bit of which the parties hold XOR shares is revealed by the server's share, in `reveal/flag`
//! ([`flag_to_client`]).
//!
//! There is no way to reveal a value to the server, and there must be none for what comes from an
//! encrypted product with a tolerance: its error is linear in the client's key; nor for products of
//! triples from encryption, whose last unit says something of the client's shares. Of values the
//! client learns `floor(256 x) mod 2^16`, for every entry; the server learns nothing. Source:
//! CrypTFlow2 for the faithful truncation.

use sotto_shares::{Party, Ring, Share, XorShare, encode, pack, packed_len, unpack};

use crate::{Error, Session, maximum::row_argmax, truncate::faithful};

/// Fraction bits of what is revealed.
pub const FRAC: u32 = 8;
/// The ring of what is revealed: `|x| < 128`.
pub const RING: Ring = Ring::new(16);
/// The least number of bits dropped before anything is revealed.
pub const DROPPED: u32 = 12;

/// The largest magnitude of what the client may add before numbers are compared.
pub const ADDED: f64 = 127.0;

/// The ring of differences of such sums.
const COMPARED: Ring = Ring::new(18);

/// Reveals the position of the largest number of each row of `x` to the client, of equal ones the
/// first; the server gets nothing. Before, the client adds its numbers, rounded to `2^-8` and to
/// [`ADDED`] at most: as many as there are, or none; the server gives none.
///
/// # Panics
/// If fewer than [`DROPPED`] bits would be dropped, or the server adds something.
pub async fn best_to_client(s: &mut Session, x: &Share, added: &[f64]) -> Result<Option<Vec<u64>>, Error> {
    assert!(added.is_empty() || s.me == Party::Client && added.len() == x.len(), "numbers of the client's");
    assert!(x.frac() >= FRAC + DROPPED, "at least {DROPPED} bits are dropped before a value is revealed");
    let short = faithful(s, x, x.frac() - FRAC, COMPARED).await?;
    let added = added.iter().map(|added| encode(added.clamp(-ADDED, ADDED), FRAC, COMPARED));
    let sums =
        short.data().iter().zip(added.chain(std::iter::repeat(0))).map(|(x, added)| x.wrapping_add(added));
    let data = sums.map(|x| COMPARED.reduce(x)).collect();
    let short = Share::new(COMPARED, short.frac(), short.shape(), data);
    let best = row_argmax(s, &short, &vec![x.shape().cols; x.shape().rows]).await?;
    match s.me {
        Party::Server => {
            s.ch.send("reveal/position", pack(best.data(), best.ring().bits()))?;
            Ok(None)
        }
        Party::Client => {
            let (n, bits) = (best.len(), best.ring().bits());
            let bytes = s.ch.recv("reveal/position", packed_len(n, bits)).await?;
            let theirs = unpack(&bytes, n, bits);
            let position = |(a, b): (&u64, &u64)| match best.ring().reduce(a.wrapping_add(*b)) {
                position if position < x.shape().cols as u64 => Ok(position),
                position => Err(Error::Position { position, of: x.shape().cols }),
            };
            best.data().iter().zip(&theirs).map(position).collect::<Result<_, _>>().map(Some)
        }
    }
}

/// Reveals a bit to the client; the server gets nothing. Both shares must be fresh: of a lookup,
/// say.
///
/// # Panics
/// If it is not one bit.
pub async fn flag_to_client(s: &mut Session, x: &XorShare) -> Result<Option<bool>, Error> {
    assert_eq!((x.len(), x.width()), (1, 1), "one bit");
    match s.me {
        Party::Server => {
            s.ch.send("reveal/flag", vec![x.words()[0] as u8])?;
            Ok(None)
        }
        Party::Client => {
            let theirs = s.ch.recv("reveal/flag", 1).await?[0];
            Ok(Some((x.words()[0] ^ u64::from(theirs)) & 1 == 1))
        }
    }
}

/// Reveals `x` to the client, who gets real values; the server gets none.
///
/// # Panics
/// If fewer than [`DROPPED`] bits would be dropped.
pub async fn to_client(s: &mut Session, x: &Share) -> Result<Option<Vec<f64>>, Error> {
    assert!(x.frac() >= FRAC + DROPPED, "at least {DROPPED} bits are dropped before a value is revealed");
    let short = faithful(s, x, x.frac() - FRAC, RING).await?;
    match s.me {
        Party::Server => {
            s.ch.send("reveal/share", pack(short.data(), RING.bits()))?;
            Ok(None)
        }
        Party::Client => {
            let n = short.len();
            let bytes = s.ch.recv("reveal/share", packed_len(n, RING.bits())).await?;
            let other = Share::new(RING, FRAC, short.shape(), unpack(&bytes, n, RING.bits()));
            Ok(Some(short.open_with(&other)))
        }
    }
}

#[cfg(test)]
mod tests {
    use sotto_shares::Shape;

    use super::*;
    use crate::{
        testing::{self, CostModel, Open, elements},
        truncate,
    };

    const WIDE: Ring = Ring::new(44);

    #[test]
    fn the_client_gets_the_floor_and_the_server_nothing() {
        let x = elements(101, WIDE);
        let [client, server] = testing::run_both(async |lab| {
            let x = lab.share(&x, WIDE, 28, Shape::new(1, 101));
            lab.measure(async |s| to_client(s, &x).await).await
        });
        let want = x.iter().map(|&x| RING.signed(truncate::ideal(x, WIDE, 20, RING)) as f64 / 256.0);
        assert_eq!(client.0.unwrap(), want.collect::<Vec<_>>());
        assert!(server.0.is_none());
        let sent = CostModel::to_client(16 * 101, 0);
        let cost = Open::open(client.1, server.1).cost;
        assert_eq!(cost, (crate::truncate::cost(101, 20, 16) + sent).total());
        assert_eq!(cost.turns, 8);
    }

    #[test]
    fn the_client_gets_positions_and_the_server_nothing() {
        let (rows, cols) = (5, 70);
        // Logits up to both ends of what is revealed, and a tie that only the dropped bits decide.
        let mut x: Vec<i64> = (0..rows * cols).map(|i| ((i * 7919) % 251) as i64 - 125).collect();
        x[3] = 127;
        (x[2 * cols + 69], x[2 * cols]) = (127, -128);
        let mut raw: Vec<u64> = x.iter().map(|&x| WIDE.reduce((x << 28) as u64)).collect();
        (raw[3 * cols + 11], raw[3 * cols + 40]) = (127 << 28, (127 << 28) + 999);
        let want: Vec<u64> = [3, 0, 69, 11, 0]
            .into_iter()
            .enumerate()
            .map(|(row, best)| match row {
                1 | 4 => {
                    let row = &x[row * cols..(row + 1) * cols];
                    let most = row.iter().max().unwrap();
                    row.iter().position(|v| v == most).unwrap() as u64
                }
                _ => best,
            })
            .collect();
        let [client, server] = testing::run_both(async |lab| {
            let x = lab.share(&raw, WIDE, 28, Shape::new(rows, cols));
            best_to_client(&mut lab.me, &x, &[]).await.unwrap()
        });
        assert_eq!(client.unwrap(), want);
        assert!(server.is_none());
    }

    #[test]
    fn the_client_may_add_what_it_likes() {
        // From end to end: what is added beyond the limit counts as the limit.
        let x = [127.99, -128.0, 0.0, 127.99, 0.0, -128.0, 2.75, 3.0, 3.0, 2.75];
        let added = [-127.0, 127.0, 0.0, -200.0, 0.5, 1e9, 0.25, 0.0, 0.0, 0.254];
        let raw: Vec<u64> = x.iter().map(|&x| encode(x, 28, WIDE)).collect();
        let [client, server] = testing::run_both(async |lab| {
            let x = lab.share(&raw, WIDE, 28, Shape::new(5, 2));
            let added = if lab.me.me == Party::Client { &added[..] } else { &[] };
            best_to_client(&mut lab.me, &x, added).await.unwrap()
        });
        assert_eq!(client.unwrap(), [0, 1, 0, 0, 1]);
        assert!(server.is_none());
    }

    /// What the server sends is the result less the client's share, and the client's share is
    /// uniform whatever the dropped bits and the input's sharing are.
    #[test]
    fn dropped_bits_do_not_show() {
        let n = 1 << 13;
        let kept = 1234 << 20;
        for dropped in [0, 1, 0xf_ffff] {
            let (x0, x): (Vec<u64>, u64) = (vec![0x5_5555; n], kept + dropped);
            let x1 = vec![WIDE.reduce(x.wrapping_sub(x0[0])); n];
            let [client, server] = testing::run_both(async |lab| {
                lab.stock_cots(30 * n).await;
                let x = lab.given(&x0, &x1, WIDE).with_frac(28);
                faithful(&mut lab.me, &x, 20, RING).await.unwrap()
            });
            let mut counts = [0f64; 16];
            for (mine, sent) in client.data().iter().zip(server.data()) {
                assert_eq!(*sent, RING.reduce(1234u64.wrapping_sub(*mine)));
                counts[(sent & 15) as usize] += 1.0;
            }
            let expected = n as f64 / 16.0;
            let square: f64 = counts.iter().map(|c| (c - expected).powi(2) / expected).sum();
            assert!(square < 45.0, "chi-square {square} of 15 degrees of freedom, dropped {dropped}");
        }
    }
}
