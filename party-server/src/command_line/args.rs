//! The server's options and help.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use sotto_net::{Fingerprint, HANDSHAKE_TIMEOUT, Link};
use sotto_party::{
    log::{Format, Level},
    memory,
};

use crate::{Deadlines, Limits, Reveal, Rules};

/// Serves a language model without seeing the prompts or the answers.
///
/// Both parties must follow the protocol: a client that deviates from it can learn the weights, and
/// a server that deviates can learn something of the prompts. Serve clients whose owner you trust
/// to run the program unchanged.
///
/// Without a subcommand, the options of `serve` are taken.
#[derive(Parser)]
#[command(name = "party-server", version, max_term_width = 100, after_help = EXIT_CODES)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The names of [`Command`].
pub const SUBCOMMANDS: [&str; 4] = ["serve", "check-model", "architectures", "keygen"];

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Serve a model. The default.
    Serve(Box<ServeArgs>),
    /// Load a model, and show what its owner wants to know before serving it.
    CheckModel(CheckModelArgs),
    /// Print which models can be served. Also taken where there is --list-architectures.
    Architectures(ArchitecturesArgs),
    /// Make this server's private key, if it is not there, and print its fingerprint.
    Keygen(KeygenArgs),
}

/// Serves a model.
///
/// The client learns the shape of the model and what --reveal says; the server learns how many
/// tokens prompts and answers have. Both parties must follow the protocol for the weights and the
/// prompts to stay private.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub struct ServeArgs {
    /// The model: a folder in the Hugging Face layout (config.json, *.safetensors, tokenizer.json;
    /// LLaMA architecture), a GGUF file, or `builtin` for the small storyteller inside this
    /// program.
    #[arg(long, value_name = "DIR|FILE.gguf|builtin")]
    pub model: PathBuf,

    /// Texts, separated by empty lines, on which the server sees how large the model's numbers
    /// become, if the weights do not bound them. [default: texts of several kinds and languages
    /// inside this program]
    #[arg(long, value_name = "FILE")]
    pub calibrate: Option<PathBuf>,

    /// Where to keep what comes of calibration, so that the next start is faster; `none` keeps
    /// nothing. [default: ~/.cache/sotto]
    #[arg(long, value_name = "DIR|none")]
    pub cache: Option<PathBuf>,

    /// What clients see of each step: the logits of the whole vocabulary, from enough of which they
    /// can compute the output head; the K largest logits, which takes longer; or one token only,
    /// the likeliest or a random one.
    #[arg(long, value_name = "logits|top=K|tokens", default_value = "logits", value_parser = reveal)]
    reveal: Reveal,

    /// Serve a model whose weights do not rule out that a value exceeds its fixed-point ring. Such
    /// a value would come out wrong without a warning; the start says which values they are.
    #[arg(long)]
    pub accept_unproven_ranges: bool,

    /// The longest prompt that is served, in tokens, with what the session has read before.
    /// [default: what the model has room for, as far as --memory permits]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=65_536))]
    max_prompt: Option<u32>,

    /// What all sessions together may come to hold, besides the model: 8GB, say. Each has an equal
    /// part, which limits --max-prompt. [default: four fifths of what is free once the model is
    /// loaded]
    #[arg(long, value_name = "SIZE", value_parser = memory::parse, help_heading = "Limits")]
    memory: Option<usize>,

    /// Where to listen. Port 0 takes a free one; the line printed at the start says which.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7700", help_heading = "Clients")]
    pub listen: SocketAddr,

    /// Where to answer HTTP requests for /metrics (OpenMetrics, for Prometheus) and /health: how
    /// many sessions, requests and tokens there were, bytes, turns and times, as the log has them.
    /// Without encryption and without a key: keep it on an address that only you can reach.
    #[arg(long, value_name = "ADDR", help_heading = "Clients")]
    pub metrics: Option<SocketAddr>,

    /// The file of this server's private key; made if it is not there. Clients pin the fingerprint
    /// that is printed at the start. [default: ~/.config/sotto/server.pem]
    #[arg(long, value_name = "FILE", help_heading = "Clients")]
    pub identity: Option<PathBuf>,

    /// Serve only clients with this fingerprint; may be repeated. Without --allow and --allow-file,
    /// everyone who can connect is served.
    #[arg(long, value_name = "FINGERPRINT", help_heading = "Clients")]
    pub allow: Vec<Fingerprint>,

    /// Serve only the clients in this file, besides those of --allow: a fingerprint a line,
    /// comments after #. Read again on SIGHUP; sessions under way go on. Only you or root may own
    /// or change it.
    #[arg(long, value_name = "FILE", help_heading = "Clients")]
    pub allow_file: Option<PathBuf>,

    /// No TLS, for tests on one machine: anyone on the way could read and change the traffic.
    /// Refused unless the listening address is a loopback one.
    #[arg(long, conflicts_with_all = ["identity", "allow", "allow_file"], help_heading = "Clients")]
    pub insecure_no_tls: bool,

    /// Sessions at a time. Each has its own keys and correlations in memory. Further clients wait
    /// in a queue, first come first served, and are told their place.
    #[arg(long, value_name = "N", default_value_t = 4, help_heading = "Limits")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1000))]
    max_sessions: u16,

    /// Clients in the queue; further ones are refused.
    #[arg(long, value_name = "N", default_value_t = 64, help_heading = "Limits")]
    #[arg(value_parser = clap::value_parser!(u16).range(0..=10_000))]
    max_queue: u16,

    /// Connections of one address, in queue and sessions together. Of IPv6, a network of 64 bits
    /// counts as one address.
    #[arg(long, value_name = "N", default_value_t = 8, help_heading = "Limits")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=10_000))]
    max_per_address: u16,

    /// Connections of one fingerprint, in queue and sessions together.
    #[arg(long, value_name = "N", default_value_t = 8, help_heading = "Limits")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=10_000))]
    max_per_client: u16,

    /// Tokens a day (UTC) for each fingerprint, of prompts and answers together: a request that may
    /// take more than is left is refused. Bounds what answers give away of the model. A server that
    /// starts anew begins anew. Needs --allow or --allow-file.
    #[arg(long, value_name = "TOKENS", help_heading = "Limits")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    quota: Option<u64>,

    /// The longest time that setting up a session may take: about 8 MB from the client.
    #[arg(long, value_name = "SECONDS", default_value_t = 120, help_heading = "Limits")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    setup_seconds: u64,

    /// The longest time that a session may take once it is set up.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, help_heading = "Limits")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=2_592_000))]
    max_session_seconds: u64,

    /// How long to wait for a client that sends nothing during its session.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, help_heading = "Limits")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,

    /// How long a client may be idle between two requests of a session, which keeps its place and
    /// its memory meanwhile.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, help_heading = "Limits")]
    #[arg(value_parser = clap::value_parser!(u64).range(0..=86_400))]
    idle_seconds: u64,

    /// After SIGTERM or SIGINT nobody new is served; the sessions under way have this long to end.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, help_heading = "Limits")]
    #[arg(value_parser = clap::value_parser!(u64).range(0..=86_400))]
    stop_seconds: u64,

    /// Serve one session, then exit. A connection that ends before its session is set up does not
    /// count.
    #[arg(long)]
    pub once: bool,

    /// Imitate a network: loopback (as it is), lan (1 Gbit/s, 0.5 ms), wan (100 Mbit/s, 40 ms) or
    /// RATE,RTT such as 100mbit,40ms. Use it on one side only: two of them add up.
    #[arg(long, default_value = "loopback")]
    pub link: Link,

    /// What to log on standard error: addresses, lengths and times; never anything secret.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log: Level,

    /// Lines for people, or an object a line for programs: time, level, event, message, and what
    /// the message is made of.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub log_format: Format,
}

