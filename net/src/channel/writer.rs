//! The writer: a task that sends what a channel queues.
//!
//! | state    | sends                                             | next state                    |
//! |----------|---------------------------------------------------|-------------------------------|
//! | open     | frames as they are queued, pieces if none waits   | barrier; closing at the end   |
//! | barrier  | pieces of some requests, before the next frame    | open; aborting if skipped     |
//! | aborting | the abort frame alone                             | closing                       |
//! | closing  | what is buffered, then shuts down                 |                               |
//!
//! The writer aborts when messages at a barrier were skipped: the peer cannot make sense of the
//! frames that follow. While the channel is open, the writer waits for a peer that takes nothing;
//! the channel's owner decides how long that may last ([`super::budget`]). Once the channel is
//! closed, the peer must take what is left within the time limits ([`super::limits`]).

use std::{
    future::poll_fn,
    io,
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncWrite, BufWriter, WriteHalf},
    select,
    sync::{mpsc, watch},
    time::{Instant, timeout_at},
};

use super::{
    Stream,
    abort::{LINGER, is_abort},
    budget::{Kind, Unsent, WriterGuard},
    frame::Frame,
    limits::{later, transfer_time},
    low_priority::LowPriorityQueue,
    pace::{Pace, Wire},
};

/// Small frames are put together up to this many bytes: a piece with its header fits.
const BUFFER: usize = 32 << 10;

/// All background requests.
const ALL: Range<u64> = 0..u64::MAX;

/// What a channel queues for its writer.
pub(super) enum Item {
    Frame(Frame),
    /// The messages of these background requests go before the next frame.
    Barrier(Range<u64>),
}

/// What a channel tells its writer beside the queue.
#[derive(Clone, Copy)]
pub(super) struct Control {
    /// How long the peer may take nothing once the channel is closed.
    pub timeout: Duration,
    /// Bytes per second.
    pub least_rate: u64,
    /// When the last frame must be sent, if there is a deadline.
    pub deadline: Option<Instant>,
    pub pace: Option<Pace>,
    /// Barriers are skipped from now on.
    pub aborting: bool,
}

/// The sending half of a connection.
pub(super) struct Writer {
    out: Output,
    queue: mpsc::UnboundedReceiver<Item>,
    low_priority: LowPriorityQueue,
    control: watch::Receiver<Control>,
    wire: Wire,
    unsent: Arc<Unsent>,
    /// When the last frame must be sent; known once the channel is closed.
    last: Option<Instant>,
}

type Output = BufWriter<WriteHalf<Box<dyn Stream>>>;

enum State {
    Open,
    Barrier(Range<u64>),
    Aborting,
    Closing,
}

impl Writer {
    pub fn new(
        stream: WriteHalf<Box<dyn Stream>>,
        queue: mpsc::UnboundedReceiver<Item>,
        low_priority: LowPriorityQueue,
        control: watch::Receiver<Control>,
        unsent: Arc<Unsent>,
    ) -> Writer {
        let out = BufWriter::with_capacity(BUFFER, stream);
        Writer { out, queue, low_priority, control, wire: Wire::new(), unsent, last: None }
    }

    /// Sends until the queue is closed and empty, then shuts down this side of the connection.
    pub async fn run(mut self) -> io::Result<()> {
        let _guard = WriterGuard(self.unsent.clone());
        let mut state = State::Open;
        loop {
            state = match state {
                State::Open => self.open().await?,
                State::Barrier(requests) => self.barrier(requests).await?,
                State::Aborting => self.aborting().await?,
                State::Closing => return self.closing().await,
            };
        }
    }

    /// Sends one frame, or one piece if no frame waits.
    async fn open(&mut self) -> io::Result<State> {
        let pace = self.control.borrow().pace;
        let Writer { queue, low_priority, wire, .. } = self;
        let piece = async {
            while !low_priority.poll_ready(&ALL) {
                low_priority.wait().await;
            }
            wire.free(pace).await;
        };
        let item = select! {
            biased;
            item = queue.recv() => Some(item),
            () = piece => None,
        };
        match item {
            Some(None) => return Ok(State::Closing),
            Some(Some(Item::Barrier(requests))) => return Ok(State::Barrier(requests)),
            Some(Some(Item::Frame(frame))) => self.write(Kind::Frames, frame, pace).await?,
            None => self.write_piece(&ALL, pace).await?,
        }
        self.flush_if_idle().await?;
        Ok(State::Open)
    }

