//! What protocols draw: COTs, one-hots, triples and squares. What is lacking is made.

use sotto_ot::{OneHotCots, OneHots, RecvCots, SendCots, Wanted};
use sotto_shares::{Party, Ring};

use super::Session;
use crate::{
    Error,
    cost::{self, Bill},
    errand,
    mul::{self, Triples},
    pool::{Pool, draw, fill, lacking},
    square::{self, Squares},
};

/// Bytes of one-hots to make ahead at most.
const STOCK: usize = 64 << 20;

impl Session {
    /// COTs: `send` as sender and `recv` as receiver.
    pub(crate) async fn cots(&mut self, send: usize, recv: usize) -> Result<(SendCots, RecvCots), Error> {
        self.ch.meter.enter_offline();
        let made = self.ot.reserve(&mut self.ch, send, recv).await;
        self.ch.meter.leave();
        let (towards, from) = if self.me == Party::Client { (send, recv) } else { (recv, send) };
        self.pool.record("cot/client", 0, towards);
        self.pool.record("cot/server", 0, from);
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
    /// Bytes that this party has sent for COTs that are not yet drawn: what a fair count takes off.
    pub fn unspent_bytes(&self) -> f64 {
        self.ot.unspent_bytes()
    }

    /// One-hots of `2^bits` with their index in `ring`.
    pub(crate) async fn one_hots(&mut self, bits: u32, ring: Ring, n: usize) -> Result<OneHots, Error> {
        let key = (bits, ring);
        self.collect_one_hots(&[(key, n)].into()).await?;
        let more = lacking(self.pool.one_hots.entry(key).or_default().as_ref(), n);
        if more > 0 {
            self.make_one_hots(&[Wanted { n: more, k: bits, ring }]).await?;
        }
        self.pool.record("one-hot", u64::from(bits) << 8 | u64::from(ring.bits()), n);
        *self.pool.drawn.entry(key).or_default() += n;
        Ok(draw(self.pool.one_hots.entry(key).or_default(), n))
    }

    async fn make_one_hots(&mut self, wanted: &[Wanted]) -> Result<(), Error> {
        self.ch.meter.enter_offline();
        let made = sotto_ot::random_one_hots(&mut self.ch, &mut self.ot, wanted, &mut self.rng).await;
        self.ch.meter.leave();
        for (made, w) in made?.into_iter().zip(wanted) {
            fill(self.pool.one_hots.entry((w.k, w.ring)).or_default(), made);
        }
        Ok(())
    }

    /// One-hots drawn so far, by kind.
    pub fn drawn_one_hots(&self) -> &cost::OneHots {
        &self.pool.drawn
    }

    /// Waits for one-hots that are being made until there are enough, or none of the kinds that are lacking are coming.
    async fn collect_one_hots(&mut self, enough: &cost::OneHots) -> Result<(), Error> {
        let helps = |pool: &Pool, w: &Wanted| {
            let key = (w.k, w.ring);
            enough.get(&key).is_some_and(|&n| n > pool.one_hots_in_stock(&key))
        };
        while self.pool.coming.iter().any(|(wanted, _)| wanted.iter().any(|w| helps(&self.pool, w))) {
            let Some((wanted, errand)) = self.pool.coming.pop_front() else { break };
            self.ch.meter.enter_offline();
            let made = errand.finish(self).await;
            self.ch.meter.leave();
            for (made, w) in made?.into_iter().zip(&wanted) {
                fill(self.pool.one_hots.entry((w.k, w.ring)).or_default(), made);
            }
        }
        Ok(())
    }

    /// Sees to it that the one-hots of `now` are in stock. If some are lacking, or soon will be, those of `ahead` are made: so many times each bill, or
    /// a fraction of that if it were more than 64 MB. To a near peer, they are made in the turns of one kind, if some are lacking now; to a far one,
    /// those of `now` are, and the others beside what comes next, if some of `soon` are lacking, with as many of each kind as `soon` takes at least. What a prompt of thousands of tokens needs is made piece by piece where it is drawn.
    /// Both parties call it at the same point with the same bills.
    ///
    /// # Errors
    /// What the peer or the network does.
    pub async fn foresee(
        &mut self,
        now: &Bill,
        soon: &[(Bill, usize)],
        ahead: &[(Bill, usize)],
    ) -> Result<(), Error> {
        let bytes = |wanted: &cost::OneHots| -> usize {
            wanted.iter().map(|(&(k, _), n)| n * ((1usize << k).div_ceil(64) * 8 + 16)).sum()
        };
        let now = now.one_hots();
        if bytes(now) > STOCK {
            return Ok(());
        }
        self.collect_one_hots(now).await?;
        let (mut all, soon) = (times(ahead), times(soon));
        if self.is_far() {
            soon.iter()
                .for_each(|(key, &n)| _ = all.entry(*key).and_modify(|all| *all = n.max(*all)).or_insert(n));
        }
        let parts = bytes(&all).div_ceil(STOCK).max(1);
        let at_once = |key: &(u32, Ring)| now.get(key).copied().unwrap_or(0);
        let wanted = |n: &dyn Fn(&(u32, Ring)) -> usize| -> Vec<Wanted> {
            let wanted = all.keys().map(|key| Wanted { n: n(key), k: key.0, ring: key.1 });
            wanted.filter(|w| w.n > 0).collect()
        };
        let have = |key: &(u32, Ring)| self.pool.one_hots_in_stock(key);
        let part = |key: &(u32, Ring)| (all[key] / parts).max(at_once(key));
        let lacking = wanted(&|key| at_once(key).saturating_sub(have(key)));
        if !self.is_far() {
            let everything = wanted(&|key| part(key).saturating_sub(have(key)));
            return if lacking.is_empty() { Ok(()) } else { self.make_one_hots(&everything).await };
        }
        let will_have = |key: &(u32, Ring)| have(key).max(at_once(key));
        let runs_short = soon.iter().any(|(key, &n)| n > will_have(key));
        let others = wanted(&|key| part(key).saturating_sub(will_have(key)));
        if runs_short && self.pool.coming.is_empty() && others.iter().any(|w| w.k > 1) {
            self.begin_one_hots(&others).await?;
        }
        if lacking.is_empty() { Ok(()) } else { self.make_one_hots(&lacking).await }
    }

    /// Starts to make one-hots.
    async fn begin_one_hots(&mut self, wanted: &[Wanted]) -> Result<(), Error> {
        self.ch.meter.enter_offline();
        let cots = OneHotCots::reserve(&mut self.ch, &mut self.ot, wanted).await;
        let errand = cots.map(|cots| errand::one_hots(self, wanted, cots));
        self.ch.meter.leave();
        self.pool.coming.push_back((wanted.to_vec(), errand?));
        Ok(())
    }

    /// Multiplication triples in `ring`.
    pub(crate) async fn triples(&mut self, ring: Ring, n: usize) -> Result<Triples, Error> {
        let more = lacking(self.pool.triples.entry(ring).or_default().as_ref(), n);
        if more > 0 {
            self.ch.meter.enter_offline();
            let made = mul::prepare(self, ring, more).await;
            self.ch.meter.leave();
            fill(self.pool.triples.entry(ring).or_default(), made?);
        }
        self.pool.record("triple", ring.bits().into(), n);
        Ok(draw(self.pool.triples.entry(ring).or_default(), n))
    }

    /// Square pairs in `ring`.
    pub(crate) async fn squares(&mut self, ring: Ring, n: usize) -> Result<Squares, Error> {
        let more = lacking(self.pool.squares.entry(ring).or_default().as_ref(), n);
        if more > 0 {
            self.ch.meter.enter_offline();
            let made = square::prepare(self, ring, more).await;
            self.ch.meter.leave();
            fill(self.pool.squares.entry(ring).or_default(), made?);
        }
        self.pool.record("square", ring.bits().into(), n);
        Ok(draw(self.pool.squares.entry(ring).or_default(), n))
    }
}

/// The one-hots of so many times each bill.
fn times(bills: &[(Bill, usize)]) -> cost::OneHots {
    let mut all = cost::OneHots::new();
    for (bill, times) in bills {
        bill.one_hots().iter().for_each(|(key, n)| *all.entry(*key).or_default() += n * times);
    }
    all
}
