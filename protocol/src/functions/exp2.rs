//! `[2^z] <- [z]` for `z < 2`, without a polynomial (Pi_2^z).
//!
//! Inputs: `z` mod `2^(12 + f)` with `f` fraction bits, 12 or 14 ([`Precision`]); results have `g =
//! f + 2`. Write a share as `n_i 2^f + t_i`: then `2^z = 2^(n0 + n1) 2^(t0 / 2^f) 2^(t1 / 2^f)`,
//! where the last two factors are private, and the carry of the fractions is absorbed by their
//! product. Let `n = n0 + n1 mod 2^12` and `p_i = round(2^(g + t_i / 2^f))`, below `2^(g + 1)`;
//! entry `j` stands for the exponent `e_j = j - g - 1`.
//!
//! | client: `n0`, `p0` | | server: `n1`, `p1` |
//! |---|---|---|
//! | `n0 - r0`, `r` of digits 5, 4 and 3 | `<- exp2/open ->` | `n1 + 30 - r1` |
//! | low digit's one-hot; `E_c`: upper digits 0 after carry `c` | `<- and/cross ->` | the same |
//! | AND into the entries `-g - 1 <= n <= 1` | `<- and/cross ->` | the same |
//! | choices: entries | `<- exp2/scale ->` | numbers `p1 2^e_j (1 - 2 entry_j)`, rounded |
//! | `[B] = sum_j entry_j p1 2^e_j` | | the same |
//! | `[B]` to a larger ring | `<- extend/cross ->` | the same |
//! | choices: bits of `p0`; and `p0 B0` | `<- exp2/product ->` | numbers `B1` |
//! | truncated, to the ring asked for | `<- extend/cross ->` | the same |
//!
//! The upper digits of `r` are compared with public constants, one for either carry. Which carry
//! goes with an entry of the low digit's one-hot is public: an entry below the opened low digit
//! comes with a carry, the others do not. All other residues of `n`, on the full twelve integer
//! bits, give zero. The shares decide whether `z` in `[-g - 2, -g - 1)`, or in `[2, 3)`, gives its
//! power or zero. Seven turns for every 2^17 elements, 843 bits an element to a ring of 44 bits (by
//! high precision 1032 to one of 48).
//!
//! By the latency schedule three turns, 2055 bits (2502). The upper digits are one, whose one-hot
//! costs 210 bits more, and the fractions are multiplied meanwhile:
//!
//! | turn | exponents | fractions |
//! |---|---|---|
//! | 1 | `<- exp2/open ->` | `<- exp2/product ->`: `[y] = p0 p1 2^-g` |
//! | 2 | `<- and/cross ->` into the entries | `<- extend/cross ->` of `y` |
//! | 3 | `<- pick/cross ->` of the local shifts `y 2^n` by the entries ||
//!
//! where the shift for the lowest exponent, a number from 1/2 to 2 units, is one unit. Error of
//! either at most 4 units (2.5e-4, or 6.2e-5) for `z <= 1`. Leakage: none; `p_i` leaves its owner
//! only as number or choice of an OT. From stock: one-hots of 5, 4 and 3 bits, or of 5 and 7, COTs.
//! Source: SIRNN for local powers (OPAF, 2403.00239); this project for the exponent by one-hots.

use std::sync::OnceLock;

use sotto_ot::{CotPads, OneHots, RecvCots, SendCots};
use sotto_shares::{Party, Ring, Shape, Share, XorShare};
use zeroize::Zeroizing;

use crate::{
    Error, Precision, Schedule, Session,
    and::{self, and},
    cost::CostModel,
    cross::{self, Cross},
    digit,
    extend::{self, extend_positive},
    mul::subtract,
    open,
    select::{self, select},
};

const OPEN: &str = "exp2/open";

