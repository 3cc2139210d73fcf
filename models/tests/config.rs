//! `config.json`: what is read, what is refused and how, and the way through the peer.

#![allow(clippy::unwrap_used)]

mod common;

use common::{config, odd};
use serde_json::{Value, json};
use sotto_models::{Config, Fields, Llama3Scaling, rope_inverse_frequencies};

fn llama() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
        "num_attention_heads": 32, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
        "torch_dtype": "float16", "use_cache": true, "pretraining_tp": 1, "initializer_range": 0.02,
        "bos_token_id": 1, "eos_token_id": 2, "rope_scaling": null,
    })
}

fn with(changes: Value) -> Value {
    let mut json = llama();
    json.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    json
}

fn read(json: &Value) -> Config {
    Config::from_json(json.to_string().as_bytes()).unwrap()
}

fn refused(changes: Value, words: &[&str]) {
    let json = with(changes).to_string();
    let message = Config::from_json(json.as_bytes()).expect_err(&json).to_string();
    assert!(words.iter().all(|word| message.contains(word)), "{message}");
    assert!(!message.contains('\n') && message.contains("expected") && message.contains("; "), "{message}");
}

#[test]
fn llama_2() {
    let config = read(&llama());
    assert_eq!((config.num_key_value_heads, config.head_dim, config.rope_theta), (32, 128, 10_000.0));
    assert_eq!((config.bos_token_id, &config.eos_token_ids[..]), (Some(1), &[2][..]));
    assert_eq!(config.parameters(), 6_738_415_616);
}

#[test]
fn llama_3_in_both_spellings() {
    let rope = json!({
        "factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192, "rope_type": "llama3",
    });
    let sizes = json!({
        "vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
        "num_key_value_heads": 8, "head_dim": 64, "max_position_embeddings": 131072,
        "eos_token_id": [128001, 128008, 128009], "bos_token_id": 128000, "tie_word_embeddings": true,
        "attention_bias": false, "mlp_bias": false,
    });
    let (mut old, mut new) = (with(sizes.clone()), with(sizes));
    old["rope_scaling"] = rope.clone();
    old["rope_theta"] = json!(500000.0);
    new["rope_parameters"] = rope;
    new["rope_parameters"]["rope_theta"] = json!(500000.0);
    let config = read(&old);
    assert_eq!(config, read(&new));
    assert_eq!(config.rope_scaling.unwrap().factor, 32.0);
    assert_eq!((config.group_size(), config.query_size(), config.key_value_size()), (4, 2048, 512));
    assert_eq!(config.parameters(), 1_235_814_400);

    old["rope_scaling"]["type"] = old["rope_scaling"]["rope_type"].take();
    assert_eq!(config, read(&old));
}

#[test]
fn what_only_looks_special_is_read() {
    let plain = read(&llama());
    for changes in [
        json!({ "rope_scaling": { "rope_type": "default" } }),
        json!({ "rope_parameters": { "rope_theta": 10000.0, "rope_type": "default" } }),
        json!({ "sliding_window": 4096, "use_sliding_window": false }),
        json!({ "layer_types": ["full_attention", "full_attention"] }),
        json!({ "quantization_config": null, "attention_dropout": 0.1, "num_key_value_heads": 32 }),
    ] {
        assert_eq!(read(&with(changes)), plain);
    }
    assert!(read(&with(json!({ "eos_token_id": null }))).eos_token_ids.is_empty());
}

#[test]
fn other_models_are_refused_by_name() {
    refused(json!({ "model_type": "mistral" }), &["model_type", "mistral", "llama", "LLaMA family"]);
    refused(
        json!({ "architectures": ["GPT2LMHeadModel"] }),
        &["architectures", "GPT2LMHeadModel", "LlamaForCausalLM"],
    );
    refused(
        json!({ "architectures": ["LlamaForSequenceClassification"] }),
        &["LlamaForSequenceClassification"],
    );
    refused(json!({ "hidden_act": "gelu" }), &["hidden_act", "gelu", "silu"]);
}

#[test]
fn variants_are_refused_by_name() {
    refused(
        json!({ "quantization_config": { "quant_method": "gptq" } }),
        &["quantization_config", "gptq", "unquantised"],
    );
    refused(json!({ "attention_bias": true }), &["attention_bias", "true", "biases"]);
    refused(json!({ "mlp_bias": true }), &["mlp_bias", "biases"]);
    refused(json!({ "pretraining_tp": 2 }), &["pretraining_tp", "2", "set it to 1"]);
    refused(json!({ "sliding_window": 1024 }), &["sliding_window", "1024", "full attention"]);
    refused(json!({ "layer_types": ["sliding_attention"] }), &["layer_types", "full attention"]);
    refused(json!({ "partial_rotary_factor": 0.5 }), &["partial_rotary_factor", "0.5"]);
    refused(
        json!({ "rope_scaling": { "type": "linear", "factor": 2.0 } }),
        &["rope_scaling.type", "linear", "llama3"],
    );
    refused(json!({ "rope_scaling": { "rope_type": "yarn" } }), &["rope_scaling.rope_type", "yarn"]);
    refused(
        json!({ "rope_parameters": { "rope_type": "dynamic" } }),
        &["rope_parameters.rope_type", "dynamic"],
    );
    refused(json!({ "rope_scaling": { "factor": 2.0 } }), &["rope_scaling.type", "absent"]);
    refused(
        json!({ "rope_theta": 1.0, "rope_parameters": { "rope_theta": 2.0 } }),
        &["rope_parameters.rope_theta"],
    );
}

