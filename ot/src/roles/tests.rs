//! The contract test of the two roles.

use sotto_net::run_pair;

use super::*;
use crate::{batch::UNIT, bits::bit, ideal};

/// Sizes around multiples of words, tiles, chunks and units.
pub(crate) const SIZES: [usize; 14] =
    [0, 1, 63, 64, 65, 127, 128, 129, 1000, 1023, 1025, UNIT - 1, UNIT + 1, 30_000];

/// Every implementation of the roles has `t = q ^ b Delta`, even `q`, odd `Delta`, fair bits,
/// ascending indices, and no block twice.
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
                    sender.begin(&mut ch, 2 * n).await.unwrap();
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
                    receiver.begin(&mut ch, 2 * n).await.unwrap();
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
