//! `[f(x)] <- [x]` for the activations of transformers: a piecewise-linear window, constant to its
//! left, constant or `x` to its right (Pi_PWL).
//!
//! Inputs: `x` mod `2^22` with 12 fraction bits, or `2^24` with 14 ([`Precision`]), so `|x| < 512`.
//! The window `[-a, a)` is one digit of `X = (x + a) >> s`; the `u` bits above it say on which side
//! of the window `x` lies.
//!
//! | client | | server |
//! |---|---|---|
//! | `X0 - r0`, `r` of three digits | `<- activation/open ->` | `X1 - r1` |
//! | low digit: the segment's one-hot, carry `c` | | the same |
//! | upper digits for either `c`: zero? positive? | `<- and/cross ->` | the same |
//! | same turn: `mid`, the line ([`crate::segments`]) | `<- segments/cross ->` | the same |
//! | select by the carry: `in`, `right` | `<- and/cross ->` | the same |
//! | `in mid`, `right x` or `right` times the constant | `<- mux/cross ->` | the same |
//! | both to the ring asked for, added | `<- extend/cross ->` | the same |
//!
//! Five turns. By the latency schedule the upper digits are one: no ANDs for them, four turns, and
//! a larger one-hot; and three turns to the ring of the argument, or where the right is constant:
//! the line is in a ring of which the result is a local truncation.
//!
//! | `f` | window, segments | error inside | at edges | right | `x` below | bits to ring 44 |
//! |---|---|---|---|---|---|---|
//! | SiLU | `[-8, 8)`, 256 | 8e-4 | 2.9e-3 | `x` | 503 | 751 |
//! | GELU, by erf or by tanh | `[-4, 4)`, 128 | 1.1e-3 | 4e-4 | `x` | 507 | 714 |
//! | softplus | `[-8, 8)`, 256 | 6e-4 | 4e-4 | `x` | 503 | 749 |
//! | sigmoid | `[-8, 8)`, 128 | 8e-4 | 4e-4 | 1 | 503 | 576 |
//! | tanh | `[-4, 4)`, 256 | 6e-4 | 8e-4 | 1 | 507 | 677 |
//! | `4 tanh(x / 4)`, a soft cap | `[-16, 16)`, 512 | 6e-4 | 2.9e-3 | 4 | 495 | 746 |
//!
//! By high precision there are twice as many segments, and inside the window errors are a third or
//! less: 2.4e-4 (SiLU), 3e-4, 1.8e-4, 2.6e-4, 1.7e-4, 1.7e-4, for 896, 855, 892, 693, 806, 848 bits
//! to ring 46. The edges are where they were: 2.8e-3 (SiLU), 2e-4, 4e-4, 4e-4, 7.2e-4, 2.8e-3.
//! Where bits are saved, the lowest bit of the window's digit is apart, for a one-hot of half the
//! size: then an AND by it comes in the second turn, and the line in the third.
//!
//! Beyond the edges it saturates exactly. The dropped carry moves the right edge: the last `a`
//! below 512 count as left, so the bound on `|x|` is what the range audit has to check. Leakage:
//! none; every opened value is uniformly masked. From stock: one-hots of the digits, COTs. Source:
//! this project.

mod sides;
mod window;

use sides::{Upper, sides_of_digit, sides_of_digits};
use sotto_shares::{Ring, Share, XorShare};

use crate::{
    Error, Precision, Schedule, Session,
    and::{self, and},
    cost::CostModel,
    extend::{self, extend_positive},
    mul::subtract,
    mux::mux,
    open, relu, segments,
    tables::{self, Segments},
};
use window::{Place, Window, is_split};

pub use crate::curve::{Activation, CAP};

const OPEN: &str = "activation/open";

/// Elements at a time.
const BLOCK: usize = 1 << 17;

/// Results of the activations with a linear part are above minus this, in units of the result: one,
/// for simplicity.
pub const fn least(precision: Precision) -> u64 {
    1 << precision.frac()
}

/// What an activation is to the right of its window.
enum Right {
    Identity,
    /// A number of ones above the value on the left.
    Ones(u64),
}

