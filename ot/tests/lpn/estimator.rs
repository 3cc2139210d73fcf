//! An estimator for the LPN instances behind silent OT (eprint 2020/924).
//!
//! An instance is `y = A s + e` over the field of two elements. `s` has `k` secret bits; `e` is
//! *regular*, with one 1 in each of `t` blocks of `n/t` samples; each of the `n` samples sums up
//! `locality` bits of `s`, drawn at random. A figure is `log2` of bit operations over probability
//! of success. Memory is free.
//!
//! | module    | uses        | attacks                                                            |
//! |-----------|-------------|--------------------------------------------------------------------|
//! | `linear`  | guesses     | pooled Gauss, statistical decoding and its version 2.0             |
//! | `isd` | enumeration | SD-ISD, BJMM, regular ISD as published; regular ISD on pooled samples |
//! | `algebra` | regularity  | Briaud-Oygarden; hybrids: dense, in two levels, sparse             |
//! | `window`  | locality    | Gauss and ISD on samples inside few coordinates                    |
//!
//! Figures in the literature leave locality unused and charge `n` operations for a list entry.
//! Cheaper attacks are derived here, and [`bits`] takes the least of all, the one in the
//! [`densest_window`] included: finding that is not known to be possible, but no search for windows
//! can do better.
//!
//! Not here, as they do not matter at these sizes: spectral and Kikuchi distinguishers of sparse
//! LPN (arXiv 2603.27190), which need far more than `10 k` samples of locality 10; guesses of bits
//! of `s`, one bit each against 0.0014 bits for a noise-free sample; short parity checks of `A`,
//! which by first moment have weight 6,500 and more and which nobody knows how to find; more levels
//! of representations, for which the lists are too short.

mod algebra;
mod isd;
mod linear;
mod math;
mod peel;
mod window;

pub use algebra::{defect, guesses, hybrid_dense, hybrid_sparse, hybrid_two_levels, noise_linearisation};
pub use isd::{bjmm, pooled_isd, regular_isd, sd_isd};
pub use linear::{pooled_gauss, statistical_decoding, statistical_decoding_2};
pub use peel::peeled_window;
pub use window::{densest_window, local_gauss, local_isd, random_window};

/// An instance of LPN with regular noise and a local code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lpn {
    /// Samples; a multiple of `t`.
    pub n: u64,
    /// Secret bits; more than `t`, less than `n`.
    pub k: u64,
    /// Noisy samples, one in each block of `n / t`.
    pub t: u64,
    /// Secret bits that are summed up in a sample.
    pub locality: u32,
}

impl Lpn {
    fn n(&self) -> f64 {
        self.n as f64
    }

    fn k(&self) -> f64 {
        self.k as f64
    }

    fn t(&self) -> f64 {
        self.t as f64
    }

    /// Samples in a block.
    fn block(&self) -> f64 {
        self.n() / self.t()
    }

    /// `(n - t, k - t, t)`: exact noise after the known parity of a block took a sample and a
    /// secret bit. Source: eprint 2022/712, section 5.1.
    fn without_block_parities(&self) -> (f64, f64, f64) {
        (self.n() - self.t(), self.k() - self.t(), self.t())
    }
}

/// Every attack with its cost, `log2` of bit operations.
///
/// # Panics
///
/// Unless `t < k < n`, `t` divides `n` and `locality > 1`.
pub fn attacks(lpn: &Lpn) -> Vec<(&'static str, f64)> {
    assert!(lpn.t < lpn.k && lpn.k < lpn.n, "not t < k < n: {lpn:?}");
    assert!(lpn.t > 0 && lpn.n.is_multiple_of(lpn.t) && lpn.locality > 1, "no blocks or no code: {lpn:?}");
    vec![
        ("pooled Gauss", pooled_gauss(lpn)),
        ("statistical decoding", statistical_decoding(lpn)),
        ("statistical decoding 2.0", statistical_decoding_2(lpn)),
        ("SD-ISD", sd_isd(lpn)),
        ("BJMM", bjmm(lpn)),
        ("regular ISD", regular_isd(lpn)),
        ("pooled ISD", pooled_isd(lpn)),
        ("noise linearisation", noise_linearisation(lpn)),
        ("hybrid, dense, D=2", hybrid_dense(lpn, 2)),
        ("hybrid, dense, D=3", hybrid_dense(lpn, 3)),
        ("hybrid, two levels", hybrid_two_levels(lpn)),
        ("hybrid, sparse, D=2", hybrid_sparse(lpn, 2)),
        ("hybrid, sparse, D=3", hybrid_sparse(lpn, 3)),
        ("hybrid, sparse, D=4", hybrid_sparse(lpn, 4)),
        ("local Gauss, random window", local_gauss(lpn)),
        ("local ISD, random window", local_isd(lpn, random_window(lpn))),
        ("local ISD, densest window", local_isd(lpn, densest_window(lpn))),
    ]
}

/// The cheapest attack and its cost, `log2` of bit operations.
///
/// # Panics
///
/// As [`attacks`].
pub fn bits(lpn: &Lpn) -> (&'static str, f64) {
    attacks(lpn)
        .into_iter()
        .fold(("none", f64::INFINITY), |best, next| if next.1 < best.1 { next } else { best })
}
