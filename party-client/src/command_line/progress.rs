//! What is shown while one waits. Nothing, where standard error is no terminal.

use std::{
    io::{IsTerminal, stdout},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The line that shows how far things are.
pub struct Progress {
    bar: ProgressBar,
    /// Whether the answer appears in the same terminal, so that the line must make room for it.
    shared: bool,
}

impl Progress {
    /// A line; `shown` is whether to show anything at all, `streams` whether the answer is printed
    /// as it is made.
    pub fn new(shown: bool, streams: bool) -> Progress {
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(style("{spinner} {msg} {elapsed}"));
        bar.enable_steady_tick(Duration::from_millis(120));
        Progress { bar, shared: streams && stdout().is_terminal() }
    }

    /// Something else is done from here on.
    pub fn now(&self, doing: String) {
        self.bar.set_message(doing);
        self.bar.reset_elapsed();
    }

    /// `made` tokens of at most `most` are there.
    pub fn token(&self, made: usize, most: usize) {
        if self.shared {
            return self.end();
        }
        if made == 1 {
            self.bar.set_length(most as u64);
            self.bar.set_style(style("{bar:30} {pos} of at most {len} tokens {elapsed}"));
            self.bar.reset_elapsed();
        }
        self.bar.set_position(made as u64);
    }

    /// Takes the line away while something else is written.
    pub fn suspend(&self, write: impl FnOnce()) {
        self.bar.suspend(write);
    }

    /// Removes the line.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