impl Activation {
    fn right(self) -> Right {
        match self {
            Activation::Sigmoid => Right::Ones(1),
            Activation::Tanh => Right::Ones(2),
            Activation::SoftCap => Right::Ones(8),
            _ => Right::Identity,
        }
    }

    /// The table's function, from the exact segment, of `x` in units of its last fraction bit: the
    /// functionality up to the carries of the shares.
    pub fn ideal(self, precision: Precision, x: i64) -> f64 {
        if self == Activation::Relu {
            return relu::ideal(x) as f64 * (-f64::from(precision.frac())).exp2();
        }
        let table = tables::activation(precision, self);
        let z = x - table.fit.low;
        let window = 1i64 << (table.fit.index_bits + table.fit.shift);
        let unit = |frac: u32| (-(frac as f64)).exp2();
        let above_left = if z < 0 {
            0.0
        } else if z >= window {
            match self.right() {
                Right::Identity => x as f64 * unit(table.fit.argument_frac),
                Right::Ones(ones) => ones as f64,
            }
        } else {
            let t = z as u64 & ((1 << table.fit.shift) - 1);
            table.line((z >> table.fit.shift) as usize, t) as f64 * unit(table.fit.value_frac)
        };
        above_left + self.real(f64::NEG_INFINITY)
    }
}

/// The activation of numbers with as many fraction bits as activations have, from any ring not
/// smaller than the argument's to `ring`; long tensors go in blocks, which bounds memory.
///
/// # Panics
/// If the fraction bits are others, or a ring is too small.
pub async fn activate(s: &mut Session, f: Activation, x: &Share, ring: Ring) -> Result<Share, Error> {
    if f == Activation::Relu {
        return relu::relu(s, &x.reduce(s.precision.argument()), ring).await;
    }
    Ok(blocks(s, f, x, ring, None).await?.0)
}

/// As [`activate`], with other numbers extended to a larger ring in the first turn.
///
/// # Panics
/// As [`activate`], or if there are no numbers, the other ring is not larger, or it is ReLU.
pub async fn activate_in_parallel(
    s: &mut Session,
    f: Activation,
    x: &Share,
    ring: Ring,
    other: (&Share, Ring),
) -> Result<[Share; 2], Error> {
    let (x, other) = blocks(s, f, x, ring, Some(other)).await?;
    Ok([x, other.expect("the other numbers were given")])
}

async fn blocks(
    s: &mut Session,
    f: Activation,
    x: &Share,
    ring: Ring,
    mut other: Option<(&Share, Ring)>,
) -> Result<(Share, Option<Share>), Error> {
    let (mut data, mut extended) = (Vec::with_capacity(x.len()), None);
    for block in x.blocks(BLOCK) {
        let (y, numbers) = activate_block(s, f, &block, ring, other.take()).await?;
        data.extend_from_slice(y.data());
        extended = extended.or(numbers);
    }
    Ok((Share::new(ring, x.frac(), x.shape(), data), extended))
}

