//! On which side of the window an argument lies: from the digits above it, opened under their
//! masks, if a carry comes from below and if none does.

use std::ops::Range;

use sotto_ot::OneHots;
use sotto_shares::{Ring, XorShare};

use crate::{Error, Schedule, Session, cost::CostModel, digit::parity};

/// Masks of the bits above the window.
pub(super) enum Upper {
    One(OneHots),
    Two(OneHots, OneHots),
}

impl Upper {
    pub(super) async fn draw(s: &mut Session, bits: u32, n: usize) -> Result<Upper, Error> {
        Ok(match upper_digits(s.schedule, bits) {
            (0, high) => Upper::One(s.one_hots(high, Ring::new(high), n).await?),
            (mid, high) => {
                let low = s.one_hots(mid, Ring::new(bits), n).await?;
                Upper::Two(low, s.one_hots(high, Ring::new(high), n).await?)
            }
        })
    }

    /// Additive shares of the mask.
    pub(super) fn index(&self) -> Vec<u64> {
        match self {
            Upper::One(digit) => digit.index().to_vec(),
            Upper::Two(mid, high) => {
                let pairs = mid.index().iter().zip(high.index());
                pairs.map(|(m, h)| m.wrapping_add(h << mid.k())).collect()
            }
        }
    }
}

/// The one-hots of these masks.
pub(super) fn masks_cost(schedule: Schedule, n: usize, bits: u32) -> CostModel {
    match upper_digits(schedule, bits) {
        (0, high) => CostModel::spending(n, high, high),
        (mid, high) => CostModel::spending(n, mid, bits) + CostModel::spending(n, high, high),
    }
}

/// Bits of the lower and the higher digit of the bits above the window.
pub(super) fn upper_digits(schedule: Schedule, bits: u32) -> (u32, u32) {
    match schedule {
        Schedule::Throughput => (bits / 2, bits - bits / 2),
        Schedule::Latency => (0, bits),
    }
}

/// Whether the upper digit is zero (bit 0) and whether it is positive (bit 1): without a carry, and
/// what a carry changes.
pub(super) fn sides_of_digit(digit: &OneHots, opened: &[u64]) -> (XorShare, XorShare) {
    let (bits, size) = (digit.k(), 1u64 << digit.k());
    let stride = digit.words().len() / digit.len().max(1);
    let [zero, positive] = [masks_of(bits, 0..1), masks_of(bits, 1..size / 2)];
    let side = |e: &[u64], d: u64| {
        let d = (d & (size - 1)) as usize;
        sum(e, &zero[d]) | sum(e, &positive[d]) << 1
    };
    let sides = digit.words().chunks(stride.max(1)).zip(opened);
    let (without, with): (Vec<u64>, Vec<u64>) = sides.map(|(e, &d)| (side(e, d), side(e, d + 1))).unzip();
    debug_assert!(bits <= 10);
    let without = XorShare::new(2, without);
    let change = without.xor(&XorShare::new(2, with));
    (without, change)
}

/// For two upper digits, four ANDs an element: whether they are zero, and whether not negative,
/// without a carry and with one. The third is to be added to the products.
pub(super) fn sides_of_digits(
    mid: &OneHots,
    high: &OneHots,
    opened: &[u64],
) -> (XorShare, XorShare, XorShare) {
    let (m, h) = (mid.k(), high.k());
    let (mid_size, high_size) = (1u64 << m, 1u64 << h);
    let carrying: Vec<Vec<u64>> = (0..mid_size).map(|t| set(m, mid_size - t..mid_size)).collect();
    let not_negative = masks_of(h, 0..high_size / 2);
    let [mut selectors, mut vectors, mut rest] = [(); 3].map(|()| Vec::with_capacity(4 * opened.len()));
    for ((mid, high), d) in mid.words().iter().zip(high.words()).zip(opened) {
        for carry in 0..2 {
            let t = (d + carry) & ((1 << (m + h)) - 1);
            // Zero: the mask is minus t.
            let zero = t.wrapping_neg();
            selectors.push((mid >> (zero & (mid_size - 1))) & 1);
            vectors.push((high >> ((zero >> m) & (high_size - 1))) & 1);
            rest.push(0);
            // Not negative: the upper half of the high digit after the carry of the lower one.
            let (t_mid, t_high) = (t & (mid_size - 1), t >> m);
            let [without, with] =
                [t_high, (t_high + 1) & (high_size - 1)].map(|t| sum(&[*high], &not_negative[t as usize]));
            selectors.push(sum(&[*mid], &carrying[t_mid as usize]));
            vectors.push(without ^ with);
            rest.push(without);
        }
    }
    (XorShare::new(1, selectors), XorShare::new(1, vectors), XorShare::new(1, rest))
}

/// By the opened digit, the masks of `k` bits for which the number is one of `values`.
fn masks_of(k: u32, values: Range<u64>) -> Vec<Vec<u64>> {
    (0..1 << k).map(|d: u64| set(k, values.clone().map(|value| value.wrapping_sub(d)))).collect()
}

/// These entries, modulo their number, of a vector of `2^k` bits.
fn set(k: u32, entries: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut words = vec![0; (1usize << k).div_ceil(64)];
    for entry in entries.map(|entry| entry as usize & ((1 << k) - 1)) {
        words[entry / 64] |= 1 << (entry % 64);
    }
    words
}

/// The sum of the vector's entries in the set.
fn sum(vector: &[u64], set: &[u64]) -> u64 {
    parity(vector.iter().zip(set).fold(0, |sum, (e, set)| sum ^ (e & set)))
}
