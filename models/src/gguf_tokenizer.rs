//! The tokenizer of a GGUF file, as the text of a `tokenizer.json`.
//!
//! Two kinds are read: `gpt2`, BPE on bytes with merges, whose splitting into words has a name in
//! `tokenizer.ggml.pre`; and `llama`, SentencePiece with scores, written as BPE whose merges are in
//! the order of the scores.

use std::collections::HashMap;

use serde_json::{Map, Value as Json, json};

use crate::error::{ConfigError, Error};
use crate::gguf::{Gguf, Value};
use crate::gguf_model::Metadata;

const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";
const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const MERGES: &str = "tokenizer.ggml.merges";
const SCORES: &str = "tokenizer.ggml.scores";

/// Numbers in `tokenizer.ggml.token_type`.
const UNKNOWN: u64 = 2;
const USER_DEFINED: u64 = 4;

/// Words of GPT-2, digits in threes: the expression of LLaMA 3's `tokenizer.json`.
const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The same with single digits: that of Qwen 2.
const QWEN_2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The text of a `tokenizer.json`.
///
/// # Errors
///
/// Names the field of the metadata that is missing or unsupported.
pub(crate) fn tokenizer_json(gguf: &Gguf) -> Result<Vec<u8>, Error> {
    let metadata = Metadata(gguf);
    let json = Vocabulary::read(&metadata).and_then(|vocabulary| match metadata.text(MODEL)? {
        Some("gpt2") => byte_level(&metadata, &vocabulary),
        Some("llama") => sentencepiece(&metadata, &vocabulary),
        _ => Err(metadata.refuse(MODEL, "\"gpt2\" or \"llama\"")),
    });
    json.map(|json| json.to_string().into_bytes()).map_err(|reason| metadata.error(reason))
}

/// The text of the token that begins or ends a text: `key` is `bos_token_id` or `eos_token_id`.
pub(crate) fn named_token(gguf: &Gguf, key: &str) -> Option<String> {
    let metadata = Metadata(gguf);
    let id = metadata.size(&format!("tokenizer.ggml.{key}")).ok()??;
    match metadata.list(TOKENS).ok()??.get(usize::try_from(id).ok()?)? {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    }
}

struct Vocabulary<'a> {
    /// By id.
    tokens: Vec<&'a str>,
    /// By id.
    types: Vec<u64>,
    ids: HashMap<&'a str, usize>,
}

impl<'a> Vocabulary<'a> {
    fn read(metadata: &'a Metadata) -> Result<Vocabulary<'a>, ConfigError> {
        let tokens = texts(metadata, TOKENS)?;
        let types = match metadata.list(TYPES)? {
            None => vec![1; tokens.len()],
            Some(list) => list.iter().map(natural).collect(),
        };
        if types.len() != tokens.len() {
            return Err(metadata.refuse(TYPES, &format!("one for each of {} tokens", tokens.len())));
        }
        let ids: HashMap<_, _> = tokens.iter().copied().zip(0..).collect();
        if ids.len() < tokens.len() {
            return Err(metadata.refuse(TOKENS, "no text twice"));
        }
        Ok(Vocabulary { tokens, types, ids })
    }

    fn json(&self) -> Map<String, Json> {
        self.tokens.iter().enumerate().map(|(id, token)| (token.to_string(), json!(id))).collect()
    }

    /// Tokens that are found in a text before it is split.
    fn added(&self) -> Vec<Json> {
        let added =
            self.types.iter().enumerate().filter(|(_, kind)| matches!(**kind, UNKNOWN..=USER_DEFINED));
        added
            .map(|(id, &kind)| {
                json!({
                    "id": id, "content": self.tokens[id], "single_word": false, "lstrip": false,
                    "rstrip": false, "normalized": false, "special": kind != USER_DEFINED,
                })
            })
            .collect()
    }

    fn token(&self, metadata: &Metadata, key: &str) -> Result<Option<(usize, &'a str)>, ConfigError> {
        let Some(id) = metadata.size(key)? else { return Ok(None) };
        let id = usize::try_from(id).unwrap_or(usize::MAX);
        match self.tokens.get(id) {
            Some(&token) => Ok(Some((id, token))),
            None => Err(metadata.refuse(key, &format!("an id below {}", self.tokens.len()))),
        }
    }
}

/// BPE on bytes.
fn byte_level(metadata: &Metadata, vocabulary: &Vocabulary) -> Result<Json, ConfigError> {
    let words = |use_regex: bool| json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex });
    let split = |pattern: &str| {
        let split = json!({
            "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false,
        });
        json!({ "type": "Sequence", "pretokenizers": [split, words(false)] })
    };
    let (pre_tokenizer, begins, whole_words) = match metadata.text(PRE)? {
        Some("gpt-2" | "phi-2" | "gigachat" | "olmo") => (words(true), false, false),
        Some("smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone") => {
            let digits = json!({ "type": "Digits", "individual_digits": true });
            (json!({ "type": "Sequence", "pretokenizers": [digits, words(true)] }), false, false)
        }
        Some("llama3" | "llama-v3" | "llama-bpe" | "falcon3") => (split(LLAMA_3), true, true),
        Some("qwen2" | "deepseek-r1-qwen" | "megrez") => (split(QWEN_2), false, false),
        _ => {
            let known = "\"gpt-2\", \"smollm\", \"starcoder\", \"llama-bpe\" or \"qwen2\"";
            return Err(metadata.refuse(PRE, known));
        }
    };
    let mut merges = Vec::new();
    for merge in texts(metadata, MERGES)? {
        match merge.split_once(' ') {
            Some((a, b)) => merges.push([a, b]),
            None => return Err(metadata.refuse(MERGES, "pairs with a space between")),
        }
    }
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": vocabulary.added(),
        "normalizer": null,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": frame(metadata, vocabulary, begins)?,
        "decoder": words(true),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": whole_words, "vocab": vocabulary.json(), "merges": merges,
        },
    }))
}