/// Elements at a time.
const BLOCK: usize = 1 << 17;
/// The ring of exponents: the integer bits of an argument.
const EXPONENT: Ring = Ring::new(12);
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
/// If `z` is not in the argument's ring with its fraction bits, or `ring` has `g + 4` bits or less,
/// or, by the latency schedule, more than `64 - g`.
pub async fn exp2(s: &mut Session, z: &Share, ring: Ring) -> Result<Share, Error> {
    let p = s.precision;
    assert_eq!((z.ring(), z.frac()), (p.exponent(), p.frac()), "argument of 2^z");
    let mut data = Vec::with_capacity(z.len());
    for block in z.blocks(BLOCK) {
        data.extend_from_slice(exp2_block(s, &block, ring).await?.data());
    }
    Ok(Share::new(ring, p.power_frac(), z.shape(), data))
}

async fn exp2_block(s: &mut Session, z: &Share, ring: Ring) -> Result<Share, Error> {
    match s.schedule {
        Schedule::Throughput => in_turn(s, z, ring).await,
        Schedule::Latency => at_once(s, z, ring).await,
    }
}

/// The first figure.
async fn in_turn(s: &mut Session, z: &Share, ring: Ring) -> Result<Share, Error> {
    let (precision, frac) = (s.precision, s.precision.power_frac());
    let masks = Masks::draw(s, z.len()).await?;
    let masked = masks.masked(s.me, z);
    let [opened] = open::open(s, OPEN, [&masked]).await?;
    let zero = masks.zero(s, &opened).await?;
    let entries = and(s, &zero, &masks.windows(precision, &opened)).await?;
    let entries = either_carry(&entries);
    let power: Zeroizing<Vec<u64>> =
        Zeroizing::new(z.data().iter().map(|&z| local_power(precision, z)).collect());
    let small = precision.scaled();
    let scaled = Share::new(small, frac, z.shape(), scale(s, &entries, &power, small).await?);
    let [scaled] = extend_positive(s, [(&scaled, precision.squared())]).await?;
    let (send, recv) = product_cots(s, z.len());
    let cots = s.cots(send, recv).await?;
    let product = begin_product(s, cots, scaled.data(), &power)?.finish(s).await?;
    let [y] = extend_positive(s, [(&rounded(s, &product, frac), ring)]).await?;
    Ok(y.reshape(z.shape()))
}

/// The second one.
async fn at_once(s: &mut Session, z: &Share, ring: Ring) -> Result<Share, Error> {
    let (n, precision, frac) = (z.len(), s.precision, s.precision.power_frac());
    let masks = Masks::draw(s, n).await?;
    let needed = [product_cots(s, n), (2 * n, 2 * n), extend::cots(s.me, n)];
    let [of_product, of_windows, of_extension] = s.cots_for(needed).await?;

    let masked = masks.masked(s.me, z);
    open::send(s, OPEN, [&masked])?;
    let power: Zeroizing<Vec<u64>> =
        Zeroizing::new(z.data().iter().map(|&z| local_power(precision, z)).collect());
    let none = vec![0; n];
    let product = begin_product(s, of_product, if s.me == Party::Client { &none } else { &power }, &power)?;
    let [opened] = open::receive(s, OPEN, [&masked]).await?;
    let product = product.finish(s).await?;
    let y = rounded(s, &product, frac);

    let zero = masks.zero(s, &opened).await?;
    let entries = and::begin(s, of_windows, &zero, &masks.windows(precision, &opened))?;
    let y = extend::begin(s, of_extension, [(&y, shifted_ring(precision, ring))])?;
    let entries = either_carry(&entries.finish(s).await?);
    let [y] = y.finish(s).await?;

    let me = s.me;
    let number = |i: usize, j: usize| match precision.lowest() + j as i64 {
        0.. => y.data()[i],
        _ if j == 0 => me.server_only(1),
        // Rounded up by the server and down by the client: without bias.
        below => y.data()[i].wrapping_add(me.server_only((1 << -below) - 1)) >> -below,
    };
    let data = select(s, &entries, ring, &left_shifts(precision), number).await?;
    Ok(Share::new(ring, frac, z.shape(), data))
}

