//! `[f(x)] <- [x]` for the activations of transformers: a piecewise-linear window, constant to its left, constant or `x` to its right (Pi_PWL).
//!
//! Inputs: `x` mod `2^22` with 12 fraction bits, so `|x| < 512`. The window `[-a, a)` is one digit of `X = (x + a) >> s`; the `u` bits above it say on
//! which side of the window `x` lies.
//!
//! | client                                   |                         | server     |
//! |------------------------------------------|-------------------------|------------|
//! | `X0 - r0`, `r` of three digits           | `<- activation/open ->` | `X1 - r1`  |
//! | low digit: one-hot of the segment and its carry `c`; upper digits: are they zero, are they positive, if `c = 0` and if `c = 1` | `<- and/cross ->` | the same |
//! | `mid`: the segment's line ([`crate::segments`]), in the same turn | `<- segments/cross ->` | the same |
//! | select by the carry: `in`, `right`       | `<- and/cross ->`       | the same   |
//! | `in mid`, `right x` or `right` times the constant | `<- mux/cross ->` | the same |
//! | both to the ring asked for, added        | `<- extend/cross ->`    | the same   |
//!
//! Five turns. By the latency schedule the upper digits are one: no ANDs for them, four turns, and a larger one-hot; and three turns to the ring of
//! the argument, or where the right is constant: the line is in a ring of which the result is a local truncation.
//!
//! | `f`               | window, segments | error inside | at the edges | right | bound on `x` | bits to ring 44 |
//! |-------------------|------------------|--------------|--------------|-------|-----|-----|
//! | SiLU              | `[-8, 8)`, 256   | 8e-4         | 2.9e-3       | `x`   | 503 | 751 |
//! | GELU, by erf or by tanh | `[-4, 4)`, 128 | 1.1e-3   | 4e-4         | `x`   | 507 | 714 |
//! | softplus          | `[-8, 8)`, 256   | 6e-4         | 4e-4         | `x`   | 503 | 749 |
//! | sigmoid           | `[-8, 8)`, 128   | 8e-4         | 4e-4         | 1     | 503 | 576 |
//! | tanh              | `[-4, 4)`, 256   | 6e-4         | 8e-4         | 1     | 507 | 677 |
//!
//! Beyond the edges it saturates exactly. The dropped carry moves the right edge: the last `a` below 512 count as left, so the bound
//! on `|x|` is what the range audit has to check. Leakage: none; every opened value is uniformly masked.
//! From the pool: one-hots of the digits, COTs. Source: `nonlinear.md` 3.1 in the design notes.

mod sides;

use sides::{Upper, sides_of_digit, sides_of_digits};
use sotto_ot::Selectors;
use sotto_shares::{Ring, Share, XorShare};

use crate::{
    Error, Schedule, Session,
    and::{self, and},
    cost::Bill,
    digit,
    extend::{self, extend_positive},
    mul::subtract,
    mux::mux,
    open, segments,
    tables::{self, Segments},
};

/// The ring of the argument: `|x| < 512` with 12 fraction bits.
pub const ARGUMENT: Ring = Ring::new(22);

const OPEN: &str = "activation/open";

/// Elements at a time.
const BLOCK: usize = 1 << 17;

/// Results of the activations with a linear part are above minus this, in units of 2^-12: one, for simplicity.
pub const LEAST: u64 = 1 << 12;

/// What is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x / (1 + exp(-x))`.
    Silu,
    /// `x (1 + erf(x / sqrt(2))) / 2`.
    Gelu,
    /// `x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2`.
    GeluTanh,
    /// `ln(1 + exp(x))`.
    Softplus,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `tanh(x)`.
    Tanh,
}

/// What an activation is to the right of its window.
enum Right {
    Identity,
    /// A number of ones above the value on the left.
    Ones(u64),
}

impl Activation {
    /// All of them, in the order of their tables.
    pub const ALL: [Activation; 6] = [
        Activation::Silu,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Softplus,
        Activation::Sigmoid,
        Activation::Tanh,
    ];

