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
//! | both to the ring of activations, added   | `<- extend/* ->`       | the same   |
//!
//! Nine turns; about 1.5 kbit an element beside its COTs. Error: 7.6e-4 inside the window, 2.8e-3 at its left
//! edge; saturation beyond, exact. The dropped carry moves the right edge: `x` in `[504, 512)` counts as left, so the bound
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

/// The largest magnitude for which the result is SiLU, in real units.
pub const BOUND: f64 = 503.0;

/// SiLU of numbers with 12 fraction bits, from any ring of at least 22 bits to `ring`.
///
/// # Panics
/// If the fraction bits are not 12, or a ring is too small.
pub async fn silu(s: &mut Session, x: &Share, ring: Ring) -> Result<Share, Error> {
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

/// The two parts in the ring of activations, added.
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
    let [mid, linear] = extend_positive(s, [(&mid, wide), (linear, ring)]).await?;
    let mid = mid.add_public(s.me, table.offset.wrapping_neg()).truncate_reduce(extra);
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
