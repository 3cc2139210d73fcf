//! The inner loops with 512-bit registers: AVX-512, VAES, PCLMUL. This file and `avx2.rs` are the
//! only ones of this crate with `unsafe`.
//!
//! Blocks are loaded four to a register. Round keys are broadcast from memory as they are needed,
//! so that the registers are free for blocks: sixteen blocks in flight hide the latency of a round.

use std::arch::x86_64::*;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{
    portable,
    types::{Correction, LANE, LOCALITY, Place, Tweak},
};
use crate::block::Block;

/// Blocks in a register.
const PACK: usize = 4;
/// Registers in flight.
const DEEP: usize = 4;
/// Eight rows of ten words are five registers.
const ROWS: usize = 8;
const ROW_REGISTERS: usize = ROWS * LOCALITY / 16;

/// The eleven round keys of AES-128.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(super) struct RoundKeys([u128; 11]);

/// Whether this machine has the instructions.
#[inline]
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vbmi2")
        && is_x86_feature_detected!("avx512vpopcntdq")
        && is_x86_feature_detected!("vaes")
        && is_x86_feature_detected!("vpclmulqdq")
        && is_x86_feature_detected!("aes")
        && is_x86_feature_detected!("bmi2")
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
    expand_key(key: Block) -> RoundKeys;
    counters(keys: &RoundKeys, first: u64, out: &mut [Block]);
    hash(keys: &RoundKeys, tweak: Tweak, x: &[Block], out: &mut [Block]);
    hash_twice(keys: &RoundKeys, tweak: Tweak, x: &[Block], out: &mut [Block]);
    double(keys: &RoundKeys, nodes: &mut [Block], correction: Option<Correction>) -> Block;
    gather(keys: &RoundKeys, table: &[Block], first: u64, out: &mut [Block]);
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

/// As the portable twin.
pub(super) fn fold<const K: usize>(keys: &[RoundKeys], counter: u64, sum: &mut [u64], rows: &mut [u64]) {
    assert!(available(), "the kernel's instructions");
    assert_eq!(keys.len(), 1 << K, "2^K generators");
    // SAFETY: the instructions exist, as asserted.
    unsafe { wide::fold::<K>(keys, counter, sum, rows) }
}

/// Functions that need the instructions. They are safe to call where those exist: all lengths are
/// those of slices.
mod wide {
    use super::*;

    #[target_feature(enable = "aes,avx512f")]
    pub(super) fn expand_key(key: Block) -> RoundKeys {
        #[inline]
        #[target_feature(enable = "aes,avx512f")]
        fn next<const RCON: i32>(key: __m128i) -> __m128i {
            let word = _mm_shuffle_epi32::<0xff>(_mm_aeskeygenassist_si128::<RCON>(key));
            let key = _mm_xor_si128(key, _mm_slli_si128::<4>(key));
            let key = _mm_xor_si128(key, _mm_slli_si128::<8>(key));
            _mm_xor_si128(key, word)
        }
        let mut keys = [register(key); 11];
        keys[1] = next::<0x01>(keys[0]);
        keys[2] = next::<0x02>(keys[1]);
        keys[3] = next::<0x04>(keys[2]);
        keys[4] = next::<0x08>(keys[3]);
        keys[5] = next::<0x10>(keys[4]);
        keys[6] = next::<0x20>(keys[5]);
        keys[7] = next::<0x40>(keys[6]);
        keys[8] = next::<0x80>(keys[7]);
        keys[9] = next::<0x1b>(keys[8]);
        keys[10] = next::<0x36>(keys[9]);
        RoundKeys(keys.map(|key| block(key).0))
    }

    #[target_feature(enable = "avx512f,avx512dq,vaes")]
    pub(super) fn counters(keys: &RoundKeys, first: u64, out: &mut [Block]) {
        let mut c = ascending(first, 1);
        for out in out.chunks_mut(PACK * DEEP) {
            store(out, encrypt(keys, c));
            c = c.map(|c| _mm512_add_epi64(c, low_halves((PACK * DEEP) as u64)));
        }
    }

