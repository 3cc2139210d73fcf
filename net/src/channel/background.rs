//! Background requests: a request and its reply that travel behind everything else.
//!
//! | client                     |                          | server                      |
//! |----------------------------|--------------------------|-----------------------------|
//! | [`Channel::start_request`] |                          | [`Channel::accept_request`] |
//! | fills in the request       | `-- piece, piece, .. ->` | a task waits for it         |
//! | a task waits for the reply | `<- piece, piece, .. --` | fills it in                 |
//! | [`Channel::catch_up`]      |                          | [`Channel::catch_up`]       |
//!
//! Both parties announce requests at the same point of the conversation, with the same tags and
//! lengths, and catch up with them at the same point.
//!
//! Sending: between the two points the messages go out in pieces when no frame waits, and no faster
//! than the connection is known to carry them ([`Channel::set_pace`]), so that a frame waits for
//! one piece at most. The request that was announced first goes first, if it is ready. When a party
//! catches up, what is left goes before all frames that it sends afterwards.
//!
//! Receiving: pieces are read on the way to other messages. The receiver knows every field of a
//! piece's header beforehand, except for the flight of a request.
//!
//! Turns: a request is in the flight after the newest one that its sender had received when it
//! announced it, or in the flight after the reply on which it depends; a reply is in the flight
//! after its request. So a background request adds turns only if it has not come back by the time
//! that the parties catch up.
//!
//! Digests: where pieces lie among frames depends on time, so digests of a conversation cover the
//! announcements instead.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::{
    Channel,
    budget::{Kind, Unsent},
    frame::{HEADER_LEN, PIECE_LEN, tag_bytes},
    low_priority::Submission,
    writer::Item,
};
use crate::{Error, SpanKey};

/// The step of a party that catches up, in errors.
const STEP: &str = "background/catch-up";

