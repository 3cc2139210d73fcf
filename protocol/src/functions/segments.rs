//! `[f(z)] <- [z]`: a piecewise-linear table on shares, with the segment found by a masked one-hot.
//!
//! Inputs: `z = z0 + z1 mod 2^(k+s)`, a table of `2^k` segments of width `2^s`. Offline: one-hot
//! `[e_r]`, `[r]`.
//!
//! | client | | server |
//! |---|---|---|
//! | `X0 = z0 >> s`, `t0 = z0 mod 2^s` | | `X1 = z1 >> s`, `t1 = z1 mod 2^s` |
//! | `X0 - r0` | `<- segments/open ->` | `X1 - r1` |
//! | `e = rotate(e_r, D)`: one-hot of `X0 + X1` | | the same |
//! | bits of value `v`, slope `a`: `e` times the table's bit planes | | the same |
//! | choices: bits of `v`, of `a` | `<- segments/cross ->` | choices: bits of `a` |
//! | numbers: `t0 (1 - 2 a0_j)` | | numbers: `-v1_j`, `t1 (1 - 2 a1_j)` |
//! | `v + TR(sum_j 2^j a_j (t0 + t1))` | | the same |
//!
//! `z = 2^s (X0 + X1) + t0 + t1`: the carry of the low parts is not computed; the line of a segment
//! serves offsets up to `2^(s+1)` ([`crate::fit`]). Two turns. Bits: `2 k`, then `sum_j (n - j) + 2
//! sum_j (n' - j + 1)` for the value's and the slope's bits. Error: the table's, one unit of the
//! value for the local truncation, and another where `n'` would exceed 64 and each `2^j t` is
//! rounded by its owner instead. The opened `D` is uniform (`r` is), used once; the low parts leave
//! a party only as COT payload. From stock: one one-hot; COTs. Source: FLUTE (S&P 2023) for one-hot
//! lookup.

use sotto_ot::{CotPads, RecvCots, SendCots};
use sotto_shares::{Party, Ring, Shape, Share, XorShare};
use zeroize::Zeroizing;

use crate::{
    Error, Session,
    cost::CostModel,
    cross::{self, Cross},
    mux::flip_sign,
    open::open,
    tables::Segments,
};

/// The tag of the masked index.
pub(crate) const OPEN: &str = "segments/open";
const TAG: &str = "segments/cross";

/// Evaluates the table where its window is the whole ring of `x`.
///
/// The result is not negative and has the table's ring and fraction bits.
///
/// # Panics
/// If the ring of `x` is not the table's window, or the table has negative values.
pub async fn evaluate(s: &mut Session, x: &Share, table: &Segments) -> Result<Share, Error> {
    evaluate_in(s, x, table, Ring::new(table.ring_bits)).await
}

/// As [`evaluate`], the result in the table's ring or a larger one.
async fn evaluate_in(s: &mut Session, x: &Share, table: &Segments, ring: Ring) -> Result<Share, Error> {
    let fit = &table.fit;
    assert_eq!((x.ring().bits(), fit.low), (fit.index_bits + fit.shift, 0), "window of {}", fit.name);
    let index = x.truncate_reduce(fit.shift);
    let mask = s.one_hots(fit.index_bits, index.ring(), x.len()).await?;
    let masked = crate::mul::subtract(&index, mask.index());
    let [opened] = open(s, OPEN, [&masked]).await?;
    let located = mask.rotate(&opened);
    let (send, recv) = cots(s.me, x.len(), table);
    let cots = s.cots(send, recv).await?;
    let entries = sotto_net::compute(|| located.parity(&table.columns));
    let y = begin(s, cots, x, entries, table, ring)?.finish(s).await?;
    Ok(y.add_public(s.me, table.offset.wrapping_neg()))
}

/// COTs that a party takes as sender and as receiver.
pub(crate) fn cots(me: Party, n: usize, table: &Segments) -> (usize, usize) {
    let (all, slopes) = (n * (table.value_bits + table.slope_bits) as usize, n * table.slope_bits as usize);
    match me {
        Party::Client => (slopes, all),
        Party::Server => (all, slopes),
    }
}

/// An interpolation of which this party has sent its part, as in [`crate::cross`].
#[must_use]
pub(crate) struct Begun<'a> {
    table: &'a Segments,
    ring: Ring,
    entries: XorShare,
    /// This party's low parts.
    offsets: Zeroizing<Vec<u64>>,
    shape: Shape,
    products: cross::Begun<CotPads>,
}

