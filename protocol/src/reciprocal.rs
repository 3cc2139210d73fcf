//! `[1/x] <- [x]` and `[1/sqrt(x)] <- [x]` for a positive number of any size, one a row.
//!
//! 1. the leading one `2^p` of `x` ([`crate::leading_one`]);
//! 2. with public weights, `[2^(l-1-p)]` and `[g(p)]`, where `g(p)` undoes the normalisation (`2^-p`, or `2^(-p/2)`,
//!    which has no square root to take: it is a table of 64 constants);
//! 3. `u = x 2^(l-1-p)` in `[2^(l-1), 2^l)`, truncated to 17 bits: a number in `[1, 2)`;
//! 4. a piecewise-linear table of `1/u` or `1/sqrt(u)` ([`crate::segments`]), times `g(p)`.
//!
//! Turns: adder + prefix OR + 2 + 1 + table + extension 2 + 1 + truncation 2, less one that overlaps:
//! `12 + 4 ceil(log2 l)` in all. Relative error `2^-14` at most (dropped carries included) and two units of
//! the result, which are more where the result is small. `x = 0` gives 0. No leakage. From the pool: the parts' entries.
//! Source: SIRNN (2021/459), section 4.3, with a table and no iteration.

use sotto_shares::{Ring, Share, encode};

use crate::{
    Error, Session,
    b2a::weigh,
    extend::extend_positive,
    leading_one::leading_one,
    mul::mul,
    segments,
    tables::{self, Segments},
    truncate::truncate,
};

/// Fraction bits of the normalised argument.
const ARGUMENT: u32 = 16;

/// Ring and fraction bits of [`Form::reciprocal`].
pub const RECIPROCAL: (Ring, u32) = (Ring::new(52), 24);

/// What to compute of `x`, and how exactly.
pub struct Form {
    table: &'static Segments,
    /// `g` of the leading position `p` of the raw integer, given the input's fraction bits.
    denormalise: fn(f64) -> f64,
    /// A public factor of the result.
    factor: f64,
    /// Fraction bits of `g(p)` in the products' ring.
    weight_frac: u32,
    /// The ring of step 4's product and of the result.
    ring: Ring,
    /// Fraction bits of the result.
    frac: u32,
}

impl Form {
    /// `1/x`, for `x` at least 1/2: ring 52, 24 fraction bits.
    pub fn reciprocal() -> Form {
        Form {
            table: tables::reciprocal(),
            denormalise: |exponent| (-exponent).exp2(),
            factor: 1.0,
            weight_frac: 24,
            ring: RECIPROCAL.0,
            frac: RECIPROCAL.1,
        }
    }

    /// `factor / sqrt(x)`, for results up to 2^10: ring 64, 26 fraction bits.
    pub fn inverse_root(factor: f64) -> Form {
        Form {
            table: tables::inverse_root(),
            denormalise: |exponent| (-exponent / 2.0).exp2(),
            factor,
            weight_frac: 28,
            ring: Ring::new(64),
            frac: 26,
        }
    }
}

/// Evaluates `form` on every element of `x`, positive in its ring taken as unsigned.
pub async fn evaluate(s: &mut Session, x: &Share, form: &Form) -> Result<Share, Error> {
    let bits = x.ring.bits();
    let lead = leading_one(s, x).await?;
    let normalise: Vec<u64> = (0..bits).map(|p| 1 << (bits - 1 - p)).collect();
    let weights: Vec<u64> = (0..bits).map(|p| weight(form, p, x.frac)).collect();
    let wide = x.ring.max(form.ring);
    let [scale, weight] = weigh(s, &lead, wide, [&normalise, &weights]).await?;
    let share = |data: Vec<u64>, ring: Ring, frac| {
        Share::new(ring, frac, x.shape, data.into_iter().map(|v| ring.reduce(v)).collect())
    };
    let u = mul(s, x, &share(scale, x.ring, 0)).await?.truncate_reduce(bits - 1 - ARGUMENT);
    let y = segments::evaluate(s, &u.with_frac(ARGUMENT), form.table).await?;
    let [y] = extend_positive(s, [(&y, form.ring)]).await?;
    let weight = share(weight, form.ring, form.weight_frac);
    let y = mul(s, &y, &weight).await?;
    let drop = y.frac - form.frac;
    truncate(s, &y, drop, form.ring).await
}

