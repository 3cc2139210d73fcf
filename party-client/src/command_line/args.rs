//! The client's options and help.

use std::{
    fs::File,
    io::{self, Read},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use sotto_net::{Fingerprint, Link};
use sotto_party::{log::Level, memory};
use sotto_protocol::Precision;
use sotto_shares::Rng;

use sotto_models::{Task, service::TokenizerSource, tokenizer::Digest};

use super::{chat::ChatArgs, serve::ServeArgs};
use crate::{CheckRequest, Error, GenerationRequest, Input, Message, Options, Prompt, Security, TaskRequest};

/// Uses a server's model without showing the server the text or the answer.
///
/// Both parties must follow the protocol: a server that deviates from it can learn something of the
/// text, and a client that deviates can learn the weights. Talk to servers whose operator you
/// trust to run the program unchanged.
///
/// Without a subcommand, the options of `generate` are taken.
#[derive(Parser)]
#[command(name = "party-client", version, max_term_width = 100, after_help = EXIT_CODES)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The names of [`Command`].
pub const SUBCOMMANDS: [&str; 11] = [
    "generate",
    "chat",
    "embed",
    "classify",
    "tag",
    "fill-mask",
    "answer",
    "check",
    "serve",
    "info",
    "keygen",
];

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Continue a prompt. The default.
    Generate(Box<GenerateArgs>),
    /// Talk with a chat model, turn by turn.
    Chat(Box<ChatArgs>),
    /// Make a vector of each text, by a sentence-transformers model or another encoder.
    Embed(Box<TextsArgs>),
    /// Say which label each text has.
    Classify(Box<TextsArgs>),
    /// Say which label each token of a text has.
    Tag(Box<TextsArgs>),
    /// Say which word is in place of a text's mask.
    FillMask(Box<TextsArgs>),
    /// Find the answer to a question in a text.
    Answer(Box<AnswerArgs>),
    /// Compare the private model with the same model in f32, position by position.
    Check(Box<CheckArgs>),
    /// Serve the private model to programs on this machine, in the form of OpenAI's API.
    Serve(Box<ServeArgs>),
    /// Show what a server offers: its model's shape, and what it reveals. Sends no prompt.
    Info(Box<InfoArgs>),
    /// Make this client's private key, if it is not there, and print its fingerprint.
    Keygen(KeygenArgs),
}

impl Command {
    /// How results are shown.
    pub fn show(&self) -> Option<&Show> {
        match self {
            Command::Generate(args) => Some(&args.show),
            Command::Embed(args) | Command::Classify(args) | Command::Tag(args) | Command::FillMask(args) => {
                Some(&args.show)
            }
            Command::Answer(args) => Some(&args.show),
            Command::Check(args) => Some(&args.show),
            Command::Info(args) => Some(&args.show),
            Command::Chat(_) | Command::Serve(_) | Command::Keygen(_) => None,
        }
    }
}

/// Continues a prompt.
///
/// The answer goes to standard output as it is made, everything else to standard error. The server
/// learns how many tokens the prompt and the answer have, and when they are made. Both parties must
/// follow the protocol for the prompt and the weights to stay private.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub struct GenerateArgs {
    #[command(flatten)]
    pub target: Target,

    /// The text to continue. Users of this machine can read it in the list of processes; for a text
    /// that they must not see, use --prompt-file.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, conflicts_with = "prompt_file")]
    prompt: Option<String>,

    /// A file with the text to continue, in UTF-8; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    prompt_file: Option<PathBuf>,

    /// The prompt is a user's turn in a conversation: the model's own chat template is applied to
    /// it.
    #[arg(long)]
    chat: bool,

    /// What the model is told before the user's turn, with --chat.
    #[arg(long, value_name = "TEXT", requires = "chat")]
    system: Option<String>,

    /// The largest number of tokens to make; the answer also ends where the model ends it. The
    /// server learns this number. [default: 40, or what the model's context has room for]
    #[arg(long, value_name = "N")]
    max_tokens: Option<NonZeroUsize>,

    #[command(flatten)]
    sampling: Sampling,

    #[command(flatten)]
    pub show: Show,
}

/// How tokens are chosen.
#[derive(Args)]
pub struct Sampling {
    /// Randomness of the choice, from 0 to 100. 0, the default, always takes the likeliest token.
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    temperature: Option<f32>,

