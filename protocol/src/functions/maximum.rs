//! `[max_j x_ij] <- [x]`: the largest number of each row, or its position, by a tournament.
//!
//! A level compares neighbours `a`, `b` by the sign of `a - b` ([`crate::compare`]) and keeps `a -
//! (a < b)(a - b)` ([`crate::mux`]); positions, whose differences are chosen by the same bit in the
//! same turn, go along. Rows may have different lengths; an odd one out waits for the next level.
//! Of equal numbers the first wins.
//!
//! By the latency schedule up to eight play at a table, and four by the other one, once there are
//! 16 at most: all pairs are compared, whoever loses to nobody is looked up ([`crate::lookup`]),
//! and selected ([`crate::select`]).
//!
//! `ceil(log2(n / 16))` levels of a comparison of `l - 1` bits and one turn, then two of a
//! comparison and two turns; or `ceil(log8 n)` of a comparison and two turns (three for positions),
//! and 3.5 comparisons a player of eight. Exact while differences stay below `2^(l-1)`. No leakage.
//! From stock: COTs; for tables one-hots of 3 or 7 bits and what comparisons take. Source:
//! Cheetah's maxpool; this project for the tables.

use sotto_ot::Columns;
use sotto_shares::{Ring, Shape, Share, XorShare};

use crate::{
    Error, Schedule, Session,
    compare::{self, is_negative},
    cost::CostModel,
    lookup::{self, lookup},
    mux::{self, mux},
    select::{self, select},
};

/// The maximum of each row; rows are given by their lengths, one after the other in `x`.
///
/// # Panics
/// If a row is empty or the lengths do not add up.
pub async fn row_max(s: &mut Session, x: &Share, lengths: &[usize]) -> Result<Share, Error> {
    let [max] = tournament(s, [x.duplicate()], lengths).await?;
    Ok(max)
}

/// The position of each row's maximum, in a ring with a spare bit.
///
/// # Panics
/// As [`row_max`].
pub async fn row_argmax(s: &mut Session, x: &Share, lengths: &[usize]) -> Result<Share, Error> {
    let longest = lengths.iter().copied().max().unwrap_or(1);
    let ring = position_ring(longest);
    let positions = lengths.iter().flat_map(|&n| (0..n as u64).map(|j| s.me.server_only(j))).collect();
    let positions = Share::new(ring, 0, x.shape(), positions);
    let [_, argmax] = tournament(s, [x.duplicate(), positions], lengths).await?;
    Ok(argmax)
}

/// The ring of positions in rows of this length at most.
fn position_ring(longest: usize) -> Ring {
    Ring::new(longest.next_power_of_two().ilog2() + 1)
}

/// What belongs to the largest of the first tensor's numbers in each row.
async fn tournament<const K: usize>(
    s: &mut Session,
    mut players: [Share; K],
    lengths: &[usize],
) -> Result<[Share; K], Error> {
    assert_eq!(lengths.iter().sum::<usize>(), players[0].len(), "row lengths");
    assert!(lengths.iter().all(|&n| n > 0), "no empty row");
    let mut lengths = lengths.to_vec();
    while lengths.iter().any(|&n| n > 1) {
        let size = table_size(s.schedule, lengths.iter().copied().max().unwrap_or(1));
        players = match size {
            2 => level(s, players, &lengths).await?,
            _ => level_of_tables(s, players, &lengths, size).await?,
        };
        lengths.iter_mut().for_each(|n| *n = n.div_ceil(size));
    }
    let shape = Shape::new(lengths.len(), 1);
    Ok(players.map(|x| x.reshape(shape)))
}

async fn level<const K: usize>(
    s: &mut Session,
    players: [Share; K],
    lengths: &[usize],
) -> Result<[Share; K], Error> {
    // For each row the first of every pair, and its difference to the second.
    let starts = lengths.iter().scan(0, |start, n| Some(std::mem::replace(start, *start + n)));
    let firsts: Vec<usize> =
        starts.zip(lengths).flat_map(|(start, n)| (0..n / 2).map(move |p| start + 2 * p)).collect();
    let differences = players.each_ref().map(|x| {
        let data =
            firsts.iter().map(|&i| x.ring().reduce(x.data()[i].wrapping_sub(x.data()[i + 1]))).collect();
        Share::new(x.ring(), x.frac(), Shape::new(firsts.len(), 1), data)
    });
    let loses = is_negative(s, &differences[0]).await?;
    let deficits = mux(s, differences.each_ref().map(|d| (&loses, d))).await?;
    let mut k = 0;
    Ok(players.map(|x| {
        let mut winners = firsts
            .iter()
            .zip(deficits[k].data())
            .map(|(&i, d)| x.ring().reduce(x.data()[i].wrapping_sub(*d)));
        let (mut next, mut end) = (vec![], 0);
        for &n in lengths {
            end += n;
            next.extend(winners.by_ref().take(n / 2));
            next.extend((n % 2 == 1).then(|| x.data()[end - 1]));
        }
        k += 1;
        Share::new(x.ring(), x.frac(), Shape::new(next.len(), 1), next)
    }))
}

