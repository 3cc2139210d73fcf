//! The server's evaluation keys, decoded and expanded from the client's message (see
//! [`crate::keygen`]).

use crate::context::Context;
use crate::error::{Error, check_length};
use crate::kernel;
use crate::params::{MAX_LEVELS, residues_len};
use crate::prg::{Domain, Prg, Seed};
use crate::rlwe::{Ciphertext, read_residues};
use crate::rows::Rows;
use crate::sample;
use rayon::prelude::*;

/// Public key and Galois keys; nothing in here is secret.
pub struct EvaluationKeys {
    pub(crate) public: Ciphertext,
    /// Index j - 1 for the automorphism X -> X^(1 + 2^j).
    pub(crate) galois: Vec<GaloisKey>,
}

/// The key that switches from s(X^g) to s: pairs `(b, a)` in slots, for each digit and each prime
/// of QP, as factors.
pub(crate) struct GaloisKey {
    rows: Rows<u64>,
}

impl GaloisKey {
    fn position(&self, prime: usize, digit: usize) -> usize {
        2 * (prime * MAX_LEVELS + digit)
    }

    /// `b` (part 0) or `a` (part 1) of this digit modulo this prime.
    pub(crate) fn part(&self, part: usize, prime: usize, digit: usize) -> &[u64] {
        self.rows.row(self.position(prime, digit) + part)
    }

    fn encoded_len(context: &Context) -> usize {
        32 + MAX_LEVELS * (MAX_LEVELS + 1) * residues_len(context.degree())
    }

    fn decode(context: &Context, bytes: &[u8]) -> Result<Self, Error> {
        let (seed, body) = bytes.split_first_chunk::<32>().expect("the caller cut the message to length");
        let n = context.degree();
        let mut key = Self { rows: Rows::new(2 * MAX_LEVELS * (MAX_LEVELS + 1), n) };
        let mut polynomials = body.chunks_exact(residues_len(n));
        for digit in 0..MAX_LEVELS {
            for (j, prime) in context.primes().iter().enumerate() {
                let at = key.position(j, digit);
                let bytes = polynomials.next().expect("the caller cut the message to length");
                read_residues("galois key", bytes, prime.modulus, key.rows.row_mut(at))?;
                let mut prg = Prg::new(Domain::GaloisKey, seed, [digit as u32, j as u32]);
                sample::uniform(&mut prg, prime.modulus, key.rows.row_mut(at + 1));
                [at, at + 1]
                    .into_iter()
                    .for_each(|at| kernel::to_factors(key.rows.row_mut(at), prime.modulus));
            }
        }
        Ok(key)
    }
}

impl EvaluationKeys {
    /// Length of the key message: `44 N / 8 (4 + 12 log2(N)) + 32 log2(N)` bytes.
    pub fn encoded_len(context: &Context) -> usize {
        Self::public_len(context) + context.automorphisms().len() * GaloisKey::encoded_len(context)
    }

    fn public_len(context: &Context) -> usize {
        context.primes().len() * residues_len(context.degree())
    }

    /// Checks and expands the client's key message; `session_seed` is the one given to
    /// [`crate::keygen`].
    ///
    /// # Errors
    /// If the length is wrong or a residue is not below its prime.
    pub fn decode(context: &Context, session_seed: &[u8; 32], bytes: &[u8]) -> Result<Self, Error> {
        check_length("evaluation keys", bytes, Self::encoded_len(context))?;
        let (public, galois) = bytes.split_at(Self::public_len(context));
        let galois = galois
            .par_chunks_exact(GaloisKey::encoded_len(context))
            .map(|bytes| GaloisKey::decode(context, bytes))
            .collect::<Result<_, _>>()?;
        Ok(Self { public: decode_public(context, session_seed, public)?, galois })
    }
}

fn decode_public(context: &Context, session_seed: &Seed, bytes: &[u8]) -> Result<Ciphertext, Error> {
    let mut public = Ciphertext::zero(context, context.primes().len());
    let polynomials = bytes.chunks_exact(residues_len(context.degree()));
    for ((i, prime), bytes) in context.primes().iter().enumerate().zip(polynomials) {
        read_residues("public key", bytes, prime.modulus, public.b.row_mut(i))?;
        let mut prg = Prg::new(Domain::PublicKey, session_seed, [0, i as u32]);
        sample::uniform(&mut prg, prime.modulus, public.a.row_mut(i));
    }
    Ok(public)
}
