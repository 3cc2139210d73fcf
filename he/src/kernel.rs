//! The inner loops: transforms, sums of products in slots, and their reduction.
//!
//! A product of two residues has 88 bits; its low and its high bits are summed apart, so 4095
//! products fit before a reduction. Three sets of kernels do this: 52-bit multiply-add of AVX-512,
//! double precision with AVX2 and fused multiply-add, and ordinary multiplications on any machine,
//! which is also the definition that the others are tested against. The machine is asked at run
//! time. Each set has its own form of factors (see [`to_factors`]) and of sums.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod ifma;
mod portable;

use std::ops::Range;

use crate::context::{Prime, Scale};
use crate::modulus::{Modulus, Shoup};
use crate::ntt::NttBackend;
use crate::params::MAX_LEVELS;
use crate::rows::Windows;
use zeroize::Zeroize;

/// Products that can be summed before a reduction.
const CAPACITY: usize = 4095;

/// Pairs of unreduced sums of equally many products, slot by slot.
pub(crate) struct Sums {
    /// Of each pair the low and the high half of its first sum, then of its second one, in the form
    /// of this machine's kernels; zero words are zero.
    halves: Windows,
    terms: usize,
}

impl Sums {
    /// Of so many pairs.
    pub(crate) fn new(pairs: usize, n: usize) -> Self {
        Self { halves: Windows::new(4 * pairs, n), terms: 0 }
    }

    /// Back to nothing.
    pub(crate) fn clear(&mut self) {
        self.terms = 0;
    }

    /// Makes room for so many products more in every sum, which the caller is about to add; whether
    /// they are the first, so that the sums have no value yet.
    pub(crate) fn expect(&mut self, prime: &Prime, terms: usize) -> bool {
        let fresh = self.terms == 0;
        if self.terms + terms > CAPACITY {
            self.reduce(prime);
        }
        self.terms += terms;
        fresh
    }

    /// Some pairs in one window of slots.
    pub(crate) fn window(&mut self, pairs: Range<usize>, window: usize) -> Vec<[[&mut [u64]; 2]; 2]> {
        let mut halves = self.halves.parts_mut(window).skip(4 * pairs.start);
        let mut next = || halves.next().expect("there are so many pairs");
        pairs.map(|_| [(); 2].map(|()| [(); 2].map(|()| next()))).collect()
    }

    /// out = c times the first or second sum of a pair, mod p.
    pub(crate) fn fold(&self, pair: usize, part: usize, modulus: Modulus, scale: Scale, out: &mut [u64]) {
        let low = 4 * pair + 2 * part;
        for (window, out) in out.chunks_exact_mut(self.halves.width()).enumerate() {
            fold(self.halves.part(low, window), self.halves.part(low + 1, window), modulus, scale, out);
        }
    }

    /// Replaces the sums by their residues, which count as one term.
    fn reduce(&mut self, prime: &Prime) {
        let mut residues = vec![0; self.halves.width()];
        for window in 0..self.halves.windows() {
            for pair in self.window(0..self.halves.rows() / 4, window) {
                for [low, high] in pair {
                    fold(low, high, prime.modulus, prime.scale(1), &mut residues);
                    low.copy_from_slice(&residues);
                    to_factors(low, prime.modulus);
                    high.fill(0);
                }
            }
        }
        self.terms = 1;
    }
}

impl Zeroize for Sums {
    fn zeroize(&mut self) {
        self.halves.zeroize();
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
        #[cfg(target_arch = "x86_64")]
        if avx2::available() {
            return avx2::$name($($argument),*);
        }
        portable::$name($($argument),*)
    }};
}

/// Residues as the factors that [`add_outer`] takes: as they are, or as doubles.
pub(crate) fn to_factors(values: &mut [u64], modulus: Modulus) {
    dispatch!(to_factors(values, modulus))
}

/// This machine's own transform for a degree and a prime with a root of X^N + 1 and its inverse.
pub(crate) fn transform(degree: usize, p: u64, roots: [u64; 2]) -> Option<Box<dyn NttBackend>> {
    #[cfg(target_arch = "x86_64")]
    {
        let ifma = ifma::transform::Transform::new(degree, p, roots);
        let own = ifma.map(|own| -> Box<dyn NttBackend> { Box::new(own) });
        own.or_else(|| Some(Box::new(avx2::transform::Transform::new(degree, p, roots)?)))
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (degree, p, roots);
        None
    }
}

/// `sums[g][part] += sum_i x[i][part] w[i][g]`, slot by slot, for factors x and w. Lines of the
/// pairs `x[i]` lie one after the other, and what belongs to the next slots begins `stride` words
/// later; `w` has the factors of pair i at `[i sums.len()..]`. If `fresh`, the sums begin with
/// these products.
pub(crate) fn add_outer(
    sums: &mut [[[&mut [u64]; 2]; 2]],
    x: &[u64],
    stride: usize,
    w: &[&[u64]],
    fresh: bool,
) {
    dispatch!(add_outer(sums, x, stride, w, fresh))
}

