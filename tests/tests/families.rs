//! Every kind of layer on two parties against the outputs of another implementation. Architectures
//! that differ in loading only are compared in f32 (`models/tests/golden.rs`).

#![allow(clippy::unwrap_used)]

#[path = "../../models/tests/common/golden.rs"]
mod golden;

use std::time::Duration;

use sotto_models::{
    Model, Task, Texts,
    evaluator::{scales::Scale, two_party::Caches},
    service::{self, History, Policy, Ranges, Revealed, Text, TokenizerSource},
};
use sotto_net::{Half, Link};
use sotto_protocol::{Client, Schedule, Server};
use sotto_shares::Rng;

/// Logits of all positions, by two parties.
fn evaluated(golden: &golden::Golden) -> (Vec<f32>, Ranges) {
    let texts = Texts::Tokens(vec![golden.in_context().to_vec()]);
    evaluated_by(golden, &Model::load(&golden.folder, &texts).unwrap())
}

fn evaluated_by(golden: &golden::Golden, model: &Model) -> (Vec<f32>, Ranges) {
    assert_eq!(model.findings(), [], "{:?}", golden.folder.config().architecture);
    let tokenizer = golden.folder.tokenizer();
    let (logits, served) = sotto_net::run_pair(
        |ch| async {
            let mut me = Client::establish(ch, Rng::from_seed([1; 32]), [0; 32]).await.unwrap();
            let offered = service::receive_offer(&mut me.session.ch, &TokenizerSource::Server).await.unwrap();
            service::evaluate(&mut me, &offered, golden.in_context()).await.unwrap()
        },
        |ch| async {
            let mut me = Server::establish(ch, Rng::from_seed([2; 32]), [0; 32]).await.unwrap();
            service::offer(&mut me.session.ch, model, tokenizer, Policy::default()).await.unwrap();
            service::serve(&mut me, model, Policy::default(), &mut Caches::default()).await
        },
    );
    served.unwrap();
    logits
}

#[test]
fn every_kind_of_layer_runs_on_two_parties() {
    for name in golden::LAYERS {
        let golden = golden::open(name).unwrap();
        let (logits, ranges) = evaluated(&golden);
        assert_eq!(ranges, Ranges::Kept, "{name}");
        let off = logits.iter().zip(&golden.logits).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        eprintln!("{name}: the largest difference of a logit is {off}");
        assert_eq!(logits.len(), golden.in_context().len() * golden.folder.config().vocab_size, "{name}");
        assert!(off < 0.05, "{name}: the largest difference of a logit is {off}");
    }
}

/// A client evaluates by the scales that a server sends, which may be of other layers' kinds: room
/// of queries and keys is of rotated ones, and scores under a cap are no differences.
#[test]
fn scales_that_a_layer_has_no_use_for_change_nothing() {
    for name in ["gpt2", "gemma2"] {
        let golden = golden::open(name).unwrap();
        let texts = Texts::Tokens(vec![golden.in_context().to_vec()]);
        let mut scales = Model::load(&golden.folder, &texts).unwrap().scales().clone();
        scales.layers.resize(golden.folder.config().num_hidden_layers, Scale::default());
        let room = if name == "gpt2" { 2 } else { 0 };
        scales.layers.iter_mut().for_each(|scale| (scale.scores, scale.relative) = (room, name == "gemma2"));
        let (logits, ranges) = evaluated_by(&golden, &Model::by_scales(&golden.folder, scales).unwrap());
        let off = logits.iter().zip(&golden.logits).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(ranges == Ranges::Kept && off < 0.05, "{name}: {off}");
    }
}

/// A connection whose delay is felt.
const FAR: Link = Link { rate: Some(1e9), rtt: Duration::from_millis(2) };
const NEAR: Link = Link { rate: Some(1e9), ..Link::LOOPBACK };

