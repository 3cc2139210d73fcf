//! Products against plain arithmetic, and the margin that makes them exact.

use super::*;
use crate::testing::Session;

/// Distances of the sums of shares from the products.
fn distances(s: &mut Session, a0: &[u64], b0: &[u64], a1: &[u64], b1: &[u64], bits: u32) -> Vec<i64> {
    let upload = encrypt_factors(&s.context, &s.key, a0, b0, &mut s.rng);
    assert_eq!(upload.len(), factors_len(&s.context, a0.len()));
    let (reply, server) = multiply_factors(&s.context, &s.keys, &upload, [a1, b1], bits, &mut s.rng).unwrap();
    assert_eq!(reply.len(), products_len(&s.context, a0.len()));
    let client = decrypt_products(&s.context, &s.key, &reply, a0.len(), bits).unwrap();
    assert_eq!((client.len(), server.len()), (a0.len(), a0.len()));
    let distance = |i: usize| {
        let exact = a0[i].wrapping_mul(b1[i]).wrapping_add(b0[i].wrapping_mul(a1[i]));
        let off = client[i].wrapping_add(server[i]).wrapping_sub(exact) << (64 - bits);
        (off as i64) >> (64 - bits)
    };
    (0..a0.len()).map(distance).collect()
}

#[test]
fn products_are_right_to_a_unit_or_a_few() {
    let mut s = Session::small(64, 1);
    for bits in [8, 30, 44, 46, 48] {
        for n in [1, 63, 64, 65, 1000] {
            let [a0, b0, a1, b1] = [(); 4].map(|()| s.ring(n, bits));
            let off = distances(&mut s, &a0, &b0, &a1, &b1, bits);
            assert!(off.iter().all(|d| d.abs() <= allowed(bits)), "{bits} bits, {n} elements");
        }
    }
}

/// What a product in a ring of so many bits may be off by.
fn allowed(bits: u32) -> i64 {
    if bits <= 44 { 1 } else { 1 + (1 << (2 * bits - 92)) }
}

#[test]
fn edges_meet_edges() {
    [44, 46, 48].into_iter().for_each(edges);
}

fn edges(bits: u32) {
    let mut s = Session::small(64, 2);
    let (most, half) = ((1u64 << bits) - 1, 1 << (bits - 1));
    let edges = [0, 1, most, most - 1, half, half - 1, most / 3, most / 3 * 2];
    let pairs: Vec<(u64, u64)> = edges.iter().flat_map(|&x| edges.map(|y| (x, y))).collect();
    let (x, y): (Vec<u64>, Vec<u64>) = pairs.into_iter().unzip();
    let off = distances(&mut s, &x, &y, &y, &x, bits);
    assert!(off.iter().all(|d| d.abs() <= allowed(bits)), "{bits} bits: {off:?}");
    let zeros = vec![0; 64];
    assert!(distances(&mut s, &zeros, &zeros, &x, &y, bits).iter().all(|d| d.abs() <= 1));
}

/// With the real parameters, both primes and all batches: no element is off by more than is stated.
#[test]
fn no_product_of_many_is_wrong() {
    let mut s = Session::full(3);
    for (bits, n) in [(44, 5 * 8192 + 77), (48, 8192)] {
        let [a0, b0, a1, b1] = [(); 4].map(|()| s.ring(n, bits));
        let off = distances(&mut s, &a0, &b0, &a1, &b1, bits);
        assert!(off.iter().all(|d| d.abs() <= allowed(bits)));
        let (some, square) =
            (off.iter().filter(|d| **d != 0).count(), off.iter().map(|d| d * d).sum::<i64>());
        let deviation = (square as f64 / n as f64).sqrt();
        eprintln!("{bits} bits: {some} of {n} products are off, by {deviation:.1} units as a deviation");
    }
}