/// Sends this party's part of an interpolation with these entries of the table, on the COTs that
/// [`cots`] says; the result is in `ring`, the table's or a larger one.
pub(crate) fn begin<'a>(
    s: &mut Session,
    cots: (SendCots, RecvCots),
    x: &Share,
    entries: XorShare,
    table: &'a Segments,
    ring: Ring,
) -> Result<Begun<'a>, Error> {
    let (values, slopes) = (table.value_bits as usize, table.slope_bits as usize);
    let offsets: Vec<u64> = x.data().iter().map(|&x| x & ((1 << table.fit.shift) - 1)).collect();
    let cut = cut_bits(table, ring);
    let slope_widths = slope_widths(table, ring);
    let value_widths = crate::b2a::widths(table.value_bits, ring);
    let all_widths = [value_widths, slope_widths.clone()].concat();
    let slope_choices =
        entries.words().iter().flat_map(|&e| (values..values + slopes).map(move |j| bit(e, j) as u8));
    let all_choices =
        entries.words().iter().flat_map(|&e| (0..values + slopes).map(move |j| bit(e, j) as u8));
    let slope_inputs =
        |e: u64, t: u64| (0..slopes).map(move |j| flip_sign(multiple(t, j, cut).0, bit(e, values + j)));
    let value_inputs = |e: u64| (0..values).map(move |j| bit(e, j).wrapping_neg());
    let pairs = entries.words().iter().zip(&offsets);
    let (choices, inputs): (Vec<u8>, Vec<u64>) = match s.me {
        Party::Client => (all_choices.collect(), pairs.flat_map(|(&e, &t)| slope_inputs(e, t)).collect()),
        Party::Server => {
            let inputs = pairs.flat_map(|(&e, &t)| value_inputs(e).chain(slope_inputs(e, t)));
            (slope_choices.collect(), inputs.collect())
        }
    };
    let (widths_in, widths_out) = match s.me {
        Party::Client => (&all_widths, &slope_widths),
        Party::Server => (&slope_widths, &all_widths),
    };
    let c = Cross { tag: TAG, choices: &choices, widths_in, inputs: &inputs, widths_out };
    let products = cross::begin_add(s, cots, c)?;
    Ok(Begun { table, ring, entries, offsets: Zeroizing::new(offsets), shape: x.shape(), products })
}

impl Begun<'_> {
    /// Receives the peer's part.
    pub(crate) async fn finish(self, s: &mut Session) -> Result<Share, Error> {
        let table = self.table;
        let (values, slopes) = (table.value_bits as usize, table.slope_bits as usize);
        let products = self.products.finish(s).await?;
        let value_products = match s.me {
            Party::Client => &products.got,
            Party::Server => &products.own,
        };
        let n = self.entries.len().max(1);
        let stride = |v: &[u64]| v.len() / n;
        let of = |v: &'_ [u64], i: usize| (i + 1) * stride(v) - slopes..(i + 1) * stride(v);
        let (value_ring, cut) = (self.ring, cut_bits(table, self.ring));
        let drop = table.drop_bits() - cut;
        let half = (1u64 << drop) / 2;
        let data = self.entries.words().iter().zip(self.offsets.iter()).enumerate().map(|(i, (&e, &t))| {
            let value_at = i * stride(value_products);
            let value = (0..values).fold(0u64, |sum, j| {
                sum.wrapping_add(bit(e, j).wrapping_add(value_products[value_at + j] << 1) << j)
            });
            let own = &products.own[of(&products.own, i)];
            let got = &products.got[of(&products.got, i)];
            let product = (0..slopes).fold(0u64, |sum, j| {
                let (number, weight) = multiple(t, j, cut);
                let local = bit(e, values + j).wrapping_mul(number);
                sum.wrapping_add(local.wrapping_add(own[j]).wrapping_add(got[j]) << weight)
            });
            let least = (table.least_slope * t as i64) >> cut;
            let product = product.wrapping_add(least as u64).wrapping_add(s.me.server_only(half));
            let product = Ring::new(value_ring.bits() + drop).reduce(product) >> drop;
            value_ring.reduce(value.wrapping_add(product))
        });
        Ok(Share::new(value_ring, table.fit.value_frac, self.shape, data.collect()))
    }
}

/// Low bits of the slope's products that a party cuts off its numbers, so that the products' ring
/// has 64 bits at most.
fn cut_bits(table: &Segments, ring: Ring) -> u32 {
    (ring.bits() + table.drop_bits()).saturating_sub(64)
}

/// `2^j t` less `cut` bits, as a number and the power of two that it is multiplied by.
fn multiple(t: u64, j: usize, cut: u32) -> (u64, u32) {
    match cut.saturating_sub(j as u32) {
        0 => (t, j as u32 - cut),
        short => ((t + (1 << (short - 1))) >> short, 0),
    }
}

/// Widths of the slope's products.
fn slope_widths(table: &Segments, ring: Ring) -> Vec<u32> {
    let cut = cut_bits(table, ring);
    let bits = ring.bits() + table.drop_bits() - cut;
    (0..table.slope_bits).map(|j| bits - j.saturating_sub(cut)).collect()
}

fn bit(entry: u64, j: usize) -> u64 {
    (entry >> j) & 1
}

