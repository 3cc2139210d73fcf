//! What is observed of a model on texts is kept, and taken again only if it is whole.

#![allow(clippy::unwrap_used)]

#[path = "common/golden.rs"]
mod golden;

use std::{fs, path::PathBuf};

use serde_json::Value;
use sotto_models::{Cache, Folder, Model, Texts, evaluator::Scales};

#[test]
fn what_was_observed_is_taken_from_the_cache() {
    let (model, dir) = (golden::open("qwen2").unwrap(), tempfile::tempdir().unwrap());
    // Sums of values over so many positions are not bounded by the weights.
    let file = model.dir.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    config["max_position_embeddings"] = Value::from(1 << 20);
    fs::write(&file, config.to_string()).unwrap();
    let folder = Folder::open(model.dir.path()).unwrap();
    let texts = Texts::Tokens(vec![model.tokens.clone()]);
    let load = |texts: &Texts, folder: &Folder| -> Scales {
        let cache = Cache::in_folder(dir.path().join("new"));
        Model::load_cached(folder, texts, &cache).unwrap().scales().clone()
    };
    let files = || -> Vec<PathBuf> {
        let all = fs::read_dir(dir.path().join("new"));
        all.map_or(vec![], |all| all.map(|entry| entry.unwrap().path()).collect())
    };
    let fresh = load(&texts, &folder);
    assert_eq!(files().len(), 1, "one file");
    assert_eq!(fresh, Model::load(&folder, &texts).unwrap().scales().clone());

    // What is in the file decides.
    let (file, whole) = (files().remove(0), fs::read_to_string(&files()[0]).unwrap());
    let mut observed: Value = serde_json::from_str(whole.split_once('\n').unwrap().1).unwrap();
    observed["stream"].as_array_mut().unwrap().iter_mut().for_each(|reach| *reach = Value::from(1e5));
    let text = observed.to_string();
    fs::write(&file, format!("{}\n{text}", blake3::hash(text.as_bytes()))).unwrap();
    assert_ne!(load(&texts, &folder), fresh);

    // Other texts are observed for themselves.
    load(&Texts::Tokens(vec![model.tokens[1..].to_vec()]), &folder);
    assert_eq!(files().len(), 2);

    // What is damaged is made anew.
    for damaged in ["", "x", &text, &whole[..whole.len() - 1], &whole.replace('1', "2")] {
        fs::write(&file, damaged).unwrap();
        assert_eq!(load(&texts, &folder), fresh, "{damaged}");
        assert_eq!(fs::read_to_string(&file).unwrap(), whole);
    }
}
