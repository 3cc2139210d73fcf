//! The two programs as processes, and what tests ask of them.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use sotto_models::{Config, Fields, Folder, Reference, random::RandomFolder};

pub const PROMPT: &str = "Once upon a time there was a little fox";
/// No mistake takes longer than this to be told.
pub const SOON: Duration = Duration::from_secs(60);

pub struct Server {
    pub process: Child,
    pub addr: String,
    pub fingerprint: Option<String>,
    pub folder: tempfile::TempDir,
    log: Receiver<String>,
}

impl Server {
    /// A server with the built-in model on a free port.
    pub fn start(options: &[&str]) -> Server {
        Server::of("builtin".as_ref(), options)
    }

    pub fn of(model: &Path, options: &[&str]) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let mut command = server_command();
        command.arg("--model").arg(model).args(["--listen", "127.0.0.1:0"]).args(options);
        if !options.contains(&"--insecure-no-tls") {
            command.arg("--identity").arg(folder.path().join("server.pem"));
        }
        Server::spawn(command, folder)
    }

    /// A server by its command; `folder` goes with it.
    pub fn spawn(mut command: Command, folder: tempfile::TempDir) -> Server {
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
    pub fn logs(&self, text: &str) -> String {
        next_line(&self.log, text)
    }

    /// A client of this server.
    pub fn client(&self) -> Command {
        let mut command = client_of(&self.addr);
        match &self.fingerprint {
            Some(fingerprint) => command.args(["--fingerprint", fingerprint]),
            None => command.arg("--insecure-no-tls"),
        };
        command
    }
}

/// The next of some lines that contains `text`.
pub fn next_line(lines: &Receiver<String>, text: &str) -> String {
    let mut seen = vec![];
    while let Ok(line) = lines.recv_timeout(SOON) {
        if line.contains(text) {
            return line;
        }
        seen.push(line);
    }
    panic!("no {text:?} in {seen:#?}")
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub fn server_command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
    command.arg("server").env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"));
    command
}

pub fn client_of(addr: &str) -> Command {
    let mut command = client_command();
    command.args(["--server", addr]);
    command
}

pub fn client_command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
    command.arg("client");
    command
}

/// Runs a program that must end soon with `code` and one line on standard error, with all `words`
/// in it.
pub fn mistake(command: &mut Command, code: i32, words: &[&str]) {
    let begun = Instant::now();
    let out = command.stdin(Stdio::null()).output().unwrap();
    let line = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(code), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(words.iter().all(|word| line.contains(word)), "{words:?} in {line}");
    assert!(out.stdout.is_empty());
    assert!(begun.elapsed() < SOON);
}

pub fn good(out: &Output) -> String {
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout.clone()).unwrap()
}

/// The reference's greedy continuation.
pub fn reference(count: usize) -> (Vec<u32>, String) {
    let folder = Folder::builtin().unwrap();
    let prompt = folder.tokenizer().encode(PROMPT, 100).unwrap();
    let tokens = Reference::load(&folder).unwrap().generate(&prompt, count);
    let mut stream = folder.tokenizer().stream(&prompt).unwrap();
    let text: String = tokens.iter().map(|&token| stream.push(token).unwrap()).collect();
    (tokens, text)
}

/// A small model, one neuron of which looks in the direction of every token.
pub fn extreme_model(dir: &Path, gate: fn(&mut [f32])) {
    edited_model(
        dir,
        &[
            ("model.layers.0.mlp.gate_proj.weight", gate),
            ("model.layers.0.mlp.up_proj.weight", |w| w[3 * 48..4 * 48].fill(1.0)),
            ("model.layers.0.mlp.down_proj.weight", |w| w[5 * 40 + 3] = 5.0),
        ],
    );
}

/// A tensor, and what changes its numbers.
pub type Edit = (&'static str, fn(&mut [f32]));

/// A small model whose tokens are all alike, with some weights changed.
pub fn edited_model(dir: &Path, edits: &[Edit]) {
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
    let folder = RandomFolder::new(&config, 3).edit("model.embed_tokens.weight", |w| w.fill(1.0));
    let folder = edits.iter().fold(folder, |folder, (tensor, edit)| folder.edit(tensor, *edit));
    folder.write(dir).unwrap();
}

pub fn builtin(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../models/builtin").join(file)
}
