//! Packing: the units of a reply, interleaved level by level.
//!
//! For gap h and sigma: X -> X^(1 + N/h), a pair (E, O) becomes `(E + X^h O) + sigma(E - X^h O)`,
//! which is `Tr(E) + X^h Tr(O)` with Tr = 1 + sigma: one key switch a pair (BumbleBee).
//!
//! All of it happens in slots. A key switch gives P times its result modulo QP; of that, a is
//! divided by P at once, because its digits are needed next, and b once for a whole reply.

use crate::context::Context;
use crate::evaluation::EvaluationKeys;
use crate::kernel;
use crate::keyswitch::Switcher;
use crate::pool::Pool;
use crate::rlwe::Ciphertext;
use crate::rows::Rows;
use crate::schedule::Class;
use rayon::prelude::*;
use zeroize::Zeroize;

/// A unit or several packed ones, in slots.
pub(crate) struct Unit {
    /// P times b modulo the data primes, then modulo P; but b alone where nothing is to be packed.
    pub(crate) b: Rows<u64>,
    pub(crate) a: Rows<u64>,
    /// Whether b modulo P is not zero, that is, has been computed.
    pub(crate) lifted: bool,
}

impl Unit {
    /// With arbitrary values.
    pub(crate) fn new(context: &Context, levels: usize) -> Self {
        let rows = |count| Rows::new(count, context.degree());
        Self { b: rows(levels + 1), a: rows(levels), lifted: false }
    }
}

/// What was in it depends on W.
impl Drop for Unit {
    fn drop(&mut self) {
        self.b.zeroize();
        self.a.zeroize();
    }
}

/// Memory of an evaluation that is used again.
pub(crate) struct Workspaces {
    pub(crate) switchers: Pool<Switcher>,
    pub(crate) units: Pool<Unit>,
}

impl Workspaces {
    pub(crate) fn new() -> Self {
        Self { switchers: Pool::new(), units: Pool::new() }
    }
}

/// One ciphertext, in coefficients, with all outputs of these units of a reply; missing units are
/// zero.
pub(crate) fn pack(
    context: &Context,
    keys: &EvaluationKeys,
    class: &Class,
    workspaces: &Workspaces,
    reply: usize,
    mut units: Vec<Unit>,
) -> Ciphertext {
    let (levels, data) = (class.packed_levels(reply), class.format.levels);
    for level in 1..=levels {
        let h = class.units_per_reply() >> level;
        let mut odd = units.split_off(units.len().min(1 << (levels - level)));
        units.par_iter_mut().enumerate().for_each(|(i, even)| {
            let mut switcher = workspaces.switchers.take(|| Switcher::new(context, data));
            merge(context, keys, &mut switcher, h, even, odd.get(i));
            workspaces.switchers.give(switcher);
        });
        odd.drain(..).for_each(|unit| workspaces.units.give(unit));
    }
    let unit = units.pop().expect("a reply has at least one unit");
    let result = in_coefficients(context, &unit, levels > 0);
    workspaces.units.give(unit);
    result
}

/// E becomes `Tr(E) + X^h Tr(O)`.
fn merge(
    context: &Context,
    keys: &EvaluationKeys,
    switcher: &mut Switcher,
    h: usize,
    even: &mut Unit,
    odd: Option<&Unit>,
) {
    let (levels, index) = (even.a.count(), context.automorphism_of_gap(h));
    let (sigma, monomial) = (context.automorphisms()[index].slots(), context.monomial(h));
    for i in 0..levels {
        difference(
            context,
            i,
            monomial.row(i),
            even.a.row_mut(i),
            odd.map(|odd| odd.a.row(i)),
            &mut switcher.scratch.row,
        );
        sigma.apply(&switcher.scratch.row, switcher.scratch.a.row_mut(i));
    }
    switcher.decompose_scratch(context);
    for i in 0..if even.lifted { levels + 1 } else { levels } {
        let prime = if i < levels { i } else { context.primes().len() - 1 };
        let odd = odd.map(|odd| odd.b.row(i));
        difference(context, prime, monomial.row(prime), even.b.row_mut(i), odd, &mut switcher.scratch.row);
        sigma.apply(&switcher.scratch.row, switcher.scratch.b.row_mut(i));
        kernel::add_assign(even.b.row_mut(i), switcher.scratch.b.row(i), context.primes()[prime].modulus);
    }
    switcher.add_switched(context, &keys.galois[index], even.lifted, &mut even.b, &mut even.a);
    even.lifted = true;
}

/// E becomes `E + X^h O`, and `difference` is `E - X^h O`.
fn difference(
    context: &Context,
    prime: usize,
    monomial: &[u64],
    even: &mut [u64],
    odd: Option<&[u64]>,
    difference: &mut [u64],
) {
    match odd {
        Some(odd) => kernel::twisted_sums(even, odd, monomial, difference, context.primes()[prime].modulus),
        None => difference.copy_from_slice(even),
    }
}

/// The unit as a ciphertext; b is divided by P if it was multiplied.
fn in_coefficients(context: &Context, unit: &Unit, divide: bool) -> Ciphertext {
    let levels = unit.a.count();
    let mut out = Ciphertext::zero(context, levels);
    let (mut rest, special) = (vec![0; context.degree()], context.special());
    if divide {
        rest.copy_from_slice(unit.b.row(levels));
        special.inverse(&mut rest);
    }
    for (i, prime) in context.data_primes(levels).iter().enumerate() {
        let (b, a) = (out.b.row_mut(i), out.a.row_mut(i));
        a.copy_from_slice(unit.a.row(i));
        prime.inverse(a);
        b.copy_from_slice(unit.b.row(i));
        prime.inverse(b);
        if divide {
            let factor = prime.modulus.constant(prime.special_inverse());
            prime.multiply(b, prime.special_inverse());
            kernel::subtract_lifted(b, &rest, special.modulus, prime.modulus, factor);
        }
    }
    rest.zeroize();
    out
}
