//! Batches of random-choice correlated OTs (COTs) and the roles that make them.
//!
//! A COT is `q` and the global `Delta` at the sender, `b` and `t = q ^ b Delta` at the receiver, with `b`
//! uniform. Both parties ask for the same numbers in the same order, so first index and count of a batch agree
//! by construction; a batch can be split, but not copied, and what consumes it takes it by value.

use std::sync::Arc;

use sotto_net::Channel;
use zeroize::{Zeroize, Zeroizing};

use crate::{
    Block, Error,
    block::bit,
    hash::{CrHash, Pads, Purpose},
    indices::Indices,
    queue::Queue,
};

/// The sender's role in making COTs.
pub trait RandomCotSender {
    /// The difference of both keys of every COT. A secret of this party.
    fn delta(&self) -> Block;

    /// The next `n` COTs, in at most one turn. Indices used up stay used up after an error.
    ///
    /// # Errors
    /// Transport, or the peer's message has the wrong length.
    fn extend(&mut self, ch: &mut Channel, n: usize) -> impl Future<Output = Result<SendCots, Error>> + Send;
}

/// The receiver's role in making COTs.
pub trait RandomCotReceiver {
    /// The next `n` COTs, in at most one turn. Indices used up stay used up after an error.
    ///
    /// # Errors
    /// Transport, or the peer's message has the wrong length.
    fn extend(&mut self, ch: &mut Channel, n: usize) -> impl Future<Output = Result<RecvCots, Error>> + Send;
}

/// A batch of COTs, the sender's half. Neither copied nor printed; wiped when dropped.
pub struct SendCots {
    hash: Arc<CrHash>,
    delta: Block,
    indices: Indices,
    q: Queue<Block>,
}

impl SendCots {
    pub(crate) fn new(hash: Arc<CrHash>, delta: Block, first: u64, q: Zeroizing<Vec<Block>>) -> SendCots {
        SendCots { hash, delta, indices: Indices::new(first, q.len()), q: Queue::new(q) }
    }

    /// Number of COTs.
    pub fn len(&self) -> usize {
        self.q.left().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Index of the first COT in its direction of the session.
    pub fn first_index(&self) -> u64 {
        self.indices.first()
    }

    /// Adds a batch that was made after this one, in the same direction of the same session.
    ///
    /// # Panics
    /// If it was not.
    pub fn append(&mut self, mut later: SendCots) {
        assert!(Arc::ptr_eq(&self.hash, &later.hash), "batches of one session and direction");
        self.indices.append(std::mem::replace(&mut later.indices, Indices::new(0, 0)));
        self.q.append(std::mem::take(&mut later.q));
    }

    /// Splits off the first `n` COTs.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn take(&mut self, n: usize) -> SendCots {
        let q = self.q.take(n);
        let indices = self.indices.take(n);
        SendCots { hash: self.hash.clone(), delta: self.delta, indices, q }
    }

    pub(crate) fn delta(&self) -> Block {
        self.delta
    }

    /// The key of COT `i` for the choice 0, after the receiver has sent `derand`; the other is `Delta` away.
    pub(crate) fn key0(&self, i: usize, derand: Option<&[u8]>) -> Block {
        self.q.left()[i] ^ self.delta.times(derand.map_or(0, |d| bit(d, i)))
    }

    pub(crate) fn pads(&self, purpose: Purpose, segments: usize) -> Pads<'_> {
        self.hash.pads(&self.indices, purpose, segments as u64)
    }
}

impl Drop for SendCots {
    fn drop(&mut self) {
        self.delta.zeroize();
    }
}

/// A batch of COTs, the receiver's half. Neither copied nor printed; wiped when dropped.
pub struct RecvCots {
    hash: Arc<CrHash>,
    indices: Indices,
    /// One byte a COT, 0 or 1.
    b: Queue<u8>,
    t: Queue<Block>,
}

impl RecvCots {
    pub(crate) fn new(
        hash: Arc<CrHash>,
        first: u64,
        b: Zeroizing<Vec<u8>>,
        t: Zeroizing<Vec<Block>>,
    ) -> RecvCots {
        RecvCots { hash, indices: Indices::new(first, t.len()), b: Queue::new(b), t: Queue::new(t) }
    }

    /// Number of COTs.
    pub fn len(&self) -> usize {
        self.t.left().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Index of the first COT in its direction of the session.
    pub fn first_index(&self) -> u64 {
        self.indices.first()
    }

    /// Adds a batch that was made after this one, in the same direction of the same session.
    ///
    /// # Panics
    /// If it was not.
    pub fn append(&mut self, later: RecvCots) {
        assert!(Arc::ptr_eq(&self.hash, &later.hash), "batches of one session and direction");
        self.indices.append(later.indices);
        self.b.append(later.b);
        self.t.append(later.t);
    }

    /// Splits off the first `n` COTs.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn take(&mut self, n: usize) -> RecvCots {
        let (b, t) = (self.b.take(n), self.t.take(n));
        let indices = self.indices.take(n);
        RecvCots { hash: self.hash.clone(), indices, b, t }
    }

