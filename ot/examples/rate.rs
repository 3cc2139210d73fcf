//! Operations per second, both parties in this process, a core each:
//! `cargo run --release -p sotto-ot --example rate`.

use std::time::Instant;

use sotto_net::{Channel, run_pair};
use sotto_ot::{OtSession, lookup_message_len, pattern_message_len, random_one_hots};
use sotto_shares::{Ring, Rng};

const N: usize = 1 << 22;
const LOOKUPS: usize = N / 4;
const ONE_HOTS: usize = 20_000;

struct Laps {
    start: Instant,
    rates: Vec<(&'static str, f64)>,
}

impl Laps {
    fn start(&mut self) {
        self.start = Instant::now();
    }

    fn lap(&mut self, name: &'static str, n: usize) {
        self.rates.push((name, n as f64 / self.start.elapsed().as_secs_f64()));
        self.start();
    }
}

async fn party(mut ch: Channel, first: bool) -> Vec<(&'static str, f64)> {
    let mut rng = Rng::from_os();
    let mut laps = Laps { start: Instant::now(), rates: Vec::new() };
    let ch = &mut ch;
    let mut ot = OtSession::setup(ch, [1; 32], first, &mut rng).await.expect("setup");
    laps.lap("setups", 1);
    if first {
        let (arithmetic, _) = ot.reserve(ch, N, 0).await.expect("COTs");
        laps.lap("COTs, expanded by both at once", N);
        let (lookup, _) = ot.reserve(ch, N, 0).await.expect("COTs");
        let derand = ch.recv("rate/derand", N / 8).await.expect("bits");
        let (x, tables) = (vec![7; N], vec![1; LOOKUPS * 16]);
        laps.start();
        let (message, _) = arithmetic.cot_send(None, &x, &[32]);
        laps.lap("32-bit correlated OTs", N);
        ch.send("rate/cot", message).expect("send");
        laps.start();
        let (message, _) = lookup.lookup_send(4, &derand, &tables, 2);
        laps.lap("2-bit lookups at 4 bits", LOOKUPS);
        ch.send("rate/lookup", message).expect("send");
    } else {
        let (_, arithmetic) = ot.reserve(ch, 0, N).await.expect("COTs");
        laps.lap("COTs, expanded by both at once", N);
        let (_, lookup) = ot.reserve(ch, 0, N).await.expect("COTs");
        let indices = vec![3; LOOKUPS];
        ch.send("rate/derand", lookup.derandomise_indices(4, &indices)).expect("send");
        let message = ch.recv("rate/cot", pattern_message_len(N, &[32])).await.expect("message");
        laps.start();
        arithmetic.cot_recv(None, &[32], &message);
        laps.lap("32-bit correlated OTs", N);
        let message = ch.recv("rate/lookup", lookup_message_len(LOOKUPS, 4, 2)).await.expect("message");
        laps.start();
        lookup.lookup_recv(4, &indices, 2, &message);
        laps.lap("2-bit lookups at 4 bits", LOOKUPS);
    }
    ch.exchange("rate/sync", vec![0]).await.expect("sync");
    laps.start();
    random_one_hots(ch, &mut ot, ONE_HOTS, 8, Ring::new(8), &mut rng).await.expect("one-hots");
    laps.lap("one-hot vectors of 256", ONE_HOTS);
    laps.rates
}

fn main() {
    let (first, second) = run_pair(|ch| party(ch, true), |ch| party(ch, false));
    println!("{:40} {:>14} {:>14}", "per second", "first party", "second party");
    for ((name, a), (_, b)) in first.into_iter().zip(second) {
        println!("{name:40} {a:14.0} {b:14.0}");
    }
}
