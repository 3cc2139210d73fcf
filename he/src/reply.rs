//! The last step of the evaluator: a result becomes two shares, and the client's travels.
//!
//! | client: `s`                        |                  | server: result `(b, a)`, public key `(p0, p1)`           |
//! |------------------------------------|------------------|----------------------------------------------------------|
//! |                                    |                  | `u` ternary, `e0, e1` errors, `r` uniform mod 2^kr        |
//! |                                    |                  | `(b, a) += (p0, p1) u + (e0, e1)` modulo Q                |
//! |                                    |                  | `(b', a') = round(2^kr / Q (b, a))`                       |
//! |                                    | `<- b' - r, a' -` | share: `round(r / 2^(kr - l))`                           |
//! | share: `round(phase / 2^(kr - l))` |                  |                                                           |
//!
//! where `phase = b' - r + a' s mod 2^kr`. The two rounded values add up to the result modulo 2^l, or to a neighbour
//! when the noise carries over a half. Every ciphertext gets its own u, e0, e1 and r, and all N coefficients are masked,
//! used or not. Bytes per ciphertext: `2 N kr / 8`.

use crate::bits::Writer;
use crate::context::Context;
use crate::evaluation::EvaluationKeys;
use crate::kernel;
use crate::keys::fresh_seed;
use crate::layout::Layout;
use crate::prg::{Domain, Prg, Seed};
use crate::rlwe::{Ciphertext, errors, small_to_slots, ternary};
use crate::rows::Rows;
use crate::schedule;
use rand::CryptoRng;
use zeroize::Zeroizing;

/// Fresh randomness of one reply ciphertext.
pub(crate) struct Seeds {
    pub(crate) ephemeral: Zeroizing<Seed>,
    pub(crate) errors: Zeroizing<Seed>,
    pub(crate) mask: Zeroizing<Seed>,
}

impl Seeds {
    pub(crate) fn fresh(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        Self { ephemeral: fresh_seed(rng), errors: fresh_seed(rng), mask: fresh_seed(rng) }
    }
}

/// One reply ciphertext, and the server's share of every coefficient.
pub(crate) struct Reply {
    pub(crate) bytes: Vec<u8>,
    pub(crate) share: Zeroizing<Vec<u64>>,
}

/// Bytes of the reply to jobs of these layouts.
pub fn reply_len(context: &Context, layouts: &[Layout]) -> usize {
    schedule::classes(layouts)
        .iter()
        .map(|class| class.replies() * context.params().reply_ciphertext_len(class.bits))
        .sum()
}

/// Re-randomises, rounds and masks one result in coefficients.
pub(crate) fn reshare(
    context: &Context,
    keys: &EvaluationKeys,
    bits: u32,
    mut ct: Ciphertext,
    seeds: &Seeds,
) -> Reply {
    add_encryption_of_zero(context, keys, &mut ct, seeds);
    let reply_bits = context.params().reply_bits(bits);
    let (mask, drop) = (u128::MAX >> (128 - reply_bits), reply_bits - bits);
    let mut prg = Prg::new(Domain::Mask, &seeds.mask, [0, 0]);
    let mut share = Zeroizing::new(Vec::with_capacity(context.degree()));
    let mut bytes = Vec::with_capacity(context.params().reply_ciphertext_len(bits));
    let mut writer = Writer::new(&mut bytes);
    for b in rounded(context, &ct.b, reply_bits).iter() {
        let r = (u128::from(prg.word()) << 64 | u128::from(prg.word())) & mask;
        share.push(round_to_ring(r, drop, bits));
        writer.put_wide(b.wrapping_sub(r) & mask, reply_bits);
    }
    rounded(context, &ct.a, reply_bits).iter().for_each(|&a| writer.put_wide(a, reply_bits));
    writer.finish();
    Reply { bytes, share }
}

/// round(r / 2^drop) modulo 2^bits.
pub(crate) fn round_to_ring(r: u128, drop: u32, bits: u32) -> u64 {
    (r.wrapping_add(1 << (drop - 1)) >> drop) as u64 & (u64::MAX >> (64 - bits))
}

/// `(b, a) += (p0, p1) u + (e0, e1)`.
fn add_encryption_of_zero(context: &Context, keys: &EvaluationKeys, ct: &mut Ciphertext, seeds: &Seeds) {
    let n = context.degree();
    let u = ternary(Domain::Ephemeral, &seeds.ephemeral, n);
    let e = [0, 1].map(|part| errors(Domain::ReplyError, &seeds.errors, [part, 0], n));
    let (mut slots, mut product) = (Zeroizing::new(vec![0; n]), Zeroizing::new(vec![0; n]));
    for (i, prime) in context.data_primes().iter().enumerate() {
        small_to_slots(prime, &u, &mut slots);
        let parts = [(&keys.public.b, &mut ct.b, &e[0]), (&keys.public.a, &mut ct.a, &e[1])];
        for (public, target, e) in parts {
            prime.pointwise(public.row(i), &slots, prime.scale_from_slots(1), &mut product);
            prime.inverse_unscaled(&mut product);
            for (x, &e) in product.iter_mut().zip(e.iter()) {
                *x = prime.modulus.add(*x, prime.modulus.embed(e));
            }
            kernel::add_assign(target.row_mut(i), &product, prime.modulus);
        }
    }
}

