//! The parameters, and the lock that refuses weaker ones.
//!
//! | N | data primes q1 q2 q3 | special P | log QP | moduli Q of ciphertexts | rings l |
//! | --- | --- | --- | --- | --- | --- |
//! | 8192 | 3 x 44 bit | 44 bit | 176 | q1 q2 (88 bit), q1 q2 q3 (132 bit) | 5..=64 |
//!
//! One secret key and one set of Galois keys serve both moduli: a key modulo q1 q2 q3 P, reduced,
//! is a key modulo q1 q2 P. [`crate::Layout::search`] takes the smaller modulus where its noise is
//! small enough. Products element by element, which are not switched to another key, have all four
//! primes as their modulus.
//!
//! Secret ternary, errors centred binomial with eta = 21 (deviation 3.24). The modulus that counts
//! is QP, because the Galois keys live there. For N = 8192 and 128 bits the homomorphic encryption
//! standard allows log QP <= 218, the 2024 guidelines (ePrint 2024/463) 214; the lock takes the
//! smaller. `tfhe`'s own fitted curve for 132 bits is asked as a second, independent opinion.

use crate::error::Error;
use tfhe::core_crypto::commons::noise_formulas::secure_noise::minimal_glwe_variance_for_132_bits_security_gaussian;
use tfhe::core_crypto::prelude::{GlweDimension, PolynomialSize};

/// The four largest primes below 2^44 that are 1 modulo 2^14; the first is the special prime.
pub(crate) const PRIMES: [u64; 4] = [17592186028033, 17592185438209, 17592184717313, 17592184225793];

/// The two largest primes below 2^46 that are 1 modulo 2^14: of plaintexts with slots.
pub(crate) const PLAIN_PRIMES: [u64; 2] = [70368743669761, 70368743587841];

/// Bits of one packed residue.
pub(crate) const PRIME_BITS: u32 = 44;

/// Number of data primes.
pub(crate) const MAX_LEVELS: usize = 3;

/// Fewest data primes of a ciphertext.
pub(crate) const MIN_LEVELS: usize = 2;

/// Smallest ring served: what remains of Q / 2^l must fit 128 bits.
pub(crate) const MIN_RING_BITS: u32 = 5;

/// Largest ring served.
pub(crate) const MAX_RING_BITS: u32 = 64;

/// Centred binomial parameter of all errors: variance eta / 2.
pub(crate) const ERROR_ETA: u32 = 21;

/// Largest log2(QP) for N = 8192, ternary secrets, 128 bits.
const MAX_LOG_QP: u32 = 214;

/// A description of the parameters, for programs to compare.
pub const PARAMETERS: &str = "N=8192 primes 17592186028033, 17592185438209, 17592184717313, 17592184225793 ternary eta=21 \
    plain 70368743669761, 70368743587841";

/// Degree N of the ring Z\[X\]/(X^N + 1).
pub(crate) const DEGREE: usize = 8192;

/// The data primes.
pub(crate) fn data_primes() -> &'static [u64] {
    &PRIMES[1..]
}

/// The special prime P.
pub(crate) fn special_prime() -> u64 {
    PRIMES[0]
}

/// Bytes of one polynomial modulo one prime, packed.
pub(crate) fn residues_len(n: usize) -> usize {
    n * PRIME_BITS as usize / 8
}

/// Refuses what is below 128 bits.
pub(crate) fn check_security(degree: usize, primes: usize) -> Result<(), Error> {
    if degree != DEGREE {
        return Err(Error::Parameters("degree is not 8192"));
    }
    let log_qp = primes as u32 * PRIME_BITS;
    if log_qp > MAX_LOG_QP {
        return Err(Error::Parameters("modulus QP exceeds 214 bits"));
    }
    // Relative to the modulus; asked at 2^500 so that the curve's floor at deviation 4 plays no
    // part.
    let minimum = minimal_glwe_variance_for_132_bits_security_gaussian(
        GlweDimension(1),
        PolynomialSize(degree),
        2f64.powi(500),
    )
    .0;
    let relative = f64::from(ERROR_ETA) / 2.0 * 2f64.powi(-2 * log_qp as i32);
    if relative < minimum {
        return Err(Error::Parameters("error below the 132-bit curve"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_set_is_within_the_tables() {
        check_security(DEGREE, PRIMES.len()).unwrap();
        let bits: f64 = PRIMES.iter().map(|&p| (p as f64).log2()).sum();
        assert!(bits <= 176.0 && 176 <= MAX_LOG_QP);
    }

    #[test]
    fn smaller_degrees_and_larger_moduli_are_refused() {
        assert!(check_security(4096, PRIMES.len()).is_err());
        assert!(check_security(DEGREE, PRIMES.len() + 1).is_err());
    }

    #[test]
    fn primes_are_primes_with_roots_and_named() {
        for p in PRIMES.into_iter().chain(PLAIN_PRIMES) {
            let bits = if PRIMES.contains(&p) { PRIME_BITS } else { 46 };
            assert!(p > 1 << (bits - 1) && p < 1 << bits && p % (2 * DEGREE as u64) == 1);
            assert!((3..1 << 23).step_by(2).take_while(|d| d * d <= p).all(|d| p % d != 0));
            assert!(PARAMETERS.contains(&p.to_string()));
        }
    }
}
