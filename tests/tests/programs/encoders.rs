//! Tasks on texts, by the two programs.

use std::process::Command;

use serde_json::Value;
use sotto_models::{Reference, Tokens};

use crate::{golden, harness::*};

const TEXT: &str = "t7 t9 t20 t30";

fn server(name: &str, options: &[&str]) -> (Server, golden::Golden) {
    let golden = golden::open(name).unwrap();
    let options: Vec<&str> = ["--insecure-no-tls", "--accept-unproven-ranges"]
        .into_iter()
        .chain(options.iter().copied())
        .collect();
    (Server::of(golden.dir.path(), &options), golden)
}

/// A client of this server, with its subcommand.
fn client(server: &Server, args: &[&str]) -> Command {
    let mut command = client_command();
    let (name, options) = args.split_first().unwrap();
    command.args([name, "--server", &server.addr, "--insecure-no-tls", "--log", "off"]).args(options);
    command
}

#[test]
fn texts_are_classified() {
    let (server, golden) = server("bert-sequence", &[]);
    let texts = golden.dir.path().join("texts");
    std::fs::write(&texts, format!("{TEXT}\n\nt5 t6\n")).unwrap();
    let out = client(&server, &["classify", "--json", "--text-file"]).arg(&texts).output().unwrap();
    let report: Value = serde_json::from_str(&good(&out)).unwrap();
    let results = report["results"].as_array().unwrap();
    assert_eq!((results.len(), &report["saw"]["server"]["text_tokens"]), (2, &serde_json::json!([4, 2])));
    let mut reference = Reference::load(&golden.folder).unwrap();
    for (result, ids) in results.iter().zip([vec![7, 9, 20, 30], vec![5, 6]]) {
        reference.reset();
        let logits = reference.evaluate(Tokens::Known(&ids), false);
        let sum: f32 = logits.iter().map(|x| x.exp()).sum();
        for label in result["labels"].as_array().unwrap() {
            let i: usize = label["name"].as_str().unwrap().strip_prefix("LABEL_").unwrap().parse().unwrap();
            let (got, want) = (label["score"].as_f64().unwrap() as f32, logits[i].exp() / sum);
            assert!((got - want).abs() < 0.02, "{got}, {want}");
        }
    }
    server.logs("classify: 2 texts of 6 tokens in all");
    let out = client(&server, &["info"]).output().unwrap();
    assert!(good(&out).contains("for `classify`"));
}

#[test]
fn what_a_model_is_not_for_is_told() {
    let (server, _golden) = server("bert-masked", &[]);
    let client = |args: &[&str]| client(&server, args);
    mistake(&mut client(&["embed", "--text", TEXT]), 2, &["does not embed", "`fill-mask`"]);
    mistake(&mut client(&["generate", "--prompt", TEXT]), 2, &["does not generate", "`fill-mask`"]);
    mistake(&mut client(&["fill-mask", "--text", TEXT]), 2, &["text 1 has 0 masks", "[MASK]"]);
    let long = vec!["t7"; 40].join(" ");
    mistake(&mut client(&["fill-mask", "--text", &long]), 2, &["40 tokens", "at most 32"]);
    mistake(&mut client(&["fill-mask", "--text", ""]), 2, &["empty"]);
    mistake(&mut client(&["fill-mask"]), 2, &["no text", "--text"]);
    let (mut refused, tags) = (server_command(), golden::prepare("bert-token"));
    refused.arg("--model").arg(tags.path());
    mistake(
        refused.args(["--insecure-no-tls", "--listen", "127.0.0.1:0", "--reveal", "tokens"]),
        2,
        &["`tag`", "--reveal"],
    );
}
