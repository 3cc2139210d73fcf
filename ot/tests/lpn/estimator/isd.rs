//! Information set decoding with codes taken as random.

use super::Lpn;
use super::linear::DENSE;
use super::math::{log2_binomial, log2_sum, minimum, noise_free};

/// Largest number of checks `l` tried by the exhaustive optimisations.
const MOST_CHECKS: u64 = 160;

/// SD-ISD (Stern and Dumer) with every list entry charged `n` bit operations.
///
/// `n (T + 2 L + 2 S) / P`, `T = (n-k-l)(n-k)/log(n-k-l)`, `L = C((k+l)/2, p/2)`, `S = L^2/2^l`,
/// `P = C(n-k-l, t-p) L^2 / C(n, t)`, at `(n - t, k - t, t)`.
/// Source: eprint 2022/712, theorem 14.
pub fn sd_isd(lpn: &Lpn) -> f64 {
    let choices = (0..=16).step_by(2).flat_map(|p| (1..=MOST_CHECKS).map(move |l| (p, l)));
    minimum(choices.map(|(p, l)| sd_isd_at(lpn, f64::from(p), l as f64)))
}

fn sd_isd_at(lpn: &Lpn, p: f64, l: f64) -> f64 {
    let (n, k, t) = lpn.without_block_parities();
    let list = log2_binomial((k + l) / 2.0, p / 2.0);
    let collisions = 2.0 * list - l;
    let success = log2_binomial(n - k - l, t - p) + 2.0 * list - log2_binomial(n, t);
    let work = log2_sum(full_elimination(n, k, l), 1.0 + log2_sum(list, collisions));
    if success < 0.0 { n.log2() + work - success } else { f64::INFINITY }
}

/// `(n-k-l)(n-k) / log(n-k-l)`, to be multiplied by `n`: systematic form of the whole parity-check
/// matrix.
fn full_elimination(n: f64, k: f64, l: f64) -> f64 {
    ((n - k - l) * (n - k) / (n - k - l).log2()).log2()
}

/// BJMM with two levels of representations, every list entry charged `n` bit operations.
///
/// Source: eprint 2022/712, theorem 16; `r1`, `r2` after Hamdaoui and Sendrier, eprint 2013/162.
/// Among published figures this is the least for nearly all parameter sets in use.
pub fn bjmm(lpn: &Lpn) -> f64 {
    let at = Bjmm::new(lpn);
    let weights = (0..=4).step_by(2).flat_map(|p2| (0..=p2).map(move |e2| (p2, e2)));
    let weights = weights.flat_map(|(p2, e2)| (0..=2 * (p2 - e2)).map(move |e1| (p2, e2, e1)));
    let at_weights = |(p2, e2, e1)| {
        minimum((1..=MOST_CHECKS).map(|l| at.cost(f64::from(p2), f64::from(e2), f64::from(e1), l as f64)))
    };
    minimum(weights.map(at_weights))
}

struct Bjmm {
    n: f64,
    k: f64,
    t: f64,
}

impl Bjmm {
    fn new(lpn: &Lpn) -> Self {
        let (n, k, t) = lpn.without_block_parities();
        Self { n, k, t }
    }

    /// Words of weight `p2` with `e2` overlaps add up to weight `p1`, these with `e1` overlaps to
    /// weight `p`.
    fn cost(&self, p2: f64, e2: f64, e1: f64, l: f64) -> f64 {
        let (n, t, m) = (self.n, self.t, self.k + l);
        let p1 = 2.0 * (p2 - e2);
        let p = 2.0 * (p1 - e1);
        let base = log2_binomial(m / 2.0, p2 / 2.0);
        let overlap2 = overlap(m, p2, e2);
        let overlap1 = overlap(m, p1, e1);
        let r2 = (overlap2 + 4.0 * base - log2_binomial(m, p1)).floor().clamp(0.0, l - 1.0);
        let representations = overlap1 + 2.0 * log2_binomial(m, p1) - log2_binomial(m, p);
        let r1 = (representations - r2).floor().clamp(0.0, l - r2 - 1.0);
        let c3 = 2.0 * base - r2;
        let c2 = 2.0 * c3 - r1;
        let level1 = (overlap2 + c2).min(log2_binomial(m, p1) - r1 - r2);
        let c1 = 2.0 * level1 - (l - r1 - r2);
        let solutions = (overlap1 + c1).min(log2_binomial(m, p) - l);
        let lists = log2_sum(log2_sum(3.0 + base, 2.0 + c3), 1.0 + log2_sum(c2, c1));
        let work = log2_sum(full_elimination(n, self.k, l), lists);
        let success = log2_binomial(n - m, t - p) - log2_binomial(n, t) + l + solutions;
        if success < 0.0 { n.log2() + work - success } else { f64::INFINITY }
    }
}

