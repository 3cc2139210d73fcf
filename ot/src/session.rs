//! A session's COTs in both directions.
//!
//! | first                                       |                        | second                                  |
//! |---------------------------------------------|------------------------|-----------------------------------------|
//! | `Delta` uniform; base OTs, choices `!Delta` | `<- base/{points,key} ->` | base OTs, both keys                  |
//! | forward COT sender                          | `<- softspoken/ggm --` | forward COT receiver                    |
//! | `H'(q_j), H'(q_j ^ Delta)`                  | `<- softspoken/u --`   | `b_j, H'(t_j)`, `j < 128`               |
//! | reverse COT receiver                        | `-- softspoken/ggm ->` | reverse COT sender, `Delta' = !b`       |
//!
//! Three turns; elliptic curves once: 128 of the forward direction's COTs, hashed in a domain of their own and
//! never handed out, are the base OTs of the reverse direction. `reserve` is one turn, one message each way.
//! The first direction's `Delta` is independent of the second's, whose bits are the second party's random
//! choices, unknown to the first.

use rand::RngCore;
use sotto_net::{Channel, compute};
use zeroize::Zeroizing;

use crate::{
    Error, RandomCotReceiver, RandomCotSender, RecvCots, SendCots, SoftSpokenReceiver, SoftSpokenSender,
    base::{self, BaseRecv, BaseSend},
    block::{Block, LAMBDA},
    domain::{Direction, Domain},
    softspoken::{GGM, GGM_LEN},
};

/// One party's end of a session: COT sender in one direction, receiver in the other.
pub struct OtSession {
    first: bool,
    sender: SoftSpokenSender,
    receiver: SoftSpokenReceiver,
}

impl OtSession {
    /// Sets up both directions; `first` at exactly one party. `sid` is equal at both, fresh, and made from
    /// both parties' nonces.
    ///
    /// # Errors
    /// Transport, messages of wrong lengths, and points that are none.
    pub async fn setup(
        ch: &mut Channel,
        sid: [u8; 32],
        first: bool,
        rng: &mut (impl RngCore + Send),
    ) -> Result<OtSession, Error> {
        let forward = Domain::new(sid, Direction::Forward);
        let reverse = Domain::new(sid, Direction::Reverse);
        if first {
            let delta = Block::random(rng);
            let base = base::recv(ch, &forward, !delta, rng).await?;
            let message = ch.recv(GGM, GGM_LEN).await?;
            let mut sender = compute(|| SoftSpokenSender::new(&forward, base, &message));
            let base = sender.extend(ch, LAMBDA).await?.into_base(&reverse);
            let (receiver, message) = compute(|| SoftSpokenReceiver::new(&reverse, base, rng));
            ch.send(GGM, message)?;
            Ok(OtSession { first, sender, receiver })
        } else {
            let base = base::send(ch, &forward, rng).await?;
            let (mut receiver, message) = compute(|| SoftSpokenReceiver::new(&forward, base, rng));
            ch.send(GGM, message)?;
            let base = receiver.extend(ch, LAMBDA).await?.into_base(&reverse);
            let message = ch.recv(GGM, GGM_LEN).await?;
            let sender = compute(|| SoftSpokenSender::new(&reverse, base, &message));
            Ok(OtSession { first, sender, receiver })
        }
    }

    /// Whether this party was `first` at setup.
    pub fn is_first(&self) -> bool {
        self.first
    }

    /// `send` COTs as the sender and `recv` as the receiver; the peer asks for the mirrored numbers. One turn;
    /// `31 ceil(n/8)` bytes from the receiver to the sender of `n` COTs. After an error the session is over.
    ///
    /// # Errors
    /// Transport, or the peer asks for other numbers.
    pub async fn reserve(
        &mut self,
        ch: &mut Channel,
        send: usize,
        recv: usize,
    ) -> Result<(SendCots, RecvCots), Error> {
        // As a receiver this party only sends, so both directions share the turn.
        let received = self.receiver.extend(ch, recv).await?;
        let sent = self.sender.extend(ch, send).await?;
        Ok((sent, received))
    }
}

impl SendCots {
    /// The sender's end of base OTs for `domain`.
    fn into_base(self, domain: &Domain) -> BaseSend {
        let keys = (0..self.len()).map(|j| {
            let key0 = self.key0(j, None);
            [key0, key0 ^ self.delta()].map(|key| base_key(domain, j, key))
        });
        BaseSend(Zeroizing::new(keys.collect()))
    }
}

impl RecvCots {
    /// The receiver's end of base OTs for `domain`; the choices are the random ones.
    fn into_base(self, domain: &Domain) -> BaseRecv {
        let choices = (0..self.len()).fold(0, |all, j| all | u128::from(self.choice(j)) << j);
        let keys = (0..self.len()).map(|j| base_key(domain, j, self.key(j)));
        BaseRecv { choices: Block(choices), keys: Zeroizing::new(keys.collect()) }
    }
}

