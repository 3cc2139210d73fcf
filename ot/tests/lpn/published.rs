//! Figures of others, recomputed.
//!
//! - mpz `lpn-estimator` (privacy-ethereum/mpz, b2017b5f): the least over its attacks.
//! - Code_estimators (1234wangtr/Code_estimators, 41e013c, behind lpnestimator.com): attack by
//!   attack.
//! - An independent review of the parameters: hybrid attacks, dense and sparse, rounded to a bit.

use crate::estimator::{
    Lpn, attacks, bits, bjmm, hybrid_dense, hybrid_sparse, hybrid_two_levels, noise_linearisation,
    pooled_gauss, regular_isd, sd_isd, statistical_decoding,
};

fn lpn(n: u64, k: u64, t: u64) -> Lpn {
    Lpn { n, k, t, locality: 10 }
}

const S10: Lpn = Lpn { n: 1_024_000, k: 81_920, t: 1_000, locality: 10 };
const S11: Lpn = Lpn { n: 2_396_160, k: 147_456, t: 1_170, locality: 10 };
const B10: Lpn = Lpn { n: 870_400, k: 65_536, t: 850, locality: 10 };
const B11: Lpn = Lpn { n: 2_396_160, k: 131_072, t: 1_170, locality: 10 };
const FAST: Lpn = Lpn { n: 1_024_000, k: 98_304, t: 1_000, locality: 10 };
const LEAN: Lpn = Lpn { n: 2_396_160, k: 163_840, t: 1_170, locality: 10 };
const LEAN_PLUS: Lpn = Lpn { n: 2_396_160, k: 180_224, t: 1_170, locality: 10 };

#[track_caller]
fn near(found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() <= tolerance, "{found:.2} instead of {expected}");
}

/// BJMM gives mpz's figure, except for mpz's own set, where Briaud and Oygarden's attack does.
#[test]
fn mpz() {
    let sets = [
        (B10, 128.6),
        (B11, 132.5),
        (lpn(6_225_920, 262_144, 1_520), 136.6),
        (lpn(15_564_800, 524_288, 1_900), 140.7),
        (lpn(10_485_760, 452_000, 1_280), 127.7),
        (lpn(10_805_248, 589_760, 1_319), 151.7),
        (lpn(649_728, 36_288, 1_269), 132.1),
        (lpn(2_048_000, 69_559, 2_000), 130.0),
        (S10, 152.2),
        (S11, 144.3),
        (lpn(1_024_000, 73_728, 1_000), 140.1),
    ];
    for (lpn, expected) in sets {
        let others = pooled_gauss(&lpn).min(statistical_decoding(&lpn)).min(sd_isd(&lpn));
        near(bjmm(&lpn).min(others).min(noise_linearisation(&lpn)), expected, 0.7);
    }
}

#[test]
fn code_estimators() {
    let sets = [
        (B10, [139.59, 205.77, 131.35, 132.47, 145.09]),
        (S10, [164.60, 254.32, 154.81, 155.76, 166.63]),
        (FAST, [190.67, 305.26, 178.97, 180.10, 191.82]),
        (S11, [154.45, 230.03, 146.56, 148.13, 156.54]),
    ];
    for (lpn, [gauss, sd, isd, regular, noise]) in sets {
        near(pooled_gauss(&lpn), gauss, 0.5);
        // mpz's factor 4, which is missing there.
        near(statistical_decoding(&lpn), sd + 2.0, 0.5);
        near(sd_isd(&lpn), isd, 0.5);
        near(regular_isd(&lpn), regular, 0.5);
        near(noise_linearisation(&lpn), noise, 0.5);
    }
}

/// The hybrid of eprint 2025/1284, which takes the whole noise of a few blocks as its second guess.
///
/// The figures are the least over all its parameters; the quick search published with it stops at
/// 138.8 for b10.
#[test]
fn code_estimators_hybrid() {
    for (lpn, expected) in [(B10, 128.7), (S10, 149.8), (FAST, 174.8), (S11, 140.4)] {
        near(hybrid_two_levels(&lpn), expected, 1.5);
    }
}

#[test]
fn independent_review() {
    let sets = [
        (S10, [153.0, 143.0, 138.0]),
        (S11, [143.0, 130.0, 124.0]),
        (B10, [132.0, 121.0, 118.0]),
        (B11, [131.0, 117.0, 111.0]),
        (FAST, [179.0, 169.0, 165.0]),
        (LEAN, [156.0, 143.0, 137.0]),
        (LEAN_PLUS, [168.0, 156.0, 150.0]),
    ];
    for (lpn, [dense, sparse_2, sparse_3]) in sets {
        near(hybrid_dense(&lpn, 2), dense, 0.8);
        near(hybrid_sparse(&lpn, 2), sparse_2, 0.8);
        near(hybrid_sparse(&lpn, 3), sparse_3, 0.8);
    }
}

/// What the figures above leave out: locality takes all sets in use below 128 bits.
#[test]
fn windows_are_the_cheapest_attack() {
    for lpn in [B10, B11, S10, S11, FAST, LEAN, LEAN_PLUS] {
        let (attack, cost) = bits(&lpn);
        assert_eq!(attack, "local ISD, densest window");
        assert!(cost < 110.0, "{cost}");
    }
}

#[test]
fn sets_with_a_reserve() {
    for (depth, t, k) in [(9, 1_240, 65_536), (10, 1_360, 131_072), (11, 1_500, 262_144)] {
        let lpn = lpn(t << depth, k, t);
        assert!(attacks(&lpn).iter().all(|&(_, cost)| cost >= 136.0), "{:?}", bits(&lpn));
    }
}
