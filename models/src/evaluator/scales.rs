//! Powers of two that fit a model's numbers into the rings: public, chosen by the server once for a
//! model.
//!
//! The residual stream is visited in a fixed order: the embedding, then every addition to it. Each
//! visit has an exponent, which only rises, and each layer has the units of its overflow checks.
//! [`crate::calibration`] chooses them; the client checks them before it uses them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The residual stream after one visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// Its numbers are in units of `2^exponent`.
    pub exponent: i32,
    /// Top bits that its overflow check looks at: numbers are taken modulo `2^(11 + top)` units.
    pub top: u32,
}

/// The other numbers of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scale {
    /// The rows that enter the last matrix of the MLP are checked in units of `2^inner`.
    pub inner: u32,
    /// Fraction bits that these rows lack, where they come from a gated product: the matrix has as
    /// many more.
    pub coarse: u32,
    /// Fraction bits that rotated queries and keys lack, so that their products have room.
    pub scores: u32,
    /// Scores are taken less that of the last position that their row sees: a key's bias, or
    /// whatever else keys have in common, cancels.
    pub relative: bool,
    /// Values are checked in units of `2^values`, where the weights do not bound them.
    pub values: Option<u32>,
    /// Top bits that are looked at of gates and of what they multiply, where the weights do not
    /// bound these.
    pub gates: Option<u32>,
    /// Rows that are normalised beside the residual stream, norm by norm, are in units of `2^unit`:
    /// the weights, or the check of what enters the matrix before, bound them so.
    pub beside: [u32; MOST_BESIDE],
}

/// The scales of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scales {
    /// Of the residual stream, visit by visit; beyond the last, the default.
    pub stream: Vec<Stream>,
    /// Of the layers; beyond the last, the default.
    pub layers: Vec<Scale>,
    /// Logits are revealed in units of `2^logits`.
    pub logits: i32,
}

impl Default for Stream {
    fn default() -> Stream {
        Stream { exponent: 0, top: 5 }
    }
}

impl Default for Scale {
    fn default() -> Scale {
        Scale {
            inner: 11,
            coarse: 0,
            scores: 0,
            relative: false,
            values: None,
            gates: None,
            beside: [0; MOST_BESIDE],
        }
    }
}

/// Most fraction bits that a gated product may lack.
pub(crate) const MOST_COARSE: u32 = 4;

/// Most fraction bits that queries and keys may lack.
pub(crate) const MOST_ROOM: u32 = 2;

/// Top bits of gates that may be looked at.
pub(crate) const GATE_TOPS: std::ops::RangeInclusive<u32> = 4..=8;

/// Norms of a layer at most whose rows are not the residual stream's: of queries, keys, what
/// attention and what the MLP gives.
pub const MOST_BESIDE: usize = 4;

/// The largest unit of such rows: those of any linear layer fit.
pub(crate) const MOST_UNIT: u32 = 8;

/// Exponents that the rings have room for.
pub(crate) const EXPONENTS: std::ops::RangeInclusive<i32> = -8..=12;

/// Exponents of what is revealed.
pub(crate) const LOGITS: std::ops::RangeInclusive<i32> = -4..=6;

impl Scales {
    /// Of the visit with this number.
    pub fn stream(&self, visit: usize) -> Stream {
        self.stream.get(visit).copied().unwrap_or_default()
    }

    /// Of the layer with this number.
    pub fn layer(&self, layer: usize) -> Scale {
        self.layers.get(layer).copied().unwrap_or_default()
    }

    /// Takes other scales of some of so many layers; whether that changes anything.
    pub(crate) fn adopt(&mut self, wanted: &BTreeMap<usize, Scale>, layers: usize) -> bool {
        let others = wanted.iter().filter(|&(&layer, scale)| self.layer(layer) != *scale);
        let others: Vec<_> = others.collect();
        for &(&layer, &scale) in &others {
            self.layers.resize(layers, Scale::default());
            self.layers[layer] = scale;
        }
        !others.is_empty()
    }

    /// Leaves out what is default everywhere.
    pub(crate) fn shorten(&mut self) {
        if self.stream.iter().all(|stream| *stream == Stream::default()) {
            self.stream.clear();
        }
        if self.layers.iter().all(|layer| *layer == Scale::default()) {
            self.layers.clear();
        }
    }

    /// Whether they are scales of a network with so many visits of the stream and so many layers:
    /// what a client asks of scales that a server sends.
    pub fn fit(&self, visits: usize, layers: usize) -> bool {
        let whole = |n: usize, of: usize| n == 0 || n == of;
        whole(self.stream.len(), visits)
            && whole(self.layers.len(), layers)
            && self.stream.iter().all(|s| EXPONENTS.contains(&s.exponent) && (5..=8).contains(&s.top))
            && self.stream.is_sorted_by_key(|s| s.exponent)
            && self
                .layers
                .iter()
                .all(|l| (11..=14).contains(&l.inner) && l.coarse <= MOST_COARSE && l.scores <= MOST_ROOM)
            && self.layers.iter().all(|l| l.values.is_none_or(|unit| unit <= 9))
            && self.layers.iter().all(|l| l.gates.is_none_or(|top| GATE_TOPS.contains(&top)))
            && self.layers.iter().all(|l| l.beside.iter().all(|&unit| unit <= MOST_UNIT))
            && LOGITS.contains(&self.logits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_takes_no_scales_that_do_not_fit() {
        let stream = |exponents: &[i32]| Scales {
            stream: exponents.iter().map(|&exponent| Stream { exponent, top: 5 }).collect(),
            ..Scales::default()
        };
        assert!(Scales::default().fit(3, 1));
        assert!(stream(&[-1, 0, 3]).fit(3, 1));
        assert!(!stream(&[0, 3]).fit(3, 1));
        assert!(!stream(&[0, 3, 2]).fit(3, 1));
        assert!(!stream(&[0, 3, 13]).fit(3, 1));
        assert!(!Scales { logits: 7, ..Scales::default() }.fit(3, 1));
        let layer = Scale { inner: 15, ..Scale::default() };
        assert!(!Scales { layers: vec![layer], ..Scales::default() }.fit(3, 1));
    }
}