/// Logits after a prompt and after each token of the golden text that follows it, by two parties,
/// and the turns and bytes of the last token online.
fn continued(golden: &golden::Golden, prompt: usize, link: Link, schedule: Schedule) -> (Vec<f32>, [u64; 2]) {
    let (logits, online, _) = padded(golden, prompt, 1, (link, schedule));
    (logits, online)
}

/// The same of a prompt that is padded, and the length that the server saw.
fn padded(
    golden: &golden::Golden,
    prompt: usize,
    pad_to: usize,
    (link, schedule): (Link, Schedule),
) -> (Vec<f32>, [u64; 2], usize) {
    let tokens = golden.in_context();
    let model = Model::load(&golden.folder, &Texts::Tokens(vec![tokens.to_vec()])).unwrap();
    let (tokenizer, policy) = (golden.folder.tokenizer(), Policy::default());
    let (result, served) = sotto_net::run_pair_over(
        link,
        |ch| async {
            let mut me = Client::establish(ch, Rng::from_seed([1; 32]), [0; 32]).await.unwrap();
            if link == NEAR {
                me.session.assume_low_latency();
            }
            me.session.set_decode_schedule(schedule);
            let offered = service::receive_offer(&mut me.session.ch, &TokenizerSource::Server).await.unwrap();
            let (mut logits, mut next) = (vec![], tokens[prompt..].iter());
            let mut choose = |revealed: &Revealed| {
                let Revealed::Logits(row) = revealed else { panic!("logits are revealed") };
                logits.extend_from_slice(row);
                next.next().map_or((0, false), |&token| (token, true))
            };
            let new = tokens.len() - prompt + 1;
            let mut history = History::padded(pad_to);
            let ranges =
                service::generate(&mut me, &offered, &mut history, &tokens[..prompt], new, &mut choose);
            assert_eq!(ranges.await.unwrap(), Ranges::Kept);
            let online = me.session.ch.meter.spans().into_iter();
            let online = online.filter(|(key, _)| key.half == Half::Online && key.phase == "decode");
            let online =
                online.fold([0; 2], |[turns, bytes], (_, cost)| [turns + cost.turns, bytes + cost.bytes()]);
            (logits, online.map(|n| n / (new as u64 - 1)))
        },
        |ch| async {
            let mut me = Server::establish(ch, Rng::from_seed([2; 32]), [0; 32]).await.unwrap();
            if link == NEAR {
                me.session.assume_low_latency();
            }
            me.session.set_decode_schedule(schedule);
            service::offer(&mut me.session.ch, &model, tokenizer, policy).await.unwrap();
            service::serve(&mut me, &model, policy, &mut Caches::default()).await
        },
    );
    (result.0, result.1, served.unwrap().tokens)
}

/// What stands before a prompt is seen by nobody, whatever the layers are, and the server sees its
/// length only.
#[test]
fn padding_changes_no_answer() {
    for (name, schedule) in [
        ("olmo2", Schedule::Latency),
        ("gpt-neox", Schedule::Throughput),
        ("phi", Schedule::Latency),
        ("qwen3", Schedule::Throughput),
        ("smollm3", Schedule::Latency),
    ] {
        let golden = golden::open(name).unwrap();
        let prompt = golden.in_context().len() - 3;
        let context = golden.folder.config().longest();
        for pad_to in [4, 2 * prompt, 1000] {
            let (logits, _, seen) = padded(&golden, prompt, pad_to, (NEAR, schedule));
            // Three tokens follow the prompt and are read; after them one is made.
            assert_eq!(seen, prompt.next_multiple_of(pad_to).min(context - 3), "{name}");
            let vocabulary = golden.folder.config().vocab_size;
            let want = &golden.logits[(prompt - 1) * vocabulary..(prompt + 3) * vocabulary];
            let off = logits.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            eprintln!("{name}, {prompt} padded to {seen}: {off}");
            assert_eq!(logits.len(), want.len(), "{name}");
            assert!(off < 0.05, "{name}: the largest difference of a logit is {off}");
        }
    }
}

