//! X -> X^g on coefficients: a permutation with signs.

use crate::kernel::{self, NEGATE};
use crate::modulus::Modulus;

/// The table of one automorphism: output coefficient i comes from `source[i]`.
pub(crate) struct Automorphism {
    source: Vec<u32>,
}

impl Automorphism {
    /// X -> X^g for odd g, in degree n.
    pub(crate) fn new(n: usize, g: usize) -> Self {
        let mut source = vec![0; n];
        for j in 0..n {
            let image = j * g % (2 * n);
            source[image % n] = j as u32 | if image >= n { NEGATE } else { 0 };
        }
        Self { source }
    }

    /// On residues modulo p.
    pub(crate) fn residues(&self, modulus: Modulus, from: &[u64], to: &mut [u64]) {
        kernel::permute(&self.source, modulus, from, to);
    }

    /// On integers.
    pub(crate) fn integers(&self, from: &[i64], to: &mut [i64]) {
        kernel::permute_integers(&self.source, from, to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gap_elements_fix_and_negate_monomials() {
        let n = 32;
        for h in [1, 2, 4, 8, 16] {
            let sigma = Automorphism::new(n, 1 + n / h);
            let (mut from, mut to) = (vec![0; n], vec![0; n]);
            from[h] = 5;
            from[0] = 3;
            if 2 * h < n {
                from[2 * h] = 7;
            }
            sigma.integers(&from, &mut to);
            assert_eq!((to[0], to[h]), (3, -5));
            assert!(2 * h >= n || to[2 * h] == 7);
        }
    }

    #[test]
    fn residues_follow_integers() {
        let (n, modulus) = (64, Modulus::new(crate::params::PRIMES[0]));
        let sigma = Automorphism::new(n, 5);
        let small: Vec<i64> = (0..n as i64).map(|i| i - 30).collect();
        let residues: Vec<u64> = small.iter().map(|&x| modulus.embed(x)).collect();
        let (mut a, mut b) = (vec![0; n], vec![0; n]);
        sigma.integers(&small, &mut a);
        sigma.residues(modulus, &residues, &mut b);
        assert!(a.iter().zip(&b).all(|(&a, &b)| modulus.embed(a) == b));
    }
}
