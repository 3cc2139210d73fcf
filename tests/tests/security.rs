//! SECURITY.md and the programs say the same: every frame has its row, and traffic depends on
//! lengths alone.

#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use sotto_models::{
    Folder, Model, Texts,
    evaluator::two_party::Caches,
    sampling::greedy,
    service::{self, Answers, History, Policy, Ranges, Revealed, TokenizerSource},
};
use sotto_net::{Channel, Link};
use sotto_party::admission::{self, Admission};
use sotto_protocol::{Client, Schedule, Server, Session};
use sotto_shares::Rng;

/// The crates that hand frames to the channel.
const CRATES: [&str; 5] = ["net", "ot", "protocol", "models", "party"];

/// Strings of the same form that are no frame tags.
const NO_TAGS: [&str; 5] = [
    // Names in the pool's ledger, which is hashed and not sent.
    "cot/client",
    "cot/server",
    // Steps in errors that concern no frame.
    "background/catch-up",
    "session/accept",
    "session/close",
];

/// Sent only with a feature, in checked sessions or by protocols that no model uses, for longer
/// prompts than these, or when something has gone wrong.
const RARE: [&str; 17] = [
    "decompose/cross",
    "matmul/open",
    "matmul/reply",
    "matmul/upload",
    "mul/open",
    "ot/silent/answer",
    "ot/silent/verdict",
    "reveal/position",
    "session/abort",
    "square/open",
    "square/payload",
    "top-k/choose",
    "top-k/digit",
    "top-k/share",
    "triple/payload",
    "triple/reply",
    "triple/upload",
];

#[test]
fn every_frame_tag_of_the_sources_has_its_row_and_no_row_is_stale() {
    let literals: BTreeSet<String> = CRATES
        .iter()
        .flat_map(|name| rust_files(&root().join(name).join("src")))
        .flat_map(|file| slashed_literals(&without_tests(&fs::read_to_string(file).unwrap())))
        .collect();
    for name in NO_TAGS {
        assert!(literals.contains(name), "`{name}` is gone from the sources: remove the exception");
    }
    let tags: BTreeSet<String> = literals.into_iter().filter(|l| !NO_TAGS.contains(&l.as_str())).collect();
    let rows = rows();
    let missing: Vec<_> = tags.difference(&rows).collect();
    assert!(missing.is_empty(), "frames without a row in SECURITY.md: {missing:?}");
    let stale: Vec<_> = rows.difference(&tags).collect();
    assert!(stale.is_empty(), "rows of SECURITY.md without a frame in the sources: {stale:?}");
}

#[test]
fn a_session_sends_the_frames_of_the_table_and_its_trace_depends_on_lengths_alone() {
    let folder = Folder::builtin().unwrap();
    let model = Model::load(&folder, &Texts::default()).unwrap();
    let prompt = [0, 481, 525];
    let near = |schedule, answers, prompt: &[u32]| session(NEAR, &folder, &model, schedule, answers, prompt);
    let (client, server) = near(Schedule::Throughput, Answers::Logits, &prompt);
    for (side, trace) in [("client", &client), ("server", &server)] {
        let seen: BTreeSet<String> = trace.bytes.keys().map(|tag| tag.to_string()).collect();
        let unknown: Vec<_> = seen.difference(&rows()).cloned().collect();
        assert!(unknown.is_empty(), "the {side} saw frames without a row in SECURITY.md: {unknown:?}");
        let unseen: Vec<_> = rows().difference(&seen).cloned().collect();
        assert_eq!(unseen, RARE, "rows whose frame the {side} did not see");
    }
    let traces = |schedule, prompt| near(schedule, Answers::Logits, prompt);
    let first = (client, server);
    assert!(
        first == traces(Schedule::Throughput, &[0, 34, 767]),
        "another prompt of this length, another trace"
    );
    let first = traces(Schedule::Latency, &prompt);
    assert!(
        first == traces(Schedule::Latency, &[0, 34, 767]),
        "another prompt of this length, another trace"
    );
    for answers in [Answers::Tokens, Answers::Top(5)] {
        let traces = |prompt| near(Schedule::Throughput, answers, prompt);
        assert!(traces(&prompt) == traces(&[0, 34, 767]), "another prompt, another trace: {answers:?}");
    }
    // Where something is made meanwhile, time decides what of it has come at the end.
    let headers = |prompt| {
        let (client, server) = session(FAR, &folder, &model, Schedule::Latency, Answers::Logits, prompt);
        [client.headers, server.headers]
    };
    assert!(headers(&prompt) == headers(&[0, 34, 767]), "another prompt, another trace to a far peer");
}

/// What an observer of the network could see of one party: bytes by tag, and all headers sent, in
/// order.
#[derive(PartialEq, Eq)]
struct Trace {
    bytes: BTreeMap<&'static str, u64>,
    headers: [u8; 32],
}

impl Trace {
    fn of(ch: &Channel) -> Trace {
        Trace { bytes: ch.meter.tags().clone(), headers: ch.trace_digest() }
    }
}

/// A connection whose delay is not felt, and one whose delay is.
const NEAR: Link = Link { rate: Some(1e9), ..Link::LOOPBACK };
const FAR: Link = Link { rate: Some(1e9), rtt: Duration::from_millis(1) };

