use super::*;
use crate::{bits::bit, ideal};

impl Batch {
    /// The blocks, of a batch that stays.
    pub(crate) fn blocks(&self) -> Zeroizing<Vec<Block>> {
        self.all_blocks()
    }

    /// The runs of consecutive indices.
    pub(crate) fn indices(&self) -> impl Iterator<Item = Range<u64>> {
        self.stretches.iter().map(|s| s.index..s.index + s.len as u64)
    }
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

/// A chunk has one key and one run of indices, and the chunks have every item once, at any stride.
#[test]
fn chunks_cover_a_unit_and_respect_keys() {
    let index = |i: usize| if i < 333 { 1000 + i as u64 } else { 1005 + i as u64 };
    for (stride, most) in [(1, 256), (3, 16), (8, 100), (1, 4096)] {
        let mut dealer = ideal::Dealer::new(4);
        drop(dealer.deal(1000));
        let (mut s, _) = dealer.deal(333);
        drop(dealer.deal(5));
        s.append(dealer.deal(4000).0);
        let n = s.len() / stride * stride;
        let pads = s.batch.take(n).pads(Purpose::Lookup, 1);
        pads.for_units(8192, [()], |unit, ()| {
            let mut next = 0;
            for chunk in unit.chunks(stride, most) {
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

/// The half of a split batch that has the right to `Xor` pads.
fn xor_half() -> Batch {
    let (s, _) = ideal::cots(1, 10);
    let [xor, arithmetic] = s.batch.split_by_purpose([Purpose::Xor, Purpose::Arithmetic]);
    drop(arithmetic.pads(Purpose::Arithmetic, 1));
    xor
}

#[test]
fn both_halves_of_a_split_have_pads_of_the_same_cots() {
    let (s, _) = ideal::cots(1, 10);
    let expected = s.blocks();
    let halves = s.batch.split_by_purpose([Purpose::Xor, Purpose::Arithmetic]);
    for (half, purpose) in halves.into_iter().zip([Purpose::Xor, Purpose::Arithmetic]) {
        half.pads(purpose, 1).for_units(UNIT, [()], |unit, ()| {
            assert!(unit.blocks.iter().zip(expected.iter()).all(|(a, b)| a.0 == b.0));
        });
    }
}

#[test]
#[should_panic(expected = "Arithmetic pads of these COTs belong to another batch")]
fn a_half_has_one_purpose() {
    xor_half().pads(Purpose::Arithmetic, 1);
}

#[test]
#[should_panic(expected = "Arithmetic pads of these COTs belong to another batch")]
fn what_is_taken_from_a_half_has_one_purpose() {
    xor_half().take(4).pads(Purpose::Arithmetic, 1);
}

#[test]
#[should_panic(expected = "pads of these COTs belong to another batch")]
fn a_half_cannot_be_split_again() {
    xor_half().split_by_purpose([Purpose::Xor, Purpose::Arithmetic]);
}

#[test]
#[should_panic(expected = "two different purposes")]
fn a_split_has_two_purposes() {
    ideal::cots(1, 10).0.batch.split_by_purpose([Purpose::Xor, Purpose::Xor]);
}

#[test]
#[should_panic(expected = "pads of these COTs belong to another batch")]
fn blocks_of_a_half_are_not_given_out() {
    xor_half().into_blocks();
}

#[test]
#[should_panic(expected = "Lookup pads of these COTs belong to another batch")]
fn appending_to_a_half_adds_no_purpose() {
    let mut dealer = ideal::Dealer::new(3);
    let [mut xor, _] = dealer.deal(3).0.batch.split_by_purpose([Purpose::Xor, Purpose::Arithmetic]);
    xor.append(dealer.deal(3).0.batch);
    xor.pads(Purpose::Lookup, 1);
}

#[test]
#[should_panic(expected = "is the next index")]
fn indices_are_not_handed_out_twice() {
    let (s, _) = ideal::cots(1, 10);
    let blocks = Arc::new(Stored(s.blocks()));
    Batch::new(s.batch.hash.clone(), blocks, 0, 9, 1);
}
