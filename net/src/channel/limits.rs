//! Time limits: how long a party waits for the peer.
//!
//! | limit    | what it bounds               | length                            |
//! |----------|------------------------------|-----------------------------------|
//! | timeout  | silence: each next 64 KiB    | as set                            |
//! | rate     | a whole message of `n` bytes | timeout, and `n /` [`LEAST_RATE`] |
//! | deadline | all waits together           | as set                            |
//!
//! Without the second limit a peer could stretch a message to one timeout for each 64 KiB, without
//! the third a session to one timeout for each message.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, timeout_at};

use crate::Error;

/// Bytes per second at which a peer must send and take messages, beyond the timeout, unless told
/// otherwise.
pub const LEAST_RATE: u64 = 10_000;

/// The time at which a part of the session must have ended.
#[derive(Clone, Copy)]
pub(super) struct Deadline {
    /// What must have ended: `"set-up"`, `"session"`.
    pub subject: &'static str,
    pub allowed: Duration,
    pub at: Instant,
}

impl Deadline {
    /// The error of a party that waits at `step` when the deadline passes.
    fn error(&self, step: &'static str) -> Error {
        Error::DeadlinePassed { subject: self.subject, allowed: self.allowed, step }
    }
}

/// Why a wait ended without success.
pub(super) enum Expired {
    /// Nothing happened for the timeout.
    Silence,
    /// The message took longer than the least rate allows.
    Rate {
        least: u64,
    },
    Deadline(Deadline),
}

impl Expired {
    /// The error of a party that waits for bytes of the peer at `step`.
    pub fn while_receiving(self, step: &'static str, timeout: Duration) -> Error {
        match self {
            Expired::Silence => Error::Timeout { step, after: timeout },
            Expired::Rate { least } => Error::TooSlow { step, least },
            Expired::Deadline(deadline) => deadline.error(step),
        }
    }

    /// The error of a party that waits at `step` until the peer takes `excess` bytes.
    pub fn while_sending(self, step: &'static str, excess: usize) -> Error {
        match self {
            Expired::Silence | Expired::Rate { .. } => Error::Unread { step, excess },
            Expired::Deadline(deadline) => deadline.error(step),
        }
    }
}

/// One wait for the peer: for a message, or for room in the queue.
pub(super) struct Wait {
    pub timeout: Duration,
    /// Bytes per second.
    least_rate: u64,
    /// Ends when the least rate is missed.
    rate_limit: Instant,
    deadline: Option<Deadline>,
    /// When the peer last did something.
    active: Instant,
}

impl Wait {
    pub fn new(timeout: Duration, least_rate: u64, deadline: Option<Deadline>) -> Wait {
        let now = Instant::now();
        Wait { timeout, least_rate, rate_limit: later(now, timeout), deadline, active: now }
    }

    /// Allows the time that `bytes` take at the least rate.
    pub fn allow(&mut self, bytes: usize) {
        self.rate_limit = later(self.rate_limit, transfer_time(bytes, self.least_rate));
    }

    /// The peer has done something: the time of silence begins anew.
    pub fn progress(&mut self) {
        self.active = Instant::now();
    }

    /// Runs `step`, which ends when the peer does something.
    pub async fn run<T>(&self, step: impl Future<Output = T>) -> Result<T, Expired> {
        let silence = later(self.active, self.timeout);
        let limit = self.rate_limit.min(silence);
        let (at, expired) = match self.deadline {
            // A peer that always is ready must not run past the deadline either.
            Some(deadline) if deadline.at <= Instant::now() => return Err(Expired::Deadline(deadline)),
            Some(deadline) if deadline.at < limit => (deadline.at, Expired::Deadline(deadline)),
            _ if limit < silence => (limit, Expired::Rate { least: self.least_rate }),
            _ => (limit, Expired::Silence),
        };
        timeout_at(at, step).await.map_err(|_| expired)
    }
}

/// The time that `bytes` take at `rate`, in bytes per second.
pub(super) fn transfer_time(bytes: usize, rate: u64) -> Duration {
    Duration::from_secs_f64(bytes as f64 / rate as f64)
}

/// `start + wait`, or a time far away if that is out of range.
pub(super) fn later(start: Instant, wait: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(1 << 32);
    start.checked_add(wait).unwrap_or_else(|| start + FAR)
}
