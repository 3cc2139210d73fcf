//! Text to token ids and back.
//!
//! Both parties use the same `tokenizer.json`; they compare its [`Tokenizer::digest`] before
//! anything secret moves. An answer is decoded as it grows by [`Tokenizer::stream`].

use std::char::REPLACEMENT_CHARACTER;
use std::fmt::{self, Display, Formatter};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tokenizers::Decoder;
use tokenizers::decoders::DecoderWrapper;

use crate::config::Config;
use crate::content::read_small;
use crate::error::Error;
use crate::json_object::json_fault;

/// Largest `tokenizer.json` accepted, in bytes.
pub const TOKENIZER_LIMIT: u64 = 64 << 20;

/// The BLAKE3 hash of a `tokenizer.json`, or of one and a chat template, by which a client pins how
/// its texts are read. In hexadecimal as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Of a file's bytes.
    pub fn of(json: &[u8]) -> Digest {
        Digest(blake3::hash(json).into())
    }

    /// Of this file and a chat template with that digest.
    pub fn with(self, template: Digest) -> Digest {
        Digest::of(&[self.0, template.0].concat())
    }
}

impl Display for Digest {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        blake3::Hash::from(self.0).fmt(f)
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Digest, String> {
        let hash = blake3::Hash::from_hex(text);
        hash.map(|hash| Digest(hash.into())).map_err(|_| "expected 64 hexadecimal digits".into())
    }
}

