//! The images of an encrypted matrix under the automorphisms of the split levels.
//!
//! Image sigma, a number of s bits, has the automorphism of level i applied where bit s - i is set: 2^s - 1 key
//! switches for a block, each from an image found before.
//!
//! The block is divided by 2^s modulo Q first, because the sum over all images multiplies by 2^s. It has to be first:
//! the noise of the key switches is no multiple of 2^s, and half of an odd number is near Q / 2.

use crate::context::Context;
use crate::evaluation::EvaluationKeys;
use crate::keyswitch::Switcher;
use crate::layout::Layout;
use crate::rlwe::Ciphertext;
use crate::rows::Rows;
use crate::upload::EncryptedMatrix;
use rayon::prelude::*;

/// All images of all blocks, in slots.
pub(crate) struct Images {
    layout: Layout,
    /// Per block of X: row (prime 2^s + sigma) 2 + part.
    blocks: Vec<Rows<u64>>,
}

impl Images {
    pub(crate) fn new(context: &Context, keys: &EvaluationKeys, x: &EncryptedMatrix) -> Self {
        let layout = x.layout;
        let blocks = x.blocks.par_iter().map(|block| images_of(context, keys, &layout, block)).collect();
        Self { layout, blocks }
    }

    /// `b` (part 0) or `a` (part 1) of image sigma of one block, modulo one prime.
    pub(crate) fn part(
        &self,
        tokens: usize,
        inner: usize,
        prime: usize,
        sigma: usize,
        part: usize,
    ) -> &[u64] {
        let block = &self.blocks[tokens * self.layout.inner_blocks() + inner];
        block.row(2 * (prime * self.layout.images() + sigma) + part)
    }
}

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
