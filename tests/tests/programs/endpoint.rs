//! The client's HTTP endpoint, asked as programs ask it.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::harness::*;

pub struct Endpoint {
    process: Child,
    addr: String,
    log: Receiver<String>,
}

impl Endpoint {
    pub fn start(server: &Server, options: &[&str]) -> Endpoint {
        let mut command = client_command();
        command.args(["serve", "--listen", "127.0.0.1:0", "--server", &server.addr]).args(options);
        match &server.fingerprint {
            Some(fingerprint) => command.args(["--fingerprint", fingerprint]),
            None => command.arg("--insecure-no-tls"),
        };
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
        let (sender, log) = channel();
        thread::spawn(move || lines.for_each(|line| drop(sender.send(line))));
        let mut endpoint = Endpoint { process, addr: String::new(), log };
        let line = endpoint.logs("listening on http://");
        endpoint.addr = line.split("http://").nth(1).unwrap().split('/').next().unwrap().into();
        endpoint
    }

    /// The next line of the log that contains `text`.
    fn logs(&self, text: &str) -> String {
        next_line(&self.log, text)
    }

    pub fn get(&self, path: &str) -> Answer {
        ask(&self.addr, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n"), "")
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n");
        ask(&self.addr, &head, &body.to_string())
    }

    fn complete(&self, more: Value) -> Answer {
        complete(&self.addr, more)
    }
}

fn complete(addr: &str, more: Value) -> Answer {
    let head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    ask(addr, head, &completion(more).to_string())
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A greedy completion with some more fields.
fn completion(more: Value) -> Value {
    let mut body = json!({ "model": "sotto", "prompt": PROMPT, "temperature": 0, "max_tokens": 4 });
    more.as_object().unwrap().iter().for_each(|(name, value)| body[name] = value.clone());
    body
}

pub struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    pub fn good(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.json()
    }

    /// The objects of a stream, which must be whole.
    fn pieces(&self) -> Vec<Value> {
        assert_eq!(self.status, 200, "{}", self.body);
        assert_eq!(self.headers["content-type"], "text/event-stream");
        let events = self.body.strip_suffix("data: [DONE]\n\n").expect("the stream has an end");
        // A slow machine's stream has signs of life in it.
        let events = events.split_terminator("\n\n").filter(|event| !event.starts_with(": "));
        let data = events.map(|event| event.strip_prefix("data: ").unwrap());
        data.map(|text| serde_json::from_str(text).unwrap()).collect()
    }
}

fn send(addr: &str, head: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(5 * SOON)).unwrap();
    write!(stream, "{head}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()).unwrap();
    stream
}

fn ask(addr: &str, head: &str, body: &str) -> Answer {
    let mut text = String::new();
    send(addr, head, body).read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let header = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_lowercase(), value.to_string())
    };
    let headers: BTreeMap<_, _> = lines.map(header).collect();
    let chunked = headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked");
    let body = if chunked { unchunked(body) } else { body.into() };
    Answer { status, headers, body }
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    loop {
        let (length, rest) = body.split_once("\r\n").unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            return whole;
        }
        whole.push_str(&rest[..length]);
        body = rest[length..].strip_prefix("\r\n").unwrap();
    }
}

/// The text of the choice `index` in a stream of completions.
fn text_of(pieces: &[Value], index: u64) -> String {
    let choices = pieces.iter().flat_map(|piece| piece["choices"].as_array().unwrap());
    let own = choices.filter(|choice| choice["index"] == index);
    own.map(|choice| choice["text"].as_str().or(choice["delta"]["content"].as_str()).unwrap_or("")).collect()
}

/// The built-in model, whose template makes the text of a plain prompt out of two turns.
pub fn conversational(dir: &Path) {
    for file in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        fs::copy(builtin(file), dir.join(file)).unwrap();
    }
    let template = "{% for m in messages %}{% if m.role == 'system' %}{{ bos_token }}{% endif %}{{ m.content }}\
                    {% endfor %}";
    fs::write(dir.join("chat_template.jinja"), template).unwrap();
}

