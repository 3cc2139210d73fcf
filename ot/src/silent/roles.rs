//! The two roles of silent OT.

use std::{collections::VecDeque, marker::PhantomData, sync::Arc};

use sotto_net::{Channel, Expected, compute};
use sotto_shares::Rng;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    check::Places,
    outputs::Outputs,
    rounds::{FullTrees, PuncturedTrees, Round, base_len, message_len},
};
use crate::{
    block::Block,
    check::{Security, SemiHonest},
    cots::{RecvCots, SendCots},
    domain::Domain,
    error::Error,
    hash::PadHash,
    lpn::LpnParams,
    roles::{RandomCotReceiver, RandomCotSender},
};

const ROUND: &str = "ot/silent/round";
const ANSWER: &str = "ot/silent/answer";
const VERDICT: &str = "ot/silent/verdict";

/// The COT sender of silent OT.
pub struct SilentSender<S: Security = SemiHonest> {
    domain: Domain,
    delta: Zeroizing<Block>,
    rng: Rng,
    outputs: Outputs<FullTrees>,
    /// Rounds sent whose proof is still due. Empty unless the session is checked.
    unproved: VecDeque<Unproved>,
    security: PhantomData<S>,
}

/// A round sent, and the point at which its leaves are evaluated.
struct Unproved {
    round: Arc<Round<FullTrees>>,
    places: Places,
}

/// The COT receiver of silent OT.
pub struct SilentReceiver<S: Security = SemiHonest> {
    domain: Domain,
    outputs: Outputs<PuncturedTrees>,
    /// Messages of rounds that have begun and are not received.
    expected: VecDeque<Expected>,
    /// Rounds answered whose proof is still due. Empty unless the session is checked.
    unverified: VecDeque<Unverified>,
    security: PhantomData<S>,
}

/// A round answered, and the proof that it needs.
struct Unverified {
    round: Arc<Round<PuncturedTrees>>,
    proof: [u8; 32],
}

impl<S: Security> SilentSender<S> {
    /// The sender, from [`base_len`] COTs of another extension.
    ///
    /// # Panics
    /// If there are not as many.
    pub(crate) fn new(
        domain: Domain,
        params: LpnParams,
        delta: Block,
        base: Zeroizing<Vec<Block>>,
        rng: Rng,
    ) -> SilentSender<S> {
        let hash = Arc::new(PadHash::new(&domain, S::CHECKED));
        let outputs = Outputs::new(hash, params, base_len::<S>(params), base);
        let (delta, unproved) = (Zeroizing::new(delta), VecDeque::new());
        SilentSender { domain, delta, rng, outputs, unproved, security: PhantomData }
    }
}

impl<S: Security> RandomCotSender for SilentSender<S> {
    fn delta(&self) -> Block {
        *self.delta
    }

    fn ready(&self) -> usize {
        self.outputs.ready + self.unproved.len() * self.outputs.per_round()
    }

    async fn begin(&mut self, ch: &mut Channel, n: usize) -> Result<(), Error> {
        while self.ready() < n {
            let (params, number) = (self.outputs.params, self.outputs.computed);
            let (round, message) = compute(|| {
                let base = self.outputs.next_base();
                Round::send(&self.domain, params, number, *self.delta, base, &mut self.rng)
            });
            let places = S::CHECKED.then(|| Places::new(&self.domain, number, &message));
            ch.send(ROUND, message)?;
            self.outputs.push(&round);
            match places {
                Some(places) => self.unproved.push_back(Unproved { round, places }),
                None => self.outputs.open(round),
            }
        }
        Ok(())
    }

    async fn prove(&mut self, ch: &mut Channel, n: usize) -> Result<(), Error> {
        while self.outputs.ready < n {
            let Some(Unproved { round, places }) = self.unproved.pop_front() else { break };
            // Before the answer is awaited: meanwhile the receiver computes the same of its leaves.
            let value = compute(|| round.sender_value(&places));
            let answer = ch.recv(ANSWER, 16).await?;
            let phi = answer.first_chunk().expect("the frame has 16 bytes");
            ch.send(VERDICT, round.proof(&value, *self.delta, phi).to_vec())?;
            self.outputs.open(round);
        }
        Ok(())
    }

    async fn extend(&mut self, ch: &mut Channel, n: usize) -> Result<SendCots, Error> {
        self.begin(ch, n).await?;
        self.prove(ch, n).await?;
        Ok(SendCots::new(*self.delta, self.outputs.take(n)))
    }
}

impl<S: Security> SilentReceiver<S> {
    /// The receiver, as [`SilentSender::new`].
    pub(crate) fn new(domain: Domain, params: LpnParams, base: Zeroizing<Vec<Block>>) -> SilentReceiver<S> {
        let hash = Arc::new(PadHash::new(&domain, S::CHECKED));
        let outputs = Outputs::new(hash, params, base_len::<S>(params), base);
        let (expected, unverified) = (VecDeque::new(), VecDeque::new());
        SilentReceiver { domain, outputs, expected, unverified, security: PhantomData }
    }

    /// COTs of the rounds that were received.
    fn received(&self) -> usize {
        self.outputs.ready + self.unverified.len() * self.outputs.per_round()
    }
}

impl<S: Security> RandomCotReceiver for SilentReceiver<S> {
    fn ready(&self) -> usize {
        self.received() + self.expected.len() * self.outputs.per_round()
    }

    async fn begin(&mut self, ch: &mut Channel, n: usize) -> Result<(), Error> {
        while self.ready() < n {
            self.expected.push_back(ch.expect(ROUND, message_len(self.outputs.params)));
        }
        Ok(())
    }

    async fn receive(&mut self, ch: &mut Channel, n: usize) -> Result<(), Error> {
        while self.received() < n {
            let Some(expected) = self.expected.pop_front() else { break };
            let message = ch.claim(expected).await?;
            let (params, number) = (self.outputs.params, self.outputs.computed);
            let round = compute(|| {
                let base = self.outputs.next_base();
                Round::recv(&self.domain, params, number, base, &message)
            });
            self.outputs.push(&round);
            if S::CHECKED {
                let (phi, proof) = compute(|| round.answer(&Places::new(&self.domain, number, &message)));
                ch.send(ANSWER, phi.to_bytes().to_vec())?;
                self.unverified.push_back(Unverified { round, proof });
            } else {
                self.outputs.open(round);
            }
        }
        Ok(())
    }

    async fn verify(&mut self, ch: &mut Channel, n: usize) -> Result<(), Error> {
        while self.outputs.ready < n {
            let Some(Unverified { round, proof }) = self.unverified.pop_front() else { break };
            if !bool::from(ch.recv(VERDICT, 32).await?.ct_eq(&proof)) {
                return Err(Error::Inconsistent { step: ROUND });
            }
            self.outputs.open(round);
        }
        Ok(())
    }

    async fn extend(&mut self, ch: &mut Channel, n: usize) -> Result<RecvCots, Error> {
        self.begin(ch, n).await?;
        self.receive(ch, n).await?;
        self.verify(ch, n).await?;
        Ok(RecvCots::new(self.outputs.take(n)))
    }
}

#[cfg(test)]
mod tests;
