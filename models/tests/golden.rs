//! Every architecture in f32 against the outputs of another implementation.

#![allow(clippy::unwrap_used)]

#[path = "common/golden.rs"]
mod golden;

use sotto_models::{Reference, Tokens};

#[test]
fn every_architecture_gives_the_logits_of_transformers() {
    for name in golden::SUPPORTED {
        let model = golden::open(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(model.folder.warnings(), [""; 0], "{name}");
        let logits = Reference::load(&model.folder).unwrap().logits(&model.tokens);
        assert_eq!(logits.len(), model.logits.len(), "{name}");
        let off = logits.iter().zip(&model.logits).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 2e-4, "{name}: the largest difference of a logit is {off}");
    }
}

#[test]
fn every_encoder_gives_the_outputs_of_transformers() {
    for name in golden::ENCODERS {
        let model = golden::open(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        let outputs = Reference::load(&model.folder).unwrap().logits(&model.tokens);
        assert_eq!(outputs.len(), model.logits.len(), "{name}");
        let off = outputs.iter().zip(&model.logits).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 2e-4, "{name}: the largest difference is {off}");
    }
}

#[test]
fn the_second_of_two_texts_has_another_type() {
    let model = golden::open("bert-question").unwrap();
    let tokens = Tokens::Pair(&model.tokens, golden::FIRST);
    let outputs = Reference::load(&model.folder).unwrap().evaluate(tokens, false);
    assert_eq!(outputs.len(), model.pair.len());
    let off = outputs.iter().zip(&model.pair).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(off < 2e-4, "the largest difference is {off}");
}

/// Attention to a window is full attention for texts no longer than the window.
#[test]
fn windows_limit_the_context() {
    for name in golden::WINDOWS {
        let model = golden::open(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        let window = model.folder.config().max_position_embeddings;
        assert!(window < model.tokens.len(), "{name}: {window}");
        assert!(model.folder.warnings()[0].contains("window"), "{name}");
        let logits = Reference::load(&model.folder).unwrap().logits(model.in_context());
        let off = logits.iter().zip(&model.logits).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 2e-4, "{name}: the largest difference of a logit is {off}");
    }
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    for (name, words) in golden::REFUSED {
        let message = golden::open(name).err().unwrap_or_else(|| panic!("{name} was accepted")).to_string();
        assert!(message.contains(words) && !message.contains('\n'), "{name}: {message}");
    }
}
