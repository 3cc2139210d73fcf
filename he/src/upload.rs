//! The client's matrix on its way to the server.
//!
//! A matrix of the client's choice, [`encrypt`]; per block of t rows and k columns:
//!
//! | client: `X`, `s` |  | server |
//! | --- | --- | --- |
//! | fresh seed, `a` from it |  |  |
//! | `b = -a s + e + round(Q x / 2^l)` | `-- seed, b -->` | `(b, a)` |
//!
//! A uniform matrix, which neither party chooses, [`encrypt_random`]:
//!
//! | client: `s` |  | server |
//! | --- | --- | --- |
//! | fresh seed, `a` and `u` in Z_{2^l}^N from it |  |  |
//! | `c = floor(2^l (-a s + e) / Q)`, `x = u - c` |  |  |
//! | `b = -a s + e + round(Q x / 2^l)` |  |  |
//! | `v = b - round(Q u / 2^l)` | `-- seed, v -->` | `b = round(Q u / 2^l) + v`, `(b, a)` |
//!
//! v lies in `[-1, Q / 2^l + 1]`: it takes log2 Q - l bits, where b takes log2 Q. Coefficients that
//! must be zero have x = 0, not x = u - c, and all of b is sent; those that nothing depends on are
//! not sent, and have b = 0.
//!
//! *Security.* For fixed `-a s + e` the map u -> x is a bijection of Z_{2^l}, so (a, b, x) has
//! exactly the distribution of an honest encryption of a uniform x that is independent of s, e and
//! a. But the server sees u and v, not b alone: near the ends of its range v tells how things were
//! rounded, hence something of x. So the ciphertext is drawn again, with a fresh seed, unless every
//! v lies in `[2, floor(Q / 2^l) - 2]`, or from 2^10 for three primes, where c is not computed
//! exactly below: then every x is as likely, given u, v and a. A draw fails with probability below
//! N 2^(l + 3) / Q, or N 2^(l + 10) / Q. Seeds are never used twice; a, u and the secrets come from
//! separate domains.

use crate::bits::{Reader, Writer};
use crate::context::{Context, Prime};
use crate::error::{Error, check_length};
use crate::keys::{SecretKey, fresh_seed};
use crate::layout::Layout;
use crate::params::{MAX_LEVELS, PRIME_BITS, residues_len};
use crate::prg::{Domain, Prg, Seed};
use crate::rlwe::{Ciphertext, Encryptor, errors, read_residues, write_residues};
use crate::rows::Rows;
use crate::sample;
use rand::CryptoRng;
use rayon::prelude::*;
use std::ops::RangeInclusive;
use std::sync::Arc;
use zeroize::{Zeroize, Zeroizing};

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
    assert_eq!(layout.degree, context.degree(), "layout and context have the same degree");
    assert_eq!(x.len(), layout.shape.tokens * layout.shape.inner, "X is [tokens, inner]");
    let seeds: Vec<_> =
        (0..layout.upload_ciphertexts()).map(|_| (*fresh_seed(rng), fresh_seed(rng))).collect();
    let ciphertexts: Vec<Vec<u8>> = seeds
        .par_iter()
        .enumerate()
        .map_init(
            || Encryptor::new(context),
            |encryptor, (block, (public, secret))| {
                let mut message = Zeroizing::new(vec![0; context.degree()]);
                for (value, coefficient) in used(layout, block) {
                    message[coefficient] = x[value] & mask(layout);
                }
                encrypt_block(context, key, encryptor, layout, &message, public, secret)
            },
        )
        .collect();
    ciphertexts.concat()
}

