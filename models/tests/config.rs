//! `config.json`: what is read, what is refused and how, and the way through the peer.

#![allow(clippy::unwrap_used)]

mod common;

use common::{config, odd, tensors};
use serde_json::{Value, json};
use sotto_models::{
    Checkpoint, Config, Fields, Llama3Scaling, RopeScaling, Tokens, YarnScaling,
    evaluator::{Float, immediate},
    network::{AnyNetwork, Classes, MODEL_TYPES, ModelType, Network, Outputs},
    random::write_random_tensors,
    rope_attention_factor, rope_inverse_frequencies,
    weights::Real,
};

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
    let Some(RopeScaling::Llama3(scaling)) = config.rope_scaling else { panic!("{:?}", config.rope_scaling) };
    assert_eq!((scaling.factor, scaling.original_max_position_embeddings), (32.0, 8192));
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
        json!({ "sliding_window": 1024, "use_sliding_window": false }),
        json!({ "sliding_window": 4096 }),
        json!({ "sliding_window": 9999, "layer_types": ["sliding_attention", "full_attention"] }),
        json!({ "sliding_window": null, "attention_bias": false, "mlp_bias": null }),
        json!({ "rope_scaling": { "type": "dynamic", "factor": 4.0 } }),
        json!({ "layer_types": ["full_attention", "full_attention"] }),
        json!({ "quantization_config": null, "attention_dropout": 0.1, "num_key_value_heads": 32 }),
    ] {
        assert_eq!(read(&with(changes)), plain);
    }
    assert!(read(&with(json!({ "eos_token_id": null }))).eos_token_ids.is_empty());
}

