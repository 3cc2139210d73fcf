//! What a front end of the endpoint is told: routes, lengths and times, never what is said.

use std::{
    fmt::{self, Display, Formatter},
    io,
    net::SocketAddr,
    time::Duration,
};

use hyper::StatusCode;
use sotto_party::log::Severity;

use super::refusal::Refusal;
use crate::{events::Warning, report::Report};

/// Something has happened.
#[derive(Debug)]
pub enum Event {
    /// Programs can ask.
    Listening {
        /// Where.
        addr: SocketAddr,
        /// The model's shape, in words.
        model: String,
    },
    /// Requests may come from other machines, without TLS.
    InClear,
    /// Something about the server's model.
    Warning(Warning),
    /// A request was answered, or its answer has begun.
    Answered {
        /// Which one: a method and a path of this endpoint's, or that it has none such.
        route: &'static str,
        /// The status.
        status: StatusCode,
        /// After this time.
        after: Duration,
    },
    /// A session has made an answer.
    Served {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Tokens of the answer.
        new_tokens: usize,
        /// Wall-clock time of the session.
        seconds: f64,
        /// Bytes in both directions.
        bytes: u64,
        /// Whether every watched number stayed in its range.
        in_range: bool,
    },
    /// A session was stopped, since nobody waits for its answer any more.
    Stopped,
    /// A session has failed.
    Failed(Failed),
    /// The system cannot accept a connection.
    CannotAccept(io::Error),
    /// The endpoint ends, after the requests under way.
    Stopping {
        /// How many there are.
        under_way: usize,
    },
}

/// Why a session has failed.
#[derive(Debug)]
pub struct Failed {
    status: StatusCode,
    /// What is told of it; nothing of what may quote a prompt.
    message: Option<String>,
}

/// A front end's ear.
pub trait Events: Send + Sync {
    /// Takes an event. It must not block for long.
    fn tell(&self, event: Event);
}

impl Event {
    pub(super) fn served(report: &Report) -> Event {
        let (seconds, bytes) = report.total();
        Event::Served {
            prompt_tokens: report.prompt_tokens(),
            new_tokens: report.answer().map_or(0, |answer| answer.tokens.len()),
            seconds,
            bytes,
            in_range: report.in_range(),
        }
    }

    pub(super) fn failed(refusal: &Refusal) -> Event {
        // A mistake in a request may be told in the words of its prompt.
        let message = refusal.status().is_server_error().then(|| refusal.message().to_string());
        Event::Failed(Failed { status: refusal.status(), message })
    }

    /// How much it matters.
    pub fn severity(&self) -> Severity {
        match self {
            Event::CannotAccept(_) => Severity::Error,
            Event::InClear | Event::Warning(_) | Event::Failed(_) => Severity::Warning,
            Event::Served { in_range: false, .. } => Severity::Warning,
            _ => Severity::Info,
        }
    }
}

impl Display for Event {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Event::Listening { addr, model } => write!(f, "listening on http://{addr}/v1: {model}"),
            Event::InClear => write!(
                f,
                "prompts and answers cross the network in clear between other machines and this one: let \
                 something with TLS stand before it"
            ),
            Event::Warning(warning) => write!(f, "{warning}"),
            Event::Answered { route, status, after } => {
                write!(f, "{route}: {} after {:.2} s", status.as_u16(), after.as_secs_f64())
            }
            Event::Served { prompt_tokens, new_tokens, seconds, bytes, in_range } => {
                let megabytes = *bytes as f64 / 1e6;
                write!(
                    f,
                    "served: {prompt_tokens} tokens of prompt, {new_tokens} new ones, {seconds:.1} s, \
                     {megabytes:.1} MB"
                )?;
                if *in_range {
                    Ok(())
                } else {
                    write!(f, "; a number left its range, the answer may be wrong")
                }
            }
            Event::Stopped => write!(f, "not served: nobody waits for the answer any more"),
            Event::Failed(Failed { status, message: Some(message) }) => {
                write!(f, "failed: {}: {message}", status.as_u16())
            }
            Event::Failed(Failed { status, message: None }) => write!(f, "failed: {}", status.as_u16()),
            Event::CannotAccept(e) => write!(f, "cannot accept a connection: {e}"),
            Event::Stopping { under_way } => write!(f, "stopping: {under_way} requests under way"),
        }
    }
}
