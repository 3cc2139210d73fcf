//! An HTTP address of its own for those that watch the server: `/metrics` and `/health`.
//!
//! It has few connections and short deadlines: whoever can reach it can fill it, and nothing else.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{
    Method, Request, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use sotto_net::{Error as Net, Runtime};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};

use crate::{error::Error, metrics::Metrics, queue::Connections};

/// Connections at a time; further ones wait in the system's queue.
const CONNECTIONS: usize = 16;
/// How long a connection may take in all.
const LIFETIME: Duration = Duration::from_secs(30);
/// How long a request's head may take, or its connection be idle before it.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// Bytes of a request's head at most.
const HEAD_LIMIT: usize = 16 << 10;
/// Pause after the system has failed to accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The type of the text.
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// What is answered from.
pub struct Watched {
    /// What has been counted.
    pub metrics: Metrics,
    /// Who is connected.
    pub connections: Connections,
}

/// Listens on `addr`, and answers until the runtime ends. Returns where; must be called inside a
/// [`Runtime`].
///
/// # Errors
/// The address cannot be listened on.
pub async fn start(addr: SocketAddr, watched: Watched) -> Result<SocketAddr, Error> {
    let failed = |source| Net::Listen { addr, source };
    let listener = TcpListener::bind(addr).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Runtime::spawn(accept(listener, Arc::new(watched)));
    Ok(bound)
}

async fn accept(listener: TcpListener, watched: Arc<Watched>) {
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
    let service = service_fn(async |request: Request<_>| {
        Ok::<_, Infallible>(answer(watched, request.method(), request.uri().path()))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_LIMIT)
        .serve_connection(TokioIo::new(stream), service);
    // Whoever does not speak HTTP gets no answer.
    let _ = connection.await;
}

fn answer(watched: &Watched, method: &Method, path: &str) -> Response<String> {
    let reads = [Method::GET, Method::HEAD].contains(method);
    let (status, content, text) = match path {
        "/metrics" | "/health" if !reads => (StatusCode::METHOD_NOT_ALLOWED, PLAIN, "GET only\n".into()),
        "/metrics" => (StatusCode::OK, OPEN_METRICS, watched.metrics.text(&watched.connections.stages())),
        "/health" => (StatusCode::OK, PLAIN, "ok\n".into()),
        _ => (StatusCode::NOT_FOUND, PLAIN, "there are /metrics and /health\n".into()),
    };
    let mut response = Response::new(text);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content);
    response
}