/// A tokenizer all of whose ids are rows of the model's embedding.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    json: Vec<u8>,
    vocab: usize,
    /// Whether tokens such as `<0xC3>` stand for bytes.
    byte_fallback: bool,
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
                let cure = "take the file from the model's source, in the format of Hugging Face tokenizers";
                let other = || (format!("not a tokenizer ({cause})"), cure);
                let (reason, cure) = json_fault(&json).unwrap_or_else(other);
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
        let byte_fallback = inner.get_decoder().is_some_and(has_byte_fallback);
        Ok(Tokenizer { inner, json, vocab, byte_fallback })
    }

    /// The text of the `tokenizer.json`.
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    /// The digest of the `tokenizer.json`.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.json)
    }

    /// The ids of a prompt, with the special tokens that the model expects around it. At least one,
    /// each below `vocab_size`. A text that already begins with the first of these tokens gets no
    /// second one.
    ///
    /// # Errors
    ///
    /// If the text is empty or has more than `limit` tokens.
    pub fn encode(&self, text: &str, limit: usize) -> Result<Vec<u32>, Error> {
        let mut ids = self.ids(text, true)?;
        if let [first, second, ..] = ids[..]
            && first == second
            && self.is_special(first)
            && self.ids(text, false)?.len() < ids.len()
        {
            ids.remove(0);
        }
        bounded(ids, limit)
    }

    /// The ids of a text that a chat template has rendered: the special tokens are those that the
    /// text spells out, and no others. At least one, each below `vocab_size`.
    ///
    /// # Errors
    ///
    /// If the text is empty or has more than `limit` tokens.
    pub fn encode_rendered(&self, text: &str, limit: usize) -> Result<Vec<u32>, Error> {
        bounded(self.ids(text, false)?, limit)
    }

    /// Whether an id is a special token: one that is not part of the text.
    pub fn is_special(&self, id: u32) -> bool {
        let name = self.inner.id_to_token(id);
        name.is_some_and(|name| self.inner.get_added_vocabulary().is_special_token(&name))
    }

    /// The id of a token, by its spelling in `tokenizer.json`.
    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token).filter(|&id| (id as usize) < self.vocab)
    }

    /// How a token is spelled in `tokenizer.json`.
    pub fn name_of(&self, id: u32) -> String {
        self.inner.id_to_token(id).unwrap_or_default()
    }

    /// The tokens of a text, or of two, with the special tokens that the model expects around them,
    /// and where each is.
    ///
    /// # Errors
    /// If a text is empty, or there are more than `limit` tokens.
    pub fn encode_places(&self, text: &str, second: Option<&str>, limit: usize) -> Result<Encoded, Error> {
        if text.is_empty() || second == Some("") {
            return Err(Error::PromptEmpty);
        }
        let encoding = guarded(|| match second {
            None => self.inner.encode(text, true),
            Some(second) => self.inner.encode((text, second), true),
        });
        let encoding = encoding.map_err(tokenize)?;
        let ids = bounded(encoding.get_ids().to_vec(), limit)?;
        self.check(&ids)?;
        let of = encoding.get_sequence_ids();
        let places = of.into_iter().zip(encoding.get_offsets());
        let places = places.map(|(of, &(start, end))| Some((of?, start..end))).collect();
        let first = encoding.get_type_ids().iter().position(|&kind| kind == 1);
        Ok(Encoded { ids, first: first.filter(|_| second.is_some()), places })
    }

    /// The text of some ids, without special tokens. More ids only add to it, except that bytes of
    /// a character that is not whole yet are U+FFFD, at most three of them.
    ///
    /// # Errors
    ///
    /// If an id is not below `vocab_size`.
    pub fn decode(&self, ids: &[u32]) -> Result<String, Error> {
        self.check(ids)?;
        guarded(|| self.text(ids)).map_err(tokenize)
    }

    /// Decodes an answer token by token, as the continuation of `prompt`.
    ///
    /// # Errors
    ///
    /// If an id of the prompt is not below `vocab_size`.
    pub fn stream(&self, prompt: &[u32]) -> Result<Stream<'_>, Error> {
        let (start, shown) = self.window(prompt)?;
        Ok(Stream { tokenizer: self, ids: prompt[start..].to_vec(), shown })
    }

    fn ids(&self, text: &str, special: bool) -> Result<Vec<u32>, Error> {
        if text.is_empty() {
            return Err(Error::PromptEmpty);
        }
        let encoding = guarded(|| self.inner.encode_fast(text, special)).map_err(tokenize)?;
        self.check(encoding.get_ids())?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The library spoils a whole run of byte tokens if one of its characters is not whole, those
    /// already shown among them. Here each character stands for itself.
    fn text(&self, ids: &[u32]) -> tokenizers::Result<String> {
        let (true, Some(decoder)) = (self.byte_fallback, self.inner.get_decoder()) else {
            return self.inner.decode(ids, true);
        };
        let special = self.inner.get_added_vocabulary();
        let names = ids.iter().filter_map(|&id| self.inner.id_to_token(id));
        decoder.decode(whole_characters(names.filter(|name| !special.is_special_token(name))))
    }

    /// Where the last tokens begin that show how a text goes on, and their text. It has a visible
    /// character: decoders treat spaces at the beginning apart.
    fn window(&self, ids: &[u32]) -> Result<(usize, String), Error> {
        let mut tokens = WINDOW;
        loop {
            let start = ids.len().saturating_sub(tokens);
            let text = self.decode(&ids[start..])?;
            if start == 0 || text.contains(|c: char| !c.is_whitespace() && c != REPLACEMENT_CHARACTER) {
                return Ok((start, text));
            }
            tokens *= 2;
        }
    }

    fn check(&self, ids: &[u32]) -> Result<(), Error> {
        match ids.iter().find(|&&id| id as usize >= self.vocab) {
            None => Ok(()),
            Some(&id) => Err(Error::TokenOutOfRange { id, vocab: self.vocab }),
        }
    }
}

/// A text, or two, as tokens.
pub struct Encoded {
    /// Their ids.
    pub ids: Vec<u32>,
    /// How many are of the first of two texts, if the tokenizer tells them apart.
    pub first: Option<usize>,
    /// For each token the text that it is of, 0 or 1, and its bytes there; nothing for those that
    /// the tokenizer has put around.
    pub places: Vec<Option<(usize, Range<usize>)>>,
}

/// Tokens that are decoded with the new one, at least.
const WINDOW: usize = 8;

