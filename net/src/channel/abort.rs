//! How a channel ends: closed, closed together with the peer, or aborted with a reason.

use std::time::Duration;

use tokio::{task::JoinHandle, time::timeout};

use super::{
    Channel,
    frame::{Frame, tag_bytes},
};
use crate::Error;

/// The step of the frame that tells the peer why this party gives up.
pub(super) const ABORT_TAG: &str = "session/abort";

/// How long this party waits for the peer to take the last frames and to close.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// Why a party ended a session early: all that it tells the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Abort {
    /// The two programs do not fit together (version, parameters, tokenizer).
    Mismatch = 1,
    /// The peer's message was not as the protocol prescribes.
    Protocol = 2,
    /// The request cannot be served (too long, for example).
    Refused = 3,
    /// Something broke on this side.
    Internal = 4,
    /// This side gives the session no more time.
    Expired = 5,
}

impl Abort {
    /// What the code of a peer's abort says.
    pub(super) fn name(code: u8) -> &'static str {
        match code {
            1 => "the programs do not match (version, parameters or tokenizer)",
            2 => "it received a message that breaks the protocol",
            3 => "it refuses the request",
            4 => "it had an internal error",
            5 => "it gives the session no more time",
            _ => "no known reason",
        }
    }
}

/// Whether `frame` is an abort.
pub(super) fn is_abort(frame: &Frame) -> bool {
    frame[0].starts_with(&tag_bytes(ABORT_TAG))
}

impl Channel {
    /// Tells the peer that this session ends with `code`, and closes. Waits two seconds at most.
    /// Background messages that are not sent yet are skipped.
    pub async fn abort(&mut self, code: Abort) {
        self.control.send_modify(|control| control.aborting = true);
        let writer = self.writer.as_ref().map(JoinHandle::abort_handle);
        if self.send(ABORT_TAG, vec![code as u8]).is_ok() {
            let _ = timeout(LINGER, self.part()).await;
        }
        // What the peer has not taken by now is not held any longer.
        if let Some(writer) = writer {
            writer.abort();
        }
    }

    /// Closes at the end of a conversation, as [`Channel::close`], then waits until the peer has
    /// closed too, for two seconds at most. Without the wait, closing a socket with unread input
    /// could discard our last message. Background requests that are under way are given up.
    ///
    /// # Errors
    /// As [`Channel::close`].
    pub async fn part(&mut self) -> Result<(), Error> {
        let closed = self.close().await;
        let _ = timeout(LINGER, self.reader.discard()).await;
        closed
    }

    /// Sends what is still queued, then closes this side of the connection.
    ///
    /// # Errors
    /// [`Error::Transport`] if the connection broke, or the peer has stopped taking what was sent.
    pub async fn close(&mut self) -> Result<(), Error> {
        self.queue = None;
        let Some(writer) = self.writer.take() else { return Ok(()) };
        match writer.await {
            Ok(result) => result.map_err(|source| Error::Transport { step: "session/close", source }),
            Err(_) => Err(Error::Closed { step: "session/close" }),
        }
    }
}
