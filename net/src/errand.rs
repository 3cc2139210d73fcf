//! Errands: a request and its reply that travel behind everything else.
//!
//! | client                     |                            | server                        |
//! |----------------------------|----------------------------|-------------------------------|
//! | [`Channel::run_errand`](crate::Channel::run_errand) | | [`Channel::take_errand`](crate::Channel::take_errand) |
//! | fills in the request       | `-- piece, piece, .. ->`   | waits for it, beside the protocol |
//! | waits for the reply, beside the protocol | `<- piece, piece, .. --` | fills it in         |
//! | [`Channel::catch_up`](crate::Channel::catch_up) | | [`Channel::catch_up`](crate::Channel::catch_up) |
//!
//! Both parties announce errands at the same point of the conversation, with the same tags and lengths, and catch up with them at the
//! same point. In between, what a party has to send for them goes out in pieces when nothing else waits, no faster than the connection
//! carries it: then a message finds the wire free, but for a piece. When a party catches up, what is left goes ahead of all that it says
//! afterwards. Pieces are read on the way to other messages; so an errand costs turns only if it has not come back by the time that it is
//! waited for: a request is in the flight after the newest that was heard when it was announced, a reply in the one after.
//!
//! A piece is a frame with a sequence of its own, and its flight is marked. The receiver knows beforehand every field but a request's
//! flight. Where pieces lie among other frames depends on time, so that digests of a conversation have the announcements instead.

use std::{
    collections::VecDeque,
    future::{pending, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::Poll,
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
    /// Its number on its channel.
    pub(crate) number: u64,
    /// What this party has to send.
    pub outgoing: Outgoing,
    /// What the peer sends.
    pub incoming: Incoming,
}

impl Errand {
    /// What [`crate::Channel::catch_up`] knows it by.
    pub fn number(&self) -> u64 {
        self.number
    }
}

/// A message to be filled in. If it is dropped instead, nothing more of any errand is sent.
#[derive(Debug)]
pub struct Outgoing {
    len: usize,
    body: oneshot::Sender<Bytes>,
}

impl Outgoing {
    /// Whether there is nobody left to send it to.
    pub fn is_lost(&self) -> bool {
        self.body.is_closed()
    }

    /// Lets it go: a request at once, a reply once the request is there.
    ///
    /// # Panics
    /// If it has another length than was announced.
    pub fn fill(self, payload: impl Into<Bytes>) {
        let payload = payload.into();
        assert_eq!(payload.len(), self.len, "length of an errand's message");
        // A channel that is gone takes nothing more.
        let _ = self.body.send(payload);
    }
}

/// A message that comes in pieces.
#[derive(Debug)]
pub struct Incoming {
    tag: &'static str,
    body: oneshot::Receiver<Vec<u8>>,
}

impl Incoming {
    /// Waits until the channel's owner has read it on the way to something else, or has caught up with it.
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
    pub tag: [u8; 4],
    pub flight: Flight,
    /// How many flights after the request.
    pub after: u32,
    body: oneshot::Receiver<Bytes>,
}

impl Leaving {
    pub fn new(tag: [u8; 4], len: usize, flight: Flight, after: u32) -> (Leaving, Outgoing) {
        assert!(len > 0, "an errand's message has content");
        let (fill, body) = oneshot::channel();
        (Leaving { tag, flight, after, body }, Outgoing { len, body: fill })
    }
}

/// An errand's message on the receiver's side of a channel.
pub(crate) struct Arriving {
    pub number: u64,
    pub tag: &'static str,
    pub len: usize,
    pub span: SpanKey,
    /// Of the request.
    pub flight: Flight,
    /// How many flights after the request.
    pub after: u32,
    /// The least flight that a request may have.
    pub least: u32,
    pub buffer: Vec<u8>,
    deliver: oneshot::Sender<Vec<u8>>,
}

impl Arriving {
    pub fn new(
        number: u64,
        (tag, len): (&'static str, usize),
        span: SpanKey,
        (flight, after, least): (Flight, u32, u32),
    ) -> (Arriving, Incoming) {
        assert!(len > 0, "an errand's message has content");
        let (deliver, body) = oneshot::channel();
        let arriving = Arriving { number, tag, len, span, flight, after, least, buffer: vec![], deliver };
        (arriving, Incoming { tag, body })
    }

    /// Bytes of the next piece.
    pub fn next_piece(&self) -> usize {
        PIECE.min(self.len - self.buffer.len())
    }

    /// The flight of its pieces, or the least and the most that are possible for the first one, if the peer has seen flight `said` of this side.
    pub fn flights(&self, said: u32) -> (u32, u32) {
        match (self.after, self.buffer.is_empty()) {
            (0, true) => (self.least, said + 1),
            _ => {
                let known = self.flight.load(Ordering::Relaxed) + self.after;
                (known, known)
            }
        }
    }

    /// Hands a complete message to whoever waits for it; who does not any more needs none.
    pub fn deliver(self) {
        let _ = self.deliver.send(self.buffer);
    }
}

/// What a channel's owner keeps of its errands.
pub(crate) struct Errands {
    pub announced: u64,
    /// Caught up with.
    pub settled: u64,
    /// The flights of the others' requests, and whether they are this party's.
    pub under_way: VecDeque<(Flight, bool)>,
    pub arriving: VecDeque<Arriving>,
    pub leaving: mpsc::UnboundedSender<Leaving>,
    /// The number of the peer's next piece.
    pub next_in: u32,
}

impl Errands {
    pub fn new() -> (Errands, Behind) {
        let (leaving, queue) = mpsc::unbounded_channel();
        let (under_way, arriving) = (VecDeque::new(), VecDeque::new());
        let errands = Errands { announced: 0, settled: 0, under_way, arriving, leaving, next_in: 0 };
        (errands, Behind { queue, front: None, current: None, sent: 0, next_out: 0 })
    }
}

/// What the writer of a channel keeps of its errands.
pub(crate) struct Behind {
    queue: mpsc::UnboundedReceiver<Leaving>,
    front: Option<Leaving>,
    /// Tag, flight, and what is left.
    current: Option<([u8; 4], u32, Bytes)>,
    /// Messages that are sent.
    pub sent: u64,
    next_out: u32,
}

impl Behind {
    /// Waits for a piece; may be given up at any time. Never ends if there will be none.
    pub async fn ready(&mut self) {
        while self.current.is_none() {
            if self.front.is_none() {
                self.front = self.queue.recv().await;
            }
            let Some(front) = &mut self.front else { return pending().await };
            let body = poll_fn(|cx| match front.body.is_terminated() {
                true => Poll::Pending,
                false => Pin::new(&mut front.body).poll(cx),
            });
            if let Ok(body) = body.await {
                let flight = front.flight.load(Ordering::Relaxed) + front.after;
                self.current = Some((front.tag, MARK | flight, body));
                self.front = None;
            }
        }
    }

    /// The piece that is ready, with its header.
    ///
    /// # Panics
    /// If none is.
    pub fn take(&mut self) -> [Bytes; 2] {
        let (tag, flight, body) = self.current.as_mut().expect("a piece is ready");
        let piece = body.split_to(PIECE.min(body.len()));
        let mut header = BytesMut::with_capacity(HEADER_LEN);
        header.put_slice(tag);
        header.put_u32_le(self.next_out);
        header.put_u32_le(*flight);
        header.put_u32_le(piece.len() as u32);
        self.next_out = self.next_out.wrapping_add(1);
        if !body.has_remaining() {
            self.current = None;
            self.sent += 1;
        }
        [header.freeze(), piece]
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
