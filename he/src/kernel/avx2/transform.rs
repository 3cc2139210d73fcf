//! The negacyclic transform of degree 8192 for primes below 2^45, in double precision with fused
//! multiply-add.
//!
//! A residue is held as an integer of absolute value below 2^53. With `w' = w / p` rounded, the
//! product of b and w is `h + l`, h rounded and l its exact error (two fused operations), and
//! `h - round(b w') p + l` is congruent to b w: both operations are exact, because the result and l
//! are integers below 2^47. The quotient is off by at most `|b| 2^-53`, so for `|b| < 2^51` the
//! result is below 0.75 p.
//!
//! Forward, the thirteen layers add at most 0.75 p each: inputs below p stay below 11 p. Inverse,
//! sums double in each layer; bounds stand beside the passes.

// Indices are those of the transform's definition.
#![allow(clippy::needless_range_loop)]

use super::{available, from_integers, product, reduce, residues};
use crate::modulus::Modulus;
use crate::ntt::NttBackend;
use std::arch::x86_64::*;

/// Degree served.
const N: usize = 8192;

/// Slots of one innermost block.
const BLOCK: usize = 1024;

/// Tables of one prime.
pub(crate) struct Transform {
    p: f64,
    p_inverse: f64,
    forward: Table,
    inverse: Table,
}

/// Powers of a root, centred, and their quotients by p.
struct Table {
    /// Pairs (w, w / p) by index m + i: the i-th of the m blocks of a layer.
    pairs: Vec<[f64; 2]>,
    /// For each 16 slots: four values each of w and w / p for stride 2, then twice that for stride
    /// 1.
    lanes: Vec<[[f64; 4]; 6]>,
}

impl Table {
    fn new(p: u64, root: u64) -> Self {
        let mul = |a: u64, b: u64| (u128::from(a) * u128::from(b) % u128::from(p)) as u64;
        let mut powers = vec![1u64; N];
        for i in 1..N {
            powers[i] = mul(powers[i - 1], root);
        }
        let pair = |w: u64| {
            let w = if w > p / 2 { w as f64 - p as f64 } else { w as f64 };
            [w, w / p as f64]
        };
        let reversed = |i: usize| i.reverse_bits() >> (usize::BITS - N.ilog2());
        let pairs: Vec<[f64; 2]> = (0..N).map(|i| pair(powers[reversed(i)])).collect();
        let gather =
            |first: usize, step: usize, half: usize| std::array::from_fn(|i| pairs[first + step * i][half]);
        let lanes = (0..N / 16).map(|c| {
            let (two, one) = (N / 4 + 4 * c, N / 2 + 8 * c);
            [
                gather(two, 1, 0),
                gather(two, 1, 1),
                gather(one, 2, 0),
                gather(one, 2, 1),
                gather(one + 1, 2, 0),
                gather(one + 1, 2, 1),
            ]
        });
        let lanes = lanes.collect();
        Self { pairs, lanes }
    }
}

impl Transform {
    /// For a prime below 2^45 and a root of X^N + 1 modulo it; nothing for other degrees, or if the
    /// machine lacks the instructions.
    pub(crate) fn new(degree: usize, p: u64, [root, root_inverse]: [u64; 2]) -> Option<Self> {
        (degree == N && p < 1 << 45 && available()).then(|| Self {
            p: p as f64,
            p_inverse: 1.0 / p as f64,
            forward: Table::new(p, root),
            inverse: Table::new(p, root_inverse),
        })
    }
}

impl NttBackend for Transform {
    fn forward(&self, values: &mut [u64]) {
        assert!(values.len() == N && available());
        // SAFETY: the instructions exist; N words.
        unsafe { forward_unchecked::<false, true>(self, values.as_ptr().cast(), values.as_mut_ptr().cast()) }
    }

    fn inverse(&self, values: &mut [u64]) {
        assert!(values.len() == N && available());
        // SAFETY: as above.
        unsafe { inverse_unchecked(self, values.as_mut_ptr().cast()) }
    }

    /// Slots below 11 p, as doubles.
    fn forward_to_factors(&self, _: Modulus, values: &mut [u64]) {
        assert!(values.len() == N && available());
        // SAFETY: as above.
        unsafe { forward_unchecked::<false, false>(self, values.as_ptr().cast(), values.as_mut_ptr().cast()) }
    }

    /// Slots below 11 p, as doubles.
    fn integers_to_factors(&self, _: Modulus, from: &[i32], out: &mut [u64]) {
        assert!(from.len() == N && out.len() == N && available());
        // SAFETY: as above.
        unsafe { forward_unchecked::<true, false>(self, from.as_ptr().cast(), out.as_mut_ptr().cast()) }
    }
}

/// (a, b) <- (a + b w, a - b w).
#[inline]
#[target_feature(enable = "avx2,fma")]
fn forward_butterfly<const K: usize>(v: &mut [__m256d; K], [a, b]: [usize; 2], w: [__m256d; 2], p: __m256d) {
    let t = product(v[b], w, p);
    v[b] = _mm256_sub_pd(v[a], t);
    v[a] = _mm256_add_pd(v[a], t);
}

