//! What every maker of COTs must do, and what batches promise.

use sotto_net::run_pair;

use super::*;
use crate::{RandomCotReceiver, RandomCotSender, block::bit, ideal, kernel};

/// Sizes around every border: of words, tiles, chunks and units.
pub(crate) const SIZES: [usize; 14] =
    [0, 1, 63, 64, 65, 127, 128, 129, 1000, 1023, 1025, UNIT - 1, UNIT + 1, 30_000];

impl RecvCots {
    /// The random choice bits, packed.
    pub(crate) fn choices(&self) -> Vec<u8> {
        let mut bits = vec![0; bits_len(self.len())];
        kernel::low_bits(&self.blocks(), &mut bits);
        bits
    }
}

/// What every implementation of the roles must do: `t = q ^ b Delta`, even `q`, odd `Delta`, fair bits, ascending indices,
/// no block twice.
pub(crate) fn contract<S, R>((mut sender, mut receiver): (S, R), sizes: &'static [usize])
where
    S: RandomCotSender + Send + 'static,
    R: RandomCotReceiver + Send + 'static,
{
    let ((delta, sent), received) = run_pair(
        move |mut ch| async move {
            let mut batches = Vec::new();
            for (i, &n) in sizes.iter().enumerate() {
                if i % 3 == 1 {
                    sender.prepay(&mut ch, 2 * n).await.unwrap();
                    assert!(sender.ready() >= 2 * n);
                }
                batches.push(sender.extend(&mut ch, n).await.unwrap());
            }
            (sender.delta(), batches)
        },
        move |mut ch| async move {
            let mut batches = Vec::new();
            for (i, &n) in sizes.iter().enumerate() {
                if i % 3 == 1 {
                    receiver.prepay(&mut ch, 2 * n).await.unwrap();
                    assert!(receiver.ready() >= 2 * n);
                }
                batches.push(receiver.extend(&mut ch, n).await.unwrap());
            }
            batches
        },
    );
    assert!(delta.bit(0) == 1, "an odd Delta");
    let (mut next, mut ones, mut seen) = (0, 0, std::collections::HashSet::new());
    for ((s, r), &n) in sent.iter().zip(&received).zip(sizes) {
        assert_eq!((s.len(), r.len(), s.is_empty()), (n, n, n == 0));
        assert!(s.batch.indices().eq(r.batch.indices()), "both name the COTs alike");
        for indices in s.batch.indices() {
            assert!(indices.start >= next, "indices only grow");
            next = indices.end;
        }
        let (q, t, b) = (s.blocks(), r.blocks(), r.choices());
        for i in 0..n {
            assert!(t[i].0 == (q[i] ^ delta.times(bit(&b, i))).0, "COT {i} of {n}");
            assert_eq!((q[i].bit(0), t[i].bit(0)), (0, bit(&b, i)));
            assert!(seen.insert(q[i].0), "keys do not repeat");
            ones += bit(&b, i);
        }
    }
    // Within 6 standard deviations.
    let (n, ones) = (sizes.iter().sum::<usize>() as f64, ones as f64);
    assert!((ones - n / 2.0).abs() < 3.0 * n.sqrt(), "{ones} ones in {n} bits");
}

#[test]
fn the_dealer_keeps_the_contract() {
    contract(ideal::pair(5), &SIZES);
}

#[test]
fn taking_splits_without_loss() {
    let (mut s, mut r) = ideal::cots(9, 1000);
    let (all_q, all_t) = (s.blocks(), r.blocks());
    let mut at = 0;
    for n in [0, 1, 63, 64, 300, 572] {
        let (s, r) = (s.take(n), r.take(n));
        assert_eq!((s.len(), r.len()), (n, n));
        assert!((0..n).all(|i| s.blocks()[i].0 == all_q[at + i].0 && r.blocks()[i].0 == all_t[at + i].0));
        at += n;
    }
    assert!(s.is_empty() && r.is_empty());
}

#[test]
fn appended_batches_keep_their_indices_and_pads() {
    let mut dealer = ideal::Dealer::new(3);
    let (mut s, mut r) = dealer.deal(10);
    drop(dealer.deal(7));
    drop((s.take(4), r.take(4)));
    let (later_s, later_r) = dealer.deal(20);
    s.append(later_s);
    r.append(later_r);
    assert_eq!((s.len(), r.len()), (26, 26));
    assert_eq!(s.batch.indices().collect::<Vec<_>>(), [4..10, 17..37]);
    let pads = r.cot_random(&[64]);
    let choices = pads.choices().to_vec();
    let (message, own) = s.cot_send(&[9; 26], &[64]);
    let got = pads.finish(&message);
    assert!((0..26).all(|i| own[i].wrapping_add(got[i]) == 9 * bit(&choices, i)));
}

/// A chunk has one key and one run of indices, and all chunks together have every item once, at any stride.
#[test]
fn chunks_cover_a_unit_and_respect_keys() {
    let mut dealer = ideal::Dealer::new(4);
    drop(dealer.deal(1000));
    let (mut s, _) = dealer.deal(333);
    drop(dealer.deal(5));
    s.append(dealer.deal(4000).0);
    let index = |i: usize| if i < 333 { 1000 + i as u64 } else { 1005 + i as u64 };
    let hash = s.claim(Purpose::Lookup, 1);
    for (stride, most) in [(1, 256), (3, 16), (8, 100), (1, 4096)] {
        let n = s.len() / stride * stride;
        let mut front = SendCots { hash: s.hash.clone(), delta: s.delta, batch: Batch::empty() };
        for stretch in &s.batch.stretches {
            let len = stretch.len.min(n - front.len());
            front.batch.append(Batch::new(stretch.source.clone(), stretch.at, stretch.index, len));
        }
        front.batch.for_units(8192, [()], |unit, ()| {
            let mut next = 0;
            for chunk in unit.chunks(hash, Purpose::Lookup, stride, most) {
                assert_eq!(chunk.items.start, next);
                assert!((1..=most).contains(&chunk.items.len()));
                let first = index(chunk.items.start * stride);
                assert_eq!(chunk.index, first);
                for (k, item) in chunk.items.clone().enumerate() {
                    assert_eq!(index(item * stride), first + (k * stride) as u64, "consecutive");
                    assert_eq!(index(item * stride) / KEY_SPAN, first / KEY_SPAN, "under one key");
                }
                next = chunk.items.end;
            }
            assert_eq!(next, n / stride);
        });
    }
}

#[test]
#[should_panic(expected = "of one session")]
fn batches_of_different_sessions_do_not_join() {
    ideal::cots(1, 3).0.append(ideal::cots(1, 3).0);
}

#[test]
#[should_panic(expected = "in the order in which they are made")]
fn earlier_batches_cannot_be_appended() {
    let mut dealer = ideal::Dealer::new(3);
    let (earlier, _) = dealer.deal(3);
    dealer.deal(3).0.append(earlier);
}

#[test]
#[should_panic(expected = "a batch of 5 is asked for 6")]
fn taking_too_many_panics() {
    ideal::cots(9, 5).0.take(6);
}
