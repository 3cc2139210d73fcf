//! A background request: products under the client's key, or one-hots, made while other messages
//! travel.
//!
//! | client                      |                      | server                                 |
//! |-----------------------------|----------------------|----------------------------------------|
//! | encrypts                    | `-- */upload ->`     | multiplies                             |
//! | decrypts                    | `<- */reply --`      | keeps its shares                       |
//!
//! or, round by round,
//!
//! | client                 |                          | server                                |
//! |------------------------|--------------------------|---------------------------------------|
//! | a level of its vectors | `<- ot/one-hot/level ->` | the same, independent of the client's |
//!
//! Nothing in a request depends on inputs, so it runs while the messages of an evaluation travel.
//! Those go first ([`sotto_net::BackgroundRequest`]). The computations have threads of their own,
//! one request of a session at a time. Both parties begin and finish requests at the same points. A
//! request that fails ends the session when it is finished. One that is dropped runs to its end,
//! since the peer counts on its messages.

use std::{
    ops::Range,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use rayon::{ThreadPool, ThreadPoolBuilder};
use sotto_net::{Background, Half, Queue};
use sotto_ot::{OneHotCots, OneHots, Wanted};
use sotto_shares::Party;

use crate::{Error, Session};

/// Entries of a stock that are being made.
pub(crate) struct Request<T> {
    /// Its messages on the channel.
    numbers: Range<u64>,
    /// How many entries.
    pub count: usize,
    span: &'static str,
    made: Background<Result<T, Error>>,
    _load: Load,
}

/// The requests of a session: the queue of their computations, and the bytes of stock in flight.
#[derive(Default)]
pub(crate) struct Requests {
    queue: Queue,
    in_flight: Arc<AtomicUsize>,
}

impl Requests {
    /// Bytes of stock that are being made, about.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    fn load(&self, bytes: usize) -> Load {
        self.in_flight.fetch_add(bytes, Ordering::Relaxed);
        Load(self.in_flight.clone(), bytes)
    }
}

/// A request's part of the bytes in flight.
struct Load(Arc<AtomicUsize>, usize);

