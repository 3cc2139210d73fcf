//! Bits packed into bytes: bit `i` of a string is bit `i % 8` of byte `i / 8`.

/// Bytes of `n` packed bits.
pub fn bits_len(n: usize) -> usize {
    n.div_ceil(8)
}

/// Bit `i` of packed bits.
pub(crate) fn bit(packed: &[u8], i: usize) -> u64 {
    u64::from(packed[i / 8] >> (i % 8) & 1)
}

/// `x mod 2^width`, for a width of at most 64.
pub(crate) fn reduce(x: u64, width: u32) -> u64 {
    if width == u64::BITS { x } else { x & ((1 << width) - 1) }
}

/// `random ^ choices` for `n` COTs: the message that turns the random choice bits into chosen ones.
/// The bits after bit `n` of the last byte are 0: those of `choices` may be secrets of the caller.
///
/// # Panics
/// If `choices` is not [`bits_len`]`(n)` bytes long.
pub(crate) fn correction(random: &[u8], choices: &[u8], n: usize) -> Vec<u8> {
    assert_eq!(choices.len(), bits_len(n), "one choice bit per COT");
    let mut bits: Vec<u8> = random.iter().zip(choices).map(|(b, c)| b ^ c).collect();
    if let (Some(last), rest @ 1..) = (bits.last_mut(), n % 8) {
        *last &= (1 << rest) - 1;
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_correction_keeps_the_unused_bits_of_the_last_byte() {
        assert_eq!(correction(&[0b1010_1010, 0xff], &[0b1100_0011, 0x0f], 10), [0b0110_1001, 0]);
        assert_eq!(correction(&[0xff], &[0], 8), [0xff]);
        assert!(correction(&[], &[], 0).is_empty());
    }

    #[test]
    fn reduction_at_every_width() {
        for width in 1..=64 {
            assert_eq!(reduce(u64::MAX, width), u64::MAX >> (64 - width));
        }
        assert_eq!(reduce(u64::MAX, 0), 0);
    }
}
