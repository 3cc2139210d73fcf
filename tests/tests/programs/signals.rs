//! Stopping a server, and reading its list of clients again.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::harness::*;

fn send(signal: &str, process: u32) {
    assert!(Command::new("kill").args([signal, &process.to_string()]).status().unwrap().success());
}

#[test]
fn a_server_that_is_told_to_stop_lets_sessions_end_and_admits_nobody() {
    let mut server = Server::start(&["--stop-seconds", "60"]);
    let mut client = server.client();
    client.args(["--quiet", "--prompt", PROMPT, "--max-tokens", "2"]);
    let client = client.stdout(Stdio::piped()).spawn().unwrap();
    server.logs("session begins");
    send("-TERM", server.process.id());
    server.logs("stopping: 1 sessions under way");
    mistake(server.client().args(["--prompt", "a"]), 3, &["cannot reach"]);
    assert_eq!(good(&client.wait_with_output().unwrap()), format!("{}\n", reference(2).1));
    assert!(server.process.wait().unwrap().success());
}

#[test]
fn a_server_without_sessions_stops_at_once() {
    let mut server = Server::start(&["--insecure-no-tls"]);
    send("-INT", server.process.id());
    assert!(server.process.wait().unwrap().success());
}

/// The demo's two processes end with it, however it ends.
#[cfg(target_os = "linux")]
#[test]
fn children_end_with_their_parent() {
    for signal in ["-TERM", "-KILL"] {
        let mut demo = Command::new(env!("CARGO_BIN_EXE_demo"));
        let mut demo =
            demo.args(["--link", "wan"]).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(demo.stderr.take().unwrap()).lines().map_while(Result::ok);
        let mut lines = lines.skip_while(|line| !line.contains("session begins"));
        lines.next().unwrap();
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", demo.id())).unwrap();
        let children: Vec<&str> = children.split_whitespace().collect();
        assert_eq!(children.len(), 2, "server and client");
        send(signal, demo.id());
        assert!(!demo.wait().unwrap().success());
        // Both have standard error from it: its end is theirs.
        lines.for_each(drop);
        let begun = Instant::now();
        // A child that nobody has waited for yet is there, and has no memory.
        let runs =
            |id: &&str| fs::read_to_string(format!("/proc/{id}/statm")).is_ok_and(|s| !s.starts_with("0 "));
        while children.iter().any(runs) {
            assert!(begun.elapsed() < SOON, "{children:?}");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn sessions_have_a_limited_time_to_end() {
    let mut server = Server::start(&["--stop-seconds", "1"]);
    let mut client = server.client();
    client.args(["--quiet", "--prompt", PROMPT, "--max-tokens", "200", "--link", "wan"]);
    let client = client.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    server.logs("session begins");
    let begun = Instant::now();
    send("-TERM", server.process.id());
    assert!(server.process.wait().unwrap().success());
    assert!(begun.elapsed() < SOON);
    assert!(matches!(client.wait_with_output().unwrap().status.code(), Some(3 | 4)));
}

/// The first process of a container gets only those signals that it waits for.
#[test]
fn a_server_that_is_the_first_process_stops_as_well() {
    let unshare = ["--user", "--map-root-user", "--pid", "--fork", "--kill-child"];
    let allowed = Command::new("unshare").args(unshare).arg("true").stderr(Stdio::null()).status();
    if !allowed.is_ok_and(|status| status.success()) {
        eprintln!("skipped: this system does not let its users make containers");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command.args(unshare).arg(server_command().get_program()).arg("server");
    command.args(["--model", "builtin", "--insecure-no-tls", "--listen", "127.0.0.1:0"]);
    let mut server = Server::spawn(command, folder);
    let children = format!("/proc/{0}/task/{0}/children", server.process.id());
    let first: u32 = fs::read_to_string(children).unwrap().trim().parse().unwrap();
    send("-TERM", first);
    server.logs("stopped");
    assert!(server.process.wait().unwrap().success());
}

#[test]
fn the_list_of_clients_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let (list, key) = (folder.path().join("clients"), folder.path().join("client.pem"));
    let out = client_command().arg("keygen").arg(&key).output().unwrap();
    let fingerprint = good(&out);
    fs::write(&list, "# nobody yet\n").unwrap();
    let server = Server::start(&["--allow-file", list.to_str().unwrap()]);
    let ask = || {
        let mut command = server.client();
        command.args(["--quiet", "--prompt", PROMPT, "--max-tokens", "1", "--identity"]).arg(&key);
        command
    };
    mistake(&mut ask(), 3, &["does not accept this side"]);
    fs::write(&list, format!("{fingerprint}# a friend\n")).unwrap();
    send("-HUP", server.process.id());
    server.logs("read again: 1 clients");
    assert_eq!(good(&ask().output().unwrap()), format!("{}\n", reference(1).1));
    fs::write(&list, "sotto-nobody\n").unwrap();
    send("-HUP", server.process.id());
    server.logs("stays as it was");
}
