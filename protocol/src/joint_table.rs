//! `[f(x, y)] <- x, y` for a public `f` of two private numbers of `k` bits: its table, by OT.
//!
//! | client: `x`                                  |                              | server: `y`                                |
//! |----------------------------------------------|------------------------------|--------------------------------------------|
//! | `x_i`, for the first half of the items       | `<- joint-table/index ->`    | `y_i` of the other half                    |
//! | tables `f(x_i, z)`, `z < 2^k`, for the other half | `<- joint-table/entries ->` | tables `f(z, y_i)` for the first half |
//!
//! So both work at the same time. Two turns, `k + (2^k - 1) w` bits an item for results of `w` bits; exact; no leakage: indices are masked by random
//! choices, and of a table the receiver gets a share of one entry. From the pool: `k` COTs an item, in either direction for half of them.
//! Source: 1-of-2^k OT as in `sotto_ot`; CrypTFlow2 (2020/1002), figure 1, for its leaves.

use sotto_ot::{bits_len, lookup_message_len};
use sotto_shares::{Party, XorShare};

use crate::{Error, Session};

/// `f(client's number, server's number)` of `w` bits for each of this party's numbers below `2^k`.
///
/// # Panics
/// Unless `1 <= k <= 8` and `1 <= w <= 64`.
pub async fn joint_table(
    s: &mut Session,
    mine: &[u64],
    k: u32,
    f: impl Fn(u64, u64) -> u64 + Sync,
    w: u32,
) -> Result<XorShare, Error> {
    let (first, second) = mine.split_at(mine.len().div_ceil(2));
    let (chosen, tabled) = match s.me {
        Party::Client => (first, second),
        Party::Server => (second, first),
    };
    let (send, recv) = s.cots(tabled.len() * k as usize, chosen.len() * k as usize).await?;
    let (derand, pads) = sotto_net::compute(|| recv.lookup_choose(k, chosen, w));
    s.ch.send("joint-table/index", derand)?;
    let derand = s.ch.recv("joint-table/index", bits_len(tabled.len() * k as usize)).await?;
    let me = s.me;
    let table = |i: usize, z: u64| match me {
        Party::Client => f(tabled[i], z),
        Party::Server => f(z, tabled[i]),
    };
    let (message, own) = sotto_net::compute(|| send.lookup_send(k, &derand, table, w));
    s.ch.send("joint-table/entries", message)?;
    let message = s.ch.recv("joint-table/entries", lookup_message_len(chosen.len(), k, w)).await?;
    let got = sotto_net::compute(|| pads.finish(&message));
    let words = match s.me {
        Party::Client => [got, own].concat(),
        Party::Server => [own, got].concat(),
    };
    Ok(XorShare::new(w, words))
}

#[cfg(test)]
pub(crate) mod tests {
    use sotto_shares::Ring;

    use super::*;
    use crate::testing::{self, Bill, elements};

    pub(crate) fn bill(n: usize, k: u32, w: u32) -> Bill {
        let (k, others, w) = (k as usize, (1usize << k) - 1, w as usize);
        let (first, second) = (n.div_ceil(2), n / 2);
        let frames = [(k * first, k * second), (others * w * second, others * w * first)];
        Bill::crossed(&frames, [k * second, k * first])
    }

    #[test]
    fn every_pair_of_numbers_at_the_stated_cost() {
        for (k, w) in [(1, 1), (3, 9), (5, 1), (6, 2)] {
            let table = elements(1 << (2 * k), Ring::new(w));
            let f = |x: u64, y: u64| table[(x << k | y) as usize];
            let (x, y): (Vec<u64>, Vec<u64>) =
                (0..1 << (2 * k)).map(|i| (i >> k, i & ((1 << k) - 1))).unzip();
            let (got, traffic) = testing::run(async |lab| {
                let mine = if lab.me.me == Party::Client { &x } else { &y };
                lab.measure(async |s| joint_table(s, mine, k, f, w).await).await
            });
            assert_eq!(got, table);
            assert_eq!(traffic.cost, bill(x.len(), k, w).cost());
        }
    }
}
