//! Errands: a request and its reply that travel behind everything else.
//!
//! | client                     |                            | server                        |
//! |----------------------------|----------------------------|-------------------------------|
//! | [`Channel::run_errand`](crate::Channel::run_errand) | | [`Channel::take_errand`](crate::Channel::take_errand) |
//! | fills in the request       | `-- piece, piece, .. ->`   | waits for it, beside the protocol |
//! | waits for the reply, beside the protocol | `<- piece, piece, .. --` | fills it in         |
//! | [`Channel::catch_up`](crate::Channel::catch_up) | | [`Channel::catch_up`](crate::Channel::catch_up) |
//!
//! Both parties announce errands at the same point of the conversation, with the same tags and
//! lengths, and catch up with them at the same point. In between, what a party has to send for them
//! goes out in pieces when nothing else waits, no faster than the connection is known to carry it:
//! then a message finds the wire free, but for a piece. What was announced first goes first, if it
//! is ready. When a party catches up, what is left goes ahead of all that it says afterwards.
//! Pieces are read on the way to other messages; so an errand costs turns only if it has not come
//! back by the time that it is waited for: a request is in the flight after the newest that was
//! heard when it was announced, or in the one after the reply on which it depends, and a reply is
//! in the one after its request.
//!
//! A piece is a frame with its errand's number in the place of a sequence number, and its flight is
//! marked. The receiver knows beforehand every field but a request's flight. Where pieces lie among
//! other frames depends on time, so that digests of a conversation have the announcements instead.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep_until,
};

use crate::{Error, HEADER_LEN, SpanKey};

/// Bytes of a piece, but for the last of a message.
pub(crate) const PIECE: usize = 16 << 10;

/// What marks the flight of a piece.
pub(crate) const MARK: u32 = 1 << 31;

/// Bytes that a request or a reply of `len` takes, framing included.
pub fn errand_len(len: usize) -> usize {
    len + len.div_ceil(PIECE) * HEADER_LEN
}

/// An errand that both parties have announced.
#[must_use]
#[derive(Debug)]
pub struct Errand {
    /// Its number on its channel: what [`crate::Channel::catch_up`] knows it by.
    pub number: u64,
    /// What this party has to send.
    pub outgoing: Outgoing,
    /// What the peer sends.
    pub incoming: Incoming,
}

impl Errand {
    pub(crate) fn flight(&self) -> &Flight {
        &self.outgoing.flight
    }
}

/// A message to be filled in. If it is dropped instead, the peer waits in vain.
#[derive(Debug)]
pub struct Outgoing {
    number: u64,
    tag: [u8; 4],
    len: usize,
    flight: Flight,
    /// How many flights after the request.
    after: u32,
    writer: mpsc::UnboundedSender<Leaving>,
}

impl Outgoing {
    pub(crate) fn new(
        number: u64,
        (tag, len): ([u8; 4], usize),
        (flight, after): (Flight, u32),
        writer: mpsc::UnboundedSender<Leaving>,
    ) -> Outgoing {
        assert!(len > 0, "an errand's message has content");
        Outgoing { number, tag, len, flight, after, writer }
    }

    /// Whether there is nobody left to send it to.
    pub fn is_lost(&self) -> bool {
        self.writer.is_closed()
    }

    /// Lets it go: a request at once, a reply once the request is there.
    ///
    /// # Panics
    /// If it has another length than was announced.
    pub fn fill(mut self, payload: impl Into<Bytes>) {
        let body = payload.into();
        assert_eq!(body.len(), self.len, "length of an errand's message");
        self.leave(Some(body));
    }

    fn leave(&mut self, body: Option<Bytes>) {
        let flight = MARK | (self.flight.load(Ordering::Relaxed) + self.after);
        self.len = 0;
        // A channel that is gone takes nothing more.
        let _ = self.writer.send(Leaving { number: self.number, tag: self.tag, flight, body });
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if self.len > 0 {
            self.leave(None);
        }
    }
}

/// A message that comes in pieces.
#[derive(Debug)]
pub struct Incoming {
    tag: &'static str,
    body: oneshot::Receiver<Vec<u8>>,
}

impl Incoming {
    /// Waits until the channel's owner has read it on the way to something else, or has caught up
    /// with it.
    ///
    /// # Errors
    /// [`Error::Closed`] if the channel is gone.
    pub async fn wait(self) -> Result<Vec<u8>, Error> {
        self.body.await.map_err(|_| Error::Closed { step: self.tag })
    }
}

/// The flight of a request, as soon as it is known.
pub(crate) type Flight = Arc<AtomicU32>;

/// An errand's message on the sender's side of a channel.
pub(crate) struct Leaving {
    number: u64,
    tag: [u8; 4],
    flight: u32,
    /// None if it will never come.
    body: Option<Bytes>,
}

/// What is known of the flight of an errand's message.
pub(crate) struct Flights {
    /// That of the request.
    pub request: Flight,
    /// How many flights after the request.
    pub after: u32,
    /// The request before, on whose reply a request depends.
    pub before: Option<Flight>,
    /// The least that a request's may be.
    pub least: u32,
}

impl Flights {
    /// The least and the most that are possible for the first piece or a later one, if the newest
    /// flight of this side is `said`.
    pub fn possible(&self, first: bool, said: u32) -> (u32, u32) {
        let known = match (&self.before, first, self.after) {
            (Some(before), true, 0) => match before.load(Ordering::Relaxed) {
                // That one has not come, so this one cannot.
                0 => return (1, 0),
                before => before + 2,
            },
            (None, true, 0) => return (self.least, said + 1),
            _ => self.request.load(Ordering::Relaxed) + self.after,
        };
        (known, known)
    }
}

