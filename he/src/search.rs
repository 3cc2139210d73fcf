//! The choice of a layout: all (t, n, k, s) are priced, and the cheapest that is quiet enough is
//! taken.
//!
//! Prices are integers, in nanoseconds of one core of a current server processor, and the noise
//! bound uses only exactly rounded operations, so that both parties choose alike on any machine.

use crate::error::Error;
use crate::layout::{Layout, MatmulShape, Operand};
use crate::noise;
use crate::params::{MAX_LEVELS, MIN_LEVELS};
use crate::weights::WEIGHT_BITS;

/// Price of a byte on the wire: a link of 100 Mbit/s.
const BYTE: u64 = 80;

/// Largest number of levels on the input.
pub(crate) const MAX_SPLIT: u32 = 7;

// Sums of weights are 32-bit integers.
const _: () = assert!(WEIGHT_BITS + MAX_SPLIT <= 32);

/// Most bytes the images of all inputs may take.
const MAX_IMAGE_BYTES: u64 = 1 << 30;

pub(crate) fn cheapest(
    degree: usize,
    shape: MatmulShape,
    operand: Operand,
    bits: u32,
    tolerance: i32,
    batch: usize,
) -> Result<Layout, Error> {
    let (mut best, mut quietest): (Option<(u64, Layout)>, f64) = (None, f64::INFINITY);
    for layout in candidates(degree, shape, operand, bits, tolerance) {
        quietest = quietest.min(noise::error_deviation(&layout));
        if noise::acceptable(&layout) {
            let price = price(&layout, batch as u64);
            if best.is_none_or(|(least, _)| price < least) {
                best = Some((price, layout));
            }
        }
    }
    let noise = Error::Noise { best: quietest.log2(), allowed: f64::from(tolerance) };
    best.map(|(_, layout)| layout).ok_or(noise)
}

/// Every layout of the shape with no block wider than X, no unit mostly empty, and sums of weights
/// within 63 bits. More rows than X has are allowed: fewer columns a polynomial make less noise.
pub(crate) fn candidates(
    degree: usize,
    shape: MatmulShape,
    operand: Operand,
    bits: u32,
    tolerance: i32,
) -> impl Iterator<Item = Layout> {
    let log_n = degree.ilog2();
    let most_k = shape.inner.next_power_of_two().ilog2().min(log_n);
    let width = if operand == Operand::Weights { WEIGHT_BITS } else { bits };
    let most_split = MAX_SPLIT.min(63 - width.min(63));
    let sizes = (MIN_LEVELS..=MAX_LEVELS).flat_map(move |levels| {
        (0..=most_k).flat_map(move |log_k| (0..=log_n - log_k).map(move |log_t| (levels, log_k, log_t)))
    });
    sizes.flat_map(move |(levels, log_k, log_t)| {
        (0..=log_k.min(most_split)).filter_map(move |split| {
            let (t, k, n) = (1 << log_t, 1 << log_k, 1 << (log_n - log_k - log_t));
            let terms = shape.inner;
            let layout = Layout { degree, levels, shape, operand, bits, tolerance, terms, t, n, k, split };
            (!is_mostly_empty(&layout) && images_fit(&layout)).then_some(layout)
        })
    })
}

/// Whether fewer levels on the input would give as few units.
pub(crate) fn is_mostly_empty(layout: &Layout) -> bool {
    layout.split > 0 && layout.unit_columns() >= 2 * layout.shape.outer
}

/// Whether the images of all inputs keep within their bound.
pub(crate) fn images_fit(layout: &Layout) -> bool {
    let images = (layout.upload_ciphertexts() << layout.split) as u64;
    layout.split == 0 || images * (16 * layout.levels * layout.degree) as u64 <= MAX_IMAGE_BYTES
}

/// Nanoseconds for one product of a batch: both sides' computation, and the bytes each way.
pub(crate) fn price(layout: &Layout, batch: u64) -> u64 {
    let replies = (layout.units() as u64 * batch).div_ceil(layout.units_per_reply() as u64);
    let reply = replies * layout.format().reply_len(layout.degree) as u64;
    computation(layout, batch) + (layout.upload_len() as u64 + reply / batch) * BYTE
}

/// Nanoseconds that both sides compute for one product of a batch, on one core.
pub(crate) fn computation(layout: &Layout, batch: u64) -> u64 {
    // Fitted to `examples/time_linear.rs`, products to chosen layouts, the rest over all layouts of
    // several shapes: most of them within 25 %.
    let levels = layout.levels as u64;
    let switch = 13_000 * (levels * (levels + 1) + 2 * (levels + 1));
    let polynomial = 6_600 * levels + 2_500 * u64::from(layout.split);
    let multiply = 6_000 * levels;
    let unit = 40_000 * levels;
    let (upload, reply) = (120_000 * levels, 150_000 * levels);

    let inputs = layout.upload_ciphertexts() as u64;
    let (images, units) = (layout.images() as u64, layout.units() as u64);
    let polynomials = (layout.column_groups() * layout.inner_blocks()) as u64 * images;
    let products = polynomials * layout.token_blocks() as u64;
    let per_reply = layout.units_per_reply() as u64;
    let all_units = units * batch;
    let replies = all_units.div_ceil(per_reply);
    let (full, rest) = (all_units / per_reply, all_units % per_reply);
    let merges = full * (per_reply - 1) + rest.next_power_of_two() - 1;

    inputs * (upload + (images - 1) * (switch + 30_000 * levels))
        + polynomials * polynomial
        + products * multiply
        + units * unit
        + (merges * switch + replies * reply) / batch
}