/// From the located segment on.
pub(crate) fn interpolation_cost(n: usize, table: &Segments, ring: u32) -> CostModel {
    let (v, a) = (table.value_bits, table.slope_bits);
    let values: u32 = crate::b2a::widths(v, Ring::new(ring)).iter().sum();
    let slopes: u32 = slope_widths(table, Ring::new(ring)).iter().sum();
    let [v, a, values, slopes] = [v, a, values, slopes].map(|w| w as usize * n);
    CostModel::products((v + a, slopes), (a, values + slopes))
}

/// What is sent for a result in `ring`, and which COTs it takes.
pub fn cost(n: usize, table: &Segments, ring: Ring) -> CostModel {
    let k = table.fit.index_bits;
    let opened = CostModel::mutual(&[n * k as usize], 0) + CostModel::spending(n, k, k);
    opened + interpolation_cost(n, table, ring.bits())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        Precision, tables,
        testing::{self, reals},
    };

    const STATED: [f64; 2] = [5.0e-5, 1.3e-5];

    /// Every argument (of the finer ones, every fifth) from 1/2 up to the window's end, three times
    /// with other shares; in the gate, a stride of them, once. The table's error relative to the
    /// value, one unit for the local truncation.
    fn sweep(table: &'static Segments, f: impl Fn(f64) -> f64, stated: f64) {
        sweep_in(table, Ring::new(table.ring_bits), f, stated);
    }

    /// The same, with the result in a ring of so many bits that slopes' products are rounded, if it
    /// is not the table's: for another unit.
    fn sweep_in(table: &'static Segments, out: Ring, f: impl Fn(f64) -> f64, stated: f64) {
        let fit = &table.fit;
        let (ring, one) = (Ring::new(fit.index_bits + fit.shift), 1u64 << fit.argument_frac);
        let step = if fit.index_bits > 9 { 5 } else { 1 } * testing::stride(17);
        let times = if testing::stride(17) == 1 { 3 } else { 1 };
        let u: Vec<u64> = (one / 2..1 << ring.bits()).step_by(step).collect();
        let index = Ring::new(fit.index_bits);
        let all = testing::run(async |lab| {
            let mut all = vec![];
            for _ in 0..times {
                let x = lab.share(&u, ring, fit.argument_frac, Shape::new(u.len(), 1));
                lab.stock_one_hots(fit.index_bits, index, u.len()).await;
                lab.stock_cots(u.len() * (table.value_bits + table.slope_bits) as usize).await;
                all.push(lab.measure(async |s| evaluate_in(s, &x, table, out).await).await);
            }
            all
        });
        let units = if cut_bits(table, out) == 0 { 1.0 } else { 2.0 };
        let (unit, mut worst) = (units * (-(fit.value_frac as f64)).exp2(), 0f64);
        for (got, traffic) in all {
            for (y, u) in reals(&got, out, fit.value_frac).into_iter().zip(&u) {
                let exact = f((*u + 1) as f64 / one as f64);
                worst = worst.max(((y - exact).abs() - unit) / exact);
            }
            assert_eq!((traffic.cost, traffic.cost.turns), (cost(u.len(), table, out).total(), 2));
        }
        let (n, cut) = (out.bits(), cut_bits(table, out));
        let values: u32 = (0..table.value_bits).map(|j| n - j).sum();
        let slopes: u32 = (0..table.slope_bits).map(|j| n + table.drop_bits() - j.max(cut) + 1).sum();
        assert_eq!(cost(1, table, out).bits(), (2 * fit.index_bits + values + 2 * slopes) as usize);
        eprintln!("{} off by {worst:.2e} of the value", fit.name);
        assert!(worst < stated, "{} off by {worst}", fit.name);
    }

    #[test]
    fn reciprocals_of_every_argument() {
        for (precision, stated) in Precision::ALL.into_iter().zip(STATED) {
            sweep(tables::reciprocal(precision), |u| 1.0 / u, stated);
        }
    }

    #[test]
    fn inverse_roots_of_every_argument() {
        for (precision, stated) in Precision::ALL.into_iter().zip(STATED) {
            sweep(tables::inverse_root(precision), |u| 1.0 / u.sqrt(), stated);
        }
    }

    #[test]
    fn both_of_every_argument_of_the_wider_windows() {
        for (precision, stated) in Precision::ALL.into_iter().zip(STATED) {
            sweep(tables::wide_reciprocal(precision), |u| 1.0 / u, stated);
            sweep(tables::wide_inverse_root(precision), |u| 1.0 / u.sqrt(), stated);
        }
    }

    #[test]
    fn reciprocals_in_the_widest_rings() {
        for (precision, stated) in Precision::ALL.into_iter().zip(STATED) {
            for ring in [57, 62].map(Ring::new) {
                sweep_in(tables::wide_reciprocal(precision), ring, |u| 1.0 / u, stated);
            }
        }
    }
}
