//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use sotto_net::Link;
use sotto_protocol::{Precision, Schedule};

/// Measures Sotto with two real processes over loopback TCP; prints one JSON object a line and
/// case.
#[derive(Clone, Debug, Parser)]
#[command(name = "bench", version)]
pub struct Options {
    /// Cases by name, or `list`, which names them; `generate` for the main job; `accuracy` for
    /// agreement with f32.
    #[arg(required = true, value_name = "CASE")]
    pub cases: Vec<String>,
    /// The network: loopback, lan, wan, or RATE,RTT such as 100mbit,40ms.
    #[arg(long, default_value = "loopback")]
    pub link: String,
    /// Threads a party; each party is also kept on that many cores of its own if the machine has
    /// them.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: u16,
    /// Counted runs, after one warm-up in the same session; medians are printed.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub repeat: u16,
    /// What protocols save; for generate, where tokens are made. Left out: what the session finds
    /// fit.
    #[arg(long, value_name = "WHAT")]
    pub schedule: Option<Saving>,
    /// How exact activations are: default or high.
    #[arg(long, value_name = "HOW", default_value = "default")]
    pub precision: Precision,
    /// Also write the JSON lines to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// For generate and accuracy: a model's folder, `builtin`, or random weights: `random:15m`,
    /// `random:gpt2-small`, `random:smollm2-135m`, `random:llama-1b`,
    /// `random:LAYERSxWIDTHxFFNxVOCABULARY`.
    #[arg(long, default_value = "builtin")]
    pub model: String,
    /// For generate: tokens of the prompt.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    pub prompt_tokens: u32,
    /// For generate: tokens to make.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    pub new_tokens: u32,
    /// For accuracy: positions to compare.
    #[arg(long, default_value_t = 320, value_parser = clap::value_parser!(u32).range(1..))]
    pub tokens: u32,

    /// Run as one of the parties of a case.
    #[arg(long, hide = true)]
    pub party: Option<Role>,
    /// Where the server listens.
    #[arg(long, hide = true, default_value = "")]
    pub server: String,
    /// A folder for what parent and parties exchange.
    #[arg(long, hide = true, default_value = ".")]
    pub scratch: PathBuf,
}

/// What protocols save.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Saving {
    /// Bits.
    Throughput,
    /// Turns.
    Latency,
}

impl Saving {
    /// As it is written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Saving::Throughput => "throughput",
            Saving::Latency => "latency",
        }
    }

    /// As protocols know it.
    pub fn schedule(self) -> Schedule {
        match self {
            Saving::Throughput => Schedule::Throughput,
            Saving::Latency => Schedule::Latency,
        }
    }
}

/// Which party a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Has the input and the keys; its end of the connection is shaped.
    Client,
    /// Has the weights.
    Server,
}

impl Role {
    /// As it is written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Role::Client => "client",
            Role::Server => "server",
        }
    }
}

impl Options {
    /// The network to imitate.
    ///
    /// # Errors
    /// The text names none.
    pub fn link(&self) -> anyhow::Result<Link> {
        Ok(self.link.parse()?)
    }
}
