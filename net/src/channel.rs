//! A framed, counted connection to the other party.
//!
//! | header field | bytes | checked by the receiver                                              |
//! |--------------|-------|----------------------------------------------------------------------|
//! | tag          | 4     | equals the tag of the step it is at (first bytes of BLAKE3)          |
//! | sequence     | 4     | one more than the last one; in a piece, its errand's number          |
//! | flight       | 4     | from the last one up to one more than the newest this side sent in; marked in a piece of an errand |
//! | length       | 4     | equals the length the step prescribes                                |
//!
//! Sending never blocks on the peer: a writer task drains a queue of the party's own messages, so
//! two parties that send at the same time cannot dead-lock, and computing overlaps with sending.
//! What is not urgent goes behind that queue ([`crate::errand`]).

use std::{
    collections::{HashMap, VecDeque},
    future::poll_fn,
    io,
    ops::Range,
    pin::{Pin, pin},
    sync::atomic::Ordering,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, BufWriter, ReadHalf},
    select,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

use crate::{
    Error, MAX_CONTROL_LEN, Meter, SpanKey, codec,
    errand::{Arriving, Behind, Errand, Errands, Flight, Flights, MARK, Outgoing, Pace, Wire, errand_len},
};

/// Bytes of framing in front of each message.
pub const HEADER_LEN: usize = 16;

/// How long a party waits for the peer's next bytes unless told otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);

const ABORT_TAG: &str = "session/abort";
/// How long the last words may take to reach the peer.
const LINGER: Duration = Duration::from_secs(2);
/// Bits per second that any connection carries.
const SLOWEST: f64 = 1000.0;
/// The peer's patience is renewed after this many bytes, not after each one.
const PIECE: usize = 64 << 10;
/// What a message must have for its time to say something about the connection.
const LONG: usize = 1 << 20;
/// How far the buffer of a message whose length the peer chose runs ahead of its bytes.
const GROWTH: usize = 1 << 20;

/// Any byte stream to the other party.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// A connection to the other party. It ends with [`Channel::part`], [`Channel::close`] or
/// [`Channel::abort`]; what is still queued when the [`crate::Runtime`] stops is lost.
pub struct Channel {
    reader: ReadHalf<Box<dyn Stream>>,
    queue: Option<mpsc::UnboundedSender<Item>>,
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
    errands: Errands,
    transcript: blake3::Hasher,
    heard_transcript: blake3::Hasher,
    manners: watch::Sender<Manners>,
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
        let (manners, of_writer) =
            watch::channel(Manners { patience: DEFAULT_TIMEOUT, pace: None, hurried: false });
        let (errands, behind) = Errands::new();
        Channel {
            reader,
            queue: Some(queue),
            writer: Some(tokio::spawn(write_all(writer, messages, behind, of_writer))),
            next_out: 0,
            next_in: 0,
            heard: 0,
            said: 0,
            known_tags: HashMap::from([(tag_bytes(ABORT_TAG), ABORT_TAG)]),
            expected: VecDeque::new(),
            arrived: HashMap::new(),
            expectations: 0,
            errands,
            transcript: blake3::Hasher::new(),
            heard_transcript: blake3::Hasher::new(),
            manners,
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

    /// What long messages of the peer came in with at least, in bits per second; none before there
    /// was one.
    pub fn seen_rate(&self) -> Option<f64> {
        self.seen_rate
    }

    /// Sets how long to wait for the peer's next bytes, and, once this side has closed, for the
    /// peer to take what is left.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.manners.send_modify(|manners| manners.patience = timeout);
    }

    /// States what the connection carries, in bits per second, and how long a message may have to
    /// wait for a piece of an errand; until then pieces are sent whenever nothing else is.
    pub fn set_pace(&mut self, rate: f64, slack: Duration) {
        // The peer has a say in it.
        let pace = Pace { rate: rate.max(SLOWEST), slack: slack.min(DEFAULT_TIMEOUT) };
        self.manners.send_modify(|manners| manners.pace = Some(pace));
    }

