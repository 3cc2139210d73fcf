//! The pace of low-priority pieces: a piece waits while the connection is busy with earlier bytes.

use std::time::{Duration, Instant};

use tokio::time::sleep_until;

/// The rate of a connection, and how long a frame may wait behind pieces.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Bits per second.
    pub rate: f64,
    /// The longest time that a frame may have to wait.
    pub slack: Duration,
}

/// An estimate of when the connection will have carried all that was written to it.
pub(super) struct Wire {
    idle_from: Instant,
}

impl Wire {
    pub fn new() -> Wire {
        Wire { idle_from: Instant::now() }
    }

    /// Accounts for `bytes` that were written. Without a pace nothing is estimated.
    pub fn carry(&mut self, bytes: usize, pace: Option<Pace>) {
        if let Some(Pace { rate, .. }) = pace {
            let start = self.idle_from.max(Instant::now());
            self.idle_from = start + Duration::from_secs_f64(8.0 * bytes as f64 / rate);
        }
    }

    /// Waits until a piece delays a later frame by at most the slack.
    pub async fn free(&self, pace: Option<Pace>) {
        if let Some(Pace { slack, .. }) = pace
            && self.idle_from > Instant::now() + slack
        {
            sleep_until((self.idle_from - slack).into()).await;
        }
    }
}
