//! The inner loops without a cipher, with 256-bit registers: AVX2, PCLMUL.
//!
//! Vectors that do not fill a register, and loops that such registers do not speed up, use the
//! portable twin.

use std::arch::x86_64::*;

use zeroize::Zeroizing;

use super::{
    portable,
    types::{Correction, LANE, Place},
};
use crate::block::Block;

/// Words in a register.
const WORDS: usize = 4;
/// Blocks in a register.
const PACK: usize = 2;

/// Whether this machine has the instructions.
#[inline]
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("pclmulqdq")
        && is_x86_feature_detected!("popcnt")
}

/// A safe function of this name that asserts the instructions and calls the one in [`wide`].
macro_rules! checked {
    ($($name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => {$(
        /// As the portable twin.
        pub(super) fn $name($($argument: $type),*) $(-> $result)? {
            assert!(available(), "the kernel's instructions");
            // SAFETY: the instructions exist, as asserted.
            unsafe { wide::$name($($argument),*) }
        }
    )*};
}

checked! {
    clear_low_bits(blocks: &mut [Block], correction: Option<Correction>);
    low_bits(blocks: &[Block], out: &mut [u8]);
    add_where(blocks: &mut [Block], bits: &[u8], delta: Block);
    transpose(rows: &mut [[u64; 8]; 64]);
    value(place: &Place, v: &[Block]) -> Block;
    value_of_words(place: &Place, v: &[u64]) -> Block;
    multiply(a: Block, b: Block) -> Block;
    parity(vectors: &[u64], stride: usize, planes: &[u64], out: &mut [u64]);
    rotate(vectors: &mut [u64], k: u32, d: &[u64]);
    flip(vectors: &mut [u64], k: u32, d: &[u64]);
    grow(vectors: &mut [u64], stride: usize, j: usize, b: &[u64], own: &[u64], got: &[u64]);
}

/// Functions that need the instructions. They are safe to call where those exist: all lengths are
/// those of slices.
mod wide {
    use super::*;

    #[target_feature(enable = "avx2")]
    pub(super) fn clear_low_bits(blocks: &mut [Block], correction: Option<Correction>) {
        let half = blocks.len() / 2;
        let Some(Correction { at, add }) = correction.filter(|_| half > 0 && half.is_multiple_of(PACK))
        else {
            return portable::clear_low_bits(blocks, correction);
        };
        let (place, keep) = (_mm256_set1_epi64x(at as i64), repeat(Block(u128::MAX).without_low_bit()));
        for (blocks, add) in blocks.chunks_exact_mut(half).zip(add) {
            let (mut numbers, add) = (_mm256_set_epi64x(1, 1, 0, 0), repeat(add));
            for pair in blocks.as_chunks_mut::<PACK>().0 {
                let here = _mm256_and_si256(_mm256_cmpeq_epi64(numbers, place), add);
                store_blocks(pair, _mm256_xor_si256(_mm256_and_si256(load_blocks(pair), keep), here));
                numbers = _mm256_add_epi64(numbers, _mm256_set1_epi64x(PACK as i64));
            }
        }
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn low_bits(blocks: &[Block], out: &mut [u8]) {
        let (eights, rest) = blocks.as_chunks::<8>();
        let (bytes, last) = out.split_at_mut(eights.len());
        for (eight, byte) in eights.iter().zip(bytes) {
            // The even half words of two registers, lane by lane.
            let even = |a, b| _mm256_shuffle_ps::<0b10_00_10_00>(a, b);
            let pairs = eight.as_chunks::<PACK>().0;
            let pair = |i: usize| _mm256_castsi256_ps(load_blocks(&pairs[i]));
            let lowest = _mm256_castps_si256(even(even(pair(0), pair(1)), even(pair(2), pair(3))));
            // In the order of blocks 0, 2, 4, 6, 1, 3, 5, 7.
            let order = _mm256_set_epi32(7, 3, 6, 2, 5, 1, 4, 0);
            let lowest = _mm256_permutevar8x32_epi32(_mm256_slli_epi32::<31>(lowest), order);
            *byte = _mm256_movemask_ps(_mm256_castsi256_ps(lowest)) as u8;
        }
        portable::low_bits(rest, last);
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn add_where(blocks: &mut [Block], bits: &[u8], delta: Block) {
        let (eights, rest) = blocks.as_chunks_mut::<8>();
        let (bytes, last) = bits.split_at(eights.len());
        let (sum, first) = (repeat(delta), _mm256_set_epi64x(2, 2, 1, 1));
        for (eight, &byte) in eights.iter_mut().zip(bytes) {
            let (byte, mut bit) = (_mm256_set1_epi64x(byte.into()), first);
            for pair in eight.as_chunks_mut::<PACK>().0 {
                let set = _mm256_cmpeq_epi64(_mm256_and_si256(byte, bit), bit);
                store_blocks(pair, _mm256_xor_si256(load_blocks(pair), _mm256_and_si256(set, sum)));
                bit = _mm256_slli_epi64::<{ PACK as i32 }>(bit);
            }
        }
        portable::add_where(rest, last, delta);
    }

    /// The portable loop, compiled for wide registers.
    #[target_feature(enable = "avx2")]
    pub(super) fn transpose(rows: &mut [[u64; 8]; 64]) {
        portable::transpose(rows);
    }

    #[target_feature(enable = "avx2,pclmulqdq")]
    pub(super) fn value(place: &Place, v: &[Block]) -> Block {
        v.chunks(place.powers.len()).rev().fold(Block::ZERO, |sum, v| {
            let pairs = place.powers.iter().zip(v).map(|(&power, &v)| (register(power), register(v)));
            horner(sum, place.step, pairs)
        })
    }

    #[target_feature(enable = "avx2,pclmulqdq")]
    pub(super) fn value_of_words(place: &Place, v: &[u64]) -> Block {
        v.chunks(2 * place.powers.len()).rev().fold(Block::ZERO, |sum, v| {
            let blocks = v.as_chunks::<2>().0.iter().map(|v| _mm_set_epi64x(v[1] as i64, v[0] as i64));
            horner(sum, place.step, place.powers.iter().map(|&power| register(power)).zip(blocks))
        })
    }

    #[target_feature(enable = "avx2,pclmulqdq")]
    pub(super) fn multiply(a: Block, b: Block) -> Block {
        horner(a, b, std::iter::empty())
    }

    /// `sum step`, and the products of all pairs of blocks, added up before the only reduction.
    #[inline]
    #[target_feature(enable = "avx2,pclmulqdq")]
    fn horner(sum: Block, step: Block, pairs: impl Iterator<Item = (__m128i, __m128i)>) -> Block {
        let mut all = product(register(sum), register(step));
        for (a, b) in pairs {
            let more = product(a, b);
            all = std::array::from_fn(|i| _mm_xor_si128(all[i], more[i]));
        }
        reduce(all)
    }

    /// Low, middle and high part of the product, as a polynomial.
    #[inline]
    #[target_feature(enable = "avx2,pclmulqdq")]
    fn product(a: __m128i, b: __m128i) -> [__m128i; 3] {
        let middle = _mm_xor_si128(_mm_clmulepi64_si128::<0x01>(a, b), _mm_clmulepi64_si128::<0x10>(a, b));
        [_mm_clmulepi64_si128::<0x00>(a, b), middle, _mm_clmulepi64_si128::<0x11>(a, b)]
    }

    /// The residue modulo `X^128 + X^7 + X^2 + X + 1`: the part from `X^128` on is multiplied by
    /// `X^7 + X^2 + X + 1` and added to the rest, twice.
    #[inline]
    #[target_feature(enable = "avx2,pclmulqdq")]
    fn reduce([low, middle, high]: [__m128i; 3]) -> Block {
        let low = _mm_xor_si128(low, _mm_slli_si128::<8>(middle));
        let high = _mm_xor_si128(high, _mm_srli_si128::<8>(middle));
        let modulus = _mm_set1_epi64x(0x87);
        // The high half's upper word, moved down by 64 bits, and its lower word.
        let upper = _mm_clmulepi64_si128::<0x01>(high, modulus);
        let lower = _mm_clmulepi64_si128::<0x00>(high, modulus);
        let overflow = _mm_clmulepi64_si128::<0x01>(upper, modulus);
        let folded = _mm_xor_si128(_mm_slli_si128::<8>(upper), lower);
        block(_mm_xor_si128(_mm_xor_si128(low, folded), overflow))
    }

    /// Eight planes to two registers.
    #[target_feature(enable = "avx2")]
    pub(super) fn parity(vectors: &[u64], stride: usize, planes: &[u64], out: &mut [u64]) {
        for (e, out) in vectors.chunks_exact(stride).zip(out) {
            let mut all = 0;
            for (group, planes) in planes.chunks_exact(stride * LANE).enumerate() {
                let mut sums = [_mm256_setzero_si256(); 2];
                for (&e, planes) in e.iter().zip(planes.as_chunks::<LANE>().0) {
                    let e = _mm256_set1_epi64x(e as i64);
                    for (sum, planes) in sums.iter_mut().zip(planes.as_chunks().0) {
                        *sum = _mm256_xor_si256(*sum, _mm256_and_si256(e, load(planes)));
                    }
                }
                all |= u64::from(odd(sums)) << (LANE * group);
            }
            *out = all;
        }
    }

    /// The sums of the bits of eight words.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn odd(words: [__m256i; 2]) -> u8 {
        let [a, b] = words.map(|words| _mm256_castsi256_ps(words));
        let (low, high) =
            (_mm256_shuffle_ps::<0b10_00_10_00>(a, b), _mm256_shuffle_ps::<0b11_01_11_01>(a, b));
        let halves = _mm256_castps_si256(_mm256_xor_ps(low, high));
        // In the order of words 0, 1, 4, 5, 2, 3, 6, 7.
        let mut sums = _mm256_permute4x64_epi64::<0b11_01_10_00>(halves);
        sums = _mm256_xor_si256(sums, _mm256_slli_epi32::<16>(sums));
        sums = _mm256_xor_si256(sums, _mm256_slli_epi32::<8>(sums));
        sums = _mm256_xor_si256(sums, _mm256_slli_epi32::<4>(sums));
        sums = _mm256_xor_si256(sums, _mm256_slli_epi32::<2>(sums));
        sums = _mm256_xor_si256(sums, _mm256_slli_epi32::<1>(sums));
        _mm256_movemask_ps(_mm256_castsi256_ps(sums)) as u8
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn rotate(vectors: &mut [u64], k: u32, d: &[u64]) {
        if !(7..=8).contains(&k) {
            return portable::rotate(vectors, k, d);
        }
        let (below, size, two) = (_mm256_set1_epi64x(63), _mm256_set1_epi64x(64), _mm256_set1_epi32(2));
        // The bits of a half word's number that are the number of its word in its vector.
        let inner = _mm256_set1_epi32((2 << (k - 6)) - 2);
        let (vectors, d) = each_register(vectors, k - 6, d, |e, d| {
            let from = _mm256_sub_epi32(ascending(), half_words(d));
            let [high, low] = [from, _mm256_sub_epi32(from, two)].map(|from| {
                // inner ? from : ascending
                let change = _mm256_and_si256(_mm256_xor_si256(from, ascending()), inner);
                _mm256_permutevar8x32_epi32(e, _mm256_xor_si256(ascending(), change))
            });
            let part = _mm256_and_si256(d, below);
            let low = _mm256_srlv_epi64(low, _mm256_sub_epi64(size, part));
            _mm256_or_si256(_mm256_sllv_epi64(high, part), low)
        });
        portable::rotate(vectors, k, d);
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn flip(vectors: &mut [u64], k: u32, d: &[u64]) {
        let below = _mm256_set1_epi64x((1 << k) - 1);
        if k <= 8 {
            let turned = |e, d| turn(e, _mm256_and_si256(d, below));
            let (vectors, d) = each_register(vectors, k.saturating_sub(6), d, turned);
            return portable::flip(vectors, k, d);
        }
        let words = 1 << (k - 6);
        let mut turned = Zeroizing::new(vec![0; words]);
        for (e, &d) in vectors.chunks_exact_mut(words).zip(d) {
            let high = (d as usize / (64 * WORDS)) & (words / WORDS - 1);
            let from = e.as_chunks::<WORDS>().0;
            for (w, out) in turned.as_chunks_mut::<WORDS>().0.iter_mut().enumerate() {
                store(out, turn(load(&from[w ^ high]), _mm256_set1_epi64x(d as i64)));
            }
            e.copy_from_slice(&turned);
        }
    }

    /// Moves bit `y` of a vector, or of each register of a longer one, to `y xor d`.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn turn(e: __m256i, d: __m256i) -> __m256i {
        let e = _mm256_permutevar8x32_epi32(e, _mm256_xor_si256(ascending(), half_words(d)));
        let lowest = _mm_set_epi64x(0x0808_0808_0808_0808, 0);
        let bytes = _mm_set_epi64x(0x0f0e_0d0c_0b0a_0908, 0x0706_0504_0302_0100);
        // The lowest byte of `d` in all bytes of a word.
        let d = _mm256_shuffle_epi8(d, _mm256_broadcastsi128_si256(lowest));
        let by = _mm256_and_si256(_mm256_srli_epi64::<3>(d), _mm256_set1_epi8(7));
        let e = _mm256_shuffle_epi8(e, _mm256_xor_si256(_mm256_broadcastsi128_si256(bytes), by));
        swap::<4, 0x0f>(swap::<2, 0x33>(swap::<1, 0x55>(e, d), d), d)
    }

    /// Moves bit `y` of every byte to `y xor BY` where `d` has the bit `BY` set. `CLEAR` are the
    /// bits `y` without that bit.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn swap<const BY: i32, const CLEAR: i8>(e: __m256i, d: __m256i) -> __m256i {
        let bit = _mm256_set1_epi8(BY as i8);
        let set = _mm256_cmpeq_epi8(_mm256_and_si256(d, bit), bit);
        let clear = _mm256_and_si256(set, _mm256_set1_epi8(CLEAR));
        let moved = _mm256_and_si256(_mm256_xor_si256(_mm256_srli_epi64::<BY>(e), e), clear);
        _mm256_xor_si256(_mm256_xor_si256(e, moved), _mm256_slli_epi64::<BY>(moved))
    }

    /// The portable loop, compiled for wide registers.
    #[target_feature(enable = "avx2,popcnt")]
    pub(super) fn grow(vectors: &mut [u64], stride: usize, j: usize, b: &[u64], own: &[u64], got: &[u64]) {
        portable::grow(vectors, stride, j, b, own, got);
    }

    /// Replaces registers of vectors of `2^log` words each, given the vectors' `d` in all of their
    /// words; returns the vectors that do not fill one, and their `d`.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn each_register<'a, 'd>(
        vectors: &'a mut [u64],
        log: u32,
        d: &'d [u64],
        f: impl Fn(__m256i, __m256i) -> __m256i,
    ) -> (&'a mut [u64], &'d [u64]) {
        let (registers, rest) = vectors.as_chunks_mut::<WORDS>();
        let (these, others) = d.split_at(registers.len() * (WORDS >> log));
        for (e, d) in registers.iter_mut().zip(these.chunks_exact(WORDS >> log)) {
            let d = std::array::from_fn(|w| d[w >> log]);
            store(e, f(load(e), load(&d)));
        }
        (rest, others)
    }

    /// The numbers of a register's half words.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn ascending() -> __m256i {
        _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0)
    }

    /// `2 floor(d / 64) mod 8`, the number of half words in the whole words of `d`, in both halves
    /// of each word.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn half_words(d: __m256i) -> __m256i {
        let by = _mm256_and_si256(_mm256_srli_epi64::<5>(d), _mm256_set1_epi64x(6));
        _mm256_or_si256(by, _mm256_slli_epi64::<32>(by))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(words: &[u64; WORDS]) -> __m256i {
        // SAFETY: four words.
        unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn store(words: &mut [u64; WORDS], x: __m256i) {
        // SAFETY: four words.
        unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), x) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn load_blocks(blocks: &[Block; PACK]) -> __m256i {
        // SAFETY: two blocks.
        unsafe { _mm256_loadu_si256(blocks.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn store_blocks(blocks: &mut [Block; PACK], x: __m256i) {
        // SAFETY: two blocks.
        unsafe { _mm256_storeu_si256(blocks.as_mut_ptr().cast(), x) }
    }

    /// The block in both halves.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn repeat(block: Block) -> __m256i {
        _mm256_broadcastsi128_si256(register(block))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn register(block: Block) -> __m128i {
        _mm_set_epi64x((block.0 >> 64) as i64, block.0 as i64)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn block(register: __m128i) -> Block {
        let high = _mm_extract_epi64::<1>(register) as u64;
        Block(u128::from(high) << 64 | u128::from(_mm_cvtsi128_si64(register) as u64))
    }
}
