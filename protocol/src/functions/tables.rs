//! The tables as they are used: read from the checked-in file, checked, and cut into bit planes.

use std::sync::OnceLock;

use sotto_ot::Columns;

use crate::{Precision, curve::Activation, fit};

/// The checked-in output of `cargo run -p sotto-protocol --example generate_tables`, for either
/// precision.
pub const FILES: [&str; 2] =
    [include_str!("../../tables/segments.json"), include_str!("../../tables/segments-high.json")];

/// A table with what the protocol derives from it.
pub struct Segments {
    /// The table's numbers.
    pub fit: fit::Segments,
    /// A multiple of the value's unit added to all values so that they, and every sum with a slope,
    /// are positive.
    pub offset: u64,
    /// The least slope: subtracted from all slopes so that they are not negative.
    pub least_slope: i64,
    /// Bits of a shifted value.
    pub value_bits: u32,
    /// Bits of a shifted slope.
    pub slope_bits: u32,
    /// Width of the ring of the result: its values lie in `[0, 2^(ring - 1))`.
    pub ring_bits: u32,
    /// The shifted entries as bit planes: values in the low bits, slopes above them.
    pub columns: Columns,
    /// The same of every second entry, from the first, from the second, and from the third on.
    pub staggered: [Columns; 3],
}

impl Segments {
    /// Bits dropped from slope times offset.
    pub fn drop_bits(&self) -> u32 {
        self.fit.slope_frac + self.fit.argument_frac - self.fit.value_frac
    }

    /// The line of segment `index` at offset `t`, rounded down, without the offset: the
    /// functionality.
    pub fn line(&self, index: usize, t: u64) -> i64 {
        self.fit.values[index] + ((self.fit.slopes[index] * t as i64) >> self.drop_bits())
    }

    fn new(fit: fit::Segments) -> Segments {
        let end = 2i64 << fit.shift;
        let drop = fit.slope_frac + fit.argument_frac - fit.value_frac;
        let line = |i: usize, t: i64| fit.values[i] + ((fit.slopes[i] * t) >> drop);
        let ends = (0..fit.values.len()).flat_map(|i| [line(i, 0), line(i, end)]);
        let (least, most) = ends.fold((0, 0), |(l, m), v| (l.min(v), m.max(v)));
        // Sixteen units spare for the carries of local truncation.
        let offset = (16 - least) as u64;
        let ring_bits = (most as u64 + offset + 16).ilog2() + 2;
        let least_slope = *fit.slopes.iter().min().expect("a table has segments");
        let shifted_values: Vec<u64> = fit.values.iter().map(|v| (v + offset as i64) as u64).collect();
        let shifted_slopes: Vec<u64> = fit.slopes.iter().map(|s| (s - least_slope) as u64).collect();
        let width = |v: &[u64]| v.iter().max().expect("a table has segments").ilog2() + 1;
        let (value_bits, slope_bits) = (width(&shifted_values), width(&shifted_slopes));
        assert!(value_bits < ring_bits, "{}: values fit the ring", fit.name);
        assert!(ring_bits + drop > fit.shift + 1 + slope_bits, "{}: slope products fit", fit.name);
        let entries = shifted_values.iter().zip(&shifted_slopes).map(|(v, s)| v | s << value_bits);
        let (mut entries, bits) = (entries.collect::<Vec<_>>(), value_bits + slope_bits);
        let columns = Columns::new(&entries, bits);
        let staggered = [(); 3].map(|()| {
            let every_second: Vec<u64> = entries.iter().step_by(2).copied().collect();
            entries.rotate_left(1);
            Columns::new(&every_second, bits)
        });
        Segments { fit, offset, least_slope, value_bits, slope_bits, ring_bits, columns, staggered }
    }
}

/// An activation on its window, less its value on the left of it.
pub fn activation(precision: Precision, activation: Activation) -> &'static Segments {
    &all(precision)[activation as usize]
}

/// `1/u` on `[1/2, 2)`, for an argument that is a unit too small: 512 or 1024 segments over `[0,
/// 2)`, those below 1/2 unused.
pub fn reciprocal(precision: Precision) -> &'static Segments {
    &all(precision)[Activation::ALL.len()]
}

/// `1/sqrt(u)` on `[1/2, 4)`, like [`reciprocal`].
pub fn inverse_root(precision: Precision) -> &'static Segments {
    &all(precision)[Activation::ALL.len() + 1]
}

