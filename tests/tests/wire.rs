//! What every protocol puts on the wire, against the checked-in `wire.baseline`.
//!
//! Each protocol runs in a session of its own with fixed seeds, its correlations made on the way,
//! from COTs that are there. A line has the bytes that client and server send online and offline,
//! framing included, the COTs that they draw as senders, the turns of both halves together, and a
//! digest of both parties' frame headers and result shares: with fixed seeds a run repeats itself
//! to the bit. A refactor leaves the file alone; a change of protocol edits it, by
//! `SOTTO_WRITE_BASELINE=1 cargo test -p sotto-tests --test wire`, and the commit says why.

#![allow(clippy::unwrap_used)]

use std::{fmt::Write, fs, sync::mpsc};

use sotto_net::{Channel, Half, Link, memory_pair, run_pair};
use sotto_ot::{BitTriples, Columns, Extension, OtSession, SemiHonest};
use sotto_protocol::{
    Client, Error, Precision, Schedule, Server, Session,
    activation::{Activation, activate},
    and, b2a, compare, exp2, extend, leading_one,
    linear::{self, Exactness, Weight, WeightShape, Weights},
    lookup, matmul, maximum, mul, mul_small, mux,
    planner::{self, Need},
    reciprocal::{self, Form},
    reveal, rms_norm,
    rope::{self, Angles},
    rows::{self, RowShape},
    segments, select, softmax, square, tables, truncate,
};
use sotto_shares::{Party, Ring, Rng, Shape, Share, XorShare};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/wire.baseline");
const HEADER: &str = "\
# What each protocol sends: bytes by client and server, online and offline, COTs that they draw as senders, turns, digest
# of headers and shares. Written by SOTTO_WRITE_BASELINE=1 cargo test -p sotto-tests --test wire
#                      online            offline           COTs
# protocol        client   server    client   server  client  server turns digest
";

const WIDE: Ring = Ring::new(44);
const PRECISION: Precision = Precision::Default;
const BINDING: [u8; 32] = [0; 32];

#[test]
fn the_wire_is_as_it_was() {
    let now = format!("{HEADER}{}", lines());
    if std::env::var_os("SOTTO_WRITE_BASELINE").is_some() {
        fs::write(FILE, now).unwrap();
        return;
    }
    let then = fs::read_to_string(FILE).expect("the baseline is checked in");
    let differences: Vec<String> = (then.lines().zip(now.lines()))
        .filter(|(then, now)| then != now)
        .map(|(then, now)| format!("- {then}\n+ {now}\n"))
        .collect();
    assert!(
        then == now,
        "what travels has changed:\n{}if that is meant, run SOTTO_WRITE_BASELINE=1 cargo test -p sotto-tests --test wire",
        differences.concat()
    );
}

