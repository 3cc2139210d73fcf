//! Softmax of rows of scores, left unnormalised: numerators `2^(x - m)` and the reciprocal of their
//! sum.
//!
//! Scores come in base-2 units (`log2 e / sqrt d` is folded into the query's weights), with an
//! activation's fraction bits and 14 integer bits. Below 768 in magnitude they pass the overflow
//! check, from 1024 on they do not, and what passes is exact: passing shares give coarse numbers of
//! step 1 in `[-2048, 2046]`, whose differences fit 13 bits ([`crate::overflow_check`]).
//!
//! 1. `m`: the row maximum to one fraction bit, on 13-bit shares ([`crate::maximum`]); being off by
//!    a unit only scales numerators and denominator alike;
//! 2. numerators `2^(x - m)` with two fraction bits more ([`crate::exp2`]);
//! 3. their sum, local, and its reciprocal ([`crate::reciprocal`]).
//!
//! The caller multiplies numerators by values first and by the reciprocal afterwards: `d` products
//! a row, not `n`. A causal mask is the omission of what a row may not see.
//!
//! | turns | throughput | latency |
//! |---|---|---|
//! | maximum of `n <= 8` | 5, 6 or 11: two, four, eight | `4 ceil(log8 n)` at most |
//! | maximum of more | `12 + 5 ceil(log2(n / 16))` | the same |
//! | powers and reciprocal | 14 up to 8 entries, 16 up to 64, 17 above | 6; 8 by high precision beyond 4096 |
//! | for every further 2^17 scores | 7 | 3 |
//! | for every 2^18 scores that are checked | 2 | 2 |
//!
//! Error in total variation: an entry is off by 4 units `2^-g` of [`mod@crate::exp2`] at most, so a
//! row by `4 n 2^-g / S` at worst, where `S >= 1` is its sum in units of the largest power or half
//! of it. Entries near `2^-g` are off by half a unit in the mean: a row of one large score and `n`
//! such is off by `n 2^-g / S` at most. On normal scores of 128 entries `5e-4` was never
//! exceeded, by high precision `1.3e-4`. No leakage. Source: this project.

use sotto_shares::{Ring, Shape, Share};

use crate::{
    Error, Precision, Schedule, Session,
    cost::CostModel,
    exp2::exp2,
    in_parallel::InParallel,
    maximum::row_max,
    overflow_check,
    reciprocal::{self, Form},
};

/// Top bits of scores that are checked: units of 256.
const CHECKED: u32 = 6;
/// Fraction bits kept in the maximum.
const MAX_FRAC: u32 = 1;
/// Integer bits of the sum of numerators.
const SUM: u32 = 18;

/// Numerators and reciprocals of their sums.
pub struct Softmax {
    /// `[T, n]` in the ring of attention's weights; zero where a row does not see.
    pub numerators: Share,
    /// `[T, 1]` in the reciprocal's ring.
    pub reciprocal: Share,
}

/// Softmax of the first `visible[i]` entries of each row `i` of `x` `[T, n]`.
///
/// # Panics
/// If a row sees nothing, or `x` is not in the ring of scores with their fraction bits.
pub async fn softmax(s: &mut Session, x: &Share, visible: &[usize]) -> Result<Softmax, Error> {
    let (numerators, sums) = numerators(s, x, visible).await?;
    Ok(Softmax { numerators, reciprocal: reciprocals(s, &sums, visible, &mut ()).await? })
}

/// Steps 1 and 2: numerators and their sums.
pub(crate) async fn numerators(
    s: &mut Session,
    x: &Share,
    visible: &[usize],
) -> Result<(Share, Share), Error> {
    let (precision, ring) = (s.precision, s.precision.sums());
    assert_eq!((x.ring(), x.frac()), (precision.score(), precision.frac()), "scale of scores");
    assert_eq!(visible.len(), x.shape().rows, "one length per row");
    let n = x.shape().cols;
    let seen: Vec<u64> =
        (0..visible.len()).flat_map(|i| &x.data()[i * n..i * n + visible[i]]).copied().collect();
    let seen = Share::new(x.ring(), x.frac(), Shape::new(seen.len(), 1), seen);
    overflow_check::numbers(s, &seen, CHECKED);
    overflow_check::run_if_full(s).await?;
    let x = x.reduce(precision.exponent());
    let seen = seen.reduce(x.ring());

    let coarse = seen.truncate_reduce(x.frac() - MAX_FRAC);
    let max = row_max(s, &coarse, visible).await?.widen_left(x.frac() - MAX_FRAC);
    let spread = max.data().iter().zip(visible).flat_map(|(&m, &n)| std::iter::repeat_n(m, n)).collect();
    let shifted = &seen - &Share::new(x.ring(), x.frac(), seen.shape(), spread);

    let powers = exp2(s, &shifted, ring).await?;
    let sum_ring = Ring::new(powers.frac() + SUM);
    let mut numerators = vec![0; x.len()];
    let mut sums = Vec::with_capacity(visible.len());
    let mut rest = powers.data();
    for (i, &m) in visible.iter().enumerate() {
        let (row, after) = rest.split_at(m);
        numerators[i * n..i * n + m].copy_from_slice(row);
        sums.push(sum_ring.reduce(row.iter().fold(0u64, |a, b| a.wrapping_add(*b))));
        rest = after;
    }
    let sums = Share::new(sum_ring, powers.frac(), Shape::new(visible.len(), 1), sums);
    Ok((Share::new(ring, powers.frac(), x.shape(), numerators), sums))
}

