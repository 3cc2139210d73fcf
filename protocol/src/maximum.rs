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
