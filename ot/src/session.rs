//! A session's COTs in both directions.
//!
//! | first                                       |                        | second                                  |
//! |---------------------------------------------|------------------------|-----------------------------------------|
//! | `Delta` uniform, odd; base OTs, choices `!Delta` | `<- base/{points,key} ->` | base OTs, both keys                |
//! | forward COT sender                          | `<- softspoken/ggm --` | forward COT receiver                    |
//! | `H'(q_j), H'(q_j ^ Delta)`                  | `<- softspoken/u --`   | `b_j, H'(t_j)`, `j < 128`               |
//! | exchanges the keys of `j = 0` if `b_0`      | `<- session/odd --`    | `b_0`; `Delta' = !b`, made odd          |
//! | reverse COT receiver                        | `-- softspoken/ggm ->` | reverse COT sender                      |
//! | what silent OT starts from                  | `<- softspoken/u ->`   | the same                                |
//!
//! Three turns; elliptic curves once: 128 of the forward direction's COTs, hashed in a domain of their own and
//! never handed out, are the base OTs of the reverse direction. The first direction's `Delta` is independent of the second's, whose
//! bits are the second party's random choices, unknown to the first; but for the lowest, which is public: `b_0` is told, and
//! choice and keys are exchanged so that it counts as 0. SoftSpoken OT with trees of 256 leaves makes what silent OT starts from.
//!
//! The session is a pool: [`OtSession::prepay`] sends ahead what makes COTs ready, [`OtSession::reserve`] hands them out, and costs no
//! turn for what was prepaid. Both parties call both with mirrored numbers, in the same order. With silent OT, a reservation
//! also sends ahead what another one as large as the largest so far will need. Any extension can start from COTs of another:
//! [`OtSession::switch`].

use sotto_net::{Channel, compute};
use sotto_shares::Rng;
use zeroize::Zeroizing;

use crate::{
    Error, Extension, RandomCotReceiver, RandomCotSender, RecvCots, Security, SemiHonest, SendCots,
    base::{self, BaseRecv, BaseSend},
    block::{Block, LAMBDA},
    domain::{Direction, Domain},
    extension::{Receiver, Sender},
    softspoken::{GGM, SoftSpokenReceiver, SoftSpokenSender, U, ggm_len},
};

const ODD: &str = "ot/session/odd";

/// One party's end of a session: COT sender in one direction, receiver in the other.
pub struct OtSession<S: Security = SemiHonest> {
    first: bool,
    sid: [u8; 32],
    extension: Extension,
    /// Extensions used so far.
    generation: u32,
    sender: Sender<S>,
    receiver: Receiver<S>,
    /// COTs handed out so far, and to keep ready, as sender and as receiver.
    drawn: (u64, u64),
    ahead: (usize, usize),
    rng: Rng,
}

/// COTs kept ready at most beyond what was asked for.
const MOST_AHEAD: usize = 1 << 22;

impl<S: Security> OtSession<S> {
    /// Sets up both directions for [`Extension::SilentFast`]; `first` at exactly one party. `sid` is equal at both, fresh, and
    /// made from both parties' nonces.
    ///
    /// # Errors
    /// Transport, messages of wrong lengths, and points that are none.
    pub async fn setup(
        ch: &mut Channel,
        sid: [u8; 32],
        first: bool,
        mut rng: Rng,
    ) -> Result<OtSession<S>, Error> {
        let extension = Extension::SilentFast;
        let n = extension.base::<S>();
        let [forward, reverse] = [Direction::Forward, Direction::Reverse].map(|d| Domain::new(sid, d, 0));
        let (sender, receiver) = if first {
            let delta = Block::random(&mut rng).with_low_bit();
            let base = base::recv(ch, &forward, !delta, &mut rng).await?;
            #[cfg(feature = "post-quantum")]
            let base = crate::kem::recv(ch, &forward, base, &mut rng).await?;
            let message = ch.recv(GGM, ggm_len::<8, S>()).await?;
            let mut send = compute(|| SoftSpokenSender::<8, S>::new(&forward, base, &message))?;
            let keys = send.blocks(ch, LAMBDA).await?;
            let odd = ch.recv(ODD, 1).await?[0];
            let base = base_send(&reverse, &keys, delta, odd);
            let (mut recv, message) = compute(|| SoftSpokenReceiver::<8, S>::new(&reverse, base, &mut rng));
            ch.send(GGM, message)?;
            let (t, message) = compute(|| recv.blocks(n));
            ch.send(U, message)?;
            let q = send.blocks(ch, n).await?;
            (
                Sender::silent(extension, forward, delta, q, rng.fork()),
                Receiver::silent(extension, reverse, t),
            )
        } else {
            let base = base::send(ch, &forward, &mut rng).await?;
            #[cfg(feature = "post-quantum")]
            let base = crate::kem::send(ch, &forward, base, &mut rng).await?;
            let (mut recv, message) = compute(|| SoftSpokenReceiver::<8, S>::new(&forward, base, &mut rng));
            ch.send(GGM, message)?;
            let (keys, message) = compute(|| recv.blocks(LAMBDA));
            ch.send(U, message)?;
            let (base, odd) = base_recv(&reverse, &keys);
            ch.send(ODD, vec![odd])?;
            let (t, message) = compute(|| recv.blocks(n));
            ch.send(U, message)?;
            let message = ch.recv(GGM, ggm_len::<8, S>()).await?;
            let mut send = compute(|| SoftSpokenSender::<8, S>::new(&reverse, base, &message))?;
            let (delta, q) = (send.delta(), send.blocks(ch, n).await?);
            (
                Sender::silent(extension, reverse, delta, q, rng.fork()),
                Receiver::silent(extension, forward, t),
            )
        };
        let (drawn, ahead) = ((0, 0), (0, 0));
        Ok(OtSession { first, sid, extension, generation: 0, sender, receiver, drawn, ahead, rng })
    }

