//! Correlated randomness in bulk: COTs of each extension, random OTs, triples of bits.

use anyhow::Result;
use sotto_net::{Channel, Half};
use sotto_ot::{
    BitTriples, Checked, Extension, OtSession, RecvCots, Security, SemiHonest, SendCots, pattern_message_len,
};
use sotto_shares::{Party, Ring, Rng, Shape, Share};

use super::{Case, Run};
use crate::{
    stage::{Me, Stage},
    tensor::Tensor,
};

/// What a run makes, and a batch of it.
const OUTPUTS: usize = 1 << 25;
const BATCH: usize = 1 << 20;

/// How many COTs are checked.
pub const CHECKED: usize = 1024;

/// 2^25 outputs in batches of 2^20.
pub struct Correlations {
    kind: Kind,
    extension: Extension,
    checked: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// COTs as blocks, server to client.
    Cots,
    /// Random OTs of bits, server to client.
    Transfers,
    /// AND triples, which need COTs in both directions.
    Triples,
}

impl Correlations {
    /// By its name.
    pub fn parse(name: &str) -> Option<Correlations> {
        let (plain, checked) = match name.strip_suffix("-checked") {
            Some(plain) => (plain, true),
            None => (name, false),
        };
        let (kind, extension) = match plain {
            "cot/silent-fast" => (Kind::Cots, Extension::SilentFast),
            "cot/silent-lean" => (Kind::Cots, Extension::SilentLean),
            "cot/softspoken-2" => (Kind::Cots, Extension::SoftSpoken2),
            "cot/softspoken-4" => (Kind::Cots, Extension::SoftSpoken4),
            "cot/softspoken-8" => (Kind::Cots, Extension::SoftSpoken8),
            "rot/packed" => (Kind::Transfers, Extension::SilentFast),
            "and/triples" => (Kind::Triples, Extension::SilentFast),
            _ => return None,
        };
        Some(Correlations { kind, extension, checked })
    }

    async fn make<S: Security>(&self, stage: &mut Stage) -> Result<Vec<Tensor>> {
        let mut ch = stage.connect().await?;
        let first = stage.party == Party::Client;
        let mut session = OtSession::<S>::setup(&mut ch, [7; 32], first, Rng::from_os()).await?;
        session.switch(&mut ch, self.extension).await?;
        let (send, recv) = match self.kind {
            Kind::Triples => (BATCH, BATCH),
            Kind::Cots | Kind::Transfers if first => (0, BATCH),
            Kind::Cots | Kind::Transfers => (BATCH, 0),
        };
        stage.watch.start(&mut ch, Half::Offline).await?;
        stage.watch.owe(session.unspent_bytes());
        for _ in 0..OUTPUTS / BATCH {
            let (send, recv) = session.reserve(&mut ch, send, recv).await?;
            sotto_net::compute(|| self.spend(send, recv));
        }
        stage.watch.owe(-session.unspent_bytes());
        stage.watch.stop(&mut ch);
        let (send, recv) = if first { (0, CHECKED) } else { (CHECKED, 0) };
        let (send, recv) = session.reserve(&mut ch, send, recv).await?;
        let outputs = check(&mut ch, send, recv).await?;
        ch.close().await?;
        Ok(outputs)
    }

    /// Makes a batch's outputs, and drops them.
    fn spend(&self, send: SendCots, recv: RecvCots) {
        match self.kind {
            Kind::Cots => {
                send.expand();
                recv.expand();
            }
            Kind::Transfers if recv.is_empty() => drop(send.random_send(1)),
            Kind::Transfers => drop(recv.random_recv(1)),
            Kind::Triples => drop(BitTriples::new(send, recv, 1)),
        }
    }
}

impl Case for Correlations {
    fn about(&self) -> &'static str {
        "2^25 outputs in batches of 2^20; COTs and random OTs flow from the server to the client"
    }

    fn elements(&self) -> usize {
        OUTPUTS
    }

    fn tolerance(&self) -> f64 {
        0.0
    }

    fn needs_session(&self) -> bool {
        false
    }

    fn run<'a>(&'a mut self, stage: &'a mut Stage, _: Option<&'a mut Me>) -> Run<'a> {
        Box::pin(async move {
            match self.checked {
                true => self.make::<Checked>(stage).await,
                false => self.make::<SemiHonest>(stage).await,
            }
        })
    }

    fn expected(&self) -> Result<Vec<f64>> {
        Ok(vec![0.0; CHECKED])
    }
}

/// Spends [`CHECKED`] COTs on shares of `c_i x_i` with public `x`; the receiver takes `c_i x_i`
/// away again: zeros.
///
/// # Errors
/// The connection.
pub async fn check(ch: &mut Channel, send: SendCots, recv: RecvCots) -> Result<Vec<Tensor>> {
    let ring = Ring::new(40);
    let pattern = [ring.bits()];
    let x: Vec<u64> = (0..CHECKED as u64).map(|i| i * i + 12_345_678_901).collect();
    let data = if recv.is_empty() {
        let (message, own) = send.cot_send(&x, &pattern);
        ch.send("bench/check", message)?;
        own
    } else {
        let message = ch.recv("bench/check", pattern_message_len(CHECKED, &pattern)).await?;
        let pads = recv.cot_random(&pattern);
        let choices = pads.choices().to_vec();
        let got = pads.finish(&message);
        let choice = |i: usize| u64::from(choices[i / 8] >> (i % 8) & 1);
        (0..CHECKED).map(|i| got[i].wrapping_sub(choice(i) * x[i])).collect()
    };
    let data = data.into_iter().map(|v| ring.reduce(v)).collect();
    Ok(vec![Tensor::Sum(Share::new(ring, 0, Shape::new(1, CHECKED), data))])
}