fn lines() -> String {
    let mut out = String::new();
    let mut line = |name: &str, sides: [Side; 2]| writeln!(out, "{}", format(name, sides)).unwrap();

    line("session", established(async |_| Ok(vec![])));
    line("checkpoint", run(async |s| s.checkpoint().await.map(|()| vec![])));
    line("mux", run(async |s| words(mux::mux(s, [(&bits(s, 1, 64), &row(s, 44, 64))]).await)));
    line("and", run(async |s| plain(and::and(s, &bits(s, 1, 64), &bits(s, 18, 64)).await)));
    line("b2a", run(async |s| one(b2a::b2a(s, &bits(s, 16, 64), WIDE, 0, Shape::new(1, 64)).await)));
    line("extend", run(async |s| words(extend::extend(s, [(&row(s, 22, 64), WIDE)]).await)));
    line("truncate", run(async |s| one(truncate::truncate(s, &row(s, 44, 64), 16, WIDE).await)));
    line(
        "truncate-faithful",
        run(async |s| one(truncate::faithful(s, &scaled(s, 44, 28, 64), 20, reveal::RING).await)),
    );
    line("compare", run(async |s| plain(compare::less_than(s, row(s, 44, 64).data(), 44).await)));
    line("compare-sign", run(async |s| plain(compare::is_negative(s, &row(s, 44, 64)).await)));
    line(
        "mul-small",
        run(async |s| {
            let x = scaled(s, 22, 12, 64);
            one(mul_small::mul_small(s, &x, &row(s, 44, 64), 4096).await)
        }),
    );
    line("mul", run(async |s| one(mul::mul(s, &row(s, 44, 64), &row(s, 44, 64)).await)));
    line("square", run(async |s| one(square::square(s, &row(s, 64, 64)).await)));
    line("leading-one", run(async |s| plain(leading_one::leading_one(s, &row(s, 32, 8), 10..30, 1).await)));
    line(
        "lookup",
        run(async |s| {
            let table = Columns::new(&[3, 1, 4, 1, 5, 9, 2, 6], 4);
            plain(lookup::lookup(s, &bits(s, 3, 64), &table).await)
        }),
    );
    line(
        "pick",
        run(async |s| {
            let x = row(s, 44, 64);
            let picked = select::select(s, &bits(s, 4, 64), WIDE, &[0, 1, 7, 20], |i, _| x.data()[i]).await?;
            one(Ok(Share::new(WIDE, 0, x.shape(), picked)))
        }),
    );
    line(
        "segments",
        run(
            async |s| one(segments::evaluate(s, &scaled(s, 18, 17, 64), tables::reciprocal(PRECISION)).await),
        ),
    );
    for f in Activation::ALL {
        line(f.name(), run(async |s| one(activate(s, f, &scaled(s, 44, 12, 64), WIDE).await)));
    }
    line("exp2", run(async |s| one(exp2::exp2(s, &scaled(s, 24, 12, 64), WIDE).await)));
    for f in [Activation::Silu, Activation::Tanh] {
        line(
            &format!("{}-high", f.name()),
            run(async |s| {
                s.set_precision(Precision::High);
                one(activate(s, f, &scaled(s, 46, 14, 64), Precision::High.linear()).await)
            }),
        );
    }
    line(
        "softmax-high",
        run(async |s| {
            s.set_precision(Precision::High);
            let x = scaled(s, 28, 14, 64).reshape(Shape::new(4, 16));
            let out = softmax::softmax(s, &x, &[13, 14, 15, 16]).await?;
            words(Ok([out.numerators, out.reciprocal]))
        }),
    );
    line(
        "exp2-latency",
        run(async |s| {
            s.set_schedule(Schedule::Latency);
            one(exp2::exp2(s, &scaled(s, 24, 12, 64), WIDE).await)
        }),
    );
    line(
        "softmax-latency",
        run(async |s| {
            s.set_schedule(Schedule::Latency);
            let x = scaled(s, 26, 12, 64).reshape(Shape::new(4, 16));
            let out = softmax::softmax(s, &x, &[13, 14, 15, 16]).await?;
            words(Ok([out.numerators, out.reciprocal]))
        }),
    );
    line(
        "root-latency",
        run(async |s| {
            s.set_schedule(Schedule::Latency);
            let form = Form::inverse_root(PRECISION, s.schedule(), 3, 36, 25..63, Ring::new(54));
            one(reciprocal::evaluate(s, &column(s, 64, 36), &form).await)
        }),
    );
    line("maximum", run(async |s| one(maximum::row_max(s, &row(s, 13, 64), &[31, 33]).await)));
    line(
        "reciprocal",
        run(async |s| {
            let form = Form::reciprocal(PRECISION, s.schedule(), 14, 13..20);
            one(reciprocal::evaluate(s, &column(s, 32, 14), &form).await)
        }),
    );
    line(
        "inverse-root",
        run(async |s| {
            let form = Form::inverse_root(PRECISION, s.schedule(), 3, 36, 25..63, Ring::new(54));
            one(reciprocal::evaluate(s, &column(s, 64, 36), &form).await)
        }),
    );
    line(
        "softmax",
        run(async |s| {
            let x = scaled(s, 26, 12, 64).reshape(Shape::new(4, 16));
            let out = softmax::softmax(s, &x, &[13, 14, 15, 16]).await?;
            words(Ok([out.numerators, out.reciprocal]))
        }),
    );
    line(
        "rope",
        run(async |s| {
            let x = scaled(s, 44, 28, 64).reshape(Shape::new(2, 32));
            let angles = Angles { frequencies: &[1.0, 0.1], start: 3 };
            words(rope::rope(s, (&x, Ring::new(38)), angles, (&x, WIDE), [12; 2]).await)
        }),
    );
    line(
        "reveal",
        run(async |s| {
            let x = scaled(s, 44, 28, 64);
            let got = reveal::to_client(s, &x).await?;
            Ok(got.unwrap_or_default().into_iter().map(f64::to_bits).collect())
        }),
    );
    line("linear-rounded", linear(Exactness::Rounded));
    line("linear-exact", linear(Exactness::Exact));
    line("matmul", products());
    line("rms-norm", norm());
    line("scale-rows", scaled_rows());
    for (name, extension) in [
        ("cot-silent-fast", Extension::SilentFast),
        ("cot-silent-lean", Extension::SilentLean),
        ("cot-softspoken-2", Extension::SoftSpoken2),
        ("cot-softspoken-4", Extension::SoftSpoken4),
        ("cot-softspoken-8", Extension::SoftSpoken8),
    ] {
        line(name, correlations(extension));
    }
    out
}

