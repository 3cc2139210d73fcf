//! XOR shares of bit vectors that double in length from level to level. No branch and no address
//! depends on a share.

use zeroize::Zeroizing;

use super::queue::Queue;
use crate::{batch::UNIT, correlated::XorPads, cots::SendCots, kernel, parallel};

/// XOR shares of vectors of `2^k` bits, `stride` words each; while they grow only the first `2^j`
/// count.
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

    /// `(1 - r_0, r_0)`: the vectors of 2 bits, from this party's shares `b` of `r_0`.
    pub(crate) fn of_bit_0(k: u32, first: bool, b: &[u64]) -> Vectors {
        let mut data = Zeroizing::new(vec![0; b.len() * stride(k)]);
        for (e, b) in data.chunks_exact_mut(stride(k)).zip(b) {
            e[0] = b << 1 | (b ^ u64::from(first));
        }
        Vectors::new(k, data)
    }

    /// Bits of a position.
    pub(crate) fn k(&self) -> u32 {
        self.k
    }

    /// Words per vector.
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// All words, `[n][stride]`.
    pub(crate) fn words(&self) -> &[u64] {
        self.data.left()
    }

    /// Adds vectors behind these.
    pub(crate) fn append(&mut self, later: Vectors) {
        self.data.append(later.data);
    }

    /// Splits off the first `n` vectors.
    pub(crate) fn take(&mut self, n: usize) -> Vectors {
        Vectors { data: self.data.take(n * self.stride), ..*self }
    }

    /// Moves entry `y` of vector `i` to `(y + d_i) mod 2^k`; `d` is public.
    pub(crate) fn rotate(&mut self, d: &[u64]) {
        self.by_units(d, kernel::rotate);
    }

    /// Moves entry `y` of vector `i` to `y xor d_i`; `d` is public.
    pub(crate) fn flip(&mut self, d: &[u64]) {
        self.by_units(d, kernel::flip);
    }

    /// Calls `work` for a unit of vectors at a time, with `k` and the vectors' `d`.
    fn by_units(&mut self, d: &[u64], work: impl Fn(&mut [u64], u32, &[u64]) + Send + Sync) {
        let k = self.k;
        let parts = self.data.left_mut().chunks_mut(UNIT * self.stride).zip(d.chunks(UNIT));
        parallel::for_each(parts, |(vectors, d)| work(vectors, k, d));
    }

    /// Level `j` as the sender: the message for the first `2^j - 1` bits of each vector times the
    /// peer's bit, and this party's shares of the products.
    pub(crate) fn send_level(&self, j: usize, cots: SendCots) -> (Vec<u8>, Zeroizing<Vec<u64>>) {
        let bits = (1 << j) - 1;
        let e = self.data.left();
        let (message, [own, _]) =
            cots.vectors::<false>(|i| &e[i * self.stride..][..bits.div_ceil(64)], bits, &[]);
        (message, Zeroizing::new(own))
    }

    /// Level `j`: vectors of `2^j` bits become twice as long, given this party's shares `b` of bit
    /// `j` and `own` of the products as sender, and as receiver `pads` and the peer's message.
    pub(crate) fn grow(&mut self, j: usize, b: &[u64], own: &[u64], pads: XorPads, message: &[u8]) {
        let got = Zeroizing::new(pads.finish(message));
        let (stride, part) = (self.stride, UNIT * (1usize << j).div_ceil(64));
        let products = own.chunks(part).zip(got.chunks(part));
        let vectors = self.data.left_mut().chunks_mut(UNIT * stride);
        let parts = vectors.zip(b.chunks(UNIT)).zip(products);
        parallel::for_each(parts, |((vectors, b), (own, got))| kernel::grow(vectors, stride, j, b, own, got));
    }
}

/// Words of a vector.
fn stride(k: u32) -> usize {
    (1usize << k).div_ceil(64)
}
