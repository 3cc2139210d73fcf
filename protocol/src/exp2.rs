//! `[2^z] <- [z]` for `z < 2`, without a polynomial (Pi_2^z).
//!
//! Inputs: `z` mod `2^(12 + f)` with `f` fraction bits, 12 or 14 ([`Precision`]); results have `g = f + 2`. Write a share as `n_i 2^f + t_i`: then
//! `2^z = 2^(n0 + n1) 2^(t0 / 2^f) 2^(t1 / 2^f)`, where the last two factors are private, and the carry of the fractions is absorbed by their
//! product. Let `n = n0 + n1 mod 2^12` and `p_i = min(round(2^(g + t_i / 2^f)), 2^(g + 1) - 1)`.
//!
//! | client: `n0`, `p0`                       |                     | server: `n1`, `p1`                |
//! |------------------------------------------|---------------------|-----------------------------------|
//! | `n0 + 30 - r0`, `r` of digits 5, 4 and 3 | `<- exp2/open ->`   | `n1 - r1`                         |
//! | one-hot of the low digit; `E_c`: the upper digits are 0 after carry `c` | `<- and/cross ->` | the same |
//! | AND into the entries `-g - 1 <= n <= 1`  | `<- and/cross ->`   | the same                          |
//! | choices: entries                         | `<- exp2/scale ->`  | numbers `p1 2^j (1 - 2 entry_j)`: `[B] = sum_j entry_j p1 2^j` |
//! | `[B]` to a larger ring                   | `<- extend/cross ->` | the same                         |
//! | choices: bits of `p0`; and `p0 B0`       | `<- exp2/product ->` | numbers `B1`                     |
//! | truncated, to the ring asked for         | `<- extend/cross ->` | the same                         |
//!
//! The upper digits of `r` are compared with public constants, one for either carry; and which carry goes with an entry of the low digit's
//! one-hot is public, since it depends on the entry's position alone.
//! All other residues of `n`, on the full twelve integer bits, give zero: saturation at both ends of the ring.
//! Seven turns, 843 bits an element to a ring of 44 bits (by high precision 1032 to one of 48); by the latency schedule four, 1879 bits (2308): the upper digits are one, whose one-hot costs
//! 200 bits more, and `B` and the product are in a ring from the start of which the result is a local truncation. Error at most 4 units (2.5e-4, or 6.2e-5) for `z <= 1`.
//! Leakage: none; `p_i` leaves its owner only as number or choice of an OT. From the pool: one-hots of 5, 4 and 3 bits, or of 5 and 7, COTs.
//! Source: `nonlinear.md` 3.2 in the design notes, with the range of `review.md` 5; SIRNN for local powers (OPAF, 2403.00239).

use std::sync::OnceLock;

use sotto_ot::OneHots;
use sotto_shares::{Party, Ring, Share, XorShare};

use crate::{
    Error, Precision, Schedule, Session,
    and::and,
    cost::Bill,
    cross::{self, Cross},
    digit,
    extend::extend_positive,
    mul::subtract,
    open::open,
};

/// Elements at a time.
const BLOCK: usize = 1 << 17;
/// Bits of the low digit.
const LOW: u32 = 5;
/// Bits of the two upper digits, which are one by the latency schedule.
const UPPER: (u32, u32) = (4, 3);
/// Moves the exponents in use to the top of the low digit's range, `30 + 1 = 31`.
const MOVE: u64 = 30;

impl Precision {
    /// The least exponent that gives something: `2^-(g + 1)` rounds to half a unit at most.
    fn lowest(self) -> i64 {
        -1 - i64::from(self.power_frac())
    }

    /// How many exponents give something: from the lowest to 1.
    fn exponents(self) -> u32 {
        self.power_frac() + 3
    }

    /// The ring of `2^n p1`, below `2^(g + 2)`.
    fn scaled(self) -> Ring {
        Ring::new(self.power_frac() + 3)
    }

    /// The ring of `2^z` with twice the fraction bits, below `2^(2g + 3)`.
    fn squared(self) -> Ring {
        Ring::new(2 * self.power_frac() + 4)
    }
}

