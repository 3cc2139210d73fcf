//! Everything that depends on the parameters alone: transforms, constants of the residue system,
//! automorphisms.

use crate::automorphism::Automorphism;
use crate::elementwise::Plain;
use crate::error::Error;
use crate::kernel;
use crate::modulus::{Modulus, Shoup};
use crate::ntt::{self, NttBackend};
use crate::params::{self, DEGREE, MAX_LEVELS, MIN_LEVELS, PRIMES};
use crate::rows::Rows;
use std::sync::{Arc, OnceLock};

/// The parameters ready for use; cheap to clone, the same for both parties.
#[derive(Clone)]
pub struct Context {
    inner: Arc<Inner>,
}

struct Inner {
    degree: usize,
    /// The data primes, then the special prime.
    primes: Vec<Prime>,
    /// The moduli of two and of three data primes, and of all primes.
    bases: Vec<Basis>,
    automorphisms: Vec<Automorphism>,
    /// X^h in the slots of each prime, for h = N / 2^(j + 1) at index j, as factors.
    monomials: Vec<OnceLock<Rows<u64>>>,
    plains: Vec<Plain>,
}

/// One modulus Q, a product of data primes.
pub(crate) struct Basis {
    /// (Q / q_i)^{-1} modulo q_i. Of all primes together only these are used.
    pub(crate) inverses: Vec<u64>,
    /// Q / q_i modulo 2^128.
    pub(crate) factors: Vec<u128>,
    /// Q modulo 2^128.
    pub(crate) product: u128,
    /// Q, shifted down by 64.
    product_high: u128,
    /// For i > 0, (q_0 .. q_{i-1})^{-1} modulo q_i and that product modulo 2^128.
    garner: Vec<(Shoup, u128)>,
}

/// One prime of the residue system.
pub(crate) struct Prime {
    pub(crate) modulus: Modulus,
    ntt: Box<dyn NttBackend>,
    /// N^{-1}.
    degree_inverse: u64,
    /// P^{-1}; zero for P itself.
    special_inverse: u64,
    /// 2^52, the weight of an accumulator's high half.
    two_52: u64,
}

/// A factor that is applied while an accumulator is reduced: c for the low half, c 2^52 for the
/// high half.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) low: Shoup,
    pub(crate) high: Shoup,
}

impl Context {
    /// Builds and tests the transforms.
    ///
    /// # Errors
    /// If the parameters are below 128 bits of security, or the transform is unusable on this
    /// machine.
    pub fn new() -> Result<Self, Error> {
        params::check_security(DEGREE, PRIMES.len())?;
        Self::build(DEGREE)
    }

    /// A context without the security lock, for tests of the arithmetic in small rings.
    #[cfg(test)]
    pub(crate) fn insecure(degree: usize) -> Self {
        Self::build(degree).unwrap()
    }

    fn build(degree: usize) -> Result<Self, Error> {
        let moduli = params::data_primes().iter().copied().chain([params::special_prime()]);
        let primes: Vec<Prime> = moduli.map(|p| Prime::new(degree, p)).collect::<Result<_, _>>()?;
        let bases = (MIN_LEVELS..=primes.len()).map(|levels| Basis::new(&primes[..levels])).collect();
        let automorphisms: Vec<_> =
            (1..=degree.ilog2()).map(|j| Automorphism::new(degree, 1 + (1 << j))).collect();
        let monomials = automorphisms.iter().map(|_| OnceLock::new()).collect();
        let plains = Plain::all(degree)?;
        Ok(Self { inner: Arc::new(Inner { degree, primes, bases, automorphisms, monomials, plains }) })
    }

    pub(crate) fn degree(&self) -> usize {
        self.inner.degree
    }

    /// The data primes, then the special prime.
    pub(crate) fn primes(&self) -> &[Prime] {
        &self.inner.primes
    }

    /// The primes of plaintexts with slots.
    pub(crate) fn plains(&self) -> &[Plain] {
        &self.inner.plains
    }

    /// The first `levels` data primes; one more, and the special prime is among them.
    pub(crate) fn data_primes(&self, levels: usize) -> &[Prime] {
        &self.inner.primes[..levels]
    }

    /// The product of the first `levels` data primes.
    pub(crate) fn basis(&self, levels: usize) -> &Basis {
        &self.inner.bases[levels - MIN_LEVELS]
    }

    pub(crate) fn special(&self) -> &Prime {
        &self.inner.primes[MAX_LEVELS]
    }

    /// The automorphisms X -> X^(1 + 2^j), j = 1..=log2 N, at index j - 1.
    pub(crate) fn automorphisms(&self) -> &[Automorphism] {
        &self.inner.automorphisms
    }

    /// Index of the automorphism X -> X^(1 + N/h), which fixes X^(2h) and negates X^h.
    pub(crate) fn automorphism_of_gap(&self, h: usize) -> usize {
        (self.degree() / h).ilog2() as usize - 1
    }
}

impl Context {
    /// X^h in the slots of each prime, as factors, for a power of two h below N.
    pub(crate) fn monomial(&self, h: usize) -> &Rows<u64> {
        self.inner.monomials[self.automorphism_of_gap(h)].get_or_init(|| {
            let mut rows = Rows::new(self.primes().len(), self.degree());
            for (prime, row) in self.primes().iter().zip(rows.iter_mut()) {
                row[h] = 1;
                prime.forward(row);
                kernel::to_factors(row, prime.modulus);
            }
            rows
        })
    }
}

