//! `{ (j, x_j) : x_j >= t } -> client`, where `t` is the `k`-th largest of `n` shared numbers: the
//! second place where values leave the shares.
//!
//! Numbers are `u = floor(2^8 x) + 2^15 mod 2^16`, in base 4. Digit by digit, the highest first,
//! the client learns those of `t`, and the server learns nothing: `above_j`, whether `u_j` is more
//! than `t` as far as that is known, and `equal_j`, whether it is the same, stay shared.
//!
//! | client | | server |
//! |---|---|---|
//! | digits of all `u_j` ([`mod@crate::decompose`]) || |
//! | each digit of `t`: `e_z = equal [digit is z]`, `0 < z < 4` | `<- and/cross ->` | the same |
//! | sums of `above ^ e_c ^ .. ^ e_3`: how many are at least `c`? | `<- b2a/cross ->` | the same |
//! | are they fewer than `k`? ([`crate::compare`]) | `<- compare/cross, and/cross ->` | the same |
//! | `c`, the largest for which they are not | `<- top-k/digit --` | its shares |
//! | choices: is the digit `z`? | `<- top-k/choose ->` | `equal`, `above` for digit `z` |
//! | at the end: `m = above ^ equal`, and `m u` | `<- and/cross ->` | the same |
//! | all `m_j`, `m_j u_j` | `<- top-k/share --` | its shares |
//!
//! What the client learns on the way are the digits of `t`, a function of the result; every
//! server's message is a function of what it reveals and of the client's own shares, as the shares
//! are fresh products. Numbers equal to the `k`-th largest are all revealed, so there may be more
//! than `k`.
//!
//! Exact. `50 + log2(s / 2 + 7)` turns where `s` bits are dropped; about `430 + 9.5 s + 24 log2(n)`
//! bits a number. From stock: COTs. Source: radix selection (Knuth, volume 3); this project on
//! shares.

use sotto_shares::{Party, Ring, Shape, Share, XorShare, pack, packed_len, unpack};

use crate::{
    Error, Session,
    and::{self, and},
    b2a::{self, b2a},
    compare::{self, few_are_negative},
    cost::CostModel,
    cross,
    decompose::{self, decompose},
    digit::parity,
    reveal::{DROPPED, FRAC, RING},
};

/// Base-4 digits of what is revealed.
const DIGITS: usize = RING.bits() as usize / 2;

/// Of the row `x` the `k` largest numbers, and those that equal the last of them, with their
/// positions, to the client; the server gets nothing.
///
/// # Panics
/// Unless it is one row of at least `k > 0` numbers, of which at least [`DROPPED`] bits are
/// dropped.
pub async fn top_to_client(s: &mut Session, x: &Share, k: usize) -> Result<Option<Vec<(usize, f64)>>, Error> {
    let n = x.len();
    assert!(x.shape().rows == 1 && (1..=n).contains(&k), "the {k} largest of {n} numbers");
    assert!(x.frac() >= FRAC + DROPPED, "at least {DROPPED} bits are dropped before a value is revealed");
    let dropped = x.frac() - FRAC;
    let moved = x.add_public(s.me, 1 << (dropped + RING.bits() - 1)).reduce(Ring::new(dropped + RING.bits()));
    let digits = decompose(s, &moved, DIGITS).await?;

    // Bit 0: equal so far; bit 1: above.
    let mut kept = XorShare::new(2, vec![s.me.server_only(1); n]);
    for (i, digit) in digits.iter().enumerate() {
        let matching = match i {
            0 => digit.map_linear(3, |w| w),
            _ => and(s, &kept.bit(0), digit).await?,
        };
        let enough = enough(s, &kept, &matching, k).await?;
        let digit = tell(s, &enough).await?;
        kept = descend(s, &kept, &matching, digit).await?;
    }
    let chosen = kept.map_linear(1, parity);
    let values = and(s, &chosen, &joined(&digits)).await?;
    reveal(s, &chosen, &values, k).await
}

/// Whether at least `k` numbers have a digit of at least 1, 2, 3, or are above; `matching` says
/// which of the equal ones have digit 1, 2, 3.
async fn enough(s: &mut Session, kept: &XorShare, matching: &XorShare, k: usize) -> Result<XorShare, Error> {
    let n = kept.len();
    let reaching = (1..4).flat_map(|c| cases(kept, matching, move |w, m| w >> 1 ^ parity(m >> (c - 1))));
    let reaching = XorShare::new(1, reaching.collect());
    let ring = count_ring(n);
    let reaching = b2a(s, &reaching, ring, 0, Shape::new(3, n)).await?;
    let counts =
        reaching.data().chunks(n).map(|row| ring.reduce(row.iter().fold(0, |sum, x| sum.wrapping_add(*x))));
    let counts = Share::new(ring, 0, Shape::new(1, 3), counts.collect());
    let fewer = few_are_negative(s, &counts.add_public(s.me, (k as u64).wrapping_neg())).await?;
    let one = s.me.server_only(1);
    Ok(fewer.map_linear(1, |w| w ^ one))
}

