//! Weights as 16-bit integers with one power-of-two scale a matrix.
//!
//! `W ~ q * 2^-frac`, with `|q| <= 32767` and `frac` as large as that admits, but at most a given
//! bound. The input side of the matrix comes first in memory, since a product of shares walks over
//! inputs.
//!
//! What multiplies the matrix's input or output by public-to-the-server constants is folded in
//! before rounding: the gain of the norm in front of it, and the scale of the attention scores.

use rayon::prelude::*;

use crate::error::Error;

/// Largest number of fraction bits that the range audit of the fixed-point model provides for.
pub const MAX_FRAC: u32 = 16;

/// Input rows quantised together: two cache lines of each output's weights.
const BLOCK: usize = 32;

/// A matrix `[in, out]`, row-major, of integers `q` with `w = q * 2^-frac`.
///
/// Every entry is off by at most `2^-(frac + 1)` from the real weight, with what was folded into
/// it.
#[derive(Clone)]
pub struct QuantMatrix {
    rows_in: usize,
    cols_out: usize,
    frac: u32,
    data: Vec<i16>,
}

impl QuantMatrix {
    /// Inputs of the linear map, `K`.
    pub fn rows_in(&self) -> usize {
        self.rows_in
    }

    /// Outputs of the linear map, `M`.
    pub fn cols_out(&self) -> usize {
        self.cols_out
    }

    /// Fraction bits: the weight of the last bit is `2^-frac`.
    pub fn frac(&self) -> u32 {
        self.frac
    }

    /// The integers, `[K, M]` row-major, each in -32767..=32767.
    pub fn data(&self) -> &[i16] {
        &self.data
    }

    /// The integers alone.
    pub fn into_data(self) -> Vec<i16> {
        self.data
    }

    /// What input `i` contributes to each output, `[M]`.
    ///
    /// # Panics
    ///
    /// If `i` is not below `K`.
    pub fn row(&self, i: usize) -> &[i16] {
        &self.data[i * self.cols_out..(i + 1) * self.cols_out]
    }
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
        if largest.is_nan() || largest > f64::from(i16::MAX) {
            return Err(Error::WeightTooLarge { matrix: self.name.into(), actual: largest });
        }
        let frac = fraction_bits(largest, max_frac);
        Ok(QuantMatrix { rows_in: self.ins, cols_out: self.outs, frac, data: self.rounded(frac) })
    }

    fn rounded(&self, frac: u32) -> Vec<i16> {
        let unit = f64::from(frac).exp2();
        let mut data = vec![0; self.weights.len()];
        data.par_chunks_mut(BLOCK * self.outs).enumerate().for_each(|(block, rows)| {
            for out in 0..self.outs {
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

    /// The largest magnitude; NaN if there is one anywhere.
    fn largest(&self) -> f64 {
        let larger = |a: f64, b: f64| if a.is_nan() || a > b { a } else { b };
        let row = |out| (0..self.ins).map(|input| self.at(out, input).abs()).fold(0.0, larger);
        (0..self.outs).into_par_iter().map(row).reduce(|| 0.0, larger)
    }
}

fn fraction_bits(largest: f64, max_frac: u32) -> u32 {
    let fits = |frac: &u32| largest * f64::from(*frac).exp2() <= f64::from(i16::MAX);
    (0..=max_frac).rev().find(fits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn transposes_and_folds() {
        let real = RealMatrix::new("m", &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [3, 2]);
        let quant = real.scale_inputs(&[10.0, -1.0]).times(0.5).quantize(0).unwrap();
        assert_eq!((quant.rows_in(), quant.cols_out(), quant.frac()), (2, 3, 0));
        assert_eq!(quant.data(), [5, 15, 25, -1, -2, -3]);
        assert_eq!(quant.row(1), [-1, -2, -3]);
    }

    #[test]
    fn fraction_bits_at_the_edges() {
        let frac = |w: f32| RealMatrix::new("m", &[w], [1, 1]).quantize(MAX_FRAC).unwrap().frac();
        assert_eq!(frac(0.0), 16);
        assert_eq!(frac(32767.0 / 65536.0), 16);
        assert_eq!(frac(0.5), 15);
        assert_eq!(frac(1.0), 14);
        assert_eq!(frac(-32767.0), 0);
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
        fn error_is_half_a_unit(
            weights in prop::collection::vec(-40f32..40.0, 70),
            gain in prop::collection::vec(-3f32..3.0, 35),
        ) {
            let real = RealMatrix::new("m", &weights, [2, 35]).scale_inputs(&gain).times(0.7);
            let quant = real.quantize(MAX_FRAC).unwrap();
            let unit = (-f64::from(quant.frac())).exp2();
            for out in 0..2 {
                for input in 0..35 {
                    let error = f64::from(quant.row(input)[out]) * unit - real.at(out, input);
                    prop_assert!(error.abs() <= unit / 2.0);
                }
            }
            let finer = 2.0 * real.largest() / unit;
            prop_assert!(quant.frac() == MAX_FRAC || finer > f64::from(i16::MAX));
        }
    }
}
