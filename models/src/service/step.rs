//! One step of a network on shares: its plan, its schedule, what is revealed of it.

use sotto_protocol::{Precision, Role, Schedule, Session, linear::Matrix};
use zeroize::Zeroizing;

use super::{Answers, Error, memory::Size};
use crate::{
    Config,
    evaluator::{
        FixedPoint, Plan, Progress, Scaled, Scales, Tokens, TwoParty,
        two_party::{self, Caches},
    },
    network::{Network, Outputs},
};

/// What is to be revealed of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wanted<'a> {
    /// Nothing: a part of a prompt that goes on.
    Nothing,
    /// The last position's logits: for the next token.
    Last,
    /// So many of them, the largest.
    Top(usize),
    /// The likeliest next token and nothing else, after the client has added its own numbers to the
    /// logits, if there are any.
    Token(&'a [f64]),
    /// All positions' logits: to compare with a reference.
    All,
}

/// What was revealed.
#[derive(Clone, PartialEq)]
pub enum Revealed {
    /// Logits, `[positions, V]`; those that are not revealed are minus infinity.
    Logits(Vec<f32>),
    /// The likeliest token.
    Token(u32),
}

impl Revealed {
    /// With logits under the soft cap that a model may have.
    pub(super) fn capped(mut self, config: &Config) -> Revealed {
        if let Revealed::Logits(logits) = &mut self {
            config.cap_logits(logits);
        }
        self
    }

    /// The next token: what `choose` makes of logits, if there are any.
    pub fn token(&self, choose: impl FnOnce(&[f32]) -> u32) -> u32 {
        match self {
            Revealed::Logits(logits) => choose(logits),
            Revealed::Token(token) => *token,
        }
    }
}

pub(super) fn wanted(answers: Answers, noise: &[f64]) -> Wanted<'_> {
    match answers {
        Answers::Logits => Wanted::Last,
        Answers::Top(k) => Wanted::Top(k as usize),
        Answers::Tokens => Wanted::Token(noise),
    }
}

/// One party's side of a step: `tokens` follow those in the caches, and the client gets what is
/// wanted.
///
/// # Errors
/// What the peer or the network connection does.
pub async fn step<R, N>(
    me: &mut R,
    network: &N,
    scales: &Scales,
    caches: &mut Caches,
    (tokens, wanted): (Tokens<'_>, Wanted<'_>),
    progress: Progress,
) -> Result<Option<Revealed>, sotto_protocol::Error>
where
    R: Role<Weight: Clone>,
    N: Network<Weight = R::Weight>,
{
    let outputs = match wanted {
        Wanted::Nothing => Outputs::Nothing,
        Wanted::All => Outputs::All,
        Wanted::Last | Wanted::Top(_) | Wanted::Token(_) => Outputs::Last,
    };
    let plan = plan(network, scales, me.session().precision(), caches.len(), tokens, outputs).await?;
    let mut e = FixedPoint::new(TwoParty::new(me, caches, plan, progress), scales);
    let logits = network.forward(&mut e, tokens, outputs).await?;
    drop(e);
    reveal(me, scales, logits, wanted).await
}

/// What a step after `position` positions takes.
pub(super) async fn plan<'a, W, N>(
    network: &N,
    scales: &'a Scales,
    precision: Precision,
    position: usize,
    tokens: Tokens<'_>,
    outputs: Outputs,
) -> Result<Plan<'a, W>, sotto_protocol::Error>
where
    W: Matrix + Clone,
    N: Network<Weight = W>,
{
    let mut plan = Plan::new(position, precision, scales);
    network.forward(&mut plan, Tokens::Hidden(tokens.count()), outputs).await?;
    Ok(plan)
}

/// Reveals what is wanted of logits, which come in units of `2^logits`.
async fn reveal<R: Role>(
    me: &mut R,
    scales: &Scales,
    logits: Scaled,
    wanted: Wanted<'_>,
) -> Result<Option<Revealed>, sotto_protocol::Error> {
    if wanted == Wanted::Nothing {
        return Ok(None);
    }
    let unit = f64::from(scales.logits).exp2();
    let frac = logits.share.frac().wrapping_add_signed(scales.logits);
    let logits = logits.share.duplicate().with_frac(frac);
    let vocabulary = logits.shape().cols;
    Ok(match wanted {
        Wanted::Nothing => None,
        Wanted::Token(added) => {
            let added: Vec<f64> = added.iter().map(|x| x / unit).collect();
            let added = Zeroizing::new(added);
            two_party::reveal_best(me, &logits, &added).await?.map(|best| Revealed::Token(best[0]))
        }
        Wanted::Top(k) => two_party::reveal_top(me, &logits, k).await?.map(|largest| {
            let mut logits = vec![f32::NEG_INFINITY; vocabulary];
            largest.into_iter().for_each(|(token, x)| logits[token] = (x * unit) as f32);
            Revealed::Logits(logits)
        }),
        Wanted::Last | Wanted::All => {
            let revealed = two_party::reveal(me, &logits).await?;
            revealed.map(|logits| Revealed::Logits(logits.iter().map(|&x| (x * unit) as f32).collect()))
        }
    })
}