/// The ring of how many of `n` numbers there are, less `k`.
fn count_ring(n: usize) -> Ring {
    Ring::new((n.ilog2() + 2).max(3))
}

/// The digit to the client: as many as are enough, since fewer numbers have larger digits.
async fn tell(s: &mut Session, enough: &XorShare) -> Result<Option<u32>, Error> {
    let mine = enough.words().iter().enumerate().fold(0, |all, (j, w)| all | w << j);
    match s.me {
        Party::Server => {
            s.ch.send("top-k/digit", vec![mine as u8])?;
            Ok(None)
        }
        Party::Client => {
            let theirs = u64::from(s.ch.recv("top-k/digit", 1).await?[0]);
            Ok(Some(((mine ^ theirs) & 7).count_ones()))
        }
    }
}

/// What is known once the digit is, which the client alone knows: it chooses among what the four
/// digits lead to.
async fn descend(
    s: &mut Session,
    kept: &XorShare,
    matching: &XorShare,
    digit: Option<u32>,
) -> Result<XorShare, Error> {
    let case = |c: u32| {
        let equal = move |w: u64, m: u64| if c == 0 { w & 1 ^ parity(m) } else { m >> (c - 1) & 1 };
        let word = move |w: u64, m: u64| equal(w, m) | (w >> 1 ^ parity(m >> c)) << 1;
        packed(cases(kept, matching, word))
    };
    let mut words = case(0);
    let changes: Vec<Vec<u64>> =
        (1..4).map(|c| case(c).iter().zip(&words).map(|(w, zero)| w ^ zero).collect()).collect();
    let tag = "top-k/choose";
    match digit {
        Some(digit) => {
            let choices: Vec<u8> = (1..4).flat_map(|c| vec![u8::from(c == digit); words.len()]).collect();
            let got = cross::xor(s, tag, &choices, &[], 64).await?.got;
            for ((change, got), c) in changes.iter().zip(got.chunks(words.len())).zip(1..) {
                let chosen = u64::from(c == digit).wrapping_neg();
                words.iter_mut().zip(change).zip(got).for_each(|((w, own), got)| *w ^= own & chosen ^ got);
            }
        }
        None => {
            let own = cross::xor(s, tag, &[], &changes.concat(), 64).await?.own;
            for own in own.chunks(words.len()) {
                words.iter_mut().zip(own).for_each(|(w, own)| *w ^= own);
            }
        }
    }
    Ok(unpacked(&words, kept.len()))
}

/// A linear function of every word of `kept` and of `matching`.
fn cases<'a>(
    kept: &'a XorShare,
    matching: &'a XorShare,
    f: impl Fn(u64, u64) -> u64 + 'a,
) -> impl Iterator<Item = u64> + 'a {
    kept.words().iter().zip(matching.words()).map(move |(w, m)| f(*w, *m))
}

/// Words of two bits, 32 to a word.
fn packed(words: impl Iterator<Item = u64>) -> Vec<u64> {
    let words: Vec<u64> = words.collect();
    words.chunks(32).map(|words| words.iter().rev().fold(0, |all, w| all << 2 | w)).collect()
}

/// The inverse of [`packed`], for `n` words.
fn unpacked(words: &[u64], n: usize) -> XorShare {
    XorShare::new(2, (0..n).map(|i| words[i / 32] >> (2 * (i % 32)) & 3).collect())
}

/// The numbers of which these are the digits, the highest first.
fn joined(digits: &[XorShare]) -> XorShare {
    // 1, 2, 3 have a bit each.
    let digit = |w: u64| parity(w & 0b101) | parity(w & 0b110) << 1;
    let number = |i: usize| digits.iter().fold(0, |all, of| all << 2 | digit(of.words()[i]));
    XorShare::new(RING.bits(), (0..digits[0].len()).map(number).collect())
}

async fn reveal(
    s: &mut Session,
    chosen: &XorShare,
    values: &XorShare,
    k: usize,
) -> Result<Option<Vec<(usize, f64)>>, Error> {
    let (tag, n, width) = ("top-k/share", chosen.len(), 1 + RING.bits());
    let mine: Vec<u64> = chosen.words().iter().zip(values.words()).map(|(c, v)| c | v << 1).collect();
    match s.me {
        Party::Server => {
            s.ch.send(tag, pack(&mine, width))?;
            Ok(None)
        }
        Party::Client => {
            let theirs = s.ch.recv(tag, packed_len(n, width)).await?;
            let words = mine.iter().zip(unpack(&theirs, n, width)).map(|(a, b)| a ^ b).enumerate();
            let chosen = words.filter(|(_, w)| w & 1 == 1);
            let real = |w: u64| ((w >> 1) as f64 - f64::from(1 << (RING.bits() - 1))) / f64::from(1 << FRAC);
            let largest: Vec<(usize, f64)> = chosen.map(|(j, w)| (j, real(w))).collect();
            match largest.len() {
                found if found < k => Err(Error::TooFew { found, k }),
                _ => Ok(Some(largest)),
            }
        }
    }
}

