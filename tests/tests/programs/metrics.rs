//! What those see that watch a server.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use crate::harness::*;

/// The status of a request, and what is answered.
fn http(addr: &str, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or(0), body.into())
}

fn get(addr: &str, path: &str) -> (u16, String) {
    http(addr, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
}

/// The value of a line of `/metrics`, zero if it is not there.
fn value(addr: &str, name: &str) -> f64 {
    let (status, text) = get(addr, "/metrics");
    assert_eq!(status, 200);
    assert!(text.ends_with("# EOF\n"), "{text}");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

fn watched(options: &[&str]) -> (Server, String) {
    let server = Server::start(&[&["--metrics", "127.0.0.1:0"], options].concat());
    let line = server.logs("metrics at http://");
    let addr = line.split_once("http://").unwrap().1.strip_suffix("/metrics").unwrap().into();
    (server, addr)
}

#[test]
fn what_happens_is_counted() {
    let (server, addr) = watched(&["--max-sessions", "1", "--max-queue", "1"]);
    assert_eq!(get(&addr, "/health"), (200, "ok\n".into()));
    assert_eq!(value(&addr, "sotto_sessions_total"), 0.0);
    let mut command = server.client();
    good(&command.args(["--quiet", "--prompt", PROMPT, "--max-tokens", "3"]).output().unwrap());
    server.logs("served");
    // The counts are there once the log is.
    for (name, count) in [
        ("sotto_sessions_total", 1.0),
        ("sotto_requests_total{task=\"generate\"}", 1.0),
        ("sotto_new_tokens_total", 3.0),
        ("sotto_kept_tokens_total", 0.0),
        ("sotto_request_seconds_count", 1.0),
        ("sotto_max_prompt_tokens", 256.0),
        ("sotto_connections{stage=\"waiting\"}", 0.0),
    ] {
        assert_eq!(value(&addr, name), count, "{name}");
    }
    assert!(value(&addr, "sotto_transferred_bytes_total") > 1e6);
    assert!(value(&addr, "sotto_resident_memory_bytes") > 1e6);
    // A connection that says nothing is in its handshake, and later nowhere.
    let silent = TcpStream::connect(&server.addr).unwrap();
    let handshakes = |count: f64| {
        let begun = Instant::now();
        while value(&addr, "sotto_connections{stage=\"handshake\"}") != count {
            assert!(begun.elapsed() < SOON);
            thread::sleep(Duration::from_millis(20));
        }
    };
    handshakes(1.0);
    drop(silent);
    handshakes(0.0);
    assert_eq!(value(&addr, "sotto_failed_total{by=\"connection\"}"), 1.0);
}

#[test]
fn the_log_is_for_programs_if_that_is_wanted() {
    let (out, mut command) = (tempfile::tempdir().unwrap(), server_command());
    let log = out.path().join("log");
    let port = sotto_net::unused_local_port();
    let addr = format!("127.0.0.1:{port}");
    command.args([
        "--model",
        "builtin",
        "--insecure-no-tls",
        "--once",
        "--log-format",
        "json",
        "--listen",
        &addr,
    ]);
    let mut server = command.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
    let begun = Instant::now();
    while !std::fs::read_to_string(&log).unwrap().contains("listening") {
        assert!(begun.elapsed() < SOON);
        thread::sleep(Duration::from_millis(20));
    }
    let mut client = client_of(&addr);
    good(
        &client
            .args(["--insecure-no-tls", "--quiet", "--prompt", PROMPT, "--max-tokens", "2"])
            .output()
            .unwrap(),
    );
    assert!(server.wait().unwrap().success());
    let lines = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |event: &str| lines.iter().find(|line| line["event"] == event).unwrap();
    assert!(lines.iter().all(|line| line["time"].as_f64().unwrap() > 1.7e9 && line["message"].is_string()));
    assert_eq!((&of("listening")["address"], &of("listening")["level"]), (&addr.into(), &"info".into()));
    let served = of("served");
    assert_eq!(
        (&served["made"], &served["task"], &served["kept_tokens"]),
        (&2.into(), &"generate".into(), &0.into())
    );
    assert!(served["bytes"].as_u64().unwrap() > 1_000_000 && served["seconds"].as_f64().unwrap() > 0.0);
    assert!(!format!("{lines:?}").contains("fox"));
}

#[test]
fn whoever_watches_can_do_nothing_else() {
    let (server, addr) = watched(&[]);
    assert_eq!(get(&addr, "/").0, 404);
    let length = "Content-Length: 0\r\nConnection: close\r\n\r\n";
    assert_eq!(http(&addr, &format!("POST /metrics HTTP/1.1\r\nHost: localhost\r\n{length}")).0, 405);
    let page = |head: &str| http(&addr, &format!("GET /metrics HTTP/1.1\r\n{head}\r\n\r\n")).0;
    assert_eq!(page("Host: rebound.example"), 403);
    assert_eq!(page("Host: localhost\r\nOrigin: http://localhost"), 403);
    assert_eq!((page("Host: [::1]:9"), page("Host: 127.0.0.1")), (200, 200));
    assert_eq!(http(&addr, "what?\r\n\r\n").0, 400);
    assert_eq!(http(&addr, &format!("GET /{} HTTP/1.1\r\n", "x".repeat(100_000))).1, "");
    // More connections than it takes keep each other waiting, and no client.
    let kept: Vec<_> = (0..20).map(|_| TcpStream::connect(&addr).unwrap()).collect();
    let mut command = server.client();
    good(&command.args(["--quiet", "--prompt", PROMPT, "--max-tokens", "1"]).output().unwrap());
    drop(kept);
    assert_eq!(value(&addr, "sotto_sessions_total"), 1.0);
    // An address that is taken is told before the model is loaded.
    mistake(
        server_command().args(["--model", "builtin", "--insecure-no-tls", "--metrics", &addr]),
        3,
        &["cannot listen on", &addr],
    );
}
