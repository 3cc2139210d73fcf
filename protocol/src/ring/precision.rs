//! How exact activations are: their fraction bits `f`, and the rings that follow from them.
//!
//! | numbers | ring | fraction | default | high |
//! |---|---|---|---|---|
//! | activations: what linear layers take | `f + 32` | `f` | 44 | 46 |
//! | what linear layers give | `f + 32` | `f` and a weight's | 44 | 46 |
//! | arguments of [`crate::activation`] | `f + 10` | `f` | 22 | 24 |
//! | products of two activations | `2f + 20` | `2f` | 44 | 48 |
//! | queries and keys, and their products | `2f + 14` | `f`, `2f` | 38 | 42 |
//! | scores | `f + 14` | `f` | 26 | 28 |
//! | arguments of [`mod@crate::exp2`] | `f + 12` | `f` | 24 | 26 |
//! | powers, values, and sums of their products | `2f + 20` | `f + 2`, `f`, `2f + 2` | 44 | 48 |
//! | attention's sums times a reciprocal | `2f + 28` | `2f + 14` | 52 | 56 |
//!
//! A number has the same integer bits by either, so bounds and overflow checks are the same. The
//! residual stream (18 fraction bits) and what is revealed (8) do not depend on it.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sotto_shares::Ring;

/// How exact activations are; both parties must have chosen the same before anything is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 12 fraction bits.
    #[default]
    Default,
    /// 14 fraction bits, and finer tables.
    High,
}

impl Precision {
    /// Both of them.
    pub const ALL: [Precision; 2] = [Precision::Default, Precision::High];

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Precision::Default => "default",
            Precision::High => "high",
        }
    }

    /// Fraction bits of activations.
    pub const fn frac(self) -> u32 {
        match self {
            Precision::Default => 12,
            Precision::High => 14,
        }
    }

    /// The ring of activations, and of all that linear layers take and give.
    pub const fn linear(self) -> Ring {
        Ring::new(self.frac() + 32)
    }

    /// The ring of an activation function's argument: `|x| < 512`.
    pub const fn argument(self) -> Ring {
        Ring::new(self.frac() + 10)
    }

    /// The ring of products of two activations, `|x y| < 2^18`.
    pub const fn product(self) -> Ring {
        Ring::new(2 * self.frac() + 20)
    }

    /// The ring of queries, of keys, and of their products.
    pub const fn attention(self) -> Ring {
        Ring::new(2 * self.frac() + 14)
    }

    /// The ring of scores, with room to see that they exceed [`Self::exponent`].
    pub const fn score(self) -> Ring {
        Ring::new(self.frac() + 14)
    }

    /// The ring of what 2 is raised to.
    pub const fn exponent(self) -> Ring {
        Ring::new(self.frac() + 12)
    }

    /// Fraction bits of powers of 2, and of sums of values weighted by them.
    pub const fn power_frac(self) -> u32 {
        self.frac() + 2
    }

    /// The ring of weights of attention, of values, and of sums of their products.
    pub const fn sums(self) -> Ring {
        Ring::new(2 * self.frac() + 20)
    }

    /// Ring and fraction bits of a reciprocal with which such sums, shortened to
    /// [`Self::power_frac`], are multiplied.
    pub const fn reciprocal(self) -> (Ring, u32) {
        (Ring::new(2 * self.frac() + 28), self.frac() + 12)
    }
}

/// A text that names no precision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no precision: use default or high")]
pub struct ParsePrecisionError(String);

impl FromStr for Precision {
    type Err = ParsePrecisionError;

    fn from_str(text: &str) -> Result<Precision, ParsePrecisionError> {
        let named = Precision::ALL.into_iter().find(|precision| precision.name() == text);
        named.ok_or_else(|| ParsePrecisionError(text.into()))
    }
}