/// SentencePiece.
fn sentencepiece(metadata: &Metadata, vocabulary: &Vocabulary) -> Result<Json, ConfigError> {
    let scores: Option<Vec<f64>> = metadata.list(SCORES)?.and_then(|list| list.iter().map(real).collect());
    let Some(scores) = scores.filter(|scores| scores.len() == vocabulary.tokens.len()) else {
        return Err(metadata.refuse(SCORES, "a number for each token"));
    };
    let prefix = metadata.flag_or("tokenizer.ggml.add_space_prefix", true)?;
    let space = "\u{2581}";
    let spaces = json!({ "type": "Replace", "pattern": { "String": " " }, "content": space });
    let begin = json!({ "type": "Prepend", "prepend": space });
    let normalizers = if prefix { vec![begin, spaces] } else { vec![spaces] };
    let mut decoders = vec![
        json!({ "type": "Replace", "pattern": { "String": space }, "content": " " }),
        json!({ "type": "ByteFallback" }),
        json!({ "type": "Fuse" }),
    ];
    if prefix {
        decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
    }
    let unknown = vocabulary.types.iter().position(|&kind| kind == UNKNOWN);
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": vocabulary.added(),
        "normalizer": { "type": "Sequence", "normalizers": normalizers },
        "pre_tokenizer": null,
        "post_processor": frame(metadata, vocabulary, true)?,
        "decoder": { "type": "Sequence", "decoders": decoders },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": unknown.map(|id| vocabulary.tokens[id]),
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": true,
            "byte_fallback": true, "ignore_merges": false, "vocab": vocabulary.json(),
            "merges": merges(vocabulary, &scores),
        },
    }))
}

/// All ways to put a token together from two others, those of the best scores first.
fn merges<'a>(vocabulary: &Vocabulary<'a>, scores: &[f64]) -> Vec<[&'a str; 2]> {
    let mut ranked: Vec<usize> = (0..scores.len()).collect();
    ranked.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let splits = |id: usize| {
        let token = vocabulary.tokens[id];
        let pairs = token.char_indices().skip(1).map(|(at, _)| token.split_at(at));
        let mut known: Vec<_> = pairs
            .filter_map(|(a, b)| Some((vocabulary.ids.get(a)?, vocabulary.ids.get(b)?, [a, b])))
            .collect();
        known.sort();
        known.into_iter().map(|(_, _, pair)| pair)
    };
    ranked.into_iter().flat_map(splits).collect()
}

/// The tokens that begin and end every text.
fn frame(metadata: &Metadata, vocabulary: &Vocabulary, begins: bool) -> Result<Json, ConfigError> {
    let wanted = |flag: &str, absent, id: &str| match metadata.flag_or(flag, absent)? {
        true => vocabulary.token(metadata, id),
        false => Ok(None),
    };
    let begin = wanted("tokenizer.ggml.add_bos_token", begins, "tokenizer.ggml.bos_token_id")?;
    let end = wanted("tokenizer.ggml.add_eos_token", false, "tokenizer.ggml.eos_token_id")?;
    if begin.is_none() && end.is_none() {
        return Ok(Json::Null);
    }
    let special = |token: Option<(usize, &str)>, part: u8| {
        token.map(|(_, name)| json!({ "SpecialToken": { "id": name, "type_id": part } }))
    };
    let whole = |part: u8, name: &str| {
        let text = json!({ "Sequence": { "id": name, "type_id": part } });
        special(begin, part).into_iter().chain([text]).chain(special(end, part)).collect::<Vec<_>>()
    };
    let named: Map<String, Json> = begin
        .into_iter()
        .chain(end)
        .map(|(id, name)| (name.to_string(), json!({ "id": name, "ids": [id], "tokens": [name] })))
        .collect();
    let pair = [whole(0, "A"), whole(1, "B")].concat();
    Ok(json!({
        "type": "TemplateProcessing",
        "single": whole(0, "A"),
        "pair": pair,
        "special_tokens": named,
    }))
}

fn texts<'a>(metadata: &'a Metadata, key: &str) -> Result<Vec<&'a str>, ConfigError> {
    let text = |value: &'a Value| match value {
        Value::Text(text) => Some(text.as_str()),
        _ => None,
    };
    let list = metadata.list(key)?.and_then(|list| list.iter().map(text).collect());
    list.ok_or_else(|| metadata.refuse(key, "a list of texts"))
}

fn natural(value: &Value) -> u64 {
    match *value {
        Value::Natural(n) => n,
        Value::Integer(n) => n.try_into().unwrap_or(0),
        _ => 0,
    }
}

fn real(value: &Value) -> Option<f64> {
    match *value {
        Value::Real(x) => Some(x),
        _ => None,
    }
}
