//! Every architecture in f32 against the outputs of another implementation.

#![allow(clippy::unwrap_used)]

#[path = "common/golden.rs"]
mod golden;

use sotto_models::Reference;

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

/// Attention to a window is full attention for texts no longer than the window.
#[test]
fn windows_limit_the_context() {
    for name in ["mistral-sliding", "qwen2-sliding"] {
        let model = golden::open(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        let window = model.folder.config().max_position_embeddings;
        assert!(window < model.tokens.len(), "{name}: {window}");
        assert!(model.folder.warnings()[0].contains("window"), "{name}");
        let logits = Reference::load(&model.folder).unwrap().logits(&model.tokens[..window]);
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
