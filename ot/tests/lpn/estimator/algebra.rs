//! Linearisation of `e_i e_j = 0`, which regular noise fulfils for every two samples of a block.
//!
//! The unknowns are what is left of `k` secret bits after `t` equations
//! `sum of a block's noise = 1` and one equation for every sample guessed free of noise. In degree
//! `D` the system is solved once the coefficients up to `z^D` of its Hilbert series sum up to at
//! most 1, the constant monomial:
//!
//! `H(z) = (1 + z)^unknowns * product over blocks of (1 + b z) / (1 + z)^b`,
//! `b = block - guessed - 1`.
//!
//! Source: eprint 2023/176 (Briaud and Oygarden); the series is theirs, `(1 + b z)` per block over
//! `1 + z` per parity check, with the unknowns written apart. `rank.rs` compares it with ranks of
//! small systems: the locality of the matrix does not matter.

use super::Lpn;
use super::linear::DENSE;
use super::math::{first, log2_binomial, log2_sum, minimum, noise_free};

/// Coefficients of `1, z, .., z^4`.
type Series = [f64; 5];

/// `exp` of a series without constant term, through `i h_i = sum of j l_j h_(i-j)`.
fn exp(log: Series) -> Series {
    let mut h = [1.0, 0.0, 0.0, 0.0, 0.0];
    for i in 1..h.len() {
        h[i] = (1..=i).map(|j| j as f64 * log[j] * h[i - j]).sum::<f64>() / i as f64;
    }
    h
}

/// `log(1 + b z)`.
fn log_1p(b: f64) -> Series {
    [0.0, b, -b.powi(2) / 2.0, b.powi(3) / 3.0, -b.powi(4) / 4.0]
}

fn add(a: Series, b: Series, times: f64) -> Series {
    std::array::from_fn(|i| a[i] + times * b[i])
}

/// What a guess leaves unknown: secret bits, and in two kinds of blocks (count, free noise
/// variables of each).
struct System {
    unknowns: f64,
    blocks: [(f64, f64); 2],
}

impl System {
    /// `guessed` samples of `t` blocks, equally many in each up to one.
    fn even(lpn: &Lpn, guessed: u64) -> Self {
        let (each, more) = ((guessed / lpn.t) as f64, (guessed % lpn.t) as f64);
        let free = lpn.block() - 1.0 - each;
        let unknowns = lpn.k() - lpn.t() - guessed as f64;
        Self { unknowns, blocks: [(lpn.t() - more, free), (more, free - 1.0)] }
    }

    /// `mu` samples in each of `f` blocks, none in the others.
    fn partial(lpn: &Lpn, f: f64, mu: f64) -> Self {
        let free = lpn.block() - 1.0;
        Self { unknowns: lpn.k() - lpn.t() - f * mu, blocks: [(lpn.t() - f, free), (f, free - mu)] }
    }

    fn hilbert(&self) -> Series {
        let block = |b| add(log_1p(b), log_1p(1.0), -b);
        let unknowns = add([0.0; 5], log_1p(1.0), self.unknowns);
        exp(self.blocks.iter().fold(unknowns, |log, &(count, b)| add(log, block(b), count)))
    }

    /// Monomials of degree up to `degree` that no equation reduces; 1 when the system is solved.
    ///
    /// Coefficients count up to the first degree where the system is solved; later ones have no
    /// meaning.
    fn defect(&self, degree: usize) -> f64 {
        let mut left = 0.0;
        let sums = self.hilbert().map(|h| {
            left += h;
            left
        });
        if sums[1..=degree].iter().any(|&left| left <= 1.0) { 1.0 } else { sums[degree] }
    }

    fn solved(&self, degree: usize) -> bool {
        self.defect(degree) <= 1.0
    }

    /// `log2` of the number of monomials in noise variables, at most one of a block in each.
    fn noise_monomials(&self, degree: usize) -> f64 {
        let product = self.blocks.iter().fold([0.0; 5], |log, &(count, b)| add(log, log_1p(b), count));
        exp(product)[1..=degree].iter().sum::<f64>().log2()
    }
}

/// `log2` of the number of monomials of degree `1..=degree` in `unknowns` bits.
fn monomials(unknowns: f64, degree: usize) -> f64 {
    (1..=degree).map(|i| log2_binomial(unknowns, i as f64)).fold(f64::NEG_INFINITY, log2_sum)
}

