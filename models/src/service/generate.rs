//! The task of decoders: one token after the other, or the logits of a whole text.

use sotto_net::Cost;
use sotto_protocol::{Client, Server};
use zeroize::Zeroizing;

use super::{
    Answers, Conversation, Error, Policy, Ranges, RemoteModel, Request, Revealed, Served, Wanted,
    request::{ask, done, in_range, length, verdict},
    step::{enter_step, step, wanted},
};
use crate::{
    Model, Task,
    evaluator::{Tokens, two_party::Caches},
};

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
        let revealed = super::step(me, network, scales, &mut caches, (tokens, wanted), progress).await?;
        made += 1;
        if made == 1 {
            ranges = verdict(me).await?;
            choose.prompt_read(ranges);
        }
        choose.spent(me.session.ch.meter.total());
        let revealed = revealed.expect("the client gets what is revealed").capped(&remote.config);
        let (token, go_on) = choose.next(&revealed);
        let more = go_on && step + 1 < new;
        me.session.ch.send("model/next", vec![u8::from(more)])?;
        if !more {
            break;
        }
        next = vec![token];
    }
    if made > 1 && verdict(me).await? == Ranges::Left {
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
    let ranges = verdict(me).await?;
    me.session.ch.send("model/next", vec![0])?;
    done(me).await?;
    match revealed.map(|revealed| revealed.capped(&remote.config)) {
        Some(Revealed::Logits(logits)) => Ok((logits, ranges)),
        _ => unreachable!("the client gets the logits that are wanted"),
    }
}

/// The server's side of a generation, or of an evaluation, from its request on.
pub(super) async fn serve(
    me: &mut Server,
    model: &Model,
    policy: Policy,
    request: Request,
) -> Result<Served, Error> {
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
        super::step(me, network, scales, &mut caches, (tokens, wanted), progress).await?;
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
