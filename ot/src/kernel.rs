//! The inner loops: fixed-key AES and the loops around it, on many blocks at a time.
//!
//! | loop                                       | computes                                        |
//! |--------------------------------------------|-------------------------------------------------|
//! | [`Cipher::counters`]                       | `pi(c), pi(c + 1), ..`                          |
//! | [`Cipher::hash`]                           | `pi(y) ^ y`, `y = sigma(x) ^ tweak`             |
//! | [`Cipher::hash_twice`] | `pi(z) ^ pi(sigma(x))`, `z = pi(sigma(x)) ^ tweak` |
//! | [`Cipher::double`]                         | a level of a half-tree: `v -> (H(v), v ^ H(v))` |
//! | [`Cipher::gather`]                         | XORs of ten pseudo-random entries of a table    |
//! | [`Place::value`], [`multiply`]             | values of polynomials over GF(2^128)            |
//! | [`parity`], [`rotate`], [`flip`], [`grow`] | inner products, moves of one-hot vectors        |
//! | [`Bank::fold`], [`transpose`] | XORs of streams by bits of their numbers; rows to columns |
//!
//! `pi` is AES-128. Two implementations compute the same bytes: one with 512-bit registers
//! (AVX-512, VAES, VPCLMUL), used where the machine has them, and a portable one on the `aes`
//! crate, which itself uses AES instructions or constant-time code. For loops without `pi` there is
//! a third one, with 256-bit registers (AVX2, PCLMUL). No branch and no address depends on a block
//! or a share: the entries that `gather` reads and the amounts by which vectors move are public.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod portable;
mod types;
#[cfg(target_arch = "x86_64")]
mod vaes;

use aes::Aes128Enc;

pub(crate) use types::{Correction, LANE, LOCALITY, Place, Tweak};

use crate::block::Block;

/// AES-128 under one key.
#[derive(Clone)]
pub(crate) struct Cipher(Engine);

/// The round keys in the form of a kernel. They wipe themselves.
#[derive(Clone)]
enum Engine {
    Portable(Box<Aes128Enc>),
    #[cfg(target_arch = "x86_64")]
    Vaes(vaes::RoundKeys),
}

/// Runs the kernel that the key was made for.
macro_rules! dispatch {
    ($cipher:expr, $name:ident($($argument:expr),*)) => {
        match &$cipher.0 {
            Engine::Portable(aes) => portable::$name(aes, $($argument),*),
            #[cfg(target_arch = "x86_64")]
            Engine::Vaes(keys) => vaes::$name(keys, $($argument),*),
        }
    };
}

impl Cipher {
    /// With the fastest kernel of this machine.
    pub(crate) fn new(key: Block) -> Cipher {
        #[cfg(target_arch = "x86_64")]
        if vaes::available() {
            return Cipher(Engine::Vaes(vaes::expand_key(key)));
        }
        Cipher::portable(key)
    }

    /// With the portable kernel.
    pub(crate) fn portable(key: Block) -> Cipher {
        Cipher(Engine::Portable(Box::new(portable::expand_key(key))))
    }

    /// `out[i] = pi(first + i)`.
    pub(crate) fn counters(&self, first: u64, out: &mut [Block]) {
        dispatch!(self, counters(first, out));
    }

    /// `pi(x)` for one block.
    pub(crate) fn permute(&self, counter: u64) -> Block {
        let mut out = [Block::ZERO];
        self.counters(counter, &mut out);
        out[0]
    }

    /// `out[i] = pi(y) ^ y`, `y = sigma(x[i]) ^ tweak_i`.
    ///
    /// # Panics
    /// If lengths differ.
    pub(crate) fn hash(&self, tweak: Tweak, x: &[Block], out: &mut [Block]) {
        assert_eq!(x.len(), out.len(), "one hash a block");
        dispatch!(self, hash(tweak, x, out));
    }

    /// `out[i] = pi(z) ^ y`, `y = pi(sigma(x[i]))`, `z = y ^ tweak_i`.
    ///
    /// # Panics
    /// If lengths differ.
    pub(crate) fn hash_twice(&self, tweak: Tweak, x: &[Block], out: &mut [Block]) {
        assert_eq!(x.len(), out.len(), "one hash a block");
        dispatch!(self, hash_twice(tweak, x, out));
    }

