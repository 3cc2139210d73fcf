//! What the two programs say to each other about a model: the offer, the request, one token after
//! the other.
//!
//! | client                       |                             | server                                        |
//! |------------------------------|-----------------------------|-----------------------------------------------|
//! |                              | `<- model/offer --`         | configuration, fraction bits, tokenizer's digest |
//! | has it, or not               | `-- model/want-tokenizer ->`|                                               |
//! | checks the digest            | `<- model/tokenizer --`     | the file, if wanted                           |
//! | parses it                    | `<- model/template --`      | the chat template, or nothing                 |
//! | lengths of prompt and answer, precision | `-- model/request ->` |                                          |
//! |                              | `<- model/verdict --`       | whether context and server admit them          |
//! | the prompt, privately        | `<- ... ->`                 | all layers; logits go to the client           |
//! | whether all numbers stayed in range | `<- ... ->`          | ([`sotto_protocol::overflow_check`])          |
//! | one more, or the end         | `-- model/next ->`          |                                               |
//! | the tokens, one at a time; the same again | `<- ... ->`    |                                               |
//! |                              | `<- model/done --`          | has heard the end                             |
//!
//! An encoder's client asks for one text after the other ([`encode`](fn@encode)): a request, the
//! verdict, the text, what its task takes, and whether there is one more.
//!
//! The server learns the lengths and the precision asked for and how many tokens were made. The
//! client learns the public shape, the tokenizer, whether the audit has cleared the model, the
//! logits it was sent, and the two bits about ranges.

mod encode;

use std::{path::Path, pin::Pin};

use serde::{Deserialize, Serialize};
use sotto_net::{Channel, Cost, Half};
use sotto_protocol::{
    Client, Precision, Role, Schedule, Server, Session,
    linear::{Matrix, WeightShape},
    overflow_check,
};

use zeroize::Zeroizing;

pub use encode::{Text, encode};

use crate::{
    ChatTemplate, Config, Model, Task, Tokenizer,
    error::Error as ModelError,
    evaluator::{
        FixedPoint, Plan, Scaled, Scales, Tokens, TwoParty,
        two_party::{self, Caches},
    },
    model::MAX_POSITIONS,
    network::{AnyNetwork, Network},
    tokenizer::TOKENIZER_LIMIT,
    weights::{FEWEST_FRAC, Outline},
};

/// Bytes of an offered chat template at most: its own limit, and what JSON adds.
const TEMPLATE_LIMIT: usize = 1 << 20;

/// Why a conversation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// In a protocol, or below it.
    #[error(transparent)]
    Protocol(#[from] sotto_protocol::Error),
    /// In the model that the server offers, or the tokenizer.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The server's offer contradicts itself.
    #[error("the server offers a model that contradicts itself: {0}")]
    Offer(&'static str),
    /// The client's tokenizer is not the server's.
    #[error(
        "the tokenizer here is not the one the server's model was made with: leave --tokenizer out to get it from the server"
    )]
    Tokenizer,
    /// Prompt and answer exceed the context.
    #[error(
        "{prompt} prompt tokens and {new} new ones exceed the model's context of {context}: shorten the prompt or lower --max-tokens"
    )]
    TooLong {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens asked for.
        new: usize,
        /// Positions that the model has.
        context: usize,
    },
    /// The prompt is longer than the server's operator allows.
    #[error(
        "a prompt of {prompt} tokens exceeds this server's limit of {limit}: raise --max-prompt if memory permits"
    )]
    PromptLimit {
        /// Tokens of the prompt.
        prompt: usize,
        /// The limit.
        limit: usize,
    },
    /// All positions' logits are asked of a server that shows none.
    #[error("this server does not reveal all logits: they cannot be compared with a reference")]
    NoLogits,
    /// The server refuses the request.
    #[error(
        "the server refuses the request: its operator allows shorter prompts only, or no comparison of logits; shorten the prompt"
    )]
    Refused,
    /// The model does something else.
    #[error(
        "this server's model does not {wanted}, it is for `{offered}`: use that subcommand, or another server"
    )]
    OtherTask {
        /// What is asked for.
        wanted: &'static str,
        /// What it is for.
        offered: &'static str,
    },
    /// A text without a mask, or with several.
    #[error("text {text} has {found} masks, expected one: write {mask} in place of the word")]
    Masks {
        /// The text's number, from 1.
        text: usize,
        /// Masks in it.
        found: usize,
        /// How the mask is written.
        mask: String,
    },
    /// A server's owner restricts what has no largest.
    #[error("a model for `{task}` has no largest answer: leave --reveal out")]
    Answers {
        /// What the model is for.
        task: &'static str,
    },
    /// The client asks for nothing.
    #[error("the request is empty: a prompt of at least one token and --max-tokens of at least 1 are needed")]
    Empty,
}

