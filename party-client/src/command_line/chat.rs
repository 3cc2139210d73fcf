//! `party-client chat`: a conversation in the terminal, in one session.

use std::{
    io::{self, BufRead, IsTerminal, Write, stderr, stdin},
    num::NonZeroUsize,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
};

use clap::Args;
use sotto_party::{
    command_line,
    log::Level,
    output::note,
    process::{self, Signal},
};

use super::{
    OutOfRange, PROGRAM,
    args::{Sampling, Target},
    code, failure,
    terminal::Terminal,
};
use crate::{Error, GenerationRequest, Message, Options, Prompt, Report, Stop, session::Session};

/// Talks with a chat model, turn by turn.
///
/// A line is your turn; the answer goes to standard output. What the session has read it does not
/// read again: a turn costs what is new in it. Ctrl-C stops an answer, and between answers ends the
/// program, as the end of the input does.
#[derive(Args)]
pub struct ChatArgs {
    #[command(flatten)]
    target: Target,

    /// What the model is told before the first turn.
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,

    /// Tokens of an answer at most; the server learns this number. [default: 256, or what the
    /// model's context has room for]
    #[arg(long, value_name = "N")]
    max_tokens: Option<NonZeroUsize>,

    #[command(flatten)]
    sampling: Sampling,

    /// Show no progress and no costs; only answers, and what goes wrong.
    #[arg(long)]
    quiet: bool,

    /// What to tell on standard error: with off or error, warnings are left out.
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    log: Level,
}

/// Tokens of an answer at most, if nobody says how many.
const DEFAULT_NEW: usize = 256;

/// What Ctrl-C stops: an answer, if one is under way.
#[derive(Clone, Default)]
struct UnderWay(Arc<Mutex<Option<Stop>>>);

impl UnderWay {
    fn set(&self, stop: Option<Stop>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = stop;
    }

    /// Whether there is an answer that has not been stopped yet, and now is.
    fn stop(&self) -> bool {
        let under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stop = under_way.as_ref().filter(|stop| !stop.is_asked());
        stop.inspect(|stop| stop.now()).is_some()
    }
}

/// Talks until the input ends.
pub fn run(args: &ChatArgs) -> ExitCode {
    let under_way = UnderWay::default();
    let stopped = under_way.clone();
    process::on_signals(move |signal| match signal {
        Signal::Reload => {}
        Signal::End(number) if !stopped.stop() => std::process::exit(128 + i32::from(number)),
        Signal::End(_) => {}
    });
    match args.target.options().and_then(|options| talk(args, &options, &under_way)) {
        Ok(code) => code,
        Err(e) => failure(&e, false),
    }
}

fn talk(args: &ChatArgs, options: &Options, under_way: &UnderWay) -> Result<ExitCode, Error> {
    let mut turns: Vec<Message> =
        args.system.iter().map(|text| Message::new("system", text.clone())).collect();
    let mut session = Some(connect(args, options, &Stop::default())?);
    let mut code = ExitCode::SUCCESS;
    while let Some(line) = next_turn().map_err(unreadable)? {
        turns.push(Message::new("user", line));
        let stop = Stop::default();
        under_way.set(Some(stop.clone()));
        let result;
        (session, result) = answer(args, options, session, &turns, &stop);
        under_way.set(None);
        match result {
            Ok(report) => {
                // Also of garbage, which is not shown: the server is not to see which it was.
                let tokens = report.answer().map_or(&[][..], |answer| &answer.tokens);
                let said = session.as_ref().map(|session| session.model().text_of(tokens));
                turns.push(Message::new("assistant", said.unwrap_or_default()));
                if !report.in_range() {
                    command_line::report(PROGRAM, &OutOfRange, "range", code::OUT_OF_RANGE, false);
                    code = ExitCode::from(code::OUT_OF_RANGE);
                }
            }
            Err(Error::Stopped) => {
                turns.pop();
                note(&format!("{PROGRAM}: stopped; the next turn begins a new session"));
            }
            // A turn that does not fit: nothing of it was sent.
            Err(e) if session.is_some() => {
                turns.pop();
                failure(&e, false);
            }
            Err(e) => return Err(e),
        }
    }
    if let Some(session) = session {
        session.close(&Ok::<_, Error>(()));
    }
    Ok(code)
}

fn connect(args: &ChatArgs, options: &Options, stop: &Stop) -> Result<Session, Error> {
    let mut terminal = terminal(args);
    let session = Session::connect_until(options, &mut terminal, stop);
    let _ = terminal.finish();
    let session = session?;
    if session.model().is_conversational() {
        return Ok(session);
    }
    session.close(&Ok::<_, Error>(()));
    Err(Error::Usage("this server's model has no chat template: use `party-client generate`".into()))
}

fn terminal(args: &ChatArgs) -> Terminal {
    Terminal::showing(!args.quiet, args.log >= Level::Warn, true)
}

/// An answer, as it is made: in this session if the server still keeps it, otherwise in a new one.
/// The session comes back if it can be used again.
fn answer(
    args: &ChatArgs,
    options: &Options,
    session: Option<Session>,
    turns: &[Message],
    stop: &Stop,
) -> (Option<Session>, Result<Report, Error>) {
    let woken = session.and_then(|session| session.woken(stop));
    let mut session = match woken.map_or_else(|| connect(args, options, stop), Ok) {
        Ok(session) => session,
        Err(e) => return (None, Err(e)),
    };
    let request = args.sampling.of(Prompt::Conversation(turns.to_vec()));
    let mut terminal = terminal(args);
    let result = session.model().room(&request).and_then(|room| {
        let most = args.max_tokens.map_or(room.min(DEFAULT_NEW), NonZeroUsize::get);
        session.generate(&GenerationRequest { max_tokens: Some(most), ..request }, &mut terminal)
    });
    // Whoever does not read the answer may read the next one.
    let _ = terminal.finish();
    if let (Ok(report), false) = (&result, args.quiet) {
        let (seconds, bytes) = report.total();
        let (all, before) = (report.prompt_tokens(), report.read_before());
        let made = report.answer().map_or(0, |answer| answer.tokens.len());
        note(&format!(
            "{PROGRAM}: {} tokens read, {before} from before, {made} made; {seconds:.1} s, {:.1} MB",
            all - before,
            bytes as f64 / 1e6
        ));
    }
    if session.is_whole() {
        return (Some(session), result);
    }
    session.close(&result);
    (None, result)
}

/// The next line that is not empty; nothing at the end of the input.
fn next_turn() -> io::Result<Option<String>> {
    loop {
        if stdin().is_terminal() {
            let _ = stderr().write_all(b"> ").and_then(|()| stderr().flush());
        }
        let mut line = String::new();
        if stdin().lock().read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end_matches(['\n', '\r']);
        if !line.trim().is_empty() {
            return Ok(Some(line.into()));
        }
    }
}

fn unreadable(e: io::Error) -> Error {
    Error::Usage(format!("standard input cannot be read: {e}; turns are lines of text in UTF-8"))
}
