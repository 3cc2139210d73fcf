//! Ways to make many COTs from few, and the choice between them.
//!
//! | extension      | message            | bits/COT | turns when sent ahead | taken where the link carries  |
//! |----------------|--------------------|----------|-----------------------|-------------------------------|
//! | silent, lean   | sender to receiver | 0.76     | 0                     | less than 200 Mbit/s          |
//! | silent, fast   | sender to receiver | 1.39     | 0                     | less than 10 Gbit/s, or unknown |
//! | SoftSpoken, 4  | receiver to sender | 31       | 1                     | more                          |
//!
//! Making a COT takes some seven nanoseconds in any of them: so long take 1.4 bits at 200 Mbit/s, and 31 bits at about 5 Gbit/s. Near
//! these rates it does not matter much which it is.
//!
//! SoftSpoken with subfields of 2^2 and 2^8 elements (63 and 15 bits) can be asked for; silent OT starts from the latter.

use sotto_net::Channel;
use sotto_shares::Rng;
use zeroize::Zeroizing;

use crate::{
    Block, Error, RecvCots, Security, SendCots, SilentReceiver, SilentSender, SoftSpokenReceiver,
    SoftSpokenSender, block::LAMBDA, domain::Domain, lpn::LpnParams, silent,
};

/// The sender's role in making COTs.
pub trait RandomCotSender {
    /// The difference of both keys of every COT. A secret of this party.
    fn delta(&self) -> Block;

    /// COTs that need no further message.
    fn ready(&self) -> usize;

    /// Sends, as far as this role sends, what makes `n` COTs ready. The receiver asks for the same.
    ///
    /// # Errors
    /// Transport, or the peer's message has the wrong length.
    fn prepay(&mut self, ch: &mut Channel, n: usize) -> impl Future<Output = Result<(), Error>> + Send;

    /// Answers the checks that the receiver asks for before it takes `n` COTs; nothing where there are none.
    ///
    /// # Errors
    /// As [`RandomCotSender::prepay`].
    fn confirm(&mut self, ch: &mut Channel, n: usize) -> impl Future<Output = Result<(), Error>> + Send;

    /// Waits for what the peer was to send ahead.
    ///
    /// # Errors
    /// As [`RandomCotSender::prepay`].
    fn settle(&mut self, ch: &mut Channel) -> impl Future<Output = Result<(), Error>> + Send;

    /// The next `n` COTs; at most one turn, none if they were prepaid, and two more if they are checked. Indices used up
    /// stay used up after an error.
    ///
    /// # Errors
    /// As [`RandomCotSender::prepay`], and [`Error::Inconsistent`].
    fn extend(&mut self, ch: &mut Channel, n: usize) -> impl Future<Output = Result<SendCots, Error>> + Send;
}

/// The receiver's role in making COTs.
pub trait RandomCotReceiver {
    /// As [`RandomCotSender::ready`], or announced by [`RandomCotReceiver::prepay`].
    fn ready(&self) -> usize;

    /// As [`RandomCotSender::prepay`]; what the sender sends is received when it is needed.
    ///
    /// # Errors
    /// Transport, or the peer's message has the wrong length.
    fn prepay(&mut self, ch: &mut Channel, n: usize) -> impl Future<Output = Result<(), Error>> + Send;

    /// Receives, of what was announced, what `n` COTs need, and asks for its checks: where both parties are sender and receiver,
    /// both do this before either calls [`RandomCotSender::confirm`], and that before either calls `extend`.
    ///
    /// # Errors
    /// As [`RandomCotReceiver::prepay`].
    fn answer(&mut self, ch: &mut Channel, n: usize) -> impl Future<Output = Result<(), Error>> + Send;

    /// Waits for the verdicts on what was received, as far as `n` COTs need it; nothing where there are no checks.
    ///
    /// # Errors
    /// As [`RandomCotReceiver::prepay`], and [`Error::Inconsistent`].
    fn verify(&mut self, ch: &mut Channel, n: usize) -> impl Future<Output = Result<(), Error>> + Send;

    /// As [`RandomCotSender::settle`]; what was received is answered, too.
    ///
    /// # Errors
    /// As [`RandomCotReceiver::prepay`].
    fn settle(&mut self, ch: &mut Channel) -> impl Future<Output = Result<(), Error>> + Send;

    /// As [`RandomCotSender::extend`].
    ///
    /// # Errors
    /// As [`RandomCotReceiver::prepay`], and [`Error::Inconsistent`].
    fn extend(&mut self, ch: &mut Channel, n: usize) -> impl Future<Output = Result<RecvCots, Error>> + Send;
}

/// A way to make COTs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extension {
    /// Silent OT, [`LpnParams::FAST`].
    SilentFast,
    /// Silent OT, [`LpnParams::LEAN`].
    SilentLean,
    /// SoftSpoken OT with subfields of 4 elements.
    SoftSpoken2,
    /// SoftSpoken OT with subfields of 16 elements.
    SoftSpoken4,
    /// SoftSpoken OT with subfields of 256 elements.
    SoftSpoken8,
}

impl Extension {
    /// The one for a link of so many bits per second.
    pub fn for_rate(bits_per_second: f64) -> Extension {
        match bits_per_second {
            rate if rate < 2e8 => Extension::SilentLean,
            rate if rate >= 1e10 => Extension::SoftSpoken4,
            _ => Extension::SilentFast,
        }
    }