impl From<sotto_net::Error> for Error {
    fn from(e: sotto_net::Error) -> Error {
        Error::Protocol(e.into())
    }
}

/// What two parties do together, in a box: compiled here once, and not in every program again.
pub type Conversation<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + 'a>>;

/// What a server's owner lets clients see of each step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answers {
    /// The logits of the whole vocabulary.
    #[default]
    Logits,
    /// So many logits, the largest, and which tokens' they are.
    Top(u32),
    /// The likeliest token only, or a sample that the client's noise makes of it.
    Tokens,
}

/// The client's part in an answer.
pub trait Choose {
    /// What is added to the logits where the server reveals the likeliest token only: a number for
    /// each token of the vocabulary, or nothing.
    fn noise(&mut self, _vocabulary: usize) -> Vec<f64> {
        vec![]
    }

    /// What the session has cost so far; told before each choice.
    fn spent(&mut self, _cost: Cost) {}

    /// The next token, by what is revealed, and whether to go on.
    fn next(&mut self, revealed: &Revealed) -> (u32, bool);

    /// Hears whether every number stayed in its range while the prompt was read. The server sees
    /// when an answer ends: that must not depend on this.
    fn prompt_read(&mut self, _: Ranges) {}
}

/// A choice without noise.
impl<F: FnMut(&Revealed) -> (u32, bool)> Choose for F {
    fn next(&mut self, revealed: &Revealed) -> (u32, bool) {
        self(revealed)
    }
}

/// Whether every number stayed in its range while a request was served.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ranges {
    /// All did.
    Kept,
    /// One did not: what was revealed may be wrong.
    Left,
}

/// What a server's owner has decided.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// What clients see.
    pub answers: Answers,
    /// Tokens of a prompt at most: memory grows with it.
    pub max_prompt: usize,
    /// Whether the model's audit has found nothing.
    pub audited: bool,
}

impl Policy {
    /// What clients see, of a row of so many numbers.
    fn answers(&self, outputs: usize) -> Answers {
        match self.answers {
            Answers::Top(k) => Answers::Top(k.min(length(outputs))),
            other => other,
        }
    }

    /// Whether clients of a model can be answered so.
    ///
    /// # Errors
    /// Not where the answer is no choice.
    pub fn check(&self, config: &Config) -> Result<(), Error> {
        if fits(self.answers, config.task()) {
            Ok(())
        } else {
            Err(Error::Answers { task: config.task().name() })
        }
    }
}

/// Whether what a task takes has a largest number, if that is what is revealed.
fn fits(answers: Answers, task: Task) -> bool {
    answers == Answers::Logits || matches!(task, Task::Generate | Task::Classify | Task::FillMask)
}

impl Default for Policy {
    fn default() -> Policy {
        Policy { answers: Answers::Logits, max_prompt: usize::MAX, audited: false }
    }
}

#[derive(Serialize, Deserialize)]
struct Offer {
    config: Config,
    fractions: Vec<u32>,
    scales: Scales,
    /// Positions at most.
    positions: u32,
    tokenizer: [u8; 32],
    answers: Answers,
    audited: bool,
}

/// A model as a client knows it.
pub struct RemoteModel {
    /// Its shape.
    pub config: Config,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Its chat template, if it was made for conversations.
    pub template: Option<ChatTemplate>,
    /// What the client will see.
    pub answers: Answers,
    /// Whether the server says that all of the model's numbers are bounded or checked.
    pub audited: bool,
    /// Positions at most: prompt and answer together.
    pub positions: usize,
    /// Matrices of which it knows the fraction bits.
    pub matrices: usize,
    network: AnyNetwork<WeightShape>,
    scales: Scales,
}

impl RemoteModel {
    /// The network.
    pub fn network(&self) -> &AnyNetwork<WeightShape> {
        &self.network
    }