    /// Applies the correction to the first half `v`, then replaces it by `H(v)` and the second half
    /// by `v ^ H(v)`, with `H(v) = pi(y) ^ y`, `y = sigma(v)`. Returns the XOR of the new first
    /// half.
    ///
    /// # Panics
    /// If the length is not a power of two, or below 2.
    pub(crate) fn double(&self, nodes: &mut [Block], correction: Option<Correction>) -> Block {
        assert!(nodes.len().is_power_of_two() && nodes.len() > 1, "{} nodes", nodes.len());
        dispatch!(self, double(nodes, correction))
    }

    /// Adds to `out[i]` ten entries of `table`, those of row `first + i`. A row is ten words of 32
    /// bits of the counter stream (eight rows are twenty blocks); a word times the table's length,
    /// divided by `2^32`, is the number of an entry.
    ///
    /// # Panics
    /// If the table is empty or has more than 2^27 entries.
    pub(crate) fn gather(&self, table: &[Block], first: u64, out: &mut [Block]) {
        assert!((1..=1 << 27).contains(&table.len()), "table of {} entries", table.len());
        dispatch!(self, gather(table, first, out));
    }
}

/// The keys of `2^k` generators whose streams are summed together.
pub(crate) struct Bank(Keys);

enum Keys {
    Portable(Vec<Aes128Enc>),
    #[cfg(target_arch = "x86_64")]
    Vaes(Vec<vaes::RoundKeys>),
}

impl Bank {
    /// With the fastest kernel of this machine.
    ///
    /// # Panics
    /// If the number of keys is not a power of two.
    pub(crate) fn new(keys: &[Block]) -> Bank {
        assert!(keys.len().is_power_of_two(), "{} keys", keys.len());
        #[cfg(target_arch = "x86_64")]
        if vaes::available() {
            return Bank(Keys::Vaes(keys.iter().map(|&key| vaes::expand_key(key)).collect()));
        }
        Bank::portable(keys)
    }

    /// With the portable kernel.
    pub(crate) fn portable(keys: &[Block]) -> Bank {
        Bank(Keys::Portable(keys.iter().map(|&key| portable::expand_key(key)).collect()))
    }

    /// For `2^K` generators: `sum` is the XOR of all streams from block `counter` on, `rows[b]`
    /// that of the streams whose number has bit `b` set. `rows` is `[K][sum.len()]`; the length is
    /// a multiple of [`LANE`] words.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub(crate) fn fold<const K: usize>(&self, counter: u64, sum: &mut [u64], rows: &mut [u64]) {
        assert!(sum.len().is_multiple_of(LANE) && rows.len() == K * sum.len(), "K rows of whole registers");
        match &self.0 {
            Keys::Portable(keys) => portable::fold::<K>(keys, counter, sum, rows),
            #[cfg(target_arch = "x86_64")]
            Keys::Vaes(keys) => vaes::fold::<K>(keys, counter, sum, rows),
        }
    }
}

/// Runs the fastest kernel of this machine.
macro_rules! dispatch_free {
    ($name:ident($($argument:expr),*)) => {{
        #[cfg(target_arch = "x86_64")]
        if vaes::available() {
            return vaes::$name($($argument),*);
        }
        #[cfg(target_arch = "x86_64")]
        if avx2::available() {
            return avx2::$name($($argument),*);
        }
        portable::$name($($argument),*)
    }};
}

/// Clears the lowest bit of each block, then applies the correction.
///
/// # Panics
/// If the number of blocks is odd.
pub(crate) fn clear_low_bits(blocks: &mut [Block], correction: Option<Correction>) {
    assert!(blocks.len().is_multiple_of(2), "two halves");
    dispatch_free!(clear_low_bits(blocks, correction))
}

/// Packs the blocks' lowest bits, eight to a byte; the unused bits of the last byte are zeros.
///
/// # Panics
/// If `out` is not `ceil(n / 8)` bytes long.
pub(crate) fn low_bits(blocks: &[Block], out: &mut [u8]) {
    assert_eq!(out.len(), blocks.len().div_ceil(8), "one bit a block");
    dispatch_free!(low_bits(blocks, out))
}

