//! Models in GGUF files: every type against another reader, and the whole against the folder that
//! it came from.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/golden.rs"]
mod golden;

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use candle_core::{Device, quantized::gguf_file};
use common::{config, odd, read};
use half::f16;
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sotto_models::random::write_random_folder;
use sotto_models::{Config, Fields, Folder, Reference, RopeScaling, Tokenizer};
use tempfile::TempDir;

/// Number, values and bytes of a block, and where its half-precision numbers are.
const TYPES: [(&str, u32, usize, usize, &[usize]); 11] = [
    ("F32", 0, 1, 4, &[]),
    ("F16", 1, 1, 2, &[0]),
    ("Q4_0", 2, 32, 18, &[0]),
    ("Q4_1", 3, 32, 20, &[0, 2]),
    ("Q5_0", 6, 32, 22, &[0]),
    ("Q5_1", 7, 32, 24, &[0, 2]),
    ("Q8_0", 8, 32, 34, &[0]),
    ("Q4_K", 12, 256, 144, &[0, 2]),
    ("Q5_K", 13, 256, 176, &[0, 2]),
    ("Q6_K", 14, 256, 210, &[208]),
    ("BF16", 30, 1, 2, &[]),
];

fn shape() -> Fields {
    Fields {
        vocab_size: 300,
        hidden_size: 256,
        intermediate_size: 256,
        num_hidden_layers: 2,
        num_attention_heads: 8,
        num_key_value_heads: 4,
        head_dim: 32,
        eos_token_ids: vec![2, 3],
        ..odd()
    }
}

/// A value of the metadata, with the number of its type.
#[derive(Clone)]
enum Meta {
    Natural(u32),
    Real(f32),
    Flag(bool),
    Text(String),
    Texts(Vec<String>),
    Reals(Vec<f32>),
    Integers(Vec<i32>),
}

impl Meta {
    fn write(&self, out: &mut Vec<u8>) {
        let text = |out: &mut Vec<u8>, text: &str| {
            out.extend((text.len() as u64).to_le_bytes());
            out.extend(text.as_bytes());
        };
        let head = |out: &mut Vec<u8>, kind: u32, length: usize| {
            out.extend(9u32.to_le_bytes());
            out.extend(kind.to_le_bytes());
            out.extend((length as u64).to_le_bytes());
        };
        match self {
            Meta::Natural(n) => out.extend([4u32.to_le_bytes(), n.to_le_bytes()].concat()),
            Meta::Real(x) => out.extend([6u32.to_le_bytes(), x.to_le_bytes()].concat()),
            Meta::Flag(flag) => out.extend([&7u32.to_le_bytes()[..], &[u8::from(*flag)]].concat()),
            Meta::Text(t) => {
                out.extend(8u32.to_le_bytes());
                text(out, t);
            }
            Meta::Texts(list) => {
                head(out, 8, list.len());
                list.iter().for_each(|t| text(out, t));
            }
            Meta::Reals(list) => {
                head(out, 6, list.len());
                list.iter().for_each(|x| out.extend(x.to_le_bytes()));
            }
            Meta::Integers(list) => {
                head(out, 5, list.len());
                list.iter().for_each(|n| out.extend(n.to_le_bytes()));
            }
        }
    }
}

/// A tensor: its name, row-major shape, type and bytes.
type Tensor = (String, Vec<usize>, u32, Vec<u8>);

#[derive(Clone)]
struct File {
    metadata: Vec<(String, Meta)>,
    tensors: Vec<Tensor>,
}

