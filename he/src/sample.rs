//! The distributions: uniform modulo p (public), ternary and centred binomial (secret, constant
//! time).

use crate::modulus::Modulus;
use crate::params::{ERROR_ETA, PRIME_BITS};
use crate::prg::Prg;

/// Uniform residues by rejection of 44-bit words; the values are public, so the loop may depend on
/// them.
pub(crate) fn uniform(prg: &mut Prg, modulus: Modulus, out: &mut [u64]) {
    for value in out {
        *value = loop {
            let candidate = prg.word() & ((1 << PRIME_BITS) - 1);
            if candidate < modulus.p() {
                break candidate;
            }
        };
    }
}

/// One of -1, 0, 1, each with probability 1/3 up to 2^-63.
#[inline(always)]
pub(crate) fn ternary(prg: &mut Prg) -> i64 {
    ((u128::from(prg.word()) * 3) >> 64) as i64 - 1
}

/// A centred binomial value with eta = 21: the difference of the weights of two 21-bit words.
#[inline(always)]
pub(crate) fn error(prg: &mut Prg) -> i64 {
    const HALF: u64 = (1 << ERROR_ETA) - 1;
    let word = prg.word();
    i64::from((word & HALF).count_ones()) - i64::from(((word >> ERROR_ETA) & HALF).count_ones())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prg::Domain;

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut prg = Prg::new(Domain::Error, &[3; 32], [0, 0]);
        let count = 1 << 18;
        let moments = |sample: &mut dyn FnMut() -> i64| {
            let (mut sum, mut squares) = (0.0, 0.0);
            for _ in 0..count {
                let x = sample() as f64;
                sum += x;
                squares += x * x;
            }
            (sum / f64::from(count), squares / f64::from(count))
        };
        let (mean, square) = moments(&mut || error(&mut prg));
        assert!(mean.abs() < 0.04 && (square - 10.5).abs() < 0.2);
        let (mean, square) = moments(&mut || ternary(&mut prg));
        assert!(mean.abs() < 0.01 && (square - 2.0 / 3.0).abs() < 0.01);
    }

    #[test]
    fn uniform_values_are_below_the_prime() {
        let modulus = Modulus::new(crate::params::PRIMES[3]);
        let mut out = vec![0; 1 << 14];
        uniform(&mut Prg::new(Domain::Upload, &[9; 32], [0, 0]), modulus, &mut out);
        assert!(out.iter().all(|&x| x < modulus.p()));
        let mean = out.iter().map(|&x| x as f64).sum::<f64>() / out.len() as f64 / modulus.p() as f64;
        assert!((mean - 0.5).abs() < 0.02);
    }
}
