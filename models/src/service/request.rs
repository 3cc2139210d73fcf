//! How a request begins and ends: two lengths and a precision, the server's verdict; whether all
//! numbers stayed in range.
//!
//! | client                              |                       | server                              |
//! |-------------------------------------|-----------------------|-------------------------------------|
//! | lengths, precision                  | `-- model/request ->` |                                     |
//! |                                     | `<- model/verdict --` | whether context, owner and quota admit them|
//! | the request's steps                 | `<- ... ->`           |                                     |
//! | whether all numbers stayed in range | `<- ... ->`           | ([`sotto_protocol::overflow_check`])|
//! |                                     | `<- model/done --`    | has heard the end                   |
//! | another request, or none            | `-- model/more ->`    |                                     |
//! |                                     | `<- model/ready --`   | still keeps the session             |
//!
//! Between two requests the client may be idle, and the server may end the session. Nothing of a
//! request is told before the server says that it is ready.

use serde::{Deserialize, Serialize};
use sotto_net::Half;
use sotto_protocol::{Client, Precision, Server, Session, overflow_check};

use super::{Answers, Error, Policy, RemoteModel};
use crate::{Model, Task, evaluator::two_party::Caches};

/// What a client asks for: lengths and precision, nothing else.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Tokens of the prompt that are to be read.
    pub prompt: u32,
    /// Tokens of it that the session has read already: all that it has, or none.
    pub past: u32,
    /// New tokens at most.
    pub new: u32,
    /// Whether all positions' logits go to the client, for a comparison with a reference.
    pub all_positions: bool,
    /// How exact activations are to be.
    pub precision: Precision,
}

impl Request {
    pub(super) fn check(&self, positions: usize) -> Result<(), Error> {
        let (prompt, new, context) = (self.whole(), self.new as usize, positions);
        match prompt + new {
            _ if self.prompt == 0 || new == 0 => Err(Error::Empty),
            // The last new token is not fed back.
            total if total > context + 1 || prompt > context => Err(Error::TooLong { prompt, new, context }),
            _ => Ok(()),
        }
    }

    /// Tokens of the whole prompt.
    fn whole(&self) -> usize {
        self.prompt as usize + self.past as usize
    }

    /// Tokens that are read, and made at most.
    fn tokens(&self) -> u64 {
        u64::from(self.prompt) + u64::from(self.new)
    }
}

/// What a client may still ask for, as the server's owner has decided.
pub trait Allowance {
    /// Takes so many tokens, of a prompt and the greatest length of its answer, if there are as
    /// many.
    fn take(&self, tokens: u64) -> bool;
}

/// As much as it likes.
pub struct Unlimited;

impl Allowance for Unlimited {
    fn take(&self, _: u64) -> bool {
        true
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

/// Whether every number stayed in its range while a request was served.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ranges {
    /// All did.
    Kept,
    /// One did not: what was revealed may be wrong.
    Left,
}

/// A length as it is told to the server; one that does not fit is refused like any that is too
/// long.
pub(super) fn length(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

pub(super) async fn ask(me: &mut Client, remote: &RemoteModel, request: &Request) -> Result<(), Error> {
    request.check(remote.positions)?;
    overflow_check::next_request(&mut me.session);
    me.session.ch.send_control("model/request", request)?;
    match me.session.ch.recv("model/verdict", 1).await?[..] {
        [1] => Ok(()),
        [2] => Err(Error::Quota { tokens: request.tokens() }),
        _ => Err(Error::Refused),
    }
}

/// The next request, if it fits the model, what its owner has decided, and what the session has
/// read, and the client's allowance has as many tokens.
///
/// # Errors
/// It does not fit, or the peer or the connection fails.
pub async fn admit(
    me: &mut Server,
    model: &Model,
    policy: Policy,
    history: &Caches,
    allowance: &dyn Allowance,
) -> Result<Request, Error> {
    let request: Request = me.session.ch.recv_control("model/request").await?;
    overflow_check::next_request(&mut me.session);
    let (config, task) = (model.config(), model.config().task());
    let past = request.past as usize;
    let goes_on = past == history.len() && request.precision == me.session.precision();
    let verdict = match request.whole() {
        _ if past > 0 && (!goes_on || task != Task::Generate || request.all_positions) => Err(Error::Past),
        prompt if prompt > policy.max_prompt => Err(Error::PromptLimit { prompt, limit: policy.max_prompt }),
        _ if request.all_positions && policy.answers != Answers::Logits => Err(Error::NoLogits),
        // An encoder's client gets what the task takes, of one text, and nothing else.
        _ if task != Task::Generate && (request.all_positions || request.new != 1) => Err(Error::NoLogits),
        _ => policy.check(config).and_then(|()| request.check(model.positions())),
    };
    let verdict = verdict.and_then(|()| match allowance.take(request.tokens()) {
        true => Ok(()),
        false => Err(Error::Quota { tokens: request.tokens() }),
    });
    let answer = match verdict {
        Ok(()) => 1,
        Err(Error::Quota { .. }) => 2,
        Err(_) => 0,
    };
    me.session.ch.send("model/verdict", vec![answer])?;
    verdict?;
    Ok(request)
}

/// Learns whether numbers stayed in range since it last asked.
pub(super) async fn verdict(me: &mut Client) -> Result<Ranges, Error> {
    let kept = in_range(&mut me.session).await?.expect("the client gets the verdict");
    Ok(if kept { Ranges::Kept } else { Ranges::Left })
}

/// Tells the server that another request follows, and waits until it is ready: a session that was
/// idle may have ended, and nothing of the request was told then.
///
/// # Errors
/// The session has ended.
pub async fn wake(me: &mut Client) -> Result<(), Error> {
    me.session.ch.send("model/more", vec![1])?;
    me.session.ch.recv("model/ready", 1).await?;
    Ok(())
}

/// Tells the server that no other request follows.
///
/// # Errors
/// The connection.
pub fn tell_no_more(me: &mut Client) -> Result<(), Error> {
    Ok(me.session.ch.send("model/more", vec![0])?)
}

/// Whether the client has another request. One that leaves without a word, or is idle for longer
/// than it is waited for, has none.
///
/// # Errors
/// The connection, or the client.
pub async fn hear_more(me: &mut Server) -> Result<bool, Error> {
    match me.session.ch.recv("model/more", 1).await {
        Ok(more) if more == [1] => {
            me.session.ch.send("model/ready", vec![1])?;
            Ok(true)
        }
        Ok(_) => Ok(false),
        Err(sotto_net::Error::Closed { .. } | sotto_net::Error::Timeout { .. }) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Waits until the server knows that this was all: whoever leaves earlier may take the last message
/// along.
pub(super) async fn done(me: &mut Client) -> Result<(), Error> {
    me.session.ch.recv("model/done", 1).await?;
    Ok(())
}

/// The verdict, once both sides agree on all that went before.
pub(super) async fn in_range(session: &mut Session) -> Result<Option<bool>, Error> {
    session.ch.meter.enter("session", Half::Online);
    let agreed = session.checkpoint().await;
    session.ch.meter.leave();
    agreed?;
    session.ch.meter.enter("ranges", Half::Online);
    let verdict = overflow_check::finish(session).await;
    session.ch.meter.leave();
    Ok(verdict?)
}
