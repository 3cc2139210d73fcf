//! Arithmetic modulo one prime p, 2^43 < p < 2^44, without branches or divisions on values.
//!
//! Products with a constant use Shoup's method: with `w' = floor(w 2^64 / p)` and any 64-bit x,
//! `x w - floor(x w' / 2^64) p` lies in [0, 2p).

use crate::params::PRIME_BITS;

/// A prime modulus and its constants.
#[derive(Clone, Copy)]
pub(crate) struct Modulus {
    p: u64,
    one: Shoup,
    two_64: Shoup,
    /// floor(2^107 / p), between 2^63 and 2^64.
    torus: u64,
}

/// A constant factor w < p with its quotient floor(w 2^64 / p).
#[derive(Clone, Copy)]
pub(crate) struct Shoup {
    pub(crate) w: u64,
    pub(crate) quotient: u64,
}

impl Modulus {
    /// # Panics
    /// If p is not between 2^43 and 2^44: the range every bound in this crate relies on.
    pub(crate) fn new(p: u64) -> Self {
        assert!(p > 1 << (PRIME_BITS - 1) && p < 1 << PRIME_BITS, "primes have exactly 44 bits");
        let shoup = |w: u64| Shoup { w, quotient: ((u128::from(w) << 64) / u128::from(p)) as u64 };
        let two_64 = shoup(((1u128 << 64) % u128::from(p)) as u64);
        Self { p, one: shoup(1), two_64, torus: ((1u128 << (63 + PRIME_BITS)) / u128::from(p)) as u64 }
    }

    #[inline(always)]
    pub(crate) fn p(self) -> u64 {
        self.p
    }

    /// The constant `w mod p`, prepared for multiplication.
    pub(crate) fn constant(self, w: u64) -> Shoup {
        let w = w % self.p;
        Shoup { w, quotient: ((u128::from(w) << 64) / u128::from(self.p)) as u64 }
    }

    /// x w mod p, for any x.
    #[inline(always)]
    pub(crate) fn mul(self, x: u64, w: Shoup) -> u64 {
        self.reduce_once(self.mul_lazy(x, w))
    }

    /// x w mod p or that plus p, for any x.
    #[inline(always)]
    pub(crate) fn mul_lazy(self, x: u64, w: Shoup) -> u64 {
        let quotient = ((u128::from(x) * u128::from(w.quotient)) >> 64) as u64;
        x.wrapping_mul(w.w).wrapping_sub(quotient.wrapping_mul(self.p))
    }

    /// x mod p for x < 2p.
    #[inline(always)]
    pub(crate) fn reduce_once(self, x: u64) -> u64 {
        x.min(x.wrapping_sub(self.p))
    }

    /// x mod p for any x.
    #[inline(always)]
    pub(crate) fn reduce(self, x: u64) -> u64 {
        self.mul(x, self.one)
    }

    /// x mod p for any signed x.
    #[inline(always)]
    pub(crate) fn reduce_signed(self, x: i64) -> u64 {
        let negative = (x >> 63) as u64;
        self.sub(self.reduce(x as u64), self.two_64.w & negative)
    }

    /// x mod p for |x| < p.
    #[inline(always)]
    pub(crate) fn embed(self, x: i64) -> u64 {
        (x as u64).wrapping_add(((x >> 63) as u64) & self.p)
    }

    /// x mod p for 128-bit x.
    pub(crate) fn reduce_wide(self, x: u128) -> u64 {
        self.reduce_once(self.reduce(x as u64) + self.mul((x >> 64) as u64, self.two_64))
    }

    #[inline(always)]
    pub(crate) fn add(self, a: u64, b: u64) -> u64 {
        self.reduce_once(a + b)
    }

    #[inline(always)]
    pub(crate) fn sub(self, a: u64, b: u64) -> u64 {
        let d = a.wrapping_sub(b);
        d.min(d.wrapping_add(self.p))
    }

    /// The residue modulo p of the centred representative of x modulo `from`; both have 44 bits, so
    /// |centred| < p.
    #[inline(always)]
    pub(crate) fn lift(self, x: u64, from: Modulus) -> u64 {
        let upper = u64::from(x > from.p / 2).wrapping_neg();
        x.wrapping_sub(from.p & upper).wrapping_add(self.p & upper)
    }

    /// The fraction y / p in units of 2^-128, a few units too small, for y < 2^45.
    ///
    /// With v = floor(2^107 / p): h = floor(y v / 2^43) is at most 4 below y 2^64 / p, the
    /// remainder y 2^64 - h p is below 2^47, and a second step of the same kind gives the low half.
    #[inline(always)]
    pub(crate) fn fraction(self, y: u64) -> u128 {
        let high = (u128::from(y) * u128::from(self.torus)) >> (PRIME_BITS - 1);
        let rest = (high as u64).wrapping_mul(self.p).wrapping_neg();
        (high << 64).wrapping_add((u128::from(rest) * u128::from(self.torus)) >> (PRIME_BITS - 1))
    }

    /// a b mod p for public values (variable time).
    pub(crate) fn mul_public(self, a: u64, b: u64) -> u64 {
        ((u128::from(a) * u128::from(b)) % u128::from(self.p)) as u64
    }

    /// a^{-1} mod p for a public unit, by Fermat (variable time).
    pub(crate) fn inverse_public(self, a: u64) -> u64 {
        let (mut result, mut base, mut exponent) = (1, a % self.p, self.p - 2);
        while exponent > 0 {
            if exponent & 1 == 1 {
                result = self.mul_public(result, base);
            }
            base = self.mul_public(base, base);
            exponent >>= 1;
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const P: u64 = 17592186028033;

    proptest! {
        #[test]
        fn reductions_agree_with_division(x: u64, s: i64, wide: u128, w in 0..P) {
            let m = Modulus::new(P);
            prop_assert_eq!(m.reduce(x), x % P);
            prop_assert_eq!(m.reduce_signed(s), i128::from(s).rem_euclid(i128::from(P)) as u64);
            prop_assert_eq!(m.reduce_wide(wide), (wide % u128::from(P)) as u64);
            prop_assert_eq!(m.mul(x, m.constant(w)), m.mul_public(x % P, w));
            prop_assert_eq!(m.embed(s >> 21), m.reduce_signed(s >> 21));
            prop_assert_eq!(m.sub(x % P, w), m.reduce_signed((x % P) as i64 - w as i64));
        }

        #[test]
        fn fractions_are_exact_to_a_few_units(y in 0..P) {
            let m = Modulus::new(P);
            // 2^128 y / p by long division in base 2^64.
            let high = (u128::from(y) << 64) / u128::from(P);
            let low = (((u128::from(y) << 64) % u128::from(P)) << 64) / u128::from(P);
            prop_assert!(((high << 64) + low).wrapping_sub(m.fraction(y)) < 64);
        }
    }

    #[test]
    fn lift_keeps_the_centred_value() {
        let (a, b) = (Modulus::new(P), Modulus::new(17592185438209));
        for x in [0, 1, P / 2, P / 2 + 1, P - 1] {
            let centred = if x > P / 2 { x as i64 - P as i64 } else { x as i64 };
            assert_eq!(b.lift(x, a), b.reduce_signed(centred));
        }
        assert_eq!(a.mul_public(7, a.inverse_public(7)), 1);
    }
}