#[test]
fn impossible_values_are_refused_by_name() {
    for field in
        ["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"]
    {
        refused(json!({ field: null }), &[field, "absent", "whole number"]);
        refused(json!({ field: 0, "head_dim": 128 }), &[field, "is 0"]);
        refused(json!({ field: 1u64 << 40, "head_dim": 128 }), &[field, "1099511627776"]);
        refused(json!({ field: -1 }), &[field, "-1"]);
    }
    refused(json!({ "num_attention_heads": 0 }), &["hidden_size", "multiple of num_attention_heads = 0"]);
    refused(
        json!({ "num_attention_heads": 31 }),
        &["hidden_size", "4096", "multiple of num_attention_heads = 31"],
    );
    refused(json!({ "num_key_value_heads": 5 }), &["num_key_value_heads", "5", "divisor"]);
    refused(json!({ "num_key_value_heads": 0 }), &["num_key_value_heads", "0"]);
    refused(json!({ "head_dim": 63 }), &["head_dim", "63", "even"]);
    refused(json!({ "rms_norm_eps": 0.0 }), &["rms_norm_eps", "0"]);
    refused(json!({ "rms_norm_eps": "small" }), &["rms_norm_eps", "small", "a number"]);
    refused(json!({ "rope_theta": -1.0 }), &["rope_theta", "-1"]);
    refused(json!({ "max_position_embeddings": 1u64 << 60 }), &["max_position_embeddings"]);
    refused(json!({ "bos_token_id": 32000 }), &["bos_token_id", "32000", "below vocab_size = 32000"]);
    refused(json!({ "eos_token_id": [2, 50000] }), &["eos_token_id", "50000"]);
    refused(json!({ "eos_token_id": "</s>" }), &["eos_token_id", "token id"]);
    refused(json!({ "tie_word_embeddings": 1 }), &["tie_word_embeddings", "true or false"]);
    let rope = |low: f64, high: f64, factor: f64| {
        json!({ "rope_scaling": {
            "rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high,
            "original_max_position_embeddings": 8192,
        }})
    };
    refused(rope(4.0, 4.0, 8.0), &["high_freq_factor", "more than low_freq_factor = 4"]);
    refused(rope(1.0, 4.0, 0.0), &["rope_scaling.factor"]);
    refused(json!({ "rope_scaling": { "rope_type": "llama3" } }), &["rope_scaling.factor", "absent"]);
}

#[test]
fn malformed_text_is_one_clear_line() {
    for text in ["", "{", "[1, 2]", "{\"model_type\": }"] {
        let message = Config::from_json(text.as_bytes()).unwrap_err().to_string();
        assert!(message.contains("whole file") && message.contains("JSON object"), "{message}");
    }
}

#[test]
fn writing_and_reading_is_the_identity() {
    let scaling = Llama3Scaling {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 32,
    };
    let all = [
        odd(),
        Fields { head_dim: 20, rope_scaling: Some(scaling), tie_word_embeddings: true, ..odd() },
        Fields { bos_token_id: None, eos_token_ids: vec![], ..odd() },
        Fields { eos_token_ids: vec![5, 3], ..odd() },
    ];
    for config in all.map(config) {
        assert_eq!(Config::from_json(config.to_json().as_bytes()).unwrap(), config);
    }
}

#[test]
fn a_generation_config_adds_endings() {
    let more =
        config(odd()).with_generation_json(br#"{"eos_token_id": [2, 7], "temperature": 0.6}"#).unwrap();
    assert_eq!(more.eos_token_ids, [2, 7]);
    assert_eq!(config(odd()).with_generation_json(b"{}").unwrap(), config(odd()));
    let error = config(odd()).with_generation_json(br#"{"eos_token_id": 101}"#).unwrap_err();
    assert!(error.to_string().contains("eos_token_id"));
}

#[test]
fn the_peer_cannot_send_an_invalid_one() {
    let codec = bincode::config::standard();
    let send = |fields: &Fields| bincode::serde::encode_to_vec(fields, codec).unwrap();
    let receive =
        |bytes: &[u8]| bincode::serde::decode_from_slice::<Config, _>(bytes, codec).map(|(config, _)| config);
    assert_eq!(receive(&send(&odd())).unwrap(), config(odd()));
    let sent = bincode::serde::encode_to_vec(config(odd()), codec).unwrap();
    assert_eq!(receive(&sent).unwrap(), config(odd()));
    for hostile in [
        Fields { hidden_size: usize::MAX, ..odd() },
        Fields { num_key_value_heads: 2, ..odd() },
        Fields { rms_norm_eps: f64::NAN, ..odd() },
        Fields { eos_token_ids: vec![0; 17], ..odd() },
    ] {
        let message = receive(&send(&hostile)).unwrap_err().to_string();
        assert!(message.contains("expected"), "{message}");
    }
}

#[test]
fn frequencies() {
    let plain = rope_inverse_frequencies(&config(Fields { rope_theta: 100.0, head_dim: 4, ..odd() }));
    assert_eq!(plain, [1.0, 0.1]);

    // Turns within 1000 positions: 159 (kept), 1.59 (between), 0.0159 (stretched).
    let original_max_position_embeddings = 1000;
    let scaling = Llama3Scaling {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings,
    };
    let fields = Fields { rope_theta: 1e6, head_dim: 6, rope_scaling: Some(scaling), ..odd() };
    let [kept, between, stretched] = rope_inverse_frequencies(&config(fields))[..] else { panic!() };
    let smooth = (10.0 / std::f64::consts::TAU - 1.0) / 3.0;
    assert_eq!(kept, 1.0);
    assert!((between - 0.01 * ((1.0 - smooth) / 8.0 + smooth)).abs() < 1e-12);
    assert!((stretched - 1e-4 / 8.0).abs() < 1e-15);
}
