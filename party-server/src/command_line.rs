//! The program: its options (`args`), signals, log, exit codes.

mod args;

use std::{
    ffi::OsString,
    io::{self, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use sotto_models::{CLEAR_LEAD, Cache, Task, network::MODEL_TYPES, service::Ranges};
use sotto_party::{
    command_line, key_file,
    log::{self, Format, Level},
    output::note,
    process::{self, Signal},
};

use sotto_net::Cost;
use sotto_protocol::Precision;

use crate::{
    alarm::{Alarm, Ending},
    allow_list::AllowList,
    error::{Error, Fault},
    events::{Event, Events},
    listener::{self, Options},
    model::Model,
    transport::Transport,
    trial::Trial,
};
use args::{CheckModelArgs, Cli, Command, ServeArgs};

/// The name in messages.
const PROGRAM: &str = "party-server";

/// Runs the program with its command line, its own name first. Call it before any other thread
/// starts: it takes over signals.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    process::no_core_dumps();
    process::quiet_panics();
    let args = command_line::with_subcommand(args, &args::SUBCOMMANDS, |options| {
        if options.iter().any(|option| option == "--list-architectures") { "architectures" } else { "serve" }
    });
    let cli: Cli = match command_line::parse(args) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let done = catch_unwind(AssertUnwindSafe(|| match cli.command {
        Command::Serve(args) => serve(&args),
        Command::CheckModel(args) => check_model(&args),
        Command::Architectures(_) => {
            list_architectures();
            Ok(())
        }
        Command::Keygen(args) => keygen(args.file),
    }));
    match done.unwrap_or(Err(Error::Internal)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            let (kind, code) = match e.fault() {
                Fault::Program => ("internal", 1),
                Fault::Operator => ("usage", 2),
                Fault::Connection => ("connection", 3),
                Fault::Client => ("client", 4),
            };
            command_line::report(PROGRAM, &e, kind, code, false)
        }
    }
}

struct Log {
    level: Level,
    format: Format,
}

impl Events for Log {
    fn tell(&self, event: Event) {
        // Whoever starts the server needs the fingerprint, and to know what signals do.
        let needed = matches!(event, Event::Listening { .. } | Event::Stopped);
        match self.format {
            Format::Text if needed => note(&format!("{PROGRAM}: {event}")),
            Format::Text => log::tell(self.level, event.severity(), &event),
            Format::Json => {
                let level = if needed { self.level.max(Level::Info) } else { self.level };
                log::tell_json(level, event.severity(), event.name(), &event, event.fields());
            }
        }
    }
}

fn serve(args: &ServeArgs) -> Result<(), Error> {
    let (stop, events): (_, Arc<dyn Events>) =
        (Alarm::default(), Arc::new(Log { level: args.log, format: args.log_format }));
    if args.quota().is_some() && args.allow.is_empty() && args.allow_file.is_none() {
        let reason = "--quota is of clients that are known, others come back as somebody else: pass --allow or --allow-file, too";
        return Err(Error::Usage(reason.into()));
    }
    let clients = AllowList::open(&args.allow, args.allow_file.as_deref())?;
    act_on_signals(&stop, &clients, &events);
    let transport = match args.insecure_no_tls {
        true => Transport::Open,
        false => Transport::Tls { me: key_file::open(&key(args.identity.clone())?)?, clients },
    };
    let options = Options {
        model: args.model.clone(),
        calibrate: args.calibrate.clone(),
        cache: cache(args.cache.as_deref()),
        accept_unproven_ranges: args.accept_unproven_ranges,
        rules: args.rules(),
        listen: args.listen,
        metrics: args.metrics,
        transport,
        limits: args.limits(),
        quota: args.quota(),
        deadlines: args.deadlines(),
        link: args.link,
        once: args.once,
    };
    listener::serve(options, &stop, &events)
}

/// The first signal to end is a graceful stop, the second one ends at once.
fn act_on_signals(stop: &Alarm, clients: &AllowList, events: &Arc<dyn Events>) {
    let (stop, clients, events) = (stop.clone(), clients.clone(), events.clone());
    process::on_signals(move |signal| match signal {
        Signal::Reload => events.tell(Event::Reread(clients.reread())),
        Signal::End(_) if stop.rung().is_none() => {
            events.tell(Event::Stopped);
            stop.ring(Ending::Stopping);
        }
        Signal::End(_) => std::process::exit(0),
    });
}

