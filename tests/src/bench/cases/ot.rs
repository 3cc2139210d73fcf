//! COTs of random choice, from the server to the client.

use anyhow::Result;
use sotto_net::{Channel, Half};
use sotto_ot::{OtSession, RecvCots, SendCots, pattern_message_len};
use sotto_shares::{Party, Ring, Rng, Shape, Share};

use super::{Case, Run};
use crate::{
    stage::{Me, Stage},
    tensor::Tensor,
};

/// COTs of a run, and of a batch: a batch is in memory at a time.
const COTS: usize = 1 << 25;
const BATCH: usize = 1 << 20;

/// How many COTs are checked.
pub const CHECKED: usize = 1024;

/// 2^25 COTs in batches of 2^20.
pub struct Cots;

impl Case for Cots {
    fn about(&self) -> &'static str {
        "2^25 COTs, server to client, in batches of 2^20"
    }

    fn elements(&self) -> usize {
        COTS
    }

    fn tolerance(&self) -> f64 {
        0.0
    }

    fn needs_session(&self) -> bool {
        false
    }

    fn run<'a>(&'a mut self, stage: &'a mut Stage, _: Option<&'a mut Me>) -> Run<'a> {
        Box::pin(async move {
            let mut ch = stage.connect().await?;
            let first = stage.party == Party::Client;
            let mut session = OtSession::setup(&mut ch, [7; 32], first, &mut Rng::from_os()).await?;
            let (send, recv) = if first { (0, BATCH) } else { (BATCH, 0) };
            stage.watch.start(&mut ch, Half::Offline).await?;
            let mut last = session.reserve(&mut ch, send, recv).await?;
            for _ in 1..COTS / BATCH {
                last = session.reserve(&mut ch, send, recv).await?;
            }
            stage.watch.stop(&mut ch);
            let (mut send, mut recv) = last;
            let (send, recv) =
                if first { (send.take(0), recv.take(CHECKED)) } else { (send.take(CHECKED), recv.take(0)) };
            let outputs = check(&mut ch, send, recv).await?;
            ch.close().await?;
            Ok(outputs)
        })
    }

    fn expected(&self) -> Result<Vec<f64>> {
        Ok(vec![0.0; CHECKED])
    }
}

/// Spends [`CHECKED`] COTs on shares of `c_i x_i` with public `x`; the receiver takes `c_i x_i` away again: zeros.
///
/// # Errors
/// The connection.
pub async fn check(ch: &mut Channel, send: SendCots, recv: RecvCots) -> Result<Vec<Tensor>> {
    let ring = Ring::new(40);
    let pattern = [ring.bits()];
    let x: Vec<u64> = (0..CHECKED as u64).map(|i| i * i + 12_345_678_901).collect();
    let data = if recv.is_empty() {
        let (message, own) = send.cot_send(None, &x, &pattern);
        ch.send("bench/check", message)?;
        own
    } else {
        let message = ch.recv("bench/check", pattern_message_len(CHECKED, &pattern)).await?;
        let choices = recv.choices();
        let got = recv.cot_recv(None, &pattern, &message);
        let choice = |i: usize| u64::from(choices[i / 8] >> (i % 8) & 1);
        (0..CHECKED).map(|i| got[i].wrapping_sub(choice(i) * x[i])).collect()
    };
    let data = data.into_iter().map(|v| ring.reduce(v)).collect();
    Ok(vec![Tensor::Sum(Share::new(ring, 0, Shape::new(1, CHECKED), data))])
}
