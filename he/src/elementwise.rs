//! Products of two vectors element by element, under one key: `a0 b1 + b0 a1` for the client's
//! `a0, b0` and the server's `a1, b1`.
//!
//! | client: `a0, b0`, secret key |  | server: `a1, b1`, public key |
//! | --- | --- | --- |
//! | modulo each `t`: `Enc(a0)`, `Enc(b0)` | `-- up ->` | `x' = round(x T / 2^l)` of a1, b1 |
//! |  |  | `Enc(a0) b1' + Enc(b0) a1'` |
//! |  |  | `+ Enc(0)`, fresh, under the public key |
//! | its share modulo t: decrypted | `<- a', rounded --` | its share modulo t: b, rounded |
//! | `round(2^l share / T)` |  | the same |
//!
//! Elements are the slots of `Z_t[X]/(X^N + 1)`, for two primes t just below 2^46 with N-th roots
//! of -1; T is their product, and shares modulo T come from shares modulo both. That `x T / 2^l`
//! stands for x makes a wrap of shares modulo T one modulo 2^l, so that T needs to exceed `2^(2l)`
//! by no more than what rounding takes. A rounded x' is off by a half at most, which is multiplied
//! by a factor below 2^l: both terms together by `2^(2l) / T` units of the ring. So up to `l = 44`
//! the shares add up to the products, or to that plus or minus one; for `l = 48`, the widest ring,
//! they are off by 17 units at most.
//!
//! *Parameters.* All four primes are the modulus, Q of 176 bits, since nothing is switched to
//! another key; the public key has all four. N = 8192, so log Q = 176 is what the Galois keys have,
//! too (module `params`).
//!
//! *Exactness modulo t.* A wrong coefficient would make all N slots wrong. Both parties round a
//! fraction whose sum is a multiple of 1/t but for the noise; they disagree only if a fraction lies
//! within the noise of a half. Noise in units of `Q / t`: two errors of deviation 3.24 times
//! polynomials of N coefficients below `t / 2`, six deviations, `2^55.5 t / Q = 2^-74`; rounding
//! `a'` to `REPLY_BITS = log t + 70` bits, `2^-63` likewise. So a coefficient is wrong with
//! probability below `2^-62`, a ciphertext below `2^-49`. A test measures the noise.
//!
//! *Security.* The server sees ciphertexts. The client sees `a'`, re-randomised by a fresh
//! encryption of zero as in module `reply`, whose argument holds word for word; and its share,
//! which is the sum modulo t less the server's share, that is, less the pseudo-random first part.
//! The sums modulo t are exact, so neither noise nor key is in them; what the products are off by
//! depends on the factors, which are random masks.
//!
//! Bytes for N products: `4 * 4 * 44 N / 8 + 32` up, `2 * 116 N / 8` down. Source: SIMD packing
//! (Smart, Vercauteren, 2011/133); scaling as in SPU's Cheetah backend; the reply as in this crate.

use rand::CryptoRng;
use rayon::prelude::*;
use zeroize::{Zeroize, Zeroizing};

use crate::{
    bits::Writer,
    context::{Context, Prime},
    decrypt::phases,
    error::{Error, check_length},
    evaluation::EvaluationKeys,
    kernel,
    keys::{SecretKey, fresh_seed},
    modulus::Shoup,
    ntt::{self, NttBackend},
    params::{PLAIN_PRIMES, PRIMES, residues_len},
    prg::{Domain, Prg, Seed},
    reply::{Seeds, add_encryption_of_zero, fractions},
    rlwe::{Ciphertext, Encryptor, errors, read_residues, write_residues},
    sample,
};

/// Widest ring: T is about `2^92`.
pub const MAX_BITS: u32 = 48;

/// Bits of a coefficient of the reply.
const REPLY_BITS: u32 = 116;

/// Encrypted vectors: `a` and `b`.
const FACTORS: usize = 2;

