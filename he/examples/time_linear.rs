//! Times of both sides, with what the search expects them to add up to, and bytes each way, for
//! products of several shapes.
//!
//! `cargo run --release -p sotto-he --example time_linear [T]x[K]x[M]...`; with `all` as a word,
//! every layout that is quiet enough and within four times the price of the chosen one. Set
//! `RAYON_NUM_THREADS` to choose threads.

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha20Rng;
use sotto_he::{
    Context, EXACT, EncryptedMatrix, Error, EvaluationKeys, Job, Layout, MatmulShape, Operand, Plain,
    SecretKey, Weights, decrypt, encrypt_random, keygen, multiply,
};
use std::time::Instant;

const SHAPES: &str = "1x768x768 1x4096x4096 128x768x768 16x128x352";

/// Milliseconds `work` takes, and its result.
fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let start = Instant::now();
    let result = work();
    (start.elapsed().as_secs_f64() * 1e3, result)
}

fn parse(text: &str) -> Option<MatmulShape> {
    let sides: Vec<usize> = text.split('x').map(str::parse).collect::<Result<_, _>>().ok()?;
    let [tokens, inner, outer] = sides[..] else { return None };
    Some(MatmulShape { tokens, inner, outer })
}

fn main() -> Result<(), Error> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut shapes: Vec<_> = words.iter().filter_map(|word| parse(word)).collect();
    if shapes.is_empty() {
        shapes = SHAPES.split_whitespace().filter_map(parse).collect();
    }
    let all = words.iter().any(|word| word == "all");
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let context = Context::new()?;
    let (make, (key, message)) = timed(|| keygen(&context, &[0; 32], &mut rng));
    let (load, keys) = timed(|| EvaluationKeys::decode(&context, &[0; 32], &message));
    let keys = keys?;
    println!("keygen {make:.0} ms, decode {load:.0} ms, {} bytes", message.len());
    println!("44 bits; milliseconds");
    println!(
        "shape             noise   encrypt    expand  multiply   decrypt  expected  upload bytes   reply bytes  layout"
    );
    for tolerance in [6, EXACT] {
        for &shape in &shapes {
            let chosen = Layout::search(&context, shape, Operand::Weights, 44, tolerance, 1)?;
            let mut layouts = vec![chosen];
            if all {
                let others = Layout::all(&context, shape, Operand::Weights, 44, tolerance);
                layouts.extend(others.into_iter().filter(|l| l.price(1) < 4 * chosen.price(1)));
            }
            for layout in layouts {
                report(&context, &key, &keys, &layout, &mut rng)?;
            }
        }
    }
    Ok(())
}

fn report(
    context: &Context,
    key: &SecretKey,
    keys: &EvaluationKeys,
    layout: &Layout,
    rng: &mut ChaCha20Rng,
) -> Result<(), Error> {
    let MatmulShape { tokens, inner, outer } = layout.shape();
    let digits = (0..inner * outer).map(|_| rng.next_u32() as i16).collect();
    let w = Weights::new(digits, vec![Weights::MAX_SHIFT as u8; outer]);
    let mut best = [f64::INFINITY; 4];
    let (mut up, mut down) = (0, 0);
    for _ in 0..3 {
        let (encrypted, (upload, _)) = timed(|| encrypt_random(context, key, layout, rng));
        let (expanded, matrix) = timed(|| EncryptedMatrix::decode_random(context, layout, &upload));
        let job = Job { x: &matrix?, w: Plain::Weights(&w) };
        let (multiplied, (reply, _)) = timed(|| multiply(context, keys, &[job], rng));
        let (decrypted, shares) = timed(|| decrypt(context, key, &[*layout], &reply));
        shares?;
        for (best, now) in best.iter_mut().zip([encrypted, expanded, multiplied, decrypted]) {
            *best = best.min(now);
        }
        (up, down) = (upload.len(), reply.len());
    }
    let [encrypted, expanded, multiplied, decrypted] = best;
    println!(
        "{:<16} {:>6.1} {encrypted:>9.2} {expanded:>9.2} {multiplied:>9.2} {decrypted:>9.2} {:>9.2} {up:>13} {down:>13}  {layout}",
        format!("{tokens}x{inner}x{outer}"),
        layout.noise_bits(),
        layout.computation(1) as f64 / 1e6,
    );
    Ok(())
}
