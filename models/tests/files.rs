//! A model's files: what is wrong with them is said in one line that names the file, what is in it,
//! what should be, and what to do.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use common::{bytes, config, odd};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};
use sotto_models::random::{RandomFolder, write_random_folder};
use sotto_models::{Checkpoint, Fields, Folder, Reference};
use tempfile::TempDir;

fn model() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_random_folder(dir.path(), &bytes(), 3).unwrap();
    dir
}

fn sharded() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    RandomFolder::new(&bytes(), 3).shards(2).write(dir.path()).unwrap();
    dir
}

fn refused(dir: &Path, words: &[&str]) {
    let message = Folder::open(dir).err().expect("this folder should be refused").to_string();
    check(&message, words);
}

fn check(message: &str, words: &[&str]) {
    assert!(words.iter().all(|word| message.contains(word)), "{message}");
    assert!(!message.contains('\n') && message.contains("; "), "{message}");
}

type Tensors = HashMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// Rewrites the weights.
fn edit(dir: &Path, change: impl FnOnce(&mut Tensors)) {
    let file = dir.join("model.safetensors");
    let old = fs::read(&file).unwrap();
    let tensors = SafeTensors::deserialize(&old).unwrap().tensors();
    let mut tensors: Tensors =
        tensors.into_iter().map(|(n, t)| (n, (t.dtype(), t.shape().to_vec(), t.data().to_vec()))).collect();
    change(&mut tensors);
    let views = tensors.iter().map(|(n, (d, s, b))| (n, TensorView::new(*d, s.clone(), b).unwrap()));
    fs::write(file, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn edit_json(file: &Path, change: impl FnOnce(&mut Value)) {
    let mut json = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    change(&mut json);
    fs::write(file, json.to_string()).unwrap();
}

#[test]
fn a_whole_folder_opens() {
    for dir in [model(), sharded()] {
        let folder = Folder::open(dir.path()).unwrap();
        assert_eq!(*folder.config(), bytes());
        assert_eq!(
            folder.checkpoint().tensor("model.layers.1.mlp.gate_proj.weight", &[50, 36]).unwrap().len(),
            50 * 36
        );
        assert_eq!(folder.checkpoint().tensor("model.norm.weight", &[36]).unwrap().len(), 36);
    }
}

#[test]
fn the_same_seed_writes_the_same_files() {
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        let [a, b] = [model(), model()].map(|dir| fs::read(dir.path().join(file)).unwrap());
        assert!(a == b, "{file}");
    }
}

#[test]
fn missing_files() {
    for (file, cure) in [
        ("config.json", "point to a model's folder"),
        ("model.safetensors", "converted"),
        ("tokenizer.json", "put the model's tokenizer.json there"),
    ] {
        let dir = model();
        fs::remove_file(dir.path().join(file)).unwrap();
        refused(dir.path(), &[file, "no such file", cure]);
    }
    let dir = sharded();
    fs::remove_file(dir.path().join("model-00002-of-00002.safetensors")).unwrap();
    refused(dir.path(), &["model-00002-of-00002.safetensors", "no such file", "one folder"]);
    refused(Path::new("/no/such/folder"), &["/no/such/folder/config.json", "no such file"]);
}

#[test]
fn a_folder_in_place_of_a_file() {
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        let dir = model();
        fs::remove_file(dir.path().join(file)).unwrap();
        fs::create_dir(dir.path().join(file)).unwrap();
        refused(dir.path(), &[file, "cannot be read", "check the path"]);
    }
}

#[test]
fn a_bad_config_names_its_file() {
    let dir = model();
    edit_json(&dir.path().join("config.json"), |c| c["hidden_act"] = json!("relu"));
    refused(dir.path(), &["config.json: `hidden_act` is \"relu\""]);
    fs::write(dir.path().join("config.json"), vec![b' '; (1 << 20) + 7]).unwrap();
    refused(dir.path(), &["config.json", "1048583 bytes", "1048576"]);
}

