//! Encoders' folders: heads, labels, masks, sentence-transformers; and what is wrong with them.

#![allow(clippy::unwrap_used)]

#[path = "common/golden.rs"]
mod golden;

use std::{collections::HashMap, fs, path::Path};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};
use sotto_models::{Folder, Model, Pooling, Reference, Task, Texts, Tokens};
use sotto_protocol::Precision;

/// Changes a file of JSON.
fn edit(dir: &Path, file: &str, change: impl FnOnce(&mut Value)) {
    let file = dir.join(file);
    let mut value: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    change(&mut value);
    fs::write(file, value.to_string()).unwrap();
}

fn write(dir: &Path, file: &str, value: Value) {
    let file = dir.join(file);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, value.to_string()).unwrap();
}

/// Opening it fails in one line with all `words` in it.
fn refused(dir: &Path, words: &[&str]) {
    let message = Folder::open(dir).err().expect("it was accepted").to_string();
    assert!(words.iter().all(|word| message.contains(word)) && !message.contains('\n'), "{message}");
}

/// A folder of sentence-transformers: this pooling, and modules behind it.
fn sentence(name: &str, pooling: Value, behind: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = golden::prepare(name);
    let module = |(kind, path): &(&str, &str)| json!({ "path": path, "type": format!("models.{kind}") });
    let modules: Vec<Value> =
        [("Transformer", ""), ("Pooling", "1_Pooling")].iter().chain(behind).map(module).collect();
    write(dir.path(), "modules.json", Value::Array(modules));
    write(dir.path(), "1_Pooling/config.json", pooling);
    dir
}

fn mean() -> Value {
    json!({ "word_embedding_dimension": 24, "pooling_mode_mean_tokens": true, "pooling_mode_cls_token": false })
}

#[test]
fn fixed_point_is_near_the_reference() {
    for name in golden::ENCODERS {
        let golden = golden::open(name).unwrap();
        let texts = Texts::Tokens(vec![golden.tokens.clone()]);
        let model = Model::load(&golden.folder, &texts).unwrap();
        let tokens = Tokens::Known(&golden.tokens);
        let want = Reference::load(&golden.folder).unwrap().evaluate(tokens, false);
        for precision in Precision::ALL {
            let got = model.clear(tokens, false, precision);
            assert_eq!(got.len(), want.len(), "{name}");
            let off = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off < 0.05, "{name}: the largest difference is {off}");
        }
    }
}

#[test]
fn a_folder_is_for_what_its_class_is_for() {
    let task = |name: &str| golden::open(name).unwrap().folder.config().task();
    assert_eq!(task("bert"), Task::Embed);
    assert_eq!(task("distilbert-sequence"), Task::Classify);
    assert_eq!(task("bert-token"), Task::Tag);
    assert_eq!(task("electra-masked"), Task::FillMask);
    assert_eq!(task("bert-question"), Task::Answer);
    let dir = golden::prepare("bert-sequence");
    edit(dir.path(), "config.json", |c| c["architectures"] = json!(["BertForNextSentencePrediction"]));
    refused(dir.path(), &["architectures", "BertForNextSentencePrediction", "BertForMaskedLM"]);
    edit(dir.path(), "config.json", |c| c["architectures"] = json!(["RobertaModel"]));
    refused(dir.path(), &["architectures", "RobertaModel"]);
}

#[test]
fn heads_that_are_not_used_are_told_and_those_that_are_must_be_there() {
    let dir = golden::prepare("bert-sequence");
    edit(dir.path(), "config.json", |c| c["architectures"] = json!(["BertModel"]));
    let folder = Folder::open(dir.path()).unwrap();
    let remark = folder.warnings().iter().find(|w| w.contains("ignored")).unwrap();
    assert!(remark.contains("classifier.weight") && remark.contains("pooler.dense"), "{remark}");
    edit(dir.path(), "config.json", |c| c["architectures"] = json!(["BertForQuestionAnswering"]));
    refused(dir.path(), &["qa_outputs.weight", "is missing"]);
    edit(dir.path(), "config.json", |c| c["num_hidden_layers"] = json!(1));
    edit(dir.path(), "config.json", |c| c["architectures"] = json!(["BertModel"]));
    refused(dir.path(), &["encoder.layer.1.", "not part of"]);
}

#[test]
fn labels_have_names() {
    let dir = golden::prepare("bert-sequence");
    let labels = |value: Value| edit(dir.path(), "config.json", |c| c["id2label"] = value);
    labels(json!({ "0": "bad", "1": "so-so", "2": "good" }));
    let folder = Folder::open(dir.path()).unwrap();
    assert_eq!(folder.config().encoder().labels, ["bad", "so-so", "good"]);
    labels(json!({ "0": "bad", "2": "good" }));
    refused(dir.path(), &["id2label", "a name for each number"]);
    labels(json!({ "0": "bad", "1": "good" }));
    refused(dir.path(), &["classifier.weight", "[2, 24]"]);
    labels(Value::Null);
    refused(dir.path(), &["classifier.weight", "[2, 24]"]);
}

#[test]
fn a_mask_is_needed_where_words_are_looked_for() {
    let dir = golden::prepare("bert-masked");
    edit(dir.path(), "tokenizer.json", |t| {
        let vocab = t["model"]["vocab"].as_object_mut().unwrap();
        let id = vocab.remove("[MASK]").unwrap();
        vocab.insert("gap".into(), id);
    });
    refused(dir.path(), &["no mask token", "tokenizer_config.json"]);
    write(dir.path(), "tokenizer_config.json", json!({ "mask_token": { "content": "gap" } }));
    assert!(Folder::open(dir.path()).unwrap().config().encoder().mask_token.is_some());
}

