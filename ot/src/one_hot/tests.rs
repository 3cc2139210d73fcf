//! One-hot vectors between two parties.

use sotto_net::{Channel, Cost, HEADER_LEN, run_pair};
use sotto_shares::{Ring, Rng};
use zeroize::Zeroizing;

use super::{cost::position_bits, vectors::Vectors, *};
use crate::{error::Error, session::tests::party};

const SIZES: [usize; 9] = [0, 1, 63, 64, 65, 127, 128, 129, 200];

type Pair<T> = (T, T);

/// Runs both parties for each `(n, k, m)`; returns their vectors, and the costs before and after.
fn run(calls: Vec<(usize, u32, u32)>) -> (Vec<Pair<OneHots>>, Vec<Pair<[Cost; 2]>>) {
    let side = |first: bool, calls: Vec<(usize, u32, u32)>| {
        move |mut ch: Channel| async move {
            let mut ot = party(&mut ch, first).await;
            let mut rng = Rng::from_seed([u8::from(first); 32]);
            // Both parties have the COTs before costs are counted.
            let most = calls.iter().map(|&(n, k, _)| n * k as usize).sum();
            ot.reserve_ahead(&mut ch, most, most).await.unwrap();
            ch.exchange("ready", vec![0]).await.unwrap();
            let (mut out, mut costs) = (Vec::new(), Vec::new());
            for (n, k, m) in calls {
                let before = ch.meter.total();
                let wanted = [Wanted { n, k, ring: Ring::new(m) }];
                let mut made = random_one_hots(&mut ch, &mut ot, &wanted, &mut rng).await.unwrap();
                out.push(made.remove(0));
                costs.push([before, ch.meter.total()]);
            }
            (out, costs)
        }
    };
    let ((a, cost_a), (b, cost_b)) = run_pair(side(true, calls.clone()), side(false, calls));
    (a.into_iter().zip(b).collect(), cost_a.into_iter().zip(cost_b).collect())
}

/// The positions, after checks that vectors, bits and additive shares agree on them.
fn positions(a: &OneHots, b: &OneHots) -> Vec<usize> {
    let stride = (1usize << a.k()).div_ceil(64);
    assert_eq!((a.words().len(), a.bits().len(), a.index().len()), (a.len() * stride, a.len(), a.len()));
    let position = |i: usize| {
        let r = (a.bits()[i] ^ b.bits()[i]) as usize;
        assert_eq!(a.ring().reduce(a.index()[i].wrapping_add(b.index()[i])), r as u64, "index of {i}");
        for w in 0..stride {
            let expected = if r / 64 == w { 1 << (r % 64) } else { 0 };
            assert_eq!(a.words()[i * stride + w] ^ b.words()[i * stride + w], expected, "vector {i}");
        }
        r
    };
    (0..a.len()).map(position).collect()
}

#[test]
fn vectors_are_one_hot_at_uniform_positions() {
    let mut calls: Vec<_> = (1..=12).flat_map(|k| [(65, k, k), (9, k, 24), (1, k, 64)]).collect();
    calls.extend(SIZES.map(|n| (n, 4, 9)));
    calls.push((4000, 3, 3));
    let (out, _) = run(calls);
    out.iter().for_each(|(a, b)| drop(positions(a, b)));
    let (a, b) = out.last().unwrap();
    let mut counts = [0usize; 8];
    positions(a, b).iter().for_each(|&r| counts[r] += 1);
    // 500 expected, standard deviation 21.
    assert!(counts.iter().all(|c| (370..630).contains(c)), "{counts:?}");
    // The low bit of a vector's share is independent of the low bit of the position.
    let agree = |x: &OneHots| {
        x.words().iter().zip(positions(a, b)).filter(|(w, r)| *w & 1 == (*r as u64 & 1)).count()
    };
    assert!((1800..2200).contains(&agree(a)) && (1800..2200).contains(&agree(b)));
}

#[test]
fn stated_bits_and_turns() {
    for (k, m, stated) in
        [(5, 5, 62), (7, 7, 261), (8, 8, 522), (10, 10, 2071), (1, 1, 0), (1, 9, 8), (5, 14, 107)]
    {
        let ring = Ring::new(m);
        assert_eq!(one_hot_bits(k, ring), stated);
        let n = 64;
        let (_, costs) = run(vec![(n, k, m)]);
        let (a, b) = costs[0];
        let turns = a[1].turns.max(b[1].turns) - a[0].turns.max(b[0].turns);
        let [a, b] = [a, b].map(|[before, after]| after - before);
        let frames = if k > 1 { 2 * (k as usize - 1) } else { usize::from(position_bits(k, ring) > 0) };
        assert_eq!(a.bytes() as usize, n * stated / 8 + frames * HEADER_LEN, "k = {k}, m = {m}");
        assert_eq!(b.bytes(), a.bytes());
        let stated = (k - 1).max(u32::from(position_bits(k, ring) > 0));
        assert_eq!(turns, u64::from(stated), "k = {k}, m = {m}");
    }
}