/// The ring of `y` of which the least shift to be selected is a local truncation.
fn shifted_ring(precision: Precision, ring: Ring) -> Ring {
    Ring::new(ring.bits() + precision.power_frac())
}

/// By how much the numbers to be selected are shifted to the left.
fn left_shifts(precision: Precision) -> Vec<u32> {
    let exponents = precision.lowest()..precision.lowest() + i64::from(precision.exponents());
    exponents.map(|exponent| exponent.max(0) as u32).collect()
}

/// A product of positive numbers with `frac` fraction bits each, without half of them. Raised by
/// all but one of the units dropped, zero stays zero and there is no bias: a long row's sum would
/// feel it.
fn rounded(s: &Session, product: &Share, frac: u32) -> Share {
    product.add_public(s.me, (1 << frac) - 1).truncate_reduce(frac)
}

/// The functionality up to carries: zero below `2^-(g + 1)`, zero above the window.
pub fn ideal(precision: Precision, z: f64) -> f64 {
    if (precision.lowest() as f64..2.0).contains(&z) { z.exp2() } else { 0.0 }
}

/// One-hots of the exponents' masks: of the low digit, and of one or two upper digits.
struct Masks {
    low: OneHots,
    upper: OneHots,
    top: Option<OneHots>,
}

impl Masks {
    async fn draw(s: &mut Session, n: usize) -> Result<Masks, Error> {
        let low = s.one_hots(LOW, EXPONENT, n).await?;
        let (mid, high) = UPPER;
        let both = mid + high;
        Ok(match s.schedule {
            Schedule::Throughput => Masks {
                low,
                upper: s.one_hots(mid, Ring::new(both), n).await?,
                top: Some(s.one_hots(high, Ring::new(high), n).await?),
            },
            Schedule::Latency => Masks { low, upper: s.one_hots(both, Ring::new(both), n).await?, top: None },
        })
    }

    /// This party's share of the exponents, masked.
    fn masked(&self, me: Party, z: &Share) -> Share {
        let n = z.truncate_reduce(z.frac()).add_public(me, MOVE);
        let top = |i: usize| self.top.as_ref().map_or(0, |top| top.index()[i] << UPPER.0);
        let uppers = self.upper.index().iter().enumerate().map(|(i, u)| u.wrapping_add(top(i)));
        let mask: Vec<u64> =
            self.low.index().iter().zip(uppers).map(|(l, u)| l.wrapping_add(u << LOW)).collect();
        subtract(&n, &mask)
    }

    /// For each element, without and with a carry, whether the upper digits are zero.
    async fn zero(&self, s: &mut Session, opened: &[u64]) -> Result<XorShare, Error> {
        let uppers = cases(opened).map(|(i, at)| entry(&self.upper, i, at)).collect();
        let uppers = XorShare::new(1, uppers);
        let Some(top) = &self.top else { return Ok(uppers) };
        let tops = cases(opened).map(|(i, at)| entry(top, i, at >> UPPER.0)).collect();
        and(s, &uppers, &XorShare::new(1, tops)).await
    }

    /// For each element, the exponents in use that come without a carry, and those that come with
    /// one.
    fn windows(self, precision: Precision, opened: &[u64]) -> XorShare {
        let (lowest, exponents) = (precision.lowest(), precision.exponents());
        let located = self.low.rotate(opened);
        // Entry `at` of the low digit comes with a carry exactly if it is below the opened digit.
        let first = (MOVE as i64 + lowest) as u32;
        let windows = located.words().iter().zip(opened).flat_map(|(&e, &d)| {
            let carried = (1u64 << (d & ((1 << LOW) - 1))) - 1;
            [e & !carried, e & carried].map(|e| (e >> first) & ((1 << exponents) - 1))
        });
        XorShare::new(exponents, windows.collect())
    }
}

