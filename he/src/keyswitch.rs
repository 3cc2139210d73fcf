//! Automorphisms of ciphertexts: hybrid key switching with one special prime.
//!
//! From `(b, a)` under s(X^g) to one under s: the residues `d_i = [a]_{q_i}`, centred, are the
//! digits; their products with the Galois key give `(u_b, u_a)` modulo QP with
//! `u_b + u_a s = P a s(X^g) + sum d_i e_i`; division by P with rounding leaves `a s(X^g)` plus
//! noise of variance `L N q^2 / 12 sigma^2 / P^2 + N / 18`.
//!
//! Everything stays in slots, where automorphisms are permutations. Digits cost L inverse and L^2
//! forward transforms, because in its own prime a digit is a itself; they commute with
//! automorphisms, so several automorphisms of one ciphertext share them. A division costs one
//! inverse and L forward transforms.

use crate::automorphism::SlotPermutation;
use crate::context::Context;
use crate::evaluation::GaloisKey;
use crate::kernel;
use crate::params::MAX_LEVELS;
use crate::rlwe::Ciphertext;
use crate::rows::Rows;
use zeroize::Zeroize;

/// Scratch space of one thread that switches keys.
pub(crate) struct Switcher {
    levels: usize,
    digits: Digits,
    /// Digits under an automorphism.
    image: Digits,
    coefficients: Rows<u64>,
    quotient: Vec<u64>,
    /// For ciphertexts on their way.
    pub(crate) scratch: Scratch,
}

/// Room for a ciphertext, b modulo QP, and its image under an automorphism.
pub(crate) struct Scratch {
    pub(crate) row: Vec<u64>,
    pub(crate) b: Rows<u64>,
    pub(crate) a: Rows<u64>,
}

/// Digits modulo each prime of QP, in slots, as factors.
struct Digits {
    levels: usize,
    rows: Rows<u64>,
}

impl Digits {
    fn new(levels: usize, n: usize) -> Self {
        Self { levels, rows: Rows::new(levels * (levels + 1), n) }
    }

    /// Row of a digit modulo a prime, of which the `levels`-th is P.
    fn position(&self, prime: usize, digit: usize) -> usize {
        prime * self.levels + digit
    }

    /// `out = c (u - quotient) (+ out)` for a part u of the digits' products with a key, modulo a
    /// prime.
    fn combine(
        &self,
        context: &Context,
        key: &GaloisKey,
        [part, prime]: [usize; 2],
        rest: Rest<'_>,
        out: &mut [u64],
    ) {
        let index = if prime == self.levels { MAX_LEVELS } else { prime };
        let modulus = &context.primes()[index];
        let mut pairs: [(&[u64], &[u64]); MAX_LEVELS] = Default::default();
        for (digit, pair) in pairs[..self.levels].iter_mut().enumerate() {
            *pair = (self.rows.row(self.position(prime, digit)), key.part(part, index, digit));
        }
        let scale = modulus.scale(rest.scale);
        kernel::combine(&pairs[..self.levels], rest.quotient, modulus.modulus, scale, rest.add, out);
    }
}

/// What is done with a part of the products besides.
struct Rest<'a> {
    quotient: Option<&'a [u64]>,
    scale: u64,
    add: bool,
}

impl Switcher {
    /// For ciphertexts of so many data primes.
    pub(crate) fn new(context: &Context, levels: usize) -> Self {
        let n = context.degree();
        let scratch = Scratch { row: vec![0; n], b: Rows::new(levels + 1, n), a: Rows::new(levels, n) };
        Self {
            levels,
            digits: Digits::new(levels, n),
            image: Digits::new(levels, n),
            coefficients: Rows::new(levels, n),
            quotient: vec![0; n],
            scratch,
        }
    }

    /// Takes a, in slots, as what is switched.
    pub(crate) fn decompose(&mut self, context: &Context, a: &Rows<u64>) {
        let Self { levels, digits, coefficients, .. } = self;
        decompose(context, *levels, a, coefficients, digits);
    }

