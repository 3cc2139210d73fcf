//! Bit packing: values of exactly `bits` bits, least significant first, without gaps.

/// Appends values of a fixed width to a byte vector.
pub(crate) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    pending: u128,
    filled: u32,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, pending: 0, filled: 0 }
    }

    /// Appends the `bits <= 64` low bits of `value`; the others must be zero.
    #[inline(always)]
    pub(crate) fn put(&mut self, value: u64, bits: u32) {
        self.pending |= u128::from(value) << self.filled;
        self.filled += bits;
        if self.filled >= 64 {
            self.out.extend_from_slice(&(self.pending as u64).to_le_bytes());
            self.pending >>= 64;
            self.filled -= 64;
        }
    }

    /// Appends the `bits <= 128` low bits of `value`; the others must be zero.
    #[inline(always)]
    pub(crate) fn put_wide(&mut self, value: u128, bits: u32) {
        self.put(value as u64, bits.min(64));
        if bits > 64 {
            self.put((value >> 64) as u64, bits - 64);
        }
    }

    /// Appends what is left, the last byte filled with zeros.
    pub(crate) fn finish(self) {
        let bytes = (self.pending as u64).to_le_bytes();
        self.out.extend_from_slice(&bytes[..self.filled.div_ceil(8) as usize]);
    }
}

/// Takes values of a fixed width from a byte slice; past the end it reads zeros.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    pending: u128,
    filled: u32,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, pending: 0, filled: 0 }
    }

    /// The next `bits <= 64` bits.
    #[inline(always)]
    pub(crate) fn take(&mut self, bits: u32) -> u64 {
        if self.filled < bits {
            self.pending |= u128::from(self.next_word()) << self.filled;
            self.filled += 64;
        }
        let value = (self.pending as u64) & (u64::MAX >> (64 - bits));
        self.pending >>= bits;
        self.filled -= bits;
        value
    }

    /// The next `bits <= 128` bits.
    #[inline(always)]
    pub(crate) fn take_wide(&mut self, bits: u32) -> u128 {
        let low = u128::from(self.take(bits.min(64)));
        if bits > 64 { low | u128::from(self.take(bits - 64)) << 64 } else { low }
    }

    #[inline(always)]
    fn next_word(&mut self) -> u64 {
        if let Some((word, rest)) = self.bytes.split_first_chunk::<8>() {
            self.bytes = rest;
            return u64::from_le_bytes(*word);
        }
        let mut word = [0; 8];
        word[..self.bytes.len()].copy_from_slice(self.bytes);
        self.bytes = &[];
        u64::from_le_bytes(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reading_inverts_writing(values in prop::collection::vec(any::<u128>(), 1..50), bits in 1u32..=128) {
            let values: Vec<u128> = values.iter().map(|v| v >> (128 - bits)).collect();
            let mut bytes = Vec::new();
            let mut writer = Writer::new(&mut bytes);
            values.iter().for_each(|&v| writer.put_wide(v, bits));
            writer.finish();
            prop_assert_eq!(bytes.len(), (values.len() * bits as usize).div_ceil(8));
            let mut reader = Reader::new(&bytes);
            prop_assert!(values.iter().all(|&v| reader.take_wide(bits) == v));
        }
    }
}