/// An errand's message on the receiver's side of a channel.
pub(crate) struct Arriving {
    pub tag: &'static str,
    pub len: usize,
    pub span: SpanKey,
    pub flights: Flights,
    pub buffer: Vec<u8>,
    deliver: oneshot::Sender<Vec<u8>>,
}

impl Arriving {
    pub fn new((tag, len): (&'static str, usize), span: SpanKey, flights: Flights) -> (Arriving, Incoming) {
        assert!(len > 0, "an errand's message has content");
        let (deliver, body) = oneshot::channel();
        (Arriving { tag, len, span, flights, buffer: vec![], deliver }, Incoming { tag, body })
    }

    /// Bytes of the next piece.
    pub fn next_piece(&self) -> usize {
        PIECE.min(self.len - self.buffer.len())
    }

    /// Hands a complete message to whoever waits for it; who does not any more needs none.
    pub fn deliver(self) {
        let _ = self.deliver.send(self.buffer);
    }
}

/// What a channel's owner keeps of its errands.
pub(crate) struct Errands {
    pub announced: u64,
    /// Those that are not caught up with: the flights of their requests, and whether these are this
    /// party's.
    pub under_way: BTreeMap<u64, (Flight, bool)>,
    pub arriving: BTreeMap<u64, Arriving>,
    pub writer: mpsc::UnboundedSender<Leaving>,
}

impl Errands {
    pub fn new() -> (Errands, Behind) {
        let (writer, queue) = mpsc::unbounded_channel();
        let errands = Errands { announced: 0, under_way: BTreeMap::new(), arriving: BTreeMap::new(), writer };
        (errands, Behind { queue, ready: BTreeMap::new(), sent: BTreeSet::new(), all_sent: 0 })
    }

    /// The first of some errands of which something is still to come.
    pub fn next_of(&self, errands: &Range<u64>) -> Option<&Arriving> {
        self.arriving.range(errands.clone()).next().map(|(_, next)| next)
    }
}

/// What the writer of a channel keeps of its errands.
pub(crate) struct Behind {
    queue: mpsc::UnboundedReceiver<Leaving>,
    /// Tag, flight, and what is left.
    ready: BTreeMap<u64, ([u8; 4], u32, Bytes)>,
    /// Those that are sent, or never will be: all up to a number, and some after it.
    all_sent: u64,
    sent: BTreeSet<u64>,
}

impl Behind {
    /// Whether there is a piece of some errands, after the latest news.
    pub fn is_ready(&mut self, errands: &Range<u64>) -> bool {
        while let Ok(next) = self.queue.try_recv() {
            self.admit(next);
        }
        self.has(errands)
    }

    /// Whether there is a piece of some errands, as far as is known.
    pub fn has(&self, errands: &Range<u64>) -> bool {
        self.ready.range(errands.clone()).next().is_some()
    }

    /// Waits for news of any errand; may be given up at any time. Never ends if there will be none.
    pub async fn wait(&mut self) {
        match self.queue.recv().await {
            Some(next) => self.admit(next),
            None => pending().await,
        }
    }

    fn admit(&mut self, next: Leaving) {
        match next.body {
            Some(body) => _ = self.ready.insert(next.number, (next.tag, next.flight, body)),
            None => self.done(next.number),
        }
    }

    fn done(&mut self, number: u64) {
        self.sent.insert(number);
        while self.sent.remove(&self.all_sent) {
            self.all_sent += 1;
        }
    }

    /// The next piece of some errands, which is ready, with its header.
    ///
    /// # Panics
    /// If none is.
    pub fn take(&mut self, errands: &Range<u64>) -> [Bytes; 2] {
        let (&number, (tag, flight, body)) =
            self.ready.range_mut(errands.clone()).next().expect("a piece is ready");
        let piece = body.split_to(PIECE.min(body.len()));
        let mut header = BytesMut::with_capacity(HEADER_LEN);
        header.put_slice(tag);
        header.put_u32_le(number as u32);
        header.put_u32_le(*flight);
        header.put_u32_le(piece.len() as u32);
        if !body.has_remaining() {
            self.ready.remove(&number);
            self.done(number);
        }
        [header.freeze(), piece]
    }

    /// Whether something of some errands is not sent.
    pub fn owes(&self, errands: &Range<u64>) -> bool {
        (errands.start.max(self.all_sent)..errands.end).any(|number| !self.sent.contains(&number))
    }
}

/// What a connection carries, so that pieces wait where messages would have to wait for them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Bits per second.
    pub rate: f64,
    /// How long a message may have to wait.
    pub slack: Duration,
}

/// When the wire will have carried what was written.
pub(crate) struct Wire(Instant);

impl Wire {
    pub fn new() -> Wire {
        Wire(Instant::now())
    }

    pub fn carry(&mut self, bytes: usize, pace: Option<Pace>) {
        if let Some(Pace { rate, .. }) = pace {
            self.0 = self.0.max(Instant::now()) + Duration::from_secs_f64(8.0 * bytes as f64 / rate);
        }
    }

    /// Waits until a piece is in nobody's way.
    pub async fn free(&self, pace: Option<Pace>) {
        if let Some(Pace { slack, .. }) = pace
            && self.0 > Instant::now() + slack
        {
            sleep_until((self.0 - slack).into()).await;
        }
    }
}
