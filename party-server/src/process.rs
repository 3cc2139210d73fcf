//! What both programs do before anything else.

use std::{ffi::OsString, panic, process::ExitCode};

use clap::{Parser, error::ErrorKind};
use tracing::level_filters::LevelFilter;

/// Reads a command line, the program's name first. A mistake in it is one line and exit code 2.
///
/// # Errors
/// The code to exit with, when there is nothing more to do: after a mistake, or after `--help`.
pub fn parse<A: Parser>(args: impl IntoIterator<Item = OsString>) -> Result<A, ExitCode> {
    A::try_parse_from(args).map_err(|e| {
        if matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
            let _ = e.print();
            return ExitCode::SUCCESS;
        }
        // Clap's first paragraph says it all; usage and hints follow it.
        let text = e.render().to_string();
        let line: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
        eprintln!("{}; see --help", line.join(" "));
        ExitCode::from(2)
    })
}

/// Keeps the memory of this process out of core dumps, and other processes of the user out of it,
/// where the system knows how. Failing that, the program still runs.
pub fn no_core_dumps() {
    #[cfg(unix)]
    let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0);
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_dumpable(false);
}

/// Lets a panic say where it is, and nothing of the values there.
pub fn quiet_panics() {
    panic::set_hook(Box::new(|info| match info.location() {
        Some(at) => eprintln!("internal error at {at}: a mistake in this program, please report the place"),
        None => eprintln!("internal error: a mistake in this program"),
    }));
}

/// An error and its causes as one line; a cause that the line already tells is not told twice.
pub fn one_line(error: &anyhow::Error) -> String {
    let add = |line: String, cause: &(dyn std::error::Error + 'static)| match cause.to_string() {
        cause if line.contains(&cause) => line,
        cause => format!("{line}: {cause}"),
    };
    error.chain().skip(1).fold(error.to_string(), add).replace('\n', " ")
}

/// Sends logs of `level` and above to standard error.
pub fn log_to_stderr(level: LevelFilter) {
    let format = tracing_subscriber::fmt().with_max_level(level).with_target(false).without_time();
    // Where a log is set up already, that one stays.
    let _ = format.with_ansi(false).with_writer(std::io::stderr).try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_once() {
        let cause = std::io::Error::other("refused");
        let net = sotto_net::Error::Connect { addr: "a:1".into(), source: cause };
        let line = one_line(&anyhow::Error::new(net).context("set-up"));
        assert!(line.starts_with("set-up: cannot reach a:1: refused; "), "{line}");
        assert_eq!(line.matches("refused").count(), 1);
    }
}
