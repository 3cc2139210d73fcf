//! The negacyclic transform of degree 8192 for primes below 2^46, with 52-bit multiply-add.
//!
//! With `c = w 2^52 mod p` and `c' = c / p mod 2^52`, the Montgomery product of z and w is
//! `hi(z c) - hi(q p)`, `q = lo(z c')`, in (-p, p) for z < 2^52. Forward, values start 14 p higher
//! and change by less than p in each of the thirteen layers, so they stay in (0, 28 p) without a
//! reduction. Inverse, sums double in each layer; they are reduced between passes.

// Indices are those of the transform's definition.
#![allow(clippy::needless_range_loop)]

use super::available;
use crate::modulus::Modulus;
use crate::ntt::NttBackend;
use std::arch::x86_64::*;

/// Degree served.
const N: usize = 8192;

/// Slots of one block after the first pass.
const BLOCK: usize = 1024;

/// Tables of one prime.
pub(crate) struct Transform {
    p: u64,
    /// floor(2^52 / p).
    barrett: u64,
    forward: Table,
    inverse: Table,
}

/// Powers of a root as Montgomery factors.
struct Table {
    /// Pairs (c, c') by index m + i: the i-th of the m blocks of a layer.
    pairs: Vec<[u64; 2]>,
    /// For each 64 slots, eight values each of c and c': stride 4, stride 2 (two), stride 1 (four).
    lanes: Vec<[[u64; 8]; 14]>,
}

impl Table {
    fn new(p: u64, root: u64) -> Self {
        let mul = |a: u64, b: u64| (u128::from(a) * u128::from(b) % u128::from(p)) as u64;
        let mut powers = vec![1u64; N];
        for i in 1..N {
            powers[i] = mul(powers[i - 1], root);
        }
        // Newton's iteration: the inverse of p modulo 2^64.
        let p_inverse = (0..6).fold(1u64, |x, _| x.wrapping_mul(2u64.wrapping_sub(p.wrapping_mul(x))));
        let pair = |w: u64| {
            let c = ((u128::from(w) << 52) % u128::from(p)) as u64;
            [c, c.wrapping_mul(p_inverse) & ((1 << 52) - 1)]
        };
        let reversed = |i: usize| i.reverse_bits() >> (usize::BITS - N.ilog2());
        let pairs: Vec<[u64; 2]> = (0..N).map(|i| pair(powers[reversed(i)])).collect();
        let lanes = (0..N / 64).map(|c| {
            let mut rows = [[0; 8]; 14];
            let vectors = [(N / 8, 1), (N / 4, 2), (N / 2, 4)];
            let each =
                vectors.into_iter().flat_map(|(first, count)| (0..count).map(move |s| (first, count, s)));
            for (at, (first, count, s)) in each.enumerate() {
                for half in 0..2 {
                    rows[2 * at + half] =
                        std::array::from_fn(|lane| pairs[first + count * (8 * c + lane) + s][half]);
                }
            }
            rows
        });
        let lanes = lanes.collect();
        Self { pairs, lanes }
    }
}

impl Transform {
    /// For a prime below 2^46, a root of X^N + 1 modulo it and its inverse; nothing for other
    /// degrees, or if the machine lacks the instructions.
    pub(crate) fn new(degree: usize, p: u64, [root, root_inverse]: [u64; 2]) -> Option<Self> {
        (degree == N && p < 1 << 46 && available()).then(|| Self {
            p,
            barrett: (1 << 52) / p,
            forward: Table::new(p, root),
            inverse: Table::new(p, root_inverse),
        })
    }
}

impl NttBackend for Transform {
    fn forward(&self, values: &mut [u64]) {
        assert!(values.len() == N && available());
        // SAFETY: the instructions exist; N words.
        unsafe { forward_unchecked::<false, true>(self, values.as_ptr(), values.as_mut_ptr()) }
    }

    fn inverse(&self, values: &mut [u64]) {
        assert!(values.len() == N && available());
        // SAFETY: as above.
        unsafe { inverse_unchecked(self, values.as_mut_ptr()) }
    }

    /// Slots below 28 p.
    fn forward_to_factors(&self, _: Modulus, values: &mut [u64]) {
        assert!(values.len() == N && available());
        // SAFETY: as above.
        unsafe { forward_unchecked::<false, false>(self, values.as_ptr(), values.as_mut_ptr()) }
    }

