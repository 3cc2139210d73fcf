//! The OTs of a session: COTs in both directions.
//!
//! [`OtSession::reserve`] hands out COTs; [`OtSession::reserve_ahead`] begins the extensions that a
//! later reservation needs, which then costs no turn. Both parties make the same calls in the same
//! order, with the numbers of sender and receiver exchanged. With silent OT a reservation also
//! begins the extensions for another one as large as the largest so far, up to 2^22 COTs.
//!
//! The set-up is in [`setup`].

mod setup;

use std::marker::PhantomData;

use sotto_net::{Channel, compute};
use sotto_shares::Rng;
use zeroize::Zeroizing;

use crate::{
    block::{Block, LAMBDA},
    bootstrap::Spare,
    check::{Security, SemiHonest},
    cots::{RecvCots, SendCots},
    directions::{CotCounts, Directions, Pair},
    domain::{Direction, Domain},
    error::Error,
    extension::Extension,
    lpn::LpnParams,
    silent::{SilentReceiver, SilentSender},
};

/// One party's end of a session's OTs: COT sender in one direction, receiver in the other.
pub struct OtSession<S: Security = SemiHonest> {
    first: bool,
    sid: [u8; 32],
    extension: Extension,
    /// Number of the extension in the session.
    generation: u32,
    /// None after an error, which wipes all secrets of the session.
    state: Option<State>,
    drawn: CotCounts,
    /// COTs for which extensions are begun after each reservation, as sender and as receiver.
    ahead: [usize; 2],
    security: PhantomData<S>,
}

/// The secrets of a session.
struct State {
    directions: Box<dyn Directions>,
    spare: Spare,
    rng: Rng,
}

/// The most COTs for which a reservation begins extensions beyond its own.
const MOST_AHEAD: usize = 1 << 22;

impl<S: Security> OtSession<S> {
    /// Sets up both directions with [`Extension::SilentFast`]. `first` is true at exactly one
    /// party. `sid` is the same at both, and must contain a fresh nonce of each. Four turns.
    ///
    /// # Errors
    /// The transport fails, a message has the wrong tag or length, a point or key is invalid, or
    /// [`Error::Inconsistent`].
    pub async fn setup(
        ch: &mut Channel,
        sid: [u8; 32],
        first: bool,
        mut rng: Rng,
    ) -> Result<OtSession<S>, Error> {
        let extension = Extension::SilentFast;
        let [forward, reverse] = [Direction::Forward, Direction::Reverse].map(|d| Domain::new(sid, d, 0));
        // COTs from which silent OT starts, followed by the 128 put aside.
        let n = extension.base::<S>();
        let all = n + LAMBDA;
        let setup::Blocks { delta, mut q, mut t } = match first {
            true => setup::first::<S>(ch, &forward, &reverse, all, &mut rng).await?,
            false => setup::second::<S>(ch, &forward, &reverse, all, &mut rng).await?,
        };
        let aside = |all: &mut Zeroizing<Vec<Block>>| Zeroizing::new(all.split_off(n));
        let spare = Spare { q: aside(&mut q), delta: delta.clone(), t: aside(&mut t) };
        let domains = if first { [forward, reverse] } else { [reverse, forward] };
        let directions = silent::<S>(LpnParams::FAST, domains, *delta, q, t, rng.fork());
        Ok(OtSession {
            first,
            sid,
            extension,
            generation: 0,
            state: Some(State { directions, spare, rng }),
            drawn: CotCounts::default(),
            ahead: [0; 2],
            security: PhantomData,
        })
    }

    /// Whether this party was `first` at setup.
    pub fn is_first(&self) -> bool {
        self.first
    }

    /// The extension in use.
    pub fn extension(&self) -> Extension {
        self.extension
    }

    /// COTs for which extensions have begun and that are not handed out.
    pub fn ready(&self) -> CotCounts {
        self.state.as_ref().map_or(CotCounts::default(), |state| state.directions.ready())
    }

    /// COTs handed out so far.
    pub fn drawn(&self) -> CotCounts {
        self.drawn
    }

    /// Bytes that this party has sent for COTs that are not handed out.
    pub fn unspent_bytes(&self) -> f64 {
        let ready = self.ready();
        let ready = if self.extension.lpn().is_some() { ready.send } else { ready.recv };
        ready as f64 * self.extension.bits() / 8.0
    }

    /// Begins the extensions that `send` COTs as the sender and `recv` as the receiver need. Does
    /// not wait for a message.
    ///
    /// # Errors
    /// The transport fails; [`Error::Over`] after any other error.
    pub async fn reserve_ahead(&mut self, ch: &mut Channel, send: usize, recv: usize) -> Result<(), Error> {
        let mut state = self.take_state()?;
        state.directions.begin(ch, send, recv).await?;
        self.state = Some(state);
        Ok(())
    }

