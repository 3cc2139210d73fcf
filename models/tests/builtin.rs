//! The built-in model against the reference that was written when it was trained.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use serde::Deserialize;
use sotto_models::sampling::greedy;
use sotto_models::{Folder, Model, Reference, Texts};
use sotto_protocol::Precision;

/// What another program, which shares no code with this one, makes of a prompt.
#[derive(Deserialize)]
struct Golden {
    prompt: String,
    prompt_ids: Vec<u32>,
    /// The likeliest continuation, beyond the end of the story too.
    greedy_ids: Vec<u32>,
    greedy_text: String,
    /// Of the position after the prompt.
    last_prompt_logits_first8: Vec<f32>,
}

fn golden() -> Vec<Golden> {
    serde_json::from_str(include_str!("../builtin/train/golden.json")).unwrap()
}

#[test]
fn tells_the_same_stories() {
    let folder = Folder::builtin().unwrap();
    let mut model = Reference::load(&folder).unwrap();
    for golden in golden() {
        assert_eq!(folder.tokenizer().encode(&golden.prompt, 100).unwrap(), golden.prompt_ids);
        model.reset();
        let mut logits = model.next_logits(&golden.prompt_ids);
        for (actual, expected) in logits.iter().zip(&golden.last_prompt_logits_first8) {
            assert!((actual - expected).abs() < 2e-3, "{actual}, expected {expected}");
        }
        for (step, &expected) in golden.greedy_ids.iter().enumerate() {
            assert_eq!(greedy(&logits), expected, "{:?}, step {step}", golden.prompt);
            logits = model.next_logits(&[expected]);
        }
        assert_eq!(folder.tokenizer().decode(&golden.greedy_ids).unwrap(), golden.greedy_text);
    }
}

#[test]
fn an_answer_stops_at_its_end() {
    let folder = Folder::builtin().unwrap();
    let mut model = Reference::load(&folder).unwrap();
    for golden in golden() {
        let answer = model.generate(&golden.prompt_ids, golden.greedy_ids.len());
        assert!(golden.greedy_ids.starts_with(&answer));
        let ended = answer.last().is_some_and(|last| folder.config().eos_token_ids.contains(last));
        assert!(ended || answer.len() == golden.greedy_ids.len());
    }
}

/// Rounded weights are a part of what fixed point costs, and the same by either precision.
#[test]
fn errors_have_their_sources() {
    let folder = Folder::builtin().unwrap();
    let model = Model::load(&folder, &Texts::default()).unwrap();
    let texts: Vec<Vec<u32>> = golden().into_iter().map(|golden| golden.prompt_ids).collect();
    let weights = model.agreement_of_weights(&folder, &texts).unwrap();
    let [default, high] = Precision::ALL.map(|p| model.agreement(&folder, &texts, p).unwrap());
    eprintln!("{} of {} and {}", weights.largest, default.largest, high.largest);
    assert_eq!(weights.same, weights.positions);
    assert!(weights.largest > 1e-5 && weights.largest < high.largest && high.largest < default.largest);
    assert!(default.largest < 0.02);
}

#[test]
fn is_the_folder_on_disk() {
    let disk = Folder::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("builtin")).unwrap();
    let builtin = Folder::builtin().unwrap();
    assert_eq!(builtin.config(), disk.config());
    assert_eq!(builtin.tokenizer().digest(), disk.tokenizer().digest());
}
