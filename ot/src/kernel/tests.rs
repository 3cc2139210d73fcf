//! The kernels agree with each other and with the definitions of their loops.

use proptest::prelude::*;
use sotto_shares::Rng;

use super::*;
use crate::bits::bit;

fn blocks(n: usize, seed: u8) -> Vec<Block> {
    let mut rng = Rng::from_seed([seed; 32]);
    (0..n).map(|_| Block::random(&mut rng)).collect()
}

fn both() -> [Cipher; 2] {
    [Cipher::new(Block(0xfeed)), Cipher::portable(Block(0xfeed))]
}

/// The result of `f`, which must be the same on each kernel.
fn agree(f: impl Fn(&Cipher) -> Vec<Block>) -> Vec<Block> {
    let [a, b] = both().map(|cipher| f(&cipher));
    assert!(a.iter().map(|x| x.0).eq(b.iter().map(|x| x.0)), "kernels disagree");
    a
}

/// The versions of a loop without a cipher: this machine's, the one with AVX2 if available, the
/// portable one.
macro_rules! kernels {
    ($name:ident) => {
        kernels!($name, $name)
    };
    ($fastest:path, $name:ident) => {{
        #[cfg(target_arch = "x86_64")]
        let wide = if avx2::available() { avx2::$name } else { portable::$name };
        #[cfg(not(target_arch = "x86_64"))]
        let wide = portable::$name;
        [$fastest, wide, portable::$name]
    }};
}

#[test]
fn a_known_answer() {
    // FIPS 197, appendix C.1, and the counter as the little-endian number of the block.
    let key = Block::from_bytes(std::array::from_fn(|i| i as u8));
    for cipher in [Cipher::new(key), Cipher::portable(key)] {
        let zero = cipher.permute(0).to_bytes();
        assert_eq!(zero[..8], [0xc6, 0xa1, 0x3b, 0x37, 0x87, 0x8f, 0x5b, 0x82]);
    }
}

#[test]
fn hashes_are_their_formulas() {
    let (x, tweak) = (blocks(70, 1), Tweak { segment: 3 << 32 | 5, index: u64::MAX - 20, stride: 3 });
    let pi = |y: Block| {
        let [cipher, _] = both();
        // `pi` at any point, from the hash of the point's preimage under sigma.
        let (mut out, zero) = ([Block::ZERO], Tweak { segment: 0, index: 0, stride: 0 });
        let unsigma = Block((y.0 << 64) | ((y.0 >> 64) ^ (y.0 & u128::from(u64::MAX))));
        cipher.hash(zero, &[unsigma], &mut out);
        out[0] ^ y
    };
    let once = agree(|c| {
        let mut out = vec![Block::ZERO; x.len()];
        c.hash(tweak, &x, &mut out);
        out
    });
    let twice = agree(|c| {
        let mut out = vec![Block::ZERO; x.len()];
        c.hash_twice(tweak, &x, &mut out);
        out
    });
    for i in 0..x.len() {
        let t = u128::from(tweak.segment) << 64 | u128::from(tweak.index.wrapping_add(3 * i as u64));
        let y = x[i].sigma() ^ Block(t);
        assert!(once[i].0 == (pi(y) ^ y).0, "block {i}");
        let y = pi(x[i].sigma());
        assert!(twice[i].0 == (pi(y ^ Block(t)) ^ y).0, "block {i}");
    }
}

#[test]
fn doubling_makes_children_and_sums_them() {
    for log in 1..10 {
        let v = blocks(1 << log, 2);
        let n = v.len() / 2;
        let made = agree(|c| {
            let mut nodes = v.clone();
            let sum = c.double(&mut nodes, None);
            nodes.push(sum);
            nodes
        });
        let mut h = vec![Block::ZERO; n];
        both()[1].hash(Tweak { segment: 0, index: 0, stride: 0 }, &v[..n], &mut h);
        let sum = h.iter().fold(Block::ZERO, |sum, &h| sum ^ h);
        assert!(made[2 * n].0 == sum.0);
        assert!((0..n).all(|j| made[j].0 == h[j].0 && made[n + j].0 == (v[j] ^ h[j]).0));
    }
}

