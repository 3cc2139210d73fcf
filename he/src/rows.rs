//! Tables of equally long rows, spaced so that walking all rows at one column does not collide in
//! the caches, and with 64-bit values aligned to cache lines.

use zeroize::Zeroize;

/// Words between rows: 65 cache lines, so that neither rows nor stretches of 64 lines of them
/// always meet in the same cache sets.
const GAP: usize = 520;

/// `count` rows of `width` values.
pub(crate) struct Rows<T> {
    data: Vec<T>,
    width: usize,
    /// Values before the first row, which begins at a cache line.
    start: usize,
}

/// Bytes of a cache line.
const LINE: usize = 64;

impl<T: Copy + Default> Rows<T> {
    pub(crate) fn new(count: usize, width: usize) -> Self {
        let spare = LINE / size_of::<T>();
        let data = vec![T::default(); count * (width + GAP) + spare];
        let start = data.as_ptr().align_offset(LINE).min(spare);
        Self { data, width, start }
    }

    #[inline(always)]
    pub(crate) fn row(&self, index: usize) -> &[T] {
        let start = self.start + index * (self.width + GAP);
        &self.data[start..start + self.width]
    }

    #[inline(always)]
    pub(crate) fn row_mut(&mut self, index: usize) -> &mut [T] {
        let start = self.start + index * (self.width + GAP);
        &mut self.data[start..start + self.width]
    }

    /// Two different rows, `first < second`.
    pub(crate) fn pair_mut(&mut self, first: usize, second: usize) -> (&mut [T], &mut [T]) {
        let stride = self.width + GAP;
        let (left, right) = self.data[self.start..].split_at_mut(second * stride);
        (&mut left[first * stride..first * stride + self.width], &mut right[..self.width])
    }

    /// How many rows there are.
    pub(crate) fn count(&self) -> usize {
        self.data.len().saturating_sub(self.start) / (self.width + GAP)
    }

    /// All rows in order.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut [T]> {
        let (width, start) = (self.width, self.start);
        self.data[start..].chunks_exact_mut(width + GAP).map(move |row| &mut row[..width])
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

/// Values of a window.
const WINDOW: usize = 128;

/// Rows cut into windows: what all rows have in one window lies together, so that a walk over the
/// rows meets few pages.
pub(crate) struct Windows {
    data: Vec<u64>,
    rows: usize,
    width: usize,
    windows: usize,
    /// Words before the first window, which begins at a cache line.
    start: usize,
}

impl Windows {
    /// Words from one row to the next in a window: an odd number of cache lines.
    const PITCH: usize = WINDOW + 8;

    /// `rows` rows of `width` values, a multiple of [`WINDOW`] or less than it.
    pub(crate) fn new(rows: usize, width: usize) -> Self {
        let windows = width.div_ceil(WINDOW);
        let spare = LINE / size_of::<u64>();
        let data = vec![0; windows * rows * Self::PITCH + spare];
        let start = data.as_ptr().align_offset(LINE).min(spare);
        Self { data, rows, width: width.min(WINDOW), windows, start }
    }

    /// How many rows there are.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// How many windows there are.
    pub(crate) fn windows(&self) -> usize {
        self.windows
    }

    /// Values of a window.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// One row in one window.
    #[inline(always)]
    pub(crate) fn part(&self, row: usize, window: usize) -> &[u64] {
        let start = self.start + (window * self.rows + row) * Self::PITCH;
        &self.data[start..start + self.width]
    }

    /// One row in one window.
    #[inline(always)]
    pub(crate) fn part_mut(&mut self, row: usize, window: usize) -> &mut [u64] {
        let start = self.start + (window * self.rows + row) * Self::PITCH;
        &mut self.data[start..start + self.width]
    }

    /// All rows in one window.
    pub(crate) fn parts_mut(&mut self, window: usize) -> impl Iterator<Item = &mut [u64]> {
        let (width, all) = (self.width, self.rows * Self::PITCH);
        let start = self.start + window * all;
        self.data[start..start + all].chunks_exact_mut(Self::PITCH).map(move |row| &mut row[..width])
    }
}

impl Zeroize for Windows {
    fn zeroize(&mut self) {
        self.data.zeroize();
    }
}

impl<T: Zeroize> Zeroize for Rows<T> {
    fn zeroize(&mut self) {
        self.data.zeroize();
    }
}
