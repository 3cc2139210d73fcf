//! What a user gets who does everything right.

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::harness::*;

#[test]
fn two_processes_write_what_the_model_would() {
    let (tokens, text) = reference(10);
    let server = Server::start(&[]);
    // Two at a time. The first one's prompt comes from standard input; it prints one JSON object.
    let mut client = server.client();
    client.args(["--prompt-file", "-", "--max-tokens", "3", "--json", "--link", "1gbit,1ms"]);
    client.args(["--precision", "high"]);
    let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    client.stdin.take().unwrap().write_all(PROMPT.as_bytes()).unwrap();

    let identity = server.folder.path().join("client.pem");
    let out = server
        .client()
        .args(["--prompt", PROMPT, "--max-tokens", "10", "--report", "full"])
        .arg("--identity")
        .arg(identity)
        .output();
    let out = out.unwrap();
    assert_eq!(good(&out), format!("{text}\n"));
    let report = String::from_utf8(out.stderr).unwrap();
    for words in [
        "precision   default",
        "the server saw",
        "the client saw",
        "set-up",
        "offline",
        "prefill",
        "each token",
        "softmax, online",
    ] {
        assert!(report.contains(words), "{words} in {report}");
    }
    server.logs(" 10 of at most 10 new ones");

    let json: Value = serde_json::from_str(&good(&client.wait_with_output().unwrap())).unwrap();
    assert_eq!(json["tokens"].as_array().unwrap().len(), 3);
    assert!(json["tokens"].as_array().unwrap().iter().zip(&tokens).all(|(a, b)| a == *b));
    assert!(text.starts_with(json["text"].as_str().unwrap()));
    assert_eq!(json["precision"], "high");
    assert_eq!(json["saw"]["server"]["new_tokens"], 3);
    assert_eq!(json["saw"]["client"]["rows_of_logits"], 3);
    assert_eq!(json["saw"]["client"]["model"]["vocab_size"], 1024);
    assert_eq!(json["fingerprint"].as_str(), server.fingerprint.as_deref());
    for part in ["setup", "offline", "prefill", "decode", "total"] {
        for field in ["sent_bytes", "received_bytes", "turns", "seconds"] {
            assert!(json["cost"][part][field].as_f64().unwrap() > 0.0, "{part} {field}");
        }
    }
    assert!(json["cost"]["offline"]["cots"].as_u64().unwrap() > 1_000_000);
    assert!(json["cost"]["per_token"]["bytes"].as_f64().unwrap() > 0.0);
    let operations = json["cost"]["operations"].as_array().unwrap();
    assert!(
        operations
            .iter()
            .any(|o| o["operation"] == "softmax" && o["phase"] == "decode" && o["half"] == "online")
    );
}

#[test]
fn a_server_may_reveal_tokens_only() {
    let server = Server::start(&["--reveal", "tokens"]);
    let out = server.client().args(["--prompt", PROMPT, "--max-tokens", "4", "--json"]).output();
    let json: Value = serde_json::from_str(&good(&out.unwrap())).unwrap();
    let (tokens, _) = reference(4);
    assert!(json["tokens"].as_array().unwrap().iter().zip(&tokens).all(|(a, b)| a == *b));
    assert_eq!(json["saw"]["client"]["rows_of_logits"], 0);
    let sampled = ["--quiet", "--prompt", PROMPT, "--max-tokens", "2", "--temperature"];
    good(&server.client().args(sampled).arg("0.7").output().unwrap());
    mistake(server.client().args(sampled).args(["0.7", "--top-k", "9"]), 2, &["top_k", "tokens only"]);
    mistake(server.client().args(sampled).args(["0.7", "--top-p", "0.9"]), 2, &["top_p", "tokens only"]);
    mistake(server.client().args(sampled).arg("5"), 2, &["temperature is 5", "0.05 to 4"]);
    let story = server.folder.path().join("story.txt");
    fs::write(&story, PROMPT).unwrap();
    let check = ["--quiet", "--reference", "builtin", "--check"];
    mistake(server.client().args(check).arg(&story), 2, &["does not reveal all logits"]);
}

