//! The client's matrix on its way to the server.
//!
//! A matrix of the client's choice, [`encrypt`]; per block of t rows and k columns:
//!
//! | client: `X`, `s`                                        |                                    | server |
//! |---------------------------------------------------------|------------------------------------|--------|
//! | fresh seed, `a` from it                                 |                                    |        |
//! | `b = -a s + e + round(Q x / 2^l)`                       | `-- seed, b -->`                   | `(b, a)` |
//!
//! A uniform matrix, which neither party chooses, [`encrypt_random`]:
//!
//! | client: `s`                                             |                                    | server |
//! |---------------------------------------------------------|------------------------------------|--------|
//! | fresh seed, `a` and `u` in Z_{2^l}^N from it            |                                    |        |
//! | `c = floor(2^l (-a s + e) / Q)`, `x = u - c`            |                                    |        |
//! | `b = -a s + e + round(Q x / 2^l)`                       |                                    |        |
//! | `v = b - round(Q u / 2^l)`                              | `-- seed, v -->`                   | `b = round(Q u / 2^l) + v`, `(b, a)` |
//!
//! v lies in `[-1, Q / 2^l + 1]`: it takes log2 Q - l bits, where b takes log2 Q (review of he.md 3.4; the idea of SPU's
//! `MatMatProtocol` seeds taken to the message). Coefficients that must be zero have x = 0, not x = u - c, and all of b is sent; those
//! that nothing depends on are not sent, and have b = 0.
//!
//! *Security.* For fixed `-a s + e` the map u -> x is a bijection of Z_{2^l}, so (a, b, x) has exactly the distribution of an honest
//! encryption of a uniform x that is independent of s, e and a. But the server sees u and v, not b alone: near the ends of its range v
//! tells how things were rounded, hence something of x. So the ciphertext is drawn again, with a fresh seed, unless every v lies
//! in `[2, floor(Q / 2^l) - 2]`, or from 2^10 for three primes, where c is not computed exactly below: then every x is as likely, given u, v
//! and a. A draw fails with probability below N 2^(l + 3) / Q, or N 2^(l + 10) / Q. Seeds are never used twice; a, u and the secrets come from separate domains.

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

/// Makes a uniform X, `[tokens, inner]` row-major modulo 2^l, and its compressed encryption of [`Layout::upload_len`] bytes.
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

/// The coefficients of one block that must be zero, because columns of W other than the first carry them to where outputs
/// are read: between the rows that have values, and in the last row, which wraps around to the first.
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

    /// Bytes of an upload of [`encrypt_random`]: per ciphertext a seed of 32 bytes, `44 L - l` bits for each coefficient that carries a
    /// value, and `44 L` bits for each that must be zero.
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

/// One compressed ciphertext and its message in the order of [`used`], or nothing if these seeds will not do.
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

/// Values of v that do not tell how things were rounded: `floor(2^l base / Q)` is computed exactly for the bases that give them. The fraction of a
/// base is known to 9 units of 2^-128 for each prime, which is below one base for two primes and below 2^9 bases for three.
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
/// With y = Q x mod 2^l, the rounded quotient is (Q x - y) / 2^l + msb(y), and modulo q it is msb(y) - y 2^{-l}.
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

    /// One matrix of the ciphertexts of several, block after block, in a layout of [`Layout::dense`]. Rows or columns that a block
    /// lacks are arbitrary numbers: what they give is not to be read, or meets zeros in W.
    ///
    /// # Panics
    /// If the layouts differ in more than the shape, or the blocks are not as many as the layout has.
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
mod tests {
    use super::*;
    use crate::testing::{Session, exact, layout};
    use crate::{Job, MatmulShape, Plain, decrypt, multiply};
    use proptest::prelude::*;
    use rand::{RngCore, SeedableRng};
    use rand_chacha::ChaCha20Rng;

