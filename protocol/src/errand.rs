//! Encrypted work beside the protocol: a request under the client's key, and the server's reply.
//!
//! | client                      |                      | server                                 |
//! |-----------------------------|----------------------|----------------------------------------|
//! | encrypts                    | `-- */upload ->`     | multiplies                             |
//! | decrypts                    | `<- */reply --`      | keeps its shares                       |
//!
//! Nothing of it depends on inputs, so that it runs while the messages of an evaluation travel: these have the right of way
//! ([`sotto_net::Errand`]), and the computations threads of their own, one errand of a session at a time. Both parties start
//! and finish errands at the same points. One that fails ends the session when it is finished; one that is given up runs to its end, since
//! the peer counts on its messages.

use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicUsize, Ordering},
};

use rayon::{ThreadPool, ThreadPoolBuilder};
use sotto_net::{Background, Queue};

use crate::{Error, Session};

/// What is being made.
pub(crate) struct Errand<T> {
    number: u64,
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
    let (errand, queue) = (s.ch.run_errand(request, reply), s.errands.queue.clone());
    let number = errand.number();
    let made = Background::start(async move {
        let (request, kept) = queue.compute(|| THREADS.install(ask)).await;
        errand.outgoing.fill(request);
        let reply = errand.incoming.wait().await?;
        queue.compute(|| THREADS.install(|| take(kept, reply))).await
    });
    Errand { number, count, made, _load: s.errands.load(bytes) }
}

/// The server's part: `answer` makes the reply and what is wanted of the request.
pub(crate) fn server<T: Send + 'static>(
    s: &mut Session,
    outline: Outline,
    answer: impl FnOnce(Vec<u8>) -> Result<(Vec<u8>, T), Error> + Send + 'static,
) -> Errand<T> {
    let Outline { request, reply, count, bytes } = outline;
    let (errand, queue) = (s.ch.take_errand(request, reply), s.errands.queue.clone());
    let number = errand.number();
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
    Errand { number, count, made, _load: s.errands.load(bytes) }
}

impl<T: Send + 'static> Errand<T> {
    /// Waits for its end.
    ///
    /// # Errors
    /// The peer's message is malformed or missing.
    pub async fn finish(self, s: &mut Session) -> Result<T, Error> {
        s.ch.catch_up(self.number).await?;
        self.made.join().await
    }
}
