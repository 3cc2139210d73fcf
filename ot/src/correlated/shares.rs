//! The sender's shares for choices that the receiver corrects in the same turn.

use zeroize::Zeroizing;

use crate::{batch::UNIT, bits::bits_len, parallel};

/// The sender's shares, for either value of each correction `d`. Wiped when dropped.
pub struct Uncorrected {
    /// For `d = 0`, for `d = 1`.
    shares: [Zeroizing<Vec<u64>>; 2],
    /// Words of a share.
    words: usize,
}

impl Uncorrected {
    pub(super) fn new(shares: [Vec<u64>; 2], words: usize) -> Uncorrected {
        Uncorrected { shares: shares.map(Zeroizing::new), words }
    }

    /// The shares, given the receiver's packed corrections.
    ///
    /// # Panics
    /// If there is not one bit per COT.
    pub fn finish(self, derand: &[u8]) -> Vec<u64> {
        let Uncorrected { shares: [mut shares, flipped], words } = self;
        let cots = shares.len().checked_div(words);
        assert!(cots.is_none_or(|n| derand.len() == bits_len(n)), "one bit of correction per COT");
        let unit = (UNIT * words).max(1);
        let parts = shares.chunks_mut(unit).zip(flipped.chunks(unit)).zip(derand.chunks(UNIT / 8));
        parallel::for_each(parts, |((shares, flipped), derand)| {
            let eight = 8 * words;
            let eights = shares.chunks_mut(eight).zip(flipped.chunks(eight)).zip(derand);
            // A constant number of words lets the compiler vectorise the most frequent case.
            match words {
                1 => eights.for_each(|((shares, flipped), &bits)| choose(shares, flipped, bits, 1)),
                _ => eights.for_each(|((shares, flipped), &bits)| choose(shares, flipped, bits, words)),
            }
        });
        std::mem::take(&mut shares)
    }
}

/// Replaces the shares of up to eight COTs, of `words` words each, by those in `flipped` where the
/// bit is set.
#[inline(always)]
fn choose(shares: &mut [u64], flipped: &[u64], bits: u8, words: usize) {
    for (i, (shares, flipped)) in shares.chunks_exact_mut(words).zip(flipped.chunks_exact(words)).enumerate()
    {
        let flip = u64::from(bits >> i & 1).wrapping_neg();
        shares.iter_mut().zip(flipped).for_each(|(s, f)| *s ^= (*s ^ f) & flip);
    }
}

/// `head`, followed by `len` zeros: room for a message.
pub(super) fn with_room(head: &[u8], len: usize) -> Vec<u8> {
    let mut all = vec![0; head.len() + len];
    all[..head.len()].copy_from_slice(head);
    all
}