/// The functionality: positions of the `k` largest numbers, and of those that equal the last of
/// them.
pub fn ideal(x: &[f64], k: usize) -> Vec<(usize, f64)> {
    let floor = |x: &f64| (x * f64::from(1 << FRAC)).floor() / f64::from(1 << FRAC);
    let numbers: Vec<f64> = x.iter().map(floor).collect();
    let mut sorted = numbers.clone();
    sorted.sort_by(|a, b| b.total_cmp(a));
    numbers.into_iter().enumerate().filter(|(_, x)| *x >= sorted[k - 1]).collect()
}

/// What is sent for the largest of `n` numbers of which `dropped` bits are dropped, and which COTs
/// it takes.
pub fn cost(n: usize, dropped: u32) -> CostModel {
    let (ring, words) = (count_ring(n).bits(), 3 * n.div_ceil(32));
    let digits = (0..DIGITS).map(|i| {
        let matching = if i == 0 { CostModel::default() } else { and::cost(n, 3) };
        let counted = b2a::cost(3 * n, &[ring - 1]) + compare::few_cost(3, ring);
        matching + counted + CostModel::to_client(3, 0) + CostModel::products((words, 0), (0, 64 * words))
    });
    let all = digits.fold(decompose::cost(n, dropped + RING.bits(), DIGITS), |all, digit| all + digit);
    let width = RING.bits() as usize;
    all + and::cost(n, width as u32) + CostModel::to_client(n * (1 + width), 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sotto_shares::{decode, encode};

    use super::*;
    use crate::testing::{self, Open, log2_ceil};

    const WIDE: Ring = Ring::new(44);

    /// Of a row of real numbers with `frac` fraction bits: what the client gets, and what it is to
    /// get.
    fn largest(x: &[f64], frac: u32, k: usize) -> [Vec<(usize, f64)>; 2] {
        let raw: Vec<u64> = x.iter().map(|&x| encode(x, frac, WIDE)).collect();
        let [client, server] = testing::run_both(async |lab| {
            let x = lab.share(&raw, WIDE, frac, Shape::new(1, raw.len()));
            lab.measure(async |s| top_to_client(s, &x, k).await).await
        });
        assert!(server.0.is_none(), "the server gets nothing");
        let found = Open::open(client.1, server.1).cost;
        assert_eq!(found, cost(x.len(), frac - FRAC).total());
        assert_eq!(found.turns, 50 + log2_ceil((frac - FRAC).div_ceil(2) as usize + DIGITS - 1));
        let exact: Vec<f64> = raw.iter().map(|&v| decode(v, frac, WIDE)).collect();
        [client.0.expect("the client gets the largest"), ideal(&exact, k)]
    }

    #[test]
    fn the_largest_with_ties_at_the_stated_cost() {
        let random = testing::elements(300, Ring::new(36));
        let random: Vec<f64> = random.iter().map(|&v| 0.999 * decode(v, 28, Ring::new(36))).collect();
        let mut tied = random.clone();
        tied[10..40].fill(101.5);
        tied[50..60].fill(101.5 + 1.0 / 1024.0);
        let edges = vec![-128.0, 0.0, 127.999, -128.0, 0.0, -1.0 / 512.0, 1.0 / 256.0];
        for (x, ks) in [
            (random, vec![1, 40, 299, 300]),
            (tied, vec![20]),
            (edges, vec![1, 4, 6, 7]),
            (vec![3.0], vec![1]),
        ] {
            for (k, frac) in ks.into_iter().zip([28, 20, 21].into_iter().cycle()) {
                let [got, want] = largest(&x, frac, k);
                assert_eq!(got, want, "{k} of {}", x.len());
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

        /// Nobody left out is larger than one of the `k`.
        #[test]
        fn nobody_left_out_is_larger(x in prop::collection::vec(-4i32..4, 1..90), k in 1usize..90) {
            let k = k.min(x.len());
            let x: Vec<f64> = x.into_iter().map(f64::from).collect();
            let [got, want] = largest(&x, 28, k);
            prop_assert!(got.len() >= k);
            let least = got.iter().map(|g| g.1).fold(f64::INFINITY, f64::min);
            let left_out = (0..x.len()).filter(|j| got.iter().all(|g| g.0 != *j));
            prop_assert!(left_out.into_iter().all(|j| x[j] < least));
            prop_assert_eq!(got, want);
        }
    }
}
