//! What a front end is told while a request is under way.

use std::{
    fmt::{self, Display, Formatter},
    sync::mpsc::Sender,
};

use crate::likelihood::TokenLikelihood;

/// Something has happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Another stage of the work has begun.
    Stage(Stage),
    /// There is something that the user should know of.
    Warning(Warning),
    /// There is something that may help the user.
    Hint(Hint),
    /// A token is made.
    Token {
        /// Tokens so far.
        made: usize,
        /// Tokens at most.
        most: usize,
        /// Bytes of the session so far.
        traffic: Traffic,
        /// How likely it was, if the request asks for that.
        likelihood: Option<TokenLikelihood>,
    },
    /// The answer goes on with this text.
    Text(String),
}

/// Bytes between client and server, framing included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// From the client.
    pub sent: u64,
    /// To the client.
    pub received: u64,
}

/// What is being done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Reaching the server.
    Connecting,
    /// Waiting for a place at the server; 1 is the next.
    Waiting {
        /// Place in the queue.
        place: u32,
    },
    /// Keys and oblivious transfers.
    SettingUp,
    /// The prompt goes through the model.
    Prompt {
        /// Tokens of the prompt.
        tokens: usize,
    },
    /// Texts go through the model.
    Texts {
        /// How many of them are done.
        done: usize,
        /// How many there are.
        of: usize,
    },
    /// A text goes through the model, for a comparison.
    Evaluating {
        /// Tokens of the text.
        tokens: usize,
    },
}

/// What the user should know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warning {
    /// The server's audit has not cleared its model.
    Unaudited,
    /// Numbers left their ranges while the prompt was read: no text comes.
    PromptOutOfRange,
}

/// What may help the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// The prompt is taken as it is, and the model has a chat template.
    Conversational,
}

/// A front end's ear. Events of a generation come from a thread of their own: how long `tell` takes
/// does not delay what is sent to the server while the answer is made. It delays the end of the
/// call that makes the answer, so a front end whose user may block it hands events on through a
/// channel.
pub trait Events: Send {
    /// Takes an event.
    fn tell(&mut self, event: Event);
}

/// For a receiver on another thread. That it is gone changes nothing.
impl Events for Sender<Event> {
    fn tell(&mut self, event: Event) {
        let _ = self.send(event);
    }
}

impl Display for Stage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Stage::Connecting => write!(f, "connecting"),
            Stage::Waiting { place } => write!(f, "waiting in the server's queue, place {place}"),
            Stage::SettingUp => write!(f, "setting up keys and oblivious transfers"),
            Stage::Prompt { tokens } => {
                write!(f, "reading the prompt, {tokens} tokens, and preparing for the answer")
            }
            Stage::Texts { done, of } => write!(f, "reading texts: {done} of {of} are done"),
            Stage::Evaluating { tokens } => write!(f, "evaluating {tokens} tokens"),
        }
    }
}

impl Display for Warning {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Warning::Unaudited => write!(
                f,
                "the server says that its model may leave ranges that are not watched; wrong answers may go unnoticed"
            ),
            Warning::PromptOutOfRange => write!(
                f,
                "numbers left their ranges while the prompt was read: the answer would be wrong, and is not \
                 shown; it is made to its end, since the server would see where it is given up"
            ),
        }
    }
}

impl Display for Hint {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Hint::Conversational => {
                write!(f, "the model was made for conversations: --chat applies its template")
            }
        }
    }
}
