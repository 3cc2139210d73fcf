//! A session: one party's end of a conversation, from the first hello on.
//!
//! | client                              |                        | server                         |
//! |-------------------------------------|------------------------|--------------------------------|
//! | version, nonce, parameter digest    | `<- session/hello ->`  | the same                       |
//! | `sid = H(version, digest, both nonces, channel binding)` |    | the same                       |
//! | oblivious-transfer set-up           | `<- ot/* ->`           | the same                       |
//! | keys, public part seeded by `sid`   | `-- keys/fast, keys/strict ->` | checks and keeps them  |
//!
//! Everything later derives from `sid`: hash keys, seeds, tweaks. A session lives in memory only and ends with its
//! connection; nothing of it is written anywhere.

use serde::{Deserialize, Serialize};
use sotto_he::{EvaluationKeys, SecretKey};
use sotto_net::{Channel, Half};
use sotto_ot::{OneHots, OtSession, RecvCots, SendCots};
use sotto_shares::{Party, Ring, Rng};

use crate::{
    Error, lattice,
    mul::{self, Triples},
    pool::{Pool, draw, fill, lacking},
    square::{self, Squares},
    tables,
};

/// The version of the protocol; both sides must have the same.
pub const VERSION: u32 = 1;

/// COTs made at a time at least.
const COT_BATCH: usize = 1 << 15;

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
    sid: [u8; 32],
    ot: OtSession,
    pub(crate) pool: Pool,
}

/// The client: the party with the decryption keys.
pub struct Client {
    /// The common part.
    pub session: Session,
    pub(crate) fast: SecretKey,
    pub(crate) strict: SecretKey,
}

/// The server: the party with the weights.
pub struct Server {
    /// The common part.
    pub session: Session,
    pub(crate) fast: EvaluationKeys,
    pub(crate) strict: EvaluationKeys,
}

#[derive(Serialize, Deserialize)]
struct Hello {
    magic: [u8; 5],
    version: u32,
    nonce: [u8; 32],
    parameters: [u8; 32],
}

const MAGIC: [u8; 5] = *b"sotto";

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
        let ours =
            Hello { magic: MAGIC, version: VERSION, nonce: rng.bytes(), parameters: parameter_digest() };
        ch.send_control("session/hello", &ours)?;
        let theirs: Hello = ch.recv_control("session/hello").await?;
        if theirs.magic != MAGIC || theirs.version != VERSION {
            return Err(Error::Version { ours: VERSION, theirs: theirs.version });
        }
        if theirs.parameters != ours.parameters {
            return Err(Error::Parameters);
        }
        let (first, second) = match me {
            Party::Client => (&ours.nonce, &theirs.nonce),
            Party::Server => (&theirs.nonce, &ours.nonce),
        };
        let mut hash = blake3::Hasher::new_derive_key("sotto 1 session id");
        hash.update(&VERSION.to_le_bytes()).update(&ours.parameters);
        hash.update(first).update(second).update(&binding);
        let sid = *hash.finalize().as_bytes();
        let ot = OtSession::setup(&mut ch, sid, me == Party::Client, &mut rng).await?;
        Ok(Session { me, ch, rng, lookahead: 0, sid, ot, pool: Pool::default() })
    }

    /// Compares the two parties' transcripts of frame headers and ledgers of the pool. One turn, 64 bytes each way.
    ///
    /// # Errors
    /// [`Error::TranscriptDisagreement`], [`Error::PoolDisagreement`].
    pub async fn checkpoint(&mut self) -> Result<(), Error> {
        let ledger = self.pool.digest();
        let said = self.ch.trace_digest();
        self.ch.send("session/checkpoint", [said, ledger].concat())?;
        // The peer said its digest right after the last frame that this side has received.
        let heard = self.ch.heard_digest();
        let theirs = self.ch.recv("session/checkpoint", 64).await?;
        match (theirs[..32] == heard, theirs[32..] == ledger) {
            (false, _) => Err(Error::TranscriptDisagreement),
            (_, false) => Err(Error::PoolDisagreement),
            (true, true) => Ok(()),
        }
    }

    /// COTs: `send` as sender and `recv` as receiver.
    pub(crate) async fn cots(&mut self, send: usize, recv: usize) -> Result<(SendCots, RecvCots), Error> {
        let (more_send, more_recv) =
            (lacking(self.pool.send.as_ref(), send), lacking(self.pool.recv.as_ref(), recv));
        if more_send + more_recv > 0 || self.pool.send.is_none() {
            let batch = |lacking: usize| if lacking == 0 { 0 } else { lacking.max(COT_BATCH) };
            self.ch.meter.enter_offline();
            let made = self.ot.reserve(&mut self.ch, batch(more_send), batch(more_recv)).await;
            self.ch.meter.leave();
            let (made_send, made_recv) = made?;
            fill(&mut self.pool.send, made_send);
            fill(&mut self.pool.recv, made_recv);
        }
        let (towards, from) = if self.me == Party::Client { (send, recv) } else { (recv, send) };
        self.pool.record("cot/client", 0, towards);
        self.pool.record("cot/server", 0, from);
        Ok((draw(&mut self.pool.send, send), draw(&mut self.pool.recv, recv)))
    }

    /// One-hots of `2^bits` with their index in `ring`.
    pub(crate) async fn one_hots(&mut self, bits: u32, ring: Ring, n: usize) -> Result<OneHots, Error> {
        let key = (bits, ring);
        let more = lacking(self.pool.one_hots.entry(key).or_default().as_ref(), n);
        if more > 0 {
            self.ch.meter.enter_offline();
            let (ch, ot, rng) = (&mut self.ch, &mut self.ot, &mut self.rng);
            let made = sotto_ot::random_one_hots(ch, ot, more, bits, ring, rng).await;
            self.ch.meter.leave();
            fill(self.pool.one_hots.entry(key).or_default(), made?);
        }
        self.pool.record("one-hot", u64::from(bits) << 8 | u64::from(ring.bits()), n);
        Ok(draw(self.pool.one_hots.entry(key).or_default(), n))
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

    /// Seeds of the public keys' uniform parts, for the fast and the strict set.
    fn lattice_seeds(&self) -> [[u8; 32]; 2] {
        ["sotto 1 lattice keys, fast", "sotto 1 lattice keys, strict"]
            .map(|context| blake3::derive_key(context, &self.sid))
    }
}

