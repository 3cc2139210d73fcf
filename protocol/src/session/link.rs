//! What the connection is like, and what follows from it.

use std::time::Duration;

use sotto_ot::Extension;

use super::{Schedule, Session};
use crate::Error;

/// What the server says of the connection; in sixteen bytes, whatever it is.
#[derive(Clone, Copy)]
pub(super) struct LinkReport {
    /// Bits per second.
    pub rate: u64,
    /// Microseconds.
    pub round_trip: u64,
}

impl LinkReport {
    pub const LEN: usize = 16;

    pub fn encode(&self) -> Vec<u8> {
        [self.rate, self.round_trip].iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    pub fn decode(bytes: &[u8]) -> LinkReport {
        let word =
            |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("the length is checked"));
        LinkReport { rate: word(0), round_trip: word(8) }
    }
}

/// The least round trip of a high-latency link: from there on the fewest turns save more time in a
/// layer, about forty of them, than a third more bits take.
const HIGH_LATENCY: Duration = Duration::from_micros(200);

/// The part of the link's rate at which background messages are sent, so that no queue builds up.
const FULL: f64 = 0.95;
/// A message waits for background messages for this part of a round trip at most: one sixteenth.
const WAIT: u32 = 16;

/// Bits per second, where nothing is known of the connection.
pub(super) const DEFAULT_RATE: f64 = 1e9;

impl Session {
    /// Goes on with COTs and a schedule that fit the connection.
    pub(super) async fn adapt(&mut self, link: &LinkReport) -> Result<(), Error> {
        if Duration::from_micros(link.round_trip) >= HIGH_LATENCY {
            self.decode = Schedule::Latency;
            self.high_latency = Some(*link);
            self.ch.set_pace(FULL * link.rate as f64, Duration::from_micros(link.round_trip) / WAIT);
        }
        self.ot.switch(&mut self.ch, Extension::for_rate(link.rate as f64)).await?;
        Ok(self.ot.reserve_ahead(&mut self.ch, 1, 1).await?)
    }

    /// What to save where the schedule of fewest turns saves `turns` and takes `bits` more: over a
    /// high-latency link, whatever takes less time there.
    pub fn cheaper(&self, bits: f64, turns: f64) -> Schedule {
        match self.high_latency {
            Some(link) if bits / (link.rate.max(1) as f64) < turns * link.round_trip as f64 / 2e6 => {
                Schedule::Latency
            }
            _ => Schedule::Throughput,
        }
    }

    /// Takes the link for one of low latency, whatever was measured, as tests do. Both parties must
    /// do the same at the beginning.
    pub fn assume_low_latency(&mut self) {
        self.high_latency = None;
        self.decode = Schedule::Throughput;
    }

    /// Whether the link has high latency: then there is time to make things while messages travel.
    pub fn is_high_latency(&self) -> bool {
        self.high_latency.is_some()
    }
}