impl Basis {
    fn new(primes: &[Prime]) -> Self {
        let others = |p: u64| primes.iter().map(|prime| prime.modulus.p()).filter(move |&q| q != p);
        let inverse = |prime: &Prime| {
            let modulus = prime.modulus;
            let product =
                others(modulus.p()).fold(1, |product, q| modulus.mul_public(product, q % modulus.p()));
            modulus.inverse_public(product)
        };
        let mut limbs = (1u64, 0u128);
        let mut garner = vec![];
        for modulus in primes.iter().map(|prime| prime.modulus) {
            let below = limbs.1 << 64 | u128::from(limbs.0);
            garner.push((modulus.constant(modulus.inverse_public(modulus.reduce_wide(below))), below));
            let low = u128::from(limbs.0) * u128::from(modulus.p());
            limbs = (low as u64, limbs.1 * u128::from(modulus.p()) + (low >> 64));
        }
        Self {
            inverses: primes.iter().map(inverse).collect(),
            factors: primes
                .iter()
                .map(|prime| {
                    others(prime.modulus.p()).fold(1u128, |product, q| product.wrapping_mul(u128::from(q)))
                })
                .collect(),
            product: limbs.1 << 64 | u128::from(limbs.0),
            product_high: limbs.1,
            garner,
        }
    }

    /// floor(Q / 2^bits), for 5 <= bits <= 64.
    pub(crate) fn quotient(&self, bits: u32) -> u128 {
        (self.product_high << (64 - bits)) | (self.product & u128::from(u64::MAX)) >> bits
    }

    /// The integer below Q with the residues `residue(i)`, modulo 2^128: Garner's mixed radix.
    pub(crate) fn compose(&self, primes: &[Prime], residue: impl Fn(usize) -> u64) -> u128 {
        debug_assert!(self.garner.len() <= MAX_LEVELS, "of all primes only the inverses fit");
        let mut value = u128::from(residue(0));
        for (i, (prime, &(inverse, below))) in primes.iter().zip(&self.garner).enumerate().skip(1) {
            let modulus = prime.modulus;
            let digit = modulus.mul(modulus.sub(residue(i), modulus.reduce_wide(value)), inverse);
            value = value.wrapping_add(u128::from(digit).wrapping_mul(below));
        }
        value
    }
}

impl Prime {
    fn new(degree: usize, p: u64) -> Result<Self, Error> {
        let modulus = Modulus::new(p);
        Ok(Self {
            modulus,
            ntt: ntt::plan(degree, p)?,
            degree_inverse: modulus.inverse_public(degree as u64),
            special_inverse: modulus.inverse_public(params::special_prime() % p),
            two_52: (1 << 52) % p,
        })
    }

    pub(crate) fn forward(&self, values: &mut [u64]) {
        self.ntt.forward(values);
    }

    /// Coefficients to slots as factors, which [`kernel::add_outer`] takes.
    pub(crate) fn forward_to_factors(&self, values: &mut [u64]) {
        self.ntt.forward_to_factors(self.modulus, values);
    }

    /// As [`Self::forward_to_factors`], of signed integers.
    pub(crate) fn integers_to_factors(&self, from: &[i32], out: &mut [u64]) {
        self.ntt.integers_to_factors(self.modulus, from, out);
    }

    /// As [`Self::forward_to_factors`], of the centred representatives of residues modulo `from`.
    pub(crate) fn lifted_to_factors(&self, from: Modulus, values: &[u64], out: &mut [u64]) {
        self.ntt.lifted_to_factors(self.modulus, from, values, out);
    }

    /// Slots to coefficients times N; a [`Scale`] made with [`Self::scale_from_slots`] divides
    /// beforehand.
    pub(crate) fn inverse_unscaled(&self, values: &mut [u64]) {
        self.ntt.inverse(values);
    }

    /// The factor c, for accumulators that stay in slots.
    pub(crate) fn scale(&self, c: u64) -> Scale {
        let high = self.modulus.mul_public(c % self.modulus.p(), self.two_52);
        Scale { low: self.modulus.constant(c), high: self.modulus.constant(high) }
    }

    /// The factor c / N, for accumulators that go back to coefficients.
    pub(crate) fn scale_from_slots(&self, c: u64) -> Scale {
        self.scale(self.modulus.mul_public(c % self.modulus.p(), self.degree_inverse))
    }

    /// P^{-1} mod q_i.
    pub(crate) fn special_inverse(&self) -> u64 {
        self.special_inverse
    }

    /// 2^{-e} mod q_i.
    pub(crate) fn inverse_of_two_to(&self, e: u32) -> u64 {
        (0..e).fold(1, |x, _| if x % 2 == 0 { x / 2 } else { (x + self.modulus.p()) / 2 })
    }

    /// out = c a b, slot by slot.
    pub(crate) fn pointwise(&self, a: &[u64], b: &[u64], scale: Scale, out: &mut [u64]) {
        kernel::dot(&[(a, b)], self.modulus, scale, out);
    }

    /// Slots to coefficients.
    pub(crate) fn inverse(&self, values: &mut [u64]) {
        self.ntt.inverse_divided(self.modulus, self.modulus.constant(self.degree_inverse), values);
    }

    /// x = c x, for every x.
    pub(crate) fn multiply(&self, values: &mut [u64], c: u64) {
        let factor = self.modulus.constant(c);
        values.iter_mut().for_each(|x| *x = self.modulus.mul(*x, factor));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_a_half() {
        let context = Context::insecure(64);
        let prime = &context.primes()[0];
        assert_eq!(prime.modulus.mul_public(prime.inverse_of_two_to(13), 1 << 13), 1);
    }
}