#[test]
fn small_loops_are_their_formulas_at_every_length() {
    let delta = Block(u128::MAX / 5);
    for n in 0..70 {
        let (x, bits) =
            (blocks(n, 3), blocks(n.div_ceil(8), 4).iter().map(|b| b.0 as u8).collect::<Vec<_>>());
        for pack in kernels!(low_bits) {
            let mut packed = vec![0xff; n.div_ceil(8)];
            pack(&x, &mut packed);
            assert!((0..n).all(|i| bit(&packed, i) == x[i].bit(0)));
            assert!(n % 8 == 0 || packed[n / 8] >> (n % 8) == 0, "filled up with zeros");
        }
        for add in kernels!(add_where) {
            let mut sum = x.clone();
            add(&mut sum, &bits, delta);
            assert!((0..n).all(|i| sum[i].0 == (x[i] ^ delta.times(bit(&bits, i))).0));
        }
    }
}

/// A level of `2 h` blocks, corrected in every place of its halves.
#[test]
fn corrections_meet_the_same_place_of_both_halves() {
    for h in [1, 2, 4, 7, 8, 32] {
        let x = blocks(2 * h, 3);
        let corrected = |clear: bool, at: usize, add: [Block; 2]| {
            let bit = |b: Block| if clear { b.without_low_bit() } else { b };
            let here = |i: usize| Block(u128::from(i % h == at) * u128::MAX);
            x.iter().enumerate().map(|(i, &x)| bit(x) ^ (add[i / h] & here(i))).collect::<Vec<_>>()
        };
        for at in 0..h {
            let add = [Block(u128::MAX / 5), Block(u128::MAX / 7)];
            let correction = Some(Correction { at, add });
            for clear in kernels!(clear_low_bits) {
                let mut cleared = x.clone();
                clear(&mut cleared, correction);
                assert!(cleared.iter().zip(corrected(true, at, add)).all(|(a, b)| a.0 == b.0));
            }
            if h.is_power_of_two() {
                let made = agree(|c| {
                    let mut nodes = [&x[..], &x[..]].concat();
                    let sum = c.double(&mut nodes, correction);
                    nodes.push(sum);
                    nodes
                });
                let expected = agree(|c| {
                    let mut nodes = [&corrected(false, at, add)[..], &x[..]].concat();
                    let sum = c.double(&mut nodes, None);
                    nodes.push(sum);
                    nodes
                });
                assert!(made.iter().zip(expected).all(|(a, b)| a.0 == b.0));
            }
        }
        for clear in kernels!(clear_low_bits) {
            let mut cleared = x.clone();
            clear(&mut cleared, None);
            assert!(cleared.iter().zip(&x).all(|(a, b)| a.0 == b.0 & !1));
        }
    }
}

#[test]
fn transposing_swaps_rows_and_columns() {
    let mut rng = Rng::from_seed([8; 32]);
    let rows: [[u64; 8]; 64] =
        std::array::from_fn(|_| std::array::from_fn(|_| rand::RngCore::next_u64(&mut rng)));
    for turn in kernels!(transpose) {
        let mut turned = rows;
        turn(&mut turned);
        for (r, row) in rows.iter().enumerate() {
            for c in 0..512 {
                assert_eq!(turned[c % 64][c / 64] >> r & 1, row[c / 64] >> (c % 64) & 1);
            }
        }
    }
}

#[test]
fn polynomials_are_sums_of_powers() {
    let x = blocks(300, 9);
    for (&a, &b) in
        x.iter().zip(x.iter().rev()).chain([(&Block(u128::MAX), &Block(u128::MAX)), (&x[0], &Block(1))])
    {
        for multiply in kernels!(multiply) {
            assert!(multiply(a, b).0 == portable::multiply(a, b).0);
            assert!(multiply(a, b).0 == multiply(b, a).0 && multiply(a, Block(2)).0 == a.times_x().0);
        }
    }
    let b = x[7];
    for n in (0..100).chain([127, 128, 129, 300]) {
        let (mut power, mut sum) = (Block(1), Block::ZERO);
        for &v in &x[..n] {
            sum ^= portable::multiply(power, v);
            power = portable::multiply(power, b);
        }
        let words: Vec<u64> = x[..n].iter().flat_map(|v| [v.0 as u64, (v.0 >> 64) as u64]).collect();
        let places = [Place::new(b, 1), Place::new(b, 17), Place::new(b, 1000)];
        for place in &places {
            assert!(
                kernels!(Place::value, value).iter().all(|value| value(place, &x[..n]).0 == sum.0),
                "{n} blocks"
            );
            let values = kernels!(Place::value_of_words, value_of_words).map(|value| value(place, &words));
            assert!(values.iter().all(|value| value.0 == sum.0), "{n} blocks");
        }
    }
}

