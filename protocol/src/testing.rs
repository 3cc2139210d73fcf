//! Both parties in one process, with fixed seeds: what the tests of this crate stand on.
//!
//! A test runs one `async` closure at both parties, on a [`Lab`]: it shares clear inputs, stocks
//! the pool, and measures protocols, each on a channel of its own, so that clocks and counters
//! start at zero. What the closure returns is opened: shares become values, the two [`Side`]s of a
//! cost a [`Traffic`].

use std::sync::mpsc;

use rand::RngCore;
use sotto_net::{Channel, Half, Link, memory_pair, run_pair};
use sotto_shares::{Party, Ring, Rng, Shape, Share, XorShare, decode};

pub(crate) use crate::cost::{Cost, CostModel};
use crate::{Client, Error, Precision, Schedule, Server, Session};

/// By which stride a sweep goes: 1 in the long run, `SWEEP=all cargo test -p sotto-protocol`, else
/// `stride`, an odd number, so that all offsets occur.
pub(crate) fn stride(stride: usize) -> usize {
    if std::env::var_os("SWEEP").is_some_and(|sweep| sweep == "all") { 1 } else { stride }
}

/// COTs in each direction that a measured protocol may take without asking.
const COTS: usize = 1 << 18;

/// One party's bench: the party, and the source of its fresh channels.
pub(crate) struct Lab<P = Session> {
    pub me: P,
    channels: Channels,
    splits: Rng,
}

/// What has a session.
pub(crate) trait Holder {
    fn session(&mut self) -> &mut Session;
}

impl Holder for Session {
    fn session(&mut self) -> &mut Session {
        self
    }
}

impl Holder for Client {
    fn session(&mut self) -> &mut Session {
        &mut self.session
    }
}

impl Holder for Server {
    fn session(&mut self) -> &mut Session {
        &mut self.session
    }
}

/// Where a party's fresh channels come from, and how it tells the other that it is done: what is
/// queued when a party's runtime stops would be lost.
struct Channels {
    source: Source,
    done: mpsc::Sender<()>,
    other_done: mpsc::Receiver<()>,
}

enum Source {
    Made(mpsc::Sender<Channel>),
    Taken(mpsc::Receiver<Channel>),
}

impl Channels {
    fn pair() -> [Channels; 2] {
        let (give, take) = mpsc::channel();
        let ((done_0, other_done_1), (done_1, other_done_0)) = (mpsc::channel(), mpsc::channel());
        [
            Channels { source: Source::Made(give), done: done_0, other_done: other_done_0 },
            Channels { source: Source::Taken(take), done: done_1, other_done: other_done_1 },
        ]
    }

    /// Lends a lab to a test, and waits for the other party's end.
    async fn lend<P: Holder, T>(self, me: P, test: impl AsyncFnOnce(&mut Lab<P>) -> T) -> T {
        let mut lab = Lab { me, channels: self, splits: Rng::from_seed([7; 32]) };
        lab.stock_cots(COTS).await;
        let out = test(&mut lab).await;
        let _ = lab.channels.done.send(());
        let _ = lab.channels.other_done.recv();
        out
    }
}

/// One party's view of a protocol's online half.
pub(crate) struct Side {
    sent: u64,
    turns: u64,
    /// COTs spent as sender, as receiver.
    cots: [usize; 2],
    one_hots: usize,
    trace: [u8; 32],
}

/// A cost and the digests of the parties' sent headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub cost: Cost,
    pub trace: [[u8; 32]; 2],
}

/// Bits that the one-hots drawn so far took.
fn one_hot_bits_drawn(s: &Session) -> usize {
    s.drawn_one_hots().iter().map(|(&(k, ring), n)| n * sotto_ot::one_hot_bits(k, ring)).sum()
}

/// Every precision by every schedule.
pub(crate) fn modes() -> impl Iterator<Item = (Precision, Schedule)> {
    let schedules = [Schedule::Throughput, Schedule::Latency];
    Precision::ALL.into_iter().flat_map(move |precision| schedules.map(|schedule| (precision, schedule)))
}

/// Smallest `k` with `2^k >= n`.
pub(crate) fn log2_ceil(n: usize) -> u64 {
    n.next_power_of_two().ilog2().into()
}

/// Runs `test` at both parties of a session and opens what it returns.
pub(crate) fn run<T: Open + Send>(test: impl AsyncFn(&mut Lab) -> T + Sync) -> T::Clear {
    let [client, server] = run_both(test);
    T::open(client, server)
}

