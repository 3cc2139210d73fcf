//! `[1/x] <- [x]` and `[1/sqrt(x)] <- [x]` for a positive number of any size, one a row.
//!
//! 1. a position `p` with `2^(p-1) < x < 2^(p+1)` ([`crate::leading_one`]), among those that public
//!    bounds on `x` leave, rounded down to a multiple of a step `k`;
//! 2. `u = x 2^-p` in `(1/2, 2^k)`, selected from the local shifts of `x` ([`crate::select`]), 17
//!    fraction bits or so (19 by high precision);
//! 3. a piecewise-linear table `y` of `1/u` or `1/sqrt(u)` ([`crate::segments`]);
//! 4. the result, `y` times a public power of two and `2^-p` or `2^(-p/2)`, selected from shifts of
//!    `y` in a ring that holds them all;
//! 5. a truncation, where that ring has more fraction bits than the result.
//!
//! In turn, with steps of one, or of two for roots, ten turns: position 4 (or 2:
//! [`crate::leading_one`]), shift 1, table 2, extension 1, selection 1, and truncation 1 where it
//! is needed. By the latency schedule, and for roots by either, as a norm takes one a row, the
//! table is evaluated for every shift while the position is looked for, and step 2 is not needed:
//! more bits for fewer turns. The latency schedule takes twice the step, a wider table, and draws
//! its lines in a ring so large that nothing is extended or truncated:
//!
//! | turn | position | for every shift `u` of `x`, latency | roots, throughput |
//! |---|---|---|---|
//! | 1 | `<- leading-one/anticipate ->` | `<- segments/open ->` | the same |
//! | 2 | `<- lookup/open ->` | `<- segments/cross ->` | the same |
//! | | `<- and/cross ->` for two groups | | `<- extend/cross ->` |
//! | 3 | `<- pick/cross ->` of the numbers by the position |||
//!
//! A shift that is not the number's may give anything, also -1, which is extended wrongly: it is
//! multiplied by zero.
//!
//! Where that ring would exceed 62 bits (by high precision beyond 4096 numerators), it is extended
//! and truncated as well, in five turns; and where there are more than twelve places, the position
//! takes two groups and a turn more.
//!
//! Relative error of reciprocals `2^-14`, by high precision `2^-16`, of roots `7e-5` and `1.8e-5`,
//! at most (dropped carries included), and two units of the result, which are more where the result
//! is small. `x = 0` gives one unit at most. No leakage. From stock: the parts' entries. Source:
//! SIRNN (2021/459), section 4.3, with anticipation for its position, selects for its products, a
//! table and no iteration.

use std::ops::Range;

use sotto_shares::{Party, Ring, Shape, Share, XorShare};

use crate::{
    Error, Precision, Schedule, Session, and,
    cost::CostModel,
    extend::{self, extend_positive},
    in_parallel::InParallel,
    leading_one::{self, leading_one},
    lookup,
    mul::subtract,
    open, segments,
    select::select,
    tables::{self, Segments},
    truncate::truncate,
};

/// What to compute of which numbers, how exactly, and by which schedule.
pub struct Form {
    schedule: Schedule,
    table: &'static Segments,
    /// Positions of the leading one that share a shift.
    step: u32,
    /// Shifts to expect, in steps.
    shifts: Range<u32>,
    /// The result is `2^(exponent - fall t) y` for shift `t`.
    exponent: i32,
    fall: u32,
    /// log2 of the largest result.
    most: u32,
    ring: Ring,
    frac: u32,
}

impl Form {
    /// `1/x` of numbers with `frac` fraction bits, above 1/2, whose highest set bit is among
    /// `leads`: ring and fraction of [`Precision::reciprocal`].
    pub fn reciprocal(precision: Precision, schedule: Schedule, frac: u32, leads: Range<u32>) -> Form {
        let (ring, result_frac) = precision.reciprocal();
        let (table, step) = match schedule {
            Schedule::Throughput => (tables::reciprocal(precision), 1),
            Schedule::Latency => (tables::wide_reciprocal(precision), 2),
        };
        let (exponent, most) = (frac as i32, 1);
        Form {
            schedule,
            table,
            step,
            shifts: shifts(leads, step),
            exponent,
            fall: step,
            most,
            ring,
            frac: result_frac,
        }
    }

