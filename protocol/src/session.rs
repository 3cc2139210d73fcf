//! A session: one party's end of a conversation, from the first hello on.
//!
//! | client                              |                        | server                         |
//! |-------------------------------------|------------------------|--------------------------------|
//! | version                             | `<- session/hello ->`  | the same                       |
//! | nonce, parameter digest, rate       | `<- session/terms ->`  | the same                       |
//! | `sid = H(version, digest, both nonces, channel binding)` |    | the same                       |
//! | oblivious-transfer set-up           | `<- ot/* ->`           | the same                       |
//! | sends it back, three times          | `<- session/echo ->`   | takes the time                 |
//! | keys, public part seeded by `sid`   | `-- keys/lattice ->`   | checks and keeps them          |
//! | COTs as fit the rate, schedules as fit rate and delay | `<- session/link --` | the connection's rate and delay |
//!
//! The rate is the least that a party has stated in its terms, or else what the keys came in with.
//!
//! Everything later derives from `sid`: hash keys, seeds, tweaks. A session lives in memory only and ends with its
//! connection; nothing of it is written anywhere.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use sotto_he::{EvaluationKeys, SecretKey};
use sotto_net::{Channel, Half};
use sotto_ot::{
    Extension, LpnParams, OneHotCots, OneHots, OtSession, RecvCots, SemiHonest, SendCots, Wanted,
};
use sotto_shares::{Party, Ring, Rng};

use crate::{
    Error, Precision,
    cost::{self, Bill},
    errand::{self, Errands},
    lattice,
    mul::{self, Triples},
    pool::{Pool, draw, fill, lacking},
    ranges::Watch,
    square::{self, Squares},
    tables,
};

/// The version of the protocol; both sides must have the same.
pub const VERSION: u32 = 5;

/// What protocols that have the choice save, bits or turns; both parties must have chosen the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Schedule {
    /// Fewest bits: for many tokens at a time, or a near peer.
    #[default]
    Throughput,
    /// Fewest turns: for one token at a time to a far peer.
    Latency,
}

/// What both parties share of a session: channel, randomness, oblivious transfers, pool.
pub struct Session {
    /// Which party this is.
    pub me: Party,
    /// The connection, with its meter.
    pub ch: Channel,
    /// The party's secret randomness.
    pub rng: Rng,
    /// Rows of each linear layer's masks to make beyond those needed at once: the planned number of tokens.
    pub lookahead: usize,
    /// Tokens that the conversation may still make, as far as both parties know.
    pub horizon: usize,
    /// What to save.
    pub schedule: Schedule,
    /// What to save where a token is made at a time: turns, if the connection's delay is felt.
    pub decode: Schedule,
    /// How exact activations are; decided before anything is made that depends on it.
    pub precision: Precision,
    /// What the connection is like, if its delay is felt.
    far: Option<LinkReport>,
    sid: [u8; 32],
    pub(crate) ot: OtSession,
    pub(crate) pool: Pool,
    pub(crate) watch: Watch,
    pub(crate) errands: Errands,
}

/// The client: the party with the decryption keys.
pub struct Client {
    /// The common part.
    pub session: Session,
    pub(crate) key: Arc<SecretKey>,
}

/// The server: the party with the weights.
pub struct Server {
    /// The common part.
    pub session: Session,
    pub(crate) keys: Arc<EvaluationKeys>,
}

/// What all versions have in common.
#[derive(Serialize, Deserialize)]
struct Hello {
    magic: [u8; 5],
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Terms {
    nonce: [u8; 32],
    parameters: [u8; 32],
    /// Bits per second, if this party states how many.
    rate: Option<u64>,
}

const MAGIC: [u8; 5] = *b"sotto";

/// Bytes of one-hots to make ahead at most.
const STOCK: usize = 64 << 20;

/// What the server says of the connection; in sixteen bytes, whatever it is.
#[derive(Clone, Copy)]
struct LinkReport {
    /// Bits per second.
    rate: u64,
    /// Microseconds.
    round_trip: u64,
}

impl LinkReport {
    const LEN: usize = 16;

