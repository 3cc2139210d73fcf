//! The last step of the evaluator: a result becomes two shares, and the client's travels.
//!
//! | client: `s` |  | server: result `(b, a)`, public key `(p0, p1)` |
//! | --- | --- | --- |
//! |  |  | `u` ternary, `e0, e1` errors |
//! |  |  | `(b, a) += (p0, p1) u + (e0, e1)` modulo Q |
//! |  | `<- a' -` | `a' = round(2^kr a / Q)` modulo 2^kr |
//! | share: `round(2^l (a' s / 2^kr mod 1))` |  | share: `round(2^l b / Q)` modulo 2^l |
//!
//! Only `a'` travels: b, which the encryption of zero makes pseudo-random, is what masks the
//! result, and stays as the server's share. Bytes per ciphertext: `N kr / 8`, kr = l + 5 -
//! tolerance.
//!
//! The shares add up to the result plus delta, with the deviation that module
//! [`noise`](crate::noise) estimates. It consists of the noise of the evaluation, which depends on
//! W and of which the client knows the errors it drew itself, and of rounding a', of which it knows
//! nothing: the low bits of a are those of `p1 u + e1`. The latter is 40 times the former at least.
//! The *server* knows how it rounded a', and delta is that, times s: sums with a tolerance must
//! never be opened to the server, at no precision, or a few thousand of them give it the key.
//!
//! *Security.* The server's share and everything it computes is a function of the client's
//! ciphertexts. The client sees `round(2^kr (a + p1 u + e1) / Q)` per ciphertext, with u and e1
//! fresh for *every* one of them and added after the last key switch; `(p1, p1 u + e1)` is an RLWE
//! sample of the server's secret u, with p1 uniform because its seed is not the client's to choose.
//! So what it sees is pseudo-random whatever W is and whoever chose a: a simulator sends uniform
//! values. What remains is the sum of shares, X W + delta: this is the functionality. With
//! tolerance 2^-40, delta is zero but for that probability. Otherwise the sum must not be opened
//! unless most of it is dropped first. (The construction is that of full-range masks with the mask
//! chosen as b; review of the design notes, item 1.)

use crate::bits::Writer;
use crate::context::Context;
use crate::evaluation::EvaluationKeys;
use crate::kernel;
use crate::keys::fresh_seed;
use crate::layout::{Format, Layout};
use crate::prg::{Domain, Seed};
use crate::rlwe::{Ciphertext, errors, small_to_slots, ternary};
use crate::rows::Rows;
use crate::schedule;
use rand::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

/// Fresh randomness of one reply ciphertext.
pub(crate) struct Seeds {
    pub(crate) ephemeral: Zeroizing<Seed>,
    pub(crate) errors: Zeroizing<Seed>,
}

impl Seeds {
    pub(crate) fn fresh(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        Self { ephemeral: fresh_seed(rng), errors: fresh_seed(rng) }
    }
}

/// One reply ciphertext, and the server's share of every coefficient.
pub(crate) struct Reply {
    pub(crate) bytes: Vec<u8>,
    pub(crate) share: Zeroizing<Vec<u64>>,
}

/// Bytes of the reply to jobs of these layouts.
pub fn reply_len(context: &Context, layouts: &[Layout]) -> usize {
    let length = |class: &schedule::Class| class.replies() * class.format.reply_len(context.degree());
    schedule::classes(layouts).iter().map(length).sum()
}

/// Re-randomises and rounds one result in coefficients.
pub(crate) fn reshare(
    context: &Context,
    keys: &EvaluationKeys,
    format: Format,
    mut ct: Ciphertext,
    seeds: &Seeds,
) -> Reply {
    add_encryption_of_zero(context, keys, &mut ct, seeds);
    let mut bytes = Vec::with_capacity(format.reply_len(context.degree()));
    let mut writer = Writer::new(&mut bytes);
    let a = rounded(context, &ct.a, format.reply_bits);
    a.iter().for_each(|&a| writer.put_wide(a, format.reply_bits));
    writer.finish();
    let share = rounded(context, &ct.b, format.bits).iter().map(|&b| b as u64).collect();
    ct.b.zeroize();
    Reply { bytes, share: Zeroizing::new(share) }
}

/// `(b, a) += (p0, p1) u + (e0, e1)`.
pub(crate) fn add_encryption_of_zero(
    context: &Context,
    keys: &EvaluationKeys,
    ct: &mut Ciphertext,
    seeds: &Seeds,
) {
    let n = context.degree();
    let u = ternary(Domain::Ephemeral, &seeds.ephemeral, n);
    let e = [0, 1].map(|part| errors(Domain::ReplyError, &seeds.errors, [part, 0], n));
    let (mut slots, mut product) = (Zeroizing::new(vec![0; n]), Zeroizing::new(vec![0; n]));
    for (i, prime) in context.data_primes(ct.levels()).iter().enumerate() {
        small_to_slots(prime, &u, &mut slots);
        let parts = [(&keys.public.b, &mut ct.b, &e[0]), (&keys.public.a, &mut ct.a, &e[1])];
        for (public, target, e) in parts {
            prime.pointwise(public.row(i), &slots, prime.scale_from_slots(1), &mut product);
            prime.inverse_unscaled(&mut product);
            for (x, &e) in product.iter_mut().zip(e.iter()) {
                *x = prime.modulus.add(*x, prime.modulus.embed(e));
            }
            kernel::add_assign(target.row_mut(i), &product, prime.modulus);
        }
    }
}

/// round(2^bits c / Q) modulo 2^bits of every coefficient, for 1 <= bits < 128.
pub(crate) fn rounded(context: &Context, poly: &Rows<u64>, bits: u32) -> Zeroizing<Vec<u128>> {
    let mut fractions = fractions(context, poly, 1 << (127 - bits));
    fractions.iter_mut().for_each(|f| *f >>= 128 - bits);
    fractions
}

/// The fraction c / Q of every coefficient in units of 2^-128, plus `start`: the sum of the
/// fractions `[c (Q / q_i)^{-1}]_{q_i} / q_i` modulo 1, known to 2^-120.
pub(crate) fn fractions(context: &Context, poly: &Rows<u64>, start: u128) -> Zeroizing<Vec<u128>> {
    let mut fractions = Zeroizing::new(vec![start; context.degree()]);
    let basis = context.basis(poly.count());
    for (i, prime) in context.data_primes(poly.count()).iter().enumerate() {
        let factor = prime.modulus.constant(basis.inverses[i]);
        for (f, &c) in fractions.iter_mut().zip(poly.row(i)) {
            *f = f.wrapping_add(prime.modulus.fraction(prime.modulus.mul(c, factor)));
        }
    }
    fractions
}

#[cfg(test)]
mod tests;