    /// Whether this party was `first` at setup.
    pub fn is_first(&self) -> bool {
        self.first
    }

    /// How COTs are made now.
    pub fn extension(&self) -> Extension {
        self.extension
    }

    /// COTs that need no further turn, as sender and as receiver.
    pub fn ready(&self) -> (usize, usize) {
        (self.sender.ready(), self.receiver.ready())
    }

    /// COTs handed out so far, as sender and as receiver.
    pub fn drawn(&self) -> (u64, u64) {
        self.drawn
    }

    /// Bytes that this party has sent for COTs that are not yet handed out.
    pub fn prepaid_bytes(&self) -> f64 {
        let (send, recv) = self.ready();
        let ready = if self.extension.lpn().is_some() { send } else { recv };
        ready as f64 * self.extension.bits() / 8.0
    }

    /// Sends ahead what makes `send` COTs as the sender and `recv` as the receiver ready; the peer asks for the mirrored numbers.
    /// Waits for nothing.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn prepay(&mut self, ch: &mut Channel, send: usize, recv: usize) -> Result<(), Error> {
        self.receiver.prepay(ch, recv).await?;
        self.sender.prepay(ch, send).await
    }

    /// Waits for everything that the peer was to send ahead; afterwards the channel may be another one.
    ///
    /// # Errors
    /// Transport, or a message of the wrong length.
    pub async fn settle(&mut self, ch: &mut Channel) -> Result<(), Error> {
        self.receiver.settle(ch).await?;
        self.sender.settle(ch).await
    }

    /// `send` COTs as the sender and `recv` as the receiver; the peer asks for the mirrored numbers. One turn for what was not
    /// prepaid. After an error the session is over.
    ///
    /// # Errors
    /// Transport, or the peer asks for other numbers.
    pub async fn reserve(
        &mut self,
        ch: &mut Channel,
        send: usize,
        recv: usize,
    ) -> Result<(SendCots, RecvCots), Error> {
        // Everything that this party sends is sent before it waits.
        self.prepay(ch, send, recv).await?;
        self.receiver.answer(ch, recv).await?;
        self.sender.confirm(ch, send).await?;
        let received = self.receiver.extend(ch, recv).await?;
        let sent = self.sender.extend(ch, send).await?;
        self.drawn = (self.drawn.0 + send as u64, self.drawn.1 + recv as u64);
        if self.extension.lpn().is_some() {
            let larger = |ahead: usize, n: usize| ahead.max(n.min(MOST_AHEAD));
            self.ahead = (larger(self.ahead.0, send), larger(self.ahead.1, recv));
            self.prepay(ch, self.ahead.0, self.ahead.1).await?;
        }
        Ok((sent, received))
    }

    /// Goes on with another extension, which starts from COTs of the present one; what is ready is given up. The peer does
    /// the same. Batches from before and after do not mix.
    ///
    /// # Errors
    /// As [`OtSession::reserve`].
    pub async fn switch(&mut self, ch: &mut Channel, extension: Extension) -> Result<(), Error> {
        if extension == self.extension {
            return Ok(());
        }
        let n = extension.base::<S>();
        self.prepay(ch, n, n).await?;
        self.settle(ch).await?;
        self.sender.confirm(ch, usize::MAX).await?;
        let (recv, send) = (self.receiver.extend(ch, n).await?, self.sender.extend(ch, n).await?);
        let (q, t) = compute(|| (send.blocks(), recv.blocks()));
        self.generation += 1;
        let mine = if self.first { Direction::Forward } else { Direction::Reverse };
        let [out, back] = [mine, mine.opposite()].map(|d| Domain::new(self.sid, d, self.generation));
        (self.sender, self.receiver) = match extension {
            Extension::SilentFast | Extension::SilentLean => (
                Sender::silent(extension, out, send.delta(), q, self.rng.fork()),
                Receiver::silent(extension, back, t),
            ),
            Extension::SoftSpoken2 => {
                let (s, r) = self.softspoken::<2>(ch, [out, back], &q, send.delta(), &t).await?;
                (Sender::SoftSpoken2(s), Receiver::SoftSpoken2(r))
            }
            Extension::SoftSpoken4 => {
                let (s, r) = self.softspoken::<4>(ch, [out, back], &q, send.delta(), &t).await?;
                (Sender::SoftSpoken4(s), Receiver::SoftSpoken4(r))
            }
            Extension::SoftSpoken8 => {
                let (s, r) = self.softspoken::<8>(ch, [out, back], &q, send.delta(), &t).await?;
                (Sender::SoftSpoken8(s), Receiver::SoftSpoken8(r))
            }
        };
        self.extension = extension;
        Ok(())
    }

    /// SoftSpoken OT in both directions: what this party received become its choices as base-OT receiver and so its `Delta`.
    async fn softspoken<const K: usize>(
        &mut self,
        ch: &mut Channel,
        [out, back]: [Domain; 2],
        q: &[Block],
        delta: Block,
        t: &[Block],
    ) -> Result<(SoftSpokenSender<K, S>, SoftSpokenReceiver<K, S>), Error> {
        let (base, odd) = base_recv(&out, t);
        let odd = ch.exchange(ODD, vec![odd]).await?[0];
        let theirs = base_send(&back, q, delta, odd);
        let (receiver, message) = compute(|| SoftSpokenReceiver::new(&back, theirs, &mut self.rng));
        let message = ch.exchange(GGM, message).await?;
        Ok((compute(|| SoftSpokenSender::new(&out, base, &message))?, receiver))
    }
}