impl File {
    fn bytes(&self) -> Vec<u8> {
        let mut out = [&b"GGUF"[..], &3u32.to_le_bytes()].concat();
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            out.extend((key.len() as u64).to_le_bytes());
            out.extend(key.as_bytes());
            value.write(&mut out);
        }
        let mut offset = 0u64;
        for (name, shape, kind, bytes) in &self.tensors {
            out.extend((name.len() as u64).to_le_bytes());
            out.extend(name.as_bytes());
            out.extend((shape.len() as u32).to_le_bytes());
            shape.iter().rev().for_each(|&extent| out.extend((extent as u64).to_le_bytes()));
            out.extend(kind.to_le_bytes());
            out.extend(offset.to_le_bytes());
            offset = (offset + bytes.len() as u64).next_multiple_of(32);
        }
        for (.., bytes) in &self.tensors {
            out.resize(out.len().next_multiple_of(32), 0);
            out.extend(bytes);
        }
        out
    }

    fn write(&self) -> (TempDir, PathBuf) {
        write(&self.bytes())
    }

    fn set(&mut self, key: &str, value: Option<Meta>) {
        self.metadata.retain(|(k, _)| k != key);
        self.metadata.extend(value.map(|value| (key.to_string(), value)));
    }

    fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors.iter_mut().find(|(n, ..)| n == name).unwrap()
    }

    fn refused(&self, words: &[&str]) {
        refused(&self.bytes(), words);
    }
}

fn write(bytes: &[u8]) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("model.gguf");
    fs::write(&file, bytes).unwrap();
    (dir, file)
}

fn refused(bytes: &[u8], words: &[&str]) {
    let (_dir, file) = write(bytes);
    let message = Folder::open(&file).err().expect("this file should be refused").to_string();
    assert!(words.iter().all(|word| message.contains(word)), "{message}");
    assert!(message.contains("model.gguf") && message.contains("; ") && !message.contains('\n'), "{message}");
}

/// A folder with random weights, and the GGUF file of the same model with its rows exchanged as
/// writers do.
fn model(fields: Fields) -> (TempDir, Config, File) {
    let (dir, config) = (tempfile::tempdir().unwrap(), config(fields));
    write_random_folder(dir.path(), &config, 5).unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let file = File { metadata: metadata(&config, folder.tokenizer()), tensors: tensors(&folder) };
    (dir, config, file)
}

fn metadata(config: &Config, tokenizer: &Tokenizer) -> Vec<(String, Meta)> {
    let json: serde_json::Value = serde_json::from_slice(tokenizer.json()).unwrap();
    let mut tokens = vec![String::new(); config.vocab_size];
    for (token, id) in json["model"]["vocab"].as_object().unwrap() {
        tokens[id.as_u64().unwrap() as usize] = token.clone();
    }
    let special = |id: usize| tokenizer.is_special(id as u32);
    let types = (0..config.vocab_size).map(|id| if special(id) { 3 } else { 1 }).collect();
    let n = |n: usize| Meta::Natural(n as u32);
    let text = |text: &str| Meta::Text(text.into());
    [
        ("general.architecture", text("llama")),
        ("general.name", text("random")),
        ("llama.block_count", n(config.num_hidden_layers)),
        ("llama.context_length", n(config.max_position_embeddings)),
        ("llama.embedding_length", n(config.hidden_size)),
        ("llama.feed_forward_length", n(config.intermediate_size)),
        ("llama.attention.head_count", n(config.num_attention_heads)),
        ("llama.attention.head_count_kv", n(config.num_key_value_heads)),
        ("llama.attention.layer_norm_rms_epsilon", Meta::Real(config.norm_eps as f32)),
        ("llama.rope.freq_base", Meta::Real(config.rope_theta as f32)),
        ("llama.rope.dimension_count", n(config.head_dim)),
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("gpt-2")),
        ("tokenizer.ggml.tokens", Meta::Texts(tokens)),
        ("tokenizer.ggml.token_type", Meta::Integers(types)),
        ("tokenizer.ggml.merges", Meta::Texts(vec![])),
        ("tokenizer.ggml.bos_token_id", n(1)),
        ("tokenizer.ggml.eos_token_id", n(2)),
        ("tokenizer.ggml.eot_token_id", n(3)),
        ("tokenizer.ggml.add_bos_token", Meta::Flag(true)),
        ("tokenizer.chat_template", text("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}")),
    ]
    .map(|(key, value)| (key.to_string(), value))
    .into()
}

