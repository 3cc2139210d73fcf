//! The sets in use, attack by attack.

use sotto_ot::LpnParams;

use crate::estimator::{Lpn, attacks, bits, local_isd, peeled_window};

fn instance(set: LpnParams) -> Lpn {
    let [n, k, t] = [set.samples(), set.dimension(), set.weight()].map(|x| x as u64);
    assert_eq!(n, t << set.depth(), "one error in each block of 2^d samples");
    Lpn { n, k, t, locality: set.locality() as u32 }
}

/// The figures of `ot/src/lpn.rs` and `SECURITY.md`.
#[test]
fn every_attack_costs_136_bits_at_least() {
    for (set, stated) in [(LpnParams::FAST, 136.1), (LpnParams::LEAN, 136.2)] {
        let (attack, cost) = bits(&instance(set));
        assert_eq!(attack, "local ISD, densest window", "the binding attack");
        assert!((cost - stated).abs() < 0.05, "{cost} bits, {stated} are stated");
    }
}

/// The best attack known that can be run today: in a window that greedy peeling
/// finds.
#[test]
fn the_attack_that_can_be_run_costs_143_bits() {
    for set in [LpnParams::FAST, LpnParams::LEAN] {
        let lpn = instance(set);
        // Windows scale with the code: a sixteenth of it shows their share.
        let scale = |x: u64| x as usize / 16;
        let window = peeled_window(scale(lpn.n), scale(lpn.k), set.locality(), 64, 1).unwrap();
        let cost = local_isd(&lpn, 16.0 * window as f64);
        assert!((cost - 143.1).abs() < 1.0, "{cost} bits");
    }
}

#[test]
fn figures() {
    let sets = [LpnParams::FAST, LpnParams::LEAN].map(|set| attacks(&instance(set)));
    println!("{:30} {:>7} {:>7}", "log2 of bit operations", "FAST", "LEAN");
    for ((name, fast), (_, lean)) in sets[0].iter().zip(&sets[1]) {
        println!("{name:30} {fast:7.1} {lean:7.1}");
        assert!(fast.min(*lean) > 128.0 + 8.0, "{name}");
    }
}
