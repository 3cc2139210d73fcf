//! The two programs as a user meets them: two processes, their output, their exit codes.
//!
//! The server is the demo's own executable with `server` in front: the same `party_server::main`.

#![allow(clippy::unwrap_used, reason = "tests, and their helpers")]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use sotto_models::{Config, Fields, Folder, Reference, random::RandomFolder};

const PROMPT: &str = "Once upon a time there was a little fox";
/// No mistake takes longer than this to be told.
const SOON: Duration = Duration::from_secs(60);

struct Server {
    process: Child,
    addr: String,
    fingerprint: Option<String>,
    folder: tempfile::TempDir,
    log: Receiver<String>,
}

impl Server {
    /// A server with the built-in model on a free port.
    fn start(options: &[&str]) -> Server {
        Server::of("builtin".as_ref(), options)
    }

    fn of(model: &Path, options: &[&str]) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let mut command = server_command();
        command.arg("--model").arg(model).args(["--listen", "127.0.0.1:0"]).args(options);
        if !options.contains(&"--insecure-no-tls") {
            command.arg("--identity").arg(folder.path().join("server.pem"));
        }
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
        let (sender, log) = channel();
        thread::spawn(move || lines.for_each(|line| drop(sender.send(line))));
        let mut server = Server { process, addr: String::new(), fingerprint: None, folder, log };
        let line = server.logs("listening on ");
        let mut words = line.split_once("listening on ").unwrap().1.split(", ");
        server.addr = words.next().unwrap().into();
        server.fingerprint = words.next().unwrap().strip_prefix("fingerprint ").map(String::from);
        server
    }

    /// The next line of the log that contains `text`.
    fn logs(&self, text: &str) -> String {
        let mut seen = vec![];
        while let Ok(line) = self.log.recv_timeout(SOON) {
            if line.contains(text) {
                return line;
            }
            seen.push(line);
        }
        panic!("no {text:?} in {seen:#?}")
    }

    /// A client of this server.
    fn client(&self) -> Command {
        let mut command = client_of(&self.addr);
        match &self.fingerprint {
            Some(fingerprint) => command.args(["--fingerprint", fingerprint]),
            None => command.arg("--insecure-no-tls"),
        };
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn server_command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
    command.arg("server");
    command
}

fn client_of(addr: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_party-client"));
    command.args(["--server", addr]);
    command
}

/// Runs a program that must end soon with `code` and one line on standard error, with all `words`
/// in it.
fn mistake(command: &mut Command, code: i32, words: &[&str]) {
    let begun = Instant::now();
    let out = command.stdin(Stdio::null()).output().unwrap();
    let line = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(code), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(words.iter().all(|word| line.contains(word)), "{words:?} in {line}");
    assert!(out.stdout.is_empty());
    assert!(begun.elapsed() < SOON);
}

fn good(out: &Output) -> String {
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout.clone()).unwrap()
}

/// The reference's greedy continuation.
fn reference(count: usize) -> (Vec<u32>, String) {
    let folder = Folder::builtin().unwrap();
    let prompt = folder.tokenizer().encode(PROMPT, 100).unwrap();
    let tokens = Reference::load(&folder).unwrap().generate(&prompt, count);
    let mut stream = folder.tokenizer().stream(&prompt).unwrap();
    let text: String = tokens.iter().map(|&token| stream.push(token).unwrap()).collect();
    (tokens, text)
}

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
        .args(["--prompt", PROMPT, "--max-tokens", "10"])
        .arg("--identity")
        .arg(identity)
        .output();
    let out = out.unwrap();
    assert_eq!(good(&out), format!("{text}\n"));
    let report = String::from_utf8(out.stderr).unwrap();
    for words in [
        "precision default",
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

/// A small model, one neuron of which looks in the direction of every token.
fn extreme_model(dir: &Path, gate: fn(&mut [f32])) {
    let fields = Fields {
        vocab_size: 301,
        hidden_size: 48,
        intermediate_size: 40,
        num_hidden_layers: 1,
        num_attention_heads: 4,
        num_key_value_heads: 4,
        head_dim: 12,
        max_position_embeddings: 64,
        norm_eps: 1e-5,
        rope_theta: 10_000.0,
        tie_word_embeddings: false,
        bos_token_id: Some(1),
        eos_token_ids: vec![],
        ..Fields::default()
    };
    let config = Config::try_from(fields).unwrap();
    let folder = RandomFolder::new(&config, 3)
        .edit("model.embed_tokens.weight", |w| w.fill(1.0))
        .edit("model.layers.0.mlp.gate_proj.weight", gate)
        .edit("model.layers.0.mlp.up_proj.weight", |w| w[3 * 48..4 * 48].fill(1.0))
        .edit("model.layers.0.mlp.down_proj.weight", |w| w[5 * 40 + 3] = 5.0);
    folder.write(dir).unwrap();
}

#[test]
fn an_answer_that_may_be_wrong_says_so() {
    let dir = tempfile::tempdir().unwrap();
    extreme_model(dir.path(), |w| w[3 * 48..4 * 48].fill(1.0));
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
    extreme_model(dir.path(), |w| w[3 * 48..4 * 48].fill(12.0));
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
fn the_servers_operator_is_told_what_is_wrong() {
    let insecure = |listen: &str| {
        let mut command = server_command();
        command.args(["--insecure-no-tls", "--listen", listen]);
        command
    };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    mistake(
        insecure(&addr).args(["--model", "builtin", "--log", "off"]),
        3,
        &["cannot listen", &addr, "--listen"],
    );
    mistake(
        insecure("0.0.0.0:0").args(["--model", "builtin"]),
        2,
        &["--insecure-no-tls", "0.0.0.0", "loopback"],
    );
    mistake(
        insecure("127.0.0.1:0").args(["--model", "/no/such"]),
        2,
        &["/no/such/config.json", "no such file"],
    );
    mistake(
        insecure("127.0.0.1:0").args(["--model", "builtin", "--link", "fast"]),
        2,
        &["fast", "--link", "wan"],
    );
    mistake(&mut insecure("127.0.0.1:0"), 2, &["--model"]);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), "{}").unwrap();
    mistake(insecure("127.0.0.1:0").arg("--model").arg(folder.path()), 2, &["config.json", "expected"]);
    let key = folder.path().join("key.pem");
    fs::write(&key, "no key").unwrap();
    let mut bad_identity = server_command();
    mistake(bad_identity.args(["--model", "builtin", "--identity"]).arg(&key), 2, &["key.pem", "identity"]);
}