/// `2^z` in `ring`; long tensors go in blocks, which bounds memory.
///
/// # Panics
/// If `z` is not in the argument's ring with its fraction bits.
pub async fn exp2(s: &mut Session, z: &Share, ring: Ring) -> Result<Share, Error> {
    let p = s.precision;
    assert_eq!((z.ring, z.frac), (p.exponent(), p.frac()), "argument of 2^z");
    let mut data = Vec::with_capacity(z.len());
    for block in z.blocks(BLOCK) {
        data.extend_from_slice(&exp2_block(s, &block, ring).await?.data);
    }
    Ok(Share::new(ring, p.power_frac(), z.shape, data))
}

async fn exp2_block(s: &mut Session, z: &Share, ring: Ring) -> Result<Share, Error> {
    let (precision, frac) = (s.precision, s.precision.power_frac());
    let entries = exponent(s, z).await?;
    let power: Vec<u64> = z.data.iter().map(|&z| local_power(precision, z)).collect();
    let of_schedule = working_ring(precision, s.schedule, ring);
    let scaled = match s.schedule {
        Schedule::Throughput => {
            let small = precision.scaled();
            let scaled = Share::new(small, frac, z.shape, scale(s, &entries, &power, small).await?);
            let [scaled] = extend_positive(s, [(&scaled, of_schedule)]).await?;
            scaled.data.clone()
        }
        Schedule::Latency => scale(s, &entries, &power, of_schedule).await?,
    };
    let product = times_client_power(s, &scaled, &power, of_schedule).await?;
    // Raised by all but one of the units dropped, zero stays zero and there is no bias: a long row's sum would feel it.
    let y = Share::new(of_schedule, 2 * frac, z.shape, product).add_public(s.me, (1 << frac) - 1);
    let y = y.truncate_reduce(frac);
    if y.ring == ring {
        return Ok(y);
    }
    let [y] = extend_positive(s, [(&y, ring)]).await?;
    Ok(y)
}

/// The ring of the product: the least, or one of which the result is a local truncation.
fn working_ring(precision: Precision, schedule: Schedule, ring: Ring) -> Ring {
    match schedule {
        Schedule::Throughput => precision.squared(),
        Schedule::Latency => Ring::new(ring.bits() + precision.power_frac()),
    }
}

/// The functionality up to carries: zero below `2^-(g + 1)`, zero above the window.
pub fn ideal(precision: Precision, z: f64) -> f64 {
    if (precision.lowest() as f64..2.0).contains(&z) { z.exp2() } else { 0.0 }
}

/// One-hot of the exponent among those in use, or zero.
async fn exponent(s: &mut Session, z: &Share) -> Result<XorShare, Error> {
    let (lowest, exponents) = (s.precision.lowest(), s.precision.exponents());
    let n = z.truncate_reduce(z.frac).add_public(s.me, MOVE);
    let low = s.one_hots(LOW, n.ring, n.len()).await?;
    let (opened, zero) = match s.schedule {
        Schedule::Throughput => {
            let (mid_bits, high_bits) = UPPER;
            let mid = s.one_hots(mid_bits, Ring::new(mid_bits + high_bits), n.len()).await?;
            let high = s.one_hots(high_bits, Ring::new(high_bits), n.len()).await?;
            let upper = mid.index().iter().zip(high.index()).map(|(m, h)| m.wrapping_add(h << mid_bits));
            let opened = masked(s, &n, &low, upper).await?;
            let mids = cases(&opened).map(|(i, at)| entry(&mid, i, at)).collect();
            let highs = cases(&opened).map(|(i, at)| entry(&high, i, at >> mid_bits)).collect();
            let zero = and(s, &XorShare::new(1, mids), &XorShare::new(1, highs)).await?;
            (opened, zero)
        }
        Schedule::Latency => {
            let bits = UPPER.0 + UPPER.1;
            let upper = s.one_hots(bits, Ring::new(bits), n.len()).await?;
            let opened = masked(s, &n, &low, upper.index().iter().copied()).await?;
            let zero = cases(&opened).map(|(i, at)| entry(&upper, i, at)).collect();
            (opened, XorShare::new(1, zero))
        }
    };
    let located = low.rotate(&opened);
    // Entry `at` of the low digit comes with a carry exactly if it is below the opened digit.
    let first = (MOVE as i64 + lowest) as u32;
    let windows = located.words().iter().zip(&opened).flat_map(|(&e, &d)| {
        let carried = (1u64 << (d & ((1 << LOW) - 1))) - 1;
        [e & !carried, e & carried].map(|e| (e >> first) & ((1 << exponents) - 1))
    });
    let cases = and(s, &zero, &XorShare::new(exponents, windows.collect())).await?;
    Ok(XorShare::new(exponents, cases.words.chunks(2).map(|pair| pair[0] ^ pair[1]).collect()))
}

