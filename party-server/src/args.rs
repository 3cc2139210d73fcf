//! The server's command line.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Parser;
use sotto_models::service::{Answers, Policy};
use sotto_net::{Fingerprint, Link};
use tracing::level_filters::LevelFilter;

/// Answers prompts with a language model, without seeing the prompts or the answers.
///
/// The client, too, learns nothing of the model but its shape and the logits it is sent. Both
/// parties must follow the protocol for that: a party that deviates from it can learn more, so pin
/// identities and serve people you know.
#[derive(Parser)]
#[command(name = "party-server", version, after_help = EXIT_CODES)]
pub struct Args {
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

    /// Where to listen. Port 0 takes a free one; the line printed at the start says which.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7700")]
    pub listen: SocketAddr,

    /// The file with this server's private key; made if it is not there. Clients pin the
    /// fingerprint that is printed at the start. [default: ~/.config/sotto/server.pem]
    #[arg(long, value_name = "FILE")]
    pub identity: Option<PathBuf>,

    /// Serve only clients with this fingerprint. May be given several times. Without it, anyone who
    /// can connect is served.
    #[arg(long, value_name = "FINGERPRINT")]
    pub allow: Vec<Fingerprint>,

    /// No TLS, for tests and demos on one machine: whoever carries the traffic can pose as either
    /// party and read what the two of them then compute. Refused unless the listening address is a
    /// loopback one.
    #[arg(long, conflicts_with_all = ["identity", "allow"])]
    pub insecure_no_tls: bool,

    /// Sessions at a time; further clients wait for their turn. Each session has its own keys and
    /// correlations in memory.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub max_sessions: u16,

    /// Serve a model whose weights do not rule out that a value exceeds its fixed-point ring. Such
    /// a value would come out wrong without a sign of it; the start says which values they are.
    #[arg(long)]
    pub accept_unproven_ranges: bool,

    /// Tokens of a prompt at most. Memory grows with the square of it: at 256 tokens a small model
    /// takes about 2 GB.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub max_prompt: u32,

    /// What clients see of each step: the logits of the whole vocabulary, from which they choose as
    /// they like and from enough of which they can compute the output head; the K largest logits,
    /// which takes longer; or one token only, the likeliest or a random one.
    #[arg(long, value_name = "logits|top=K|tokens", default_value = "logits", value_parser = answers)]
    pub reveal: Answers,

    /// Serve one client, then exit.
    #[arg(long)]
    pub once: bool,

    /// Run as if the network were this one: loopback (as it is), lan (1 Gbit/s, 0.5 ms), wan (100
    /// Mbit/s, 40 ms) or RATE,RTT such as 100mbit,40ms. Use it on one side only: two of them add
    /// up.
    #[arg(long, default_value = "loopback")]
    pub link: Link,

    /// How long to wait for a client that sends nothing.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,

    /// What to log on standard error: off, error, warn, info, debug or trace. Lengths, times and
    /// addresses only; never anything secret.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log: LevelFilter,
}

/// What clients see.
fn answers(text: &str) -> Result<Answers, String> {
    match text.split_once('=') {
        None if text == "logits" => Ok(Answers::Logits),
        None if text == "tokens" => Ok(Answers::Tokens),
        Some(("top", k)) => match k.parse() {
            Ok(k) if k > 0 => Ok(Answers::Top(k)),
            _ => Err("K is a number of tokens, 1 or more: top=50, say".into()),
        },
        _ => Err("expected logits, tokens or top=K such as top=50".into()),
    }
}

impl Args {
    /// What the owner has decided.
    pub fn policy(&self, audited: bool) -> Policy {
        Policy { answers: self.reveal, max_prompt: self.max_prompt as usize, audited }
    }

    /// How long a silent client is waited for.
    pub fn patience(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

const EXIT_CODES: &str = "\
Exit codes:
  0  stopped by Ctrl-C, or the one client of --once was served
  1  internal error
  2  a mistake in the options, the identity file or the model's files
  3  cannot listen on the address; with --once: the connection was lost
  4  with --once: the client broke the protocol, or is another version

What a client does wrong ends its session, never the server.

Example:
  party-server --model builtin --listen 0.0.0.0:7700 --allow sotto-...";