/// The entries of either carry, of which one at most is not zero.
fn either_carry(entries: &XorShare) -> XorShare {
    XorShare::new(entries.width(), entries.words().chunks(2).map(|pair| pair[0] ^ pair[1]).collect())
}

/// For each element, without and with a carry, the mask's upper digits that give zero together with
/// the opened ones.
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
    let bits = entries.words().iter().flat_map(|&w| (0..count).map(move |j| (w >> j) & 1));
    let sum = |products: &[u64]| -> Vec<u64> {
        products.chunks(count).map(|p| p.iter().fold(0u64, |a, b| a.wrapping_add(*b))).collect()
    };
    match s.me {
        Party::Client => {
            let choices: Vec<u8> = bits.map(|b| b as u8).collect();
            let c = Cross { tag, choices: &choices, widths_in: &widths, inputs: &[], widths_out: &[] };
            let got = sum(&cross::add(s, c).await?.got);
            Ok(got.into_iter().map(|b| ring.reduce(b)).collect())
        }
        Party::Server => {
            let shifted =
                power.iter().flat_map(|&p| (0..count).map(move |j| scaled_power(p, lowest + j as i64)));
            let numbers: Vec<(u64, u64)> = bits.zip(shifted).collect();
            let inputs: Vec<u64> =
                numbers.iter().map(|&(b, p)| ring.reduce(crate::mux::flip_sign(p, b))).collect();
            let c = Cross { tag, choices: &[], widths_in: &[], inputs: &inputs, widths_out: &widths };
            let own = sum(&cross::add(s, c).await?.own);
            let local = sum(&numbers.iter().map(|&(b, p)| b.wrapping_mul(p)).collect::<Vec<_>>());
            Ok(own.iter().zip(local).map(|(o, l)| ring.reduce(o.wrapping_add(l))).collect())
        }
    }
}

/// COTs that this party takes for products as sender and as receiver.
fn product_cots(s: &Session, n: usize) -> (usize, usize) {
    let all = n * (s.precision.power_frac() as usize + 1);
    match s.me {
        Party::Client => (0, all),
        Party::Server => (all, 0),
    }
}

/// Widths of the products with each bit of the client's power.
fn product_widths(precision: Precision) -> Vec<u32> {
    (0..=precision.power_frac()).map(|j| precision.squared().bits() - j).collect()
}

/// Products of the client's power with a number of which it has a share, `2 g` fraction bits, of
/// which this party has sent its part.
#[must_use]
struct Product {
    /// The client's power times its share.
    local: Zeroizing<Vec<u64>>,
    precision: Precision,
    products: cross::Begun<CotPads>,
}

/// Sends this party's part of `p0 B`: the client's part of `B` is its own to multiply, the server's
/// meets the bits of `p0` in COTs.
fn begin_product(
    s: &mut Session,
    cots: (SendCots, RecvCots),
    b: &[u64],
    power: &[u64],
) -> Result<Product, Error> {
    let (tag, bits, widths) =
        ("exp2/product", s.precision.power_frac() as usize + 1, product_widths(s.precision));
    let (mut choices, mut inputs, mut local) = (vec![], vec![], vec![0; b.len()]);
    match s.me {
        Party::Client => {
            choices = power.iter().flat_map(|p| (0..bits).map(move |j| (p >> j) as u8 & 1)).collect();
            local = b.iter().zip(power).map(|(b, p)| b.wrapping_mul(*p)).collect();
        }
        Party::Server => inputs = b.iter().flat_map(|&b| std::iter::repeat_n(b, bits)).collect(),
    }
    let c = Cross { tag, choices: &choices, widths_in: &widths, inputs: &inputs, widths_out: &widths };
    let products = cross::begin_add(s, cots, c)?;
    Ok(Product { local: Zeroizing::new(local), precision: s.precision, products })
}