    #[target_feature(enable = "avx512f,avx512dq,vaes")]
    pub(super) fn hash(keys: &RoundKeys, tweak: Tweak, x: &[Block], out: &mut [Block]) {
        let (mut tweaks, step) = tweak_registers(tweak);
        for (x, out) in x.chunks(PACK * DEEP).zip(out.chunks_mut(PACK * DEEP)) {
            let x = load(x);
            let y = each(|r| _mm512_xor_si512(sigma(x[r]), tweaks[r]));
            let image = encrypt(keys, y);
            store(out, each(|r| _mm512_xor_si512(image[r], y[r])));
            tweaks = tweaks.map(|t| _mm512_add_epi64(t, step));
        }
    }

    #[target_feature(enable = "avx512f,avx512dq,vaes")]
    pub(super) fn hash_twice(keys: &RoundKeys, tweak: Tweak, x: &[Block], out: &mut [Block]) {
        let (mut tweaks, step) = tweak_registers(tweak);
        for (x, out) in x.chunks(PACK * DEEP).zip(out.chunks_mut(PACK * DEEP)) {
            let y = encrypt(keys, load(x).map(|x| sigma(x)));
            let image = encrypt(keys, each(|r| _mm512_xor_si512(y[r], tweaks[r])));
            store(out, each(|r| _mm512_xor_si512(image[r], y[r])));
            tweaks = tweaks.map(|t| _mm512_add_epi64(t, step));
        }
    }

    #[target_feature(enable = "avx512f,avx512dq,vaes")]
    pub(super) fn double(keys: &RoundKeys, nodes: &mut [Block], correction: Option<Correction>) -> Block {
        let (first, second) = nodes.split_at_mut(nodes.len() / 2);
        let mut correct = correction.map(|correction| Corrector::new(first.len(), correction));
        let mut sums = [_mm512_setzero_si512(); DEEP];
        for (first, second) in first.chunks_mut(PACK * DEEP).zip(second.chunks_mut(PACK * DEEP)) {
            let mut v = load(first);
            if let Some(correct) = &mut correct {
                v = v.map(|v| correct.next(v));
            }
            let y = v.map(|v| sigma(v));
            let image = encrypt(keys, y);
            let left = each(|r| _mm512_xor_si512(image[r], y[r]));
            if first.len() == PACK * DEEP {
                sums = each(|r| _mm512_xor_si512(sums[r], left[r]));
            } else {
                // Registers beyond the last node must not enter the sum.
                sums = each(|r| _mm512_mask_xor_epi64(sums[r], filled(first.len(), r), sums[r], left[r]));
            }
            store(first, left);
            store(second, each(|r| _mm512_xor_si512(v[r], left[r])));
        }
        total(sums)
    }

    /// Applies a correction to consecutive registers of a level, in constant time.
    struct Corrector {
        places: [__m512i; 2],
        add: [__m512i; 2],
        numbers: __m512i,
    }

    impl Corrector {
        #[inline]
        #[target_feature(enable = "avx512f,avx512dq")]
        fn new(len: usize, Correction { at, add }: Correction) -> Corrector {
            let place = |half: usize| _mm512_set1_epi64((at + half * len / 2) as i64);
            Corrector {
                places: [place(0), place(1)],
                add: [wide(register(add[0])), wide(register(add[1]))],
                numbers: _mm512_set_epi64(3, 3, 2, 2, 1, 1, 0, 0),
            }
        }

