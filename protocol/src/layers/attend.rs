//! `[sum_j 2^(x_j - m) v_j]`, `[1 / sum_j 2^(x_j - m)] <- [x], [v]`: attention from scores to what
//! it makes of the values, before the division.
//!
//! 1. numerators `2^(x - m)` and their sums ([`mod@crate::softmax`]);
//! 2. the sums' reciprocals ([`crate::reciprocal`]), and meanwhile the numerators times all values
//!    so far ([`crate::kv_cache`]), shortened to the ring in which both meet.
//!
//! | client and server, by the latency schedule |                                           |
//! |--------------------------------------------|-------------------------------------------|
//! | first turn of the reciprocal               | `<- attention/open-values ->`             |
//! | second turn                                | `<- extend/cross ->`: the products shortened |
//! | the rest of it                             |                                           |
//!
//! So the products take no turn of their own; by the schedule of fewest bits they come first, in
//! two. Sums of values are checked ([`crate::overflow_check`]) to be below `2^16`. Errors, bounds
//! and leakage are those of the parts. Source: as theirs.

use sotto_shares::Share;

use crate::{
    Error, Precision, Schedule, Session,
    cost::CostModel,
    extend::{self, BegunSigned},
    in_parallel::InParallel,
    kv_cache::{BegunSums, KvCache, begin_sums},
    overflow_check, softmax,
};

/// Top bits of sums that are checked: units of `2^14`.
const CHECKED: u32 = 4;

/// Of scores `x` `[rows, positions]`, of which row `i` sees the first `visible[i]`, and of the
/// values of the new positions, `v`: sums of values in the ring and with the fraction bits in which
/// they meet the reciprocals, and those.
///
/// # Panics
/// As [`softmax::softmax`] and [`crate::kv_cache::scores`], which has come before.
pub async fn attend(
    s: &mut Session,
    cache: &mut KvCache,
    x: &Share,
    visible: &[usize],
    v: &Share,
) -> Result<[Share; 2], Error> {
    let (numerators, sums) = softmax::numerators(s, x, visible).await?;
    let mut values = Values { cache, numerators: &numerators, v, step: Step::Waiting };
    let reciprocal = softmax::reciprocals(s, &sums, visible, &mut values).await?;
    let Step::Done(sums) = values.step else { unreachable!("both turns have come") };
    Ok([sums, reciprocal])
}

/// The products with values, in two turns.
struct Values<'a> {
    cache: &'a mut KvCache,
    numerators: &'a Share,
    v: &'a Share,
    step: Step,
}

enum Step {
    Waiting,
    Opening(BegunSums),
    Extending(BegunSigned),
    Done(Share),
}

impl InParallel for Values<'_> {
    async fn begin(&mut self, s: &mut Session) -> Result<(), Error> {
        self.step = Step::Opening(begin_sums(s, self.cache, self.numerators, self.v)?);
        Ok(())
    }

    async fn turn(&mut self, s: &mut Session) -> Result<(), Error> {
        let Step::Opening(begun) = std::mem::replace(&mut self.step, Step::Waiting) else {
            unreachable!("it was begun")
        };
        let sums = begun.finish(s, self.cache).await?;
        overflow_check::numbers(s, &sums, CHECKED);
        // Rounded without bias, as every truncation is.
        let short = sums.truncate_reduce(sums.frac() - s.precision.power_frac()).add_public(s.me, 1);
        let (send, recv) = extend::cots(s.me, short.len());
        let cots = s.cots(send, recv).await?;
        self.step = Step::Extending(extend::begin_signed(s, cots, &short, s.precision.reciprocal().0)?);
        Ok(())
    }

    async fn finish(&mut self, s: &mut Session) -> Result<(), Error> {
        let Step::Extending(begun) = std::mem::replace(&mut self.step, Step::Waiting) else {
            unreachable!("it was begun")
        };
        self.step = Step::Done(begun.finish(s).await?);
        Ok(())
    }
}

/// What is sent for rows of scores that see so many positions, and which COTs and one-hots it
/// takes: of the values with so many weights, new values and results; without the overflow check.
pub fn cost(
    precision: Precision,
    schedule: Schedule,
    visible: &[usize],
    [weights, new, results]: [usize; 3],
) -> CostModel {
    let ring = precision.sums().bits();
    let opened = CostModel::mutual(&[ring as usize * (weights + new)], 0);
    let values =
        opened + extend::cost(results, &[(ring - precision.frac(), precision.reciprocal().0.bits())]);
    let reciprocals = softmax::reciprocals_cost(precision, schedule, visible);
    let numerators = softmax::numerators_cost(precision, schedule, visible);
    match schedule {
        Schedule::Throughput => numerators + values + reciprocals,
        Schedule::Latency => numerators + reciprocals.in_parallel(values),
    }
}

