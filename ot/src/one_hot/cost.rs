//! What one-hot vectors cost: COTs, bits, and the lengths of the messages.

use sotto_shares::Ring;

use crate::correlated::pattern_message_len;

/// One-hot vectors of one kind to be made: `n` vectors of `2^k` bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Number of vectors.
    pub n: usize,
    /// Bits of a position, at least 1 and at most 12.
    pub k: u32,
    /// The ring of the additive shares of positions, of `k` bits or more.
    pub ring: Ring,
}

/// COTs for one-hot vectors, by direction.
#[derive(Clone, Copy)]
pub(super) struct Directed {
    /// COTs of which the first party is the sender.
    pub(super) forward: usize,
    /// COTs of which the second party is the sender.
    pub(super) reverse: usize,
}

impl Wanted {
    /// The COTs that the vectors take: `k` a vector in one direction, `k - 1` in the other.
    pub(super) fn cots(self) -> Directed {
        Directed { forward: self.n * self.k as usize, reverse: self.n * (self.k as usize - 1) }
    }
}

/// COTs in both directions for `n` vectors: `n (2 k - 1)`.
///
/// # Panics
/// If `k` is 0.
pub fn one_hot_cots(n: usize, k: u32) -> usize {
    n * (2 * k as usize - 1)
}

/// Bits in both directions for one vector, COTs apart: `2 (2^j - 1)` for each `0 < j < k`, and
/// `m - 1 - j` for each `j < k`, in a ring of `m` bits.
pub fn one_hot_bits(k: u32, ring: Ring) -> usize {
    let levels: usize = (1..k as usize).map(|j| 2 * level_bits(j)).sum();
    levels + position_bits(k, ring)
}

/// Bytes of a party's message in each round.
pub fn round_lens(first: bool, wanted: &[Wanted]) -> Vec<usize> {
    let levels = wanted.iter().map(|w| w.k as usize).max().unwrap_or(0);
    let round = |j: usize| {
        let positions = wanted.iter().filter(|_| first && j == 1);
        let positions = positions.flat_map(|w| (0..w.k as usize).map(|j| position_len(*w, j)));
        let levels = wanted.iter().filter(|w| j < w.k as usize).map(|w| level_len(*w, j));
        positions.chain(levels).sum()
    };
    (1..levels.max(2)).map(round).collect()
}

/// Bytes of the payloads for bit `j` of all positions.
pub(super) fn position_len(wanted: Wanted, j: usize) -> usize {
    pattern_message_len(wanted.n, &[cross_bits(wanted.ring, j)])
}

/// Bytes of the payloads of level `j`.
pub(super) fn level_len(wanted: Wanted, j: usize) -> usize {
    (wanted.n * level_bits(j)).div_ceil(8)
}

/// Bits of a payload of level `j`.
pub(super) fn level_bits(j: usize) -> usize {
    (1 << j) - 1
}

/// Bits of the additive share of `-b_j b'_j`, which enters the position with the factor `2^(j+1)`.
pub(super) fn cross_bits(ring: Ring, j: usize) -> u32 {
    ring.bits() - 1 - j as u32
}

/// Bits of all payloads for one position.
pub(super) fn position_bits(k: u32, ring: Ring) -> usize {
    (0..k as usize).map(|j| cross_bits(ring, j) as usize).sum()
}
