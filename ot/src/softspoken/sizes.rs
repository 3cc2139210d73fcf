//! Tags and lengths of SoftSpoken OT's messages, and the position in its streams.

use crate::{block::LAMBDA, check::Security, ggm};

/// The tag of a message for more COTs.
pub(crate) const U: &str = "ot/softspoken/u";
/// The tag of the message that punctures the trees.
pub(crate) const GGM: &str = "ot/softspoken/ggm";

/// Bytes of the masked level sums that puncture the trees.
pub(super) const SUMS_LEN: usize = 2 * LAMBDA * 16;
/// Bytes that a check adds to a message: a value and a digest.
pub(super) const PROOF_LEN: usize = 48;
/// The number of COTs of a checked message is a multiple of this.
const LANES: usize = 512;

/// COTs expanded at a time. The rows of as many fit the first-level cache.
pub(super) const CHUNK: usize = 2048;

/// The least number of COTs of a message.
pub(super) const BATCH: usize = 1 << 15;

/// COTs of the next message, if `n` are needed and `ready` are made or expected.
pub(super) fn batch(n: usize, ready: usize) -> Option<usize> {
    (n > ready).then(|| (n - ready).max(BATCH))
}

/// Bytes of the message that punctures the trees.
pub(crate) const fn ggm_len<const K: usize, S: Security>() -> usize {
    SUMS_LEN + if S::CHECKED { ggm::proof_len(LAMBDA / K) } else { 0 }
}

/// Bytes of the message for `n` COTs.
pub(super) fn message_len<const K: usize, S: Security>(n: usize) -> usize {
    rows_len::<K>(padded::<S>(n)) + if S::CHECKED { PROOF_LEN } else { 0 }
}

/// Bytes of the corrections `c` for `n` COTs: `128/k - 1` rows, each a whole number of bytes.
pub(super) fn rows_len<const K: usize>(n: usize) -> usize {
    (LAMBDA / K - 1) * n.div_ceil(8)
}

/// COTs made for a message of `n`. In a checked session: a multiple of 512, and 512 more as the
/// mask.
pub(super) fn padded<S: Security>(n: usize) -> usize {
    if S::CHECKED { (n.div_ceil(LANES) + 1) * LANES } else { n }
}

/// What has been used up. It only grows, also after an error.
#[derive(Clone, Copy, Default)]
pub(super) struct Position {
    /// The next COT's index.
    pub(super) index: u64,
    /// The next block of the generators' streams.
    block: u64,
}

impl Position {
    /// Uses up `n` COTs; returns where they begin.
    pub(super) fn advance(&mut self, n: usize) -> Position {
        let before = *self;
        self.index += n as u64;
        self.block += n.div_ceil(LAMBDA) as u64;
        before
    }

    /// The block of the streams with which chunk number `chunk` begins.
    pub(super) fn block_of(self, chunk: usize) -> u64 {
        self.block + (chunk * CHUNK / LAMBDA) as u64
    }
}
