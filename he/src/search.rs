//! The choice of a layout: all (t, n, k, s) are priced, and the cheapest that is quiet enough is taken.
//!
//! Prices are integers, in nanoseconds of one core of a current server processor, and the noise bound uses only
//! exactly rounded operations, so that both parties choose alike on any machine.

use crate::error::Error;
use crate::layout::{Layout, MatmulShape, Operand};
use crate::noise;
use crate::params::Params;

/// Price of a byte on the wire: a link of 400 Mbit/s.
const BYTE: u64 = 20;

/// Largest number of levels on the input.
const MAX_SPLIT: u32 = 7;

/// Most bytes the images of all inputs may take.
const MAX_IMAGE_BYTES: u64 = 1 << 30;

pub(crate) fn cheapest(
    params: Params,
    shape: MatmulShape,
    operand: Operand,
    bits: u32,
    batch: usize,
) -> Result<Layout, Error> {
    let allowed = noise::power(params.error_log2());
    let (mut best, mut quietest): (Option<(u64, Layout)>, f64) = (None, f64::INFINITY);
    for layout in candidates(params, shape, operand, bits) {
        let probability = noise::error_probability(&layout);
        quietest = quietest.min(probability);
        let price = price(&layout, batch as u64);
        if probability <= allowed && best.is_none_or(|(least, _)| price < least) {
            best = Some((price, layout));
        }
    }
    let noise = Error::Noise { best: quietest.log2(), allowed: f64::from(params.error_log2()) };
    best.map(|(_, layout)| layout).ok_or(noise)
}

/// Every layout of the shape with no block wider than X, no unit mostly empty, and sums of weights within 63 bits. More
/// rows than X has are allowed: fewer columns a polynomial make less noise.
fn candidates(
    params: Params,
    shape: MatmulShape,
    operand: Operand,
    bits: u32,
) -> impl Iterator<Item = Layout> {
    let log_n = params.degree().ilog2();
    let enough = |side: usize| side.next_power_of_two().ilog2().min(log_n);
    let most_k = enough(shape.inner);
    let width = if operand == Operand::Weights { 16 } else { bits };
    (0..=most_k).flat_map(move |log_k| {
        (0..=log_n - log_k).flat_map(move |log_t| {
            let log_n_columns = log_n - log_k - log_t;
            (0..=log_k.min(MAX_SPLIT).min(63 - width.min(63))).filter_map(move |split| {
                let layout = Layout {
                    params,
                    shape,
                    operand,
                    bits,
                    t: 1 << log_t,
                    n: 1 << log_n_columns,
                    k: 1 << log_k,
                    split,
                };
                let images = (layout.upload_ciphertexts() << split) as u64;
                let bytes = images * (16 * params.levels() * params.degree()) as u64;
                let empty = split > 0 && layout.unit_columns() >= 2 * shape.outer;
                (!empty && (split == 0 || bytes <= MAX_IMAGE_BYTES)).then_some(layout)
            })
        })
    })
}

/// Nanoseconds for one product of a batch.
fn price(layout: &Layout, batch: u64) -> u64 {
    let levels = layout.params.levels() as u64;
    let transform = 18_000 * levels;
    let switch = 24_000 * (levels * (levels + 1) + 2 * (levels + 1));
    let multiply = 4_500 * levels;

    let inputs = layout.upload_ciphertexts() as u64;
    let (images, units) = (layout.images() as u64, layout.units() as u64);
    let polynomials = (layout.column_groups() * layout.inner_blocks()) as u64 * images;
    let products = polynomials * layout.token_blocks() as u64;
    let per_reply = layout.units_per_reply() as u64;
    let all_units = units * batch;
    let replies = all_units.div_ceil(per_reply);
    let (full, rest) = (all_units / per_reply, all_units % per_reply);
    let merges = full * (per_reply - 1) + rest.next_power_of_two() - 1;

    let upload = layout.upload_len() as u64 * BYTE + inputs * 4 * transform;
    let rotate =
        if images > 1 { inputs * ((images - 1) * (switch + 2 * transform) + 2 * transform) } else { 0 };
    let weights = polynomials * (transform + 12_000 + 4_000 * u64::from(layout.split));
    let reply = replies * (layout.params.reply_ciphertext_len(layout.bits) as u64 * BYTE + 10 * transform);
    upload
        + rotate
        + weights
        + products * multiply
        + units * 2 * transform
        + (merges * switch + reply) / batch
}
