//! `[SiLU(x)] <- [x]`: a piecewise-linear window, zero to its left, `x` to its right (Pi_PWL).
//!
//! Inputs: `x` mod `2^22` with 12 fraction bits, so `|x| < 512`. The window `[-8, 8)` is one digit of
//! `X = (x + 8) >> s`; the digit above it says on which side of the window `x` lies.
//!
//! | client                                   |                        | server     |
//! |------------------------------------------|------------------------|------------|
//! | `X0 - r0`, `r` of two digits             | `<- activation/open ->`| `X1 - r1`  |
//! | low digit: one-hot of the segment and its carry; high digit: `in`, `right` for carry 0 and 1 | | the same |
//! | select by the carry                      | `<- and/* ->`          | the same   |
//! | `mid`: the segment's line                | `<- segments/* ->`     | the same   |
//! | `in mid`, `right x`                      | `<- mux/* ->`          | the same   |
//! | both to the ring asked for, added        | `<- extend/* ->`       | the same   |
//!
//! Nine turns; 735 bits an element to a ring of 44 bits, 690 to its own of 22, beside its COTs and one-hots. Error: 7.6e-4 inside the window,
//! 2.9e-3 at its edges, where SiLU is not yet 0 or `x`; saturation beyond, exact. The dropped carry moves the right edge: `x` in `[504, 512)` counts as left, so the bound
//! on `|x|` is 503, which the range audit checks. Leakage: none; every opened value is uniformly masked.
//! From the pool: one-hots of 8 and 6 bits, COTs. Source: `nonlinear.md` 3.1 in the design notes.

use sotto_shares::{Ring, Share, XorShare};

use crate::{
    Error, Session,
    and::and,
    digit,
    extend::extend_positive,
    mul::subtract,
    mux::mux,
    open::open,
    segments::interpolate,
    tables::{self, Segments},
};

/// The ring of the argument: `|x| < 512` with 12 fraction bits.
pub const ARGUMENT: Ring = Ring::new(22);

/// Elements at a time.
const BLOCK: usize = 1 << 17;

/// Results are above minus this, in units of 2^-12: one, for simplicity.
pub const LEAST: u64 = 1 << 12;

/// The largest magnitude for which the result is SiLU, in real units.
pub const BOUND: f64 = 503.0;

/// SiLU of numbers with 12 fraction bits, from any ring of at least 22 bits to `ring`; long tensors go in
/// blocks, which bounds memory.
///
/// # Panics
/// If the fraction bits are not 12, or a ring is too small.
pub async fn silu(s: &mut Session, x: &Share, ring: Ring) -> Result<Share, Error> {
    let mut data = Vec::with_capacity(x.len());
    for block in x.blocks(BLOCK) {
        data.extend_from_slice(&silu_block(s, &block, ring).await?.data);
    }
    Ok(Share::new(ring, x.frac, x.shape, data))
}

async fn silu_block(s: &mut Session, x: &Share, ring: Ring) -> Result<Share, Error> {
    let table = tables::silu();
    let fit = &table.fit;
    assert_eq!(x.frac, fit.argument_frac, "fraction bits of an activation's argument");
    let x = x.reduce(ARGUMENT);
    let moved = x.add_public(s.me, (-fit.low) as u64);
    let digits = moved.truncate_reduce(fit.shift);
    let high_bits = digits.ring.bits() - fit.index_bits;

    let low = s.one_hots(fit.index_bits, digits.ring, x.len()).await?;
    let high = s.one_hots(high_bits, Ring::new(high_bits), x.len()).await?;
    let mask: Vec<u64> =
        low.index().iter().zip(high.index()).map(|(l, h)| l.wrapping_add(h << fit.index_bits)).collect();
    let [opened] = open(s, "activation/open", [&subtract(&digits, &mask)]).await?;
    let located = low.rotate(&opened);

    let carries = digit::carries(&located, &opened, fit.index_bits);
    let planes: Vec<[u64; 4]> = (0..1 << high_bits).map(|d| side_planes(d, high_bits)).collect();
    let sides = high.words().iter().zip(&opened).map(|(&e, &d)| {
        let planes = planes[(d >> fit.index_bits) as usize];
        (0..4).fold(0, |w, c| w | digit::parity(e & planes[c]) << c)
    });
    let sides: Vec<u64> = sides.collect();
    let without = XorShare::new(2, sides.iter().map(|w| w & 3).collect());
    let change = XorShare::new(2, sides.iter().map(|w| (w ^ (w >> 2)) & 3).collect());
    let sides = and(s, &carries, &change).await?.xor(&without);
    let (inside, right) = (sides.bit(0), sides.bit(1));

    let mid = interpolate(s, &moved, &located, table).await?;
    let centred = mid.add_public(s.me, table.offset.wrapping_neg());
    let [mid, linear] = mux(s, [(&inside, &centred), (&right, &x)]).await?;
    finish(s, mid, &linear, table, ring).await
}

