//! The program: its options, the terminal, its exit codes.
//!
//! | file       | subject                                         |
//! |------------|-------------------------------------------------|
//! | `args`     | options and help                                |
//! | `chat`     | a conversation                                  |
//! | `terminal` | events on standard output and standard error    |
//! | `progress` | the line that shows how far things are          |
//! | `serve`    | the endpoint: its options and log               |

mod args;
mod chat;
mod progress;
mod serve;
mod terminal;

use std::{
    ffi::OsString,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::ExitCode,
};

use serde_json::json;
use sotto_models::Task;
use sotto_party::{command_line, key_file, process};

use crate::{
    error::{Error, Fault},
    report::Report,
    session::Session,
    task::TaskRequest,
};
use args::{Cli, Command, ReportKind, Show, Target};
use terminal::Terminal;

/// The name in messages.
const PROGRAM: &str = "party-client";

/// Exit codes, as documented in `--help`.
mod code {
    pub const INTERNAL: u8 = 1;
    pub const USER: u8 = 2;
    pub const CONNECTION: u8 = 3;
    pub const SERVER: u8 = 4;
    pub const OUT_OF_RANGE: u8 = 5;
    pub const OUTPUT: u8 = 6;
    /// What a shell says of a program that a broken pipe has ended.
    pub const BROKEN_PIPE: u8 = 128 + 13;
}

/// The answer is there, but may be wrong.
#[derive(Debug, thiserror::Error)]
#[error(
    "the answer may be wrong: a number left its range while the model computed; try another prompt or model (the \
     server does not know of this, and learns something of the prompt if it is told)"
)]
struct OutOfRange;

/// The answer is made, but not all of it could be written.
#[derive(Debug, thiserror::Error)]
#[error("the answer cannot be written: {0}; free some space, or write elsewhere")]
struct Unwritten(io::Error);

/// Runs the program with its command line, its own name first.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    process::no_core_dumps();
    process::quiet_panics();
    let args = command_line::with_subcommand(args, &args::SUBCOMMANDS, |options| {
        if wants_check(options) { "check" } else { "generate" }
    });
    let cli: Cli = match command_line::parse(args) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    // The first process of a container gets no signal that it does not wait for. An endpoint and a
    // conversation always do.
    if std::process::id() == 1 && !matches!(cli.command, Command::Serve(_) | Command::Chat(_)) {
        process::on_signals(|signal| match signal {
            process::Signal::End(number) => std::process::exit(128 + i32::from(number)),
            process::Signal::Reload => {}
        });
    }
    let json = cli.command.show().is_some_and(|show| show.json);
    catch_unwind(AssertUnwindSafe(|| run(cli.command))).unwrap_or_else(|_| internal(json))
}

/// Whether options without a subcommand are those of `check`. What follows an option that takes a
/// text is no option.
fn wants_check(options: &[OsString]) -> bool {
    let mut previous = None;
    options.iter().any(|arg| {
        let is_text = previous.replace(arg).is_some_and(|option| option == "--prompt");
        !is_text && (arg == "--check" || arg.as_encoded_bytes().starts_with(b"--check="))
    })
}

fn run(command: Command) -> ExitCode {
    match command {
        Command::Generate(args) => {
            let request = args.request();
            request_report(&args.target, &args.show, !args.show.json, |options, terminal| {
                let request = request?;
                request.check()?;
                session(options?, terminal, |session, terminal| session.generate(&request, terminal))
            })
        }
        Command::Chat(args) => chat::run(&args),
        Command::Embed(args) => texts(&args, Task::Embed),
        Command::Classify(args) => texts(&args, Task::Classify),
        Command::Tag(args) => texts(&args, Task::Tag),
        Command::FillMask(args) => texts(&args, Task::FillMask),
        Command::Answer(args) => task(&args.target, &args.show, args.request()),
        Command::Check(args) => {
            let request = args.request();
            request_report(&args.target, &args.show, false, |options, terminal| {
                let (options, mut loaded) = (options?, request?.load()?);
                session(options, terminal, |session, terminal| session.check(&mut loaded, terminal))
            })
        }
        Command::Serve(args) => match serve::run(&args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => failure(&e, false),
        },
        Command::Info(args) => info(&args),
        Command::Keygen(args) => keygen(&args.file),
    }
}

/// A task on texts.
fn texts(args: &args::TextsArgs, task: Task) -> ExitCode {
    self::task(&args.target, &args.show, args.request(task))
}

