//! A tokenizer without training: one token a byte, special tokens at the ids that the configuration
//! names, and made-up words in the remaining ids, which no text encodes to but which every model
//! can say.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::config::Config;

/// The text of a `tokenizer.json` with exactly `vocab_size` tokens. Where these are too few for all
/// bytes, the rarer ones read as `<unk>`.
pub(crate) fn tokenizer_json(config: &Config) -> String {
    let specials = specials(config);
    let free: Vec<u32> = (0..config.vocab_size as u32).filter(|id| !specials.contains_key(id)).collect();
    let scarce = free.len() < 256;
    let unknown = scarce.then(|| "<unk>".to_string());
    let words = unknown.iter().cloned().chain(bytes());
    let words = words.chain((0..).map(|n| format!("{}w{n}", spelled(b' '))));
    let mut names = specials.clone();
    names.extend(free.into_iter().zip(words));
    let vocab: BTreeMap<&String, &u32> = names.iter().map(|(id, name)| (name, id)).collect();
    let added: Vec<Value> = specials.iter().map(|(id, name)| added_token(*id, name)).collect();
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false,
    });
    let value = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": byte_level,
        "post_processor": config.bos_token_id.map(|id| starts_with(id, &specials[&id])),
        "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab,
            "merges": [],
        },
    });
    value.to_string()
}

/// The special tokens by id. One id may both begin and end a text.
fn specials(config: &Config) -> BTreeMap<u32, String> {
    let ends = config.eos_token_ids.iter().enumerate().map(|(n, &id)| match n {
        0 => (id, "</s>".to_string()),
        _ => (id, format!("</s{n}>")),
    });
    ends.chain(config.bos_token_id.map(|id| (id, "<s>".to_string()))).collect()
}

/// All bytes as tokens, those of plain text first.
fn bytes() -> impl Iterator<Item = String> {
    let common = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ' || *byte == b'\n';
    let rare = (0..=u8::MAX).filter(move |byte| !common(byte));
    (0..=u8::MAX).filter(common).chain(rare).map(|byte| spelled(byte).to_string())
}

/// A byte as byte-level tokenizers spell it: printable ones as themselves in Latin-1, the n-th
/// other one as `256 + n`.
fn spelled(byte: u8) -> char {
    let printable = |byte: &u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    if printable(&byte) {
        return byte.into();
    }
    let others_before = (0..byte).filter(|b| !printable(b)).count() as u32;
    char::from_u32(256 + others_before).expect("U+0100 to U+0143 are characters")
}

fn added_token(id: u32, name: &str) -> Value {
    json!({
        "id": id, "content": name, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true,
    })
}

fn starts_with(id: u32, name: &str) -> Value {
    let special = json!({ "SpecialToken": { "id": name, "type_id": 0 } });
    let a = json!({ "Sequence": { "id": "A", "type_id": 0 } });
    let b = json!({ "Sequence": { "id": "B", "type_id": 1 } });
    json!({
        "type": "TemplateProcessing",
        "single": [special, a],
        "pair": [special, a, b],
        "special_tokens": { name: { "id": name, "ids": [id], "tokens": [name] } },
    })
}
