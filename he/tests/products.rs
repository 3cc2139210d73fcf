//! The two parties over the public interface, at full size.

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha20Rng;
use sotto_he::{
    Context, EXACT, EncryptedMatrix, EvaluationKeys, Job, Layout, MatmulShape, Operand, Plain, SecretKey,
    Weights, decrypt, encrypt, keygen, multiply, reply_len,
};

const SEED: [u8; 32] = [9; 32];

struct Parties {
    context: Context,
    key: SecretKey,
    keys: EvaluationKeys,
    rng: ChaCha20Rng,
}

impl Parties {
    fn new() -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(11);
        let context = Context::new().expect("parameters and machine");
        let (key, message) = keygen(&context, &SEED, &mut rng);
        assert_eq!(message.len(), EvaluationKeys::encoded_len(&context));
        let keys = EvaluationKeys::decode(&context, &SEED, &message).expect("our own keys");
        Self { context, key, keys, rng }
    }

    /// The distance of the sum of shares from X W, of every output.
    fn errors(
        &mut self,
        layout: &Layout,
        x: &[u64],
        w: Plain<'_>,
        centred: impl Fn(usize) -> i64,
    ) -> Vec<i64> {
        let MatmulShape { tokens, inner, outer } = layout.shape();
        let upload = encrypt(&self.context, &self.key, layout, x, &mut self.rng);
        assert_eq!(upload.len(), layout.plain_upload_len());
        let matrix = EncryptedMatrix::decode(&self.context, layout, &upload).expect("our own upload");
        let (reply, server) = multiply(&self.context, &self.keys, &[Job { x: &matrix, w }], &mut self.rng);
        assert_eq!(reply.len(), reply_len(&self.context, &[*layout]));
        let client = decrypt(&self.context, &self.key, &[*layout], &reply).expect("our own reply");
        let shift = 64 - layout.bits();
        let mut errors = Vec::new();
        for i in 0..tokens {
            for m in 0..outer {
                let exact = (0..inner).fold(0u64, |sum, j| {
                    sum.wrapping_add(x[i * inner + j].wrapping_mul(centred(j * outer + m) as u64))
                });
                let sum = server[0][i * outer + m].wrapping_add(client[0][i * outer + m]);
                errors.push((sum.wrapping_sub(exact) << shift) as i64 >> shift);
            }
        }
        errors
    }
}

fn shape(tokens: usize, inner: usize, outer: usize) -> MatmulShape {
    MatmulShape { tokens, inner, outer }
}

/// Uniform digits under uniform shifts.
fn weights(inner: usize, outer: usize, rng: &mut impl RngCore) -> Weights {
    let digits = (0..inner * outer).map(|_| rng.next_u32() as i16).collect();
    Weights::new(digits, (0..outer).map(|_| (rng.next_u32() % 7) as u8).collect())
}

/// Weights that stress sums: all largest, all smallest, alternating, zero.
fn edges(inner: usize, outer: usize) -> [Weights; 4] {
    let count = inner * outer;
    let alternating = (0..count).map(|i| if i % 2 == 0 { i16::MAX } else { i16::MIN }).collect();
    [vec![i16::MAX; count], vec![i16::MIN; count], alternating, vec![0; count]]
        .map(|digits| Weights::new(digits, vec![Weights::MAX_SHIFT as u8; outer]))
}

#[test]
fn products_are_within_their_tolerance() {
    let mut parties = Parties::new();
    for (tokens, inner, outer) in
        [(1, 128, 64), (3, 1000, 130), (16, 200, 352), (1, 9000, 65), (1, 2048, 2048)]
    {
        for (bits, tolerance) in [(32, 4), (44, 6)] {
            let shape = shape(tokens, inner, outer);
            let layout =
                Layout::search(&parties.context, shape, Operand::Weights, bits, tolerance, 1).unwrap();
            let x: Vec<u64> = (0..tokens * inner).map(|_| parties.rng.next_u64() >> (64 - bits)).collect();
            let w = weights(inner, outer, &mut parties.rng);
            let errors = parties.errors(&layout, &x, Plain::Weights(&w), |i| w.at(i));
            assert!(errors.iter().all(|e| e.abs() <= 8 << tolerance));
        }
    }
}