/// `1/u` on `[1/2, 4)`, in segments as wide as [`reciprocal`]'s.
pub fn wide_reciprocal(precision: Precision) -> &'static Segments {
    &all(precision)[Activation::ALL.len() + 2]
}

/// `1/sqrt(u)` on `[1/2, 16)`, in segments as wide as [`inverse_root`]'s.
pub fn wide_inverse_root(precision: Precision) -> &'static Segments {
    &all(precision)[Activation::ALL.len() + 3]
}

fn all(precision: Precision) -> &'static [Segments] {
    static TABLES: [OnceLock<Vec<Segments>>; 2] = [OnceLock::new(), OnceLock::new()];
    let read = || {
        let tables: Vec<fit::Segments> =
            serde_json::from_str(FILES[precision as usize]).expect("the checked-in table file parses");
        tables.into_iter().map(Segments::new).collect()
    };
    TABLES[precision as usize].get_or_init(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_what_the_generator_writes() {
        for (file, precision) in FILES.iter().zip(Precision::ALL) {
            let tables = serde_json::to_string(&fit::all(precision)).expect("tables serialise");
            assert_eq!(**file, tables + "\n");
        }
    }

    /// Worst error over every argument of the window and both indices that its shares can give it,
    /// absolute and relative.
    fn worst(table: &Segments, f: impl Fn(f64) -> f64, from: i64) -> (f64, f64) {
        let unit = (-(table.fit.argument_frac as f64)).exp2();
        let end = table.fit.low + (1i64 << (table.fit.index_bits + table.fit.shift));
        let mut worst = (0f64, 0f64);
        for x in from..end {
            let z = (x - table.fit.low) as u64;
            let (index, t) = ((z >> table.fit.shift) as usize, z & ((1 << table.fit.shift) - 1));
            let exact = f(x as f64 * unit);
            let mut check = |index: usize, t: u64| {
                let y = table.line(index, t) as f64 * (-(table.fit.value_frac as f64)).exp2();
                worst.0 = worst.0.max((y - exact).abs());
                worst.1 = worst.1.max((y - exact).abs() / exact.abs());
            };
            check(index, t);
            // Two offsets below 2^s add up to 2^(s+1) - 2 at most: no carry is dropped from the
            // largest t.
            let width = 1 << table.fit.shift;
            if index > 0 && t < width - 1 {
                check(index - 1, t + width);
            }
        }
        worst
    }

    #[test]
    fn errors_are_the_stated_ones_on_every_input() {
        const STATED: [[f64; 7]; 2] = [
            [6.0e-4, 8.8e-4, 8.8e-4, 4.0e-4, 6.2e-4, 4e-4, 5e-4],
            [1.9e-4, 2.5e-4, 2.5e-4, 1.2e-4, 2.0e-4, 1.2e-4, 1.6e-4],
        ];
        for precision in Precision::ALL {
            for kind in Activation::ALL {
                let table = activation(precision, kind);
                let left = kind.real(f64::NEG_INFINITY);
                let (error, _) = worst(table, |x| kind.real(x) - left, table.fit.low);
                eprintln!("{}, {precision:?}: {error:.2e}", kind.name());
                assert!(error < STATED[precision as usize][kind as usize], "{} {error}", kind.name());
            }
            let unit = |table: &Segments| (-f64::from(table.fit.argument_frac)).exp2();
            let half = |table: &Segments| 1i64 << (table.fit.argument_frac - 1);
            for table in [reciprocal, wide_reciprocal].map(|table| table(precision)) {
                let (_, error) = worst(table, |x| 1.0 / (x + unit(table)), half(table));
                eprintln!("{}, {precision:?}: {error:.2e}", table.fit.name);
                assert!(error < [4.6e-5, 1.3e-5][precision as usize], "{} {error}", table.fit.name);
            }
            for table in [inverse_root, wide_inverse_root].map(|table| table(precision)) {
                let (_, error) = worst(table, |x| 1.0 / (x + unit(table)).sqrt(), half(table));
                eprintln!("{}, {precision:?}: {error:.2e}", table.fit.name);
                assert!(error < [5.0e-5, 1.4e-5][precision as usize], "{} {error}", table.fit.name);
            }
        }
    }
}