/// Makes a uniform X, `[tokens, inner]` row-major modulo 2^l, and its compressed encryption of
/// [`Layout::upload_len`] bytes.
///
/// # Panics
/// If the layout is not of this context.
pub fn encrypt_random(
    context: &Context,
    key: &SecretKey,
    layout: &Layout,
    rng: &mut (impl CryptoRng + ?Sized),
) -> (Vec<u8>, Zeroizing<Vec<u64>>) {
    assert_eq!(layout.degree, context.degree(), "layout and context have the same degree");
    let mut blocks: Vec<Option<Vec<u8>>> = vec![None; layout.upload_ciphertexts()];
    let mut x = Zeroizing::new(vec![0; layout.shape.tokens * layout.shape.inner]);
    // One pass but for probability N 2^(l + 3) / Q a ciphertext.
    while blocks.iter().any(Option::is_none) {
        let missing = blocks.iter_mut().enumerate().filter(|(_, bytes)| bytes.is_none());
        let draws: Vec<_> =
            missing.map(|(block, bytes)| (block, bytes, *fresh_seed(rng), fresh_seed(rng))).collect();
        let values: Vec<_> = draws
            .into_par_iter()
            .map(|(block, bytes, public, secret)| {
                let (made, values) = random_block(context, key, layout, block, &public, &secret)?;
                *bytes = Some(made);
                Some((block, values))
            })
            .collect();
        for (block, values) in values.into_iter().flatten() {
            used(layout, block).zip(values.iter()).for_each(|((at, _), &value)| x[at] = value);
        }
    }
    (blocks.into_iter().flatten().flatten().collect(), x)
}

fn mask(layout: &Layout) -> u64 {
    u64::MAX >> (64 - layout.bits)
}

/// The values of one block: index in X, coefficient in the polynomial.
fn used(layout: &Layout, block: usize) -> impl Iterator<Item = (usize, usize)> {
    let ((token, inner), (rows, columns)) = (layout.block_origin(block), layout.block_sides(block));
    let (width, layout) = (layout.shape.inner, *layout);
    (0..rows).flat_map(move |i| {
        (0..columns).map(move |j| ((token + i) * width + inner + j, layout.input_index(i, j)))
    })
}

/// The coefficients of one block that must be zero, because columns of W other than the first carry
/// them to where outputs are read: between the rows that have values, and in the last row, which
/// wraps around to the first.
fn zeros(layout: &Layout, block: usize) -> impl Iterator<Item = usize> {
    let ((rows, columns), layout) = (layout.block_sides(block), *layout);
    let last = (rows < layout.t).then_some(layout.t - 1);
    (0..rows).chain(last).flat_map(move |i| {
        (1..layout.n).flat_map(move |r| (0..columns).map(move |j| layout.input_index(i, r * layout.k + j)))
    })
}

impl Layout {
    /// Bytes of an upload of [`encrypt`]: per ciphertext a seed of 32 bytes and `44 L N / 8` bytes.
    pub fn plain_upload_len(&self) -> usize {
        self.upload_ciphertexts() * (32 + self.levels * residues_len(self.degree))
    }

    /// Bytes of an upload of [`encrypt_random`]: per ciphertext a seed of 32 bytes, `44 L - l` bits
    /// for each coefficient that carries a value, and `44 L` bits for each that must be zero.
    pub fn upload_len(&self) -> usize {
        // Blocks are of four kinds: the last of a row or of a column may not be full.
        let (down, across) = (self.token_blocks(), self.inner_blocks());
        let last_row = (down - 1) * across;
        (down - 1) * ((across - 1) * self.block_len(0) + self.block_len(across - 1))
            + (across - 1) * self.block_len(last_row)
            + self.block_len(last_row + across - 1)
    }

    fn block_len(&self, block: usize) -> usize {
        let (rows, columns) = self.block_sides(block);
        let zeros = (rows + usize::from(rows < self.t)) * (self.n - 1) * columns;
        let full = self.levels * PRIME_BITS as usize;
        32 + (rows * columns * (full - self.bits as usize) + zeros * full).div_ceil(8)
    }

    /// Bits of one v.
    fn value_bits(&self) -> u32 {
        self.levels as u32 * PRIME_BITS - self.bits
    }
}