        #[inline]
        #[target_feature(enable = "avx512f,avx512dq")]
        fn next(&mut self, mut v: __m512i) -> __m512i {
            for (place, add) in self.places.into_iter().zip(self.add) {
                let here = _mm512_cmpeq_epi64_mask(self.numbers, place);
                v = _mm512_mask_xor_epi64(v, here, v, add);
            }
            self.numbers = _mm512_add_epi64(self.numbers, _mm512_set1_epi64(PACK as i64));
            v
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn wide(x: __m128i) -> __m512i {
        _mm512_broadcast_i32x4(x)
    }

    #[target_feature(enable = "avx512f,avx512dq,avx512vl,vaes")]
    pub(super) fn gather(keys: &RoundKeys, table: &[Block], first: u64, out: &mut [Block]) {
        /// Rows whose entries are looked up together.
        const BATCH: usize = 4 * ROWS;
        let size = _mm512_set1_epi64(table.len() as i64);
        // The byte offsets of the entries of a batch of rows.
        let mut offsets = [0u32; LOCALITY * BATCH];
        let mut row = first;
        let mut rest = out;
        while !rest.is_empty() {
            let skip = row as usize % ROWS;
            let now = rest.len().min(BATCH - skip);
            let groups = (skip + now).div_ceil(ROWS);
            for (g, offsets) in (0..groups as u64).zip(offsets.as_chunks_mut::<{ LOCALITY * ROWS }>().0) {
                let counter = (row / ROWS as u64 + g) * (PACK * ROW_REGISTERS) as u64;
                let words = encrypt::<ROW_REGISTERS>(keys, ascending(counter, 1));
                for (words, offsets) in words.iter().zip(offsets.as_chunks_mut::<16>().0) {
                    let even = _mm512_srli_epi64::<32>(_mm512_mul_epu32(*words, size));
                    let odd = _mm512_mul_epu32(_mm512_srli_epi64::<32>(*words), size);
                    let entries = _mm512_mask_blend_epi32(0xaaaa, even, odd);
                    let bytes = _mm512_slli_epi32::<4>(entries);
                    // SAFETY: sixteen words of four bytes.
                    unsafe { _mm512_storeu_si512(offsets.as_mut_ptr().cast(), bytes) };
                }
            }
            let (chunk, later) = rest.split_at_mut(now);
            let rows = offsets.as_chunks::<LOCALITY>().0[skip..].iter();
            for (out, offsets) in chunk.iter_mut().zip(rows) {
                let mut sum = register(*out);
                for &offset in offsets {
                    // SAFETY: an offset is 16 times a number below the table's length.
                    let entry = unsafe { table.as_ptr().byte_add(offset as usize).cast() };
                    // SAFETY: as above; blocks are aligned to their size.
                    sum = _mm_xor_si128(sum, unsafe { _mm_load_si128(entry) });
                }
                *out = block(sum);
            }
            row += now as u64;
            rest = later;
        }
    }

    #[target_feature(enable = "avx512f,avx512dq,vaes")]
    pub(super) fn fold<const K: usize>(keys: &[RoundKeys], counter: u64, sum: &mut [u64], rows: &mut [u64]) {
        // As many registers at a time as leave registers for the sums of all rows.
        let mut at = 0;
        while at < sum.len() {
            let (counter, left) = (counter + (at / 2) as u64, sum.len() - at);
            at += if K <= 4 && left >= 4 * LANE {
                fold_registers::<K, 4>(keys, counter, at, sum, rows)
            } else if left >= 2 * LANE {
                fold_registers::<K, 2>(keys, counter, at, sum, rows)
            } else {
                fold_registers::<K, 1>(keys, counter, at, sum, rows)
            };
        }
    }

    /// Computes R registers of every row, from word `at` on; returns their number of words.
    ///
    /// Generators are processed four at a time: the two low bits of their numbers are constants of
    /// the code; for each higher bit, only the sum of the four is added to a row.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,vaes")]
    fn fold_registers<const K: usize, const R: usize>(
        keys: &[RoundKeys],
        counter: u64,
        at: usize,
        sum: &mut [u64],
        rows: &mut [u64],
    ) -> usize {
        let words = sum.len();
        let counters: [__m512i; R] = ascending(counter, 1);
        let mut all = [_mm512_setzero_si512(); R];
        let mut by_bit = [[_mm512_setzero_si512(); R]; K];
        let add = |to: &mut [__m512i; R], from: [__m512i; R]| {
            *to = std::array::from_fn(|r| _mm512_xor_si512(to[r], from[r]));
        };
        for (group, keys) in keys.chunks(4).enumerate() {
            let mut four = encrypt(&keys[0], counters);
            for (x, keys) in keys.iter().enumerate().skip(1) {
                let stretch = encrypt(keys, counters);
                add(&mut four, stretch);
                if x & 1 == 1 {
                    add(&mut by_bit[0], stretch);
                }
                if x & 2 == 2 {
                    add(&mut by_bit[1.min(K - 1)], stretch);
                }
            }
            add(&mut all, four);
            for (b, row) in by_bit.iter_mut().enumerate().skip(2) {
                if group >> (b - 2) & 1 == 1 {
                    add(row, four);
                }
            }
        }
        let put = |values: [__m512i; R], to: &mut [u64]| {
            for (value, to) in values.iter().zip(to[at..].as_chunks_mut::<LANE>().0) {
                // SAFETY: eight words of eight bytes.
                unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), *value) };
            }
        };
        put(all, sum);
        for (values, row) in by_bit.into_iter().zip(rows.chunks_exact_mut(words)) {
            put(values, row);
        }
        R * LANE
    }

    #[target_feature(enable = "avx512f,avx512dq")]
    pub(super) fn clear_low_bits(blocks: &mut [Block], correction: Option<Correction>) {
        let keep = wide(register(Block(u128::MAX).without_low_bit()));
        let mut correct = correction.map(|correction| Corrector::new(blocks.len(), correction));
        for blocks in blocks.chunks_mut(PACK) {
            let cleared = _mm512_and_si512(load_one(blocks), keep);
            store_one(blocks, correct.as_mut().map_or(cleared, |correct| correct.next(cleared)));
        }
    }

    #[target_feature(enable = "avx512f,avx512dq,bmi2")]
    pub(super) fn low_bits(blocks: &[Block], out: &mut [u8]) {
        for (blocks, out) in blocks.chunks(2 * PACK).zip(out) {
            let (low, high) = blocks.split_at(blocks.len().min(PACK));
            let bits = |blocks: &[Block]| {
                let top = _mm512_slli_epi64::<63>(load_one(blocks));
                // A bit for each half of a block, of which those of the low halves are kept.
                _pext_u32(_mm512_movepi64_mask(top).into(), 0x55)
            };
            *out = (bits(low) | bits(high) << PACK) as u8;
        }
    }

    #[target_feature(enable = "avx512f,avx512dq,bmi2")]
    pub(super) fn add_where(blocks: &mut [Block], bits: &[u8], delta: Block) {
        let delta = wide(register(delta));
        for (blocks, bits) in blocks.chunks_mut(2 * PACK).zip(bits) {
            for (blocks, bits) in blocks.chunks_mut(PACK).zip([bits & 15, bits >> PACK]) {
                let low = _pdep_u32(bits.into(), 0x55) as u8;
                let value = load_one(blocks);
                store_one(blocks, _mm512_mask_xor_epi64(value, low | low << 1, value, delta));
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512dq,vpclmulqdq")]
    pub(super) fn value(place: &Place, v: &[Block]) -> Block {
        v.chunks(place.powers.len()).rev().fold(Block::ZERO, |sum, v| {
            let pairs = place.powers.chunks(PACK).zip(v.chunks(PACK));
            horner(sum, place.step, pairs.map(|(powers, v)| (load_one(powers), load_one(v))))
        })
    }

    #[target_feature(enable = "avx512f,avx512dq,vpclmulqdq")]
    pub(super) fn value_of_words(place: &Place, v: &[u64]) -> Block {
        v.chunks(2 * place.powers.len()).rev().fold(Block::ZERO, |sum, v| {
            let pairs = place.powers.chunks(PACK).zip(v.chunks(LANE)).map(|(powers, v)| {
                // SAFETY: the mask has a lane for each word of the slice.
                let v = unsafe { _mm512_maskz_loadu_epi64(filled(v.len() / 2, 0), v.as_ptr().cast()) };
                (load_one(powers), v)
            });
            horner(sum, place.step, pairs)
        })
    }

    /// `sum step`, and the products of all pairs of blocks, added up before the only reduction.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,vpclmulqdq")]
    fn horner(sum: Block, step: Block, pairs: impl Iterator<Item = (__m512i, __m512i)>) -> Block {
        let first = |block: Block| _mm512_zextsi128_si512(register(block));
        let mut all = product(first(sum), first(step));
        for (a, b) in pairs {
            let more = product(a, b);
            all = std::array::from_fn(|i| _mm512_xor_si512(all[i], more[i]));
        }
        total([reduce(all)])
    }

    #[target_feature(enable = "avx512f,avx512dq,vpclmulqdq")]
    pub(super) fn multiply(a: Block, b: Block) -> Block {
        let (a, b) = (_mm512_zextsi128_si512(register(a)), _mm512_zextsi128_si512(register(b)));
        block(_mm512_castsi512_si128(reduce(product(a, b))))
    }

    /// Low, middle and high part of the products of four pairs of blocks, as polynomials.
    #[inline]
    #[target_feature(enable = "avx512f,vpclmulqdq")]
    fn product(a: __m512i, b: __m512i) -> [__m512i; 3] {
        let middle =
            _mm512_xor_si512(_mm512_clmulepi64_epi128::<0x01>(a, b), _mm512_clmulepi64_epi128::<0x10>(a, b));
        [_mm512_clmulepi64_epi128::<0x00>(a, b), middle, _mm512_clmulepi64_epi128::<0x11>(a, b)]
    }

    /// The residues modulo `X^128 + X^7 + X^2 + X + 1`: the part from `X^128` on is multiplied by
    /// `X^7 + X^2 + X + 1` and added to the rest, twice.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,vpclmulqdq")]
    fn reduce([low, middle, high]: [__m512i; 3]) -> __m512i {
        let zero = _mm512_setzero_si512();
        let low = _mm512_xor_si512(low, _mm512_unpacklo_epi64(zero, middle));
        let high = _mm512_xor_si512(high, _mm512_unpackhi_epi64(middle, zero));
        let modulus = _mm512_set1_epi64(0x87);
        // The high half's upper word, moved down by 64 bits, and its lower word.
        let upper = _mm512_clmulepi64_epi128::<0x01>(high, modulus);
        let lower = _mm512_clmulepi64_epi128::<0x00>(high, modulus);
        let overflow = _mm512_clmulepi64_epi128::<0x01>(upper, modulus);
        let folded = _mm512_xor_si512(_mm512_unpacklo_epi64(zero, upper), lower);
        _mm512_xor_si512(_mm512_xor_si512(low, folded), overflow)
    }

    /// The portable loop, compiled for wide registers.
    #[target_feature(enable = "avx512f,avx512dq")]
    pub(super) fn transpose(rows: &mut [[u64; 8]; 64]) {
        portable::transpose(rows);
    }

    /// Eight planes to a register.
    #[target_feature(enable = "avx512f,avx512vpopcntdq")]
    pub(super) fn parity(vectors: &[u64], stride: usize, planes: &[u64], out: &mut [u64]) {
        let one = _mm512_set1_epi64(1);
        for (e, out) in vectors.chunks_exact(stride).zip(out) {
            let mut all = 0;
            for (group, planes) in planes.chunks_exact(stride * LANE).enumerate() {
                let mut sums = _mm512_setzero_si512();
                for (&e, planes) in e.iter().zip(planes.as_chunks::<LANE>().0) {
                    // SAFETY: eight words.
                    let planes = unsafe { _mm512_loadu_si512(planes.as_ptr().cast()) };
                    // a ^ (b & c)
                    sums = _mm512_ternarylogic_epi64::<0x78>(sums, _mm512_set1_epi64(e as i64), planes);
                }
                let odd = _mm512_test_epi64_mask(_mm512_popcnt_epi64(sums), one);
                all |= u64::from(odd) << (LANE * group);
            }
            *out = all;
        }
    }

    #[target_feature(enable = "avx512f,avx512vbmi2")]
    pub(super) fn rotate(vectors: &mut [u64], k: u32, d: &[u64]) {
        match k {
            0..6 => {
                let size = _mm512_set1_epi64(1 << k);
                let below = _mm512_set1_epi64((1 << k) - 1);
                let entries = _mm512_set1_epi64((1 << (1 << k)) - 1);
                each_register(vectors, 0, d, |e, d| {
                    let twice = _mm512_or_si512(_mm512_sllv_epi64(e, size), e);
                    let turned = _mm512_srlv_epi64(twice, _mm512_sub_epi64(size, _mm512_and_si512(d, below)));
                    _mm512_and_si512(turned, entries)
                });
            }
            6..=9 => {
                let (ascending, one) = (_mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0), _mm512_set1_epi64(1));
                // The bits of a word's number that are its number in its vector.
                let inner = _mm512_set1_epi64((1 << (k - 6)) - 1);
                each_register(vectors, k - 6, d, |e, d| {
                    let from = _mm512_sub_epi64(ascending, _mm512_srli_epi64::<6>(d));
                    let [high, low] = [from, _mm512_sub_epi64(from, one)].map(|from| {
                        // inner ? from : ascending
                        let from = _mm512_ternarylogic_epi64::<0xca>(inner, from, ascending);
                        _mm512_permutexvar_epi64(from, e)
                    });
                    _mm512_shldv_epi64(high, low, d)
                });
            }
            _ => portable::rotate(vectors, k, d),
        }
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn flip(vectors: &mut [u64], k: u32, d: &[u64]) {
        if k > 9 {
            return portable::flip(vectors, k, d);
        }
        let ascending = _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0);
        let log = k.saturating_sub(6);
        let inner = _mm512_set1_epi64((1 << log) - 1);
        each_register(vectors, log, d, |e, d| {
            let words = _mm512_and_si512(_mm512_srli_epi64::<6>(d), inner);
            let mut e = _mm512_permutexvar_epi64(_mm512_xor_si512(ascending, words), e);
            for (j, &clear) in portable::CLEAR.iter().enumerate().take(k as usize) {
                let (clear, by) = (_mm512_set1_epi64(clear as i64), _mm512_set1_epi64(1 << j));
                let up = _mm512_sllv_epi64(_mm512_and_si512(e, clear), by);
                let down = _mm512_and_si512(_mm512_srlv_epi64(e, by), clear);
                e = _mm512_mask_or_epi64(e, _mm512_test_epi64_mask(d, by), up, down);
            }
            e
        });
    }

    /// Replaces registers of vectors of `2^log` words each, given the vectors' `d` in all of their
    /// words.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn each_register(vectors: &mut [u64], log: u32, d: &[u64], f: impl Fn(__m512i, __m512i) -> __m512i) {
        let vector =
            _mm512_srlv_epi64(_mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0), _mm512_set1_epi64(log.into()));
        for (vectors, d) in vectors.chunks_mut(LANE).zip(d.chunks(LANE >> log)) {
            let d = _mm512_permutexvar_epi64(vector, load_words(d));
            let e = f(load_words(vectors), d);
            // SAFETY: the mask has a lane for each word of the slice.
            unsafe { _mm512_mask_storeu_epi64(vectors.as_mut_ptr().cast(), lanes(vectors.len()), e) };
        }
    }

    /// Up to eight words.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load_words(words: &[u64]) -> __m512i {
        // SAFETY: the mask has a lane for each word of the slice.
        unsafe { _mm512_maskz_loadu_epi64(lanes(words.len()), words.as_ptr().cast()) }
    }

    /// The first `n` lanes, at most eight.
    #[inline]
    fn lanes(n: usize) -> __mmask8 {
        (0xffu32 >> (LANE - n.min(LANE))) as u8
    }

    /// The portable loop, compiled for wide registers.
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512vpopcntdq,popcnt")]
    pub(super) fn grow(vectors: &mut [u64], stride: usize, j: usize, b: &[u64], own: &[u64], got: &[u64]) {
        portable::grow(vectors, stride, j, b, own, got);
    }

    /// The permutation on R registers of four blocks.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,vaes")]
    fn encrypt<const R: usize>(keys: &RoundKeys, mut x: [__m512i; R]) -> [__m512i; R] {
        let key = |round: usize| wide(register(Block(keys.0[round])));
        let first = key(0);
        x = x.map(|x| _mm512_xor_si512(x, first));
        for round in 1..10 {
            let key = key(round);
            x = x.map(|x| _mm512_aesenc_epi128(x, key));
        }
        let last = key(10);
        x.map(|x| _mm512_aesenclast_epi128(x, last))
    }

    /// [`Block::sigma`] of four blocks: the halves are swapped, then the old high half is added to
    /// the new one.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn sigma(x: __m512i) -> __m512i {
        let swapped = _mm512_shuffle_epi32::<0b01_00_11_10>(x);
        _mm512_mask_xor_epi64(swapped, 0b1010_1010, swapped, x)
    }

    /// The tweaks of the first blocks, and their increment from one pass to the next.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq")]
    fn tweak_registers(tweak: Tweak) -> ([__m512i; DEEP], __m512i) {
        let segment = _mm512_maskz_set1_epi64(0b1010_1010, tweak.segment as i64);
        let indices: [__m512i; DEEP] = ascending(tweak.index, tweak.stride);
        let step = low_halves(tweak.stride.wrapping_mul((PACK * DEEP) as u64));
        (indices.map(|i| _mm512_or_si512(i, segment)), step)
    }

    /// `first, first + stride, ..` as blocks.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn ascending<const R: usize>(first: u64, stride: u64) -> [__m512i; R] {
        std::array::from_fn(|r| {
            let at = |i: usize| first.wrapping_add(stride.wrapping_mul((PACK * r + i) as u64)) as i64;
            _mm512_set_epi64(0, at(3), 0, at(2), 0, at(1), 0, at(0))
        })
    }

    /// `x` in the low half of every block.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn low_halves(x: u64) -> __m512i {
        _mm512_maskz_set1_epi64(0b0101_0101, x as i64)
    }

    /// The XOR of all blocks.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq")]
    fn total<const R: usize>(x: [__m512i; R]) -> Block {
        let x = x.into_iter().fold(_mm512_setzero_si512(), |sum, x| _mm512_xor_si512(sum, x));
        let low = _mm_xor_si128(_mm512_castsi512_si128(x), _mm512_extracti64x2_epi64::<1>(x));
        let high = _mm_xor_si128(_mm512_extracti64x2_epi64::<2>(x), _mm512_extracti64x2_epi64::<3>(x));
        block(_mm_xor_si128(low, high))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn each(f: impl Fn(usize) -> __m512i) -> [__m512i; DEEP] {
        [f(0), f(1), f(2), f(3)]
    }

    /// The lanes of register `r` that hold one of the first `n` blocks.
    #[inline]
    fn filled(n: usize, r: usize) -> __mmask8 {
        (0xffu32 >> (8 - 2 * n.saturating_sub(PACK * r).min(PACK))) as u8
    }

    /// The first sixteen blocks; zeros after the last one if there are fewer.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load(blocks: &[Block]) -> [__m512i; DEEP] {
        if let Some(blocks) = blocks.first_chunk::<{ PACK * DEEP }>() {
            // SAFETY: four blocks of sixteen.
            return each(|r| unsafe { _mm512_loadu_si512(blocks.as_ptr().add(PACK * r).cast()) });
        }
        // SAFETY: the mask has a lane for each half of a block of the slice.
        each(|r| unsafe {
            _mm512_maskz_loadu_epi64(filled(blocks.len(), r), blocks.as_ptr().wrapping_add(PACK * r).cast())
        })
    }

    /// Writes the registers to a slice of at most sixteen blocks; the rest is dropped.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn store(blocks: &mut [Block], x: [__m512i; DEEP]) {
        let (n, to) = (blocks.len(), blocks.as_mut_ptr());
        for (r, x) in x.into_iter().enumerate() {
            if n >= PACK * (r + 1) {
                // SAFETY: the slice reaches beyond these four blocks.
                unsafe { _mm512_storeu_si512(to.add(PACK * r).cast(), x) };
                continue;
            }
            // SAFETY: the mask has a lane for each half of a block of the slice.
            unsafe { _mm512_mask_storeu_epi64(to.wrapping_add(PACK * r).cast(), filled(n, r), x) };
        }
    }

    /// Up to four blocks.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load_one(blocks: &[Block]) -> __m512i {
        if let Some(blocks) = blocks.first_chunk::<PACK>() {
            // SAFETY: four blocks.
            return unsafe { _mm512_loadu_si512(blocks.as_ptr().cast()) };
        }
        // SAFETY: the mask has a lane for each half of a block of the slice.
        unsafe { _mm512_maskz_loadu_epi64(filled(blocks.len(), 0), blocks.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn store_one(blocks: &mut [Block], x: __m512i) {
        if let Some(blocks) = blocks.first_chunk_mut::<PACK>() {
            // SAFETY: four blocks.
            return unsafe { _mm512_storeu_si512(blocks.as_mut_ptr().cast(), x) };
        }
        // SAFETY: the mask has a lane for each half of a block of the slice.
        unsafe { _mm512_mask_storeu_epi64(blocks.as_mut_ptr().cast(), filled(blocks.len(), 0), x) };
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn register(block: Block) -> __m128i {
        _mm_set_epi64x((block.0 >> 64) as i64, block.0 as i64)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn block(register: __m128i) -> Block {
        let high = _mm_extract_epi64::<1>(register) as u64;
        Block(u128::from(high) << 64 | u128::from(_mm_cvtsi128_si64(register) as u64))
    }
}
