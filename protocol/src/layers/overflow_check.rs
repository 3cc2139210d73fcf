//! `[every checked number was small] <- [x], [y], ..`: one bit whenever it is asked for, to the
//! client.
//!
//! A number that leaves its ring wraps, and the result is wrong without notice. Where no static
//! bound rules that out, numbers are checked: the top `k` bits of a share go to a queue, locally.
//! Queues are tested when they are long, and at the end.
//!
//! | client: `c0 = x0 >> (l - k)` | | server: `c1 = x1 >> (l - k)` |
//! |---|---|---|
//! | bit `w0` of: is `c0 + c1` not from -4 to 2? ([`mod@crate::joint_table`]) || bit `w1` |
//! | `h0 = H(all w0)`, 64 bits | | `h1 = H(all w1)` |
//! | is `h0 ^ h1` not zero? three lookups of 4 bits ([`mod@crate::lookup`]) | | its share `v1` |
//! | | `<- reveal/flag --` | `v1` |
//!
//! *Numbers*: with `U = 2^(l - k)`, `c0 + c1` is `floor(x / U)` or one less. So `-3 U <= x < 3 U`
//! passes, `x < -4 U` or `x >= 4 U` fails, and in between the shares decide.
//!
//! *Rows*: 64 sums `z = sum_j s_j x_j` of a row are checked instead of its elements. The factors
//! `s_j` are public, `-1, 0, 0, 1` with equal probability, from the session's identifier and the
//! number of the request; the sums are local. Suppose `|x_j| >= 8 U`, modulo the ring, or `8 U +
//! 2^(l-31)` in a ring of `l > 32` bits, of which a sum sees 32. Passing values lie within `8 U`.
//! So, for any other terms, if `z` passes with `s_j = 0` it fails with `s_j = 1` and `-1`, and the
//! reverse; each has probability 1/2. Such a row passes with probability `2^-64`. (With `k = 4` no
//! element is so large.) A row of small elements and large norm gives sums of deviation `|x| /
//! sqrt(2)`, about normal. The worst rows that a search has found have a few elements of about `3
//! U`:
//!
//! | norm of a row | passes, if sums are normal | passes, at worst |
//! |---------------|----------|----------|
//! | `4.4 U`       | `2^-20`  | `2^-18`  |
//! | `5.7 U`       | `2^-35`  | `2^-31`  |
//! | `8 U`         | `2^-60`  | `2^-52`  |
//!
//! A row fails with probability `10^-5` at most if the sizes of its few large elements and 3.75
//! times the norm of the others add up to less than `3 U`. Without large elements, that is a norm
//! of `0.8 U`.
//!
//! *The end*: if no number failed, the parties' strings of bits are equal, and so are their
//! digests. Otherwise the digests differ, except with probability `2^-64`. Nothing but that bit is
//! opened. Tests and lookups are those of their modules. The client learns one predicate of the
//! model, its prompt and (between `3 U` and `4 U`) the shares, of which it knows its own. The
//! server learns nothing, and does not see the client act on it before the end of the answer. Two
//! turns test up to 2^18 numbers of each `k`; the end takes four and 176 bits. `k + 2^k - 1` bits a
//! number.
//!
//! No integrity check: a party that deviates can fake it. From stock: `k` COTs a number; 21
//! one-hots of 4 bits. Source: equality by digests, folklore; random signs, Achlioptas (2003); this
//! project.

use std::collections::BTreeMap;

use sotto_ot::Columns;
use sotto_shares::{Ring, Share, XorShare, pack};
use zeroize::{Zeroize, Zeroizing};

use crate::{Error, Session, cost::CostModel, joint_table, lookup, reveal};

/// Checked sums of a row.
pub const SUMS: usize = 64;
/// Numbers of a queue that are tested at a time. As many do not wait for the end.
const BLOCK: usize = 1 << 18;
/// Bits of a lookup at the end.
const DIGIT: u32 = 4;
/// Lookups at the end: of 16 digits, of 4, of 1.
const LOOKUPS: usize = 21;

/// Numbers that are not yet tested, and a digest of the results of the others.
pub(crate) struct Queues {
    sid: [u8; 32],
    /// The number of the request in the session.
    request: u64,
    /// Top bits of shares, by how many they are.
    queues: BTreeMap<u32, Zeroizing<Vec<u8>>>,
    /// Factors of sums by the rows' width, `[width, SUMS]`.
    signs: BTreeMap<usize, Vec<i8>>,
    digest: blake3::Hasher,
}