/// Adds `delta` to the blocks whose bit in `bits` is set.
///
/// # Panics
/// If `bits` is not `ceil(n / 8)` bytes long.
pub(crate) fn add_where(blocks: &mut [Block], bits: &[u8], delta: Block) {
    assert_eq!(bits.len(), blocks.len().div_ceil(8), "one bit a block");
    dispatch_free!(add_where(blocks, bits, delta))
}

impl Place {
    /// The point `b`, for polynomials of about `blocks` coefficients or more.
    pub(crate) fn new(b: Block, blocks: usize) -> Place {
        let powers = std::iter::successors(Some(Block(1)), |&power| Some(multiply(power, b)));
        let powers: Vec<Block> = powers.take(blocks.next_multiple_of(16).clamp(16, 64)).collect();
        let step = powers.last().map_or(Block(1), |&last| multiply(last, b));
        Place { powers, step }
    }

    /// `sum_x b^x v_x`, `v_0` being the first block.
    pub(crate) fn value(&self, v: &[Block]) -> Block {
        dispatch_free!(value(self, v))
    }

    /// The same, of two words a block, the lower one first.
    ///
    /// # Panics
    /// If the number of words is odd.
    pub(crate) fn value_of_words(&self, v: &[u64]) -> Block {
        assert!(v.len().is_multiple_of(2), "two words a block");
        dispatch_free!(value_of_words(self, v))
    }
}

/// The product in GF(2^128).
pub(crate) fn multiply(a: Block, b: Block) -> Block {
    dispatch_free!(multiply(a, b))
}

/// Transposes eight 64 x 64 bit matrices, of which matrix `i` is word `i` of all rows.
pub(crate) fn transpose(rows: &mut [[u64; 8]; 64]) {
    dispatch_free!(transpose(rows))
}

/// Bit `t` of `out[i]` is the inner product of vector `i`, of `stride` words, with plane `t` of at
/// most 64 public ones. `planes` is `[ceil(width / 8)][stride][8]`.
///
/// # Panics
/// If lengths do not fit.
pub(crate) fn parity(vectors: &[u64], stride: usize, planes: &[u64], out: &mut [u64]) {
    assert!(
        vectors.len() == out.len() * stride && planes.len().is_multiple_of(stride * LANE),
        "whole vectors"
    );
    dispatch_free!(parity(vectors, stride, planes, out))
}

/// Moves entry `y` of vector `i`, of `2^k` bits, to `(y + d_i) mod 2^k`; `d` is public.
///
/// # Panics
/// Unless there is a vector for each `d`.
pub(crate) fn rotate(vectors: &mut [u64], k: u32, d: &[u64]) {
    assert_eq!(vectors.len(), d.len() * (1usize << k).div_ceil(64), "a vector for each rotation");
    dispatch_free!(rotate(vectors, k, d))
}

/// Moves entry `y` of vector `i`, of `2^k` bits, to `y xor d_i`; `d` is public.
///
/// # Panics
/// Unless there is a vector for each `d`.
pub(crate) fn flip(vectors: &mut [u64], k: u32, d: &[u64]) {
    assert_eq!(vectors.len(), d.len() * (1usize << k).div_ceil(64), "a vector for each mask");
    dispatch_free!(flip(vectors, k, d))
}

/// Makes vectors `e` of `2^j` bits twice as long: `(e ^ p, p)`, where `p = e b ^ own ^ got` in all
/// bits but the last, which makes the bits of `p` sum to `b`.
///
/// # Panics
/// If lengths do not fit.
pub(crate) fn grow(vectors: &mut [u64], stride: usize, j: usize, b: &[u64], own: &[u64], got: &[u64]) {
    let words = (1usize << j).div_ceil(64);
    assert!(2 << j <= 64 * stride && vectors.len() == b.len() * stride, "room for twice as many bits");
    assert!(own.len() == b.len() * words && got.len() == own.len(), "products of all bits");
    dispatch_free!(grow(vectors, stride, j, b, own, got))
}

/// `to[i] = from[i] ^ delta`.
pub(crate) fn add_to_all(from: &[Block], delta: Block, to: &mut [Block]) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = from ^ delta;
    }
}

#[cfg(test)]
mod tests;
