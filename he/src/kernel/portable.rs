//! The inner loops for any machine; also the definition the vector kernels are tested against.

use std::ops::{Add, Range, Sub};

use super::LINE;
use crate::context::Scale;
use crate::modulus::{Modulus, Shoup};

/// Residues are factors.
pub(super) fn to_factors(_: &mut [u64], _: Modulus) {}

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
pub(super) fn add_outer(
    sums: &mut [[[&mut [u64]; 2]; 2]],
    x: &[u64],
    stride: usize,
    w: &[&[u64]],
    fresh: bool,
) {
    let strip = sums.len();
    if fresh {
        sums.iter_mut().flatten().flatten().for_each(|half| half.fill(0));
    }
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

/// As described in the parent.
pub(super) fn combine(
    pairs: &[(&[u64], &[u64])],
    minus: Option<&[u64]>,
    modulus: Modulus,
    scale: Scale,
    add: bool,
    out: &mut [u64],
) {
    for (i, out) in out.iter_mut().enumerate() {
        let (mut low, mut high) = ([0], [0]);
        for (x, w) in pairs {
            add_products([&mut low, &mut high], &x[i..i + 1], &w[i..i + 1]);
        }
        let mut value = [0];
        low[0] += minus.map_or(0, |minus| modulus.p() - minus[i]);
        fold(&low, &high, modulus, scale, &mut value);
        *out = if add { modulus.add(*out, value[0]) } else { value[0] };
    }
}

/// As described in the parent.
pub(super) fn twisted_sums(e: &mut [u64], o: &[u64], w: &[u64], difference: &mut [u64], modulus: Modulus) {
    let one = modulus.constant(1);
    let top = modulus.constant((1 << 52) % modulus.p());
    for (((e, &o), &w), difference) in e.iter_mut().zip(o).zip(w).zip(difference) {
        let product = u128::from(o) * u128::from(w);
        let (low, high) = (product as u64 & ((1 << 52) - 1), (product >> 52) as u64);
        let product = modulus.add(modulus.mul(low, one), modulus.mul(high, top));
        (*e, *difference) = (modulus.add(*e, product), modulus.sub(*e, product));
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

/// As described in the parent.
#[inline(always)]
pub(super) fn shifted_sums_32(shift: usize, e: &[i32], o: &[i32], plus: &mut [i32], minus: &mut [i32]) {
    shifted_sums(shift, e, o, plus, minus);
}

/// As described in the parent.
#[inline(always)]
pub(super) fn shifted_sums_64(shift: usize, e: &[i64], o: &[i64], plus: &mut [i64], minus: &mut [i64]) {
    shifted_sums(shift, e, o, plus, minus);
}

#[inline(always)]
fn shifted_sums<T>(shift: usize, e: &[T], o: &[T], plus: &mut [T], minus: &mut [T])
where
    T: Copy + Add<Output = T> + Sub<Output = T>,
{
    let n = e.len();
    // X^N = -1.
    let (shift, plus, minus) = if shift < n { (shift, plus, minus) } else { (shift - n, minus, plus) };
    let (before, after) = o.split_at(n - shift);
    add_and_subtract(&e[..shift], after, &mut minus[..shift], &mut plus[..shift]);
    add_and_subtract(&e[shift..], before, &mut plus[shift..], &mut minus[shift..]);
}

#[inline(always)]
fn add_and_subtract<T>(e: &[T], o: &[T], sum: &mut [T], difference: &mut [T])
where
    T: Copy + Add<Output = T> + Sub<Output = T>,
{
    for (((&e, &o), sum), difference) in e.iter().zip(o).zip(sum).zip(difference) {
        (*sum, *difference) = (e + o, e - o);
    }
}

/// Integers below p in absolute value as residues.
#[inline(always)]
pub(super) fn embed(modulus: Modulus, from: &[i64], to: &mut [u64]) {
    for (to, &x) in to.iter_mut().zip(from) {
        *to = modulus.embed(x);
    }
}
