//! What protocols draw. What COTs alone can make is made here if it is missing.

use sotto_net::Half;
use sotto_ot::{OneHots, RecvCots, SendCots, Wanted};
use sotto_shares::{Party, Ring};

use super::Session;
use crate::{
    Error, cost,
    mul::{self, Triples},
    one_hots,
    square::{self, Squares},
};

impl Session {
    /// COTs: `send` as sender and `recv` as receiver.
    pub(crate) async fn cots(&mut self, send: usize, recv: usize) -> Result<(SendCots, RecvCots), Error> {
        self.ch.meter.enter("COTs", Half::Offline);
        let made = self.ot.reserve(&mut self.ch, send, recv).await;
        self.ch.meter.leave();
        let (towards, from) = if self.me == Party::Client { (send, recv) } else { (recv, send) };
        self.stocks.record("cot/client", 0, towards);
        self.stocks.record("cot/server", 0, from);
        Ok(made?)
    }

    /// COTs for several steps whose messages travel at the same time.
    pub(crate) async fn cots_for<const K: usize>(
        &mut self,
        wanted: [(usize, usize); K],
    ) -> Result<[(SendCots, RecvCots); K], Error> {
        let sum = |(a, b): (usize, usize), (c, d): (usize, usize)| (a + c, b + d);
        let (send, recv) = wanted.into_iter().fold((0, 0), sum);
        let (mut send, mut recv) = self.cots(send, recv).await?;
        Ok(wanted.map(|(s, r)| (send.take(s), recv.take(r))))
    }

    /// COTs drawn so far, as their sender and as their receiver.
    pub fn drawn_cots(&self) -> (u64, u64) {
        let drawn = self.ot.drawn();
        (drawn.send, drawn.recv)
    }

    /// Bytes that this party has sent for COTs that are not yet drawn: a fair count subtracts them.
    pub fn unspent_bytes(&self) -> f64 {
        self.ot.unspent_bytes()
    }

    /// One-hots of `2^bits` with their index in `ring`.
    pub(crate) async fn one_hots(&mut self, bits: u32, ring: Ring, n: usize) -> Result<OneHots, Error> {
        let key = (bits, ring);
        one_hots::arrive(self, &[(key, n)].into()).await?;
        let missing = n.saturating_sub(self.stocks.one_hots(&key));
        if missing > 0 {
            one_hots::make(self, &[Wanted { n: missing, k: bits, ring }]).await?;
        }
        self.stocks.record("one-hot", u64::from(bits) << 8 | u64::from(ring.bits()), n);
        *self.stocks.one_hots_drawn.entry(key).or_default() += n;
        Ok(self.stocks.one_hots.entry(key).or_default().draw(n))
    }

    /// One-hots drawn so far, by kind.
    pub fn drawn_one_hots(&self) -> &cost::OneHots {
        &self.stocks.one_hots_drawn
    }

    /// Multiplication triples in `ring`.
    pub(crate) async fn triples(&mut self, ring: Ring, n: usize) -> Result<Triples, Error> {
        let missing = self.stocks.triples.entry(ring).or_default().missing(n);
        if missing > 0 {
            self.ch.meter.enter("triples", Half::Offline);
            let made = mul::prepare(self, ring, missing).await;
            self.ch.meter.leave();
            self.stocks.triples.entry(ring).or_default().add(made?);
        }
        self.stocks.record("triple", ring.bits().into(), n);
        Ok(self.stocks.triples.entry(ring).or_default().draw(n))
    }

    /// Square pairs in `ring`.
    pub(crate) async fn squares(&mut self, ring: Ring, n: usize) -> Result<Squares, Error> {
        let missing = self.stocks.squares.entry(ring).or_default().missing(n);
        if missing > 0 {
            self.ch.meter.enter("squares", Half::Offline);
            let made = square::prepare(self, ring, missing).await;
            self.ch.meter.leave();
            self.stocks.squares.entry(ring).or_default().add(made?);
        }
        self.stocks.record("square", ring.bits().into(), n);
        Ok(self.stocks.squares.entry(ring).or_default().draw(n))
    }
}