/// How many play at a time: by the latency schedule as few as do not add a level to those of
/// eights, else two, and four once they are few.
fn table_size(schedule: Schedule, longest: usize) -> usize {
    if schedule == Schedule::Throughput {
        return if (3..=16).contains(&longest) { 4 } else { 2 };
    }
    let mut rest = 1;
    while 8 * rest < longest {
        rest *= 8;
    }
    [2, 4, 8].into_iter().find(|size| size * rest >= longest).expect("eight are enough")
}

/// A level at which everybody at a table of `size` plays everybody.
async fn level_of_tables<const K: usize>(
    s: &mut Session,
    players: [Share; K],
    lengths: &[usize],
    size: usize,
) -> Result<[Share; K], Error> {
    // Who plays: the last of a row as often as it takes, but nobody alone.
    let starts = lengths.iter().scan(0, |start, n| Some(std::mem::replace(start, *start + n)));
    let tables: Vec<Vec<usize>> = starts
        .zip(lengths)
        .flat_map(|(start, &n)| {
            (0..n).step_by(size).map(move |i| (i..i + size).map(|j| start + j.min(n - 1)).collect())
        })
        .collect();
    let alone = |table: &[usize]| table[0] == table[size - 1];
    let played: Vec<&[usize]> = tables.iter().map(|t| &t[..]).filter(|t| !alone(t)).collect();
    let pairs: Vec<(usize, usize)> = (0..size).flat_map(|a| (a + 1..size).map(move |b| (a, b))).collect();
    let x = &players[0];
    let differences =
        played.iter().flat_map(|t| pairs.iter().map(|&(a, b)| x.data()[t[a]].wrapping_sub(x.data()[t[b]])));
    let differences = differences.map(|d| x.ring().reduce(d)).collect();
    let shape = Shape::new(pairs.len() * played.len(), 1);
    let less = is_negative(s, &Share::new(x.ring(), x.frac(), shape, differences)).await?;

    // Whom a player loses to: of equal ones, to those before it. Who loses to nobody wins.
    let one = s.me.server_only(1);
    let losses = less.words().chunks(pairs.len()).flat_map(|less| {
        let mut losses = vec![(0u64, 0u32); size];
        for (&(a, b), less) in pairs.iter().zip(less) {
            for (player, lost) in [(a, *less), (b, less ^ one)] {
                losses[player].0 |= lost << losses[player].1;
                losses[player].1 += 1;
            }
        }
        losses.into_iter().map(|(bits, _)| bits)
    });
    let others = size as u32 - 1;
    let none: Vec<u64> = (0..1 << others).map(|losses| u64::from(losses == 0)).collect();
    let wins = lookup(s, &XorShare::new(others, losses.collect()), &Columns::new(&none, 1)).await?;
    let winner =
        wins.words().chunks(size).map(|w| w.iter().enumerate().fold(0, |all, (i, win)| all | win << i));
    let winner = XorShare::new(size as u32, winner.collect());
    let mut out = vec![];
    for x in players {
        let selected = select(s, &winner, x.ring(), &vec![0; size], |i, j| x.data()[played[i][j]]).await?;
        let mut selected = selected.into_iter();
        let next = tables
            .iter()
            .map(|t| if alone(t) { x.data()[t[0]] } else { selected.next().expect("one winner a table") });
        out.push(Share::new(x.ring(), x.frac(), Shape::new(tables.len(), 1), next.collect()));
    }
    Ok(out.try_into().ok().expect("as many players as before"))
}

/// The functionality on one row.
pub fn ideal(row: &[i64]) -> i64 {
    row.iter().copied().max().expect("no empty row")
}

/// What is sent for the maxima of rows of numbers of `l` bits, and which COTs it takes.
pub fn cost(schedule: Schedule, lengths: &[usize], l: u32) -> CostModel {
    carrying_cost(schedule, lengths, l, &[l])
}

/// The same for positions.
pub fn argmax_cost(schedule: Schedule, lengths: &[usize], l: u32) -> CostModel {
    let longest = lengths.iter().copied().max().unwrap_or(1);
    carrying_cost(schedule, lengths, l, &[l, position_ring(longest).bits()])
}

