//! The tasks of encoders: one text after the other, each in the form that the head gives.
//!
//! The server learns how many texts there are and how many tokens each has. The client gets what
//! the task takes of each text, and the bit about ranges for all of them together.

use sotto_protocol::{Client, Server};

use super::{
    Conversation, Error, Policy, Ranges, RemoteModel, Request, Revealed, Served,
    request::{Allowance, admit, ask, done, in_range, length, verdict},
    step::{enter_prompt, step, wanted},
};
use crate::{
    Model, Task,
    evaluator::{Tokens, two_party::Caches},
};

/// A text, or two, as their tokens.
pub struct Text {
    /// The tokens.
    pub ids: Vec<u32>,
    /// How many of them are of the first of two texts.
    pub first: Option<usize>,
}

impl Text {
    /// As the model takes it, which may have no types of tokens.
    fn tokens(&self, types: usize) -> Tokens<'_> {
        match self.first {
            Some(first) if types > 1 => Tokens::Pair(&self.ids, first),
            _ => Tokens::Known(&self.ids),
        }
    }
}

/// The client's side of a task: `each` is given what is revealed of each text, by its number.
///
/// # Errors
/// A text does not fit the model, or the peer or the connection fails.
pub fn encode<'a>(
    me: &'a mut Client,
    remote: &'a RemoteModel,
    texts: &'a [Text],
    each: &'a mut dyn FnMut(usize, Revealed),
) -> Conversation<'a, Ranges> {
    Box::pin(async move { run(me, remote, texts, each).await })
}

async fn run(
    me: &mut Client,
    remote: &RemoteModel,
    texts: &[Text],
    each: &mut dyn FnMut(usize, Revealed),
) -> Result<Ranges, Error> {
    let requests = requests(me, remote, texts)?;
    let (network, scales) = (&remote.network, &remote.scales);
    for (i, (text, request)) in texts.iter().zip(&requests).enumerate() {
        ask(me, remote, request).await?;
        let tokens = text.tokens(remote.config.encoder().token_types);
        let mut caches = Caches::default();
        let progress = enter_prompt(me, network, scales, &caches, tokens, [0; 2]).await?;
        let wanted = wanted(remote.answers, &[]);
        let revealed = step(me, network, scales, &mut caches, (tokens, wanted), progress).await?;
        me.session.ch.send("model/next", vec![u8::from(i + 1 < texts.len())])?;
        each(i, centred(remote, revealed.expect("the client gets what is revealed")));
    }
    let kept = verdict(me).await?;
    done(me).await?;
    Ok(kept)
}

/// A request for each text, before the first of them is sent.
fn requests(me: &Client, remote: &RemoteModel, texts: &[Text]) -> Result<Vec<Request>, Error> {
    let precision = me.session.precision();
    let of = |(i, text): (usize, &Text)| {
        let request =
            Request { prompt: length(text.ids.len()), past: 0, new: 1, all_positions: false, precision };
        request.check(remote.positions)?;
        remote.check_masks(i, text)?;
        Ok(request)
    };
    if texts.is_empty() {
        return Err(Error::Empty);
    }
    texts.iter().enumerate().map(of).collect()
}

impl RemoteModel {
    /// A text in which a word is looked for has one mask.
    fn check_masks(&self, i: usize, text: &Text) -> Result<(), Error> {
        let Some(mask) = self.config.encoder().mask_token.filter(|_| self.config.task() == Task::FillMask)
        else {
            return Ok(());
        };
        match text.ids.iter().filter(|&&id| id == mask).count() {
            1 => Ok(()),
            found => Err(Error::Masks { text: i + 1, found, mask: self.tokenizer.name_of(mask) }),
        }
    }
}

/// Numbers are revealed rounded down, to `2^-8` of their unit: a vector's get the half that they
/// miss on average.
fn centred(remote: &RemoteModel, revealed: Revealed) -> Revealed {
    let half = f64::from(remote.scales.logits - 9).exp2() as f32;
    match revealed {
        Revealed::Logits(numbers) if remote.config.task() == Task::Embed => {
            Revealed::Logits(numbers.iter().map(|x| x + half).collect())
        }
        other => other,
    }
}

/// The server's side of a task, from its first request on.
pub(super) async fn serve(
    me: &mut Server,
    model: &Model,
    policy: Policy,
    mut request: Request,
    allowance: &dyn Allowance,
) -> Result<Served, Error> {
    let (network, scales, precision) = (&model.network, &model.scales, request.precision);
    let wanted = wanted(policy.answers(model.config().outputs()), &[]);
    let (mut tokens, mut made, mut cached) = (0, 0, (0, 0));
    loop {
        let (count, mut caches) = (request.prompt as usize, Caches::default());
        let hidden = Tokens::Hidden(count);
        let progress = enter_prompt(me, network, scales, &caches, hidden, [0; 2]).await?;
        step(me, network, scales, &mut caches, (hidden, wanted), progress).await?;
        (tokens, made) = (tokens + count, made + 1);
        cached = cached.max((caches.len(), caches.bytes()));
        if me.session.ch.recv("model/next", 1).await? != [1] {
            break;
        }
        // A session is as exact as its first request says.
        request = Request { precision, ..admit(me, model, policy, &Caches::default(), allowance).await? };
    }
    in_range(&mut me.session).await?;
    me.session.ch.send("model/done", vec![0])?;
    Ok(Served { request, tokens, made, cached })
}