    /// Its scales.
    pub fn scales(&self) -> &Scales {
        &self.scales
    }

    /// Whether it is for this.
    ///
    /// # Errors
    /// It is for something else.
    pub fn expect(&self, task: Task) -> Result<(), Error> {
        let offered = self.config.task();
        let error = || Error::OtherTask { wanted: task.name(), offered: offered.name() };
        if task == offered { Ok(()) } else { Err(error()) }
    }
}

/// What is to be revealed of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wanted<'a> {
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
    /// The next token: what `choose` makes of logits, if there are any.
    pub fn token(&self, choose: impl FnOnce(&[f32]) -> u32) -> u32 {
        match self {
            Revealed::Logits(logits) => choose(logits),
            Revealed::Token(token) => *token,
        }
    }
}

/// Where a generation stands: what the next step saves, and the tokens around it.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What its protocols save.
    pub schedule: Schedule,
    /// Tokens that were evaluated before it, one at a time.
    pub tokens_before: usize,
    /// Tokens that may be evaluated after it.
    pub tokens_after: usize,
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
    Progress { schedule, tokens_before, tokens_after }: Progress,
) -> Result<Option<Revealed>, sotto_protocol::Error>
where
    R: Role<Weight: Clone>,
    N: Network<Weight = R::Weight>,
{
    let all = wanted == Wanted::All;
    let plan = plan(network, scales, me.session().precision(), caches.len(), tokens, all).await?;
    let around = [tokens_before, tokens_after];
    let mut e = FixedPoint::new(TwoParty::new(me, caches, plan, schedule, around), scales);
    let logits = network.forward(&mut e, tokens, all).await?;
    drop(e);
    reveal(me, scales, logits, wanted).await
}

/// What a step after `position` positions takes.
async fn plan<'a, W, N>(
    network: &N,
    scales: &'a Scales,
    precision: Precision,
    position: usize,
    tokens: Tokens<'_>,
    all: bool,
) -> Result<Plan<'a, W>, sotto_protocol::Error>
where
    W: Matrix + Clone,
    N: Network<Weight = W>,
{
    let mut plan = Plan::new(position, precision, scales);
    network.forward(&mut plan, Tokens::Hidden(tokens.count()), all).await?;
    Ok(plan)
}

/// Reveals what is wanted of logits, which come in units of `2^logits`.
async fn reveal<R: Role>(
    me: &mut R,
    scales: &Scales,
    logits: Scaled,
    wanted: Wanted<'_>,
) -> Result<Option<Revealed>, sotto_protocol::Error> {
    let unit = f64::from(scales.logits).exp2();
    let frac = logits.share.frac.wrapping_add_signed(scales.logits);
    let logits = logits.share.duplicate().with_frac(frac);
    let vocabulary = logits.shape.cols;
    Ok(match wanted {
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

/// What a client asks for: lengths and precision, nothing else.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Tokens of the prompt.
    pub prompt: u32,
    /// New tokens at most.
    pub new: u32,
    /// Whether all positions' logits go to the client, for a comparison with a reference.
    pub all_positions: bool,
    /// How exact activations are to be.
    pub precision: Precision,
}

impl Request {
    fn check(&self, positions: usize) -> Result<(), Error> {
        let (prompt, new, context) = (self.prompt as usize, self.new as usize, positions);
        match prompt + new {
            _ if prompt == 0 || new == 0 => Err(Error::Empty),
            // The last new token is not fed back.
            total if total > context + 1 || prompt > context => Err(Error::TooLong { prompt, new, context }),
            _ => Ok(()),
        }
    }
}

/// What a server saw of a request that it served.
#[derive(Clone, Copy, Debug)]
pub struct Served {
    /// The request; of several, the last.
    pub request: Request,
    /// Tokens of the prompt, or of all texts.
    pub tokens: usize,
    /// Tokens made, or texts.
    pub made: usize,
    /// Positions in the cache of keys and values at the end, and its bytes.
    pub cached: (usize, usize),
}

/// Tells the client what model this is.
///
/// # Errors
/// The connection, or the peer.
pub fn offer<'a>(
    ch: &'a mut Channel,
    model: &'a Model,
    tokenizer: &'a Tokenizer,
    policy: Policy,
) -> Conversation<'a, ()> {
    Box::pin(async move { send_offer(ch, model, tokenizer, policy).await })
}