#[test]
fn exact_products_are_exact() {
    let mut parties = Parties::new();
    for (tokens, inner, outer) in [(1, 128, 64), (5, 300, 77), (1, 8200, 40), (2, 1024, 1024)] {
        for bits in [32, 44, 56] {
            let shape = shape(tokens, inner, outer);
            let layout = Layout::search(&parties.context, shape, Operand::Weights, bits, EXACT, 1).unwrap();
            let x: Vec<u64> = (0..tokens * inner).map(|_| parties.rng.next_u64() >> (64 - bits)).collect();
            let w = weights(inner, outer, &mut parties.rng);
            let errors = parties.errors(&layout, &x, Plain::Weights(&w), |i| w.at(i));
            assert!(errors.iter().all(|&e| e == 0));
        }
    }
}

#[test]
fn products_of_ring_elements_are_within_their_tolerance() {
    let mut parties = Parties::new();
    for (bits, inner) in [(44, 128), (48, 64), (52, 4096)] {
        let layout =
            Layout::search(&parties.context, shape(3, inner, 40), Operand::Ring, bits, 6, 1).unwrap();
        let x: Vec<u64> = (0..3 * inner).map(|_| parties.rng.next_u64() >> (64 - bits)).collect();
        let w: Vec<u64> = (0..inner * 40).map(|_| parties.rng.next_u64() >> (64 - bits)).collect();
        let errors = parties.errors(&layout, &x, Plain::Ring(&w), |i| w[i] as i64);
        assert!(errors.iter().all(|e| e.abs() <= 8 << 6));
    }
}

#[test]
fn edges_of_the_range() {
    let mut parties = Parties::new();
    for (bits, tolerance, allowed) in [(44, 6, 8 << 6), (44, EXACT, 0), (64, 20, 8 << 20)] {
        let (tokens, inner, outer) = (2, 4096, 24);
        let shape = shape(tokens, inner, outer);
        let layout = Layout::search(&parties.context, shape, Operand::Weights, bits, tolerance, 1).unwrap();
        let top = u64::MAX >> (64 - bits);
        for w in edges(inner, outer) {
            for x in [top, top / 2, top / 2 + 1, 0, 1] {
                let x = vec![x; tokens * inner];
                let errors = parties.errors(&layout, &x, Plain::Weights(&w), |i| w.at(i));
                assert!(errors.iter().all(|e| e.abs() <= allowed));
            }
        }
    }
}

#[test]
fn small_jobs_share_a_reply() {
    let mut parties = Parties::new();
    let (count, tokens, inner, outer) = (12, 8, 64, 16);
    let layout =
        Layout::search(&parties.context, shape(tokens, inner, outer), Operand::Weights, 40, EXACT, count)
            .unwrap();
    let x: Vec<u64> = (0..tokens * inner).map(|_| parties.rng.next_u64() >> 24).collect();
    let upload = encrypt(&parties.context, &parties.key, &layout, &x, &mut parties.rng);
    let matrix = EncryptedMatrix::decode(&parties.context, &layout, &upload).unwrap();
    let weights: Vec<Weights> = (0..count).map(|_| weights(inner, outer, &mut parties.rng)).collect();
    let jobs: Vec<Job<'_>> = weights.iter().map(|w| Job { x: &matrix, w: Plain::Weights(w) }).collect();
    let layouts = vec![layout; count];
    let (reply, server) = multiply(&parties.context, &parties.keys, &jobs, &mut parties.rng);
    assert_eq!(reply.len(), reply_len(&parties.context, &layouts));
    assert!(2 * reply.len() <= count * reply_len(&parties.context, &layouts[..1]));
    let client = decrypt(&parties.context, &parties.key, &layouts, &reply).unwrap();
    for ((w, server), client) in weights.iter().zip(&server).zip(&client) {
        for i in 0..tokens {
            for m in 0..outer {
                let exact = (0..inner).fold(0u64, |sum, j| {
                    sum.wrapping_add(x[i * inner + j].wrapping_mul(w.at(j * outer + m) as u64))
                });
                let sum = server[i * outer + m].wrapping_add(client[i * outer + m]);
                assert_eq!((sum.wrapping_sub(exact) << 24) as i64 >> 24, 0);
            }
        }
    }
}