/// The next part of a prompt after `past` positions, and what is left of it: a long one is read
/// part by part, so that what is made for one step keeps within bounds. Both parties cut it alike.
pub(super) fn next_part<'t, W, N>(
    network: &N,
    scales: &Scales,
    past: usize,
    tokens: Tokens<'t>,
) -> Result<(Tokens<'t>, Tokens<'t>), Error>
where
    W: Matrix + Clone,
    N: Network<Weight = W>,
{
    let (most, all) = (Size::of(network, scales)?.rows(past), tokens.count());
    // Parts of equal length, but for the last.
    Ok(tokens.split_at(all.div_ceil(all.div_ceil(most).max(1))))
}

/// Reads a prompt up to its last part, which is left to whoever wants something of it.
pub(super) async fn read_to_last<'t, R, N>(
    me: &mut R,
    network: &N,
    scales: &Scales,
    caches: &mut Caches,
    mut tokens: Tokens<'t>,
    new: usize,
) -> Result<Tokens<'t>, Error>
where
    R: Role<Weight: Clone>,
    N: Network<Weight = R::Weight>,
{
    loop {
        let (part, rest) = next_part(network, scales, caches.len(), tokens)?;
        if rest.count() == 0 {
            return Ok(part);
        }
        let progress = enter_prompt(me, network, scales, caches, part, [0, rest.count() + new]).await?;
        step(me, network, scales, caches, (part, Wanted::Nothing), progress).await?;
        tokens = rest;
    }
}

/// Names the phase of a prompt's part, and says what to save in it: of the tokens that may be
/// evaluated after it one at a time, and the positions that may follow in all.
pub(super) async fn enter_prompt<R, N>(
    me: &mut R,
    network: &N,
    scales: &Scales,
    caches: &Caches,
    tokens: Tokens<'_>,
    [tokens_after, reach]: [usize; 2],
) -> Result<Progress, Error>
where
    R: Role<Weight: Clone>,
    N: Network<Weight = R::Weight>,
{
    let rows = Tokens::Hidden(tokens.count());
    let plan = plan(network, scales, me.session().precision(), caches.len(), rows, Outputs::Last).await?;
    let schedule = prompt_schedule(me.session(), &plan);
    me.session_mut().ch.meter.phase("prefill");
    Ok(Progress { schedule, tokens_before: 0, tokens_after, reach })
}

/// Names the phase of a token after the prompt, the first of which has the number 1, and says what
/// to save in it.
pub(super) fn enter_token<R: Role>(me: &mut R, number: usize, new: usize) -> Progress {
    me.session_mut().ch.meter.phase("decode");
    let tokens_after = new - 1 - number;
    let schedule = me.session().decode_schedule();
    Progress { schedule, tokens_before: number - 1, tokens_after, reach: tokens_after }
}

/// Extra bits of a row and layer under the latency schedule: for each neuron, score, and head. As
/// measured, by default precision.
const LATENCY_BITS: [f64; 3] = [1300.0, 2350.0, 15_000.0];
/// Turns of a layer that it saves.
const LATENCY_TURNS: f64 = 27.0;
/// Scores of a layer at most, which bounds memory: 160 OTs each for their maximum.
const LATENCY_SCORES: f64 = 32_768.0;

/// By which schedule to read a prompt.
fn prompt_schedule<W>(session: &Session, plan: &Plan<'_, W>) -> Schedule {
    let rows = plan.rows as f64;
    let heads = plan.heads().first().map_or(0, |heads| heads.key_value * heads.group) as f64;
    let neurons = plan.neurons();
    let scores = heads * (plan.position as f64 + (rows + 1.0) / 2.0);
    if rows * scores > LATENCY_SCORES {
        return Schedule::Throughput;
    }
    let [neuron, score, head] = LATENCY_BITS;
    session.cheaper(neuron * neurons as f64 + rows * (score * scores + head * heads), LATENCY_TURNS)
}
