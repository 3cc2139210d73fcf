//! A framed, counted connection to the other party.
//!
//! | header field | bytes | checked by the receiver                                              |
//! |--------------|-------|----------------------------------------------------------------------|
//! | tag          | 4     | equals the tag of the step it is at (first bytes of BLAKE3)          |
//! | sequence     | 4     | one more than the last one                                           |
//! | flight       | 4     | from the last one up to one more than the newest this side sent in   |
//! | length       | 4     | equals the length the step prescribes                                |
//!
//! Sending never blocks on the peer: a writer task drains a queue of the party's own messages, so two
//! parties that send at the same time cannot dead-lock, and computing overlaps with sending.

use std::{
    collections::{HashMap, VecDeque},
    future::poll_fn,
    io,
    pin::pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, BufWriter, ReadHalf},
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

use crate::{Error, MAX_CONTROL_LEN, Meter, SpanKey, codec};

/// Bytes of framing in front of each message.
pub const HEADER_LEN: usize = 16;

/// How long a party waits for the peer's next bytes unless told otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);

const ABORT_TAG: &str = "session/abort";
/// How long an abort may take to reach the peer.
const ABORT_LINGER: Duration = Duration::from_secs(2);
/// The peer's patience is renewed after this many bytes, not after each one.
const PIECE: usize = 64 << 10;
/// What a message must have for its time to say something about the connection.
const LONG: usize = 1 << 20;
/// How far the buffer of a message whose length the peer chose runs ahead of its bytes.
const GROWTH: usize = 1 << 20;

/// Any byte stream to the other party.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// A connection to the other party. It ends with [`Channel::close`] or [`Channel::abort`]; what is still
/// queued when the [`crate::Runtime`] stops is lost.
pub struct Channel {
    reader: ReadHalf<Box<dyn Stream>>,
    queue: Option<mpsc::UnboundedSender<Bytes>>,
    writer: Option<JoinHandle<io::Result<()>>>,
    next_out: u32,
    next_in: u32,
    /// The newest flight of the peer, and of this party.
    heard: u32,
    said: u32,
    known_tags: HashMap<[u8; 4], &'static str>,
    /// Frames that come before the next one that is waited for, and are claimed later.
    expected: VecDeque<Expectation>,
    /// Those of them that have arrived, by number.
    arrived: HashMap<u64, Vec<u8>>,
    expectations: u64,
    transcript: blake3::Hasher,
    heard_transcript: blake3::Hasher,
    patience: watch::Sender<Duration>,
    /// Bits per second: as imposed or stated, and the least that a long message came in with.
    stated_rate: Option<f64>,
    seen_rate: Option<f64>,
    /// Where this connection's cost is counted.
    pub meter: Meter,
}

impl Channel {
    /// A channel over `stream`. Must be called inside a [`crate::Runtime`].
    pub fn new(stream: impl Stream) -> Channel {
        let (reader, writer) = tokio::io::split(Box::new(stream) as Box<dyn Stream>);
        let (queue, messages) = mpsc::unbounded_channel();
        let (patience, writer_patience) = watch::channel(DEFAULT_TIMEOUT);
        Channel {
            reader,
            queue: Some(queue),
            writer: Some(tokio::spawn(write_all(writer, messages, writer_patience))),
            next_out: 0,
            next_in: 0,
            heard: 0,
            said: 0,
            known_tags: HashMap::from([(tag_bytes(ABORT_TAG), ABORT_TAG)]),
            expected: VecDeque::new(),
            arrived: HashMap::new(),
            expectations: 0,
            transcript: blake3::Hasher::new(),
            heard_transcript: blake3::Hasher::new(),
            patience,
            stated_rate: None,
            seen_rate: None,
            meter: Meter::new(),
        }
    }

    /// States how many bits per second the connection carries; unknown until then.
    pub fn state_rate(&mut self, rate: Option<f64>) {
        self.stated_rate = rate;
    }

