//! What is made beside the protocol: products under the client's key, and one-hots.
//!
//! | client                      |                      | server                                 |
//! |-----------------------------|----------------------|----------------------------------------|
//! | encrypts                    | `-- */upload ->`     | multiplies                             |
//! | decrypts                    | `<- */reply --`      | keeps its shares                       |
//!
//! or, round by round,
//!
//! | client                      |                      | server                                 |
//! |-----------------------------|----------------------|----------------------------------------|
//! | a level of its vectors      | `<- ot/one-hot/level ->` | the same, which does not depend on the client's |
//!
//! Nothing of it depends on inputs, so that it runs while the messages of an evaluation travel: these have the right of way
//! ([`sotto_net::BackgroundRequest`]), and the computations threads of their own, one errand of a session at a time. Both parties start
//! and finish errands at the same points. One that fails ends the session when it is finished; one that is given up runs to its end, since
//! the peer counts on its messages.

use std::{
    ops::Range,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use rayon::{ThreadPool, ThreadPoolBuilder};
use sotto_net::{Background, Queue};
use sotto_ot::{OneHotCots, OneHots, Wanted};
use sotto_shares::Party;

use crate::{Error, Session};

/// What is being made.
pub(crate) struct Errand<T> {
    /// On the channel.
    numbers: Range<u64>,
    /// How many.
    pub count: usize,
    made: Background<Result<T, Error>>,
    _load: Load,
}

/// The errands of a session: where they wait for each other, and bytes of stock that they will make, about.
#[derive(Default)]
pub(crate) struct Errands {
    queue: Queue,
    under_way: Arc<AtomicUsize>,
}

impl Errands {
    /// Bytes of stock that are being made.
    pub fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }

    fn load(&self, bytes: usize) -> Load {
        self.under_way.fetch_add(bytes, Ordering::Relaxed);
        Load(self.under_way.clone(), bytes)
    }
}

/// An errand's part of what is under way.
struct Load(Arc<AtomicUsize>, usize);

impl Drop for Load {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

/// What both parties know of an errand.
pub(crate) struct Outline {
    /// The tags and lengths of request and reply.
    pub request: (&'static str, usize),
    pub reply: (&'static str, usize),
    /// How many are made.
    pub count: usize,
    /// Bytes that they will take in stock, about.
    pub bytes: usize,
}

/// Threads for errands: as many as there are for everything else.
static THREADS: LazyLock<ThreadPool> = LazyLock::new(|| {
    let builder = ThreadPoolBuilder::new().num_threads(rayon::current_num_threads());
    builder.thread_name(|i| format!("errand-{i}")).build().expect("the system grants threads")
});

/// The client's part: `ask` makes the request and what is kept of it, `take` makes what is wanted of that and the reply.
pub(crate) fn client<T: Send + 'static, K: Send + 'static>(
    s: &mut Session,
    outline: Outline,
    ask: impl FnOnce() -> (Vec<u8>, K) + Send + 'static,
    take: impl FnOnce(K, Vec<u8>) -> Result<T, Error> + Send + 'static,
) -> Errand<T> {
    let Outline { request, reply, count, bytes } = outline;
    let (errand, queue) = (s.ch.start_request(request, reply), s.errands.queue.clone());
    let numbers = errand.number..errand.number + 1;
    let made = Background::start(async move {
        let outgoing = errand.outgoing;
        let work = || match outgoing.is_lost() {
            true => None,
            false => Some(THREADS.install(ask)),
        };
        let gone = sotto_net::Error::Closed { step: reply.0 };
        let (request, kept) = queue.compute(work).await.ok_or(gone)?;
        outgoing.fill(request);
        let reply = errand.incoming.wait().await?;
        queue.compute(|| THREADS.install(|| take(kept, reply))).await
    });
    Errand { numbers, count, made, _load: s.errands.load(bytes) }
}

/// The server's part: `answer` makes the reply and what is wanted of the request.
pub(crate) fn server<T: Send + 'static>(
    s: &mut Session,
    outline: Outline,
    answer: impl FnOnce(Vec<u8>) -> Result<(Vec<u8>, T), Error> + Send + 'static,
) -> Errand<T> {
    let Outline { request, reply, count, bytes } = outline;
    let (errand, queue) = (s.ch.accept_request(request, reply), s.errands.queue.clone());
    let numbers = errand.number..errand.number + 1;
    let made = Background::start(async move {
        let request = errand.incoming.wait().await?;
        let outgoing = errand.outgoing;
        let work = || match outgoing.is_lost() {
            true => Err(sotto_net::Error::Closed { step: reply.0 }.into()),
            false => THREADS.install(|| answer(request)),
        };
        let (reply, made) = queue.compute(work).await?;
        outgoing.fill(reply);
        Ok(made)
    });
    Errand { numbers, count, made, _load: s.errands.load(bytes) }
}

/// One-hots, of which the COTs are drawn; an errand a round, each of which depends on the one before.
///
/// # Panics
/// If all of them have only one bit: there is nothing to be said in return.
pub(crate) fn one_hots(s: &mut Session, wanted: &[Wanted], cots: OneHotCots) -> Errand<Vec<OneHots>> {
    let (me, mut rng, queue) = (s.me, s.rng.fork(), s.errands.queue.clone());
    let [ours, theirs] = [true, false].map(|first| sotto_ot::round_lens(first, wanted));
    let mut errands: Vec<sotto_net::BackgroundRequest> = vec![];
    for (ours, theirs) in ours.into_iter().zip(theirs) {
        let (request, reply) = ((sotto_ot::LEVEL, ours), (sotto_ot::LEVEL, theirs));
        errands.push(match (me, errands.last()) {
            (Party::Client, None) => s.ch.start_request(request, reply),
            (Party::Client, Some(before)) => s.ch.start_next_request(before, request, reply),
            (Party::Server, None) => s.ch.accept_request(request, reply),
            (Party::Server, Some(before)) => s.ch.accept_next_request(before, request, reply),
        });
    }
    let first = errands.first().map_or(0, |errand| errand.number);
    let numbers = first..first + errands.len() as u64;
    let count = wanted.iter().map(|w| w.n).sum();
    let made = Background::start(async move {
        let mut rounds = queue.compute(|| THREADS.install(|| cots.begin(&mut rng))).await;
        for (round, errand) in errands.into_iter().enumerate() {
            if errand.outgoing.is_lost() {
                return Err(sotto_net::Error::Closed { step: sotto_ot::LEVEL }.into());
            }
            let mine = queue.compute(|| THREADS.install(|| rounds.message(round))).await;
            let theirs = match me {
                Party::Client => {
                    errand.outgoing.fill(mine);
                    errand.incoming.wait().await?
                }
                Party::Server => {
                    let theirs = errand.incoming.wait().await?;
                    errand.outgoing.fill(mine);
                    theirs
                }
            };
            queue.compute(|| THREADS.install(|| rounds.take(round, &theirs))).await;
        }
        Ok(rounds.finish())
    });
    Errand { numbers, count, made, _load: s.errands.load(0) }
}

impl<T: Send + 'static> Errand<T> {
    /// Waits for its end.
    ///
    /// # Errors
    /// The peer's message is malformed or missing.
    pub async fn finish(self, s: &mut Session) -> Result<T, Error> {
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
