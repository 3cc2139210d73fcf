//! The one place that starts the async runtime, opens sockets and leaves the async threads for long
//! computations.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::Mutex,
    task::JoinHandle,
    time::timeout,
};

use crate::{Channel, Error, Incoming, Link, Stream, shape};

/// How long a server may take to answer at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// The async runtime of a program.
pub struct Runtime(tokio::runtime::Runtime);

impl Runtime {
    /// A runtime with as many workers as the machine has cores, two at least.
    ///
    /// # Panics
    /// If the system refuses threads.
    pub fn new() -> Runtime {
        let workers = std::thread::available_parallelism().map_or(2, usize::from).max(2);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers)
            .enable_all()
            .build()
            .expect("the system grants threads");
        Runtime(runtime)
    }

    /// A runtime of the thread that runs it, for what must not get in the way of others.
    ///
    /// # Panics
    /// If the system refuses it.
    pub fn single() -> Runtime {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Runtime(runtime.expect("the system grants a runtime"))
    }

    /// Runs `future` to its end.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.0.block_on(future)
    }

    /// Runs `future` in a task of its own.
    pub fn spawn(future: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(future);
    }
}

impl Default for Runtime {
    fn default() -> Runtime {
        Runtime::new()
    }
}

/// Runs a long computation without holding up the tasks that send and receive. It may borrow.
pub fn compute<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

/// A task that was started by another one. It goes on when this is dropped.
#[must_use]
pub struct Background<T>(JoinHandle<T>);

impl<T: Send + 'static> Background<T> {
    /// Starts `future`. Must be called inside a [`Runtime`].
    pub fn start(future: impl Future<Output = T> + Send + 'static) -> Background<T> {
        Background(tokio::spawn(future))
    }

    /// Whether the task has ended.
    pub fn is_over(&self) -> bool {
        self.0.is_finished()
    }

    /// Waits until the task has ended.
    ///
    /// # Panics
    /// If the task has panicked.
    pub async fn join(self) -> T {
        match self.0.await {
            Ok(result) => result,
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        }
    }
}

/// Runs long computations of several tasks one at a time, in the order in which they ask.
#[derive(Clone, Default)]
pub struct Queue(Arc<Mutex<()>>);

impl Queue {
    /// As [`compute`], after all computations that were asked for before.
    pub async fn compute<T>(&self, work: impl FnOnce() -> T) -> T {
        let _turn = self.0.lock().await;
        compute(work)
    }
}

/// Connects to a server at `HOST:PORT`.
///
/// # Errors
/// [`Error::Connect`].
pub async fn connect(addr: &str, link: Link) -> Result<Channel, Error> {
    Ok(shaped(connect_tcp(addr).await?, link))
}

/// A channel over `stream` as if it ran over `link`.
fn shaped(stream: impl Stream, link: Link) -> Channel {
    let mut channel = Channel::new(shape(stream, link));
    channel.state_rate(link.rate);
    channel
}

pub(crate) async fn connect_tcp(addr: &str) -> Result<TcpStream, Error> {
    let attempt = timeout(CONNECT_TIMEOUT, TcpStream::connect(addr)).await;
    let stream = attempt.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let ready = stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream));
    ready.map_err(|source| Error::Connect { addr: addr.into(), source })
}

/// A server's socket.
pub struct Listener(TcpListener);

impl Listener {
    /// Listens on `addr`.
    ///
    /// # Errors
    /// [`Error::Listen`], when the port is taken for example.
    pub async fn bind(addr: SocketAddr) -> Result<Listener, Error> {
        TcpListener::bind(addr).await.map(Listener).map_err(|source| Error::Listen { addr, source })
    }

    /// The address that is listened on.
    pub fn addr(&self) -> SocketAddr {
        self.0.local_addr().expect("a bound socket has an address")
    }

    /// The next client.
    ///
    /// # Errors
    /// [`Error::Transport`] if accepting fails.
    pub async fn accept(&self, link: Link) -> Result<(Channel, SocketAddr), Error> {
        let (stream, addr) = self.accept_tcp().await?;
        Ok((shaped(stream, link), addr))
    }

    /// The next client, before its TLS handshake. Do the handshake in a task of its own: a client
    /// may take long over it.
    ///
    /// # Errors
    /// [`Error::Transport`] if accepting fails.
    pub async fn accept_tls(&self, link: Link) -> Result<Incoming, Error> {
        let (stream, addr) = self.accept_tcp().await?;
        Ok(Incoming::new(shape(stream, link), addr, link))
    }

    /// The next client that is still there; clients that have left again are skipped.
    async fn accept_tcp(&self) -> Result<(TcpStream, SocketAddr), Error> {
        use io::ErrorKind::{ConnectionAborted, ConnectionReset};
        loop {
            match self.0.accept().await {
                Ok((stream, addr)) if stream.set_nodelay(true).is_ok() => return Ok((stream, addr)),
                Ok(_) => {}
                Err(e) if matches!(e.kind(), ConnectionAborted | ConnectionReset) => {}
                Err(source) => return Err(Error::Transport { step: "session/accept", source }),
            }
        }
    }
}

/// Two connected channels in this process. Must be called inside a [`Runtime`].
pub fn memory_pair(link: Link) -> (Channel, Channel) {
    let (a, b) = tokio::io::duplex(1 << 20);
    (shaped(a, link), Channel::new(b))
}

/// Runs two parties in this process, each in a thread of its own, over an in-memory pair. The pair
/// is stated to carry 1 Gbit/s, so that nothing depends on its real rate.
///
/// # Panics
/// If a party panics.
pub fn run_pair<A, B, FA, FB>(
    a: impl FnOnce(Channel) -> FA + Send,
    b: impl FnOnce(Channel) -> FB + Send,
) -> (A, B)
where
    A: Send,
    B: Send,
    FA: Future<Output = A>,
    FB: Future<Output = B>,
{
    run_pair_over(Link { rate: Some(1e9), ..Link::LOOPBACK }, a, b)
}

/// As [`run_pair`], over an in-memory pair whose stated rate is that of `link`; the link is imposed
/// on it if it has a delay.
///
/// # Panics
/// If a party panics.
pub fn run_pair_over<A, B, FA, FB>(
    link: Link,
    a: impl FnOnce(Channel) -> FA + Send,
    b: impl FnOnce(Channel) -> FB + Send,
) -> (A, B)
where
    A: Send,
    B: Send,
    FA: Future<Output = A>,
    FB: Future<Output = B>,
{
    let (first_end, second_end) = tokio::io::duplex(1 << 20);
    let imposed = if link.rtt.is_zero() { Link::LOOPBACK } else { link };
    let stated = |stream| {
        let mut channel = Channel::new(stream);
        channel.state_rate(link.rate);
        channel
    };
    // A runtime outlives its party: the last messages are still on their way.
    let (first_runtime, second_runtime) = (Runtime::new(), Runtime::new());
    std::thread::scope(|scope| {
        let first =
            scope.spawn(|| first_runtime.block_on(async { a(stated(shape(first_end, imposed))).await }));
        let second = scope.spawn(|| second_runtime.block_on(async { b(stated(Box::new(second_end))).await }));
        let (first, second) = (first.join(), second.join());
        (first.expect("the first party does not panic"), second.expect("the second party does not panic"))
    })
}

/// A local port that is free at this moment.
///
/// # Panics
/// If the system has none.
pub fn unused_local_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free local port");
    listener.local_addr().expect("a bound socket has an address").port()
}