impl Drop for Load {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

/// What both parties know of a request.
pub(crate) struct Outline {
    /// The span of the meter that it belongs to, in the offline half.
    pub span: &'static str,
    /// Tag and length of the client's message.
    pub upload: (&'static str, usize),
    /// Tag and length of the server's.
    pub reply: (&'static str, usize),
    /// How many entries are made.
    pub count: usize,
    /// Bytes that they will take in stock, about.
    pub bytes: usize,
}

/// Threads for requests: as many as there are for everything else.
static THREADS: LazyLock<ThreadPool> = LazyLock::new(|| {
    let builder = ThreadPoolBuilder::new().num_threads(rayon::current_num_threads());
    builder.thread_name(|i| format!("background-{i}")).build().expect("the system grants threads")
});

/// The client's part: `ask` makes the upload and what is kept of it; `take` makes the entries of
/// that and the reply.
pub(crate) fn client<T: Send + 'static, K: Send + 'static>(
    s: &mut Session,
    outline: Outline,
    ask: impl FnOnce() -> (Vec<u8>, K) + Send + 'static,
    take: impl FnOnce(K, Vec<u8>) -> Result<T, Error> + Send + 'static,
) -> Request<T> {
    let Outline { span, upload, reply, count, bytes } = outline;
    s.ch.meter.enter(span, Half::Offline);
    let (request, queue) = (s.ch.start_request(upload, reply), s.requests.queue.clone());
    s.ch.meter.leave();
    let numbers = request.number..request.number + 1;
    let made = Background::start(async move {
        let outgoing = request.outgoing;
        let work = || match outgoing.is_lost() {
            true => None,
            false => Some(THREADS.install(ask)),
        };
        let gone = sotto_net::Error::Closed { step: reply.0 };
        let (upload, kept) = queue.compute(work).await.ok_or(gone)?;
        outgoing.fill(upload);
        let reply = request.incoming.wait().await?;
        queue.compute(|| THREADS.install(|| take(kept, reply))).await
    });
    Request { numbers, count, span, made, _load: s.requests.load(bytes) }
}

/// The server's part: `answer` makes the reply and the entries of the upload.
pub(crate) fn server<T: Send + 'static>(
    s: &mut Session,
    outline: Outline,
    answer: impl FnOnce(Vec<u8>) -> Result<(Vec<u8>, T), Error> + Send + 'static,
) -> Request<T> {
    let Outline { span, upload, reply, count, bytes } = outline;
    s.ch.meter.enter(span, Half::Offline);
    let (request, queue) = (s.ch.accept_request(upload, reply), s.requests.queue.clone());
    s.ch.meter.leave();
    let numbers = request.number..request.number + 1;
    let made = Background::start(async move {
        let upload = request.incoming.wait().await?;
        let outgoing = request.outgoing;
        let work = || match outgoing.is_lost() {
            true => Err(sotto_net::Error::Closed { step: reply.0 }.into()),
            false => THREADS.install(|| answer(upload)),
        };
        let (reply, made) = queue.compute(work).await?;
        outgoing.fill(reply);
        Ok(made)
    });
    Request { numbers, count, span, made, _load: s.requests.load(bytes) }
}

/// One-hots, whose COTs are drawn: a message each way for each round, which depends on the one
/// before.
///
/// # Panics
/// If all of them have only one bit: then the parties have nothing to send.
pub(crate) fn one_hots(
    s: &mut Session,
    span: &'static str,
    wanted: &[Wanted],
    cots: OneHotCots,
) -> Request<Vec<OneHots>> {
    let (me, mut rng, queue) = (s.me, s.rng.fork(), s.requests.queue.clone());
    let [ours, theirs] = [true, false].map(|first| sotto_ot::round_lens(first, wanted));
    s.ch.meter.enter(span, Half::Offline);
    let mut requests: Vec<sotto_net::BackgroundRequest> = vec![];
    for (ours, theirs) in ours.into_iter().zip(theirs) {
        let (upload, reply) = ((sotto_ot::LEVEL, ours), (sotto_ot::LEVEL, theirs));
        requests.push(match (me, requests.last()) {
            (Party::Client, None) => s.ch.start_request(upload, reply),
            (Party::Client, Some(before)) => s.ch.start_next_request(before, upload, reply),
            (Party::Server, None) => s.ch.accept_request(upload, reply),
            (Party::Server, Some(before)) => s.ch.accept_next_request(before, upload, reply),
        });
    }
    s.ch.meter.leave();
    let first = requests.first().map_or(0, |request| request.number);
    let numbers = first..first + requests.len() as u64;
    let count = wanted.iter().map(|w| w.n).sum();
    let made = Background::start(async move {
        let mut rounds = queue.compute(|| THREADS.install(|| cots.begin(&mut rng))).await;
        for (round, request) in requests.into_iter().enumerate() {
            if request.outgoing.is_lost() {
                return Err(sotto_net::Error::Closed { step: sotto_ot::LEVEL }.into());
            }
            let mine = queue.compute(|| THREADS.install(|| rounds.message(round))).await;
            let theirs = match me {
                Party::Client => {
                    request.outgoing.fill(mine);
                    request.incoming.wait().await?
                }
                Party::Server => {
                    let theirs = request.incoming.wait().await?;
                    request.outgoing.fill(mine);
                    theirs
                }
            };
            queue.compute(|| THREADS.install(|| rounds.take(round, &theirs))).await;
        }
        Ok(rounds.finish())
    });
    Request { numbers, count, span, made, _load: s.requests.load(0) }
}

impl<T: Send + 'static> Request<T> {
    /// Waits for its end.
    ///
    /// # Errors
    /// The peer's message is malformed or missing.
    pub async fn finish(self, s: &mut Session) -> Result<T, Error> {
        s.ch.meter.enter(self.span, Half::Offline);
        let made = self.made_on(s).await;
        s.ch.meter.leave();
        made
    }

    async fn made_on(self, s: &mut Session) -> Result<T, Error> {
        if self.made.is_over() {
            // If it has failed, nothing more will come of it.
            let made = self.made.join().await?;
            s.ch.catch_up(self.numbers).await?;
            return Ok(made);
        }
        s.ch.catch_up(self.numbers).await?;
        self.made.join().await
    }
}
