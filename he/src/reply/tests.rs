//! What the client sees, and what the two shares add up to.

use super::*;
use crate::bits::Reader;
use crate::testing::{Session, exact};
use crate::{Context, EXACT, Error, Job, MatmulShape, Operand, Plain, Weights, noise, product};

const BITS: u32 = 44;
const TOLERANCE: i32 = 6;

fn layout(session: &Session, tokens: usize, inner: usize, outer: usize) -> Layout {
    let shape = MatmulShape { tokens, inner, outer };
    Layout::search(&session.context, shape, Operand::Weights, BITS, TOLERANCE, 1).unwrap()
}

fn coefficients(session: &Session, format: Format, bytes: &[u8]) -> Vec<u64> {
    let mut reader = Reader::new(bytes);
    (0..session.context.degree()).map(|_| reader.take(format.reply_bits)).collect()
}

/// The results of one small product, in coefficients.
fn result(session: &mut Session, layout: &Layout) -> Ciphertext {
    let (x, w) = (session.ring(64, BITS), session.weights(64, 64));
    let x = session.upload(layout, &x);
    let class = &schedule::classes(&[*layout])[0];
    let (mut found, jobs) = (None, [Job { x: &x, w: Plain::Weights(&w) }]);
    product::evaluate(&session.context, &session.keys, class, &jobs, |mut results| {
        found = results.pop().or(found.take());
    });
    found.unwrap()
}

fn copy(session: &Session, ct: &Ciphertext) -> Ciphertext {
    let mut copy = Ciphertext::zero(&session.context, ct.levels());
    for i in 0..ct.levels() {
        copy.b.row_mut(i).copy_from_slice(ct.b.row(i));
        copy.a.row_mut(i).copy_from_slice(ct.a.row(i));
    }
    copy
}

/// Two replies to the same result, the second with the seeds `change` made of the first.
fn two_replies(change: impl Fn(&mut Session, &Seeds) -> Seeds) -> [Vec<u64>; 2] {
    let mut session = Session::full(4);
    let layout = layout(&session, 1, 64, 64);
    let ct = result(&mut session, &layout);
    let first = Seeds::fresh(&mut session.rng);
    let second = change(&mut session, &first);
    [first, second].map(|seeds| {
        let reply = reshare(&session.context, &session.keys, layout.format(), copy(&session, &ct), &seeds);
        assert_eq!(reply.bytes.len(), session.context.degree() * layout.reply_bits() as usize / 8);
        coefficients(&session, layout.format(), &reply.bytes)
    })
}

/// Fraction of coefficients whose difference is within 2^-8 of zero, modulo 2^kr.
fn close(first: &[u64], second: &[u64]) -> f64 {
    let kr = BITS - TOLERANCE as u32 + 5;
    let mask = u64::MAX >> (64 - kr);
    let near = |(x, y): &(&u64, &u64)| {
        let difference = x.wrapping_sub(**y) & mask;
        difference.min((mask + 1) - difference) < 1 << (kr - 8)
    };
    first.iter().zip(second).filter(near).count() as f64 / first.len() as f64
}

#[test]
fn two_replies_to_the_same_question_have_nothing_in_common() {
    let [first, second] = two_replies(|session, _| Seeds::fresh(&mut session.rng));
    let different = first.iter().zip(&second).filter(|(x, y)| x != y).count();
    assert!(different * 10 >= first.len() * 9);
    assert!(close(&first, &second) < 0.02);
}

#[test]
fn a_repeated_ephemeral_would_be_seen() {
    let [first, second] = two_replies(|session, first| Seeds {
        ephemeral: Zeroizing::new(*first.ephemeral),
        ..Seeds::fresh(&mut session.rng)
    });
    assert!(close(&first, &second) > 0.99);
}

#[test]
fn ciphertexts_of_one_reply_have_their_own_randomness() {
    let mut session = Session::full(5);
    let layout = layout(&session, 64, 64, 256);
    // Equal inputs and weights everywhere: only the randomness can make the two ciphertexts differ.
    let x = session.upload(&layout, &vec![0; 64 * 64]);
    let w = Weights::plain(vec![0; 64 * 256], 256);
    let jobs = [Job { x: &x, w: Plain::Weights(&w) }];
    let (reply, _) = crate::multiply(&session.context, &session.keys, &jobs, &mut session.rng);
    let length = layout.format().reply_len(session.context.degree());
    let ciphertexts: Vec<_> =
        reply.chunks_exact(length).map(|bytes| coefficients(&session, layout.format(), bytes)).collect();
    assert_eq!(ciphertexts.len(), 2);
    assert!(close(&ciphertexts[0], &ciphertexts[1]) < 0.02);
}