impl Queues {
    pub(crate) fn new(sid: [u8; 32]) -> Queues {
        Queues { sid, request: 0, queues: BTreeMap::new(), signs: BTreeMap::new(), digest: digest() }
    }

    /// Another request follows: its rows get factors of their own.
    fn next_request(&mut self) {
        self.request += 1;
        self.signs.clear();
    }

    /// Adds top bits of shares to their queue.
    fn queue(&mut self, k: u32, bits: impl ExactSizeIterator<Item = u64>) {
        let queue = self.queues.entry(k).or_default();
        if queue.capacity() < queue.len() + bits.len() {
            // The old buffer is wiped, too.
            let mut longer =
                Zeroizing::new(Vec::with_capacity((2 * queue.len()).max(queue.len() + bits.len())));
            longer.extend_from_slice(queue);
            *queue = longer;
        }
        queue.extend(bits.map(|bits| bits as u8));
    }

    /// `s_j` of all sums for rows of this width.
    fn signs(&mut self, width: usize) -> &[i8] {
        let (sid, request) = (&self.sid, self.request);
        self.signs.entry(width).or_insert_with(|| {
            let mut bytes = vec![0; width * SUMS / 4];
            let mut hash = blake3::Hasher::new_derive_key("sotto 1 signs of range sums");
            hash.update(sid).update(&request.to_le_bytes()).update(&(width as u64).to_le_bytes());
            hash.finalize_xof().fill(&mut bytes);
            let of = |byte: u8| [0, 2, 4, 6].map(|at| [0, 0, 1, -1][usize::from(byte >> at & 3)]);
            bytes.into_iter().flat_map(of).collect()
        })
    }
}

impl Drop for Queues {
    fn drop(&mut self) {
        self.digest.zeroize();
    }
}

/// Tells the check that another request follows in the session: both parties at the same point.
pub fn next_request(s: &mut Session) {
    s.overflow.next_request();
}

fn digest() -> blake3::Hasher {
    blake3::Hasher::new_derive_key("sotto 1 ranges")
}

/// Adds numbers to the check: those below `3 * 2^(l - k)` in magnitude pass, those of `4 * 2^(l -
/// k)` or more fail. Local.
///
/// # Panics
/// Unless `4 <= k <= 8`, and less than the ring's bits.
pub fn numbers(s: &mut Session, x: &Share, k: u32) {
    assert!((4..=8).contains(&k) && k < x.ring().bits(), "{k} bits of {:?}", x.ring());
    s.overflow.queue(k, x.data().iter().map(|x_i| x_i >> (x.ring().bits() - k)));
}

/// Adds rows of `x` `[T, d]` to the check: their elements, and their norms. Local.
///
/// # Panics
/// As [`numbers`].
pub fn rows(s: &mut Session, x: &Share, k: u32) {
    assert!((4..=8).contains(&k) && k < x.ring().bits(), "{k} bits of {:?}", x.ring());
    let signs = s.overflow.signs(x.shape().cols);
    let sums = sotto_net::compute(|| row_sums(x, signs));
    s.overflow.queue(k, sums.into_iter().map(|z| u64::from(z) >> (u32::BITS - k)));
}

/// `[T, SUMS]`: the sums, in the highest 32 bits of the ring. The bits below change them by at most
/// `2 d` units of `2^(l - 32)`.
fn row_sums(x: &Share, signs: &[i8]) -> Vec<u32> {
    let bits = x.ring().bits();
    let high = |x: u64| if bits < 32 { (x << (32 - bits)) as u32 } else { (x >> (bits - 32)) as u32 };
    let row = |row: &[u64]| {
        let mut sums = [0u32; SUMS];
        for (&x, signs) in row.iter().zip(signs.chunks_exact(SUMS)) {
            let x = high(x);
            sums.iter_mut().zip(signs).for_each(|(z, &s)| *z = z.wrapping_add(x.wrapping_mul(s as u32)));
        }
        sums
    };
    x.data().chunks(x.shape().cols.max(1)).flat_map(row).collect()
}

/// Tests the queued numbers if a queue is full.
pub async fn run_if_full(s: &mut Session) -> Result<(), Error> {
    match s.overflow.queues.values().any(|queue| queue.len() >= BLOCK) {
        true => run(s).await,
        false => Ok(()),
    }
}

