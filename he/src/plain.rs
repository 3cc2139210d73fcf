//! The evaluator's product in the clear: rows of ring elements times its integers.

use rayon::prelude::*;

use crate::kernel;
use crate::weights::Weights;

/// Columns of a block: what one thread works on at a time.
const BLOCK: usize = 256;

/// `x w` modulo 2^64, `x` `[rows, inner]` and `w` `[inner, outer]`, both row-major; blocks of
/// columns are split over the cores. No branch and no address depends on a value.
///
/// # Panics
/// If `w` has not the shape stated, or `x` no whole rows.
pub fn product(x: &[u64], w: &Weights, inner: usize, outer: usize) -> Vec<u64> {
    assert_eq!(w.len(), inner * outer, "W is [inner, outer]");
    let rows = x.len() / inner.max(1);
    assert_eq!(x.len(), rows * inner, "whole rows");
    let blocks: Vec<Vec<u64>> = (0..outer)
        .into_par_iter()
        .step_by(BLOCK)
        .map(|start| {
            let columns = start..(start + BLOCK).min(outer);
            let mut y = vec![0; rows * columns.len()];
            kernel::multiply_columns(x, w.digits(), [inner, outer], columns.clone(), &mut y);
            for row in y.chunks_mut(columns.len()) {
                row.iter_mut().zip(&w.shifts()[columns.clone()]).for_each(|(y, shift)| *y <<= shift);
            }
            y
        })
        .collect();
    let mut out = vec![0; rows * outer];
    for (block, y) in blocks.iter().enumerate() {
        let (start, width) = (block * BLOCK, y.len() / rows.max(1));
        for (row, y) in out.chunks_mut(outer).zip(y.chunks(width.max(1))) {
            row[start..start + width].copy_from_slice(y);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naive(x: &[u64], w: &Weights, inner: usize, outer: usize) -> Vec<u64> {
        let entry = |x: &[u64], c: usize| {
            let terms = x.iter().enumerate().map(|(k, x)| x.wrapping_mul(w.at(k * outer + c) as u64));
            terms.fold(0u64, u64::wrapping_add)
        };
        x.chunks(inner).flat_map(|x| (0..outer).map(move |c| entry(x, c))).collect()
    }

    #[test]
    fn every_shape_is_the_product() {
        let word = |i: u64| (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for (rows, inner, outer) in
            [(1, 1, 1), (1, 7, 300), (3, 5, 31), (4, 9, 32), (5, 8, 257), (9, 33, 289), (8, 3, 512)]
        {
            let x: Vec<u64> = (0..(rows * inner) as u64).map(word).collect();
            let mut w: Vec<i16> = (0..(inner * outer) as u64).map(|i| (word(i) >> 7) as i16).collect();
            w[0] = i16::MIN;
            let shifts = (0..outer).map(|c| c as u8 % 7).collect();
            let w = Weights::new(w, shifts);
            assert_eq!(product(&x, &w, inner, outer), naive(&x, &w, inner, outer), "{rows} {inner} {outer}");
        }
        assert!(product(&[], &Weights::plain(vec![1, 2], 1), 2, 1).is_empty());
    }
}