    /// Choose among the likeliest tokens whose probabilities add up to P.
    #[arg(long, value_name = "P", requires = "temperature", allow_negative_numbers = true)]
    top_p: Option<f32>,

    /// Choose among the K likeliest tokens.
    #[arg(long, value_name = "K", requires = "temperature")]
    top_k: Option<usize>,

    /// End the answer before this text; may be repeated. The server does not learn the text, but
    /// sees that the answer ends.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    stop: Vec<String>,

    /// Goes on with tokens that nobody sees until --max-tokens are made: the server does not learn
    /// how long the answer is. Every answer then takes as long as the longest.
    #[arg(long)]
    constant_length: bool,

    /// Pads prompts, so that the server sees a multiple of N as their length, or what the context
    /// has room for. The answer stays the same, the padding takes as long as a prompt of that
    /// length. Each prompt is read from its start.
    #[arg(long, value_name = "N")]
    pad_to: Option<NonZeroUsize>,

    /// The seed of the choices: the same seed makes the same choices. [default: a new one each run]
    #[arg(long, value_name = "S", requires = "temperature")]
    seed: Option<u64>,
}

/// Reads texts one after the other, in one session.
///
/// Standard output gets a line for each, or with `tag` one for each token and an empty line;
/// everything else goes to standard error. The server learns how many texts there are and how many
/// tokens each has.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub struct TextsArgs {
    #[command(flatten)]
    pub target: Target,

    /// A text; may be repeated. Users of this machine can read it in the list of processes; for
    /// texts that they must not see, use --text-file.
    #[arg(long = "text", value_name = "TEXT", allow_hyphen_values = true, conflicts_with = "text_file")]
    texts: Vec<String>,

    /// A file of texts in UTF-8, one a line; empty lines are left out; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    text_file: Option<PathBuf>,

    #[command(flatten)]
    pub show: Show,
}

/// Finds the answer to a question in a text.
///
/// The answer goes to standard output, everything else to standard error. The server learns how
/// many tokens question and text have together.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub struct AnswerArgs {
    #[command(flatten)]
    pub target: Target,

    /// The question.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    question: String,

    /// The text that has the answer.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, conflicts_with = "context_file")]
    context: Option<String>,

    /// A file with that text, in UTF-8; `-` is standard input.
    #[arg(long, value_name = "FILE", required_unless_present = "context")]
    context_file: Option<PathBuf>,

    #[command(flatten)]
    pub show: Show,
}

/// Compares the private model with the same model in f32: evaluates a text in one go, and reports
/// where the likeliest next token differs.
///
/// For tests of a model. Needs a server that reveals all logits. Standard output stays empty, but
/// for --json.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub struct CheckArgs {
    #[command(flatten)]
    pub target: Target,

    /// A file with the text, in UTF-8; `-` is standard input.
    #[arg(long = "text", visible_alias = "check", value_name = "TEXTFILE", required = true)]
    text: PathBuf,

    /// The same model in the clear: a folder, or `builtin`.
    #[arg(long, value_name = "DIR|builtin", required = true)]
    reference: PathBuf,

    /// Tokens of the text to take.
    #[arg(long = "tokens", visible_alias = "check-tokens", value_name = "N", default_value = "64")]
    tokens: NonZeroUsize,

    #[command(flatten)]
    pub show: Show,
}

/// Shows what a server offers.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub struct InfoArgs {
    #[command(flatten)]
    pub target: Target,

    #[command(flatten)]
    pub show: Show,
}

/// Makes a private key if the file is not there, and prints its fingerprint.
///
/// A server's operator adds the fingerprint to the server's list of clients.
#[derive(Args)]
pub struct KeygenArgs {
    /// The file of the key.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// The server, and how to reach it.
#[derive(Args)]
#[command(next_help_heading = "Server")]
pub struct Target {
    /// The server, as HOST:PORT.
    #[arg(long, value_name = "ADDR")]
    server: String,

    /// The server's fingerprint, as its operator tells it: `sotto-` and 52 characters.
    #[arg(long, required_unless_present = "insecure_no_tls")]
    fingerprint: Option<Fingerprint>,

    /// The file of this client's private key; made if it is not there. For servers that have a list
    /// of clients. Without it, each run has a new key, by which the client cannot be recognised.
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,

