//! Whose doing an error is: the exit code, and what the client is told.

use sotto_models::service::Error as Conversation;
use sotto_net::{Abort, Error as Net};
use sotto_protocol::Error as Protocol;

/// A mistake of whoever started the program.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// The exit code for an error that ends the program, as documented in `--help`.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<Usage>() || error.is::<sotto_models::Error>() {
        return 2;
    }
    match (error.downcast_ref::<Net>(), error.downcast_ref::<Conversation>()) {
        (Some(Net::Identity { .. }), _) => 2,
        (Some(_), _) => 3,
        (_, Some(e)) if farewell(e).is_none() => 3,
        (_, Some(_)) => 4,
        _ => 1,
    }
}

/// What to tell a client whose session ends with `error`; nothing if it is no longer there to be
/// told.
pub fn farewell(error: &Conversation) -> Option<Abort> {
    match error {
        Conversation::Protocol(Protocol::Net(
            Net::Closed { .. } | Net::Transport { .. } | Net::Aborted { .. },
        )) => None,
        Conversation::Protocol(Protocol::Version { .. } | Protocol::Parameters) => Some(Abort::Mismatch),
        Conversation::TooLong { .. }
        | Conversation::PromptLimit { .. }
        | Conversation::Empty
        | Conversation::NoLogits => Some(Abort::Refused),
        Conversation::Protocol(_) => Some(Abort::Protocol),
        Conversation::Model(_) | Conversation::Offer(_) | Conversation::Tokenizer | Conversation::Refused => {
            Some(Abort::Internal)
        }
    }
}
