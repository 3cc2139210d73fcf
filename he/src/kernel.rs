//! The inner loops: sums of products in slots, and their reduction.
//!
//! A product of two residues has 88 bits; its low 52 and its high 36 bits are summed apart in 64-bit words, so 4095
//! products fit before a reduction. This is what the 52-bit multiply-add instructions of AVX-512 compute; the portable
//! twin does the same with ordinary multiplications, and the machine is asked at run time.

#[cfg(target_arch = "x86_64")]
mod ifma;
mod portable;

use std::ops::Range;

use crate::context::{Prime, Scale};
use crate::modulus::{Modulus, Shoup};
use crate::rows::Rows;
pub(crate) use portable::NEGATE;

/// Products that can be summed before a reduction.
const CAPACITY: usize = 4095;

/// Pairs of unreduced sums of equally many products, `low + 2^52 high`, slot by slot.
pub(crate) struct Sums {
    /// Of each pair the low and the high half of its first sum, then of its second one.
    halves: Rows<u64>,
    terms: usize,
}

impl Sums {
    /// Of so many pairs.
    pub(crate) fn new(pairs: usize, n: usize) -> Self {
        Self { halves: Rows::new(4 * pairs, n), terms: 0 }
    }

    /// Back to nothing.
    pub(crate) fn clear(&mut self) {
        self.halves.fill(0);
        self.terms = 0;
    }

    /// Makes room for so many products more in every sum, which the caller is about to add.
    pub(crate) fn expect(&mut self, prime: &Prime, terms: usize) {
        if self.terms + terms > CAPACITY {
            self.reduce(prime);
        }
        self.terms += terms;
    }

    /// Some slots of some pairs.
    pub(crate) fn window(&mut self, pairs: Range<usize>, slots: &Range<usize>) -> Vec<[[&mut [u64]; 2]; 2]> {
        let mut halves = self.halves.iter_mut().skip(4 * pairs.start).map(|half| &mut half[slots.clone()]);
        let mut next = || halves.next().expect("there are so many pairs");
        pairs.map(|_| [(); 2].map(|()| [(); 2].map(|()| next()))).collect()
    }

    /// out = c times the first or second sum of a pair, mod p.
    pub(crate) fn fold(&self, pair: usize, part: usize, modulus: Modulus, scale: Scale, out: &mut [u64]) {
        let half = |half: usize| self.halves.row(4 * pair + 2 * part + half);
        fold(half(0), half(1), modulus, scale, out);
    }

    /// Replaces the sums by their residues, which count as one term.
    fn reduce(&mut self, prime: &Prime) {
        for low in (0..self.halves.count()).step_by(2) {
            let (low, high) = self.halves.pair_mut(low, low + 1);
            let mut residues = vec![0; low.len()];
            fold(low, high, prime.modulus, prime.scale(1), &mut residues);
            low.copy_from_slice(&residues);
            high.fill(0);
        }
        self.terms = 1;
    }
}

/// Slots of a line: what a register holds.
pub(crate) const LINE: usize = 8;
/// Columns of factors that are multiplied by the same pair in one pass, at most.
pub(crate) const STRIP: usize = 4;

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

/// `sums[g][part] += sum_i x[i][part] w[i][g]`, slot by slot, with the low and the high halves of products apart. Lines of the pairs `x[i]` lie one after the other,
/// and what belongs to the next slots begins `stride` words later; `w` has the factors of pair i at `[i sums.len()..]`.
pub(crate) fn add_outer(sums: &mut [[[&mut [u64]; 2]; 2]], x: &[u64], stride: usize, w: &[&[u64]]) {
    dispatch!(add_outer(sums, x, stride, w))
}

/// out = c (low + 2^52 high) mod p.
fn fold(low: &[u64], high: &[u64], modulus: Modulus, scale: Scale, out: &mut [u64]) {
    dispatch!(fold(low, high, modulus, scale, out))
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

/// `y = x w` modulo 2^64 for some columns: `x` `[rows, inner]`, `w` `[inner, outer]`, `y` `[rows, columns]`, which is zero before.
pub(crate) fn multiply_columns(
    x: &[u64],
    w: &[i16],
    sides: [usize; 2],
    columns: Range<usize>,
    y: &mut [u64],
) {
    dispatch!(multiply_columns(x, w, sides, columns, y))
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
    fn vector_and_portable_products_of_rows_agree() {
        if !ifma::available() {
            return;
        }
        let (rows, inner, outer) = (9, 6, 100);
        let x = residues(u64::MAX, rows * inner, 1);
        let w: Vec<i16> = residues(1 << 16, inner * outer, 2).into_iter().map(|w| w as i16).collect();
        for columns in [0..100, 3..70, 99..100] {
            let (mut a, mut b) = (vec![0; rows * columns.len()], vec![0; rows * columns.len()]);
            ifma::multiply_columns(&x, &w, [inner, outer], columns.clone(), &mut a);
            portable::multiply_columns(&x, &w, [inner, outer], columns, &mut b);
            assert_eq!(a, b);
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn vector_and_portable_sums_agree() {
        if !ifma::available() {
            return;
        }
        let p = crate::params::PRIMES[1];
        for n in [16, 64] {
            for (strip, count) in (1..=STRIP).flat_map(|strip| [0, 1, 5].map(|count| (strip, count))) {
                let stride = (2 * count + 2) * LINE;
                let x = residues(p, n / LINE * stride, 1);
                let w: Vec<_> = (0..(strip * count) as u64).map(|i| residues(p, n, i)).collect();
                let w: Vec<&[u64]> = w.iter().map(|w| &w[..]).collect();
                let sums = || vec![residues(1 << 60, n, 3); 4 * strip];
                let (mut a, mut b) = (sums(), sums());
                for (sums, vector) in [(&mut a, true), (&mut b, false)] {
                    let mut halves = sums.iter_mut().map(|half| &mut half[..]);
                    let mut next = || halves.next().unwrap();
                    let mut sums: Vec<_> =
                        (0..strip).map(|_| [(); 2].map(|()| [(); 2].map(|()| next()))).collect();
                    match vector {
                        true => ifma::add_outer(&mut sums, &x, stride, &w),
                        false => portable::add_outer(&mut sums, &x, stride, &w),
                    }
                }
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
        let mut sums = Sums::new(2, n);
        // Lines of the pair `(x, w)`.
        let pairs: Vec<u64> = x.chunks(LINE).zip(w.chunks(LINE)).flat_map(|(x, w)| [x, w].concat()).collect();
        let count = CAPACITY + 1000;
        for _ in 0..count {
            sums.expect(prime, 1);
            add_outer(&mut sums.window(0..2, &(0..n)), &pairs, 2 * LINE, &[&w, &x]);
        }
        let mut out = vec![0; n];
        for (pair, second) in [&w, &x].into_iter().enumerate() {
            for (part, first) in [&x, &w].into_iter().enumerate() {
                sums.fold(pair, part, m, prime.scale(5), &mut out);
                let expected = |i: usize| m.mul_public(m.mul_public(first[i], second[i]), 5 * count as u64);
                assert!((0..n).all(|i| out[i] == expected(i)));
            }
        }
    }
}
