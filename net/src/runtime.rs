//! The one place that starts the async runtime, opens sockets and leaves the async threads for long
//! computations.

use std::{future::Future, net::SocketAddr};

use tokio::net::{TcpListener, TcpStream};

use crate::{Channel, Error, Link, shape};

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

    /// Runs `future` to its end on a worker.
    pub fn block_on<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        self.0.block_on(async { tokio::spawn(future).await.expect("the program's main task does not panic") })
    }

    /// Starts `future` beside what runs already.
    pub fn spawn(future: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(future);
    }
}

impl Default for Runtime {
    fn default() -> Runtime {
        Runtime::new()
    }
}

/// Runs a long computation without holding up the tasks that send and receive. It borrows; nothing moves.
pub fn compute<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

/// Connects to a server at `HOST:PORT`.
///
/// # Errors
/// [`Error::Connect`].
pub async fn connect(addr: &str, link: Link) -> Result<Channel, Error> {
    let failed = |source| Error::Connect { addr: addr.into(), source };
    let stream = TcpStream::connect(addr).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    Ok(Channel::new(shape(stream, link)))
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
        let failed = |source| Error::Transport { step: "session/accept", source };
        let (stream, addr) = self.0.accept().await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        Ok((Channel::new(shape(stream, link)), addr))
    }
}

/// Two connected channels in this process. Must be called inside a [`Runtime`].
pub fn memory_pair(link: Link) -> (Channel, Channel) {
    let (a, b) = tokio::io::duplex(1 << 20);
    (Channel::new(shape(a, link)), Channel::new(b))
}

/// Runs two parties in this process, each as its own task, over an in-memory pair.
///
/// # Panics
/// If a party panics.
pub fn run_pair<A, B, FA, FB>(a: impl FnOnce(Channel) -> FA, b: impl FnOnce(Channel) -> FB) -> (A, B)
where
    A: Send + 'static,
    B: Send + 'static,
    FA: Future<Output = A> + Send + 'static,
    FB: Future<Output = B> + Send + 'static,
{
    Runtime::new().0.block_on(async {
        let (near, far) = memory_pair(Link::LOOPBACK);
        let (a, b) = (tokio::spawn(a(near)), tokio::spawn(b(far)));
        (a.await.expect("the first party does not panic"), b.await.expect("the second party does not panic"))
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