/// The tag and the length of a message of a background request.
type Message = (&'static str, usize);

/// Bytes that a background message of `len` bytes takes, framing included.
pub fn background_len(len: usize) -> usize {
    len + len.div_ceil(PIECE_LEN) * HEADER_LEN
}

/// A background request that both parties have announced.
#[must_use]
pub struct BackgroundRequest {
    /// Its number on its channel, for [`Channel::catch_up`].
    pub number: u64,
    /// What this party has to send.
    pub outgoing: OutgoingMessage,
    /// What the peer sends.
    pub incoming: IncomingMessage,
}

/// A message to be filled in. If it is dropped instead, the peer waits in vain.
pub struct OutgoingMessage {
    request: u64,
    tag: [u8; 4],
    /// Zero once it is submitted.
    len: usize,
    request_flight: Flight,
    flights_later: u32,
    writer: mpsc::UnboundedSender<Submission>,
    unsent: Arc<Unsent>,
}

impl OutgoingMessage {
    /// Whether the channel is gone, so that it cannot be sent.
    pub fn is_lost(&self) -> bool {
        self.writer.is_closed()
    }

    /// Submits the content. A reply may be filled in once its request has arrived.
    ///
    /// # Panics
    /// If it has another length than was announced.
    pub fn fill(mut self, payload: impl Into<Bytes>) {
        let body = payload.into();
        assert_eq!(body.len(), self.len, "length of a background message");
        self.unsent.add(Kind::Background, background_len(body.len()));
        self.submit(Some(body));
    }

    fn submit(&mut self, body: Option<Bytes>) {
        let flight = self.request_flight.load(Ordering::Relaxed) + self.flights_later;
        self.len = 0;
        // A channel that is gone takes nothing more.
        let _ = self.writer.send(Submission { request: self.request, tag: self.tag, flight, body });
    }
}

impl Drop for OutgoingMessage {
    fn drop(&mut self) {
        if self.len > 0 {
            self.submit(None);
        }
    }
}

/// A message that arrives in pieces.
pub struct IncomingMessage {
    tag: &'static str,
    body: oneshot::Receiver<Vec<u8>>,
}

impl IncomingMessage {
    /// Waits until the channel's owner has read the message, on the way to another one or in
    /// [`Channel::catch_up`].
    ///
    /// # Errors
    /// [`Error::Closed`] if the channel is gone.
    pub async fn wait(self) -> Result<Vec<u8>, Error> {
        self.body.await.map_err(|_| Error::Closed { step: self.tag })
    }
}

/// The flight of a request; zero until it is known.
pub(super) type Flight = Arc<AtomicU32>;

/// What is known of the flight of an incoming message.
pub(super) struct ExpectedFlight {
    /// The flight of the request.
    pub request: Flight,
    /// 0 for a request, 1 for a reply.
    pub flights_later: u32,
    /// The flight of the request on whose reply this request depends.
    pub depends_on: Option<Flight>,
    /// The least flight that an independent request may have.
    pub least: u32,
}

impl ExpectedFlight {
    /// The least and the greatest flight that a piece may have; `newest_sent` is this side's
    /// newest.
    pub fn possible(&self, is_first_piece: bool, newest_sent: u32) -> (u32, u32) {
        let known = match (&self.depends_on, is_first_piece, self.flights_later) {
            (Some(before), true, 0) => match before.load(Ordering::Relaxed) {
                // The request before has not arrived, so this one cannot arrive.
                0 => return (1, 0),
                before => before + 2,
            },
            (None, true, 0) => return (self.least, newest_sent + 1),
            _ => self.request.load(Ordering::Relaxed) + self.flights_later,
        };
        (known, known)
    }
}

/// A background message of the peer that has not arrived in full.
pub(super) struct Arriving {
    pub tag: &'static str,
    pub len: usize,
    /// Where its bytes are counted.
    pub span: SpanKey,
    pub flight: ExpectedFlight,
    pub buffer: Vec<u8>,
    deliver: oneshot::Sender<Vec<u8>>,
}

impl Arriving {
    /// Bytes of the next piece.
    pub fn next_piece_len(&self) -> usize {
        PIECE_LEN.min(self.len - self.buffer.len())
    }

    /// Hands a complete message to the task that waits for it, if that still exists.
    pub fn deliver(self) {
        let _ = self.deliver.send(self.buffer);
    }
}

/// A request that is not caught up with.
struct UnderWay {
    flight: Flight,
    /// Whether the request is this party's; otherwise the reply is.
    is_ours: bool,
}

/// A channel's background requests.
pub(super) struct Requests {
    announced: u64,
    under_way: BTreeMap<u64, UnderWay>,
    pub arriving: BTreeMap<u64, Arriving>,
    writer: mpsc::UnboundedSender<Submission>,
}

impl Requests {
    pub fn new(writer: mpsc::UnboundedSender<Submission>) -> Requests {
        Requests { announced: 0, under_way: BTreeMap::new(), arriving: BTreeMap::new(), writer }
    }

    /// The number of the request of which a piece's header has the low half. Two requests that are
    /// under way at the same time differ in it.
    pub fn number_of(&self, low: u32) -> u64 {
        let first = self.arriving.keys().next().copied().unwrap_or(0);
        first + u64::from(low.wrapping_sub(first as u32))
    }

    /// The number and the step of the first of `requests` of which something is still to arrive.
    pub fn first_arriving(&self, requests: &Range<u64>) -> Option<(u64, &'static str)> {
        self.arriving.range(requests.clone()).next().map(|(number, next)| (*number, next.tag))
    }

    fn any_under_way(&self, requests: &Range<u64>) -> bool {
        self.under_way.range(requests.clone()).next().is_some()
    }
}

impl Channel {
    /// Announces a background request of this party, with the tags and lengths of request and
    /// reply. The peer announces it by [`Channel::accept_request`]. Does not wait. Its bytes count
    /// for the span that is open now.
    ///
    /// # Panics
    /// If a length is zero.
    pub fn start_request(&mut self, request: Message, reply: Message) -> BackgroundRequest {
        self.newest_sent = self.newest_received + 1;
        let flight = Flight::new(self.newest_sent.into());
        self.announce_ours(flight, request, reply)
    }

    /// Announces a background request of this party that depends on the reply to `before`.
    ///
    /// # Panics
    /// If a length is zero.
    pub fn start_next_request(
        &mut self,
        before: &BackgroundRequest,
        request: Message,
        reply: Message,
    ) -> BackgroundRequest {
        let flight = before.outgoing.request_flight.load(Ordering::Relaxed) + 2;
        self.announce_ours(Flight::new(flight.into()), request, reply)
    }

    /// Announces a background request of the peer.
    ///
    /// # Panics
    /// If a length is zero.
    pub fn accept_request(&mut self, request: Message, reply: Message) -> BackgroundRequest {
        self.announce_theirs(None, request, reply)
    }

    /// Announces a background request of the peer that depends on the reply to `before`.
    ///
    /// # Panics
    /// If a length is zero.
    pub fn accept_next_request(
        &mut self,
        before: &BackgroundRequest,
        request: Message,
        reply: Message,
    ) -> BackgroundRequest {
        self.announce_theirs(Some(before.outgoing.request_flight.clone()), request, reply)
    }

    fn announce_ours(&mut self, flight: Flight, request: Message, reply: Message) -> BackgroundRequest {
        let expected = ExpectedFlight { request: flight, flights_later: 1, depends_on: None, least: 1 };
        self.announce(request, 0, reply, expected)
    }

    fn announce_theirs(
        &mut self,
        depends_on: Option<Flight>,
        request: Message,
        reply: Message,
    ) -> BackgroundRequest {
        let least = self.newest_received.max(1);
        let expected = ExpectedFlight { request: Flight::default(), flights_later: 0, depends_on, least };
        self.announce(reply, 1, request, expected)
    }

    /// Announces that this party sends `ours`, `flights_later` flights after the request, and the
    /// peer sends `theirs`.
    fn announce(
        &mut self,
        ours: Message,
        flights_later: u32,
        theirs: Message,
        expected: ExpectedFlight,
    ) -> BackgroundRequest {
        assert!(ours.1 > 0 && theirs.1 > 0, "a background message has content");
        let number = self.requests.announced;
        self.requests.announced += 1;
        let flight = expected.request.clone();
        self.requests
            .under_way
            .insert(number, UnderWay { flight: flight.clone(), is_ours: flights_later == 0 });
        let outgoing = OutgoingMessage {
            request: number,
            tag: tag_bytes(ours.0),
            len: ours.1,
            request_flight: flight,
            flights_later,
            writer: self.requests.writer.clone(),
            unsent: self.unsent.clone(),
        };
        let (deliver, body) = oneshot::channel();
        let incoming = IncomingMessage { tag: theirs.0, body };
        let arriving = Arriving {
            tag: theirs.0,
            len: theirs.1,
            span: self.meter.span(),
            flight: expected,
            buffer: vec![],
            deliver,
        };
        self.requests.arriving.insert(number, arriving);
        self.meter.sent(ours.0, background_len(ours.1));
        // The peer's digest covers the announcement at the same place among its frames.
        let [sent, received] =
            [ours, theirs].map(|(tag, len)| [&self.tag(tag)[..], &(len as u64).to_le_bytes()].concat());
        self.sent_transcript.update(&sent);
        self.expect_announcement(received);
        BackgroundRequest { number, outgoing, incoming }
    }

    /// Waits until the peer's messages of `requests` have arrived. What this party still has to
    /// send for them goes before all frames that it sends from now on.
    ///
    /// # Errors
    /// As [`Channel::recv`]; [`Error::Closed`] if this side has closed the channel.
    pub async fn catch_up(&mut self, requests: Range<u64>) -> Result<(), Error> {
        let requests = requests.start..requests.end.min(self.requests.announced);
        if requests.is_empty() || !self.requests.any_under_way(&requests) {
            return Ok(());
        }
        let Some(queue) = &self.queue else { return Err(Error::Closed { step: STEP }) };
        let _ = queue.send(Item::Barrier(requests.clone()));
        let (mut current, mut wait) = (None, self.wait());
        while let Some((number, step)) = self.requests.first_arriving(&requests) {
            if current != Some(number) {
                (current, wait) = (Some(number), self.wait());
            }
            let header = self.read_header(step, &mut wait).await?;
            if header.is_piece {
                self.take_piece(step, header, &mut wait).await?;
            } else {
                self.take_expected_frame(step, header).await?;
            }
        }
        // The peer sent them before, in flights that may be earlier than those of the requests.
        self.take_all_expected().await?;
        for number in requests {
            let Some(UnderWay { flight, is_ours }) = self.requests.under_way.remove(&number) else {
                continue;
            };
            let request = flight.load(Ordering::Relaxed);
            let reply = request + 1;
            let (sent, received) = if is_ours { (request, reply) } else { (reply, request) };
            self.newest_sent = self.newest_sent.max(sent);
            self.newest_received = self.newest_received.max(received);
        }
        self.meter.reached(u64::from(self.newest_received));
        self.keep_budget(STEP).await?;
        self.keep_background_budget(STEP).await
    }
}
