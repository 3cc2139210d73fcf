//! The inner loops for any machine; also the definition that the vector kernels are tested against.

use aes::{
    Aes128Enc,
    cipher::{Array, BlockCipherEncrypt, KeyInit},
};
use zeroize::{Zeroize, Zeroizing};

use super::types::{Correction, LANE, LOCALITY, Place, Tweak};
use crate::{
    bits::bit,
    block::{Block, LAMBDA},
};

/// Blocks encrypted at a time: enough to keep the pipeline full.
const WIDE: usize = 64;

/// Eight rows of ten words are twenty blocks.
const ROWS: usize = 8;
const ROW_BLOCKS: usize = 20;

pub(super) fn expand_key(key: Block) -> Aes128Enc {
    Aes128Enc::new(&key.to_bytes().into())
}

/// Blocks inside the cipher, wiped afterwards.
struct Wide([aes::Block; WIDE]);

impl Wide {
    fn new() -> Wide {
        Wide([Array([0; 16]); WIDE])
    }

    /// Encrypts `input(0), .., input(n - 1)`.
    fn encrypt(
        &mut self,
        aes: &Aes128Enc,
        n: usize,
        input: impl Fn(usize) -> Block,
    ) -> impl Iterator<Item = Block> {
        for (i, block) in self.0[..n].iter_mut().enumerate() {
            *block = input(i).to_bytes().into();
        }
        aes.encrypt_blocks(&mut self.0[..n]);
        self.0[..n].iter().map(|block| Block::from_bytes((*block).into()))
    }
}

impl Drop for Wide {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(|block| block.0.zeroize());
    }
}

pub(super) fn counters(aes: &Aes128Enc, first: u64, out: &mut [Block]) {
    let mut wide = Wide::new();
    for (at, out) in (0..).step_by(WIDE).zip(out.chunks_mut(WIDE)) {
        let images = wide.encrypt(aes, out.len(), |i| Block(u128::from(first + (at + i) as u64)));
        out.iter_mut().zip(images).for_each(|(out, image)| *out = image);
    }
}

pub(super) fn hash(aes: &Aes128Enc, tweak: Tweak, x: &[Block], out: &mut [Block]) {
    let mut wide = Wide::new();
    for (at, (x, out)) in (0..).step_by(WIDE).zip(x.chunks(WIDE).zip(out.chunks_mut(WIDE))) {
        let y = |i: usize| x[i].sigma() ^ tweak.at(at + i);
        for (i, image) in wide.encrypt(aes, x.len(), y).enumerate() {
            out[i] = image ^ y(i);
        }
    }
}

pub(super) fn hash_twice(aes: &Aes128Enc, tweak: Tweak, x: &[Block], out: &mut [Block]) {
    let mut wide = Wide::new();
    for (at, (x, out)) in (0..).step_by(WIDE).zip(x.chunks(WIDE).zip(out.chunks_mut(WIDE))) {
        let first = wide.encrypt(aes, x.len(), |i| x[i].sigma());
        out.iter_mut().zip(first).for_each(|(out, image)| *out = image);
        let second = wide.encrypt(aes, x.len(), |i| out[i] ^ tweak.at(at + i));
        let second: Zeroizing<Vec<Block>> = Zeroizing::new(second.collect());
        out.iter_mut().zip(second.iter()).for_each(|(out, &image)| *out ^= image);
    }
}

impl Tweak {
    /// The tweak of block `i`.
    pub(super) fn at(self, i: usize) -> Block {
        let index = self.index.wrapping_add(self.stride.wrapping_mul(i as u64));
        Block(u128::from(self.segment) << 64 | u128::from(index))
    }
}

pub(super) fn double(aes: &Aes128Enc, nodes: &mut [Block], correction: Option<Correction>) -> Block {
    let (first, second) = nodes.split_at_mut(nodes.len() / 2);
    correct(first, correction);
    let mut wide = Wide::new();
    let mut sum = Block::ZERO;
    for (first, second) in first.chunks_mut(WIDE).zip(second.chunks_mut(WIDE)) {
        for (i, image) in wide.encrypt(aes, first.len(), |i| first[i].sigma()).enumerate() {
            second[i] = image ^ first[i].sigma();
        }
        for (first, second) in first.iter_mut().zip(second) {
            sum ^= *second;
            (*first, *second) = (*second, *first ^ *second);
        }
    }
    sum
}

