//! Automorphisms of ciphertexts: hybrid key switching with one special prime.
//!
//! From `(b, a)` under s(X^g) to one under s: the residues `d_i = [a]_{q_i}`, centred, are the digits; their products
//! with the Galois key give `(u_b, u_a)` modulo QP with `u_b + u_a s = P a s(X^g) + sum d_i e_i`; division by P with
//! rounding leaves `a s(X^g)` plus noise of variance `L N q^2 / 12 sigma^2 / P^2 + N / 18`.
//!
//! Ciphertexts are in coefficients here. Cost: L (L + 1) forward and 2 (L + 1) inverse transforms.

use crate::context::{Context, Prime, Scale};
use crate::evaluation::GaloisKey;
use crate::kernel;
use crate::params::MAX_LEVELS;
use crate::rlwe::Ciphertext;
use crate::rows::Rows;

/// Scratch space of one thread that switches keys.
pub(crate) struct Switcher {
    levels: usize,
    digits: Rows<u64>,
    special: Rows<u64>,
    image: Rows<u64>,
}

impl Switcher {
    /// For ciphertexts of so many data primes.
    pub(crate) fn new(context: &Context, levels: usize) -> Self {
        let n = context.degree();
        Self { levels, digits: Rows::new(levels, n), special: Rows::new(2, n), image: Rows::new(levels, n) }
    }

    /// `out = ct(X^g)` under s, where g belongs to the `index`-th automorphism and `key` is its Galois key.
    pub(crate) fn automorphism(
        &mut self,
        context: &Context,
        index: usize,
        key: &GaloisKey,
        ct: &Ciphertext,
        out: &mut Ciphertext,
    ) {
        let sigma = &context.automorphisms()[index];
        for (i, prime) in context.data_primes(self.levels).iter().enumerate() {
            sigma.residues(prime.modulus, ct.a.row(i), self.image.row_mut(i));
        }
        self.switch(context, key, out);
        for (i, prime) in context.data_primes(self.levels).iter().enumerate() {
            let image = self.digits.row_mut(0);
            sigma.residues(prime.modulus, ct.b.row(i), image);
            kernel::add_assign(out.b.row_mut(i), image, prime.modulus);
        }
    }

    /// `(out.b, out.a)` with `out.b + out.a s = image s(X^g)` plus noise.
    fn switch(&mut self, context: &Context, key: &GaloisKey, out: &mut Ciphertext) {
        let (levels, special) = (self.levels, context.special());
        let whole = special.scale_from_slots(1);
        self.digits_modulo(context, special);
        for (part, row) in self.special.iter_mut().enumerate() {
            product(special, &self.digits, |digit| key.part(part, MAX_LEVELS, digit), levels, whole, row);
        }
        for (i, prime) in context.data_primes(self.levels).iter().enumerate() {
            self.digits_modulo(context, prime);
            let scale = prime.scale_from_slots(prime.special_inverse());
            let factor = prime.modulus.constant(prime.special_inverse());
            for (part, row) in [out.b.row_mut(i), out.a.row_mut(i)].into_iter().enumerate() {
                product(prime, &self.digits, |digit| key.part(part, i, digit), levels, scale, row);
                kernel::subtract_lifted(row, self.special.row(part), special.modulus, prime.modulus, factor);
            }
        }
    }

    /// All digits in the slots of this prime.
    fn digits_modulo(&mut self, context: &Context, target: &Prime) {
        for (i, source) in context.data_primes(self.levels).iter().enumerate() {
            kernel::lift(self.image.row(i), source.modulus, target.modulus, self.digits.row_mut(i));
            target.forward(self.digits.row_mut(i));
        }
    }
}

/// The sum of digits times one part of the key, back in coefficients, times the scale's factor.
fn product<'k>(
    prime: &Prime,
    digits: &Rows<u64>,
    part: impl Fn(usize) -> &'k [u64],
    levels: usize,
    scale: Scale,
    out: &mut [u64],
) {
    let pairs: Vec<_> = (0..levels).map(|digit| (digits.row(digit), part(digit))).collect();
    kernel::dot(&pairs, prime.modulus, scale, out);
    prime.inverse_unscaled(out);
}
