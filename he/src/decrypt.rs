//! The client's end: its shares from the reply (see [`crate::multiply`]).
//!
//! `a' s` is computed modulo Q with a' centred, where it cannot wrap, since N 2^kr < Q; the integer
//! is put together modulo 2^128 from its residues, `sum y_i Q / q_i - round(sum y_i / q_i) Q` with
//! `y_i = [x (Q / q_i)^{-1}]_{q_i}`.

use crate::bits::Reader;
use crate::context::Context;
use crate::error::{Error, check_length};
use crate::keys::SecretKey;
use crate::layout::{Format, Layout};
use crate::params::MAX_LEVELS;
use crate::reply::reply_len;
use crate::schedule;
use rayon::prelude::*;
use zeroize::Zeroizing;

/// The client's shares `[tokens, outer]` of the products, job by job, from the server's reply.
///
/// # Errors
/// If the reply has not the length of [`crate::reply_len`].
pub fn decrypt(
    context: &Context,
    key: &SecretKey,
    layouts: &[Layout],
    reply: &[u8],
) -> Result<Vec<Vec<u64>>, Error> {
    check_length("reply", reply, reply_len(context, layouts))?;
    let mut shares: Vec<Vec<u64>> = layouts.iter().map(|l| vec![0; l.shape.tokens * l.shape.outer]).collect();
    let mut rest = reply;
    for class in schedule::classes(layouts) {
        let length = class.format.reply_len(context.degree());
        let (ciphertexts, after) = rest.split_at(class.replies() * length);
        rest = after;
        let plain: Vec<_> = ciphertexts
            .par_chunks_exact(length)
            .map(|bytes| ciphertext_share(context, key, class.format, bytes))
            .collect();
        for &(job, first_unit) in &class.jobs {
            let outer = layouts[job].shape.outer;
            schedule::for_each_output(
                &class,
                &layouts[job],
                first_unit,
                |token, column, reply, coefficient| {
                    shares[job][token * outer + column] = plain[reply][coefficient];
                },
            );
        }
    }
    Ok(shares)
}

/// The client's share of every coefficient of one reply ciphertext: `a' s` modulo 2^kr, scaled to
/// 2^l and rounded.
fn ciphertext_share(context: &Context, key: &SecretKey, format: Format, bytes: &[u8]) -> Zeroizing<Vec<u64>> {
    let Format { bits, reply_bits, .. } = format;
    let mask = u64::MAX >> (64 - bits);
    let share = |&phase: &u128| match reply_bits.checked_sub(bits) {
        Some(0) => phase as u64 & mask,
        Some(drop) => (phase.wrapping_add(1 << (drop - 1)) >> drop) as u64 & mask,
        None => (phase as u64) << (bits - reply_bits) & mask,
    };
    Zeroizing::new(phases(context, key, format.levels, reply_bits, bytes).iter().map(share).collect())
}

/// `a' s`, coefficient by coefficient, modulo 2^128.
pub(crate) fn phases(
    context: &Context,
    key: &SecretKey,
    levels: usize,
    reply_bits: u32,
    bytes: &[u8],
) -> Zeroizing<Vec<u128>> {
    assert!(levels <= MAX_LEVELS, "of all primes only the inverses fit");
    let (n, basis) = (context.degree(), context.basis(levels));
    let mut reader = Reader::new(bytes);
    let a: Vec<u128> = (0..n).map(|_| reader.take_wide(reply_bits)).collect();

    let (mut residues, mut y) = (vec![0; n], Zeroizing::new(vec![0; n]));
    let mut phases = Zeroizing::new(vec![0u128; n]);
    let mut quotients = Zeroizing::new(vec![1u128 << 63; n]);
    for (i, prime) in context.data_primes(levels).iter().enumerate() {
        let modulus = prime.modulus;
        let full = modulus.reduce_wide(1 << reply_bits);
        for (out, &a) in residues.iter_mut().zip(&a) {
            let negative = ((a >> (reply_bits - 1)) as u64).wrapping_neg();
            *out = modulus.sub(modulus.reduce_wide(a), full & negative);
        }
        prime.forward(&mut residues);
        prime.pointwise(&residues, key.slots(i), prime.scale_from_slots(basis.inverses[i]), &mut y);
        prime.inverse_unscaled(&mut y);
        for ((phase, quotient), &y) in phases.iter_mut().zip(quotients.iter_mut()).zip(y.iter()) {
            *phase = phase.wrapping_add(u128::from(y).wrapping_mul(basis.factors[i]));
            *quotient += modulus.fraction(y) >> 64;
        }
    }
    for (phase, &quotient) in phases.iter_mut().zip(quotients.iter()) {
        *phase = phase.wrapping_sub((quotient >> 64).wrapping_mul(basis.product));
    }
    phases
}