/// Runs `test` at both parties of a session; the client's result and the server's.
pub(crate) fn run_both<T: Send>(test: impl AsyncFn(&mut Lab) -> T + Sync) -> [T; 2] {
    let ([client, server], test) = (Channels::pair(), &test);
    let (client, server) = run_pair(
        |ch| async move {
            let me = Session::establish(Party::Client, ch, secret(Party::Client), [0; 32]).await.unwrap();
            client.lend(me, async |lab| test(lab).await).await
        },
        |ch| async move {
            let me = Session::establish(Party::Server, ch, secret(Party::Server), [0; 32]).await.unwrap();
            server.lend(me, async |lab| test(lab).await).await
        },
    );
    [client, server]
}

/// As [`run`], where the parties hold lattice keys and do different things.
pub(crate) fn run_keyed<T: Open + Send>(
    client: impl AsyncFnOnce(&mut Lab<Client>) -> T + Send,
    server: impl AsyncFnOnce(&mut Lab<Server>) -> T + Send,
) -> T::Clear {
    let [near, far] = Channels::pair();
    let (client, server) = run_pair(
        |ch| async move {
            near.lend(Client::establish(ch, secret(Party::Client), [0; 32]).await.unwrap(), client).await
        },
        |ch| async move {
            far.lend(Server::establish(ch, secret(Party::Server), [0; 32]).await.unwrap(), server).await
        },
    );
    T::open(client, server)
}

/// A party's generator.
pub(crate) fn secret(me: Party) -> Rng {
    Rng::from_seed([10 + me as u8; 32])
}

/// Uniform elements, the ring's edges first.
pub(crate) fn elements(n: usize, ring: Ring) -> Vec<u64> {
    let half = 1u64 << (ring.bits() - 1);
    let edges = [0, 1, ring.mask(), half, half - 1, half.wrapping_add(1), ring.mask() - 1, 2];
    let random = Rng::from_seed([3; 32]).elements(n.saturating_sub(edges.len()), ring);
    edges.into_iter().map(|x| ring.reduce(x)).take(n).chain(random).collect()
}

/// The real numbers that elements stand for.
pub(crate) fn reals(values: &[u64], ring: Ring, frac: u32) -> Vec<f64> {
    values.iter().map(|&v| decode(v, frac, ring)).collect()
}

