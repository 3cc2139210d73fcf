//! The inner loops for AVX-512 with 52-bit multiply-add.
//!
//! Loops without products are the portable ones, compiled once more for the wider registers.
//! Products with a constant use Shoup's method on 52 bits: with `w' = floor(w 2^52 / p)` and x <
//! 2^52, `x w - floor(x w' / 2^52) p` lies in [0, 2p), and its low 52 bits are all there is.

pub(super) mod transform;

pub(super) use portable::to_factors;

use super::{LINE, STRIP, portable};
use crate::context::Scale;
use crate::modulus::{Modulus, Shoup};
use std::arch::x86_64::*;
use std::ops::Range;

/// Whether this machine has the instructions.
#[inline]
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512ifma")
}

/// A safe function of this name that runs the portable one compiled for this machine.
macro_rules! recompiled {
    ($($name:ident($($argument:ident: $type:ty),*);)*) => {$(
        /// As the portable twin.
        pub(super) fn $name($($argument: $type),*) {
            #[target_feature(enable = "avx512f,avx512dq,avx512vl")]
            fn wide($($argument: $type),*) {
                portable::$name($($argument),*);
            }
            assert!(available());
            // SAFETY: the instructions exist, as asserted.
            unsafe { wide($($argument),*) }
        }
    )*};
}

recompiled! {
    lift(values: &[u64], from: Modulus, to: Modulus, out: &mut [u64]);
    add_assign(x: &mut [u64], y: &[u64], modulus: Modulus);
    shifted_sums_32(shift: usize, e: &[i32], o: &[i32], plus: &mut [i32], minus: &mut [i32]);
    shifted_sums_64(shift: usize, e: &[i64], o: &[i64], plus: &mut [i64], minus: &mut [i64]);
    embed(modulus: Modulus, from: &[i64], to: &mut [u64]);
    multiply_columns(x: &[u64], w: &[i16], sides: [usize; 2], columns: Range<usize>, y: &mut [u64]);
}

/// As the portable twin.
///
/// # Panics
/// If the machine lacks the instructions, there are no sums or more than [`STRIP`], or lengths do
/// not fit.
pub(super) fn add_outer(
    sums: &mut [[[&mut [u64]; 2]; 2]],
    x: &[u64],
    stride: usize,
    w: &[&[u64]],
    fresh: bool,
) {
    let (n, count) = (sums[0][0][0].len(), w.len() / sums.len());
    assert!(available() && n.is_multiple_of(LINE) && w.len() == count * sums.len());
    assert!(sums.iter().flatten().flatten().all(|half| half.len() == n) && w.iter().all(|w| w.len() == n));
    assert!(2 * count * LINE <= stride && (n == 0 || (n / LINE - 1) * stride + 2 * count * LINE <= x.len()));
    // SAFETY: the instructions exist and the lengths are those of the contract, as asserted.
    unsafe {
        match sums.len() {
            1 => add_outer_unchecked::<1>(sums, x, stride, w, fresh),
            2 => add_outer_unchecked::<2>(sums, x, stride, w, fresh),
            3 => add_outer_unchecked::<3>(sums, x, stride, w, fresh),
            STRIP => add_outer_unchecked::<STRIP>(sums, x, stride, w, fresh),
            more => panic!("{more} columns of factors"),
        }
    }
}

/// Keeps all sums of a line in registers while it walks over the pairs.
///
/// # Safety
/// The instructions exist; there are G sums, with as many words in each half, a multiple of a line,
/// as each factor has; `w` has G factors for each pair; and `x` has all pairs of every line,
/// `stride` words apart.
#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn add_outer_unchecked<const G: usize>(
    sums: &mut [[[&mut [u64]; 2]; 2]],
    x: &[u64],
    stride: usize,
    w: &[&[u64]],
    fresh: bool,
) {
    let n = sums[0][0][0].len();
    for (line, at) in (0..n).step_by(LINE).enumerate() {
        // SAFETY: at + 8 <= n for every half and factor, and the line's pairs are within x, by the
        // contract of this function; loads and stores are unaligned.
        unsafe {
            let load = |from: *const u64| _mm512_loadu_si512(from.cast());
            let mut s = [[[_mm512_setzero_si512(); 2]; 2]; G];
            for g in 0..if fresh { 0 } else { G } {
                for part in 0..2 {
                    s[g][part] =
                        [load(sums[g][part][0].as_ptr().add(at)), load(sums[g][part][1].as_ptr().add(at))];
                }
            }
            let mut pair = x.as_ptr().add(line * stride);
            for w in w.chunks_exact(G) {
                let x = [load(pair), load(pair.add(LINE))];
                pair = pair.add(2 * LINE);
                for g in 0..G {
                    let w = load(w[g].as_ptr().add(at));
                    for part in 0..2 {
                        s[g][part][0] = _mm512_madd52lo_epu64(s[g][part][0], x[part], w);
                        s[g][part][1] = _mm512_madd52hi_epu64(s[g][part][1], x[part], w);
                    }
                }
            }
            for g in 0..G {
                for part in 0..2 {
                    for half in 0..2 {
                        _mm512_storeu_si512(
                            sums[g][part][half].as_mut_ptr().add(at).cast(),
                            s[g][part][half],
                        );
                    }
                }
            }
        }
    }
}

