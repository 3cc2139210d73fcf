//! Times of each side and bytes each way for products of several shapes.
//!
//! `cargo run --release -p sotto-he --example time_linear [T]x[K]x[M]...`; set `RAYON_NUM_THREADS` to choose threads.

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha20Rng;
use sotto_he::{
    Context, EncryptedMatrix, EvaluationKeys, Job, Layout, MatmulShape, Operand, Params, Plain, decrypt,
    encrypt, keygen, multiply,
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

fn main() -> Result<(), sotto_he::Error> {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    let shapes = if arguments.is_empty() { SHAPES } else { &arguments };
    for (name, params, bits) in [("fast", Params::fast(), 44), ("strict", Params::strict(), 64)] {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let context = Context::new(params)?;
        let (make, (key, message)) = timed(|| keygen(&context, &[0; 32], &mut rng));
        let (load, keys) = timed(|| EvaluationKeys::decode(&context, &[0; 32], &message));
        println!("{name}: keygen {make:.0} ms, decode {load:.0} ms, {} bytes", message.len());
        println!(
            "shape             noise   encrypt    expand  multiply   decrypt  upload bytes   reply bytes  layout"
        );
        for shape in shapes.split_whitespace().filter_map(parse) {
            let layout = Layout::search(&context, shape, Operand::Weights, bits, 1)?;
            report(&context, &key, keys.as_ref().map_err(Clone::clone)?, &layout, &mut rng)?;
        }
    }
    Ok(())
}

fn report(
    context: &Context,
    key: &sotto_he::SecretKey,
    keys: &EvaluationKeys,
    layout: &Layout,
    rng: &mut ChaCha20Rng,
) -> Result<(), sotto_he::Error> {
    let MatmulShape { tokens, inner, outer } = layout.shape();
    let x: Vec<u64> = (0..tokens * inner).map(|_| rng.next_u64()).collect();
    let w: Vec<i16> = (0..inner * outer).map(|_| rng.next_u32() as i16).collect();
    let mut best = [f64::INFINITY; 4];
    let (mut up, mut down) = (0, 0);
    for _ in 0..3 {
        let (encrypted, upload) = timed(|| encrypt(context, key, layout, &x, rng));
        let (expanded, matrix) = timed(|| EncryptedMatrix::decode(context, layout, &upload));
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
        "{:<16} {:>6.1} {encrypted:>9.2} {expanded:>9.2} {multiplied:>9.2} {decrypted:>9.2} {up:>13} {down:>13}  {layout}",
        format!("{tokens}x{inner}x{outer}"),
        layout.noise_bits(),
    );
    Ok(())
}
