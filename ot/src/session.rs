//! A session's COTs in both directions.
//!
//! | first                                       |                        | second                                  |
//! |---------------------------------------------|------------------------|-----------------------------------------|
//! | `Delta` uniform, odd; base OTs, choices `!Delta` | `<- base/{points,key} ->` | base OTs, both keys                |
//! | forward COT sender                          | `<- softspoken/ggm --` | forward COT receiver                    |
//! | `H'(q_j), H'(q_j ^ Delta)`                  | `<- softspoken/u --`   | `b_j, H'(t_j)`, `j < 128`               |
//! | keys of [`crate::bootstrap`]                | `<- session/odd --`    | `b_0`; `Delta' = !b`, made odd          |
//! | reverse COT receiver                        | `-- softspoken/ggm ->` | reverse COT sender                      |
//! | what silent OT starts from                  | `<- softspoken/u ->`   | the same                                |
//!
//! Three turns; elliptic curves once: 128 of the forward direction's COTs, hashed in a domain of their own and
//! never handed out, are the base OTs of the reverse direction. The first direction's `Delta` is independent of the second's, whose
//! bits are the second party's random choices, unknown to the first. SoftSpoken OT with trees of 256 leaves makes what silent OT
//! starts from, and 128 COTs in each direction that are put aside.
//!
//! The session is a pool: [`OtSession::prepay`] sends ahead what makes COTs ready, [`OtSession::reserve`] hands them out, and costs no
//! turn for what was prepaid. Both parties call both with mirrored numbers, in the same order. With silent OT, a reservation
//! also sends ahead what another one as large as the largest so far will need.

use sotto_net::{Channel, compute};
use sotto_shares::Rng;
use zeroize::Zeroizing;

use crate::{
    Error, Extension, RandomCotReceiver, RandomCotSender, RecvCots, Security, SemiHonest, SendCots, base,
    block::{Block, LAMBDA},
    bootstrap::{ODD, Spare, base_recv, base_send},
    domain::{Direction, Domain},
    extension::{Receiver, Sender},
    softspoken::{GGM, SoftSpokenReceiver, SoftSpokenSender, U, ggm_len},
};

/// One party's end of a session: COT sender in one direction, receiver in the other.
pub struct OtSession<S: Security = SemiHonest> {
    first: bool,
    sid: [u8; 32],
    extension: Extension,
    /// Extensions used so far.
    generation: u32,
    /// None after an error: then everything of the session is wiped.
    roles: Option<Roles<S>>,
    /// COTs handed out so far, and to keep ready, as sender and as receiver.
    drawn: (u64, u64),
    ahead: (usize, usize),
}

struct Roles<S: Security> {
    sender: Sender<S>,
    receiver: Receiver<S>,
    spare: Spare,
    rng: Rng,
}

/// COTs kept ready at most beyond what was asked for.
const MOST_AHEAD: usize = 1 << 22;

