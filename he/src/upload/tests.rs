//! Uploads: what they hold, what travels, and that a message is uniform given that.

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
        let w = session.weights(inner, outer);
        let (upload, x) = encrypt_random(&session.context, &session.key, &layout, &mut session.rng);
        prop_assert_eq!(upload.len(), layout.upload_len());
        let matrix = EncryptedMatrix::decode_random(&session.context, &layout, &upload).unwrap();
        let jobs = [Job { x: &matrix, w: Plain::Weights(&w) }];
        let (reply, server) = multiply(&session.context, &session.keys, &jobs, &mut session.rng);
        let client = decrypt(&session.context, &session.key, &[layout], &reply).unwrap();
        let sums: Vec<u64> = server[0].iter().zip(&client[0]).map(|(a, b)| a.wrapping_add(*b) & mask(&layout)).collect();
        let most = crate::testing::max_error(&layout, &sums, &exact(&layout, &x, |i| w.at(i)));
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
            let (upload, x) = encrypt_random(&session.context, &session.key, &transposed, &mut session.rng);
            let matrix = EncryptedMatrix::decode_random(&session.context, &transposed, &upload).unwrap();
            let (square, tall) = (session.ring(rows * rows, bits), session.ring(width * rows * rows, bits));
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
            let (upload, values) = encrypt_random(&session.context, &session.key, layout, &mut session.rng);
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

/// The same arithmetic with a tiny Q, over all of its values: given what travels, the message is
/// uniform.
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

/// With the real primes: whatever message is wanted, there is a base with which it comes out, for
/// every v in the window.
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
            // The base is v + round(Q u / 2^l) - round(Q x / 2^l); its fraction is computed as in
            // `random_block`.
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
    for (tokens, inner, t, k, n) in [(5, 7, 2, 4, 8), (1, 1, 64, 1, 1), (64, 64, 8, 8, 1), (3, 70, 1, 16, 4)]
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