    /// `2^factor / sqrt(x)` of numbers with `frac` fraction bits whose highest set bit is among
    /// `leads`: in `ring`, 26 or 28 fraction bits.
    ///
    /// # Panics
    /// If the number of fraction bits is odd.
    pub fn inverse_root(
        precision: Precision,
        schedule: Schedule,
        factor: u32,
        frac: u32,
        leads: Range<u32>,
        ring: Ring,
    ) -> Form {
        assert!(frac.is_multiple_of(2), "an even number of fraction bits");
        let (table, step) = match schedule {
            Schedule::Throughput => (tables::inverse_root(precision), 2),
            Schedule::Latency => (tables::wide_inverse_root(precision), 4),
        };
        let exponent = (factor + frac / 2) as i32;
        let most = (factor + frac.saturating_sub(leads.start).div_ceil(2) + 1).max(14);
        Form {
            schedule,
            table,
            step,
            shifts: shifts(leads, step),
            exponent,
            fall: step / 2,
            most,
            ring,
            frac: precision.frac() + 14,
        }
    }

    /// How far `y` with the result's fraction bits is shifted to the left for each shift of `x`, or
    /// to the right where that is negative.
    fn left_shifts(&self) -> Vec<i32> {
        let first = self.frac as i32 + self.exponent - self.table.fit.value_frac as i32;
        self.shifts.clone().map(|t| first - (self.fall * t) as i32).collect()
    }

    /// Share `x` at shift number `j`, as an argument of the table.
    fn shifted(&self, x: u64, j: usize) -> u64 {
        let by = ((self.shifts.start + j as u32) * self.step) as i32 - self.table.fit.argument_frac as i32;
        if by < 0 { x << -by } else { x >> by }
    }

    /// The ring of the table's argument.
    fn window(&self) -> Ring {
        Ring::new(self.table.fit.index_bits + self.table.fit.shift)
    }

    /// Whether all shifts are evaluated at once: if turns matter, or for roots, of which a norm
    /// takes one a row, and the position comes from two lookups at most.
    fn at_once(&self) -> bool {
        (self.schedule == Schedule::Latency || self.fall < self.step)
            && leading_one::grouping(Schedule::Latency, self.shifts.len() as u32).0 <= 2
    }

    /// How the values get from the table to the result's ring.
    fn widening(&self) -> Widening {
        let lefts = self.left_shifts();
        let least = lefts.iter().copied().min().expect("there are shifts");
        let lines = (self.ring.bits() as i32 - least) as u32;
        if self.at_once() && self.schedule == Schedule::Latency && lines <= WIDEST {
            return Widening { lines: Ring::new(lines), ring: self.ring, drop: 0, lefts };
        }
        // As many fraction bits more as the least result takes.
        let drop = (-least).max(0) as u32;
        let ring = if drop == 0 { self.ring } else { Ring::new(self.frac + drop + self.most + 2) };
        let lefts = lefts.into_iter().map(|left| left + drop as i32).collect();
        Widening { lines: Ring::new(self.table.ring_bits), ring, drop, lefts }
    }
}

/// Bits of the widest ring of a line: two are left for what its slope's products are rounded to.
const WIDEST: u32 = 62;

/// The shifts by `step` positions each that may bring a number whose highest set bit is among
/// `leads` to the table; the position may be the one above.
fn shifts(leads: Range<u32>, step: u32) -> Range<u32> {
    leads.start / step..leads.end / step + 1
}

/// From the table's values to the result.
struct Widening {
    /// The ring of a line.
    lines: Ring,
    /// The ring in which one of them is selected.
    ring: Ring,
    /// Fraction bits of `ring` that are dropped afterwards.
    drop: u32,
    /// How far values are shifted to the left for each shift of the number; where that is negative,
    /// their shares are shifted to the right.
    lefts: Vec<i32>,
}