impl<S: Security> OtSession<S> {
    /// Sets up both directions for [`Extension::SilentFast`]; `first` at exactly one party. `sid` is equal at both, fresh, and
    /// made from both parties' nonces.
    ///
    /// # Errors
    /// Transport, messages of wrong lengths, points that are none, and [`Error::Inconsistent`].
    pub async fn setup(
        ch: &mut Channel,
        sid: [u8; 32],
        first: bool,
        mut rng: Rng,
    ) -> Result<OtSession<S>, Error> {
        let extension = Extension::SilentFast;
        let [forward, reverse] = [Direction::Forward, Direction::Reverse].map(|d| Domain::new(sid, d, 0));
        // What silent OT starts from, and what is put aside.
        let n = extension.base::<S>();
        let all = n + LAMBDA;
        let (delta, mut q, mut t) = if first {
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
            let (t, message) = compute(|| recv.blocks(all));
            ch.send(U, message)?;
            (delta, send.blocks(ch, all).await?, t)
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
            let (t, message) = compute(|| recv.blocks(all));
            ch.send(U, message)?;
            let message = ch.recv(GGM, ggm_len::<8, S>()).await?;
            let mut send = compute(|| SoftSpokenSender::<8, S>::new(&reverse, base, &message))?;
            (send.delta(), send.blocks(ch, all).await?, t)
        };
        let aside = |all: &mut Zeroizing<Vec<Block>>| Zeroizing::new(all.split_off(n));
        let spare = Spare { q: aside(&mut q), delta: Zeroizing::new(delta), t: aside(&mut t) };
        let (out, back) = if first { (forward, reverse) } else { (reverse, forward) };
        let sender = Sender::silent(extension, out, delta, q, rng.fork());
        let receiver = Receiver::silent(extension, back, t);
        let roles = Some(Roles { sender, receiver, spare, rng });
        Ok(OtSession { first, sid, extension, generation: 0, roles, drawn: (0, 0), ahead: (0, 0) })
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
        self.roles.as_ref().map_or((0, 0), |roles| (roles.sender.ready(), roles.receiver.ready()))
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
    /// The connection is gone; [`Error::Over`] after any other error.
    pub async fn prepay(&mut self, ch: &mut Channel, send: usize, recv: usize) -> Result<(), Error> {
        let mut roles = self.take_roles()?;
        roles.prepay(ch, send, recv).await?;
        self.roles = Some(roles);
        Ok(())
    }

    /// Waits for everything that the peer was to send ahead; afterwards the channel may be another one.
    ///
    /// # Errors
    /// As [`OtSession::reserve`].
    pub async fn settle(&mut self, ch: &mut Channel) -> Result<(), Error> {
        let mut roles = self.take_roles()?;
        roles.settle(ch).await?;
        self.roles = Some(roles);
        Ok(())
    }

    /// `send` COTs as the sender and `recv` as the receiver; the peer asks for the mirrored numbers. One turn for what was not
    /// prepaid, and two for what is checked. After an error everything of the session is wiped.
    ///
    /// # Errors
    /// Transport, or the peer asks for other numbers; [`Error::Inconsistent`]; [`Error::Over`] after any other error.
    pub async fn reserve(
        &mut self,
        ch: &mut Channel,
        send: usize,
        recv: usize,
    ) -> Result<(SendCots, RecvCots), Error> {
        let mut roles = self.take_roles()?;
        let cots = roles.draw(ch, send, recv).await?;
        self.drawn = (self.drawn.0 + send as u64, self.drawn.1 + recv as u64);
        ch.meter.drew((send + recv) as u64);
        if self.extension.lpn().is_some() {
            let larger = |ahead: usize, n: usize| ahead.max(n.min(MOST_AHEAD));
            self.ahead = (larger(self.ahead.0, send), larger(self.ahead.1, recv));
            roles.prepay(ch, self.ahead.0, self.ahead.1).await?;
        }
        self.roles = Some(roles);
        Ok(cots)
    }

    /// Goes on with another extension; what is ready is given up. The peer does the same. Silent OT starts from COTs of the
    /// present extension, SoftSpoken OT from those put aside at setup. Batches from before and after do not mix.
    ///
    /// # Errors
    /// As [`OtSession::reserve`].
    pub async fn switch(&mut self, ch: &mut Channel, extension: Extension) -> Result<(), Error> {
        if extension == self.extension {
            return Ok(());
        }
        let mut roles = self.take_roles()?;
        self.generation += 1;
        let mine = if self.first { Direction::Forward } else { Direction::Reverse };
        let domains = [mine, mine.opposite()].map(|d| Domain::new(self.sid, d, self.generation));
        roles.settle(ch).await?;
        let Roles { spare, rng, .. } = &mut roles;
        (roles.sender, roles.receiver) = match extension {
            Extension::SilentFast | Extension::SilentLean => {
                let n = extension.base::<S>();
                let (send, recv) = roles.draw(ch, n, n).await?;
                let (q, t) = compute(|| (send.blocks(), recv.blocks()));
                let [out, back] = domains;
                let sender = Sender::silent(extension, out, send.delta(), q, roles.rng.fork());
                (sender, Receiver::silent(extension, back, t))
            }
            Extension::SoftSpoken2 => {
                let (s, r) = spare.softspoken::<2, S>(ch, domains, rng).await?;
                (Sender::SoftSpoken2(s), Receiver::SoftSpoken2(r))
            }
            Extension::SoftSpoken4 => {
                let (s, r) = spare.softspoken::<4, S>(ch, domains, rng).await?;
                (Sender::SoftSpoken4(s), Receiver::SoftSpoken4(r))
            }
            Extension::SoftSpoken8 => {
                let (s, r) = spare.softspoken::<8, S>(ch, domains, rng).await?;
                (Sender::SoftSpoken8(s), Receiver::SoftSpoken8(r))
            }
        };
        self.extension = extension;
        self.roles = Some(roles);
        Ok(())
    }

    /// The roles, to be put back when all went well: an error, or a call that is given up half-way, drops and so wipes them.
    fn take_roles(&mut self) -> Result<Roles<S>, Error> {
        self.roles.take().ok_or(Error::Over)
    }
}

impl<S: Security> Roles<S> {
    async fn prepay(&mut self, ch: &mut Channel, send: usize, recv: usize) -> Result<(), Error> {
        self.receiver.prepay(ch, recv).await?;
        self.sender.prepay(ch, send).await
    }