    /// The random choice bits, packed.
    pub fn choices(&self) -> Vec<u8> {
        self.pack(|_| 0)
    }

    /// `choices ^ b`, packed: sent to the sender, it turns the random choices into these.
    ///
    /// # Panics
    /// If `choices` is not [`derand_len`] of the batch long.
    pub fn derandomise(&self, choices: &[u8]) -> Vec<u8> {
        assert_eq!(choices.len(), derand_len(self.len()), "one choice bit per COT");
        self.pack(|i| bit(choices, i))
    }

    pub(crate) fn choice(&self, i: usize) -> u64 {
        u64::from(self.b.left()[i])
    }

    pub(crate) fn key(&self, i: usize) -> Block {
        self.t.left()[i]
    }

    pub(crate) fn pads(&self, purpose: Purpose, segments: usize) -> Pads<'_> {
        self.hash.pads(&self.indices, purpose, segments as u64)
    }

    /// `b_i ^ other(i)`, packed.
    pub(crate) fn pack(&self, other: impl Fn(usize) -> u64) -> Vec<u8> {
        let mut packed = vec![0; derand_len(self.len())];
        for i in 0..self.len() {
            packed[i / 8] |= ((self.choice(i) ^ other(i)) as u8 & 1) << (i % 8);
        }
        packed
    }
}

/// Bytes of one bit for each of `n` COTs.
pub fn derand_len(n: usize) -> usize {
    n.div_ceil(8)
}

#[cfg(test)]
pub(crate) mod tests {
    use sotto_net::run_pair;

    use super::*;
    use crate::ideal;

    /// What every implementation of the roles must do: `t = q ^ b Delta`, fair bits, consecutive indices.
    pub(crate) fn contract<S, R>((mut sender, mut receiver): (S, R))
    where
        S: RandomCotSender + Send + 'static,
        R: RandomCotReceiver + Send + 'static,
    {
        const SIZES: [usize; 12] = [0, 1, 63, 64, 65, 127, 128, 129, 1000, 8191, 8193, 30000];
        let ((delta, sent), received) = run_pair(
            move |mut ch| async move {
                let mut batches = Vec::new();
                for n in SIZES {
                    batches.push(sender.extend(&mut ch, n).await.unwrap());
                }
                (sender.delta(), batches)
            },
            move |mut ch| async move {
                let mut batches = Vec::new();
                for n in SIZES {
                    batches.push(receiver.extend(&mut ch, n).await.unwrap());
                }
                batches
            },
        );
        assert!(delta.0 != 0);
        let (mut next, mut ones, mut seen) = (0, 0, std::collections::HashSet::new());
        for ((s, r), n) in sent.iter().zip(&received).zip(SIZES) {
            assert_eq!((s.len(), r.len(), s.is_empty()), (n, n, n == 0));
            assert_eq!((s.first_index(), r.first_index()), (next, next));
            next += n as u64;
            for i in 0..n {
                assert!(r.key(i).0 == (s.key0(i, None) ^ delta.times(r.choice(i))).0, "COT {i} of {n}");
                assert!(seen.insert(s.key0(i, None).0), "keys do not repeat");
                ones += r.choice(i);
            }
        }
        // Within 6 standard deviations.
        let (n, ones) = (next as f64, ones as f64);
        assert!((ones - n / 2.0).abs() < 3.0 * n.sqrt(), "{ones} ones in {n} bits");
    }

    #[test]
    fn the_dealer_keeps_the_contract() {
        contract(ideal::pair(5));
    }

    #[test]
    fn taking_splits_without_loss() {
        let (mut s, mut r) = ideal::cots(9, 1000);
        let (delta, packed) = (s.delta(), r.choices());
        let mut at = 0;
        for n in [0, 1, 63, 64, 300, 572] {
            let (s, r) = (s.take(n), r.take(n));
            assert_eq!((s.len(), r.len()), (n, n));
            assert_eq!((s.first_index(), r.first_index()), (at as u64, at as u64));
            for i in 0..n {
                assert!(r.key(i).0 == (s.key0(i, None) ^ delta.times(r.choice(i))).0);
                assert_eq!(r.choice(i), bit(&packed, at + i));
            }
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
        assert_eq!((s.len(), r.len(), s.first_index(), r.first_index()), (26, 26, 4, 4));
        let choices = r.choices();
        let (message, own) = s.cot_send(None, &[9; 26], &[64]);
        let got = r.cot_recv(None, &[64], &message);
        assert!((0..26).all(|i| own[i].wrapping_add(got[i]) == 9 * bit(&choices, i)));
    }

    #[test]
    #[should_panic(expected = "of one session")]
    fn batches_of_different_sessions_do_not_join() {
        ideal::cots(1, 3).0.append(ideal::cots(1, 3).0);
    }

    #[test]
    #[should_panic(expected = "a batch of 5 is asked for 6")]
    fn taking_too_many_panics() {
        ideal::cots(9, 5).0.take(6);
    }
}
