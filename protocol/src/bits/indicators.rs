//! `[f(x, y)] <- x, y` for a public `f` of two private numbers of `k` bits, in one turn: products
//! with indicators.
//!
//! | client: `x`                         |               | server: `y`                        |
//! |-------------------------------------|---------------|------------------------------------|
//! | choices: is `x = z`, `0 < z < 2^k`? | `<- cross ->` | vectors `f(z, y) ^ f(0, y)`        |
//! | XOR of the products                 |               | XOR of the products, and `f(0, y)` |
//!
//! `(2^k - 1) (w + 1)` bits an item for results of `w` bits; exact; no leakage. From stock: `2^k -
//! 1` COTs an item, server to client. With two turns to spend, [`mod@crate::joint_table`] takes
//! fewer bits. Source: this project.

use sotto_ot::{RecvCots, SendCots, XorPads};
use sotto_shares::{Party, XorShare};
use zeroize::Zeroizing;

use crate::{Error, Session, cost::CostModel, cross};

/// `f(client's number, server's number)` of `w` bits for each of this party's numbers below `2^k`.
///
/// # Panics
/// Unless `1 <= k <= 16` and `1 <= w <= 64`.
pub async fn indicators(
    s: &mut Session,
    tag: &'static str,
    mine: &[u64],
    k: u32,
    f: impl Fn(u64, u64) -> u64,
    w: u32,
) -> Result<XorShare, Error> {
    let (send, recv) = cots(s.me, mine.len(), k);
    let cots = s.cots(send, recv).await?;
    begin(s, cots, tag, mine, k, f, w)?.finish(s).await
}

/// COTs that a party takes as sender and as receiver.
pub(crate) fn cots(me: Party, n: usize, k: u32) -> (usize, usize) {
    let items = n * others(k);
    match me {
        Party::Client => (0, items),
        Party::Server => (items, 0),
    }
}

/// Items of which this party has sent its part, as in [`crate::cross`].
#[must_use]
pub(crate) struct Begun {
    others: usize,
    width: u32,
    /// This party's own part of the results.
    local: Zeroizing<Vec<u64>>,
    products: cross::Begun<XorPads>,
}

/// Sends this party's part of [`indicators()`], on the COTs that [`cots`] says.
pub(crate) fn begin(
    s: &mut Session,
    cots: (SendCots, RecvCots),
    tag: &'static str,
    mine: &[u64],
    k: u32,
    f: impl Fn(u64, u64) -> u64,
    w: u32,
) -> Result<Begun, Error> {
    let others = 1..=others(k) as u64;
    let (choices, vectors, local): (Vec<u8>, Vec<u64>, Vec<u64>) = match s.me {
        Party::Client => {
            let choices = mine.iter().flat_map(|x| others.clone().map(move |z| (*x == z) as u8));
            (choices.collect(), vec![], vec![0; mine.len()])
        }
        Party::Server => {
            let zeros: Vec<u64> = mine.iter().map(|y| f(0, *y)).collect();
            let pairs = mine.iter().zip(&zeros);
            let (f, others) = (&f, &others);
            let vectors = pairs.flat_map(|(y, zero)| others.clone().map(move |z| f(z, *y) ^ zero));
            (vec![], vectors.collect(), zeros)
        }
    };
    let products = cross::begin_xor(s, cots, tag, &choices, &vectors, w)?;
    Ok(Begun { others: *others.end() as usize, width: w, local: Zeroizing::new(local), products })
}

impl Begun {
    /// Receives the peer's part.
    pub(crate) async fn finish(self, s: &mut Session) -> Result<XorShare, Error> {
        let products = self.products.finish(s).await?;
        let products = match s.me {
            Party::Client => products.got,
            Party::Server => products.own,
        };
        let item = |(local, of): (&u64, &[u64])| of.iter().fold(*local, |sum, p| sum ^ p);
        let words = self.local.iter().zip(products.chunks(self.others)).map(item);
        Ok(XorShare::new(self.width, words.collect()))
    }
}

fn others(k: u32) -> usize {
    (1 << k) - 1
}

/// What is sent for `n` items, and which COTs it takes.
pub fn cost(n: usize, k: u32, w: u32) -> CostModel {
    let items = n * others(k);
    CostModel::products((items, 0), (0, items * w as usize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn every_pair_at_the_stated_cost() {
        for k in [1, 2, 5] {
            let f = |x: u64, y: u64| x * y + (3 * x + y) % 8;
            let (x, y): (Vec<u64>, Vec<u64>) =
                (0..1u64 << (2 * k)).map(|i| (i >> k, i & ((1 << k) - 1))).unzip();
            let (got, traffic) = testing::run(async |lab| {
                let mine = if lab.me.me == Party::Client { &x } else { &y };
                lab.measure(async |s| indicators(s, "testing/cross", mine, k, f, 11).await).await
            });
            assert_eq!(got, x.iter().zip(&y).map(|(x, y)| f(*x, *y)).collect::<Vec<_>>());
            let stated = cost(x.len(), k, 11);
            assert_eq!((traffic.cost, traffic.cost.turns), (stated.total(), 1));
            assert_eq!(stated.bits(), x.len() * ((1 << k) - 1) * 12);
        }
    }
}
