//! The inner loops for AVX2 with fused multiply-add, in double precision.
//!
//! Residues are integers of at most 44 bits and exact as doubles. A product of two of them is
//! `h + l`, h rounded and l its exact error by a fused operation; a product modulo p is
//! `h - round(q) p + l` for an estimate q of the quotient, exact because its terms are integers
//! below 2^53 apart from h and q p, whose difference is one too. Every operation takes the same
//! time for all values that occur.
//!
//! Factors (see [`super::to_factors`]) are doubles: residues centred, or slots below 11 p as the
//! transform leaves them. Sums of products keep the multiples of 2^40 apart from the rest: the
//! product added to 1.5 2^92 is rounded to them, and shows their number in its low bits.

pub(super) mod transform;

use super::{LINE, STRIP, portable};
use crate::context::Scale;
use crate::modulus::{Modulus, Shoup};
use std::arch::x86_64::*;
use std::ops::Range;

/// Whether this machine has the instructions.
#[inline]
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

/// A safe function of this name that runs the portable one compiled for this machine.
macro_rules! recompiled {
    ($($name:ident($($argument:ident: $type:ty),*);)*) => {$(
        /// As the portable twin.
        pub(super) fn $name($($argument: $type),*) {
            #[target_feature(enable = "avx2,fma")]
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

/// 2^52: an integer below it, as the low bits of a double, is that double minus 2^52.
const MAGIC: f64 = (1u64 << 52) as f64;

/// Products are rounded to multiples of 2^40.
const SPLIT: u32 = 40;

/// 1.5 2^92: doubles near it are the multiples of 2^40.
const SPLITTER: f64 = 1.5 * (1u128 << (52 + SPLIT)) as f64;

/// Integers below 2^52.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn from_integers(x: __m256i) -> __m256d {
    let magic = _mm256_set1_pd(MAGIC);
    _mm256_sub_pd(_mm256_or_pd(_mm256_castsi256_pd(x), magic), magic)
}

/// The inverse of [`from_integers`].
#[inline]
#[target_feature(enable = "avx2,fma")]
fn to_integers(x: __m256d) -> __m256i {
    let magic = _mm256_set1_pd(MAGIC);
    _mm256_castpd_si256(_mm256_xor_pd(_mm256_add_pd(x, magic), magic))
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn round(x: __m256d) -> __m256d {
    _mm256_round_pd::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x)
}

/// b w modulo p, given w / p too: below 0.75 p in absolute value for `|b| < 2^51` and
/// `|w| <= p / 2`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn product(b: __m256d, [w, quotient]: [__m256d; 2], p: __m256d) -> __m256d {
    let h = _mm256_mul_pd(b, w);
    let q = round(_mm256_mul_pd(b, quotient));
    let l = _mm256_fmsub_pd(b, w, h);
    _mm256_add_pd(_mm256_fnmadd_pd(q, p, h), l)
}

/// x w modulo p, below 0.75 p in absolute value for `|x w| < 2^95`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn reduced_product(x: __m256d, w: __m256d, [p, p_inverse]: [__m256d; 2]) -> __m256d {
    let h = _mm256_mul_pd(x, w);
    let q = round(_mm256_mul_pd(h, p_inverse));
    let l = _mm256_fmsub_pd(x, w, h);
    _mm256_add_pd(_mm256_fnmadd_pd(q, p, h), l)
}

/// x modulo p, below 0.51 p in absolute value.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn reduce(x: __m256d, [p, p_inverse]: [__m256d; 2]) -> __m256d {
    _mm256_fnmadd_pd(round(_mm256_mul_pd(x, p_inverse)), p, x)
}

/// x modulo p as an integer in [0, p).
#[inline]
#[target_feature(enable = "avx2,fma")]
fn residues(x: __m256d, prime: [__m256d; 2]) -> __m256i {
    let r = reduce(x, prime);
    let negative = _mm256_cmp_pd::<_CMP_LT_OQ>(r, _mm256_setzero_pd());
    to_integers(_mm256_add_pd(r, _mm256_and_pd(negative, prime[0])))
}

