//! A queue of secrets, in one block of memory.

use zeroize::{Zeroize, Zeroizing};

/// Secrets that are taken from the front. Their places are wiped when they are taken or dropped.
pub(crate) struct Queue<T: Zeroize> {
    items: Zeroizing<Vec<T>>,
    start: usize,
}

impl<T: Zeroize + Copy> Queue<T> {
    /// A queue of these items.
    pub(crate) fn new(items: Zeroizing<Vec<T>>) -> Queue<T> {
        Queue { items, start: 0 }
    }

    /// The items not yet taken.
    pub(crate) fn left(&self) -> &[T] {
        &self.items[self.start..]
    }

    /// The items not yet taken, mutable.
    pub(crate) fn left_mut(&mut self) -> &mut [T] {
        &mut self.items[self.start..]
    }

    /// Adds `later` behind what is left, and frees the places of what was taken.
    pub(crate) fn append(&mut self, mut later: Queue<T>) {
        if self.left().is_empty() {
            std::mem::swap(self, &mut later);
            return;
        }
        let mut joined = Zeroizing::new(Vec::with_capacity(self.left().len() + later.left().len()));
        joined.extend_from_slice(self.left());
        joined.extend_from_slice(later.left());
        *self = Queue { items: joined, start: 0 };
    }

    /// Takes the first `n` items.
    ///
    /// # Panics
    /// If there are fewer.
    pub(crate) fn take(&mut self, n: usize) -> Queue<T> {
        let left = self.items.len() - self.start;
        assert!(n <= left, "a batch of {left} is asked for {n}");
        if n == left {
            return std::mem::take(self);
        }
        let front = &mut self.items[self.start..][..n];
        let taken = Zeroizing::new(front.to_vec());
        front.iter_mut().for_each(Zeroize::zeroize);
        self.start += n;
        Queue { items: taken, start: 0 }
    }
}

impl<T: Zeroize> Default for Queue<T> {
    fn default() -> Queue<T> {
        Queue { items: Zeroizing::new(Vec::new()), start: 0 }
    }
}
