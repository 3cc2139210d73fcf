//! The Hilbert series of `algebra` against ranks of small systems, with the matrix local and not.

use crate::estimator::{Lpn, defect, guesses};
use crate::toy::{Bits, Echelon, Instance, Random};
use std::collections::HashMap;

/// A polynomial without squares: its monomials as sets of variables, sorted, each once.
type Polynomial = Vec<u128>;

/// A sum of monomials, where equal ones cancel.
fn sum(mut terms: Vec<u128>) -> Polynomial {
    terms.sort_unstable();
    terms.chunk_by(|a, b| a == b).filter(|equal| equal.len() % 2 == 1).map(|equal| equal[0]).collect()
}

fn product(a: &[u128], b: &[u128]) -> Polynomial {
    sum(a.iter().flat_map(|x| b.iter().map(move |y| x | y)).collect())
}

/// Sets of at most `degree` of `unknowns` variables, by size.
fn monomials(unknowns: usize, degree: usize) -> Vec<u128> {
    let mut all = vec![0];
    let mut last = vec![0u128];
    for _ in 0..degree {
        let larger = |m: u128| (128 - m.leading_zeros() as usize..unknowns).map(move |i| m | 1 << i);
        last = last.into_iter().flat_map(larger).collect();
        all.extend(&last);
    }
    all
}

/// The noise of a sample in terms of the first `unknowns` bits of `s`; the others are 0.
fn noise(row: &[usize], y: bool, unknowns: usize) -> Polynomial {
    let secret = row.iter().filter(|&&x| x < unknowns).map(|&x| 1 << x);
    sum(secret.chain(y.then_some(0)).collect())
}

/// Linear and quadratic equations after a guess of `guessed` noise-free samples.
fn equations(instance: &Instance, unknowns: usize, guessed: usize) -> (Vec<Polynomial>, Vec<Polynomial>) {
    let (mut linear, mut quadratic) = (Vec::new(), Vec::new());
    let t = instance.y.len() / instance.block;
    for i in 0..t {
        let samples = i * instance.block..(i + 1) * instance.block;
        linear.push(sum(samples
            .clone()
            .flat_map(|j| noise(&instance.rows[j], instance.y[j], unknowns))
            .chain([0])
            .collect()));
        let mut clean = guessed / t + usize::from(i < guessed % t);
        let mut open: Vec<Polynomial> = Vec::new();
        for j in samples {
            let e = noise(&instance.rows[j], instance.y[j], unknowns);
            if clean > 0 && !instance.noise[j] {
                clean -= 1;
                linear.push(e);
            } else {
                quadratic.extend(open.iter().map(|other| product(&e, other)));
                open.push(e);
            }
        }
    }
    (linear, quadratic)
}

/// Monomials up to `degree` without an equation, and the mean weight of the rows in use, light ones
/// first.
fn macaulay(instance: &Instance, unknowns: usize, degree: usize, guessed: usize) -> (usize, f64) {
    let (linear, quadratic) = equations(instance, unknowns, guessed);
    let multiples =
        |p: &Polynomial, d| monomials(unknowns, d).into_iter().map(|m| product(p, &[m])).collect::<Vec<_>>();
    let mut rows: Vec<Polynomial> = linear.iter().flat_map(|p| multiples(p, degree - 1)).collect();
    rows.extend(quadratic.iter().flat_map(|p| multiples(p, degree - 2)));
    rows.sort_by_key(Vec::len);
    let columns = monomials(unknowns, degree);
    let index: HashMap<u128, usize> = columns.iter().rev().enumerate().map(|(i, &m)| (m, i)).collect();
    let mut basis = Echelon::new(columns.len());
    let used = rows
        .iter()
        .filter(|row| basis.insert(Bits::new(columns.len(), row.iter().map(|m| index[m]))).is_none());
    let weight: usize = used.map(Vec::len).sum();
    (columns.len() - basis.rank, weight as f64 / basis.rank as f64)
}

/// Measured and predicted defect after `guessed` samples, and the row weight.
///
/// An even locality leaves `s` open up to its complement, so there one bit more is taken and set to
/// 0.
fn compare(lpn: &Lpn, degree: usize, guessed: u64) -> f64 {
    let (unknowns, locality) = (lpn.k as usize, lpn.locality as usize);
    let k = unknowns + usize::from(locality.is_multiple_of(2));
    let (t, block) = (lpn.t as usize, (lpn.n / lpn.t) as usize);
    let instance = Instance::new(t, block, k, locality, &mut Random(guessed));
    let (found, weight) = macaulay(&instance, unknowns, degree, guessed as usize);
    let predicted = defect(lpn, degree, guessed);
    assert!((found as f64 - predicted).abs() <= 4.0, "{found}, not {predicted}: {lpn:?}, {guessed} guesses");
    weight
}

#[test]
fn degree_2_has_the_predicted_rank_for_local_and_dense_matrices() {
    for locality in [9, 10, 45] {
        let lpn = Lpn { n: 20 * 16, k: 90, t: 20, locality };
        let enough = guesses(&lpn, 2).unwrap();
        for guessed in [enough - 6, enough - 1, enough + 1] {
            compare(&lpn, 2, guessed);
        }
    }
}

/// Beyond that, where the coefficient of `z^3` is negative, one matrix is not the whole of a
/// Groebner basis.
#[test]
fn degree_3_has_the_predicted_rank_while_the_series_is_positive() {
    for locality in [5, 10, 15] {
        let lpn = Lpn { n: 4 * 10, k: 31, t: 4, locality };
        compare(&lpn, 3, 0);
        compare(&lpn, 3, 1);
    }
}

#[test]
fn rows_stay_light_where_most_of_them_are_guesses() {
    let lpn = Lpn { n: 10 * 16, k: 90, t: 10, locality: 10 };
    let enough = guesses(&lpn, 2).unwrap();
    assert!(compare(&lpn, 2, enough + 1) < 4.0 * 10.0);
}
