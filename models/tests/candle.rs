//! The f32 model against candle's, on random models: logits agree to 1e-4 of the largest one.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{llama, mistral};
use common::{config, odd};
use sotto_models::random::{Precision, RandomFolder};
use sotto_models::{Config, Fields, Folder, Llama3Scaling, Reference};

const LENGTH: usize = 40;

#[test]
fn every_query_head_with_its_own_keys() {
    agrees(odd(), Precision::F32, 1);
}

#[test]
fn query_heads_that_share_keys() {
    let shared =
        Fields { hidden_size: 48, num_attention_heads: 6, num_key_value_heads: 2, head_dim: 8, ..odd() };
    agrees(shared.clone(), Precision::F32, 1);
    agrees(Fields { num_key_value_heads: 1, ..shared }, Precision::F32, 1);
}

#[test]
fn tied_head() {
    agrees(Fields { tie_word_embeddings: true, ..odd() }, Precision::F32, 1);
}

#[test]
fn large_vocabulary() {
    agrees(Fields { vocab_size: 32_000, num_hidden_layers: 1, ..odd() }, Precision::F32, 1);
}

#[test]
fn half_precisions() {
    agrees(odd(), Precision::F16, 1);
    agrees(odd(), Precision::Bf16, 1);
}

#[test]
fn several_files() {
    agrees(odd(), Precision::F32, 3);
    agrees(Fields { tie_word_embeddings: true, ..odd() }, Precision::Bf16, 2);
}

#[test]
fn llama_3_frequencies() {
    // Wavelengths from 6 to 3e5 positions: some are kept, some are stretched, some are between.
    let original_max_position_embeddings = 64;
    let scaling = Llama3Scaling {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings,
    };
    agrees(Fields { rope_theta: 500_000.0, rope_scaling: Some(scaling.into()), ..odd() }, Precision::F32, 1);
}

#[test]
fn heads_wider_than_the_stream() {
    let config = config(Fields { head_dim: 20, ..odd() });
    let dir = tempfile::tempdir().unwrap();
    RandomFolder::new(&config, 5).write(dir.path()).unwrap();
    let reference = mistral::Config {
        vocab_size: config.vocab_size,
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size,
        num_hidden_layers: config.num_hidden_layers,
        num_attention_heads: config.num_attention_heads,
        head_dim: Some(config.head_dim),
        num_key_value_heads: config.num_key_value_heads,
        hidden_act: candle_nn::Activation::Silu,
        max_position_embeddings: config.max_position_embeddings,
        rms_norm_eps: config.norm_eps,
        rope_theta: config.rope_theta,
        sliding_window: None,
        use_flash_attn: false,
    };
    let mut model = mistral::Model::new(&reference, weights(dir.path())).unwrap();
    let mut step = |token: u32, position| {
        let token = Tensor::new(&[[token]], &Device::Cpu).unwrap();
        model.forward(&token, position).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    };
    let tokens = tokens(&config);
    let expected: Vec<f32> = tokens.iter().enumerate().flat_map(|(p, &token)| step(token, p)).collect();
    near(&float(dir.path()).logits(&tokens), &expected);
}

/// Whole and token by token, both against candle token by token.
fn agrees(fields: Fields, precision: Precision, shards: usize) {
    let config = config(fields);
    let dir = tempfile::tempdir().unwrap();
    RandomFolder::new(&config, 17).precision(precision).shards(shards).write(dir.path()).unwrap();
    let tokens = tokens(&config);
    let expected = candle(dir.path(), &tokens);
    let mut model = float(dir.path());
    near(&model.logits(&tokens), &expected);

    model.reset();
    let (start, rest) = tokens.split_at(LENGTH / 2);
    let mut pieces = model.logits(start);
    rest.iter().for_each(|&token| pieces.extend(model.next_logits(&[token])));
    near(&pieces, &expected);
}

/// Candle's logits after each token, `[T, V]`, from the same `config.json` and weights.
fn candle(dir: &Path, tokens: &[u32]) -> Vec<f32> {
    let json = fs::read(dir.join("config.json")).unwrap();
    let config = serde_json::from_slice::<llama::LlamaConfig>(&json).unwrap().into_config(false);
    let model = llama::Llama::load(weights(dir), &config).unwrap();
    let mut cache = llama::Cache::new(true, DType::F32, &config, &Device::Cpu).unwrap();
    let mut step = |position, token: u32| {
        let token = Tensor::new(&[[token]], &Device::Cpu).unwrap();
        model.forward(&token, position, &mut cache).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    tokens.iter().enumerate().flat_map(|(position, &token)| step(position, token)).collect()
}

fn weights(dir: &Path) -> VarBuilder<'static> {
    let mut all = HashMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_some_and(|e| e == "safetensors") {
            all.extend(candle_core::safetensors::load(&file, &Device::Cpu).unwrap());
        }
    }
    VarBuilder::from_tensors(all, DType::F32, &Device::Cpu)
}

fn float(dir: &Path) -> Reference {
    Reference::load(&Folder::open(dir).unwrap()).unwrap()
}

fn tokens(config: &Config) -> Vec<u32> {
    (0..LENGTH).map(|i| (i * i * 31 + 7 * i + 1) as u32 % config.vocab_size as u32).collect()
}

fn near(actual: &[f32], expected: &[f32]) {
    assert_eq!(actual.len(), expected.len());
    let largest = expected.iter().fold(0f32, |a, b| a.max(b.abs()));
    let error = actual.iter().zip(expected).fold(0f32, |e, (a, b)| e.max((a - b).abs()));
    assert!(largest > 0.1, "the logits say nothing: all below {largest}");
    assert!(error < 1e-4 * largest, "off by {error}, largest {largest}");
}
