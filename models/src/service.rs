//! What the two programs say to each other about a model: the offer, the request, one token after
//! the other.
//!
//! | client                       |                             | server                                        |
//! |------------------------------|-----------------------------|-----------------------------------------------|
//! |                              | `<- model/offer --`         | configuration, fraction bits, scales, digests of tokenizer and template |
//! | has the tokenizer, or not    | `-- model/want-tokenizer ->`|                                               |
//! | checks the digest, parses it | `<- model/tokenizer --`     | the file, if wanted                           |
//! | the same                     | `<- model/template --`      | the chat template, or nothing                 |
//! | lengths of what is to be read, was read before, and of the answer; precision | `-- model/request ->` |  |
//! |                              | `<- model/verdict --`       | whether context, owner and session admit them |
//! | the prompt, privately, part by part | `<- ... ->`          | all layers; the last position's logits go to the client |
//! | whether all numbers stayed in range | `<- ... ->`          | ([`sotto_protocol::overflow_check`])          |
//! | one more, or the end         | `-- model/next ->`          |                                               |
//! | the tokens, one at a time; the same again | `<- ... ->`    |                                               |
//! |                              | `<- model/done --`          | has heard the end                             |
//! | later: another request, or none | `-- model/more ->`       |                                               |
//! |                              | `<- model/ready --`         | still keeps the session; again from the request on |
//!
//! An encoder's client asks for one text after the other ([`encode`](fn@encode)): a request, the
//! verdict, the text, what its task takes, and whether there is one more.
//!
//! The server learns the lengths and the precision asked for, whether a request goes on with what
//! the session has read, and how many tokens were made. The client learns the public shape, the
//! tokenizer, whether the audit has cleared the model, the logits it was sent, and the two bits
//! about ranges.

mod encode;
mod error;
mod generate;
mod memory;
mod offer;
mod request;
mod step;

use std::pin::Pin;

use sotto_protocol::Server;

pub use encode::{Text, encode};
pub use error::Error;
pub use generate::{Choose, History, evaluate, generate};
pub use memory::Memory;
pub use offer::{Answers, Policy, RemoteModel, TokenizerSource, digest, offer, receive_offer};
pub use request::{Allowance, Ranges, Request, Served, Unlimited, admit, hear_more, tell_no_more, wake};
pub use step::{Revealed, Wanted, step};

use crate::{Model, Task, evaluator::two_party::Caches};
use request::length;

/// What two parties do together, in a box: compiled here once, and not in every program again.
pub type Conversation<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + 'a>>;

/// The server's side of one request, which may continue what the session has read. Returns what it
/// saw.
///
/// # Errors
/// The request does not fit the model, or the peer or the connection fails.
pub fn serve<'a>(
    me: &'a mut Server,
    model: &'a Model,
    policy: Policy,
    history: &'a mut Caches,
) -> Conversation<'a, Served> {
    Box::pin(async move {
        let request = admit(me, model, policy, history, &Unlimited).await?;
        serve_admitted(me, model, policy, request, history, &Unlimited).await
    })
}

/// The same, from the request on; further texts of it are admitted as the allowance has tokens.
///
/// # Errors
/// As [`serve`].
pub fn serve_admitted<'a>(
    me: &'a mut Server,
    model: &'a Model,
    policy: Policy,
    request: Request,
    history: &'a mut Caches,
    allowance: &'a dyn Allowance,
) -> Conversation<'a, Served> {
    Box::pin(async move {
        me.session.set_precision(request.precision);
        match model.config().task() {
            Task::Generate => generate::serve(me, model, policy, request, history).await,
            _ => encode::serve(me, model, policy, request, allowance).await,
        }
    })
}