async fn send_offer(
    ch: &mut Channel,
    model: &Model,
    tokenizer: &Tokenizer,
    policy: Policy,
) -> Result<(), Error> {
    let offer = Offer {
        config: model.config().clone(),
        fractions: model.fractions.clone(),
        scales: model.scales.clone(),
        positions: length(model.positions()),
        tokenizer: tokenizer.digest(),
        answers: policy.answers(model.config().outputs()),
        audited: policy.audited,
    };
    ch.send_control("model/offer", &offer)?;
    if ch.recv("model/want-tokenizer", 1).await? == [1] {
        ch.send("model/tokenizer", tokenizer.json().to_vec())?;
    }
    ch.send("model/template", model.template.clone())?;
    Ok(())
}

/// Learns what model the server has; `tokenizer` is the client's own file, otherwise the server's
/// is used.
///
/// # Errors
/// The offer is malformed or contradicts itself, the tokenizers differ, or the connection breaks.
pub fn receive_offer<'a>(ch: &'a mut Channel, tokenizer: Option<&'a Path>) -> Conversation<'a, RemoteModel> {
    Box::pin(async move { take_offer(ch, tokenizer).await })
}

async fn take_offer(ch: &mut Channel, tokenizer: Option<&Path>) -> Result<RemoteModel, Error> {
    let Offer { config, fractions, scales, positions, tokenizer: digest, answers, audited } =
        ch.recv_control("model/offer").await?;
    let network = Outline::new(&fractions).and_then(|outline| {
        let network = AnyNetwork::load(&config, &outline).ok()?;
        outline.is_used_up().then_some(network)
    });
    let network = network.ok_or(Error::Offer("fraction bits do not fit its matrices"))?;
    let (plan, one) = (Scales::default(), Tokens::Hidden(1));
    let plan = self::plan(&network, &plan, Precision::default(), 0, one, false).await?;
    if !scales.fit(plan.visits, plan.layers()) || !is_fine(&scales, &fractions) {
        return Err(Error::Offer("scales do not fit its layers"));
    }
    let positions = positions as usize;
    if !(1..=config.max_position_embeddings.min(MAX_POSITIONS)).contains(&positions) {
        return Err(Error::Offer("it serves no positions, or more than it has"));
    }
    if let Answers::Top(k) = answers
        && !(1..=config.outputs()).contains(&(k as usize))
    {
        return Err(Error::Offer("it reveals no logits, or more than there are"));
    }
    if !fits(answers, config.task()) {
        return Err(Error::Offer("it reveals the largest of what has none"));
    }
    ch.send("model/want-tokenizer", vec![u8::from(tokenizer.is_none())])?;
    let tokenizer = match tokenizer {
        Some(file) => Tokenizer::open(file, &config)?,
        None => {
            let json = ch.recv_at_most("model/tokenizer", TOKENIZER_LIMIT as usize).await?;
            Tokenizer::parse(Path::new("the server's tokenizer"), json, &config)?
        }
    };
    if tokenizer.digest() != digest {
        return Err(Error::Tokenizer);
    }
    let template = ch.recv_at_most("model/template", TEMPLATE_LIMIT).await?;
    let template = match &template[..] {
        [] => None,
        bytes => Some(ChatTemplate::from_bytes(bytes)?),
    };
    let matrices = fractions.len();
    Ok(RemoteModel { config, tokenizer, template, answers, audited, positions, matrices, network, scales })
}

/// Whether what is revealed has as many fraction bits as are dropped before.
fn is_fine(scales: &Scales, fractions: &[u32]) -> bool {
    fractions.last().is_some_and(|&frac| i64::from(frac) + i64::from(scales.logits) >= i64::from(FEWEST_FRAC))
}

/// The client's side of one generation, as exact as its session says.
///
/// # Errors
/// The request does not fit the model, or the peer or the connection fails.
pub fn generate<'a>(
    me: &'a mut Client,
    remote: &'a RemoteModel,
    prompt: &'a [u32],
    new: usize,
    choose: &'a mut dyn Choose,
) -> Conversation<'a, Ranges> {
    Box::pin(async move { answer(me, remote, prompt, new, choose).await })
}