/// Primes of the plaintexts.
const PLAINS: usize = PLAIN_PRIMES.len();

/// Primes of the ciphertexts.
const LEVELS: usize = PRIMES.len();

/// One prime t of the plaintexts, its transform and constants.
pub(crate) struct Plain {
    t: u64,
    ntt: Box<dyn NttBackend>,
    degree_inverse: Shoup,
    /// Q modulo t.
    ciphertext_modulus: Shoup,
    /// (T / t)^{-1} modulo t.
    other_inverse: Shoup,
    /// floor(2^109 / t), between 2^63 and 2^64.
    fraction: u64,
}

impl Plain {
    /// Of all primes of plaintexts.
    pub(crate) fn all(degree: usize) -> Result<Vec<Plain>, Error> {
        let plain = |&t: &u64| -> Result<Plain, Error> {
            let product = |factors: &[u64]| {
                factors
                    .iter()
                    .fold(1u64, |product, &f| (u128::from(product) * u128::from(f) % u128::from(t)) as u64)
            };
            let others: Vec<u64> = PLAIN_PRIMES.iter().copied().filter(|&other| other != t).collect();
            let inverse = |x: u64| {
                (0..46).rev().fold(1u64, |power, bit| {
                    let square = (u128::from(power) * u128::from(power) % u128::from(t)) as u64;
                    if (t - 2) >> bit & 1 == 1 {
                        (u128::from(square) * u128::from(x) % u128::from(t)) as u64
                    } else {
                        square
                    }
                })
            };
            Ok(Plain {
                t,
                ntt: ntt::plan(degree, t)?,
                degree_inverse: constant(inverse(degree as u64), t),
                ciphertext_modulus: constant(product(&PRIMES), t),
                other_inverse: constant(inverse(product(&others)), t),
                fraction: ((1u128 << 109) / u128::from(t)) as u64,
            })
        };
        PLAIN_PRIMES.iter().map(plain).collect()
    }

    /// x w mod t, for any x.
    fn mul(&self, x: u64, w: Shoup) -> u64 {
        let quotient = ((u128::from(x) * u128::from(w.quotient)) >> 64) as u64;
        self.reduce_once(x.wrapping_mul(w.w).wrapping_sub(quotient.wrapping_mul(self.t)))
    }

    /// x mod t, for any x.
    fn reduce(&self, x: u64) -> u64 {
        self.mul(x, constant(1, self.t))
    }

    /// x mod t for x < 2 t.
    fn reduce_once(&self, x: u64) -> u64 {
        x.min(x.wrapping_sub(self.t))
    }

    /// The representative of x < t between -t/2 and t/2.
    fn centred(&self, x: u64) -> i64 {
        let upper = u64::from(x > self.t / 2).wrapping_neg();
        x.wrapping_sub(self.t & upper) as i64
    }

    /// The polynomial with these slots.
    fn polynomial(&self, mut slots: Zeroizing<Vec<u64>>) -> Zeroizing<Vec<u64>> {
        self.ntt.inverse(&mut slots);
        slots.iter_mut().for_each(|x| *x = self.mul(*x, self.degree_inverse));
        slots
    }

    /// round(t f / 2^128) modulo t.
    fn nearest(&self, f: u128) -> u64 {
        let low = (u128::from(f as u64) * u128::from(self.t)) >> 64;
        let product = (f >> 64) * u128::from(self.t) + low;
        self.reduce_once(((product + (1 << 63)) >> 64) as u64)
    }
}

fn constant(w: u64, t: u64) -> Shoup {
    Shoup { w, quotient: ((u128::from(w) << 64) / u128::from(t)) as u64 }
}

/// Bytes of the upload for `n` elements.
pub fn factors_len(context: &Context, n: usize) -> usize {
    32 + batches(context, n) * FACTORS * PLAINS * LEVELS * residues_len(context.degree())
}

