//! The client's keys.
//!
//! | key | modulus | form |
//! | --- | --- | --- |
//! | secret key |  | `s` ternary |
//! | public key | QP | `p0 = -p1 s + e`, `p1` expanded from the session's seed |
//! | Galois key of g | QP | for each data prime i: `b_i = -a_i s + e_i + P g_i s(X^g)` |
//!
//! `g_i` is 1 modulo q_i and 0 modulo the other primes, so `P g_i s(X^g)` is added to one residue
//! only. There are log2 N Galois keys, g = 1 + 2^j.
//!
//! Message: `p0`, 4 packed polynomials; then for each Galois key a seed of 32 bytes and 3 x 4
//! packed polynomials `b_i mod p`, digit by digit. Length `44 N / 8 (4 + 12 log2(N)) + 32 log2(N)`
//! bytes.
//!
//! The Galois keys encrypt functions of s under s (circular security, as in every packing scheme).

use crate::context::Context;
use crate::evaluation::EvaluationKeys;
use crate::kernel;
use crate::params::MAX_LEVELS;
use crate::prg::{Domain, Prg, Seed};
use crate::rlwe::{Encryptor, errors, small_to_slots, ternary, write_residues};
use crate::rows::Rows;
use crate::sample;
use rand::CryptoRng;
use rayon::prelude::*;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The client's secret; wiped on drop.
pub struct SecretKey {
    /// s in slots, for the data primes and the special prime.
    slots: Rows<u64>,
}

impl SecretKey {
    fn new(context: &Context, s: &[i64]) -> Self {
        let mut slots = Rows::new(context.primes().len(), context.degree());
        for (prime, row) in context.primes().iter().zip(slots.iter_mut()) {
            small_to_slots(prime, s, row);
        }
        Self { slots }
    }

    /// s modulo the i-th prime, in slots.
    pub(crate) fn slots(&self, i: usize) -> &[u64] {
        self.slots.row(i)
    }
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        self.slots.zeroize();
    }
}

impl ZeroizeOnDrop for SecretKey {}

/// Makes the secret key, and the message that gives the server its evaluation keys.
///
/// `session_seed` fixes the uniform part of the public key; it must depend on randomness of the
/// server.
pub fn keygen(
    context: &Context,
    session_seed: &[u8; 32],
    rng: &mut (impl CryptoRng + ?Sized),
) -> (SecretKey, Vec<u8>) {
    let n = context.degree();
    let s = ternary(Domain::Secret, &fresh_seed(rng), n);
    let key = SecretKey::new(context, &s);

    let mut message = Vec::with_capacity(EvaluationKeys::encoded_len(context));
    public_key(context, &key, session_seed, &fresh_seed(rng), &mut message);
    let seeds: Vec<_> = context.automorphisms().iter().map(|_| (*fresh_seed(rng), fresh_seed(rng))).collect();
    let galois: Vec<Vec<u8>> = context
        .automorphisms()
        .par_iter()
        .zip(&seeds)
        .map(|(sigma, (public, secret))| {
            let mut image = Zeroizing::new(vec![0; n]);
            sigma.integers(&s, &mut image);
            galois_key(context, &key, &image, public, secret)
        })
        .collect();
    galois.iter().for_each(|bytes| message.extend_from_slice(bytes));
    (key, message)
}

/// 32 bytes from the caller's generator.
pub(crate) fn fresh_seed(rng: &mut (impl CryptoRng + ?Sized)) -> Zeroizing<Seed> {
    let mut seed = Zeroizing::new([0; 32]);
    rng.fill_bytes(&mut *seed);
    seed
}

/// Appends `p0`.
fn public_key(context: &Context, key: &SecretKey, session: &Seed, secret: &Seed, out: &mut Vec<u8>) {
    let e = errors(Domain::Error, secret, [0, 0], context.degree());
    let (mut a, mut encryptor) = (vec![0; context.degree()], Encryptor::new(context));
    let mut message = Zeroizing::new(vec![0; context.degree()]);
    for (i, prime) in context.primes().iter().enumerate() {
        sample::uniform(&mut Prg::new(Domain::PublicKey, session, [0, i as u32]), prime.modulus, &mut a);
        kernel::embed(prime.modulus, &e, &mut message);
        encryptor.hide(prime, &a, key.slots(i), &mut message);
        write_residues(out, &message);
    }
}

/// The encoding of one Galois key; `image` is s(X^g).
fn galois_key(context: &Context, key: &SecretKey, image: &[i64], public: &Seed, secret: &Seed) -> Vec<u8> {
    let special = context.special().modulus.p();
    let (mut a, mut encryptor) = (vec![0; context.degree()], Encryptor::new(context));
    let mut message = Zeroizing::new(vec![0; context.degree()]);
    let mut out = public.to_vec();
    for digit in 0..MAX_LEVELS {
        let e = errors(Domain::Error, secret, [digit as u32, 0], context.degree());
        for (j, prime) in context.primes().iter().enumerate() {
            sample::uniform(
                &mut Prg::new(Domain::GaloisKey, public, [digit as u32, j as u32]),
                prime.modulus,
                &mut a,
            );
            kernel::embed(prime.modulus, &e, &mut message);
            if j == digit {
                let factor = prime.modulus.constant(special);
                for (m, &x) in message.iter_mut().zip(image) {
                    *m = prime.modulus.add(*m, prime.modulus.mul(prime.modulus.embed(x), factor));
                }
            }
            encryptor.hide(prime, &a, key.slots(j), &mut message);
            write_residues(&mut out, &message);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    #[test]
    fn the_public_key_depends_on_the_session() {
        let context = Context::insecure(64);
        let (_, message) = keygen(&context, &[1; 32], &mut ChaCha20Rng::seed_from_u64(1));
        let decode = |seed| EvaluationKeys::decode(&context, &[seed; 32], &message);
        let (ours, other) = (decode(1).unwrap(), decode(2).unwrap());
        assert!((0..4).all(|i| ours.public.b.row(i) == other.public.b.row(i)));
        assert!((0..4).all(|i| ours.public.a.row(i) != other.public.a.row(i)));
        let short = EvaluationKeys::decode(&context, &[1; 32], &message[1..]);
        assert!(matches!(short, Err(Error::Length { .. })));
    }

    #[test]
    fn secrets_are_wiped() {
        fn wiped<T: ZeroizeOnDrop>() {}
        wiped::<SecretKey>();
        let context = Context::insecure(64);
        let (mut key, _) = keygen(&context, &[1; 32], &mut ChaCha20Rng::seed_from_u64(1));
        assert!((0..4).all(|i| key.slots(i).iter().any(|&x| x != 0)));
        key.slots.zeroize();
        assert!(key.slots.is_empty());
    }
}