impl Widening {
    /// The least ring from which every shifted value is known in `ring`.
    fn least_ring(&self) -> Ring {
        Ring::new((self.ring.bits() as i32 - self.lefts.iter().min().expect("there are shifts")) as u32)
    }

    /// Whether a line's ring is short of that.
    fn extends(&self) -> bool {
        self.lines < self.least_ring()
    }

    /// What a selected value is shifted by.
    fn selected(&self) -> Vec<u32> {
        self.lefts.iter().map(|&left| left.max(0) as u32).collect()
    }

    /// A share of value number `j` as it is selected: where digits are dropped without bias.
    fn value(&self, me: Party, y: u64, j: usize) -> u64 {
        match self.lefts[j] {
            left if left < 0 => (y >> -left).wrapping_add(me.server_only(1)),
            _ => y,
        }
    }
}

/// Evaluates `form` on every element of `x`, `0 < x < 2^(l-1)`.
pub async fn evaluate(s: &mut Session, x: &Share, form: &Form) -> Result<Share, Error> {
    evaluate_in_parallel(s, x, form, &mut ()).await
}

/// As [`evaluate`], with another protocol of two turns: in parallel if all shifts are evaluated at
/// once, before it otherwise.
pub(crate) async fn evaluate_in_parallel(
    s: &mut Session,
    x: &Share,
    form: &Form,
    other: &mut impl InParallel,
) -> Result<Share, Error> {
    let widening = form.widening();
    let out = if form.at_once() {
        at_once(s, x, form, &widening, other).await?
    } else {
        other.begin(s).await?;
        other.turn(s).await?;
        other.finish(s).await?;
        in_turn(s, x, form, &widening).await?
    };
    let out = Share::new(widening.ring, form.frac + widening.drop, x.shape(), out);
    if widening.drop == 0 { Ok(out) } else { truncate(s, &out, widening.drop, form.ring).await }
}

/// Steps 1 to 4.
async fn in_turn(s: &mut Session, x: &Share, form: &Form, widening: &Widening) -> Result<Vec<u64>, Error> {
    let window = form.window();
    let lead = leading_one(s, x, form.shifts.clone(), form.step).await?;
    let unshifted = vec![0; form.shifts.len()];
    let u = select(s, &lead, window, &unshifted, |i, j| form.shifted(x.data()[i], j)).await?;
    let u = Share::new(window, form.table.fit.argument_frac, x.shape(), u);
    let y = segments::evaluate(s, &u, form.table).await?;
    let [y] = extend_positive(s, [(&y, widening.ring)]).await?;
    select(s, &lead, widening.ring, &widening.selected(), |i, _| y.data()[i]).await
}