    /// The name of its table.
    pub fn name(self) -> &'static str {
        match self {
            Activation::Silu => "silu",
            Activation::Gelu => "gelu",
            Activation::GeluTanh => "gelu_tanh",
            Activation::Softplus => "softplus",
            Activation::Sigmoid => "sigmoid",
            Activation::Tanh => "tanh",
        }
    }

    /// The real function, and its limit at minus infinity.
    pub fn real(self, x: f64) -> f64 {
        if x == f64::NEG_INFINITY {
            return if self == Activation::Tanh { -1.0 } else { 0.0 };
        }
        let cubic = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
        match self {
            Activation::Silu => x / (1.0 + (-x).exp()),
            Activation::Gelu => x * 0.5 * (1.0 + libm::erf(x / std::f64::consts::SQRT_2)),
            Activation::GeluTanh => x * 0.5 * (1.0 + cubic.tanh()),
            Activation::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
            Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Activation::Tanh => x.tanh(),
        }
    }

    /// Half the window, and log2 of its segments.
    pub(crate) fn window(self) -> (f64, u32) {
        match self {
            Activation::Silu | Activation::Softplus => (8.0, 8),
            Activation::Gelu | Activation::GeluTanh => (4.0, 7),
            Activation::Sigmoid => (8.0, 7),
            Activation::Tanh => (4.0, 8),
        }
    }

    /// The largest magnitude for which the result is right, in real units.
    pub const fn bound(self) -> f64 {
        match self {
            Activation::Gelu | Activation::GeluTanh | Activation::Tanh => 507.0,
            Activation::Silu | Activation::Softplus | Activation::Sigmoid => 503.0,
        }
    }

    fn right(self) -> Right {
        match self {
            Activation::Sigmoid => Right::Ones(1),
            Activation::Tanh => Right::Ones(2),
            _ => Right::Identity,
        }
    }

    /// The table's function, from the exact segment, of `x` in units of `2^-12`: the functionality up to the carries of the shares.
    pub fn ideal(self, x: i64) -> f64 {
        let table = tables::activation(self);
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

/// The activation of numbers with 12 fraction bits, from any ring of at least 22 bits to `ring`; long tensors go in
/// blocks, which bounds memory.
///
/// # Panics
/// If the fraction bits are not 12, or a ring is too small.
pub async fn activate(s: &mut Session, f: Activation, x: &Share, ring: Ring) -> Result<Share, Error> {
    Ok(blocks(s, f, x, ring, None).await?.0)
}

/// As [`activate`], with other numbers extended to a larger ring in the first turn.
///
/// # Panics
/// As [`activate`], or if there are no numbers, or the other ring is not larger.
pub async fn activate_beside(
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
        let (y, beside) = activate_block(s, f, &block, ring, other.take()).await?;
        data.extend_from_slice(&y.data);
        extended = extended.or(beside);
    }
    Ok((Share::new(ring, x.frac, x.shape, data), extended))
}