/// p and 1 / p.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn prime(modulus: Modulus) -> [__m256d; 2] {
    let p = modulus.p() as f64;
    [_mm256_set1_pd(p), _mm256_set1_pd(1.0 / p)]
}

/// w, centred, and w / p.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn factor(modulus: Modulus, w: u64) -> [__m256d; 2] {
    let p = modulus.p();
    let w = if w > p / 2 { w as f64 - p as f64 } else { w as f64 };
    [_mm256_set1_pd(w), _mm256_set1_pd(w / p as f64)]
}

/// Residues become centred doubles, in place.
pub(super) fn to_factors(values: &mut [u64], modulus: Modulus) {
    assert!(available() && values.len().is_multiple_of(4));
    // SAFETY: the instructions exist, and there are whole vectors.
    unsafe { to_factors_unchecked(values, modulus) }
}

/// # Safety
/// The instructions exist; there are a multiple of 4 values.
#[target_feature(enable = "avx2,fma")]
unsafe fn to_factors_unchecked(values: &mut [u64], modulus: Modulus) {
    let [p, _] = prime(modulus);
    let half = _mm256_set1_pd((modulus.p() / 2) as f64);
    for at in (0..values.len()).step_by(4) {
        // SAFETY: at + 4 <= n.
        unsafe {
            let x = from_integers(_mm256_loadu_si256(values.as_ptr().add(at).cast()));
            let upper = _mm256_cmp_pd::<_CMP_GT_OQ>(x, half);
            let x = _mm256_sub_pd(x, _mm256_and_pd(upper, p));
            _mm256_storeu_pd(values.as_mut_ptr().add(at).cast(), x);
        }
    }
}

/// As the portable twin, in this machine's form of sums.
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
    let (n, strip) = (sums[0][0][0].len(), sums.len());
    let count = w.len() / strip;
    assert!(available() && n.is_multiple_of(LINE) && strip <= STRIP && w.len() == count * strip);
    assert!(sums.iter().flatten().flatten().all(|half| half.len() == n) && w.iter().all(|w| w.len() == n));
    assert!(2 * count * LINE <= stride && (n == 0 || (n / LINE - 1) * stride + 2 * count * LINE <= x.len()));
    // SAFETY: the instructions exist and the lengths are those of the contract, as asserted.
    unsafe {
        match strip {
            1 => add_outer_unchecked::<1, 0>(sums, x, stride, w, fresh),
            2 => add_outer_unchecked::<2, 0>(sums, x, stride, w, fresh),
            3 => add_outer_unchecked::<2, 1>(sums, x, stride, w, fresh),
            _ => add_outer_unchecked::<2, 2>(sums, x, stride, w, fresh),
        }
    }
}

/// For `A + B` columns of factors, of which A and B at a time have their sums in registers.
///
/// # Safety
/// The instructions exist; there are A + B sums, with as many words in each half, a multiple of a
/// line, as each factor has; `w` has A + B factors for each pair; and `x` has all pairs of every
/// line, `stride` words apart.
#[target_feature(enable = "avx2,fma")]
unsafe fn add_outer_unchecked<const A: usize, const B: usize>(
    sums: &mut [[[&mut [u64]; 2]; 2]],
    x: &[u64],
    stride: usize,
    w: &[&[u64]],
    fresh: bool,
) {
    for at in (0..sums[0][0][0].len()).step_by(4) {
        // SAFETY: by the contract of this function.
        unsafe {
            let x = x.as_ptr().add(at / LINE * stride + at % LINE);
            let strip = A + B;
            add_columns::<A>(&mut sums[..A], at, x, w, [0, strip], fresh);
            if B > 0 {
                add_columns::<B>(&mut sums[A..], at, x, w, [A, strip], fresh);
            }
        }
    }
}

