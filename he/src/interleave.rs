//! Packing: the units of a reply, interleaved level by level.
//!
//! For gap h and sigma: X -> X^(1 + N/h), a pair (E, O) becomes `(E + X^h O) + sigma(E - X^h O)`, which is
//! `Tr(E) + X^h Tr(O)` with Tr = 1 + sigma: one key switch a pair (BumbleBee).

use crate::context::Context;
use crate::evaluation::EvaluationKeys;
use crate::kernel;
use crate::keyswitch::Switcher;
use crate::rlwe::Ciphertext;
use crate::schedule::Class;
use rayon::prelude::*;

/// One ciphertext with all outputs of these units of a reply; missing units are zero.
pub(crate) fn pack(
    context: &Context,
    keys: &EvaluationKeys,
    class: &Class,
    reply: usize,
    mut units: Vec<Ciphertext>,
) -> Ciphertext {
    let levels = class.packed_levels(reply);
    for level in 1..=levels {
        let h = class.units_per_reply() >> level;
        let odd = units.split_off(units.len().min(1 << (levels - level)));
        units = units
            .into_par_iter()
            .enumerate()
            .map_init(
                || Switcher::new(context, class.format.levels),
                |switcher, (i, e)| merge(context, keys, switcher, h, e, odd.get(i)),
            )
            .collect();
    }
    units.pop().expect("a reply has at least one unit")
}

/// `Tr(E) + X^h Tr(O)`.
fn merge(
    context: &Context,
    keys: &EvaluationKeys,
    switcher: &mut Switcher,
    h: usize,
    mut even: Ciphertext,
    odd: Option<&Ciphertext>,
) -> Ciphertext {
    let levels = even.levels();
    let mut difference = Ciphertext::zero(context, levels);
    for (i, prime) in context.data_primes(levels).iter().enumerate() {
        for (e, d, o) in [
            (&mut even.b, &mut difference.b, odd.map(|odd| &odd.b)),
            (&mut even.a, &mut difference.a, odd.map(|odd| &odd.a)),
        ] {
            match o {
                Some(o) => {
                    kernel::shifted_sum_and_difference(
                        h,
                        e.row_mut(i),
                        o.row(i),
                        d.row_mut(i),
                        prime.modulus,
                    );
                }
                None => d.row_mut(i).copy_from_slice(e.row(i)),
            }
        }
    }
    let index = context.automorphism_of_gap(h);
    let mut merged = Ciphertext::zero(context, levels);
    switcher.automorphism(context, index, &keys.galois[index], &difference, &mut merged);
    for (i, prime) in context.data_primes(levels).iter().enumerate() {
        kernel::add_assign(merged.b.row_mut(i), even.b.row(i), prime.modulus);
        kernel::add_assign(merged.a.row_mut(i), even.a.row(i), prime.modulus);
    }
    merged
}
