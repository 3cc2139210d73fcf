//! A framed, counted connection to the other party.
//!
//! | header field | bytes | checked by the receiver                                        |
//! |--------------|-------|----------------------------------------------------------------|
//! | tag          | 4     | equals the tag of the step it is at (first bytes of BLAKE3)    |
//! | sequence     | 4     | one more than the last one                                     |
//! | flight       | 4     | at most one more than the newest flight this side has sent in  |
//! | length       | 4     | equals the length the step prescribes                          |
//!
//! Sending never blocks on the peer: a writer task drains a queue of the party's own messages, so two
//! parties that send at the same time cannot dead-lock, and computing overlaps with sending.

use std::{collections::HashMap, io, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};

use crate::{Error, MAX_CONTROL_LEN, Meter, codec};

/// Bytes of framing in front of each message.
pub const HEADER_LEN: usize = 16;

/// How long a party waits for the peer's next bytes unless told otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);

const ABORT_TAG: &str = "session/abort";

/// Any byte stream to the other party.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// A connection to the other party.
pub struct Channel {
    reader: ReadHalf<Box<dyn Stream>>,
    queue: Option<mpsc::UnboundedSender<Bytes>>,
    writer: Option<JoinHandle<io::Result<()>>>,
    next_out: u32,
    next_in: u32,
    /// The newest flight that this party has heard of.
    flight: u32,
    known_tags: HashMap<[u8; 4], &'static str>,
    transcript: blake3::Hasher,
    timeout: Duration,
    /// Where this connection's cost is counted.
    pub meter: Meter,
}

impl Channel {
    /// A channel over `stream`. Must be called inside a [`crate::Runtime`].
    pub fn new(stream: impl Stream) -> Channel {
        let (reader, writer) = tokio::io::split(Box::new(stream) as Box<dyn Stream>);
        let (queue, messages) = mpsc::unbounded_channel();
        Channel {
            reader,
            queue: Some(queue),
            writer: Some(tokio::spawn(write_all(writer, messages))),
            next_out: 0,
            next_in: 0,
            flight: 0,
            known_tags: HashMap::from([(tag_bytes(ABORT_TAG), ABORT_TAG)]),
            transcript: blake3::Hasher::new(),
            timeout: DEFAULT_TIMEOUT,
            meter: Meter::new(),
        }
    }

    /// Sets how long to wait for the peer's next bytes.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Queues `payload` for the peer; it travels while this party goes on.
    ///
    /// # Errors
    /// [`Error::Transport`] if the connection is already gone.
    ///
    /// # Panics
    /// If the payload exceeds 2^32 - 1 bytes.
    pub fn send(&mut self, tag: &'static str, payload: impl Into<Bytes>) -> Result<(), Error> {
        let payload = payload.into();
        let len = u32::try_from(payload.len()).expect("a message is shorter than 4 GiB");
        let mut header = BytesMut::with_capacity(HEADER_LEN);
        header.put_slice(&self.tag(tag));
        header.put_u32_le(self.next_out);
        header.put_u32_le(self.flight + 1);
        header.put_u32_le(len);
        self.transcript.update(&header);
        self.next_out = self.next_out.wrapping_add(1);
        self.meter.sent(tag, HEADER_LEN + payload.len());
        let queue = self.queue.as_ref().expect("the queue is open until the channel is closed");
        let gone = |_| Error::Closed { step: tag };
        queue.send(header.freeze()).map_err(gone)?;
        if !payload.is_empty() {
            queue.send(payload).map_err(gone)?;
        }
        Ok(())
    }

    /// Receives the message of step `tag`, exactly `len` bytes.
    ///
    /// # Errors
    /// The peer's frame has another tag, number or length, the peer is silent or gone, or it aborted.
    pub async fn recv(&mut self, tag: &'static str, len: usize) -> Result<Vec<u8>, Error> {
        let got = self.recv_header(tag).await?;
        if got != len {
            return Err(Error::WrongLength { step: tag, expected: len, got });
        }
        self.recv_body(tag, len).await
    }

    /// Both parties send, then both receive a message of the same length: one turn.
    ///
    /// # Errors
    /// As [`Channel::recv`].
    pub async fn exchange(&mut self, tag: &'static str, payload: Vec<u8>) -> Result<Vec<u8>, Error> {
        let len = payload.len();
        self.send(tag, payload)?;
        self.recv(tag, len).await
    }

    /// Sends a control message.
    ///
    /// # Errors
    /// As [`Channel::send`].
    pub fn send_control<T: Serialize>(&mut self, tag: &'static str, message: &T) -> Result<(), Error> {
        self.send(tag, codec::encode(message))
    }

    /// Receives a control message of at most [`MAX_CONTROL_LEN`] bytes.
    ///
    /// # Errors
    /// As [`Channel::recv`], and [`Error::Malformed`].
    pub async fn recv_control<T: DeserializeOwned>(&mut self, tag: &'static str) -> Result<T, Error> {
        let got = self.recv_header(tag).await?;
        if got > MAX_CONTROL_LEN {
            return Err(Error::WrongLength { step: tag, expected: MAX_CONTROL_LEN, got });
        }
        let body = self.recv_body(tag, got).await?;
        codec::decode(tag, &body)
    }

