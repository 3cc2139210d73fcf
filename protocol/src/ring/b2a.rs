//! `[x]_A <- [x]_B`: XOR-shared bits become an additive sharing.
//!
//! | client: bits `b0`  |                      | server: bits `b1`       |
//! |--------------------|----------------------|-------------------------|
//! | choice `b0`        | `<- b2a/cross ->`    | number `-b1`            |
//! | `b0 + 2 got`       |                      | `b1 + 2 own`            |
//!
//! `b0 xor b1 = b0 + b1 - 2 b0 b1`, so bit `j` of weight `2^j` in Z_{2^n} needs `n - 1 - j` bits.
//! One turn, `sum_j (n - j)` bits for a word of consecutive weights; exact; no leakage. From stock:
//! one COT a bit, server to client. Source: ABY (2015), section V; widths as in `COT` of Cheetah.

use sotto_shares::{Party, Ring, Shape, Share, XorShare};
use zeroize::Zeroizing;

use crate::{
    Error, Session,
    cost::CostModel,
    cross::{self, Cross},
};

const TAG: &str = "b2a/cross";

/// The word as a number: bit `j` weighs `2^j`.
///
/// # Panics
/// If a word is wider than the ring.
pub async fn b2a(s: &mut Session, x: &XorShare, ring: Ring, frac: u32, shape: Shape) -> Result<Share, Error> {
    assert!(x.width() <= ring.bits(), "the ring holds the word");
    let halves = products(s, x, &widths(x.width(), ring)).await?;
    let data = x.words().iter().zip(halves.chunks(x.width() as usize)).map(|(w, halves)| {
        let sum = halves.iter().enumerate().fold(0u64, |sum, (j, half)| sum.wrapping_add(half << 1 << j));
        ring.reduce(w.wrapping_add(sum))
    });
    Ok(Share::new(ring, frac, shape, data.collect()))
}

/// Widths of the products of a word's bits in `ring`.
pub(crate) fn widths(bits: u32, ring: Ring) -> Vec<u32> {
    (0..bits).map(|j| ring.bits() - 1 - j).collect()
}

/// Shares of `-b0 b1` for every bit.
async fn products(s: &mut Session, x: &XorShare, widths: &[u32]) -> Result<Zeroizing<Vec<u64>>, Error> {
    let bits = x.words().iter().flat_map(|w| (0..x.width()).map(move |j| (w >> j) & 1));
    match s.me {
        Party::Client => {
            let choices: Vec<u8> = bits.map(|b| b as u8).collect();
            let c = Cross { tag: TAG, choices: &choices, widths_in: widths, inputs: &[], widths_out: &[] };
            Ok(cross::add(s, c).await?.got)
        }
        Party::Server => {
            let inputs: Vec<u64> = bits.map(u64::wrapping_neg).collect();
            let c = Cross { tag: TAG, choices: &[], widths_in: &[], inputs: &inputs, widths_out: widths };
            Ok(cross::add(s, c).await?.own)
        }
    }
}

/// Bits of widths `widths` each of `n` words.
pub fn cost(n: usize, widths: &[u32]) -> CostModel {
    let bits = widths.len() * n;
    CostModel::products((bits, 0), (0, n * widths.iter().sum::<u32>() as usize))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::testing::{self, elements};

    #[test]
    fn words_become_numbers_at_the_stated_cost() {
        for (n, width, l) in [(1, 1, 16), (40, 1, 64), (9, 13, 13), (10, 7, 44), (11, 64, 64)] {
            let (words, ring) = (elements(n, Ring::new(width)), Ring::new(l));
            let (got, traffic) = testing::run(async |lab| {
                let x = lab.bits(&words, width);
                lab.measure(async |s| b2a(s, &x, ring, 0, Shape::new(1, n)).await).await
            });
            assert_eq!(got, words);
            assert_eq!(traffic.cost, cost(n, &widths(width, ring)).total());
            let stated: u32 = (0..width).map(|j| l - j).sum();
            assert_eq!(cost(n, &widths(width, ring)).bits(), n * stated as usize);
        }
    }
}