/// COTs of an extension that starts from the first one's, in both directions, as shares of products
/// and as random bits.
fn correlations(extension: Extension) -> [Side; 2] {
    let party = |first: bool| {
        move |mut ch: Channel| async move {
            let rng = secret(if first { Party::Client } else { Party::Server });
            let mut ot = OtSession::<SemiHonest>::setup(&mut ch, BINDING, first, rng).await.unwrap();
            ot.switch(&mut ch, extension).await.unwrap();
            ch.exchange("wire/start", vec![]).await.unwrap();
            let before = ch.meter.total();
            let (mut send, mut recv) = ot.reserve(&mut ch, 3000, 3000).await.unwrap();
            let (message, own) = send.take(1000).cot_send(&[77; 1000], &[13, 1, 40]);
            let pads = recv.take(1000).cot_random(&[13, 1, 40]);
            let message = ch.exchange("wire/cot", message).await.unwrap();
            let triples = BitTriples::new(send, recv, 3);
            let bytes = [triples.a(), triples.b(), triples.c()].concat();
            let result = own.into_iter().chain(pads.finish(&message)).chain(bytes.into_iter().map(u64::from));
            let cost = ch.meter.total();
            ch.close().await.unwrap();
            Side {
                online: 0,
                offline: cost.sent - before.sent,
                cots: ot.drawn().send,
                turns: cost.turns - before.turns,
                trace: ch.trace_digest(),
                result: result.collect(),
            }
        }
    };
    let (client, server) = run_pair(party(true), party(false));
    [client, server]
}

/// What one party saw.
struct Side {
    online: u64,
    offline: u64,
    cots: u64,
    turns: u64,
    trace: [u8; 32],
    result: Vec<u64>,
}

fn format(name: &str, [client, server]: [Side; 2]) -> String {
    let mut hash = Fnv::new();
    for side in [&client, &server] {
        side.trace.iter().for_each(|&byte| hash.byte(byte));
        side.result.iter().flat_map(|word| word.to_le_bytes()).for_each(|byte| hash.byte(byte));
    }
    let turns = client.turns.max(server.turns);
    let (a, b, c, d) = (client.online, server.online, client.offline, server.offline);
    let (e, f) = (client.cots, server.cots);
    format!("{name:<17} {a:>6} {b:>8} {c:>9} {d:>8} {e:>7} {f:>7} {turns:>5} {:016x}", hash.0)
}

/// FNV-1a: enough to notice an accident.
struct Fnv(u64);

