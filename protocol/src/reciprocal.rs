//! `[1/x] <- [x]` and `[1/sqrt(x)] <- [x]` for a positive number of any size, one a row.
//!
//! 1. a position `p` with `2^(p-1) < x < 2^(p+1)` ([`crate::leading_one`]), among those that public bounds on `x` leave;
//! 2. `u = x 2^-p` in `(1/2, 2)`, picked from the local shifts of `x` ([`crate::pick`]), 18 bits. For roots, `p` is rounded down to an even
//!    one and `u` lies in `(1/2, 4)`, so that its root needs no factor;
//! 3. a piecewise-linear table `y` of `1/u` or `1/sqrt(u)` ([`crate::segments`]);
//! 4. the result, `y` times a public factor and `2^-p` or `2^(-p/2)`, picked from shifts of `y` in a ring that holds them all;
//! 5. a truncation, where that ring has more fraction bits than the result.
//!
//! Ten turns: 4 + 1 + 2, extension and pick 2, truncation 1 (nine without; two fewer where [`crate::leading_one`] takes two). Relative error `2^-14` at most (dropped carries included) and two
//! units of the result, which are more where the result is small. `x = 0` gives one unit at most. No leakage. From the pool: the parts' entries.
//! Source: SIRNN (2021/459), section 4.3, with anticipation for its position, picks for its products, a table and no iteration.

use std::ops::Range;

use sotto_shares::{Ring, Share, XorShare};

use crate::{
    Error, Session,
    extend::extend_positive,
    leading_one::leading_one,
    pick::pick,
    segments,
    tables::{self, Segments},
    truncate::truncate,
};

/// Ring and fraction bits of [`Form::reciprocal`].
pub const RECIPROCAL: (Ring, u32) = (Ring::new(52), 24);

/// What to compute of which numbers, and how exactly.
pub struct Form {
    table: &'static Segments,
    /// Positions of the leading one that share a shift: 1, or 2 for roots.
    step: u32,
    /// Positions to expect of it, one more at the top than there are.
    candidates: Range<u32>,
    /// The result is `mantissa 2^(exponent - p / step) y`.
    mantissa: u64,
    exponent: i32,
    /// log2 of the largest result.
    most: u32,
    ring: Ring,
    frac: u32,
}

impl Form {
    /// `1/x` of numbers with `frac` fraction bits, above 1/2, whose highest set bit is among `leads`: ring 52, 24 fraction bits.
    pub fn reciprocal(frac: u32, leads: Range<u32>) -> Form {
        Form {
            table: tables::reciprocal(),
            step: 1,
            candidates: leads.start..leads.end + 1,
            mantissa: 1,
            exponent: frac as i32,
            most: 1,
            ring: RECIPROCAL.0,
            frac: RECIPROCAL.1,
        }
    }

    /// `factor / sqrt(x)` of numbers with `frac` fraction bits whose highest set bit is among `leads`, for results below 2^10: ring 64, 26
    /// fraction bits. The factor is rounded to 16 bits.
    ///
    /// # Panics
    /// If the number of fraction bits is odd.
    pub fn inverse_root(factor: f64, frac: u32, leads: Range<u32>) -> Form {
        assert!(frac.is_multiple_of(2), "an even number of fraction bits");
        let exponent = factor.log2().floor() as i32 - 15;
        let mantissa = (factor * f64::from(-exponent).exp2()).round() as u64;
        let spare = mantissa.trailing_zeros();
        Form {
            table: tables::inverse_root(),
            step: 2,
            candidates: leads.start..leads.end + 1,
            mantissa: mantissa >> spare,
            exponent: exponent + spare as i32 + frac as i32 / 2,
            most: 10,
            ring: Ring::new(64),
            frac: 26,
        }
    }

    /// The shifts, one for `step` candidates.
    fn shifts(&self) -> Range<u32> {
        self.candidates.start / self.step..(self.candidates.end - 1) / self.step + 1
    }

    /// Fraction bits with which the least result is still `y` times the mantissa.
    fn work_frac(&self) -> u32 {
        let last = self.shifts().end as i32 - 1;
        let least = self.table.fit.value_frac as i32 - self.exponent + last;
        self.frac.max(least.max(0) as u32)
    }

    /// The ring of that many fraction bits.
    fn work_ring(&self) -> Ring {
        if self.work_frac() == self.frac { self.ring } else { Ring::new(self.work_frac() + self.most + 2) }
    }

    /// How far `y` times the mantissa is shifted to the left for each shift of `x`.
    fn left_shifts(&self) -> Vec<u32> {
        let first = self.work_frac() as i32 + self.exponent - self.table.fit.value_frac as i32;
        self.shifts().map(|t| (first - t as i32) as u32).collect()
    }

    /// One-hots of shifts from one-hots of candidates.
    fn steps(&self, lead: &XorShare) -> XorShare {
        let (shifts, start) = (self.shifts(), self.candidates.start);
        let place = |j: u32| (start + j) / self.step - shifts.start;
        lead.map_linear(shifts.len() as u32, |w| {
            (0..self.candidates.len() as u32).fold(0, |all, j| all ^ ((w >> j) & 1) << place(j))
        })
    }
}