    /// What was stated of the connection's rate, in bits per second.
    pub fn stated_rate(&self) -> Option<f64> {
        self.stated_rate
    }

    /// What long messages of the peer came in with at least, in bits per second; none before there was one.
    pub fn seen_rate(&self) -> Option<f64> {
        self.seen_rate
    }

    /// Sets how long to wait for the peer's next bytes, and, once this side has closed, for the peer to take
    /// what is left.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.patience.send_replace(timeout);
    }

    /// Queues `payload` for the peer; it travels while this party goes on.
    ///
    /// # Errors
    /// [`Error::Closed`] if this side has closed the channel. A connection that broke shows at the next
    /// receive, where the reason that the peer gave, if any, can be told.
    ///
    /// # Panics
    /// If the payload exceeds 2^32 - 1 bytes.
    pub fn send(&mut self, tag: &'static str, payload: impl Into<Bytes>) -> Result<(), Error> {
        let payload = payload.into();
        let len = u32::try_from(payload.len()).expect("a message is shorter than 4 GiB");
        let Some(queue) = self.queue.clone() else { return Err(Error::Closed { step: tag }) };
        self.said = self.heard + 1;
        let mut header = BytesMut::with_capacity(HEADER_LEN);
        header.put_slice(&self.tag(tag));
        header.put_u32_le(self.next_out);
        header.put_u32_le(self.said);
        header.put_u32_le(len);
        self.transcript.update(&header);
        self.next_out = self.next_out.wrapping_add(1);
        self.meter.sent(tag, HEADER_LEN + payload.len());
        // A writer that is gone takes nothing more; the reader finds out why.
        let _ = queue.send(header.freeze()).and_then(|()| queue.send(payload));
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

    /// Announces that the peer sends the message of step `tag`, exactly `len` bytes, at this point of the
    /// conversation, without waiting for it: it is read on the way to a later message, so that what is sent ahead
    /// costs no turn. Its bytes count for the span that is open now.
    pub fn expect(&mut self, tag: &'static str, len: usize) -> Expected {
        let number = self.expectations;
        self.expectations += 1;
        self.expected.push_back(Expectation { number, tag, len, span: self.meter.span() });
        Expected(number, tag)
    }

    /// The message that was announced by [`Channel::expect`].
    ///
    /// # Errors
    /// As [`Channel::recv`]; [`Error::Closed`] if it was announced on another channel, or reading it has failed before.
    pub async fn claim(&mut self, expected: Expected) -> Result<Vec<u8>, Error> {
        while self.expected.front().is_some_and(|next| next.number <= expected.0) {
            self.take_expected().await?;
        }
        self.arrived.remove(&expected.0).ok_or(Error::Closed { step: expected.1 })
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
    /// As [`Channel::recv`], [`Error::TooLong`] and [`Error::Malformed`].
    pub async fn recv_control<T: DeserializeOwned>(&mut self, tag: &'static str) -> Result<T, Error> {
        let got = self.recv_header(tag).await?;
        if got > MAX_CONTROL_LEN {
            return Err(Error::TooLong { step: tag, max: MAX_CONTROL_LEN, got });
        }
        let body = self.recv_body(tag, got).await?;
        codec::decode(tag, &body)
    }

    /// Receives an opaque file-like message of at most `max` bytes; the only length the peer chooses.
    ///
    /// # Errors
    /// As [`Channel::recv`], and [`Error::TooLong`].
    pub async fn recv_at_most(&mut self, tag: &'static str, max: usize) -> Result<Vec<u8>, Error> {
        let got = self.recv_header(tag).await?;
        if got > max {
            return Err(Error::TooLong { step: tag, max, got });
        }
        let mut body = Vec::new();
        while body.len() < got {
            let piece = self.recv_body(tag, GROWTH.min(got - body.len())).await?;
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    /// A digest of this party's sent frame headers so far: equal runs have equal digests.
    pub fn trace_digest(&self) -> [u8; 32] {
        *self.transcript.finalize().as_bytes()
    }

    /// A digest of the peer's frame headers up to this point of the conversation: its [`Channel::trace_digest`], if nothing
    /// was lost or changed.
    ///
    /// # Errors
    /// As [`Channel::recv`], of messages that were announced and not yet claimed.
    pub async fn heard_digest(&mut self) -> Result<[u8; 32], Error> {
        self.take_all_expected().await?;
        Ok(*self.heard_transcript.finalize().as_bytes())
    }

    /// Tells the peer, as well as two seconds allow, that this session ends with `code`, and closes.
    pub async fn abort(&mut self, code: Abort) {
        let farewell = async {
            self.send(ABORT_TAG, vec![code as u8])?;
            self.close().await?;
            // To close a socket with unread bytes resets it, and the code could get lost: read to the end.
            let mut ignored = vec![0; PIECE];
            while self.reader.read(&mut ignored).await.is_ok_and(|n| n > 0) {}
            Ok::<(), Error>(())
        };
        let _ = timeout(ABORT_LINGER, farewell).await;
    }

    /// Sends what is still queued, then closes this side of the connection.
    ///
    /// # Errors
    /// [`Error::Transport`] if the connection broke, or the peer has stopped taking what was sent.
    pub async fn close(&mut self) -> Result<(), Error> {
        self.queue = None;
        let Some(writer) = self.writer.take() else { return Ok(()) };
        match writer.await {
            Ok(result) => result.map_err(|source| Error::Transport { step: "session/close", source }),
            Err(_) => Err(Error::Closed { step: "session/close" }),
        }
    }

    /// The header of the next message, behind all that were announced.
    async fn recv_header(&mut self, tag: &'static str) -> Result<usize, Error> {
        // Known by name, should it come too early.
        self.tag(tag);
        self.take_all_expected().await?;
        self.next_header(tag).await
    }

    async fn take_all_expected(&mut self) -> Result<(), Error> {
        while !self.expected.is_empty() {
            self.take_expected().await?;
        }
        Ok(())
    }

    async fn take_expected(&mut self) -> Result<(), Error> {
        let Some(Expectation { number, tag, len, span }) = self.expected.pop_front() else { return Ok(()) };
        let got = self.next_header(tag).await?;
        if got != len {
            return Err(Error::WrongLength { step: tag, expected: len, got });
        }
        let body = self.recv_body(tag, len).await?;
        self.meter.attribute(span, (HEADER_LEN + len) as u64);
        self.arrived.insert(number, body);
        Ok(())
    }

    async fn next_header(&mut self, tag: &'static str) -> Result<usize, Error> {
        let expected = self.tag(tag);
        let mut header = [0u8; HEADER_LEN];
        self.fill(&mut header, tag).await?;
        let field = |i: usize| u32::from_le_bytes(header[i..i + 4].try_into().expect("four bytes"));
        let got_tag: [u8; 4] = header[..4].try_into().expect("four bytes");
        let (sequence, flight, len) = (field(4), field(8), field(12) as usize);
        if got_tag == tag_bytes(ABORT_TAG) && tag != ABORT_TAG && len == 1 {
            let code = self.recv_body(tag, 1).await?[0];
            return Err(Error::Aborted { step: tag, reason: Abort::name(code) });
        }
        if got_tag != expected {
            return Err(Error::WrongTag { expected: tag, got: self.tag_name(got_tag) });
        }
        if sequence != self.next_in {
            return Err(Error::WrongSequence { step: tag, expected: self.next_in, got: sequence });
        }
        let (least, most) = (self.heard.max(1), self.said + 1);
        if !(least..=most).contains(&flight) {
            return Err(Error::WrongFlight { step: tag, least, most, got: flight });
        }
        self.heard_transcript.update(&header);
        self.next_in = self.next_in.wrapping_add(1);
        self.heard = flight;
        self.meter.reached(u64::from(flight));
        Ok(len)
    }

    async fn recv_body(&mut self, tag: &'static str, len: usize) -> Result<Vec<u8>, Error> {
        let mut body = vec![0u8; len];
        let start = Instant::now();
        self.fill(&mut body, tag).await?;
        if len >= LONG {
            let rate = 8.0 * len as f64 / start.elapsed().as_secs_f64().max(1e-9);
            self.seen_rate = Some(self.seen_rate.map_or(rate, |seen| seen.min(rate)));
        }
        Ok(body)
    }

    async fn fill(&mut self, buffer: &mut [u8], tag: &'static str) -> Result<(), Error> {
        let patience = *self.patience.borrow();
        read_exact(&mut self.reader, buffer, tag, patience).await?;
        self.meter.received(tag, buffer.len());
        Ok(())
    }

    fn tag_name(&self, tag: [u8; 4]) -> String {
        match (self.known_tags.get(&tag), tag) {
            (Some(name), _) => name.to_string(),
            (None, [0x16, 0x03, ..]) => {
                format!("{tag:02x?} (a TLS greeting: it uses TLS, this side does not)")
            }
            _ => format!("{tag:02x?}"),
        }
    }

    fn tag(&mut self, tag: &'static str) -> [u8; 4] {
        let bytes = tag_bytes(tag);
        let known = self.known_tags.entry(bytes).or_insert(tag);
        assert!(*known == tag, "tags {tag} and {known} collide");
        bytes
    }
}

/// A message that was announced and can be claimed, once.
#[must_use]
pub struct Expected(u64, &'static str);

struct Expectation {
    number: u64,
    tag: &'static str,
    len: usize,
    span: SpanKey,
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

/// Writes what the queue holds until it is closed and empty. A peer that takes nothing is waited for as long
/// as the channel is open, and for `patience` after that.
async fn write_all(
    writer: impl AsyncWrite,
    mut messages: mpsc::UnboundedReceiver<Bytes>,
    patience: watch::Receiver<Duration>,
) -> io::Result<()> {
    let mut writer = pin!(BufWriter::new(writer));
    while let Some(mut message) = messages.recv().await {
        while !message.is_empty() {
            let step = |cx: &mut Context<'_>| writer.as_mut().poll_write(cx, &message);
            match insist(&patience, &messages, step).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => message.advance(written),
            }
        }
        if messages.is_empty() {
            insist(&patience, &messages, |cx| writer.as_mut().poll_flush(cx)).await?;
        }
    }
    insist(&patience, &messages, |cx| writer.as_mut().poll_shutdown(cx)).await
}

/// Polls `step` until it is done or there is no use in waiting any longer.
async fn insist<T>(
    patience: &watch::Receiver<Duration>,
    messages: &mpsc::UnboundedReceiver<Bytes>,
    mut step: impl FnMut(&mut Context<'_>) -> Poll<io::Result<T>>,
) -> io::Result<T> {
    loop {
        let limit = *patience.borrow();
        match timeout(limit, poll_fn(&mut step)).await {
            Ok(result) => return result,
            Err(_) if messages.is_closed() => return Err(io::ErrorKind::TimedOut.into()),
            Err(_) => {}
        }
    }
}

/// Fills `buffer`, waiting at most `patience` for each further [`PIECE`].
async fn read_exact(
    reader: &mut (impl AsyncRead + Unpin),
    buffer: &mut [u8],
    step: &'static str,
    patience: Duration,
) -> Result<(), Error> {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    for piece in buffer.chunks_mut(PIECE) {
        match timeout(patience, reader.read_exact(piece)).await {
            Ok(Ok(_)) => {}
            Ok(Err(source)) => {
                return Err(match source.kind() {
                    UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe => {
                        Error::Closed { step }
                    }
                    _ => Error::Transport { step, source },
                });
            }
            Err(_) => return Err(Error::Timeout { step, after: patience }),
        }
    }
    Ok(())
}