/// The two parts in the ring asked for, added.
async fn finish(
    s: &mut Session,
    mid: Share,
    linear: &Share,
    table: &Segments,
    ring: Ring,
) -> Result<Share, Error> {
    let extra = table.fit.value_frac - table.fit.argument_frac;
    let mid = mid.add_public(s.me, table.offset);
    let wide = Ring::new(ring.bits() + extra);
    let [mid, linear] = if ring == linear.ring {
        let [mid] = extend_positive(s, [(&mid, wide)]).await?;
        [mid, linear.duplicate()]
    } else {
        extend_positive(s, [(&mid, wide), (linear, ring)]).await?
    };
    // Raised by all but one of the units dropped, zero stays zero: saturation is exact.
    let raise = (1u64 << extra) - 1;
    let mid = mid.add_public(s.me, raise.wrapping_sub(table.offset)).truncate_reduce(extra);
    Ok(&mid + &linear)
}

/// Masks over the high mask digit `h`, for carry 0 and then carry 1: inside means `h + opened + carry = 0`, right means
/// that it lies in the positive half.
fn side_planes(opened: u64, bits: u32) -> [u64; 4] {
    let size = 1u64 << bits;
    let mut planes = [0; 4];
    for carry in 0..2 {
        for h in 0..size {
            let digit = (h + opened + carry) & (size - 1);
            planes[2 * carry as usize] |= u64::from(digit == 0) << h;
            planes[2 * carry as usize + 1] |= u64::from(digit != 0 && digit < size / 2) << h;
        }
    }
    planes
}