    /// As [`Self::decompose`] of the a that lies in the scratch space.
    pub(crate) fn decompose_scratch(&mut self, context: &Context) {
        let Self { levels, digits, coefficients, scratch, .. } = self;
        decompose(context, *levels, &scratch.a, coefficients, digits);
    }

    /// `out = ct(X^g)` under s, where `sigma` is X -> X^g, `key` its Galois key, and a of `ct` was
    /// taken before.
    pub(crate) fn automorphism(
        &mut self,
        context: &Context,
        sigma: &SlotPermutation,
        key: &GaloisKey,
        ct: &Ciphertext,
        out: &mut Ciphertext,
    ) {
        for row in 0..self.digits.rows.count() {
            sigma.apply(self.digits.rows.row(row), self.image.rows.row_mut(row));
        }
        for i in 0..self.levels {
            sigma.apply(ct.b.row(i), out.b.row_mut(i));
        }
        let Self { image, quotient, scratch, .. } = self;
        divide(context, image, key, 0, true, [quotient, &mut scratch.row], &mut out.b);
        divide(context, image, key, 1, false, [quotient, &mut scratch.row], &mut out.a);
    }

    /// `b + P a s(X^g)` under s, for a taken before: adds to b modulo QP, times P, and to a. Of b
    /// modulo P there is nothing yet unless `lifted`.
    pub(crate) fn add_switched(
        &mut self,
        context: &Context,
        key: &GaloisKey,
        lifted: bool,
        b: &mut Rows<u64>,
        a: &mut Rows<u64>,
    ) {
        for prime in 0..=self.levels {
            let add = lifted || prime < self.levels;
            let rest = Rest { quotient: None, scale: 1, add };
            self.digits.combine(context, key, [0, prime], rest, b.row_mut(prime));
        }
        let Self { digits, quotient, scratch, .. } = self;
        divide(context, digits, key, 1, true, [quotient, &mut scratch.row], a);
    }
}

impl Drop for Switcher {
    fn drop(&mut self) {
        let Self { digits, image, coefficients, quotient, scratch, .. } = self;
        let Scratch { row, b, a } = scratch;
        [&mut digits.rows, &mut image.rows, coefficients, b, a].into_iter().for_each(Zeroize::zeroize);
        [quotient, row].into_iter().for_each(Zeroize::zeroize);
    }
}

/// Digits of a, in slots.
fn decompose(
    context: &Context,
    levels: usize,
    a: &Rows<u64>,
    coefficients: &mut Rows<u64>,
    digits: &mut Digits,
) {
    let primes = context.data_primes(levels);
    for (i, prime) in primes.iter().enumerate() {
        let own = digits.position(i, i);
        digits.rows.row_mut(own).copy_from_slice(a.row(i));
        kernel::to_factors(digits.rows.row_mut(own), prime.modulus);
        let coefficients = coefficients.row_mut(i);
        coefficients.copy_from_slice(a.row(i));
        prime.inverse(coefficients);
        for (j, target) in primes.iter().chain([context.special()]).enumerate().filter(|&(j, _)| j != i) {
            let at = digits.position(j, i);
            target.lifted_to_factors(prime.modulus, coefficients, digits.rows.row_mut(at));
        }
    }
}

/// `out = u / P (+ out)`, rounded, for one part u of the products, in slots.
fn divide(
    context: &Context,
    digits: &Digits,
    key: &GaloisKey,
    part: usize,
    add: bool,
    [rest, quotient]: [&mut Vec<u64>; 2],
    out: &mut Rows<u64>,
) {
    let (levels, special) = (digits.levels, context.special());
    digits.combine(context, key, [part, levels], Rest { quotient: None, scale: 1, add: false }, rest);
    special.inverse(rest);
    for (i, prime) in context.data_primes(levels).iter().enumerate() {
        prime.lifted_to_factors(special.modulus, rest, quotient);
        let rest = Rest { quotient: Some(quotient), scale: prime.special_inverse(), add };
        digits.combine(context, key, [part, i], rest, out.row_mut(i));
    }
}
