//! The inner loops for any machine; also the definition the vector kernels are tested against.

use std::ops::Range;

use super::LINE;
use crate::context::Scale;
use crate::modulus::{Modulus, Shoup};

/// Set in a source index of a permutation when the value changes its sign.
pub(crate) const NEGATE: u32 = 1 << 31;

/// low += (x w) mod 2^52, high += floor(x w / 2^52), slot by slot.
fn add_products([low, high]: [&mut [u64]; 2], x: &[u64], w: &[u64]) {
    const MASK: u64 = (1 << 52) - 1;
    for (((low, high), &x), &w) in low.iter_mut().zip(high).zip(x).zip(w) {
        let product = u128::from(x) * u128::from(w);
        *low += product as u64 & MASK;
        *high += (product >> 52) as u64;
    }
}

/// As described in the parent.
pub(super) fn add_outer(sums: &mut [[[&mut [u64]; 2]; 2]], x: &[u64], stride: usize, w: &[&[u64]]) {
    let strip = sums.len();
    for (g, parts) in sums.iter_mut().enumerate() {
        for (part, [low, high]) in parts.iter_mut().enumerate() {
            let lines = low.chunks_mut(LINE).zip(high.chunks_mut(LINE)).zip(x.chunks(stride)).enumerate();
            for (at, ((low, high), x)) in lines {
                for (x, w) in x.chunks(2 * LINE).zip(w.iter().skip(g).step_by(strip)) {
                    add_products([low, high], &x[part * LINE..][..LINE], &w[at * LINE..][..LINE]);
                }
            }
        }
    }
}

/// Rows and columns whose sums are kept in registers.
const ROWS: usize = 4;
const COLUMNS: usize = 32;

/// As described in the parent.
#[inline(always)]
pub(super) fn multiply_columns(
    x: &[u64],
    w: &[i16],
    [inner, outer]: [usize; 2],
    columns: Range<usize>,
    y: &mut [u64],
) {
    let width = columns.len();
    let weights = |k: usize, from: usize, to: usize| &w[k * outer + columns.start..][from..to];
    for (x, y) in x.chunks(ROWS * inner).zip(y.chunks_mut(ROWS * width)) {
        // Few rows: what is left is read once, in the order of memory.
        let kept = if x.len() == ROWS * inner { width / COLUMNS * COLUMNS } else { 0 };
        for from in (0..kept).step_by(COLUMNS) {
            let mut sums = [[0u64; COLUMNS]; ROWS];
            for k in 0..inner {
                let w = weights(k, from, from + COLUMNS);
                for (t, sums) in sums.iter_mut().enumerate() {
                    add_multiple(x[t * inner + k], w, sums);
                }
            }
            for (y, sums) in y.chunks_mut(width).zip(&sums) {
                y[from..from + COLUMNS].copy_from_slice(sums);
            }
        }
        if kept == width {
            continue;
        }
        for k in 0..inner {
            let w = weights(k, kept, width);
            for (x, y) in x.chunks(inner).zip(y.chunks_mut(width)) {
                add_multiple(x[k], w, &mut y[kept..]);
            }
        }
    }
}

/// y += x w modulo 2^64.
#[inline(always)]
fn add_multiple(x: u64, w: &[i16], y: &mut [u64]) {
    y.iter_mut().zip(w).for_each(|(y, &w)| *y = y.wrapping_add(x.wrapping_mul(i64::from(w) as u64)));
}

/// out = c (low + 2^52 high) mod p.
pub(super) fn fold(low: &[u64], high: &[u64], modulus: Modulus, scale: Scale, out: &mut [u64]) {
    for ((&low, &high), out) in low.iter().zip(high).zip(out) {
        *out = modulus.add(modulus.mul(low, scale.low), modulus.mul(high, scale.high));
    }
}