fn tensors(folder: &Folder) -> Vec<Tensor> {
    let config = folder.config();
    let plain = |name: &str, tensor: &str| {
        let (values, shape) = read(folder, tensor);
        let values = match tensor {
            _ if tensor.contains("q_proj") => {
                exchanged(&values, config.num_attention_heads, config.hidden_size)
            }
            _ if tensor.contains("k_proj") => {
                exchanged(&values, config.num_key_value_heads, config.hidden_size)
            }
            _ => values,
        };
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        (name.to_string(), shape, 0, bytes)
    };
    let mut all = vec![
        plain("token_embd.weight", "model.embed_tokens.weight"),
        plain("output_norm.weight", "model.norm.weight"),
    ];
    if !config.tie_word_embeddings {
        all.push(plain("output.weight", "lm_head.weight"));
    }
    for i in 0..config.num_hidden_layers {
        let names: [(&str, &str); 9] = [
            ("attn_norm", "input_layernorm"),
            ("attn_q", "self_attn.q_proj"),
            ("attn_k", "self_attn.k_proj"),
            ("attn_v", "self_attn.v_proj"),
            ("attn_output", "self_attn.o_proj"),
            ("ffn_norm", "post_attention_layernorm"),
            ("ffn_gate", "mlp.gate_proj"),
            ("ffn_up", "mlp.up_proj"),
            ("ffn_down", "mlp.down_proj"),
        ];
        let of = |(name, tensor): (&str, &str)| {
            plain(&format!("blk.{i}.{name}.weight"), &format!("model.layers.{i}.{tensor}.weight"))
        };
        all.extend(names.map(of));
    }
    all
}

/// `reshape(heads, 2, width / 2, ins).swapaxes(1, 2)`, as writers of LLaMA's GGUF files do.
fn exchanged(values: &[f32], heads: usize, ins: usize) -> Vec<f32> {
    let width = values.len() / ins / heads;
    let mut rows = Vec::new();
    for head in 0..heads {
        for i in 0..width / 2 {
            for half in 0..2 {
                let row = head * width + half * (width / 2) + i;
                rows.extend_from_slice(&values[row * ins..][..ins]);
            }
        }
    }
    rows
}

/// Random blocks of moderate scales.
fn blocks(kind: u32, values: usize, rng: &mut ChaCha8Rng) -> Vec<u8> {
    let (_, _, per, size, halves) = *TYPES.iter().find(|entry| entry.1 == kind).unwrap();
    let mut bytes = Vec::new();
    for _ in 0..values / per {
        let mut block: Vec<u8> = (0..size).map(|_| rng.random()).collect();
        for &at in halves {
            let scale = f16::from_f32(rng.random_range(-0.02..0.02));
            block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
        }
        if per == 1 && size == 4 {
            block = rng.random_range(-1f32..1.0).to_le_bytes().into();
        }
        if kind == 30 {
            block = half::bf16::from_f32(rng.random_range(-1.0..1.0)).to_le_bytes().into();
        }
        bytes.extend(block);
    }
    bytes
}

#[test]
fn every_type_is_read_as_by_candle() {
    let (_folder, _, mut file) = model(shape());
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for (name, kind, ..) in TYPES {
        for (tensor, values) in [("token_embd.weight", 300 * 256), ("blk.1.ffn_down.weight", 256 * 256)] {
            let new = blocks(kind, values, &mut rng);
            let place = file.tensor(tensor);
            (place.2, place.3) = (kind, new);
        }
        let bytes = file.bytes();
        let (_dir, path) = write(&bytes);
        let folder = Folder::open(&path).unwrap();
        let mut reader = Cursor::new(&bytes);
        let content = gguf_file::Content::read(&mut reader).unwrap();
        for (tensor, param) in [
            ("token_embd.weight", "model.embed_tokens.weight"),
            ("blk.1.ffn_down.weight", "model.layers.1.mlp.down_proj.weight"),
        ] {
            let theirs = content.tensor(&mut reader, tensor, &Device::Cpu).unwrap();
            let theirs = theirs.dequantize(&Device::Cpu).unwrap();
            let (ours, shape) = read(&folder, param);
            assert_eq!(theirs.dims(), shape);
            let theirs: Vec<f32> = theirs.flatten_all().unwrap().to_vec1().unwrap();
            let worst = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            let largest = ours.iter().fold(0f32, |m, x| m.max(x.abs()));
            assert_eq!(ours.len(), theirs.len());
            assert!(largest > 0.0 && worst <= 1e-6 * largest, "{name}: {worst} of {largest}");
        }
    }
}

