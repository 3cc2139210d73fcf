//! A log on standard error, a line for each event. That nobody reads it, or the disk is full,
//! changes nothing.

use std::fmt::Display;

use clap::ValueEnum;

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

/// Writes an event, if it matters enough.
pub fn tell(level: Level, severity: Severity, event: &dyn Display) {
    let (least, name) = match severity {
        Severity::Error => (Level::Error, "ERROR"),
        Severity::Warning => (Level::Warn, " WARN"),
        Severity::Info => (Level::Info, " INFO"),
    };
    if level >= least {
        note(&format!("{name} {event}"));
    }
}
