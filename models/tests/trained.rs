//! Trained models, by hand: `MODELS=folder cargo test -p sotto-models --test trained -- --ignored`.
//!
//! The folder holds `smollm2-135m-instruct/` in the Hugging Face layout, converted from
//! `smollm2-135m-instruct.gguf` beside it with half-precision weights; and
//! `gemma-3-270m-q4_k_m.gguf`.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::PathBuf;

use common::{read, tensors};
use sotto_models::{Folder, Message, Model, Reference, Texts};
use sotto_protocol::Precision;

const NAME: &str = "smollm2-135m-instruct";

fn folders() -> [Folder; 2] {
    let models = PathBuf::from(std::env::var_os("MODELS").expect("MODELS names a folder of models"));
    [NAME.to_string(), format!("{NAME}.gguf")].map(|name| Folder::open(&models.join(name)).unwrap())
}

#[test]
#[ignore = "needs trained models"]
fn a_gguf_file_is_its_converted_folder() {
    let [folder, gguf] = folders();
    assert_eq!(folder.config(), gguf.config());
    assert!(gguf.warnings().is_empty() && gguf.is_instruct() && folder.is_instruct());
    for tensor in tensors(folder.config()) {
        let (a, b) = (read(&folder, &tensor.name).0, read(&gguf, &tensor.name).0);
        let rounded = |(a, b): (&f32, &f32)| (a - b).abs() <= b.abs() / 2048.0 + 1e-7;
        assert!(a.iter().zip(&b).all(rounded), "{}", tensor.name);
    }
    for text in
        ["Hello 123 🦊 é", "def f(n):\n    return n  # 1.50\n", "<|im_start|>user\nHi<|im_end|>", "从前"]
    {
        let [a, b] = [&folder, &gguf].map(|f| f.tokenizer().encode(text, 999).unwrap());
        assert_eq!(a, b);
        let [a, b] = [&folder, &gguf].map(|f| f.tokenizer().decode(&a).unwrap());
        assert_eq!(a, b);
    }
}

#[test]
#[ignore = "needs trained models"]
fn a_question_is_answered() {
    let [_, gguf] = folders();
    let template = gguf.chat_template().unwrap();
    let text = template.render(&[Message::new("user", "What is the capital of France?")], true).unwrap();
    let prompt = gguf.tokenizer().encode_rendered(&text, 999).unwrap();
    assert_eq!(prompt, gguf.tokenizer().encode(&text, 999).unwrap());
    let answer = Reference::load(&gguf).unwrap().generate(&prompt, 20);
    let mut stream = gguf.tokenizer().stream(&prompt).unwrap();
    let pieces: Vec<String> = answer.iter().map(|&id| stream.push(id).unwrap()).collect();
    let text = [pieces.concat(), stream.finish().unwrap()].concat();
    assert!(text.contains("Paris"), "{text}");
    assert_eq!(answer.last(), Some(&2), "{text}");
}

/// Norms of heads, norms behind blocks, and windows.
#[test]
#[ignore = "needs trained models"]
fn gemma_3_goes_on_as_in_f32() {
    let models = PathBuf::from(std::env::var_os("MODELS").expect("MODELS names a folder of models"));
    let gguf = Folder::open(&models.join("gemma-3-270m-q4_k_m.gguf")).unwrap();
    assert!(gguf.warnings()[0].contains("window"));
    let prompt = gguf.tokenizer().encode("The capital of France is", 99).unwrap();
    let answer = Reference::load(&gguf).unwrap().generate(&prompt, 8);
    let text = gguf.tokenizer().decode(&answer).unwrap();
    assert!(text.contains("France"), "{text}");
    let model = Model::load(&gguf, &Texts::default()).unwrap();
    // Its residual stream is so large that the audit cannot clear the epsilon of its norms.
    let known = ["the least epsilon of a norm", "values, before their check"];
    let others = |what: &str| !known.iter().any(|known| what.ends_with(known));
    assert!(!model.findings().iter().any(|finding| others(&finding.what)), "{:?}", model.findings());
    let texts = [[prompt, answer].concat()];
    let agreement = model.agreement(&gguf, &texts, Precision::Default).unwrap();
    eprintln!("{agreement:?}");
    assert_eq!(agreement.clear_same, agreement.clear);
}
