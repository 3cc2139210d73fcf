//! The receiving half of a connection: exactly as many bytes as are asked for, within a time limit.

use std::{
    io,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, ReadHalf},
    time::timeout,
};

use super::Stream;
use crate::Error;

/// The time limit for silence is renewed after this many bytes, not after each one.
const CHUNK: usize = 64 << 10;

/// Bytes that a message must have before the time it takes says something about the connection.
const LONG: usize = 1 << 20;

/// The receiving half of a connection.
pub(super) struct Reader {
    stream: ReadHalf<Box<dyn Stream>>,
    /// Bits per second: the least that a long message arrived with.
    seen_rate: Option<f64>,
}

impl Reader {
    pub fn new(stream: ReadHalf<Box<dyn Stream>>) -> Reader {
        Reader { stream, seen_rate: None }
    }

    /// The least rate that a long message arrived with, in bits per second.
    pub fn seen_rate(&self) -> Option<f64> {
        self.seen_rate
    }

    /// Fills `buffer`, waiting at most `patience` for each further [`CHUNK`].
    pub async fn fill(
        &mut self,
        buffer: &mut [u8],
        step: &'static str,
        patience: Duration,
    ) -> Result<(), Error> {
        for chunk in buffer.chunks_mut(CHUNK) {
            match timeout(patience, self.stream.read_exact(chunk)).await {
                Ok(Ok(_)) => {}
                Ok(Err(source)) => return Err(lost(step, source)),
                Err(_) => return Err(Error::Timeout { step, after: patience }),
            }
        }
        Ok(())
    }

    /// As [`Reader::fill`], and remembers the rate if `buffer` is long.
    pub async fn fill_timed(
        &mut self,
        buffer: &mut [u8],
        step: &'static str,
        patience: Duration,
    ) -> Result<(), Error> {
        let start = Instant::now();
        self.fill(buffer, step, patience).await?;
        if buffer.len() >= LONG {
            let rate = 8.0 * buffer.len() as f64 / start.elapsed().as_secs_f64().max(1e-9);
            self.seen_rate = Some(self.seen_rate.map_or(rate, |seen| seen.min(rate)));
        }
        Ok(())
    }

    /// Reads and drops everything until the peer closes.
    pub async fn discard(&mut self) {
        let mut ignored = vec![0; CHUNK];
        while self.stream.read(&mut ignored).await.is_ok_and(|n| n > 0) {}
    }
}

/// The error of a connection that ended at `step`.
fn lost(step: &'static str, source: io::Error) -> Error {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    match source.kind() {
        UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe => Error::Closed { step },
        _ => Error::Transport { step, source },
    }
}