#[test]
fn a_file_is_the_folder_it_came_from() {
    for fields in [shape(), Fields { tie_word_embeddings: true, bos_token_id: Some(1), ..shape() }] {
        let (dir, config, file) = model(fields);
        let (_file_dir, path) = file.write();
        let (folder, gguf) = (Folder::open(dir.path()).unwrap(), Folder::open(&path).unwrap());
        assert_eq!(*gguf.config(), config);
        assert!(gguf.warnings().is_empty(), "{:?}", gguf.warnings());
        for tensor in common::tensors(&config) {
            assert!(read(&gguf, &tensor.name) == read(&folder, &tensor.name), "{}", tensor.name);
        }
        let (a, b) = (gguf.tokenizer(), folder.tokenizer());
        for text in ["Hi", "a b\n\tc 1.5", "\u{e9}\u{1f642} <s>x</s>", "<s>twice"] {
            let ids = a.encode(text, 99).unwrap();
            assert_eq!(ids, b.encode(text, 99).unwrap());
            assert_eq!(a.decode(&ids).unwrap(), b.decode(&ids).unwrap());
        }
        let message = [sotto_models::Message::new("user", "Hi")];
        let template = gguf.chat_template().unwrap();
        assert_eq!(template.render(&message, true).unwrap(), "<s>Hi</s>");
        // What the file gives as a tokenizer.json is one.
        let again = Tokenizer::parse(Path::new("x"), a.json().to_vec(), &config).unwrap();
        assert_eq!(again.digest(), a.digest());
    }
}

/// Qwen2 keeps the order of its heads, and has biases of queries, keys and values.
#[test]
fn qwen2_is_read() {
    let (dir, config, mut file) = model(shape());
    for (key, _) in &mut file.metadata {
        *key = key.replace("llama.", "qwen2.");
    }
    file.set("general.architecture", Some(Meta::Text("qwen2".into())));
    let folder = Folder::open(dir.path()).unwrap();
    let bias = |n: usize| -> Vec<f32> { (0..n).map(|i| i as f32 / 64.0).collect() };
    for i in 0..config.num_hidden_layers {
        let sizes = [config.query_size(), config.key_value_size(), config.key_value_size()];
        for (name, n) in ["q", "k", "v"].into_iter().zip(sizes) {
            let (values, _) = read(&folder, &format!("model.layers.{i}.self_attn.{name}_proj.weight"));
            let bytes = |values: &[f32]| values.iter().flat_map(|x| x.to_le_bytes()).collect();
            file.tensor(&format!("blk.{i}.attn_{name}.weight")).3 = bytes(&values);
            file.tensors.push((format!("blk.{i}.attn_{name}.bias"), vec![n], 0, bytes(&bias(n))));
        }
    }
    let (_file_dir, path) = file.write();
    let gguf = Folder::open(&path).unwrap();
    let read_config = gguf.config();
    assert!(read_config.qkv_bias && !read_config.output_bias && !read_config.mlp_bias);
    for tensor in common::tensors(read_config) {
        let values = read(&gguf, &tensor.name);
        match tensor.name.ends_with(".bias") {
            true => assert_eq!(values.0, bias(tensor.shape[0]), "{}", tensor.name),
            false => assert!(values == read(&folder, &tensor.name), "{}", tensor.name),
        }
    }
}