    /// Sends one piece of `requests`; while none is ready, one of the others.
    async fn barrier(&mut self, requests: Range<u64>) -> io::Result<State> {
        let Control { pace, aborting, .. } = *self.control.borrow();
        let ready = self.low_priority.poll_ready(&requests);
        if self.low_priority.is_done(&requests) {
            self.flush_if_idle().await?;
            return Ok(State::Open);
        }
        if aborting {
            return Ok(State::Aborting);
        }
        if ready {
            self.write_piece(&requests, pace).await?;
            return Ok(State::Barrier(requests));
        }
        // The peer may wait for what is buffered.
        self.flush().await?;
        let other_is_ready = self.low_priority.poll_ready(&ALL);
        if self.low_priority.is_ready(&requests) || self.low_priority.is_done(&requests) {
            return Ok(State::Barrier(requests));
        }
        let Writer { low_priority, control, wire, .. } = self;
        let send_other = select! {
            biased;
            // This ends as well when the channel is dropped.
            _ = control.wait_for(|control| control.aborting) => return Ok(State::Aborting),
            () = low_priority.wait() => false,
            () = wire.free(pace), if other_is_ready => true,
        };
        if send_other {
            self.write_piece(&ALL, pace).await?;
        }
        Ok(State::Barrier(requests))
    }

    /// Drops what is queued, except for the abort frame.
    async fn aborting(&mut self) -> io::Result<State> {
        match self.queue.recv().await {
            None => return Ok(State::Closing),
            Some(Item::Frame(frame)) if is_abort(&frame) => {
                self.write(Kind::Frames, frame, None).await?;
                self.flush_if_idle().await?;
            }
            Some(Item::Frame(frame)) => self.unsent.subtract(Kind::Frames, frame_len(&frame)),
            Some(Item::Barrier(_)) => {}
        }
        Ok(State::Aborting)
    }

    async fn closing(mut self) -> io::Result<()> {
        self.low_priority.close();
        self.until_done(|out, cx| Pin::new(out).poll_shutdown(cx)).await
    }

    async fn write_piece(&mut self, requests: &Range<u64>, pace: Option<Pace>) -> io::Result<()> {
        let piece = self.low_priority.take(requests);
        self.write(Kind::Background, piece, pace).await
    }

    async fn write(&mut self, kind: Kind, frame: Frame, pace: Option<Pace>) -> io::Result<()> {
        let len = frame_len(&frame);
        for mut part in frame {
            while !part.is_empty() {
                let written = self.until_done(|out, cx| Pin::new(out).poll_write(cx, &part)).await?;
                if written == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                part.advance(written);
                self.unsent.subtract(kind, written);
            }
        }
        self.wire.carry(len, pace);
        Ok(())
    }

    async fn flush_if_idle(&mut self) -> io::Result<()> {
        if self.queue.is_empty() { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.until_done(|out, cx| Pin::new(out).poll_flush(cx)).await
    }

    /// Polls `step` until it is done. Gives up when the channel is closed and a time limit has
    /// passed.
    async fn until_done<T>(
        &mut self,
        mut step: impl FnMut(&mut Output, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> io::Result<T> {
        loop {
            let limit = self.limit();
            let step = poll_fn(|cx| step(&mut self.out, cx));
            match timeout_at(limit, step).await {
                Ok(result) => return result,
                Err(_) if self.last.is_some() => return Err(io::ErrorKind::TimedOut.into()),
                Err(_) => {}
            }
        }
    }

    /// How long a step may take. An open channel has no limit; the writer looks whether it is
    /// closed.
    fn limit(&mut self) -> Instant {
        let (now, control) = (Instant::now(), *self.control.borrow());
        if !self.queue.is_closed() {
            return now + LOOK;
        }
        let unsent = self.unsent.bytes(Kind::Frames) + self.unsent.bytes(Kind::Background);
        let last = *self.last.get_or_insert_with(|| {
            let last = later(later(now, control.timeout), transfer_time(unsent, control.least_rate));
            control.deadline.map_or(last, |deadline| last.min(deadline.max(now + LINGER)))
        });
        last.min(later(now, control.timeout))
    }
}

/// How often a writer that waits for the peer looks whether its channel is closed.
const LOOK: Duration = Duration::from_millis(200);

fn frame_len(frame: &Frame) -> usize {
    frame.iter().map(Bytes::len).sum()
}
