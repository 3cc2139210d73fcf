//! Small models of every architecture, with outputs that another implementation computed: see
//! `models/tests/golden.py`.

#![allow(dead_code)]

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sotto_models::Folder;
use tempfile::TempDir;

/// A golden model, its tokens, and their logits position by position.
pub struct Golden {
    _dir: TempDir,
    pub folder: Folder,
    pub tokens: Vec<u32>,
    pub logits: Vec<f32>,
}

/// Opens the model of this name, with a tokenizer that has a word for each of its tokens.
pub fn open(name: &str) -> Result<Golden, sotto_models::Error> {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tests/data/golden").join(name);
    let json = |file: &Path| -> Value { serde_json::from_slice(&fs::read(file).unwrap()).unwrap() };
    let dir = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(files.join(file), dir.path().join(file)).unwrap();
    }
    let size = json(&files.join("config.json"))["vocab_size"].as_u64().unwrap();
    let vocab: serde_json::Map<String, Value> = (0..size).map(|id| (format!("t{id}"), json!(id))).collect();
    let tokenizer = json!({
        "version": "1.0", "added_tokens": [], "pre_tokenizer": { "type": "WhitespaceSplit" },
        "model": { "type": "WordLevel", "vocab": vocab, "unk_token": "t0" },
    });
    fs::write(dir.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let expected = json(&files.join("expected.json"));
    let tokens =
        expected["tokens"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
    let rows = expected["logits"].as_array().unwrap().iter();
    let logits = rows.flat_map(|row| row.as_array().unwrap()).map(|x| x.as_f64().unwrap() as f32).collect();
    let folder = Folder::open(dir.path())?;
    Ok(Golden { _dir: dir, folder, tokens, logits })
}

/// Those that are supported.
pub const SUPPORTED: &[&str] = &[
    "gemma",
    "gpt-neox",
    "gpt-neox-sequential",
    "gpt2",
    "granite",
    "llama-linear",
    "llama-llama3",
    "llama-yarn",
    "mistral",
    "phi",
    "phi3",
    "qwen2",
    "smollm3",
    "stablelm",
];

/// One for each kind of layer.
pub const LAYERS: &[&str] = &["gemma", "gpt-neox", "gpt-neox-sequential", "gpt2", "phi", "phi3", "smollm3"];

/// Those that are refused, and what the message says.
pub const REFUSED: &[(&str, &str)] = &[
    ("gemma2", "gemma2"),
    ("gemma3", "gemma3_text"),
    ("olmo2", "olmo2"),
    ("phi3-longrope", "longrope"),
    ("qwen3", "qwen3"),
    ("stablelm-parallel", "qk_layernorm"),
];