/// Both parties' fractions of a coefficient add up to a multiple of `1 / t` but for what the module
/// states, modulo both primes.
#[test]
fn the_noise_is_within_its_margin() {
    let mut s = Session::full(4);
    let [a0, b0, a1, b1] = [(); 4].map(|()| s.ring(8192, 44));
    let upload = encrypt_factors(&s.context, &s.key, &a0, &b0, &mut s.rng);
    let (public, body) = upload.split_first_chunk::<32>().unwrap();
    let n = s.context.degree();
    for (k, plain) in s.context.plains().iter().enumerate() {
        // As the server does it, without the encryption of zero and the rounding of the reply.
        let plaintexts = [&b1, &a1].map(|x| plain.polynomial(scaled(plain, &padded(x, 0, n), 44)));
        let mut sum = Ciphertext::zero(&s.context, LEVELS);
        for (j, prime) in s.context.primes().iter().enumerate() {
            // b + a s.
            let masked = [0, 1].map(|f| {
                let (mut hidden, mut uniform) = (vec![0; n], vec![0; n]);
                let at = ((f * PLAINS + k) * LEVELS + j) * residues_len(n);
                read_residues("factors", &body[at..at + residues_len(n)], prime.modulus, &mut hidden)
                    .unwrap();
                let mut prg = Prg::new(Domain::Upload, public, [(f * PLAINS + k) as u32, j as u32]);
                sample::uniform(&mut prg, prime.modulus, &mut uniform);
                let add = |((b, a), s): ((&u64, &u64), &u64)| {
                    prime.modulus.add(*b, prime.modulus.mul_public(*a, *s))
                };
                hidden.iter().zip(&uniform).zip(s.key.slots(j)).map(add).collect::<Vec<u64>>()
            });
            let lifted = [0, 1].map(|f| lifted(plain, prime, &plaintexts[f]));
            let pairs = [(&masked[0][..], &lifted[0][..]), (&masked[1][..], &lifted[1][..])];
            let row = sum.b.row_mut(j);
            kernel::dot(&pairs, prime.modulus, prime.scale_from_slots(1), row);
            prime.inverse_unscaled(row);
        }
        // t f modulo 1, centred, in units of 2^-128.
        let distance = |f: &u128| (f.wrapping_mul(u128::from(plain.t)) as i128).unsigned_abs();
        let worst = fractions(&s.context, &sum.b, 0).iter().map(distance).max().unwrap();
        let log = (worst as f64).log2() - 128.0;
        eprintln!("largest noise: 2^{log:.1} of a unit, before the reply is rounded");
        assert!(log < -74.0, "2^{log}");
    }
}

#[test]
fn replies_are_fresh_and_messages_are_checked() {
    let mut s = Session::small(64, 5);
    let x = s.ring(64, 44);
    let upload = encrypt_factors(&s.context, &s.key, &x, &x, &mut s.rng);
    let mut reply = || multiply_factors(&s.context, &s.keys, &upload, [&x, &x], 44, &mut s.rng).unwrap().0;
    let (first, second) = (reply(), reply());
    let same = first.iter().zip(&second).filter(|(a, b)| a == b).count();
    assert!(same * 10 < first.len(), "{same} of {} bytes", first.len());
    let again = encrypt_factors(&s.context, &s.key, &x, &x, &mut s.rng);
    assert_ne!(upload[..32], again[..32], "a seed is used once");
    let short = multiply_factors(&s.context, &s.keys, &upload[1..], [&x, &x], 44, &mut s.rng);
    assert!(matches!(short, Err(Error::Length { .. })));
    let mut broken = upload.clone();
    broken[40..60].fill(0xff);
    let broken = multiply_factors(&s.context, &s.keys, &broken, [&x, &x], 44, &mut s.rng);
    assert!(matches!(broken, Err(Error::Residue { .. })));
    assert!(matches!(decrypt_products(&s.context, &s.key, &first[1..], 64, 44), Err(Error::Length { .. })));
}
