//! Weights as integers of 16 significant bits a column, with one power-of-two scale a matrix.
//!
//! `W ~ q * 2^-frac`, with `frac` as large as the largest weight admits in 22 bits, but at most a
//! given bound. A column whose weights are too large for 16 bits of that unit drops as many of the
//! lowest bits as it must: its integers are multiples of a power of two, which the owner alone
//! knows. So a large weight in one column takes nothing from the others. The input side of the
//! matrix comes first in memory, since a product of shares walks over inputs.
//!
//! What multiplies the matrix's input or output by public-to-the-server constants is folded in
//! before rounding: the gain of the norm in front of it, and the scale of the attention scores.

use rayon::prelude::*;
use sotto_protocol::linear::Weights;

use crate::error::Error;

/// Largest number of fraction bits that the range audit of the fixed-point model provides for.
pub const MAX_FRAC: u32 = 16;

/// Input rows quantised together: two cache lines of each output's weights.
const BLOCK: usize = 32;

/// A matrix `[in, out]` of integers `q` with `w = q * 2^-frac`.
///
/// Every entry of a column is off by at most `2^(shift - frac - 1)` from the real weight, with what
/// was folded into it, for the shift of the column.
#[derive(Clone)]
pub struct QuantMatrix {
    /// Fraction bits: the unit is `2^-frac`.
    pub frac: u32,
    /// The integers, `[in, out]`.
    pub data: Weights,
}

/// A real matrix `[out, in]` on its way to a [`QuantMatrix`], with what is to be folded in.
#[derive(Clone, Copy)]
pub struct RealMatrix<'a> {
    name: &'a str,
    weights: &'a [f32],
    outs: usize,
    ins: usize,
    columns: Option<&'a [f32]>,
    factor: f64,
}

impl<'a> RealMatrix<'a> {
    /// A matrix as the checkpoint has it: `shape` is `[out, in]`, `weights` are row-major; `name`
    /// is for errors.
    ///
    /// # Panics
    ///
    /// If the number of weights is not the product of the shape, or zero.
    pub fn new(name: &'a str, weights: &'a [f32], shape: [usize; 2]) -> RealMatrix<'a> {
        let [outs, ins] = shape;
        assert_eq!(weights.len(), outs * ins, "matrix `{name}`: weights against shape {shape:?}");
        assert!(!weights.is_empty(), "matrix `{name}`: empty");
        RealMatrix { name, weights, outs, ins, columns: None, factor: 1.0 }
    }

    /// Folds a scale of the inputs in, such as the gain of the norm in front: `w[o][i] * gain[i]`.
    ///
    /// # Panics
    ///
    /// If there is not one gain for each input.
    pub fn scale_inputs(self, gain: &'a [f32]) -> RealMatrix<'a> {
        assert_eq!(gain.len(), self.ins, "matrix `{}`: gains against inputs", self.name);
        RealMatrix { columns: Some(gain), ..self }
    }

    /// Folds a factor in, such as `log2(e) / sqrt(head_dim)` in front of a softmax to base 2.
    pub fn times(self, factor: f64) -> RealMatrix<'a> {
        RealMatrix { factor: self.factor * factor, ..self }
    }

    /// Transposes and rounds to nearest, with the largest `frac <= max_frac` that fits.
    ///
    /// # Errors
    ///
    /// If a weight exceeds 32767 in magnitude, or is no finite number.
    pub fn quantize(self, max_frac: u32) -> Result<QuantMatrix, Error> {
        let largest = self.largest();
        let most = largest.iter().copied().fold(0.0, larger);
        if most.is_nan() || most > f64::from(i16::MAX) {
            return Err(Error::WeightTooLarge { matrix: self.name.into(), actual: most });
        }
        let frac = max_frac.min(fraction_bits(most) + Weights::MAX_SHIFT);
        let bits: Vec<u32> = largest.iter().map(|&most| frac.min(fraction_bits(most))).collect();
        let data = Weights::new(self.rounded(&bits), bits.iter().map(|bits| (frac - bits) as u8).collect());
        Ok(QuantMatrix { frac, data })
    }

    /// The integers, with so many fraction bits in each column.
    fn rounded(&self, bits: &[u32]) -> Vec<i16> {
        let units: Vec<f64> = bits.iter().map(|&bits| f64::from(bits).exp2()).collect();
        let mut data = vec![0; self.weights.len()];
        data.par_chunks_mut(BLOCK * self.outs).enumerate().for_each(|(block, rows)| {
            for (out, unit) in units.iter().enumerate() {
                for (i, row) in rows.chunks_exact_mut(self.outs).enumerate() {
                    row[out] = (self.at(out, block * BLOCK + i) * unit).round_ties_even() as i16;
                }
            }
        });
        data
    }

    /// The weight from an input to an output, with everything folded in; the rounding to f64 is far
    /// below `2^-frac`.
    fn at(&self, out: usize, input: usize) -> f64 {
        let gain = self.columns.map_or(1.0, |columns| f64::from(columns[input]));
        f64::from(self.weights[out * self.ins + input]) * gain * self.factor
    }

    /// The largest magnitude of each column; NaN if there is one in it.
    fn largest(&self) -> Vec<f64> {
        let column = |out| (0..self.ins).map(|input| self.at(out, input).abs()).fold(0.0, larger);
        (0..self.outs).into_par_iter().map(column).collect()
    }
}