/// The largest of `|got - want|`.
pub(crate) fn worst(got: &[f64], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

impl<P: Holder> Lab<P> {
    fn party(&mut self) -> Party {
        self.me.session().me
    }

    /// This party's share of values that both know here: random splits, and the ring's edges as
    /// shares.
    pub(crate) fn share(&mut self, values: &[u64], ring: Ring, frac: u32, shape: Shape) -> Share {
        let me = self.party();
        let mut mine = |&x: &u64| {
            let edges = [0, ring.mask(), 1 << (ring.bits() - 1), ring.mask() >> 1, x];
            let mask = ring.reduce(self.splits.next_u64());
            let mask = *edges.get(self.splits.next_u64() as usize % 32).unwrap_or(&mask);
            if me == Party::Client { ring.reduce(mask) } else { ring.reduce(x.wrapping_sub(mask)) }
        };
        Share::new(ring, frac, shape, values.iter().map(&mut mine).collect())
    }

    /// This party's of two given shares.
    pub(crate) fn given(&mut self, client: &[u64], server: &[u64], ring: Ring) -> Share {
        let mine = if self.party() == Party::Client { client } else { server };
        Share::new(ring, 0, Shape::new(1, mine.len()), mine.to_vec())
    }

    /// As [`Lab::share`], a row of integers.
    pub(crate) fn row(&mut self, values: &[u64], ring: Ring) -> Share {
        self.share(values, ring, 0, Shape::new(1, values.len()))
    }

    /// This party's XOR share of words that both know here.
    pub(crate) fn bits(&mut self, words: &[u64], width: u32) -> XorShare {
        let ring = Ring::new(width);
        let me = self.party();
        let mut mine = |&w: &u64| {
            let mask = ring.reduce(self.splits.next_u64());
            if me == Party::Client { mask } else { w ^ mask }
        };
        XorShare::new(width, words.iter().map(&mut mine).collect())
    }

    /// Makes so many COTs ready in both directions that `n` can be drawn and nothing has to be sent
    /// ahead for more.
    pub(crate) async fn stock_cots(&mut self, n: usize) {
        let s = self.me.session();
        s.ot.reserve_ahead(&mut s.ch, 2 * n, 2 * n).await.unwrap();
        // What is on its way must have come before the channel is exchanged for a fresh one.
        s.ch.exchange("testing/stock", vec![]).await.unwrap();
        s.settle().await.unwrap();
    }

    /// Makes one-hots for one call.
    pub(crate) async fn stock_one_hots(&mut self, bits: u32, ring: Ring, n: usize) {
        let s = self.me.session();
        // Those in stock come first: they stay in stock behind the new ones.
        let before = s.stocks.one_hots.remove(&(bits, ring));
        let made = s.one_hots(bits, ring, n).await.unwrap();
        let mut stock = before.unwrap_or_default();
        stock.add(made);
        s.stocks.one_hots.insert((bits, ring), stock);
    }

    /// Makes the one-hots that a cost states.
    pub(crate) async fn stock(&mut self, cost: &CostModel) {
        for (&(bits, ring), &n) in cost.one_hots() {
            self.stock_one_hots(bits, ring, n).await;
        }
    }

    /// Makes triples for one call.
    pub(crate) async fn stock_triples(&mut self, ring: Ring, n: usize) {
        let s = self.me.session();
        let made = s.triples(ring, n).await.unwrap();
        s.stocks.triples.entry(ring).or_default().add(made);
    }

    /// Makes square pairs for one call.
    pub(crate) async fn stock_squares(&mut self, ring: Ring, n: usize) {
        let s = self.me.session();
        let made = s.squares(ring, n).await.unwrap();
        s.stocks.squares.entry(ring).or_default().add(made);
    }

    /// Runs a protocol whose correlations are all in stock, on a fresh channel.
    pub(crate) async fn measure<T>(
        &mut self,
        protocol: impl AsyncFnOnce(&mut P) -> Result<T, Error>,
    ) -> (T, Side) {
        let drawn = |s: &Session| [s.ot.drawn().send as usize, s.ot.drawn().recv as usize];
        let ready = self.me.session().ot.ready();
        if ready.send.min(ready.recv) < 2 * COTS as u64 {
            self.stock_cots(COTS).await;
        }
        self.renew();
        let before = (drawn(self.me.session()), one_hot_bits_drawn(self.me.session()));
        let out = protocol(&mut self.me).await.unwrap();
        let s = self.me.session();
        let after = drawn(s);
        let offline = s.ch.meter.spans().into_iter().filter(|(key, _)| key.half == Half::Offline);
        assert_eq!(offline.map(|(_, cost)| cost.bytes()).sum::<u64>(), 0, "the pool had what it takes");
        let total = s.ch.meter.total();
        let cots = [after[0] - before.0[0], after[1] - before.0[1]];
        let (one_hots, trace) = (one_hot_bits_drawn(s) - before.1, s.ch.trace_digest());
        (out, Side { sent: total.sent, turns: total.turns, cots, one_hots, trace })
    }

    /// Puts a fresh channel in the place of the old one.
    pub(crate) fn renew(&mut self) {
        let ch = match &self.channels.source {
            Source::Made(give) => {
                let (mine, theirs) = memory_pair(Link::LOOPBACK);
                give.send(theirs).expect("the server waits for its end");
                mine
            }
            Source::Taken(take) => take.recv().expect("the client makes a pair"),
        };
        self.me.session().ch = ch;
    }
}

/// What two parties' results are when put together.
pub(crate) trait Open {
    type Clear;
    fn open(client: Self, server: Self) -> Self::Clear;
}

impl Open for Share {
    type Clear = Vec<u64>;
    fn open(client: Share, server: Share) -> Vec<u64> {
        (&client + &server).data().to_vec()
    }
}

impl Open for XorShare {
    type Clear = Vec<u64>;
    fn open(client: XorShare, server: XorShare) -> Vec<u64> {
        client.xor(&server).words().to_vec()
    }
}

impl Open for Side {
    type Clear = Traffic;
    fn open(client: Side, server: Side) -> Traffic {
        assert_eq!(client.cots, [server.cots[1], server.cots[0]], "both spend the same COTs");
        let turns = client.turns.max(server.turns);
        assert_eq!(client.one_hots, server.one_hots, "both spend the same one-hots");
        let (cots, one_hots) = (client.cots, client.one_hots);
        let cost = Cost { client: client.sent, server: server.sent, turns, cots, one_hots };
        Traffic { cost, trace: [client.trace, server.trace] }
    }
}

impl<A: Open, B: Open> Open for (A, B) {
    type Clear = (A::Clear, B::Clear);
    fn open(client: (A, B), server: (A, B)) -> Self::Clear {
        (A::open(client.0, server.0), B::open(client.1, server.1))
    }
}

impl<T: Open, const N: usize> Open for [T; N] {
    type Clear = [T::Clear; N];
    fn open(client: [T; N], server: [T; N]) -> Self::Clear {
        let mut server = server.into_iter();
        client.map(|c| T::open(c, server.next().expect("as many")))
    }
}

impl<T: Open> Open for Vec<T> {
    type Clear = Vec<T::Clear>;
    fn open(client: Vec<T>, server: Vec<T>) -> Self::Clear {
        assert_eq!(client.len(), server.len());
        client.into_iter().zip(server).map(|(c, s)| T::open(c, s)).collect()
    }
}

impl Open for () {
    type Clear = ();
    fn open((): (), (): ()) {}
}
