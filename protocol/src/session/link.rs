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

/// A round trip that is felt: a layer has about forty turns to save, at the price of a third of its bits.
const FELT: Duration = Duration::from_micros(200);

/// What errands leave of a connection's rate, so that nothing piles up on its way, and the part of a round trip that a message may wait for them.
const FULL: f64 = 0.95;
const WAIT: u32 = 16;

/// Bits per second, where nothing is known of the connection.
pub(super) const DEFAULT_RATE: f64 = 1e9;

impl Session {
    /// Goes on with COTs and a schedule that fit the connection.
    pub(super) async fn adapt(&mut self, link: &LinkReport) -> Result<(), Error> {
        if Duration::from_micros(link.round_trip) >= FELT {
            self.decode = Schedule::Latency;
            self.far = Some(*link);
            self.ch.set_pace(FULL * link.rate as f64, Duration::from_micros(link.round_trip) / WAIT);
        }
        self.ot.switch(&mut self.ch, Extension::for_rate(link.rate as f64)).await?;
        Ok(self.ot.reserve_ahead(&mut self.ch, 1, 1).await?)
    }

    /// What to save where the fewest turns, `turns` less, take `bits` more: the time that is shorter on this connection, if its delay is felt.
    pub fn cheaper(&self, bits: f64, turns: f64) -> Schedule {
        match self.far {
            Some(link) if bits / (link.rate.max(1) as f64) < turns * link.round_trip as f64 / 2e6 => {
                Schedule::Latency
            }
            _ => Schedule::Throughput,
        }
    }

    /// Takes the connection for a near one, whatever was measured, as tests do; both parties must do the same at the beginning.
    pub fn stay_near(&mut self) {
        self.far = None;
        self.decode = Schedule::Throughput;
    }

    /// Whether the connection's delay is felt: then there is time to make things while messages travel.
    pub fn is_far(&self) -> bool {
        self.far.is_some()
    }
}