/// (a, b) <- (a + b, (a - b) w).
#[inline]
#[target_feature(enable = "avx2,fma")]
fn inverse_butterfly<const K: usize>(v: &mut [__m256d; K], [a, b]: [usize; 2], w: [__m256d; 2], p: __m256d) {
    let difference = _mm256_sub_pd(v[a], v[b]);
    v[a] = _mm256_add_pd(v[a], v[b]);
    v[b] = product(difference, w, p);
}

/// Rows of a 4 x 4 table become columns.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn transposed(v: [__m256d; 4]) -> [__m256d; 4] {
    let a = [_mm256_unpacklo_pd(v[0], v[1]), _mm256_unpackhi_pd(v[0], v[1])];
    let b = [_mm256_unpacklo_pd(v[2], v[3]), _mm256_unpackhi_pd(v[2], v[3])];
    [
        _mm256_permute2f128_pd::<0x20>(a[0], b[0]),
        _mm256_permute2f128_pd::<0x20>(a[1], b[1]),
        _mm256_permute2f128_pd::<0x31>(a[0], b[0]),
        _mm256_permute2f128_pd::<0x31>(a[1], b[1]),
    ]
}

/// The pair at this index, in all lanes.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn broadcast(table: &Table, index: usize) -> [__m256d; 2] {
    // SAFETY: the caller's index is below N.
    let [w, quotient] = unsafe { *table.pairs.get_unchecked(index) };
    [_mm256_set1_pd(w), _mm256_set1_pd(quotient)]
}

/// Two pairs of vectors of one innermost block: stride 2, then the two of stride 1.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn lanes(table: &Table, block: usize) -> [[__m256d; 2]; 3] {
    // SAFETY: the caller's block is below N / 16.
    let rows = unsafe { table.lanes.get_unchecked(block) };
    let load = |i: usize| {
        // SAFETY: four doubles.
        unsafe { _mm256_loadu_pd(rows[i].as_ptr()) }
    };
    [[load(0), load(1)], [load(2), load(3)], [load(4), load(5)]]
}

