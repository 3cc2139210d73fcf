//! Attacks on small instances through windows, and where windows are found.

use crate::estimator::{Lpn, densest_window, peeled_window, random_window};
use crate::toy::{Bits, Echelon, Instance, Random};
use std::collections::HashMap;

const LPN: Lpn = Lpn { n: 3200, k: 300, t: 100, locality: 10 };

/// Coordinates to expect some 50 samples more than coordinates, the checks to decode with.
const COORDINATES: usize = 236;

/// Samples that use chosen coordinates only.
struct Window {
    /// Place of a coordinate in the window.
    place: Vec<Option<usize>>,
    samples: Vec<usize>,
}

impl Window {
    fn random(instance: &Instance, random: &mut Random) -> Self {
        let mut place = vec![None; LPN.k as usize];
        let chosen = random.subset(COORDINATES, place.len());
        chosen.iter().enumerate().for_each(|(i, &x)| place[x] = Some(i));
        let inside = |&j: &usize| instance.rows[j].iter().all(|&x| place[x].is_some());
        let samples = (0..instance.y.len()).filter(inside).collect();
        Self { place, samples }
    }

    fn coordinates<'a>(&'a self, instance: &'a Instance, sample: usize) -> impl Iterator<Item = usize> + 'a {
        instance.rows[sample].iter().filter_map(|&x| self.place[x])
    }

    /// Checks on the samples: for each sample the checks it is in, as bits, and the checks that
    /// fail.
    fn checks(&self, instance: &Instance) -> (Vec<u64>, u64) {
        let (v, m) = (COORDINATES, self.samples.len());
        let mut basis = Echelon::new(v);
        let rows = self.samples.iter().enumerate().map(|(i, &sample)| {
            let y = instance.y[sample].then_some(v + m);
            Bits::new(v + m + 1, self.coordinates(instance, sample).chain([v + i]).chain(y))
        });
        let checks: Vec<Bits> = rows.filter_map(|row| basis.insert(row)).take(64).collect();
        let word = |i: usize| checks.iter().rev().fold(0, |word, check| word << 1 | u64::from(check.get(i)));
        ((v..v + m).map(word).collect(), word(v + m))
    }

    /// Up to two noisy samples that explain the checks.
    fn noise(&self, instance: &Instance) -> Option<Vec<usize>> {
        let (columns, syndrome) = self.checks(instance);
        let mut by_column = HashMap::from([(0, None)]);
        by_column.extend(columns.iter().zip(&self.samples).map(|(&column, &sample)| (column, Some(sample))));
        by_column.iter().find_map(|(column, &first)| {
            let &second = by_column.get(&(column ^ syndrome))?;
            Some(first.into_iter().chain(second).collect())
        })
    }

    /// The secret from the window's noise, by majority outside of it. Complements count as equal.
    fn secret(&self, instance: &Instance, noise: &[usize]) -> Vec<bool> {
        let mut basis = Echelon::new(COORDINATES);
        for &sample in &self.samples {
            let y = (instance.y[sample] ^ noise.contains(&sample)).then_some(COORDINATES);
            basis.insert(Bits::new(COORDINATES + 1, self.coordinates(instance, sample).chain(y)));
        }
        let inside = basis.solution();
        let mut votes = vec![0; LPN.k as usize];
        for (row, &y) in instance.rows.iter().zip(&instance.y) {
            let outside: Vec<usize> = row.iter().copied().filter(|&x| self.place[x].is_none()).collect();
            if let [x] = outside[..] {
                let sum = row.iter().filter_map(|&x| self.place[x]).fold(y, |sum, i| sum ^ inside[i]);
                votes[x] += if sum { 1 } else { -1 };
            }
        }
        votes.iter().zip(&self.place).map(|(&votes, place)| place.map_or(votes > 0, |i| inside[i])).collect()
    }
}

/// Whether the secret leaves one noisy sample in each block, which no wrong one does.
fn is_right(instance: &Instance, secret: &[bool]) -> bool {
    let noisy = |j: usize| instance.rows[j].iter().fold(instance.y[j], |sum, &x| sum ^ secret[x]);
    (0..LPN.t as usize)
        .all(|i| (i * instance.block..(i + 1) * instance.block).filter(|&j| noisy(j)).count() == 1)
}

/// Windows tried until one gives the secret, and the sum of their chances.
fn attack(seed: u64) -> (usize, f64) {
    let mut random = Random(seed);
    let (t, block) = (LPN.t as usize, (LPN.n / LPN.t) as usize);
    let instance = Instance::new(t, block, LPN.k as usize, LPN.locality as usize, &mut random);
    let mut chances = 0.0;
    for tried in 1.. {
        let window = Window::random(&instance, &mut random);
        chances += chance(window.samples.len());
        if let Some(noise) = window.noise(&instance)
            && is_right(&instance, &window.secret(&instance, &noise))
        {
            return (tried, chances);
        }
    }
    unreachable!()
}

/// That at most two of `samples` samples, spread over the blocks, are noisy: what the estimate of
/// an ISD counts.
fn chance(samples: usize) -> f64 {
    let (t, share) = (LPN.t as f64, samples as f64 / LPN.n as f64);
    let odds = share / (1.0 - share);
    (1.0 - share).powf(t) * (1.0 + t * odds + t * (t - 1.0) / 2.0 * odds * odds)
}

#[test]
fn the_secret_falls_after_as_many_windows_as_estimated() {
    let runs: Vec<(usize, f64)> = (0..16).map(attack).collect();
    let expected: f64 = runs.iter().map(|run| run.1).sum();
    assert!((8.0..32.0).contains(&expected), "{expected} successes expected, 16 seen");
}

/// A tenth of k = 98,304, t = 1,000: windows scale with the instance.
#[test]
fn peeling_finds_windows_near_the_smallest() {
    let lpn = Lpn { n: 102_400, k: 9_830, t: 100, locality: 10 };
    let share = |v: f64| v / lpn.k as f64;
    let peeled = peeled_window(102_400, 9_830, 10, 60, 1).map(|v| share(v as f64)).unwrap();
    let (densest, random) = (share(densest_window(&lpn)), share(random_window(&lpn)));
    assert!((densest - 0.625).abs() < 0.001 && (random - 0.771).abs() < 0.001, "{densest} {random}");
    assert!((peeled - 0.661).abs() < 0.005, "{peeled}");
}