fn check_fold<const K: usize>(words: usize, counter: u64) {
    let keys = blocks(1 << K, 5);
    let folded = [Bank::new as fn(&[Block]) -> Bank, Bank::portable].map(|bank| {
        let (mut sum, mut rows) = (vec![1; words], vec![2; K * words]);
        bank(&keys).fold::<K>(counter, &mut sum, &mut rows);
        (sum, rows)
    });
    assert!(folded[0] == folded[1], "kernels disagree");
    let (sum, rows) = &folded[0];
    let stretches: Vec<Vec<u64>> = keys
        .iter()
        .map(|&key| {
            let mut out = vec![Block::ZERO; words / 2];
            Cipher::portable(key).counters(counter, &mut out);
            out.iter().flat_map(|b| [b.0 as u64, (b.0 >> 64) as u64]).collect()
        })
        .collect();
    let xor = |keep: &dyn Fn(usize) -> bool, w: usize| {
        (0..1 << K).filter(|&x| keep(x)).fold(0, |sum, x| sum ^ stretches[x][w])
    };
    for w in 0..words {
        assert_eq!(sum[w], xor(&|_| true, w));
        (0..K).for_each(|b| assert_eq!(rows[b * words + w], xor(&|x| x >> b & 1 == 1, w)));
    }
}