#[test]
fn completions_are_those_of_the_model() {
    let server = Server::start(&[]);
    let endpoint = Endpoint::start(&server, &[]);
    let models = endpoint.get("/v1/models").good();
    assert_eq!(models["data"][0]["id"], "sotto");
    assert_eq!(models["data"][0]["sotto"]["fingerprint"].as_str(), server.fingerprint.as_deref());
    assert_eq!(endpoint.get("/v1/models/sotto").good(), models["data"][0]);

    let (_, text) = reference(6);
    let whole = endpoint.complete(json!({ "max_tokens": 6, "logprobs": 2 })).good();
    assert_eq!(whole["choices"][0]["text"], text.as_str());
    assert_eq!(whole["choices"][0]["finish_reason"], "length");
    assert_eq!(whole["usage"]["completion_tokens"], 6);
    assert_eq!(whole["sotto"]["sessions"][0]["server_saw"]["new_tokens"], 6);
    let logprobs = &whole["choices"][0]["logprobs"];
    let tokens: String = logprobs["tokens"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
    assert_eq!(tokens, text);
    let logprob = |at: usize| logprobs["token_logprobs"][at].as_f64().unwrap();
    assert!((0..6).all(|at| logprob(at) <= 0.0 && logprob(at) > -3.0), "{logprobs}");
    assert_eq!(logprobs["top_logprobs"][0].as_object().unwrap().len(), 2);

    let stream = json!({ "max_tokens": 6, "stream": true, "stream_options": { "include_usage": true } });
    let pieces = endpoint.complete(stream).pieces();
    assert_eq!(text_of(&pieces, 0), text);
    let (last, others) = pieces.split_last().unwrap();
    assert_eq!(last["usage"], whole["usage"]);
    assert!(others.iter().all(|piece| piece["usage"].is_null() && piece["id"] == last["id"]));
    assert_eq!(others.last().unwrap()["choices"][0]["finish_reason"], "length");

    // A stop sequence of the answer itself: what is before it, and not one token more.
    let word = text.split_whitespace().nth(2).unwrap();
    let before = &text[..text.find(word).unwrap()];
    let body = json!({ "max_tokens": 20, "stop": ["nowhere", word], "stream": true, "n": 2 });
    let pieces = endpoint.complete(body).pieces();
    assert_eq!((text_of(&pieces, 0).as_str(), text_of(&pieces, 1).as_str()), (before, before));
    assert_eq!(pieces.last().unwrap()["choices"][0]["finish_reason"], "stop");
    assert!(!server.logs(" of at most 20 new ones").contains(" 20 of at most"));

    // Two prompts, one of them as tokens, with all that the sampler has.
    let more = json!({
        "prompt": ["a fox", "a fox"], "temperature": 1.5, "top_p": 0.9, "top_k": 50, "seed": -3,
        "presence_penalty": 0.5, "frequency_penalty": 1, "max_tokens": 2,
    });
    let both = endpoint.complete(more).good();
    assert_eq!(both["choices"][0]["text"], both["choices"][1]["text"], "the seed is the same");
    assert_eq!(both["usage"]["completion_tokens"], 4);
    endpoint.complete(json!({ "prompt": [1, 20, 30], "max_tokens": 1 })).good();
}

#[test]
fn an_answers_length_can_be_kept_from_the_server() {
    let server = Server::start(&["--insecure-no-tls"]);
    let endpoint = Endpoint::start(&server, &["--constant-length"]);
    let whole = endpoint.complete(json!({ "max_tokens": 6 })).good();
    let text = whole["choices"][0]["text"].as_str().unwrap();
    let first = text.split_whitespace().next().unwrap();
    let cut = endpoint.complete(json!({ "max_tokens": 6, "stop": first })).good();
    let choice = &cut["choices"][0];
    assert_eq!((&choice["finish_reason"], choice["text"].as_str().unwrap().trim()), (&json!("stop"), ""));
    assert!(cut["usage"]["completion_tokens"].as_u64().unwrap() < 6);
    assert_eq!(cut["sotto"]["sessions"][0]["server_saw"]["new_tokens"], 6);
    (0..2).for_each(|_| assert!(server.logs("served:").contains("6 of at most 6 new ones")));
}

#[test]
fn conversations_go_by_the_models_template() {
    let dir = tempfile::tempdir().unwrap();
    conversational(dir.path());
    let server = Server::of(dir.path(), &["--insecure-no-tls"]);
    let endpoint = Endpoint::start(&server, &["--name", "tales/fox-1", "--keep-seconds", "0"]);
    let (start, end) = PROMPT.split_at(PROMPT.find(" a little").unwrap());
    let body = |more: Value| {
        let mut body = json!({
            "model": "tales/fox-1", "temperature": 0, "max_completion_tokens": 3,
            "messages": [
                { "role": "developer", "content": start },
                { "role": "user", "content": [{ "type": "text", "text": end }] },
            ],
        });
        more.as_object().unwrap().iter().for_each(|(name, value)| body[name] = value.clone());
        body
    };
    let (_, text) = reference(3);
    let whole = endpoint.post("/v1/chat/completions", &body(json!({ "logprobs": true, "top_logprobs": 3 })));
    let choice = &whole.good()["choices"][0];
    assert_eq!(
        (&choice["message"]["role"], &choice["message"]["content"]),
        (&json!("assistant"), &json!(text))
    );
    let entry = &choice["logprobs"]["content"][0];
    assert_eq!(entry["top_logprobs"].as_array().unwrap().len(), 3);
    assert_eq!(entry["top_logprobs"][0]["token"], entry["token"], "the likeliest was taken");

    let options = json!({ "stream": true, "stream_options": { "include_progress": true } });
    let pieces = endpoint.post("/v1/chat/completions", &body(options)).pieces();
    assert_eq!(text_of(&pieces, 0), text);
    let stages: Vec<&str> = pieces.iter().filter_map(|piece| piece["sotto"]["stage"].as_str()).collect();
    assert!(stages.starts_with(&["connecting"]) && stages.ends_with(&["answer", "end"]), "{stages:?}");
    let end = pieces.iter().rfind(|piece| piece["sotto"]["stage"] == "end").unwrap();
    assert!(end["sotto"]["cost"]["total"]["received_bytes"].as_u64().unwrap() > 1000);
    assert!(pieces.iter().any(|piece| piece["choices"][0]["delta"]["role"] == "assistant"));
    assert_eq!(endpoint.get("/v1/models/tales/fox-1").good()["sotto"]["conversational"], true);
}

/// An error in OpenAI's form, with these words in it.
pub fn refused(answer: Answer, status: u16, param: Option<&str>, words: &str) {
    let error = answer.json()["error"].clone();
    assert_eq!(answer.status, status, "{error}");
    assert_eq!(error["param"].as_str(), param, "{error}");
    let all = format!("{} {}", error["code"].as_str().unwrap_or(""), error["message"].as_str().unwrap());
    assert!(words.split('|').all(|word| all.contains(word)), "{words} in {all}");
    assert!(error["type"].as_str().unwrap().ends_with("_error"));
    assert_eq!(answer.headers["x-should-retry"], "false");
}

#[test]
fn what_cannot_be_had_is_refused_by_name() {
    let server = Server::start(&["--reveal", "tokens"]);
    let endpoint = Endpoint::start(&server, &[]);
    let cases = [
        (json!({ "model": "gpt-4o" }), 404, "model", "model_not_found|\"sotto\""),
        (json!({ "model": null }), 400, "model", "missing"),
        (json!({ "prompt": null }), 400, "prompt", "missing"),
        (json!({ "prompt": "" }), 400, "prompt", "empty"),
        (json!({ "prompt": 7 }), 400, "prompt", "is a number|a text"),
        (json!({ "prompt": [1, 5000] }), 400, "prompt", "5000|out of range"),
        (json!({ "prompt": "fox ".repeat(400) }), 400, "prompt", "context_length_exceeded|at most 256"),
        (json!({ "max_tokens": 300 }), 400, "prompt", "context_length_exceeded|256 tokens|`max_tokens`"),
        (json!({ "max_tokens": 0 }), 400, "max_tokens", "is 0|from 1"),
        (json!({ "temperature": 101 }), 400, "temperature", "is 101|0 to 100"),
        (json!({ "temperature": 5 }), 400, "temperature", "one token a step|0.05 to 4"),
        (json!({ "temperature": 1, "top_p": 0.5 }), 400, "top_p", "unsupported_parameter|takes logits"),
        (json!({ "top_p": -1 }), 400, "top_p", "is -1"),
        (json!({ "presence_penalty": 1 }), 400, "presence_penalty", "unsupported_parameter|penalties"),
        (json!({ "frequency_penalty": 3 }), 400, "frequency_penalty", "is 3|-2 to 2"),
        (json!({ "logprobs": 1 }), 400, "logprobs", "unsupported_parameter|no logits"),
        (json!({ "n": 0 }), 400, "n", "is 0|from 1 to 128"),
        (json!({ "stop": [""] }), 400, "stop", "empty"),
        (json!({ "seed": "x" }), 400, "seed", "is a text"),
        (json!({ "stream": 1 }), 400, "stream", "true or false"),
        (json!({ "stream_options": {} }), 400, "stream_options", "without `stream`"),
        (json!({ "tools": [{ "type": "function" }] }), 400, "tools", "unsupported_parameter|no tools"),
        (json!({ "response_format": { "type": "json_object" } }), 400, "response_format", "free text"),
        (json!({ "logit_bias": { "5": 100 } }), 400, "logit_bias", "no bias"),
        (json!({ "echo": true }), 400, "echo", "not repeated"),
        (json!({ "best_of": 3 }), 400, "best_of", "`n`"),
        (json!({ "min_p": 0.1 }), 400, "min_p", "unknown_parameter"),
    ];
    for (more, status, param, words) in cases {
        refused(endpoint.complete(more), status, Some(param), words);
    }
    let chat = json!({ "model": "sotto", "messages": [{ "role": "user", "content": "hello" }] });
    let chat = endpoint.post("/v1/chat/completions", &chat);
    refused(chat, 400, Some("messages"), "no_chat_template|/v1/completions");

    let host = "Host: localhost\r\n";
    let post = format!("POST /v1/completions HTTP/1.1\r\n{host}");
    let json_type = "Content-Type: application/json\r\n";
    let body = completion(json!({})).to_string();
    let raw = |head: &str, body: &str| ask(&endpoint.addr, head, body);
    refused(raw(&post, &body), 415, None, "application/json");
    refused(raw(&format!("{post}{json_type}"), "{\"model\":"), 400, None, "no JSON|line 1");
    refused(raw(&format!("{post}{json_type}"), "[]"), 400, None, "a list|an object");
    let large = " ".repeat((4 << 20) + 1);
    refused(raw(&format!("{post}{json_type}"), &large), 413, None, "4194304");
    refused(raw(&format!("GET /v1/completions HTTP/1.1\r\n{host}"), ""), 405, None, "POST only");
    refused(raw(&format!("GET /v1/files HTTP/1.1\r\n{host}"), ""), 404, None, "unknown_url");
    refused(endpoint.post("/v1/embeddings", &json!({})), 400, None, "unsupported_task|/v1/completions");
    let foreign = format!("POST /v1/completions HTTP/1.1\r\nHost: evil.example\r\n{json_type}");
    refused(raw(&foreign, &body), 403, None, "foreign_host|--allow-host");
    let page = format!("{post}{json_type}Origin: http://localhost:3000\r\n");
    refused(raw(&page, &body), 403, None, "foreign_origin");
    let preflight = format!("OPTIONS /v1/completions HTTP/1.1\r\n{host}");
    assert!(!raw(&preflight, "").headers.contains_key("access-control-allow-origin"));

    // What changes nothing is ignored, and noise samples where tokens are all that is revealed.
    let harmless = json!({
        "user": "me", "metadata": { "a": "b" }, "logit_bias": {}, "tools": null, "n": 1, "best_of": 1,
        "max_tokens": 1, "temperature": 0.7, "response_format": { "type": "text" }, "store": true,
    });
    endpoint.complete(harmless).good();
}

#[test]
fn a_reader_that_leaves_stops_the_answer() {
    let server = Server::start(&["--insecure-no-tls"]);
    let endpoint = Endpoint::start(&server, &["--keep-seconds", "0"]);
    let head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    // In the middle of an answer: it ends as any other does, after a whole token.
    let body = completion(json!({ "max_tokens": 200, "stream": true })).to_string();
    let mut stream = BufReader::new(send(&endpoint.addr, head, &body));
    let mut line = String::new();
    while !line.starts_with("data: ") {
        line.clear();
        stream.read_line(&mut line).unwrap();
    }
    drop(stream);
    // Where a token takes long, the session is given up in the middle of it.
    let served = endpoint.logs("served: ");
    assert!(!served.contains(" 200 new ones"), "{served}");

    // Without a stream as well.
    let body = completion(json!({ "max_tokens": 199 })).to_string();
    let stream = send(&endpoint.addr, head, &body);
    (0..3).for_each(|_| drop(server.logs("session begins")));
    thread::sleep(Duration::from_millis(500));
    drop(stream);
    let served = endpoint.logs("served: ");
    assert!(!served.contains(" 199 new ones"), "{served}");
    // The place is free again: this one is answered.
    endpoint.complete(json!({ "max_tokens": 1 })).good();
    let health = endpoint.get("/health").good();
    assert_eq!((&health["requests"], &health["waiting"]), (&json!(0), &json!(0)));
}

#[test]
fn requests_wait_up_to_a_limit() {
    let server = Server::start(&["--insecure-no-tls"]);
    let endpoint = Endpoint::start(&server, &["--max-waiting", "1"]);
    let slow = thread::scope(|scope| {
        let addr = &endpoint.addr[..];
        let both = [(); 2].map(|()| scope.spawn(move || complete(addr, json!({ "max_tokens": 3 }))));
        let begun = Instant::now();
        while endpoint.get("/health").good()["waiting"] != 1 {
            assert!(begun.elapsed() < SOON);
            thread::sleep(Duration::from_millis(10));
        }
        let third = endpoint.complete(json!({}));
        assert_eq!(third.status, 429, "{}", third.body);
        assert_eq!(third.json()["error"]["code"], "rate_limit_exceeded");
        assert!(third.headers["retry-after"].parse::<u16>().unwrap() > 0);
        both.map(|one| one.join().unwrap().good()["choices"][0]["text"].clone())
    });
    assert_eq!(slow, [(); 2].map(|()| Value::from(reference(3).1)));
}

#[test]
fn a_key_is_asked_for_where_there_is_one() {
    let server = Server::start(&["--insecure-no-tls"]);
    let key = server.folder.path().join("key");
    fs::write(&key, "sk-0123456789abcdef\n").unwrap();
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let endpoint = Endpoint::start(&server, &["--api-key-file", key.to_str().unwrap()]);
    let with = |key: &str| {
        let head = format!("GET /v1/models HTTP/1.1\r\nHost: [::1]:80\r\nAuthorization: Bearer {key}\r\n");
        ask(&endpoint.addr, &head, "")
    };
    let without = endpoint.get("/v1/models");
    assert_eq!((without.status, &without.json()["error"]["code"]), (401, &json!("invalid_api_key")));
    assert_eq!(with("sk-0123456789abcdeg").status, 401);
    with("sk-0123456789abcdef").good();
    // The page and the state of health have no secrets.
    let page = endpoint.get("/");
    assert!(page.status == 200 && page.body.contains("<title>Sotto</title>"));
    let policy = &page.headers["content-security-policy"];
    let nonce = policy.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap();
    assert!(policy.starts_with("default-src 'none'") && page.body.contains(&format!("nonce=\"{nonce}\"")));
    assert!(!page.body.contains("{{") && !page.body.contains("http://") && !page.body.contains("https://"));
    endpoint.get("/health").good();

    let mut open = client_command();
    open.args(["serve", "--listen", "0.0.0.0:0", "--insecure-no-tls", "--server", &server.addr]);
    mistake(&mut open, 2, &["--listen 0.0.0.0:0", "--api-key-file"]);
}

#[test]
fn a_server_that_is_gone_is_told_and_forgiven() {
    let mut server = Server::start(&["--insecure-no-tls"]);
    let mut endpoint = Endpoint::start(&server, &[]);
    server.process.kill().unwrap();
    server.process.wait().unwrap();
    for more in [json!({}), json!({ "stream": true })] {
        let lost = endpoint.complete(more);
        assert_eq!((lost.status, &lost.json()["error"]["code"]), (502, &json!("upstream_unreachable")));
    }
    let line = endpoint.logs("cannot reach");
    assert!(line.contains("502") && !line.contains(PROMPT), "{line}");
    let mut command = server_command();
    command.args(["--model", "builtin", "--insecure-no-tls", "--listen", &server.addr]);
    let again = Server::spawn(command, tempfile::tempdir().unwrap());
    endpoint.complete(json!({ "max_tokens": 1 })).good();
    drop(again);

    assert!(
        Command::new("kill").args(["-TERM", &endpoint.process.id().to_string()]).status().unwrap().success()
    );
    assert!(endpoint.process.wait().unwrap().success());
}

#[test]
fn an_endpoint_that_is_told_to_stop_ends_what_is_under_way() {
    let server = Server::start(&["--insecure-no-tls"]);
    let mut endpoint = Endpoint::start(&server, &["--stop-seconds", "300"]);
    let (_, text) = reference(3);
    let answer = thread::scope(|scope| {
        let addr = &endpoint.addr[..];
        let answer = scope.spawn(move || complete(addr, json!({ "max_tokens": 3, "stream": true })));
        server.logs("session begins");
        server.logs("session begins");
        let id = endpoint.process.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        answer.join().unwrap()
    });
    assert_eq!(text_of(&answer.pieces(), 0), text);
    assert!(endpoint.process.wait().unwrap().success());
}

#[test]
fn an_answer_that_may_be_wrong_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    // Scores of about 2000, which nothing bounds beforehand.
    let alike: fn(&mut [f32]) = |w| w.fill(0.417);
    let [q, k] = ["model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.k_proj.weight"];
    edited_model(dir.path(), &[(q, alike), (k, alike)]);
    let server = Server::of(dir.path(), &["--insecure-no-tls"]);
    let endpoint = Endpoint::start(&server, &[]);
    let wrong = endpoint.complete(json!({ "prompt": "to be", "max_tokens": 2 }));
    assert_eq!((wrong.status, &wrong.json()["error"]["code"]), (422, &json!("out_of_range")));
    assert_eq!(wrong.headers["x-should-retry"], "false");
    let stream = endpoint.complete(json!({ "prompt": "to be", "max_tokens": 2, "stream": true }));
    let last = stream.body.trim_end().rsplit("\n\n").next().unwrap();
    assert!(last.starts_with("data: {\"error\"") && last.contains("out_of_range"), "{last}");
    assert!(!server.logs("served:").contains("range"), "the server knows of nothing");
}