    async fn settle(&mut self, ch: &mut Channel) -> Result<(), Error> {
        self.receiver.settle(ch).await?;
        self.sender.settle(ch).await?;
        self.sender.confirm(ch, usize::MAX).await?;
        self.receiver.verify(ch, usize::MAX).await
    }

    async fn draw(
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
        Ok((self.sender.extend(ch, send).await?, received))
    }
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

    /// What two parties do in a session, in both modes: reservations, prepayments and messages of their own in between.
    fn mingle<S: Security>() {
        let run = |first: bool| {
            move |mut ch: Channel| async move {
                let rng = Rng::from_seed([10 + u8::from(first); 32]);
                let mut ot = OtSession::<S>::setup(&mut ch, [42; 32], first, rng).await.unwrap();
                let mut batches = reserve_all(&mut ch, &mut ot, &[(700_000, 20)]).await;
                ch.exchange("app", vec![1]).await.unwrap();
                batches.extend(reserve_all(&mut ch, &mut ot, &[(1, 2), (2_000_000, 1_300_000)]).await);
                ot.prepay(&mut ch, 3_000_000, 3_000_000).await.unwrap();
                ch.exchange("app", vec![2]).await.unwrap();
                batches.extend(reserve_all(&mut ch, &mut ot, &[(10, 10)]).await);
                let (send, recv) = if first { (5_000_000, 1) } else { (1, 5_000_000) };
                ot.prepay(&mut ch, send, recv).await.unwrap();
                ot.settle(&mut ch).await.unwrap();
                ch.exchange("app", vec![3]).await.unwrap();
                batches.extend(reserve_all(&mut ch, &mut ot, &[(10, 1_000_000), (3, 4)]).await);
                ch.exchange("app", vec![4]).await.unwrap();
                batches
            }
        };
        let (a, b) = run_pair(run(true), run(false));
        // The first COTs of each batch: making all of them again takes long.
        let front = |batches: Batches| -> Batches {
            let few = |mut s: SendCots, mut r: RecvCots| (s.take(s.len().min(999)), r.take(r.len().min(999)));
            batches.into_iter().map(|(s, r)| few(s, r)).collect()
        };
        assert_batches(&front(a), &front(b));
    }

    #[test]
    fn messages_of_others_may_come_between() {
        mingle::<SemiHonest>();
        mingle::<Checked>();
    }

    #[test]
    fn after_an_error_a_session_is_over_and_wiped() {
        let (errors, ()) = run_pair(
            |mut ch: Channel| async move {
                let mut ot = party(&mut ch, true).await;
                let first = ot.reserve(&mut ch, 10, 10).await.map(drop);
                assert_eq!(ot.ready(), (0, 0));
                let prepaid = ot.prepay(&mut ch, 1, 1).await;
                let settled = ot.settle(&mut ch).await;
                let switched = ot.switch(&mut ch, Extension::SilentLean).await;
                (first, [ot.reserve(&mut ch, 1, 1).await.map(drop), prepaid, settled, switched])
            },
            |mut ch: Channel| async move {
                party(&mut ch, false).await;
                ch.send("ot/silent/round", vec![0; 217_599]).unwrap();
                let _ = ch.close().await;
            },
        );
        assert!(matches!(errors.0, Err(Error::Net(sotto_net::Error::WrongLength { .. }))));
        assert!(errors.1.iter().all(|error| matches!(error, Err(Error::Over))));
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
        let n = LAMBDA + Extension::SilentFast.base::<SemiHonest>();
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
            ciphertexts
                + 32
                + ggm_len::<8, SemiHonest>()
                + 15 * (LAMBDA + n).div_ceil(8)
                + 1
                + 5 * HEADER_LEN
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