    /// Slots below 28 p.
    fn integers_to_factors(&self, _: Modulus, from: &[i32], out: &mut [u64]) {
        assert!(from.len() == N && out.len() == N && available());
        // SAFETY: as above.
        unsafe { forward_unchecked::<true, false>(self, from.as_ptr().cast(), out.as_mut_ptr()) }
    }
}

type Vector = __m512i;

#[inline]
#[target_feature(enable = "avx512f")]
fn all(x: u64) -> Vector {
    _mm512_set1_epi64(x as i64)
}

/// x modulo p, below 2 p.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn reduce(x: Vector, p: Vector, barrett: Vector) -> Vector {
    let zero = _mm512_setzero_si512();
    let q = _mm512_madd52hi_epu64(zero, x, barrett);
    _mm512_sub_epi64(x, _mm512_madd52lo_epu64(zero, q, p))
}

/// x or x - p, whichever does not wrap.
#[inline]
#[target_feature(enable = "avx512f")]
fn reduce_once(x: Vector, p: Vector) -> Vector {
    _mm512_min_epu64(x, _mm512_sub_epi64(x, p))
}

/// (a, b) <- (a + b w, a - b w), each changed by less than p.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn forward_butterfly<const K: usize>(
    v: &mut [Vector; K],
    a: usize,
    b: usize,
    [c, c1]: [Vector; 2],
    p: Vector,
) {
    let zero = _mm512_setzero_si512();
    let q = _mm512_madd52lo_epu64(zero, v[b], c1);
    let sum = _mm512_madd52hi_epu64(v[a], v[b], c);
    let multiple = _mm512_madd52hi_epu64(zero, q, p);
    let twice = _mm512_add_epi64(v[a], v[a]);
    v[a] = _mm512_sub_epi64(sum, multiple);
    v[b] = _mm512_sub_epi64(twice, v[a]);
}

/// (a, b) <- (a + b, (a - b) w), the latter in (0, 2 p); b is at most `bound`, a multiple of p.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn inverse_butterfly<const K: usize>(
    v: &mut [Vector; K],
    a: usize,
    b: usize,
    [c, c1]: [Vector; 2],
    p: Vector,
    bound: Vector,
) {
    let zero = _mm512_setzero_si512();
    let difference = _mm512_sub_epi64(_mm512_add_epi64(v[a], bound), v[b]);
    v[a] = _mm512_add_epi64(v[a], v[b]);
    let q = _mm512_madd52lo_epu64(zero, difference, c1);
    let product = _mm512_madd52hi_epu64(p, difference, c);
    v[b] = _mm512_sub_epi64(product, _mm512_madd52hi_epu64(zero, q, p));
}

/// Rows of an 8 x 8 table become columns.
#[inline]
#[target_feature(enable = "avx512f")]
fn transposed(v: [Vector; 8]) -> [Vector; 8] {
    // a[2 k + e]: of rows 2 k and 2 k + 1 the columns e, e + 2, e + 4, e + 6.
    let a: [Vector; 8] = std::array::from_fn(|i| {
        let (first, second) = (v[i / 2 * 2], v[i / 2 * 2 + 1]);
        match i % 2 {
            0 => _mm512_unpacklo_epi64(first, second),
            _ => _mm512_unpackhi_epi64(first, second),
        }
    });
    let low = _mm512_set_epi64(13, 12, 5, 4, 9, 8, 1, 0);
    let high = _mm512_set_epi64(15, 14, 7, 6, 11, 10, 3, 2);
    let mut b = [_mm512_setzero_si512(); 8];
    for e in 0..2 {
        // Columns e and e + 4, then e + 2 and e + 6, of four rows.
        b[e] = _mm512_permutex2var_epi64(a[e], low, a[2 + e]);
        b[2 + e] = _mm512_permutex2var_epi64(a[e], high, a[2 + e]);
        b[4 + e] = _mm512_permutex2var_epi64(a[4 + e], low, a[6 + e]);
        b[6 + e] = _mm512_permutex2var_epi64(a[4 + e], high, a[6 + e]);
    }
    std::array::from_fn(|e| match e {
        0..4 => _mm512_shuffle_i64x2::<0x44>(b[e], b[4 + e]),
        _ => _mm512_shuffle_i64x2::<0xee>(b[e - 4], b[e]),
    })
}

/// The pair at this index, in all lanes.
///
/// # Safety
/// The index is below N.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn broadcast(table: &Table, index: usize) -> [Vector; 2] {
    // SAFETY: the table has N pairs.
    let [c, c1] = unsafe { *table.pairs.get_unchecked(index) };
    [all(c), all(c1)]
}

