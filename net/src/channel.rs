//! A framed, counted connection to the other party.
//!
//! | file                         | subject                                                       |
//! |------------------------------|---------------------------------------------------------------|
//! | `frame.rs`                   | the bytes of a frame                                          |
//! | `receive.rs`, `reader.rs`    | expected messages and their checks; bytes within a time limit |
//! | `writer.rs`                  | the task that sends                                           |
//! | `budget.rs`                  | how much is held for a peer that does not read                |
//! | `limits.rs`                  | how long a party waits for the peer                           |
//! | `background.rs`              | background requests                                           |
//! | `low_priority.rs`, `pace.rs` | their pieces in the writer, and how fast they go              |
//! | `abort.rs`                   | how a channel ends                                            |
//!
//! Sending does not wait for the peer: frames go to a queue that a writer task drains. So two
//! parties that send at the same time cannot deadlock, and a party computes while its messages
//! travel. Background messages go to a queue of lower priority. If the peer does not read,
//! receiving waits.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::Serialize;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};

use crate::{Error, Meter, codec};

mod abort;
mod background;
mod budget;
mod frame;
mod limits;
mod low_priority;
mod pace;
mod reader;
mod receive;
mod writer;

use self::{
    abort::ABORT_TAG,
    background::Requests,
    budget::{Kind, Turn, Unsent},
    frame::{Header, MAX_LEN, tag_bytes},
    limits::{Deadline, Wait, later},
    low_priority::LowPriorityQueue,
    pace::Pace,
    reader::Reader,
    receive::Expectations,
    writer::{Control, Item, Writer},
};
pub use self::{
    abort::Abort,
    background::{BackgroundRequest, IncomingMessage, OutgoingMessage, background_len},
    budget::DEFAULT_BUDGET,
    frame::HEADER_LEN,
    limits::LEAST_RATE,
    receive::Expected,
};

/// How long a party waits for the peer's next bytes unless told otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);

/// The least pace of background messages, in bits per second, whatever the peer states.
const LEAST_PACE: f64 = 1000.0;

/// Any byte stream to the other party.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// A connection to the other party. It ends with [`Channel::part`], [`Channel::close`] or
/// [`Channel::abort`]; what is still queued when the [`crate::Runtime`] stops is lost.
pub struct Channel {
    reader: Reader,
    /// A header that was read before it was asked for.
    early_header: Option<Header>,
    /// None once this side has closed.
    queue: Option<mpsc::UnboundedSender<Item>>,
    writer: Option<JoinHandle<io::Result<()>>>,
    control: watch::Sender<Control>,
    deadline: Option<Deadline>,
    /// What the writer has not sent, and the messages of this turn.
    unsent: Arc<Unsent>,
    turn: Turn,
    /// Bytes that may be unsent when a receive returns, beyond those of a turn.
    budget: usize,
    /// The numbers of the next frames.
    next_out: u32,
    next_in: u32,
    /// The newest flight of the peer, and of this party.
    newest_received: u32,
    newest_sent: u32,
    known_tags: HashMap<[u8; 4], &'static str>,
    expectations: Expectations,
    requests: Requests,
    /// Digests of the frame headers in each direction.
    sent_transcript: blake3::Hasher,
    received_transcript: blake3::Hasher,
    /// Bits per second.
    stated_rate: Option<f64>,
    /// Where this connection's cost is counted.
    pub meter: Meter,
}

impl Channel {
    /// A channel over `stream`. Must be called inside a [`crate::Runtime`].
    pub fn new(stream: impl Stream) -> Channel {
        let (reader, writer) = tokio::io::split(Box::new(stream) as Box<dyn Stream>);
        let (queue, frames) = mpsc::unbounded_channel();
        let (submit, submissions) = mpsc::unbounded_channel();
        let initial = Control {
            timeout: DEFAULT_TIMEOUT,
            least_rate: LEAST_RATE,
            deadline: None,
            pace: None,
            aborting: false,
        };
        let (control, controlled) = watch::channel(initial);
        let (low_priority, unsent) = (LowPriorityQueue::new(submissions), Arc::<Unsent>::default());
        let writer = Writer::new(writer, frames, low_priority, controlled, unsent.clone());
        Channel {
            reader: Reader::new(reader),
            early_header: None,
            queue: Some(queue),
            writer: Some(tokio::spawn(writer.run())),
            control,
            deadline: None,
            unsent,
            turn: Turn::default(),
            budget: DEFAULT_BUDGET,
            next_out: 0,
            next_in: 0,
            newest_received: 0,
            newest_sent: 0,
            known_tags: HashMap::from([(tag_bytes(ABORT_TAG), ABORT_TAG)]),
            expectations: Expectations::default(),
            requests: Requests::new(submit),
            sent_transcript: blake3::Hasher::new(),
            received_transcript: blake3::Hasher::new(),
            stated_rate: None,
            meter: Meter::new(),
        }
    }

    /// States how many bits per second the connection carries; unknown until then.
    pub fn state_rate(&mut self, rate: Option<f64>) {
        self.stated_rate = rate;
    }

