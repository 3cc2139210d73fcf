//! The two parameter sets, and the lock that refuses weaker ones.
//!
//! | set      | N    | data primes | special | log QP | ring l  | reply modulus | share off by one, per output |
//! |----------|------|-------------|---------|--------|---------|---------------|------------------------------|
//! | `fast`   | 8192 | 2 x 50 bit  | 50 bit  | 150    | 2..=44  | 2^(l+16)      | < 2^-11                      |
//! | `strict` | 8192 | 3 x 50 bit  | 50 bit  | 200    | 2..=64  | 2^(l+47)      | < 2^-40                      |
//!
//! Secret ternary, errors centred binomial with eta = 21 (deviation 3.24). The modulus that counts is QP, because the
//! Galois keys live there. For N = 8192 and 128 bits the homomorphic encryption standard allows log QP <= 218, the
//! 2024 guidelines (ePrint 2024/463) 214; the lock takes the smaller. `tfhe`'s own fitted curve for 132 bits is asked
//! as a second, independent opinion.

use crate::error::Error;
use tfhe::core_crypto::commons::noise_formulas::secure_noise::minimal_glwe_variance_for_132_bits_security_gaussian;
use tfhe::core_crypto::prelude::{GlweDimension, PolynomialSize};

/// The four largest primes below 2^50 that are 1 modulo 2^14; the first is the special prime.
pub(crate) const PRIMES: [u64; 4] = [1125899906826241, 1125899906629633, 1125899905744897, 1125899905351681];

/// Centred binomial parameter of all errors: variance eta / 2.
pub(crate) const ERROR_ETA: u32 = 21;

/// Bits of one packed residue.
pub(crate) const PRIME_BITS: u32 = 50;

/// Largest log2(QP) for N = 8192, ternary secrets, 128 bits.
const MAX_LOG_QP: u32 = 214;

/// A parameter set; only the two presets can be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    degree: PolynomialSize,
    primes: &'static [u64],
    max_ring_bits: u32,
    reply_guard_bits: u32,
    error_log2: i32,
}

impl Params {
    /// Q of 100 bits, rings up to 44 bits; a share pair is off by one with probability below 2^-11 per output.
    pub const fn fast() -> Self {
        Self {
            degree: PolynomialSize(8192),
            primes: PRIMES.split_at(3).0,
            max_ring_bits: 44,
            reply_guard_bits: 16,
            error_log2: -11,
        }
    }

    /// Q of 150 bits, rings up to 64 bits; a share pair is off by one with probability below 2^-40 per output.
    pub const fn strict() -> Self {
        Self {
            degree: PolynomialSize(8192),
            primes: &PRIMES,
            max_ring_bits: 64,
            reply_guard_bits: 47,
            error_log2: -40,
        }
    }

    /// The same set in a ring too small to be secure, for tests of the arithmetic.
    #[cfg(test)]
    pub(crate) const fn with_degree(mut self, degree: usize) -> Self {
        self.degree = PolynomialSize(degree);
        self
    }

    /// Degree N of the ring Z\[X\]/(X^N + 1).
    pub const fn degree(&self) -> usize {
        self.degree.0
    }

    /// Largest ring width l this set serves.
    pub const fn max_ring_bits(&self) -> u32 {
        self.max_ring_bits
    }

    /// log2 of the reply modulus for a ring of `bits` bits.
    pub const fn reply_bits(&self, bits: u32) -> u32 {
        bits + self.reply_guard_bits
    }

    /// log2 of the largest probability, per output, that a pair of shares is off by one.
    pub const fn error_log2(&self) -> i32 {
        self.error_log2
    }

    /// Number L of data primes.
    pub(crate) const fn levels(&self) -> usize {
        self.primes.len() - 1
    }

    /// The data primes, the factors of Q.
    pub(crate) fn data_primes(&self) -> &'static [u64] {
        &self.primes[1..]
    }

    /// The special prime P.
    pub(crate) fn special_prime(&self) -> u64 {
        self.primes[0]
    }

    /// Bytes of one polynomial modulo Q, packed.
    pub(crate) const fn poly_len(&self) -> usize {
        self.levels() * self.degree() * PRIME_BITS as usize / 8
    }

    /// Bytes of one reply ciphertext for a ring of `bits` bits: both polynomials.
    pub(crate) const fn reply_ciphertext_len(&self, bits: u32) -> usize {
        2 * self.degree() * self.reply_bits(bits) as usize / 8
    }

    /// Refuses every set below 128 bits.
    pub(crate) fn check_security(&self) -> Result<(), Error> {
        if self.degree() != 8192 {
            return Err(Error::Parameters("degree is not 8192"));
        }
        let log_qp = self.primes.len() as u32 * PRIME_BITS;
        if log_qp > MAX_LOG_QP {
            return Err(Error::Parameters("modulus QP exceeds 214 bits"));
        }
        // Relative to the modulus; asked at 2^500 so that the curve's floor at deviation 4 plays no part.
        let minimum = minimal_glwe_variance_for_132_bits_security_gaussian(
            GlweDimension(1),
            self.degree,
            2f64.powi(500),
        )
        .0;
        let relative = f64::from(ERROR_ETA) / 2.0 * 2f64.powi(-2 * log_qp as i32);
        if relative < minimum {
            return Err(Error::Parameters("error below the 132-bit curve"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_within_the_tables() {
        for (params, log_qp) in [(Params::fast(), 150), (Params::strict(), 200)] {
            params.check_security().unwrap();
            let bits: f64 = params.primes.iter().map(|&p| (p as f64).log2()).sum();
            assert!(bits <= f64::from(log_qp) && log_qp <= MAX_LOG_QP);
        }
    }

    #[test]
    fn smaller_degrees_and_larger_moduli_are_refused() {
        assert!(Params::fast().with_degree(4096).check_security().is_err());
        const FIVE: [u64; 5] = [PRIMES[0], PRIMES[1], PRIMES[2], PRIMES[3], 1125899905220609];
        let large = Params { primes: &FIVE, ..Params::strict() };
        assert!(large.check_security().is_err());
    }

    #[test]
    fn primes_are_primes_of_fifty_bits_with_roots() {
        for p in PRIMES {
            assert!(p > 1 << 49 && p < 1 << 50 && p % (2 * 8192) == 1);
            assert!((3..1 << 25).step_by(2).take_while(|d| d * d <= p).all(|d| p % d != 0));
        }
    }
}