impl Product {
    /// Receives the peer's part.
    async fn finish(self, s: &mut Session) -> Result<Share, Error> {
        let (precision, bits) = (self.precision, self.precision.power_frac() as usize + 1);
        let crossed = self.products.finish(s).await?;
        let part = match s.me {
            Party::Client => &crossed.got,
            Party::Server => &crossed.own,
        };
        let horner = |p: &[u64]| p.iter().enumerate().fold(0u64, |sum, (j, p)| sum.wrapping_add(p << j));
        let ring = precision.squared();
        let sums = self.local.iter().zip(part.chunks(bits));
        let data = sums.map(|(l, p)| ring.reduce(l.wrapping_add(horner(p)))).collect();
        Ok(Share::new(ring, 2 * precision.power_frac(), Shape::new(self.local.len(), 1), data))
    }
}

/// `2^(t / 2^f)` of the fraction `t` of `z`, in `[2^g, 2^(g + 1))`: a product of selected
/// constants, without a branch on `t`.
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
pub fn cost(precision: Precision, schedule: Schedule, n: usize, ring: u32) -> CostModel {
    let blocks = (0..n).step_by(BLOCK).map(|start| BLOCK.min(n - start));
    blocks.fold(CostModel::default(), |all, n| all + block_cost(precision, schedule, n, ring))
}

fn block_cost(precision: Precision, schedule: Schedule, n: usize, ring: u32) -> CostModel {
    let (squared, frac, entries) =
        (precision.squared().bits(), precision.power_frac(), precision.exponents());
    let widths = product_widths(precision);
    let product = CostModel::products((widths.len() * n, 0), (0, widths.iter().sum::<u32>() as usize * n));
    let (opened, windows) = (CostModel::mutual(&[12 * n], 0), crate::and::cost(2 * n, entries));
    let opened = opened + CostModel::spending(n, LOW, 12);
    let (mid, high) = UPPER;
    match schedule {
        Schedule::Throughput => {
            let opened =
                opened + CostModel::spending(n, mid, mid + high) + CostModel::spending(n, high, high);
            let (small, zero) = (precision.scaled().bits(), crate::and::cost(2 * n, 1));
            let scale = CostModel::products((entries as usize * n, 0), (0, (entries * small) as usize * n));
            let scale = scale + extend::cost(n, &[(small, squared)]);
            opened + zero + windows + scale + product + extend::cost(n, &[(squared - frac, ring)])
        }
        Schedule::Latency => {
            let opened = opened + CostModel::spending(n, mid + high, mid + high);
            let shifted = shifted_ring(precision, Ring::new(ring)).bits();
            let extension = extend::cost(n, &[(squared - frac, shifted)]);
            let selected = select::cost(n, ring, &left_shifts(precision));
            opened.in_parallel(product) + windows.in_parallel(extension) + selected
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use sotto_shares::Shape;

    use super::*;
    use crate::testing::{self, Lab, reals};

    pub(crate) async fn stock(lab: &mut Lab, n: usize) {
        lab.stock_cots(60 * n).await;
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
        assert_eq!(traffic.cost, cost(precision, schedule, n, ring.bits()).total());
        let stated = match schedule {
            Schedule::Throughput => (7, [843, 1032][precision as usize]),
            Schedule::Latency => (3, [2055, 2502][precision as usize]),
        };
        assert_eq!((traffic.cost.turns, cost(precision, schedule, 1, ring.bits()).bits()), stated);
        reals(&got, ring, precision.power_frac())
    }

    #[test]
    fn powers_are_within_four_units() {
        for (precision, schedule) in testing::modes() {
            let one = 1i64 << precision.frac();
            let z: Vec<i64> =
                (-18 * one..2 * one).step_by([1, 7][precision as usize] * testing::stride(5)).collect();
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

    /// Every integer part of the ring: the carry between the shares moves an exponent by one at
    /// most, so that `[-g - 2, -g - 1)` and `[2, 3)` may fall on either side.
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