/// Three new tokens after `prompt`, or to a far peer as many as make a batch and more, and two more
/// after these and another one; what each party saw.
fn session(
    link: Link,
    folder: &Folder,
    model: &Model,
    schedule: Schedule,
    answers: Answers,
    prompt: &[u32],
) -> (Trace, Trace) {
    let policy = Policy { answers, ..Policy::default() };
    let new = if link == NEAR { 3 } else { 17 };
    // However busy this machine is.
    let settle = |session: &mut Session| {
        if link == NEAR {
            session.assume_low_latency();
        }
        session.set_decode_schedule(schedule);
    };
    sotto_net::run_pair_over(
        link,
        |mut ch| async {
            admission::request(&mut ch, |_| ()).await.unwrap().unwrap();
            let mut me = Client::establish(ch, Rng::from_os(), [0; 32]).await.unwrap();
            settle(&mut me.session);
            let offered = service::receive_offer(&mut me.session.ch, &TokenizerSource::Server).await.unwrap();
            let (mut history, mut prompt) = (History::default(), prompt.to_vec());
            for new in [new, 2] {
                let mut made = vec![];
                let mut go_on = |revealed: &Revealed| {
                    made.push(revealed.token(greedy));
                    (revealed.token(greedy), true)
                };
                let ranges =
                    service::generate(&mut me, &offered, &mut history, &prompt, new, &mut go_on).await;
                assert_eq!(ranges.unwrap(), Ranges::Kept);
                prompt.extend(made.into_iter().chain([7]));
                assert!(history.covered(&prompt) > 0);
                if new > 2 {
                    service::wake(&mut me).await.unwrap();
                }
            }
            service::tell_no_more(&mut me).unwrap();
            me.session.ch.part().await.unwrap();
            Trace::of(&me.session.ch)
        },
        |mut ch| async {
            admission::hear(&mut ch).await.unwrap();
            admission::answer(&mut ch, Admission::Admitted).unwrap();
            let mut me = Server::establish(ch, Rng::from_os(), [0; 32]).await.unwrap();
            settle(&mut me.session);
            service::offer(&mut me.session.ch, model, folder.tokenizer(), policy).await.unwrap();
            let mut history = Caches::default();
            service::serve(&mut me, model, policy, &mut history).await.unwrap();
            assert!(service::hear_more(&mut me).await.unwrap());
            service::serve(&mut me, model, policy, &mut history).await.unwrap();
            assert!(!service::hear_more(&mut me).await.unwrap());
            me.session.ch.part().await.unwrap();
            Trace::of(&me.session.ch)
        },
    )
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The first column of the table below "## Frames".
fn rows() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let section =
        text.split("\n## ").find(|s| s.starts_with("Frames")).expect("SECURITY.md has its section Frames");
    let tags: Vec<&str> = section
        .lines()
        .filter_map(|l| l.strip_prefix("| `")?.split_once("` |"))
        .map(|(tag, _)| tag)
        .collect();
    let rows: BTreeSet<String> = tags.iter().map(|tag| tag.to_string()).collect();
    assert_eq!(rows.len(), tags.len(), "a frame has one row");
    rows
}

/// The sources in a folder, but for files that only tests use.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] });
    let is_source = |path: &PathBuf| {
        path.extension().is_some_and(|e| e == "rs")
            && !path.ends_with("testing.rs")
            && !path.ends_with("tests.rs")
    };
    files.filter(is_source).collect()
}

/// A source without its test module, which stands last in a file.
fn without_tests(source: &str) -> String {
    let lines: Vec<&str> = source.lines().collect();
    let is_module = |line: &str| line.contains("mod ") && line.ends_with('{');
    let end = lines.windows(2).position(|w| w[0] == "#[cfg(test)]" && is_module(w[1]));
    lines[..end.unwrap_or(lines.len())].join("\n")
}

/// String literals that are words joined by slashes; comments and byte strings apart.
fn slashed_literals(source: &str) -> Vec<String> {
    let code: Vec<&str> =
        source.lines().map(|l| if l.trim_start().starts_with("//") { "" } else { l }).collect();
    // Outside escapes, every second piece between quotes is a literal.
    let code = code.join("\n").replace("\\\\", "").replace("\\\"", "").replace("'\"'", "");
    let pieces: Vec<&str> = code.split('"').collect();
    let literals =
        pieces.chunks(2).filter(|pair| pair.len() == 2 && !pair[0].ends_with('b')).map(|pair| pair[1]);
    literals.filter(|l| is_slashed(l)).map(String::from).collect()
}

fn is_slashed(literal: &str) -> bool {
    let is_word = |w: &str| !w.is_empty() && w.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    literal.contains('/') && literal.split('/').all(is_word)
}

#[test]
fn literals_are_found_in_code_only() {
    let source = "//! \"doc/comment\"\nsend(\n    \"a/b\", b\"byte/string\", \"a \\\" q\", '\"', \"x/y-2/z\", \"No/Tag\");\n\
                  #[cfg(test)]\nmod tests {\n \"test/only\" }";
    assert_eq!(slashed_literals(&without_tests(source)), ["a/b", "x/y-2/z"]);
}