/// out = c (sum of the products of all pairs) mod p.
pub(super) fn dot(pairs: &[(&[u64], &[u64])], modulus: Modulus, scale: Scale, out: &mut [u64]) {
    for (i, out) in out.iter_mut().enumerate() {
        let (mut low, mut high) = ([0], [0]);
        for (x, w) in pairs {
            add_products([&mut low, &mut high], &x[i..i + 1], &w[i..i + 1]);
        }
        fold(&low, &high, modulus, scale, std::slice::from_mut(out));
    }
}

/// x -= c lift(rest).
pub(super) fn subtract_lifted(x: &mut [u64], rest: &[u64], from: Modulus, to: Modulus, c: Shoup) {
    for (x, &rest) in x.iter_mut().zip(rest) {
        *x = to.sub(*x, to.mul(to.lift(rest, from), c));
    }
}

/// out = the centred representatives modulo `from`, modulo `to`.
#[inline(always)]
pub(super) fn lift(values: &[u64], from: Modulus, to: Modulus, out: &mut [u64]) {
    for (out, &x) in out.iter_mut().zip(values) {
        *out = to.lift(x, from);
    }
}

/// x += y.
#[inline(always)]
pub(super) fn add_assign(x: &mut [u64], y: &[u64], modulus: Modulus) {
    for (x, &y) in x.iter_mut().zip(y) {
        *x = modulus.add(*x, y);
    }
}

/// `(e, difference) <- (e + X^h o, e - X^h o)`.
#[inline(always)]
pub(super) fn shifted_sum_and_difference(
    h: usize,
    e: &mut [u64],
    o: &[u64],
    difference: &mut [u64],
    modulus: Modulus,
) {
    let (e_low, e_high) = e.split_at_mut(h);
    let (d_low, d_high) = difference.split_at_mut(h);
    let (o_high, o_low) = o.split_at(o.len() - h);
    for ((e, d), &o) in e_low.iter_mut().zip(d_low).zip(o_low) {
        (*e, *d) = (modulus.sub(*e, o), modulus.add(*e, o));
    }
    for ((e, d), &o) in e_high.iter_mut().zip(d_high).zip(o_high) {
        (*e, *d) = (modulus.add(*e, o), modulus.sub(*e, o));
    }
}

/// As [`shifted_sum_and_difference`], on integers.
#[inline(always)]
pub(super) fn shifted_integers(h: usize, e: &mut [i64], o: &[i64], difference: &mut [i64]) {
    let (e_low, e_high) = e.split_at_mut(h);
    let (d_low, d_high) = difference.split_at_mut(h);
    let (o_high, o_low) = o.split_at(o.len() - h);
    for ((e, d), &o) in e_low.iter_mut().zip(d_low).zip(o_low) {
        (*e, *d) = (*e - o, *e + o);
    }
    for ((e, d), &o) in e_high.iter_mut().zip(d_high).zip(o_high) {
        (*e, *d) = (*e + o, *e - o);
    }
}

/// to\[i\] = from\[source\[i\]\], negated where the source says so, modulo p.
#[inline(always)]
pub(super) fn permute(source: &[u32], modulus: Modulus, from: &[u64], to: &mut [u64]) {
    for (to, &source) in to.iter_mut().zip(source) {
        let value = from[(source & !NEGATE) as usize];
        let negate = u64::from(source >> 31).wrapping_neg();
        *to = modulus.reduce_once((value ^ negate).wrapping_sub(negate).wrapping_add(modulus.p() & negate));
    }
}

/// As [`permute`], on integers.
#[inline(always)]
pub(super) fn permute_integers(source: &[u32], from: &[i64], to: &mut [i64]) {
    for (to, &source) in to.iter_mut().zip(source) {
        let value = from[(source & !NEGATE) as usize];
        let negate = -i64::from(source >> 31);
        *to = (value ^ negate) - negate;
    }
}

/// Integers below p in absolute value as residues.
#[inline(always)]
pub(super) fn embed(modulus: Modulus, from: &[i64], to: &mut [u64]) {
    for (to, &x) in to.iter_mut().zip(from) {
        *to = modulus.embed(x);
    }
}
