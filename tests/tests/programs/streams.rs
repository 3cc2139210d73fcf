//! Output that is full, gone, or slow; texts and errors as programs hand them over.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write, pipe},
    net::TcpStream,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::harness::*;

/// A disk without space.
fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

/// What a shell says of a program that a broken pipe has ended.
const BROKEN_PIPE: i32 = 141;

fn ask(server: &Server, tokens: &str) -> Command {
    let mut command = server.client();
    command.args(["--prompt", PROMPT, "--max-tokens", tokens]);
    command
}

#[test]
fn a_server_without_a_reader_of_its_log_goes_on() {
    let port = sotto_net::unused_local_port();
    let addr = format!("127.0.0.1:{port}");
    for log in ["full", "gone"] {
        let mut command = server_command();
        command.args(["--model", "builtin", "--insecure-no-tls", "--listen", &addr]);
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        command.stderr(if log == "full" { Stdio::from(full()) } else { writer.into() });
        let mut process = command.spawn().unwrap();
        let begun = Instant::now();
        while TcpStream::connect(&addr).is_err() {
            assert!(begun.elapsed() < SOON, "it does not listen: {:?}", process.try_wait());
            thread::sleep(Duration::from_millis(50));
        }
        let mut client = client_of(&addr);
        client.args(["--insecure-no-tls", "--quiet", "--prompt", PROMPT, "--max-tokens", "1"]);
        good(&client.output().unwrap());
        assert!(process.try_wait().unwrap().is_none(), "it still serves");
        process.kill().unwrap();
        process.wait().unwrap();
    }
}

#[test]
fn a_full_disk_is_one_line_and_a_code_of_its_own() {
    let server = Server::start(&[]);
    let out = ask(&server, "1").arg("--quiet").stdout(full()).stderr(Stdio::piped()).output().unwrap();
    let line = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(6), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.contains("cannot be written"), "{line}");
    // The report is lost, the answer is not.
    let out = ask(&server, "1").stderr(full()).stdout(Stdio::piped()).output().unwrap();
    assert_eq!(out.status.code(), Some(6));
    assert_eq!(String::from_utf8(out.stdout).unwrap(), format!("{}\n", reference(1).1));
}

#[test]
fn a_reader_that_has_gone_is_a_quiet_end_that_the_server_does_not_see() {
    let server = Server::start(&[]);
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let out = ask(&server, "2").stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(out.status.code(), Some(BROKEN_PIPE));
    assert!(out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
    server.logs(" 2 of at most 2 new ones");
}

#[test]
fn a_blocked_reader_does_not_hold_up_the_session() {
    let server = Server::start(&[]);
    let (mut reader, mut writer) = pipe().unwrap();
    // As much as a pipe takes, so that the first piece of the answer has to wait.
    writer.write_all(&[b'.'; 1 << 16]).unwrap();
    let mut client = ask(&server, "2").arg("--quiet").stdout(writer).spawn().unwrap();
    server.logs(" 2 of at most 2 new ones");
    assert!(client.try_wait().unwrap().is_none(), "it waits for its reader");
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text.trim_start_matches('.'), format!("{}\n", reference(2).1));
    assert!(client.wait().unwrap().success());
}

#[test]
fn prompts_are_taken_as_they_are() {
    let server = Server::start(&["--insecure-no-tls"]);
    let answer = |args: &[&str]| {
        let out = server.client().args(["--quiet", "--max-tokens", "1"]).args(args).output().unwrap();
        good(&out)
    };
    let file = server.folder.path().join("prompt");
    fs::write(&file, format!("\u{feff}{PROMPT}")).unwrap();
    assert_eq!(answer(&["--prompt-file", file.to_str().unwrap()]), format!("{}\n", reference(1).1));
}

#[test]
fn errors_are_objects_where_json_is_wanted() {
    let failure = |args: &[&str]| {
        let out = client_command().args(args).arg("--json").output().unwrap();
        let told: Value = serde_json::from_slice(&out.stdout).unwrap();
        let line = String::from_utf8(out.stderr).unwrap();
        assert_eq!(line.lines().count(), 1, "{line}");
        let error = &told["error"];
        assert_eq!(error["exit_code"].as_i64(), out.status.code().map(i64::from), "{told}");
        assert!(line.contains(error["message"].as_str().unwrap()), "{line} {told}");
        error["kind"].as_str().unwrap().to_string()
    };
    let here = ["--insecure-no-tls", "--server", "127.0.0.1:1"];
    assert_eq!(failure(&[&here[..], &["--prompt", "a"]].concat()), "connection");
    assert_eq!(failure(&here), "usage");
    assert_eq!(failure(&[&here[..], &["--no-such"]].concat()), "usage");
    let info = [&["info"], &here[..]].concat();
    assert_eq!(failure(&info), "connection");
}
