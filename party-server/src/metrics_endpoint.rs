//! An HTTP address of its own for those that watch the server: `/metrics` and `/health`.
//!
//! It has a thread of its own, few connections, one request each, and short deadlines: who fills it
//! keeps others from watching, and nobody from being served. Pages of a browser are kept out: on a
//! loopback address it answers to this machine's names only, and to no page at all.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    header::{CONTENT_TYPE, HOST, HeaderValue, ORIGIN},
    http::uri::Authority,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use sotto_net::{Error as Net, Runtime};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, oneshot},
    time::{sleep, timeout},
};

use crate::{alarm::lock, error::Error, metrics::Metrics, queue::Connections};

/// Connections at a time; further ones wait in the system's queue.
const CONNECTIONS: usize = 16;
/// How long a connection may take in all.
const LIFETIME: Duration = Duration::from_secs(30);
/// How long a request's head may take.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// Bytes of a request's head at most.
const HEAD_LIMIT: usize = 16 << 10;
/// Pause after the system has failed to accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// How long a text is given again instead of a new one.
const FRESH: Duration = Duration::from_millis(500);

/// The type of the text.
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Answers until it is dropped.
pub struct Endpoint {
    /// Where it listens.
    pub addr: SocketAddr,
    _running: oneshot::Sender<()>,
}

/// What is answered from.
struct Watched {
    metrics: Metrics,
    connections: Connections,
    /// Whether only this machine reaches it, under names of its own.
    is_local: bool,
    /// The last text, and when it was made.
    last: Mutex<Option<(Instant, String)>>,
}

impl Endpoint {
    /// Listens on `addr`, and answers with what has been counted, and who is connected.
    ///
    /// # Errors
    /// The address cannot be listened on, or there is no thread for it.
    pub fn start(addr: SocketAddr, metrics: Metrics, connections: Connections) -> Result<Endpoint, Error> {
        let failed = |source| Net::Listen { addr, source };
        let listener = std::net::TcpListener::bind(addr).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        let is_local = addr.ip().to_canonical().is_loopback();
        let watched = Arc::new(Watched { metrics, connections, is_local, last: Mutex::default() });
        let (running, mut ended) = oneshot::channel::<()>();
        let answer = move || {
            Runtime::single().block_on(async {
                // Dropped with the endpoint, never sent.
                tokio::select! {
                    _ = &mut ended => {}
                    () = accept(listener, watched) => {}
                }
            });
        };
        thread::Builder::new().name("metrics".into()).spawn(answer).map_err(failed)?;
        Ok(Endpoint { addr, _running: running })
    }
}

async fn accept(listener: std::net::TcpListener, watched: Arc<Watched>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = places.clone().acquire_owned().await.expect("nobody closes it");
        match listener.accept().await {
            Ok((stream, _)) => {
                let watched = watched.clone();
                Runtime::spawn(async move {
                    let _ = timeout(LIFETIME, connection(stream, &watched)).await;
                    drop(place);
                });
            }
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn connection(stream: TcpStream, watched: &Watched) {
    let service = service_fn(async |request: Request<_>| Ok::<_, Infallible>(watched.answer(&request)));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_LIMIT)
        .serve_connection(TokioIo::new(stream), service);
    // Whoever does not speak HTTP gets no answer.
    let _ = connection.await;
}

impl Watched {
    fn answer<B>(&self, request: &Request<B>) -> Response<String> {
        let reads = [Method::GET, Method::HEAD].contains(request.method());
        let (status, content, text) = match request.uri().path() {
            _ if !self.is_for_us(request.headers()) => {
                (StatusCode::FORBIDDEN, PLAIN, "not for pages, nor under other names than localhost\n".into())
            }
            "/metrics" | "/health" if !reads => (StatusCode::METHOD_NOT_ALLOWED, PLAIN, "GET only\n".into()),
            "/metrics" => (StatusCode::OK, OPEN_METRICS, self.text()),
            "/health" if self.connections.is_closed() => {
                (StatusCode::SERVICE_UNAVAILABLE, PLAIN, "stopping\n".into())
            }
            "/health" => (StatusCode::OK, PLAIN, "ok\n".into()),
            _ => (StatusCode::NOT_FOUND, PLAIN, "there are /metrics and /health\n".into()),
        };
        let mut response = Response::new(text);
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, content);
        response
    }

    /// Whether no page asks, and, where only this machine can ask, under a name of its own: a
    /// foreign name that leads here is a page's way around.
    fn is_for_us(&self, headers: &HeaderMap) -> bool {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
        let is_own = |host: &str| {
            let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
            host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|ip| ip.to_canonical().is_loopback())
        };
        let named = !self.is_local || host.is_some_and(|host| is_own(host.host()));
        named && !headers.contains_key(ORIGIN)
    }

    /// The counts, at most [`FRESH`] old.
    fn text(&self) -> String {
        let mut last = lock(&self.last);
        let fresh = last.take().filter(|(made, _)| made.elapsed() < FRESH);
        let (_, text) = last
            .insert(fresh.unwrap_or_else(|| (Instant::now(), self.metrics.text(&self.connections.stages()))));
        text.clone()
    }
}
