//! `[T(x)] <- [x]` over XOR shares: a public table at a shared index of a few bits.
//!
//! | client: `x0`, one-hot share `e0` of `r` |                     | server: `x1`, `e1`     |
//! |-----------------------------------------|---------------------|------------------------|
//! | `x0 ^ r0`                               | `<- lookup/open ->` | `x1 ^ r1`              |
//! | `e0` at `r ^ d`, with `d` opened: shares of the one-hot of `x` |  | the same           |
//! | its inner products with the table's bit planes |              | the same               |
//!
//! One turn, `2 k` bits whatever the width of an entry; exact; the opened `d` is uniform and used once. From the pool: a one-hot of `2^k`.
//! Source: FLUTE (S&P 2023).

use sotto_ot::Columns;
use sotto_shares::{Ring, XorShare};

use crate::{Error, Session, open::open_bits};

/// The table's entries at the shared indices.
///
/// # Panics
/// If the table does not have `2^k` entries for indices of `k` bits.
pub async fn lookup(s: &mut Session, x: &XorShare, table: &Columns) -> Result<XorShare, Error> {
    let k = x.width;
    let masks = s.one_hots(k, Ring::new(k), x.len()).await?;
    let masked = x.xor(&XorShare::new(k, masks.bits().to_vec()));
    let opened = open_bits(s, "lookup/open", &masked).await?;
    Ok(sotto_net::compute(|| masks.flip(&opened).parity(table)))
}

/// The functionality on one element.
pub fn ideal(x: u64, table: &[u64]) -> u64 {
    table[x as usize]
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::testing::{self, Bill, elements};

    pub(crate) fn bill(n: usize, k: u32) -> Bill {
        Bill::mutual(&[n * k as usize], 0)
    }

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
            assert_eq!(traffic.cost, bill(x.len(), k).cost());
        }
    }
}
