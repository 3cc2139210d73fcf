//! `[onehot(p)] <- [x]`, `2^p <= x < 2^(p+1)`: where the highest set bit of a positive number is.
//!
//! The bits of `x` ([`crate::adder`]), their prefix OR from the top in `ceil(log2 l)` steps
//! `y <- y | (y >> 2^i)`, and the difference of neighbours. `x = 0` gives the zero vector.
//!
//! `2 ceil(log2 l)` turns beyond the adder's; `4 l ceil(log2 l)` bits; exact; no leakage.
//! Source: SIRNN (2021/459), MSNZB; prefix OR as in Catrina-Saxena (2010).

use sotto_shares::{Share, XorShare};

use crate::{Error, Session, adder, and::and_words};

/// Bit `p` of the result is set where bit `p` leads.
pub async fn leading_one(s: &mut Session, x: &Share) -> Result<XorShare, Error> {
    let bits = x.ring.bits();
    let mut y = adder::bits(s, x).await?;
    let mut reach = 1;
    while reach < bits {
        let shifted = y.map_linear(bits, |w| w >> reach);
        let [both] = and_words(s, &y, [&shifted]).await?;
        y = y.xor(&shifted).xor(&both);
        reach *= 2;
    }
    let above = y.map_linear(bits, |w| w >> 1);
    Ok(y.xor(&above))
}

/// The functionality on one element.
pub fn ideal(x: u64) -> u64 {
    if x == 0 { 0 } else { 1 << x.ilog2() }
}

#[cfg(test)]
pub(crate) mod tests {
    use sotto_shares::Ring;

    use super::*;
    use crate::{
        and,
        testing::{self, Bill, elements, log2_ceil},
    };

    pub(crate) fn bill(n: usize, l: u32) -> Bill {
        let step = and::tests::bill(n * l as usize, 1);
        (0..log2_ceil(l as usize)).fold(adder::tests::bill(n, l), |sum, _| sum + step.clone())
    }

    #[test]
    fn every_position_and_zero_at_the_stated_cost() {
        for l in [1, 9, 32, 64] {
            let ring = Ring::new(l);
            let powers = (0..l)
                .flat_map(|p| [1u64 << p, ring.reduce((1 << p) | 0x5555_5555_5555_5555 >> (64 - p).min(63))]);
            let x: Vec<u64> = powers.chain(elements(20, ring)).collect();
            let (got, traffic) = testing::run(async |lab| {
                let x = lab.row(&x, ring);
                lab.measure(async |s| leading_one(s, &x).await).await
            });
            assert_eq!(got, x.iter().map(|&x| ideal(x)).collect::<Vec<_>>());
            assert_eq!(traffic.cost, bill(x.len(), l).cost());
            assert_eq!(traffic.cost.turns, 2 + 4 * log2_ceil(l as usize));
        }
    }
}
