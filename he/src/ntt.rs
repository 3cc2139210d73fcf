//! The number-theoretic transform, behind a trait so that another engine can take its place.
//!
//! The engine is `tfhe-ntt`. Its 52-bit kernels are right for p < 2^50; for some primes above, the
//! tables and the kernel that is chosen do not fit together, so primes stay below. Where this crate
//! has a transform for the machine (module `kernel`), that one is used instead; it has the same
//! slots. Every transform proves itself once.

use crate::error::Error;
use crate::kernel;
use crate::modulus::{Modulus, Shoup};
use tfhe_ntt::prime64::Plan;

/// The negacyclic transform of one prime: Z_p\[X\]/(X^N + 1) to N slots. With psi a root of X^N +
/// 1, slot j has the value at psi^(2 r + 1), r the bits of j reversed.
pub(crate) trait NttBackend: Send + Sync {
    /// Coefficients (below p) to slots (below p).
    fn forward(&self, values: &mut [u64]);

    /// Slots (below p) to coefficients (below p), times N: the caller divides.
    fn inverse(&self, values: &mut [u64]);

    /// As [`Self::inverse`], divided: `degree_inverse` is N^{-1}.
    fn inverse_divided(&self, modulus: Modulus, degree_inverse: Shoup, values: &mut [u64]) {
        self.inverse(values);
        values.iter_mut().for_each(|x| *x = modulus.mul(*x, degree_inverse));
    }

    /// Coefficients below p to slots as factors, which [`kernel::add_outer`] takes.
    fn forward_to_factors(&self, modulus: Modulus, values: &mut [u64]) {
        self.forward(values);
        kernel::to_factors(values, modulus);
    }

    /// As [`Self::forward_to_factors`], of signed integers.
    fn integers_to_factors(&self, modulus: Modulus, from: &[i32], out: &mut [u64]) {
        for (out, &x) in out.iter_mut().zip(from) {
            *out = modulus.embed(i64::from(x));
        }
        self.forward_to_factors(modulus, out);
    }

    /// As [`Self::forward_to_factors`], of the centred representatives of residues modulo `from`.
    fn lifted_to_factors(&self, modulus: Modulus, from: Modulus, values: &[u64], out: &mut [u64]) {
        kernel::lift(values, from, modulus, out);
        self.forward_to_factors(modulus, out);
    }
}

impl NttBackend for Plan {
    fn forward(&self, values: &mut [u64]) {
        self.fwd(values);
    }

    fn inverse(&self, values: &mut [u64]) {
        self.inv(values);
    }
}

/// A tested transform for this degree and prime: this machine's own one if there is one.
pub(crate) fn plan(degree: usize, prime: u64) -> Result<Box<dyn NttBackend>, Error> {
    let plan = Plan::try_new(degree, prime).ok_or(Error::NoTransform { degree, prime })?;
    if let Some(own) = kernel::transform(degree, prime, roots(&plan, degree, prime)) {
        let same =
            computes_products(own.as_ref(), degree, prime) && same_slots(own.as_ref(), &plan, degree, prime);
        return if same { Ok(own) } else { Err(Error::TransformSelfTest { prime }) };
    }
    if computes_products(&plan, degree, prime) {
        Ok(Box::new(plan))
    } else {
        Err(Error::TransformSelfTest { prime })
    }
}

/// The root of X^N + 1 that is the plan's first slot, and its inverse.
fn roots(plan: &Plan, n: usize, p: u64) -> [u64; 2] {
    let mut slots = vec![0; n];
    slots[1] = 1;
    plan.fwd(&mut slots);
    let mul = |a: u64, b: u64| (u128::from(a) * u128::from(b) % u128::from(p)) as u64;
    // psi^N = -1: the inverse is -psi^(N - 1), N - 1 all ones in binary.
    let last = (0..n.ilog2()).fold(1, |power, _| mul(mul(power, power), slots[0]));
    [slots[0], p - last]
}

/// A polynomial with coefficients all over the range of residues.
fn dense(n: usize, p: u64, mut state: u64) -> Vec<u64> {
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        state % p
    };
    (0..n).map(|_| next()).collect()
}

/// Both transforms take a polynomial to the same slots: parties on different machines understand
/// each other.
fn same_slots(one: &dyn NttBackend, other: &dyn NttBackend, n: usize, p: u64) -> bool {
    let [mut first, mut second] = [(); 2].map(|()| dense(n, p, 3));
    one.forward(&mut first);
    other.forward(&mut second);
    first == second
}