#[cfg(test)]
mod tests {
    use sotto_shares::{Shape, encode};

    use super::*;
    use crate::{
        kv_cache::{self, Heads},
        planner::{self, Need},
        testing::{self, Holder, Lab, Side, modes, reals},
    };

    const HEADS: Heads = Heads { key_value: 2, group: 2, width: 8 };

    /// New positions, all of which see all.
    const POSITIONS: usize = 5;

    fn values() -> Vec<f64> {
        (0..POSITIONS * 16).map(|i| (f64::from(i as u32) * 0.7).sin() * 3.0).collect()
    }

    fn scores() -> Vec<f64> {
        (0..20 * POSITIONS).map(|i| (f64::from(i as u32) * 1.3).cos() * 6.0).collect()
    }

    /// Values of the only step, whose scores are given instead of what the queries made.
    async fn attended<P: Holder>(
        lab: &mut Lab<P>,
        cache: &mut KvCache,
        mode: (Precision, Schedule),
    ) -> ([Share; 2], Side) {
        let (p, frac) = (mode.0, mode.0.frac());
        let zeros = |ring, rows, cols| Share::zeros(ring, frac, Shape::new(rows, cols));
        let (q, k) = (zeros(p.attention(), 20, 8), zeros(p.attention(), POSITIONS, 16));
        let visible = [POSITIONS; 20];
        let encoded = |x: Vec<f64>, ring| -> Vec<u64> { x.iter().map(|&x| encode(x, frac, ring)).collect() };
        let x = lab.share(&encoded(scores(), p.score()), p.score(), frac, Shape::new(20, POSITIONS));
        let v = lab.share(&encoded(values(), p.sums()), p.sums(), frac, Shape::new(POSITIONS, 16));
        lab.stock(&softmax::cost(p, mode.1, &visible)).await;
        lab.stock_cots(1 << 17).await;
        kv_cache::scores(lab.me.session(), cache, &q, &k).await.unwrap();
        lab.measure(async |me| attend(me.session(), cache, &x, &visible, &v).await).await
    }

    #[test]
    fn means_by_softmax_at_the_stated_cost() {
        for mode in modes() {
            let (precision, schedule) = mode;
            let ([sums, reciprocals], traffic) = testing::run_keyed(
                async |lab| {
                    (lab.me.session.precision, lab.me.session.schedule) = mode;
                    let mut cache = KvCache::new(HEADS, precision);
                    planner::ensure(&mut lab.me, vec![Need::positions(&mut cache, POSITIONS)]).await.unwrap();
                    attended(lab, &mut cache, mode).await
                },
                async |lab| {
                    (lab.me.session.precision, lab.me.session.schedule) = mode;
                    let mut cache = KvCache::new(HEADS, precision);
                    planner::ensure(&mut lab.me, vec![Need::positions(&mut cache, POSITIONS)]).await.unwrap();
                    attended(lab, &mut cache, mode).await
                },
            );
            let stated =
                cost(precision, schedule, &[POSITIONS; 20], [20 * POSITIONS, POSITIONS * 16, 20 * 8]);
            assert_eq!(traffic.cost, stated.total());
            let alone = softmax::cost(precision, schedule, &[POSITIONS; 20]).total().turns;
            let own = if schedule == Schedule::Throughput { 2 } else { 0 };
            assert_eq!(traffic.cost.turns, alone + own);
            let (ring, frac) = precision.reciprocal();
            let (sums, reciprocals) =
                (reals(&sums, ring, precision.power_frac()), reals(&reciprocals, ring, frac));
            for (i, row) in scores().chunks(POSITIONS).enumerate() {
                let weights = softmax::ideal(row);
                for c in 0..8 {
                    let column = i / 10 * 8 + c;
                    let want: f64 =
                        weights.iter().enumerate().map(|(j, w)| w * values()[j * 16 + column]).sum();
                    let got = sums[i * 8 + c] * reciprocals[i];
                    assert!((got - want).abs() < [3e-3, 1e-3][precision as usize], "{got} is {want}");
                }
            }
        }
    }
}