async fn activate_block(
    s: &mut Session,
    f: Activation,
    x: &Share,
    ring: Ring,
    other: Option<(&Share, Ring)>,
) -> Result<(Share, Option<Share>), Error> {
    let (precision, table) = (s.precision, tables::activation(s.precision, f));
    let fit = &table.fit;
    assert_eq!(x.frac(), fit.argument_frac, "fraction bits of an activation's argument");
    let x = x.reduce(precision.argument());
    let moved = x.add_public(s.me, (-fit.low) as u64);
    let digits = moved.truncate_reduce(fit.shift);

    let window = Window::draw(s, fit.index_bits, digits.ring(), x.len()).await?;
    let upper = Upper::draw(s, digits.ring().bits() - fit.index_bits, x.len()).await?;
    let pairs = window.index().into_iter().zip(upper.index());
    let mask: Vec<u64> = pairs.map(|(w, u)| w.wrapping_add(u << fit.index_bits)).collect();
    let cots = extend::cots(s.me, other.map_or(0, |(y, _)| y.len()));
    let cots = s.cots(cots.0, cots.1).await?;
    let masked = subtract(&digits, &mask);
    open::send(s, OPEN, [&masked])?;
    let other = other.map(|(y, to)| extend::begin_signed(s, cots, y, to)).transpose()?;
    let [opened] = open::receive(s, OPEN, [&masked]).await?;
    let other = match other {
        None => None,
        Some(begun) => Some(begun.finish(s).await?),
    };
    let place = sotto_net::compute(|| window.locate(&opened, table));

    let above: Vec<u64> = opened.iter().map(|d| d >> fit.index_bits).collect();
    let line = (table, line_ring(f, precision, s.schedule, ring));
    let (mid, inside, right) = sides_and_line(s, &moved, place, &upper, &above, line).await?;
    let centred = mid.add_public(s.me, table.offset.wrapping_neg());
    let part = match f.right() {
        Right::Identity => x,
        Right::Ones(ones) => {
            let ring = Ring::new(ring.bits() - fit.argument_frac);
            Share::zeros(ring, 0, x.shape()).add_public(s.me, ones)
        }
    };
    let [mid, part] = mux(s, [(&inside, &centred), (&right, &part)]).await?;
    let part = match f.right() {
        Right::Identity => part,
        Right::Ones(_) => part.widen_left(fit.argument_frac),
    };
    let left = (f.real(f64::NEG_INFINITY) * f64::from(1 << fit.argument_frac)) as i64;
    Ok((finish(s, mid, &part, table, ring).await?.add_public(s.me, left as u64), other))
}

/// The ring of the line: the table's, or, where turns matter and the other part needs no extension,
/// one that makes the line's a local truncation.
fn line_ring(f: Activation, precision: Precision, schedule: Schedule, ring: Ring) -> Ring {
    let table = tables::activation(precision, f);
    let alone = matches!(f.right(), Right::Ones(_)) || ring == precision.argument();
    match schedule {
        Schedule::Latency if alone => Ring::new(ring.bits() + table.fit.value_frac - table.fit.argument_frac),
        _ => Ring::new(table.ring_bits),
    }
}

/// The line at the located segment, and whether the argument is inside the window, and whether it
/// is to its right.
async fn sides_and_line(
    s: &mut Session,
    moved: &Share,
    place: Place,
    upper: &Upper,
    above: &[u64],
    (table, ring): (&Segments, Ring),
) -> Result<(Share, XorShare, XorShare), Error> {
    let n = moved.len();
    let line_cots = segments::cots(s.me, n, table);
    let (line, sides) = match (upper, &place.choice) {
        (Upper::One(digit), _) => {
            let [of_sides, of_line] = s.cots_for([(n, n), line_cots]).await?;
            let (without, change) = sides_of_digit(digit, above);
            let sides = and::begin(s, of_sides, &place.carries, &change)?;
            let line = segments::begin(s, of_line, moved, place.entries, table, ring)?;
            let sides = sides.finish(s).await?.xor(&without);
            (line.finish(s).await?, sides)
        }
        (Upper::Two(mid, high), None) => {
            let [of_sides, of_line] = s.cots_for([(4 * n, 4 * n), line_cots]).await?;
            let (selectors, vectors, rest) = sides_of_digits(mid, high, above);
            let products = and::begin(s, of_sides, &selectors, &vectors)?;
            let line = segments::begin(s, of_line, moved, place.entries, table, ring)?;
            let products = products.finish(s).await?.xor(&rest);
            let line = line.finish(s).await?;
            let (without, change) = by_carry(&products);
            (line, and(s, &place.carries, &change).await?.xor(&without))
        }
        (Upper::Two(mid, high), Some((masks, changes))) => {
            let [of_upper, of_place, of_line, of_sides] =
                s.cots_for([(4 * n, 4 * n), (n, n), line_cots, (n, n)]).await?;
            let (selectors, vectors, rest) = sides_of_digits(mid, high, above);
            let products = and::begin(s, of_upper, &selectors, &vectors)?;
            let changes = and::begin(s, of_place, masks, changes)?;
            let products = products.finish(s).await?.xor(&rest);
            let changes = changes.finish(s).await?;
            let place = place.chosen(&changes);
            let (without, change) = by_carry(&products);
            let sides = and::begin(s, of_sides, &place.carries, &change)?;
            let line = segments::begin(s, of_line, moved, place.entries, table, ring)?;
            let sides = sides.finish(s).await?.xor(&without);
            (line.finish(s).await?, sides)
        }
    };
    Ok((line, sides.bit(0), sides.bit(1)))
}