/// `g(p)` as an element of the product's ring.
fn weight(form: &Form, p: u32, frac: u32) -> u64 {
    let exponent = f64::from(p) - f64::from(frac);
    encode((form.denormalise)(exponent) * form.factor, form.weight_frac, form.ring)
}

#[cfg(test)]
pub(crate) mod tests {
    use sotto_shares::Shape;

    use super::*;
    use crate::{
        b2a, extend, mul,
        testing::{self, Bill, Holder, Lab, reals},
    };

    pub(crate) fn bill(n: usize, l: u32, form: &Form) -> Bill {
        let m = form.ring.bits();
        let drop = form.table.fit.value_frac + form.weight_frac - form.frac;
        crate::leading_one::tests::bill(n, l)
            + b2a::tests::bill(n, &vec![l.max(m) - 1; l as usize])
            + mul::tests::bill(n, l)
            + segments::tests::bill(n, form.table)
            + extend::tests::bill(n, &[(form.table.ring_bits, m)])
            + mul::tests::bill(n, m)
            + extend::tests::bill(n, &[(m - drop, m)])
    }

    /// What one call draws from the pool beside COTs.
    pub(crate) async fn stock<P: Holder>(lab: &mut Lab<P>, n: usize, l: u32, form: &Form) {
        let index_bits = form.table.fit.index_bits;
        lab.stock_one_hots(index_bits, Ring::new(index_bits), n).await;
        let (first, second) = (Ring::new(l), form.ring);
        if first == second {
            lab.stock_triples(first, 2 * n).await;
        } else {
            lab.stock_triples(first, n).await;
            lab.stock_triples(second, n).await;
        }
        lab.stock_cots(n * l as usize * 16).await;
    }

    fn evaluated(x: &[u64], ring: Ring, frac: u32, form: &Form) -> Vec<f64> {
        let n = x.len();
        let (got, traffic) = testing::run(async |lab| {
            let x = lab.share(x, ring, frac, Shape::new(n, 1));
            stock(lab, n, ring.bits(), form).await;
            lab.measure(async |s| evaluate(s, &x, form).await).await
        });
        assert_eq!(traffic.cost, bill(n, ring.bits(), form).cost());
        assert_eq!(traffic.cost.turns, 12 + 4 * testing::log2_ceil(ring.bits() as usize));
        reals(&got, form.ring, form.frac)
    }

    /// From `2^low` to `2^high` evenly in the exponent, and next to every power of two.
    fn raw(low: u32, high: u32) -> Vec<u64> {
        let steps = 12 * (high - low);
        let even = (0..=steps).map(|i| (f64::from(low) + f64::from(i) / 12.0).exp2() as u64);
        even.chain((low + 1..=high).flat_map(|p| [(1 << p) - 1, (1 << p) + 1])).collect()
    }

    #[test]
    fn reciprocals_from_a_half_to_two_to_the_fourteen() {
        let x = [vec![0], raw(13, 28)].concat();
        let got = evaluated(&x, Ring::new(32), 14, &Form::reciprocal());
        assert_eq!(got[0], 0.0);
        let (unit, mut worst) = (2f64.powi(-24), 0f64);
        for (x, y) in x.iter().zip(&got).skip(1) {
            let exact = 2f64.powi(14) / *x as f64;
            worst = worst.max(((y - exact).abs() - 2.0 * unit) / exact);
        }
        eprintln!("reciprocal: relative error {worst:.2e} beside two units");
        assert!(worst < 2f64.powi(-14), "{worst}");
    }

    #[test]
    fn inverse_roots_of_sums_of_squares() {
        let d = 64f64;
        let x = [vec![0, (1e-5 * d * 2f64.powi(36)) as u64], raw(26, 63)].concat();
        let got = evaluated(&x, Ring::new(64), 36, &Form::inverse_root(d.sqrt()));
        assert_eq!(got[0], 0.0);
        let (unit, mut worst) = (2f64.powi(-26), 0f64);
        for (x, y) in x.iter().zip(&got).skip(1) {
            let exact = (d / (*x as f64 * 2f64.powi(-36))).sqrt();
            worst = worst.max(((y - exact).abs() - 2.0 * unit) / exact);
        }
        eprintln!("inverse root: relative error {worst:.2e} beside two units");
        assert!(worst < 2f64.powi(-14), "{worst}");
    }
}