#[test]
fn the_client_is_told_what_is_wrong_before_it_connects() {
    let open = || {
        let mut command = client_of("127.0.0.1:1");
        command.arg("--insecure-no-tls");
        command
    };
    mistake(&mut open(), 2, &["no prompt", "--prompt"]);
    mistake(open().args(["--prompt", ""]), 2, &["the prompt is empty"]);
    mistake(open().args(["--prompt-file", "/no/such"]), 2, &["--prompt-file /no/such", "cannot be read"]);
    mistake(open().args(["--prompt-file", "-"]), 2, &["--prompt-file -", "empty"]);
    mistake(open().args(["--prompt", "a", "--temperature", "-1"]), 2, &["temperature is -1", "0 to 100"]);
    mistake(open().args(["--prompt", "a", "--temperature", "1", "--top-p", "0"]), 2, &["top_p is 0"]);
    mistake(open().args(["--prompt", "a", "--link", "1,2"]), 2, &["1,2", "--link", "100mbit,40ms"]);
    mistake(open().args(["--prompt", "a", "--precision", "fine"]), 2, &["fine", "default or high"]);
    mistake(open().args(["--prompt", "a", "--max-tokens", "0"]), 2, &["--max-tokens"]);
    mistake(client_of("127.0.0.1:1").args(["--prompt", "a"]), 2, &["--fingerprint"]);
    mistake(
        client_of("127.0.0.1:1").args(["--prompt", "a", "--fingerprint", "sotto-x"]),
        2,
        &["is no fingerprint"],
    );
    mistake(open().args(["--prompt", "a"]), 3, &["cannot reach 127.0.0.1:1", "is the server running"]);
    mistake(client_of("nowhere").args(["--prompt", "a", "--insecure-no-tls"]), 3, &["cannot reach nowhere"]);
}

#[test]
fn identities_are_pinned() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("client.pem");
    let friend = sotto_net::Identity::load_or_create(&file).unwrap().fingerprint().to_string();
    let server = Server::start(&["--allow", &friend, "--once"]);
    let other = sotto_net::Identity::generate().fingerprint().to_string();
    let own = server.fingerprint.clone().unwrap();

    let mut wrong = client_of(&server.addr);
    mistake(wrong.args(["--prompt", "a", "--fingerprint", &other]), 3, &[&own, &other, "not"]);
    drop(server);

    let server = Server::start(&["--allow", &friend]);
    mistake(server.client().args(["--prompt", "a"]), 3, &["does not accept this side", "--identity FILE"]);
    server.logs("not on the list");
    // A client without TLS.
    mistake(
        client_of(&server.addr).args(["--prompt", "a", "--insecure-no-tls"]),
        3,
        &["closed the connection"],
    );
    let out =
        server.client().arg("--identity").arg(&file).args(["--prompt", PROMPT, "--max-tokens", "1"]).output();
    assert_eq!(good(&out.unwrap()), format!("{}\n", reference(1).1));
}

