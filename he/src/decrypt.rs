//! The client's end: its shares from the reply (see [`crate::multiply`]).
//!
//! `a' s` is computed modulo Q with a' centred, where it cannot wrap, since N 2^kr < Q; the integer is put together
//! modulo 2^128 from its residues, `sum y_i Q / q_i - round(sum y_i / q_i) Q` with `y_i = [x (Q / q_i)^{-1}]_{q_i}`.

use crate::bits::Reader;
use crate::context::Context;
use crate::error::{Error, check_length};
use crate::keys::SecretKey;
use crate::layout::Layout;
use crate::reply::{reply_len, round_to_ring};
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
        let length = context.params().reply_ciphertext_len(class.bits);
        let (ciphertexts, after) = rest.split_at(class.replies() * length);
        rest = after;
        let plain: Vec<_> = ciphertexts
            .par_chunks_exact(length)
            .map(|ct| ciphertext_share(context, key, class.bits, ct))
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

/// The client's share of every coefficient of one reply ciphertext.
fn ciphertext_share(context: &Context, key: &SecretKey, bits: u32, bytes: &[u8]) -> Zeroizing<Vec<u64>> {
    let reply_bits = context.params().reply_bits(bits);
    let phases = phases(context, key, reply_bits, bytes);
    Zeroizing::new(phases.iter().map(|&phase| round_to_ring(phase, reply_bits - bits, bits)).collect())
}

/// `b' + a' s mod 2^kr`, coefficient by coefficient.
pub(crate) fn phases(
    context: &Context,
    key: &SecretKey,
    reply_bits: u32,
    bytes: &[u8],
) -> Zeroizing<Vec<u128>> {
    let n = context.degree();
    let mut reader = Reader::new(bytes);
    let mut phases = Zeroizing::new((0..n).map(|_| reader.take_wide(reply_bits)).collect::<Vec<u128>>());
    let a: Vec<u128> = (0..n).map(|_| reader.take_wide(reply_bits)).collect();

    let (mut residues, mut y) = (vec![0; n], Zeroizing::new(vec![0; n]));
    let mut quotients = Zeroizing::new(vec![1u128 << 63; n]);
    for (i, prime) in context.data_primes().iter().enumerate() {
        let modulus = prime.modulus;
        let full = modulus.reduce_wide(1 << reply_bits);
        for (out, &a) in residues.iter_mut().zip(&a) {
            let negative = ((a >> (reply_bits - 1)) as u64).wrapping_neg();
            *out = modulus.sub(modulus.reduce_wide(a), full & negative);
        }
        prime.forward(&mut residues);
        prime.pointwise(&residues, key.slots(i), prime.scale_from_slots(prime.crt_inverse()), &mut y);
        prime.inverse_unscaled(&mut y);
        for ((phase, quotient), &y) in phases.iter_mut().zip(quotients.iter_mut()).zip(y.iter()) {
            *phase = phase.wrapping_add(u128::from(y).wrapping_mul(prime.crt_factor()));
            *quotient += modulus.fraction(y) >> 64;
        }
    }
    let modulus_low = context.modulus_low();
    for (phase, &quotient) in phases.iter_mut().zip(quotients.iter()) {
        *phase = phase.wrapping_sub((quotient >> 64).wrapping_mul(modulus_low))
            & (u128::MAX >> (128 - reply_bits));
    }
    phases
}
