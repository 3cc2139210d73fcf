//! A protocol of two turns, in parallel with the first two turns of another.

use crate::{Error, Session};

/// A protocol in three steps. Another one sends and receives its messages between them.
pub(crate) trait InParallel {
    /// Sends the first message.
    async fn begin(&mut self, s: &mut Session) -> Result<(), Error>;
    /// Receives the peer's, and sends the second.
    async fn turn(&mut self, s: &mut Session) -> Result<(), Error>;
    /// Receives the peer's.
    async fn finish(&mut self, s: &mut Session) -> Result<(), Error>;
}

/// Nothing.
impl InParallel for () {
    async fn begin(&mut self, _: &mut Session) -> Result<(), Error> {
        Ok(())
    }

    async fn turn(&mut self, _: &mut Session) -> Result<(), Error> {
        Ok(())
    }

    async fn finish(&mut self, _: &mut Session) -> Result<(), Error> {
        Ok(())
    }
}