pub(super) fn gather(aes: &Aes128Enc, table: &[Block], first: u64, out: &mut [Block]) {
    let mut blocks = [Block::ZERO; ROW_BLOCKS];
    let mut row = first;
    let mut rest = out;
    while !rest.is_empty() {
        let skip = row as usize % ROWS;
        counters(aes, row / ROWS as u64 * ROW_BLOCKS as u64, &mut blocks);
        let word = |i: usize| (blocks[i / 4].0 >> (32 * (i % 4))) as u32;
        let (now, later) = rest.split_at_mut(rest.len().min(ROWS - skip));
        for (out, r) in now.iter_mut().zip(skip..) {
            for i in 0..LOCALITY {
                let entry = (u64::from(word(LOCALITY * r + i)) * table.len() as u64) >> 32;
                *out ^= table[entry as usize];
            }
        }
        row += now.len() as u64;
        rest = later;
    }
}

pub(super) fn fold<const K: usize>(keys: &[Aes128Enc], counter: u64, sum: &mut [u64], rows: &mut [u64]) {
    assert_eq!(keys.len(), 1 << K, "2^K generators");
    let words = sum.len();
    let mut stretch = Zeroizing::new(vec![Block::ZERO; words / 2]);
    sum.fill(0);
    rows.fill(0);
    for (x, aes) in keys.iter().enumerate() {
        counters(aes, counter, &mut stretch);
        let add = |into: &mut [u64]| {
            for (into, block) in into.as_chunks_mut::<2>().0.iter_mut().zip(stretch.iter()) {
                into[0] ^= block.0 as u64;
                into[1] ^= (block.0 >> 64) as u64;
            }
        };
        add(sum);
        rows.chunks_exact_mut(words)
            .enumerate()
            .filter(|(b, _)| x >> b & 1 == 1)
            .for_each(|(_, row)| add(row));
    }
}

/// Every node is read and written.
fn correct(nodes: &mut [Block], correction: Option<Correction>) {
    let Some(Correction { at, add }) = correction else { return };
    let half = nodes.len() / 2;
    for (nodes, add) in nodes.chunks_exact_mut(half.max(1)).zip(add) {
        for (i, node) in nodes.iter_mut().enumerate() {
            let difference = (i ^ at) as u64;
            // The top bit of d | -d is set unless d = 0.
            let equal = (difference | difference.wrapping_neg()) >> 63 ^ 1;
            *node ^= add.times(equal);
        }
    }
}

pub(super) fn clear_low_bits(blocks: &mut [Block], correction: Option<Correction>) {
    blocks.iter_mut().for_each(|block| *block = block.without_low_bit());
    correct(blocks, correction);
}

pub(super) fn low_bits(blocks: &[Block], out: &mut [u8]) {
    for (blocks, out) in blocks.chunks(8).zip(out) {
        *out = blocks.iter().rev().fold(0, |byte, block| byte << 1 | block.bit(0) as u8);
    }
}

pub(super) fn add_where(blocks: &mut [Block], bits: &[u8], delta: Block) {
    for (i, block) in blocks.iter_mut().enumerate() {
        *block ^= delta.times(bit(bits, i));
    }
}

/// Swaps off-diagonal squares of side 32, 16, .., 1.
#[inline(always)]
pub(super) fn transpose(rows: &mut [[u64; 8]; 64]) {
    let mut side = 32;
    let mut mask = u64::from(u32::MAX);
    while side > 0 {
        for i in (0..64).filter(|i| i & side == 0) {
            let (above, below) = rows.split_at_mut(i + side);
            for (a, b) in above[i].iter_mut().zip(&mut below[0]) {
                let swap = ((*a >> side) ^ *b) & mask;
                *a ^= swap << side;
                *b ^= swap;
            }
        }
        side /= 2;
        mask ^= mask << side;
    }
}

pub(super) fn value(place: &Place, v: &[Block]) -> Block {
    v.iter().rev().fold(Block::ZERO, |sum, &v| multiply(sum, place.powers[1]) ^ v)
}

pub(super) fn value_of_words(place: &Place, v: &[u64]) -> Block {
    let block = |pair: &[u64; 2]| Block(u128::from(pair[1]) << 64 | u128::from(pair[0]));
    v.as_chunks::<2>()
        .0
        .iter()
        .rev()
        .fold(Block::ZERO, |sum, pair| multiply(sum, place.powers[1]) ^ block(pair))
}

/// Doubles and adds.
pub(super) fn multiply(a: Block, b: Block) -> Block {
    (0..LAMBDA).rev().fold(Block::ZERO, |sum, j| sum.times_x() ^ a.times(b.bit(j)))
}

