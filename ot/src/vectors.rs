//! XOR shares of bit vectors that double in length, level by level of [`crate::one_hot`]. No branch and no
//! address depends on a share.

use zeroize::Zeroizing;

use crate::{SendCots, XorPads, queue::Queue};

/// XOR shares of vectors of up to `2^k` bits, `stride` words each.
pub(crate) struct Vectors {
    k: u32,
    stride: usize,
    data: Queue<u64>,
}

impl Vectors {
    /// From all words, `[n][ceil(2^k / 64)]`.
    pub(crate) fn new(k: u32, data: Zeroizing<Vec<u64>>) -> Vectors {
        Vectors { k, stride: stride(k), data: Queue::new(data) }
    }

    /// The vectors of bit 0: `(1 - r_0, r_0)`, from the shares of `r_0`.
    pub(crate) fn of_bit_0(k: u32, first: bool, b: &[u64]) -> Vectors {
        let mut data = Zeroizing::new(vec![0; b.len() * stride(k)]);
        for (e, b) in data.chunks_exact_mut(stride(k)).zip(b) {
            e[0] = b << 1 | (b ^ u64::from(first));
        }
        Vectors::new(k, data)
    }

    pub(crate) fn k(&self) -> u32 {
        self.k
    }

    /// Words per vector.
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    pub(crate) fn words(&self) -> &[u64] {
        self.data.left()
    }

    /// Adds vectors made later.
    pub(crate) fn append(&mut self, later: Vectors) {
        self.data.append(later.data);
    }

    /// Splits off the first `n` vectors.
    pub(crate) fn take(&mut self, n: usize) -> Vectors {
        Vectors { data: self.data.take(n * self.stride), ..*self }
    }

    /// Moves entry `y` of vector `i` to `(y + d_i) mod 2^k`; `d` is public.
    pub(crate) fn rotate(&mut self, d: &[u64]) {
        let (k, stride) = (self.k, self.stride);
        let mut turned = Zeroizing::new(vec![0; stride]);
        for (e, &d) in self.data.left_mut().chunks_exact_mut(stride).zip(d) {
            rotate(e, d, k, &mut turned);
        }
    }

    /// Moves entry `y` of vector `i` to `y xor d_i`; `d` is public.
    pub(crate) fn flip(&mut self, d: &[u64]) {
        let (k, stride) = (self.k, self.stride);
        let mut turned = Zeroizing::new(vec![0; stride]);
        for (e, &d) in self.data.left_mut().chunks_exact_mut(stride).zip(d) {
            flip(e, d, k, &mut turned);
        }
    }

    /// Level `j`, as the sender: all `2^j` bits but the last, times the peer's bit.
    pub(crate) fn send_level(&self, j: usize, cots: &SendCots) -> (Vec<u8>, Zeroizing<Vec<u64>>) {
        let bits = (1 << j) - 1;
        let e = self.data.left();
        let (message, [own, _]) = cots.vectors::<false>(|i| &e[i * self.stride..][..bits.div_ceil(64)], bits);
        (message, Zeroizing::new(own))
    }

    /// Level `j`: from `2^j` bits to twice as many.
    pub(crate) fn grow(&mut self, j: usize, b: &[u64], own: &[u64], pads: XorPads, message: &[u8]) {
        let got = Zeroizing::new(pads.finish(message));
        let words = (1usize << j).div_ceil(64);
        let products = own.chunks_exact(words).zip(got.chunks_exact(words));
        for ((e, b), (own, got)) in self.data.left_mut().chunks_exact_mut(self.stride).zip(b).zip(products) {
            double(e, j, *b, own, got);
        }
    }
}

fn stride(k: u32) -> usize {
    (1usize << k).div_ceil(64)
}

/// One vector's step from `2^j` to `2^(j+1)` bits: `p = e b ^ own ^ got`, then `(e ^ p, p)`.
fn double(e: &mut [u64], j: usize, b: u64, own: &[u64], got: &[u64]) {
    let words = own.len();
    let last = 1u64 << (((1 << j) - 1) % 64);
    let mut sum = 0;
    for w in 0..words {
        let keep = if w + 1 == words { last - 1 } else { u64::MAX };
        let p = (e[w] & b.wrapping_neg() & keep) ^ own[w] ^ got[w];
        sum ^= p;
        let p =
            if w + 1 == words { p | last & (b ^ u64::from(sum.count_ones() & 1)).wrapping_neg() } else { p };
        e[w] ^= p;
        if j < 6 {
            e[0] |= p << (1 << j);
        } else {
            e[words + w] = p;
        }
    }
}

/// Moves entry `y` to `(y + d) mod 2^k`; `d` is public.
fn rotate(e: &mut [u64], d: u64, k: u32, turned: &mut [u64]) {
    if k < 6 {
        let size = 1 << k;
        let d = (d % size) as u32;
        let twice = u128::from(e[0]) << size | u128::from(e[0]);
        e[0] = (twice >> (size as u32 - d)) as u64 & ((1 << size) - 1);
        return;
    }
    let (words, d) = (e.len(), d as usize % (1 << k));
    let (whole, part) = (d / 64, d % 64);
    for (w, out) in turned.iter_mut().enumerate() {
        let (high, low) = (e[(w + words - whole) % words], e[(w + 2 * words - whole - 1) % words]);
        let pair = u128::from(high) << 64 | u128::from(low);
        *out = (pair >> (64 - part)) as u64;
    }
    e.copy_from_slice(turned);
}

/// Moves entry `y` to `y xor d`; `d` is public.
fn flip(e: &mut [u64], d: u64, k: u32, turned: &mut [u64]) {
    /// Where bit `j` of the entry's number is clear.
    const CLEAR: [u64; 6] = [
        0x5555_5555_5555_5555,
        0x3333_3333_3333_3333,
        0x0f0f_0f0f_0f0f_0f0f,
        0x00ff_00ff_00ff_00ff,
        0x0000_ffff_0000_ffff,
        0x0000_0000_ffff_ffff,
    ];
    let high = (d as usize >> 6) & (e.len() - 1);
    turned.iter_mut().enumerate().for_each(|(w, out)| *out = e[w ^ high]);
    for (j, clear) in CLEAR.iter().enumerate().take(k as usize).filter(|(j, _)| d >> j & 1 == 1) {
        turned.iter_mut().for_each(|w| *w = (*w & clear) << (1 << j) | (*w >> (1 << j)) & clear);
    }
    e.copy_from_slice(turned);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sotto_shares::{Ring, Rng};

    use super::*;

    proptest! {
        #[test]
        fn rotation_moves_every_entry(k in 1u32..=10, d in any::<u64>(), seed: u8) {
            let size = 1usize << k;
            let stride = size.div_ceil(64);
            let mut rng = Rng::from_seed([seed; 32]);
            let before = rng.elements(stride, Ring::new(size.min(64) as u32));
            let mut after = before.clone();
            rotate(&mut after, d, k, &mut vec![0; stride]);
            let entry = |e: &[u64], y: usize| e[y / 64] >> (y % 64) & 1;
            for y in 0..size {
                prop_assert_eq!(entry(&after, (y + d as usize % size) % size), entry(&before, y));
            }
            let mut after = before.clone();
            flip(&mut after, d, k, &mut vec![0; stride]);
            for y in 0..size {
                prop_assert_eq!(entry(&after, y ^ (d as usize % size)), entry(&before, y));
            }
        }
    }
}
