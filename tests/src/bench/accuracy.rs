//! Agreement of the private model's greedy choice with that of the reference in f32, position by
//! position.
//!
//! The text is sampled from the reference itself with a fixed seed, in windows of [`WINDOW`]
//! tokens.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sotto_models::{
    Folder, Model, Reference, Sampler, Sampling, Texts,
    evaluator::two_party::Caches,
    sampling,
    service::{self, Policy, Ranges, TokenizerSource},
};
use sotto_net::Runtime;

use crate::{
    duel::duel,
    model,
    options::{Options, Role},
    report::Printed,
    stage::{Me, Stage},
};

/// Positions of a text.
const WINDOW: usize = 64;
/// A gap between the reference's two best logits from which on it is sure of its choice.
const SURE: f32 = 0.1;
/// The least agreement that passes where the reference is sure.
const PASSES: f64 = 0.99;

#[derive(Debug, Serialize)]
struct Line<'a> {
    case: &'static str,
    model: &'a str,
    link: &'a str,
    precision: &'static str,
    positions: usize,
    agree: usize,
    agreement: f64,
    sure_positions: usize,
    sure_agree: usize,
    sure_agreement: f64,
    max_abs_error: f64,
    mean_abs_error: f64,
    ok: bool,
}

/// What the client found.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Tally {
    positions: usize,
    agree: usize,
    sure: usize,
    sure_agree: usize,
    max_error: f64,
    error_sum: f64,
    logits: usize,
}

/// Runs the comparison.
///
/// # Errors
/// The model cannot be read, or a party fails.
pub fn parent(options: &Options) -> Result<Printed> {
    options.link()?;
    let scratch = tempfile::tempdir()?;
    model::provide(&options.model, scratch.path())?;
    let (tally, _): (Tally, Value) = duel(options, "accuracy", scratch.path())?;
    let share = |part: usize, all: usize| if all == 0 { 1.0 } else { part as f64 / all as f64 };
    let line = Line {
        case: "accuracy",
        model: &options.model,
        link: &options.link,
        precision: options.precision.name(),
        positions: tally.positions,
        agree: tally.agree,
        agreement: share(tally.agree, tally.positions),
        sure_positions: tally.sure,
        sure_agree: tally.sure_agree,
        sure_agreement: share(tally.sure_agree, tally.sure),
        max_abs_error: tally.max_error,
        mean_abs_error: tally.error_sum / tally.logits.max(1) as f64,
        ok: share(tally.sure_agree, tally.sure) >= PASSES,
    };
    Printed::new(&line, line.ok)
}

/// A party's part.
///
/// # Errors
/// The peer or the network.
pub fn party(options: &Options, role: Role) -> Result<Value> {
    Runtime::new().block_on(async {
        let folder = model::open(&options.model, &options.scratch)?;
        let context = folder.config().max_position_embeddings;
        ensure!(WINDOW <= context, "the model's context of {context} is shorter than a text of {WINDOW}");
        let windows = (options.tokens as usize).div_ceil(WINDOW);
        let stage = Stage::open(options, role).await?;
        let mut me = stage.establish(stage.connect().await?).await?;
        let mut tally = Tally::default();
        match &mut me {
            Me::Server(me) => {
                let llama = Model::load(&folder, &Texts::default())?;
                service::offer(&mut me.session.ch, &llama, folder.tokenizer(), Policy::default()).await?;
                for _ in 0..windows {
                    service::serve(me, &llama, Policy::default(), &mut Caches::default()).await?;
                }
            }
            Me::Client(me) => {
                let offered = service::receive_offer(&mut me.session.ch, &TokenizerSource::Server).await?;
                let mut reference = Reference::load(&folder)?;
                for window in 0..windows {
                    let length = WINDOW.min(options.tokens as usize - window * WINDOW);
                    let text = text(&folder, &mut reference, window as u64, length)?;
                    let (got, ranges) = service::evaluate(me, &offered, &text).await?;
                    ensure!(ranges == Ranges::Kept, "a number has left its range");
                    reference.reset();
                    tally.add(&got, &reference.logits(&text), folder.config().vocab_size);
                }
            }
        }
        me.ch().close().await?;
        Ok(serde_json::to_value(tally)?)
    })
}

/// What the reference says when its choices are drawn at random.
fn text(folder: &Folder, reference: &mut Reference, seed: u64, length: usize) -> Result<Vec<u32>> {
    reference.reset();
    let mut sampler = Sampler::new(Sampling::random(1.0, None, None)?, seed);
    let mut text = vec![folder.config().bos_token_id.unwrap_or(0)];
    while text.len() < length {
        let newest = text[text.len() - 1];
        text.push(sampler.next(&reference.next_logits(&[newest])));
    }
    Ok(text)
}

impl Tally {
    fn add(&mut self, got: &[f32], want: &[f32], vocabulary: usize) {
        for (got, want) in got.chunks(vocabulary).zip(want.chunks(vocabulary)) {
            let best = sampling::greedy(want);
            let same = usize::from(sampling::greedy(got) == best);
            let others = want.iter().enumerate().filter(|&(i, _)| i != best as usize);
            let second = others.map(|(_, &x)| x).fold(f32::MIN, f32::max);
            let sure = usize::from(want[best as usize] - second > SURE);
            self.positions += 1;
            self.agree += same;
            self.sure += sure;
            self.sure_agree += sure * same;
        }
        for (got, want) in got.iter().zip(want) {
            let error = f64::from((got - want).abs());
            self.max_error = self.max_error.max(error);
            self.error_sum += error;
        }
        self.logits += got.len();
    }
}