/// Chance that two words of weight `p` and length `m` share exactly `e` positions.
fn overlap(m: f64, p: f64, e: f64) -> f64 {
    log2_binomial(p, e) + log2_binomial(m - p, p - e) - log2_binomial(m, p)
}

/// ISD for regular noise, enumeration based: `p/2` noisy blocks in each half of the blocks.
///
/// `n max((n-k')^2, 2 L, L^2/2^l) / P`, `k' = k - t`, `v = (k' + l)/t` positions of a block,
/// `b = n/t`, `L = C(t/2, p/2) v^(p/2)`, `P = C(t/2, p/2)^2 (v/b)^p (1 - v/b)^(t-p)`. Source:
/// eprint 2023/1568 (Esser and Santini), "Enum". Their "Rep" costs 1 to 3 bits more in this regime.
pub fn regular_isd(lpn: &Lpn) -> f64 {
    let choices = (0..=16).step_by(2).flat_map(|p| (1..=MOST_CHECKS).map(move |l| (p, l)));
    minimum(choices.map(|(p, l)| regular_isd_at(lpn, f64::from(p), l as f64)))
}

fn regular_isd_at(lpn: &Lpn, p: f64, l: f64) -> f64 {
    let (n, k, t) = (lpn.n(), lpn.k() - lpn.t(), lpn.t());
    let v = (k + l) / t;
    let share = v / lpn.block();
    let halves = log2_binomial(t / 2.0, p / 2.0);
    let list = halves + p / 2.0 * v.log2();
    let cost = (2.0 * (n - k).log2()).max(1.0 + list).max(2.0 * list - l);
    n.log2() + cost + noise_free(share, t - p) - 2.0 * halves - p * share.log2()
}

/// The same on pooled samples: `m = k - t` of them and a few checks, with an elimination of
/// `m^2.8`.
///
/// The noise of the other samples need not be seen to find the secret, so neither the elimination
/// nor a list entry costs a factor `n`. Derived here, see `window_isd`; 13 to 15 bits below eprint
/// 2023/1568.
pub fn pooled_isd(lpn: &Lpn) -> f64 {
    let m = lpn.k() - lpn.t();
    window_isd(lpn, m, DENSE * m.log2())
}

/// Finds the noise in `m` samples, spread equally over the blocks, if at most few of them are
/// noisy.
///
/// `min over p of (2^elimination + 3 L l / s) / P`: two lists of `L = C(t/2, p/2) (m/t)^(p/2)` sums
/// of `l = log2 L` bits and as many collisions; `s` is the chance that two halves of the blocks
/// share the noise equally; `P = C(t, p) x^p (1-x)^(t-p)` with `x = m/n` that `p` blocks have their
/// noise here. `p = 0` is Prange's. Source: Dumer's algorithm on the blocks of eprint 2023/1568,
/// without its factor `n`.
pub(super) fn window_isd(lpn: &Lpn, m: f64, elimination: f64) -> f64 {
    minimum((0..=16).step_by(2).map(|p| window_isd_at(lpn, m, elimination, f64::from(p))))
}

fn window_isd_at(lpn: &Lpn, m: f64, elimination: f64, p: f64) -> f64 {
    let t = lpn.t();
    let share = m / lpn.n();
    let halves = log2_binomial(t / 2.0, p / 2.0);
    let list = halves + p / 2.0 * (m / t).log2();
    let equal_halves = 2.0 * halves - log2_binomial(t, p);
    let lists = 3f64.log2() + list + list.log2() - equal_halves;
    let success = log2_binomial(t, p) + p * share.log2() - noise_free(share, t - p);
    log2_sum(elimination, lists) - success
}
