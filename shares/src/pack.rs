//! Bit packing: elements of Z_{2^l} travel as exactly `l` bits, little-endian, without gaps.

/// Bytes of `n` elements of `bits` bits.
pub fn packed_len(n: usize, bits: u32) -> usize {
    (n * bits as usize).div_ceil(8)
}

/// Bytes of `n` repetitions of elements with the widths of `pattern`.
pub fn pattern_len(n: usize, pattern: &[u32]) -> usize {
    (n * pattern.iter().map(|&w| w as usize).sum::<usize>()).div_ceil(8)
}

/// Packs the low `bits` bits of each value.
pub fn pack(values: &[u64], bits: u32) -> Vec<u8> {
    let mut bytes = vec![0; packed_len(values.len(), bits)];
    let mut writer = BitWriter::new(&mut bytes);
    values.iter().for_each(|&value| writer.push(value, bits));
    writer.finish();
    bytes
}

/// The inverse of [`pack`].
///
/// # Panics
/// If `bytes` is not [`packed_len`] long.
pub fn unpack(bytes: &[u8], n: usize, bits: u32) -> Vec<u64> {
    assert_eq!(bytes.len(), packed_len(n, bits), "packed length");
    let mut reader = BitReader::new(bytes);
    (0..n).map(|_| reader.pull(bits)).collect()
}

/// Writes values of any width up to 64 bits one after the other.
pub struct BitWriter<'a> {
    rest: &'a mut [u8],
    word: u128,
    filled: u32,
}

impl<'a> BitWriter<'a> {
    /// A writer that fills `bytes` from its first bit on.
    pub fn new(bytes: &'a mut [u8]) -> BitWriter<'a> {
        BitWriter { rest: bytes, word: 0, filled: 0 }
    }

    /// Appends the low `bits` bits of `value`; `bits` may be 0.
    ///
    /// # Panics
    /// If there is no room.
    #[inline]
    pub fn push(&mut self, value: u64, bits: u32) {
        debug_assert!(bits <= 64);
        let value = if bits == 64 { value } else { value & ((1 << bits) - 1) };
        self.word |= u128::from(value) << self.filled;
        self.filled += bits;
        if self.filled >= 64 {
            self.put(8);
            self.word >>= 64;
            self.filled -= 64;
        }
    }

    /// Writes the last bits, and zeros up to the end of their byte.
    ///
    /// # Panics
    /// If more than that byte would be left.
    pub fn finish(mut self) {
        self.put(self.filled.div_ceil(8) as usize);
        assert!(self.rest.is_empty(), "{} bytes were not written", self.rest.len());
    }

    fn put(&mut self, bytes: usize) {
        let (now, rest) = std::mem::take(&mut self.rest).split_at_mut(bytes);
        now.copy_from_slice(&(self.word as u64).to_le_bytes()[..bytes]);
        self.rest = rest;
    }
}

/// Reads what a [`BitWriter`] wrote. Beyond the end it reads zeros: lengths are checked where bytes arrive.
pub struct BitReader<'a> {
    bytes: &'a [u8],
    word: u128,
    filled: u32,
}

impl<'a> BitReader<'a> {
    /// A reader from the first bit of `bytes`.
    pub fn new(bytes: &'a [u8]) -> BitReader<'a> {
        BitReader { bytes, word: 0, filled: 0 }
    }

    /// The next `bits` bits.
    #[inline]
    pub fn pull(&mut self, bits: u32) -> u64 {
        debug_assert!(bits <= 64);
        if self.filled < bits {
            let mut next = [0u8; 8];
            let n = self.bytes.len().min(8);
            next[..n].copy_from_slice(&self.bytes[..n]);
            self.bytes = &self.bytes[n..];
            self.word |= u128::from(u64::from_le_bytes(next)) << self.filled;
            self.filled += 64;
        }
        let value = self.word as u64 & if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
        self.word >>= bits;
        self.filled -= bits;
        value
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn unpack_inverts_pack(values in prop::collection::vec(any::<u64>(), 0..70), bits in 1u32..=64) {
            let reduced: Vec<u64> = values.iter().map(|v| v & (u64::MAX >> (64 - bits))).collect();
            let bytes = pack(&values, bits);
            prop_assert_eq!(bytes.len(), packed_len(values.len(), bits));
            prop_assert_eq!(unpack(&bytes, values.len(), bits), reduced);
        }

        #[test]
        fn mixed_widths_round_trip(items in prop::collection::vec((any::<u64>(), 0u32..=64), 0..50)) {
            let bits: usize = items.iter().map(|item| item.1 as usize).sum();
            let mut bytes = vec![0xff; bits.div_ceil(8)];
            let mut writer = BitWriter::new(&mut bytes);
            for &(value, bits) in &items {
                writer.push(value, bits);
            }
            writer.finish();
            let mut reader = BitReader::new(&bytes);
            for &(value, bits) in &items {
                let expected = if bits == 0 { 0 } else { value & (u64::MAX >> (64 - bits)) };
                prop_assert_eq!(reader.pull(bits), expected);
            }
        }
    }
}