    /// The connection's rate as stated by [`Channel::state_rate`], in bits per second.
    pub fn stated_rate(&self) -> Option<f64> {
        self.stated_rate
    }

    /// The least rate that a long message of the peer arrived with, in bits per second; none before
    /// there was one.
    pub fn seen_rate(&self) -> Option<f64> {
        self.reader.seen_rate()
    }

    /// Sets how long to wait for the peer's next bytes, and for the peer to take the next ones. A
    /// whole message may take this time and what it takes at the least rate.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.control.send_modify(|control| control.timeout = timeout);
    }

    /// Sets the rate, in bytes per second, at which the peer must send and take messages, beyond
    /// the timeout.
    ///
    /// # Panics
    /// If it is zero.
    pub fn set_least_rate(&mut self, bytes_per_second: u64) {
        assert!(bytes_per_second > 0, "a rate is positive");
        self.control.send_modify(|control| control.least_rate = bytes_per_second);
    }

    /// Sets a deadline, `allowed` from now: this party's waits for the peer fail from then on, with
    /// [`Error::DeadlinePassed`]. `subject` says what must have ended, such as `"set-up"` or
    /// `"session"`. Replaces the deadline that was set before.
    pub fn set_deadline(&mut self, subject: &'static str, allowed: Duration) {
        let at = later(Instant::now(), allowed);
        self.change_deadline(Some(Deadline { subject, allowed, at }));
    }

    /// Removes the deadline.
    pub fn clear_deadline(&mut self) {
        self.change_deadline(None);
    }

    /// Sets how many bytes may be unsent when a receive returns, beyond the messages of a turn. A
    /// peer that does not read gets [`Error::Unread`] instead of more.
    pub fn set_budget(&mut self, bytes: usize) {
        self.budget = bytes;
    }

    /// Bytes that are queued and not sent.
    pub fn unsent(&self) -> usize {
        self.unsent.bytes(Kind::Frames) + self.unsent.bytes(Kind::Background)
    }

    /// Sets the pace of background messages: `rate` is what the connection carries, in bits per
    /// second, `slack` how long a frame may have to wait for a piece. Until then pieces are sent
    /// whenever no frame waits. Out-of-range values are clamped: the peer has a say in them.
    pub fn set_pace(&mut self, rate: f64, slack: Duration) {
        let pace = Pace { rate: rate.max(LEAST_PACE), slack: slack.min(DEFAULT_TIMEOUT) };
        self.control.send_modify(|control| control.pace = Some(pace));
    }

    /// Queues `payload` for the peer; it travels while this party goes on.
    ///
    /// # Errors
    /// [`Error::Closed`] if this side has closed the channel. A connection that broke shows at the
    /// next receive, where the reason that the peer gave, if any, can be told.
    ///
    /// # Panics
    /// If the payload exceeds 2^32 - 1 bytes.
    pub fn send(&mut self, tag: &'static str, payload: impl Into<Bytes>) -> Result<(), Error> {
        let payload = payload.into();
        let Some(queue) = self.queue.clone() else { return Err(Error::Closed { step: tag }) };
        if payload.len() > MAX_LEN {
            return Err(Error::TooLarge { step: tag, max: MAX_LEN, len: payload.len() });
        }
        self.newest_sent = self.newest_received + 1;
        let header = Header {
            tag: self.tag(tag),
            number: self.next_out,
            flight: self.newest_sent,
            is_piece: false,
            len: payload.len(),
        };
        let header = header.encode();
        self.next_out = self.next_out.wrapping_add(1);
        self.sent_transcript.update(&header);
        self.meter.sent(tag, HEADER_LEN + payload.len());
        self.unsent.add(Kind::Frames, HEADER_LEN + payload.len());
        self.turn.add(HEADER_LEN + payload.len());
        // A writer that has failed takes nothing more; the next receive finds out why.
        let _ = queue.send(Item::Frame([Bytes::copy_from_slice(&header), payload]));
        Ok(())
    }

    /// Sends a control message.
    ///
    /// # Errors
    /// As [`Channel::send`].
    pub fn send_control<T: Serialize>(&mut self, tag: &'static str, message: &T) -> Result<(), Error> {
        self.send(tag, codec::encode(message))
    }

    /// A digest of this party's sent frame headers so far: equal runs have equal digests.
    pub fn trace_digest(&self) -> [u8; 32] {
        *self.sent_transcript.finalize().as_bytes()
    }

    fn change_deadline(&mut self, deadline: Option<Deadline>) {
        self.deadline = deadline;
        self.control.send_modify(|control| control.deadline = deadline.map(|deadline| deadline.at));
    }

    /// A wait for the peer that begins now.
    fn wait(&self) -> Wait {
        let control = *self.control.borrow();
        Wait::new(control.timeout, control.least_rate, self.deadline)
    }

    /// The bytes of a tag, which is known by name from now on.
    fn tag(&mut self, tag: &'static str) -> [u8; 4] {
        let bytes = tag_bytes(tag);
        let known = self.known_tags.entry(bytes).or_insert(tag);
        assert!(*known == tag, "tags {tag} and {known} collide");
        bytes
    }
}