/// Keeps the sums of half a line and of G columns of factors in registers while it walks over the
/// pairs.
///
/// # Safety
/// The instructions exist; there are G sums, and `at + 4` words in each half and factor; `w` has
/// `strip` factors for each pair, `first + G <= strip`, and the pairs lie at `x`, 2 lines apart.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn add_columns<const G: usize>(
    sums: &mut [[[&mut [u64]; 2]; 2]],
    at: usize,
    x: *const u64,
    w: &[&[u64]],
    [first, strip]: [usize; 2],
    fresh: bool,
) {
    let splitter = _mm256_set1_pd(SPLITTER);
    let count = (w.len() / strip) as u64;
    let offset = _mm256_set1_epi64x(SPLITTER.to_bits().wrapping_mul(count) as i64);
    // SAFETY: by the contract of this function; loads and stores are unaligned.
    unsafe {
        let mut low = [[_mm256_setzero_pd(); 2]; G];
        let mut high = [[_mm256_setzero_si256(); 2]; G];
        for g in 0..G {
            for part in 0..2 {
                let halves = &sums[g][part];
                if !fresh {
                    low[g][part] = _mm256_loadu_pd(halves[0].as_ptr().add(at).cast());
                    high[g][part] = _mm256_loadu_si256(halves[1].as_ptr().add(at).cast());
                }
                high[g][part] = _mm256_sub_epi64(high[g][part], offset);
            }
        }
        let mut pair = x;
        for w in w.chunks_exact(strip) {
            let x = [_mm256_loadu_pd(pair.cast()), _mm256_loadu_pd(pair.add(LINE).cast())];
            pair = pair.add(2 * LINE);
            for g in 0..G {
                let w = _mm256_loadu_pd(w.get_unchecked(first + g).as_ptr().add(at).cast());
                for part in 0..2 {
                    let h = _mm256_fmadd_pd(x[part], w, splitter);
                    let l = _mm256_fmadd_pd(x[part], w, _mm256_sub_pd(splitter, h));
                    low[g][part] = _mm256_add_pd(low[g][part], l);
                    high[g][part] = _mm256_add_epi64(high[g][part], _mm256_castpd_si256(h));
                }
            }
        }
        for g in 0..G {
            for part in 0..2 {
                let halves = &mut sums[g][part];
                _mm256_storeu_pd(halves[0].as_mut_ptr().add(at).cast(), low[g][part]);
                _mm256_storeu_si256(halves[1].as_mut_ptr().add(at).cast(), high[g][part]);
            }
        }
    }
}

/// As the portable twin, of this machine's form of sums of at most 4095 products: the low half is a
/// double below 2^52, the high half a signed integer of 63 bits.
pub(super) fn fold(low: &[u64], high: &[u64], modulus: Modulus, scale: Scale, out: &mut [u64]) {
    let n = out.len();
    assert!(available() && n.is_multiple_of(4) && low.len() == n && high.len() == n);
    // SAFETY: the instructions exist and every slice has n words, as asserted.
    unsafe { fold_unchecked(low, high, modulus, scale, out) }
}

/// With the high half `2^26 a + b - 2^63`, the sum is `low + 2^40 b + 2^66 (a - 2^37)`.
///
/// # Safety
/// The instructions exist; every slice has as many words as `out`, a multiple of 4.
#[target_feature(enable = "avx2,fma")]
unsafe fn fold_unchecked(low: &[u64], high: &[u64], modulus: Modulus, scale: Scale, out: &mut [u64]) {
    const BITS: i32 = 26;
    let prime = prime(modulus);
    let middle = modulus.mul_public(scale.low.w, 1 << SPLIT);
    let top = modulus.mul_public(middle, 1 << BITS);
    let [c0, c1, c2] = [scale.low.w, middle, top].map(|w| factor(modulus, w));
    let sign = _mm256_set1_epi64x(i64::MIN);
    let mask = _mm256_set1_epi64x((1 << BITS) - 1);
    let shift = _mm256_set1_pd((1u64 << (63 - BITS)) as f64);
    for at in (0..out.len()).step_by(4) {
        // SAFETY: at + 4 <= n for every slice, by the contract of this function; loads and stores
        // are unaligned.
        unsafe {
            let low = _mm256_loadu_pd(low.as_ptr().add(at).cast());
            let high = _mm256_xor_si256(_mm256_loadu_si256(high.as_ptr().add(at).cast()), sign);
            let middle = from_integers(_mm256_and_si256(high, mask));
            let top = _mm256_sub_pd(from_integers(_mm256_srli_epi64::<BITS>(high)), shift);
            let sum = _mm256_add_pd(product(low, c0, prime[0]), product(middle, c1, prime[0]));
            let sum = _mm256_add_pd(sum, product(top, c2, prime[0]));
            _mm256_storeu_si256(out.as_mut_ptr().add(at).cast(), residues(sum, prime));
        }
    }
}