fn encrypt_block(
    context: &Context,
    key: &SecretKey,
    encryptor: &mut Encryptor,
    layout: &Layout,
    message: &[u64],
    public: &Seed,
    secret: &Seed,
) -> Vec<u8> {
    let n = context.degree();
    let e = errors(Domain::Error, secret, [0, 0], n);
    let mut out = public.to_vec();
    let (mut a, mut b) = (vec![0; n], Zeroizing::new(vec![0; n]));
    for (i, prime) in context.data_primes(layout.levels).iter().enumerate() {
        sample::uniform(&mut Prg::new(Domain::Upload, public, [0, i as u32]), prime.modulus, &mut a);
        scale_up(context, layout, prime, message, &mut b);
        for (b, &e) in b.iter_mut().zip(e.iter()) {
            *b = prime.modulus.add(*b, prime.modulus.embed(e));
        }
        encryptor.hide(prime, &a, key.slots(i), &mut b);
        write_residues(&mut out, &b);
    }
    out
}

/// One compressed ciphertext and its message in the order of [`used`], or nothing if these seeds
/// will not do.
fn random_block(
    context: &Context,
    key: &SecretKey,
    layout: &Layout,
    block: usize,
    public: &Seed,
    secret: &Seed,
) -> Option<(Vec<u8>, Zeroizing<Vec<u64>>)> {
    let (n, primes) = (context.degree(), context.data_primes(layout.levels));
    let basis = context.basis(layout.levels);
    // -a s + e, and its fraction of Q, never too large.
    let e = errors(Domain::Error, secret, [0, 0], n);
    let mut base = Wiped(Rows::new(layout.levels, n));
    let mut fractions = Zeroizing::new(vec![0u128; n]);
    let mut a = vec![0; n];
    for (i, prime) in primes.iter().enumerate() {
        sample::uniform(&mut Prg::new(Domain::Upload, public, [0, i as u32]), prime.modulus, &mut a);
        let row = base.0.row_mut(i);
        prime.pointwise(&a, key.slots(i), prime.scale_from_slots(prime.modulus.p() - 1), row);
        prime.inverse_unscaled(row);
        let factor = prime.modulus.constant(basis.inverses[i]);
        for ((b, &e), fraction) in row.iter_mut().zip(e.iter()).zip(fractions.iter_mut()) {
            *b = prime.modulus.add(*b, prime.modulus.embed(e));
            *fraction = fraction.wrapping_add(prime.modulus.fraction(prime.modulus.mul(*b, factor)));
        }
    }
    let u = public_values(layout, block, public);
    let mut x = Zeroizing::new(vec![0; n]);
    for (_, at) in used(layout, block) {
        x[at] = u[at].wrapping_sub((fractions[at] >> (128 - layout.bits)) as u64) & mask(layout);
    }
    let (mut of_x, mut of_u) = (Zeroizing::new(vec![0; n]), vec![0; n]);
    for (i, prime) in primes.iter().enumerate() {
        scale_up(context, layout, prime, &x, &mut of_x);
        scale_up(context, layout, prime, &u, &mut of_u);
        for (b, (&x, &u)) in base.0.row_mut(i).iter_mut().zip(of_x.iter().zip(&of_u)) {
            *b = prime.modulus.sub(prime.modulus.add(*b, x), u);
        }
    }
    let base = &base.0;
    let mut out = public.to_vec();
    let mut writer = Writer::new(&mut out);
    let window = window(context, layout);
    let mut within = true;
    for (_, at) in used(layout, block) {
        let v = basis.compose(primes, |i| base.row(i)[at]);
        within &= window.contains(&v);
        writer.put_wide(v & (u128::MAX >> (128 - layout.value_bits())), layout.value_bits());
    }
    for at in zeros(layout, block) {
        (0..layout.levels).for_each(|i| writer.put(base.row(i)[at], PRIME_BITS));
    }
    writer.finish();
    within.then(|| (out, Zeroizing::new(used(layout, block).map(|(_, at)| x[at]).collect())))
}