/// The exponents, opened under their masks.
async fn masked(
    s: &mut Session,
    n: &Share,
    low: &OneHots,
    upper: impl Iterator<Item = u64>,
) -> Result<Vec<u64>, Error> {
    let mask: Vec<u64> = low.index().iter().zip(upper).map(|(l, u)| l.wrapping_add(u << LOW)).collect();
    let [opened] = open(s, "exp2/open", [&subtract(n, &mask)]).await?;
    Ok(opened)
}

/// For each element, without and with a carry, the mask's upper digits that give zero together with the opened ones.
fn cases(opened: &[u64]) -> impl Iterator<Item = (usize, u64)> {
    opened.iter().enumerate().flat_map(|(i, d)| [0, 1].map(|carry| (i, ((d >> LOW) + carry).wrapping_neg())))
}

/// Entry `at`, modulo their number, of vector `i`.
fn entry(vectors: &OneHots, i: usize, at: u64) -> u64 {
    digit::bit(vectors.words(), vectors.k(), i, at as usize & ((1 << vectors.k()) - 1))
}

/// Shares of `2^n p1`, with the server's power: entry `j` stands for the `j`-th exponent.
async fn scale(s: &mut Session, entries: &XorShare, power: &[u64], ring: Ring) -> Result<Vec<u64>, Error> {
    let (tag, widths, count) = ("exp2/scale", [ring.bits()], s.precision.exponents() as usize);
    let lowest = s.precision.lowest();
    let bits = entries.words.iter().flat_map(|&w| (0..count).map(move |j| (w >> j) & 1));
    let sum = |products: Vec<u64>| -> Vec<u64> {
        products.chunks(count).map(|p| p.iter().fold(0u64, |a, b| a.wrapping_add(*b))).collect()
    };
    match s.me {
        Party::Client => {
            let choices: Vec<u8> = bits.map(|b| b as u8).collect();
            let c = Cross { tag, choices: &choices, widths_in: &widths, inputs: &[], widths_out: &[] };
            let got = sum(cross::add(s, c).await?.got);
            Ok(got.into_iter().map(|b| ring.reduce(b)).collect())
        }
        Party::Server => {
            let shifted =
                power.iter().flat_map(|&p| (0..count).map(move |j| scaled_power(p, lowest + j as i64)));
            let numbers: Vec<(u64, u64)> = bits.zip(shifted).collect();
            let inputs: Vec<u64> =
                numbers.iter().map(|&(b, p)| ring.reduce(crate::mux::flip_sign(p, b))).collect();
            let c = Cross { tag, choices: &[], widths_in: &[], inputs: &inputs, widths_out: &widths };
            let own = sum(cross::add(s, c).await?.own);
            let local = sum(numbers.iter().map(|&(b, p)| b.wrapping_mul(p)).collect());
            Ok(own.iter().zip(local).map(|(o, l)| ring.reduce(o.wrapping_add(l))).collect())
        }
    }
}