/// Step 3: the sums' reciprocals, with what travels along.
pub(crate) async fn reciprocals(
    s: &mut Session,
    sums: &Share,
    visible: &[usize],
    other: &mut impl InParallel,
) -> Result<Share, Error> {
    let longest = visible.iter().copied().max().unwrap_or(1);
    reciprocal::evaluate_in_parallel(s, sums, &normaliser(s.precision, s.schedule, longest), other).await
}

/// The reciprocal of a row's sum: its largest numerator is about 1 at least and, as the maximum is
/// less than 1 below the largest score, below 2.
fn normaliser(precision: Precision, schedule: Schedule, entries: usize) -> Form {
    let frac = precision.power_frac();
    let least = frac - 1;
    Form::reciprocal(precision, schedule, frac, least..least + 2 + entries.next_power_of_two().ilog2())
}

/// The functionality in real arithmetic: the normalised row, in base-2 units.
pub fn ideal(row: &[f64]) -> Vec<f64> {
    let max = row.iter().copied().fold(f64::MIN, f64::max);
    let powers: Vec<f64> = row.iter().map(|x| (x - max).exp2()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|p| p / sum).collect()
}

/// What is sent online for rows that see so many entries, and which COTs it takes; without the
/// overflow check.
pub fn cost(precision: Precision, schedule: Schedule, visible: &[usize]) -> CostModel {
    numerators_cost(precision, schedule, visible) + reciprocals_cost(precision, schedule, visible)
}

/// The same of steps 1 and 2.
pub(crate) fn numerators_cost(precision: Precision, schedule: Schedule, visible: &[usize]) -> CostModel {
    let compared = precision.exponent().bits() - precision.frac() + MAX_FRAC;
    crate::maximum::cost(schedule, visible, compared)
        + crate::exp2::cost(precision, schedule, visible.iter().sum(), precision.sums().bits())
}

/// The same of step 3.
pub(crate) fn reciprocals_cost(precision: Precision, schedule: Schedule, visible: &[usize]) -> CostModel {
    let longest = visible.iter().copied().max().unwrap_or(1);
    reciprocal::cost(visible.len(), &normaliser(precision, schedule, longest))
}

#[cfg(test)]
pub(crate) mod tests {
    use sotto_shares::encode;

    use super::*;
    use crate::testing::{self, reals};

    /// The stated total variation.
    const STATED: [f64; 2] = [5e-4, 1.3e-4];

