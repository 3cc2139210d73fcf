//! Both directions of OT at one party: the COT sender of one, the COT receiver of the other.

use std::pin::Pin;

use sotto_net::Channel;

use crate::{
    cots::{RecvCots, SendCots},
    error::Error,
    roles::{RandomCotReceiver, RandomCotSender},
};

/// Numbers of COTs by this party's role in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CotCounts {
    /// COTs of which this party is the sender.
    pub send: u64,
    /// COTs of which this party is the receiver.
    pub recv: u64,
}

/// What a call returns when its messages have been exchanged.
pub(crate) type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// COTs in both directions, made by any extension. Both parties make the same calls, with `send`
/// and `recv` exchanged.
pub(crate) trait Directions: Send {
    /// COTs for which extensions have begun and that are not handed out.
    fn ready(&self) -> CotCounts;

    /// Begins as many extensions as these numbers need, without waiting for a message.
    fn begin<'a>(&'a mut self, ch: &'a mut Channel, send: usize, recv: usize) -> Pending<'a, ()>;

    /// Receives and checks the messages of all extensions that have begun.
    fn complete<'a>(&'a mut self, ch: &'a mut Channel) -> Pending<'a, ()>;

    /// The next COTs.
    fn extend<'a>(
        &'a mut self,
        ch: &'a mut Channel,
        send: usize,
        recv: usize,
    ) -> Pending<'a, (SendCots, RecvCots)>;
}

/// The two roles of one extension.
pub(crate) struct Pair<A, B> {
    pub(crate) sender: A,
    pub(crate) receiver: B,
}

impl<A: RandomCotSender + Send, B: RandomCotReceiver + Send> Directions for Pair<A, B> {
    fn ready(&self) -> CotCounts {
        CotCounts { send: self.sender.ready() as u64, recv: self.receiver.ready() as u64 }
    }

    fn begin<'a>(&'a mut self, ch: &'a mut Channel, send: usize, recv: usize) -> Pending<'a, ()> {
        Box::pin(async move {
            self.receiver.begin(ch, recv).await?;
            self.sender.begin(ch, send).await
        })
    }

    fn complete<'a>(&'a mut self, ch: &'a mut Channel) -> Pending<'a, ()> {
        Box::pin(async move {
            self.receiver.receive(ch, usize::MAX).await?;
            self.sender.receive(ch, usize::MAX).await?;
            self.sender.prove(ch, usize::MAX).await?;
            self.receiver.verify(ch, usize::MAX).await
        })
    }

    fn extend<'a>(
        &'a mut self,
        ch: &'a mut Channel,
        send: usize,
        recv: usize,
    ) -> Pending<'a, (SendCots, RecvCots)> {
        Box::pin(async move {
            // A party sends all its messages before it waits for one.
            self.begin(ch, send, recv).await?;
            self.receiver.receive(ch, recv).await?;
            self.sender.prove(ch, send).await?;
            let received = self.receiver.extend(ch, recv).await?;
            Ok((self.sender.extend(ch, send).await?, received))
        })
    }
}