/// Broadcast p and a factor w < p with floor(w 2^52 / p).
#[derive(Clone, Copy)]
struct Factor {
    w: __m512i,
    quotient: __m512i,
    p: __m512i,
}

impl Factor {
    #[target_feature(enable = "avx512f")]
    fn new(modulus: Modulus, w: u64) -> Self {
        let quotient = ((u128::from(w) << 52) / u128::from(modulus.p())) as i64;
        let broadcast = |x| _mm512_set1_epi64(x);
        Self { w: broadcast(w as i64), quotient: broadcast(quotient), p: broadcast(modulus.p() as i64) }
    }

    /// x w mod p in [0, 2p), for x < 2^52.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn mul_lazy(self, x: __m512i) -> __m512i {
        let zero = _mm512_setzero_si512();
        let quotient = _mm512_madd52hi_epu64(zero, x, self.quotient);
        let product = _mm512_madd52lo_epu64(zero, x, self.w);
        let multiple = _mm512_madd52lo_epu64(zero, quotient, self.p);
        _mm512_and_si512(_mm512_sub_epi64(product, multiple), _mm512_set1_epi64((1 << 52) - 1))
    }
}

/// x or x - bound, whichever does not wrap: x mod bound for x < 2 bound.
#[inline]
#[target_feature(enable = "avx512f")]
fn reduce_once(x: __m512i, bound: __m512i) -> __m512i {
    _mm512_min_epu64(x, _mm512_sub_epi64(x, bound))
}

/// The factors c, c 2^52 and c 2^104.
#[derive(Clone, Copy)]
struct Fold([Factor; 3]);

impl Fold {
    #[target_feature(enable = "avx512f")]
    fn new(modulus: Modulus, scale: Scale) -> Self {
        let top = modulus.mul_public(scale.high.w, (1 << 52) % modulus.p());
        Self([
            Factor::new(modulus, scale.low.w),
            Factor::new(modulus, scale.high.w),
            Factor::new(modulus, top),
        ])
    }

    /// c (l + 2^52 h) mod p for sums of at most 4095 products.
    ///
    /// With l = l0 + 2^52 l1 and h + l1 = h0 + 2^52 h1: c l0 + c 2^52 h0 + c 2^104 h1, below 6p
    /// before reduction.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn apply(self, l: __m512i, h: __m512i) -> __m512i {
        let Self([c0, c1, c2]) = self;
        let mask = _mm512_set1_epi64((1 << 52) - 1);
        let h = _mm512_add_epi64(h, _mm512_srli_epi64::<52>(l));
        let low = c0.mul_lazy(_mm512_and_si512(l, mask));
        let middle = c1.mul_lazy(_mm512_and_si512(h, mask));
        let top = c2.mul_lazy(_mm512_srli_epi64::<52>(h));
        let sum = _mm512_add_epi64(low, _mm512_add_epi64(middle, top));
        let (p2, p4) = (_mm512_slli_epi64::<1>(c0.p), _mm512_slli_epi64::<2>(c0.p));
        reduce_once(reduce_once(reduce_once(sum, p4), p2), c0.p)
    }
}

/// As the portable twin, for sums of at most 4095 products.
pub(super) fn fold(low: &[u64], high: &[u64], modulus: Modulus, scale: Scale, out: &mut [u64]) {
    let n = out.len();
    assert!(available() && n.is_multiple_of(8) && low.len() == n && high.len() == n);
    // SAFETY: the instructions exist and every slice has n words, as asserted.
    unsafe { fold_unchecked(low, high, modulus, scale, out) }
}

