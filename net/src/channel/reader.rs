//! The receiving half of a connection: exactly as many bytes as are asked for, within time limits.

use std::{future::pending, io, time::Instant};

use tokio::io::{AsyncReadExt, ReadHalf};

use super::{
    Stream,
    frame::{HEADER_LEN, Header},
    limits::Wait,
};
use crate::Error;

/// The time limit for silence is renewed after this many bytes, not after each one.
const CHUNK: usize = 64 << 10;

/// Bytes that a message must have before the time it takes says something about the connection.
const LONG: usize = 1 << 20;

/// The receiving half of a connection.
pub(super) struct Reader {
    stream: ReadHalf<Box<dyn Stream>>,
    /// A header, of which the first `filled` bytes have arrived.
    header: [u8; HEADER_LEN],
    filled: usize,
    /// Bits per second: the least that a long message arrived with.
    seen_rate: Option<f64>,
}

impl Reader {
    pub fn new(stream: ReadHalf<Box<dyn Stream>>) -> Reader {
        Reader { stream, header: [0; HEADER_LEN], filled: 0, seen_rate: None }
    }

    /// The least rate that a long message arrived with, in bits per second.
    pub fn seen_rate(&self) -> Option<f64> {
        self.seen_rate
    }

    /// The next header.
    pub async fn header(&mut self, step: &'static str, wait: &mut Wait) -> Result<Header, Error> {
        let rest = &mut self.header[self.filled..];
        fill_chunk(&mut self.stream, rest, step, wait).await?;
        self.filled = 0;
        Ok(Header::decode(&self.header))
    }

    /// The next header. Cancel-safe. Does not return if the connection has ended: the next call of
    /// another function finds out.
    pub async fn early_header(&mut self) -> Header {
        while self.filled < HEADER_LEN {
            match self.stream.read(&mut self.header[self.filled..]).await {
                Ok(read) if read > 0 => self.filled += read,
                _ => pending().await,
            }
        }
        self.filled = 0;
        Header::decode(&self.header)
    }

    /// Fills `buffer`. Remembers the rate if it is long.
    pub async fn fill(
        &mut self,
        buffer: &mut [u8],
        step: &'static str,
        wait: &mut Wait,
    ) -> Result<(), Error> {
        let start = Instant::now();
        for chunk in buffer.chunks_mut(CHUNK) {
            fill_chunk(&mut self.stream, chunk, step, wait).await?;
        }
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

async fn fill_chunk(
    stream: &mut ReadHalf<Box<dyn Stream>>,
    chunk: &mut [u8],
    step: &'static str,
    wait: &mut Wait,
) -> Result<(), Error> {
    match wait.run(stream.read_exact(chunk)).await {
        Ok(Ok(_)) => {
            wait.progress();
            Ok(())
        }
        Ok(Err(source)) => Err(lost(step, source)),
        Err(expired) => Err(expired.while_receiving(step, wait.timeout)),
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