#[test]
fn rotated_vectors_select_table_entries() {
    let (out, _) = run((1..=12).map(|k| (40, k, k + 2)).collect());
    let mut rng = Rng::from_seed([8; 32]);
    for (mut a, mut b) in out {
        let (k, n) = (a.k(), a.len());
        let r = positions(&a, &b);
        let (front_a, front_b) = (a.take(n - 3), b.take(n - 3));
        assert_eq!(
            (positions(&front_a, &front_b), positions(&a, &b)),
            (r[..n - 3].to_vec(), r[n - 3..].to_vec())
        );
        let mut d = rng.elements(n - 3, Ring::new(k));
        d[0] = 0;
        for width in [1, 13, 64] {
            let table = rng.elements(1 << k, Ring::new(width));
            let columns = Columns::new(&table, width);
            assert_eq!(columns.width(), width);
            let (a, b) = (duplicate(&front_a).rotate(&d), duplicate(&front_b).rotate(&d));
            assert_eq!((a.len(), b.is_empty()), (n - 3, false));
            let opened = a.parity(&columns).xor(&b.parity(&columns));
            for i in 0..n - 3 {
                let at = (r[i] + d[i] as usize) % (1 << k);
                assert_eq!(opened.words()[i], table[at], "k = {k}, width = {width}");
            }
        }
    }
}

fn duplicate(x: &OneHots) -> OneHots {
    let copy = |words: &[u64]| Zeroizing::new(words.to_vec());
    let e = Vectors::new(x.k(), copy(x.words()));
    OneHots::new(e, copy(x.bits()), copy(x.index()), x.ring())
}

#[test]
fn kinds_share_their_turns() {
    let wanted = [(70, 1, 1), (3, 8, 14), (0, 5, 5), (129, 4, 7), (5, 9, 9), (64, 3, 3)];
    let wanted = wanted.map(|(n, k, m)| Wanted { n, k, ring: Ring::new(m) });
    let side = |first: bool| {
        move |mut ch: Channel| async move {
            let mut ot = party(&mut ch, first).await;
            let mut rng = Rng::from_seed([u8::from(first); 32]);
            ot.reserve_ahead(&mut ch, 4000, 4000).await.unwrap();
            ch.exchange("ready", vec![0]).await.unwrap();
            let before = ch.meter.total();
            let made = random_one_hots(&mut ch, &mut ot, &wanted, &mut rng).await.unwrap();
            (made, ch.meter.total().turns - before.turns)
        }
    };
    let ((a, turns), (b, others)) = run_pair(side(true), side(false));
    assert_eq!(turns.max(others), 8);
    for ((a, b), wanted) in a.iter().zip(&b).zip(wanted) {
        assert_eq!((a.len(), a.k(), a.ring()), (wanted.n, wanted.k, wanted.ring));
        positions(a, b);
    }
}

#[test]
fn an_early_close_is_named() {
    let (result, ()) = run_pair(
        |mut ch: Channel| async move {
            let mut ot = party(&mut ch, true).await;
            let mut rng = Rng::from_seed([1; 32]);
            let wanted = [Wanted { n: 10, k: 4, ring: Ring::new(4) }];
            random_one_hots(&mut ch, &mut ot, &wanted, &mut rng).await.err()
        },
        |mut ch: Channel| async move {
            let mut ot = party(&mut ch, false).await;
            ot.reserve(&mut ch, 30, 40).await.unwrap();
            ch.close().await.unwrap();
        },
    );
    assert!(matches!(result, Some(Error::Net(sotto_net::Error::Closed { step: LEVEL }))));
}

/// Whatever the peer sends in messages of the stated lengths, a party finishes with its vectors.
#[test]
fn any_messages_of_the_stated_lengths_are_taken() {
    let wanted = [Wanted { n: 9, k: 7, ring: Ring::new(12) }, Wanted { n: 65, k: 1, ring: Ring::new(1) }];
    for (first, filling) in [(true, 0xff), (false, 0x5a)] {
        let (made, ()) = run_pair(
            move |mut ch: Channel| async move {
                let mut ot = party(&mut ch, first).await;
                let mut rng = Rng::from_seed([1; 32]);
                random_one_hots(&mut ch, &mut ot, &wanted, &mut rng).await.unwrap()
            },
            move |mut ch: Channel| async move {
                let mut ot = party(&mut ch, !first).await;
                drop(OneHotCots::reserve(&mut ch, &mut ot, &wanted).await.unwrap());
                for len in round_lens(!first, &wanted).into_iter().filter(|&len| len > 0) {
                    ch.send(LEVEL, vec![filling; len]).unwrap();
                }
                for len in round_lens(first, &wanted).into_iter().filter(|&len| len > 0) {
                    ch.recv(LEVEL, len).await.unwrap();
                }
            },
        );
        assert_eq!(made.iter().map(OneHots::len).collect::<Vec<_>>(), [9, 65]);
    }
}

#[test]
#[should_panic(expected = "bytes after the last payload")]
fn a_message_that_is_too_long_panics() {
    let wanted = [Wanted { n: 8, k: 2, ring: Ring::new(2) }];
    let (rounds, _) = run_pair(
        move |mut ch: Channel| async move {
            let mut ot = party(&mut ch, false).await;
            let cots = OneHotCots::reserve(&mut ch, &mut ot, &wanted).await.unwrap();
            cots.begin(&mut Rng::from_seed([1; 32]))
        },
        move |mut ch: Channel| async move {
            let mut ot = party(&mut ch, true).await;
            drop(OneHotCots::reserve(&mut ch, &mut ot, &wanted).await.unwrap());
        },
    );
    let mut rounds = rounds;
    rounds.message(0);
    rounds.take(0, &vec![0; round_lens(true, &wanted)[0] + 1]);
}
