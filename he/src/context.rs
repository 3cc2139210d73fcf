//! Everything that depends on the parameters alone: transforms, constants of the residue system, automorphisms.

use crate::automorphism::Automorphism;
use crate::error::Error;
use crate::kernel;
use crate::modulus::{Modulus, Shoup};
use crate::ntt::{self, NttBackend};
use crate::params::Params;
use std::sync::Arc;

/// A parameter set ready for use; cheap to clone, the same for both parties.
#[derive(Clone)]
pub struct Context {
    inner: Arc<Inner>,
}

struct Inner {
    params: Params,
    /// The data primes, then the special prime.
    primes: Vec<Prime>,
    automorphisms: Vec<Automorphism>,
}

/// One prime of the residue system.
pub(crate) struct Prime {
    pub(crate) modulus: Modulus,
    ntt: Box<dyn NttBackend>,
    /// N^{-1}.
    degree_inverse: u64,
    /// P^{-1}; zero for P itself.
    special_inverse: u64,
    /// (Q / q_i)^{-1}; zero for P.
    crt_inverse: u64,
    /// Q / q_i modulo 2^128; zero for P.
    crt_factor: u128,
    /// 2^52, the weight of an accumulator's high half.
    two_52: u64,
}

/// A factor that is applied while an accumulator is reduced: c for the low half, c 2^52 for the high half.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) low: Shoup,
    pub(crate) high: Shoup,
}

impl Context {
    /// Builds and tests the transforms.
    ///
    /// # Errors
    /// If the parameters are below 128 bits of security, or the transform is unusable on this machine.
    pub fn new(params: Params) -> Result<Self, Error> {
        params.check_security()?;
        Self::build(params)
    }

    /// A context without the security lock, for tests of the arithmetic in small rings.
    #[cfg(test)]
    pub(crate) fn insecure(params: Params) -> Self {
        Self::build(params).unwrap()
    }

    fn build(params: Params) -> Result<Self, Error> {
        let moduli = params.data_primes().iter().copied().chain([params.special_prime()]);
        let primes = moduli.map(|p| Prime::new(&params, p)).collect::<Result<_, _>>()?;
        let log_degree = params.degree().ilog2();
        let automorphisms =
            (1..=log_degree).map(|j| Automorphism::new(params.degree(), 1 + (1 << j))).collect();
        Ok(Self { inner: Arc::new(Inner { params, primes, automorphisms }) })
    }

    /// The parameter set.
    pub fn params(&self) -> &Params {
        &self.inner.params
    }

    pub(crate) fn degree(&self) -> usize {
        self.inner.params.degree()
    }

    /// Number L of data primes.
    pub(crate) fn levels(&self) -> usize {
        self.inner.params.levels()
    }

    /// The data primes, then the special prime.
    pub(crate) fn primes(&self) -> &[Prime] {
        &self.inner.primes
    }

    pub(crate) fn data_primes(&self) -> &[Prime] {
        &self.inner.primes[..self.levels()]
    }

    pub(crate) fn special(&self) -> &Prime {
        &self.inner.primes[self.levels()]
    }

    /// The automorphisms X -> X^(1 + 2^j), j = 1..=log2 N, at index j - 1.
    pub(crate) fn automorphisms(&self) -> &[Automorphism] {
        &self.inner.automorphisms
    }

    /// Index of the automorphism X -> X^(1 + N/h), which fixes X^(2h) and negates X^h.
    pub(crate) fn automorphism_of_gap(&self, h: usize) -> usize {
        (self.degree() / h).ilog2() as usize - 1
    }

    /// Q modulo 2^128.
    pub(crate) fn modulus_low(&self) -> u128 {
        self.params().data_primes().iter().fold(1u128, |q, &p| q.wrapping_mul(u128::from(p)))
    }
}

impl Prime {
    fn new(params: &Params, p: u64) -> Result<Self, Error> {
        let modulus = Modulus::new(p);
        let others = || params.data_primes().iter().filter(move |&&q| q != p);
        let is_data = params.data_primes().contains(&p);
        let data_only = |value: u64| if is_data { value } else { 0 };
        let crt = others().fold(1, |product, &q| modulus.mul_public(product, q % p));
        Ok(Self {
            modulus,
            ntt: ntt::plan(params.degree(), modulus)?,
            degree_inverse: modulus.inverse_public(params.degree() as u64),
            special_inverse: data_only(modulus.inverse_public(params.special_prime() % p)),
            crt_inverse: data_only(modulus.inverse_public(crt)),
            crt_factor: if is_data { others().fold(1u128, |f, &q| f.wrapping_mul(u128::from(q))) } else { 0 },
            two_52: (1 << 52) % p,
        })
    }

    pub(crate) fn forward(&self, values: &mut [u64]) {
        self.ntt.forward(values);
    }

    /// Slots to coefficients times N; a [`Scale`] made with [`Self::scale_from_slots`] divides beforehand.
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

    /// (Q / q_i)^{-1} mod q_i.
    pub(crate) fn crt_inverse(&self) -> u64 {
        self.crt_inverse
    }

    /// Q / q_i mod 2^128.
    pub(crate) fn crt_factor(&self) -> u128 {
        self.crt_factor
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
        self.ntt.inverse(values);
        self.multiply(values, self.degree_inverse);
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
    fn insecure_parameters_have_no_context() {
        assert!(matches!(Context::new(Params::fast().with_degree(1024)), Err(Error::Parameters(_))));
    }

    #[test]
    fn powers_of_a_half() {
        let context = Context::insecure(Params::fast().with_degree(64));
        let prime = &context.primes()[0];
        assert_eq!(prime.modulus.mul_public(prime.inverse_of_two_to(13), 1 << 13), 1);
    }
}
