//! Why a conversation failed.

use crate::{error::Error as ModelError, tokenizer::Digest};

/// Why a conversation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// In a protocol, or below it.
    #[error(transparent)]
    Protocol(#[from] sotto_protocol::Error),
    /// In the model that the server offers, or the tokenizer.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The server's offer contradicts itself.
    #[error("the server offers a model that contradicts itself: {0}")]
    Offer(&'static str),
    /// The client's tokenizer is not the server's.
    #[error(
        "the tokenizer here is not the one the server's model was made with: leave --tokenizer out to get it from the server"
    )]
    Tokenizer,
    /// The server's tokenizer and chat template are not those that the client's user expects.
    #[error(
        "the server's tokenizer and chat template have the digest {found}, expected {pinned}: do not use this server unless its \
         operator can say why, and pass --tokenizer-digest anew"
    )]
    OtherTokenizer {
        /// The server's.
        found: Digest,
        /// The expected one.
        pinned: Digest,
    },
    /// Prompt and answer exceed the context.
    #[error(
        "{prompt} prompt tokens and {new} new ones exceed the model's context of {context}: shorten the prompt or lower --max-tokens"
    )]
    TooLong {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens asked for.
        new: usize,
        /// Positions that the model has.
        context: usize,
    },
    /// The prompt is longer than the server's operator allows.
    #[error(
        "a prompt of {prompt} tokens exceeds this server's limit of {limit}: raise --max-prompt if memory permits"
    )]
    PromptLimit {
        /// Tokens of the prompt.
        prompt: usize,
        /// The limit.
        limit: usize,
    },
    /// All positions' logits are asked of a server that shows none.
    #[error("this server does not reveal all logits: they cannot be compared with a reference")]
    NoLogits,
    /// The server refuses the request.
    #[error(
        "the server refuses the request: its operator allows shorter prompts only, or no comparison of logits; shorten the prompt"
    )]
    Refused,
    /// Prompts of a model whose positions are learned cannot be padded.
    #[error(
        "this model's positions are learned, so that padding would change its answers: leave --pad-to out, or use a          model with rotary positions"
    )]
    Padding,
    /// The client has not so many tokens left today.
    #[error(
        "the server's quota: this client has fewer than {tokens} tokens left today, which the texts and the answer's greatest length \
         are together; ask for less (--max-tokens), or again after midnight UTC"
    )]
    Quota {
        /// Tokens of the request.
        tokens: u64,
    },
    /// The model does something else.
    #[error(
        "this server's model does not {wanted}, it is for `{offered}`: use that subcommand, or another server"
    )]
    OtherTask {
        /// What is asked for.
        wanted: &'static str,
        /// What it is for.
        offered: &'static str,
    },
    /// A text without a mask, or with several.
    #[error("text {text} has {found} masks, expected one: write {mask} in place of the word")]
    Masks {
        /// The text's number, from 1.
        text: usize,
        /// Masks in it.
        found: usize,
        /// How the mask is written.
        mask: String,
    },
    /// A server's owner restricts what has no largest.
    #[error("a model for `{task}` has no largest answer: leave --reveal out")]
    Answers {
        /// What the model is for.
        task: &'static str,
    },
    /// The client continues what the session has not read.
    #[error(
        "the request continues a text that this session has not read, expected all of what it has, or none"
    )]
    Past,
    /// The client asks for nothing.
    #[error("the request is empty: a prompt of at least one token and --max-tokens of at least 1 are needed")]
    Empty,
}

impl From<sotto_net::Error> for Error {
    fn from(e: sotto_net::Error) -> Error {
        Error::Protocol(e.into())
    }
}