/// # Safety
/// The instructions exist; every slice has as many words as `out`, a multiple of 8.
#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn fold_unchecked(low: &[u64], high: &[u64], modulus: Modulus, scale: Scale, out: &mut [u64]) {
    let fold = Fold::new(modulus, scale);
    for at in (0..out.len()).step_by(8) {
        // SAFETY: at + 8 <= n for every slice, by the contract of this function; loads and stores
        // are unaligned.
        unsafe {
            let l = _mm512_loadu_si512(low.as_ptr().add(at).cast());
            let h = _mm512_loadu_si512(high.as_ptr().add(at).cast());
            _mm512_storeu_si512(out.as_mut_ptr().add(at).cast(), fold.apply(l, h));
        }
    }
}

/// As the portable twin, for at most 4095 pairs.
pub(super) fn dot(pairs: &[(&[u64], &[u64])], modulus: Modulus, scale: Scale, out: &mut [u64]) {
    let n = out.len();
    assert!(available() && n.is_multiple_of(8));
    assert!(pairs.iter().all(|(x, w)| x.len() == n && w.len() == n));
    // SAFETY: the instructions exist and every slice has n words, as asserted.
    unsafe { dot_unchecked(pairs, modulus, scale, out) }
}

/// # Safety
/// The instructions exist; every slice has as many words as `out`, a multiple of 8.
#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn dot_unchecked(pairs: &[(&[u64], &[u64])], modulus: Modulus, scale: Scale, out: &mut [u64]) {
    let fold = Fold::new(modulus, scale);
    for at in (0..out.len()).step_by(8) {
        let (mut l, mut h) = (_mm512_setzero_si512(), _mm512_setzero_si512());
        // SAFETY: at + 8 <= n for every slice, by the contract of this function; loads and stores
        // are unaligned.
        unsafe {
            for (x, w) in pairs {
                let x = _mm512_loadu_si512(x.as_ptr().add(at).cast());
                let w = _mm512_loadu_si512(w.as_ptr().add(at).cast());
                l = _mm512_madd52lo_epu64(l, x, w);
                h = _mm512_madd52hi_epu64(h, x, w);
            }
            _mm512_storeu_si512(out.as_mut_ptr().add(at).cast(), fold.apply(l, h));
        }
    }
}

/// As the portable twin; factors may be up to 28 p.
pub(super) fn combine(
    pairs: &[(&[u64], &[u64])],
    minus: Option<&[u64]>,
    modulus: Modulus,
    scale: Scale,
    add: bool,
    out: &mut [u64],
) {
    let n = out.len();
    assert!(available() && n.is_multiple_of(8) && minus.is_none_or(|minus| minus.len() == n));
    assert!(pairs.iter().all(|(x, w)| x.len() == n && w.len() == n));
    // SAFETY: the instructions exist and every slice has n words, as asserted.
    unsafe { combine_unchecked(pairs, minus, modulus, scale, add, out) }
}

/// # Safety
/// The instructions exist; every slice has as many words as `out`, a multiple of 8.
#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn combine_unchecked(
    pairs: &[(&[u64], &[u64])],
    minus: Option<&[u64]>,
    modulus: Modulus,
    scale: Scale,
    add: bool,
    out: &mut [u64],
) {
    let fold = Fold::new(modulus, scale);
    let p = _mm512_set1_epi64(modulus.p() as i64);
    let bound = _mm512_set1_epi64(28 * modulus.p() as i64);
    for at in (0..out.len()).step_by(8) {
        let (mut l, mut h) = (_mm512_setzero_si512(), _mm512_setzero_si512());
        // SAFETY: at + 8 <= n for every slice, by the contract of this function; loads and stores
        // are unaligned.
        unsafe {
            let load = |from: &[u64]| _mm512_loadu_si512(from.as_ptr().add(at).cast());
            if let Some(minus) = minus {
                l = _mm512_sub_epi64(bound, load(minus));
            }
            for (x, w) in pairs {
                l = _mm512_madd52lo_epu64(l, load(x), load(w));
                h = _mm512_madd52hi_epu64(h, load(x), load(w));
            }
            let mut value = fold.apply(l, h);
            if add {
                value = reduce_once(_mm512_add_epi64(value, load(out)), p);
            }
            _mm512_storeu_si512(out.as_mut_ptr().add(at).cast(), value);
        }
    }
}