#[test]
fn endings_come_from_both_files() {
    let dir = model();
    fs::write(dir.path().join("generation_config.json"), r#"{"eos_token_id": [2, 9]}"#).unwrap();
    assert_eq!(Folder::open(dir.path()).unwrap().config().eos_token_ids, [2, 9]);
    fs::write(dir.path().join("generation_config.json"), r#"{"eos_token_id": -9}"#).unwrap();
    refused(dir.path(), &["generation_config.json: `eos_token_id` is -9"]);
}

#[test]
fn endings_beyond_the_vocabulary_do_not_stop_a_model() {
    let dir = model();
    fs::write(dir.path().join("generation_config.json"), r#"{"eos_token_id": [2, 795]}"#).unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    assert_eq!(folder.config().eos_token_ids, [2]);
    assert_eq!(folder.warnings().len(), 1);
    assert!(folder.warnings()[0].contains("[795]"), "{:?}", folder.warnings());
    assert_eq!(Folder::open(model().path()).unwrap().warnings(), [""; 0]);
}

#[test]
fn pointers_of_git_lfs_are_named() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 2113128\n";
    for file in ["config.json", "model.safetensors", "tokenizer.json", "generation_config.json"] {
        let dir = model();
        fs::write(dir.path().join(file), pointer).unwrap();
        refused(dir.path(), &[file, "git-LFS pointer", "git lfs pull"]);
    }
    let dir = sharded();
    fs::write(dir.path().join("model.safetensors.index.json"), pointer).unwrap();
    refused(dir.path(), &["index.json", "git-LFS pointer", "git lfs pull"]);
}

#[test]
fn a_byte_order_mark_is_named() {
    for file in ["config.json", "tokenizer.json"] {
        let dir = model();
        let text = fs::read(dir.path().join(file)).unwrap();
        fs::write(dir.path().join(file), [b"\xef\xbb\xbf", &text[..]].concat()).unwrap();
        refused(dir.path(), &[file, "byte order mark", "save the file"]);
    }
}

#[test]
fn damaged_weights() {
    let dir = model();
    let file = dir.path().join("model.safetensors");
    let whole = fs::read(&file).unwrap();
    for length in [0, 5, 8, 100, whole.len() / 2, whole.len() - 1] {
        fs::write(&file, &whole[..length]).unwrap();
        refused(
            dir.path(),
            &["model.safetensors", &format!("{length} bytes"), "truncated", "copy the file again"],
        );
    }
    fs::write(&file, [&whole[..], b"x"].concat()).unwrap();
    refused(dir.path(), &["model.safetensors", "not the length"]);
    fs::write(&file, vec![b'x'; 5000]).unwrap();
    refused(dir.path(), &["model.safetensors", "not a safetensors file"]);
    let overlong = [&(1u64 << 62).to_le_bytes()[..], &whole[8..]].concat();
    fs::write(&file, overlong).unwrap();
    refused(dir.path(), &["model.safetensors", "not a safetensors file"]);
}

#[test]
fn tensors_against_the_config() {
    let name = "model.layers.1.mlp.up_proj.weight";
    let dir = model();
    edit(dir.path(), |t| drop(t.remove(name)));
    refused(dir.path(), &["model.safetensors", name, "missing", "[50, 36]"]);

    let dir = model();
    edit(dir.path(), |t| t.get_mut(name).unwrap().1 = vec![36, 50]);
    refused(dir.path(), &["model.safetensors", name, "[36, 50]", "[50, 36]", "config.json"]);

    let dir = model();
    edit(dir.path(), |t| t.get_mut(name).unwrap().0 = Dtype::I32);
    refused(dir.path(), &["model.safetensors", name, "I32", "BF16", "in one of these"]);

    let dir = model();
    edit_json(&dir.path().join("config.json"), |c| c["num_hidden_layers"] = json!(3));
    refused(dir.path(), &["model.layers.2.input_layernorm.weight", "missing", "[36]"]);

    let dir = model();
    edit_json(&dir.path().join("config.json"), |c| c["num_hidden_layers"] = json!(1));
    refused(dir.path(), &["model.layers.1.", "not part of"]);
}

#[test]
fn heads_apart_and_tied() {
    let dir = model();
    edit(dir.path(), |t| drop(t.remove("lm_head.weight")));
    refused(dir.path(), &["lm_head.weight", "missing", "tie_word_embeddings"]);

    let dir = model();
    edit_json(&dir.path().join("config.json"), |c| c["tie_word_embeddings"] = json!(true));
    let folder = Folder::open(dir.path()).unwrap();
    Reference::load(&folder).unwrap();
}

#[test]
fn tensors_that_would_be_left_out() {
    let dir = model();
    let bias = "model.layers.0.self_attn.q_proj.bias";
    edit(dir.path(), |t| drop(t.insert(bias.into(), (Dtype::F32, vec![36], vec![0; 144]))));
    refused(dir.path(), &["model.safetensors", bias, "biases and adapters"]);

    let dir = model();
    let frequencies = "model.layers.0.self_attn.rotary_emb.inv_freq";
    edit(dir.path(), |t| drop(t.insert(frequencies.into(), (Dtype::F32, vec![6], vec![0; 24]))));
    assert!(Folder::open(dir.path()).is_ok());
}

#[test]
fn weights_that_are_no_numbers() {
    for (value, word) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        let dir = model();
        let name = "model.layers.0.mlp.down_proj.weight";
        edit(dir.path(), |t| t.get_mut(name).unwrap().2[68..72].copy_from_slice(&value.to_le_bytes()));
        let folder = Folder::open(dir.path()).unwrap();
        let words = ["model.safetensors", name, word, "element 17", "finite"];
        check(&Reference::load(&folder).err().unwrap().to_string(), &words);
    }
}

#[test]
fn an_index_stays_in_its_folder() {
    for shard in ["../model.safetensors", "/etc/passwd", "a/b.safetensors", "..", ".", "", "a\\b", "c:x"] {
        let dir = sharded();
        let index = dir.path().join("model.safetensors.index.json");
        edit_json(&index, |i| i["weight_map"]["model.norm.weight"] = json!(shard));
        refused(dir.path(), &["index.json", &format!("{shard:?}"), "not a plain file name"]);
    }
}

#[test]
fn an_index_against_its_shards() {
    let dir = sharded();
    let index = dir.path().join("model.safetensors.index.json");
    edit_json(&index, |i| i["weight_map"]["model.norm.weight"] = json!("model-00001-of-00002.safetensors"));
    refused(dir.path(), &["index.json", "model.norm.weight", "not in model-00001-of-00002.safetensors"]);

    fs::write(&index, "{}").unwrap();
    refused(dir.path(), &["index.json", "not an index", "weight_map"]);

    let many: HashMap<String, String> = (0..2000).map(|n| (format!("t{n}"), format!("s{n}"))).collect();
    fs::write(&index, json!({ "weight_map": many }).to_string()).unwrap();
    refused(dir.path(), &["index.json", "2000 shards", "1024"]);
}

#[test]
fn a_checkpoint_by_itself() {
    let dir = model();
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(checkpoint.names().count(), 2 * 9 + 3);
    check(&checkpoint.tensor("nothing", &[1]).unwrap_err().to_string(), &["`nothing` is missing", "[1]"]);
    check(&Checkpoint::builtin("built in", b"?").err().unwrap().to_string(), &["built in", "1 bytes"]);
}

#[test]
fn a_tokenizer_of_another_model() {
    let dir = model();
    let small = config(Fields { vocab_size: 290, ..odd() });
    let other = tempfile::tempdir().unwrap();
    write_random_folder(other.path(), &small, 3).unwrap();
    fs::copy(dir.path().join("tokenizer.json"), other.path().join("tokenizer.json")).unwrap();
    refused(other.path(), &["tokenizer.json", "299", "below vocab_size 290", "same model"]);

    fs::write(dir.path().join("tokenizer.json"), "{\"model\": 5}").unwrap();
    refused(dir.path(), &["tokenizer.json", "not a tokenizer"]);
}
