//! Whose doing an error is: the exit code, and what the server is told.

use std::process::ExitCode;

use sotto_models::{Error as Model, service::Error as Conversation};
use sotto_net::{Abort, Error as Net};
use sotto_protocol::Error as Protocol;

/// A mistake of whoever started the program.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// The server's model or tokenizer is not what it should be.
#[derive(Debug, thiserror::Error)]
#[error("the server's offer: {0}")]
pub struct BadOffer(pub Model);

/// The answer is there, but may be wrong.
#[derive(Debug, thiserror::Error)]
#[error(
    "the answer may be wrong: a number left its range while the model computed; try another prompt or model (the server does not \
     know of this, and learns something of the prompt if it is told)"
)]
pub struct Unreliable;

/// A mistake in this program.
pub const INTERNAL: ExitCode = ExitCode::FAILURE;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Guilty {
    Program = 1,
    User = 2,
    Connection = 3,
    Peer = 4,
    Model = 5,
}

/// The exit code for `error`, as documented in `--help`.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    ExitCode::from(guilty(error) as u8)
}

/// What to tell a server when this side ends the session with `error`; nothing if the server is no
/// longer there.
pub fn farewell(error: &anyhow::Error) -> Option<Abort> {
    if let Some(Conversation::Tokenizer) = error.downcast_ref() {
        return Some(Abort::Mismatch);
    }
    match guilty(error) {
        // What is known of ranges is not the server's business.
        Guilty::Connection | Guilty::Model => None,
        Guilty::Peer => Some(Abort::Protocol),
        Guilty::User => Some(Abort::Refused),
        Guilty::Program => Some(Abort::Internal),
    }
}

fn guilty(error: &anyhow::Error) -> Guilty {
    if error.is::<Usage>() || error.is::<Model>() {
        Guilty::User
    } else if let Some(e) = error.downcast_ref::<Net>() {
        of_net(e)
    } else if let Some(e) = error.downcast_ref::<Conversation>() {
        of_conversation(e)
    } else if error.is::<BadOffer>() {
        Guilty::Peer
    } else if error.is::<Unreliable>() {
        Guilty::Model
    } else {
        Guilty::Program
    }
}

fn of_conversation(error: &Conversation) -> Guilty {
    match error {
        Conversation::Protocol(Protocol::Net(e)) => of_net(e),
        Conversation::Protocol(_) | Conversation::Offer(_) => Guilty::Peer,
        Conversation::Model(_)
        | Conversation::Tokenizer
        | Conversation::TooLong { .. }
        | Conversation::PromptLimit { .. }
        | Conversation::NoLogits
        | Conversation::Refused
        | Conversation::Empty => Guilty::User,
    }
}

fn of_net(error: &Net) -> Guilty {
    match error {
        Net::Identity { .. } => Guilty::User,
        Net::TooLarge { .. } => Guilty::Program,
        Net::Connect { .. }
        | Net::Listen { .. }
        | Net::Transport { .. }
        | Net::Closed { .. }
        | Net::Timeout { .. }
        | Net::TooSlow { .. }
        | Net::Unread { .. }
        | Net::DeadlinePassed { .. }
        | Net::WrongServer { .. }
        | Net::UnknownClient { .. }
        | Net::Rejected { .. }
        | Net::NotTls { .. }
        | Net::HandshakeTimeout { .. } => Guilty::Connection,
        Net::WrongTag { .. }
        | Net::WrongLength { .. }
        | Net::TooLong { .. }
        | Net::WrongSequence { .. }
        | Net::WrongFlight { .. }
        | Net::Malformed { .. }
        | Net::Aborted { .. } => Guilty::Peer,
    }
}
