//! Text to ids and back.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use common::{bytes, config, odd};
use proptest::prelude::*;
use serde_json::{Value, json};
use sotto_models::random::write_random_folder;
use sotto_models::{Config, Error, Fields, Tokenizer};

fn tokenizer(config: &Config) -> Tokenizer {
    let dir = tempfile::tempdir().unwrap();
    write_random_folder(dir.path(), config, 0).unwrap();
    Tokenizer::open(&dir.path().join("tokenizer.json"), config).unwrap()
}

fn parse(json: Value) -> Result<Tokenizer, Error> {
    Tokenizer::parse(Path::new("tokenizer.json"), json.to_string().into_bytes(), &bytes())
}

/// A tokenizer as LLaMA 2 has it: spaces as underscores, bytes as fallback, a space put before the text and
/// taken off.
fn sentencepiece() -> Tokenizer {
    let bytes = (0..256).map(|b| (format!("<0x{b:02X}>"), b + 3));
    let words = ["<unk>", "<s>", "</s>"]
        .into_iter()
        .zip(0..)
        .chain(["\u{2581}", "\u{2581}a", "b"].into_iter().zip(259..));
    let vocab: serde_json::Map<_, _> =
        words.map(|(w, id)| (w.to_string(), id)).chain(bytes).map(|(w, id)| (w, json!(id))).collect();
    let json = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [{"id": 2, "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true}],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "\u{2581}"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"}]},
        "pre_tokenizer": null, "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true,
            "vocab": vocab, "merges": []},
    });
    parse(json).unwrap()
}

fn streamed(tokenizer: &Tokenizer, prompt: &[u32], ids: &[u32]) -> Vec<String> {
    let mut stream = tokenizer.stream(prompt).unwrap();
    let mut pieces: Vec<_> = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
    pieces.push(stream.finish().unwrap());
    pieces
}

#[test]
fn a_prompt_begins_with_its_special_token() {
    let ids = tokenizer(&bytes()).encode("Hi", 100).unwrap();
    assert_eq!(ids.len(), 3);
    assert_eq!(ids[0], 1);
    let none = config(Fields { bos_token_id: None, vocab_size: 300, ..odd() });
    assert_eq!(tokenizer(&none).encode("Hi", 100).unwrap().len(), 2);
}

#[test]
fn empty_and_overlong_prompts() {
    let tokenizer = tokenizer(&bytes());
    assert!(tokenizer.encode("", 9).unwrap_err().to_string().contains("prompt is empty"));
    let message = tokenizer.encode("twelve bytes", 12).unwrap_err().to_string();
    assert!(message.contains("13 tokens") && message.contains("at most 12"), "{message}");
    assert!(tokenizer.encode("twelve bytes", 13).is_ok());
}

#[test]
fn ids_out_of_range_are_named() {
    let tokenizer = tokenizer(&bytes());
    let mut stream = tokenizer.stream(&[]).unwrap();
    for error in [tokenizer.decode(&[5, 300]).unwrap_err(), stream.push(300).unwrap_err()] {
        assert!(error.to_string().contains("300 is out of range"), "{error}");
    }
    assert!(tokenizer.stream(&[300]).is_err());
}

#[test]
fn a_post_processor_cannot_smuggle_ids() {
    let mut json: Value = serde_json::from_slice(tokenizer(&bytes()).json()).unwrap();
    json["post_processor"]["special_tokens"]["<s>"]["ids"] = json!([70_000]);
    assert!(parse(json).unwrap().encode("a", 10).unwrap_err().to_string().contains("70000"));
}

#[test]
fn a_file_on_which_the_library_panics_is_an_error() {
    let mut json: Value = serde_json::from_slice(tokenizer(&bytes()).json()).unwrap();
    json["post_processor"]["single"][0]["SpecialToken"]["id"] = json!("nowhere");
    let message = parse(json).and_then(|t| t.encode("a", 10)).unwrap_err().to_string();
    assert!(message.contains("tokenizer"), "{message}");
}

#[test]
fn truncation_and_padding_in_the_file_are_ignored() {
    let mut json: Value = serde_json::from_slice(tokenizer(&bytes()).json()).unwrap();
    json["truncation"] =
        json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
    json["padding"] = json!({"strategy": {"Fixed": 50}, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "x"});
    assert_eq!(parse(json).unwrap().encode("hello", 100).unwrap().len(), 6);
}

#[test]
fn the_digest_tells_files_apart() {
    let (a, b) = (tokenizer(&bytes()), tokenizer(&config(odd())));
    assert_eq!(a.digest(), tokenizer(&bytes()).digest());
    assert_eq!(a.digest(), <[u8; 32]>::from(blake3::hash(a.json())));
    assert_ne!(a.digest(), b.digest());
}

#[test]
fn a_small_vocabulary_has_an_unknown_token() {
    let tokenizer = tokenizer(&config(odd()));
    let ids = tokenizer.encode("Plain text, 1 line.\n", 50).unwrap();
    assert_eq!(tokenizer.decode(&ids).unwrap(), "Plain text, 1 line.\n");
    let ids = tokenizer.encode("\u{e9}", 50).unwrap();
    assert_eq!(ids.len(), 3);
}

#[test]
fn characters_are_shown_whole() {
    let tokenizer = tokenizer(&bytes());
    let ids = &tokenizer.encode("a\u{1f642}\u{e9}", 50).unwrap()[1..];
    assert_eq!(streamed(&tokenizer, &[1], ids), ["a", "", "", "", "\u{1f642}", "", "\u{e9}", ""]);
    assert_eq!(streamed(&tokenizer, &[1], &ids[..3]), ["a", "", "", "\u{fffd}"]);
}

#[test]
fn garbage_is_not_held_back_for_ever() {
    let tokenizer = tokenizer(&bytes());
    let ids = tokenizer.encode("\u{e9}", 50).unwrap();
    let pieces = streamed(&tokenizer, &[], &[ids[1]; 100]);
    assert!(pieces[..20].iter().any(|piece| piece.contains('\u{fffd}')));
    assert_eq!(pieces.concat().chars().count(), 100);
}

#[test]
fn special_tokens_are_not_shown() {
    let tokenizer = tokenizer(&bytes());
    let ids = [1, tokenizer.encode("x", 9).unwrap()[1], 2];
    assert_eq!(tokenizer.decode(&ids).unwrap(), "x");
    assert_eq!(streamed(&tokenizer, &[], &ids).concat(), "x");
}

#[test]
fn spaces_at_the_seam_survive() {
    let tokenizer = sentencepiece();
    let prompt = tokenizer.encode("b", 9).unwrap();
    assert_eq!(streamed(&tokenizer, &prompt, &[260, 261, 260, 2]), [" a", "b", " a", "", ""]);
    // Without a prompt the decoder takes the first space off.
    assert_eq!(streamed(&tokenizer, &[], &[260, 260]), ["a", " a", ""]);
}

proptest! {
    #[test]
    fn text_survives(text in "\\PC{1,40}") {
        let tokenizers = [tokenizer(&bytes()), sentencepiece()];
        for tokenizer in &tokenizers {
            let ids = tokenizer.encode(&text, 1000).unwrap();
            prop_assert!(ids.iter().all(|&id| id < 300));
            let whole = tokenizer.decode(&ids).unwrap();
            prop_assert_eq!(streamed(tokenizer, &[], &ids).concat(), whole);
        }
        let ids = tokenizers[0].encode(&text, 1000).unwrap();
        prop_assert_eq!(tokenizers[0].decode(&ids).unwrap(), text);
    }
}