/// Evaluates `form` on every element of `x`, `0 < x < 2^(l-1)`.
pub async fn evaluate(s: &mut Session, x: &Share, form: &Form) -> Result<Share, Error> {
    let fit = &form.table.fit;
    let lead = form.steps(&leading_one(s, x, form.candidates.clone()).await?);

    let window = Ring::new(fit.index_bits + fit.shift);
    let shifts: Vec<i32> = form.shifts().map(|t| (t * form.step) as i32 - fit.argument_frac as i32).collect();
    let shifted = |x: u64, by: i32| if by < 0 { x << -by } else { x >> by };
    let u = pick(s, &lead, window, &vec![0; shifts.len()], |i, j| shifted(x.data[i], shifts[j])).await?;
    let u = Share::new(window, fit.argument_frac, x.shape, u);

    let y = segments::evaluate(s, &u, form.table).await?;
    let (ring, frac) = (form.work_ring(), form.work_frac());
    let [y] = extend_positive(s, [(&y, ring)]).await?;
    let out = pick(s, &lead, ring, &form.left_shifts(), |i, _| y.data[i].wrapping_mul(form.mantissa)).await?;
    let out = Share::new(ring, frac, x.shape, out);
    if frac == form.frac { Ok(out) } else { truncate(s, &out, frac - form.frac, form.ring).await }
}

#[cfg(test)]
pub(crate) mod tests {
    use sotto_shares::Shape;

    use super::*;
    use crate::{
        Schedule, extend, leading_one, pick,
        testing::{self, Bill, Holder, Lab, reals},
    };

    pub(crate) fn bill(schedule: Schedule, n: usize, form: &Form) -> Bill {
        let (ring, drop) = (form.work_ring().bits(), form.work_frac() - form.frac);
        let most = leading_one::tests::bill(schedule, n, form.candidates.len() as u32)
            + pick::tests::bill(n, 18, &vec![0; form.shifts().len()])
            + segments::tests::bill(n, form.table)
            + extend::tests::bill(n, &[(form.table.ring_bits, ring)])
            + pick::tests::bill(n, ring, &form.left_shifts());
        if drop == 0 { most } else { most + extend::tests::bill(n, &[(ring - drop, form.ring.bits())]) }
    }

    /// What one call draws from the pool beside COTs.
    pub(crate) async fn stock<P: Holder>(lab: &mut Lab<P>, n: usize, form: &Form) {
        leading_one::tests::stock(lab, n, form.candidates.len() as u32).await;
        let index_bits = form.table.fit.index_bits;
        lab.stock_one_hots(index_bits, Ring::new(index_bits), n).await;
        lab.stock_cots(n * 400).await;
    }

    fn evaluated(x: &[u64], ring: Ring, frac: u32, form: &Form) -> Vec<f64> {
        let n = x.len();
        let (got, traffic) = testing::run(async |lab| {
            let x = lab.share(x, ring, frac, Shape::new(n, 1));
            stock(lab, n, form).await;
            lab.measure(async |s| evaluate(s, &x, form).await).await
        });
        assert_eq!(traffic.cost, bill(Schedule::Throughput, n, form).cost());
        assert_eq!(traffic.cost.turns, if form.work_frac() == form.frac { 9 } else { 10 });
        reals(&got, form.ring, form.frac)
    }

    /// From `2^low` to `2^high` evenly in the exponent, and next to every power of two.
    fn raw(low: u32, high: u32) -> Vec<u64> {
        let steps = 200 * (high - low);
        let even = (0..steps).map(|i| (f64::from(low) + f64::from(i) / 200.0).exp2() as u64);
        even.chain((low + 1..=high).flat_map(|p| [(1 << p) - 1, (1 << p) - 2])).collect()
    }

    #[test]
    fn reciprocals_from_a_half_on() {
        for high in [20, 29] {
            let x = [vec![0], raw(13, high)].concat();
            let got = evaluated(&x, Ring::new(32), 14, &Form::reciprocal(14, 13..high));
            let (unit, mut worst) = (2f64.powi(-24), 0f64);
            assert!(got[0] <= unit);
            for (x, y) in x.iter().zip(&got).skip(1) {
                let exact = 2f64.powi(14) / *x as f64;
                worst = worst.max(((y - exact).abs() - 2.0 * unit) / exact);
            }
            eprintln!("reciprocal: relative error {worst:.2e} beside two units");
            assert!(worst < 2f64.powi(-14), "{worst}");
        }
    }

    #[test]
    fn inverse_roots_of_sums_of_squares() {
        for d in [64f64, 768.0] {
            let x = [vec![0, (1e-5 * d * 2f64.powi(36)) as u64], raw(26, 63)].concat();
            let form = Form::inverse_root(d.sqrt(), 36, 25..63);
            let got = evaluated(&x, Ring::new(64), 36, &form);
            let (unit, mut worst) = (2f64.powi(-26), 0f64);
            assert!(got[0] <= unit);
            for (x, y) in x.iter().zip(&got).skip(1) {
                let exact = (d / (*x as f64 * 2f64.powi(-36))).sqrt();
                worst = worst.max(((y - exact).abs() - 2.0 * unit) / exact);
            }
            eprintln!("inverse root: relative error {worst:.2e} beside two units");
            assert!(worst < 2f64.powi(-14), "{worst}");
        }
    }
}
