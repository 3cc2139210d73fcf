//! In which segment of the window an argument lies: from the window's digit, opened under its mask.
//!
//! By high precision, where bits are saved, the digit's lowest bit has a mask `b` of its own, so
//! that there are half as many one-hot entries to make: with `D` opened, `d` its lowest bit, and
//! `e` the other bits' one-hot rotated by the rest of `D`, the segment is `2 i + d + b`, where `e`
//! is one at `i`. So its entry is one of two inner products of `e` with public tables, and `b` says
//! which, by an AND that travels with those of the upper digits.

use sotto_ot::OneHots;
use sotto_shares::{Ring, XorShare};

use crate::{Error, Precision, Schedule, Session, cost::CostModel, digit, tables::Segments};

/// The mask of the window's digit.
pub(super) struct Window {
    /// Of its lowest bit, if that is apart.
    lowest: Option<OneHots>,
    rest: OneHots,
}

/// What is known of an argument's place.
pub(super) struct Place {
    /// The table's entries.
    pub entries: XorShare,
    /// Carries to what is above the window.
    pub carries: XorShare,
    /// The lowest bits' masks, and what they change in entries, and above them in carries.
    pub choice: Option<(XorShare, XorShare)>,
}

/// Whether the lowest bit is apart.
pub(super) fn is_split(precision: Precision, schedule: Schedule) -> bool {
    (precision, schedule) == (Precision::High, Schedule::Throughput)
}

/// The one-hots of the mask of a digit of `index` bits, the lowest ones of `bits`.
pub(super) fn masks_cost(
    precision: Precision,
    schedule: Schedule,
    n: usize,
    index: u32,
    bits: u32,
) -> CostModel {
    match is_split(precision, schedule) {
        false => CostModel::spending(n, index, bits),
        true => CostModel::spending(n, 1, bits) + CostModel::spending(n, index - 1, bits - 1),
    }
}

impl Window {
    /// For digits of `bits` bits, the lowest ones of numbers in `ring`.
    pub(super) async fn draw(s: &mut Session, bits: u32, ring: Ring, n: usize) -> Result<Window, Error> {
        if !is_split(s.precision, s.schedule) {
            return Ok(Window { lowest: None, rest: s.one_hots(bits, ring, n).await? });
        }
        let lowest = Some(s.one_hots(1, ring, n).await?);
        let rest = s.one_hots(bits - 1, Ring::new(ring.bits() - 1), n).await?;
        Ok(Window { lowest, rest })
    }

    /// Additive shares of the mask.
    pub(super) fn index(&self) -> Vec<u64> {
        match &self.lowest {
            None => self.rest.index().to_vec(),
            Some(lowest) => {
                let pairs = lowest.index().iter().zip(self.rest.index());
                pairs.map(|(b, r)| b.wrapping_add(r << 1)).collect()
            }
        }
    }

    /// The place of what was opened under this mask. Local.
    pub(super) fn locate(self, opened: &[u64], table: &Segments) -> Place {
        let bits = table.fit.index_bits;
        let Some(lowest) = self.lowest else {
            let located = self.rest.rotate(opened);
            let carries = digit::carries(&located, opened, bits);
            return Place { entries: located.parity(&table.columns), carries, choice: None };
        };
        let upper: Vec<u64> = opened.iter().map(|d| d >> 1).collect();
        let located = self.rest.rotate(&upper);
        let carries = digit::carries(&located, &upper, bits - 1);
        let [even, odd, next] = table.staggered.each_ref().map(|columns| located.parity(columns));
        let (mut entries, mut changes) = (Vec::with_capacity(opened.len()), Vec::with_capacity(opened.len()));
        for (i, d) in opened.iter().map(|d| d & 1).enumerate() {
            let [without, with] = if d == 0 { [&even, &odd] } else { [&odd, &next] }.map(|e| e.words()[i]);
            // A carry of the lowest bit goes on from the last of the other positions.
            let carried = d & digit::bit(located.words(), bits - 1, i, (1 << (bits - 1)) - 1);
            entries.push(without);
            changes.push(without ^ with | carried << even.width());
        }
        let masks = (0..opened.len()).map(|i| digit::bit(lowest.words(), 1, i, 1)).collect();
        let choice = Some((XorShare::new(1, masks), XorShare::new(even.width() + 1, changes)));
        Place { entries: XorShare::new(even.width(), entries), carries, choice }
    }
}

impl Place {
    /// With what the lowest bits' masks turned out to change.
    pub(super) fn chosen(self, changes: &XorShare) -> Place {
        let width = self.entries.width();
        let entries = self.entries.xor(&changes.map_linear(width, |c| c & Ring::new(width).mask()));
        Place { entries, carries: self.carries.xor(&changes.bit(width)), choice: None }
    }
}