#[test]
fn requests_that_do_not_fit_and_clients_that_misbehave_end_no_server() {
    let server = Server::start(&["--insecure-no-tls", "--max-sessions", "1"]);

    // Garbage; a hang-up in the middle of the first message; a prompt with no room; a foreign
    // tokenizer.
    let mut garbage = TcpStream::connect(&server.addr).unwrap();
    garbage.write_all(&[0xaa; 4096]).unwrap();
    server.logs("out of step");
    drop(garbage);
    drop(TcpStream::connect(&server.addr).unwrap());
    server.logs("closed the connection");
    let long = "fox ".repeat(400);
    mistake(server.client().args(["--prompt", &long]), 2, &["the prompt has", "at most 256"]);
    server.logs("refuses");
    mistake(
        server.client().args(["--prompt", "fox", "--max-tokens", "1000"]),
        2,
        &["1000", "256", "--max-tokens"],
    );
    let tokenizer = server.folder.path().join("tokenizer.json");
    let text = fs::read_to_string(builtin("tokenizer.json")).unwrap();
    fs::write(&tokenizer, format!("{text} ")).unwrap();
    mistake(
        server.client().args(["--prompt", "fox", "--tokenizer"]).arg(&tokenizer),
        2,
        &["tokenizer here is not the one", "--tokenizer"],
    );
    mistake(
        server.client().args(["--prompt", "fox", "--tokenizer", "/no/such"]),
        2,
        &["/no/such", "no such file"],
    );

    // A client that is killed halfway.
    let mut killed = server
        .client()
        .args(["--prompt", PROMPT, "--max-tokens", "50"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    killed.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
    killed.kill().unwrap();
    killed.wait().unwrap();

    let out = server
        .client()
        .args(["--prompt", PROMPT, "--max-tokens", "2", "--quiet"])
        .arg("--tokenizer")
        .arg(builtin("tokenizer.json"))
        .output()
        .unwrap();
    assert_eq!(good(&out), format!("{}\n", reference(2).1));
    assert!(out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn servers_that_misbehave_are_told_apart() {
    // One that is no Sotto program, one that hangs up, one that says nothing.
    let answer = |talk: fn(TcpStream)| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            for stream in listener.incoming() {
                thread::spawn(move || talk(stream.unwrap()));
            }
        });
        addr
    };
    let garbage = answer(|mut stream| {
        let _ = stream.write_all(&[0x55; 1000]);
        thread::sleep(SOON);
    });
    mistake(
        client_of(&garbage).args(["--insecure-no-tls", "--prompt", "a"]),
        4,
        &["out of step", "session/hello"],
    );
    let pinned = ["--fingerprint", &sotto_net::Identity::generate().fingerprint().to_string()];
    mistake(client_of(&garbage).args(pinned).args(["--prompt", "a"]), 3, &["does not speak Sotto over TLS"]);
    let gone = answer(drop);
    mistake(client_of(&gone).args(["--insecure-no-tls", "--prompt", "a"]), 3, &["closed the connection"]);
    let silent = answer(|_stream| thread::sleep(SOON));
    let patience = ["--timeout", "1"];
    mistake(
        client_of(&silent).args(patience).args(["--insecure-no-tls", "--prompt", "a"]),
        3,
        &["1s", "--timeout"],
    );
}

#[test]
fn another_version_is_named() {
    #[derive(serde::Serialize)]
    struct Hello([u8; 5], u32);
    #[derive(serde::Serialize)]
    struct Terms([u8; 32], [u8; 32], Option<u64>);
    let speak = |version: u32| {
        let (sender, addr) = channel();
        thread::spawn(move || {
            sotto_net::Runtime::new().block_on(async {
                let listener = sotto_net::Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
                sender.send(listener.addr().to_string()).unwrap();
                let (mut ch, _) = listener.accept(sotto_net::Link::LOOPBACK).await.unwrap();
                ch.send_control("session/hello", &Hello(*b"sotto", version)).unwrap();
                ch.send_control("session/terms", &Terms([0; 32], [0; 32], None)).unwrap();
                ch.abort(sotto_net::Abort::Mismatch).await;
            });
        });
        addr.recv().unwrap()
    };
    let client = |addr: &str| {
        let mut command = client_of(addr);
        command.args(["--insecure-no-tls", "--prompt", "a"]);
        command
    };
    mistake(&mut client(&speak(99)), 4, &["version 99", "same release"]);
    mistake(&mut client(&speak(sotto_protocol::VERSION)), 4, &["other protocol parameters", "same release"]);
}

#[test]
fn help_explains_exit_codes() {
    for mut command in [server_command(), client_of("a")] {
        let text = good(&command.arg("--help").output().unwrap());
        assert!(text.contains("Exit codes:") && text.contains("--insecure-no-tls"), "{text}");
    }
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
}

fn builtin(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../models/builtin").join(file)
}
