//! Small models of every architecture, with outputs that another implementation computed: see
//! `models/tests/golden.py`.

#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sotto_models::Folder;
use tempfile::TempDir;

/// A golden model, its tokens, and their logits position by position; of a bare encoder, its rows.
pub struct Golden {
    pub dir: TempDir,
    pub folder: Folder,
    pub tokens: Vec<u32>,
    pub logits: Vec<f32>,
    /// The same if all tokens but the first five are a second text, where that was computed.
    pub pair: Vec<f32>,
}

impl Golden {
    /// The tokens that the context has room for.
    pub fn in_context(&self) -> &[u32] {
        &self.tokens[..self.tokens.len().min(self.folder.config().max_position_embeddings)]
    }
}

/// Tokens of the first of two texts.
pub const FIRST: usize = 5;

fn files(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tests/data/golden").join(name)
}

fn json(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

fn tokens(expected: &Value) -> Vec<u32> {
    expected["tokens"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

/// The folder of the model of this name, with a tokenizer that has a word for each of its tokens.
pub fn prepare(name: &str) -> TempDir {
    let files = files(name);
    let dir = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(files.join(file), dir.path().join(file)).unwrap();
    }
    let size = json(&files.join("config.json"))["vocab_size"].as_u64().unwrap();
    let tokens = tokens(&json(&files.join("expected.json")));
    // A token that occurs once is the mask.
    let once = |id: &&u32| tokens.iter().filter(|other| other == id).count() == 1;
    let mask = u64::from(**tokens.iter().find(once).as_ref().unwrap());
    let name = |id: u64| if id == mask { "[MASK]".to_string() } else { format!("t{id}") };
    let vocab: serde_json::Map<String, Value> = (0..size).map(|id| (name(id), json!(id))).collect();
    let tokenizer = json!({
        "version": "1.0", "added_tokens": [], "pre_tokenizer": { "type": "WhitespaceSplit" },
        "model": { "type": "WordLevel", "vocab": vocab, "unk_token": "t0" },
    });
    fs::write(dir.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    dir
}

/// Opens it, with what is expected of it.
pub fn open(name: &str) -> Result<Golden, sotto_models::Error> {
    let (dir, expected) = (prepare(name), json(&files(name).join("expected.json")));
    let tokens = tokens(&expected);
    let outputs = if expected["logits"].is_null() { &expected["hidden"] } else { &expected["logits"] };
    let logits = numbers(outputs);
    let folder = Folder::open(dir.path())?;
    let pair = numbers(&expected["pair"]);
    Ok(Golden { dir, folder, tokens, logits, pair })
}

/// All numbers of an array, or of its rows.
fn numbers(array: &Value) -> Vec<f32> {
    match array {
        Value::Array(rows) => rows.iter().flat_map(numbers).collect(),
        Value::Null => vec![],
        number => vec![number.as_f64().unwrap() as f32],
    }
}

/// Decoders that are supported.
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
    "olmo2",
    "phi",
    "phi3",
    "qwen2",
    "qwen3",
    "smollm3",
    "stablelm",
];

/// Decoders whose attention sees a window: the context ends where the window does.
pub const WINDOWS: &[&str] = &["gemma2", "gemma3", "mistral-sliding", "qwen2-sliding"];

/// Encoders that are supported.
pub const ENCODERS: &[&str] = &[
    "bert",
    "bert-masked",
    "bert-question",
    "bert-sequence",
    "bert-token",
    "distilbert",
    "distilbert-masked",
    "distilbert-sequence",
    "electra",
    "electra-masked",
    "electra-sequence",
    "roberta",
    "roberta-masked",
    "roberta-sequence",
    "xlm-roberta",
    "xlm-roberta-sequence",
];

/// One for each kind of head and of embedding.
pub const HEADS: &[&str] =
    &["bert", "bert-masked", "bert-question", "distilbert-sequence", "electra-masked", "roberta-sequence"];

/// One for each kind of layer.
pub const LAYERS: &[&str] = &[
    "gemma",
    "gemma2",
    "gemma3",
    "gpt-neox",
    "gpt-neox-sequential",
    "gpt2",
    "olmo2",
    "phi",
    "phi3",
    "qwen3",
    "smollm3",
];

/// Those that are refused, and what the message says.
pub const REFUSED: &[(&str, &str)] = &[
    ("electra-discriminator", "ElectraForPreTraining"),
    ("modernbert", "modernbert"),
    ("phi3-longrope", "longrope"),
    ("stablelm-parallel", "qk_layernorm"),
];
