//! `[T(x)] <- [x]` over XOR shares: a public table at a shared index of a few bits.
//!
//! | client: `x0`, one-hot share `e0` of `r` |                     | server: `x1`, `e1`     |
//! |-----------------------------------------|---------------------|------------------------|
//! | `x0 ^ r0`                               | `<- lookup/open ->` | `x1 ^ r1`              |
//! | `e0` at `r ^ d`, with `d` opened: shares of the one-hot of `x` |  | the same           |
//! | its inner products with the table's bit planes |              | the same               |
//!
//! One turn, `2 k` bits whatever the width of an entry; exact; the opened `d` is uniform and used
//! once. From stock: a one-hot of `2^k`. Source: FLUTE (S&P 2023).

use sotto_ot::{Columns, OneHots};
use sotto_shares::{Ring, XorShare};

use crate::{
    Error, Session,
    cost::CostModel,
    open::{receive_bits, send_bits},
};

/// The table's entries at the shared indices.
///
/// # Panics
/// If the table does not have `2^k` entries for indices of `k` bits.
pub async fn lookup(s: &mut Session, x: &XorShare, table: &Columns) -> Result<XorShare, Error> {
    let masks = s.one_hots(x.width(), Ring::new(x.width()), x.len()).await?;
    begin(s, masks, x, table)?.finish(s).await
}

/// Lookups of which this party has sent its part, as in [`crate::cross`].
#[must_use]
pub(crate) struct Begun<'a> {
    masks: OneHots,
    masked: XorShare,
    table: &'a Columns,
}

const TAG: &str = "lookup/open";

/// Sends this party's part of [`lookup()`], on a one-hot an index.
pub(crate) fn begin<'a>(
    s: &mut Session,
    masks: OneHots,
    x: &XorShare,
    table: &'a Columns,
) -> Result<Begun<'a>, Error> {
    let masked = x.xor(&XorShare::new(x.width(), masks.bits().to_vec()));
    send_bits(s, TAG, &masked)?;
    Ok(Begun { masks, masked, table })
}

impl Begun<'_> {
    /// Receives the peer's part.
    pub(crate) async fn finish(self, s: &mut Session) -> Result<XorShare, Error> {
        let opened = receive_bits(s, TAG, &self.masked).await?;
        Ok(sotto_net::compute(|| self.masks.flip(&opened).parity(self.table)))
    }
}

/// The functionality on one element.
pub fn ideal(x: u64, table: &[u64]) -> u64 {
    table[x as usize]
}

/// What is sent, and which COTs it takes.
pub fn cost(n: usize, k: u32) -> CostModel {
    CostModel::mutual(&[n * k as usize], 0) + CostModel::spending(n, k, k)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::testing::{self, elements};

    #[test]
    fn every_entry_at_the_stated_cost() {
        for k in [1, 4, 6, 8] {
            let table = elements(1 << k, Ring::new(23));
            let x: Vec<u64> = (0..3 << k).map(|i| i % (1 << k)).collect();
            let columns = Columns::new(&table, 23);
            let (got, traffic) = testing::run(async |lab| {
                lab.stock_one_hots(k, Ring::new(k), x.len()).await;
                let x = lab.bits(&x, k);
                lab.measure(async |s| lookup(s, &x, &columns).await).await
            });
            assert_eq!(got, x.iter().map(|&x| ideal(x, &table)).collect::<Vec<_>>());
            assert_eq!(traffic.cost, cost(x.len(), k).total());
        }
    }
}
