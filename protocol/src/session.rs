//! A session: one party's end of a conversation, from the first hello (`handshake`) on.
//!
//! | file | what |
//! |------|------|
//! | `handshake` | version, terms, keys |
//! | `link`      | rate and delay of the connection, and what they decide |
//! | `draws`     | correlations as protocols draw them |

mod draws;
mod handshake;
mod link;

use std::sync::Arc;

use sotto_he::{EvaluationKeys, SecretKey};
use sotto_net::Channel;
use sotto_ot::{Extension, OtSession};
use sotto_shares::{Party, Rng};

use crate::{Error, Precision, background::Requests, overflow_check::Queues, stocks::Stocks};

pub use handshake::{Established, VERSION};
use link::LinkReport;

/// What protocols with a choice save, bits or turns. Both parties must choose the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Schedule {
    /// Fewest bits: for many tokens at a time, or a low-latency link.
    #[default]
    Throughput,
    /// Fewest turns: for one token at a time over a high-latency link.
    Latency,
}

/// What both parties share of a session: channel, randomness, oblivious transfers, pool.
pub struct Session {
    /// Which party this is.
    pub me: Party,
    /// The connection, with its meter.
    pub ch: Channel,
    /// The party's secret randomness.
    pub rng: Rng,
    pub(crate) schedule: Schedule,
    pub(crate) decode: Schedule,
    pub(crate) precision: Precision,
    /// The link, if it has high latency.
    high_latency: Option<LinkReport>,
    sid: [u8; 32],
    pub(crate) ot: OtSession,
    pub(crate) stocks: Stocks,
    pub(crate) overflow: Queues,
    pub(crate) requests: Requests,
}

/// The client: the party with the decryption keys.
pub struct Client {
    /// The common part.
    pub session: Session,
    pub(crate) key: Arc<SecretKey>,
}

/// The server: the party with the weights.
pub struct Server {
    /// The common part.
    pub session: Session,
    pub(crate) keys: Arc<EvaluationKeys>,
}

impl Session {
    /// What protocols save now.
    pub fn schedule(&self) -> Schedule {
        self.schedule
    }

    /// Says what to save from now on; both parties must do the same at the same point.
    pub fn set_schedule(&mut self, schedule: Schedule) {
        self.schedule = schedule;
    }

    /// What to save in steps of one token: turns, over a high-latency link.
    pub fn decode_schedule(&self) -> Schedule {
        self.decode
    }

    /// Says what to save in steps of one token, whatever the link is like; both parties must do the
    /// same.
    pub fn set_decode_schedule(&mut self, schedule: Schedule) {
        self.decode = schedule;
    }

    /// How exact activations are.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Says how exact activations are, before anything is made that depends on it; both parties
    /// must do the same.
    pub fn set_precision(&mut self, precision: Precision) {
        self.precision = precision;
    }

    /// Compares the two parties' transcripts of frame headers and ledgers of the pool. One turn, 64
    /// bytes each way.
    ///
    /// # Errors
    /// [`Error::TranscriptDisagreement`], [`Error::PoolDisagreement`].
    pub async fn checkpoint(&mut self) -> Result<(), Error> {
        self.stocks.record("precision", self.precision as u64, 0);
        let ledger = self.stocks.ledger.digest();
        let said = self.ch.trace_digest();
        self.ch.send("session/checkpoint", [said, ledger].concat())?;
        // The peer said its digest right after the last frame that this side has received.
        let heard = self.ch.heard_digest().await?;
        let theirs = self.ch.recv("session/checkpoint", 64).await?;
        match (theirs[..32] == heard, theirs[32..] == ledger) {
            (false, _) => Err(Error::TranscriptDisagreement),
            (_, false) => Err(Error::PoolDisagreement),
            (true, true) => Ok(()),
        }
    }

    /// How COTs are made.
    pub fn extension(&self) -> Extension {
        self.ot.extension()
    }

    /// Waits for everything that the peer was to send ahead; afterwards the connection may be
    /// another one.
    ///
    /// # Errors
    /// The connection, or a message of the wrong length.
    ///
    /// # Panics
    /// If something is being made that is still wanted.
    pub async fn settle(&mut self) -> Result<(), Error> {
        let idle = self.requests.in_flight() == 0 && self.stocks.one_hots_in_flight.is_empty();
        assert!(idle, "background requests belong to a connection");
        Ok(self.ot.complete(&mut self.ch).await?)
    }
}

#[cfg(test)]
mod tests;