/// Without the encryption of zero, a' would be an equation in W with coefficients that the client
/// knows.
#[test]
fn weights_could_be_read_from_a_reply_without_encryption_of_zero() {
    let mut session = Session::full(6);
    let layout = layout(&session, 1, 64, 64);
    let ct = result(&mut session, &layout);
    let plain = rounded(&session.context, &ct.a, layout.reply_bits());
    let plain: Vec<u64> = plain.iter().map(|&a| a as u64).collect();
    // `ct.a` is what a client computes who knows W, or guesses it, from its own a and Galois keys.
    let seeds = Seeds::fresh(&mut session.rng);
    let reply = reshare(&session.context, &session.keys, layout.format(), ct, &seeds);
    let sent = coefficients(&session, layout.format(), &reply.bytes);
    assert!(close(&plain, &plain) == 1.0 && close(&plain, &sent) < 0.02);
}

#[test]
fn what_travels_and_what_stays_looks_uniform() {
    let mut session = Session::full(7);
    let layout = layout(&session, 64, 64, 256);
    let (x, w) = (session.upload(&layout, &vec![0; 64 * 64]), Weights::plain(vec![1; 64 * 256], 256));
    let jobs = [Job { x: &x, w: Plain::Weights(&w) }];
    let (reply, shares) = crate::multiply(&session.context, &session.keys, &jobs, &mut session.rng);
    let sent = reply
        .chunks_exact(layout.format().reply_len(session.context.degree()))
        .flat_map(|bytes| coefficients(&session, layout.format(), bytes))
        .map(|a| a >> (layout.reply_bits() - 4));
    let kept = shares[0].iter().map(|share| share >> (BITS - 4));
    for top in [sent.collect::<Vec<_>>(), kept.collect()] {
        let mut counts = [0f64; 16];
        top.iter().for_each(|&x| counts[x as usize] += 1.0);
        let mean = top.len() as f64 / 16.0;
        let square: f64 = counts.iter().map(|c| (c - mean).powi(2) / mean).sum();
        // 15 degrees of freedom: beyond 50 once in 10^5.
        assert!(square < 50.0, "{square}");
    }
}

#[test]
fn delta_has_the_deviation_that_is_predicted() {
    let mut session = Session::full(8);
    for (tolerance, bits) in [(6, 44), (0, 44), (20, 52), (9, 24)] {
        let shape = MatmulShape { tokens: 16, inner: 64, outer: 512 };
        let layout = Layout::search(&session.context, shape, Operand::Weights, bits, tolerance, 1).unwrap();
        let (x, w) = (session.ring(16 * 64, bits), session.weights(64, 512));
        let sums = session.run(&[(layout, &x, Plain::Weights(&w))]);
        let exact = exact(&layout, &x, |i| w.at(i));
        let delta = |(sum, exact): (&u64, &u64)| {
            ((sum.wrapping_sub(*exact) << (64 - bits)) as i64 >> (64 - bits)) as f64
        };
        let deltas: Vec<f64> = sums[0].iter().zip(&exact).map(delta).collect();
        let measured = (deltas.iter().map(|d| d * d).sum::<f64>() / deltas.len() as f64).sqrt();
        // The two shares are rounded to the ring at the end.
        let predicted = (noise::error_deviation(&layout).powi(2) + 1.0 / 6.0).sqrt();
        assert!((0.8..1.2).contains(&(measured / predicted)), "{layout}: {measured}, not {predicted}");
        assert!(deltas.iter().all(|d| d.abs() < 9.0 * predicted), "{layout}");
        assert!(predicted < 2f64.powi(tolerance));
    }
}

#[test]
fn exact_results_are_exact_in_every_ring_that_is_served() {
    let mut session = Session::full(9);
    let shape = MatmulShape { tokens: 2, inner: 128, outer: 64 };
    let search = |context: &Context, bits| Layout::search(context, shape, Operand::Weights, bits, EXACT, 1);
    let widest = (1..=64).rev().find(|&bits| search(&session.context, bits).is_ok()).unwrap();
    assert!(widest >= 54, "{widest}");
    for bits in [8, 44, widest] {
        let layout = search(&session.context, bits).unwrap();
        let (x, w) = (session.ring(2 * 128, bits), session.weights(128, 64));
        let sums = session.run(&[(layout, &x, Plain::Weights(&w))]);
        assert_eq!(sums[0], exact(&layout, &x, |i| w.at(i)));
    }
    // What is in a wider one is no longer above the noise.
    assert!(matches!(search(&session.context, widest + 1), Err(Error::Noise { .. })));
}