    /// Receives an opaque file-like message of at most `max` bytes; the only length the peer chooses.
    ///
    /// # Errors
    /// As [`Channel::recv`].
    pub async fn recv_at_most(&mut self, tag: &'static str, max: usize) -> Result<Vec<u8>, Error> {
        let got = self.recv_header(tag).await?;
        if got > max {
            return Err(Error::WrongLength { step: tag, expected: max, got });
        }
        self.recv_body(tag, got).await
    }

    /// A digest of this party's sent frame headers so far: equal runs have equal digests.
    pub fn trace_digest(&self) -> [u8; 32] {
        *self.transcript.finalize().as_bytes()
    }

    /// Tells the peer, as well as still possible, that this session ends with `code`, and closes.
    pub async fn abort(&mut self, code: Abort) {
        if self.queue.is_some() && self.send(ABORT_TAG, vec![code as u8]).is_ok() {
            let _ = self.close().await;
        }
    }

    /// Sends what is still queued, then closes this side of the connection.
    ///
    /// # Errors
    /// [`Error::Transport`] if the connection broke.
    pub async fn close(&mut self) -> Result<(), Error> {
        self.queue = None;
        let Some(writer) = self.writer.take() else { return Ok(()) };
        match timeout(self.timeout, writer).await {
            Ok(Ok(result)) => result.map_err(|source| Error::Transport { step: "session/close", source }),
            Ok(Err(_)) | Err(_) => Err(Error::Closed { step: "session/close" }),
        }
    }

    async fn recv_header(&mut self, tag: &'static str) -> Result<usize, Error> {
        let expected = self.tag(tag);
        let mut header = [0u8; HEADER_LEN];
        read_exact(&mut self.reader, &mut header, tag, self.timeout).await?;
        let field = |i: usize| u32::from_le_bytes(header[i..i + 4].try_into().expect("four bytes"));
        let got_tag: [u8; 4] = header[..4].try_into().expect("four bytes");
        let (sequence, flight, len) = (field(4), field(8), field(12) as usize);
        if got_tag == tag_bytes(ABORT_TAG) && tag != ABORT_TAG && len == 1 {
            let code = self.recv_body(tag, 1).await?[0];
            return Err(Error::Aborted { step: tag, reason: Abort::name(code) });
        }
        if got_tag != expected {
            let got = self.known_tags.get(&got_tag).map_or_else(|| format!("{got_tag:02x?}"), |t| t.to_string());
            return Err(Error::WrongTag { expected: tag, got });
        }
        if sequence != self.next_in || flight == 0 || flight > self.flight + 2 {
            return Err(Error::WrongSequence { step: tag, expected: self.next_in, got: sequence });
        }
        self.next_in = self.next_in.wrapping_add(1);
        self.flight = self.flight.max(flight);
        self.meter.received(tag, HEADER_LEN + len, u64::from(self.flight));
        Ok(len)
    }

    async fn recv_body(&mut self, tag: &'static str, len: usize) -> Result<Vec<u8>, Error> {
        let mut body = vec![0u8; len];
        read_exact(&mut self.reader, &mut body, tag, self.timeout).await?;
        Ok(body)
    }

    fn tag(&mut self, tag: &'static str) -> [u8; 4] {
        let bytes = tag_bytes(tag);
        let known = self.known_tags.entry(bytes).or_insert(tag);
        assert!(*known == tag, "tags {tag} and {known} collide");
        bytes
    }
}

/// Why a party ended a session early: all that it tells the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Abort {
    /// The two programs do not fit together (version, parameters, tokenizer).
    Mismatch = 1,
    /// The peer's message was not as the protocol prescribes.
    Protocol = 2,
    /// The request cannot be served (too long, for example).
    Refused = 3,
    /// Something broke on this side.
    Internal = 4,
}

impl Abort {
    fn name(code: u8) -> &'static str {
        match code {
            1 => "the programs do not match (version, parameters or tokenizer)",
            2 => "it received a message that breaks the protocol",
            3 => "it refuses the request",
            4 => "it had an internal error",
            _ => "no known reason",
        }
    }
}

fn tag_bytes(tag: &str) -> [u8; 4] {
    blake3::hash(tag.as_bytes()).as_bytes()[..4].try_into().expect("four bytes")
}

async fn write_all(
    mut writer: impl AsyncWrite + Unpin,
    mut messages: mpsc::UnboundedReceiver<Bytes>,
) -> io::Result<()> {
    while let Some(message) = messages.recv().await {
        writer.write_all(&message).await?;
        if messages.is_empty() {
            writer.flush().await?;
        }
    }
    writer.shutdown().await
}

/// Fills `buffer`, waiting at most `patience` for each further piece.
async fn read_exact(
    reader: &mut (impl AsyncRead + Unpin),
    buffer: &mut [u8],
    step: &'static str,
    patience: Duration,
) -> Result<(), Error> {
    let mut filled = 0;
    while filled < buffer.len() {
        match timeout(patience, reader.read(&mut buffer[filled..])).await {
            Err(_) => return Err(Error::Timeout { step, after: patience }),
            Ok(Ok(0)) => return Err(Error::Closed { step }),
            Ok(Ok(n)) => filled += n,
            Ok(Err(source)) if source.kind() == io::ErrorKind::ConnectionReset => {
                return Err(Error::Closed { step });
            }
            Ok(Err(source)) => return Err(Error::Transport { step, source }),
        }
    }
    Ok(())
}
