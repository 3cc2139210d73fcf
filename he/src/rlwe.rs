//! Symmetric encryption, one prime at a time: `b = -a s + e + m`, so that `b + a s = m + e`.
//!
//! `a` is uniform and expanded from a public seed, in slots; only `b` travels, in slots, 44 bits a
//! residue.

use crate::bits::{Reader, Writer};
use crate::context::{Context, Prime};
use crate::error::Error;
use crate::kernel;
use crate::modulus::Modulus;
use crate::params::PRIME_BITS;
use crate::prg::{Domain, Prg, Seed};
use crate::rows::Rows;
use crate::sample;
use zeroize::{Zeroize, Zeroizing};

/// A ciphertext modulo Q, in slots or in coefficients as its place says: `b + a s` is the message
/// plus noise.
pub(crate) struct Ciphertext {
    pub(crate) b: Rows<u64>,
    pub(crate) a: Rows<u64>,
}

impl Ciphertext {
    /// Modulo the product of the first `levels` data primes.
    pub(crate) fn zero(context: &Context, levels: usize) -> Self {
        let poly = || Rows::new(levels, context.degree());
        Self { b: poly(), a: poly() }
    }

    /// How many data primes its modulus has.
    pub(crate) fn levels(&self) -> usize {
        self.b.count()
    }
}

/// Scratch space of one thread that encrypts.
pub(crate) struct Encryptor {
    product: Vec<u64>,
}

impl Encryptor {
    pub(crate) fn new(context: &Context) -> Self {
        Self { product: vec![0; context.degree()] }
    }

    /// Turns the coefficients of `m + e` into the slots of `-a s + m + e`, all modulo one prime.
    pub(crate) fn hide(&mut self, prime: &Prime, a: &[u64], s: &[u64], message: &mut [u64]) {
        prime.forward(message);
        prime.pointwise(a, s, prime.scale(1), &mut self.product);
        for (m, &product) in message.iter_mut().zip(&self.product) {
            *m = prime.modulus.sub(*m, product);
        }
    }
}

impl Drop for Encryptor {
    fn drop(&mut self) {
        self.product.zeroize();
    }
}

/// A fresh polynomial of errors, to be lifted to every prime.
pub(crate) fn errors(domain: Domain, seed: &Seed, index: [u32; 2], n: usize) -> Zeroizing<Vec<i64>> {
    let mut prg = Prg::new(domain, seed, index);
    Zeroizing::new((0..n).map(|_| sample::error(&mut prg)).collect())
}

/// A fresh ternary polynomial.
pub(crate) fn ternary(domain: Domain, seed: &Seed, n: usize) -> Zeroizing<Vec<i64>> {
    let mut prg = Prg::new(domain, seed, [0, 0]);
    Zeroizing::new((0..n).map(|_| sample::ternary(&mut prg)).collect())
}

/// A small polynomial modulo one prime, in slots.
pub(crate) fn small_to_slots(prime: &Prime, small: &[i64], out: &mut [u64]) {
    kernel::embed(prime.modulus, small, out);
    prime.forward(out);
}

/// Appends one polynomial, N residues of 44 bits.
pub(crate) fn write_residues(out: &mut Vec<u8>, residues: &[u64]) {
    let mut writer = Writer::new(out);
    residues.iter().for_each(|&x| writer.put(x, PRIME_BITS));
    writer.finish();
}

/// Reads one polynomial and checks every residue.
pub(crate) fn read_residues(
    what: &'static str,
    bytes: &[u8],
    modulus: Modulus,
    out: &mut [u64],
) -> Result<(), Error> {
    let mut reader = Reader::new(bytes);
    out.iter_mut().for_each(|x| *x = reader.take(PRIME_BITS));
    match out.iter().position(|&x| x >= modulus.p()) {
        None => Ok(()),
        Some(index) => Err(Error::Residue { what, index }),
    }
}
