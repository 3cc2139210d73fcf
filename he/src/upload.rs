//! The client's matrix on its way to the server.
//!
//! | client: `X`, `s`                                        |                                    | server |
//! |---------------------------------------------------------|------------------------------------|--------|
//! | per block of X: fresh seed, `a` from it                 |                                    |        |
//! | `b = -a s + e + round(Q x / 2^l)`                       | `-- seed, b of every block ->`     | `(b, a)` |
//!
//! One ciphertext per block of t rows and k columns, rows of blocks first. Bytes: [`Layout::upload_len`].

use crate::context::{Context, Prime};
use crate::error::{Error, check_length};
use crate::keys::{SecretKey, fresh_seed};
use crate::layout::Layout;
use crate::prg::{Domain, Prg, Seed};
use crate::rlwe::{Ciphertext, Encryptor, errors, read_residues, residues_len, write_residues};
use crate::sample;
use rand::CryptoRng;
use rayon::prelude::*;
use zeroize::Zeroizing;

/// Encrypts X, `[tokens, inner]` row-major, for one product.
///
/// # Panics
/// If X has not the shape of the layout, or the layout is not of this context.
pub fn encrypt(
    context: &Context,
    key: &SecretKey,
    layout: &Layout,
    x: &[u64],
    rng: &mut (impl CryptoRng + ?Sized),
) -> Vec<u8> {
    assert_eq!(layout.params, *context.params(), "layout and context have the same parameters");
    assert_eq!(x.len(), layout.shape.tokens * layout.shape.inner, "X is [tokens, inner]");
    let seeds: Vec<_> =
        (0..layout.upload_ciphertexts()).map(|_| (*fresh_seed(rng), fresh_seed(rng))).collect();
    let ciphertexts: Vec<Vec<u8>> = seeds
        .par_iter()
        .enumerate()
        .map_init(
            || Encryptor::new(context),
            |encryptor, (block, (public, secret))| {
                let message = input_block(layout, x, block);
                encrypt_block(context, key, encryptor, layout.bits, &message, public, secret)
            },
        )
        .collect();
    ciphertexts.concat()
}

/// The coefficients of one block of X.
fn input_block(layout: &Layout, x: &[u64], block: usize) -> Zeroizing<Vec<u64>> {
    let (first_token, first_inner) =
        (block / layout.inner_blocks() * layout.t, block % layout.inner_blocks() * layout.k);
    let mask = u64::MAX >> (64 - layout.bits);
    let mut message = Zeroizing::new(vec![0; layout.degree()]);
    for i in 0..layout.t.min(layout.shape.tokens - first_token) {
        let row = &x[(first_token + i) * layout.shape.inner..][..layout.shape.inner];
        for (j, &value) in row[first_inner..].iter().take(layout.k).enumerate() {
            message[layout.input_index(i, j)] = value & mask;
        }
    }
    message
}

fn encrypt_block(
    context: &Context,
    key: &SecretKey,
    encryptor: &mut Encryptor,
    bits: u32,
    message: &[u64],
    public: &Seed,
    secret: &Seed,
) -> Vec<u8> {
    let n = context.degree();
    let e = errors(Domain::Error, secret, [0, 0], n);
    let mut out = public.to_vec();
    let (mut a, mut b) = (vec![0; n], Zeroizing::new(vec![0; n]));
    for (i, prime) in context.data_primes().iter().enumerate() {
        sample::uniform(&mut Prg::new(Domain::Upload, public, [0, i as u32]), prime.modulus, &mut a);
        scale_up(context, prime, bits, message, &mut b);
        for (b, &e) in b.iter_mut().zip(e.iter()) {
            *b = prime.modulus.add(*b, prime.modulus.embed(e));
        }
        encryptor.hide(prime, &a, key.slots(i), &mut b);
        write_residues(&mut out, &b);
    }
    out
}

/// round(Q x / 2^l) modulo one prime q of Q, exactly.
///
/// With y = Q x mod 2^l, the rounded quotient is (Q x - y) / 2^l + msb(y), and modulo q it is msb(y) - y 2^{-l}.
fn scale_up(context: &Context, prime: &Prime, bits: u32, x: &[u64], out: &mut [u64]) {
    let modulus_low = context.modulus_low() as u64;
    let factor = prime.modulus.constant(prime.inverse_of_two_to(bits));
    let mask = u64::MAX >> (64 - bits);
    for (out, &x) in out.iter_mut().zip(x) {
        let y = x.wrapping_mul(modulus_low) & mask;
        *out = prime.modulus.sub(y >> (bits - 1), prime.modulus.mul(y, factor));
    }
}

/// The client's encrypted matrix, checked and expanded; in slots.
pub struct EncryptedMatrix {
    pub(crate) layout: Layout,
    /// Blocks of X, rows of blocks first.
    pub(crate) blocks: Vec<Ciphertext>,
}

impl EncryptedMatrix {
    /// Checks and expands an upload for `layout`.
    ///
    /// # Errors
    /// If the length is wrong or a residue is not below its prime.
    ///
    /// # Panics
    /// If the layout is not of this context.
    pub fn decode(context: &Context, layout: &Layout, bytes: &[u8]) -> Result<Self, Error> {
        assert_eq!(layout.params, *context.params(), "layout and context have the same parameters");
        check_length("encrypted matrix", bytes, layout.upload_len())?;
        let blocks = bytes
            .par_chunks_exact(layout.upload_len() / layout.upload_ciphertexts())
            .map(|bytes| decode_block(context, bytes))
            .collect::<Result<_, _>>()?;
        Ok(Self { layout: *layout, blocks })
    }

    /// The layout it was decoded for.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }
}

fn decode_block(context: &Context, bytes: &[u8]) -> Result<Ciphertext, Error> {
    let (seed, body) = bytes.split_first_chunk::<32>().expect("cut to length by the caller");
    let mut ct = Ciphertext::zero(context);
    let polynomials = body.chunks_exact(residues_len(context.degree()));
    for ((i, prime), bytes) in context.data_primes().iter().enumerate().zip(polynomials) {
        read_residues("encrypted matrix", bytes, prime.modulus, ct.b.row_mut(i))?;
        sample::uniform(&mut Prg::new(Domain::Upload, seed, [0, i as u32]), prime.modulus, ct.a.row_mut(i));
    }
    Ok(ct)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Params;

    #[test]
    fn scaling_is_the_rounded_quotient() {
        let context = Context::insecure(Params::fast().with_degree(64));
        let q: u128 = context.params().data_primes().iter().map(|&p| u128::from(p)).product();
        for bits in [2, 20, 27] {
            let values: Vec<u64> =
                (0..64u64).map(|i| i.wrapping_mul(0x9e3779b97f4a7c15) >> (64 - bits)).collect();
            for prime in context.data_primes() {
                let mut out = vec![0; 64];
                scale_up(&context, prime, bits, &values, &mut out);
                for (&x, &got) in values.iter().zip(&out) {
                    // Q x / 2^l + 1/2, with Q of 100 bits and x of at most 27.
                    let rounded = (q * u128::from(x) + (1 << (bits - 1))) >> bits;
                    assert_eq!(u128::from(got), rounded % u128::from(prime.modulus.p()));
                }
            }
        }
    }
}