/// Shares of `p0 B`: the client's part is its own, the server's share of `B` meets the bits of `p0` in COTs.
async fn times_client_power(
    s: &mut Session,
    b: &[u64],
    power: &[u64],
    ring: Ring,
) -> Result<Vec<u64>, Error> {
    let tag = "exp2/product";
    let bits = s.precision.power_frac() as usize + 1;
    let widths: Vec<u32> = (0..bits as u32).map(|j| ring.bits() - j).collect();
    let horner = |p: &[u64]| p.iter().enumerate().fold(0u64, |sum, (j, p)| sum.wrapping_add(p << j));
    match s.me {
        Party::Client => {
            let choices: Vec<u8> =
                power.iter().flat_map(|p| (0..bits).map(move |j| (p >> j) as u8 & 1)).collect();
            let c = Cross { tag, choices: &choices, widths_in: &widths, inputs: &[], widths_out: &[] };
            let got = cross::add(s, c).await?.got;
            let local = b.iter().zip(power).map(|(b, p)| b.wrapping_mul(*p));
            Ok(local.zip(got.chunks(bits)).map(|(l, g)| ring.reduce(l.wrapping_add(horner(g)))).collect())
        }
        Party::Server => {
            let inputs: Vec<u64> = b.iter().flat_map(|&b| std::iter::repeat_n(b, bits)).collect();
            let c = Cross { tag, choices: &[], widths_in: &[], inputs: &inputs, widths_out: &widths };
            let own = cross::add(s, c).await?.own;
            Ok(own.chunks(bits).map(|o| ring.reduce(horner(o))).collect())
        }
    }
}

/// `2^(t / 2^f)` of the fraction `t` of `z`, in `[2^g, 2^(g + 1))`: a product of selected constants, without a branch on `t`.
fn local_power(precision: Precision, z: u64) -> u64 {
    static ROOTS: OnceLock<[u64; ROOTS_LEN]> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        // 2^(2^-j) - 1 with 40 fraction bits, from j = 1 on.
        std::array::from_fn(|j| (((-1.0 - j as f64).exp2().exp2() - 1.0) * POWER_ONE as f64) as u64)
    });
    let (frac, out) = (precision.frac(), precision.power_frac());
    let product = (0..frac).fold(POWER_ONE, |product, j| {
        let root = roots[(frac - 1 - j) as usize];
        let selected = POWER_ONE + (root & ((z >> j) & 1).wrapping_neg());
        ((u128::from(product) * u128::from(selected)) >> POWER_FRAC) as u64
    });
    let rounded = (product + (1 << (POWER_FRAC - out - 1))) >> (POWER_FRAC - out);
    rounded - (rounded >> (out + 1))
}

/// Fraction bits while a power is put together.
const POWER_FRAC: u32 = 40;
const POWER_ONE: u64 = 1 << POWER_FRAC;

/// Fraction bits of arguments at most.
const ROOTS_LEN: usize = Precision::High.frac() as usize;

/// `p 2^exponent`, rounded.
fn scaled_power(p: u64, exponent: i64) -> u64 {
    if exponent >= 0 { p << exponent } else { (p + (1 << (-exponent - 1))) >> -exponent }
}

/// What is sent for `n` powers into a ring of `ring` bits, and which COTs it takes.
pub fn bill(precision: Precision, schedule: Schedule, n: usize, ring: u32) -> Bill {
    let blocks = (0..n).step_by(BLOCK).map(|start| BLOCK.min(n - start));
    blocks.fold(Bill::default(), |all, n| all + block_bill(precision, schedule, n, ring))
}