/// round(2^kr c / Q) modulo 2^kr of every coefficient: the fraction c / Q is the sum of the fractions
/// `[c (Q / q_i)^{-1}]_{q_i} / q_i` modulo 1, known to 2^-120.
fn rounded(context: &Context, poly: &Rows<u64>, reply_bits: u32) -> Zeroizing<Vec<u128>> {
    let mut fractions = Zeroizing::new(vec![1u128 << (127 - reply_bits); context.degree()]);
    for (i, prime) in context.data_primes().iter().enumerate() {
        let factor = prime.modulus.constant(prime.crt_inverse());
        for (f, &c) in fractions.iter_mut().zip(poly.row(i)) {
            *f = f.wrapping_add(prime.modulus.fraction(prime.modulus.mul(c, factor)));
        }
    }
    fractions.iter_mut().for_each(|f| *f >>= 128 - reply_bits);
    fractions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bits::Reader;
    use crate::product;
    use crate::testing::Session;
    use crate::{Job, MatmulShape, Operand, Params, Plain};

    const BITS: u32 = 44;

    /// Both polynomials of two replies to the same result, the second with the seeds `change` made of the first.
    fn two_replies(change: impl Fn(&mut Session, &Seeds) -> Seeds) -> [Vec<[u128; 2]>; 2] {
        let mut session = Session::full(Params::fast(), 4);
        let shape = MatmulShape { tokens: 1, inner: 64, outer: 64 };
        let layout = Layout::search(&session.context, shape, Operand::Weights, BITS, 1).unwrap();
        let (x, w) = (session.ring(64, BITS), session.weights(64 * 64));
        let x = session.upload(&layout, &x);
        let first = Seeds::fresh(&mut session.rng);
        let second = change(&mut session, &first);
        let class = &schedule::classes(&[layout])[0];
        [first, second].map(|seeds| {
            let mut bytes = Vec::new();
            let jobs = [Job { x: &x, w: Plain::Weights(&w) }];
            product::evaluate(&session.context, &session.keys, class, &jobs, |mut results| {
                if let Some(ct) = results.pop() {
                    bytes = reshare(&session.context, &session.keys, BITS, ct, &seeds).bytes;
                }
            });
            let mut reader = Reader::new(&bytes);
            let kr = session.context.params().reply_bits(BITS);
            let values: Vec<u128> = (0..2 * session.context.degree()).map(|_| reader.take_wide(kr)).collect();
            let (b, a) = values.split_at(session.context.degree());
            b.iter().zip(a).map(|(&b, &a)| [b, a]).collect()
        })
    }

    /// Fraction of coefficients of one polynomial whose difference is within 2^-8 of zero, modulo 2^kr.
    fn close(replies: &[Vec<[u128; 2]>; 2], part: usize) -> f64 {
        let kr = Params::fast().reply_bits(BITS);
        let mask = u128::MAX >> (128 - kr);
        let near = |(x, y): &(&[u128; 2], &[u128; 2])| {
            let difference = x[part].wrapping_sub(y[part]) & mask;
            difference.min((mask + 1) - difference) < 1 << (kr - 8)
        };
        let [first, second] = replies;
        first.iter().zip(second).filter(near).count() as f64 / first.len() as f64
    }

    #[test]
    fn two_replies_to_the_same_question_have_nothing_in_common() {
        let replies = two_replies(|session, _| Seeds::fresh(&mut session.rng));
        for part in [0, 1] {
            let [first, second] = &replies;
            let different = first.iter().zip(second).filter(|(x, y)| x[part] != y[part]).count();
            assert!(different * 10 >= first.len() * 9);
            assert!(close(&replies, part) < 0.02);
        }
    }

    #[test]
    fn a_repeated_ephemeral_or_mask_would_be_seen() {
        let repeated_u = two_replies(|session, first| Seeds {
            ephemeral: Zeroizing::new(*first.ephemeral),
            ..Seeds::fresh(&mut session.rng)
        });
        assert!(close(&repeated_u, 1) > 0.99 && close(&repeated_u, 0) < 0.02);
        let repeated = two_replies(|session, first| Seeds {
            ephemeral: Zeroizing::new(*first.ephemeral),
            mask: Zeroizing::new(*first.mask),
            ..Seeds::fresh(&mut session.rng)
        });
        assert!(close(&repeated, 0) > 0.99);
    }

    #[test]
    fn ciphertexts_of_one_reply_have_their_own_randomness() {
        let mut session = Session::full(Params::fast(), 5);
        let shape = MatmulShape { tokens: 64, inner: 64, outer: 256 };
        let layout = Layout::search(&session.context, shape, Operand::Weights, BITS, 1).unwrap();
        // Equal inputs and weights everywhere: only the randomness can make the two ciphertexts differ.
        let x = session.upload(&layout, &vec![0; 64 * 64]);
        let w = vec![0; 64 * 256];
        let (reply, _) = crate::multiply(
            &session.context,
            &session.keys,
            &[Job { x: &x, w: Plain::Weights(&w) }],
            &mut session.rng,
        );
        let kr = session.context.params().reply_bits(BITS);
        let ciphertexts: Vec<Vec<[u128; 2]>> = reply
            .chunks_exact(session.context.params().reply_ciphertext_len(BITS))
            .map(|bytes| {
                let mut reader = Reader::new(bytes);
                let values: Vec<u128> =
                    (0..2 * session.context.degree()).map(|_| reader.take_wide(kr)).collect();
                let (b, a) = values.split_at(session.context.degree());
                b.iter().zip(a).map(|(&b, &a)| [b, a]).collect()
            })
            .collect();
        let [first, second] = <[_; 2]>::try_from(ciphertexts).unwrap();
        let replies = [first, second];
        assert!(close(&replies, 0) < 0.02 && close(&replies, 1) < 0.02);
    }

    #[test]
    fn rounding_to_the_ring() {
        assert_eq!(round_to_ring(0b0111, 3, 4), 1);
        assert_eq!(round_to_ring(0b0011, 3, 4), 0);
        assert_eq!(round_to_ring(0b111_1111, 3, 4), 0);
    }
}