fn carrying_cost(schedule: Schedule, lengths: &[usize], l: u32, rings: &[u32]) -> CostModel {
    let (mut lengths, mut all) = (lengths.to_vec(), CostModel::default());
    while lengths.iter().any(|&n| n > 1) {
        let size = table_size(schedule, lengths.iter().copied().max().unwrap_or(1));
        if size == 2 {
            let pairs = lengths.iter().map(|n| n / 2).sum();
            all = all + compare::cost(schedule, pairs, l - 1) + mux::cost(pairs, rings);
        } else {
            let played = lengths.iter().map(|n| n / size + usize::from(n % size > 1)).sum::<usize>();
            all = all + compare::cost(schedule, played * size * (size - 1) / 2, l - 1);
            all = all + lookup::cost(played * size, size as u32 - 1);
            for &ring in rings {
                all = all + select::cost(played, ring, &vec![0; size]);
            }
        }
        lengths.iter_mut().for_each(|n| *n = n.div_ceil(size));
    }
    all
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::testing::{self, CostModel, log2_ceil};

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
                lab.stock(&cost(Schedule::Throughput, &lengths, l)).await;
                lab.measure(async |s| row_max(s, &x, &lengths).await).await
            });
            let mut rest = &values[..];
            for (&n, got) in lengths.iter().zip(got) {
                let (row, after) = rest.split_at(n);
                assert_eq!(ring.signed(got), ideal(row));
                rest = after;
            }
            assert_eq!(traffic.cost, cost(Schedule::Throughput, &lengths, l).total());
            let digits = (l as usize - 1).div_ceil(2);
            let compared = if l > 17 { 2 } else { 1 } + log2_ceil(digits);
            // 33 are 17 are 9 are three tables of four are one.
            assert_eq!(traffic.cost.turns, 2 * (compared + 1) + 2 * (compared + 2));
        }
    }

    #[test]
    fn eight_at_a_table_in_fewer_turns() {
        let (ring, half) = (Ring::new(13), Ring::new(12));
        let lengths = [1, 2, 3, 5, 8, 17, 1, 33];
        let mut x = testing::elements(70, half);
        x[11..19].fill(17);
        let values: Vec<i64> = x.iter().map(|&x| half.signed(x)).collect();
        let raw: Vec<u64> = values.iter().map(|&x| ring.reduce(x as u64)).collect();
        let ((max, argmax), traffic) = testing::run(async |lab| {
            lab.me.schedule = Schedule::Latency;
            let (max, argmax) =
                (cost(Schedule::Latency, &lengths, 13), argmax_cost(Schedule::Latency, &lengths, 13));
            lab.stock(&(max + argmax)).await;
            let x = lab.row(&raw, ring);
            let argmax = row_argmax(&mut lab.me, &x, &lengths).await.unwrap();
            let (max, side) = lab.measure(async |s| row_max(s, &x, &lengths).await).await;
            ((max, argmax), side)
        });
        let mut rest = &values[..];
        for ((&n, max), argmax) in lengths.iter().zip(max).zip(argmax) {
            let (row, after) = rest.split_at(n);
            assert_eq!(ring.signed(max), ideal(row));
            assert_eq!(argmax as usize, row.iter().position(|&v| v == ideal(row)).unwrap());
            rest = after;
        }
        // 33 are five, are one.
        assert_eq!(
            (traffic.cost, traffic.cost.turns),
            (cost(Schedule::Latency, &lengths, 13).total(), 2 * 4)
        );
    }

    #[test]
    fn tables_are_as_small_as_the_number_of_levels_admits() {
        let sizes = |n| table_size(Schedule::Latency, n);
        assert_eq!(
            [2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 64, 65, 128].map(sizes),
            [2, 4, 4, 8, 8, 2, 2, 4, 4, 8, 8, 2, 2]
        );
    }

    #[test]
    fn rows_of_one_are_their_maxima_for_free() {
        let (got, traffic) = testing::run(async |lab| {
            let x = lab.row(&[5, 9], Ring::new(13));
            lab.measure(async |s| row_max(s, &x, &[1, 1]).await).await
        });
        assert_eq!((got, traffic.cost), (vec![5, 9], CostModel::default().total()));
    }

    #[test]
    fn positions_of_maxima_are_the_first_ones() {
        let ring = Ring::new(16);
        let lengths = [1, 2, 7, 64, 31];
        let mut x = testing::elements(105, Ring::new(15));
        x[1..3].fill(9);
        x[14] = (1 << 14) - 1;
        x[60] = (1 << 14) - 1;
        let values: Vec<i64> = x.iter().map(|&x| Ring::new(15).signed(x)).collect();
        let raw: Vec<u64> = values.iter().map(|&x| ring.reduce(x as u64)).collect();
        let (got, traffic) = testing::run(async |lab| {
            let x = lab.row(&raw, ring);
            lab.stock(&argmax_cost(Schedule::Throughput, &lengths, 16)).await;
            lab.measure(async |s| row_argmax(s, &x, &lengths).await).await
        });
        let mut rest = &values[..];
        for (&n, got) in lengths.iter().zip(got) {
            let (row, after) = rest.split_at(n);
            assert_eq!(got as usize, row.iter().position(|&v| v == ideal(row)).unwrap());
            rest = after;
        }
        assert_eq!(traffic.cost, argmax_cost(Schedule::Throughput, &lengths, 16).total());
    }
}