/// Monomials up to `degree` without an equation after `guessed` samples; 1 when the system is
/// solved.
pub fn defect(lpn: &Lpn, degree: usize, guessed: u64) -> f64 {
    System::even(lpn, guessed).defect(degree)
}

/// The fewest samples to guess for a solution in `degree`, equally many in each block up to one.
pub fn guesses(lpn: &Lpn, degree: usize) -> Option<u64> {
    first(lpn.k - lpn.t, |guessed| System::even(lpn, guessed).solved(degree))
}

/// Price of a guess of `guessed` samples, equally many in each block up to one.
fn price(lpn: &Lpn, guessed: u64) -> f64 {
    let (each, more) = ((guessed / lpn.t) as f64, (guessed % lpn.t) as f64);
    let share = |samples: f64| samples / lpn.block();
    noise_free(share(each), lpn.t() - more) + noise_free(share(each + 1.0), more)
}

/// Briaud and Oygarden's attack with noise variables and Wiedemann's algorithm, at the best degree
/// up to 4.
///
/// `3 (k + 1 - f mu) M^2 / (1 - mu/block)^f`: `M` monomials in noise variables, `mu` guesses in
/// each of `f` blocks. Source: eprint 2023/176, as in the estimators of eprint 2022/712 and mpz.
pub fn noise_linearisation(lpn: &Lpn) -> f64 {
    let choices = (2..=4).flat_map(|degree| (1..=lpn.t).map(move |f| (degree, f)));
    minimum(choices.filter_map(|(degree, f)| noise_linearisation_at(lpn, degree, f as f64)))
}

fn noise_linearisation_at(lpn: &Lpn, degree: usize, f: f64) -> Option<f64> {
    let most = ((lpn.k() - lpn.t()) / f).min(lpn.block() - 2.0);
    let mu = first(most as u64, |mu| System::partial(lpn, f, mu as f64).solved(degree))? as f64;
    let columns = System::partial(lpn, f, mu).noise_monomials(degree);
    Some((3.0 * (lpn.k() + 1.0 - f * mu)).log2() + 2.0 * columns + noise_free(mu / lpn.block(), f))
}

/// Hybrid attack in the remaining secret bits, dense elimination: `M^2.8 / P`.
///
/// `M = sum of C(k - t - guessed, i)` for `i` up to `degree`, `P` the chance of the guess; infinity
/// where no guess suffices. Source: eprint 2023/176, in the variables of eprint 2025/1284, which
/// has degree 2.
pub fn hybrid_dense(lpn: &Lpn, degree: usize) -> f64 {
    let Some(guessed) = guesses(lpn, degree) else { return f64::INFINITY };
    DENSE * monomials(System::even(lpn, guessed).unknowns, degree) + price(lpn, guessed)
}

/// Two guesses, the second on top of the first: `M1^2.8 / P1 + M2^2.8 / P2`.
///
/// After a part of the guess its `M1` monomials are eliminated; the rest of the guess meets only
/// the `M2` of them that stayed free. Degree 2. Source: the two steps of eprint 2025/1476 (AGB
/// 2.0), here in secret bits. Within 1.5 bits of the hybrid of eprint 2025/1284, which guesses the
/// whole noise of a few blocks in its second step.
pub fn hybrid_two_levels(lpn: &Lpn) -> f64 {
    let Some(all) = guesses(lpn, 2) else { return f64::INFINITY };
    minimum((0..=256).map(|part| {
        let outer = System::even(lpn, all * part / 256);
        let first_level = DENSE * monomials(outer.unknowns, 2) + price(lpn, all * part / 256);
        log2_sum(first_level, DENSE * outer.defect(2).log2() + price(lpn, all))
    }))
}

/// Hybrid attack that leaves the local matrix sparse: `3 w M^2 / P` with block Wiedemann,
/// `M = sum of C(k, i)`.
///
/// Nothing is eliminated beforehand. A guess times a monomial has `locality + 1` terms, a product
/// `e_i e_j` at most `(locality + 1)^2`, and most rows are of the first kind: mean weight
/// `w = 4 locality` at most. Infinity where no guess suffices. Derived here.
pub fn hybrid_sparse(lpn: &Lpn, degree: usize) -> f64 {
    let Some(guessed) = guesses(lpn, degree) else { return f64::INFINITY };
    let weight = 4.0 * f64::from(lpn.locality);
    (3.0 * weight).log2() + 2.0 * monomials(lpn.k(), degree) + price(lpn, guessed)
}
