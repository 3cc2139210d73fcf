//! The images of an encrypted matrix under the automorphisms of the split levels.
//!
//! Image sigma, a number of s bits, has the automorphism of level i applied where bit s - i is set:
//! 2^s - 1 key switches for a block, each from the image without the lowest of its bits. An image's
//! digits serve all images that come from it.
//!
//! The block is divided by 2^s modulo Q first, because the sum over all images multiplies by 2^s.
//! It has to be first: the noise of the key switches is no multiple of 2^s, and half of an odd
//! number is near Q / 2.

use crate::context::Context;
use crate::evaluation::EvaluationKeys;
use crate::kernel::{self, LINE};
use crate::keyswitch::Switcher;
use crate::layout::Layout;
use crate::pool::Pool;
use crate::rlwe::Ciphertext;
use crate::rows::Rows;
use crate::upload::EncryptedMatrix;
use rayon::prelude::*;
use std::ops::Range;

/// All images of all blocks, in slots.
pub(crate) struct Images {
    layout: Layout,
    /// For each block of X a row of each prime: line by line, of each image `b` and `a`, as
    /// factors.
    pairs: Vec<Rows<u64>>,
}

impl Images {
    pub(crate) fn new(
        context: &Context,
        keys: &EvaluationKeys,
        switchers: &Pool<Switcher>,
        x: &EncryptedMatrix,
    ) -> Self {
        let layout = x.layout;
        let pairs = x.blocks.par_iter().map(|block| {
            let maker = Maker { context, keys, layout: &layout, switchers };
            let images = (layout.split > 0).then(|| maker.all(block));
            let images: Vec<&Ciphertext> =
                images.as_ref().map_or(vec![&**block], |images| images.iter().collect());
            let mut rows = Rows::new(layout.levels, 2 * images.len() * context.degree());
            let rows_of_primes: Vec<_> = rows.iter_mut().enumerate().collect();
            rows_of_primes.into_par_iter().for_each(|(i, lines)| {
                by_line(&images, i, lines);
                kernel::to_factors(lines, context.primes()[i].modulus);
            });
            rows
        });
        Self { layout, pairs: pairs.collect() }
    }

    /// The pairs of one block, modulo one prime, from image sigma of these slots on, as
    /// [`crate::kernel::add_outer`] takes them.
    pub(crate) fn pairs(
        &self,
        tokens: usize,
        inner: usize,
        prime: usize,
        sigma: usize,
        slots: &Range<usize>,
    ) -> &[u64] {
        let pairs = self.pairs[tokens * self.layout.inner_blocks() + inner].row(prime);
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
fn by_line(images: &[&Ciphertext], prime: usize, lines: &mut [u64]) {
    let rows: Vec<&[u64]> =
        images.iter().flat_map(|image| [image.b.row(prime), image.a.row(prime)]).collect();
    for (line, to) in lines.chunks_exact_mut(LINE * rows.len()).enumerate() {
        for (to, row) in to.chunks_exact_mut(LINE).zip(&rows) {
            to.copy_from_slice(&row[line * LINE..(line + 1) * LINE]);
        }
    }
}

/// What makes the images of a block.
struct Maker<'a> {
    context: &'a Context,
    keys: &'a EvaluationKeys,
    layout: &'a Layout,
    switchers: &'a Pool<Switcher>,
}

impl Maker<'_> {
    /// All images, in slots and in order.
    fn all(&self, block: &Ciphertext) -> Vec<Ciphertext> {
        let Self { context, layout, .. } = *self;
        let mut first = Ciphertext::zero(context, layout.levels);
        for (i, prime) in context.data_primes(layout.levels).iter().enumerate() {
            let factor = prime.inverse_of_two_to(layout.split);
            for (from, to) in [(&block.b, &mut first.b), (&block.a, &mut first.a)] {
                to.row_mut(i).copy_from_slice(from.row(i));
                prime.multiply(to.row_mut(i), factor);
            }
        }
        let mut images = vec![(0, first)];
        let mut from = 0;
        // Those found last have no images of their own yet.
        while from < images.len() {
            let made: Vec<_> =
                images[from..].par_iter().flat_map_iter(|(sigma, ct)| self.of(*sigma, ct)).collect();
            from = images.len();
            images.extend(made);
        }
        images.sort_by_key(|(sigma, _)| *sigma);
        images.into_iter().map(|(_, ct)| ct).collect()
    }

    /// Images of image sigma by one more automorphism, of a level above those it has.
    fn of(&self, sigma: usize, ct: &Ciphertext) -> Vec<(usize, Ciphertext)> {
        let Self { context, keys, layout, switchers } = *self;
        let used = if sigma == 0 { layout.split } else { sigma.trailing_zeros() };
        if used == 0 {
            return vec![];
        }
        let mut switcher = switchers.take(|| Switcher::new(context, layout.levels));
        switcher.decompose(context, &ct.a);
        let images = (0..used).map(|bit| {
            let index = context.automorphism_of_gap(layout.k >> (layout.split - bit));
            let mut image = Ciphertext::zero(context, layout.levels);
            let permutation = context.automorphisms()[index].slots();
            switcher.automorphism(context, permutation, &keys.galois[index], ct, &mut image);
            (sigma | 1 << bit, image)
        });
        let images = images.collect();
        switchers.give(switcher);
        images
    }
}