/// Steps 1 to 4 in three turns, or four.
async fn at_once(
    s: &mut Session,
    x: &Share,
    form: &Form,
    widening: &Widening,
    other: &mut impl InParallel,
) -> Result<Vec<u64>, Error> {
    let (n, m, fit) = (x.len(), form.shifts.len(), &form.table.fit);
    let (groups, size) = leading_one::grouping(Schedule::Latency, m as u32);
    let masks = s.one_hots(fit.index_bits, Ring::new(fit.index_bits), n * m).await?;
    let lookups = s.one_hots(size, Ring::new(size), groups as usize * n).await?;
    let (ands, extended) = (if groups == 2 { n } else { 0 }, if widening.extends() { n * m } else { 0 });
    let [of_string, of_lines, of_ands, of_extensions] = s
        .cots_for([
            leading_one::cots(s.me, n, m, form.step),
            segments::cots(s.me, n * m, form.table),
            (ands, ands),
            extend::cots(s.me, extended),
        ])
        .await?;

    let u = x.data().iter().flat_map(|&x| (0..m).map(move |j| form.shifted(x, j)));
    let u = u.map(|u| form.window().reduce(u)).collect();
    let u = Share::new(form.window(), fit.argument_frac, Shape::new(n, m), u);
    let masked = subtract(&u.truncate_reduce(fit.shift), masks.index());
    let string = leading_one::begin(s, of_string, x, form.shifts.clone(), form.step)?;
    open::send(s, segments::OPEN, [&masked])?;
    other.begin(s).await?;
    let string = string.finish(s).await?;
    let [opened] = open::receive(s, segments::OPEN, [&masked]).await?;
    let located = masks.rotate(&opened);
    other.turn(s).await?;

    let table = leading_one::highest_table(size);
    let inner = lookup::begin(s, lookups, &leading_one::split(&string, groups, size), &table)?;
    let entries = sotto_net::compute(|| located.parity(&form.table.columns));
    let lines = segments::begin(s, of_lines, &u, entries, form.table, widening.lines)?;
    other.finish(s).await?;
    let inner = inner.finish(s).await?;
    let mut y = lines.finish(s).await?.add_public(s.me, form.table.offset.wrapping_neg());

    let lower = match leading_one::lower_of_two(s, &inner, groups) {
        None => None,
        Some((none_above, lower)) => Some(and::begin(s, of_ands, &none_above, &lower)?),
    };
    let extension = if widening.extends() {
        Some(extend::begin(s, of_extensions, [(&y, widening.least_ring())])?)
    } else {
        None
    };
    let lead: XorShare = match lower {
        None => inner,
        Some(lower) => leading_one::joined(&inner, &lower.finish(s).await?, m as u32),
    };
    if let Some(extension) = extension {
        [y] = extension.finish(s).await?;
    }
    let me = s.me;
    select(s, &lead, widening.ring, &widening.selected(), |i, j| widening.value(me, y.data()[i * m + j], j))
        .await
}

/// What is sent for `n` numbers, and which COTs it takes.
pub fn cost(n: usize, form: &Form) -> CostModel {
    let (widening, m) = (form.widening(), form.shifts.len());
    let Widening { lines, ring, drop, .. } = widening;
    let looked_for = if form.at_once() { Schedule::Latency } else { form.schedule };
    let position = crate::leading_one::cost(looked_for, n, m as u32, form.step);
    let last = crate::select::cost(n, ring.bits(), &widening.selected());
    let most = if form.at_once() {
        let mut values = crate::segments::cost(n * m, form.table, lines);
        if widening.extends() {
            values = values + crate::extend::cost(n * m, &[(lines.bits(), widening.least_ring().bits())]);
        }
        position.in_parallel(values) + last
    } else {
        position
            + crate::select::cost(n, form.window().bits(), &vec![0; m])
            + crate::segments::cost(n, form.table, lines)
            + crate::extend::cost(n, &[(lines.bits(), ring.bits())])
            + last
    };
    if drop == 0 { most } else { most + crate::extend::cost(n, &[(ring.bits() - drop, form.ring.bits())]) }
}

#[cfg(test)]
pub(crate) mod tests {
    use sotto_shares::Shape;

    use super::*;
    use crate::{
        Schedule,
        testing::{self, Holder, Lab, reals},
    };

    /// What one call draws from stock besides COTs.
    pub(crate) async fn stock<P: Holder>(lab: &mut Lab<P>, n: usize, form: &Form) {
        lab.stock(&cost(n, form)).await;
        let tables = if form.at_once() { form.shifts.len() } else { 1 };
        lab.stock_cots(n * (200 + 100 * tables)).await;
    }

    fn evaluated(x: &[u64], ring: Ring, frac: u32, form: &Form) -> Vec<f64> {
        let n = x.len();
        let (got, traffic) = testing::run(async |lab| {
            lab.me.schedule = form.schedule;
            let x = lab.share(x, ring, frac, Shape::new(n, 1));
            stock(lab, n, form).await;
            lab.measure(async |s| evaluate(s, &x, form).await).await
        });
        assert_eq!(traffic.cost, cost(n, form).total());
        let dropped = u64::from(form.widening().drop > 0);
        let turns = match (form.schedule, form.at_once()) {
            (Schedule::Latency, true) => 3 + u64::from(form.widening().extends()),
            (_, true) => 4,
            (_, false) => 9,
        };
        assert_eq!(traffic.cost.turns, turns + dropped);
        reals(&got, form.ring, form.frac)
    }

