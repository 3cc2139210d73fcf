//! `[x_p] <- [onehot(p)], [x_0], .., [x_(m-1)]`: one of several shared numbers, by a shared
//! position.
//!
//! | client: bits `e0_j`, numbers `x0_j` | | server: bits `e1_j`, numbers `x1_j` |
//! |---|---|---|
//! | choices `e0_j` | `<- pick/cross ->` | choices `e1_j` |
//! | numbers `x0_j (1 - 2 e0_j)` | `<- pick/cross ->` | numbers `x1_j (1 - 2 e1_j)` |
//! | `sum_j 2^(k_j) (e0_j x0_j + own_j + got_j)` | | the same of its own |
//!
//! A multiplexer for each position ([`crate::mux`]), added up. Number `j` comes with a public shift
//! `k_j`, by which the result is a multiple: it travels in the ring's bits less those. All bits
//! zero give zero. One turn, `2 sum_j (l - k_j + 1)` bits, exact, no leakage. From the pool: one
//! COT a position and direction. Source: CrypTFlow2 (2020/1002), section 3.1.

use sotto_shares::{Ring, XorShare};

use crate::{
    Error, Session,
    cost::CostModel,
    cross::{self, Cross},
    mux::flip_sign,
};

/// The number at each element's position, times `2^(shifts[j])`, in `ring`; `number(i, j)` is this
/// party's share of number `j` of element `i`.
///
/// # Panics
/// If there is not a shift below the ring's bits for every position.
pub async fn select(
    s: &mut Session,
    e: &XorShare,
    ring: Ring,
    shifts: &[u32],
    number: impl Fn(usize, usize) -> u64,
) -> Result<Vec<u64>, Error> {
    assert_eq!(e.width() as usize, shifts.len(), "one shift per position");
    let widths: Vec<u32> = shifts.iter().map(|k| ring.bits() - k).collect();
    let bits = || {
        e.words().iter().enumerate().flat_map(|(i, w)| (0..shifts.len()).map(move |j| (i, j, (w >> j) & 1)))
    };
    let choices: Vec<u8> = bits().map(|(.., b)| b as u8).collect();
    let inputs: Vec<u64> = bits().map(|(i, j, b)| flip_sign(number(i, j), b)).collect();
    let tag = "pick/cross";
    let c = Cross { tag, choices: &choices, widths_in: &widths, inputs: &inputs, widths_out: &widths };
    let products = cross::add(s, c).await?;
    let mut sums = vec![0u64; e.len()];
    for ((i, j, b), (own, got)) in bits().zip(products.own.iter().zip(products.got.iter())) {
        let product = (b.wrapping_mul(number(i, j))).wrapping_add(*own).wrapping_add(*got);
        sums[i] = ring.reduce(sums[i].wrapping_add(product << shifts[j]));
    }
    Ok(sums)
}

/// The functionality on one element.
pub fn ideal(e: u64, numbers: &[u64], shifts: &[u32], ring: Ring) -> u64 {
    let selected = numbers.iter().zip(shifts).enumerate().filter(|(j, _)| e >> j & 1 == 1);
    ring.reduce(selected.fold(0, |sum, (_, (x, k))| sum.wrapping_add(x << k)))
}

/// What is sent, and which COTs it takes.
pub fn cost(n: usize, ring: u32, shifts: &[u32]) -> CostModel {
    let (items, bits) = (n * shifts.len(), n * shifts.iter().map(|k| (ring - k) as usize).sum::<usize>());
    CostModel::products((items, bits), (items, bits))
}

#[cfg(test)]
pub(crate) mod tests {
    use sotto_shares::{Shape, Share};

    use super::*;
    use crate::testing::{self, elements};

    #[test]
    fn the_number_at_the_position_at_the_stated_cost() {
        let shifts = [0, 3, 12, 1];
        for l in [13, 44, 64] {
            let (ring, n) = (Ring::new(l), 30);
            let x = elements(4 * n, ring);
            let e: Vec<u64> = (0..n).map(|i| [1, 2, 4, 8, 0][i % 5]).collect();
            let (got, traffic) = testing::run(async |lab| {
                let (e, x) = (lab.bits(&e, 4), lab.row(&x, ring));
                let selected = async |s: &mut Session| {
                    let selected = select(s, &e, ring, &shifts, |i, j| x.data()[4 * i + j]).await?;
                    Ok(Share::new(ring, 0, Shape::new(1, n), selected))
                };
                lab.measure(selected).await
            });
            let want = x.chunks(4).zip(&e).map(|(x, &e)| ideal(e, x, &shifts, ring));
            assert_eq!(got, want.collect::<Vec<_>>());
            assert_eq!(traffic.cost, cost(n, l, &shifts).total());
        }
    }
}
