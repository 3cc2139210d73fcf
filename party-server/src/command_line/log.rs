//! Events on standard error, a line each. That nobody reads them, or the disk is full, changes
//! nothing.

use clap::ValueEnum;
use sotto_party::output::note;

use super::PROGRAM;
use crate::events::{Event, Events, Severity};

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Level {
    /// Nothing but where the server listens.
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

/// The log of the command line.
pub struct Log {
    level: Level,
}

impl Log {
    /// A log of `level` and above.
    pub fn new(level: Level) -> Log {
        Log { level }
    }
}

impl Events for Log {
    fn tell(&self, event: Event) {
        let (least, name) = match event.severity() {
            Severity::Error => (Level::Error, "ERROR"),
            Severity::Warning => (Level::Warn, " WARN"),
            Severity::Info => (Level::Info, " INFO"),
        };
        match event {
            // Whoever starts the server needs the fingerprint.
            Event::Listening { .. } => note(&format!("{PROGRAM}: {event}")),
            _ if self.level >= least => note(&format!("{name} {event}")),
            _ => {}
        }
    }
}