    /// No TLS, for tests on one machine: anyone on the way could read and change the traffic.
    /// Refused unless the server's address is a loopback one.
    #[arg(long, conflicts_with_all = ["identity", "fingerprint"])]
    insecure_no_tls: bool,

    /// The model's tokenizer.json, if it is at hand: the server then does not send its own. The two
    /// must be the same file.
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,

    /// The digest of the model's tokenizer and chat template, as the server prints it at the start:
    /// others are refused before anything reads them.
    #[arg(long, value_name = "DIGEST")]
    tokenizer_digest: Option<Digest>,

    /// The precision of activations: default (12 fraction bits) or high (14, and finer tables; 5 to
    /// 20 % more traffic). The server learns which.
    #[arg(long, value_name = "HOW", default_value = "default")]
    precision: Precision,

    /// What a session may come to hold here: 2GB, say. Requests that may take more are not made.
    /// [default: what is free]
    #[arg(long, value_name = "SIZE", value_parser = memory::parse)]
    memory: Option<usize>,

    /// How long to wait for a server that sends nothing.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,

    /// Imitate a network: loopback (as it is), lan (1 Gbit/s, 0.5 ms), wan (100 Mbit/s, 40 ms) or
    /// RATE,RTT such as 100mbit,40ms. Use it on one side only: two of them add up.
    #[arg(long, default_value = "loopback")]
    link: Link,
}

/// How results are shown.
#[derive(Args)]
#[command(next_help_heading = "Output")]
pub struct Show {
    /// Print the answer and the full report as one JSON object on standard output; on failure, an
    /// object with "error".
    #[arg(long)]
    pub json: bool,

    /// Show no progress and no report; only what goes wrong.
    #[arg(long, conflicts_with = "report")]
    pub quiet: bool,

    /// The report at the end, on standard error: summary (who learned what; seconds, bytes and
    /// turns by phase), full (every operation too) or none. A turn is a one-way message delay.
    /// [default: summary]
    #[arg(long, value_name = "HOW", hide_possible_values = true)]
    report: Option<ReportKind>,

    /// What to tell on standard error besides the report: with off or error, warnings are left out.
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    pub log: Level,
}

/// How much of a report.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportKind {
    /// Nothing.
    None,
    /// A screen.
    Summary,
    /// Every operation.
    Full,
}

/// More bytes than any context holds.
const TEXT_LIMIT: u64 = 16 << 20;

impl Show {
    /// The report that the user wants.
    pub fn report(&self) -> ReportKind {
        match (self.quiet, self.report) {
            (true, _) => ReportKind::None,
            (false, kind) => kind.unwrap_or(ReportKind::Summary),
        }
    }
}

impl Target {
    /// The same for the library.
    ///
    /// # Errors
    /// No fingerprint.
    pub fn options(&self) -> Result<Options, Error> {
        let security = match (self.insecure_no_tls, self.fingerprint) {
            (true, _) => Security::None,
            (false, Some(server)) => Security::Tls { server, identity: self.identity.clone() },
            (false, None) => {
                return Err(Error::Usage("no server is pinned: pass --fingerprint sotto-...".into()));
            }
        };
        Ok(Options {
            server: self.server.clone(),
            security,
            link: self.link,
            precision: self.precision,
            patience: Duration::from_secs(self.timeout),
            memory: self.memory,
            tokenizer: match (&self.tokenizer, self.tokenizer_digest) {
                (Some(file), digest) => TokenizerSource::File(file.clone(), digest),
                (None, Some(digest)) => TokenizerSource::Pinned(digest),
                (None, None) => TokenizerSource::Server,
            },
        })
    }
}

impl GenerateArgs {
    /// The request. Reads the prompt.
    ///
    /// # Errors
    /// No text.
    pub fn request(&self) -> Result<GenerationRequest, Error> {
        let prompt = match (&self.prompt, &self.prompt_file) {
            (Some(text), _) => text.clone(),
            (None, Some(file)) => read_text(file, "--prompt-file")?,
            (None, None) => {
                return Err(Error::Usage("no prompt: pass --prompt TEXT or --prompt-file FILE".into()));
            }
        };
        let prompt = match self.chat {
            false => Prompt::Text(prompt),
            true => {
                let system = self.system.iter().map(|text| Message::new("system", text));
                Prompt::Conversation(system.chain([Message::new("user", prompt)]).collect())
            }
        };
        let max_tokens = self.max_tokens.map(NonZeroUsize::get);
        Ok(GenerationRequest { max_tokens, ..self.sampling.of(prompt) })
    }
}

