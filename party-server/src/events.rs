//! What a front end is told while the server runs: addresses, lengths and times, never anything
//! secret.

use std::{
    fmt::{self, Display, Formatter},
    net::SocketAddr,
    time::Duration,
};

use serde_json::{Map, Value, json};
use sotto_models::{Task, tokenizer::Digest};
use sotto_net::Fingerprint;
use sotto_party::{admission::Refusal, log::Severity, output::one_line};

use crate::{error::Error, model::Lengths};

/// Something has happened.
#[derive(Debug)]
pub enum Event {
    /// The model is loaded.
    Loaded {
        /// Its shape, in words.
        model: String,
        /// By which clients may pin its tokenizer and its chat template.
        tokenizer: Digest,
    },
    /// For how long prompts the model is served, and what memory that may take.
    Lengths(Lengths),
    /// What the model's files say and is read otherwise.
    Remark(String),
    /// The ranges of the model's numbers were chosen on texts.
    Calibrated {
        /// The ranges, in words.
        ranges: String,
    },
    /// The weights do not rule out that a value exceeds its ring.
    UnprovenRange(String),
    /// Clients can connect.
    Listening {
        /// Where.
        addr: SocketAddr,
        /// The server's fingerprint; none without TLS.
        fingerprint: Option<Fingerprint>,
    },
    /// Counts of what happens can be read.
    Watched {
        /// Where.
        addr: SocketAddr,
    },
    /// The system cannot accept a client.
    CannotAccept(Error),
    /// A client waits in the queue.
    Waiting {
        /// The client.
        addr: SocketAddr,
        /// Its place; 1 is the next.
        place: u32,
    },
    /// A client is not admitted.
    Refused {
        /// The client.
        addr: SocketAddr,
        /// Why.
        reason: Refusal,
    },
    /// A client's session begins.
    Begun {
        /// The client.
        addr: SocketAddr,
        /// Who it is; nobody knows without TLS.
        client: Option<Fingerprint>,
    },
    /// A client is served.
    Served {
        /// The client.
        addr: SocketAddr,
        /// What was seen of its request.
        served: Served,
    },
    /// A client has heard what is offered, and gone without a request.
    Left {
        /// The client.
        addr: SocketAddr,
    },
    /// A connection has ended before its time.
    Failed {
        /// The client.
        addr: SocketAddr,
        /// Why.
        error: Error,
    },
    /// The list of clients is read again.
    Reread(Result<Option<usize>, Error>),
    /// A signal has stopped the server.
    Stopped,
    /// The server ends, after the sessions under way.
    Stopping {
        /// How many there are.
        sessions: usize,
        /// How long they have.
        grace: Duration,
    },
}

/// What a server saw of a request, and what that cost.
#[derive(Clone, Copy, Debug)]
pub struct Served {
    /// What the model does.
    pub task: Task,
    /// Tokens of the prompt that the session had read before.
    pub past: u32,
    /// Tokens of the prompt that were read, or of all texts.
    pub prompt: usize,
    /// New tokens at most.
    pub most: u32,
    /// Tokens made, or texts.
    pub made: usize,
    /// Wall-clock time.
    pub seconds: f64,
    /// Both ways.
    pub bytes: u64,
    /// One-way message delays on the critical path.
    pub turns: u64,
    /// Bytes of cached keys and values, a token.
    pub cache_bytes: f64,
}

/// A front end's ear, for all sessions at once. What it does delays them.
pub trait Events: Send + Sync {
    /// Takes an event.
    fn tell(&self, event: Event);
}

impl Event {
    /// How much it matters.
    pub fn severity(&self) -> Severity {
        match self {
            Event::Failed { error: Error::Internal, .. } => Severity::Error,
            Event::Failed { .. }
            | Event::Refused { .. }
            | Event::CannotAccept(_)
            | Event::UnprovenRange(_)
            | Event::Remark(_)
            | Event::Reread(Err(_)) => Severity::Warning,
            Event::Lengths(lengths) if lengths.exceed_memory() => Severity::Warning,
            _ => Severity::Info,
        }
    }
}