fn block_bill(precision: Precision, schedule: Schedule, n: usize, ring: u32) -> Bill {
    let (work, scaled) =
        (working_ring(precision, schedule, Ring::new(ring)).bits(), precision.scaled().bits());
    let (bits, entries) = (precision.power_frac() + 1, precision.exponents());
    let product: u32 = (0..bits).map(|j| work - j).sum();
    let product = Bill::products((bits as usize * n, 0), (0, product as usize * n));
    let scale = |ring: u32| Bill::products((entries as usize * n, 0), (0, (entries * ring) as usize * n));
    let (opened, windows) = (Bill::mutual(&[12 * n], 0), crate::and::bill(2 * n, entries));
    let (mid, high) = UPPER;
    let opened = match schedule {
        Schedule::Throughput => opened + Bill::spending(n, mid, mid + high) + Bill::spending(n, high, high),
        Schedule::Latency => opened + Bill::spending(n, mid + high, mid + high),
    };
    let opened = opened + Bill::spending(n, LOW, 12);
    match schedule {
        Schedule::Throughput => {
            let scale = scale(scaled) + crate::extend::bill(n, &[(scaled, work)]);
            let zero = crate::and::bill(2 * n, 1);
            let last = crate::extend::bill(n, &[(work - precision.power_frac(), ring)]);
            opened + zero + windows + scale + product + last
        }
        Schedule::Latency => opened + windows + scale(work) + product,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use sotto_shares::Shape;

    use super::*;
    use crate::testing::{self, Lab, reals};

    pub(crate) async fn stock(lab: &mut Lab, n: usize) {
        lab.stock_cots(45 * n).await;
        let kinds = match lab.me.schedule {
            Schedule::Throughput => vec![(5, 12), (4, 7), (3, 3)],
            Schedule::Latency => vec![(5, 12), (7, 7)],
        };
        for (bits, ring) in kinds {
            lab.stock_one_hots(bits, Ring::new(ring), n).await;
        }
    }

    fn evaluated(z: &[i64], precision: Precision, schedule: Schedule) -> Vec<f64> {
        let (n, argument, ring) = (z.len(), precision.exponent(), precision.sums());
        let raw: Vec<u64> = z.iter().map(|&z| argument.reduce(z as u64)).collect();
        let (got, traffic) = testing::run(async |lab| {
            (lab.me.schedule, lab.me.precision) = (schedule, precision);
            let z = lab.share(&raw, argument, precision.frac(), Shape::new(n, 1));
            stock(lab, n).await;
            lab.measure(async |s| exp2(s, &z, ring).await).await
        });
        assert_eq!(traffic.cost, bill(precision, schedule, n, ring.bits()).cost());
        let stated = match schedule {
            Schedule::Throughput => (7, [843, 1032][precision as usize]),
            Schedule::Latency => (4, [1879, 2308][precision as usize]),
        };
        assert_eq!((traffic.cost.turns, bill(precision, schedule, 1, ring.bits()).bits()), stated);
        reals(&got, ring, precision.power_frac())
    }

    #[test]
    fn powers_are_within_four_units() {
        for (precision, schedule) in testing::modes() {
            let one = 1i64 << precision.frac();
            let z: Vec<i64> = (-18 * one..2 * one).step_by([1, 7][precision as usize]).collect();
            let unit = (-f64::from(precision.power_frac())).exp2();
            let (mut small, mut large) = (0f64, 0f64);
            for (&z, y) in z.iter().zip(evaluated(&z, precision, schedule)) {
                let z = z as f64 / one as f64;
                let error = (y - z.exp2()).abs() / unit;
                if z <= 1.0 { small = small.max(error) } else { large = large.max(error / z.exp2()) }
            }
            eprintln!("exp2, {precision:?}: {small:.2} units up to 1, {large:.2} relative units beyond");
            assert!(small <= 4.0 && large <= 4.0, "{small} {large}");
        }
    }

    /// Every integer part of the ring: the carry between the shares moves an exponent by one at most, so
    /// that `[-g - 2, -g - 1)` and `[2, 3)` may fall on either side.
    #[test]
    fn the_rest_of_the_ring_gives_zero() {
        for (precision, schedule) in testing::modes() {
            let one = 1i64 << precision.frac();
            let outside = (-2048..precision.lowest() - 1).chain(3..2048);
            let z: Vec<i64> =
                outside.flat_map(|n: i64| [0, 1, one / 2, one - 1].map(|t| n * one + t)).collect();
            assert!(z.contains(&(-2048 * one)) && z.contains(&(2048 * one - 1)));
            for (z, y) in z.iter().zip(evaluated(&z, precision, schedule)) {
                assert_eq!(y, ideal(precision, *z as f64 / one as f64), "{z}");
            }
        }
    }
}