#[test]
fn a_server_may_reveal_the_largest_logits_only() {
    let server = Server::start(&["--reveal", "top=20"]);
    let prompt = ["--prompt", PROMPT, "--max-tokens", "3", "--json"];
    let out = server.client().args(prompt).args(["--temperature", "0.8", "--top-k", "20"]).output();
    let json: Value = serde_json::from_str(&good(&out.unwrap())).unwrap();
    assert_eq!(json["saw"]["client"]["rows_of_logits"], json["tokens"].as_array().unwrap().len());
    assert_eq!(json["saw"]["client"]["logits_in_row"], 20);
    let more = ["--quiet", "--prompt", PROMPT, "--temperature", "1", "--top-k", "21"];
    mistake(server.client().args(more), 2, &["the 20 largest logits", "--top-k"]);
}

#[test]
fn an_answer_that_may_be_wrong_says_so() {
    let dir = tempfile::tempdir().unwrap();
    // Scores of about 2000, which nothing bounds beforehand.
    let alike: fn(&mut [f32]) = |w| w.fill(0.417);
    let [q, k] = ["model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.k_proj.weight"];
    edited_model(dir.path(), &[(q, alike), (k, alike)]);
    let server = Server::of(dir.path(), &[]);
    let out = server.client().args(["--prompt", "to be", "--max-tokens", "2", "--json"]).output().unwrap();
    let told = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(5), "{told}");
    assert!(told.contains("may be wrong") && told.contains("range"), "{told}");
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&report["in_range"], &report["audited"]), (&Value::Bool(false), &Value::Bool(true)));
    assert_eq!(report["tokens"].as_array().unwrap().len(), 2);
    // The server knows of nothing.
    assert!(!server.logs("served:").contains("range"));
}

#[test]
fn an_unproven_model_is_refused_or_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    extreme_model(dir.path(), |w| w[3 * 48..4 * 48].fill(4000.0));
    let mut refused = server_command();
    refused.arg("--model").arg(dir.path()).args(["--insecure-no-tls", "--log", "error"]);
    mistake(&mut refused, 2, &["gate", "--accept-unproven-ranges"]);
    let server = Server::of(dir.path(), &["--accept-unproven-ranges"]);
    let out = server.client().args(["--prompt", "to be", "--max-tokens", "1", "--json"]).output().unwrap();
    assert!(String::from_utf8_lossy(&out.stderr).contains("not watched"));
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(report["audited"], false);
}

#[test]
fn check_agrees_with_the_reference() {
    let server = Server::start(&["--insecure-no-tls", "--once"]);
    let text = server.folder.path().join("text");
    fs::write(&text, format!("{PROMPT}. He was very happy.")).unwrap();
    let mut client = server.client();
    client.arg("--check").arg(text).args(["--reference", "builtin", "--check-tokens", "8", "--json"]);
    let json: Value = serde_json::from_str(&good(&client.output().unwrap())).unwrap();
    let comparison = &json["comparison"];
    assert_eq!(comparison["positions"], 8);
    assert_eq!(comparison["clear_agreeing"], comparison["clear_positions"]);
    assert!(comparison["largest_difference"].as_f64().unwrap() < 0.5, "{comparison}");
}

#[test]
fn the_demo_is_one_command() {
    let out = Command::new(env!("CARGO_BIN_EXE_demo"))
        .args(["--prompt", PROMPT, "--max-tokens", "2"])
        .output()
        .unwrap();
    assert_eq!(good(&out), format!("{}\n", reference(2).1));
    let shown = String::from_utf8(out.stderr).unwrap();
    assert!(shown.contains("[server]") && shown.contains("the client saw"), "{shown}");
    let report = shown.lines().filter(|line| !line.starts_with("[server]"));
    assert!(report.clone().count() <= 20, "the report fits a screen: {shown}");
    assert!(report.clone().all(|line| line.chars().count() <= 100), "{shown}");
}