/// The i-th pair of vectors of the 64 slots `block`.
///
/// # Safety
/// The block is below N / 64, i below 7.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn lanes(table: &Table, block: usize, i: usize) -> [Vector; 2] {
    // SAFETY: the table has N / 64 blocks of 14 rows of eight words.
    unsafe {
        let rows = table.lanes.get_unchecked(block);
        [_mm512_loadu_si512(rows[2 * i].as_ptr().cast()), _mm512_loadu_si512(rows[2 * i + 1].as_ptr().cast())]
    }
}

/// # Safety
/// The instructions exist; `from` has N residues, or N 32-bit integers if `SMALL`; `x` has N words,
/// and is `from` or does not overlap it.
#[target_feature(enable = "avx512f,avx512ifma,avx512dq,avx512vl")]
unsafe fn forward_unchecked<const SMALL: bool, const REDUCE: bool>(
    t: &Transform,
    from: *const u64,
    x: *mut u64,
) {
    let (p, offset, barrett, table) = (all(t.p), all(14 * t.p), all(t.barrett), &t.forward);
    // SAFETY: all offsets are below N, and all indices below the lengths of the tables.
    unsafe {
        // Strides 4096, 2048, 1024.
        for at in (0..BLOCK).step_by(8) {
            let mut v: [Vector; 8] = std::array::from_fn(|j| {
                let at = j * BLOCK + at;
                let value = if SMALL {
                    _mm512_cvtepi32_epi64(_mm256_loadu_si256(from.cast::<i32>().add(at).cast()))
                } else {
                    _mm512_loadu_si512(from.add(at).cast())
                };
                _mm512_add_epi64(value, offset)
            });
            forward_three(&mut v, table, 1, p);
            for j in 0..8 {
                _mm512_storeu_si512(x.add(j * BLOCK + at).cast(), v[j]);
            }
        }
        for block in 0..N / BLOCK {
            // Strides 512, 256, 128, 64.
            for at in (0..64).step_by(8) {
                let y = x.add(block * BLOCK + at);
                let mut v: [Vector; 16] = std::array::from_fn(|j| _mm512_loadu_si512(y.add(j * 64).cast()));
                let mut half = 8;
                for layer in 0..4 {
                    for i in 0..1 << layer {
                        let w = broadcast(table, ((8 + block) << layer) + i);
                        for j in 0..half {
                            forward_butterfly(&mut v, 2 * half * i + j, 2 * half * i + j + half, w, p);
                        }
                    }
                    half /= 2;
                }
                for j in 0..16 {
                    _mm512_storeu_si512(y.add(j * 64).cast(), v[j]);
                }
            }
            // Strides 32 .. 1.
            for c in 16 * block..16 * block + 16 {
                let y = x.add(c * 64);
                let mut v: [Vector; 8] = std::array::from_fn(|j| _mm512_loadu_si512(y.add(j * 8).cast()));
                forward_three(&mut v, table, N / 64 + c, p);
                v = transposed(v);
                let w = lanes(table, c, 0);
                for j in 0..4 {
                    forward_butterfly(&mut v, j, j + 4, w, p);
                }
                for i in 0..2 {
                    let w = lanes(table, c, 1 + i);
                    for j in 0..2 {
                        forward_butterfly(&mut v, 4 * i + j, 4 * i + j + 2, w, p);
                    }
                }
                for i in 0..4 {
                    forward_butterfly(&mut v, 2 * i, 2 * i + 1, lanes(table, c, 3 + i), p);
                }
                if REDUCE {
                    for j in 0..8 {
                        v[j] = reduce_once(reduce(v[j], p, barrett), p);
                    }
                }
                v = transposed(v);
                for j in 0..8 {
                    _mm512_storeu_si512(y.add(j * 8).cast(), v[j]);
                }
            }
        }
    }
}

/// Three layers on eight vectors; `first` is the index of the first pair.
///
/// # Safety
/// The instructions exist, and the index is one of a layer of at most N / 8 blocks.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn forward_three(v: &mut [Vector; 8], table: &Table, first: usize, p: Vector) {
    // SAFETY: the indices are below N.
    unsafe {
        let w = broadcast(table, first);
        for j in 0..4 {
            forward_butterfly(v, j, j + 4, w, p);
        }
        for b in 0..2 {
            let w = broadcast(table, 2 * first + b);
            for j in 0..2 {
                forward_butterfly(v, 4 * b + j, 4 * b + j + 2, w, p);
            }
        }
        for b in 0..4 {
            forward_butterfly(v, 2 * b, 2 * b + 1, broadcast(table, 4 * first + b), p);
        }
    }
}