/// Tests all queued numbers, a block of every queue at a time. [`finish`] does the same first.
pub async fn run(s: &mut Session) -> Result<(), Error> {
    let queues = std::mem::take(&mut s.overflow.queues);
    let longest = queues.values().map(|queue| queue.len()).max().unwrap_or(0);
    for start in (0..longest).step_by(BLOCK) {
        let block = |queue: &[u8]| -> Zeroizing<Vec<u64>> {
            let here = queue.iter().skip(start).take(BLOCK);
            Zeroizing::new(here.map(|&c| u64::from(c)).collect())
        };
        let blocks: Vec<_> = queues.iter().map(|(&k, queue)| (k, block(queue))).collect();
        let needed = blocks.iter().map(|(k, block)| joint_table::cots(s.me, block.len(), *k));
        let sum = needed.fold((0, 0), |(a, b), (send, recv)| (a + send, b + recv));
        let (mut send, mut recv) = s.cots(sum.0, sum.1).await?;
        let mut asked = vec![];
        for (k, block) in &blocks {
            let (as_sender, as_receiver) = joint_table::cots(s.me, block.len(), *k);
            let cots = (send.take(as_sender), recv.take(as_receiver));
            asked.push((*k, joint_table::ask(s, cots, block, *k, 1)?));
        }
        let mut answered = vec![];
        for (k, asked) in asked {
            answered.push(asked.answer(s, |a, b| outside(a, b, k)).await?);
        }
        for answered in answered {
            let bits = answered.finish(s).await?;
            s.overflow.digest.update(&pack(bits.words(), 1));
        }
    }
    Ok(())
}

/// What [`run`] sends for queues of `n` numbers of `k` bits each, `(k, n)` in order of `k`, and the
/// COTs that it takes.
pub fn cost(queues: &[(u32, usize)]) -> CostModel {
    let block =
        |(k, n): &(u32, usize), start: usize| joint_table::cost(n.saturating_sub(start).min(BLOCK), *k, 1);
    let longest = queues.iter().map(|(_, n)| *n).max().unwrap_or(0);
    (0..longest).step_by(BLOCK).fold(CostModel::default(), |all, start| {
        all + queues
            .iter()
            .map(|queue| block(queue, start))
            .fold(CostModel::default(), CostModel::in_parallel)
    })
}

/// Whether two shares' top bits are those of a number out of range.
fn outside(a: u64, b: u64, k: u32) -> u64 {
    u64::from((a + b + 4) & ((1 << k) - 1) >= 7)
}

/// Tells the client alone whether all numbers since the last end were in range. The server gets
/// `None`.
pub async fn finish(s: &mut Session) -> Result<Option<bool>, Error> {
    run(s).await?;
    let digest = s.overflow.digest.finalize();
    s.overflow.digest.zeroize();
    s.overflow.digest = self::digest();
    let digits = digest.as_bytes()[..8].iter().flat_map(|b| [b & 15, b >> 4]);
    let mut words: Vec<u64> = digits.map(u64::from).collect();
    let not_zero: Vec<u64> = (0..1 << DIGIT).map(|z| u64::from(z != 0)).collect();
    let table = Columns::new(&not_zero, 1);
    let mut masks = s.one_hots(DIGIT, Ring::new(DIGIT), LOOKUPS).await?;
    loop {
        let here = masks.take(words.len());
        let bits = lookup::begin(s, here, &XorShare::new(DIGIT, words), &table)?.finish(s).await?;
        if bits.len() == 1 {
            return Ok(reveal::flag_to_client(s, &bits).await?.map(|differs| !differs));
        }
        let digit = |bits: &[u64]| bits.iter().rev().fold(0, |digit, bit| digit << 1 | bit);
        words = bits.words().chunks(DIGIT as usize).map(digit).collect();
    }
}

#[cfg(test)]
mod tests {
    use sotto_shares::{Rng, Shape, encode};

    use super::*;
    use crate::testing::{self, CostModel, Lab, Open};

    /// What the client is told of numbers (or rows) in a ring of `l` bits with `frac` fraction
    /// bits.
    fn told(rows: &[Vec<f64>], ring: Ring, frac: u32, k: u32, check: fn(&mut Session, &Share, u32)) -> bool {
        let raw: Vec<u64> = rows.iter().flatten().map(|&x| encode(x, frac, ring)).collect();
        let [client, server] = testing::run_both(async |lab| {
            let x = lab.share(&raw, ring, frac, Shape::new(rows.len(), rows[0].len()));
            check(&mut lab.me, &x, k);
            finish(&mut lab.me).await.unwrap()
        });
        assert!(server.is_none(), "the server learns nothing");
        client.unwrap()
    }