/// Bytes of the reply for `n` elements.
pub fn products_len(context: &Context, n: usize) -> usize {
    batches(context, n) * PLAINS * reply_ciphertext_len(context)
}

fn batches(context: &Context, n: usize) -> usize {
    n.div_ceil(context.degree())
}

fn reply_ciphertext_len(context: &Context) -> usize {
    context.degree() * REPLY_BITS as usize / 8
}

/// The client's message: its vectors `a` and `b` of numbers below 2^48, encrypted.
///
/// # Panics
/// If they differ in length.
pub fn encrypt_factors(
    context: &Context,
    key: &SecretKey,
    a: &[u64],
    b: &[u64],
    rng: &mut (impl CryptoRng + ?Sized),
) -> Vec<u8> {
    assert_eq!(a.len(), b.len(), "as many factors of either kind");
    let n = context.degree();
    let (public, secret) = (*fresh_seed(rng), fresh_seed(rng));
    let batch = |i: usize| {
        let mut out = Vec::with_capacity(FACTORS * PLAINS * LEVELS * residues_len(n));
        for (f, x) in [a, b].into_iter().enumerate() {
            let slots = padded(x, i, n);
            for (k, plain) in context.plains().iter().enumerate() {
                let number = ((i * FACTORS + f) * PLAINS + k) as u32;
                let mut slots = slots.clone();
                slots.iter_mut().for_each(|x| *x = plain.reduce(*x));
                let message = plain.polynomial(slots);
                encrypt(context, key, plain, &message, number, [&public, &secret], &mut out);
            }
        }
        out
    };
    let parts: Vec<Vec<u8>> = (0..batches(context, a.len())).into_par_iter().map(batch).collect();
    std::iter::once(&public[..]).chain(parts.iter().map(Vec::as_slice)).collect::<Vec<_>>().concat()
}

/// Slots of batch `i`.
fn padded(x: &[u64], i: usize, n: usize) -> Zeroizing<Vec<u64>> {
    let part = &x[i * n..x.len().min((i + 1) * n)];
    let mut slots = Zeroizing::new(vec![0; n]);
    slots[..part.len()].copy_from_slice(part);
    slots
}

/// Appends `-a s + e + round(Q m / t)` modulo every prime, in slots.
fn encrypt(
    context: &Context,
    key: &SecretKey,
    plain: &Plain,
    message: &[u64],
    number: u32,
    [public, secret]: [&Seed; 2],
    out: &mut Vec<u8>,
) {
    let n = context.degree();
    let e = errors(Domain::Error, secret, [number, 0], n);
    let (mut a, mut encryptor) = (vec![0; n], Encryptor::new(context));
    // Q m less a multiple of t, by which round(Q m / t) t differs from Q m.
    let rest: Zeroizing<Vec<i64>> = Zeroizing::new(
        message.iter().map(|&m| plain.centred(plain.mul(m, plain.ciphertext_modulus))).collect(),
    );
    let mut hidden = Zeroizing::new(vec![0; n]);
    for (j, prime) in context.primes().iter().enumerate() {
        let modulus = prime.modulus;
        let t_inverse = modulus.constant(modulus.inverse_public(plain.t % modulus.p()));
        for ((out, &rest), &e) in hidden.iter_mut().zip(rest.iter()).zip(e.iter()) {
            *out = modulus.sub(modulus.embed(e), modulus.mul(modulus.reduce_signed(rest), t_inverse));
        }
        sample::uniform(&mut Prg::new(Domain::Upload, public, [number, j as u32]), modulus, &mut a);
        encryptor.hide(prime, &a, key.slots(j), &mut hidden);
        write_residues(out, &hidden);
    }
}