/// Tokens after which a new window is taken.
const MAX_WINDOW: usize = 64;

/// U+FFFD that may become one character when more bytes come.
const MAX_HELD: usize = 3;

/// An answer on its way to the screen.
///
/// The pieces put together are the text of prompt and answer decoded at once, less the text of the
/// prompt. A token may end in the middle of a character: the character is held back until it is
/// whole, or found to be broken.
#[derive(Clone)]
pub struct Stream<'a> {
    tokenizer: &'a Tokenizer,
    /// The last tokens of the prompt, and the answer's.
    ids: Vec<u32>,
    /// Their text, as far as it belongs to the prompt or has been given out.
    shown: String,
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
        let text = self.tokenizer.decode(&self.ids)?;
        let settled = without_held(&text);
        if self.shown.starts_with(settled) {
            return Ok(String::new());
        }
        let new = settled[common(&self.shown, settled)..].to_string();
        self.shown = settled.to_string();
        if self.ids.len() > MAX_WINDOW && settled.len() == text.len() {
            let start;
            (start, self.shown) = self.tokenizer.window(&self.ids)?;
            self.ids.drain(..start);
        }
        Ok(new)
    }

    /// What is still held back at the end: an incomplete character, as U+FFFD.
    ///
    /// # Errors
    ///
    /// If the tokenizer fails.
    pub fn finish(self) -> Result<String, Error> {
        let text = self.tokenizer.decode(&self.ids)?;
        Ok(text[common(&self.shown, &text)..].to_string())
    }
}

/// The text before what may still become another character.
fn without_held(text: &str) -> &str {
    let cut = |text: &'_ str| text.strip_suffix(REPLACEMENT_CHARACTER).map(str::len);
    (0..MAX_HELD).fold(text, |text, _| cut(text).map_or(text, |len| &text[..len]))
}

/// Bytes that two texts have in common at their beginnings.
fn common(a: &str, b: &str) -> usize {
    a.chars().zip(b.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum()
}

fn has_byte_fallback(decoder: &DecoderWrapper) -> bool {
    match decoder {
        DecoderWrapper::ByteFallback(_) => true,
        DecoderWrapper::Sequence(sequence) => sequence.get_decoders().iter().any(has_byte_fallback),
        _ => false,
    }
}

/// Puts U+FFFD for each byte token that is not part of a whole character.
fn whole_characters(tokens: impl Iterator<Item = String>) -> Vec<String> {
    let (mut whole, mut run) = (Vec::new(), Vec::new());
    for token in tokens {
        match byte(&token) {
            Some(byte) => run.push(byte),
            None => {
                settle(&mut run, &mut whole);
                whole.push(token);
            }
        }
    }
    settle(&mut run, &mut whole);
    whole
}

fn settle(run: &mut Vec<u8>, whole: &mut Vec<String>) {
    for chunk in run.utf8_chunks() {
        whole.extend(chunk.valid().bytes().map(|byte| format!("<0x{byte:02X}>")));
        whole.extend(chunk.invalid().iter().map(|_| REPLACEMENT_CHARACTER.to_string()));
    }
    run.clear();
}

/// The byte that a token such as `<0xC3>` stands for.
fn byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() == 2 { u8::from_str_radix(digits, 16).ok() } else { None }
}

fn bounded(ids: Vec<u32>, limit: usize) -> Result<Vec<u32>, Error> {
    match ids.len() {
        0 => Err(Error::PromptEmpty),
        actual if actual > limit => Err(Error::PromptTooLong { actual, limit }),
        _ => Ok(ids),
    }
}

/// Runs the library, which panics on some files that it has read without complaint. Nothing here is
/// left half changed: all calls only read.
fn guarded<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> tokenizers::Result<T> {
    let panicked = |_| Err("it contradicts itself: the library gave up on it".into());
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(panicked)
}

fn tokenize(cause: tokenizers::Error) -> Error {
    Error::Tokenize { reason: cause.to_string() }
}