/// Shows what the owner of a model wants to know before serving it: its shape, the ranges of its
/// numbers, what the audit finds (values that may exceed their fixed-point rings), how far it
/// agrees with the same model in f32, and what requests cost: memory as computed, and seconds,
/// bytes and turns as a request takes them that is run here, both parties in this process. All of
/// it are functions of the weights and of this machine.
#[derive(Args)]
pub struct CheckModelArgs {
    /// The model: a folder in the Hugging Face layout, a GGUF file, or `builtin`.
    #[arg(value_name = "DIR|FILE.gguf|builtin")]
    pub model: PathBuf,

    /// Texts, separated by empty lines, on which the server sees how large the model's numbers
    /// become, if the weights do not bound them. [default: texts of several kinds and languages
    /// inside this program]
    #[arg(long, value_name = "FILE")]
    pub calibrate: Option<PathBuf>,

    /// Where to keep what comes of calibration, so that the next start is faster; `none` keeps
    /// nothing. [default: ~/.cache/sotto]
    #[arg(long, value_name = "DIR|none")]
    pub cache: Option<PathBuf>,

    /// Tokens of the text of the request that is run to see what it costs; 0 runs none. A large
    /// model takes seconds a token.
    #[arg(long, value_name = "N", default_value_t = 32)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=65_536))]
    pub trial_tokens: u32,
}

