//! `[f(x, y)] <- x, y` for a public `f` of two private numbers of `k` bits: its table, by OT.
//!
//! | client: `x` | | server: `y` |
//! |---|---|---|
//! | `x_i`, for the first half of the items | `<- joint-table/index ->` | `y_i` of the other half |
//! | `f(x_i, z)` for the others | `<- joint-table/entries ->` | `f(z, y_i)` for the first half |
//!
//! So both work at the same time. Two turns, `k + (2^k - 1) w` bits an item for results of `w`
//! bits; exact; no leakage: indices are masked by random choices, and of a table the receiver gets
//! a share of one entry. From stock: `k` COTs an item, in either direction for half of them.
//! Source: 1-of-2^k OT as in `sotto_ot`; CrypTFlow2 (2020/1002), figure 1, for its leaves.

use sotto_ot::{LookupPads, RecvCots, SendCots, bits_len, lookup_message_len};
use sotto_shares::{Party, XorShare};
use zeroize::Zeroizing;

use crate::{Error, Session, cost::CostModel};

const INDEX: &str = "joint-table/index";
const ENTRIES: &str = "joint-table/entries";

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
    let (send, recv) = cots(s.me, mine.len(), k);
    let cots = s.cots(send, recv).await?;
    ask(s, cots, mine, k, w)?.answer(s, f).await?.finish(s).await
}

/// COTs that a party takes as sender and as receiver.
pub(crate) fn cots(me: Party, n: usize, k: u32) -> (usize, usize) {
    let (first, second) = (n.div_ceil(2) * k as usize, n / 2 * k as usize);
    match me {
        Party::Client => (second, first),
        Party::Server => (first, second),
    }
}

/// Items of which this party has sent its indices: other messages may follow before the peer's are
/// received.
#[must_use]
pub(crate) struct Asked {
    k: u32,
    w: u32,
    tabled: Zeroizing<Vec<u64>>,
    send: SendCots,
    pads: LookupPads,
    expected: usize,
}

/// Sends this party's indices, on the COTs that [`cots`] says.
pub(crate) fn ask(
    s: &mut Session,
    (send, recv): (SendCots, RecvCots),
    mine: &[u64],
    k: u32,
    w: u32,
) -> Result<Asked, Error> {
    let (first, second) = mine.split_at(mine.len().div_ceil(2));
    let (chosen, tabled) = match s.me {
        Party::Client => (first, second),
        Party::Server => (second, first),
    };
    let (derand, pads) = sotto_net::compute(|| recv.lookup_choose(k, chosen, w));
    s.ch.send(INDEX, derand)?;
    let expected = lookup_message_len(chosen.len(), k, w);
    Ok(Asked { k, w, tabled: Zeroizing::new(tabled.to_vec()), send, pads, expected })
}

impl Asked {
    /// Receives the peer's indices and sends this party's tables.
    pub(crate) async fn answer(
        self,
        s: &mut Session,
        f: impl Fn(u64, u64) -> u64 + Sync,
    ) -> Result<Answered, Error> {
        let Asked { k, w, tabled, send, pads, expected } = self;
        let derand = s.ch.recv(INDEX, bits_len(tabled.len() * k as usize)).await?;
        let me = s.me;
        let table = |i: usize, z: u64| match me {
            Party::Client => f(tabled[i], z),
            Party::Server => f(z, tabled[i]),
        };
        let (message, own) = sotto_net::compute(|| send.lookup_send(k, &derand, table, w));
        s.ch.send(ENTRIES, message)?;
        Ok(Answered { w, own, pads, expected })
    }
}

/// Items of which this party has sent its tables, too.
#[must_use]
pub(crate) struct Answered {
    w: u32,
    own: Vec<u64>,
    pads: LookupPads,
    expected: usize,
}

impl Answered {
    /// Receives the peer's tables.
    pub(crate) async fn finish(self, s: &mut Session) -> Result<XorShare, Error> {
        let message = s.ch.recv(ENTRIES, self.expected).await?;
        let got = sotto_net::compute(|| self.pads.finish(&message));
        let words = match s.me {
            Party::Client => [got, self.own].concat(),
            Party::Server => [self.own, got].concat(),
        };
        Ok(XorShare::new(self.w, words))
    }
}

/// What is sent for `n` items, and which COTs it takes.
pub fn cost(n: usize, k: u32, w: u32) -> CostModel {
    let (k, others, w) = (k as usize, (1usize << k) - 1, w as usize);
    let (first, second) = (n.div_ceil(2), n / 2);
    let frames = [(k * first, k * second), (others * w * second, others * w * first)];
    CostModel::crossed(&frames, [k * second, k * first])
}

#[cfg(test)]
pub(crate) mod tests {
    use sotto_shares::Ring;

    use super::*;
    use crate::testing::{self, elements};

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
            assert_eq!(traffic.cost, cost(x.len(), k, w).total());
        }
    }
}