/// From the upper digits' products: for either carry whether they are zero, and whether positive;
/// without a carry, and what a carry changes.
fn by_carry(products: &XorShare) -> (XorShare, XorShare) {
    // They say whether not negative; zero is not negative.
    let case = |p: &[u64]| p[0] | (p[1] ^ p[0]) << 1;
    let without = products.words().chunks(4).map(|p| case(&p[..2])).collect();
    let with = products.words().chunks(4).map(|p| case(&p[2..])).collect();
    let (without, with) = (XorShare::new(2, without), XorShare::new(2, with));
    let change = without.xor(&with);
    (without, change)
}

/// The two parts in the ring asked for, added.
async fn finish(
    s: &mut Session,
    mid: Share,
    part: &Share,
    table: &Segments,
    ring: Ring,
) -> Result<Share, Error> {
    let extra = table.fit.value_frac - table.fit.argument_frac;
    let mid = mid.add_public(s.me, table.offset);
    let wide = Ring::new(ring.bits() + extra);
    let [mid, part] = if mid.ring() == wide {
        [mid, part.duplicate()]
    } else if ring == part.ring() {
        let [mid] = extend_positive(s, [(&mid, wide)]).await?;
        [mid, part.duplicate()]
    } else {
        extend_positive(s, [(&mid, wide), (part, ring)]).await?
    };
    // Raised by all but one of the units dropped, zero stays zero: saturation is exact.
    let raise = (1u64 << extra) - 1;
    let mid = mid.add_public(s.me, raise.wrapping_sub(table.offset)).truncate_reduce(extra);
    Ok(&mid + &part)
}

/// What is sent for `n` arguments into a ring of `ring` bits, and which COTs it takes.
pub fn cost(f: Activation, precision: Precision, schedule: Schedule, n: usize, ring: u32) -> CostModel {
    if f == Activation::Relu {
        return relu::cost(precision, schedule, n, ring);
    }
    let blocks = (0..n).step_by(BLOCK).map(|start| BLOCK.min(n - start));
    blocks.fold(CostModel::default(), |all, n| all + block_cost(f, precision, schedule, n, ring))
}

fn block_cost(f: Activation, precision: Precision, schedule: Schedule, n: usize, ring: u32) -> CostModel {
    let (table, argument) = (tables::activation(precision, f), precision.argument().bits());
    let line_ring = line_ring(f, precision, schedule, Ring::new(ring)).bits();
    let line = crate::segments::interpolation_cost(n, table, line_ring);
    let extra = table.fit.value_frac - table.fit.argument_frac;
    let (index, bits) = (table.fit.index_bits, argument - table.fit.shift);
    let opened =
        CostModel::mutual(&[bits as usize * n], 0) + window::masks_cost(precision, schedule, n, index, bits);
    let opened = opened + sides::masks_cost(schedule, n, bits - index);
    let wide = (table.ring_bits, ring + extra);
    let sides = match schedule {
        Schedule::Throughput if is_split(precision, schedule) => {
            let entries = crate::and::cost(n, table.value_bits + table.slope_bits + 1);
            crate::and::cost(4 * n, 1).in_parallel(entries) + crate::and::cost(n, 2).in_parallel(line)
        }
        Schedule::Throughput => crate::and::cost(4 * n, 1).in_parallel(line) + crate::and::cost(n, 2),
        Schedule::Latency => crate::and::cost(n, 2).in_parallel(line),
    };
    let (part, extended) = match f.right() {
        Right::Ones(_) => (ring - table.fit.argument_frac, vec![wide]),
        Right::Identity if ring == argument => (argument, vec![wide]),
        Right::Identity => (argument, vec![wide, (argument, ring)]),
    };
    let all = opened + sides + crate::mux::cost(n, &[line_ring, part]);
    if line_ring == ring + extra { all } else { all + crate::extend::cost(n, &extended) }
}

