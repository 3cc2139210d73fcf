//! Conversations that go on in the session that has read their beginning.

use std::{
    io::Write,
    process::{Child, Stdio},
};

use serde_json::{Value, json};

use crate::{
    endpoint::{Endpoint, conversational},
    harness::*,
};

fn chat(endpoint: &Endpoint, turns: &[(&str, &str)]) -> (String, Value) {
    let message = |(role, content): &(&str, &str)| json!({ "role": role, "content": content });
    let messages: Vec<Value> = turns.iter().map(message).collect();
    let body = json!({ "model": "sotto", "temperature": 0, "max_tokens": 4, "messages": messages });
    let answer = endpoint.post("/v1/chat/completions", &body).good();
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap().to_string();
    (text, answer["sotto"]["sessions"][0].clone())
}

#[test]
fn the_endpoint_reads_what_is_new_in_a_conversation() {
    let dir = tempfile::tempdir().unwrap();
    conversational(dir.path());
    let server = Server::of(dir.path(), &["--insecure-no-tls"]);
    let [keeping, fresh] =
        [&[][..], &["--keep-seconds", "0"]].map(|options| Endpoint::start(&server, options));
    let (start, end) = PROMPT.split_at(PROMPT.find(" a little").unwrap());
    let first = [("system", start), ("user", end)];
    let mut texts = vec![];
    for endpoint in [&keeping, &fresh] {
        let (text, _) = chat(endpoint, &first);
        let longer = [&first[..], &[("assistant", &text), ("user", " The child was happy.")]].concat();
        let (more, session) = chat(endpoint, &longer);
        texts.push((text.clone(), more, session));
    }
    let [kept, anew] = &texts[..] else { panic!("two endpoints") };
    assert_eq!((&kept.0, &kept.1), (&anew.0, &anew.1));
    let saw = &kept.2["server_saw"];
    assert!(
        saw["read_before"].as_u64().unwrap() > 10 && anew.2["server_saw"]["read_before"].is_null(),
        "{saw}"
    );
    // No set-up, and fewer tokens.
    assert_eq!(kept.2["cost"]["setup"]["sent_bytes"], 0);
    server.logs("that were read before");
    assert_eq!(keeping.get("/health").good()["idle_sessions"], 1);
    assert_eq!(fresh.get("/health").good()["idle_sessions"], 0);
}

fn talk(server: &Server, options: &[&str]) -> Child {
    let mut client = client_command();
    client.args(["chat", "--server", &server.addr, "--insecure-no-tls"]).args(options);
    client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_conversation_in_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    conversational(dir.path());
    let server = Server::of(dir.path(), &["--insecure-no-tls"]);
    let (start, end) = PROMPT.split_at(PROMPT.find(" a little").unwrap());
    let mut client = talk(&server, &["--system", start, "--max-tokens", "3"]);
    write!(client.stdin.take().unwrap(), "{end}\n\n The child was happy.\n").unwrap();
    let out = client.wait_with_output().unwrap();
    let (text, told) = (good(&out), String::from_utf8_lossy(&out.stderr).into_owned());
    assert!(text.starts_with(&format!("{}\n", reference(3).1)) && text.lines().count() == 2, "{text}");
    assert!(told.contains(" 0 from before, 3 made") && told.matches("from before").count() == 2, "{told}");
    server.logs("that were read before");

    // What does not fit is said, and the conversation goes on.
    let mut client = talk(&server, &["--max-tokens", "3", "--quiet"]);
    write!(client.stdin.take().unwrap(), "{}\n{PROMPT}\n", "fox ".repeat(400)).unwrap();
    let out = client.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&out.stderr).contains("at most 256"));
    assert_eq!(good(&out).lines().count(), 1);

    let plain = Server::start(&["--insecure-no-tls"]);
    let out = talk(&plain, &[]).wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&out.stderr).contains("no chat template"));
}