async fn answer(
    me: &mut Client,
    remote: &RemoteModel,
    prompt: &[u32],
    new: usize,
    choose: &mut dyn Choose,
) -> Result<Ranges, Error> {
    remote.expect(Task::Generate)?;
    let (prompt_len, precision) = (length(prompt.len()), me.session.precision());
    let request = Request { prompt: prompt_len, new: length(new), all_positions: false, precision };
    ask(me, remote, &request).await?;
    let mut caches = Caches::default();
    let (mut next, mut made, mut ranges) = (prompt.to_vec(), 0, Ranges::Kept);
    for step in 0..new {
        let (network, scales) = (&remote.network, &remote.scales);
        let progress = enter_step(me, network, scales, prompt.len(), step, new).await?;
        let vocabulary = remote.config.vocab_size;
        let noise = match remote.answers {
            Answers::Tokens => Zeroizing::new(choose.noise(vocabulary)),
            _ => Default::default(),
        };
        let wanted = wanted(remote.answers, &noise);
        let tokens = Tokens::Known(&next);
        let revealed = self::step(me, network, scales, &mut caches, (tokens, wanted), progress).await?;
        made += 1;
        if made == 1 {
            ranges = self::ranges(me).await?;
            choose.prompt_read(ranges);
        }
        choose.spent(me.session.ch.meter.total());
        let (token, go_on) = choose.next(&revealed.expect("the client gets what is revealed"));
        let more = go_on && step + 1 < new;
        me.session.ch.send("model/next", vec![u8::from(more)])?;
        if !more {
            break;
        }
        next = vec![token];
    }
    if made > 1 && self::ranges(me).await? == Ranges::Left {
        ranges = Ranges::Left;
    }
    done(me).await?;
    Ok(ranges)
}

/// The client's side of an evaluation: logits `[T, V]` of every position of `tokens`.
///
/// # Errors
/// As [`generate`].
pub fn evaluate<'a>(
    me: &'a mut Client,
    remote: &'a RemoteModel,
    tokens: &'a [u32],
) -> Conversation<'a, (Vec<f32>, Ranges)> {
    Box::pin(async move { all_logits(me, remote, tokens).await })
}

async fn all_logits(
    me: &mut Client,
    remote: &RemoteModel,
    tokens: &[u32],
) -> Result<(Vec<f32>, Ranges), Error> {
    remote.expect(Task::Generate)?;
    if remote.answers != Answers::Logits {
        return Err(Error::NoLogits);
    }
    let (prompt, precision) = (length(tokens.len()), me.session.precision());
    let request = Request { prompt, new: 1, all_positions: true, precision };
    ask(me, remote, &request).await?;
    let (network, scales) = (&remote.network, &remote.scales);
    let progress = enter_step(me, network, scales, tokens.len(), 0, 1).await?;
    let tokens = Tokens::Known(tokens);
    let revealed = step(me, network, scales, &mut Caches::default(), (tokens, Wanted::All), progress).await?;
    let ranges = self::ranges(me).await?;
    me.session.ch.send("model/next", vec![0])?;
    done(me).await?;
    match revealed {
        Some(Revealed::Logits(logits)) => Ok((logits, ranges)),
        _ => unreachable!("the client gets the logits that are wanted"),
    }
}

/// The server's side of one request. Returns what it saw.
///
/// # Errors
/// The request does not fit the model, or the peer or the connection fails.
pub fn serve<'a>(me: &'a mut Server, model: &'a Model, policy: Policy) -> Conversation<'a, Served> {
    Box::pin(async move { serve_request(me, model, policy).await })
}

async fn serve_request(me: &mut Server, model: &Model, policy: Policy) -> Result<Served, Error> {
    let request = admit(me, model, policy).await?;
    me.session.set_precision(request.precision);
    if model.config().task() != Task::Generate {
        return encode::serve(me, model, policy, request).await;
    }
    let mut caches = Caches::default();
    let mut count = request.prompt as usize;
    let answers = policy.answers(model.config().outputs());
    let wanted = if request.all_positions { Wanted::All } else { wanted(answers, &[]) };
    let new = request.new as usize;
    let mut made = 0;
    for step in 0..new {
        let (network, scales) = (&model.network, &model.scales);
        let progress = enter_step(me, network, scales, request.prompt as usize, step, new).await?;
        let tokens = Tokens::Hidden(count);
        self::step(me, network, scales, &mut caches, (tokens, wanted), progress).await?;
        made += 1;
        if made == 1 {
            in_range(&mut me.session).await?;
        }
        if me.session.ch.recv("model/next", 1).await? != [1] {
            break;
        }
        count = 1;
    }
    if made > 1 {
        in_range(&mut me.session).await?;
    }
    me.session.ch.send("model/done", vec![0])?;
    let cached = (caches.len(), caches.bytes());
    Ok(Served { request, tokens: request.prompt as usize, made, cached })
}