#[cfg(test)]
pub(crate) mod tests {
    use sotto_shares::Shape;

    use super::{sides::upper_digits, *};
    use crate::testing::{self, Lab, reals};

    pub(crate) async fn stock(lab: &mut Lab, f: Activation, n: usize) {
        let (argument, fit) =
            (lab.me.precision.argument().bits(), &tables::activation(lab.me.precision, f).fit);
        let upper = argument - fit.shift - fit.index_bits;
        lab.stock_cots(60 * n).await;
        let split = u32::from(is_split(lab.me.precision, lab.me.schedule));
        if split == 1 {
            lab.stock_one_hots(1, Ring::new(argument - fit.shift), n).await;
        }
        lab.stock_one_hots(fit.index_bits - split, Ring::new(argument - fit.shift - split), n).await;
        let (mid, high) = upper_digits(lab.me.schedule, upper);
        if mid > 0 {
            lab.stock_one_hots(mid, Ring::new(upper), n).await;
        }
        lab.stock_one_hots(high, Ring::new(high), n).await;
    }

    /// Of raw arguments.
    fn evaluated(
        f: Activation,
        (precision, schedule): (Precision, Schedule),
        x: &[i64],
        ring: Ring,
    ) -> Vec<f64> {
        let (n, from, frac) = (x.len(), precision.linear(), precision.frac());
        let raw: Vec<u64> = x.iter().map(|&x| from.reduce(x as u64)).collect();
        let (got, traffic) = testing::run(async |lab| {
            (lab.me.schedule, lab.me.precision) = (schedule, precision);
            let x = lab.share(&raw, from, frac, Shape::new(n, 1));
            stock(lab, f, n).await;
            lab.measure(async |s| activate(s, f, &x, ring).await).await
        });
        assert_eq!(traffic.cost, cost(f, precision, schedule, n, ring.bits()).total());
        let local =
            line_ring(f, precision, schedule, ring).bits() > tables::activation(precision, f).ring_bits;
        let turns = if schedule == Schedule::Throughput { 5 } else { 4 };
        assert_eq!(traffic.cost.turns, turns - u64::from(local));
        reals(&got, ring, frac)
    }

    /// The window, and as much on either side of it as `around` says.
    fn window(f: Activation, precision: Precision, around: i64) -> impl Iterator<Item = i64> {
        let reach = (f.window().0 as i64 + around) << precision.frac();
        -reach..reach
    }

    #[test]
    fn every_argument_around_the_window() {
        for (precision, f) in Precision::ALL.into_iter().flat_map(|p| Activation::ALL.map(|f| (p, f))) {
            // Of the finer arguments every eleventh, which meets all offsets of segments.
            let x: Vec<i64> =
                window(f, precision, 1).step_by([1, 11][precision as usize] * testing::stride(7)).collect();
            let (ring, edge) = (precision.linear(), f.window().0 - 0.1);
            let (mut inside, mut edges, mut ideally) = (0f64, 0f64, 0f64);
            for (&x, y) in x.iter().zip(evaluated(f, (precision, Schedule::Throughput), &x, ring)) {
                let real = x as f64 * (-f64::from(precision.frac())).exp2();
                let error = (y - f.real(real)).abs();
                ideally = ideally.max((y - f.ideal(precision, x)).abs());
                match real.abs() < edge {
                    true => inside = inside.max(error),
                    false => edges = edges.max(error),
                }
            }
            let bits = cost(f, precision, Schedule::Throughput, 1, ring.bits()).bits();
            eprintln!(
                "{}, {precision:?}: {inside:.2e} inside, {edges:.2e} at the edges, {ideally:.2e} from the table, {bits} bits",
                f.name()
            );
            let (i, p) = (f as usize, precision as usize);
            const BITS: [[usize; 7]; 2] =
                [[751, 714, 714, 749, 576, 677, 746], [896, 855, 855, 892, 693, 806, 848]];
            let stated = [
                [8e-4, 1.1e-3, 1.1e-3, 6e-4, 8e-4, 6e-4, 6e-4],
                [2.4e-4, 3e-4, 3e-4, 1.8e-4, 2.6e-4, 1.7e-4, 1.7e-4],
            ];
            let at_edges = [
                [2.9e-3, 4e-4, 4e-4, 4e-4, 4e-4, 8e-4, 2.9e-3],
                [2.8e-3, 2e-4, 2e-4, 4e-4, 4e-4, 7.2e-4, 2.8e-3],
            ];
            assert!(inside < stated[p][i] && edges < at_edges[p][i], "{}, {precision:?}", f.name());
            assert_eq!(bits, BITS[p][i], "{}", f.name());
        }
    }