async fn activate_block(
    s: &mut Session,
    f: Activation,
    x: &Share,
    ring: Ring,
    other: Option<(&Share, Ring)>,
) -> Result<(Share, Option<Share>), Error> {
    let table = tables::activation(f);
    let fit = &table.fit;
    assert_eq!(x.frac, fit.argument_frac, "fraction bits of an activation's argument");
    let x = x.reduce(ARGUMENT);
    let moved = x.add_public(s.me, (-fit.low) as u64);
    let digits = moved.truncate_reduce(fit.shift);

    let low = s.one_hots(fit.index_bits, digits.ring, x.len()).await?;
    let upper = Upper::draw(s, digits.ring.bits() - fit.index_bits, x.len()).await?;
    let mask: Vec<u64> =
        low.index().iter().zip(upper.index()).map(|(l, u)| l.wrapping_add(u << fit.index_bits)).collect();
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
    let located = low.rotate(&opened);
    let carries = digit::carries(&located, &opened, fit.index_bits);

    let above: Vec<u64> = opened.iter().map(|d| d >> fit.index_bits).collect();
    let line = (table, line_ring(f, s.schedule, ring));
    let (mid, inside, right) = sides_and_line(s, &moved, &located, &carries, &upper, &above, line).await?;
    let centred = mid.add_public(s.me, table.offset.wrapping_neg());
    let part = match f.right() {
        Right::Identity => x,
        Right::Ones(ones) => {
            let ring = Ring::new(ring.bits() - fit.argument_frac);
            Share::zeros(ring, 0, x.shape).add_public(s.me, ones)
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

/// The ring of the line: the table's, or, where turns matter and the other part needs no extension, one that makes the line's a local truncation.
fn line_ring(f: Activation, schedule: Schedule, ring: Ring) -> Ring {
    let table = tables::activation(f);
    let alone = matches!(f.right(), Right::Ones(_)) || ring == ARGUMENT;
    match schedule {
        Schedule::Latency if alone => Ring::new(ring.bits() + table.fit.value_frac - table.fit.argument_frac),
        _ => Ring::new(table.ring_bits),
    }
}

/// The line at the located segment, and whether the argument is inside the window, and whether it is to its right.
async fn sides_and_line(
    s: &mut Session,
    moved: &Share,
    located: &Selectors,
    carries: &XorShare,
    upper: &Upper,
    above: &[u64],
    (table, ring): (&Segments, Ring),
) -> Result<(Share, XorShare, XorShare), Error> {
    let n = moved.len();
    let line_cots = segments::cots(s.me, n, table);
    let (mid, sides) = match upper {
        Upper::One(digit) => {
            let [of_sides, of_line] = s.cots_for([(n, n), line_cots]).await?;
            let (without, change) = sides_of_digit(digit, above);
            let sides = and::begin(s, of_sides, carries, &change)?;
            let line = segments::begin(s, of_line, moved, located, table, ring)?;
            let sides = sides.finish(s).await?.xor(&without);
            (line.finish(s).await?, sides)
        }
        Upper::Two(mid, high) => {
            let [of_sides, of_line] = s.cots_for([(4 * n, 4 * n), line_cots]).await?;
            let (selectors, vectors, rest) = sides_of_digits(mid, high, above);
            let products = and::begin(s, of_sides, &selectors, &vectors)?;
            let line = segments::begin(s, of_line, moved, located, table, ring)?;
            let products = products.finish(s).await?.xor(&rest);
            let line = line.finish(s).await?;
            // For either carry whether it is zero, and whether it is not negative; zero is not negative.
            let case = |p: &[u64]| p[0] | (p[1] ^ p[0]) << 1;
            let without = products.words.chunks(4).map(|p| case(&p[..2])).collect();
            let with = products.words.chunks(4).map(|p| case(&p[2..])).collect();
            let (without, with) = (XorShare::new(2, without), XorShare::new(2, with));
            (line, and(s, carries, &without.xor(&with)).await?.xor(&without))
        }
    };
    Ok((mid, sides.bit(0), sides.bit(1)))
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
    let [mid, part] = if mid.ring == wide {
        [mid, part.duplicate()]
    } else if ring == part.ring {
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
pub fn bill(f: Activation, schedule: Schedule, n: usize, ring: u32) -> Bill {
    let blocks = (0..n).step_by(BLOCK).map(|start| BLOCK.min(n - start));
    blocks.fold(Bill::default(), |all, n| all + block_bill(f, schedule, n, ring))
}

fn block_bill(f: Activation, schedule: Schedule, n: usize, ring: u32) -> Bill {
    let table = tables::activation(f);
    let line_ring = line_ring(f, schedule, Ring::new(ring)).bits();
    let line = crate::segments::interpolation_bill(n, table, line_ring);
    let extra = table.fit.value_frac - table.fit.argument_frac;
    let (index, bits) = (table.fit.index_bits, 22 - table.fit.shift);
    let opened = Bill::mutual(&[bits as usize * n], 0) + Bill::spending(n, index, bits);
    let opened = opened + sides::masks_bill(schedule, n, bits - index);
    let wide = (table.ring_bits, ring + extra);
    let sides = match schedule {
        Schedule::Throughput => crate::and::bill(4 * n, 1).beside(line) + crate::and::bill(n, 2),
        Schedule::Latency => crate::and::bill(n, 2).beside(line),
    };
    let (part, extended) = match (f.right(), ring) {
        (Right::Ones(_), _) => (ring - 12, vec![wide]),
        (Right::Identity, 22) => (22, vec![wide]),
        (Right::Identity, _) => (22, vec![wide, (22, ring)]),
    };
    let all = opened + sides + crate::mux::bill(n, &[line_ring, part]);
    if line_ring == ring + extra { all } else { all + crate::extend::bill(n, &extended) }
}

#[cfg(test)]
pub(crate) mod tests {
    use sotto_shares::Shape;

    use super::{sides::upper_digits, *};
    use crate::testing::{self, Lab, reals};

    const RING: Ring = Ring::new(44);
    const UNIT: f64 = 1.0 / 4096.0;

    pub(crate) async fn stock(lab: &mut Lab, f: Activation, n: usize) {
        let fit = &tables::activation(f).fit;
        let upper = 22 - fit.shift - fit.index_bits;
        lab.stock_cots(50 * n).await;
        lab.stock_one_hots(fit.index_bits, Ring::new(22 - fit.shift), n).await;
        let (mid, high) = upper_digits(lab.me.schedule, upper);
        if mid > 0 {
            lab.stock_one_hots(mid, Ring::new(upper), n).await;
        }
        lab.stock_one_hots(high, Ring::new(high), n).await;
    }

    /// Of raw arguments.
    fn evaluated(f: Activation, schedule: Schedule, x: &[i64], ring: Ring) -> Vec<f64> {
        let n = x.len();
        let raw: Vec<u64> = x.iter().map(|&x| RING.reduce(x as u64)).collect();
        let (got, traffic) = testing::run(async |lab| {
            lab.me.schedule = schedule;
            let x = lab.share(&raw, RING, 12, Shape::new(n, 1));
            stock(lab, f, n).await;
            lab.measure(async |s| activate(s, f, &x, ring).await).await
        });
        assert_eq!(traffic.cost, bill(f, schedule, n, ring.bits()).cost());
        let local = line_ring(f, schedule, ring).bits() > tables::activation(f).ring_bits;
        let turns = if schedule == Schedule::Throughput { 5 } else { 4 };
        assert_eq!(traffic.cost.turns, turns - u64::from(local));
        reals(&got, ring, 12)
    }

    fn window(f: Activation, around: i64) -> Vec<i64> {
        let reach = f.window().0 as i64 + around;
        (-reach * 4096..reach * 4096).collect()
    }

    #[test]
    fn every_argument_around_the_window() {
        for f in Activation::ALL {
            let x = window(f, 1);
            let edge = f.window().0 - 0.1;
            let (mut inside, mut edges, mut ideally) = (0f64, 0f64, 0f64);
            for (&x, y) in x.iter().zip(evaluated(f, Schedule::Throughput, &x, RING)) {
                let real = x as f64 * UNIT;
                let error = (y - f.real(real)).abs();
                ideally = ideally.max((y - f.ideal(x)).abs());
                match real.abs() < edge {
                    true => inside = inside.max(error),
                    false => edges = edges.max(error),
                }
            }
            let bits = bill(f, Schedule::Throughput, 1, 44).bits();
            eprintln!(
                "{}: {inside:.2e} inside, {edges:.2e} at the edges, {ideally:.2e} from the table, {bits} bits",
                f.name()
            );
            let stated = [8e-4, 1.1e-3, 1.1e-3, 6e-4, 8e-4, 6e-4];
            let at_edges = [2.9e-3, 4e-4, 4e-4, 4e-4, 4e-4, 8e-4];
            assert!(inside < stated[f as usize] && edges < at_edges[f as usize], "{}", f.name());
            assert_eq!(bits, [751, 714, 714, 749, 576, 677][f as usize], "{}", f.name());
        }
    }

    #[test]
    fn both_schedules_and_the_ring_of_the_argument_agree() {
        for f in Activation::ALL {
            let x: Vec<i64> = window(f, 1).into_iter().step_by(17).collect();
            let saved = evaluated(f, Schedule::Latency, &x, ARGUMENT);
            for (x, y) in x.iter().zip(&saved) {
                assert!((y - f.real(*x as f64 * UNIT)).abs() < 2.9e-3, "{} of {x}: {y}", f.name());
            }
            if matches!(f.right(), Right::Identity) {
                assert!(saved.iter().all(|&y| y * 4096.0 >= -(LEAST as f64)));
            }
        }
    }

    #[test]
    fn other_numbers_are_extended_beside() {
        let (x, y): (Vec<u64>, Vec<u64>) =
            ((0..50).map(|i| i << 9).collect(), (0..70).map(|i| i * i).collect());
        let ((got, other), traffic) = testing::run(async |lab| {
            stock(lab, Activation::Silu, 50).await;
            let (x, y) = (lab.row(&x, ARGUMENT).with_frac(12), lab.row(&y, Ring::new(28)));
            let both = async |s: &mut Session| {
                let [x, y] = activate_beside(s, Activation::Silu, &x, ARGUMENT, (&y, RING)).await?;
                Ok((x, y))
            };
            lab.measure(both).await
        });
        assert_eq!((got.len(), other), (50, y));
        let beside =
            crate::extend::bill(70, &[(28, 44)]).beside(bill(Activation::Silu, Schedule::Throughput, 50, 22));
        assert_eq!(traffic.cost, beside.cost());
    }

    #[test]
    fn saturation_is_exact_up_to_the_bound() {
        for f in Activation::ALL {
            for schedule in [Schedule::Throughput, Schedule::Latency] {
                let (reach, bound) = (f.window().0 as i64, f.bound() as i64);
                let left =
                    (-512 * 4096..-(reach + 1) * 4096).step_by(1999).chain([-512 * 4096, -511 * 4096 - 1]);
                let end = (512 - reach) * 4096 - 256;
                let right = ((reach + 1) * 4096..bound * 4096).step_by(1999).chain([bound * 4096, end]);
                let (left, right): (Vec<i64>, Vec<i64>) = (left.collect(), right.collect());
                assert!(
                    evaluated(f, schedule, &left, RING).into_iter().all(|y| y == f.real(f64::NEG_INFINITY))
                );
                let got = evaluated(f, schedule, &right, RING);
                assert!(right.iter().zip(got).all(|(&x, y)| y == f.ideal(x)));
                // The window's shift takes the last ones: what the bound is for.
                let beyond: Vec<i64> = (end + 512..512 * 4096).step_by(999).collect();
                let beyond = evaluated(f, schedule, &beyond, RING);
                assert!(beyond.into_iter().all(|y| y == f.real(f64::NEG_INFINITY)));
            }
        }
    }
}
