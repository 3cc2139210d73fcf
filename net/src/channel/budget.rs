//! The byte budget: how much a party holds for a peer that does not read.
//!
//! [`Channel::send`] never waits. The waiting is done when the party receives: a receive returns
//! once
//!
//! * at most `budget` bytes of frames are unsent, beyond the frames of this turn: those that were
//!   queued one after the other, without a receive between them;
//! * in [`Channel::catch_up`], at most `budget` bytes of background messages are unsent.
//!
//! So a peer that reads nothing makes this party hold the budget and the messages of one turn, and
//! the background messages that are under way at one time. It gets [`Error::Unread`] after the
//! timeout.
//!
//! Parties that send at the same time do not deadlock. The messages that a party has just queued
//! never hold it up, however long they are: it receives the peer's, and the peer receives them. The
//! older ones were queued before a message of the peer that this party has received; a peer that
//! takes turns has read them or is reading them. While a party waits, it goes on reading the peer's
//! background messages, as far as they are announced, so that two parties that both wait for room
//! make progress.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio::{select, sync::Notify};

use super::Channel;
use crate::Error;

/// Unsent bytes that a channel holds at most when a receive returns, unless told otherwise, beyond
/// the messages of one turn.
pub const DEFAULT_BUDGET: usize = 256 << 20;

/// The bytes of frames and of background messages that the writer has not sent.
#[derive(Default)]
pub(super) struct Unsent {
    frames: AtomicUsize,
    background: AtomicUsize,
    writer_is_gone: AtomicBool,
    change: Notify,
}

/// The two kinds of bytes that are counted.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Frames,
    Background,
}

impl Unsent {
    /// Adds bytes that were queued.
    pub fn add(&self, kind: Kind, bytes: usize) {
        self.counter(kind).fetch_add(bytes, Ordering::Relaxed);
    }

    /// Subtracts bytes that the writer has sent or dropped.
    pub fn subtract(&self, kind: Kind, bytes: usize) {
        self.counter(kind).fetch_sub(bytes, Ordering::Relaxed);
        self.change.notify_one();
    }

    pub fn bytes(&self, kind: Kind) -> usize {
        self.counter(kind).load(Ordering::Relaxed)
    }

    /// The bytes beyond the limits; zero if the writer is gone, since nothing is held then.
    fn excess(&self, limits: Limits) -> usize {
        if self.writer_is_gone.load(Ordering::Acquire) {
            return 0;
        }
        self.bytes(Kind::Frames).saturating_sub(limits.frames)
            + self.bytes(Kind::Background).saturating_sub(limits.background)
    }

    fn counter(&self, kind: Kind) -> &AtomicUsize {
        match kind {
            Kind::Frames => &self.frames,
            Kind::Background => &self.background,
        }
    }
}

/// Tells the channel when its writer ends.
pub(super) struct WriterGuard(pub Arc<Unsent>);

impl Drop for WriterGuard {
    fn drop(&mut self) {
        self.0.writer_is_gone.store(true, Ordering::Release);
        self.0.change.notify_one();
    }
}

/// The messages that a party queues between two receives.
#[derive(Default)]
pub(super) struct Turn {
    bytes: usize,
    /// Whether the party has received something after them.
    is_over: bool,
}

impl Turn {
    pub fn add(&mut self, bytes: usize) {
        if self.is_over {
            *self = Turn::default();
        }
        self.bytes += bytes;
    }
}

#[derive(Clone, Copy)]
struct Limits {
    frames: usize,
    background: usize,
}

impl Channel {
    /// Waits at the end of a receive until the budget for frames is kept.
    pub(super) async fn keep_budget(&mut self, step: &'static str) -> Result<(), Error> {
        let frames = self.budget.saturating_add(self.turn.bytes);
        self.turn.is_over = true;
        self.wait_for_room(step, Limits { frames, background: usize::MAX }).await
    }

    /// Waits until the budget for background messages is kept.
    pub(super) async fn keep_background_budget(&mut self, step: &'static str) -> Result<(), Error> {
        self.wait_for_room(step, Limits { frames: usize::MAX, background: self.budget }).await
    }

    async fn wait_for_room(&mut self, step: &'static str, limits: Limits) -> Result<(), Error> {
        let unsent = self.unsent.clone();
        let mut excess = unsent.excess(limits);
        let mut wait = self.wait();
        wait.allow(excess);
        while excess > 0 {
            let header = select! {
                changed = wait.run(unsent.change.notified()) => {
                    changed.map_err(|expired| expired.while_sending(step, excess))?;
                    None
                }
                header = self.reader.early_header(), if self.early_header.is_none() => Some(header),
            };
            match header {
                Some(header) if header.is_piece => {
                    self.take_piece(step, header, &mut self.wait()).await?;
                }
                Some(header) => self.early_header = Some(header),
                None => {}
            }
            let now = unsent.excess(limits);
            if now < excess {
                wait.progress();
            }
            excess = now;
        }
        Ok(())
    }
}
