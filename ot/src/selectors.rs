//! What one-hot vectors are good for: looking up public tables at a masked and opened position, locally.

use sotto_shares::{Ring, XorShare};
use zeroize::Zeroizing;

use crate::{
    cots::UNIT,
    kernel::{self, LANE},
    parallel,
    queue::Queue,
    vectors::Vectors,
};

/// Shares of random one-hot vectors and of their positions. Neither copied nor printed; wiped when dropped.
pub struct OneHots {
    e: Vectors,
    bits: Queue<u64>,
    index: Queue<u64>,
    ring: Ring,
}

impl OneHots {
    pub(crate) fn new(
        e: Vectors,
        bits: Zeroizing<Vec<u64>>,
        index: Zeroizing<Vec<u64>>,
        ring: Ring,
    ) -> OneHots {
        OneHots { e, bits: Queue::new(bits), index: Queue::new(index), ring }
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.index.left().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bits of the position: vectors have `2^k` entries.
    pub fn k(&self) -> u32 {
        self.e.k()
    }

    /// The ring of [`OneHots::index`].
    pub fn ring(&self) -> Ring {
        self.ring
    }

    /// XOR shares of the positions, `k` bits each.
    pub fn bits(&self) -> &[u64] {
        self.bits.left()
    }

    /// Additive shares of the positions.
    pub fn index(&self) -> &[u64] {
        self.index.left()
    }

    /// XOR shares of the vectors, `[n][ceil(2^k / 64)]`.
    pub fn words(&self) -> &[u64] {
        self.e.words()
    }

    /// Adds vectors made later.
    ///
    /// # Panics
    /// If they differ in `k` or ring.
    pub fn append(&mut self, later: OneHots) {
        assert_eq!((self.k(), self.ring), (later.k(), later.ring), "vectors of one kind");
        self.e.append(later.e);
        self.bits.append(later.bits);
        self.index.append(later.index);
    }

    /// Splits off the first `n` vectors.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn take(&mut self, n: usize) -> OneHots {
        let e = self.e.take(n);
        OneHots { e, bits: self.bits.take(n), index: self.index.take(n), ring: self.ring }
    }

    /// Shares of the one-hot vectors at positions `(r_i + d_i) mod 2^k`, for public `d_i`: what was opened under
    /// the mask `r`, which is thereby spent.
    ///
    /// # Panics
    /// Unless there is one `d` per vector.
    pub fn rotate(mut self, d: &[u64]) -> Selectors {
        assert_eq!(d.len(), self.len(), "one rotation per vector");
        self.e.rotate(d);
        Selectors(self.e)
    }

    /// As [`OneHots::rotate`], at positions `r_i xor d_i`: for what was opened under the mask's bits.
    ///
    /// # Panics
    /// Unless there is one `d` per vector.
    pub fn flip(mut self, d: &[u64]) -> Selectors {
        assert_eq!(d.len(), self.len(), "one mask per vector");
        self.e.flip(d);
        Selectors(self.e)
    }
}

/// Shares of one-hot vectors at positions that nobody knows. Neither copied nor printed; wiped when dropped.
pub struct Selectors(Vectors);

impl Selectors {
    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.words().len() / self.0.stride()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// XOR shares of the vectors, `[n][ceil(2^k / 64)]`.
    pub fn words(&self) -> &[u64] {
        self.0.words()
    }

    /// XOR shares of the selected entries: inner products with the table's bit planes. Local; no branch and
    /// no address depends on a share.
    ///
    /// # Panics
    /// If the table does not have `2^k` entries.
    pub fn parity(&self, table: &Columns) -> XorShare {
        assert_eq!(table.entries, 1 << self.0.k(), "entries of the table");
        let stride = self.0.stride();
        let mut entries = vec![0; self.len()];
        let parts = self.words().chunks(UNIT * stride).zip(entries.chunks_mut(UNIT));
        parallel::for_each(parts, |(e, entries)| kernel::parity(e, stride, &table.planes, entries));
        XorShare::new(table.width, entries)
    }
}

/// A public table of `2^k` words, as bit planes.
#[derive(Clone, Debug)]
pub struct Columns {
    width: u32,
    entries: usize,
    /// `[ceil(width / 8)][ceil(2^k / 64)][8]`: words of eight planes side by side, zeros beyond the last plane.
    planes: Vec<u64>,
}

impl Columns {
    /// The planes of the low `width` bits of `table`'s entries.
    ///
    /// # Panics
    /// Unless `1 <= width <= 64` and the table has a power of two of entries.
    pub fn new(table: &[u64], width: u32) -> Columns {
        assert!(
            (1..=64).contains(&width) && table.len().is_power_of_two(),
            "table of {} entries",
            table.len()
        );
        let word = |entries: &[u64], t: u32| entries.iter().rev().fold(0, |w, e| w << 1 | (e >> t & 1));
        let words =
            |t: u32| table.chunks(64).flat_map(move |entries| (t..).take(LANE).map(move |t| (entries, t)));
        let planes = (0..width).step_by(LANE).flat_map(words);
        let planes = planes.map(|(entries, t)| if t < width { word(entries, t) } else { 0 });
        Columns { width, entries: table.len(), planes: planes.collect() }
    }

    /// Bits of an entry.
    pub fn width(&self) -> u32 {
        self.width
    }
}