/// out = c times the sum of these halves, mod p.
fn fold(low: &[u64], high: &[u64], modulus: Modulus, scale: Scale, out: &mut [u64]) {
    dispatch!(fold(low, high, modulus, scale, out))
}

/// out = c (sum of the products of at most 4095 pairs) mod p.
pub(crate) fn dot(pairs: &[(&[u64], &[u64])], modulus: Modulus, scale: Scale, out: &mut [u64]) {
    assert!(pairs.len() <= CAPACITY);
    dispatch!(dot(pairs, modulus, scale, out))
}

/// `out = c (sum of the products of at most 3 pairs - minus)`, plus `out` if `add`, mod p; `out`
/// has residues, the others are factors.
pub(crate) fn combine(
    pairs: &[(&[u64], &[u64])],
    minus: Option<&[u64]>,
    modulus: Modulus,
    scale: Scale,
    add: bool,
    out: &mut [u64],
) {
    assert!(pairs.len() <= MAX_LEVELS);
    dispatch!(combine(pairs, minus, modulus, scale, add, out))
}

/// `(e, difference) <- (e + w o, e - w o)` for residues e and o and factors w below p.
pub(crate) fn twisted_sums(e: &mut [u64], o: &[u64], w: &[u64], difference: &mut [u64], modulus: Modulus) {
    dispatch!(twisted_sums(e, o, w, difference, modulus))
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

/// `(plus, minus) <- (e + X^shift o, e - X^shift o)` for a shift below 2 N.
pub(crate) fn shifted_sums_32(shift: usize, e: &[i32], o: &[i32], plus: &mut [i32], minus: &mut [i32]) {
    dispatch!(shifted_sums_32(shift, e, o, plus, minus))
}

/// As [`shifted_sums_32`].
pub(crate) fn shifted_sums_64(shift: usize, e: &[i64], o: &[i64], plus: &mut [i64], minus: &mut [i64]) {
    dispatch!(shifted_sums_64(shift, e, o, plus, minus))
}

/// `y = x w` modulo 2^64 for some columns: `x` `[rows, inner]`, `w` `[inner, outer]`, `y`
/// `[rows, columns]`, which is zero before.
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

    /// Tests of one set of kernels against the portable ones; of nothing where the machine lacks
    /// it.
    #[cfg(target_arch = "x86_64")]
    macro_rules! agrees_with_the_portable_twin {
        ($name:ident) => {
            mod $name {
                use super::super::*;
                use super::residues;
                use crate::Context;

                /// Residues in the form of factors of these kernels.
                fn factors(residues: &[u64], modulus: Modulus) -> Vec<u64> {
                    let mut factors = residues.to_vec();
                    $name::to_factors(&mut factors, modulus);
                    factors
                }

                #[test]
                fn reductions() {
                    if !$name::available() {
                        return;
                    }
                    let context = Context::insecure(64);
                    let [first, second] = [0, 1].map(|i| &context.primes()[i]);
                    let (to, from, n) = (first.modulus, second.modulus, 64);
                    let [x, w, y] = [5, 6, 7].map(|seed| residues(to.p(), n, seed));
                    let (mut a, mut b) = (vec![0; n], vec![0; n]);
                    for c in [1, 12345, to.p() - 1] {
                        let scale = first.scale(c);
                        $name::dot(&[(&x, &w), (&w, &w)], to, scale, &mut a);
                        portable::dot(&[(&x, &w), (&w, &w)], to, scale, &mut b);
                        assert_eq!(a, b);
                        let rest = residues(from.p(), n, 4);
                        (a, b) = (x.clone(), x.clone());
                        $name::subtract_lifted(&mut a, &rest, from, to, to.constant(c));
                        portable::subtract_lifted(&mut b, &rest, from, to, to.constant(c));
                        assert_eq!(a, b);
                        let [f, g, h] = [&x, &w, &y].map(|residues| factors(residues, to));
                        for minus in [false, true] {
                            for add in [false, true] {
                                (a, b) = (y.clone(), y.clone());
                                let vector = minus.then_some(&h[..]);
                                $name::combine(&[(&f, &g), (&g, &g)], vector, to, scale, add, &mut a);
                                let plain = minus.then_some(&y[..]);
                                portable::combine(&[(&x, &w), (&w, &w)], plain, to, scale, add, &mut b);
                                assert_eq!(a, b);
                            }
                        }
                    }
                    (a, b) = (x.clone(), x.clone());
                    let (mut c, mut d) = (vec![0; n], vec![0; n]);
                    $name::twisted_sums(&mut a, &y, &factors(&w, to), &mut c, to);
                    portable::twisted_sums(&mut b, &y, &w, &mut d, to);
                    assert_eq!((a, c), (b, d));
                }

                #[test]
                fn sums_and_shifts_of_integers() {
                    if !$name::available() {
                        return;
                    }
                    let n = 64;
                    let x: Vec<i64> = residues(1 << 30, n, 1).iter().map(|&x| x as i64 - (1 << 29)).collect();
                    let narrow: Vec<i32> = x.iter().map(|&x| x as i32).collect();
                    for shift in [0, 1, 63, 64, 100, 127] {
                        let [mut a, mut b, mut c, mut d] = [(); 4].map(|()| vec![0; n]);
                        $name::shifted_sums_64(shift, &x, &x, &mut a, &mut b);
                        portable::shifted_sums_64(shift, &x, &x, &mut c, &mut d);
                        assert_eq!((&a, &b), (&c, &d));
                        let [mut e, mut f] = [(); 2].map(|()| vec![0; n]);
                        $name::shifted_sums_32(shift, &narrow, &narrow, &mut e, &mut f);
                        assert!(e.iter().zip(&c).chain(f.iter().zip(&d)).all(|(&x, &y)| i64::from(x) == y));
                    }
                }

                #[test]
                fn products_of_rows() {
                    if !$name::available() {
                        return;
                    }
                    let (rows, inner, outer) = (9, 6, 100);
                    let x = residues(u64::MAX, rows * inner, 1);
                    let w = residues(1 << 16, inner * outer, 2);
                    let w: Vec<i16> = w.into_iter().map(|w| w as i16).collect();
                    for columns in [0..100, 3..70, 99..100] {
                        let (mut a, mut b) = (vec![0; rows * columns.len()], vec![0; rows * columns.len()]);
                        $name::multiply_columns(&x, &w, [inner, outer], columns.clone(), &mut a);
                        portable::multiply_columns(&x, &w, [inner, outer], columns, &mut b);
                        assert_eq!(a, b);
                    }
                }

                #[test]
                fn sums_of_products() {
                    if !$name::available() {
                        return;
                    }
                    let context = Context::insecure(64);
                    let prime = &context.primes()[1];
                    let (p, m, n) = (prime.modulus.p(), prime.modulus, 64);
                    for (strip, count) in (1..=STRIP).flat_map(|strip| [0, 1, 5].map(|count| (strip, count)))
                    {
                        let stride = (2 * count + 2) * LINE;
                        let x = residues(p, n / LINE * stride, 1);
                        let w: Vec<_> = (0..(strip * count) as u64).map(|i| residues(p, n, i)).collect();
                        let totals = |vector: bool| {
                            let form = |x: &[u64]| if vector { factors(x, m) } else { x.to_vec() };
                            let (x, w) = (form(&x), w.iter().map(|w| form(w)).collect::<Vec<_>>());
                            let w: Vec<&[u64]> = w.iter().map(|w| &w[..]).collect();
                            // Arbitrary before the first products; then as large as 4095 of them.
                            let mut halves = vec![residues(1 << 60, n, 3); 4 * strip];
                            let mut next = halves.iter_mut().map(|half| &mut half[..]);
                            let mut next = || next.next().unwrap();
                            let mut sums: Vec<_> =
                                (0..strip).map(|_| [(); 2].map(|()| [(); 2].map(|()| next()))).collect();
                            let most = CAPACITY / count.max(1);
                            for fresh in std::iter::once(true).chain(vec![false; most - 1]) {
                                match vector {
                                    true => $name::add_outer(&mut sums, &x, stride, &w, fresh),
                                    false => portable::add_outer(&mut sums, &x, stride, &w, fresh),
                                }
                            }
                            let mut totals = vec![vec![0; n]; 2 * strip];
                            for ([low, high], total) in sums.iter().flatten().zip(&mut totals) {
                                match vector {
                                    true => $name::fold(low, high, m, prime.scale(77), total),
                                    false => portable::fold(low, high, m, prime.scale(77), total),
                                }
                            }
                            totals
                        };
                        assert_eq!(totals(true), totals(false));
                    }
                }
            }
        };
    }

    #[cfg(target_arch = "x86_64")]
    agrees_with_the_portable_twin!(ifma);
    #[cfg(target_arch = "x86_64")]
    agrees_with_the_portable_twin!(avx2);

    #[test]
    fn more_terms_than_the_capacity_are_reduced_on_the_way() {
        let (context, n) = (Context::insecure(64), 64);
        let prime = &context.primes()[0];
        let (m, p) = (prime.modulus, prime.modulus.p());
        let (x, w) = (residues(p, n, 1), residues(p, n, 2));
        let mut sums = Sums::new(2, n);
        let (mut x_factors, mut w_factors) = (x.clone(), w.clone());
        to_factors(&mut x_factors, m);
        to_factors(&mut w_factors, m);
        // Lines of the pair `(x, w)`.
        let lines = x_factors.chunks(LINE).zip(w_factors.chunks(LINE));
        let pairs: Vec<u64> = lines.flat_map(|(x, w)| [x, w].concat()).collect();
        let count = CAPACITY + 1000;
        for _ in 0..count {
            let fresh = sums.expect(prime, 1);
            add_outer(&mut sums.window(0..2, 0), &pairs, 2 * LINE, &[&w_factors, &x_factors], fresh);
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