/// As the portable twin.
pub(super) fn dot(pairs: &[(&[u64], &[u64])], modulus: Modulus, scale: Scale, out: &mut [u64]) {
    let n = out.len();
    assert!(available() && n.is_multiple_of(4));
    assert!(pairs.iter().all(|(x, w)| x.len() == n && w.len() == n));
    // SAFETY: the instructions exist and every slice has n words, as asserted.
    unsafe { dot_unchecked(pairs, modulus, scale, out) }
}

/// # Safety
/// The instructions exist; every slice has as many words as `out`, a multiple of 4.
#[target_feature(enable = "avx2,fma")]
unsafe fn dot_unchecked(pairs: &[(&[u64], &[u64])], modulus: Modulus, scale: Scale, out: &mut [u64]) {
    let ([p, p_inverse], c) = (prime(modulus), factor(modulus, scale.low.w));
    for at in (0..out.len()).step_by(4) {
        // SAFETY: at + 4 <= n for every slice, by the contract of this function; loads and stores
        // are unaligned.
        unsafe {
            let mut sum = _mm256_setzero_pd();
            for (i, (x, w)) in pairs.iter().enumerate() {
                let x = from_integers(_mm256_loadu_si256(x.as_ptr().add(at).cast()));
                let w = from_integers(_mm256_loadu_si256(w.as_ptr().add(at).cast()));
                sum = _mm256_add_pd(sum, reduced_product(x, w, [p, p_inverse]));
                // Sums stay below 2^50.
                if i % 32 == 31 {
                    sum = reduce(sum, [p, p_inverse]);
                }
            }
            let value = residues(product(sum, c, p), [p, p_inverse]);
            _mm256_storeu_si256(out.as_mut_ptr().add(at).cast(), value);
        }
    }
}

/// As the portable twin.
pub(super) fn combine(
    pairs: &[(&[u64], &[u64])],
    minus: Option<&[u64]>,
    modulus: Modulus,
    scale: Scale,
    add: bool,
    out: &mut [u64],
) {
    let n = out.len();
    assert!(available() && n.is_multiple_of(4) && minus.is_none_or(|minus| minus.len() == n));
    assert!(pairs.iter().all(|(x, w)| x.len() == n && w.len() == n));
    // SAFETY: the instructions exist and every slice has n words, as asserted.
    unsafe { combine_unchecked(pairs, minus, modulus, scale, add, out) }
}

/// # Safety
/// The instructions exist; every slice has as many words as `out`, a multiple of 4.
#[target_feature(enable = "avx2,fma")]
unsafe fn combine_unchecked(
    pairs: &[(&[u64], &[u64])],
    minus: Option<&[u64]>,
    modulus: Modulus,
    scale: Scale,
    add: bool,
    out: &mut [u64],
) {
    let ([p, p_inverse], c) = (prime(modulus), factor(modulus, scale.low.w));
    for at in (0..out.len()).step_by(4) {
        // SAFETY: at + 4 <= n for every slice, by the contract of this function; loads and stores
        // are unaligned.
        unsafe {
            let load = |from: &[u64]| _mm256_loadu_pd(from.as_ptr().add(at).cast());
            let mut sum = _mm256_setzero_pd();
            if let Some(minus) = minus {
                sum = _mm256_sub_pd(sum, load(minus));
            }
            for (x, w) in pairs {
                sum = _mm256_add_pd(sum, reduced_product(load(x), load(w), [p, p_inverse]));
            }
            let mut value = product(sum, c, p);
            if add {
                value = _mm256_add_pd(value, from_integers(_mm256_loadu_si256(out.as_ptr().add(at).cast())));
            }
            _mm256_storeu_si256(out.as_mut_ptr().add(at).cast(), residues(value, [p, p_inverse]));
        }
    }
}

