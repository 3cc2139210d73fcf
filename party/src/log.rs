//! A log on standard error, a line for each event. That nobody reads it, or the disk is full,
//! changes nothing.

use std::{
    fmt::Display,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::ValueEnum;
use serde_json::{Map, Value, json};

use crate::output::note;

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Level {
    /// Nothing but what a program is started for.
    Off,
    /// Errors.
    Error,
    /// Warnings too.
    Warn,
    /// What happens all the time, too.
    Info,
    /// The same, as there is nothing more.
    Debug,
    /// The same.
    Trace,
}

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something does not work as it must: a mistake in the program, or nothing goes on.
    Error,
    /// Something is not as it should be.
    Warning,
    /// What happens all the time.
    Info,
}

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// An object a line, for programs.
    Json,
}

impl Severity {
    /// Its name, and the least level at which it is told.
    fn of(self) -> (Level, &'static str) {
        match self {
            Severity::Error => (Level::Error, "error"),
            Severity::Warning => (Level::Warn, "warn"),
            Severity::Info => (Level::Info, "info"),
        }
    }
}

/// Writes an event as an object, if it matters enough: what it is, in words, and its fields.
pub fn tell_json(
    level: Level,
    severity: Severity,
    event: &str,
    message: &dyn Display,
    fields: Map<String, Value>,
) {
    let (least, name) = severity.of();
    if level >= least {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64());
        let mut line = json!({ "time": time, "level": name, "event": event, "message": message.to_string() });
        if let Value::Object(line) = &mut line {
            line.extend(fields);
        }
        note(&line.to_string());
    }
}

/// Writes an event, if it matters enough.
pub fn tell(level: Level, severity: Severity, event: &dyn Display) {
    let (least, name) = severity.of();
    if level >= least {
        note(&format!("{:>5} {event}", name.to_uppercase()));
    }
}
