//! What the two programs say to each other about a model: the offer, the request, one token after the other.
//!
//! | client                       |                             | server                                        |
//! |------------------------------|-----------------------------|-----------------------------------------------|
//! |                              | `<- model/offer --`         | configuration, fraction bits, tokenizer's digest |
//! | has it, or not               | `-- model/want-tokenizer ->`|                                               |
//! | checks the digest            | `<- model/tokenizer --`     | the file, if wanted                           |
//! | lengths of prompt and answer, precision | `-- model/request ->` |                                          |
//! |                              | `<- model/verdict --`       | whether context and server admit them          |
//! | the prompt, privately        | `<- ... ->`                 | all layers; logits go to the client           |
//! | one more, or the end         | `-- model/next ->`          |                                               |
//! | whether all numbers stayed in range | `<- ... ->`          | ([`sotto_protocol::overflow_check`])                  |
//! |                              | `<- model/done --`          | has heard the end                             |
//!
//! The server learns the lengths and the precision asked for and how many tokens were made. The client learns the public shape, the
//! tokenizer, whether the audit has cleared the model, the logits it was sent, and the bit about ranges.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sotto_net::{Channel, Half};
use sotto_protocol::{
    Client, Precision, Server, Session,
    linear::{Weight, WeightShape},
    overflow_check,
};

use zeroize::Zeroizing;

use crate::{
    Cache, Config, Llama, Revealed, Tokenizer, Tokens, Wanted, error::Error as ModelError,
    llama::MAX_POSITIONS, tokenizer::TOKENIZER_LIMIT,
};

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
    /// The client asks for nothing.
    #[error("the request is empty: a prompt of at least one token and --max-tokens of at least 1 are needed")]
    Empty,
}

impl From<sotto_net::Error> for Error {
    fn from(e: sotto_net::Error) -> Error {
        Error::Protocol(e.into())
    }
}

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
    /// What is added to the logits where the server reveals the likeliest token only: a number for each token of the vocabulary, or nothing.
    fn noise(&mut self, _vocabulary: usize) -> Vec<f64> {
        vec![]
    }

    /// The next token, by what is revealed, and whether to go on.
    fn next(&mut self, revealed: &Revealed) -> (u32, bool);
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
    /// What clients see, of a vocabulary of this size.
    fn answers(&self, vocabulary: usize) -> Answers {
        match self.answers {
            Answers::Top(k) => Answers::Top(k.min(length(vocabulary))),
            other => other,
        }
    }
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
    tokenizer: [u8; 32],
    answers: Answers,
    audited: bool,
}

