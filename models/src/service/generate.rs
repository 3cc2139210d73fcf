//! The task of decoders: one token after the other, or the logits of a whole text.

use sotto_net::Cost;
use sotto_protocol::{Client, Server};
use zeroize::Zeroizing;

use super::{
    Answers, Conversation, Error, Policy, Ranges, RemoteModel, Request, Revealed, Served, Wanted,
    request::{ask, done, in_range, length, verdict},
    step::{enter_prompt, enter_token, next_part, read_to_last, step, wanted},
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

/// What a session has read: the tokens, and their keys and values, which stay in the caches. A
/// prompt that begins with all of it is continued.
#[derive(Default)]
pub struct History {
    caches: Caches,
    tokens: Zeroizing<Vec<u32>>,
    /// Whether a number left its range: what follows from it is in what can be continued, and a
    /// verdict looks at what is new only.
    left: bool,
    /// Lengths of prompts are multiples of this, if it is more than one, as far as the server sees.
    pad_to: usize,
}

impl History {
    /// Of prompts that are padded to a multiple of `pad_to` tokens. Each is read anew: what is
    /// added to a text would show its length.
    ///
    /// The padding stands before the prompt: tokens of the prompt's own, repeated, which no other
    /// position sees. The client lowers its share of their scores until their weights are zero, so
    /// the server does not learn how many there are, and the rotation of queries and keys tells
    /// distances only. So the answer is what it is without.
    pub fn padded(pad_to: usize) -> History {
        History { pad_to, ..History::default() }
    }

    /// How many of the prompt's tokens need not be read again.
    pub fn covered(&self, prompt: &[u32]) -> usize {
        let goes_on = prompt.len() > self.tokens.len() && prompt.starts_with(&self.tokens);
        if goes_on && self.pad_to <= 1 { self.tokens.len() } else { 0 }
    }
}

/// The client's side of one generation, as exact as its session says.
///
/// # Errors
/// The request does not fit the model, or the peer or the connection fails.
pub fn generate<'a>(
    me: &'a mut Client,
    remote: &'a RemoteModel,
    history: &'a mut History,
    prompt: &'a [u32],
    new: usize,
    choose: &'a mut dyn Choose,
) -> Conversation<'a, Ranges> {
    Box::pin(async move { answer(me, remote, history, prompt, new, choose).await })
}

async fn answer(
    me: &mut Client,
    remote: &RemoteModel,
    history: &mut History,
    prompt: &[u32],
    new: usize,
    choose: &mut dyn Choose,
) -> Result<Ranges, Error> {
    remote.expect(Task::Generate)?;
    let past = history.covered(prompt);
    if past == 0 {
        *history = History::padded(history.pad_to);
    }
    let padding = remote.padded(prompt.len(), new, history.pad_to)? - prompt.len();
    let padded: Zeroizing<Vec<u32>> =
        Zeroizing::new(prompt.iter().cycle().take(padding).chain(&prompt[past..]).copied().collect());
    if padding > 0 {
        history.caches.hide(padding);
    }
    let (unread, precision) = (&padded[..], me.session.precision());
    let request = Request {
        prompt: length(unread.len()),
        past: length(past),
        new: length(new),
        all_positions: false,
        precision,
    };
    ask(me, remote, &request).await?;
    let (network, scales) = (&remote.network, &remote.scales);
    let History { caches, tokens: read, left, .. } = history;
    let last = read_to_last(me, network, scales, caches, Tokens::Known(unread), new).await?;
    read.extend(&unread[..unread.len() - last.count()]);
    let (mut next, mut ranges) = (Zeroizing::new(last.ids().unwrap_or_default().to_vec()), Ranges::Kept);
    for number in 0..new {
        let tokens = Tokens::Known(&next);
        let progress = match number {
            0 => enter_prompt(me, network, scales, caches, tokens, [new - 1; 2]).await?,
            _ => enter_token(me, number, new),
        };
        let vocabulary = remote.config.vocab_size;
        let noise = match remote.answers {
            Answers::Tokens => Zeroizing::new(choose.noise(vocabulary)),
            _ => Default::default(),
        };
        let wanted = wanted(remote.answers, &noise);
        let revealed = step(me, network, scales, caches, (tokens, wanted), progress).await?;
        read.extend(next.iter());
        if number == 0 {
            *left |= verdict(me).await? == Ranges::Left;
            ranges = if *left { Ranges::Left } else { Ranges::Kept };
            choose.prompt_read(ranges);
        }
        choose.spent(me.session.ch.meter.total());
        let revealed = revealed.expect("the client gets what is revealed").capped(&remote.config);
        let (token, go_on) = choose.next(&revealed);
        let more = go_on && number + 1 < new;
        me.session.ch.send("model/next", vec![u8::from(more)])?;
        if !more {
            if number > 0 && verdict(me).await? == Ranges::Left {
                (*left, ranges) = (true, Ranges::Left);
            }
            break;
        }
        next = Zeroizing::new(vec![token]);
    }
    done(me).await?;
    Ok(ranges)
}