#[test]
fn gains_and_biases_have_older_names() {
    let (dir, golden) = (golden::prepare("bert-masked"), golden::open("bert-masked").unwrap());
    let file = dir.path().join("model.safetensors");
    let bytes = fs::read(&file).unwrap();
    let old = |name: &str| {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
    };
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let renamed: HashMap<String, TensorView<'_>> =
        tensors.tensors().into_iter().map(|(name, view)| (old(&name), view)).collect();
    fs::write(&file, safetensors::serialize(&renamed, None).unwrap()).unwrap();
    let outputs = Reference::load(&Folder::open(dir.path()).unwrap()).unwrap().logits(&golden.tokens);
    assert!(outputs.iter().zip(&golden.logits).all(|(a, b)| (a - b).abs() < 2e-4));
}

#[test]
fn vectors_are_pooled_as_the_modules_say() {
    let golden = golden::open("bert").unwrap();
    let tokens = Tokens::Known(&golden.tokens);
    let vector = |dir: &Path| {
        let folder = Folder::open(dir).unwrap();
        let all = (folder.config().encoder().pooling, folder.config().encoder().normalise);
        (all, Reference::load(&folder).unwrap().evaluate(tokens, false))
    };
    let near =
        |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 2e-4);
    let n = golden.tokens.len() as f32;
    let means: Vec<f32> =
        (0..24).map(|j| golden.logits.iter().skip(j).step_by(24).sum::<f32>() / n).collect();

    let (how, got) = vector(sentence("bert", mean(), &[("Normalize", "2_Normalize")]).path());
    assert_eq!(how, (Pooling::Mean, true));
    assert!(near(&got, &means));
    let (how, got) = vector(sentence("bert", json!({ "pooling_mode_cls_token": true }), &[]).path());
    assert_eq!(how, (Pooling::First, false));
    assert!(near(&got, &golden.logits[..24]));

    let dir = sentence("bert", mean(), &[("Dense", "2_Dense")]);
    let weights: Vec<f32> = (0..24 * 4).map(|i| ((i * 7 % 13) as f32 - 6.0) / 10.0).collect();
    let bytes: Vec<u8> = weights.iter().flat_map(|x| x.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, vec![4, 24], &bytes).unwrap();
    let dense = |function: &str| {
        json!({
            "in_features": 24, "out_features": 4, "bias": false,
            "activation_function": format!("torch.nn.modules.{function}"),
        })
    };
    write(dir.path(), "2_Dense/config.json", dense("activation.Tanh"));
    refused(dir.path(), &["2_Dense/model.safetensors", "no such file"]);
    let file = dir.path().join("2_Dense/model.safetensors");
    fs::write(file, safetensors::serialize([("linear.weight", view)], None).unwrap()).unwrap();
    let lines: Vec<f32> =
        weights.chunks(24).map(|row| row.iter().zip(&means).map(|(w, x)| w * x).sum()).collect();
    let tanh: Vec<f32> = lines.iter().map(|x: &f32| x.tanh()).collect();
    assert!(near(&vector(dir.path()).1, &tanh));
    let texts = Texts::Tokens(vec![golden.tokens.clone()]);
    let model = Model::load(&Folder::open(dir.path()).unwrap(), &texts).unwrap();
    let got = model.clear(tokens, false, Precision::Default);
    assert!(got.iter().zip(&tanh).all(|(a, b)| (a - b).abs() < 0.02), "{got:?}, {tanh:?}");
    write(dir.path(), "2_Dense/config.json", dense("linear.Identity"));
    assert!(near(&vector(dir.path()).1, &lines));
    write(dir.path(), "2_Dense/config.json", dense("activation.Mish"));
    refused(dir.path(), &["activation_function", "Mish", "Tanh or Identity"]);
}

#[test]
fn what_would_change_vectors_and_is_not_there_is_refused() {
    let pooling = |value: Value, words: &[&str]| refused(sentence("bert", value, &[]).path(), words);
    pooling(json!({ "pooling_mode_max_tokens": true }), &["1_Pooling", "pooling_mode", "max_tokens"]);
    pooling(
        json!({ "pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true }),
        &["cls_token and mean"],
    );
    pooling(json!({}), &["pooling_mode", "absent"]);
    pooling(json!({ "word_embedding_dimension": 25, "pooling_mode_mean_tokens": true }), &["25", "24"]);
    let behind =
        |modules: &[(&str, &str)], words: &[&str]| refused(sentence("bert", mean(), modules).path(), words);
    behind(&[("WordWeights", "2")], &["modules.json", "WordWeights", "Normalize"]);
    behind(&[("Normalize", "2"), ("Pooling", "1_Pooling")], &["in this order"]);
    behind(&[("Normalize", "../2")], &["modules.json", "`path`"]);

    let dir = sentence("bert", mean(), &[]);
    write(dir.path(), "sentence_bert_config.json", json!({ "max_seq_length": 9, "do_lower_case": false }));
    let folder = Folder::open(dir.path()).unwrap();
    assert_eq!((folder.config().longest(), folder.config().max_position_embeddings), (9, 32));
    edit(dir.path(), "tokenizer.json", |t| {
        t["model"]["vocab"]["A"] = json!(3);
        t["model"]["vocab"].as_object_mut().unwrap().remove("t3");
    });
    write(dir.path(), "sentence_bert_config.json", json!({ "do_lower_case": true }));
    refused(dir.path(), &["do_lower_case", "capitals"]);
    let dir = sentence("bert", mean(), &[]);
    write(dir.path(), "config_sentence_transformers.json", json!({ "default_prompt_name": "query" }));
    refused(dir.path(), &["default_prompt_name", "query"]);
}
