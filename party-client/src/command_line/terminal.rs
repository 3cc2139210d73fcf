//! Events on standard output and standard error, from a thread of its own.
//!
//! A terminal may be stopped, a pipe full: the thread waits then, and the session does not.

use std::{
    io::{self, IsTerminal, Write, stderr, stdout},
    sync::mpsc::{Receiver, Sender, channel},
    thread::{self, JoinHandle},
};

use sotto_models::text::for_terminal;
use sotto_party::{log::Level, output::note};

use super::{PROGRAM, args::Show, progress::Progress};
use crate::events::{Event, Events, Stage};

/// The front end of the command line.
pub struct Terminal {
    events: Sender<Event>,
    writer: JoinHandle<io::Result<()>>,
}

impl Terminal {
    /// Starts to show events; the answer's text too, if it `streams`.
    ///
    /// # Panics
    /// If the system refuses a thread.
    pub fn start(show: &Show, streams: bool) -> Terminal {
        Terminal::showing(!show.quiet, show.log >= Level::Warn, streams)
    }

    /// The same by what is shown: progress, warnings, the text.
    ///
    /// # Panics
    /// As [`Terminal::start`].
    pub fn showing(progress: bool, warns: bool, streams: bool) -> Terminal {
        let (events, received) = channel();
        let writer = thread::spawn(move || write_events(&received, progress, warns, streams));
        Terminal { events, writer }
    }

    /// Waits until all is written.
    ///
    /// # Errors
    /// Why standard output has not taken the answer.
    pub fn finish(self) -> io::Result<()> {
        drop(self.events);
        self.writer.join().unwrap_or_else(|_| Err(io::Error::other("the writer gave up")))
    }
}

impl Events for Terminal {
    fn tell(&mut self, event: Event) {
        self.events.tell(event);
    }
}

fn write_events(events: &Receiver<Event>, shown: bool, warns: bool, streams: bool) -> io::Result<()> {
    let progress = Progress::new(shown, streams);
    let (mut written, mut begun) = (Ok(()), false);
    for event in events {
        match event {
            // Where no line shows progress, a wait that may be long is told all the same.
            Event::Stage(stage @ Stage::Waiting { .. }) if shown && !stderr().is_terminal() => {
                note(&format!("{PROGRAM}: {stage}"));
            }
            Event::Stage(stage) => progress.now(stage.to_string()),
            Event::Warning(warning) if warns => {
                progress.suspend(|| note(&format!("{PROGRAM}: warning: {warning}")))
            }
            Event::Warning(_) => {}
            Event::Hint(hint) if shown => progress.suspend(|| note(&format!("{PROGRAM}: {hint}"))),
            Event::Hint(_) => {}
            Event::Token { made, most, .. } => {
                begun = true;
                progress.token(made, most);
            }
            // After a failure nothing more is written: a hole in an answer is worse than its end.
            Event::Text(text) if streams && written.is_ok() => written = write_out(&text),
            Event::Text(_) => {}
        }
    }
    progress.end();
    if streams && begun && written.is_ok() {
        written = write_out("\n");
    }
    written
}

/// Writes to standard output; to a terminal with control characters made visible.
///
/// # Errors
/// The stream's.
pub fn write_out(text: &str) -> io::Result<()> {
    write_to(&mut stdout().lock(), stdout().is_terminal(), text)
}

/// Writes to standard error, as [`write_out`].
///
/// # Errors
/// The stream's.
pub fn write_err(text: &str) -> io::Result<()> {
    write_to(&mut stderr().lock(), stderr().is_terminal(), text)
}

fn write_to(stream: &mut dyn Write, terminal: bool, text: &str) -> io::Result<()> {
    match terminal {
        true => stream.write_all(for_terminal(text).as_bytes())?,
        false => stream.write_all(text.as_bytes())?,
    }
    stream.flush()
}
