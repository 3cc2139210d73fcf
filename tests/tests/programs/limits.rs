//! Clients that say nothing, come in crowds, or wait.

use std::{
    net::{Shutdown, TcpStream},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use sotto_net::{Fingerprint, Identity, Link, Runtime, Secured, connect_tls};
use sotto_party::admission;

use crate::harness::*;

/// A client that is connected by TLS and then does as it likes.
struct Stranger {
    runtime: Runtime,
    secured: Secured,
}

impl Stranger {
    fn connect(addr: &str, server: Fingerprint) -> Option<Stranger> {
        let (runtime, me) = (Runtime::new(), Identity::generate());
        let secured = runtime.block_on(connect_tls(addr, Link::LOOPBACK, &me, server)).ok()?;
        Some(Stranger { runtime, secured })
    }

    /// Joins, waits for its turn, and then says nothing.
    fn admitted(server: &Server) -> Stranger {
        let mut me = Stranger::connect(&server.addr, pin(server)).unwrap();
        let admitted = me.runtime.block_on(admission::request(&mut me.secured.channel, |_| ()));
        admitted.unwrap().unwrap();
        me
    }
}

fn pin(server: &Server) -> Fingerprint {
    server.fingerprint.as_ref().unwrap().parse().unwrap()
}

fn ask(server: &Server, tokens: &str) -> Command {
    let mut command = server.client();
    command.args(["--quiet", "--prompt", PROMPT, "--max-tokens", tokens]);
    command
}

#[test]
fn prompts_are_as_long_as_memory_permits() {
    let server = Server::start(&["--max-sessions", "1", "--memory", "400MB"]);
    let long = "Once upon a time there was a little fox who lived in the forest. ".repeat(6);
    let out = server.client().args(["--prompt", &long, "--max-tokens", "1"]).output().unwrap();
    assert!(!out.status.success());
    server.logs("exceeds this server's limit of");
    good(&ask(&server, "1").output().unwrap());
}

#[test]
fn a_client_has_so_many_tokens_a_day() {
    let dir = tempfile::tempdir().unwrap();
    let key = |name: &str| {
        let file = dir.path().join(name);
        let out = client_command().arg("keygen").arg(&file).output().unwrap();
        (file, good(&out).trim().to_string())
    };
    let ((one, first), (other, second)) = (key("one.pem"), key("other.pem"));
    let server = Server::start(&["--quota", "60", "--allow", &first, "--allow", &second]);
    let ask = |key: &Path, tokens: &str| {
        let mut command = ask(&server, tokens);
        command.arg("--identity").arg(key);
        command
    };
    // What an answer may take must be there, what it does not take comes back.
    good(&ask(&one, "20").output().unwrap());
    mistake(&mut ask(&one, "40"), 2, &["the server's quota", "midnight UTC"]);
    server.logs("the server's quota");
    good(&ask(&one, "2").output().unwrap());
    good(&ask(&other, "40").output().unwrap());
    mistake(&mut ask(&other, "40"), 2, &["the server's quota"]);
    // Without names there is nobody to count for.
    let mut nobody = server_command();
    mistake(nobody.args(["--model", "builtin", "--quota", "9"]), 2, &["--quota", "--allow-file"]);
}

#[test]
fn crowds_that_say_nothing_do_not_keep_a_good_client_out() {
    let server = Server::start(&["--max-sessions", "1", "--max-queue", "1", "--log", "error"]);
    let (over, kept) = (AtomicBool::new(false), Mutex::new(vec![]));
    let (addr, pinned) = (&server.addr, pin(&server));
    thread::scope(|scope| {
        // Some never speak, some say nothing after their TLS handshake, all of them keep coming.
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                kept.lock().unwrap().extend(TcpStream::connect(addr));
                thread::sleep(Duration::from_millis(20));
            }
        });
        scope.spawn(|| {
            let mut strangers = vec![];
            while !over.load(Ordering::Relaxed) {
                strangers.extend(Stranger::connect(addr, pinned));
                if strangers.len() > 10 {
                    strangers.remove(0);
                }
                thread::sleep(Duration::from_millis(100));
            }
        });
        thread::sleep(Duration::from_millis(500));
        let out = ask(&server, "1").output().unwrap();
        over.store(true, Ordering::Relaxed);
        assert_eq!(good(&out), format!("{}\n", reference(1).1));
    });
}

#[test]
fn waiting_clients_are_told_and_the_queue_has_an_end() {
    let server = Server::start(&["--max-sessions", "1", "--max-queue", "1"]);
    let holder = Stranger::admitted(&server);
    let mut waiting = server.client();
    waiting.args(["--prompt", PROMPT, "--max-tokens", "1", "--report", "none"]);
    let waiting = waiting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    server.logs("waits in the queue, place 1");
    mistake(&mut ask(&server, "1"), 3, &["does not admit", "queue is full"]);
    server.logs("not admitted");
    drop(holder);
    let out = waiting.wait_with_output().unwrap();
    assert_eq!(good(&out), format!("{}\n", reference(1).1));
    assert!(String::from_utf8(out.stderr).unwrap().contains("the server's queue, place 1"));
}

#[test]
fn a_client_that_is_admitted_and_says_nothing_loses_its_place() {
    let server = Server::start(&["--max-sessions", "1", "--setup-seconds", "1"]);
    let _silent = Stranger::admitted(&server);
    server.logs("the set-up took longer than 1s");
    let limit = ["--max-sessions", "1", "--max-session-seconds", "6"];
    let server = Server::start(&limit);
    let mut endless = ask(&server, "200");
    let out = endless.args(["--link", "wan"]).output().unwrap();
    assert!(matches!(out.status.code(), Some(3 | 4)), "{out:?}");
    server.logs("took longer than 6s");
}

#[test]
fn an_address_and_an_identity_have_their_share() {
    let server = Server::start(&["--max-per-address", "1"]);
    let holder = Stranger::admitted(&server);
    mistake(&mut ask(&server, "1"), 3, &["too many connections come from this address"]);
    drop(holder);

    let server = Server::start(&["--max-sessions", "1", "--max-per-client", "1"]);
    let holder = Stranger::admitted(&server);
    let file = server.folder.path().join("client.pem");
    let known = || {
        let mut command = ask(&server, "1");
        command.arg("--identity").arg(&file);
        command
    };
    let waiting = known().stdout(Stdio::piped()).spawn().unwrap();
    server.logs("waits in the queue");
    mistake(&mut known(), 3, &["this identity has too many connections"]);
    drop(holder);
    good(&waiting.wait_with_output().unwrap());
}

#[test]
fn a_port_check_is_not_the_one_client() {
    let mut server = Server::start(&["--once", "--insecure-no-tls"]);
    let _silent = TcpStream::connect(&server.addr).unwrap();
    for _ in 0..3 {
        let check = TcpStream::connect(&server.addr).unwrap();
        check.shutdown(Shutdown::Both).unwrap();
    }
    assert_eq!(good(&ask(&server, "1").output().unwrap()), format!("{}\n", reference(1).1));
    assert!(server.process.wait().unwrap().success());
}