/// Prints which models can be served: the `model_type` of their `config.json`, what they are for,
/// and well-known ones.
#[derive(Args)]
pub struct ArchitecturesArgs {
    #[arg(long, hide = true)]
    list_architectures: bool,
}

/// Makes a private key if the file is not there, and prints its fingerprint.
#[derive(Args)]
pub struct KeygenArgs {
    /// The file of the key. [default: ~/.config/sotto/server.pem]
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// Connections in the handshake stage: short, and they displace each other.
const HANDSHAKES: usize = 128;

/// What clients see.
fn reveal(text: &str) -> Result<Reveal, String> {
    match text.split_once('=') {
        None if text == "logits" => Ok(Reveal::Logits),
        None if text == "tokens" => Ok(Reveal::Tokens),
        Some(("top", k)) => match k.parse() {
            Ok(k) if k > 0 => Ok(Reveal::Top(k)),
            _ => Err("K is a number of tokens, 1 or more: top=50, say".into()),
        },
        _ => Err("expected logits, tokens or top=K such as top=50".into()),
    }
}

impl ServeArgs {
    /// What the owner has decided.
    pub fn rules(&self) -> Rules {
        let max_prompt = self.max_prompt.map(|tokens| tokens as usize);
        Rules { reveal: self.reveal, max_prompt, memory: self.memory }
    }

    /// Tokens a day.
    pub fn quota(&self) -> Option<u64> {
        self.quota
    }

    /// How many at a time.
    pub fn limits(&self) -> Limits {
        Limits {
            sessions: if self.once { 1 } else { self.max_sessions.into() },
            queue: self.max_queue.into(),
            handshakes: HANDSHAKES,
            per_address: self.max_per_address.into(),
            per_client: self.max_per_client.into(),
        }
    }

    /// How long they may take.
    pub fn deadlines(&self) -> Deadlines {
        Deadlines {
            handshake: HANDSHAKE_TIMEOUT,
            set_up: Duration::from_secs(self.setup_seconds),
            session: Duration::from_secs(self.max_session_seconds),
            silence: Duration::from_secs(self.timeout),
            idle: Duration::from_secs(self.idle_seconds),
            grace: Duration::from_secs(self.stop_seconds),
        }
    }
}

const EXIT_CODES: &str = "\
Exit codes:
  0  stopped by SIGINT (Ctrl-C) or SIGTERM, or the one session of --once was served
  1  internal error
  2  a mistake in the options, the files named there or the model's files
  3  cannot listen on the address; with --once: the connection was lost
  4  with --once: the client broke the protocol, or asked for what is not served

What a client does wrong ends its session, never the server.

Example:
  party-server --model builtin --listen 0.0.0.0:7700 --allow sotto-...";

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