impl Event {
    /// One word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Event::Loaded { .. } => "loaded",
            Event::Lengths(_) => "lengths",
            Event::Remark(_) => "remark",
            Event::Calibrated { .. } => "calibrated",
            Event::UnprovenRange(_) => "unproven-range",
            Event::Listening { .. } => "listening",
            Event::Watched { .. } => "metrics",
            Event::CannotAccept(_) => "cannot-accept",
            Event::Waiting { .. } => "waiting",
            Event::Refused { .. } => "refused",
            Event::Begun { .. } => "begun",
            Event::Served { .. } => "served",
            Event::Left { .. } => "left",
            Event::Failed { .. } => "failed",
            Event::Reread(_) => "reread",
            Event::Stopped => "stopped",
            Event::Stopping { .. } => "stopping",
        }
    }

    /// What programs want of it, by name.
    pub fn fields(&self) -> Map<String, Value> {
        let fields = match self {
            Event::Listening { addr, fingerprint } => {
                json!({ "address": addr, "fingerprint": fingerprint.map(|me| me.to_string()) })
            }
            Event::Watched { addr } | Event::Left { addr } => json!({ "address": addr }),
            Event::Waiting { addr, place } => json!({ "address": addr, "place": place }),
            Event::Refused { addr, reason } => json!({ "address": addr, "reason": reason.name() }),
            Event::Begun { addr, client } => {
                json!({ "address": addr, "client": client.map(|client| client.to_string()) })
            }
            Event::Served { addr, served } => json!({
                "address": addr,
                "task": served.task.name(),
                "prompt_tokens": served.prompt,
                "kept_tokens": served.past,
                "made": served.made,
                "most": served.most,
                "seconds": served.seconds,
                "bytes": served.bytes,
                "turns": served.turns,
            }),
            Event::Failed { addr, error } => json!({ "address": addr, "by": error.fault().name() }),
            Event::Lengths(lengths) => json!({
                "max_prompt_tokens": lengths.max_prompt,
                "session_bytes": lengths.session,
                "memory_bytes": lengths.memory,
                "sessions": lengths.sessions,
            }),
            Event::Stopping { sessions, grace } => {
                json!({ "sessions": sessions, "seconds": grace.as_secs() })
            }
            _ => json!({}),
        };
        match fields {
            Value::Object(fields) => fields,
            _ => Map::new(),
        }
    }
}

impl Display for Event {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Event::Loaded { model, tokenizer } => write!(f, "model loaded: {model}; tokenizer {tokenizer}"),
            Event::Lengths(lengths) => write!(f, "{lengths}"),
            Event::Remark(remark) => write!(f, "{remark}"),
            Event::Calibrated { ranges } => write!(f, "ranges chosen on texts: {ranges}"),
            Event::UnprovenRange(finding) => write!(f, "unproven range: {finding}"),
            Event::Listening { addr, fingerprint: Some(me) } => {
                write!(f, "listening on {addr}, fingerprint {me}")
            }
            Event::Listening { addr, fingerprint: None } => {
                write!(f, "listening on {addr}, WITHOUT TLS: for tests on this machine only")
            }
            Event::Watched { addr } => write!(f, "metrics at http://{addr}/metrics"),
            Event::CannotAccept(e) => write!(f, "cannot accept a client: {}", one_line(e)),
            Event::Waiting { addr, place } => write!(f, "{addr}: waits in the queue, place {place}"),
            Event::Refused { addr, reason } => write!(f, "{addr}: not admitted: {reason}"),
            Event::Begun { addr, client: Some(client) } => write!(f, "{addr}: session begins ({client})"),
            Event::Begun { addr, client: None } => write!(f, "{addr}: session begins (no identity)"),
            Event::Served { addr, served } => write!(f, "{addr}: served: {served}"),
            Event::Left { addr } => write!(f, "{addr}: left without a request"),
            Event::Failed { addr, error } => write!(f, "{addr}: {}", one_line(error)),
            Event::Reread(Ok(Some(clients))) => write!(f, "list of clients read again: {clients} clients"),
            Event::Reread(Ok(None)) => write!(f, "there is no list of clients to read again"),
            Event::Reread(Err(e)) => write!(f, "list of clients stays as it was: {}", one_line(e)),
            Event::Stopped => f.write_str("stopped; a second signal ends the sessions under way at once"),
            Event::Stopping { sessions, grace } => {
                write!(f, "stopping: {sessions} sessions under way, they have {grace:?} to end")
            }
        }
    }
}

impl Display for Served {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.task {
            Task::Generate => {
                write!(f, "{} prompt tokens, {} of at most {} new ones", self.prompt, self.made, self.most)?;
                if self.past > 0 {
                    write!(f, ", after {} that were read before", self.past)?;
                }
            }
            task => write!(f, "{}: {} texts of {} tokens in all", task.name(), self.made, self.prompt)?,
        }
        write!(
            f,
            ", {:.1} s, {:.1} MB, {} turns, {:.1} kB of cache a token",
            self.seconds,
            self.bytes as f64 / 1e6,
            self.turns,
            self.cache_bytes / 1e3
        )
    }
}