fn base_key(domain: &Domain, j: usize, key: Block) -> Block {
    let key = Zeroizing::new(key.to_bytes());
    Block::from_bytes(
        domain.derive("sotto 2026 ot/session/reverse-base", &[&(j as u64).to_le_bytes(), &*key]),
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use sotto_net::{Cost, HEADER_LEN, run_pair};
    use sotto_shares::Rng;

    use super::*;

    /// A party's end, with fixed seeds.
    pub(crate) async fn party(ch: &mut Channel, first: bool) -> OtSession {
        let mut rng = Rng::from_seed([10 + u8::from(first); 32]);
        OtSession::setup(ch, [42; 32], first, &mut rng).await.unwrap()
    }

    fn assert_cots(delta: Block, s: &SendCots, r: &RecvCots) {
        assert_eq!((s.len(), s.first_index()), (r.len(), r.first_index()));
        for i in 0..s.len() {
            assert!(r.key(i).0 == (s.key0(i, None) ^ delta.times(r.choice(i))).0);
        }
    }

    #[test]
    fn both_directions_work_with_their_own_deltas() {
        let run = |first| {
            move |mut ch: Channel| async move {
                let mut ot = party(&mut ch, first).await;
                let mut batches = Vec::new();
                for (to, from) in [(0, 0), (1, 0), (0, 5), (1000, 129), (128, 9000)] {
                    let (send, recv) = if first { (to, from) } else { (from, to) };
                    batches.push(ot.reserve(&mut ch, send, recv).await.unwrap());
                }
                (ot.sender.delta(), batches)
            }
        };
        let ((delta_a, a), (delta_b, b)) = run_pair(run(true), run(false));
        assert!(delta_a.0 != delta_b.0 && delta_a.0 != !delta_b.0);
        for ((a_send, a_recv), (b_send, b_recv)) in a.iter().zip(&b) {
            assert_cots(delta_a, a_send, b_recv);
            assert_cots(delta_b, b_send, a_recv);
        }
        assert_eq!(a[0].0.first_index(), 128, "the reverse direction's base OTs are not handed out");
        assert_eq!(a[0].1.first_index(), 0);
    }

    #[test]
    fn stated_bytes_and_turns() {
        let run = |first: bool| {
            move |mut ch: Channel| async move {
                let mut ot = party(&mut ch, first).await;
                let setup = ch.meter.total();
                let (send, recv) = if first { (1000, 300) } else { (300, 1000) };
                ot.reserve(&mut ch, send, recv).await.unwrap();
                let total = ch.meter.total();
                (setup, Cost { turns: total.turns, ..total - setup })
            }
        };
        let ((setup_a, cost_a), (setup_b, cost_b)) = run_pair(run(true), run(false));
        assert_eq!(setup_a.sent as usize, 8192 + GGM_LEN + 2 * HEADER_LEN);
        assert_eq!(setup_b.sent as usize, 32 + GGM_LEN + 31 * 16 + 3 * HEADER_LEN);
        assert_eq!((setup_a.turns, setup_b.turns), (2, 3));
        assert_eq!(cost_a.sent as usize, 31 * 38 + HEADER_LEN);
        assert_eq!(cost_b.sent as usize, 31 * 125 + HEADER_LEN);
        assert_eq!(cost_a.turns.max(cost_b.turns), 4, "one more turn");
    }

    #[test]
    fn unequal_requests_and_early_closes_are_named() {
        let (result, _) = run_pair(
            |mut ch: Channel| async move {
                let mut ot = party(&mut ch, true).await;
                ot.reserve(&mut ch, 10, 0).await.map(drop)
            },
            |mut ch: Channel| async move {
                let mut ot = party(&mut ch, false).await;
                ot.reserve(&mut ch, 0, 20).await.map(drop)
            },
        );
        assert!(matches!(result, Err(Error::Net(sotto_net::Error::WrongLength { .. }))));
        let (result, ()) = run_pair(
            |mut ch: Channel| async move {
                let mut ot = party(&mut ch, true).await;
                ot.reserve(&mut ch, 10, 10).await.map(drop)
            },
            |mut ch: Channel| async move {
                party(&mut ch, false).await;
                ch.close().await.unwrap();
            },
        );
        assert!(matches!(result, Err(Error::Net(sotto_net::Error::Closed { .. }))));
        let (result, ()) = run_pair(
            |mut ch: Channel| async move {
                OtSession::setup(&mut ch, [1; 32], true, &mut Rng::from_seed([1; 32])).await.err()
            },
            |mut ch: Channel| async move { ch.close().await.unwrap() },
        );
        assert!(matches!(result, Some(Error::Net(sotto_net::Error::Closed { .. }))));
        let twice = |mut ch: Channel| async move {
            OtSession::setup(&mut ch, [1; 32], true, &mut Rng::from_seed([1; 32])).await.err()
        };
        let (a, b) = run_pair(twice, twice);
        assert!(matches!((a, b), (Some(Error::Net(_)), Some(Error::Net(_)))), "two firsts do not hang");
    }
}