impl Client {
    /// Makes keys and sends the server its part.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn establish(ch: Channel, rng: Rng, binding: [u8; 32]) -> Result<Client, Error> {
        let mut session = Session::establish(Party::Client, ch, rng, binding).await?;
        session.ch.meter.enter("keys", Half::Offline);
        let [fast_seed, strict_seed] = session.lattice_seeds();
        let mut rng = session.rng.fork();
        let (fast, message) = sotto_net::compute(|| sotto_he::keygen(lattice::fast(), &fast_seed, &mut rng));
        session.ch.send("keys/fast", message)?;
        let (strict, message) =
            sotto_net::compute(|| sotto_he::keygen(lattice::strict(), &strict_seed, &mut rng));
        session.ch.send("keys/strict", message)?;
        session.ch.meter.leave();
        Ok(Client { session, fast, strict })
    }
}

impl Server {
    /// Receives and checks the client's keys.
    ///
    /// # Errors
    /// The keys are malformed, or the connection is gone.
    pub async fn establish(ch: Channel, rng: Rng, binding: [u8; 32]) -> Result<Server, Error> {
        let mut session = Session::establish(Party::Server, ch, rng, binding).await?;
        session.ch.meter.enter("keys", Half::Offline);
        let [fast_seed, strict_seed] = session.lattice_seeds();
        let message = session.ch.recv("keys/fast", EvaluationKeys::encoded_len(lattice::fast())).await?;
        let fast = sotto_net::compute(|| EvaluationKeys::decode(lattice::fast(), &fast_seed, &message))?;
        let message = session.ch.recv("keys/strict", EvaluationKeys::encoded_len(lattice::strict())).await?;
        let strict =
            sotto_net::compute(|| EvaluationKeys::decode(lattice::strict(), &strict_seed, &message))?;
        session.ch.meter.leave();
        Ok(Server { session, fast, strict })
    }
}

/// A digest of everything that both programs must have in common.
fn parameter_digest() -> [u8; 32] {
    let mut hash = blake3::Hasher::new_derive_key("sotto 1 parameters");
    hash.update(tables::FILE.as_bytes());
    hash.update(format!("{:?} {:?}", lattice::fast().params(), lattice::strict().params()).as_bytes());
    *hash.finalize().as_bytes()
}

#[cfg(test)]
pub(crate) mod tests {
    use sotto_net::{Error as Net, run_pair};

    use super::*;
    use crate::{
        activation, exp2, mux, reveal, rms_norm, softmax,
        testing::{self, elements, secret},
    };
    use sotto_shares::{Shape, Share, XorShare};