/// The next request, if it fits the model and what its owner has decided.
async fn admit(me: &mut Server, model: &Model, policy: Policy) -> Result<Request, Error> {
    let request: Request = me.session.ch.recv_control("model/request").await?;
    overflow_check::next_request(&mut me.session);
    let (config, task) = (model.config(), model.config().task());
    let verdict = match request.prompt as usize {
        prompt if prompt > policy.max_prompt => Err(Error::PromptLimit { prompt, limit: policy.max_prompt }),
        _ if request.all_positions && policy.answers != Answers::Logits => Err(Error::NoLogits),
        // An encoder's client gets what the task takes, of one text, and nothing else.
        _ if task != Task::Generate && (request.all_positions || request.new != 1) => Err(Error::NoLogits),
        _ => policy.check(config).and_then(|()| request.check(model.positions())),
    };
    me.session.ch.send("model/verdict", vec![u8::from(verdict.is_ok())])?;
    verdict?;
    Ok(request)
}

fn wanted(answers: Answers, noise: &[f64]) -> Wanted<'_> {
    match answers {
        Answers::Logits => Wanted::Last,
        Answers::Top(k) => Wanted::Top(k as usize),
        Answers::Tokens => Wanted::Token(noise),
    }
}

/// Learns whether numbers stayed in range since it last asked.
async fn ranges(me: &mut Client) -> Result<Ranges, Error> {
    let kept = in_range(&mut me.session).await?.expect("the client gets the verdict");
    Ok(if kept { Ranges::Kept } else { Ranges::Left })
}

/// Waits until the server knows that this was all: whoever leaves earlier may take the last message
/// along.
async fn done(me: &mut Client) -> Result<(), Error> {
    me.session.ch.recv("model/done", 1).await?;
    Ok(())
}

/// The verdict, once both sides agree on all that went before.
async fn in_range(session: &mut Session) -> Result<Option<bool>, Error> {
    session.ch.meter.enter("session", Half::Online);
    let agreed = session.checkpoint().await;
    session.ch.meter.leave();
    agreed?;
    session.ch.meter.enter("ranges", Half::Online);
    let verdict = overflow_check::finish(session).await;
    session.ch.meter.leave();
    Ok(verdict?)
}

/// A length as it is told to the server; one that does not fit is refused like any that is too
/// long.
fn length(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

async fn ask(me: &mut Client, remote: &RemoteModel, request: &Request) -> Result<(), Error> {
    request.check(remote.positions)?;
    overflow_check::next_request(&mut me.session);
    me.session.ch.send_control("model/request", request)?;
    match me.session.ch.recv("model/verdict", 1).await?[..] {
        [1] => Ok(()),
        _ => Err(Error::Refused),
    }
}

/// Names the phase, and says what to save in it.
async fn enter_step<R, N>(
    me: &mut R,
    network: &N,
    scales: &Scales,
    prompt: usize,
    step: usize,
    new: usize,
) -> Result<Progress, Error>
where
    R: Role<Weight: Clone>,
    N: Network<Weight = R::Weight>,
{
    let (phase, schedule) = match step {
        0 => {
            let (precision, rows) = (me.session().precision(), Tokens::Hidden(prompt));
            let plan = plan(network, scales, precision, 0, rows, false).await?;
            ("prefill", prompt_schedule(me.session(), &plan))
        }
        _ => ("decode", me.session().decode_schedule()),
    };
    me.session_mut().ch.meter.phase(phase);
    Ok(Progress { schedule, tokens_before: step.saturating_sub(1), tokens_after: new - 1 - step })
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
    let scores = heads * (rows + 1.0) / 2.0;
    if rows * scores > LATENCY_SCORES {
        return Schedule::Throughput;
    }
    let [neuron, score, head] = LATENCY_BITS;
    session.cheaper(neuron * neurons as f64 + rows * (score * scores + head * heads), LATENCY_TURNS)
}