/// The client's side of an evaluation: logits `[T, V]` of every position of `tokens`, from a fresh
/// start. What the session has read before can be continued after it.
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
    let request = Request { prompt, past: 0, new: 1, all_positions: true, precision };
    ask(me, remote, &request).await?;
    let (network, scales) = (&remote.network, &remote.scales);
    let (mut caches, mut rest, mut logits) = (Caches::default(), Tokens::Known(tokens), vec![]);
    while rest.count() > 0 {
        let (part, after) = next_part(network, scales, caches.len(), rest)?;
        let progress = enter_prompt(me, network, scales, &caches, part, [0, after.count()]).await?;
        let revealed = step(me, network, scales, &mut caches, (part, Wanted::All), progress).await?;
        match revealed.map(|revealed| revealed.capped(&remote.config)) {
            Some(Revealed::Logits(part)) => logits.extend(part),
            _ => unreachable!("the client gets the logits that are wanted"),
        }
        rest = after;
    }
    let ranges = verdict(me).await?;
    me.session.ch.send("model/next", vec![0])?;
    done(me).await?;
    Ok((logits, ranges))
}

/// The server's side of a generation, or of an evaluation, from its request on.
pub(super) async fn serve(
    me: &mut Server,
    model: &Model,
    policy: Policy,
    request: Request,
    history: &mut Caches,
) -> Result<Served, Error> {
    let (network, scales) = (&model.network, &model.scales);
    let (hidden, new) = (Tokens::Hidden(request.prompt as usize), request.new as usize);
    let made = match request.all_positions {
        true => serve_all(me, model, hidden, &mut Caches::default()).await?,
        false => {
            if request.past == 0 {
                *history = Caches::default();
            }
            let wanted = wanted(policy.answers(model.config().outputs()), &[]);
            let mut next = read_to_last(me, network, scales, history, hidden, new).await?;
            let mut made = 0;
            loop {
                let progress = match made {
                    0 => enter_prompt(me, network, scales, history, next, [new - 1; 2]).await?,
                    _ => enter_token(me, made, new),
                };
                step(me, network, scales, history, (next, wanted), progress).await?;
                made += 1;
                if made == 1 {
                    in_range(&mut me.session).await?;
                }
                if me.session.ch.recv("model/next", 1).await? != [1] || made == new {
                    break;
                }
                next = Tokens::Hidden(1);
            }
            if made > 1 {
                in_range(&mut me.session).await?;
            }
            made
        }
    };
    me.session.ch.send("model/done", vec![0])?;
    let cached = (history.len(), history.bytes());
    Ok(Served { request, tokens: request.prompt as usize, made, cached })
}

/// The server's side of an evaluation of all positions.
async fn serve_all(
    me: &mut Server,
    model: &Model,
    mut rest: Tokens<'_>,
    caches: &mut Caches,
) -> Result<usize, Error> {
    let (network, scales) = (&model.network, &model.scales);
    while rest.count() > 0 {
        let (part, after) = next_part(network, scales, caches.len(), rest)?;
        let progress = enter_prompt(me, network, scales, caches, part, [0, after.count()]).await?;
        step(me, network, scales, caches, (part, Wanted::All), progress).await?;
        rest = after;
    }
    in_range(&mut me.session).await?;
    me.session.ch.recv("model/next", 1).await?;
    Ok(1)
}