/// The sender's end of base OTs for `domain`, from its half of 128 COTs and the receiver's word whether its first choice was 1.
fn base_send(domain: &Domain, q: &[Block], delta: Block, odd: u8) -> BaseSend {
    let keys = q.iter().enumerate().map(|(j, &q)| {
        let exchange = if j == 0 { u64::from(odd & 1) } else { 0 };
        let key0 = q ^ delta.times(exchange);
        [key0, key0 ^ delta].map(|key| base_key(domain, j, key))
    });
    BaseSend(Zeroizing::new(keys.collect()))
}

/// The receiver's end of base OTs for `domain`, from its half of 128 COTs: the choices are the random ones, but the
/// first is made 0; whether it was 1 must be told to the sender.
fn base_recv(domain: &Domain, t: &[Block]) -> (BaseRecv, u8) {
    let choices = t.iter().enumerate().fold(0, |all, (j, t)| all | u128::from(t.bit(0)) << j);
    let keys = t.iter().enumerate().map(|(j, &t)| base_key(domain, j, t));
    let base = BaseRecv { choices: Block(choices).without_low_bit(), keys: Zeroizing::new(keys.collect()) };
    (base, choices as u8 & 1)
}

fn base_key(domain: &Domain, j: usize, key: Block) -> Block {
    let key = Zeroizing::new(key.to_bytes());
    Block::from_bytes(domain.derive("sotto 2026 ot/session/base", &[&(j as u64).to_le_bytes(), &*key]))
}

#[cfg(test)]
pub(crate) mod tests {
    use sotto_net::{Cost, HEADER_LEN, run_pair};

    use super::*;
    use crate::{Checked, block::bit, silent};

    /// A party's end, with fixed seeds.
    pub(crate) async fn party(ch: &mut Channel, first: bool) -> OtSession {
        OtSession::<SemiHonest>::setup(ch, [42; 32], first, Rng::from_seed([10 + u8::from(first); 32]))
            .await
            .unwrap()
    }

    fn assert_cots(s: &SendCots, r: &RecvCots) {
        assert_eq!(s.len(), r.len());
        let (q, t, b) = (s.blocks(), r.blocks(), r.choices());
        for i in 0..s.len() {
            assert!(t[i].0 == (q[i] ^ s.delta().times(bit(&b, i))).0);
        }
    }

    type Batches = Vec<(SendCots, RecvCots)>;