/// Where this server's key is.
fn key(file: Option<PathBuf>) -> Result<PathBuf, Error> {
    file.or_else(default_key).ok_or_else(|| {
        let reason = "there is no home directory to keep this server's identity in: pass --identity FILE";
        Error::Usage(reason.into())
    })
}

fn default_key() -> Option<PathBuf> {
    Some(of_user("XDG_CONFIG_HOME", ".config")?.join("sotto/server.pem"))
}

/// A folder of the user's: what a variable names, or one in the home directory.
fn of_user(variable: &str, in_home: &str) -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set(variable).or_else(|| set("HOME").map(|home| home.join(in_home)))
}

/// Where what comes of calibration is kept: nowhere if that is wanted, or there is no home.
fn cache(folder: Option<&Path>) -> Cache {
    match folder {
        Some(folder) if folder == Path::new("none") => Cache::default(),
        Some(folder) => Cache::in_folder(folder.into()),
        None => of_user("XDG_CACHE_HOME", ".cache")
            .map_or(Cache::default(), |folder| Cache::in_folder(folder.join("sotto"))),
    }
}

/// Prints which models can be served.
fn list_architectures() {
    let mut text = String::new();
    for of in MODEL_TYPES {
        text.push_str(&format!("{:<12} {:<38} {}\n", of.name, of.purpose(), of.models));
    }
    print(&text);
}

/// Prints what the owner of a model wants to know before serving it.
fn check_model(args: &CheckModelArgs) -> Result<(), Error> {
    let model = Model::load(&args.model, args.calibrate.as_deref(), &cache(args.cache.as_deref()))?;
    let mut text = format!("model       {}\ntokenizer   {}\n", model.describe(), model.tokenizer_digest());
    model.remarks().iter().for_each(|remark| text.push_str(&format!("remark      {remark}\n")));
    model.ranges().into_iter().for_each(|ranges| text.push_str(&format!("ranges      {ranges}\n")));
    match model.findings() {
        [] => text.push_str("audit       found nothing: no value can exceed its ring unnoticed\n"),
        findings => findings.iter().for_each(|finding| text.push_str(&format!("audit       {finding}\n"))),
    }
    print(&text);
    let of = [
        ("of weights alone", None),
        ("precision default", Some(Precision::Default)),
        ("precision high", Some(Precision::High)),
    ];
    for (name, precision) in of {
        let all = model.agreement(args.calibrate.as_deref(), precision)?;
        let likeliest = match model.task() {
            Task::Embed => String::new(),
            _ => format!(
                "the likeliest is that of f32 at {} of {} places, at {} of {} where it leads by {CLEAR_LEAD}; ",
                all.same, all.positions, all.clear_same, all.clear
            ),
        };
        let largest = all.largest;
        print(&format!("agreement   {name}: {likeliest}largest difference {largest:.3}\n"));
    }
    print(&format!("memory      {}\n", model.memory()?));
    if args.trial_tokens > 0 {
        let trial = model.trial(args.calibrate.as_deref(), args.trial_tokens as usize, TRIAL_ANSWER)?;
        print(&costs(&trial));
    }
    Ok(())
}

/// Tokens of an answer whose costs are looked at.
const TRIAL_ANSWER: usize = 9;

/// What a request costs, in words.
fn costs(trial: &Trial) -> String {
    let line = |what: String, cost: Cost, times: f64| {
        let (seconds, megabytes) = (cost.seconds / times, cost.bytes() as f64 / 1e6 / times);
        let turns = cost.turns as f64 / times;
        format!("costs       {what}: {seconds:.2} s, {megabytes:.1} MB, {turns:.0} turns\n")
    };
    let mut text = line(format!("a text of {} tokens", trial.prompt), trial.reading, 1.0);
    if trial.further > 0 {
        let each = format!("each further token of {}", trial.further + 1);
        text.push_str(&line(each, trial.making, trial.further as f64));
    }
    if trial.ranges == Ranges::Left {
        text.push_str("            a number has left its range on the way: the answer may be wrong\n");
    }
    text.push_str("            (both parties on this machine, no network between them)\n");
    text
}

/// Prints the fingerprint of a key, which is made if it is not there.
fn keygen(file: Option<PathBuf>) -> Result<(), Error> {
    print(&format!("{}\n", key_file::open(&key(file)?)?.fingerprint()));
    Ok(())
}

/// To whoever still reads it.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
