//! A connection to the endpoint: its limits, and readers that do not read.

use std::{
    convert::Infallible,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::watch,
    time::{Sleep, sleep},
};

use super::{Endpoint, routes};

/// How long a connection may take over the head of a request, or be idle before it.
const HEAD_TIME: Duration = Duration::from_secs(60);
/// Bytes of a request's head at most.
const HEAD_LIMIT: usize = 64 << 10;
/// How long a reader may read nothing of what waits for it.
const STALL: Duration = Duration::from_secs(30);

/// Answers the requests of a connection; when `ends` says so, no more after the one under way.
pub async fn serve(endpoint: &Arc<Endpoint>, stream: TcpStream, mut ends: watch::Receiver<bool>) {
    // Tokens are small, and wanted at once.
    let _ = stream.set_nodelay(true);
    let service =
        service_fn(|request| async { Ok::<_, Infallible>(routes::answer(endpoint, request).await) });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_LIMIT)
        .serve_connection(TokioIo::new(Impatient::new(stream, STALL)), service);
    let mut connection = pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = ends.wait_for(|ends| *ends) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// A stream whose peer must read from time to time.
struct Impatient<S> {
    stream: S,
    patience: Duration,
    /// Set while the peer does not read.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    fn new(stream: S, patience: Duration) -> Impatient<S> {
        Impatient { stream, patience, stalled: None }
    }

    /// What a write has come to, or that it has waited too long.
    fn judge<T>(&mut self, write: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if write.is_ready() {
            self.stalled = None;
            return write;
        }
        let patience = self.patience;
        let alarm = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(alarm.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(write, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flush = Pin::new(&mut self.stream).poll_flush(context);
        self.judge(flush, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shutdown = Pin::new(&mut self.stream).poll_shutdown(context);
        self.judge(shutdown, context)
    }
}

#[cfg(test)]
mod tests {
    use sotto_net::Runtime;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[test]
    fn a_reader_that_does_not_read_ends_the_connection() {
        Runtime::new().block_on(async {
            let (near, mut far) = duplex(16);
            let mut near = Impatient::new(near, Duration::from_millis(50));
            let reads = async {
                let mut some = [0; 20];
                far.read_exact(&mut some).await.unwrap();
                sleep(Duration::from_millis(20)).await;
                far.read_exact(&mut some).await.unwrap();
            };
            let (written, ()) = tokio::join!(near.write_all(&[7; 40]), reads);
            written.unwrap();
            let stalled = near.write_all(&[7; 40]).await;
            assert_eq!(stalled.unwrap_err().kind(), io::ErrorKind::TimedOut);
        });
    }
}