    #[test]
    fn both_schedules_and_the_ring_of_the_argument_agree() {
        for (precision, f) in Precision::ALL.into_iter().flat_map(|p| Activation::ALL.map(|f| (p, f))) {
            let x: Vec<i64> = window(f, precision, 1).step_by([17, 67][precision as usize]).collect();
            let saved = evaluated(f, (precision, Schedule::Latency), &x, precision.argument());
            let one = f64::from(precision.frac()).exp2();
            for (x, y) in x.iter().zip(&saved) {
                assert!((y - f.real(*x as f64 / one)).abs() < 2.9e-3, "{} of {x}: {y}", f.name());
            }
            if matches!(f.right(), Right::Identity) {
                assert!(saved.iter().all(|&y| y * one >= -(least(precision) as f64)));
            }
        }
    }

    #[test]
    fn other_numbers_are_extended_beside() {
        let (x, y): (Vec<u64>, Vec<u64>) =
            ((0..50).map(|i| i << 9).collect(), (0..70).map(|i| i * i).collect());
        let (precision, wide) = (Precision::Default, Ring::new(44));
        let ((got, other), traffic) = testing::run(async |lab| {
            stock(lab, Activation::Silu, 50).await;
            let (x, y) = (lab.row(&x, precision.argument()).with_frac(12), lab.row(&y, Ring::new(28)));
            let both = async |s: &mut Session| {
                let ring = precision.argument();
                let [x, y] = activate_in_parallel(s, Activation::Silu, &x, ring, (&y, wide)).await?;
                Ok((x, y))
            };
            lab.measure(both).await
        });
        assert_eq!((got.len(), other), (50, y));
        let activated = cost(Activation::Silu, precision, Schedule::Throughput, 50, 22);
        let both = crate::extend::cost(70, &[(28, 44)]).in_parallel(activated);
        assert_eq!(traffic.cost, both.total());
    }

    #[test]
    fn saturation_is_exact_up_to_the_bound() {
        // One with a linear part and one without, or all.
        let functions = Activation::ALL.into_iter().step_by(testing::stride(5));
        for (f, mode) in functions.flat_map(|f| testing::modes().map(move |m| (f, m))) {
            let (precision, ring) = (mode.0, mode.0.linear());
            let (reach, bound, one) = (f.window().0 as i64, f.bound() as i64, 1i64 << precision.frac());
            let step = 1999 << (precision.frac() - 12);
            let left = (-512 * one..-(reach + 1) * one).step_by(step).chain([-512 * one, -511 * one - 1]);
            let end = (512 - reach) * one - one / 16;
            let right = ((reach + 1) * one..bound * one).step_by(step).chain([bound * one, end]);
            let (left, right): (Vec<i64>, Vec<i64>) = (left.collect(), right.collect());
            let of_left = evaluated(f, mode, &left, ring);
            assert!(of_left.into_iter().all(|y| y == f.real(f64::NEG_INFINITY)));
            let got = evaluated(f, mode, &right, ring);
            assert!(right.iter().zip(got).all(|(&x, y)| y == f.ideal(precision, x)));
            // The window's shift takes the last ones: what the bound is for.
            let beyond: Vec<i64> = (end + one / 8..512 * one).step_by(step / 2).collect();
            let beyond = evaluated(f, mode, &beyond, ring);
            assert!(beyond.into_iter().all(|y| y == f.real(f64::NEG_INFINITY)));
        }
    }
}