impl Fnv {
    fn new() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
    fn byte(&mut self, byte: u8) {
        self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
}

fn secret(me: Party) -> Rng {
    Rng::from_seed([20 + me as u8; 32])
}

/// A session's own set-up.
fn established(test: impl AsyncFn(&mut Session) -> Result<Vec<u64>, Error> + Sync) -> [Side; 2] {
    both(&test, async |_| {})
}

/// A protocol on a channel that is fresh when the session stands.
fn run(test: impl AsyncFn(&mut Session) -> Result<Vec<u64>, Error> + Sync) -> [Side; 2] {
    both(&test, async |fresh: Fresh<'_>| fresh.renew().await)
}

fn both<T>(test: &T, ready: impl AsyncFn(Fresh<'_>) + Sync) -> [Side; 2]
where
    T: AsyncFn(&mut Session) -> Result<Vec<u64>, Error> + Sync,
{
    let [near, far] = Ends::pair();
    let ready = &ready;
    let party = |me, ends: Ends| {
        move |ch| async move {
            let mut s = Session::establish(me, ch, secret(me), BINDING).await.unwrap();
            ready(Fresh { session: &mut s, ends: &ends }).await;
            let result = test(&mut s).await.unwrap();
            side(&mut s, &ends, result)
        }
    };
    let (client, server) = run_pair(party(Party::Client, near), party(Party::Server, far));
    [client, server]
}

fn linear(exactness: Exactness) -> [Side; 2] {
    let shape = WeightShape { id: 1, inner: 64, outer: 96, frac: 8, exactness };
    let data = (0..64 * 96).map(|i| (i * 37 % 4001) as i16 - 2000).collect();
    let weight = Weight::new(shape, Weights::plain(data, shape.outer), vec![]);
    keyed(
        async |me| {
            let x = scaled(&me.session, 44, 12, 4 * 64).reshape(Shape::new(4, 64));
            planner::ensure(me, vec![Need::linear(&shape, 4)]).await?;
            one(linear::client(me, &shape, &x).await)
        },
        async |me| {
            let x = scaled(&me.session, 44, 12, 4 * 64).reshape(Shape::new(4, 64));
            planner::ensure(me, vec![Need::linear(&weight, 4)]).await?;
            one(linear::server(me, &weight, &x).await)
        },
    )
}

fn norm() -> [Side; 2] {
    let shape = rms_norm::row_shape(PRECISION, 32);
    let x = |s: &Session| scaled(s, 64, 18, 64).reshape(Shape::new(2, 32));
    keyed(
        async |me| {
            planner::ensure(me, vec![Need::rows(shape, 2)]).await?;
            let x = x(&me.session);
            one(rms_norm::rms_norm(&mut me.session, &x, 1e-5).await)
        },
        async |me| {
            planner::ensure(me, vec![Need::rows(shape, 2)]).await?;
            let x = x(&me.session);
            one(rms_norm::rms_norm(&mut me.session, &x, 1e-5).await)
        },
    )
}

fn scaled_rows() -> [Side; 2] {
    let shape = RowShape::scale(PRECISION, 16);
    let factors = |s: &Session| {
        let x = scaled(s, 52, 14, 3 * 16).reshape(Shape::new(3, 16));
        (x, scaled(s, 52, 24, 3).reshape(Shape::new(3, 1)))
    };
    keyed(
        async |me| {
            planner::ensure(me, vec![Need::rows(shape, 3)]).await?;
            let (x, y) = factors(&me.session);
            one(rows::scale(&mut me.session, &x, &y).await)
        },
        async |me| {
            planner::ensure(me, vec![Need::rows(shape, 3)]).await?;
            let (x, y) = factors(&me.session);
            one(rows::scale(&mut me.session, &x, &y).await)
        },
    )
}

fn products() -> [Side; 2] {
    fn pairs(s: &Session) -> Vec<(Share, Share)> {
        let pair =
            || (row(s, 44, 4 * 16).reshape(Shape::new(4, 16)), row(s, 44, 16 * 8).reshape(Shape::new(16, 8)));
        vec![pair(), pair()]
    }
    keyed(
        async |me| {
            let pairs = pairs(&me.session);
            let out = matmul::client(me, &pairs).await?;
            Ok(out.iter().flat_map(|x| x.data().to_vec()).collect())
        },
        async |me| {
            let pairs = pairs(&me.session);
            let out = matmul::server(me, &pairs).await?;
            Ok(out.iter().flat_map(|x| x.data().to_vec()).collect())
        },
    )
}

fn keyed(
    client: impl AsyncFnOnce(&mut Client) -> Result<Vec<u64>, Error> + Send,
    server: impl AsyncFnOnce(&mut Server) -> Result<Vec<u64>, Error> + Send,
) -> [Side; 2] {
    let [near, far] = Ends::pair();
    let (client, server) = run_pair(
        |ch| async move {
            let mut me = Client::establish(ch, secret(Party::Client), BINDING).await.unwrap();
            Fresh { session: &mut me.session, ends: &near }.renew().await;
            let result = client(&mut me).await.unwrap();
            side(&mut me.session, &near, result)
        },
        |ch| async move {
            let mut me = Server::establish(ch, secret(Party::Server), BINDING).await.unwrap();
            Fresh { session: &mut me.session, ends: &far }.renew().await;
            let result = server(&mut me).await.unwrap();
            side(&mut me.session, &far, result)
        },
    );
    [client, server]
}

fn side(s: &mut Session, ends: &Ends, result: Vec<u64>) -> Side {
    let spans = s.ch.meter.spans();
    let sent = |half| spans.iter().filter(|(key, _)| key.half == half).map(|(_, cost)| cost.sent).sum();
    let turns = s.ch.meter.total().turns;
    // Both are done before either's runtime stops and takes queued frames with it.
    let _ = ends.done.send(());
    let _ = ends.other_done.recv();
    Side {
        online: sent(Half::Online),
        offline: sent(Half::Offline),
        cots: s.drawn_cots().0,
        turns,
        trace: s.ch.trace_digest(),
        result,
    }
}

/// A session that gets a channel whose clock and counters are at zero.
struct Fresh<'a> {
    session: &'a mut Session,
    ends: &'a Ends,
}

impl Fresh<'_> {
    async fn renew(self) {
        self.session.settle().await.unwrap();
        self.session.ch = match &self.ends.channels {
            Channels::Made(give) => {
                let (mine, theirs) = memory_pair(Link::LOOPBACK);
                give.send(theirs).unwrap();
                mine
            }
            Channels::Taken(take) => take.recv().unwrap(),
        };
    }
}

/// How the two parties' threads hand over channels and wait for each other's end.
struct Ends {
    channels: Channels,
    done: mpsc::Sender<()>,
    other_done: mpsc::Receiver<()>,
}

enum Channels {
    Made(mpsc::Sender<Channel>),
    Taken(mpsc::Receiver<Channel>),
}

impl Ends {
    fn pair() -> [Ends; 2] {
        let (give, take) = mpsc::channel();
        let ((done_0, other_done_1), (done_1, other_done_0)) = (mpsc::channel(), mpsc::channel());
        [
            Ends { channels: Channels::Made(give), done: done_0, other_done: other_done_0 },
            Ends { channels: Channels::Taken(take), done: done_1, other_done: other_done_1 },
        ]
    }
}

/// This party's half of `n` numbers of the ring: the client's are random, their sum with the
/// server's is small.
fn scaled(s: &Session, bits: u32, frac: u32, n: usize) -> Share {
    let ring = Ring::new(bits);
    let mask = Rng::from_seed([5; 32]).elements(n, ring);
    let value = |i: usize| (i as u64 * 77 + 1) << (frac / 2);
    let mine = |(i, &mask): (usize, &u64)| match s.me {
        Party::Client => mask,
        Party::Server => ring.reduce(value(i).wrapping_sub(mask)),
    };
    Share::new(ring, frac, Shape::new(1, n), mask.iter().enumerate().map(mine).collect())
}

fn row(s: &Session, bits: u32, n: usize) -> Share {
    scaled(s, bits, 0, n)
}

fn column(s: &Session, bits: u32, frac: u32) -> Share {
    scaled(s, bits, frac, 4).reshape(Shape::new(4, 1))
}

fn bits(s: &Session, width: u32, n: usize) -> XorShare {
    XorShare::new(width, row(s, width, n).data().to_vec())
}

fn words<const K: usize>(out: Result<[Share; K], Error>) -> Result<Vec<u64>, Error> {
    out.map(|out| out.iter().flat_map(|x| x.data().to_vec()).collect())
}

fn one(out: Result<Share, Error>) -> Result<Vec<u64>, Error> {
    words(out.map(|x| [x]))
}

fn plain(out: Result<XorShare, Error>) -> Result<Vec<u64>, Error> {
    out.map(|x| x.words().to_vec())
}