/// The server's part: the reply, and its shares of `a0 b1 + b0 a1` modulo `2^bits`, for its own
/// vectors `a` and `b`.
///
/// # Errors
/// If the upload has not the length of [`factors_len`], or a residue is not below its prime.
///
/// # Panics
/// If the vectors differ in length, or the ring has more than [`MAX_BITS`] bits.
pub fn multiply_factors(
    context: &Context,
    keys: &EvaluationKeys,
    upload: &[u8],
    [a, b]: [&[u64]; 2],
    bits: u32,
    rng: &mut (impl CryptoRng + ?Sized),
) -> Result<(Vec<u8>, Zeroizing<Vec<u64>>), Error> {
    assert!(a.len() == b.len() && bits <= MAX_BITS, "factors in a ring of {bits} bits");
    check_length("factors", upload, factors_len(context, a.len()))?;
    let (public, body) = upload.split_first_chunk::<32>().expect("the length was checked");
    let (n, count) = (context.degree(), batches(context, a.len()));
    let seeds: Vec<Seeds> = (0..count * PLAINS).map(|_| Seeds::fresh(rng)).collect();
    let batch = |(i, bytes): (usize, &[u8])| -> Result<(Vec<u8>, Zeroizing<Vec<u64>>), Error> {
        let mut reply = Vec::with_capacity(PLAINS * reply_ciphertext_len(context));
        let mut shares = vec![];
        for (k, plain) in context.plains().iter().enumerate() {
            // The client's `a` meets this side's `b`, and the other way round.
            let plaintexts = [b, a].map(|x| plain.polynomial(scaled(plain, &padded(x, i, n), bits)));
            let ciphertext = |f: usize| &bytes[(f * PLAINS + k) * LEVELS * residues_len(n)..];
            let mut sum = Ciphertext::zero(context, LEVELS);
            for (j, prime) in context.primes().iter().enumerate() {
                let number = |f: usize| ((i * FACTORS + f) * PLAINS + k) as u32;
                let term = |f: usize| -> Result<[Zeroizing<Vec<u64>>; 3], Error> {
                    let (mut hidden, mut uniform) = (vec![0; n], vec![0; n]);
                    let residues = &ciphertext(f)[j * residues_len(n)..(j + 1) * residues_len(n)];
                    read_residues("factors", residues, prime.modulus, &mut hidden)?;
                    let mut prg = Prg::new(Domain::Upload, public, [number(f), j as u32]);
                    sample::uniform(&mut prg, prime.modulus, &mut uniform);
                    Ok([hidden.into(), uniform.into(), lifted(plain, prime, &plaintexts[f])])
                };
                let [first, second] = [term(0)?, term(1)?];
                for (part, out) in [(0, sum.b.row_mut(j)), (1, sum.a.row_mut(j))] {
                    let pairs = [(&first[part][..], &first[2][..]), (&second[part][..], &second[2][..])];
                    kernel::dot(&pairs, prime.modulus, prime.scale_from_slots(1), out);
                    prime.inverse_unscaled(out);
                }
            }
            add_encryption_of_zero(context, keys, &mut sum, &seeds[i * PLAINS + k]);
            let rounding = 1u128 << (127 - REPLY_BITS);
            let mut writer = Writer::new(&mut reply);
            fractions(context, &sum.a, rounding)
                .iter()
                .for_each(|f| writer.put_wide(f >> (128 - REPLY_BITS), REPLY_BITS));
            writer.finish();
            shares.push(slots_of(plain, &fractions(context, &sum.b, 0)));
            sum.b.zeroize();
        }
        Ok((reply, joined(context, &shares, bits)))
    };
    let length = FACTORS * PLAINS * LEVELS * residues_len(n);
    let parts: Vec<_> = body.par_chunks_exact(length).enumerate().map(batch).collect::<Result<_, _>>()?;
    let mut shares = Zeroizing::new(Vec::with_capacity(count * n));
    parts.iter().for_each(|(_, part)| shares.extend_from_slice(part));
    shares.truncate(a.len());
    Ok((parts.into_iter().flat_map(|(reply, _)| reply).collect(), shares))
}

