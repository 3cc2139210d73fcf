//! Sessions of two parties.

use sotto_net::{Cost, HEADER_LEN, run_pair};

use super::*;
use crate::{bits::bit, check::Checked, silent, softspoken::ggm_len};

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
        assert!(t[i].0 == (q[i] ^ s.delta.times(bit(&b, i))).0);
    }
}

type Batches = Vec<(SendCots, RecvCots)>;

fn assert_batches(a: &Batches, b: &Batches) {
    for ((a_send, a_recv), (b_send, b_recv)) in a.iter().zip(b) {
        assert!(a_send.delta.0 != b_send.delta.0 && a_send.delta.0 != !b_send.delta.0 ^ 1);
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
    let order =
        [SilentLean, SoftSpoken4, SilentFast, SoftSpoken2, SoftSpoken8, SoftSpoken4, SilentLean, SilentFast];
    let run = |first| {
        move |mut ch: Channel| async move {
            let rng = Rng::from_seed([10 + u8::from(first); 32]);
            let mut ot = OtSession::<S>::setup(&mut ch, [42; 32], first, rng).await.unwrap();
            let mut batches = reserve_all(&mut ch, &mut ot, &[(10, 20)]).await;
            for extension in order {
                ot.switch(&mut ch, extension).await.unwrap();
                assert_eq!(ot.extension(), extension);
                batches.extend(reserve_all(&mut ch, &mut ot, &[(1500, 3), (0, 70), (40_000, 40_000)]).await);
            }
            batches
        }
    };
    let (a, b) = run_pair(run(true), run(false));
    assert_batches(&a, &b);
}

/// Reservations, extensions begun ahead, and messages of other protocols in between.
fn reserve_between_messages<S: Security>() {
    let run = |first: bool| {
        move |mut ch: Channel| async move {
            let rng = Rng::from_seed([10 + u8::from(first); 32]);
            let mut ot = OtSession::<S>::setup(&mut ch, [42; 32], first, rng).await.unwrap();
            let mut batches = reserve_all(&mut ch, &mut ot, &[(700_000, 20)]).await;
            ch.exchange("app", vec![1]).await.unwrap();
            batches.extend(reserve_all(&mut ch, &mut ot, &[(1, 2), (2_000_000, 1_300_000)]).await);
            ot.reserve_ahead(&mut ch, 3_000_000, 3_000_000).await.unwrap();
            ch.exchange("app", vec![2]).await.unwrap();
            batches.extend(reserve_all(&mut ch, &mut ot, &[(10, 10)]).await);
            let (send, recv) = if first { (5_000_000, 1) } else { (1, 5_000_000) };
            ot.reserve_ahead(&mut ch, send, recv).await.unwrap();
            ot.complete(&mut ch).await.unwrap();
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
    reserve_between_messages::<SemiHonest>();
    reserve_between_messages::<Checked>();
}

#[test]
fn after_an_error_a_session_is_over_and_wiped() {
    let (errors, ()) = run_pair(
        |mut ch: Channel| async move {
            let mut ot = party(&mut ch, true).await;
            let first = ot.reserve(&mut ch, 10, 10).await.map(drop);
            assert_eq!(ot.ready(), CotCounts::default());
            let ahead = ot.reserve_ahead(&mut ch, 1, 1).await;
            let completed = ot.complete(&mut ch).await;
            let switched = ot.switch(&mut ch, Extension::SilentLean).await;
            (first, [ot.reserve(&mut ch, 1, 1).await.map(drop), ahead, completed, switched])
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
            // A round; the outputs left; rounds begun ahead, without waiting; outputs of these.
            let (send, recv) = if first { (1000, 300) } else { (300, 1000) };
            ot.reserve(&mut ch, send, recv).await.unwrap();
            costs.push(ch.meter.total());
            ot.reserve(&mut ch, send, recv).await.unwrap();
            costs.push(ch.meter.total());
            let (send, recv) = if first { (2_000_000, 1_000_000) } else { (1_000_000, 2_000_000) };
            ot.reserve_ahead(&mut ch, send, recv).await.unwrap();
            let ready = ot.ready();
            assert!(ready.send >= send as u64 && ready.recv >= recv as u64);
            assert_eq!(ot.drawn().send, 2 * if first { 1000 } else { 300 });
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
    // Of ML-KEM.
    let (keys, ciphertexts) = (299_008 + HEADER_LEN, 278_528 + HEADER_LEN);
    assert_eq!(
        a[0].sent as usize,
        keys + 8192 + ggm_len::<8, SemiHonest>() + 15 * n.div_ceil(8) + 3 * HEADER_LEN
    );
    assert_eq!(
        b[0].sent as usize,
        ciphertexts + 32 + ggm_len::<8, SemiHonest>() + 15 * (LAMBDA + n).div_ceil(8) + 1 + 5 * HEADER_LEN
    );
    assert_eq!((a[0].turns, b[0].turns), (3, 4));
    let fast = round(Extension::SilentFast);
    assert_eq!([bytes(&a, 1), bytes(&b, 1)], [fast, fast], "a round makes 1 247 968");
    assert_eq!(a[1].turns.max(b[1].turns), 5, "one more turn");
    assert_eq!([bytes(&a, 2), bytes(&b, 2)], [0, 0]);
    assert_eq!([bytes(&a, 3), bytes(&b, 3)], [fast, 0]);
    assert_eq!(a[3].turns, a[1].turns, "no message is awaited");
    // Another million is begun: 1.49 and 0.25 million outputs are left in the two directions.
    assert_eq!([bytes(&a, 4), bytes(&b, 4)], [HEADER_LEN + 1, HEADER_LEN + 1 + fast]);
    assert_eq!(a[4].turns.max(b[4].turns), 6, "no turn after the message has arrived");
}

#[test]
fn unspent_bytes_are_those_of_outputs_left() {
    let run = |first: bool| {
        move |mut ch: Channel| async move {
            let mut ot = party(&mut ch, first).await;
            let before = ot.unspent_bytes();
            ot.reserve_ahead(&mut ch, 1, 1).await.unwrap();
            let begun = ot.unspent_bytes();
            ot.reserve(&mut ch, 623_984, 623_984).await.unwrap();
            (before, begun, ot.unspent_bytes())
        }
    };
    let ((before, begun, rest), other) = run_pair(run(true), run(false));
    assert_eq!((before, begun.round(), rest.round()), (0.0, 217_600.0, 108_800.0));
    assert_eq!(other, (before, begun, rest));
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

/// Parties with different session ids get COTs that do not match.
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
    let (q, delta, t) = (a[0].0.blocks(), *a[0].0.delta, b[0].1.blocks());
    assert!((0..100).all(|i| t[i].0 != q[i].0 && t[i].0 != (q[i] ^ delta).0));
}