    /// A bit of everything on one input; this party's shares and sent headers.
    fn everything(scores: &[u64], words: &[u64]) -> [(Vec<u64>, [u8; 32], Vec<(&'static str, u64)>); 2] {
        testing::run_both(async |lab| {
            let shape = Shape::new(2, 5);
            let x = lab.share(scores, exp2::ARGUMENT, 12, shape);
            let y = lab.share(words, Ring::new(34), 18, shape);
            lab.renew();
            let s = &mut lab.me;
            let softmax = softmax::softmax(s, &x, &[5, 3], Ring::new(44)).await.unwrap();
            let norm = rms_norm::rms_norm(s, &y, 1e-5, Ring::new(44), 12).await.unwrap();
            let silu = activation::silu(s, &norm, Ring::new(44)).await.unwrap();
            reveal::to_client(s, &norm.duplicate().with_frac(20)).await.unwrap();
            s.checkpoint().await.unwrap();
            let shares = [softmax.numerators, softmax.reciprocal, norm, silu];
            let words = shares.iter().flat_map(|x: &Share| x.data.clone()).collect();
            (
                words,
                s.ch.trace_digest(),
                s.ch.meter.tags().iter().map(|(tag, bytes)| (*tag, *bytes)).collect(),
            )
        })
    }

    #[test]
    fn what_travels_depends_on_shapes_only() {
        let (scores, words) = (elements(10, exp2::ARGUMENT), elements(10, Ring::new(30)));
        let one = everything(&scores, &words);
        let other = everything(&[0; 10], &elements(20, Ring::new(30))[10..]);
        for (one, other) in one.iter().zip(&other) {
            assert!(one.0 != other.0, "two different runs");
            assert_eq!((one.1, &one.2), (other.1, &other.2), "the same frames");
        }
        assert!(one == everything(&scores, &words), "with fixed seeds a run repeats itself, share by share");
    }

    #[test]
    fn ledgers_agree_until_one_side_draws_more() {
        let [client, server] = testing::run_both(async |lab| {
            let s = &mut lab.me;
            s.cots(3, 5).await.unwrap();
            s.triples(Ring::new(44), 2).await.unwrap();
            let agreed = s.checkpoint().await;
            if s.me == Party::Client {
                s.cots(1, 0).await.unwrap();
            }
            (agreed, s.checkpoint().await)
        });
        for (agreed, then) in [client, server] {
            assert!(agreed.is_ok() && matches!(then, Err(Error::PoolDisagreement)));
        }
    }

    #[test]
    fn a_draw_is_in_the_ledger_by_kind_size_and_order() {
        let digest = |draws: &[(&'static str, u64, usize)]| {
            let mut pool = Pool::default();
            draws.iter().for_each(|&(kind, parameter, n)| pool.record(kind, parameter, n));
            pool.digest()
        };
        let (a, b) = (("triple", 44, 3), ("square", 44, 3));
        assert_eq!(digest(&[a, b]), digest(&[a, b]));
        let others: [&[_]; 5] = [&[b, a], &[a], &[a, a], &[("triple", 52, 3), b], &[("triple", 44, 4), b]];
        assert!(others.iter().all(|other| digest(other) != digest(&[a, b])));
    }

    /// A peer that says `hello` and then waits; what the other side makes of it, as each party.
    fn greeted(say: impl Fn(&mut Channel) + Sync) -> [Error; 2] {
        let say = &say;
        [Party::Client, Party::Server].map(|me| {
            let (result, ()) = run_pair(
                |ch| async move { Session::establish(me, ch, secret(me), [0; 32]).await.err() },
                |mut ch| async move {
                    say(&mut ch);
                    let _ = ch.close().await;
                },
            );
            result.expect("this peer is refused")
        })
    }

    fn hello() -> Hello {
        Hello { magic: MAGIC, version: VERSION, nonce: [1; 32], parameters: parameter_digest() }
    }

    #[test]
    fn strangers_are_refused_by_name() {
        let said = |hello: Hello| greeted(|ch| ch.send_control("session/hello", &hello).unwrap());
        let newer = || Hello { version: VERSION + 1, ..hello() };
        for error in said(newer()) {
            assert!(matches!(error, Error::Version { ours: VERSION, theirs } if theirs == VERSION + 1));
        }
        for error in said(Hello { magic: *b"otter", ..hello() }) {
            assert!(matches!(error, Error::Version { .. }));
        }
        for error in said(Hello { parameters: [0; 32], ..hello() }) {
            assert!(matches!(error, Error::Parameters));
        }
        for error in greeted(|ch| ch.send("session/hello", vec![1, 2, 3]).unwrap()) {
            assert!(matches!(error, Error::Net(Net::Malformed { step: "session/hello", .. })));
        }
        for error in greeted(|ch| ch.send("session/hello", vec![0; 1 << 17]).unwrap()) {
            assert!(matches!(error, Error::Net(Net::TooLong { step: "session/hello", .. })));
        }
        for error in greeted(|ch| ch.send("ot/base/points", vec![0; 32]).unwrap()) {
            assert!(matches!(error, Error::Net(Net::WrongTag { expected: "session/hello", .. })));
        }
        for error in greeted(|_| ()) {
            assert!(matches!(error, Error::Net(Net::Closed { step: "session/hello" })));
        }
    }

    #[test]
    fn keys_that_are_none_are_refused() {
        let len = EvaluationKeys::encoded_len(lattice::fast());
        let cases: [(&'static str, usize, fn(&Error) -> bool); 3] = [
            ("keys/fast", len, |e| matches!(e, Error::He(sotto_he::Error::Residue { .. }))),
            ("keys/fast", 10, |e| {
                matches!(e, Error::Net(Net::WrongLength { step: "keys/fast", got: 10, .. }))
            }),
            ("keys/strict", len, |e| matches!(e, Error::Net(Net::WrongTag { expected: "keys/fast", .. }))),
        ];
        for (tag, len, expected) in cases {
            let (result, ()) = run_pair(
                |ch| async { Server::establish(ch, secret(Party::Server), [0; 32]).await.err() },
                |ch| async move {
                    let establish = Session::establish(Party::Client, ch, secret(Party::Client), [0; 32]);
                    let mut s = establish.await.unwrap();
                    s.ch.send(tag, vec![0xff; len]).unwrap();
                    let _ = s.ch.close().await;
                },
            );
            let error = result.expect("these keys are refused");
            assert!(expected(&error), "{tag} of {len} bytes: {error}");
        }
    }

    #[test]
    fn replies_that_are_none_are_refused() {
        use crate::linear::{self, Exactness, WeightShape};
        let w = WeightShape { id: 0, inner: 3, outer: 5, frac: 8, exactness: Exactness::Fast };
        let cases: [(&'static str, fn(&Error) -> bool); 2] = [
            ("linear/reply", |e| {
                matches!(e, Error::Net(Net::WrongLength { step: "linear/reply", got: 7, .. }))
            }),
            ("linear/open", |e| matches!(e, Error::Net(Net::WrongTag { expected: "linear/reply", .. }))),
        ];
        for (tag, expected) in cases {
            let (result, ()) = run_pair(
                |ch| async move {
                    let mut me = Client::establish(ch, secret(Party::Client), [0; 32]).await.unwrap();
                    let x = Share::zeros(linear::RING, 12, Shape::new(1, 3));
                    linear::client(&mut me, &w, &x).await.err()
                },
                |ch| async move {
                    let mut me = Server::establish(ch, secret(Party::Server), [0; 32]).await.unwrap();
                    me.session.ch.send(tag, vec![0xff; 7]).unwrap();
                    let _ = me.session.ch.recv_at_most("linear/upload", 1 << 24).await;
                    let _ = me.session.ch.close().await;
                },
            );
            let error = result.expect("this reply is refused");
            assert!(expected(&error), "{tag}: {error}");
        }
    }

    #[test]
    fn payloads_out_of_step_are_refused() {
        let cases: [(&'static str, usize, fn(&Error) -> bool); 3] = [
            ("mux/payload", 9, |e| {
                matches!(e, Error::Net(Net::WrongLength { step: "mux/payload", got: 9, .. }))
            }),
            ("and/payload", 8, |e| matches!(e, Error::Net(Net::WrongTag { expected: "mux/payload", .. }))),
            ("mux/payload", 8, |_| false),
        ];
        for (tag, len, expected) in cases {
            let [client, _] = testing::run_both(async |lab| {
                let (b, x) = (XorShare::new(1, vec![1; 4]), Share::zeros(Ring::new(16), 0, Shape::new(1, 4)));
                if lab.me.me == Party::Client {
                    return mux::mux(&mut lab.me, [(&b, &x)]).await.err();
                }
                lab.me.cots(4, 4).await.unwrap();
                lab.me.ch.exchange("mux/choice", vec![0]).await.unwrap();
                lab.me.ch.send(tag, vec![0xff; len]).unwrap();
                None
            });
            // Garbage of the right length is a share like any other.
            assert!(client.as_ref().map_or(len == 8, expected), "{tag} of {len} bytes: {client:?}");
        }
    }
}
