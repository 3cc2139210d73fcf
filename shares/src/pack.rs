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
    /// The bits of an unfinished word, and how many there are.
    word: u64,
    filled: u32,
}

impl<'a> BitWriter<'a> {
    /// A writer that fills `bytes` from its first bit on.
    pub fn new(bytes: &'a mut [u8]) -> BitWriter<'a> {
        BitWriter { rest: bytes, word: 0, filled: 0 }
    }

    /// Appends the low `bits` bits of `value`; `bits` may be 0.
    ///
    /// Does not branch on the position: it always writes eight bytes, and advances if they are
    /// full.
    ///
    /// # Panics
    /// If there is no room.
    #[inline]
    pub fn push(&mut self, value: u64, bits: u32) {
        debug_assert!(bits <= 64);
        let value = low(value, bits);
        let (word, filled) = (self.word | value << self.filled, self.filled + bits);
        let full = filled / 64 == 1;
        let rest = std::mem::take(&mut self.rest);
        match rest.first_chunk_mut::<8>() {
            Some(room) => *room = word.to_le_bytes(),
            None => assert!(!full, "room for {bits} bits"),
        }
        self.rest = &mut rest[if full { 8 } else { 0 }..];
        // The bits that did not fit; zero if all did.
        let left = value >> 1 >> (63 - self.filled);
        self.word = if full { left } else { word };
        self.filled = filled % 64;
    }

    /// Writes the last bits, and zeros up to the end of their byte.
    ///
    /// # Panics
    /// If more than that byte would be left.
    pub fn finish(self) {
        let last = self.filled.div_ceil(8) as usize;
        assert!(self.rest.len() == last, "{} bytes are left, and {last} to be written", self.rest.len());
        self.rest.copy_from_slice(&self.word.to_le_bytes()[..last]);
    }
}

/// Reads what a [`BitWriter`] wrote. Beyond the end it reads zeros: the channel checks lengths.
pub struct BitReader<'a> {
    bytes: &'a [u8],
    /// Bits that have been read.
    read: usize,
}

impl<'a> BitReader<'a> {
    /// A reader from the first bit of `bytes`.
    pub fn new(bytes: &'a [u8]) -> BitReader<'a> {
        BitReader { bytes, read: 0 }
    }

    /// The next `bits` bits.
    #[inline]
    pub fn pull(&mut self, bits: u32) -> u64 {
        debug_assert!(bits <= 64);
        if bits <= 57 {
            self.pull_short(bits)
        } else {
            self.pull_short(32) | self.pull_short(bits - 32) << 32
        }
    }

    /// At most 57 bits: eight bytes hold them wherever in the first byte they begin.
    #[inline]
    fn pull_short(&mut self, bits: u32) -> u64 {
        let rest = self.bytes.get(self.read / 8..).unwrap_or_default();
        let word = match rest.first_chunk::<8>() {
            Some(bytes) => u64::from_le_bytes(*bytes),
            None => rest.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
        };
        let value = low(word >> (self.read % 8), bits);
        self.read += bits as usize;
        value
    }
}

#[inline]
fn low(value: u64, bits: u32) -> u64 {
    if bits == 64 { value } else { value & ((1 << bits) - 1) }
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