    fn encode(&self) -> Vec<u8> {
        [self.rate, self.round_trip].iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    fn decode(bytes: &[u8]) -> LinkReport {
        let word =
            |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("the length is checked"));
        LinkReport { rate: word(0), round_trip: word(8) }
    }
}

/// How often the server asks the client for a sign of life.
const ECHOES: usize = 3;

/// A round trip that is felt: a layer has about forty turns to save, at the price of a third of its bits.
const FELT: Duration = Duration::from_micros(200);

/// What errands leave of a connection's rate, so that nothing piles up on its way, and the part of a round trip that a message may wait for them.
const FULL: f64 = 0.95;
const WAIT: u32 = 16;

/// Bits per second, where nothing is known of the connection.
const DEFAULT_RATE: f64 = 1e9;

impl Session {
    /// Says hello and sets up the oblivious transfers. `binding` ties the session to the secure channel below it.
    ///
    /// # Errors
    /// The peer is no Sotto program of this version and parameters, or misbehaves, or is gone.
    pub async fn establish(
        me: Party,
        mut ch: Channel,
        mut rng: Rng,
        binding: [u8; 32],
    ) -> Result<Session, Error> {
        ch.send_control("session/hello", &Hello { magic: MAGIC, version: VERSION })?;
        let rate = ch.stated_rate().map(|rate| rate as u64);
        let ours = Terms { nonce: rng.bytes(), parameters: parameter_digest(), rate };
        ch.send_control("session/terms", &ours)?;
        let hello: Hello = ch.recv_control("session/hello").await?;
        if hello.magic != MAGIC || hello.version != VERSION {
            return Err(Error::Version { ours: VERSION, theirs: hello.version });
        }
        let theirs: Terms = ch.recv_control("session/terms").await?;
        if theirs.parameters != ours.parameters {
            return Err(Error::Parameters);
        }
        if theirs.nonce == ours.nonce {
            return Err(Error::Reflected);
        }
        ch.state_rate([ours.rate, theirs.rate].into_iter().flatten().min().map(|rate| rate as f64));
        let (first, second) = match me {
            Party::Client => (&ours.nonce, &theirs.nonce),
            Party::Server => (&theirs.nonce, &ours.nonce),
        };
        let mut hash = blake3::Hasher::new_derive_key("sotto 1 session id");
        hash.update(&VERSION.to_le_bytes()).update(&ours.parameters);
        hash.update(first).update(second).update(&binding);
        let sid = *hash.finalize().as_bytes();
        let mut ot = OtSession::<SemiHonest>::setup(&mut ch, sid, me == Party::Client, rng.fork()).await?;
        // The first round travels while keys are made.
        ot.reserve_ahead(&mut ch, 1, 1).await?;
        Ok(Session {
            me,
            ch,
            rng,
            lookahead: 0,
            horizon: 0,
            schedule: Schedule::default(),
            decode: Schedule::default(),
            precision: Precision::default(),
            far: None,
            sid,
            ot,
            pool: Pool::default(),
            watch: Watch::new(sid),
            errands: Errands::default(),
        })
    }

    /// Compares the two parties' transcripts of frame headers and ledgers of the pool. One turn, 64 bytes each way.
    ///
    /// # Errors
    /// [`Error::TranscriptDisagreement`], [`Error::PoolDisagreement`].
    pub async fn checkpoint(&mut self) -> Result<(), Error> {
        self.pool.record("precision", self.precision as u64, 0);
        let ledger = self.pool.digest();
        let said = self.ch.trace_digest();
        self.ch.send("session/checkpoint", [said, ledger].concat())?;
        // The peer said its digest right after the last frame that this side has received.
        let heard = self.ch.heard_digest().await?;
        let theirs = self.ch.recv("session/checkpoint", 64).await?;
        match (theirs[..32] == heard, theirs[32..] == ledger) {
            (false, _) => Err(Error::TranscriptDisagreement),
            (_, false) => Err(Error::PoolDisagreement),
            (true, true) => Ok(()),
        }
    }

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

    /// Waits for everything that the peer was to send ahead; afterwards the connection may be another one.
    ///
    /// # Errors
    /// The connection, or a message of the wrong length.
    ///
    /// # Panics
    /// If something is being made that is still wanted.
    pub async fn settle(&mut self) -> Result<(), Error> {
        let idle = self.errands.under_way() == 0 && self.pool.coming.is_empty();
        assert!(idle, "errands belong to a connection");
        Ok(self.ot.complete(&mut self.ch).await?)
    }

