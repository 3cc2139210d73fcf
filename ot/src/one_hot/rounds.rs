//! The messages of one-hot vectors: of several kinds, a level of each in a round.

use rand::RngCore;
use sotto_net::{Channel, compute};

use super::{
    cost::{Directed, Wanted, level_len, position_len, round_lens},
    kind::Kind,
    shares::OneHots,
};
use crate::{
    cots::{RecvCots, SendCots},
    error::Error,
    session::OtSession,
};

/// The tag of a round's message.
pub const LEVEL: &str = "ot/one-hot/level";

/// Random one-hot vectors of several kinds, in as many turns as the kind with the largest `k` takes
/// alone. The peer asks for the same.
///
/// # Errors
/// The transport fails, or the peer asks for something else.
///
/// # Panics
/// If `k` or the ring of a kind is out of range.
pub async fn random_one_hots(
    ch: &mut Channel,
    ot: &mut OtSession,
    wanted: &[Wanted],
    rng: &mut (impl RngCore + Send),
) -> Result<Vec<OneHots>, Error> {
    let reserved = OneHotCots::reserve(ch, ot, wanted).await?;
    let mut rounds = compute(|| reserved.begin(rng));
    for (round, len) in round_lens(!ot.is_first(), wanted).into_iter().enumerate() {
        let message = compute(|| rounds.message(round));
        if !message.is_empty() {
            ch.send(LEVEL, message)?;
        }
        let message = if len > 0 { ch.recv(LEVEL, len).await? } else { Vec::new() };
        compute(|| rounds.take(round, &message));
    }
    Ok(rounds.finish())
}

/// The COTs of one-hot vectors to be made.
pub struct OneHotCots {
    first: bool,
    wanted: Vec<Wanted>,
    send: SendCots,
    recv: RecvCots,
}

impl OneHotCots {
    /// Reserves the COTs that the vectors take. The peer asks for the same.
    ///
    /// # Errors
    /// As [`OtSession::reserve`].
    ///
    /// # Panics
    /// If `k` or the ring of a kind is out of range.
    pub async fn reserve(
        ch: &mut Channel,
        ot: &mut OtSession,
        wanted: &[Wanted],
    ) -> Result<OneHotCots, Error> {
        for w in wanted {
            assert!((1..=12).contains(&w.k) && w.k <= w.ring.bits(), "{w:?}");
        }
        let first = ot.is_first();
        let cots = wanted.iter().map(|w| w.cots());
        let sum = |a: Directed, b: Directed| Directed {
            forward: a.forward + b.forward,
            reverse: a.reverse + b.reverse,
        };
        let Directed { forward, reverse } = cots.fold(Directed { forward: 0, reverse: 0 }, sum);
        let (send, recv) = if first { (forward, reverse) } else { (reverse, forward) };
        let (send, recv) = ot.reserve(ch, send, recv).await?;
        Ok(OneHotCots { first, wanted: wanted.to_vec(), send, recv })
    }

    /// Computes this party's shares of the positions' bits.
    pub fn begin(mut self, rng: &mut impl RngCore) -> OneHotRounds {
        let (send, recv) = (&mut self.send, &mut self.recv);
        OneHotRounds(self.wanted.iter().map(|w| Kind::begin(self.first, *w, send, recv, rng)).collect())
    }
}

/// One-hot vectors being made. For each round, from 0 on, call [`OneHotRounds::message`], then
/// [`OneHotRounds::take`]; there are as many rounds as [`round_lens`] has entries.
pub struct OneHotRounds(Vec<Kind>);

impl OneHotRounds {
    /// This party's message of a round; it may be empty.
    pub fn message(&mut self, round: usize) -> Vec<u8> {
        let j = round + 1;
        let mut message = Vec::new();
        for kind in self.0.iter_mut().filter(|kind| kind.first && j == 1) {
            message.extend(kind.send_positions());
        }
        for kind in self.0.iter_mut().filter(|kind| j < kind.k()) {
            let level = kind.send_level(j);
            match message.is_empty() {
                true => message = level,
                false => message.extend(level),
            }
        }
        message
    }

    /// Takes the peer's message of a round.
    ///
    /// # Panics
    /// If its length is not the one that [`round_lens`] states, or this party's message of the
    /// round has not been made.
    pub fn take(&mut self, round: usize, message: &[u8]) {
        let (j, mut rest) = (round + 1, message);
        let mut next = |len: usize| {
            let (now, later) = rest.split_at(len);
            rest = later;
            now
        };
        for kind in self.0.iter_mut().filter(|kind| !kind.first && j == 1) {
            let len = (0..kind.k()).map(|j| position_len(kind.wanted, j)).sum();
            kind.recv_positions(next(len));
        }
        for kind in self.0.iter_mut().filter(|kind| j < kind.k()) {
            kind.grow(j, next(level_len(kind.wanted, j)));
        }
        assert!(rest.is_empty(), "{} bytes after the last payload", rest.len());
    }

    /// The vectors, after the last round.
    pub fn finish(self) -> Vec<OneHots> {
        self.0.into_iter().map(Kind::finish).collect()
    }
}
