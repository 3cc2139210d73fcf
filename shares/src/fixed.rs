//! Fixed point: the real number `v` with `frac` fraction bits is the integer `round(v 2^frac)`.

use crate::Ring;

/// The element of `ring` nearest to `value`, saturating at the ring's ends.
pub fn encode(value: f64, frac: u32, ring: Ring) -> u64 {
    let half = 2f64.powi(ring.bits() as i32 - 1);
    let scaled = (value * 2f64.powi(frac as i32)).round().clamp(-half, half - 1.0);
    ring.reduce(scaled as i64 as u64)
}

/// The real number that `element` stands for.
pub fn decode(element: u64, frac: u32, ring: Ring) -> f64 {
    ring.signed(element) as f64 * 2f64.powi(-(frac as i32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoding_saturates_and_rounds() {
        let ring = Ring::new(16);
        assert_eq!(encode(1.0, 8, ring), 256);
        assert_eq!(encode(-1.0, 8, ring), 0xff00);
        assert_eq!(encode(1e9, 8, ring), 0x7fff);
        assert_eq!(decode(encode(-3.25, 8, ring), 8, ring), -3.25);
    }
}