/// Values of v that do not tell how things were rounded: `floor(2^l base / Q)` is computed exactly
/// for the bases that give them. The fraction of a base is known to 9 units of 2^-128 for each
/// prime, which is below one base for two primes and below 2^9 bases for three.
fn window(context: &Context, layout: &Layout) -> RangeInclusive<u128> {
    let least = if layout.levels == MAX_LEVELS { 1 << 10 } else { 2 };
    least..=context.basis(layout.levels).quotient(layout.bits) - 2
}

/// Residues that are wiped on drop.
struct Wiped(Rows<u64>);

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// u of one block: uniform where there are values, zero elsewhere.
fn public_values(layout: &Layout, block: usize, public: &Seed) -> Vec<u64> {
    let mut u = vec![0; layout.degree];
    let mut prg = Prg::new(Domain::Values, public, [0, 0]);
    used(layout, block).for_each(|(_, at)| u[at] = prg.word() & mask(layout));
    u
}

/// round(Q x / 2^l) modulo one prime q of Q, exactly.
///
/// With y = Q x mod 2^l, the rounded quotient is (Q x - y) / 2^l + msb(y), and modulo q it is
/// msb(y) - y 2^{-l}.
fn scale_up(context: &Context, layout: &Layout, prime: &Prime, x: &[u64], out: &mut [u64]) {
    let modulus_low = context.basis(layout.levels).product as u64;
    let factor = prime.modulus.constant(prime.inverse_of_two_to(layout.bits));
    for (out, &x) in out.iter_mut().zip(x) {
        let y = x.wrapping_mul(modulus_low) & mask(layout);
        *out = prime.modulus.sub(y >> (layout.bits - 1), prime.modulus.mul(y, factor));
    }
}

/// The client's encrypted matrix, checked and expanded; in slots.
pub struct EncryptedMatrix {
    pub(crate) layout: Layout,
    /// Blocks of X, rows of blocks first.
    pub(crate) blocks: Vec<Arc<Ciphertext>>,
}

impl EncryptedMatrix {
    /// Checks and expands an upload of [`encrypt`] for `layout`.
    ///
    /// # Errors
    /// If the length is wrong or a residue is not below its prime.
    ///
    /// # Panics
    /// If the layout is not of this context.
    pub fn decode(context: &Context, layout: &Layout, bytes: &[u8]) -> Result<Self, Error> {
        assert_eq!(layout.degree, context.degree(), "layout and context have the same degree");
        check_length("encrypted matrix", bytes, layout.plain_upload_len())?;
        let blocks = bytes
            .par_chunks_exact(layout.plain_upload_len() / layout.upload_ciphertexts())
            .map(|bytes| decode_block(context, layout, bytes).map(Arc::new))
            .collect::<Result<_, _>>()?;
        Ok(Self { layout: *layout, blocks })
    }

    /// Checks and expands an upload of [`encrypt_random`] for `layout`.
    ///
    /// # Errors
    /// If the length is wrong or a residue is not below its prime.
    ///
    /// # Panics
    /// If the layout is not of this context.
    pub fn decode_random(context: &Context, layout: &Layout, bytes: &[u8]) -> Result<Self, Error> {
        assert_eq!(layout.degree, context.degree(), "layout and context have the same degree");
        check_length("encrypted random matrix", bytes, layout.upload_len())?;
        let mut rest = bytes;
        let parts = (0..layout.upload_ciphertexts()).map(|block| {
            let (part, after) = rest.split_at(layout.block_len(block));
            rest = after;
            (block, part)
        });
        let parts: Vec<_> = parts.collect();
        let blocks = parts
            .into_par_iter()
            .map(|(block, bytes)| decode_random_block(context, layout, block, bytes).map(Arc::new))
            .collect::<Result<_, _>>()?;
        Ok(Self { layout: *layout, blocks })
    }

