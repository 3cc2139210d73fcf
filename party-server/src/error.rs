//! What went wrong, through whom, and what the client is told of it.

use sotto_models::service::Error as Service;
use sotto_net::{Abort, Error as Net};
use sotto_protocol::Error as Protocol;

use crate::alarm::Ending;

/// Why a server cannot serve, or a client is not served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A mistake of whoever started the program.
    #[error("{0}")]
    Usage(String),
    /// The model's files.
    #[error(transparent)]
    Model(#[from] sotto_models::Error),
    /// The connection, before the session; or the key's file.
    #[error(transparent)]
    Net(#[from] Net),
    /// The session, while it was set up.
    #[error("set-up: {0}")]
    SetUp(#[source] Protocol),
    /// The session, or the client in it.
    #[error(transparent)]
    Session(#[from] Service),
    /// The server has ended it.
    #[error(transparent)]
    Ended(#[from] Ending),
    /// A mistake in this program.
    #[error("the session ended by an internal error")]
    Internal,
}

/// Whose doing an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This program.
    Program,
    /// Whoever started the program.
    Operator,
    /// The network, or a client that is gone.
    Connection,
    /// A client that breaks the protocol, is another version, or asks for what is not served.
    Client,
}

impl Fault {
    /// One word for it.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Program | Fault::Operator => "server",
            Fault::Connection => "connection",
            Fault::Client => "client",
        }
    }
}

impl Error {
    /// Whose doing it is.
    pub fn fault(&self) -> Fault {
        match self {
            Error::Usage(_) | Error::Model(_) | Error::Net(Net::Identity { .. }) => Fault::Operator,
            Error::Net(_) | Error::Ended(_) => Fault::Connection,
            Error::SetUp(e) | Error::Session(Service::Protocol(e)) if is_gone(e) || is_late(e) => {
                Fault::Connection
            }
            Error::SetUp(_) | Error::Session(_) => Fault::Client,
            Error::Internal => Fault::Program,
        }
    }

    /// What to tell a client whose session ends with this error; nothing if it is no longer there.
    pub(crate) fn farewell(&self) -> Option<Abort> {
        match self {
            Error::Session(e) => of_session(e),
            Error::Ended(_) => Some(Abort::Expired),
            _ => None,
        }
    }
}

fn is_gone(error: &Protocol) -> bool {
    use Net::{Aborted, Closed, Transport};
    matches!(error, Protocol::Net(Closed { .. } | Transport { .. } | Aborted { .. }))
}

fn is_late(error: &Protocol) -> bool {
    use Net::{DeadlinePassed, Timeout, TooSlow, Unread};
    matches!(error, Protocol::Net(DeadlinePassed { .. } | Timeout { .. } | TooSlow { .. } | Unread { .. }))
}

fn of_session(error: &Service) -> Option<Abort> {
    match error {
        Service::Protocol(e) if is_gone(e) => None,
        Service::Protocol(e) if is_late(e) => Some(Abort::Expired),
        Service::Protocol(Protocol::Version { .. } | Protocol::Parameters) => Some(Abort::Mismatch),
        Service::TooLong { .. }
        | Service::PromptLimit { .. }
        | Service::Past
        | Service::Empty
        | Service::Quota { .. }
        | Service::NoLogits => Some(Abort::Refused),
        Service::Protocol(_) => Some(Abort::Protocol),
        Service::Model(_)
        | Service::Offer(_)
        | Service::Tokenizer
        | Service::OtherTokenizer { .. }
        | Service::OtherTask { .. }
        | Service::Masks { .. }
        | Service::Answers { .. }
        | Service::Padding
        | Service::Refused => Some(Abort::Internal),
    }
}