fn task(target: &Target, show: &Show, request: Result<TaskRequest, Error>) -> ExitCode {
    request_report(target, show, !show.json, |options, terminal| {
        let request = request?;
        request.check()?;
        session(options?, terminal, |session, terminal| session.run(&request, terminal))
    })
}

/// One session for one piece of work.
fn session<T>(
    options: crate::Options,
    terminal: &mut Terminal,
    work: impl FnOnce(&mut Session, &mut Terminal) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut session = Session::connect(&options, terminal)?;
    let result = work(&mut session, terminal);
    session.close(&result);
    result
}

/// Does a piece of work that ends in a report, and writes that.
fn request_report(
    target: &Target,
    show: &Show,
    streams: bool,
    work: impl FnOnce(Result<crate::Options, Error>, &mut Terminal) -> Result<Report, Error>,
) -> ExitCode {
    let mut terminal = Terminal::start(show, streams);
    let result = work(target.options(), &mut terminal);
    // The session is over: from here on nobody sees how long writing takes.
    let written = terminal.finish();
    let report = match result {
        Ok(report) => report,
        Err(e) => return failure(&e, show.json),
    };
    let written = written.and_then(|()| write_report(&report, show));
    match written {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return ExitCode::from(code::BROKEN_PIPE),
        Err(e) => return command_line::report(PROGRAM, &Unwritten(e), "output", code::OUTPUT, false),
        Ok(()) => {}
    }
    match report.in_range() {
        true => ExitCode::SUCCESS,
        // The object on standard output has said so.
        false => command_line::report(PROGRAM, &OutOfRange, "range", code::OUT_OF_RANGE, false),
    }
}

fn write_report(report: &Report, show: &Show) -> io::Result<()> {
    if show.json {
        let text = serde_json::to_string(report).map_err(io::Error::other)?;
        return terminal::write_out(&format!("{text}\n"));
    }
    match show.report() {
        ReportKind::None => Ok(()),
        ReportKind::Summary => terminal::write_err(&format!("\n{report}")),
        ReportKind::Full => terminal::write_err(&format!("\n{report:#}")),
    }
}

/// What a server offers.
fn info(args: &args::InfoArgs) -> ExitCode {
    let show = &args.show;
    let mut terminal = Terminal::start(show, false);
    let described = args.target.options().and_then(|options| {
        session(options, &mut terminal, |session, _| {
            let model = session.model();
            let (summary, revealed) = (model.summary(), model.revealed());
            let digest = model.tokenizer_digest();
            Ok(if show.json {
                let object = json!({
                    "model": summary.config, "task": model.task().name(), "reveals": revealed, "tokenizer": digest, "audited": model.audited(),
                });
                format!("{object}\n")
            } else {
                let audit = if model.audited() { "found nothing" } else { "has not cleared the model" };
                format!(
                    "model       {}\nreveals     {revealed}\ntokenizer   {digest}\naudit       {audit}\n",
                    summary.text
                )
            })
        })
    });
    let _ = terminal.finish();
    match described {
        Ok(text) => output(&text),
        Err(e) => failure(&e, show.json),
    }
}

/// Prints the fingerprint of a key, which is made if it is not there.
fn keygen(file: &Path) -> ExitCode {
    match key_file::open(file) {
        Ok(me) => output(&format!("{}\n", me.fingerprint())),
        Err(e) => failure(&e.into(), false),
    }
}

fn output(text: &str) -> ExitCode {
    match terminal::write_out(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(code::BROKEN_PIPE),
        Err(e) => command_line::report(PROGRAM, &Unwritten(e), "output", code::OUTPUT, false),
    }
}

fn failure(error: &Error, json: bool) -> ExitCode {
    let (kind, code) = match error.fault() {
        Fault::User => ("usage", code::USER),
        Fault::Connection => ("connection", code::CONNECTION),
        Fault::Server => ("server", code::SERVER),
        Fault::Program => ("internal", code::INTERNAL),
    };
    command_line::report(PROGRAM, error, kind, code, json)
}

/// The panic has said where it is.
fn internal(json: bool) -> ExitCode {
    if json {
        let error = json!({ "message": "internal error", "kind": "internal", "exit_code": code::INTERNAL });
        let _ = terminal::write_out(&format!("{}\n", json!({ "error": error })));
    }
    ExitCode::from(code::INTERNAL)
}
