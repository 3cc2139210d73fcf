//! How a session begins.
//!
//! | client | | server |
//! |---|---|---|
//! | version | `<- session/hello ->` | the same |
//! | nonce, parameter digest, rate | `<- session/terms ->` | the same |
//! | `sid = H(version, digest, both nonces, channel binding)` | | the same |
//! | oblivious-transfer set-up | `<- ot/* ->` | the same |
//! | sends it back, three times | `<- session/echo ->` | takes the time |
//! | keys, public part seeded by `sid` | `-- keys/lattice ->` | checks and keeps them |
//! | COTs and schedules that fit | `<- session/link --` | the connection's rate and delay |
//!
//! The rate is the least that a party has stated in its terms, or else what the keys came in with.
//!
//! Everything later derives from `sid`: hash keys, seeds, tweaks. A session lives in memory only
//! and ends with its connection; nothing of it is written anywhere.

use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use sotto_he::EvaluationKeys;
use sotto_net::{Channel, Half};
use sotto_ot::{LpnParams, OtSession, SemiHonest};
use sotto_shares::{Party, Rng};

use super::{
    Client, Schedule, Server, Session,
    link::{DEFAULT_RATE, LinkReport},
};
use crate::{
    Error, Precision, background::Requests, lattice, overflow_check::Queues, stocks::Stocks, tables,
};

/// The version of the protocol; both sides must have the same.
pub const VERSION: u32 = 6;

/// What all versions have in common.
#[derive(Serialize, Deserialize)]
pub(super) struct Hello {
    pub magic: [u8; 5],
    pub version: u32,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Terms {
    pub nonce: [u8; 32],
    pub parameters: [u8; 32],
    /// Bits per second, if this party states how many.
    pub rate: Option<u64>,
}

pub(super) const MAGIC: [u8; 5] = *b"sotto";

/// How often the server asks the client for a sign of life.
pub(super) const ECHOES: usize = 3;

impl Session {
    /// Says hello and sets up the oblivious transfers. `binding` ties the session to the secure
    /// channel below it.
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
            schedule: Schedule::default(),
            decode: Schedule::default(),
            precision: Precision::default(),
            high_latency: None,
            sid,
            ot,
            stocks: Stocks::default(),
            overflow: Queues::new(sid),
            requests: Requests::default(),
        })
    }

    /// Seed of the public key's uniform part, to which both nonces contribute.
    fn lattice_seed(&self) -> [u8; 32] {
        blake3::derive_key("sotto 1 lattice keys", &self.sid)
    }
}

/// A session in the making, in a box: compiled here once, and not in every crate again.
pub type Established<T> = Pin<Box<dyn Future<Output = Result<T, Error>>>>;

impl Client {
    /// Makes keys and sends the server its part.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn establish(ch: Channel, rng: Rng, binding: [u8; 32]) -> Established<Client> {
        Box::pin(Client::meet(ch, rng, binding))
    }

    async fn meet(ch: Channel, rng: Rng, binding: [u8; 32]) -> Result<Client, Error> {
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
    pub fn establish(ch: Channel, rng: Rng, binding: [u8; 32]) -> Established<Server> {
        Box::pin(Server::meet(ch, rng, binding))
    }

    async fn meet(ch: Channel, rng: Rng, binding: [u8; 32]) -> Result<Server, Error> {
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

/// A digest of everything that both programs must have in common.
pub(super) fn parameter_digest() -> [u8; 32] {
    let mut hash = blake3::Hasher::new_derive_key("sotto 1 parameters");
    tables::FILES.iter().for_each(|file| _ = hash.update(file.as_bytes()));
    hash.update(sotto_he::PARAMETERS.as_bytes());
    hash.update(format!("{:?} {:?}", LpnParams::FAST, LpnParams::LEAN).as_bytes());
    hash.update(sotto_ot::BASE_OT.as_bytes());
    *hash.finalize().as_bytes()
}