    /// For every pair of top bits: passes below three units, fails from four on.
    #[test]
    fn the_table_keeps_its_promise() {
        for k in 4..=8 {
            let size = 1i64 << k;
            for (a, b) in (0..size).flat_map(|a| (0..size).map(move |b| (a, b))) {
                for carry in [0, 1] {
                    let floor = (a + b + carry + size / 2).rem_euclid(size) - size / 2;
                    let out = outside(a as u64, b as u64, k) == 1;
                    assert!(!(out && (-3..3).contains(&floor)), "{floor} is small");
                    assert!(out || (-4..4).contains(&floor), "{floor} is large");
                }
            }
        }
    }

    #[test]
    fn numbers_in_range_pass_and_one_outside_is_told() {
        let (ring, unit) = (Ring::new(26), 256.0);
        let small: Vec<f64> = (0..200).map(|i| f64::from(i % 7 - 3) * (unit - 0.01)).collect();
        assert!(told(std::slice::from_ref(&small), ring, 12, 6, numbers));
        for large in [4.0, -4.01, 7.0, 20.0, 31.9, -31.9] {
            let mut row = small.clone();
            row[77] = large * unit;
            assert!(!told(&[row], ring, 12, 6, numbers), "{large} units");
        }
    }

    #[test]
    fn rows_in_range_pass_and_large_elements_or_norms_are_told() {
        let (ring, unit) = (Ring::new(34), 2048.0);
        let random = |deviation: f64, seed: u8| -> Vec<f64> {
            let words = Rng::from_seed([seed; 32]).elements(12 * 96, Ring::new(20));
            let normal = |w: &[u64]| w.iter().map(|&w| w as f64 / f64::from(1 << 20)).sum::<f64>() - 6.0;
            words.chunks(12).map(|w| deviation * normal(w)).collect()
        };
        let with = |mut row: Vec<f64>, spikes: &[f64]| {
            row[5..5 + spikes.len()].copy_from_slice(spikes);
            row
        };
        let quiet = random(3.0, 1);
        let good = [random(0.7 * unit / 10.0, 2), with(quiet.clone(), &[2000.0, -2600.0]), vec![0.0; 96]];
        assert!(told(&good, ring, 18, 5, rows));
        let bad = [
            random(3.0 * unit, 3),
            random(1.7 * unit, 4),
            with(quiet.clone(), &[16384.0]),
            with(quiet.clone(), &[-32768.0]),
            with(quiet.clone(), &[32767.0, 32767.0]),
            with(quiet, &[8191.0; 4]),
        ];
        for row in bad {
            let about = format!("{:?}", &row[5..9]);
            assert!(!told(&[good[0].clone(), row], ring, 18, 5, rows), "{about}");
        }
    }

    /// An empty check passes; a result starts the next check afresh.
    #[test]
    fn results_stand_for_themselves() {
        let ring = Ring::new(20);
        let [client, _] = testing::run_both(async |lab| {
            let mut results = vec![];
            for x in [vec![], vec![1 << 19], vec![5]] {
                let x = lab.row(&x, ring);
                numbers(&mut lab.me, &x, 4);
                results.push(finish(&mut lab.me).await.unwrap());
            }
            results
        });
        assert_eq!(client, [Some(true), Some(false), Some(true)]);
    }

    /// What a party sends has the same length and order whatever the result is.
    #[test]
    fn messages_do_not_depend_on_the_result() {
        let (n, ring) = (37, Ring::new(26));
        let traffic = |value: u64| {
            let [client, server] = testing::run_both(async |lab: &mut Lab| {
                lab.stock_one_hots(DIGIT, Ring::new(DIGIT), LOOKUPS).await;
                let x = lab.row(&vec![value; n], ring);
                lab.measure(async |s| {
                    numbers(s, &x, 6);
                    finish(s).await
                })
                .await
            });
            (client.0, Open::open(client.1, server.1))
        };
        let ((good, first), (bad, second)) = (traffic(0), traffic(1 << 25));
        assert_eq!((good, bad), (Some(true), Some(false)));
        assert_eq!(first, second, "same costs, same headers");
        let ends =
            [16, 4, 1].into_iter().fold(CostModel::default(), |all, n| all + crate::lookup::cost(n, DIGIT));
        let stated = cost(&[(6, n)]) + ends + CostModel::to_client(1, 0);
        assert_eq!(first.cost, stated.total());
        assert_eq!(first.cost.turns, 6);
    }
}
