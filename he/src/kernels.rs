//! Timings of what an RLWE library is measured by, one thread, in microseconds; not a check of
//! anything.
//!
//! `RAYON_NUM_THREADS=1 taskset -c 0 \
//!     cargo test --release -p sotto-he --lib -- --ignored --nocapture kernels`

use crate::keyswitch::Switcher;
use crate::rlwe::Ciphertext;
use crate::testing::{self, Session};
use crate::{Layout, MatmulShape, encrypt};
use std::hint::black_box;
use std::time::Instant;

/// Median and minimum after a warm-up.
fn measure(name: &str, runs: usize, mut f: impl FnMut()) {
    (0..(runs / 10).max(20)).for_each(|_| f());
    let mut times: Vec<f64> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            f();
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("{name:<34} median {:9.2}  min {:9.2}  ({runs} runs)", times[runs / 2], times[0]);
}

#[test]
#[ignore = "timings"]
fn kernels() {
    // Inside the pool's only thread, so that nothing is handed from one thread to another.
    rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(run);
}

fn run() {
    let mut session = Session::full(1);
    let n = session.context.degree();
    let values = session.ring(n, 40);
    let context = session.context.clone();
    let primes = context.data_primes(3);

    let mut poly: Vec<u64> = values.clone();
    measure("forward NTT, one prime", 4000, || primes[0].forward(black_box(&mut poly)));

    let shape = MatmulShape { tokens: 1, inner: n, outer: 1 };
    let layout = Layout { shape, ..testing::layout(n, 3) };
    assert_eq!(layout.upload_ciphertexts(), 1);
    measure("encrypt, one ciphertext, packed", 400, || {
        black_box(encrypt(&context, &session.key, &layout, black_box(&values), &mut session.rng));
    });
    let residues = |session: &mut Session| {
        let mut ct = Ciphertext::zero(&context, 3);
        for (i, prime) in primes.iter().enumerate() {
            for row in [ct.b.row_mut(i), ct.a.row_mut(i)] {
                let values = session.ring(n, 44);
                row.iter_mut().zip(values).for_each(|(x, v)| *x = v % prime.modulus.p());
            }
        }
        ct
    };
    let (ct, weights, mut out) = (residues(&mut session), residues(&mut session), residues(&mut session));
    measure("ciphertext x plain, reduced", 2000, || {
        let (ct, weights, out) = (black_box(&ct), black_box(&weights), black_box(&mut out));
        for (i, prime) in primes.iter().enumerate() {
            prime.pointwise(ct.b.row(i), weights.b.row(i), prime.scale(1), out.b.row_mut(i));
            prime.pointwise(ct.a.row(i), weights.b.row(i), prime.scale(1), out.a.row_mut(i));
        }
    });
    // X -> X^129 is at index 6.
    let mut switcher = Switcher::new(&context, 3);
    let (sigma, key) = (context.automorphisms()[6].slots(), &session.keys.galois[6]);
    measure("automorphism with key switch", 300, || {
        switcher.decompose(&context, black_box(&ct.a));
        switcher.automorphism(&context, sigma, black_box(key), black_box(&ct), black_box(&mut out));
    });
}