/// Qwen3 and Gemma 3: norms of heads, and gains that have the one that folders leave out.
#[test]
fn other_decoders_are_read() {
    let natural = |n: u32| Some(Meta::Natural(n));
    for (name, offset) in [("qwen3", 0.0), ("gemma3", 1.0)] {
        let model = golden::open(name).unwrap();
        let config = model.folder.config();
        let mut file = File { metadata: metadata(config, model.folder.tokenizer()), tensors: vec![] };
        for (key, _) in &mut file.metadata {
            *key = key.replace("llama.", &format!("{name}."));
        }
        let own = |key: &str| format!("{name}.{key}");
        file.set("general.architecture", Some(Meta::Text(name.into())));
        file.set(&own("attention.key_length"), natural(config.head_dim as u32));
        for id in ["bos", "eos", "eot"] {
            file.set(&format!("tokenizer.ggml.{id}_token_id"), None);
        }
        file.set("tokenizer.ggml.eos_token_id", natural(2));
        file.set("tokenizer.ggml.bos_token_id", natural(1));
        if name == "gemma3" {
            file.set(&own("context_length"), natural(64));
            file.set(&own("attention.sliding_window"), natural(5));
            file.set(&own("attention.sliding_window_pattern"), natural(3));
            file.set(&own("rope.freq_base_swa"), Some(Meta::Real(50.0)));
            file.set(&own("rope.scaling.type"), Some(Meta::Text("linear".into())));
            file.set(&own("rope.scaling.factor"), Some(Meta::Real(4.0)));
        }
        for tensor in common::tensors(config) {
            let (values, shape) = read(&model.folder, &tensor.name);
            let added = if tensor.name.contains("norm") { offset } else { 0.0 };
            let bytes = values.iter().flat_map(|x| (x + added).to_le_bytes()).collect();
            file.tensors.push((in_gguf(&tensor.name, name), shape, 0, bytes));
        }
        let (_dir, path) = file.write();
        let gguf = Folder::open(&path).unwrap();
        // What scores are divided by is not in the file: here it is the width of a head.
        let mut fields = Fields::from(config.clone());
        if name == "gemma3" {
            fields.multipliers.scores = gguf.config().multipliers.scores;
            assert_eq!(fields.multipliers.scores, Some(1.0 / (config.head_dim as f64).sqrt()));
        }
        assert_eq!(Fields::from(gguf.config().clone()), fields, "{name}");
        for tensor in common::tensors(config) {
            let (ours, theirs) = (read(&gguf, &tensor.name).0, read(&model.folder, &tensor.name).0);
            assert!(ours.iter().zip(&theirs).all(|(a, b)| (a - b).abs() < 1e-6), "{}", tensor.name);
        }
        file.set(&own("attn_logit_softcapping"), Some(Meta::Real(50.0)));
        file.refused(&["attn_logit_softcapping", "50", "soft caps"]);
    }
}