    /// From `2^low` to `2^high` evenly in the exponent, and next to every power of two.
    fn raw(low: u32, high: u32) -> Vec<u64> {
        let each = 200 / testing::stride(5) as u32;
        let even =
            (0..each * (high - low)).map(|i| (f64::from(low) + f64::from(i) / f64::from(each)).exp2() as u64);
        even.chain((low + 1..=high).flat_map(|p| [(1 << p) - 1, (1 << p) - 2])).collect()
    }

    /// The stated relative error.
    fn stated(precision: Precision) -> f64 {
        2f64.powi(-2 - precision.frac() as i32)
    }

    #[test]
    fn reciprocals_from_a_half_on() {
        for (precision, schedule) in testing::modes() {
            let frac = precision.power_frac();
            // Sums of up to 64, 512 and 2^15 numerators.
            for long in [6, 9, 15] {
                let leads = frac - 1..frac + long;
                let x = [vec![0], raw(leads.start, leads.end)].concat();
                let form = Form::reciprocal(precision, schedule, frac, leads);
                let got = evaluated(&x, Ring::new(frac + 18), frac, &form);
                let (unit, mut worst) = ((-f64::from(form.frac)).exp2(), 0f64);
                assert!(got[0] <= unit);
                for (x, y) in x.iter().zip(&got).skip(1) {
                    let exact = f64::from(frac).exp2() / *x as f64;
                    worst = worst.max(((y - exact).abs() - 2.0 * unit) / exact);
                }
                eprintln!("reciprocal, {precision:?}: relative error {worst:.2e} and two units");
                assert!(worst < stated(precision), "{worst}");
            }
        }
    }

    #[test]
    fn inverse_roots_of_sums_of_squares() {
        let cases = testing::modes().zip([vec![3], vec![5, 0], vec![4], vec![5, 0]]);
        for ((precision, schedule), factors) in cases {
            for factor in factors {
                let d = f64::from(1u32 << (2 * factor));
                let x = [vec![0, (1e-5 * d * 2f64.powi(36)) as u64], raw(26, 63)].concat();
                let ring = Ring::new(precision.frac() + 42);
                let form = Form::inverse_root(precision, schedule, factor, 36, 24..63, ring);
                let got = evaluated(&x, Ring::new(64), 36, &form);
                let (unit, mut worst) = ((-f64::from(form.frac)).exp2(), 0f64);
                assert!(got[0] <= unit);
                for (x, y) in x.iter().zip(&got).skip(1).filter(|(x, _)| **x >= 1 << 25) {
                    let exact = (d / (*x as f64 * 2f64.powi(-36))).sqrt();
                    worst = worst.max(((y - exact).abs() - 2.0 * unit) / exact);
                }
                eprintln!("inverse root, {precision:?}: relative error {worst:.2e} and two units");
                assert!(worst < stated(precision), "{worst}");
            }
        }
    }

    /// Few places: a single lookup, nothing to join.
    #[test]
    fn a_short_row_takes_three_turns_too() {
        for precision in Precision::ALL {
            let frac = precision.power_frac();
            let (x, leads) = (raw(frac - 1, frac + 3), frac - 1..frac + 3);
            let form = Form::reciprocal(precision, Schedule::Latency, frac, leads);
            let got = evaluated(&x, Ring::new(frac + 18), frac, &form);
            let off = |(x, y): (&u64, &f64)| (y * *x as f64 / f64::from(frac).exp2() - 1.0).abs();
            let worst = x.iter().zip(&got).map(off).fold(0.0, f64::max);
            assert!(worst < stated(precision) * (1.0 + 2f64.powi(-6)), "{worst}");
        }
    }
}