    /// Bytes that this party has sent for COTs that are not yet drawn: what a fair count takes off.
    pub fn prepaid_bytes(&self) -> f64 {
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

    /// Goes on with COTs and a schedule that fit the connection.
    async fn adapt(&mut self, link: &LinkReport) -> Result<(), Error> {
        if Duration::from_micros(link.round_trip) >= FELT {
            self.decode = Schedule::Latency;
            self.far = Some(*link);
            self.ch.set_pace(FULL * link.rate as f64, Duration::from_micros(link.round_trip) / WAIT);
        }
        self.ot.switch(&mut self.ch, Extension::for_rate(link.rate as f64)).await?;
        Ok(self.ot.reserve_ahead(&mut self.ch, 1, 1).await?)
    }

    /// What to save where the fewest turns, `turns` less, take `bits` more: the time that is shorter on this connection, if its delay is felt.
    pub fn cheaper(&self, bits: f64, turns: f64) -> Schedule {
        match self.far {
            Some(link) if bits / (link.rate.max(1) as f64) < turns * link.round_trip as f64 / 2e6 => {
                Schedule::Latency
            }
            _ => Schedule::Throughput,
        }
    }

    /// Takes the connection for a near one, whatever was measured, as tests do; both parties must do the same at the beginning.
    pub fn stay_near(&mut self) {
        self.far = None;
        self.decode = Schedule::Throughput;
    }

    /// Whether the connection's delay is felt: then there is time to make things while messages travel.
    pub fn is_far(&self) -> bool {
        self.far.is_some()
    }

    /// How COTs are made.
    pub fn extension(&self) -> Extension {
        self.ot.extension()
    }

    /// Seed of the public key's uniform part, to which both nonces contribute.
    fn lattice_seed(&self) -> [u8; 32] {
        blake3::derive_key("sotto 1 lattice keys", &self.sid)
    }
}

impl Client {
    /// Makes keys and sends the server its part.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn establish(ch: Channel, rng: Rng, binding: [u8; 32]) -> Result<Client, Error> {
        let mut session = Session::establish(Party::Client, ch, rng, binding).await?;
        for _ in 0..ECHOES {
            session.ch.recv("session/echo", 0).await?;
            session.ch.send("session/echo", vec![])?;
        }
        session.ch.meter.enter("keys", Half::Offline);
        let (seed, mut rng) = (session.lattice_seed(), session.rng.fork());
        let (key, message) = sotto_net::compute(|| sotto_he::keygen(lattice::context(), &seed, &mut rng));
        session.ch.send("keys/lattice", message)?;
        let link = LinkReport::decode(&session.ch.recv("session/link", LinkReport::LEN).await?);
        session.adapt(&link).await?;
        session.ch.meter.leave();
        Ok(Client { session, key: Arc::new(key) })
    }
}

impl Server {
    /// Receives and checks the client's keys.
    ///
    /// # Errors
    /// The keys are malformed, or the connection is gone.
    pub async fn establish(ch: Channel, rng: Rng, binding: [u8; 32]) -> Result<Server, Error> {
        let mut session = Session::establish(Party::Server, ch, rng, binding).await?;
        // The first waits for all that is on its way; the others take the time.
        let mut round_trip = Duration::MAX;
        for echo in 0..ECHOES {
            let asked = Instant::now();
            session.ch.send("session/echo", vec![])?;
            session.ch.recv("session/echo", 0).await?;
            if echo > 0 {
                round_trip = round_trip.min(asked.elapsed());
            }
        }
        session.ch.meter.enter("keys", Half::Offline);
        let (context, seed) = (lattice::context(), session.lattice_seed());
        let message = session.ch.recv("keys/lattice", EvaluationKeys::encoded_len(context)).await?;
        let keys = sotto_net::compute(|| EvaluationKeys::decode(context, &seed, &message))?;
        let rate = session.ch.stated_rate().or(session.ch.seen_rate()).unwrap_or(DEFAULT_RATE) as u64;
        let link = LinkReport { rate, round_trip: round_trip.as_micros() as u64 };
        session.ch.send("session/link", link.encode())?;
        session.adapt(&link).await?;
        session.ch.meter.leave();
        Ok(Server { session, keys: Arc::new(keys) })
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

/// A digest of everything that both programs must have in common.
fn parameter_digest() -> [u8; 32] {
    let mut hash = blake3::Hasher::new_derive_key("sotto 1 parameters");
    tables::FILES.iter().for_each(|file| _ = hash.update(file.as_bytes()));
    hash.update(sotto_he::PARAMETERS.as_bytes());
    hash.update(format!("{:?} {:?}", LpnParams::FAST, LpnParams::LEAN).as_bytes());
    hash.update(sotto_ot::BASE_OT.as_bytes());
    *hash.finalize().as_bytes()
}

#[cfg(test)]
mod tests;
