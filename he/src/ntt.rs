//! The number-theoretic transform, behind a trait so that another engine can take its place.
//!
//! The engine is `tfhe-ntt`. Its 52-bit kernels are right for p < 2^50; for some primes above, the tables and the
//! kernel that is picked do not fit together, so primes stay below and every plan proves itself once.

use crate::error::Error;
use tfhe_ntt::prime64::Plan;

/// The negacyclic transform of one prime: Z_p\[X\]/(X^N + 1) to N slots, in an order only the engine knows.
pub(crate) trait NttBackend: Send + Sync {
    /// Coefficients (below p) to slots (below p).
    fn forward(&self, values: &mut [u64]);
    /// Slots (below p) to coefficients (below p), times N: the caller divides.
    fn inverse(&self, values: &mut [u64]);
}

impl NttBackend for Plan {
    fn forward(&self, values: &mut [u64]) {
        self.fwd(values);
    }

    fn inverse(&self, values: &mut [u64]) {
        self.inv(values);
    }
}

/// A tested plan for this degree and prime.
pub(crate) fn plan(degree: usize, prime: u64) -> Result<Box<dyn NttBackend>, Error> {
    let plan = Plan::try_new(degree, prime).ok_or(Error::NoTransform { degree, prime })?;
    if computes_products(&plan, degree, prime) {
        Ok(Box::new(plan))
    } else {
        Err(Error::TransformSelfTest { prime })
    }
}

/// Multiplies two dense polynomials by the transform and compares some coefficients with the definition.
fn computes_products(ntt: &dyn NttBackend, n: usize, p: u64) -> bool {
    const CHECKED: usize = 64;
    let mul = |a: u64, b: u64| (u128::from(a) * u128::from(b) % u128::from(p)) as u64;
    let dense = |mut state: u64| -> Vec<u64> {
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            state % p
        };
        (0..n).map(|_| next()).collect()
    };
    let (x, w) = (dense(1), dense(2));
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

    #[test]
    fn a_prime_without_roots_is_a_named_error() {
        assert!(matches!(plan(8192, (1 << 44) - 17), Err(Error::NoTransform { .. })));
    }
}
