//! `party-client serve`: its options, and its log on standard error.

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf, sync::Arc, time::Duration};

use clap::Args;
use sotto_party::{
    log::{self, Level},
    output::note,
    process::{self, Signal},
};

use super::{PROGRAM, args::Target};
use crate::{
    Error, Stop,
    serve::{self, ApiKey, Event, Events, Options},
};

/// Serves the private model to programs on this machine, in the form of OpenAI's API, and as a page
/// for the browser.
///
/// Prompts come to this program in clear and go no further: the server sees none of them. Any
/// program and user of this machine can ask, unless --api-key-file says who may.
#[derive(Args)]
#[command(after_help = HELP)]
pub struct ServeArgs {
    #[command(flatten)]
    pub target: Target,

    /// Where to listen. Another address than a loopback one needs --api-key-file, and something
    /// with TLS before it: what programs send here is in clear.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,

    /// A file whose first line is the key that requests must carry, as `Authorization: Bearer KEY`.
    /// Only its owner may be able to read it.
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,

    /// A name by which this machine may be called, besides localhost and loopback addresses; may be
    /// repeated. Requests by other names are refused: they may come from a page in a browser.
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,

    /// What requests call the model.
    #[arg(long, value_name = "NAME", default_value = "sotto", value_parser = name)]
    name: String,

    /// Requests that are answered at a time. Each is a session with the server.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    max_requests: u16,

    /// Requests that wait, in the order in which they came; more are told to come again later.
    #[arg(long, value_name = "N", default_value_t = 16)]
    max_waiting: u16,

    /// How long a session stays open after a request: the next one that goes on with the same
    /// conversation reads only what is new in it. 0 opens a session for each request. The server
    /// has a limit of its own.
    #[arg(long, value_name = "SECONDS", default_value_t = 240)]
    keep_seconds: u32,

    /// Make every answer as long as it may become, though nobody sees what is behind its end: the
    /// server does not learn how long answers are. Requests should say `max_tokens`.
    #[arg(long)]
    constant_length: bool,

    /// Pad prompts, so that the server sees a multiple of N as their length. Each is then read from
    /// its start.
    #[arg(long, value_name = "N")]
    pad_to: Option<NonZeroUsize>,

    /// How long requests under way may take to end, once the program is told to stop.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    stop_seconds: u32,

    /// What to log on standard error; never what is asked or answered.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log: Level,
}

const HELP: &str = "\
GET  /                       a chat in the browser
GET  /v1/models              the model, and what the server reveals of it
POST /v1/completions         the continuation of a text
POST /v1/chat/completions    the next turn of a conversation
POST /v1/embeddings          vectors of texts, by a model that embeds
GET  /health                 how many requests are answered, and wait

Example:
  party-client serve --server 192.0.2.7:7700 --fingerprint sotto-...
  curl http://127.0.0.1:8080/v1/completions -H 'Content-Type: application/json' \\
    -d '{\"model\": \"sotto\", \"prompt\": \"Once upon a time\", \"temperature\": 0}'";

/// A model's name, as it is part of a path.
fn name(text: &str) -> Result<String, String> {
    let sound = |c: char| c.is_ascii_alphanumeric() || "-_.:/".contains(c);
    match !text.is_empty() && text.len() <= 128 && text.chars().all(sound) {
        true => Ok(text.into()),
        false => Err("expected 1 to 128 letters, digits and -_.:/".into()),
    }
}

/// Serves until a signal ends it.
///
/// # Errors
/// A mistake in the options, a server that is not there, an address that is taken.
pub fn run(args: &ServeArgs) -> Result<(), Error> {
    let options = Options {
        upstream: args.target.options()?,
        listen: args.listen,
        name: args.name.clone(),
        key: args.api_key_file.as_deref().map(ApiKey::open).transpose()?,
        hosts: args.allow_host.clone(),
        requests: args.max_requests.into(),
        waiting: args.max_waiting.into(),
        constant_length: args.constant_length,
        pad_to: args.pad_to.map_or(1, NonZeroUsize::get),
        keep: Duration::from_secs(args.keep_seconds.into()),
        grace: Duration::from_secs(args.stop_seconds.into()),
    };
    let stop = Stop::default();
    let asked = stop.clone();
    process::on_signals(move |signal| match signal {
        Signal::Reload => {}
        Signal::End(_) if !asked.is_asked() => {
            note(&format!("{PROGRAM}: stopped; a second signal ends the requests under way at once"));
            asked.now();
        }
        Signal::End(_) => std::process::exit(0),
    });
    match serve::serve(options, &stop, Arc::new(Log { level: args.log })) {
        // Told to stop before it was ready.
        Err(Error::Stopped) => Ok(()),
        other => other,
    }
}

struct Log {
    level: Level,
}

impl Events for Log {
    fn tell(&self, event: Event) {
        match event {
            // Whoever starts the endpoint needs the address.
            Event::Listening { .. } => note(&format!("{PROGRAM}: {event}")),
            _ => log::tell(self.level, event.severity(), &event),
        }
    }
}