/// As the portable twin.
pub(super) fn twisted_sums(e: &mut [u64], o: &[u64], w: &[u64], difference: &mut [u64], modulus: Modulus) {
    let n = e.len();
    assert!(available() && n.is_multiple_of(4) && [o.len(), w.len(), difference.len()] == [n; 3]);
    // SAFETY: the instructions exist and every slice has n words, as asserted.
    unsafe { twisted_sums_unchecked(e, o, w, difference, modulus) }
}

/// # Safety
/// The instructions exist; every slice has as many words as `e`, a multiple of 4.
#[target_feature(enable = "avx2,fma")]
unsafe fn twisted_sums_unchecked(
    e: &mut [u64],
    o: &[u64],
    w: &[u64],
    difference: &mut [u64],
    modulus: Modulus,
) {
    let prime = prime(modulus);
    for at in (0..e.len()).step_by(4) {
        // SAFETY: at + 4 <= n for every slice, by the contract of this function; loads and stores
        // are unaligned.
        unsafe {
            let first = from_integers(_mm256_loadu_si256(e.as_ptr().add(at).cast()));
            let o = from_integers(_mm256_loadu_si256(o.as_ptr().add(at).cast()));
            let second = reduced_product(o, _mm256_loadu_pd(w.as_ptr().add(at).cast()), prime);
            let sum = residues(_mm256_add_pd(first, second), prime);
            let rest = residues(_mm256_sub_pd(first, second), prime);
            _mm256_storeu_si256(e.as_mut_ptr().add(at).cast(), sum);
            _mm256_storeu_si256(difference.as_mut_ptr().add(at).cast(), rest);
        }
    }
}

/// As the portable twin.
pub(super) fn subtract_lifted(x: &mut [u64], rest: &[u64], from: Modulus, to: Modulus, c: Shoup) {
    let n = x.len();
    assert!(available() && n.is_multiple_of(4) && rest.len() == n);
    // SAFETY: the instructions exist and both slices have n words, as asserted.
    unsafe { subtract_lifted_unchecked(x, rest, from, to, c) }
}

/// # Safety
/// The instructions exist; both slices have equally many words, a multiple of 4.
#[target_feature(enable = "avx2,fma")]
unsafe fn subtract_lifted_unchecked(x: &mut [u64], rest: &[u64], from: Modulus, to: Modulus, c: Shoup) {
    let (to_prime, c) = (prime(to), factor(to, c.w));
    let (from_p, half) = (_mm256_set1_pd(from.p() as f64), _mm256_set1_pd((from.p() / 2) as f64));
    for at in (0..x.len()).step_by(4) {
        // SAFETY: at + 4 <= n for both slices, by the contract of this function; loads and stores
        // are unaligned.
        unsafe {
            let rest = from_integers(_mm256_loadu_si256(rest.as_ptr().add(at).cast()));
            let upper = _mm256_cmp_pd::<_CMP_GT_OQ>(rest, half);
            let lifted = _mm256_sub_pd(rest, _mm256_and_pd(upper, from_p));
            let value = from_integers(_mm256_loadu_si256(x.as_ptr().add(at).cast()));
            let difference = _mm256_sub_pd(value, product(lifted, c, to_prime[0]));
            _mm256_storeu_si256(x.as_mut_ptr().add(at).cast(), residues(difference, to_prime));
        }
    }
}