/// The name of a tensor in a GGUF file of this architecture.
fn in_gguf(name: &str, architecture: &str) -> String {
    let after = if architecture == "gemma3" { "post_attention_norm" } else { "ffn_norm" };
    let names = [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("model.layers", "blk"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", after),
        ("pre_feedforward_layernorm", "ffn_norm"),
        ("post_feedforward_layernorm", "post_ffw_norm"),
        ("self_attn.q_norm", "attn_q_norm"),
        ("self_attn.k_norm", "attn_k_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ];
    names.iter().fold(name.to_string(), |name, (from, to)| name.replace(from, to))
}

/// SentencePiece: the best scores are joined first.
#[test]
fn scores_become_merges() {
    let (_dir, _, mut file) = model(shape());
    let pieces = ["\u{2581}", "l", "o", "h", "e", "he", "ll", "el", "hell", "\u{2581}hello", "hello", "lo"];
    let scores = [-1.0, -1.0, -1.0, -1.0, -1.0, -3.0, -4.0, -2.0, -5.0, -7.0, -6.0, -2.5];
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_string).into();
    tokens.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    let mut all: Vec<f32> = vec![0.0; tokens.len()];
    let mut types: Vec<i32> = [2, 3, 3].into_iter().chain([6; 256]).collect();
    tokens.extend(pieces.map(str::to_string));
    all.extend(scores);
    types.resize(tokens.len(), 1);
    let count = tokens.len();
    file.set("tokenizer.ggml.model", Some(Meta::Text("llama".into())));
    file.set("tokenizer.ggml.pre", None);
    file.set("tokenizer.ggml.merges", None);
    file.set("tokenizer.ggml.add_bos_token", None);
    file.set("tokenizer.ggml.tokens", Some(Meta::Texts(tokens)));
    file.set("tokenizer.ggml.token_type", Some(Meta::Integers(types)));
    file.set("tokenizer.ggml.scores", Some(Meta::Reals(all.clone())));
    let (_tmp, path) = file.write();
    let folder = Folder::open(&path).unwrap();
    let tokenizer = folder.tokenizer();
    let id = |piece: &str| 259 + pieces.iter().position(|p| *p == piece).unwrap() as u32;
    // `el` (-2) is joined before `lo` (-2.5); then nothing fits.
    assert_eq!(tokenizer.encode("helo", 9).unwrap(), [1, id("\u{2581}"), id("h"), id("el"), id("o")]);
    assert_eq!(
        tokenizer.encode("he \u{e9}", 9).unwrap()[..5],
        [1, id("\u{2581}"), id("he"), id("\u{2581}"), 0xC3 + 3]
    );
    let ids = tokenizer.encode("he \u{1f600}", 99).unwrap();
    assert_eq!(tokenizer.decode(&ids).unwrap(), "he \u{1f600}");

    file.set("tokenizer.ggml.add_space_prefix", Some(Meta::Flag(false)));
    file.set("tokenizer.ggml.add_eos_token", Some(Meta::Flag(true)));
    let (_tmp, path) = file.write();
    let folder = Folder::open(&path).unwrap();
    assert_eq!(folder.tokenizer().encode("he", 9).unwrap(), [1, id("he"), 2]);

    all.pop();
    file.set("tokenizer.ggml.scores", Some(Meta::Reals(all)));
    file.refused(&["tokenizer.ggml.scores", &format!("a list of {}", count - 1), "a number for each token"]);
}

#[test]
fn rotary_scalings() {
    let (_dir, _, file) = model(shape());
    let read = |changes: &[(&str, Meta)]| {
        let mut file = file.clone();
        changes.iter().for_each(|(key, value)| file.set(key, Some(value.clone())));
        let (_tmp, path) = file.write();
        Folder::open(&path).unwrap().config().rope_scaling
    };
    let text = |text: &str| Meta::Text(text.into());
    assert_eq!(read(&[("llama.rope.scaling.type", text("none"))]), None);
    let factor = ("llama.rope.scaling.factor", Meta::Real(4.0));
    let linear = Some(RopeScaling::Linear(4.0));
    assert_eq!(read(&[("llama.rope.scaling.type", text("linear")), factor.clone()]), linear);
    assert_eq!(read(&[("llama.rope.scale_linear", Meta::Real(4.0))]), linear);
    let original = ("llama.rope.scaling.original_context_length", Meta::Natural(32));
    match read(&[("llama.rope.scaling.type", text("yarn")), factor, original]) {
        Some(RopeScaling::Yarn(yarn)) => {
            assert_eq!((yarn.factor, yarn.original_max_position_embeddings), (4.0, 32));
            assert!((yarn.attention_factor - (0.1 * 4f64.ln() + 1.0)).abs() < 1e-12);
        }
        other => panic!("{other:?}"),
    }
}

/// LLaMA 3.1 and later: the file has the factors of the frequencies only.
#[test]
fn factors_of_llama_3_are_recognised() {
    let (_dir, config, mut file) = model(Fields { rope_theta: 500_000.0, ..shape() });
    let factors: Vec<f32> = (0..16)
        .map(|i| {
            let wavelength = std::f64::consts::TAU * 500_000f64.powf(f64::from(i) / 16.0);
            let smooth = (8192.0 / wavelength - 1.0) / 3.0;
            match wavelength {
                w if w < 8192.0 / 4.0 => 1.0,
                w if w > 8192.0 => 32.0,
                _ => (1.0 / ((1.0 - smooth) / 32.0 + smooth)) as f32,
            }
        })
        .collect();
    let bytes: Vec<u8> = factors.iter().flat_map(|x| x.to_le_bytes()).collect();
    file.tensors.push(("rope_freqs.weight".into(), vec![16], 0, bytes.clone()));
    let (_tmp, path) = file.write();
    let folder = Folder::open(&path).unwrap();
    let Some(RopeScaling::Llama3(scaling)) = folder.config().rope_scaling else { panic!() };
    assert_eq!((scaling.factor, scaling.low_freq_factor, scaling.high_freq_factor), (32.0, 1.0, 4.0));
    assert_eq!(scaling.original_max_position_embeddings, 8192);
    assert_eq!(folder.config().rope_theta, config.rope_theta);

    file.tensor("rope_freqs.weight").3[8..12].copy_from_slice(&2f32.to_le_bytes());
    file.refused(&["rope_freqs.weight", "other factors"]);
    *file.tensor("rope_freqs.weight") = ("rope_freqs.weight".into(), vec![15], 0, bytes[4..].to_vec());
    file.refused(&["rope_freqs.weight", "[15]"]);
}

#[test]
fn what_is_no_gguf_is_named() {
    let (_dir, _, file) = model(shape());
    let whole = file.bytes();
    refused(b"", &["does not begin with `GGUF`"]);
    refused(b"GGML and more of it", &["does not begin with `GGUF`"]);
    refused(
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        &["git-LFS pointer", "git lfs pull"],
    );
    for length in [4, 7, 9, 20, 30, 500, 2000] {
        refused(&whole[..length], &[&format!("{length} bytes"), "truncated", "copy the file again"]);
    }
    for length in [whole.len() / 2, whole.len() - 1] {
        refused(&whole[..length], &["tensor `blk.", &format!("{length} bytes"), "truncated"]);
    }
    let version = |version: [u8; 4]| [&whole[..4], &version, &whole[8..]].concat();
    refused(&version([1, 0, 0, 0]), &["version 1", "2 or 3"]);
    refused(&version([9, 0, 0, 0]), &["version 9"]);
    refused(&version([0, 0, 0, 3]), &["big-endian"]);
    let mut many = whole.clone();
    many[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    refused(&many, &["18446744073709551615 tensors"]);
    let mut long = whole.clone();
    long[24..32].copy_from_slice(&u64::MAX.to_le_bytes());
    refused(&long, &["truncated or damaged"]);
}

#[test]
fn metadata_that_do_not_fit_are_named() {
    let (_dir, _, file) = model(shape());
    let with = |key: &str, value: Option<Meta>, words: &[&str]| {
        let mut file = file.clone();
        file.set(key, value);
        file.refused(&[&[key], words].concat());
    };
    let text = |text: &str| Some(Meta::Text(text.into()));
    let n = |n: u32| Some(Meta::Natural(n));
    with("general.architecture", text("mamba"), &["mamba", "llama"]);
    with("general.architecture", None, &["absent", "llama"]);
    for key in ["block_count", "context_length", "embedding_length", "feed_forward_length"] {
        with(&format!("llama.{key}"), None, &["absent", "a whole number"]);
        with(&format!("llama.{key}"), text("many"), &["many", "a whole number"]);
    }
    with("llama.attention.head_count", n(0), &["0", "1 to 512"]);
    with("llama.attention.layer_norm_rms_epsilon", None, &["absent", "a number"]);
    with("llama.attention.value_length", n(16), &["16", "32"]);
    with("llama.expert_count", n(8), &["8", "mixtures of experts"]);
    with("llama.rope.scaling.type", text("longrope"), &["longrope", "yarn"]);
    with("tokenizer.ggml.model", text("bert"), &["bert", "gpt2"]);
    with("tokenizer.ggml.pre", text("unheard"), &["unheard", "smollm"]);
    with("tokenizer.ggml.pre", None, &["absent"]);
    with("tokenizer.ggml.tokens", None, &["absent", "a list of texts"]);
    with("tokenizer.ggml.tokens", Some(Meta::Texts(vec!["a".into(); 300])), &["twice"]);
    with("tokenizer.ggml.token_type", Some(Meta::Integers(vec![1])), &["a list of 1", "300"]);
    with("tokenizer.ggml.merges", None, &["absent"]);
    with("tokenizer.ggml.merges", Some(Meta::Texts(vec!["ab".into()])), &["pairs"]);
    with("general.alignment", n(24), &["24", "power of two"]);

    // Its name in a folder's configuration.
    let mut beyond = file.clone();
    beyond.set("tokenizer.ggml.bos_token_id", n(300));
    beyond.refused(&["`bos_token_id` is 300", "below vocab_size"]);
    let mut twice = file.clone();
    twice.metadata.push(("general.name".into(), Meta::Flag(true)));
    twice.refused(&["`general.name` is there twice"]);
    let mut heads = file.clone();
    heads.set("llama.embedding_length", n(128));
    heads.refused(&["`model.embed_tokens.weight` has shape [300, 256]", "[300, 128]"]);
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let (_dir, _, file) = model(shape());
    let with = |change: &dyn Fn(&mut File), words: &[&str]| {
        let mut file = file.clone();
        change(&mut file);
        file.refused(words);
    };
    with(
        &|f| f.tensor("blk.1.ffn_up.weight").2 = 10,
        &["model.layers.1.mlp.up_proj.weight", "Q2_K", "Q4_K", "in one of these"],
    );
    with(&|f| f.tensor("blk.1.ffn_up.weight").2 = 77, &["number 77"]);
    with(&|f| f.tensor("blk.0.attn_norm.weight").0 = "x".into(), &["input_layernorm", "missing"]);
    with(
        &|f| f.tensors.push(("blk.0.extra.weight".into(), vec![1], 0, vec![0; 4])),
        &["blk.0.extra", "not part"],
    );
    with(&|f| f.tensors.push(f.tensors[0].clone()), &["token_embd.weight", "twice"]);
    with(&|f| f.tensor("blk.0.ffn_up.weight").1 = vec![usize::MAX, 256], &["blk.0.ffn_up.weight", "beyond"]);
    with(&|f| f.tensor("blk.0.ffn_up.weight").1 = vec![128, 512], &["[128, 512]", "[256, 256]"]);
    with(&|f| f.tensor("blk.0.attn_q.weight").1 = vec![512, 128], &["q_proj", "[512, 128]"]);
    with(&|f| f.tensor("blk.0.ffn_up.weight").1 = vec![1; 5], &["5 extents"]);
    with(
        &|f| (f.tensor("blk.0.ffn_up.weight").1, f.tensor("blk.0.ffn_up.weight").2) = (vec![1024, 64], 12),
        &["rows of 64", "256"],
    );
    let (_tmp, path) = {
        let mut file = file.clone();
        file.tensor("blk.0.ffn_up.weight").3[40..44].copy_from_slice(&f32::NAN.to_le_bytes());
        file.write()
    };
    let error = Reference::load(&Folder::open(&path).unwrap()).err().unwrap().to_string();
    assert!(error.contains("NaN at element 10"), "{error}");
}

static WHOLE: OnceLock<Vec<u8>> = OnceLock::new();

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever is in the header: an error or a model, and no panic.
    #[test]
    fn damaged_headers(at in 0usize..14_000, value: [u8; 4], cut in 0usize..100) {
        let whole = || model(Fields { num_hidden_layers: 1, ..shape() }).2.bytes();
        let mut bytes = WHOLE.get_or_init(whole).clone();
        bytes[at..at + 4].copy_from_slice(&value);
        if cut < 10 {
            bytes.truncate(at + 4);
        }
        let (_tmp, path) = write(&bytes);
        if let Ok(folder) = Folder::open(&path) {
            prop_assert_eq!(folder.config().num_hidden_layers, 1);
        }
    }
}
