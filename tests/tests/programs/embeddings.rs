//! Vectors of texts from the client's HTTP endpoint.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    endpoint::{Endpoint, good_script, refused, script},
    golden,
    harness::*,
};

const INSECURE: [&str; 2] = ["--insecure-no-tls", "--accept-unproven-ranges"];

fn numbers(list: &Value) -> Vec<f32> {
    list.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

#[test]
fn vectors_are_those_of_the_command_line() {
    let golden = golden::prepare("bert");
    let server = Server::of(golden.path(), &INSECURE);
    let endpoint = Endpoint::start(&server, &[]);
    let about = endpoint.get("/v1/models").good();
    assert_eq!(about["data"][0]["sotto"]["task"], "embed");
    let texts = ["t7 t9 t20", "t5 t6"];
    let ask = |more: Value| {
        let mut body = json!({ "model": "sotto", "input": texts });
        more.as_object().unwrap().iter().for_each(|(name, value)| body[name] = value.clone());
        endpoint.post("/v1/embeddings", &body)
    };
    let answer = ask(json!({})).good();
    assert_eq!(answer["usage"], json!({ "prompt_tokens": 5, "total_tokens": 5 }));
    assert_eq!(answer["sotto"]["sessions"][0]["server_saw"]["text_tokens"], json!([3, 2]));
    let mut client = client_command();
    client.args(["embed", "--server", &server.addr, "--insecure-no-tls", "--log", "off", "--json"]);
    texts.iter().for_each(|text| _ = client.args(["--text", text]));
    let report: Value = serde_json::from_str(&good(&client.output().unwrap())).unwrap();
    let near =
        |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 0.01);
    for (i, one) in answer["data"].as_array().unwrap().iter().enumerate() {
        assert_eq!((&one["index"], &one["object"]), (&json!(i), &json!("embedding")));
        assert!(near(&numbers(&one["embedding"]), &numbers(&report["results"][i]["vector"])));
    }
    // As the package of OpenAI's asks by default.
    let packed = ask(json!({ "input": texts[1], "encoding_format": "base64" })).good();
    let bytes = STANDARD.decode(packed["data"][0]["embedding"].as_str().unwrap()).unwrap();
    let vector: Vec<f32> = bytes.chunks(4).map(|x| f32::from_le_bytes(x.try_into().unwrap())).collect();
    assert!(near(&vector, &numbers(&answer["data"][1]["embedding"])));

    for (more, param, words) in [
        (json!({ "input": null }), "input", "missing"),
        (json!({ "input": [] }), "input", "a list of 0"),
        (json!({ "input": "" }), "input", "empty"),
        (json!({ "input": [1, 2] }), "input", "another tokenizer|send texts"),
        (json!({ "input": [[1, 2]] }), "input", "another tokenizer|send texts"),
        (json!({ "input": ["t5", vec!["t7"; 40].join(" ")] }), "input[1]", "40 tokens|context_length"),
        (json!({ "encoding_format": "hex" }), "encoding_format", "float or base64"),
        (json!({ "dimensions": 3 }), "dimensions", "unsupported_parameter|24 numbers"),
        (json!({ "truncate": true }), "truncate", "unknown_parameter"),
    ] {
        refused(ask(more), 400, Some(param), words);
    }
    let completion = json!({ "model": "sotto", "prompt": "t5" });
    refused(endpoint.post("/v1/completions", &completion), 400, None, "unsupported_task|/v1/embeddings");
}

#[test]
fn the_openai_package_embeds() {
    let Some(mut script) = script("openai", "openai_embeddings.py") else { return };
    let golden = golden::prepare("bert");
    let server = Server::of(golden.path(), &INSECURE);
    let endpoint = Endpoint::start(&server, &[]);
    good_script(&mut script, &endpoint);
}

#[test]
fn what_has_no_path_is_not_served() {
    let golden = golden::prepare("bert-sequence");
    let server = Server::of(golden.path(), &INSECURE);
    let mut client = client_command();
    client.args(["serve", "--listen", "127.0.0.1:0", "--server", &server.addr, "--insecure-no-tls"]);
    mistake(&mut client, 2, &["`classify`", "party-client classify"]);
}