    fn assert_batches(a: &Batches, b: &Batches) {
        for ((a_send, a_recv), (b_send, b_recv)) in a.iter().zip(b) {
            assert!(a_send.delta().0 != b_send.delta().0 && a_send.delta().0 != !b_send.delta().0 ^ 1);
            assert_cots(a_send, b_recv);
            assert_cots(b_send, a_recv);
        }
    }

    async fn reserve_all<S: Security>(
        ch: &mut Channel,
        ot: &mut OtSession<S>,
        sizes: &[(usize, usize)],
    ) -> Batches {
        let mut batches = Vec::new();
        for &(to, from) in sizes {
            let (send, recv) = if ot.is_first() { (to, from) } else { (from, to) };
            batches.push(ot.reserve(ch, send, recv).await.unwrap());
        }
        batches
    }

    #[test]
    fn both_directions_work_with_their_own_deltas() {
        let run = |first| {
            move |mut ch: Channel| async move {
                let mut ot = party(&mut ch, first).await;
                let sizes = [(0, 0), (1, 0), (0, 5), (1000, 129), (128, 9000), (1_300_000, 3)];
                reserve_all(&mut ch, &mut ot, &sizes).await
            }
        };
        let (a, b) = run_pair(run(true), run(false));
        assert_batches(&a, &b);
    }

    #[test]
    fn every_extension_starts_from_every_other() {
        start_from_each_other::<SemiHonest>();
        start_from_each_other::<Checked>();
    }

    fn start_from_each_other<S: Security>() {
        use Extension::{SilentFast, SilentLean, SoftSpoken2, SoftSpoken4, SoftSpoken8};
        let order = [
            SilentLean,
            SoftSpoken4,
            SilentFast,
            SoftSpoken2,
            SoftSpoken8,
            SoftSpoken4,
            SilentLean,
            SilentFast,
        ];
        let run = |first| {
            move |mut ch: Channel| async move {
                let rng = Rng::from_seed([10 + u8::from(first); 32]);
                let mut ot = OtSession::<S>::setup(&mut ch, [42; 32], first, rng).await.unwrap();
                let mut batches = reserve_all(&mut ch, &mut ot, &[(10, 20)]).await;
                for extension in order {
                    ot.switch(&mut ch, extension).await.unwrap();
                    assert_eq!(ot.extension(), extension);
                    batches
                        .extend(reserve_all(&mut ch, &mut ot, &[(1500, 3), (0, 70), (40_000, 40_000)]).await);
                }
                batches
            }
        };
        let (a, b) = run_pair(run(true), run(false));
        assert_batches(&a, &b);
    }

    /// Bytes of a round's message, framed.
    fn round(extension: Extension) -> usize {
        silent::message_len(extension.lpn().unwrap()) + HEADER_LEN
    }

    #[test]
    fn stated_bytes_and_turns() {
        let run = |first: bool| {
            move |mut ch: Channel| async move {
                let mut ot = party(&mut ch, first).await;
                let mut costs = vec![ch.meter.total()];
                // Not prepaid; from what is left; prepaid, which waits for nothing; drawn from that.
                let (send, recv) = if first { (1000, 300) } else { (300, 1000) };
                ot.reserve(&mut ch, send, recv).await.unwrap();
                costs.push(ch.meter.total());
                ot.reserve(&mut ch, send, recv).await.unwrap();
                costs.push(ch.meter.total());
                let (send, recv) = if first { (2_000_000, 1_000_000) } else { (1_000_000, 2_000_000) };
                ot.prepay(&mut ch, send, recv).await.unwrap();
                assert!(ot.ready().0 >= send && ot.ready().1 >= recv);
                assert_eq!(ot.drawn().0, 2 * if first { 1000 } else { 300 });
                costs.push(ch.meter.total());
                ch.exchange("a", vec![1]).await.unwrap();
                ot.reserve(&mut ch, 1_000_000, 1_000_000).await.unwrap();
                costs.push(ch.meter.total());
                costs
            }
        };
        let (a, b) = run_pair(run(true), run(false));
        let bytes = |side: &[Cost], i: usize| (side[i].sent - side[i - 1].sent) as usize;
        let n = Extension::SilentFast.base::<SemiHonest>();
        let forward = LAMBDA + n;
        // The layer of `kem`: its keys, its ciphertexts, its turns.
        let (keys, ciphertexts, turns) = if cfg!(feature = "post-quantum") {
            (299_008 + HEADER_LEN, 278_528 + HEADER_LEN, 1)
        } else {
            (0, 0, 0)
        };
        assert_eq!(
            a[0].sent as usize,
            keys + 8192 + ggm_len::<8, SemiHonest>() + 15 * n.div_ceil(8) + 3 * HEADER_LEN
        );
        assert_eq!(
            b[0].sent as usize,
            ciphertexts + 32 + ggm_len::<8, SemiHonest>() + 15 * forward.div_ceil(8) + 1 + 5 * HEADER_LEN
        );
        assert_eq!((a[0].turns, b[0].turns), (turns + 2, turns + 3));
        let fast = round(Extension::SilentFast);
        assert_eq!([bytes(&a, 1), bytes(&b, 1)], [fast, fast], "a round makes 1 247 968");
        assert_eq!(a[1].turns.max(b[1].turns), turns + 4, "one more turn");
        assert_eq!([bytes(&a, 2), bytes(&b, 2)], [0, 0]);
        assert_eq!([bytes(&a, 3), bytes(&b, 3)], [fast, 0]);
        assert_eq!(a[3].turns, a[1].turns, "what is sent ahead is not waited for");
        // Another million is kept ready: the first has 1.49 and the second 0.25 million left.
        assert_eq!([bytes(&a, 4), bytes(&b, 4)], [HEADER_LEN + 1, HEADER_LEN + 1 + fast]);
        assert_eq!(a[4].turns.max(b[4].turns), turns + 5, "drawing costs no turn");
    }

