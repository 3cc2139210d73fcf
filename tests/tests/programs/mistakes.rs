//! What a user is told who does something wrong, or whose peer does.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Stdio,
    sync::mpsc::channel,
    thread,
};

use crate::harness::*;

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
    mistake(
        insecure("127.0.0.1:0").args(["--model", "builtin", "--memory", "plenty"]),
        2,
        &["plenty", "--memory", "8GB"],
    );
    mistake(
        insecure("127.0.0.1:0").args(["--model", "builtin", "--memory", "1GB"]),
        2,
        &["--memory 1.0 GB is too little for 4 sessions", "--max-sessions"],
    );
    mistake(
        insecure("127.0.0.1:0").args(["--model", "builtin", "--memory", "2GB", "--max-prompt", "256"]),
        2,
        &["permits prompts of", "not the 256 of --max-prompt"],
    );
    mistake(
        insecure("127.0.0.1:0").args(["--model", "builtin", "--calibrate", "/no/such"]),
        2,
        &["/no/such", "no such file"],
    );
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
    mistake(open().args(["--prompt", "a", "--system", "b"]), 2, &["--chat"]);
    mistake(open().args(["--prompt", "--check"]), 3, &["cannot reach"]);
    mistake(open().args(["--prompt", "- item one"]), 3, &["cannot reach"]);
    mistake(client_of("127.0.0.1:1").args(["--prompt", "a"]), 2, &["--fingerprint"]);
    mistake(
        client_of("127.0.0.1:1").args(["--prompt", "a", "--fingerprint", "sotto-x"]),
        2,
        &["is no fingerprint"],
    );
    mistake(open().args(["--prompt", "a"]), 3, &["cannot reach 127.0.0.1:1", "is the server running"]);
    mistake(
        client_of("192.0.2.1:7700").args(["--prompt", "a", "--insecure-no-tls"]),
        2,
        &["--insecure-no-tls", "192.0.2.1", "loopback"],
    );
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
        &["closed the connection", "--fingerprint", "TLS"],
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
    mistake(
        server.client().args(["--prompt", "fox", "--memory", "1MB"]),
        2,
        &["tokens of this model may take", "more than --memory 1.0 MB permits"],
    );
    mistake(server.client().args(["--prompt", "fox", "--chat"]), 2, &["no chat template", "--chat"]);
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
        &["out of step", "party/admission"],
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
                sotto_party::admission::hear(&mut ch).await.unwrap();
                sotto_party::admission::answer(&mut ch, sotto_party::admission::Admission::Admitted).unwrap();
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
    for (mut command, default) in [(server_command(), "serve"), (client_command(), "generate")] {
        let text = good(&command.arg("--help").output().unwrap());
        assert!(text.contains("Exit codes:") && text.contains(default), "{text}");
    }
    for (mut command, default) in [(server_command(), "serve"), (client_command(), "generate")] {
        let text = good(&command.args([default, "--help"]).output().unwrap());
        assert!(text.contains("Exit codes:") && text.contains("--insecure-no-tls"), "{text}");
    }
}
