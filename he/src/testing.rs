//! Both parties in one place, for the tests.

use crate::rlwe::Ciphertext;
use crate::{
    Context, EncryptedMatrix, EvaluationKeys, Job, Layout, MatmulShape, Operand, Plain, SecretKey, Weights,
    decrypt, encrypt, keygen, multiply, reply_len,
};
use crate::{product, schedule};
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha20Rng;

pub(crate) struct Session {
    pub(crate) context: Context,
    pub(crate) key: SecretKey,
    pub(crate) keys: EvaluationKeys,
    pub(crate) rng: ChaCha20Rng,
}

impl Session {
    /// A session in a ring too small to be secure.
    pub(crate) fn small(degree: usize, seed: u64) -> Self {
        Self::with(Context::insecure(degree), seed)
    }

    pub(crate) fn full(seed: u64) -> Self {
        Self::with(Context::new().unwrap(), seed)
    }

    fn with(context: Context, seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let (key, message) = keygen(&context, &[5; 32], &mut rng);
        let keys = EvaluationKeys::decode(&context, &[5; 32], &message).unwrap();
        Self { context, key, keys, rng }
    }

    pub(crate) fn ring(&mut self, count: usize, bits: u32) -> Vec<u64> {
        (0..count).map(|_| self.rng.next_u64() >> (64 - bits)).collect()
    }

    /// Uniform digits under uniform shifts.
    pub(crate) fn weights(&mut self, inner: usize, outer: usize) -> Weights {
        let digits = (0..inner * outer).map(|_| self.rng.next_u32() as i16).collect();
        let shifts = (0..outer).map(|_| (self.rng.next_u32() % 7) as u8).collect();
        Weights::new(digits, shifts)
    }

    pub(crate) fn upload(&mut self, layout: &Layout, x: &[u64]) -> EncryptedMatrix {
        let upload = encrypt(&self.context, &self.key, layout, x, &mut self.rng);
        assert_eq!(upload.len(), layout.plain_upload_len());
        EncryptedMatrix::decode(&self.context, layout, &upload).unwrap()
    }

    /// The sums of both parties' shares, job by job.
    pub(crate) fn run(&mut self, products: &[(Layout, &[u64], Plain<'_>)]) -> Vec<Vec<u64>> {
        let uploads: Vec<_> = products.iter().map(|(layout, x, _)| self.upload(layout, x)).collect();
        let jobs: Vec<_> = uploads.iter().zip(products).map(|(x, &(_, _, w))| Job { x, w }).collect();
        let layouts: Vec<_> = products.iter().map(|&(layout, _, _)| layout).collect();
        let (reply, server) = multiply(&self.context, &self.keys, &jobs, &mut self.rng);
        assert_eq!(reply.len(), reply_len(&self.context, &layouts));
        let client = decrypt(&self.context, &self.key, &layouts, &reply).unwrap();
        let add = |((a, b), layout): ((&Vec<u64>, &Vec<u64>), &Layout)| {
            let mask = u64::MAX >> (64 - layout.bits);
            a.iter().zip(b).map(|(a, b)| a.wrapping_add(*b) & mask).collect()
        };
        server.iter().zip(&client).zip(&layouts).map(add).collect()
    }
}

/// The deviation of the noise of evaluated products, before the encryption of zero, in units of the
/// ring.
pub(crate) fn measured_deviation(
    session: &mut Session,
    layout: &Layout,
    x: &[u64],
    w: Plain<'_>,
    y: &[u64],
) -> f64 {
    let matrix = session.upload(layout, x);
    let class = &schedule::classes(&[*layout])[0];
    let mut fractions: Vec<Vec<u128>> = Vec::new();
    product::evaluate(&session.context, &session.keys, class, &[Job { x: &matrix, w }], |ciphertexts| {
        fractions.extend(ciphertexts.iter().map(|ct| phase(session, ct)));
    });
    let mut squares = 0.0;
    schedule::for_each_output(class, layout, 0, |token, column, reply, coefficient| {
        let exact = u128::from(y[token * layout.shape.outer + column]) << (128 - layout.bits);
        let noise = fractions[reply][coefficient].wrapping_sub(exact) as i128;
        squares += (noise as f64 / 2f64.powi(128 - layout.bits as i32)).powi(2);
    });
    (squares / y.len() as f64).sqrt()
}

/// `(b + a s) / Q` as a fraction of 2^128, for a ciphertext in coefficients.
fn phase(session: &Session, ct: &Ciphertext) -> Vec<u128> {
    let (n, basis) = (session.context.degree(), session.context.basis(ct.levels()));
    let mut fractions = vec![0u128; n];
    for (i, prime) in session.context.data_primes(ct.levels()).iter().enumerate() {
        let (mut a, mut product) = (ct.a.row(i).to_vec(), vec![0; n]);
        prime.forward(&mut a);
        let scale = prime.scale_from_slots(1);
        prime.pointwise(&a, session.key.slots(i), scale, &mut product);
        prime.inverse_unscaled(&mut product);
        let factor = prime.modulus.constant(basis.inverses[i]);
        for ((f, &b), &p) in fractions.iter_mut().zip(ct.b.row(i)).zip(&product) {
            *f = f.wrapping_add(prime.modulus.fraction(prime.modulus.mul(b + p, factor)));
        }
    }
    fractions
}

/// A layout of one row and column, for tests that need parts of it.
pub(crate) fn layout(degree: usize, levels: usize) -> Layout {
    let shape = MatmulShape { tokens: 1, inner: 1, outer: 1 };
    let (operand, bits, tolerance) = (Operand::Weights, 40, crate::EXACT);
    Layout { degree, levels, shape, operand, bits, tolerance, terms: 1, t: 1, n: 1, k: degree, split: 0 }
}

/// X W modulo 2^l.
pub(crate) fn exact(layout: &Layout, x: &[u64], w: impl Fn(usize) -> i64) -> Vec<u64> {
    let crate::MatmulShape { tokens, inner, outer } = layout.shape;
    let mask = u64::MAX >> (64 - layout.bits);
    let mut out = vec![0u64; tokens * outer];
    for i in 0..tokens {
        for j in 0..inner {
            for m in 0..outer {
                let product = x[i * inner + j].wrapping_mul(w(j * outer + m) as u64);
                out[i * outer + m] = out[i * outer + m].wrapping_add(product);
            }
        }
    }
    out.iter().map(|y| y & mask).collect()
}

/// Largest distance between the two modulo 2^l.
pub(crate) fn max_error(layout: &Layout, a: &[u64], b: &[u64]) -> u64 {
    let shift = 64 - layout.bits;
    let distance = |(a, b): (&u64, &u64)| ((a.wrapping_sub(*b) << shift) as i64 >> shift).unsigned_abs();
    a.iter().zip(b).map(distance).max().unwrap_or(0)
}
