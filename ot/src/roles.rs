//! The two roles in OT extension: what each way of making COTs implements.
//!
//! A *turn* is a one-way message delay on the critical path.

use sotto_net::Channel;

use crate::{
    block::Block,
    cots::{RecvCots, SendCots},
    error::Error,
};

/// The sender's role in making COTs.
pub trait RandomCotSender {
    /// `Delta`, the difference between the two keys of every COT. A secret of this party.
    fn delta(&self) -> Block;

    /// COTs for which extensions have begun and that are not handed out.
    fn ready(&self) -> usize;

    /// Begins as many extensions as `n` COTs need, without waiting for a message: sends the
    /// sender's messages, if the extension has any. The receiver calls the same.
    ///
    /// # Errors
    /// The transport fails.
    fn begin(&mut self, ch: &mut Channel, n: usize) -> impl Future<Output = Result<(), Error>> + Send;

    /// Receives the messages that the next `n` COTs need, of the extensions that have begun. Does
    /// nothing if the extension has no message to the sender.
    ///
    /// # Errors
    /// The transport fails, the peer's message has the wrong tag or length, or
    /// [`Error::Inconsistent`].
    fn receive(&mut self, ch: &mut Channel, n: usize) -> impl Future<Output = Result<(), Error>> + Send {
        let _ = (ch, n);
        async { Ok(()) }
    }

    /// Proves to the receiver that the extensions of the next `n` COTs are consistent, of those
    /// that have begun. Does nothing if the extension has no such proof.
    ///
    /// # Errors
    /// The transport fails, or the peer's message has the wrong tag or length.
    fn prove(&mut self, ch: &mut Channel, n: usize) -> impl Future<Output = Result<(), Error>> + Send {
        let _ = (ch, n);
        async { Ok(()) }
    }

    /// The next `n` COTs. No turn for COTs whose extensions have begun and whose messages have
    /// arrived, else one, and two more in checked silent OT. Indices are used up even if this
    /// fails.
    ///
    /// # Errors
    /// As [`RandomCotSender::receive`].
    fn extend(&mut self, ch: &mut Channel, n: usize) -> impl Future<Output = Result<SendCots, Error>> + Send;
}

/// The receiver's role in making COTs.
///
/// Where a party is sender in one direction and receiver in the other, both parties call
/// [`RandomCotReceiver::receive`], then [`RandomCotSender::prove`], then both `extend`, so that
/// neither waits for a message that the other sends later.
pub trait RandomCotReceiver {
    /// COTs for which extensions have begun and that are not handed out.
    fn ready(&self) -> usize;

    /// Begins as many extensions as `n` COTs need, without waiting for a message: sends the
    /// receiver's messages, if the extension has any. The sender calls the same.
    ///
    /// # Errors
    /// The transport fails.
    fn begin(&mut self, ch: &mut Channel, n: usize) -> impl Future<Output = Result<(), Error>> + Send;

    /// Receives the messages that the next `n` COTs need, of the extensions that have begun, and
    /// asks the sender to prove that they are consistent. Does nothing if the extension has no
    /// message to the receiver.
    ///
    /// # Errors
    /// The transport fails, or the peer's message has the wrong tag or length.
    fn receive(&mut self, ch: &mut Channel, n: usize) -> impl Future<Output = Result<(), Error>> + Send {
        let _ = (ch, n);
        async { Ok(()) }
    }

    /// Checks the sender's proofs for the next `n` COTs, of the messages received. Does nothing if
    /// the extension has none.
    ///
    /// # Errors
    /// As [`RandomCotReceiver::receive`], and [`Error::Inconsistent`].
    fn verify(&mut self, ch: &mut Channel, n: usize) -> impl Future<Output = Result<(), Error>> + Send {
        let _ = (ch, n);
        async { Ok(()) }
    }

    /// The next `n` COTs, at the cost stated at [`RandomCotSender::extend`].
    ///
    /// # Errors
    /// As [`RandomCotReceiver::verify`].
    fn extend(&mut self, ch: &mut Channel, n: usize) -> impl Future<Output = Result<RecvCots, Error>> + Send;
}

#[cfg(test)]
pub(crate) mod tests;
