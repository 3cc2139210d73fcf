//! The client: has a prompt, gets an answer, shows neither to the server.
//!
//! | file         | subject                                        |
//! |--------------|------------------------------------------------|
//! | `args`       | the command line                               |
//! | `connection` | to the server, secured                         |
//! | `generate`   | the answer, as it grows                        |
//! | `check`      | a text's logits beside those of a reference    |
//! | `progress`   | what is shown while one waits                  |
//! | `report`     | who saw what, and what it cost                 |
//! | `error`      | exit codes, and what the server is told        |

mod args;
mod check;
mod connection;
mod error;
mod generate;
mod progress;
mod report;

use std::{
    ffi::OsString,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
};

use anyhow::Result;
use party_server::process;
use sotto_net::Runtime;

use args::{Args, Task};
use error::Unreliable;

/// Runs the program with its command line, its own name first.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    process::no_core_dumps();
    process::quiet_panics();
    let args: Args = match process::parse(args) {
        Ok(args) => args,
        Err(code) => return code,
    };
    process::log_to_stderr(args.log);
    match catch_unwind(AssertUnwindSafe(|| run(&args))) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(e)) => {
            eprintln!("party-client: {}", process::one_line(&e));
            error::exit_code(&e)
        }
        Err(_) => error::INTERNAL,
    }
}

fn run(args: &Args) -> Result<()> {
    let report = match args.task()? {
        Task::Generate(wish) => Runtime::new().block_on(generate::run(args, wish))?,
        Task::Check(check) => Runtime::new().block_on(check::run(args, check))?,
    };
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else if !args.quiet {
        eprint!("\n{report}");
    }
    if report.in_range { Ok(()) } else { Err(Unreliable.into()) }
}