    /// The total variation between each row and the real softmax.
    fn distances(precision: Precision, schedule: Schedule, rows: &[Vec<f64>]) -> Vec<f64> {
        let (scores, frac, ring) = (precision.score(), precision.frac(), precision.sums());
        let cols = rows.iter().map(Vec::len).max().unwrap();
        let visible: Vec<usize> = rows.iter().map(Vec::len).collect();
        let padded = rows.iter().flat_map(|row| row.iter().copied().chain(std::iter::repeat(7.0)).take(cols));
        let raw: Vec<u64> = padded.map(|x| encode(x, frac, scores)).collect();
        let ((numerators, reciprocals), traffic) = testing::run(async |lab| {
            (lab.me.schedule, lab.me.precision) = (schedule, precision);
            let x = lab.share(&raw, scores, frac, Shape::new(rows.len(), cols));
            lab.stock(&cost(precision, schedule, &visible)).await;
            lab.stock_cots(1 << 19).await;
            let evaluated = async |s: &mut Session| {
                let out = softmax(s, &x, &visible).await?;
                Ok((out.numerators, out.reciprocal))
            };
            lab.measure(evaluated).await
        });
        assert_eq!(traffic.cost, cost(precision, schedule, &visible).total());
        let few = [8, 64].into_iter().filter(|&n| cols <= n).count();
        let (after, levels) = ([17, 16, 14][few], testing::log2_ceil(cols));
        match schedule {
            Schedule::Throughput => {
                let (mut players, mut turns) = (cols, after);
                while players > 1 {
                    let four = (3..=16).contains(&players);
                    turns += 5 + u64::from(four);
                    players = players.div_ceil(if four { 4 } else { 2 });
                }
                assert_eq!(traffic.cost.turns, turns);
            }
            Schedule::Latency => {
                assert!(traffic.cost.turns <= 4 * levels.div_ceil(3) + 6);
            }
        }
        let numerators = reals(&numerators, ring, precision.power_frac());
        let (ring, frac) = precision.reciprocal();
        let reciprocals = reals(&reciprocals, ring, frac);
        let distance = |(i, row): (usize, &Vec<f64>)| {
            let got = &numerators[i * cols..(i + 1) * cols];
            assert!(got[row.len()..].iter().all(|&y| y == 0.0), "what is not visible is zero");
            let differences = ideal(row).into_iter().zip(got).map(|(p, q)| (p - q * reciprocals[i]).abs());
            differences.sum::<f64>() / 2.0
        };
        rows.iter().enumerate().map(distance).collect()
    }

    /// About normal, of standard deviation `spread`.
    fn scores(n: usize, spread: f64, seed: u64) -> Vec<f64> {
        let draws = testing::elements(12 * n + 8, Ring::new(32));
        let draws: Vec<f64> = draws[8..].iter().map(|&u| u as f64 / 2f64.powi(32)).collect();
        let shift = seed as usize * 5 % (12 * n);
        (0..n)
            .map(|i| (0..12).map(|j| draws[(12 * i + j + shift) % (12 * n)]).sum::<f64>() - 6.0)
            .map(|x| x * spread)
            .collect()
    }

    #[test]
    fn rows_of_128_are_within_the_stated_distance() {
        let rows: Vec<Vec<f64>> =
            [2.0, 2.0, 2.0, 8.0, 0.5].iter().zip(1..).map(|(s, i)| scores(128, *s, i)).collect();
        for (precision, schedule) in testing::modes() {
            let distances = distances(precision, schedule, &rows);
            eprintln!("softmax of 128, {precision:?}: total variation {distances:?}");
            assert!(distances.iter().all(|&d| d < STATED[precision as usize]), "{distances:?}");
        }
    }

    #[test]
    fn rows_of_all_lengths_take_the_stated_turns() {
        for (precision, schedule) in testing::modes() {
            for n in [2, 8, 9, 64, 65] {
                assert!(distances(precision, schedule, &[scores(n, 3.0, 5)])[0] < STATED[precision as usize]);
            }
        }
    }

    /// A row that looks at one position, and at all others a little, down to less than a unit.
    #[test]
    fn one_large_score_above_a_long_tail() {
        for (precision, schedule) in testing::modes() {
            let frac = f64::from(precision.power_frac());
            let tails = [-0.5, -1.5, -3.0, -5.0, -8.0];
            let row = |above: f64| -> Vec<f64> {
                let mut row = vec![-0.5; 128];
                row[40] = frac + above;
                row
            };
            let rows: Vec<Vec<f64>> = tails.map(row).to_vec();
            let distances = distances(precision, schedule, &rows);
            eprintln!("softmax of a peak, {precision:?}, {schedule:?}: total variation {distances:?}");
            let worst = 127.0 * (-frac).exp2();
            assert!(distances.iter().all(|&d| d < worst), "{distances:?}");
        }
    }

    #[test]
    fn ragged_rows_and_extreme_scores() {
        let mut peak = vec![-1000.0; 9];
        peak[4] = 1000.0;
        let rows = vec![
            peak,
            vec![3.25],
            vec![-2000.0],
            vec![1.0; 7],
            vec![250.0, -255.0],
            (0..16).map(f64::from).collect(),
            vec![-1023.5, 1023.75, 1023.75],
        ];
        for precision in Precision::ALL {
            let distances = distances(precision, Schedule::Throughput, &rows);
            eprintln!("softmax of extremes, {precision:?}: total variation {distances:?}");
            assert!(distances.iter().all(|&d| d < [2e-4, 5e-5][precision as usize]), "{distances:?}");
        }
    }
}
