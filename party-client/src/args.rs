//! The client's command line.

use std::{
    fs::File,
    io::{self, Read},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;
use clap::Parser;
use sotto_models::Sampling;
use sotto_net::{Fingerprint, Link};
use sotto_protocol::Precision;
use sotto_shares::Rng;
use tracing::level_filters::LevelFilter;

use crate::error::Usage;

/// Continues a prompt with a server's language model. The server sees neither the prompt nor the
/// answer, only how long they are.
///
/// The answer goes to standard output as it is made, everything else to standard error. Both
/// parties must follow the protocol for the prompt to stay private, so talk to servers whose
/// operator you know.
#[derive(Parser)]
#[command(name = "party-client", version, after_help = EXIT_CODES)]
pub struct Args {
    /// The server, as HOST:PORT.
    #[arg(long, value_name = "ADDR")]
    pub server: String,

    /// The server's fingerprint, as its operator tells it: `sotto-` and 52 characters.
    #[arg(long, required_unless_present = "insecure_no_tls")]
    pub fingerprint: Option<Fingerprint>,

    /// The file with this client's private key; made if it is not there. For servers with a list of
    /// clients. Without it, each run has a new identity, by which it cannot be recognised.
    #[arg(long, value_name = "FILE")]
    pub identity: Option<PathBuf>,

    /// No TLS, for tests and demos on one machine: whoever carries the traffic can pose as the
    /// server and learn what a dishonest server could.
    #[arg(long, conflicts_with_all = ["identity", "fingerprint"])]
    pub insecure_no_tls: bool,

    /// The text to continue.
    #[arg(long, value_name = "TEXT", conflicts_with = "prompt_file", allow_hyphen_values = true)]
    prompt: Option<String>,

    /// A file with the text to continue; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    prompt_file: Option<PathBuf>,

    /// The prompt is a user's turn in a conversation: the model's own chat template is applied to
    /// it.
    #[arg(long)]
    chat: bool,

    /// What the model is told before the user's turn, with --chat.
    #[arg(long, value_name = "TEXT", requires = "chat")]
    system: Option<String>,

    /// Tokens to make, at most: the answer also ends where the model ends it. The server learns
    /// this number. [default: 40, or what the model's context has room for]
    #[arg(long, value_name = "N")]
    max_tokens: Option<NonZeroUsize>,

    /// How freely to choose, from 0 to 100. 0, the default, always takes the likeliest token.
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    temperature: Option<f32>,

    /// Choose among the likeliest tokens that have this probability together.
    #[arg(long, value_name = "P", requires = "temperature", allow_negative_numbers = true)]
    top_p: Option<f32>,

    /// Choose among this many of the likeliest tokens.
    #[arg(long, value_name = "K", requires = "temperature")]
    top_k: Option<usize>,

    /// Makes the choices repeatable. [default: a new one for each run]
    #[arg(long, value_name = "S", requires = "temperature")]
    seed: Option<u64>,

    /// The model's tokenizer.json, if it is at hand: the server then need not send it. It must be
    /// the server's.
    #[arg(long, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,

    /// For tests of a model: evaluates a text in one go, and compares the likeliest token after
    /// each position with that of --reference. Standard output stays empty.
    #[arg(long, value_name = "TEXTFILE", requires = "reference", conflicts_with_all = ["prompt", "prompt_file"])]
    check: Option<PathBuf>,

    /// The same model in the clear, for --check: a folder, or `builtin`.
    #[arg(long, value_name = "DIR|builtin", requires = "check")]
    reference: Option<PathBuf>,

    /// Tokens of the text that --check takes.
    #[arg(long, value_name = "N", default_value = "64", requires = "check")]
    check_tokens: NonZeroUsize,

    /// Print answer and report as one JSON object on standard output.
    #[arg(long)]
    pub json: bool,

    /// Show no progress and no report on standard error; only what goes wrong.
    #[arg(long)]
    pub quiet: bool,

    /// Run as if the network were this one: loopback (as it is), lan (1 Gbit/s, 0.5 ms), wan (100
    /// Mbit/s, 40 ms) or RATE,RTT such as 100mbit,40ms. Use it on one side only: two of them add
    /// up.
    #[arg(long, default_value = "loopback")]
    pub link: Link,

    /// How exact the model is computed: default, with activations of 12 fraction bits, or high,
    /// with 14 and finer tables, for 5 to 14 % more traffic, or a fifth where turns are saved. The
    /// server learns which.
    #[arg(long, value_name = "HOW", default_value = "default")]
    pub precision: Precision,

    /// How long to wait for a server that sends nothing.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,

    /// What to log on standard error: off, error, warn, info, debug or trace. Never anything
    /// secret.
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    pub log: LevelFilter,
}

/// What the user wants done, its options checked.
pub enum Task {
    /// An answer.
    Generate(Wish),
    /// A comparison.
    Check(Check),
}

/// A prompt, and how to continue it.
pub struct Wish {
    /// The text to continue; not empty.
    pub prompt: String,
    /// Whether the text is a user's turn in a conversation, and what the model is told before it.
    pub chat: Option<Chat>,
    /// New tokens at most, if the user says.
    pub max_tokens: Option<usize>,
    /// How to choose each token.
    pub sampling: Sampling,
    /// What the choices follow from.
    pub seed: u64,
}

/// A conversation of one turn.
pub struct Chat {
    /// What the model is told before the user's turn.
    pub system: Option<String>,
}

/// A text to compare logits on.
pub struct Check {
    /// The text; not empty.
    pub text: String,
    /// Where the reference is.
    pub reference: PathBuf,
    /// Tokens to take.
    pub tokens: usize,
}

/// More than any context holds.
const TEXT_LIMIT: u64 = 16 << 20;

impl Args {
    /// How long a silent server is waited for.
    pub fn patience(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    /// What is to be done. Reads the prompt.
    ///
    /// # Errors
    /// No text, or options out of their range.
    pub fn task(&self) -> Result<Task> {
        if let (Some(file), Some(reference)) = (&self.check, &self.reference) {
            let (text, reference) = (read_text(file, "--check")?, reference.clone());
            return Ok(Task::Check(Check { text, reference, tokens: self.check_tokens.get() }));
        }
        let sampling = Sampling::random(self.temperature.unwrap_or(0.0), self.top_k, self.top_p)?;
        let seed = self.seed.unwrap_or_else(|| u64::from_le_bytes(Rng::from_os().bytes()));
        let prompt = match (&self.prompt, &self.prompt_file) {
            (Some(text), _) => text.clone(),
            (None, Some(file)) => read_text(file, "--prompt-file")?,
            (None, None) => {
                return Err(Usage("no prompt: pass --prompt TEXT or --prompt-file FILE".into()).into());
            }
        };
        if prompt.is_empty() {
            return Err(sotto_models::Error::PromptEmpty.into());
        }
        let max_tokens = self.max_tokens.map(NonZeroUsize::get);
        let chat = self.chat.then(|| Chat { system: self.system.clone() });
        Ok(Task::Generate(Wish { prompt, chat, max_tokens, sampling, seed }))
    }
}

fn read_text(file: &Path, option: &str) -> Result<String> {
    let read = |from: &mut dyn Read| {
        let mut text = String::new();
        from.take(TEXT_LIMIT + 1).read_to_string(&mut text).map(|_| text)
    };
    let text = match file == Path::new("-") {
        true => read(&mut io::stdin()),
        false => File::open(file).and_then(|mut file| read(&mut file)),
    };
    let refuse = |reason: String| Usage(format!("{option} {}: {reason}", file.display()));
    match text {
        Ok(text) if text.is_empty() => Err(refuse("the file is empty; put some text into it".into()).into()),
        Ok(text) if text.len() as u64 > TEXT_LIMIT => {
            Err(refuse(format!("more than {TEXT_LIMIT} bytes, no model takes that; shorten it")).into())
        }
        Ok(text) => Ok(text),
        Err(e) => Err(refuse(format!("cannot be read: {e}; it must be a text file in UTF-8")).into()),
    }
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  internal error
  2  a mistake in the options, the prompt or a file named there
  3  the server cannot be reached, is not the pinned one, does not let this client in, or the connection was lost
  4  the server broke the protocol, ended the session, or is another version
  5  done, but the answer may be wrong: a number left its range while the model computed

Example:
  party-client --server 192.0.2.7:7700 --fingerprint sotto-... --prompt \"Once upon a time\"";
