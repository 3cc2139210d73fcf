//! The inner loops: sums of products in slots, and their reduction.
//!
//! A product of two residues has 88 bits; its low 52 and its high 36 bits are summed apart in 64-bit words, so 4095
//! products fit before a reduction. This is what the 52-bit multiply-add instructions of AVX-512 compute; the portable
//! twin does the same with ordinary multiplications, and the machine is asked at run time.

#[cfg(target_arch = "x86_64")]
mod ifma;
mod portable;

use crate::context::{Prime, Scale};
use crate::modulus::{Modulus, Shoup};
pub(crate) use portable::NEGATE;

/// Products that can be summed before a reduction.
const CAPACITY: usize = 4095;

/// Unreduced sums of products, `low + 2^52 high`, slot by slot.
pub(crate) struct Accumulator {
    low: Vec<u64>,
    high: Vec<u64>,
    terms: usize,
}

impl Accumulator {
    pub(crate) fn new(n: usize) -> Self {
        Self { low: vec![0; n], high: vec![0; n], terms: 0 }
    }

    /// Adds the slotwise products of all pairs, each factor below p.
    pub(crate) fn add_products(&mut self, prime: &Prime, pairs: &[(&[u64], &[u64])]) {
        for pairs in pairs.chunks(GROUP) {
            if self.terms + pairs.len() > CAPACITY {
                self.reduce(prime);
            }
            self.terms += pairs.len();
            add_products(&mut self.low, &mut self.high, pairs);
        }
    }

    /// Replaces the sums by their residues, which count as one term.
    fn reduce(&mut self, prime: &Prime) {
        let mut residues = vec![0; self.low.len()];
        fold(self, prime.modulus, prime.scale(1), &mut residues);
        self.low.copy_from_slice(&residues);
        self.high.fill(0);
        self.terms = 1;
    }
}

/// Pairs handled in one pass over the accumulator.
pub(crate) const GROUP: usize = 8;

/// Runs the kernel of this machine.
macro_rules! dispatch {
    ($name:ident($($argument:expr),*)) => {{
        #[cfg(target_arch = "x86_64")]
        if ifma::available() {
            return ifma::$name($($argument),*);
        }
        portable::$name($($argument),*)
    }};
}

/// low += (x w) mod 2^52, high += floor(x w / 2^52), for every pair (x, w).
fn add_products(low: &mut [u64], high: &mut [u64], pairs: &[(&[u64], &[u64])]) {
    dispatch!(add_products(low, high, pairs))
}

/// out = c (low + 2^52 high) mod p.
pub(crate) fn fold(sum: &Accumulator, modulus: Modulus, scale: Scale, out: &mut [u64]) {
    dispatch!(fold(&sum.low, &sum.high, modulus, scale, out))
}

/// out = c (sum of the products of at most 4095 pairs) mod p.
pub(crate) fn dot(pairs: &[(&[u64], &[u64])], modulus: Modulus, scale: Scale, out: &mut [u64]) {
    assert!(pairs.len() <= CAPACITY);
    dispatch!(dot(pairs, modulus, scale, out))
}

/// out = the centred representatives modulo `from`, modulo `to`.
pub(crate) fn lift(values: &[u64], from: Modulus, to: Modulus, out: &mut [u64]) {
    dispatch!(lift(values, from, to, out))
}

/// x -= c lift(rest): the rounding step of a division by the modulus of `rest`.
pub(crate) fn subtract_lifted(x: &mut [u64], rest: &[u64], from: Modulus, to: Modulus, c: Shoup) {
    dispatch!(subtract_lifted(x, rest, from, to, c))
}

/// x += y.
pub(crate) fn add_assign(x: &mut [u64], y: &[u64], modulus: Modulus) {
    dispatch!(add_assign(x, y, modulus))
}

/// `(e, difference) <- (e + X^h o, e - X^h o)`.
pub(crate) fn shifted_sum_and_difference(
    h: usize,
    e: &mut [u64],
    o: &[u64],
    difference: &mut [u64],
    modulus: Modulus,
) {
    dispatch!(shifted_sum_and_difference(h, e, o, difference, modulus))
}

/// As [`shifted_sum_and_difference`], on integers.
pub(crate) fn shifted_integers(h: usize, e: &mut [i64], o: &[i64], difference: &mut [i64]) {
    dispatch!(shifted_integers(h, e, o, difference))
}

/// to\[i\] = from\[source\[i\]\], negated where the source has the bit [`NEGATE`], modulo p.
pub(crate) fn permute(source: &[u32], modulus: Modulus, from: &[u64], to: &mut [u64]) {
    dispatch!(permute(source, modulus, from, to))
}