pub(super) fn parity(vectors: &[u64], stride: usize, planes: &[u64], out: &mut [u64]) {
    for (e, out) in vectors.chunks_exact(stride).zip(out) {
        *out = planes.chunks_exact(stride * LANE).rev().fold(0, |all, planes| {
            let mut sums = [0; LANE];
            for (e, planes) in e.iter().zip(planes.as_chunks::<LANE>().0) {
                sums.iter_mut().zip(planes).for_each(|(sum, plane)| *sum ^= e & plane);
            }
            sums.iter().rev().fold(all, |all, sum| all << 1 | odd(*sum))
        });
    }
}

#[inline(always)]
pub(super) fn rotate(vectors: &mut [u64], k: u32, d: &[u64]) {
    if k < 6 {
        let size = 1 << k;
        for (e, d) in vectors.iter_mut().zip(d) {
            *e = (*e << size | *e) >> (size - d % size) & ((1 << size) - 1);
        }
        return;
    }
    if k == 6 {
        return vectors.iter_mut().zip(d).for_each(|(e, &d)| *e = e.rotate_left((d % 64) as u32));
    }
    let words = 1usize << (k - 6);
    let mut twice = Zeroizing::new(vec![0; 2 * words]);
    for (e, &d) in vectors.chunks_exact_mut(words).zip(d) {
        let (whole, part) = ((d as usize / 64) & (words - 1), d % 64);
        twice.chunks_exact_mut(words).for_each(|copy| copy.copy_from_slice(e));
        let (before, from) = (&twice[words - whole - 1..], &twice[words - whole..]);
        for (out, (from, before)) in e.iter_mut().zip(from.iter().zip(before)) {
            *out = from << part | before >> 1 >> (63 - part);
        }
    }
}

/// Where bit `j` of an entry's number is clear.
pub(super) const CLEAR: [u64; 6] = [
    0x5555_5555_5555_5555,
    0x3333_3333_3333_3333,
    0x0f0f_0f0f_0f0f_0f0f,
    0x00ff_00ff_00ff_00ff,
    0x0000_ffff_0000_ffff,
    0x0000_0000_ffff_ffff,
];

pub(super) fn flip(vectors: &mut [u64], k: u32, d: &[u64]) {
    let words = (1usize << k).div_ceil(64);
    let mut turned = Zeroizing::new(vec![0; words]);
    for (e, &d) in vectors.chunks_exact_mut(words).zip(d) {
        let high = (d as usize / 64) & (words - 1);
        turned.iter_mut().enumerate().for_each(|(w, out)| *out = e[w ^ high]);
        for (j, clear) in CLEAR.iter().enumerate().take(k as usize).filter(|(j, _)| d >> j & 1 == 1) {
            turned.iter_mut().for_each(|w| *w = (*w & clear) << (1 << j) | (*w >> (1 << j)) & clear);
        }
        e.copy_from_slice(&turned);
    }
}

#[inline(always)]
pub(super) fn grow(vectors: &mut [u64], stride: usize, j: usize, b: &[u64], own: &[u64], got: &[u64]) {
    let last = 1 << (((1 << j) - 1) % 64);
    // The product's last word, given the sum of the others.
    let product = |e: u64, b: u64, others: u64, sum: u64| {
        let p = (e & b.wrapping_neg() & (last - 1)) ^ others;
        p | last & (b ^ odd(sum ^ p)).wrapping_neg()
    };
    if j < 6 {
        let inputs = b.iter().zip(own.iter().zip(got));
        let step = |(e, (&b, (own, got))): (&mut u64, (&u64, (&u64, &u64)))| {
            let p = product(*e, b, own ^ got, 0);
            *e ^= p | p << (1 << j);
        };
        // Words side by side have a loop of their own, for wide registers.
        return match stride {
            1 => vectors.iter_mut().zip(inputs).for_each(step),
            _ => vectors.iter_mut().step_by(stride).zip(inputs).for_each(step),
        };
    }
    let words = 1 << (j - 6);
    let products = own.chunks_exact(words).zip(got.chunks_exact(words));
    for ((e, &b), (own, got)) in vectors.chunks_exact_mut(stride).zip(b).zip(products) {
        let (e, upper) = e.split_at_mut(words);
        let mut sum = 0;
        let all_but_last = e[..words - 1].iter_mut().zip(&mut *upper).zip(own.iter().zip(got));
        for ((e, upper), (own, got)) in all_but_last {
            let p = *e & b.wrapping_neg() ^ own ^ got;
            sum ^= p;
            *e ^= p;
            *upper = p;
        }
        let w = words - 1;
        let p = product(e[w], b, own[w] ^ got[w], sum);
        e[w] ^= p;
        upper[w] = p;
    }
}

/// The sum of a word's bits.
#[inline(always)]
fn odd(word: u64) -> u64 {
    u64::from(word.count_ones() & 1)
}