    /// Queues `payload` for the peer; it travels while this party goes on.
    ///
    /// # Errors [`Error::Closed`] if this side has closed the channel. A connection that broke
    /// shows at the next receive, where the reason that the peer gave, if any, can be told.
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
        let _ = queue.send(Item::Frame([header.freeze(), payload]));
        Ok(())
    }

    /// Announces an errand of this party: a request and its reply, with their lengths, which both
    /// parties know. The peer announces it by [`Channel::take_errand`]. Waits for nothing; its
    /// bytes count for the span that is open now.
    ///
    /// # Panics
    /// If a length is zero.
    pub fn run_errand(&mut self, request: (&'static str, usize), reply: (&'static str, usize)) -> Errand {
        self.said = self.heard + 1;
        self.announce((Flight::new(self.said.into()), None), (request, 0), (reply, 1))
    }

    /// Announces an errand of this party whose request depends on the reply of another one.
    ///
    /// # Panics
    /// If a length is zero.
    pub fn run_next(
        &mut self,
        before: &Errand,
        request: (&'static str, usize),
        reply: (&'static str, usize),
    ) -> Errand {
        let flight = before.flight().load(Ordering::Relaxed) + 2;
        self.announce((Flight::new(flight.into()), None), (request, 0), (reply, 1))
    }

    /// Announces an errand of the peer.
    ///
    /// # Panics
    /// If a length is zero.
    pub fn take_errand(&mut self, request: (&'static str, usize), reply: (&'static str, usize)) -> Errand {
        self.announce(Default::default(), (reply, 1), (request, 0))
    }

    /// Announces an errand of the peer whose request depends on the reply of another one.
    ///
    /// # Panics
    /// If a length is zero.
    pub fn take_next(
        &mut self,
        before: &Errand,
        request: (&'static str, usize),
        reply: (&'static str, usize),
    ) -> Errand {
        self.announce((Flight::default(), Some(before.flight().clone())), (reply, 1), (request, 0))
    }

    fn announce(
        &mut self,
        (flight, before): (Flight, Option<Flight>),
        ((tag_out, len_out), after_out): ((&'static str, usize), u32),
        ((tag_in, len_in), after_in): ((&'static str, usize), u32),
    ) -> Errand {
        let (number, errands) = (self.errands.announced, &mut self.errands);
        let flights = Flights { request: flight.clone(), after: after_in, before, least: self.heard.max(1) };
        let (arriving, incoming) = Arriving::new((tag_in, len_in), self.meter.span(), flights);
        errands.arriving.insert(number, arriving);
        let (out, flights) = ((tag_bytes(tag_out), len_out), (flight.clone(), after_out));
        let outgoing = Outgoing::new(number, out, flights, errands.writer.clone());
        errands.under_way.insert(number, (flight, after_out == 0));
        errands.announced += 1;
        self.meter.sent(tag_out, errand_len(len_out));
        // The peer's digest has it where its frames have it.
        let [said, heard] = [(tag_out, len_out), (tag_in, len_in)]
            .map(|(tag, len)| [&self.tag(tag)[..], &(len as u64).to_le_bytes()].concat());
        self.transcript.update(&said);
        self.expected
            .push_back(Expectation { number: self.expectations, what: Expectable::Announcement(heard) });
        Errand { number, outgoing, incoming }
    }

    /// Waits until the peer's part of some errands has come. What this party still has to send for
    /// them goes ahead of all that it says from now on.
    ///
    /// # Errors
    /// As [`Channel::recv`]; [`Error::Closed`] if this side has closed the channel.
    pub async fn catch_up(&mut self, errands: Range<u64>) -> Result<(), Error> {
        let errands = errands.start..errands.end.min(self.errands.announced);
        if errands.is_empty() || self.errands.under_way.range(errands.clone()).next().is_none() {
            return Ok(());
        }
        let Some(queue) = &self.queue else { return Err(Error::Closed { step: "errand" }) };
        let _ = queue.send(Item::Errands(errands.clone()));
        while let Some(next) = self.errands.next_of(&errands) {
            let step = next.tag;
            let header = self.read_header(step).await?;
            if header.is_piece() {
                self.take_piece(step, header).await?;
                continue;
            }
            self.pass_announcements();
            match self.expected.pop_front() {
                Some(Expectation { number, what: Expectable::Frame { tag, len, span } }) => {
                    let got = self.accept(tag, &header).await?;
                    self.take_body(number, (tag, len, span), got).await?;
                }
                _ => return Err(self.unexpected(step, &header).await),
            }
        }
        // They were said before, in flights that may be earlier than those of errands.
        self.take_all_expected().await?;
        for number in errands {
            let Some((flight, mine)) = self.errands.under_way.remove(&number) else { continue };
            let request = flight.load(Ordering::Relaxed);
            let (said, heard) = if mine { (request, request + 1) } else { (request + 1, request) };
            (self.said, self.heard) = (self.said.max(said), self.heard.max(heard));
        }
        self.meter.reached(u64::from(self.heard));
        Ok(())
    }

    /// Receives the message of step `tag`, exactly `len` bytes.
    ///
    /// # Errors The peer's frame has another tag, number or length, the peer is silent or gone, or
    /// it aborted.
    pub async fn recv(&mut self, tag: &'static str, len: usize) -> Result<Vec<u8>, Error> {
        let got = self.recv_header(tag).await?;
        if got != len {
            return Err(Error::WrongLength { step: tag, expected: len, got });
        }
        self.recv_body(tag, len).await
    }

    /// Announces that the peer sends the message of step `tag`, exactly `len` bytes, at this point
    /// of the conversation, without waiting for it: it is read on the way to a later message, so
    /// that what is sent ahead costs no turn. Its bytes count for the span that is open now.
    pub fn expect(&mut self, tag: &'static str, len: usize) -> Expected {
        let number = self.expectations;
        self.expectations += 1;
        let what = Expectable::Frame { tag, len, span: self.meter.span() };
        self.expected.push_back(Expectation { number, what });
        Expected(number, tag)
    }

    /// The message that was announced by [`Channel::expect`].
    ///
    /// # Errors As [`Channel::recv`]; [`Error::Closed`] if it was announced on another channel, or
    /// reading it has failed before.
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

    /// Receives an opaque file-like message of at most `max` bytes; the only length the peer
    /// chooses.
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

    /// A digest of the peer's frame headers up to this point of the conversation: its
    /// [`Channel::trace_digest`], if nothing was lost or changed.
    ///
    /// # Errors
    /// As [`Channel::recv`], of messages that were announced and not yet claimed.
    pub async fn heard_digest(&mut self) -> Result<[u8; 32], Error> {
        self.take_all_expected().await?;
        Ok(*self.heard_transcript.finalize().as_bytes())
    }

    /// Tells the peer, as well as two seconds allow, that this session ends with `code`, and
    /// closes. What it owes for errands is not sent any more.
    pub async fn abort(&mut self, code: Abort) {
        self.manners.send_modify(|manners| manners.hurried = true);
        if self.send(ABORT_TAG, vec![code as u8]).is_ok() {
            let _ = timeout(LINGER, self.part()).await;
        }
    }

    /// Closes at the end of a conversation, as [`Channel::close`], and waits until the peer has
    /// closed too, for two seconds at most: who closes a connection while something comes in may
    /// take what was said last along. Errands that are under way are given up.
    ///
    /// # Errors
    /// As [`Channel::close`].
    pub async fn part(&mut self) -> Result<(), Error> {
        let closed = self.close().await;
        let rest = async {
            let mut ignored = vec![0; PIECE];
            while self.reader.read(&mut ignored).await.is_ok_and(|n| n > 0) {}
        };
        let _ = timeout(LINGER, rest).await;
        closed
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
        let Some(Expectation { number, what }) = self.expected.pop_front() else { return Ok(()) };
        match what {
            Expectable::Announcement(heard) => _ = self.heard_transcript.update(&heard),
            Expectable::Frame { tag, len, span } => {
                let got = self.next_header(tag).await?;
                self.take_body(number, (tag, len, span), got).await?;
            }
        }
        Ok(())
    }

    /// The body of an announced frame whose header says `got` bytes.
    async fn take_body(
        &mut self,
        number: u64,
        (tag, len, span): (&'static str, usize, SpanKey),
        got: usize,
    ) -> Result<(), Error> {
        if got != len {
            return Err(Error::WrongLength { step: tag, expected: len, got });
        }
        let body = self.recv_body(tag, len).await?;
        self.meter.attribute(span, (HEADER_LEN + len) as u64);
        self.arrived.insert(number, body);
        Ok(())
    }

    /// Hears the announcements that come before the next announced frame.
    fn pass_announcements(&mut self) {
        while let Some(Expectation { what: Expectable::Announcement(heard), .. }) = self.expected.front() {
            self.heard_transcript.update(heard);
            self.expected.pop_front();
        }
    }

    /// The header of the next frame, which is one of step `tag`, behind any pieces of errands; the
    /// length that it states.
    async fn next_header(&mut self, tag: &'static str) -> Result<usize, Error> {
        loop {
            let header = self.read_header(tag).await?;
            if !header.is_piece() {
                return self.accept(tag, &header).await;
            }
            self.take_piece(tag, header).await?;
        }
    }

    async fn read_header(&mut self, tag: &'static str) -> Result<Header, Error> {
        let mut header = Header([0; HEADER_LEN]);
        let patience = self.manners.borrow().patience;
        read_exact(&mut self.reader, &mut header.0, tag, patience).await?;
        Ok(header)
    }

    /// Checks a header against what step `tag` prescribes; the length that it states.
    async fn accept(&mut self, tag: &'static str, header: &Header) -> Result<usize, Error> {
        if header.tag() != self.tag(tag) {
            return Err(self.unexpected(tag, header).await);
        }
        let (sequence, flight) = (header.sequence(), header.flight());
        if sequence != self.next_in {
            return Err(Error::WrongSequence { step: tag, expected: self.next_in, got: sequence });
        }
        let (least, most) = (self.heard.max(1), self.said + 1);
        if !(least..=most).contains(&flight) {
            return Err(Error::WrongFlight { step: tag, least, most, got: flight });
        }
        self.meter.received(tag, HEADER_LEN);
        self.heard_transcript.update(&header.0);
        self.next_in = self.next_in.wrapping_add(1);
        self.heard = flight;
        self.meter.reached(u64::from(flight));
        Ok(header.len())
    }

    /// What is wrong with a frame that is not of step `tag`; the peer's reason, if it gives one.
    async fn unexpected(&mut self, tag: &'static str, header: &Header) -> Error {
        if header.tag() == tag_bytes(ABORT_TAG) && header.len() == 1 {
            return match self.recv_body(tag, 1).await {
                Ok(code) => Error::Aborted { step: tag, reason: Abort::name(code[0]) },
                Err(error) => error,
            };
        }
        Error::WrongTag { expected: tag, got: self.tag_name(header.tag()) }
    }

    /// A piece of an errand, which comes while step `tag` is waited for.
    async fn take_piece(&mut self, tag: &'static str, header: Header) -> Result<(), Error> {
        // Numbers wrap in the header only: two that are under way differ in it.
        let first = self.errands.arriving.keys().next().copied().unwrap_or(0);
        let number = first + u64::from(header.sequence().wrapping_sub(first as u32));
        let Some(mut next) = self.errands.arriving.remove(&number) else {
            let got = format!("{}, for an errand that nobody is on", self.tag_name(header.tag()));
            return Err(Error::WrongTag { expected: tag, got });
        };
        let (step, len) = (next.tag, next.next_piece());
        if header.tag() != self.tag(step) {
            return Err(Error::WrongTag { expected: step, got: self.tag_name(header.tag()) });
        }
        if header.len() != len {
            return Err(Error::WrongLength { step, expected: len, got: header.len() });
        }
        let ((least, most), flight) =
            (next.flights.possible(next.buffer.is_empty(), self.said), header.flight() & !MARK);
        if !(least..=most).contains(&flight) {
            return Err(Error::WrongFlight { step, least, most, got: flight });
        }
        next.flights.request.store(flight - next.flights.after, Ordering::Relaxed);
        let start = next.buffer.len();
        if start == 0 {
            next.buffer.reserve_exact(next.len);
        }
        next.buffer.resize(start + len, 0);
        self.meter.received(step, HEADER_LEN);
        self.fill(&mut next.buffer[start..], step).await?;
        self.meter.attribute(next.span, (HEADER_LEN + len) as u64);
        match next.buffer.len() == next.len {
            true => next.deliver(),
            false => _ = self.errands.arriving.insert(number, next),
        }
        Ok(())
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
        let patience = self.manners.borrow().patience;
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
    /// Of the frame, or of the next one.
    number: u64,
    what: Expectable,
}

enum Expectable {
    Frame {
        tag: &'static str,
        len: usize,
        span: SpanKey,
    },
    /// An errand of which the peer's digest has these bytes.
    Announcement(Vec<u8>),
}

/// A frame's header as it came.
struct Header([u8; HEADER_LEN]);

impl Header {
    fn tag(&self) -> [u8; 4] {
        self.0[..4].try_into().expect("four bytes")
    }

    fn field(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.0[at..at + 4].try_into().expect("four bytes"))
    }

    fn sequence(&self) -> u32 {
        self.field(4)
    }

    fn flight(&self) -> u32 {
        self.field(8)
    }

    fn len(&self) -> usize {
        self.field(12) as usize
    }

    fn is_piece(&self) -> bool {
        self.flight() & MARK != 0
    }
}

/// How the writer of a channel behaves.
#[derive(Clone, Copy)]
struct Manners {
    patience: Duration,
    pace: Option<Pace>,
    /// Nothing waits for errands any more.
    hurried: bool,
}

/// What the writer of a channel is to do next.
enum Item {
    Frame([Bytes; 2]),
    /// To send what is owed for some errands.
    Errands(Range<u64>),
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

/// Bytes that are put together before they are written: a piece of an errand with its header, and
/// small messages.
const BUFFER: usize = 32 << 10;

/// All errands.
const ANY: Range<u64> = 0..u64::MAX;

/// Writes what the queue holds until it is closed and empty, and pieces of errands where it holds
/// nothing. A peer that takes nothing is waited for as long as the channel is open, and for the
/// channel's patience after that.
async fn write_all(
    writer: impl AsyncWrite,
    mut messages: mpsc::UnboundedReceiver<Item>,
    mut behind: Behind,
    mut manners: watch::Receiver<Manners>,
) -> io::Result<()> {
    let (mut writer, mut wire) = (pin!(BufWriter::with_capacity(BUFFER, writer)), Wire::new());
    // Whether a party that gives up has left out what it owed.
    let mut owing = false;
    loop {
        let pace = manners.borrow().pace;
        let between = async {
            while !behind.is_ready(&ANY) {
                behind.wait().await;
            }
            wire.free(pace).await;
        };
        let item = select! {
            biased;
            item = messages.recv() => Some(item),
            () = between => None,
        };
        match item {
            Some(None) => break,
            // Without what it owed, the peer cannot make sense of what this party said afterwards,
            // but for its farewell.
            Some(Some(Item::Frame(frame))) if owing && !is_abort(&frame) => {}
            Some(Some(Item::Frame(frame))) => {
                wire.carry(write(&manners, &messages, writer.as_mut(), frame).await?, pace);
            }
            None => wire.carry(write(&manners, &messages, writer.as_mut(), behind.take(&ANY)).await?, pace),
            Some(Some(Item::Errands(errands))) => loop {
                let ready = behind.is_ready(&errands);
                if manners.borrow().hurried || !behind.owes(&errands) {
                    owing |= behind.owes(&errands);
                    break;
                }
                let mut next = ready.then_some(&errands);
                if !ready {
                    // What was written may be what the peer waits for, and what else is ready does
                    // not wait for what is not.
                    insist(&manners, &messages, |cx| writer.as_mut().poll_flush(cx)).await?;
                    let others = behind.is_ready(&ANY);
                    if behind.has(&errands) || !behind.owes(&errands) {
                        // There has been news meanwhile.
                        continue;
                    }
                    next = select! {
                        biased;
                        // Or the channel is gone.
                        _ = manners.wait_for(|manners| manners.hurried) => {
                            owing = true;
                            break;
                        }
                        () = behind.wait() => None,
                        () = wire.free(pace), if others => Some(&ANY),
                    };
                }
                if let Some(some) = next {
                    wire.carry(write(&manners, &messages, writer.as_mut(), behind.take(some)).await?, pace);
                }
            },
        }
        if messages.is_empty() {
            insist(&manners, &messages, |cx| writer.as_mut().poll_flush(cx)).await?;
        }
    }
    // Nobody needs to go on with errands.
    drop(behind);
    insist(&manners, &messages, |cx| writer.as_mut().poll_shutdown(cx)).await
}

fn is_abort(frame: &[Bytes; 2]) -> bool {
    frame[0].starts_with(&tag_bytes(ABORT_TAG))
}

/// Writes a frame; its length.
async fn write(
    manners: &watch::Receiver<Manners>,
    messages: &mpsc::UnboundedReceiver<Item>,
    mut writer: Pin<&mut impl AsyncWrite>,
    frame: [Bytes; 2],
) -> io::Result<usize> {
    let len = frame.iter().map(Bytes::len).sum();
    for mut part in frame {
        while !part.is_empty() {
            let step = |cx: &mut Context<'_>| writer.as_mut().poll_write(cx, &part);
            match insist(manners, messages, step).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => part.advance(written),
            }
        }
    }
    Ok(len)
}

/// Polls `step` until it is done or there is no use in waiting any longer.
async fn insist<T>(
    manners: &watch::Receiver<Manners>,
    messages: &mpsc::UnboundedReceiver<Item>,
    mut step: impl FnMut(&mut Context<'_>) -> Poll<io::Result<T>>,
) -> io::Result<T> {
    loop {
        let limit = manners.borrow().patience;
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