/// A script by `python3`, or what the variable `PYTHON` names, if that has a package.
pub fn script(package: &str, name: &str) -> Option<Command> {
    let python = env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let import = format!("import {package}");
    let has = Command::new(&python).args(["-c", &import]).stderr(Stdio::null()).status();
    if !has.is_ok_and(|status| status.success()) {
        eprintln!("skipped: {} has no package {package} (pip install {package})", python.display());
        return None;
    }
    let mut script = Command::new(python);
    script.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(name));
    Some(script)
}

/// The script succeeds with the endpoint's address.
pub fn good_script(script: &mut Command, endpoint: &Endpoint) {
    good(&script.arg(format!("http://{}/v1", endpoint.addr)).output().unwrap());
}

#[test]
fn the_openai_package_is_served() {
    let Some(mut script) = script("openai", "openai_client.py") else { return };
    let dir = tempfile::tempdir().unwrap();
    conversational(dir.path());
    let server = Server::of(dir.path(), &[]);
    let endpoint = Endpoint::start(&server, &[]);
    good_script(&mut script, &endpoint);
}

#[test]
fn the_page_works_by_keyboard() {
    let Some(mut script) = script("playwright", "page_client.py") else { return };
    let names = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
    let installed = names.into_iter().find(|name| Path::new(name).exists());
    let Some(chromium) = env::var_os("CHROMIUM").or(installed.map(Into::into)) else {
        eprintln!("skipped: no Chromium is here; name one with the variable CHROMIUM");
        return;
    };
    let server = Server::start(&[]);
    let endpoint = Endpoint::start(&server, &[]);
    script.env("CHROMIUM", chromium);
    good(&script.arg(format!("http://{}/", endpoint.addr)).output().unwrap());
}