/// Three layers on eight vectors of values at most `bound`, a multiple of p; out at most 8 bounds.
///
/// # Safety
/// As for [`forward_three`].
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
unsafe fn inverse_three(v: &mut [Vector; 8], table: &Table, first: usize, p: Vector, bound: Vector) {
    // SAFETY: the indices are below N.
    unsafe {
        for b in 0..4 {
            inverse_butterfly(v, 2 * b, 2 * b + 1, broadcast(table, 4 * first + b), p, bound);
        }
        let bound = _mm512_add_epi64(bound, bound);
        for b in 0..2 {
            let w = broadcast(table, 2 * first + b);
            for j in 0..2 {
                inverse_butterfly(v, 4 * b + j, 4 * b + j + 2, w, p, bound);
            }
        }
        let bound = _mm512_add_epi64(bound, bound);
        let w = broadcast(table, first);
        for j in 0..4 {
            inverse_butterfly(v, j, j + 4, w, p, bound);
        }
    }
}

/// # Safety
/// The instructions exist; `x` has N residues.
#[target_feature(enable = "avx512f,avx512ifma,avx512dq,avx512vl")]
unsafe fn inverse_unchecked(t: &Transform, x: *mut u64) {
    let (p, barrett, table) = (all(t.p), all(t.barrett), &t.inverse);
    let twice = all(2 * t.p);
    // SAFETY: all offsets are below N, and all indices below the lengths of the tables.
    unsafe {
        for block in 0..N / BLOCK {
            // Strides 1 .. 32: values of at most 2^6 p.
            for c in 16 * block..16 * block + 16 {
                let y = x.add(c * 64);
                let mut v: [Vector; 8] = std::array::from_fn(|j| _mm512_loadu_si512(y.add(j * 8).cast()));
                v = transposed(v);
                // The second of a pair is below 2 p after its layer, whatever it was before.
                for i in 0..4 {
                    inverse_butterfly(&mut v, 2 * i, 2 * i + 1, lanes(table, c, 3 + i), p, p);
                }
                let bound = twice;
                for i in 0..2 {
                    let w = lanes(table, c, 1 + i);
                    for j in 0..2 {
                        inverse_butterfly(&mut v, 4 * i + j, 4 * i + j + 2, w, p, bound);
                    }
                }
                let bound = _mm512_add_epi64(bound, bound);
                let w = lanes(table, c, 0);
                for j in 0..4 {
                    inverse_butterfly(&mut v, j, j + 4, w, p, bound);
                }
                v = transposed(v);
                inverse_three(&mut v, table, N / 64 + c, p, _mm512_add_epi64(bound, bound));
                for j in 0..8 {
                    _mm512_storeu_si512(y.add(j * 8).cast(), reduce(v[j], p, barrett));
                }
            }
            // Strides 64 .. 512: from 2 p to 32 p.
            for at in (0..64).step_by(8) {
                let y = x.add(block * BLOCK + at);
                let mut v: [Vector; 16] = std::array::from_fn(|j| _mm512_loadu_si512(y.add(j * 64).cast()));
                let (mut bound, mut half) = (twice, 1);
                for layer in (0..4).rev() {
                    for i in 0..1 << layer {
                        let w = broadcast(table, ((8 + block) << layer) + i);
                        for j in 0..half {
                            let (a, b) = (2 * half * i + j, 2 * half * i + j + half);
                            inverse_butterfly(&mut v, a, b, w, p, bound);
                        }
                    }
                    bound = _mm512_add_epi64(bound, bound);
                    half *= 2;
                }
                for j in 0..16 {
                    _mm512_storeu_si512(y.add(j * 64).cast(), v[j]);
                }
            }
        }
        // Strides 1024, 2048, 4096.
        for at in (0..BLOCK).step_by(8) {
            let mut v: [Vector; 8] =
                std::array::from_fn(|j| reduce(_mm512_loadu_si512(x.add(j * BLOCK + at).cast()), p, barrett));
            inverse_three(&mut v, table, 1, p, twice);
            for j in 0..8 {
                let value = reduce_once(reduce(v[j], p, barrett), p);
                _mm512_storeu_si512(x.add(j * BLOCK + at).cast(), value);
            }
        }
    }
}
