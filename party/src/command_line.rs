//! Reading a command line; its mistakes as a line, or as JSON where the user wants JSON.

use std::{
    error::Error,
    ffi::{OsStr, OsString},
    io::{self, Write},
    process::ExitCode,
};

use clap::{Parser, error::ErrorKind};
use serde_json::json;

use crate::output::{note, one_line};

/// The exit code of a mistake in the command line.
pub const USAGE: u8 = 2;

/// A command line with its subcommand: `subcommands` are the known ones, and a command line that
/// begins with an option gets `default`.
pub fn with_subcommand(
    args: impl IntoIterator<Item = OsString>,
    subcommands: &[&str],
    default: impl FnOnce(&[OsString]) -> &'static str,
) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    let known = |arg: &OsString| {
        let standing = ["help", "--help", "-h", "--version", "-V"];
        subcommands.iter().chain(&standing).any(|name| arg == OsStr::new(name))
    };
    // A word that is no option is a mistaken subcommand, which the parser names.
    let is_option = |arg: &OsString| arg.as_encoded_bytes().starts_with(b"-");
    if args.len() > 1 && !known(&args[1]) && is_option(&args[1]) {
        let name = default(&args[1..]);
        args.insert(1, name.into());
    }
    args
}

/// Reads a command line, the program's name first. A mistake in it is one line and exit code 2.
///
/// # Errors
/// The code to exit with when there is nothing more to do: after a mistake, or after `--help`.
pub fn parse<A: Parser>(args: Vec<OsString>) -> Result<A, ExitCode> {
    let json = args.iter().any(|arg| arg == "--json");
    A::try_parse_from(args).map_err(|e| {
        use ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
        match e.kind() {
            DisplayHelp | DisplayVersion => {
                let _ = e.print();
                return ExitCode::SUCCESS;
            }
            DisplayHelpOnMissingArgumentOrSubcommand => {
                let _ = e.print();
                return ExitCode::from(USAGE);
            }
            _ => {}
        }
        // Clap's first paragraph says it all; usage and hints follow it.
        let text = e.render().to_string();
        let line: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
        let line = format!("{}; see --help", line.join(" "));
        note(&line);
        if json {
            let message = line.strip_prefix("error: ").unwrap_or(&line);
            write_json_error(message, "usage", USAGE);
        }
        ExitCode::from(USAGE)
    })
}

/// Tells an error that ends `program`: one line on standard error, and where the user wants JSON
/// also an object on standard output.
pub fn report(program: &str, error: &dyn Error, kind: &str, code: u8, json: bool) -> ExitCode {
    let line = one_line(error);
    note(&format!("{program}: {line}"));
    if json {
        write_json_error(&line, kind, code);
    }
    ExitCode::from(code)
}

/// `{"error": {"message": ..., "kind": ..., "exit_code": ...}}` on standard output, as well as that
/// takes it.
fn write_json_error(message: &str, kind: &str, code: u8) {
    let error = json!({ "error": { "message": message, "kind": kind, "exit_code": code } });
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{error}").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(words: &[&str]) -> Vec<String> {
        let args = words.iter().map(OsString::from);
        let all = with_subcommand(args, &["serve", "keygen"], |_| "serve");
        all.into_iter().map(|arg| arg.into_string().unwrap()).collect()
    }

    #[test]
    fn options_alone_mean_the_default_subcommand() {
        assert_eq!(completed(&["p", "--model", "keygen"]), ["p", "serve", "--model", "keygen"]);
        assert_eq!(completed(&["p", "keygen", "--a"]), ["p", "keygen", "--a"]);
        assert_eq!(completed(&["p", "--help"]), ["p", "--help"]);
        assert_eq!(completed(&["p", "sevre"]), ["p", "sevre"]);
        assert_eq!(completed(&["p"]), ["p"]);
    }
}
