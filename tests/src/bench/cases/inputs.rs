//! Inputs of tests, the same in every process: the values, and a party's share of them.

use sotto_protocol::linear::Weights;
use sotto_shares::{Party, Ring, Rng, Shape, Share};

/// A generator for the inputs named `what`.
fn generator(what: &str) -> Rng {
    let mut seed = [0; 32];
    seed.iter_mut().zip(what.bytes()).for_each(|(s, b)| *s = b);
    Rng::from_seed(seed)
}

/// `n` integers of `low..=high`, evenly spread.
pub fn integers(what: &str, n: usize, low: i64, high: i64) -> Vec<i64> {
    let span = (i128::from(high) - i128::from(low) + 1) as u128;
    let words = generator(what).elements(n, Ring::new(64));
    words
        .into_iter()
        .map(|word| (i128::from(low) + ((u128::from(word) * span) >> 64) as i128) as i64)
        .collect()
}

/// Random 16-bit weights over their whole range, `[inner, outer]`.
pub fn weights(inner: usize, outer: usize) -> Weights {
    let bound = i64::from(i16::MAX);
    let integers = integers("weights", inner * outer, -bound, bound);
    Weights::plain(integers.into_iter().map(|w| w as i16).collect(), outer)
}

/// This party's share of `values`.
pub fn share(party: Party, what: &str, ring: Ring, frac: u32, shape: Shape, values: &[i64]) -> Share {
    let masks = generator(&format!("mask of {what}")).elements(values.len(), ring);
    let data = match party {
        Party::Server => masks,
        Party::Client => {
            values.iter().zip(masks).map(|(&x, r)| ring.reduce((x as u64).wrapping_sub(r))).collect()
        }
    };
    Share::new(ring, frac, shape, data)
}

/// What `values` stand for.
pub fn reals(values: &[i64], frac: u32) -> Vec<f64> {
    values.iter().map(|&x| x as f64 * 2f64.powi(-(frac as i32))).collect()
}