/// As the portable twin.
pub(super) fn twisted_sums(e: &mut [u64], o: &[u64], w: &[u64], difference: &mut [u64], modulus: Modulus) {
    let n = e.len();
    assert!(available() && n.is_multiple_of(8) && [o.len(), w.len(), difference.len()] == [n; 3]);
    // SAFETY: the instructions exist and every slice has n words, as asserted.
    unsafe { twisted_sums_unchecked(e, o, w, difference, modulus) }
}

/// With `v = floor(2^94 / p)`, the quotient of a product x by p is estimated as
/// `floor(floor(x / 2^42) v / 2^52)`: at most 2 too small, because `2^42 < p / 2` and x < 2^88.
///
/// # Safety
/// The instructions exist; every slice has as many words as `e`, a multiple of 8.
#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn twisted_sums_unchecked(
    e: &mut [u64],
    o: &[u64],
    w: &[u64],
    difference: &mut [u64],
    modulus: Modulus,
) {
    let all = |x: u64| _mm512_set1_epi64(x as i64);
    let (zero, mask) = (_mm512_setzero_si512(), all((1 << 52) - 1));
    let (p, p2) = (all(modulus.p()), all(2 * modulus.p()));
    let inverse = all(((1u128 << 94) / u128::from(modulus.p())) as u64);
    for at in (0..e.len()).step_by(8) {
        // SAFETY: at + 8 <= n for every slice, by the contract of this function; loads and stores
        // are unaligned.
        unsafe {
            let load = |from: &[u64]| _mm512_loadu_si512(from.as_ptr().add(at).cast());
            let (first, o, w) = (load(e), load(o), load(w));
            let low = _mm512_madd52lo_epu64(zero, o, w);
            let high = _mm512_madd52hi_epu64(zero, o, w);
            let top = _mm512_or_si512(_mm512_slli_epi64::<10>(high), _mm512_srli_epi64::<42>(low));
            let quotient = _mm512_madd52hi_epu64(zero, top, inverse);
            let rest = _mm512_sub_epi64(low, _mm512_madd52lo_epu64(zero, quotient, p));
            let product = reduce_once(reduce_once(_mm512_and_si512(rest, mask), p2), p);
            let sum = reduce_once(_mm512_add_epi64(first, product), p);
            let rest = _mm512_sub_epi64(first, product);
            let rest = _mm512_min_epu64(rest, _mm512_add_epi64(rest, p));
            _mm512_storeu_si512(e.as_mut_ptr().add(at).cast(), sum);
            _mm512_storeu_si512(difference.as_mut_ptr().add(at).cast(), rest);
        }
    }
}

/// As the portable twin.
pub(super) fn subtract_lifted(x: &mut [u64], rest: &[u64], from: Modulus, to: Modulus, c: Shoup) {
    let n = x.len();
    assert!(available() && n.is_multiple_of(8) && rest.len() == n);
    // SAFETY: the instructions exist and both slices have n words, as asserted.
    unsafe { subtract_lifted_unchecked(x, rest, from, to, c) }
}

/// # Safety
/// The instructions exist; both slices have equally many words, a multiple of 8.
#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn subtract_lifted_unchecked(x: &mut [u64], rest: &[u64], from: Modulus, to: Modulus, c: Shoup) {
    let factor = Factor::new(to, c.w);
    let half = _mm512_set1_epi64((from.p() / 2) as i64);
    let shift = _mm512_set1_epi64(to.p().wrapping_sub(from.p()) as i64);
    for at in (0..x.len()).step_by(8) {
        // SAFETY: at + 8 <= n for both slices, by the contract of this function; loads and stores
        // are unaligned.
        unsafe {
            let r = _mm512_loadu_si512(rest.as_ptr().add(at).cast());
            let lifted = _mm512_mask_add_epi64(r, _mm512_cmpgt_epu64_mask(r, half), r, shift);
            let product = reduce_once(factor.mul_lazy(lifted), factor.p);
            let value = _mm512_loadu_si512(x.as_ptr().add(at).cast());
            let difference = _mm512_sub_epi64(value, product);
            let difference = _mm512_min_epu64(difference, _mm512_add_epi64(difference, factor.p));
            _mm512_storeu_si512(x.as_mut_ptr().add(at).cast(), difference);
        }
    }
}
