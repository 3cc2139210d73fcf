//! `[b v] <- [b], [v]` over XOR shares: a bit times a vector of up to 64 bits.
//!
//! | client: `b0`, `v0`        |                     | server: `b1`, `v1`        |
//! |---------------------------|---------------------|---------------------------|
//! | choice `b0`, vector `v0`  | `<- and/cross ->`   | choice `b1`, vector `v1`  |
//! | `b0 v0 ^ own ^ got`       |                     | `b1 v1 ^ own ^ got`       |
//!
//! One turn, `2 (w + 1)` bits, exact, no leakage. From stock: one COT an element and direction.
//! Source: GMW87 with the products from correlated OT.

use sotto_ot::{RecvCots, SendCots, XorPads};
use sotto_shares::XorShare;

use crate::{Error, Session, cost::CostModel, cross};

const TAG: &str = "and/cross";

/// Multiplies each vector by its bit.
///
/// # Panics
/// If `b` is not one bit wide or lengths differ.
pub async fn and(s: &mut Session, b: &XorShare, v: &XorShare) -> Result<XorShare, Error> {
    let cots = s.cots(b.len(), b.len()).await?;
    begin(s, cots, b, v)?.finish(s).await
}

/// Products of which this party has sent its part, as in [`crate::cross`].
#[must_use]
pub(crate) struct Begun {
    local: XorShare,
    products: cross::Begun<XorPads>,
}

/// Sends this party's part of [`and()`], on a COT an element and direction.
pub(crate) fn begin(
    s: &mut Session,
    cots: (SendCots, RecvCots),
    b: &XorShare,
    v: &XorShare,
) -> Result<Begun, Error> {
    assert_eq!((b.width(), b.len()), (1, v.len()), "one bit per vector");
    let choices: Vec<u8> = b.words().iter().map(|&b| b as u8).collect();
    let products = cross::begin_xor(s, cots, TAG, &choices, v.words(), v.width())?;
    let local = b.words().iter().zip(v.words()).map(|(b, v)| v & b.wrapping_neg()).collect();
    Ok(Begun { local: XorShare::new(v.width(), local), products })
}

impl Begun {
    /// Receives the peer's part.
    pub(crate) async fn finish(self, s: &mut Session) -> Result<XorShare, Error> {
        let products = self.products.finish(s).await?;
        let words =
            products.own.iter().zip(products.got.iter()).zip(self.local.words()).map(|((o, g), l)| l ^ o ^ g);
        Ok(XorShare::new(self.local.width(), words.collect()))
    }
}

/// The functionality on one element.
pub fn ideal(b: u64, v: u64) -> u64 {
    if b == 1 { v } else { 0 }
}

/// One frame each way.
pub fn cost(n: usize, width: u32) -> CostModel {
    CostModel::products((n, n * width as usize), (n, n * width as usize))
}

#[cfg(test)]
pub(crate) mod tests {
    use sotto_shares::Ring;

    use super::*;
    use crate::testing::{self, elements};

    #[test]
    fn real_is_ideal_at_the_stated_cost() {
        for (n, width) in [(0, 3), (1, 1), (9, 18), (65, 64)] {
            let v = elements(n, Ring::new(width));
            let b: Vec<u64> = (0..n as u64).map(|i| (i / 2) & 1).collect();
            let (got, traffic) = testing::run(async |lab| {
                let (b, v) = (lab.bits(&b, 1), lab.bits(&v, width));
                lab.measure(async |s| and(s, &b, &v).await).await
            });
            assert_eq!(got, b.iter().zip(&v).map(|(&b, &v)| ideal(b, v)).collect::<Vec<_>>());
            assert_eq!(traffic.cost, cost(n, width).total());
        }
    }
}
