//! Text to token ids and back.
//!
//! Both parties use the same `tokenizer.json`; they compare its [`Tokenizer::digest`] before anything secret
//! moves. An answer is decoded as it grows by [`Tokenizer::stream`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::config::Config;
use crate::content::read_small;
use crate::error::Error;

/// Largest `tokenizer.json` accepted, in bytes.
pub const TOKENIZER_LIMIT: u64 = 64 << 20;

/// A tokenizer all of whose ids are rows of the model's embedding.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    json: Vec<u8>,
    vocab: usize,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or is no tokenizer, or if it has an id that the model has not.
    pub fn open(file: &Path, config: &Config) -> Result<Tokenizer, Error> {
        let cure = "put the model's tokenizer.json there (a tokenizer.model must be converted first)";
        Tokenizer::parse(file, read_small(file, TOKENIZER_LIMIT, cure)?, config)
    }

    /// A tokenizer from the text of a `tokenizer.json`; `origin` stands for it in errors.
    ///
    /// # Errors
    ///
    /// If the text is too long or is no tokenizer, or if it has an id that the model has not.
    pub fn parse(origin: &Path, json: Vec<u8>, config: &Config) -> Result<Tokenizer, Error> {
        let (file, bytes) = (origin.to_path_buf(), json.len() as u64);
        if bytes > TOKENIZER_LIMIT {
            return Err(Error::TooLarge { file, bytes, limit: TOKENIZER_LIMIT });
        }
        let mut inner = match guarded(|| tokenizers::Tokenizer::from_bytes(&json)) {
            Ok(inner) => inner,
            Err(cause) => {
                let reason = format!("not a tokenizer ({cause})");
                let cure = "take the file from the model's source, in the format of Hugging Face tokenizers";
                return Err(Error::Malformed { file, reason, cure });
            }
        };
        let vocab = config.vocab_size;
        match inner.get_vocab(true).into_values().max() {
            Some(largest) if largest as usize >= vocab => {
                return Err(Error::Vocabulary { file, largest, vocab });
            }
            _ => (),
        }
        inner.with_padding(None);
        inner.with_truncation(None).map_err(tokenize)?;
        Ok(Tokenizer { inner, json, vocab })
    }

    /// The text of the `tokenizer.json`.
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    /// The BLAKE3 hash of the `tokenizer.json`.
    pub fn digest(&self) -> [u8; 32] {
        blake3::hash(&self.json).into()
    }

    /// The ids of a prompt, with the special tokens that the model expects around it. At least one, each
    /// below `vocab_size`.
    ///
    /// # Errors
    ///
    /// If the text is empty or has more than `limit` tokens.
    pub fn encode(&self, text: &str, limit: usize) -> Result<Vec<u32>, Error> {
        if text.is_empty() {
            return Err(Error::PromptEmpty);
        }
        let encoding = guarded(|| self.inner.encode_fast(text, true)).map_err(tokenize)?;
        let ids = encoding.get_ids();
        self.check(ids)?;
        match ids.len() {
            0 => Err(Error::PromptEmpty),
            actual if actual > limit => Err(Error::PromptTooLong { actual, limit }),
            _ => Ok(ids.to_vec()),
        }
    }

    /// The text of some ids, without special tokens.
    ///
    /// # Errors
    ///
    /// If an id is not below `vocab_size`.
    pub fn decode(&self, ids: &[u32]) -> Result<String, Error> {
        self.check(ids)?;
        guarded(|| self.inner.decode(ids, true)).map_err(tokenize)
    }

    /// Decodes an answer token by token, as the continuation of `prompt`.
    ///
    /// # Errors
    ///
    /// If an id of the prompt is not below `vocab_size`.
    pub fn stream(&self, prompt: &[u32]) -> Result<Stream<'_>, Error> {
        let context = &prompt[prompt.len().saturating_sub(CONTEXT)..];
        self.check(context)?;
        Ok(Stream { tokenizer: self, ids: context.to_vec(), prefix: 0, read: context.len() })
    }

    fn check(&self, ids: &[u32]) -> Result<(), Error> {
        match ids.iter().find(|&&id| id as usize >= self.vocab) {
            None => Ok(()),
            Some(&id) => Err(Error::TokenOutOfRange { id, vocab: self.vocab }),
        }
    }
}

/// Tokens of the prompt that are decoded with the answer, so that a space at the seam is not lost.
const CONTEXT: usize = 5;

/// Tokens that may be held back for one character; a character has at most 4 bytes, so more is no text.
const MAX_HELD: usize = 16;

/// An answer on its way to the screen.
///
/// A token may end in the middle of a character: its text is held back until the character is whole. Decoders
/// treat the first token apart, so the new text is found as the difference of two decodings that begin at the
/// same earlier token.
pub struct Stream<'a> {
    tokenizer: &'a Tokenizer,
    ids: Vec<u32>,
    /// Where both decodings begin.
    prefix: usize,
    /// Up to here the text has been given out.
    read: usize,
}

impl Stream<'_> {
    /// Takes the next token and returns the text that it completes; empty if there is none yet.
    ///
    /// # Errors
    ///
    /// If the id is not below `vocab_size`.
    pub fn push(&mut self, id: u32) -> Result<String, Error> {
        self.tokenizer.check(&[id])?;
        self.ids.push(id);
        let new = self.pending()?;
        if new.ends_with(char::REPLACEMENT_CHARACTER) && self.ids.len() - self.read < MAX_HELD {
            return Ok(String::new());
        }
        if !new.is_empty() {
            (self.prefix, self.read) = (self.read, self.ids.len());
        }
        Ok(new)
    }

    /// What is still held back at the end: an incomplete character, as U+FFFD.
    ///
    /// # Errors
    ///
    /// If the tokenizer fails.
    pub fn finish(self) -> Result<String, Error> {
        self.pending()
    }

    fn pending(&self) -> Result<String, Error> {
        let old = self.tokenizer.decode(&self.ids[self.prefix..self.read])?;
        let new = self.tokenizer.decode(&self.ids[self.prefix..])?;
        let same = old.chars().zip(new.chars()).take_while(|(a, b)| a == b);
        Ok(new[same.map(|(a, _)| a.len_utf8()).sum()..].to_string())
    }
}

/// Runs the library, which panics on some files that it has read without complaint. Nothing here is left half
/// changed: all calls only read.
fn guarded<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> tokenizers::Result<T> {
    let panicked = |_| Err("it contradicts itself: the library gave up on it".into());
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(panicked)
}

fn tokenize(cause: tokenizers::Error) -> Error {
    Error::Tokenize { reason: cause.to_string() }
}