impl Sampling {
    /// A request for what follows a prompt.
    pub fn of(&self, prompt: Prompt) -> GenerationRequest {
        GenerationRequest {
            temperature: self.temperature.unwrap_or(0.0),
            top_k: self.top_k,
            top_p: self.top_p,
            constant_length: self.constant_length,
            pad_to: self.pad_to.map_or(1, NonZeroUsize::get),
            stop_sequences: self.stop.clone(),
            seed: self.seed.unwrap_or_else(|| u64::from_le_bytes(Rng::from_os().bytes())),
            ..GenerationRequest::greedy(prompt)
        }
    }
}

impl TextsArgs {
    /// The request. Reads the texts.
    ///
    /// # Errors
    /// No text.
    pub fn request(&self, task: Task) -> Result<TaskRequest, Error> {
        let texts = match &self.text_file {
            Some(file) => {
                let lines = read_text(file, "--text-file")?;
                lines.lines().filter(|line| !line.trim().is_empty()).map(String::from).collect()
            }
            None => self.texts.clone(),
        };
        if texts.is_empty() {
            return Err(Error::Usage("no text: pass --text TEXT or --text-file FILE, a text a line".into()));
        }
        let inputs = texts.into_iter().map(|text| Input { text, context: None }).collect();
        Ok(TaskRequest { task, inputs })
    }
}

impl AnswerArgs {
    /// The request. Reads the text.
    ///
    /// # Errors
    /// No text.
    pub fn request(&self) -> Result<TaskRequest, Error> {
        let context = match (&self.context, &self.context_file) {
            (Some(text), _) => text.clone(),
            (None, Some(file)) => read_text(file, "--context-file")?,
            (None, None) => {
                return Err(Error::Usage("no text: pass --context TEXT or --context-file FILE".into()));
            }
        };
        let input = Input { text: self.question.clone(), context: Some(context) };
        Ok(TaskRequest { task: Task::Answer, inputs: vec![input] })
    }
}

impl CheckArgs {
    /// The request. Reads the text.
    ///
    /// # Errors
    /// No text.
    pub fn request(&self) -> Result<CheckRequest, Error> {
        let text = read_text(&self.text, "--text")?;
        Ok(CheckRequest { text, reference: self.reference.clone(), tokens: self.tokens.get() })
    }
}

/// A file's text, without the byte order mark that some editors put before it.
fn read_text(file: &Path, option: &str) -> Result<String, Error> {
    let read = |from: &mut dyn Read| {
        let mut text = String::new();
        from.take(TEXT_LIMIT + 1).read_to_string(&mut text).map(|_| text)
    };
    let text = match file == Path::new("-") {
        true => read(&mut io::stdin()),
        false => File::open(file).and_then(|mut file| read(&mut file)),
    };
    let refuse = |reason: String| Error::Usage(format!("{option} {}: {reason}", file.display()));
    let text = text.map_err(|e| refuse(format!("cannot be read: {e}; it must be a text file in UTF-8")))?;
    if text.len() as u64 > TEXT_LIMIT {
        return Err(refuse(format!("more than {TEXT_LIMIT} bytes, no model takes that; shorten it")));
    }
    match text.strip_prefix('\u{feff}').unwrap_or(&text) {
        "" => Err(refuse("the file is empty; put some text into it".into())),
        text => Ok(text.into()),
    }
}

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    internal error
  2    a mistake in the options, the prompt or a file named there
  3    the server cannot be reached, is not the pinned one or does not admit this client,
       or the connection was lost
  4    the server broke the protocol, ended the session, or is another version
  5    done, but the answer may be wrong: a number left its range while the model computed
  6    done, but the answer or the report could not be written, to a full disk for example
  141  done, but whoever read the output has gone; the answer is still made to its end, so that
       the server does not learn of it

Example:
  party-client --server 192.0.2.7:7700 --fingerprint sotto-... --prompt \"Once upon a time\"";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_options_are_consistent() {
        Cli::command().debug_assert();
        let names: Vec<_> = Cli::command().get_subcommands().map(|c| c.get_name().to_string()).collect();
        assert_eq!(names, SUBCOMMANDS);
    }
}
