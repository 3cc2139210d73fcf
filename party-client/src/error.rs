//! What went wrong, through whom, and what the server is told of it.

use sotto_models::{Error as Model, service::Error as Service};
use sotto_net::{Abort, Error as Net};
use sotto_party::admission::Refusal;
use sotto_protocol::Error as Protocol;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A mistake in the request.
    #[error("{0}")]
    Usage(String),
    /// The prompt, an option, or a file of the user's.
    #[error(transparent)]
    Input(Model),
    /// The connection, or the server, before the session.
    #[error(transparent)]
    Net(#[from] Net),
    /// The server does not know this run's identity, which is a new one.
    #[error("this run's identity is a new one, pass --identity FILE to keep it")]
    NewIdentity(#[source] Net),
    /// A client without TLS that got no answer, or one that is not Sotto's.
    #[error("{0}; if the server uses TLS, pass --fingerprint instead of --insecure-no-tls")]
    WithoutTls(#[source] Net),
    /// The server does not admit this client.
    #[error("the server does not admit this client: {0}")]
    NotAdmitted(Refusal),
    /// The server's model or tokenizer is not what it should be.
    #[error("the server's offer: {0}")]
    BadOffer(Model),
    /// The session, or the server in it.
    #[error(transparent)]
    Session(#[from] Service),
    /// Whoever made the request does not wait for the answer.
    #[error("stopped before the answer was there; ask again")]
    Stopped,
}

/// Whose doing an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Whoever made the request.
    User,
    /// The network, or a server that is not the one, or does not let this client in.
    Connection,
    /// A server that breaks the protocol, or is another version.
    Server,
    /// This program.
    Program,
}

impl From<Model> for Error {
    fn from(e: Model) -> Error {
        Error::Input(e)
    }
}

impl From<Protocol> for Error {
    fn from(e: Protocol) -> Error {
        Error::Session(e.into())
    }
}

impl Error {
    /// Whose doing it is.
    pub fn fault(&self) -> Fault {
        match self {
            Error::Usage(_) | Error::Input(_) | Error::Stopped => Fault::User,
            Error::Net(e) => of_net(e),
            Error::NewIdentity(_) | Error::WithoutTls(_) | Error::NotAdmitted(_) => Fault::Connection,
            Error::BadOffer(_) => Fault::Server,
            Error::Session(e) => of_session(e),
        }
    }

    /// What to tell a server when this side ends the session with this error; nothing if the server
    /// is no longer there.
    pub(crate) fn farewell(&self) -> Option<Abort> {
        match (self, self.fault()) {
            (Error::Session(Service::Tokenizer | Service::OtherTokenizer { .. }), _) => Some(Abort::Mismatch),
            (Error::Stopped, _) => Some(Abort::Expired),
            (_, Fault::Connection) => None,
            (_, Fault::Server) => Some(Abort::Protocol),
            (_, Fault::User) => Some(Abort::Refused),
            (_, Fault::Program) => Some(Abort::Internal),
        }
    }
}

fn of_session(error: &Service) -> Fault {
    match error {
        Service::Protocol(Protocol::Net(e)) => of_net(e),
        Service::Protocol(_) | Service::Offer(_) | Service::OtherTokenizer { .. } => Fault::Server,
        Service::Model(_)
        | Service::Tokenizer
        | Service::TooLong { .. }
        | Service::PromptLimit { .. }
        | Service::Past
        | Service::NoLogits
        | Service::OtherTask { .. }
        | Service::Masks { .. }
        | Service::Answers { .. }
        | Service::Refused
        | Service::Quota { .. }
        | Service::Padding
        | Service::Empty => Fault::User,
    }
}

fn of_net(error: &Net) -> Fault {
    match error {
        Net::Identity { .. } => Fault::User,
        Net::TooLarge { .. } => Fault::Program,
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
        | Net::HandshakeTimeout { .. } => Fault::Connection,
        Net::WrongTag { .. }
        | Net::WrongLength { .. }
        | Net::TooLong { .. }
        | Net::WrongSequence { .. }
        | Net::WrongFlight { .. }
        | Net::Malformed { .. }
        | Net::Aborted { .. } => Fault::Server,
    }
}