#[test]
fn folding_sums_by_bits() {
    for words in [8, 16, 24, 32, 40, 64, 72] {
        check_fold::<1>(words, 0);
        check_fold::<2>(words, 7);
        check_fold::<4>(words, 1 << 40);
        check_fold::<8>(words, 3);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn gathering_adds_ten_entries(size in 1usize..3000, first in 0u64..1 << 40, n in 0usize..150) {
        let table = blocks(size, 6);
        let sums = agree(|c| {
            let mut out = vec![Block::ZERO; n];
            c.gather(&table, first, &mut out);
            out
        });
        for (i, sum) in sums.iter().enumerate() {
            let row = first + i as u64;
            let mut stream = vec![Block::ZERO; 20];
            both()[1].counters(row / 8 * 20, &mut stream);
            let words: Vec<u32> =
                stream.iter().flat_map(|b| (0..4).map(move |j| (b.0 >> (32 * j)) as u32)).collect();
            let entries = words[row as usize % 8 * 10..][..10].iter();
            let expected = entries.fold(0, |sum, &w| sum ^ table[((u64::from(w) * size as u64) >> 32) as usize].0);
            prop_assert!(sum.0 == expected);
        }
    }

    #[test]
    fn streams_and_hashes_agree_at_every_length(n in 0usize..200, first: u64, segment: u64, stride in 0u64..9) {
        let x = blocks(n, 7);
        let first = first >> 1;
        let stream = agree(|c| { let mut out = vec![Block::ZERO; n]; c.counters(first, &mut out); out });
        prop_assert!((0..n).all(|i| stream[i].0 == both()[0].permute(first + i as u64).0));
        let tweak = Tweak { segment, index: first, stride };
        agree(|c| { let mut out = vec![Block::ZERO; n]; c.hash(tweak, &x, &mut out); out });
        agree(|c| { let mut out = vec![Block::ZERO; n]; c.hash_twice(tweak, &x, &mut out); out });
    }
}

fn words(n: usize, seed: u8) -> Vec<u64> {
    Rng::from_seed([seed; 32]).elements(n, sotto_shares::Ring::new(64))
}

/// Vectors of `2^k` bits.
fn vectors(n: usize, k: u32, seed: u8) -> Vec<u64> {
    let size = 1usize << k;
    Rng::from_seed([seed; 32]).elements(n * size.div_ceil(64), sotto_shares::Ring::new(size.min(64) as u32))
}

fn entry(vectors: &[u64], k: u32, i: usize, y: usize) -> u64 {
    vectors[i * (1usize << k).div_ceil(64) + y / 64] >> (y % 64) & 1
}

type Turn = fn(&mut [u64], u32, &[u64]);

/// Numbers of vectors: 0, fewer than a register holds, not a multiple of that, many.
const NUMBERS: [usize; 6] = [0, 1, 3, 8, 13, 65];

#[test]
fn turned_vectors_have_every_entry_in_its_place() {
    for (k, n) in (1..=12).flat_map(|k| NUMBERS.map(|n| (k, n))) {
        let (before, size) = (vectors(n, k, 5), 1 << k);
        let mut d = words(n, 6);
        d.iter_mut().zip([0, 1, 63, 64, size - 1, size, 1 << 63]).for_each(|(d, edge)| *d = edge);
        let rotations: [Turn; 3] = kernels!(rotate);
        let flips: [Turn; 3] = kernels!(flip);
        for (turn, rotates) in [(rotations, true), (flips, false)] {
            let [after, wide, same] = turn.map(|turn| {
                let mut e = before.clone();
                turn(&mut e, k, &d);
                e
            });
            assert!(after == same && wide == same, "kernels disagree, k = {k}, {n} vectors");
            for (i, y) in (0..n).flat_map(|i| (0..size).map(move |y| (i, y))) {
                let to = if rotates { y.wrapping_add(d[i]) } else { y ^ d[i] } % size;
                assert_eq!(
                    entry(&after, k, i, to as usize),
                    entry(&before, k, i, y as usize),
                    "k = {k}, d = {}",
                    d[i]
                );
            }
        }
    }
}

#[test]
fn parities_are_inner_products() {
    for (k, n) in (1..=12).flat_map(|k| NUMBERS.map(|n| (k, n))) {
        for groups in [1, 3, 8] {
            let stride = (1usize << k).div_ceil(64);
            let (e, planes) = (words(n * stride, 7), words(groups * stride * LANE, 8));
            let [out, wide, same] = kernels!(parity).map(|parity| {
                let mut out = vec![1; n];
                parity(&e, stride, &planes, &mut out);
                out
            });
            assert!(out == same && wide == same, "kernels disagree, k = {k}, {n} vectors");
            for (i, t) in (0..n).flat_map(|i| (0..8 * groups).map(move |t| (i, t))) {
                let plane = |w: usize| planes[(t / LANE * stride + w) * LANE + t % LANE];
                let ones: u32 = (0..stride).map(|w| (e[i * stride + w] & plane(w)).count_ones()).sum();
                assert_eq!(out[i] >> t & 1, u64::from(ones % 2));
            }
        }
    }
}

#[test]
fn vectors_grow_by_a_product_that_sums_to_the_bit() {
    for (k, n) in (1..=12).flat_map(|k| NUMBERS.map(|n| (k, n))) {
        for j in 0..k {
            let stride = (1usize << k).div_ceil(64);
            let (small, size) = (vectors(n, j, 9), 1 << j);
            // Neither product has its last bit.
            let payload = |seed| {
                let mut words = vectors(n, j, seed);
                let stride = (1usize << j).div_ceil(64);
                words.chunks_mut(stride).for_each(|v| v[stride - 1] &= !(1 << ((size - 1) % 64)));
                words
            };
            let (own, got) = (payload(10), payload(11));
            let b: Vec<u64> = words(n, 12).iter().map(|b| b & 1).collect();
            let mut before = vec![0; n * stride];
            for (e, small) in before.chunks_mut(stride).zip(small.chunks((1usize << j).div_ceil(64))) {
                e[..small.len()].copy_from_slice(small);
            }
            let [after, wide, same] = kernels!(grow).map(|grow| {
                let mut vectors = before.clone();
                grow(&mut vectors, stride, j as usize, &b, &own, &got);
                vectors
            });
            assert!(after == same && wide == same, "kernels disagree, k = {k}, j = {j}, {n} vectors");
            for (i, &b) in b.iter().enumerate() {
                let upper = |y: usize| entry(&after, k, i, size + y);
                assert_eq!((0..size).map(upper).fold(0, |sum, p| sum ^ p), b, "k = {k}, j = {j}");
                for y in 0..size {
                    assert_eq!(entry(&after, k, i, y), entry(&small, j, i, y) ^ upper(y));
                    let product = b & entry(&small, j, i, y) ^ entry(&own, j, i, y) ^ entry(&got, j, i, y);
                    assert!(y + 1 == size || upper(y) == product, "k = {k}, j = {j}, entry {y}");
                }
            }
        }
    }
}
