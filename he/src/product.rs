//! The evaluator: encrypted matrices times plain ones, packed and answered.
//!
//! Per class of jobs: images of the inputs under the split automorphisms, units group by group,
//! packing of units, reply. Weights pass through a few tiles a thread and are never held as a whole
//! in transformed form.

use crate::context::Context;
use crate::evaluation::EvaluationKeys;
use crate::images::Images;
use crate::interleave::{self, Unit, Workspaces};
use crate::kernel::{self, STRIP, Sums};
use crate::layout::Layout;
use crate::pool::Pool;
use crate::reply::{Reply, Seeds, reshare};
use crate::reply_len;
use crate::rlwe::Ciphertext;
use crate::rows::Windows;
use crate::schedule::{self, Class};
use crate::upload::EncryptedMatrix;
use crate::weights::{Butterfly, Plain, Tile};
use rand::CryptoRng;
use rayon::prelude::*;
use std::ops::Range;
use zeroize::Zeroize;

/// One product: the client's encrypted X times the server's W.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// X, `[tokens, inner]`.
    pub x: &'a EncryptedMatrix,
    /// W, `[inner, outer]` row-major, of the kind the layout of `x` was made for.
    pub w: Plain<'a>,
}

/// The reply to the client, and the server's shares `[tokens, outer]` of all products, job by job.
///
/// Jobs with the same X are cheaper in a row; one job with the matrices side by side is cheaper
/// still.
///
/// # Panics
/// If a matrix has not the shape or kind of its layout.
pub fn multiply(
    context: &Context,
    keys: &EvaluationKeys,
    jobs: &[Job<'_>],
    rng: &mut (impl CryptoRng + ?Sized),
) -> (Vec<u8>, Vec<Vec<u64>>) {
    let layouts: Vec<Layout> = jobs.iter().map(|job| job.x.layout).collect();
    for (job, layout) in jobs.iter().zip(&layouts) {
        assert_eq!(job.w.operand(), layout.operand, "W is of the kind the layout was made for");
        assert_eq!(job.w.len(), layout.shape.inner * layout.shape.outer, "W is [inner, outer]");
        assert_eq!(layout.degree, context.degree(), "layout and context have the same degree");
    }
    let mut bytes = Vec::with_capacity(reply_len(context, &layouts));
    let mut shares: Vec<Vec<u64>> = layouts.iter().map(|l| vec![0; l.shape.tokens * l.shape.outer]).collect();
    for class in schedule::classes(&layouts) {
        let mut replies: Vec<Reply> = Vec::with_capacity(class.replies());
        evaluate(context, keys, &class, jobs, |ciphertexts| {
            let seeded: Vec<_> = ciphertexts.into_iter().map(|ct| (ct, Seeds::fresh(rng))).collect();
            let answer = |(ct, seeds)| reshare(context, keys, class.format, ct, &seeds);
            replies.extend(seeded.into_par_iter().map(answer).collect::<Vec<_>>());
        });
        replies.iter().for_each(|reply| bytes.extend_from_slice(&reply.bytes));
        for &(job, first_unit) in &class.jobs {
            let outer = layouts[job].shape.outer;
            schedule::for_each_output(
                &class,
                &layouts[job],
                first_unit,
                |token, column, reply, coefficient| {
                    shares[job][token * outer + column] = replies[reply].share[coefficient];
                },
            );
        }
    }
    (bytes, shares)
}

/// Calls `emit` with the packed results of a class, in order, some at a time; in coefficients.
pub(crate) fn evaluate(
    context: &Context,
    keys: &EvaluationKeys,
    class: &Class,
    jobs: &[Job<'_>],
    mut emit: impl FnMut(Vec<Ciphertext>),
) {
    let per_reply = class.units_per_reply();
    let workspaces = Workspaces::new();
    let (mut pending, mut emitted): (Vec<Unit>, usize) = (Vec::new(), 0);
    let mut images: Option<(&EncryptedMatrix, Images)> = None;
    let mut flush = |pending: &mut Vec<Unit>, all: bool| {
        let take = if all { pending.len() } else { pending.len() / per_reply * per_reply };
        let rest = pending.split_off(take);
        let mut chunks: Vec<Vec<Unit>> = Vec::new();
        for (i, ct) in std::mem::replace(pending, rest).into_iter().enumerate() {
            if i % per_reply == 0 {
                chunks.push(Vec::with_capacity(per_reply));
            }
            chunks.last_mut().expect("a chunk was pushed at i = 0").push(ct);
        }
        let first = emitted;
        emitted += chunks.len();
        let pack = |(i, units)| interleave::pack(context, keys, class, &workspaces, first + i, units);
        emit(chunks.into_par_iter().enumerate().map(pack).collect());
    };
    for &(job, first_unit) in &class.jobs {
        let Job { x, w } = jobs[job];
        if images.as_ref().is_none_or(|(of, _)| !std::ptr::eq(*of, x)) {
            drop(images.take());
            images = Some((x, Images::new(context, keys, &workspaces.switchers, x)));
        }
        let (_, images) = images.as_ref().expect("set just above");
        let layout = &x.layout;
        // Some groups at a time: enough for all threads and to fill a reply, few enough to hold.
        let strip = strip(layout, rayon::current_num_threads());
        let slab = per_reply.div_ceil(layout.token_blocks()).max(strip * rayon::current_num_threads());
        let slab = slab.next_multiple_of(strip);
        let butterfly = Butterfly::new(layout);
        let (units, idle) = (&workspaces.units, Pool::new());
        let product = Product { context, layout, images, w, butterfly, strip, units, idle };
        for first in (0..layout.column_groups()).step_by(slab) {
            let end = (first + slab).min(layout.column_groups());
            let strips = (first..end).into_par_iter().step_by(strip);
            let units = strips.map(|first| {
                let levels = |group: usize, block: usize| {
                    let unit = first_unit + group * layout.token_blocks() + block;
                    class.packed_levels(unit / per_reply)
                };
                product.units(first..(first + strip).min(end), levels)
            });
            pending.extend(units.collect::<Vec<_>>().into_iter().flatten());
            flush(&mut pending, false);
        }
    }
    flush(&mut pending, true);
}

/// One job on its way.
struct Product<'a> {
    context: &'a Context,
    layout: &'a Layout,
    images: &'a Images,
    w: Plain<'a>,
    butterfly: Butterfly,
    /// Groups of columns at a time.
    strip: usize,
    units: &'a Pool<Unit>,
    idle: Pool<Workspace>,
}

/// Groups of columns that meet an image in one pass: fewer where threads would have nothing to do,
/// or sums would take too much memory.
fn strip(layout: &Layout, threads: usize) -> usize {
    let each = layout.column_groups().div_ceil(threads);
    STRIP.min(each).min(TOKEN_BLOCKS / layout.token_blocks()).max(1)
}

/// Blocks of tokens times groups of columns whose sums are held at a time, but for a single group.
const TOKEN_BLOCKS: usize = 32;

/// What a strip is worked on in: memory that is used again for the next one.
struct Workspace {
    /// One for each group of columns.
    tiles: Vec<Tile>,
    scratch: Tile,
    /// One for each prime.
    primes: Vec<OfPrime>,
}

/// What a strip is worked on in modulo one prime.
struct OfPrime {
    /// Of `b` and `a` for every block of tokens and group of columns.
    sums: Sums,
    /// Transformed weights, and room for one more polynomial.
    weights: Windows,
    scratch: Vec<u64>,
}

impl Workspace {
    fn new(context: &Context, layout: &Layout, strip: usize) -> Self {
        let n = context.degree();
        let prime = |_| OfPrime {
            sums: Sums::new(layout.token_blocks() * strip, n),
            weights: Windows::new(strip * IMAGES.min(layout.images()), n),
            scratch: vec![0; n],
        };
        Self {
            tiles: (0..strip).map(|_| Tile::new(layout)).collect(),
            scratch: Tile::new(layout),
            primes: (0..layout.levels).map(prime).collect(),
        }
    }
}

impl Drop for OfPrime {
    fn drop(&mut self) {
        self.sums.zeroize();
        self.weights.zeroize();
        self.scratch.zeroize();
    }
}

/// Images that are multiplied in one pass over the sums.
const IMAGES: usize = 16;

impl Product<'_> {
    /// The units of some groups of columns, group by group, one for every block of tokens, divided
    /// by 2^levels for the levels that will pack them.
    fn units(&self, groups: Range<usize>, levels: impl Fn(usize, usize) -> u32) -> Vec<Unit> {
        let Self { context, layout, .. } = self;
        let mut workspace = self.idle.take(|| Workspace::new(context, layout, self.strip));
        let Workspace { tiles, scratch, primes } = &mut workspace;
        let tiles = &mut tiles[..groups.len()];
        primes.iter_mut().for_each(|prime| prime.sums.clear());
        for block in 0..layout.inner_blocks() {
            for (group, tile) in groups.clone().zip(&mut *tiles) {
                tile.load(layout, &self.butterfly, self.w, [group, block], scratch);
            }
            primes.par_iter_mut().enumerate().for_each(|(i, prime)| self.add_block(tiles, block, i, prime));
        }
        let special = context.special().modulus.p();
        let unit = |(group, tokens): (usize, usize)| {
            let mut unit = self.units.take(|| Unit::new(context, layout.levels));
            unit.lifted = false;
            let levels = levels(groups.start + group, tokens);
            let data = context.data_primes(layout.levels).iter().zip(&*primes).enumerate();
            for (i, (prime, OfPrime { sums, .. })) in data {
                let (modulus, factor) = (prime.modulus, prime.inverse_of_two_to(levels));
                let lifted =
                    if levels > 0 { modulus.mul_public(factor, special % modulus.p()) } else { factor };
                let pair = tokens * groups.len() + group;
                sums.fold(pair, 0, modulus, prime.scale(lifted), unit.b.row_mut(i));
                sums.fold(pair, 1, modulus, prime.scale(factor), unit.a.row_mut(i));
            }
            unit
        };
        let each = (0..groups.len()).flat_map(|group| (0..layout.token_blocks()).map(move |t| (group, t)));
        let units = each.map(unit).collect();
        self.idle.give(workspace);
        units
    }

    /// Adds the products of the groups' tiles with the images of one block of columns of X, modulo
    /// the i-th prime.
    fn add_block(&self, tiles: &[Tile], block: usize, i: usize, room: &mut OfPrime) {
        let prime = &self.context.primes()[i];
        let (count, strip) = (self.layout.images(), tiles.len());
        let OfPrime { sums, weights, scratch } = room;
        for first in (0..count).step_by(IMAGES) {
            let images = first..(first + IMAGES).min(count);
            for (c, sigma) in images.clone().enumerate() {
                for (g, tile) in tiles.iter().enumerate() {
                    tile.to_slots(prime, &self.butterfly, sigma, scratch, (&mut *weights, c * strip + g));
                }
            }
            let fresh = sums.expect(prime, images.len());
            // All transformed weights of a window stay in the cache for all blocks of tokens.
            for window in 0..weights.windows() {
                let w: Vec<&[u64]> = (0..images.len() * strip).map(|row| weights.part(row, window)).collect();
                let slots = window * weights.width()..(window + 1) * weights.width();
                for tokens in 0..self.layout.token_blocks() {
                    let x = self.images.pairs(tokens, block, i, first, &slots);
                    let mut sums = sums.window(tokens * strip..(tokens + 1) * strip, window);
                    kernel::add_outer(&mut sums, x, self.images.stride(), &w, fresh);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, Session, exact, max_error};
    use crate::{EXACT, Error, MatmulShape, Operand};
    use proptest::prelude::*;

    const SMALL: usize = 64;

    fn shape(tokens: usize, inner: usize, outer: usize) -> MatmulShape {
        MatmulShape { tokens, inner, outer }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        #[test]
        fn shares_of_weight_products_add_up(
            tokens in 1usize..9, inner in 1usize..150, outer in 1usize..90, bits in 20u32..=64, seed: u64,
        ) {
            let mut session = Session::small(SMALL, seed);
            for tolerance in [3, EXACT] {
                let shape = shape(tokens, inner, outer);
                let layout = match Layout::search(&session.context, shape, Operand::Weights, bits, tolerance, 1) {
                    Err(Error::Noise { .. }) if bits > 56 && tolerance == EXACT => continue,
                    layout => layout.unwrap(),
                };
                let (x, w) = (session.ring(tokens * inner, bits), session.weights(inner, outer));
                let sums = session.run(&[(layout, &x, Plain::Weights(&w))]);
                let expected = exact(&layout, &x, |i| w.at(i));
                let allowed = if tolerance == EXACT { 0 } else { 8 << 3 };
                prop_assert!(max_error(&layout, &sums[0], &expected) <= allowed);
            }
        }

        #[test]
        fn shares_of_ring_products_add_up(
            tokens in 1usize..9, inner in 1usize..100, outer in 1usize..50, bits in 30u32..=52, seed: u64,
        ) {
            let mut session = Session::small(SMALL, seed);
            let layout = Layout::search(&session.context, shape(tokens, inner, outer), Operand::Ring, bits, 6, 1).unwrap();
            let (x, w) = (session.ring(tokens * inner, bits), session.ring(inner * outer, bits));
            let sums = session.run(&[(layout, &x, Plain::Ring(&w))]);
            prop_assert!(max_error(&layout, &sums[0], &exact(&layout, &x, |i| w[i] as i64)) <= 8 * 64);
        }

        #[test]
        fn every_layout_computes_the_product(
            log_t in 0u32..3, log_k in 0u32..5, split in 0u32..4, tokens in 1usize..6, inner in 1usize..40,
            outer in 1usize..40, jobs in 1usize..4,
        ) {
            prop_assume!(split <= log_k);
            let mut session = Session::small(SMALL, 1);
            let layout = Layout {
                shape: shape(tokens, inner, outer),
                t: 1 << log_t,
                k: 1 << log_k,
                n: SMALL >> (log_t + log_k),
                split,
                ..testing::layout(SMALL, 3)
            };
            let data: Vec<_> = (0..jobs).map(|_| (session.ring(tokens * inner, 40), session.weights(inner, outer))).collect();
            let products: Vec<_> = data.iter().map(|(x, w)| (layout, &x[..], Plain::Weights(w))).collect();
            for (sums, (x, w)) in session.run(&products).iter().zip(&data) {
                prop_assert_eq!(sums, &exact(&layout, x, |i| w.at(i)));
            }
        }
    }
}
