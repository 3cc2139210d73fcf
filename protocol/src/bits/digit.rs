//! What a party reads off its share of a one-hot without talking: inner products with public masks.

use sotto_ot::Selectors;
use sotto_shares::XorShare;

/// The XOR of a word's bits.
pub(crate) fn parity(word: u64) -> u64 {
    u64::from(word.count_ones() & 1)
}

/// Whether `r + d` reached `2^k`, where `located` is one-hot at `(r + d) mod 2^k` and `d` are the
/// low bits of `opened`: exactly if that position is below `d`.
pub(crate) fn carries(located: &Selectors, opened: &[u64], k: u32) -> XorShare {
    let stride = words(k);
    let carry = |(e, &d): (&[u64], &u64)| {
        let d = (d & ((1 << k) - 1)) as usize;
        let below = |w: usize| match d.saturating_sub(64 * w) {
            0 => 0,
            n @ 1..64 => (1u64 << n) - 1,
            _ => u64::MAX,
        };
        parity(e.iter().enumerate().fold(0, |sum, (w, e)| sum ^ (e & below(w))))
    };
    XorShare::new(1, located.words().chunks(stride).zip(opened).map(carry).collect())
}

/// Entry `at` of vector `i`, among vectors of `2^k` bits.
pub(crate) fn bit(vectors: &[u64], k: u32, i: usize, at: usize) -> u64 {
    (vectors[i * words(k) + at / 64] >> (at % 64)) & 1
}

fn words(k: u32) -> usize {
    (1usize << k).div_ceil(64)
}