/// As [`permute`], on integers.
pub(crate) fn permute_integers(source: &[u32], from: &[i64], to: &mut [i64]) {
    dispatch!(permute_integers(source, from, to))
}

/// Integers below p in absolute value as residues.
pub(crate) fn embed(modulus: Modulus, from: &[i64], to: &mut [u64]) {
    dispatch!(embed(modulus, from, to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Context;

    /// A dense vector of residues; every third one is the largest.
    fn residues(p: u64, n: usize, seed: u64) -> Vec<u64> {
        (0..n as u64)
            .map(|i| if i % 3 == 0 { p - 1 } else { (i + seed).wrapping_mul(0x9e3779b97f4a7c15) % p })
            .collect()
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn vector_and_portable_reductions_agree() {
        if !ifma::available() {
            return;
        }
        let context = Context::insecure(64);
        let [first, second] = [0, 1].map(|i| &context.primes()[i]);
        let (to, from, n) = (first.modulus, second.modulus, 64);
        // Sums as large as 4095 products make them.
        let low: Vec<u64> = residues(u64::MAX / 4096 * 4095, n, 1);
        let high: Vec<u64> = residues(4095 << 48, n, 2);
        let (mut a, mut b) = (vec![0; n], vec![0; n]);
        for c in [1, 12345, to.p() - 1] {
            ifma::fold(&low, &high, to, first.scale(c), &mut a);
            portable::fold(&low, &high, to, first.scale(c), &mut b);
            assert_eq!(a, b);
            let (x, w) = (residues(to.p(), n, 5), residues(to.p(), n, 6));
            ifma::dot(&[(&x, &w), (&w, &w)], to, first.scale(c), &mut a);
            portable::dot(&[(&x, &w), (&w, &w)], to, first.scale(c), &mut b);
            assert_eq!(a, b);
            let (x, rest) = (residues(to.p(), n, 3), residues(from.p(), n, 4));
            (a, b) = (x.clone(), x);
            ifma::subtract_lifted(&mut a, &rest, from, to, to.constant(c));
            portable::subtract_lifted(&mut b, &rest, from, to, to.constant(c));
            assert_eq!(a, b);
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn vector_and_portable_permutations_agree() {
        if !ifma::available() {
            return;
        }
        let (n, modulus) = (64, Modulus::new(crate::params::PRIMES[0]));
        let source: Vec<u32> =
            (0..n as u32).map(|i| (i * 5 % 64) | if i % 3 == 0 { NEGATE } else { 0 }).collect();
        let mut from = residues(modulus.p(), n, 1);
        from[..8].fill(0);
        let (mut a, mut b) = (vec![0; n], vec![0; n]);
        ifma::permute(&source, modulus, &from, &mut a);
        portable::permute(&source, modulus, &from, &mut b);
        assert_eq!(a, b);
        let from: Vec<i64> = from.iter().map(|&x| x as i64 - (1 << 43)).collect();
        let (mut a, mut b) = (vec![0; n], vec![0; n]);
        ifma::permute_integers(&source, &from, &mut a);
        portable::permute_integers(&source, &from, &mut b);
        assert_eq!(a, b);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn vector_and_portable_sums_agree() {
        if !ifma::available() {
            return;
        }
        let p = crate::params::PRIMES[1];
        for n in [16, 64] {
            let vectors: Vec<_> = (0..2 * GROUP as u64).map(|i| residues(p, n, i)).collect();
            for count in 1..=GROUP {
                let pairs: Vec<_> =
                    (0..count).map(|i| (&vectors[2 * i][..], &vectors[2 * i + 1][..])).collect();
                let (mut a, mut b) = ((vec![7; n], vec![9; n]), (vec![7; n], vec![9; n]));
                ifma::add_products(&mut a.0, &mut a.1, &pairs);
                portable::add_products(&mut b.0, &mut b.1, &pairs);
                assert_eq!(a, b);
            }
        }
    }

    #[test]
    fn more_terms_than_the_capacity_are_reduced_on_the_way() {
        let (context, n) = (Context::insecure(64), 64);
        let prime = &context.primes()[0];
        let (m, p) = (prime.modulus, prime.modulus.p());
        let (x, w) = (residues(p, n, 1), residues(p, n, 2));
        let mut sum = Accumulator::new(n);
        let count = CAPACITY + 1000;
        for _ in 0..count {
            sum.add_products(prime, &[(&x, &w)]);
        }
        let mut out = vec![0; n];
        fold(&sum, m, prime.scale(5), &mut out);
        let expected = |i: usize| m.mul_public(m.mul_public(x[i], w[i]), 5 * count as u64);
        assert!((0..n).all(|i| out[i] == expected(i)));
    }
}
