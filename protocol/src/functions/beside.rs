//! Protocols of two turns that travel along with the first two of another.

use crate::{Error, Session};

/// A protocol in three steps, between which another one's messages may be sent and received.
pub(crate) trait Beside {
    /// Sends the first message.
    async fn begin(&mut self, s: &mut Session) -> Result<(), Error>;
    /// Receives the peer's, and sends the second.
    async fn turn(&mut self, s: &mut Session) -> Result<(), Error>;
    /// Receives the peer's.
    async fn finish(&mut self, s: &mut Session) -> Result<(), Error>;
}

/// Nothing.
impl Beside for () {
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