/// Norms of heads and behind blocks, and soft caps, make ahead what tokens to come take.
#[test]
fn answers_go_on_over_every_link() {
    for name in ["gemma2", "gemma3", "mistral", "olmo2", "qwen3"] {
        for (link, schedule) in [(NEAR, Schedule::Throughput), (FAR, Schedule::Latency)] {
            let golden = golden::open(name).unwrap();
            let (logits, [turns, bytes]) = continued(&golden, 2, link, schedule);
            let vocabulary = golden.folder.config().vocab_size;
            let want = &golden.logits[vocabulary..vocabulary + logits.len()];
            let off = logits.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            eprintln!("{name}, {schedule:?}: {off}; a token: {turns} turns, {bytes} bytes");
            assert_eq!(logits.len(), (golden.in_context().len() - 1) * vocabulary, "{name}");
            assert!(off < 0.05, "{name}: the largest difference of a logit is {off}");
        }
    }
}

/// What the client gets of a text, and of the same as two texts, by two parties.
fn encoded(golden: &golden::Golden) -> ([Vec<f32>; 2], Ranges) {
    let texts = Texts::Tokens(vec![golden.tokens.clone()]);
    let model = Model::load(&golden.folder, &texts).unwrap();
    let tokenizer = golden.folder.tokenizer();
    let (revealed, served) = sotto_net::run_pair(
        |ch| async {
            let mut me = Client::establish(ch, Rng::from_seed([1; 32]), [0; 32]).await.unwrap();
            let offered = service::receive_offer(&mut me.session.ch, &TokenizerSource::Server).await.unwrap();
            let firsts = [None, (!golden.pair.is_empty()).then_some(golden::FIRST)];
            let texts = firsts.map(|first| Text { ids: golden.tokens.clone(), first });
            let mut results = [vec![], vec![]];
            let mut each = |i: usize, revealed: Revealed| {
                let Revealed::Logits(numbers) = revealed else { panic!("numbers are revealed") };
                results[i] = numbers;
            };
            let ranges = service::encode(&mut me, &offered, &texts, &mut each).await.unwrap();
            (results, ranges)
        },
        |ch| async {
            let mut me = Server::establish(ch, Rng::from_seed([2; 32]), [0; 32]).await.unwrap();
            service::offer(&mut me.session.ch, &model, tokenizer, Policy::default()).await.unwrap();
            service::serve(&mut me, &model, Policy::default(), &mut Caches::default()).await
        },
    );
    let served = served.unwrap();
    assert_eq!((served.made, served.tokens), (2, 2 * golden.tokens.len()));
    revealed
}

/// What the task takes of the outputs of all positions.
fn taken(golden: &golden::Golden) -> Vec<f32> {
    let (config, n) = (golden.folder.config(), golden.tokens.len());
    let columns = config.outputs();
    match config.task() {
        Task::Embed => {
            let column = |j: usize| golden.logits.iter().skip(j).step_by(columns).sum::<f32>() / n as f32;
            (0..columns).map(column).collect()
        }
        Task::FillMask => {
            let mask = config.encoder().mask_token.unwrap();
            let at = golden.tokens.iter().position(|&id| id == mask).unwrap();
            golden.logits[at * columns..(at + 1) * columns].to_vec()
        }
        _ => golden.logits.clone(),
    }
}

#[test]
fn encoders_run_on_two_parties() {
    let all = std::env::var_os("SWEEP").is_some();
    for name in if all { golden::ENCODERS } else { golden::HEADS } {
        let golden = golden::open(name).unwrap();
        let ([first, second], ranges) = encoded(&golden);
        assert_eq!(ranges, Ranges::Kept, "{name}");
        let want = taken(&golden);
        let pair = if golden.pair.is_empty() { &want } else { &golden.pair };
        for (got, want) in [(first, &want), (second, pair)] {
            assert_eq!(got.len(), want.len(), "{name}");
            let off = got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off < 0.05, "{name}: the largest difference is {off}");
        }
    }
}