    /// The same ciphertexts in the other of the two layouts of [`Layout::group`].
    ///
    /// # Panics
    /// If the layouts do not put the same elements at the same places.
    pub fn viewed(&self, layout: &Layout) -> Self {
        let count = layout.upload_ciphertexts();
        let places = |layout: &Layout, block| used(layout, block).map(|(_, place)| place).collect::<Vec<_>>();
        let same = |block| places(layout, block) == places(&self.layout, block);
        assert!(
            (layout.levels, layout.bits, count) == (self.layout.levels, self.layout.bits, self.blocks.len())
                && (layout.n, self.layout.n) == (1, 1)
                && (0..count).all(same),
            "two layouts of the same ciphertexts"
        );
        Self { layout: *layout, blocks: self.blocks.clone() }
    }

    /// One matrix of the ciphertexts of several, block after block, in a layout of
    /// [`Layout::dense`]. Rows or columns that a block lacks are arbitrary numbers: what they give
    /// is not to be read, or meets zeros in W.
    ///
    /// # Panics
    /// If the layouts differ in more than the shape, or the blocks are not as many as the layout
    /// has.
    pub fn joined(layout: &Layout, parts: &[Self]) -> Self {
        let form = |l: &Layout| (l.degree, l.levels, l.bits, l.t, l.n, l.k);
        assert!(
            layout.n == 1 && parts.iter().all(|part| form(&part.layout) == form(layout)),
            "blocks of one form"
        );
        let blocks: Vec<_> = parts.iter().flat_map(|part| part.blocks.iter().cloned()).collect();
        assert_eq!(blocks.len(), layout.upload_ciphertexts(), "as many blocks as the layout has");
        Self { layout: *layout, blocks }
    }

    /// The layout it was decoded for.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }
}

fn decode_block(context: &Context, layout: &Layout, bytes: &[u8]) -> Result<Ciphertext, Error> {
    let (seed, body) = bytes.split_first_chunk::<32>().expect("cut to length by the caller");
    let mut ct = Ciphertext::zero(context, layout.levels);
    let polynomials = body.chunks_exact(residues_len(context.degree()));
    for ((i, prime), bytes) in context.data_primes(layout.levels).iter().enumerate().zip(polynomials) {
        read_residues("encrypted matrix", bytes, prime.modulus, ct.b.row_mut(i))?;
        sample::uniform(&mut Prg::new(Domain::Upload, seed, [0, i as u32]), prime.modulus, ct.a.row_mut(i));
    }
    Ok(ct)
}

fn decode_random_block(
    context: &Context,
    layout: &Layout,
    block: usize,
    bytes: &[u8],
) -> Result<Ciphertext, Error> {
    let (seed, body) = bytes.split_first_chunk::<32>().expect("cut to length by the caller");
    let (mut ct, primes) = (Ciphertext::zero(context, layout.levels), context.data_primes(layout.levels));
    let u = public_values(layout, block, seed);
    for (i, prime) in primes.iter().enumerate() {
        scale_up(context, layout, prime, &u, ct.b.row_mut(i));
    }
    let mut reader = Reader::new(body);
    for (_, at) in used(layout, block) {
        let v = reader.take_wide(layout.value_bits());
        for (i, prime) in primes.iter().enumerate() {
            let b = &mut ct.b.row_mut(i)[at];
            *b = prime.modulus.add(*b, prime.modulus.reduce_wide(v));
        }
    }
    for (index, at) in zeros(layout, block).enumerate() {
        for (i, prime) in primes.iter().enumerate() {
            let residue = reader.take(PRIME_BITS);
            if residue >= prime.modulus.p() {
                return Err(Error::Residue { what: "encrypted random matrix", index });
            }
            ct.b.row_mut(i)[at] = residue;
        }
    }
    for (i, prime) in primes.iter().enumerate() {
        prime.forward(ct.b.row_mut(i));
        sample::uniform(&mut Prg::new(Domain::Upload, seed, [0, i as u32]), prime.modulus, ct.a.row_mut(i));
    }
    Ok(ct)
}

#[cfg(test)]
mod tests;
