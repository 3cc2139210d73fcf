//! The main job: a prompt is continued by a model, greedily, with the set-up counted apart.
//!
//! The prompt is the model's own text in f32, so that it is one the model has something to say to.
//! The answer is right if every token is, for the reference in f32 that has read what went before,
//! within [`MARGIN`] of the best.

use std::time::Instant;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sotto_models::{
    Folder, Model, Reference, Texts,
    evaluator::two_party::Caches,
    sampling,
    service::{self, History, Policy, Ranges, Revealed, TokenizerSource},
};
use sotto_net::{Cost, Meter, Runtime};

use crate::{
    duel::duel,
    machine, model,
    options::{Options, Role},
    report::{Printed, round},
    stage::{Me, Stage},
};

/// How far below the best the chosen token's logit may be.
const MARGIN: f32 = 0.1;

#[derive(Debug, Serialize)]
struct Line<'a> {
    case: &'static str,
    model: &'a str,
    link: &'a str,
    precision: &'static str,
    threads: u16,
    prompt_tokens: u32,
    new_tokens: u32,
    seconds_setup: f64,
    seconds_first_token: f64,
    seconds_per_token: f64,
    cpu_client: f64,
    cpu_server: f64,
    bytes_setup: u64,
    bytes_first_token: u64,
    bytes_per_token: u64,
    turns_setup: u64,
    turns_first_token: u64,
    turns_per_token: u64,
    /// Tokens that are the reference's own first choice.
    same_as_f32: usize,
    peak_rss_client: u64,
    peak_rss_server: u64,
    ok: bool,
}

/// What a party reports. The server's tokens and times are empty.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Report {
    cpu: f64,
    peak_rss: u64,
    tokens: Vec<u32>,
    /// Set-up, first token, later tokens: seconds, bytes, turns.
    parts: [(f64, u64, u64); 3],
    operations: Vec<String>,
}

/// Runs the job and checks the answer.
///
/// # Errors
/// The model cannot be read, or a party fails.
pub fn parent(options: &Options) -> Result<Printed> {
    options.link()?;
    let scratch = tempfile::tempdir()?;
    model::provide(&options.model, scratch.path())?;
    let (client, server): (Report, Report) = duel(options, "generate", scratch.path())?;
    let folder = model::open(&options.model, scratch.path())?;
    let (good, same) = check(&folder, &prompt(&folder, options)?, &client.tokens)?;
    let [setup, first, later] = client.parts;
    let per_token = u64::from(options.new_tokens - 1).max(1);
    let line = Line {
        case: "generate",
        model: &options.model,
        link: &options.link,
        precision: options.precision.name(),
        threads: options.threads,
        prompt_tokens: options.prompt_tokens,
        new_tokens: options.new_tokens,
        seconds_setup: round(setup.0),
        seconds_first_token: round(first.0),
        seconds_per_token: round(later.0 / per_token as f64),
        cpu_client: round(client.cpu),
        cpu_server: round(server.cpu),
        bytes_setup: setup.1,
        bytes_first_token: first.1,
        bytes_per_token: later.1 / per_token,
        turns_setup: setup.2,
        turns_first_token: first.2,
        turns_per_token: later.2 / per_token,
        same_as_f32: same,
        peak_rss_client: client.peak_rss,
        peak_rss_server: server.peak_rss,
        ok: good == options.new_tokens as usize,
    };
    client.operations.iter().for_each(|line| eprintln!("bench: {line}"));
    Printed::new(&line, line.ok)
}

/// Tokens of the answer within the margin, and those that are the reference's choice.
fn check(folder: &Folder, prompt: &[u32], answer: &[u32]) -> Result<(usize, usize)> {
    let mut reference = Reference::load(folder)?;
    let mut logits = reference.next_logits(prompt);
    let (mut good, mut same) = (0, 0);
    for &token in answer {
        let best = sampling::greedy(&logits);
        same += usize::from(best == token);
        good += usize::from(logits[best as usize] - logits[token as usize] <= MARGIN);
        logits = reference.next_logits(&[token]);
    }
    Ok((good, same))
}

