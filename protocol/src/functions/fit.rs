//! The generator of the piecewise-linear tables: a program of this crate writes its output to
//! `tables/`, and a test says that the files are what it writes.
//!
//! A segment's line serves offsets over *two* segment widths, since the segment's index comes from
//! locally shifted shares and may be one too low. The line is the secant, its slope rounded first
//! and its value re-centred between the largest and smallest remaining error afterwards (minimax
//! for convex pieces).

use serde::{Deserialize, Serialize};

use crate::{Precision, curve::Activation};

/// A piecewise-linear table of `2^index_bits` segments from `low` on.
///
/// Segment `i` starts at `low + i 2^shift` units of the argument, and its line is `(values[i] +
/// ((slopes[i] t) >> (slope_frac + argument_frac - value_frac))) 2^-value_frac` for an offset of
/// `t` units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segments {
    /// What is tabulated.
    pub name: String,
    /// The lower end of the window, in units of the argument.
    pub low: i64,
    /// log2 of the number of segments.
    pub index_bits: u32,
    /// log2 of a segment's width in units of the argument.
    pub shift: u32,
    /// Fraction bits of the argument.
    pub argument_frac: u32,
    /// Fraction bits of the slopes.
    pub slope_frac: u32,
    /// Fraction bits of the values.
    pub value_frac: u32,
    /// Slopes, in units of `2^-slope_frac`.
    pub slopes: Vec<i64>,
    /// Values at the segments' starts, in units of `2^-value_frac`.
    pub values: Vec<i64>,
}

struct Window {
    name: &'static str,
    /// Where the function is needed; segments wholly below `low` of this are zero.
    low: f64,
    start: f64,
    end: f64,
    index_bits: u32,
    argument_frac: u32,
    slope_frac: u32,
    value_frac: u32,
}

/// All tables, in the order of the file: [`Activation::ALL`], then `1/u` and `1/sqrt(u)`, and both
/// on wider windows. For high precision an argument and a value have two fraction bits more, and
/// there are twice as many segments.
pub fn all(precision: Precision) -> Vec<Segments> {
    let finer = match precision {
        Precision::Default => 0,
        Precision::High => 1,
    };
    let activations = Activation::ALL.map(|activation| {
        let (reach, index_bits) = activation.window();
        let window = Window {
            name: activation.name(),
            low: -reach,
            start: -reach,
            end: reach,
            index_bits: index_bits + finer,
            argument_frac: precision.frac(),
            slope_frac: 8,
            value_frac: precision.frac() + 1,
        };
        fit(&window, |x| activation.real(x) - activation.real(f64::NEG_INFINITY))
    });
    let frac = precision.frac() + 5;
    let row = |name, end, argument_frac| Window {
        name,
        low: 0.5 - 1.0 / 64.0,
        start: 0.0,
        end,
        index_bits: 9 + finer,
        argument_frac,
        slope_frac: 10 + finer,
        value_frac: frac,
    };
    // As many segments more as the window is wider, and a bit for its smaller values.
    let wide = |name, window: Window, factor: u32| Window {
        name,
        end: window.end * f64::from(1 << factor),
        index_bits: window.index_bits + factor,
        value_frac: frac + 1,
        slope_frac: window.slope_frac + 1,
        ..window
    };
    let (reciprocal, root) = (row("reciprocal", 2.0, frac), row("inverse_root", 4.0, frac - 1));
    let wide_reciprocal = wide("wide_reciprocal", row("", 2.0, frac), 1);
    let wide_root = wide("wide_inverse_root", row("", 4.0, frac - 1), 2);
    // Local truncation has made the argument a unit too small on average.
    let row = |window: &Window, f: fn(f64) -> f64| {
        let unit = (-f64::from(window.argument_frac)).exp2();
        fit(window, |x| f(x + unit))
    };
    let inverse: fn(f64) -> f64 = |u| 1.0 / u;
    let inverse_root: fn(f64) -> f64 = |u| 1.0 / u.sqrt();
    let rows = [
        row(&reciprocal, inverse),
        row(&root, inverse_root),
        row(&wide_reciprocal, inverse),
        row(&wide_root, inverse_root),
    ];
    activations.into_iter().chain(rows).collect()
}

/// Points at which a line's error is looked at.
const SAMPLES: usize = 128;

fn fit(window: &Window, f: impl Fn(f64) -> f64) -> Segments {
    let segments = 1usize << window.index_bits;
    let width = (window.end - window.start) / segments as f64;
    let unit = |frac: u32| (frac as f64).exp2();
    let shift = (width * unit(window.argument_frac)).log2().round() as u32;
    let (mut slopes, mut values) = (vec![], vec![]);
    for i in 0..segments {
        let start = window.start + i as f64 * width;
        if start < window.low {
            slopes.push(0);
            values.push(0);
            continue;
        }
        let secant = (f(start + 2.0 * width) - f(start)) / (2.0 * width);
        let slope = (secant * unit(window.slope_frac)).round();
        let rest = (0..=SAMPLES).map(|j| {
            let t = 2.0 * width * j as f64 / SAMPLES as f64;
            f(start + t) - slope / unit(window.slope_frac) * t
        });
        let (low, high) = rest.fold((f64::MAX, f64::MIN), |(l, h), e| (l.min(e), h.max(e)));
        slopes.push(slope as i64);
        values.push(((low + high) / 2.0 * unit(window.value_frac)).round() as i64);
    }
    Segments {
        name: window.name.into(),
        low: (window.start * unit(window.argument_frac)) as i64,
        index_bits: window.index_bits,
        shift,
        argument_frac: window.argument_frac,
        slope_frac: window.slope_frac,
        value_frac: window.value_frac,
        slopes,
        values,
    }
}