    /// COTs of another extension that this one starts from.
    pub(crate) fn base<S: Security>(self) -> usize {
        self.lpn().map_or(LAMBDA, silent::base_len::<S>)
    }

    /// Bits on the wire for each COT, framing apart.
    pub fn bits(self) -> f64 {
        match self {
            Extension::SilentFast | Extension::SilentLean => self.lpn().map_or(0.0, LpnParams::bits),
            Extension::SoftSpoken2 => 63.0,
            Extension::SoftSpoken4 => 31.0,
            Extension::SoftSpoken8 => 15.0,
        }
    }

    /// The parameters of silent OT, if it is that.
    pub fn lpn(self) -> Option<LpnParams> {
        match self {
            Extension::SilentFast => Some(LpnParams::FAST),
            Extension::SilentLean => Some(LpnParams::LEAN),
            Extension::SoftSpoken2 | Extension::SoftSpoken4 | Extension::SoftSpoken8 => None,
        }
    }
}

/// The COT sender of any extension.
pub(crate) enum Sender<S: Security> {
    Silent(Box<SilentSender<S>>),
    SoftSpoken2(SoftSpokenSender<2, S>),
    SoftSpoken4(SoftSpokenSender<4, S>),
    SoftSpoken8(SoftSpokenSender<8, S>),
}

/// The COT receiver of any extension.
pub(crate) enum Receiver<S: Security> {
    Silent(Box<SilentReceiver<S>>),
    SoftSpoken2(SoftSpokenReceiver<2, S>),
    SoftSpoken4(SoftSpokenReceiver<4, S>),
    SoftSpoken8(SoftSpokenReceiver<8, S>),
}

impl<S: Security> Sender<S> {
    /// Of a silent extension.
    pub(crate) fn silent(
        extension: Extension,
        domain: Domain,
        delta: Block,
        base: Zeroizing<Vec<Block>>,
        rng: Rng,
    ) -> Sender<S> {
        let params = extension.lpn().expect("a silent extension");
        Sender::Silent(Box::new(SilentSender::<S>::new(domain, params, delta, base, rng)))
    }
}

impl<S: Security> Receiver<S> {
    /// Of a silent extension.
    pub(crate) fn silent(extension: Extension, domain: Domain, base: Zeroizing<Vec<Block>>) -> Receiver<S> {
        let params = extension.lpn().expect("a silent extension");
        Receiver::Silent(Box::new(SilentReceiver::<S>::new(domain, params, base)))
    }
}

/// Passes a call on to whichever it is.
macro_rules! each {
    ($of:ident, $any:expr, $role:ident => $call:expr) => {
        match $any {
            $of::Silent($role) => $call,
            $of::SoftSpoken2($role) => $call,
            $of::SoftSpoken4($role) => $call,
            $of::SoftSpoken8($role) => $call,
        }
    };
}

impl<S: Security> RandomCotSender for Sender<S> {
    fn delta(&self) -> Block {
        each!(Sender, self, role => role.delta())
    }
    fn ready(&self) -> usize {
        each!(Sender, self, role => role.ready())
    }
    async fn prepay(&mut self, ch: &mut Channel, n: usize) -> Result<(), Error> {
        each!(Sender, self, role => role.prepay(ch, n).await)
    }
    async fn confirm(&mut self, ch: &mut Channel, n: usize) -> Result<(), Error> {
        each!(Sender, self, role => role.confirm(ch, n).await)
    }
    async fn settle(&mut self, ch: &mut Channel) -> Result<(), Error> {
        each!(Sender, self, role => role.settle(ch).await)
    }
    async fn extend(&mut self, ch: &mut Channel, n: usize) -> Result<SendCots, Error> {
        each!(Sender, self, role => role.extend(ch, n).await)
    }
}

impl<S: Security> RandomCotReceiver for Receiver<S> {
    fn ready(&self) -> usize {
        each!(Receiver, self, role => role.ready())
    }
    async fn prepay(&mut self, ch: &mut Channel, n: usize) -> Result<(), Error> {
        each!(Receiver, self, role => role.prepay(ch, n).await)
    }
    async fn answer(&mut self, ch: &mut Channel, n: usize) -> Result<(), Error> {
        each!(Receiver, self, role => role.answer(ch, n).await)
    }
    async fn verify(&mut self, ch: &mut Channel, n: usize) -> Result<(), Error> {
        each!(Receiver, self, role => role.verify(ch, n).await)
    }
    async fn settle(&mut self, ch: &mut Channel) -> Result<(), Error> {
        each!(Receiver, self, role => role.settle(ch).await)
    }
    async fn extend(&mut self, ch: &mut Channel, n: usize) -> Result<RecvCots, Error> {
        each!(Receiver, self, role => role.extend(ch, n).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_links_get_few_bits_and_fast_ones_few_cycles() {
        let taken = [1e6, 1e8, 1e9, 9e9, 1e10, 4e11, f64::NAN].map(Extension::for_rate);
        use Extension::{SilentFast, SilentLean, SoftSpoken4};
        assert_eq!(
            taken,
            [SilentLean, SilentLean, SilentFast, SilentFast, SoftSpoken4, SoftSpoken4, SilentFast]
        );
        assert!(SilentLean.bits() < SilentFast.bits() && SilentFast.bits() < SoftSpoken4.bits());
    }
}