#[test]
fn a_conversation_goes_by_the_models_template() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        fs::copy(builtin(file), dir.path().join(file)).unwrap();
    }
    // The template makes the text of a plain prompt out of two turns.
    let template = "{% for m in messages %}{% if m.role == 'system' %}{{ bos_token }}{% endif %}{{ m.content }}\
                    {% endfor %}";
    fs::write(dir.path().join("chat_template.jinja"), template).unwrap();
    let server = Server::of(dir.path(), &["--insecure-no-tls"]);
    let (start, end) = PROMPT.split_at(PROMPT.find(" a little").unwrap());
    let ask = |options: &[&str]| {
        let mut client = server.client();
        client.args(["--max-tokens", "2", "--report", "none"]).args(options).output().unwrap()
    };
    let chat = ask(&["--chat", "--system", start, "--prompt", end]);
    assert_eq!(good(&chat), format!("{}\n", reference(2).1));
    assert!(!String::from_utf8_lossy(&chat.stderr).contains("--chat"));
    let plain = ask(&["--prompt", PROMPT]);
    assert_eq!(good(&plain), format!("{}\n", reference(2).1));
    assert!(String::from_utf8_lossy(&plain.stderr).contains("--chat applies its template"));
}

#[test]
fn an_answer_ends_before_a_stop_sequence() {
    let (server, text) = (Server::start(&[]), reference(12).1);
    let stop = text.split(' ').nth(4).unwrap();
    let stopped = |stop: &str| {
        let mut client = server.client();
        client.args([
            "--prompt",
            PROMPT,
            "--max-tokens",
            "12",
            "--quiet",
            "--stop",
            "nothing of it",
            "--stop",
        ]);
        client.arg(stop);
        client
    };
    let cut = text.split(stop).next().unwrap();
    assert_eq!(good(&stopped(stop).output().unwrap()), format!("{cut}\n"));
    mistake(&mut stopped(""), 2, &["a stop sequence is empty"]);
}

#[test]
fn a_server_tells_what_it_offers() {
    let server = Server::start(&["--reveal", "top=20"]);
    let mut info = client_command();
    info.args(["info", "--server", &server.addr, "--fingerprint", server.fingerprint.as_ref().unwrap()]);
    let text = good(&info.output().unwrap());
    assert!(text.contains("5 layers of width 128") && text.contains("the 20 largest logits"), "{text}");
    server.logs("left without a request");
    let inspected = good(&server_command().args(["check-model", "builtin"]).output().unwrap());
    for told in [
        "memory      a session takes up to",
        "at 256 positions, besides the model",
        "costs       a text of 32 tokens:",
        "costs       each further token of 9:",
    ] {
        assert!(inspected.contains(told), "{told}: {inspected}");
    }
    let digest = text.lines().find(|line| line.starts_with("tokenizer")).unwrap();
    assert!(inspected.contains(digest), "{inspected}");
    let digest = digest.split_whitespace().last().unwrap();
    let pinned = |digest: &str| {
        let mut client = server.client();
        client.args(["--prompt", PROMPT, "--max-tokens", "1", "--tokenizer-digest", digest]);
        client
    };
    good(&pinned(digest).output().unwrap());
    mistake(&mut pinned(&"7".repeat(64)), 4, &[digest, "--tokenizer-digest"]);
    // The template is the server's even where the tokenizer is at hand.
    let with_file = |digest: &str| {
        let mut client = pinned(digest);
        client.arg("--tokenizer").arg(builtin("tokenizer.json"));
        client
    };
    good(&with_file(digest).output().unwrap());
    mistake(&mut with_file(&"7".repeat(64)), 4, &[digest, "--tokenizer-digest"]);
    mistake(&mut pinned("77"), 2, &["64 hexadecimal digits"]);
}
