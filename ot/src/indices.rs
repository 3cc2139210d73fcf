//! Which COTs a batch holds: ranges of the direction's counter, in order.

use std::ops::Range;

/// Ascending ranges, one at least, none empty but where there is only one.
#[derive(Clone)]
pub(crate) struct Indices(Vec<Range<u64>>);

impl Indices {
    /// `len` indices from `first` on.
    pub(crate) fn new(first: u64, len: usize) -> Indices {
        Indices(std::iter::once(first..first + len as u64).collect())
    }

    /// The first index; of an empty batch, where it would begin.
    pub(crate) fn first(&self) -> u64 {
        self.0[0].start
    }

    /// Index of COT `i` of the batch.
    #[inline]
    pub(crate) fn at(&self, i: usize) -> u64 {
        let mut i = i as u64;
        for range in &self.0 {
            let len = range.end - range.start;
            if i < len {
                return range.start + i;
            }
            i -= len;
        }
        panic!("the batch has fewer COTs");
    }

    /// The ranges.
    #[cfg(debug_assertions)]
    pub(crate) fn ranges(&self) -> impl Iterator<Item = Range<u64>> {
        self.0.iter().cloned()
    }

    /// Splits off the first `n`.
    pub(crate) fn take(&mut self, n: usize) -> Indices {
        let mut taken = Indices::new(self.first(), 0);
        let mut n = n as u64;
        while n > 0 {
            let front = &mut self.0[0];
            let end = front.end.min(front.start + n);
            n -= end - front.start;
            taken.append(Indices::new(front.start, (end - front.start) as usize));
            front.start = end;
            if front.is_empty() && self.0.len() > 1 {
                self.0.remove(0);
            }
        }
        taken
    }

    /// Adds indices that were made later.
    pub(crate) fn append(&mut self, later: Indices) {
        for range in later.0.into_iter().filter(|range| !range.is_empty()) {
            let last = self.0.last_mut().expect("there is one range at least");
            assert!(
                last.is_empty() || last.end <= range.start,
                "batches are appended in the order they are made in"
            );
            if last.is_empty() {
                *last = range;
            } else if last.end == range.start {
                last.end = range.end;
            } else {
                self.0.push(range);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_survive_taking_and_appending() {
        let mut all = Indices::new(5, 0);
        for (first, len) in [(5, 3), (8, 2), (20, 4), (30, 0), (31, 1)] {
            all.append(Indices::new(first, len));
        }
        let expected = [5, 6, 7, 8, 9, 20, 21, 22, 23, 31];
        assert_eq!(all.0.len(), 3);
        assert!((0..10).all(|i| all.at(i) == expected[i]));
        let mut at = 0;
        for n in [0, 2, 5, 3] {
            let taken = all.take(n);
            assert!((0..n).all(|i| taken.at(i) == expected[at + i]));
            at += n;
        }
        assert_eq!(all.first(), 32);
        all.append(Indices::new(40, 2));
        assert_eq!((all.first(), all.at(1)), (40, 41));
    }

    #[test]
    #[should_panic(expected = "in the order they are made in")]
    fn earlier_batches_cannot_be_appended() {
        Indices::new(5, 3).append(Indices::new(7, 3));
    }
}