    /// Receives and checks the messages of all extensions that have begun. Afterwards the session
    /// may be continued on another channel.
    ///
    /// # Errors
    /// As [`OtSession::reserve`].
    pub async fn complete(&mut self, ch: &mut Channel) -> Result<(), Error> {
        let mut state = self.take_state()?;
        state.directions.complete(ch).await?;
        self.state = Some(state);
        Ok(())
    }

    /// `send` COTs as the sender and `recv` as the receiver. No turn for COTs whose extensions have
    /// begun and whose messages have arrived, else one; two more where a silent extension is
    /// checked. An error wipes all secrets of the session.
    ///
    /// # Errors
    /// The transport fails, or the peer asks for other numbers; [`Error::Inconsistent`];
    /// [`Error::Over`] after any other error.
    pub async fn reserve(
        &mut self,
        ch: &mut Channel,
        send: usize,
        recv: usize,
    ) -> Result<(SendCots, RecvCots), Error> {
        let mut state = self.take_state()?;
        let cots = state.directions.extend(ch, send, recv).await?;
        self.drawn.send += send as u64;
        self.drawn.recv += recv as u64;
        ch.meter.drew((send + recv) as u64);
        if self.extension.lpn().is_some() {
            let larger = |ahead: usize, n: usize| ahead.max(n.min(MOST_AHEAD));
            self.ahead = [larger(self.ahead[0], send), larger(self.ahead[1], recv)];
            state.directions.begin(ch, self.ahead[0], self.ahead[1]).await?;
        }
        self.state = Some(state);
        Ok(cots)
    }

    /// Continues with another extension; COTs that are ready are discarded. The peer does the same.
    /// Silent OT starts from COTs of the present extension, SoftSpoken OT from those put aside at
    /// setup. Batches from before and after cannot be appended to each other.
    ///
    /// # Errors
    /// As [`OtSession::reserve`].
    pub async fn switch(&mut self, ch: &mut Channel, extension: Extension) -> Result<(), Error> {
        if extension == self.extension {
            return Ok(());
        }
        let mut state = self.take_state()?;
        self.generation += 1;
        let mine = if self.first { Direction::Forward } else { Direction::Reverse };
        let domains = [mine, mine.opposite()].map(|d| Domain::new(self.sid, d, self.generation));
        state.directions.complete(ch).await?;
        let State { directions, spare, rng } = &mut state;
        state.directions = match extension {
            Extension::SilentFast => from_cots::<S>(ch, LpnParams::FAST, directions, domains, rng).await?,
            Extension::SilentLean => from_cots::<S>(ch, LpnParams::LEAN, directions, domains, rng).await?,
            Extension::SoftSpoken2 => Box::new(spare.softspoken::<2, S>(ch, domains, rng).await?),
            Extension::SoftSpoken4 => Box::new(spare.softspoken::<4, S>(ch, domains, rng).await?),
            Extension::SoftSpoken8 => Box::new(spare.softspoken::<8, S>(ch, domains, rng).await?),
        };
        self.extension = extension;
        self.state = Some(state);
        Ok(())
    }

    /// The secrets, which the caller puts back if all went well. An error, or a call that is
    /// cancelled, drops and so wipes them.
    fn take_state(&mut self) -> Result<State, Error> {
        self.state.take().ok_or(Error::Over)
    }
}

/// Silent OT in both directions, from COTs of the present extension.
async fn from_cots<S: Security>(
    ch: &mut Channel,
    params: LpnParams,
    present: &mut Box<dyn Directions>,
    domains: [Domain; 2],
    rng: &mut Rng,
) -> Result<Box<dyn Directions>, Error> {
    let n = crate::silent::base_len::<S>(params);
    let (SendCots { delta, batch: q }, RecvCots { batch: t }) = present.extend(ch, n, n).await?;
    let (q, t) = compute(|| (q.into_blocks(), t.into_blocks()));
    Ok(silent::<S>(params, domains, *delta, q, t, rng.fork()))
}

/// Silent OT in both directions, from this party's halves `q` and `t` of COTs. The domains are
/// those of the direction in which this party is the sender, and of the other one.
fn silent<S: Security>(
    params: LpnParams,
    [out, back]: [Domain; 2],
    delta: Block,
    q: Zeroizing<Vec<Block>>,
    t: Zeroizing<Vec<Block>>,
    rng: Rng,
) -> Box<dyn Directions> {
    Box::new(Pair {
        sender: SilentSender::<S>::new(out, params, delta, q, rng),
        receiver: SilentReceiver::<S>::new(back, params, t),
    })
}

#[cfg(test)]
pub(crate) mod tests;
