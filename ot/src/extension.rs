//! The ways to make many COTs from few, and the choice between them.
//!
//! | extension     | message            | bits a COT | turns if begun ahead | chosen for links of |
//! |---------------|--------------------|------------|---------------------|----------------------|
//! | silent, lean  | sender to receiver | 0.76       | 0                   | less than 200 Mbit/s |
//! | silent, fast | sender to receiver | 1.39 | 0 | less than 10 Gbit/s, or unknown |
//! | SoftSpoken, 4 | receiver to sender | 31         | 1                   | more                 |
//!
//! The computation of a COT takes about as long in each of them; so the messages decide, where they
//! take longer than that. Near the two limits the choice makes little difference.
//!
//! SoftSpoken OT with subfields of 2^2 and 2^8 elements (63 and 15 bits a COT) is available on
//! request; silent OT starts from COTs of the latter.

use crate::{block::LAMBDA, check::Security, lpn::LpnParams, silent::base_len};

/// A way to make COTs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extension {
    /// Silent OT with [`LpnParams::FAST`].
    SilentFast,
    /// Silent OT with [`LpnParams::LEAN`].
    SilentLean,
    /// SoftSpoken OT with subfields of 4 elements.
    SoftSpoken2,
    /// SoftSpoken OT with subfields of 16 elements.
    SoftSpoken4,
    /// SoftSpoken OT with subfields of 256 elements.
    SoftSpoken8,
}

impl Extension {
    /// The extension for a link of so many bits per second; NaN if the rate is unknown.
    pub fn for_rate(bits_per_second: f64) -> Extension {
        match bits_per_second {
            rate if rate < 2e8 => Extension::SilentLean,
            rate if rate >= 1e10 => Extension::SoftSpoken4,
            _ => Extension::SilentFast,
        }
    }

    /// COTs of another extension that this one starts from.
    pub(crate) fn base<S: Security>(self) -> usize {
        self.lpn().map_or(LAMBDA, base_len::<S>)
    }

    /// Bits sent per COT, headers of frames apart.
    pub fn bits(self) -> f64 {
        match self {
            Extension::SilentFast | Extension::SilentLean => self.lpn().map_or(0.0, LpnParams::bits),
            Extension::SoftSpoken2 => 63.0,
            Extension::SoftSpoken4 => 31.0,
            Extension::SoftSpoken8 => 15.0,
        }
    }

    /// The parameters of silent OT; none for SoftSpoken OT.
    pub fn lpn(self) -> Option<LpnParams> {
        match self {
            Extension::SilentFast => Some(LpnParams::FAST),
            Extension::SilentLean => Some(LpnParams::LEAN),
            Extension::SoftSpoken2 | Extension::SoftSpoken4 | Extension::SoftSpoken8 => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_links_get_few_bits_and_fast_ones_little_computation() {
        let chosen = [1e6, 1e8, 1e9, 9e9, 1e10, 4e11, f64::NAN].map(Extension::for_rate);
        use Extension::{SilentFast, SilentLean, SoftSpoken4};
        assert_eq!(
            chosen,
            [SilentLean, SilentLean, SilentFast, SilentFast, SoftSpoken4, SoftSpoken4, SilentFast]
        );
        assert!(SilentLean.bits() < SilentFast.bits() && SilentFast.bits() < SoftSpoken4.bits());
    }
}