/// Three layers on eight vectors, `stride` values apart; `first` is the index of the first pair.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn forward_three(v: &mut [__m256d; 8], table: &Table, first: usize, p: __m256d) {
    // SAFETY: the caller's index belongs to a layer of at most N / 8 blocks.
    unsafe {
        let w = broadcast(table, first);
        for j in 0..4 {
            forward_butterfly(v, [j, j + 4], w, p);
        }
        for b in 0..2 {
            let w = broadcast(table, 2 * first + b);
            for j in 0..2 {
                forward_butterfly(v, [4 * b + j, 4 * b + j + 2], w, p);
            }
        }
        for b in 0..4 {
            forward_butterfly(v, [2 * b, 2 * b + 1], broadcast(table, 4 * first + b), p);
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn inverse_three(v: &mut [__m256d; 8], table: &Table, first: usize, p: __m256d) {
    // SAFETY: as for `forward_three`.
    unsafe {
        for b in 0..4 {
            inverse_butterfly(v, [2 * b, 2 * b + 1], broadcast(table, 4 * first + b), p);
        }
        for b in 0..2 {
            let w = broadcast(table, 2 * first + b);
            for j in 0..2 {
                inverse_butterfly(v, [4 * b + j, 4 * b + j + 2], w, p);
            }
        }
        let w = broadcast(table, first);
        for j in 0..4 {
            inverse_butterfly(v, [j, j + 4], w, p);
        }
    }
}

/// # Safety
/// The instructions exist; `from` has N residues, or N 32-bit integers where `SMALL`; `x` has N
/// words and is `from` or does not overlap it.
#[target_feature(enable = "avx2,fma")]
unsafe fn forward_unchecked<const SMALL: bool, const REDUCE: bool>(
    t: &Transform,
    from: *const f64,
    x: *mut f64,
) {
    let (p, p_inverse, table) = (_mm256_set1_pd(t.p), _mm256_set1_pd(t.p_inverse), &t.forward);
    // SAFETY: all offsets are below N, and all indices below the lengths of the tables.
    unsafe {
        // Strides 4096, 2048, 1024.
        for at in (0..BLOCK).step_by(4) {
            let mut v: [__m256d; 8] = std::array::from_fn(|j| {
                let at = j * BLOCK + at;
                if SMALL {
                    _mm256_cvtepi32_pd(_mm_loadu_si128(from.cast::<i32>().add(at).cast()))
                } else {
                    from_integers(_mm256_loadu_si256(from.add(at).cast()))
                }
            });
            forward_three(&mut v, table, 1, p);
            for j in 0..8 {
                _mm256_storeu_pd(x.add(j * BLOCK + at), v[j]);
            }
        }
        for block in 0..N / BLOCK {
            let x = x.add(block * BLOCK);
            // Strides 512, 256, 128, then 64, 32, 16.
            for (stride, parts) in [(128, 1), (16, 8)] {
                for part in 0..parts {
                    let x = x.add(part * 8 * stride);
                    for at in (0..stride).step_by(4) {
                        let mut v: [__m256d; 8] =
                            std::array::from_fn(|j| _mm256_loadu_pd(x.add(j * stride + at)));
                        forward_three(&mut v, table, parts * (8 + block) + part, p);
                        for j in 0..8 {
                            _mm256_storeu_pd(x.add(j * stride + at), v[j]);
                        }
                    }
                }
            }
            // Strides 8, 4, 2, 1.
            for c in 0..BLOCK / 16 {
                let (x, c) = (x.add(16 * c), block * BLOCK / 16 + c);
                let mut v: [__m256d; 4] = std::array::from_fn(|j| _mm256_loadu_pd(x.add(4 * j)));
                let w = broadcast(table, N / 16 + c);
                forward_butterfly(&mut v, [0, 2], w, p);
                forward_butterfly(&mut v, [1, 3], w, p);
                forward_butterfly(&mut v, [0, 1], broadcast(table, N / 8 + 2 * c), p);
                forward_butterfly(&mut v, [2, 3], broadcast(table, N / 8 + 2 * c + 1), p);
                v = transposed(v);
                let [two, first, second] = lanes(table, c);
                forward_butterfly(&mut v, [0, 2], two, p);
                forward_butterfly(&mut v, [1, 3], two, p);
                forward_butterfly(&mut v, [0, 1], first, p);
                forward_butterfly(&mut v, [2, 3], second, p);
                v = transposed(v);
                for j in 0..4 {
                    if REDUCE {
                        _mm256_storeu_si256(x.add(4 * j).cast(), residues(v[j], [p, p_inverse]));
                    } else {
                        _mm256_storeu_pd(x.add(4 * j), v[j]);
                    }
                }
            }
        }
    }
}

/// # Safety
/// The instructions exist; `x` has N residues.
#[target_feature(enable = "avx2,fma")]
unsafe fn inverse_unchecked(t: &Transform, x: *mut f64) {
    let (p, p_inverse, table) = (_mm256_set1_pd(t.p), _mm256_set1_pd(t.p_inverse), &t.inverse);
    // SAFETY: all offsets are below N, and all indices below the lengths of the tables.
    unsafe {
        for block in 0..N / BLOCK {
            let x = x.add(block * BLOCK);
            // Strides 1, 2, 4, 8: only the first vector's values, sums of up to 16, exceed 1.5 p.
            for c in 0..BLOCK / 16 {
                let (x, c) = (x.add(16 * c), block * BLOCK / 16 + c);
                let mut v: [__m256d; 4] =
                    std::array::from_fn(|j| from_integers(_mm256_loadu_si256(x.add(4 * j).cast())));
                v = transposed(v);
                let [two, first, second] = lanes(table, c);
                inverse_butterfly(&mut v, [0, 1], first, p);
                inverse_butterfly(&mut v, [2, 3], second, p);
                inverse_butterfly(&mut v, [0, 2], two, p);
                inverse_butterfly(&mut v, [1, 3], two, p);
                v = transposed(v);
                inverse_butterfly(&mut v, [0, 1], broadcast(table, N / 8 + 2 * c), p);
                inverse_butterfly(&mut v, [2, 3], broadcast(table, N / 8 + 2 * c + 1), p);
                let w = broadcast(table, N / 16 + c);
                inverse_butterfly(&mut v, [0, 2], w, p);
                inverse_butterfly(&mut v, [1, 3], w, p);
                v[0] = reduce(v[0], [p, p_inverse]);
                for j in 0..4 {
                    _mm256_storeu_pd(x.add(4 * j), v[j]);
                }
            }
            // Strides 16, 32, 64, then 128, 256, 512: below 12 p, then 96 p.
            for (stride, parts) in [(16, 8), (128, 1)] {
                for part in 0..parts {
                    let x = x.add(part * 8 * stride);
                    for at in (0..stride).step_by(4) {
                        let mut v: [__m256d; 8] =
                            std::array::from_fn(|j| _mm256_loadu_pd(x.add(j * stride + at)));
                        inverse_three(&mut v, table, parts * (8 + block) + part, p);
                        for j in 0..8 {
                            _mm256_storeu_pd(x.add(j * stride + at), v[j]);
                        }
                    }
                }
            }
        }
        // Strides 1024, 2048, 4096.
        for at in (0..BLOCK).step_by(4) {
            let mut v: [__m256d; 8] =
                std::array::from_fn(|j| reduce(_mm256_loadu_pd(x.add(j * BLOCK + at)), [p, p_inverse]));
            inverse_three(&mut v, table, 1, p);
            for j in 0..8 {
                _mm256_storeu_si256(x.add(j * BLOCK + at).cast(), residues(v[j], [p, p_inverse]));
            }
        }
    }
}
