//! Local lookup in public tables, by shared one-hot vectors.

use sotto_shares::XorShare;

use super::vectors::Vectors;
use crate::{
    batch::UNIT,
    kernel::{self, LANE},
    parallel,
};

/// XOR shares of one-hot vectors whose positions neither party knows. Neither copied nor printed;
/// wiped when dropped.
pub struct Selectors(pub(super) Vectors);

impl Selectors {
    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.words().len() / self.0.stride()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// XOR shares of the vectors, `[n][ceil(2^k / 64)]`.
    pub fn words(&self) -> &[u64] {
        self.0.words()
    }

    /// XOR shares of the table's entries at the vectors' positions: inner products with the table's
    /// bit planes. Local. No branch and no address depends on a share.
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

/// A public table of `2^k` words as bit planes: plane `t` has bit `t` of every entry.
#[derive(Clone, Debug)]
pub struct Columns {
    width: u32,
    entries: usize,
    /// `[ceil(width / 8)][ceil(2^k / 64)][8]`: words of eight planes interleaved, zeros after the
    /// last plane.
    planes: Vec<u64>,
}

impl Columns {
    /// The planes of the low `width` bits of `table`'s entries.
    ///
    /// # Panics
    /// Unless `1 <= width <= 64` and the number of entries is a power of two.
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