/// A model as a client knows it.
pub struct Offered {
    /// Its shape.
    pub model: Llama<WeightShape>,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// What the client will see.
    pub answers: Answers,
    /// Whether the server says that the model's audit has found nothing: otherwise numbers may leave ranges that are not watched.
    pub audited: bool,
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
    fn check(&self, config: &Config) -> Result<(), Error> {
        let (prompt, new, context) =
            (self.prompt as usize, self.new as usize, config.max_position_embeddings.min(MAX_POSITIONS));
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
    /// The request.
    pub request: Request,
    /// Tokens made.
    pub made: usize,
    /// Positions in the cache of keys and values at the end, and its bytes.
    pub cached: (usize, usize),
}

/// Tells the client what model this is.
///
/// # Errors
/// The connection, or the peer.
pub async fn offer(
    ch: &mut Channel,
    model: &Llama<Weight>,
    tokenizer: &Tokenizer,
    policy: Policy,
) -> Result<(), Error> {
    let offer = Offer {
        config: model.config().clone(),
        fractions: model.fractions(),
        tokenizer: tokenizer.digest(),
        answers: policy.answers(model.config().vocab_size),
        audited: policy.audited,
    };
    ch.send_control("model/offer", &offer)?;
    if ch.recv("model/want-tokenizer", 1).await? == [1] {
        ch.send("model/tokenizer", tokenizer.json().to_vec())?;
    }
    Ok(())
}

/// Learns what model the server has; `tokenizer` is the client's own file, otherwise the server's is used.
///
/// # Errors
/// The offer is malformed or contradicts itself, the tokenizers differ, or the connection breaks.
pub async fn receive_offer(ch: &mut Channel, tokenizer: Option<&Path>) -> Result<Offered, Error> {
    let offer: Offer = ch.recv_control("model/offer").await?;
    let model = Llama::outline(offer.config, &offer.fractions)
        .ok_or(Error::Offer("fraction bits do not fit its matrices"))?;
    if let Answers::Top(k) = offer.answers
        && !(1..=model.config().vocab_size).contains(&(k as usize))
    {
        return Err(Error::Offer("it reveals no logits, or more than there are"));
    }
    ch.send("model/want-tokenizer", vec![u8::from(tokenizer.is_none())])?;
    let tokenizer = match tokenizer {
        Some(file) => Tokenizer::open(file, model.config())?,
        None => {
            let json = ch.recv_at_most("model/tokenizer", TOKENIZER_LIMIT as usize).await?;
            Tokenizer::parse(Path::new("the server's tokenizer"), json, model.config())?
        }
    };
    if tokenizer.digest() != offer.tokenizer {
        return Err(Error::Tokenizer);
    }
    Ok(Offered { model, tokenizer, answers: offer.answers, audited: offer.audited })
}

/// The client's side of one generation, as exact as its session says.
///
/// # Errors
/// The request does not fit the model, or the peer or the connection fails.
pub async fn generate(
    me: &mut Client,
    offered: &Offered,
    prompt: &[u32],
    new: usize,
    choose: &mut impl Choose,
) -> Result<Ranges, Error> {
    let model = &offered.model;
    let (prompt_len, precision) = (length(prompt.len()), me.session.precision());
    let request = Request { prompt: prompt_len, new: length(new), all_positions: false, precision };
    ask(me, model, &request).await?;
    let mut cache = Cache::default();
    let mut tokens = prompt.to_vec();
    for step in 0..new {
        enter_step(&mut me.session, model, prompt.len(), (step, new), &mut cache);
        let vocabulary = model.config().vocab_size;
        let noise = match offered.answers {
            Answers::Tokens => Zeroizing::new(choose.noise(vocabulary)),
            _ => Default::default(),
        };
        let wanted = wanted(offered.answers, &noise);
        let revealed = model.forward(me, Tokens::Known(&tokens), &mut cache, wanted).await?;
        let (token, go_on) = choose.next(&revealed.expect("the client gets what is revealed"));
        let more = go_on && step + 1 < new;
        me.session.ch.send("model/next", vec![u8::from(more)])?;
        if !more {
            break;
        }
        tokens = vec![token];
    }
    done(me).await
}

/// The client's side of an evaluation: logits `[T, V]` of every position of `tokens`.
///
/// # Errors
/// As [`generate`].
pub async fn evaluate(
    me: &mut Client,
    offered: &Offered,
    tokens: &[u32],
) -> Result<(Vec<f32>, Ranges), Error> {
    let model = &offered.model;
    if offered.answers != Answers::Logits {
        return Err(Error::NoLogits);
    }
    let (prompt, precision) = (length(tokens.len()), me.session.precision());
    let request = Request { prompt, new: 1, all_positions: true, precision };
    ask(me, model, &request).await?;
    let mut cache = Cache::default();
    enter_step(&mut me.session, model, tokens.len(), (0, 1), &mut cache);
    let revealed = model.forward(me, Tokens::Known(tokens), &mut cache, Wanted::All).await?;
    me.session.ch.send("model/next", vec![0])?;
    let ranges = done(me).await?;
    match revealed {
        Some(Revealed::Logits(logits)) => Ok((logits, ranges)),
        _ => unreachable!("the client gets the logits that are wanted"),
    }
}

/// The server's side of one request. Returns what it saw.
///
/// # Errors
/// The request does not fit the model, or the peer or the connection fails.
pub async fn serve(me: &mut Server, model: &Llama<Weight>, policy: Policy) -> Result<Served, Error> {
    let request: Request = me.session.ch.recv_control("model/request").await?;
    let verdict = match request.prompt as usize {
        prompt if prompt > policy.max_prompt => Err(Error::PromptLimit { prompt, limit: policy.max_prompt }),
        _ if request.all_positions && policy.answers != Answers::Logits => Err(Error::NoLogits),
        _ => request.check(model.config()),
    };
    me.session.ch.send("model/verdict", vec![u8::from(verdict.is_ok())])?;
    verdict?;
    me.session.set_precision(request.precision);
    let mut cache = Cache::default();
    let mut count = request.prompt as usize;
    let answers = policy.answers(model.config().vocab_size);
    let wanted = if request.all_positions { Wanted::All } else { wanted(answers, &[]) };
    let new = request.new as usize;
    let mut made = 0;
    for step in 0..new {
        enter_step(&mut me.session, model, request.prompt as usize, (step, new), &mut cache);
        model.forward(me, Tokens::Hidden(count), &mut cache, wanted).await?;
        made += 1;
        if me.session.ch.recv("model/next", 1).await? != [1] {
            break;
        }
        count = 1;
    }
    in_range(&mut me.session).await?;
    me.session.ch.send("model/done", vec![0])?;
    Ok(Served { request, made, cached: (cache.len(), cache.bytes()) })
}

fn wanted(answers: Answers, noise: &[f64]) -> Wanted<'_> {
    match answers {
        Answers::Logits => Wanted::Last,
        Answers::Top(k) => Wanted::Top(k as usize),
        Answers::Tokens => Wanted::Token(noise),
    }
}

/// Learns whether numbers stayed in range, and waits until the server knows that this was all: whoever leaves earlier may take the last
/// message along.
async fn done(me: &mut Client) -> Result<Ranges, Error> {
    let kept = in_range(&mut me.session).await?.expect("the client gets the verdict");
    me.session.ch.recv("model/done", 1).await?;
    Ok(if kept { Ranges::Kept } else { Ranges::Left })
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

/// A length as it is told to the server; one that does not fit is refused like any that is too long.
fn length(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

async fn ask(me: &mut Client, model: &Llama<WeightShape>, request: &Request) -> Result<(), Error> {
    request.check(model.config())?;
    me.session.ch.send_control("model/request", request)?;
    match me.session.ch.recv("model/verdict", 1).await?[..] {
        [1] => Ok(()),
        _ => Err(Error::Refused),
    }
}

/// Names the phase, says what to save in it, and plans masks for the tokens that may still come.
fn enter_step<W, C>(
    session: &mut Session,
    model: &Llama<W>,
    prompt: usize,
    (step, new): (usize, usize),
    cache: &mut Cache<C>,
) {
    let (phase, schedule) = match step {
        0 => ("prefill", model.schedule(session, prompt)),
        _ => ("decode", session.decode_schedule()),
    };
    session.ch.meter.phase(phase);
    cache.plan(schedule, new - 1 - step);
}
