//! Tables of equally long rows, spaced so that walking all rows at one column does not collide in the caches.

use zeroize::Zeroize;

/// Words between rows: 65 cache lines, so that neither rows nor stretches of 64 lines of them always meet in the same cache sets.
const GAP: usize = 520;

/// `count` rows of `width` values.
pub(crate) struct Rows<T> {
    data: Vec<T>,
    width: usize,
}

impl<T: Copy + Default> Rows<T> {
    pub(crate) fn new(count: usize, width: usize) -> Self {
        Self { data: vec![T::default(); count * (width + GAP)], width }
    }

    #[inline(always)]
    pub(crate) fn row(&self, index: usize) -> &[T] {
        let start = index * (self.width + GAP);
        &self.data[start..start + self.width]
    }

    #[inline(always)]
    pub(crate) fn row_mut(&mut self, index: usize) -> &mut [T] {
        let start = index * (self.width + GAP);
        &mut self.data[start..start + self.width]
    }

    /// Two different rows, `first < second`.
    pub(crate) fn pair_mut(&mut self, first: usize, second: usize) -> (&mut [T], &mut [T]) {
        let stride = self.width + GAP;
        let (left, right) = self.data.split_at_mut(second * stride);
        (&mut left[first * stride..first * stride + self.width], &mut right[..self.width])
    }

    /// How many rows there are.
    pub(crate) fn count(&self) -> usize {
        self.data.len() / (self.width + GAP)
    }

    /// All rows in order.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut [T]> {
        let width = self.width;
        self.data.chunks_exact_mut(width + GAP).map(move |row| &mut row[..width])
    }

    /// Nothing is left, as after wiping.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    pub(crate) fn fill(&mut self, value: T) {
        self.data.fill(value);
    }
}

impl<T: Zeroize> Zeroize for Rows<T> {
    fn zeroize(&mut self) {
        self.data.zeroize();
    }
}
