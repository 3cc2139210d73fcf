//! `[max_j x_ij] <- [x]`: the largest number of each row, by a tournament.
//!
//! A level compares neighbours `a`, `b` by the sign of `a - b` ([`crate::compare`]) and keeps `a - (a < b)(a - b)`
//! ([`crate::mux`]). Rows may have different lengths; an odd one out waits for the next level.
//!
//! `ceil(log2 n)` levels of `2 + 2 ceil(log2(ceil((l - 1) / 4))) + 2` turns. Exact while differences stay below
//! `2^(l-1)`. No leakage. From the pool: COTs. Source: Cheetah's maxpool; `nonlinear.md` 3.3 in the design notes.

use sotto_shares::{Shape, Share};

use crate::{Error, Session, compare::is_negative, mux::mux};

/// The maximum of each row; rows are given by their lengths, one after the other in `x`.
///
/// # Panics
/// If a row is empty or the lengths do not add up.
pub async fn row_max(s: &mut Session, x: &Share, lengths: &[usize]) -> Result<Share, Error> {
    assert_eq!(lengths.iter().sum::<usize>(), x.len(), "row lengths");
    assert!(lengths.iter().all(|&n| n > 0), "no empty row");
    let mut lengths = lengths.to_vec();
    let mut data = x.data.clone();
    while lengths.iter().any(|&n| n > 1) {
        (data, lengths) = level(s, x, data, &lengths).await?;
    }
    Ok(Share::new(x.ring, x.frac, Shape::new(lengths.len(), 1), data))
}

async fn level(
    s: &mut Session,
    scale: &Share,
    data: Vec<u64>,
    lengths: &[usize],
) -> Result<(Vec<u64>, Vec<usize>), Error> {
    let mut left = vec![];
    let mut difference = vec![];
    let mut start = 0;
    for &n in lengths {
        for pair in data[start..start + n].chunks_exact(2) {
            left.push(pair[0]);
            difference.push(scale.ring.reduce(pair[0].wrapping_sub(pair[1])));
        }
        start += n;
    }
    let shape = Shape::new(difference.len(), 1);
    let difference = Share::new(scale.ring, scale.frac, shape, difference);
    let loses = is_negative(s, &difference).await?;
    let [deficit] = mux(s, [(&loses, &difference)]).await?;
    let mut winners = left.iter().zip(&deficit.data).map(|(&a, d)| scale.ring.reduce(a.wrapping_sub(*d)));
    let mut next = vec![];
    let mut start = 0;
    for &n in lengths {
        next.extend(winners.by_ref().take(n / 2));
        if n % 2 == 1 {
            next.push(data[start + n - 1]);
        }
        start += n;
    }
    Ok((next, lengths.iter().map(|n| n.div_ceil(2)).collect()))
}

/// The functionality on one row.
pub fn ideal(row: &[i64]) -> i64 {
    row.iter().copied().max().expect("no empty row")
}

#[cfg(test)]
pub(crate) mod tests {
    use sotto_shares::Ring;

    use super::*;
    use crate::{
        compare, mux,
        testing::{self, Bill, log2_ceil},
    };

    pub(crate) fn bill(lengths: &[usize], l: u32) -> Bill {
        let (mut lengths, mut all) = (lengths.to_vec(), Bill::default());
        while lengths.iter().any(|&n| n > 1) {
            let pairs = lengths.iter().map(|n| n / 2).sum();
            all = all + compare::tests::bill(pairs, l - 1) + mux::tests::bill(pairs, &[l]);
            lengths.iter_mut().for_each(|n| *n = n.div_ceil(2));
        }
        all
    }

    #[test]
    fn ragged_rows_at_the_stated_cost() {
        for l in [13, 44] {
            let ring = Ring::new(l);
            // Differences stay below 2^(l-1): values lie in [-2^(l-2), 2^(l-2)).
            let half = Ring::new(l - 1);
            let lengths = [1, 2, 3, 5, 8, 17, 1, 33];
            let mut x = testing::elements(70, half);
            x[3..6].fill(half.mask() >> 1);
            x[11..19].fill(17);
            let values: Vec<i64> = x.iter().map(|&x| half.signed(x)).collect();
            let raw: Vec<u64> = values.iter().map(|&x| ring.reduce(x as u64)).collect();
            let (got, traffic) = testing::run(async |lab| {
                let x = lab.row(&raw, ring);
                lab.measure(async |s| row_max(s, &x, &lengths).await).await
            });
            let mut rest = &values[..];
            for (&n, got) in lengths.iter().zip(got) {
                let (row, after) = rest.split_at(n);
                assert_eq!(ring.signed(got), ideal(row));
                rest = after;
            }
            assert_eq!(traffic.cost, bill(&lengths, l).cost());
            let digits = (l as usize - 1).div_ceil(4);
            assert_eq!(traffic.cost.turns, log2_ceil(33) * (4 + 2 * log2_ceil(digits)));
        }
    }

    #[test]
    fn rows_of_one_are_their_maxima_for_free() {
        let (got, traffic) = testing::run(async |lab| {
            let x = lab.row(&[5, 9], Ring::new(13));
            lab.measure(async |s| row_max(s, &x, &[1, 1]).await).await
        });
        assert_eq!((got, traffic.cost), (vec![5, 9], Bill::default().cost()));
    }
}
