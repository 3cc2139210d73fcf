//! Text to ids and back.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use common::{bytes, config, odd};
use proptest::prelude::*;
use serde_json::{Value, json};
use sotto_models::random::write_random_folder;
use sotto_models::{Config, Error, Fields, Tokenizer, tokenizer::Digest};

fn tokenizer(config: &Config) -> Tokenizer {
    let dir = tempfile::tempdir().unwrap();
    write_random_folder(dir.path(), config, 0).unwrap();
    Tokenizer::open(&dir.path().join("tokenizer.json"), config).unwrap()
}

fn parse(json: Value) -> Result<Tokenizer, Error> {
    Tokenizer::parse(Path::new("tokenizer.json"), json.to_string().into_bytes(), &bytes())
}

/// A tokenizer as LLaMA 2 has it: spaces as underscores, bytes as fallback, a space put before the
/// text and taken off.
fn sentencepiece() -> Tokenizer {
    parse(sentencepiece_json()).unwrap()
}

/// The same with a Metaspace decoder, as newer conversions have it.
fn metaspace() -> Tokenizer {
    let mut json = sentencepiece_json();
    json["normalizer"] = Value::Null;
    json["pre_tokenizer"] =
        json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "first", "split": false});
    json["decoder"] = json!({"type": "Sequence", "decoders": [
        {"type": "ByteFallback"},
        {"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "first", "split": false}]});
    parse(json).unwrap()
}

fn sentencepiece_json() -> Value {
    let bytes = (0..256).map(|b| (format!("<0x{b:02X}>"), b + 3));
    let words = ["<unk>", "<s>", "</s>"]
        .into_iter()
        .zip(0..)
        .chain(["\u{2581}", "\u{2581}a", "b"].into_iter().zip(259..));
    let vocab: serde_json::Map<_, _> =
        words.map(|(w, id)| (w.to_string(), id)).chain(bytes).map(|(w, id)| (w, json!(id))).collect();
    json!({
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
    })
}

/// The ids of a text's bytes in [`sentencepiece`] and [`metaspace`].
fn fallback(text: &str) -> Vec<u32> {
    text.bytes().map(|byte| u32::from(byte) + 3).collect()
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
    assert_eq!(a.digest().to_string(), blake3::hash(a.json()).to_hex().as_str());
    assert_eq!(a.digest().to_string().parse(), Ok(a.digest()));
    assert!("12".parse::<Digest>().unwrap_err().contains("64"));
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

/// Answers of single bytes, after prompts of single bytes: no character of either is spoilt by the
/// other.
#[test]
fn bytes_at_the_seam() {
    for tokenizer in [sentencepiece(), metaspace()] {
        for (prompt, answer) in [
            ("\u{e01}\u{10b1}", "\u{2890}\u{38e0}\u{4926}\u{5967}\u{6a29}\u{7aab}\u{8b2d}"),
            ("b \u{1f600}\u{1f600}", "\u{e9}"),
            ("b \u{1f600}\n\n", "\t"),
            ("b", "\u{1f600}"),
        ] {
            let prompt = tokenizer.encode(prompt, 99).unwrap();
            let (ids, mut all) = (fallback(answer), prompt.clone());
            all.extend(&ids);
            let pieces = streamed(&tokenizer, &prompt, &ids);
            assert_eq!(pieces.concat(), answer);
            assert!(!pieces.concat().contains('\u{fffd}'));
            let whole = [tokenizer.decode(&prompt).unwrap(), answer.into()].concat();
            assert_eq!(tokenizer.decode(&all).unwrap(), whole);
            // Each character comes with its last byte.
            let ends: Vec<_> = pieces.iter().filter(|piece| !piece.is_empty()).collect();
            assert_eq!(ends.len(), answer.chars().count());
        }
    }
}

/// A character that is never finished is shown at the end, and spoils no other.
#[test]
fn a_cut_character_spoils_no_other() {
    for tokenizer in [sentencepiece(), metaspace()] {
        let prompt = tokenizer.encode("b \u{1f600}", 99).unwrap();
        let ids = fallback("\u{1f600}\u{1f600}");
        let pieces = streamed(&tokenizer, &prompt, &ids[..6]);
        assert_eq!(pieces, ["", "", "", "\u{1f600}", "", "", "\u{fffd}\u{fffd}"]);
        // Broken in the middle: told as soon as that is certain.
        let pieces = streamed(&tokenizer, &prompt, &[ids[0], ids[1], 260, 261]);
        assert_eq!(pieces, ["", "", "\u{fffd}\u{fffd} a", "b", ""]);
    }
}

#[test]
fn a_prompt_cut_in_a_character_is_continued() {
    let (tokenizer, bytes) = (sentencepiece(), fallback("\u{1f600}"));
    assert_eq!(streamed(&tokenizer, &bytes[..2], &bytes[2..]).concat(), "\u{1f600}");
}

#[test]
fn special_tokens_that_the_text_spells_out_are_not_doubled() {
    let tokenizer = tokenizer(&bytes());
    let plain = tokenizer.encode("Hi", 9).unwrap();
    assert_eq!(tokenizer.encode("<s>Hi", 9).unwrap(), plain);
    assert_eq!(tokenizer.encode_rendered("<s>Hi", 9).unwrap(), plain);
    assert_eq!(tokenizer.encode_rendered("Hi", 9).unwrap(), plain[1..]);
    // Two that are written down are meant.
    assert_eq!(tokenizer.encode("<s><s>Hi", 9).unwrap().len(), 4);
    assert_eq!(tokenizer.encode("<s>", 9).unwrap(), [1]);
    assert!(tokenizer.encode_rendered("", 9).unwrap_err().to_string().contains("prompt is empty"));
    assert!(tokenizer.encode_rendered("Hi", 1).unwrap_err().to_string().contains("at most 1"));
    assert!(tokenizer.is_special(1) && !tokenizer.is_special(plain[1]) && !tokenizer.is_special(9999));
    assert_eq!((tokenizer.id_of("<s>"), tokenizer.id_of("<none>")), (Some(1), None));
}

#[test]
fn a_file_that_is_something_else_is_named() {
    let limit = |text: &str| {
        let error = Tokenizer::parse(Path::new("tokenizer.json"), text.into(), &bytes()).err().unwrap();
        error.to_string()
    };
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n";
    assert!(limit(pointer).contains("git-LFS pointer") && limit(pointer).contains("git lfs pull"));
    let marked = format!("\u{feff}{}", sentencepiece_json());
    assert!(limit(&marked).contains("byte order mark"));
}

proptest! {
    /// Any prompt, and any ids as an answer: the stream is what decoding at once gives.
    #[test]
    fn a_stream_is_the_whole_text(text in "\\PC{0,12}", answer in proptest::collection::vec(0u32..300, 0..120)) {
        for tokenizer in [tokenizer(&bytes()), sentencepiece(), metaspace()] {
            let prompt = tokenizer.encode(&text, 1000).unwrap_or_default();
            let answer: Vec<_> = answer.iter().map(|id| id % 262).collect();
            let all = [&prompt[..], &answer].concat();
            let (before, whole) = (tokenizer.decode(&prompt).unwrap(), tokenizer.decode(&all).unwrap());
            let pieces = streamed(&tokenizer, &prompt, &answer);
            prop_assert_eq!([before, pieces.concat()].concat(), whole);
        }
    }

    /// Where every character is whole, decoding is the library's.
    #[test]
    fn whole_text_is_decoded_as_by_the_library(text in "\\PC{1,40}") {
        for tokenizer in [sentencepiece(), metaspace()] {
            let library = tokenizers::Tokenizer::from_bytes(tokenizer.json()).unwrap();
            let ids = tokenizer.encode(&text, 1000).unwrap();
            prop_assert_eq!(tokenizer.decode(&ids).unwrap(), library.decode(&ids, true).unwrap());
        }
    }

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