/// The larger one; NaN if either is.
fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

/// The most fraction bits, [`MAX_FRAC`] at most, with which a number is one of 16 bits.
fn fraction_bits(largest: f64) -> u32 {
    let fits = |frac: &u32| largest * f64::from(*frac).exp2() <= f64::from(i16::MAX);
    (0..=MAX_FRAC).rev().find(fits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn transposes_and_folds() {
        let real = RealMatrix::new("m", &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [3, 2]);
        let quant = real.scale_inputs(&[10.0, -1.0]).times(0.5).quantize(0).unwrap();
        assert_eq!(quant.frac, 0);
        let rows: Vec<Vec<i32>> = quant.data.rows().map(Iterator::collect).collect();
        assert_eq!(rows, [[5, 15, 25], [-1, -2, -3]]);
    }

    #[test]
    fn fraction_bits_at_the_edges() {
        let frac = |w: f32| RealMatrix::new("m", &[w], [1, 1]).quantize(MAX_FRAC).unwrap().frac;
        assert_eq!([0.0, 0.5, 1.0, 31.9].map(frac), [16; 4]);
        assert_eq!([32.0, 63.9, -32767.0].map(frac), [15, 15, 6]);
    }

    #[test]
    fn a_large_column_takes_nothing_from_the_others() {
        let weights = [20.1, 0.3, 1.0 / 65536.0, 0.25];
        let quant = RealMatrix::new("m", &weights, [4, 1]).quantize(MAX_FRAC).unwrap();
        let real: Vec<f64> = (0..4).map(|i| quant.data.at(i) as f64 / 65536.0).collect();
        assert!(
            (real[0] - 20.1).abs() < 2f64.powi(-11) && (real[1] - 0.3).abs() < 2f64.powi(-17),
            "{real:?}"
        );
        assert_eq!(real[2..], [1.0 / 65536.0, 0.25]);
    }

    #[test]
    fn refuses_what_does_not_fit() {
        for w in [32768.0, f32::NAN, f32::INFINITY] {
            let weights = [w, 1.0, 0.0];
            let error =
                RealMatrix::new("mlp.up", &weights, [3, 1]).quantize(MAX_FRAC).err().unwrap().to_string();
            assert!(error.contains("mlp.up") && error.contains("32767"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn error_is_half_a_unit_of_16_bits(
            weights in prop::collection::vec(-400f32..400.0, 70),
            gain in prop::collection::vec(-3f32..3.0, 35),
        ) {
            let real = RealMatrix::new("m", &weights, [2, 35]).scale_inputs(&gain).times(0.7);
            let quant = real.quantize(MAX_FRAC).unwrap();
            let unit = (-f64::from(quant.frac)).exp2();
            for (out, largest) in real.largest().into_iter().enumerate() {
                // Half of the last of 15 bits, or of the matrix's own unit where that is larger.
                let allowed = (largest / f64::from(i16::MAX)).max(unit / 2.0);
                for input in 0..35 {
                    let error = quant.data.at(2 * input + out) as f64 * unit - real.at(out, input);
                    prop_assert!(error.abs() <= allowed);
                }
            }
        }
    }
}
