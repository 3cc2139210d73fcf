//! The server: has a model, answers prompts that it never sees.
//!
//! | file      | subject                                               |
//! |-----------|-------------------------------------------------------|
//! | `args`    | the command line                                      |
//! | `serve`   | listening, sessions, what is logged of them           |
//! | `slots`   | how many sessions at a time                           |
//! | `process` | what both programs do first: command line, core dumps |
//! | `error`   | exit codes, and what a client is told                 |

mod args;
mod error;
pub mod process;
mod serve;
mod slots;

use std::{ffi::OsString, process::ExitCode};

use args::Args;

/// Runs the program with its command line, its own name first.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    process::no_core_dumps();
    process::quiet_panics();
    let args: Args = match process::parse(args) {
        Ok(args) => args,
        Err(code) => return code,
    };
    process::log_to_stderr(args.log);
    match serve::run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("party-server: {}", process::one_line(&e));
            ExitCode::from(error::exit_code(&e))
        }
    }
}