/// `round(x T / 2^bits)` modulo t.
fn scaled(plain: &Plain, x: &[u64], bits: u32) -> Zeroizing<Vec<u64>> {
    let product: u128 = PLAIN_PRIMES.iter().map(|&t| u128::from(t)).product();
    let whole = constant(((product >> bits) % u128::from(plain.t)) as u64, plain.t);
    let part = product & ((1 << bits) - 1);
    let half = 1u128 << (bits - 1);
    let rest = |x: u64| plain.reduce(((u128::from(x) * part + half) >> bits) as u64);
    let scale = |&x: &u64| plain.reduce_once(plain.mul(x, whole) + rest(x));
    Zeroizing::new(x.iter().map(scale).collect())
}

/// A plaintext's centred coefficients modulo one prime of the ciphertexts, in slots.
fn lifted(plain: &Plain, prime: &Prime, polynomial: &[u64]) -> Zeroizing<Vec<u64>> {
    let residue = |&x: &u64| prime.modulus.reduce_signed(plain.centred(x));
    let mut slots: Zeroizing<Vec<u64>> = Zeroizing::new(polynomial.iter().map(residue).collect());
    prime.forward(&mut slots);
    slots
}

/// A party's shares of the slots modulo t, from its fractions of all coefficients.
fn slots_of(plain: &Plain, fractions: &[u128]) -> Zeroizing<Vec<u64>> {
    let mut share: Zeroizing<Vec<u64>> =
        Zeroizing::new(fractions.iter().map(|&f| plain.nearest(f)).collect());
    plain.ntt.forward(&mut share);
    share
}

/// Shares modulo `2^bits` from shares modulo both primes.
fn joined(context: &Context, shares: &[Zeroizing<Vec<u64>>], bits: u32) -> Zeroizing<Vec<u64>> {
    let fraction = |i: usize| {
        let parts = context.plains().iter().zip(shares).map(|(plain, share)| {
            let y = plain.mul(share[i], plain.other_inverse);
            ((u128::from(y) * u128::from(plain.fraction)) >> 45) as u64
        });
        parts.fold(0u64, u64::wrapping_add)
    };
    let round = |i: usize| fraction(i).wrapping_add(1 << (63 - bits)) >> (64 - bits);
    Zeroizing::new((0..context.degree()).map(round).collect())
}

/// The client's shares of the products of `n` elements modulo `2^bits`.
///
/// # Errors
/// If the reply has not the length of [`products_len`].
///
/// # Panics
/// If the ring has more than [`MAX_BITS`] bits.
pub fn decrypt_products(
    context: &Context,
    key: &SecretKey,
    reply: &[u8],
    n: usize,
    bits: u32,
) -> Result<Zeroizing<Vec<u64>>, Error> {
    assert!(bits <= MAX_BITS, "products in a ring of {bits} bits");
    check_length("products", reply, products_len(context, n))?;
    let batch = |bytes: &[u8]| {
        let ciphertexts = context.plains().iter().zip(bytes.chunks_exact(reply_ciphertext_len(context)));
        let shares: Vec<_> = ciphertexts
            .map(|(plain, bytes)| {
                let mut phases = phases(context, key, crate::params::MAX_LEVELS, REPLY_BITS, bytes);
                phases.iter_mut().for_each(|phase| *phase <<= 128 - REPLY_BITS);
                slots_of(plain, &phases)
            })
            .collect();
        joined(context, &shares, bits)
    };
    let parts: Vec<_> = reply.par_chunks_exact(PLAINS * reply_ciphertext_len(context)).map(batch).collect();
    let mut shares = Zeroizing::new(Vec::with_capacity(batches(context, n) * context.degree()));
    parts.iter().for_each(|part| shares.extend_from_slice(part));
    shares.truncate(n);
    Ok(shares)
}

#[cfg(test)]
mod tests;
