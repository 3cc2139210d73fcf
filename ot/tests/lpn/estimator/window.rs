//! Attacks on the samples that lie inside few secret coordinates: what a local code gives away.
//!
//! A *window* is a set of `v` coordinates with some more than `v` samples wholly inside. These
//! samples determine the coordinates and leave checks over, so `v` samples have to be free of
//! noise, not `k`. With the window known, every sample with one coordinate outside gives that
//! coordinate by majority, and so on.
//!
//! The figures are cost over chance of success of one window, so they hold whether an attacker has
//! many windows or many instances. Peeling from a random 95 % of the coordinates shows that windows
//! that differ much are about as good.
//!
//! Sources: the domain reduction of Chen, Shu and Zhou, "Algorithms for sparse LPN and LSPN against
//! low-noise" (COLT 2025, arXiv 2407.19215); small sub-matrices as the model of attacks in Jain,
//! Lin and Saha, "A systematic study of sparse LWE" (2024). The cost for regular noise and the
//! codes of silent OT is derived here and compared with attacks on small instances in
//! `window_attack.rs`.

use super::Lpn;
use super::isd::window_isd;
use super::math::{entropy, noise_free, relative_entropy};

/// Coordinates `v` of a window chosen at random: `n (v/k)^locality = v`, so
/// `v = k (k/n)^(1/(locality-1))`.
pub fn random_window(lpn: &Lpn) -> f64 {
    lpn.k() * (lpn.k() / lpn.n()).powf(1.0 / (f64::from(lpn.locality) - 1.0))
}

/// The number of coordinates `v` below which no window is expected to exist.
///
/// The expected number of windows, `C(k, v) Pr[Binomial(n, (v/k)^locality) >= v]`, falls below 1:
/// `k h(v/k) = n D(v/n || (v/k)^locality)` with entropy `h` and relative entropy `D`. Annealing
/// comes within 3 % of it and greedy peeling, [`super::peeled_window`], within 6 to 7 %.
pub fn densest_window(lpn: &Lpn) -> f64 {
    let exist = |share: f64| {
        let inside = share.powf(f64::from(lpn.locality));
        lpn.k() * entropy(share) >= lpn.n() * relative_entropy(share * lpn.k() / lpn.n(), inside)
    };
    let (mut low, mut high) = (0.0, random_window(lpn) / lpn.k());
    for _ in 0..50 {
        let middle = (low + high) / 2.0;
        if exist(middle) { high = middle } else { low = middle }
    }
    high * lpn.k()
}

/// Gauss inside a random window: `3 locality v^2 / (1 - v/n)^t`, by Wiedemann's algorithm.
pub fn local_gauss(lpn: &Lpn) -> f64 {
    let v = random_window(lpn);
    wiedemann(lpn, v) + noise_free(v / lpn.n(), lpn.t())
}

/// ISD inside a window of `v` coordinates: [`super::pooled_isd`] with `m = v` and one run of
/// Wiedemann's algorithm, `3 locality v^2`, for elimination.
///
/// A run gives one check; a block version gives the `l`, about 30, in use for
/// `(3 locality + l) v^2`. This bit or two is left to the attacker, who may share eliminations
/// between windows.
pub fn local_isd(lpn: &Lpn, v: f64) -> f64 {
    window_isd(lpn, v, wiedemann(lpn, v))
}

fn wiedemann(lpn: &Lpn, v: f64) -> f64 {
    (3.0 * f64::from(lpn.locality)).log2() + 2.0 * v.log2()
}