/// SiLU by the table, from the exact segment: the functionality up to the carries of the shares.
pub fn ideal(x: i64) -> f64 {
    let table = tables::silu();
    let z = x - table.fit.low;
    let window = 1i64 << (table.fit.index_bits + table.fit.shift);
    let unit = |frac: u32| (-(frac as f64)).exp2();
    if z < 0 {
        0.0
    } else if z >= window {
        x as f64 * unit(table.fit.argument_frac)
    } else {
        let t = z as u64 & ((1 << table.fit.shift) - 1);
        table.line((z >> table.fit.shift) as usize, t) as f64 * unit(table.fit.value_frac)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use sotto_shares::Shape;

    use super::*;
    use crate::{
        and, extend, mux, segments,
        testing::{self, Bill, Lab, reals},
    };

    const RING: Ring = Ring::new(44);
    const UNIT: f64 = 1.0 / 4096.0;

    pub(crate) fn bill(n: usize, ring: u32) -> Bill {
        let table = tables::silu();
        let extra = table.fit.value_frac - table.fit.argument_frac;
        Bill::mutual(&[14 * n], 0)
            + and::tests::bill(n, 2)
            + segments::tests::interpolation_bill(n, table)
            + mux::tests::bill(n, &[table.ring_bits, 22])
            + match ring {
                22 => extend::tests::bill(n, &[(table.ring_bits, ring + extra)]),
                _ => extend::tests::bill(n, &[(table.ring_bits, ring + extra), (22, ring)]),
            }
    }

    pub(crate) async fn stock(lab: &mut Lab, n: usize) {
        lab.stock_cots(40 * n).await;
        lab.stock_one_hots(8, Ring::new(14), n).await;
        lab.stock_one_hots(6, Ring::new(6), n).await;
    }

    /// SiLU of raw arguments.
    fn evaluated(x: &[i64]) -> Vec<f64> {
        let n = x.len();
        let raw: Vec<u64> = x.iter().map(|&x| RING.reduce(x as u64)).collect();
        let (got, traffic) = testing::run(async |lab| {
            let x = lab.share(&raw, RING, 12, Shape::new(n, 1));
            stock(lab, n).await;
            lab.measure(async |s| silu(s, &x, RING).await).await
        });
        assert_eq!(traffic.cost, bill(n, 44).cost());
        assert_eq!((traffic.cost.turns, bill(1, 44).bits()), (9, 735));
        reals(&got, RING, 12)
    }

    fn exact(x: f64) -> f64 {
        x / (1.0 + (-x).exp())
    }

    #[test]
    fn the_ring_of_the_argument_will_do() {
        let x: Vec<i64> = (-512 * 4096..504 * 4096 - 256).step_by(9973).chain(-40..40).collect();
        let (n, raw): (_, Vec<u64>) = (x.len(), x.iter().map(|&x| ARGUMENT.reduce(x as u64)).collect());
        let (got, traffic) = testing::run(async |lab| {
            let x = lab.share(&raw, ARGUMENT, 12, Shape::new(n, 1));
            stock(lab, n).await;
            lab.measure(async |s| silu(s, &x, ARGUMENT).await).await
        });
        assert_eq!(traffic.cost, bill(n, 22).cost());
        assert_eq!((traffic.cost.turns, bill(1, 22).bits()), (9, 690));
        let got = reals(&got, ARGUMENT, 12);
        assert!(x.iter().zip(&got).all(|(&x, y)| (y - exact(x as f64 * UNIT)).abs() < 2.9e-3));
        assert!(got.iter().all(|&y| y * 4096.0 >= -(LEAST as f64)));
    }

    #[test]
    fn every_argument_around_the_window() {
        let x: Vec<i64> = (-9 * 4096..9 * 4096).collect();
        let (mut inside, mut edges, mut ideally) = (0f64, 0f64, 0f64);
        for (&x, y) in x.iter().zip(evaluated(&x)) {
            let real = x as f64 * UNIT;
            let error = (y - exact(real)).abs();
            ideally = ideally.max((y - ideal(x)).abs());
            match real.abs() < 7.9 {
                true => inside = inside.max(error),
                false => edges = edges.max(error),
            }
        }
        eprintln!("silu: {inside:.2e} inside, {edges:.2e} at the edges, {ideally:.2e} from the table");
        assert!(inside < 1.0e-3 && edges < 2.9e-3, "{inside} {edges}");
    }

    #[test]
    fn saturation_is_exact_up_to_the_bound() {
        let left = (-512 * 4096..-9 * 4096).step_by(999).chain([-512 * 4096, -511 * 4096 - 1]);
        let right = (9 * 4096..503 * 4096).step_by(999).chain([503 * 4096, 504 * 4096 - 256]);
        let (left, right): (Vec<i64>, Vec<i64>) = (left.collect(), right.collect());
        assert!(evaluated(&left).into_iter().all(|y| y == 0.0));
        let got = evaluated(&right);
        assert!(right.iter().zip(got).all(|(&x, y)| y == x as f64 * UNIT));
        // The window's shift takes the last eight: what BOUND is for.
        let beyond: Vec<i64> = (504 * 4096 + 256..512 * 4096).step_by(999).collect();
        assert!(evaluated(&beyond).into_iter().all(|y| y == 0.0));
    }
}