    #[test]
    fn what_is_prepaid_is_known() {
        let run = |first: bool| {
            move |mut ch: Channel| async move {
                let mut ot = party(&mut ch, first).await;
                let before = ot.prepaid_bytes();
                ot.prepay(&mut ch, 1, 1).await.unwrap();
                let prepaid = ot.prepaid_bytes();
                ot.reserve(&mut ch, 623_984, 623_984).await.unwrap();
                (before, prepaid, ot.prepaid_bytes())
            }
        };
        let ((before, prepaid, rest), other) = run_pair(run(true), run(false));
        assert_eq!((before, prepaid.round(), rest.round()), (0.0, 217_600.0, 108_800.0));
        assert_eq!(other, (before, prepaid, rest));
    }

    #[test]
    fn setup_costs_what_is_stated() {
        let bytes = 2 * (15 * Extension::SilentFast.base::<SemiHonest>().div_ceil(8))
            + 8192
            + 2 * ggm_len::<8, SemiHonest>();
        assert!((550_000..570_000).contains(&bytes), "{bytes}");
    }

    #[test]
    fn unequal_requests_and_early_closes_are_named() {
        let (result, _) = run_pair(
            |mut ch: Channel| async move {
                let mut ot = party(&mut ch, true).await;
                ot.reserve(&mut ch, 10, 0).await.unwrap();
                ch.exchange("next", vec![0]).await.map(drop)
            },
            |mut ch: Channel| async move {
                let mut ot = party(&mut ch, false).await;
                // Waits for a round that the first party does not send.
                ot.reserve(&mut ch, 10, 20).await.unwrap();
                ch.exchange("next", vec![0]).await.map(drop)
            },
        );
        assert!(matches!(result, Err(sotto_net::Error::WrongTag { expected: "next", .. })));
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
                OtSession::<SemiHonest>::setup(&mut ch, [1; 32], true, Rng::from_seed([1; 32])).await.err()
            },
            |mut ch: Channel| async move { ch.close().await.unwrap() },
        );
        assert!(matches!(result, Some(Error::Net(sotto_net::Error::Closed { .. }))));
        let twice = |mut ch: Channel| async move {
            OtSession::<SemiHonest>::setup(&mut ch, [1; 32], true, Rng::from_seed([1; 32])).await.err()
        };
        let (a, b) = run_pair(twice, twice);
        assert!(matches!((a, b), (Some(Error::Net(_)), Some(Error::Net(_)))), "two firsts do not hang");
    }

    /// A party that is not told the same session id gets COTs that do not fit, and nothing else.
    #[test]
    fn sessions_do_not_mix() {
        let run = |first: bool| {
            move |mut ch: Channel| async move {
                let rng = Rng::from_seed([10 + u8::from(first); 32]);
                let mut ot =
                    OtSession::<SemiHonest>::setup(&mut ch, [u8::from(first); 32], first, rng).await.unwrap();
                reserve_all(&mut ch, &mut ot, &[(100, 100)]).await
            }
        };
        let (a, b) = run_pair(run(true), run(false));
        let (q, delta, t) = (a[0].0.blocks(), a[0].0.delta(), b[0].1.blocks());
        assert!((0..100).all(|i| t[i].0 != q[i].0 && t[i].0 != (q[i] ^ delta).0));
    }
}
