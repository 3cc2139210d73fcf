//! The images of an encrypted matrix under the automorphisms of the split levels.
//!
//! Image sigma, a number of s bits, has the automorphism of level i applied where bit s - i is set: 2^s - 1 key
//! switches for a block, each from an image found before.
//!
//! The block is divided by 2^s modulo Q first, because the sum over all images multiplies by 2^s. It has to be first:
//! the noise of the key switches is no multiple of 2^s, and half of an odd number is near Q / 2.

use crate::context::Context;
use crate::evaluation::EvaluationKeys;
use crate::kernel::LINE;
use crate::keyswitch::Switcher;
use crate::layout::Layout;
use crate::rlwe::Ciphertext;
use crate::rows::Rows;
use crate::upload::EncryptedMatrix;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// All images of all blocks, in slots.
pub(crate) struct Images {
    layout: Layout,
    /// For each block of X and prime: line by line, of each image `b` and `a`.
    pairs: Vec<Vec<Vec<u64>>>,
}

impl Images {
    pub(crate) fn new(context: &Context, keys: &EvaluationKeys, x: &EncryptedMatrix) -> Self {
        let layout = x.layout;
        let lines = |block: &Arc<Ciphertext>| -> Vec<Vec<u64>> {
            let rows = images_of(context, keys, &layout, block);
            (0..layout.levels).map(|prime| by_line(&rows, prime, layout.images())).collect()
        };
        Self { layout, pairs: x.blocks.par_iter().map(lines).collect() }
    }

    /// The pairs of one block, modulo one prime, from image sigma of these slots on, as [`crate::kernel::add_outer`] takes them.
    pub(crate) fn pairs(
        &self,
        tokens: usize,
        inner: usize,
        prime: usize,
        sigma: usize,
        slots: &Range<usize>,
    ) -> &[u64] {
        let pairs = &self.pairs[tokens * self.layout.inner_blocks() + inner][prime];
        let stride = self.stride();
        let end = pairs.len().min(slots.end / LINE * stride);
        &pairs[slots.start / LINE * stride + 2 * LINE * sigma..end]
    }

    /// Words from one line to the next.
    pub(crate) fn stride(&self) -> usize {
        2 * LINE * self.layout.images()
    }
}

/// The rows of one prime, a line of each after the other.
fn by_line(rows: &Rows<u64>, prime: usize, images: usize) -> Vec<u64> {
    let of_prime = || (0..2 * images).map(|i| rows.row(2 * prime * images + i));
    let n = rows.row(0).len();
    let mut lines = Vec::with_capacity(2 * images * n);
    (0..n)
        .step_by(LINE)
        .for_each(|at| of_prime().for_each(|row| lines.extend_from_slice(&row[at..at + LINE])));
    lines
}

/// Row (prime 2^s + sigma) 2 + part.
fn images_of(context: &Context, keys: &EvaluationKeys, layout: &Layout, block: &Ciphertext) -> Rows<u64> {
    let (count, levels) = (layout.images(), layout.levels);
    let mut rows = Rows::new(2 * count * levels, context.degree());
    for i in 0..levels {
        rows.row_mut(2 * i * count).copy_from_slice(block.b.row(i));
        rows.row_mut(2 * i * count + 1).copy_from_slice(block.a.row(i));
    }
    if layout.split == 0 {
        return rows;
    }
    for (i, prime) in context.data_primes(levels).iter().enumerate() {
        let factor = prime.inverse_of_two_to(layout.split);
        prime.multiply(rows.row_mut(2 * i * count), factor);
        prime.multiply(rows.row_mut(2 * i * count + 1), factor);
    }
    let mut images = vec![in_coefficients(context, levels, &rows, count)];
    for level in 1..=layout.split {
        let index = context.automorphism_of_gap(layout.k >> level);
        let rotate = |switcher: &mut Switcher, ct: Ciphertext| {
            let mut image = Ciphertext::zero(context, levels);
            switcher.automorphism(context, index, &keys.galois[index], &ct, &mut image);
            [ct, image]
        };
        let pairs = images.into_par_iter().map_init(|| Switcher::new(context, levels), rotate);
        images = pairs.collect::<Vec<_>>().into_iter().flatten().collect();
    }
    for (sigma, image) in images.iter().enumerate().skip(1) {
        for (i, prime) in context.data_primes(levels).iter().enumerate() {
            let at = 2 * (i * count + sigma);
            rows.row_mut(at).copy_from_slice(image.b.row(i));
            rows.row_mut(at + 1).copy_from_slice(image.a.row(i));
            prime.forward(rows.row_mut(at));
            prime.forward(rows.row_mut(at + 1));
        }
    }
    rows
}

/// Image 0 in coefficients.
fn in_coefficients(context: &Context, levels: usize, rows: &Rows<u64>, count: usize) -> Ciphertext {
    let mut ct = Ciphertext::zero(context, levels);
    for (i, prime) in context.data_primes(levels).iter().enumerate() {
        for (part, target) in [&mut ct.b, &mut ct.a].into_iter().enumerate() {
            target.row_mut(i).copy_from_slice(rows.row(2 * i * count + part));
            prime.inverse(target.row_mut(i));
        }
    }
    ct
}