/// A token to start with, and what the model says to that.
fn prompt(folder: &Folder, options: &Options) -> Result<Vec<u32>> {
    let total = (options.prompt_tokens + options.new_tokens) as usize;
    let context = folder.config().max_position_embeddings;
    ensure!(total <= context, "{total} tokens exceed the model's context of {context}");
    let mut reference = Reference::load(folder)?;
    let mut tokens = vec![folder.config().bos_token_id.unwrap_or(0)];
    while tokens.len() < options.prompt_tokens as usize {
        let newest = tokens[tokens.len() - 1];
        tokens.push(sampling::greedy(&reference.next_logits(&[newest])));
    }
    Ok(tokens)
}

/// A party's part.
///
/// # Errors
/// The peer or the network.
pub fn party(options: &Options, role: Role) -> Result<Value> {
    Runtime::new().block_on(async {
        let folder = model::open(&options.model, &options.scratch)?;
        let report = match role {
            Role::Server => {
                let llama = Model::load(&folder, &Texts::default())?;
                let stage = Stage::open(options, role).await?;
                let mut me = stage.establish(stage.connect().await?).await?;
                if let Me::Server(me) = &mut me {
                    service::offer(&mut me.session.ch, &llama, folder.tokenizer(), Policy::default()).await?;
                    service::serve(me, &llama, Policy::default(), &mut Caches::default()).await?;
                    me.session.ch.part().await?;
                }
                Report::default()
            }
            Role::Client => client(options, prompt(&folder, options)?).await?,
        };
        let report = Report { cpu: machine::cpu_seconds(), peak_rss: machine::peak_rss(), ..report };
        Ok(serde_json::to_value(report)?)
    })
}

async fn client(options: &Options, prompt: Vec<u32>) -> Result<Report> {
    let mut report = Report::default();
    let stage = Stage::open(options, Role::Client).await?;
    let start = Instant::now();
    let mut me = stage.establish(stage.connect().await?).await?;
    let Me::Client(me) = &mut me else { unreachable!("a client establishes a client") };
    let offered = service::receive_offer(&mut me.session.ch, &TokenizerSource::Server).await?;
    let mut times = vec![start.elapsed().as_secs_f64()];
    let new = options.new_tokens as usize;
    let ranges =
        service::generate(me, &offered, &mut History::default(), &prompt, new, &mut |revealed: &Revealed| {
            times.push(start.elapsed().as_secs_f64());
            report.tokens.push(revealed.token(sampling::greedy));
            (report.tokens[report.tokens.len() - 1], true)
        })
        .await?;
    ensure!(ranges == Ranges::Kept, "a number has left its range");
    let last = times[times.len() - 1];
    let seconds = [times[0], times[1] - times[0], last - times[1]];
    let meter = &mut me.session.ch.meter;
    report.parts = std::array::from_fn(|i| {
        let cost = phase(meter, ["setup", "prefill", "decode"][i]);
        (seconds[i], cost.bytes(), cost.turns)
    });
    report.operations = operations(meter);
    me.session.ch.part().await?;
    Ok(report)
}

fn phase(meter: &mut Meter, phase: &str) -> Cost {
    let spans = meter.spans();
    spans.iter().filter(|(key, _)| key.phase == phase).fold(Cost::default(), |sum, (_, &cost)| sum + cost)
}

/// A line for each kind of operation.
fn operations(meter: &mut Meter) -> Vec<String> {
    let line = |(key, cost): (&sotto_net::SpanKey, &Cost)| {
        let megabytes = cost.bytes() as f64 / 1e6;
        let half = format!("{:?}", key.half).to_lowercase();
        let Cost { seconds, turns, cots, .. } = cost;
        format!(
            "{:8} {:10} {half:8} {seconds:9.3} s {megabytes:9.3} MB {turns:5} turns {cots:9} COTs",
            key.phase, key.op
        )
    };
    meter.spans().iter().map(line).collect()
}