/// Multiplies two dense polynomials by the transform and compares some coefficients with the
/// definition.
fn computes_products(ntt: &dyn NttBackend, n: usize, p: u64) -> bool {
    const CHECKED: usize = 64;
    let mul = |a: u64, b: u64| (u128::from(a) * u128::from(b) % u128::from(p)) as u64;
    let (x, w) = (dense(n, p, 1), dense(n, p, 2));
    let (mut product, mut slots) = (x.clone(), w.clone());
    ntt.forward(&mut product);
    ntt.forward(&mut slots);
    for (a, &b) in product.iter_mut().zip(&slots) {
        *a = mul(*a, b);
    }
    ntt.inverse(&mut product);
    let stride = (n / CHECKED).max(1);
    (0..n).step_by(stride).chain([n - 1]).all(|i| {
        // sum of x_j w_{i-j}, with X^N = -1; 2^13 products of 92 bits stay below 2^128.
        let plus: u128 = (0..=i).map(|j| u128::from(x[j]) * u128::from(w[i - j])).sum();
        let minus: u128 = (i + 1..n).map(|j| u128::from(x[j]) * u128::from(w[n + i - j])).sum();
        let (plus, minus) = ((plus % u128::from(p)) as u64, (minus % u128::from(p)) as u64);
        product[i] < p && product[i] == mul((plus + p - minus) % p, n as u64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Scale;

    struct Broken(Plan);

    impl NttBackend for Broken {
        fn forward(&self, values: &mut [u64]) {
            self.0.fwd(values);
            values[3] ^= 1;
        }
        fn inverse(&self, values: &mut [u64]) {
            self.0.inv(values);
        }
    }

    #[test]
    fn self_test_accepts_the_engine_and_rejects_a_broken_one() {
        let prime = crate::params::PRIMES[0];
        assert!(plan(8192, prime).is_ok());
        let engine = Plan::try_new(64, prime).unwrap();
        assert!(!computes_products(&Broken(engine), 64, prime));
    }

    /// Every way into the slots and back, of this machine's own transform and of the engine.
    #[test]
    fn own_transform_and_engine_agree() {
        let (n, p) = (8192, crate::params::PRIMES[1]);
        let modulus = Modulus::new(p);
        let from = Modulus::new(crate::params::PRIMES[2]);
        let engine = Plan::try_new(n, p).unwrap();
        let Some(own) = kernel::transform(n, p, roots(&engine, n, p)) else { return };
        let engine: &dyn NttBackend = &engine;
        // What is multiplied by one in slots and reduced is the residue, whatever form factors
        // have.
        let reduced = |factors: &[u64]| {
            let mut ones = vec![1; n];
            kernel::to_factors(&mut ones, modulus);
            let (one, two_52) = (modulus.constant(1), modulus.constant((1 << 52) % p));
            let mut out = vec![0; n];
            kernel::combine(
                &[(factors, &ones)],
                None,
                modulus,
                Scale { low: one, high: two_52 },
                false,
                &mut out,
            );
            out
        };
        let extreme = vec![p - 1; n];
        let alternating: Vec<u64> = (0..n).map(|i| if i % 2 == 0 { p - 1 } else { 0 }).collect();
        for x in [dense(n, p, 7), extreme, alternating, vec![0; n]] {
            let both = |f: &dyn Fn(&dyn NttBackend) -> Vec<u64>| assert_eq!(f(own.as_ref()), f(engine));
            both(&|ntt| {
                let mut y = x.clone();
                ntt.forward(&mut y);
                y
            });
            both(&|ntt| {
                let mut y = x.clone();
                ntt.inverse(&mut y);
                y
            });
            both(&|ntt| {
                let mut y = x.clone();
                ntt.inverse_divided(modulus, modulus.constant(modulus.inverse_public(n as u64)), &mut y);
                y
            });
            both(&|ntt| {
                let mut y = x.clone();
                ntt.forward_to_factors(modulus, &mut y);
                reduced(&y)
            });
            both(&|ntt| {
                let small: Vec<i32> = x.iter().map(|&x| x as i32).collect();
                let mut y = vec![0; n];
                ntt.integers_to_factors(modulus, &small, &mut y);
                reduced(&y)
            });
            both(&|ntt| {
                let other: Vec<u64> = x.iter().map(|&x| x % from.p()).collect();
                let mut y = vec![0; n];
                ntt.lifted_to_factors(modulus, from, &other, &mut y);
                reduced(&y)
            });
        }
    }

    #[test]
    fn a_prime_without_roots_is_a_named_error() {
        assert!(matches!(plan(8192, (1 << 44) - 17), Err(Error::NoTransform { .. })));
    }
}