#[test]
fn other_models_are_refused_by_name() {
    refused(json!({ "model_type": "mixtral" }), &["model_type", "mixtral", "llama", "gpt2", "supported"]);
    refused(json!({ "model_type": "mistral" }), &["architectures", "LlamaForCausalLM", "MistralForCausalLM"]);
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

/// Whatever heads a peer states, a network's matrices fit each other.
#[test]
fn every_architecture_takes_heads_of_any_shape() {
    for &ModelType { name, classes, architecture, .. } in MODEL_TYPES {
        if let Classes::Encoder(_) = classes {
            continue;
        }
        let fields = Fields { architecture, num_key_value_heads: 1, head_dim: 8, ..odd() };
        let (config, dir) = (config(fields), tempfile::tempdir().unwrap());
        write_random_tensors(dir.path(), tensors(&config), 1).unwrap();
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        let network = AnyNetwork::load(&config, &Real(&checkpoint)).unwrap();
        let mut float = Float::default();
        let logits = network.forward(&mut float, Tokens::Known(&[1, 2, 3]), Outputs::All);
        assert_eq!(immediate(logits).unwrap().data.len(), 3 * 101, "{name}");
    }
}

/// The documentation's table of models is the registry's.
#[test]
fn every_architecture_is_in_the_documentation() {
    let table = include_str!("../../docs/models.md");
    for of in MODEL_TYPES {
        let row = format!("| `{}` | {} | {} |", of.name, of.purpose(), of.models);
        assert!(table.contains(&row), "docs/models.md has no row {row}");
    }
}

/// A file that does not name Mistral's window means its default; one that says null has none.
#[test]
fn mistral_has_a_window_unless_it_says_no() {
    let mistral = json!({
        "model_type": "mistral", "architectures": ["MistralForCausalLM"], "max_position_embeddings": 8192,
    });
    assert_eq!(read(&with(mistral.clone())).max_position_embeddings, 4096);
    let mut without = with(mistral);
    without["sliding_window"] = Value::Null;
    assert_eq!(read(&without).max_position_embeddings, 8192);
}

/// Up to its width, attention to a window is full attention.
#[test]
fn a_window_ends_the_context() {
    for (changes, positions) in [
        (json!({ "sliding_window": 1024 }), 1024),
        (json!({ "sliding_window": 4095, "layer_types": ["full_attention", "sliding_attention"] }), 4095),
        (json!({ "sliding_window": 1024, "layer_types": ["full_attention", "full_attention"] }), 4096),
    ] {
        let (text, mut warnings) = (with(changes).to_string(), vec![]);
        let config = Config::from_json_with(text.as_bytes(), &mut warnings).unwrap();
        assert_eq!(config.max_position_embeddings, positions, "{text}");
        assert_eq!(warnings.len(), usize::from(positions < 4096), "{warnings:?}");
    }
}

/// Gemma 3's layers with windows have frequencies of their own.
#[test]
fn gemma_3_in_both_spellings() {
    let sizes = json!({
        "model_type": "gemma3_text", "architectures": ["Gemma3ForCausalLM"], "num_hidden_layers": 6,
        "sliding_window": 512, "head_dim": null,
    });
    let (mut old, mut new) = (with(sizes.clone()), with(sizes));
    for file in [&mut old, &mut new] {
        file.as_object_mut().unwrap().remove("head_dim");
    }
    old["rope_scaling"] = json!({ "rope_type": "linear", "factor": 8.0 });
    old["rope_local_base_freq"] = json!(10000.0);
    let sliding = ["sliding_attention"; 5].into_iter().chain(["full_attention"]);
    new["layer_types"] = sliding.collect();
    new["rope_parameters"] = json!({
        "full_attention": { "rope_type": "linear", "factor": 8.0, "rope_theta": 1e6 },
        "sliding_attention": { "rope_type": "default", "rope_theta": 10000.0 },
    });
    let config = read(&old);
    assert_eq!(config, read(&new));
    let local = config.local_rope.as_ref().unwrap();
    assert_eq!((local.rope_theta, &local.layers[..]), (10_000.0, &[0, 1, 2, 3, 4][..]));
    assert_eq!((config.rope_theta, config.head_dim, config.max_position_embeddings), (1e6, 256, 512));
    assert_eq!(config.multipliers.scores, Some(1.0 / 16.0));

    let refused = |field: &str, value: Value| {
        let mut file = new.clone();
        file[field] = value;
        let message = Config::from_json(file.to_string().as_bytes()).unwrap_err().to_string();
        assert!(message.contains(field), "{message}");
    };
    refused("layer_types", json!(["full_attention"]));
    refused("use_bidirectional_attention", json!(true));
    refused("attn_logit_softcapping", json!(50.0));
    refused("rope_parameters", json!({ "full_attention": { "rope_theta": 1e6 } }));
    refused("model_type", json!("gemma3"));
}

/// Gemma 2 has soft caps unless it says that it has none.
#[test]
fn gemma_2_has_soft_caps() {
    let mut file = with(json!({ "model_type": "gemma2", "architectures": ["Gemma2ForCausalLM"] }));
    let config = read(&file);
    assert_eq!((config.score_cap, config.logit_cap), (Some(50.0), Some(30.0)));
    let mut logits = [0.0, 1.0, 30.0, 1e4, f32::NEG_INFINITY];
    config.cap_logits(&mut logits);
    assert!(logits.is_sorted_by(|a, b| a < b || *b == f32::NEG_INFINITY), "{logits:?}");
    assert_eq!((logits[0], logits[3], logits[4]), (0.0, 30.0, f32::NEG_INFINITY));
    file["attn_logit_softcapping"] = Value::Null;
    assert_eq!(read(&file).score_cap, None);
    file["attn_logit_softcapping"] = json!(1000.0);
    let message = Config::from_json(file.to_string().as_bytes()).unwrap_err().to_string();
    assert!(message.contains("attn_logit_softcapping"), "{message}");
}

#[test]
fn variants_are_refused_by_name() {
    refused(
        json!({ "quantization_config": { "quant_method": "gptq" } }),
        &["quantization_config", "gptq", "unquantised"],
    );
    refused(json!({ "attention_bias": 1 }), &["attention_bias", "1", "true or false"]);
    refused(json!({ "pretraining_tp": 2 }), &["pretraining_tp", "2", "set it to 1"]);
    refused(json!({ "layer_types": ["sliding_attention"] }), &["layer_types", "full attention"]);
    refused(json!({ "partial_rotary_factor": 0.5 }), &["partial_rotary_factor", "0.5"]);
    refused(
        json!({ "rope_scaling": { "type": "longrope", "factor": 2.0 } }),
        &["rope_scaling.type", "longrope", "linear", "yarn", "llama3"],
    );
    refused(json!({ "rope_scaling": { "rope_type": "su" } }), &["rope_scaling.rope_type", "su"]);
    refused(json!({ "rope_parameters": { "rope_type": "axial" } }), &["rope_parameters.rope_type", "axial"]);
    refused(json!({ "rope_scaling": { "type": "linear" } }), &["rope_scaling.factor", "absent"]);
    refused(
        json!({
            "rope_scaling": { "type": "linear", "factor": 2.0 },
            "rope_parameters": { "rope_type": "default" },
        }),
        &["rope_scaling", "the same as rope_parameters"],
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
fn what_is_no_json_is_named() {
    let text = |changes: &str| llama().to_string().replace("1e-5", changes).replace("0.00001", changes);
    for (text, words) in [
        (format!("\u{feff}{}", llama()), ["byte order mark", "UTF-8 without"]),
        (text("NaN"), ["value NaN", "write a number"]),
        (text("-Infinity"), ["value Infinity", "write a number"]),
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\n".into(),
            ["git-LFS pointer", "git lfs pull"],
        ),
    ] {
        let message = Config::from_json(text.as_bytes()).unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    }
    // Inside a string it is text.
    let named = with(json!({ "_name_or_path": "a \\\" NaN Infinity" }));
    assert_eq!(read(&named), read(&llama()));
    let message = Config::from_json(b"{\"a\": \"NaN\", }").unwrap_err().to_string();
    assert!(message.contains("malformed"), "{message}");
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
        Fields { head_dim: 20, rope_scaling: Some(scaling.into()), tie_word_embeddings: true, ..odd() },
        Fields { rope_scaling: Some(RopeScaling::Linear(2.5)), qkv_bias: true, output_bias: true, ..odd() },
        Fields { rope_scaling: Some(RopeScaling::Yarn(yarn())), mlp_bias: true, ..odd() },
        Fields { bos_token_id: None, eos_token_ids: vec![], ..odd() },
        Fields { eos_token_ids: vec![5, 3], ..odd() },
    ];
    for config in all.map(config) {
        assert_eq!(Config::from_json(config.to_json().as_bytes()).unwrap(), config);
    }
}

#[test]
fn a_generation_config_adds_endings() {
    let mut warnings = vec![];
    let mut more = |text: &[u8]| config(odd()).with_generation_json(text, &mut warnings);
    let endings = more(br#"{"eos_token_id": [2, 7], "temperature": 0.6}"#).unwrap().eos_token_ids.clone();
    assert_eq!(endings, [2, 7]);
    assert_eq!(more(b"{}").unwrap(), config(odd()));
    assert!(more(br#"{"eos_token_id": -1}"#).unwrap_err().to_string().contains("eos_token_id"));
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn endings_beyond_the_vocabulary_are_a_warning() {
    let mut warnings = vec![];
    let text = br#"{"eos_token_id": [2, 101, 7, 795]}"#;
    let more = config(odd()).with_generation_json(text, &mut warnings).unwrap();
    assert_eq!(more.eos_token_ids, [2, 7]);
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    assert!(warning.contains("generation_config.json") && warning.contains("[101, 795]"), "{warning}");
}

#[test]
fn dynamic_scaling_ends_at_the_original_context() {
    let mut warnings = vec![];
    let mut json = with(json!({ "rope_scaling": { "type": "dynamic", "factor": 4.0 } }));
    let text = |json: &Value| json.to_string().into_bytes();
    let config = Config::from_json_with(&text(&json), &mut warnings).unwrap();
    assert_eq!((config.max_position_embeddings, config.rope_scaling), (4096, None));
    assert_eq!(warnings, [""; 0]);
    json["rope_scaling"]["original_max_position_embeddings"] = json!(1024);
    let config = Config::from_json_with(&text(&json), &mut warnings).unwrap();
    assert_eq!((config.max_position_embeddings, config.rope_scaling), (1024, None));
    assert!(warnings[0].contains("dynamic") && warnings[0].contains("1024"), "{warnings:?}");
}

#[test]
fn biases_are_read_and_counted() {
    let plain = read(&llama());
    let biased = read(&with(json!({ "attention_bias": true, "mlp_bias": true })));
    assert!(biased.qkv_bias && biased.output_bias && biased.mlp_bias && !plain.mlp_bias);
    let layer = 4 * 4096 + 2 * 11008 + 4096;
    assert_eq!(biased.parameters() - plain.parameters(), 32 * layer);
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
        Fields { norm_eps: f64::NAN, ..odd() },
        Fields { eos_token_ids: vec![0; 17], ..odd() },
        Fields { rope_scaling: Some(RopeScaling::Linear(0.5)), ..odd() },
        Fields { rope_scaling: Some(RopeScaling::Yarn(yarn())), rope_theta: 1.0, ..odd() },
        Fields { rope_scaling: Some(RopeScaling::Yarn(YarnScaling { beta_fast: 0.5, ..yarn() })), ..odd() },
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
    let fields = Fields { rope_theta: 1e6, head_dim: 6, rope_scaling: Some(scaling.into()), ..odd() };
    let [kept, between, stretched] = rope_inverse_frequencies(&config(fields))[..] else { panic!() };
    let smooth = (10.0 / std::f64::consts::TAU - 1.0) / 3.0;
    assert_eq!(kept, 1.0);
    assert!((between - 0.01 * ((1.0 - smooth) / 8.0 + smooth)).abs() < 1e-12);
    assert!((stretched - 1e-4 / 8.0).abs() < 1e-15);
}

fn yarn() -> YarnScaling {
    YarnScaling {
        factor: 4.0,
        attention_factor: 1.1,
        beta_fast: 32.0,
        beta_slow: 1.0,
        truncate: true,
        original_max_position_embeddings: 32,
    }
}

/// Frequencies and attention factors as `ROPE_INIT_FUNCTIONS` of transformers 5.24 computes them,
/// in f32.
#[test]
fn frequencies_are_those_of_transformers() {
    let check = |head_dim: usize, rope: Value, frequencies: &[f64], factor: f64| {
        let sizes = json!({
            "hidden_size": 3 * head_dim, "num_attention_heads": 3, "max_position_embeddings": 131072,
            "rope_scaling": null, "rope_parameters": rope,
        });
        let new = with(sizes);
        let mut old = new.clone();
        old["rope_scaling"] = old["rope_parameters"].take();
        old["rope_theta"] = old["rope_scaling"]["rope_theta"].take();
        old["rope_scaling"]["type"] = old["rope_scaling"]["rope_type"].take();
        assert_eq!(read(&new), read(&old));
        let config = read(&new);
        let ours = rope_inverse_frequencies(&config);
        assert_eq!(ours.len(), frequencies.len());
        for (a, b) in ours.iter().zip(frequencies) {
            assert!((a - b).abs() < 2e-6 * b, "{rope}: {ours:?}");
        }
        assert!((rope_attention_factor(&config) - factor).abs() < 1e-12, "{rope}");
    };
    check(
        12,
        json!({ "rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0 }),
        &[0.25, 0.05386086, 0.01160397, 0.0025, 0.0005386086, 0.0001160397],
        1.0,
    );
    check(
        16,
        json!({
            "rope_type": "yarn", "rope_theta": 10000.0, "factor": 32.0,
            "original_max_position_embeddings": 4096,
        }),
        &[1.0, 0.3162278, 0.1, 0.02396414, 0.00515625, 0.0008646853, 3.125e-05, 9.882118e-06],
        1.3465735902799727,
    );
    check(
        16,
        json!({
            "rope_type": "yarn", "rope_theta": 1000000.0, "factor": 4.0, "beta_fast": 16, "beta_slow": 2,
            "truncate": false, "original_max_position_embeddings": 32768,
        }),
        &[1.0, 0.1778279, 0.03162278, 0.005623413, 0.00059568, 4.445699e-05, 7.905694e-06, 1.405853e-06],
        1.138629436111989,
    );
    check(
        16,
        json!({
            "rope_type": "yarn", "rope_theta": 10000.0, "factor": 40.0, "mscale": 0.8, "mscale_all_dim": 0.5,
            "original_max_position_embeddings": 4096,
        }),
        &[1.0, 0.3162278, 0.1, 0.02391472, 0.005125, 0.0008498622, 2.5e-05, 7.905694e-06],
        1.0934331941177564,
    );
    check(
        16,
        json!({
            "rope_type": "yarn", "rope_theta": 10000.0, "factor": 16.0, "attention_factor": 1.25,
            "original_max_position_embeddings": 4096,
        }),
        &[1.0, 0.3162278, 0.1, 0.02421119, 0.0053125, 0.0009388012, 6.25e-05, 1.976424e-05],
        1.25,
    );
    check(
        16,
        json!({
            "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
        }),
        &[1.0, 0.1939228, 0.03760603, 0.007292665, 0.000524846, 3.428102e-05, 6.64787e-06, 1.289173e-06],
        1.0,
    );
}