    const SMALL: usize = 64;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        #[test]
        fn products_with_random_uploads_are_right(
            log_t in 0u32..3, log_k in 0u32..5, split in 0u32..3, levels in 2usize..=3, tokens in 1usize..9,
            inner in 1usize..40, outer in 1usize..40, seed: u64,
        ) {
            prop_assume!(split <= log_k);
            let mut session = Session::small(SMALL, seed);
            let (t, k) = (1 << log_t, 1 << log_k);
            let shape = MatmulShape { tokens, inner, outer };
            let tolerance = if levels == 2 { 4 } else { crate::EXACT };
            let layout = Layout { shape, tolerance, t, k, n: SMALL / (t * k), split, ..layout(SMALL, levels) };
            let w = session.weights(inner * outer);
            let (upload, x) = encrypt_random(&session.context, &session.key, &layout, &mut session.rng);
            prop_assert_eq!(upload.len(), layout.upload_len());
            let matrix = EncryptedMatrix::decode_random(&session.context, &layout, &upload).unwrap();
            let jobs = [Job { x: &matrix, w: Plain::Weights(&w) }];
            let (reply, server) = multiply(&session.context, &session.keys, &jobs, &mut session.rng);
            let client = decrypt(&session.context, &session.key, &[layout], &reply).unwrap();
            let sums: Vec<u64> = server[0].iter().zip(&client[0]).map(|(a, b)| a.wrapping_add(*b) & mask(&layout)).collect();
            let most = crate::testing::max_error(&layout, &sums, &exact(&layout, &x, |i| i64::from(w[i])));
            prop_assert!(most <= if levels == 2 { 1 << 8 } else { 0 }, "{most}");
        }
    }

    /// The same ciphertexts, transposed and flat, in products that share replies.
    #[test]
    fn a_group_of_rows_has_two_layouts() {
        let mut session = Session::small(SMALL, 4);
        for (rows, width, bits, tolerances) in
            [(8, 6, 64, [38, 14]), (4, 16, 52, [20, 20]), (8, 20, 40, [12, 12])]
        {
            let [transposed, flat] = Layout::group(&session.context, rows, width, bits, tolerances).unwrap();
            let mut groups = Vec::new();
            for _ in 0..3 {
                let (upload, x) =
                    encrypt_random(&session.context, &session.key, &transposed, &mut session.rng);
                let matrix = EncryptedMatrix::decode_random(&session.context, &transposed, &upload).unwrap();
                let (square, tall) =
                    (session.ring(rows * rows, bits), session.ring(width * rows * rows, bits));
                groups.push((matrix.viewed(&flat), matrix, x, square, tall));
            }
            let jobs: Vec<_> = groups
                .iter()
                .map(|(_, x, _, w, _)| Job { x, w: Plain::Ring(w) })
                .chain(groups.iter().map(|(x, _, _, _, w)| Job { x, w: Plain::Ring(w) }))
                .collect();
            let layouts = [[transposed; 3], [flat; 3]].concat();
            let (reply, server) = multiply(&session.context, &session.keys, &jobs, &mut session.rng);
            let client = decrypt(&session.context, &session.key, &layouts, &reply).unwrap();
            for (i, (_, _, x, square, tall)) in groups.iter().enumerate() {
                for (at, layout, w) in [(i, &transposed, square), (i + 3, &flat, tall)] {
                    let shares = server[at].iter().zip(&client[at]);
                    let sums: Vec<u64> = shares.map(|(a, b)| a.wrapping_add(*b) & mask(layout)).collect();
                    let wanted = exact(layout, x, |i| w[i] as i64);
                    let error = crate::testing::max_error(layout, &sums, &wanted);
                    assert!(error < 8 << layout.tolerance, "{layout}: {error}");
                }
            }
        }
        let three = Layout::group(&session.context, 3, 6, 40, [12, 12]);
        assert!(matches!(three, Err(crate::Error::Shape { .. })));
    }

    /// A matrix that grows by rows, and one that grows by columns; their first blocks are not full.
    #[test]
    fn blocks_are_joined() {
        let mut session = Session::small(SMALL, 5);
        let (counts, t, width, outer) = ([5, 8, 3], 8, 7, 6);
        let (bits, tolerance) = (40, 12);
        for by_rows in [true, false] {
            let shape = |count, outer| match by_rows {
                true => MatmulShape { tokens: count, inner: width, outer },
                false => MatmulShape { tokens: width, inner: count, outer },
            };
            let layout = |count, outer| {
                let (context, shape) = (&session.context, shape(count, outer));
                Layout::dense(context, shape, bits, tolerance, 3, t, 1).unwrap()
            };
            let whole = layout(3 * t, outer);
            let parts = counts.map(|count| layout(count, 1));
            // X with zeros where blocks have nothing, and W with zeros where columns of X are nothing.
            let mut x = vec![0; 3 * t * width];
            let mut w = session.ring(whole.shape.inner * outer, bits);
            let mut blocks = Vec::new();
            for (b, (layout, count)) in parts.iter().zip(counts).enumerate() {
                let (upload, values) =
                    encrypt_random(&session.context, &session.key, layout, &mut session.rng);
                blocks.push(EncryptedMatrix::decode_random(&session.context, layout, &upload).unwrap());
                for (at, &value) in values.iter().enumerate() {
                    let (row, column) = (at / layout.shape.inner, at % layout.shape.inner);
                    let place =
                        if by_rows { (b * t + row) * width + column } else { row * 3 * t + b * t + column };
                    x[place] = value;
                }
                if !by_rows {
                    w[(b * t + count) * outer..(b + 1) * t * outer].fill(0);
                }
            }
            let joined = EncryptedMatrix::joined(&whole, &blocks);
            let jobs = [Job { x: &joined, w: Plain::Ring(&w) }];
            let (reply, server) = multiply(&session.context, &session.keys, &jobs, &mut session.rng);
            let client = decrypt(&session.context, &session.key, &[whole], &reply).unwrap();
            let wanted = exact(&whole, &x, |i| w[i] as i64);
            for (at, ((a, b), wanted)) in server[0].iter().zip(&client[0]).zip(&wanted).enumerate() {
                let row = at / outer;
                if !by_rows || row % t < counts[row / t] {
                    let sum = [a.wrapping_add(*b) & mask(&whole)];
                    assert!(crate::testing::max_error(&whole, &sum, &[*wanted]) < 8 << tolerance);
                }
            }
        }
    }

    #[test]
    fn messages_are_uniform_and_never_the_same() {
        let mut session = Session::full(3);
        let shape = MatmulShape { tokens: 8, inner: 1024, outer: 8 };
        let layout = Layout { shape, t: 8, k: 1024, bits: 44, ..layout(8192, 2) };
        let mut all: Vec<u64> = Vec::new();
        let mut seeds: Vec<Vec<u8>> = Vec::new();
        for _ in 0..4 {
            let (upload, x) = encrypt_random(&session.context, &session.key, &layout, &mut session.rng);
            // 44 bits a value where a ciphertext has 88.
            assert_eq!(upload.len(), 32 + 8192 * 44 / 8);
            seeds.push(upload[..32].to_vec());
            all.extend(x.iter());
        }
        seeds.sort();
        seeds.dedup();
        assert_eq!(seeds.len(), 4);
        for bit in 0..44 {
            let ones = all.iter().filter(|&&x| x >> bit & 1 == 1).count() as f64;
            assert!((ones / all.len() as f64 - 0.5).abs() < 0.02, "bit {bit}");
        }
    }

    /// In a ring so large that v has 24 bits, draws at the ends of its range happen: they are refused.
    #[test]
    fn draws_near_the_ends_are_refused() {
        let mut session = Session::small(SMALL, 1);
        let shape = MatmulShape { tokens: 1, inner: SMALL, outer: 1 };
        let layout = Layout { shape, bits: 64, ..layout(SMALL, 2) };
        let window = window(&session.context, &layout);
        let mut refused = 0;
        for _ in 0..1 << 18 {
            let (public, secret) = (*fresh_seed(&mut session.rng), fresh_seed(&mut session.rng));
            match random_block(&session.context, &session.key, &layout, 0, &public, &secret) {
                None => refused += 1,
                Some((bytes, _)) => {
                    let mut reader = Reader::new(&bytes[32..]);
                    assert!((0..SMALL).all(|_| window.contains(&reader.take_wide(24))));
                }
            }
        }
        // 64 coefficients, about 5 of 2^24 values each: 5 expected.
        assert!((1..30).contains(&refused), "{refused}");
    }

    /// The same arithmetic with a tiny Q, over all of its values: given what travels, the message is uniform.
    #[test]
    fn given_what_travels_every_message_is_as_likely() {
        for (q, t) in [(1021i64, 8i64), (4093, 16), (509, 32)] {
            let round = |x: i64| (2 * q * x + t) / (2 * t);
            let mut counts = std::collections::BTreeMap::new();
            for base in 0..q {
                for u in 0..t {
                    let x = (u - base * t / q).rem_euclid(t);
                    let v = (base + round(x) - round(u)).rem_euclid(q);
                    if (2..=q / t - 2).contains(&v) {
                        *counts
                            .entry((u, v))
                            .or_insert_with(|| vec![0; t as usize])
                            .get_mut(x as usize)
                            .unwrap() += 1;
                    }
                }
            }
            assert_eq!(counts.len() as i64, t * (q / t - 3));
            assert!(counts.values().all(|messages| messages.iter().all(|&count| count == 1)), "{q} {t}");
        }
    }

    /// With the real primes: whatever message is wanted, there is a base with which it comes out, for every v in the window.
    #[test]
    fn at_the_ends_of_the_window_every_message_occurs() {
        let (context, mut rng) = (Context::insecure(SMALL), ChaCha20Rng::seed_from_u64(2));
        for (levels, bits) in [(2, 44), (2, 64), (3, 44), (3, 54), (3, 64)] {
            let layout = Layout { bits, ..layout(SMALL, levels) };
            let (primes, basis) = (context.data_primes(levels), context.basis(levels));
            let window = window(&context, &layout);
            let ends = (0..400).map(|i| window.start() + i).chain((0..40).map(|i| window.end() - i));
            for v in ends.collect::<Vec<_>>() {
                let [u, x] = [0; 2].map(|_| rng.next_u64() & mask(&layout));
                // The base is v + round(Q u / 2^l) - round(Q x / 2^l); its fraction is computed as in `random_block`.
                let mut fraction = 0u128;
                for (i, prime) in primes.iter().enumerate() {
                    let modulus = prime.modulus;
                    let [mut of_u, mut of_x] = [[0]; 2];
                    scale_up(&context, &layout, prime, &[u], &mut of_u);
                    scale_up(&context, &layout, prime, &[x], &mut of_x);
                    let base = modulus.sub(modulus.add(modulus.reduce_wide(v), of_u[0]), of_x[0]);
                    let factor = modulus.constant(basis.inverses[i]);
                    fraction = fraction.wrapping_add(modulus.fraction(modulus.mul(base, factor)));
                }
                let got = u.wrapping_sub((fraction >> (128 - bits)) as u64) & mask(&layout);
                assert_eq!(got, x, "{levels} primes, {bits} bits, v = {v}");
            }
        }
    }

    #[test]
    fn lengths_of_uploads_are_sums_over_blocks() {
        for (tokens, inner, t, k, n) in
            [(5, 7, 2, 4, 8), (1, 1, 64, 1, 1), (64, 64, 8, 8, 1), (3, 70, 1, 16, 4)]
        {
            let shape = MatmulShape { tokens, inner, outer: 1 };
            let layout = Layout { shape, t, k, n, ..layout(SMALL, 2) };
            let blocks = 0..layout.upload_ciphertexts();
            assert_eq!(layout.upload_len(), blocks.map(|block| layout.block_len(block)).sum::<usize>());
        }
    }

    #[test]
    fn integers_are_composed_of_their_residues() {
        let (context, mut rng) = (Context::insecure(SMALL), ChaCha20Rng::seed_from_u64(1));
        for levels in [2, 3] {
            let (primes, basis) = (context.data_primes(levels), context.basis(levels));
            let q_low = basis.product;
            for bits in 0..44 * levels as u32 - 4 {
                let value =
                    (u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64())) >> (127 - bits.min(127));
                assert_eq!(basis.compose(primes, |i| primes[i].modulus.reduce_wide(value)), value);
            }
            // -1, which must not look small.
            assert_eq!(basis.compose(primes, |i| primes[i].modulus.p() - 1), q_low.wrapping_sub(1));
            assert!(q_low.wrapping_sub(1) > basis.quotient(8));
            assert_eq!(basis.quotient(64), if levels == 2 { q_low >> 64 } else { basis.quotient(64) });
        }
    }

    #[test]
    fn scaling_is_the_rounded_quotient() {
        let context = Context::insecure(64);
        let layout = |bits| Layout { bits, ..layout(64, 2) };
        let q: u128 = context.basis(2).product;
        for bits in [2, 20, 27] {
            let values: Vec<u64> =
                (0..64u64).map(|i| i.wrapping_mul(0x9e3779b97f4a7c15) >> (64 - bits)).collect();
            for prime in context.data_primes(2) {
                let mut out = vec![0; 64];
                scale_up(&context, &layout(bits), prime, &values, &mut out);
                for (&x, &got) in values.iter().zip(&out) {
                    // Q x / 2^l + 1/2, with Q of 88 bits and x of at most 27.
                    let rounded = (q * u128::from(x) + (1 << (bits - 1))) >> bits;
                    assert_eq!(u128::from(got), rounded % u128::from(prime.modulus.p()));
                }
            }
        }
    }
}
