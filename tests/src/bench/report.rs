//! Two parties' samples and outputs to one line of JSON.

use anyhow::{Result, ensure};
use serde::Serialize;
use sotto_ot::Extension;

use crate::{
    cases::Case,
    duel::duel,
    options::{Options, Role, Saving},
    stage::{PartyReport, Sample, UNSHAPED_RATE},
    tensor,
};

/// A line of JSON, its fields in their order, and whether it says that all is well.
pub struct Printed {
    /// The line.
    pub json: String,
    /// Its field `ok`.
    pub ok: bool,
}

impl Printed {
    /// `line` as it is printed.
    ///
    /// # Errors
    /// A number is none.
    pub fn new(line: &impl Serialize, ok: bool) -> Result<Printed> {
        Ok(Printed { json: serde_json::to_string(line)?, ok })
    }
}

/// What is printed of a case that failed.
#[derive(Debug, Serialize)]
struct Failure<'a> {
    case: &'a str,
    ok: bool,
    error: String,
}

/// The line of a case that failed.
///
/// # Errors
/// None.
pub fn failure(case: &str, error: &anyhow::Error) -> Result<Printed> {
    Printed::new(&Failure { case, ok: false, error: format!("{error:#}") }, false)
}

/// What is printed of a case. Times are in seconds, sizes in bytes.
#[derive(Debug, Serialize)]
struct Line<'a> {
    case: &'a str,
    link: &'a str,
    threads: u16,
    schedule: &'static str,
    precision: &'static str,
    repeat: u16,
    seconds: f64,
    seconds_offline: f64,
    seconds_online: f64,
    cpu_client: f64,
    cpu_server: f64,
    bytes_client: u64,
    bytes_server: u64,
    bytes_offline: u64,
    bytes_online: u64,
    turns_offline: u64,
    turns_online: u64,
    bits_per_element: f64,
    /// By the protocol's formulas, and what was measured beyond them; no numbers for cases of many
    /// protocols.
    bytes_online_stated: Option<u64>,
    bytes_online_beyond: Option<i64>,
    turns_online_stated: Option<u64>,
    turns_online_beyond: Option<i64>,
    /// The same of COTs and one-hots, without the framing; COTs come by the million, so that a
    /// short case may make more or fewer than it spends.
    bytes_offline_stated: Option<u64>,
    bytes_offline_beyond: Option<i64>,
    max_abs_error: f64,
    mean_abs_error: f64,
    peak_rss_client: u64,
    peak_rss_server: u64,
    ok: bool,
}

/// Runs a case and checks its result.
///
/// # Errors
/// A party fails, or the outputs are not of the shape that the case has.
pub fn parent(options: &Options, name: &str, mut case: Box<dyn Case>) -> Result<Printed> {
    options.link()?;
    let scratch = tempfile::tempdir()?;
    case.provide(scratch.path())?;
    let (client, server): (PartyReport, PartyReport) = duel(options, name, scratch.path())?;
    let files = [Role::Client, Role::Server].map(|role| scratch.path().join(role.name()));
    let opened = tensor::open([&files[0], &files[1]], [&client.outputs, &server.outputs])?;
    let (got, want) = (case.answer(opened), case.expected()?);
    ensure!(got.len() == want.len(), "{} numbers came out, {} were expected", got.len(), want.len());
    let errors: Vec<f64> = got.iter().zip(&want).map(|(got, want)| (got - want).abs()).collect();
    let max_abs_error = errors.iter().copied().fold(0.0, f64::max);
    let mean_abs_error = errors.iter().fold(0.0, |sum, e| sum + e) / errors.len().max(1) as f64;

    let runs: Vec<(Sample, Sample)> = client.samples.iter().copied().zip(server.samples).collect();
    let seconds = |f: fn(&Sample) -> f64| median(runs.iter().map(|run| f(slower(run))));
    let count = |f: &dyn Fn(&Sample, &Sample) -> u64| median(runs.iter().map(|(c, s)| f(c, s) as f64)) as u64;
    let (bytes_client, bytes_server) = (count(&|c, _| c.sent), count(&|_, s| s.sent));
    let saving = options.schedule.unwrap_or(Saving::Throughput);
    let model = case.stated(saving.schedule());
    let cot = Extension::for_rate(options.link()?.rate.unwrap_or(UNSHAPED_RATE)).bits();
    let offline =
        model.as_ref().filter(|_| !case.is_encrypted()).map(|model| model.offline_bytes(cot) as u64);
    let bytes_offline = count(&|c, s| c.sent_offline + s.sent_offline);
    let stated = model.map(|model| model.total());
    let bytes_online = count(&|c, s| c.sent + s.sent - c.sent_offline - s.sent_offline);
    let turns_online = count(&|c, s| turns(c, s) - turns_offline(c, s));
    let bytes_stated = stated.map(|cost| cost.client + cost.server);
    let turns_stated = stated.map(|cost| cost.turns);
    let line = Line {
        case: name,
        link: &options.link,
        threads: options.threads,
        schedule: saving.name(),
        precision: options.precision.name(),
        repeat: options.repeat,
        seconds: round(seconds(|s| s.seconds)),
        seconds_offline: round(seconds(|s| s.seconds_offline)),
        seconds_online: round(seconds(|s| s.seconds - s.seconds_offline)),
        cpu_client: round(median(runs.iter().map(|(c, _)| c.cpu))),
        cpu_server: round(median(runs.iter().map(|(_, s)| s.cpu))),
        bytes_client,
        bytes_server,
        bytes_offline,
        bytes_online,
        turns_offline: count(&turns_offline),
        turns_online,
        bits_per_element: 8.0 * (bytes_client + bytes_server) as f64 / case.elements().max(1) as f64,
        bytes_online_stated: bytes_stated,
        bytes_online_beyond: bytes_stated.map(|stated| bytes_online as i64 - stated as i64),
        turns_online_stated: turns_stated,
        turns_online_beyond: turns_stated.map(|stated| turns_online as i64 - stated as i64),
        bytes_offline_stated: offline,
        bytes_offline_beyond: offline.map(|stated| bytes_offline as i64 - stated as i64),
        max_abs_error,
        mean_abs_error,
        peak_rss_client: client.peak_rss,
        peak_rss_server: server.peak_rss,
        ok: max_abs_error <= case.tolerance(),
    };
    if !line.ok {
        eprintln!("bench: {name}: error {max_abs_error:e} exceeds {:e}", case.tolerance());
    }
    eprintln!("bench: {name}: {} ({:.0} a second)", case.about(), case.elements() as f64 / line.seconds);
    Printed::new(&line, line.ok)
}

/// The party that took longer: a case is over when both are done.
fn slower((client, server): &(Sample, Sample)) -> &Sample {
    if client.seconds >= server.seconds { client } else { server }
}

/// From the later start to the later end: a party knows only of the turns that ended at it.
fn turns(client: &Sample, server: &Sample) -> u64 {
    client.turns.1.max(server.turns.1).saturating_sub(client.turns.0.max(server.turns.0))
}

/// The offline ones as the party saw them that saw more, not counting what it was late at the
/// start.
fn turns_offline(client: &Sample, server: &Sample) -> u64 {
    let start = client.turns.0.max(server.turns.0);
    let seen = |s: &Sample| s.turns_offline.saturating_sub(start - s.turns.0);
    seen(client).max(seen(server)).min(turns(client, server))
}

/// The middle value, or the mean of the two in the middle.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n => (values[(n - 1) / 2] + values[n / 2]) / 2.0,
    }
}

/// To a microsecond.
pub fn round(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e6
}
