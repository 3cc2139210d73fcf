//! A conversation as the text that a chat model was trained on, by the model's own template.
//!
//! Templates are Jinja, with the helpers and the whitespace control of `apply_chat_template` in
//! Hugging Face transformers. A template may come from the peer: it sees the messages and nothing
//! else, and its work and memory are bounded.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Kwargs;
use minijinja::{Environment, ErrorKind, Value, context};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use serde_json::ser::Formatter;

use crate::calendar::strftime;
use crate::content::read_small;
use crate::error::Error;
use crate::gguf::{Gguf, Value as Metadatum};
use crate::gguf_tokenizer::named_token;
use crate::json_object::json_fault;
use crate::text::for_terminal;
use crate::tokenizer::Tokenizer;

/// Longest template accepted, in bytes.
pub const TEMPLATE_LIMIT: usize = 256 << 10;

/// Longest text that a template may make, in bytes.
pub const RENDERED_LIMIT: usize = 4 << 20;

/// What a template may spend: about one unit for an instruction and one for 64 bytes of data.
const FUEL: u64 = 1 << 19;
/// Stack for a template of [`TEMPLATE_LIMIT`] bytes, each of which is nested in the one before.
/// Only what is used of it takes memory.
const STACK: usize = 1 << 30;
const FILE_LIMIT: u64 = 16 << 20;
const NAME: &str = "chat template";
const CURE: &str = "take the file again from the model's source";

/// A turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks: `system`, `user` or `assistant`, or what else the model knows.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A turn.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Message {
        Message { role: role.into(), content: content.into() }
    }
}

/// A chat template that can be read as such.
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    bos_token: Option<String>,
    eos_token: Option<String>,
}

impl ChatTemplate {
    /// The template of a model: in `chat_template.jinja`, `chat_template.json` or
    /// `tokenizer_config.json` of its folder, or in the metadata of its GGUF file. `None` if it has
    /// none: then the model continues texts and knows no turns.
    ///
    /// # Errors
    ///
    /// If a file is malformed or the template is no Jinja.
    pub fn open(model: &Path) -> Result<Option<ChatTemplate>, Error> {
        if model.is_file() { ChatTemplate::from_gguf(&Gguf::open(model)?) } else { from_folder(model) }
    }

    pub(crate) fn from_gguf(gguf: &Gguf) -> Result<Option<ChatTemplate>, Error> {
        let Some(Metadatum::Text(source)) = gguf.get("tokenizer.chat_template") else { return Ok(None) };
        let token = |key| named_token(gguf, key);
        let (bos, eos) = (token("bos_token_id"), token("eos_token_id"));
        ChatTemplate::parse(source, bos.as_deref(), eos.as_deref()).map(Some)
    }

    /// A template from its text and the texts of the tokens that begin and end a text.
    ///
    /// # Errors
    ///
    /// If it is too long or is no Jinja.
    pub fn parse(
        source: &str,
        bos_token: Option<&str>,
        eos_token: Option<&str>,
    ) -> Result<ChatTemplate, Error> {
        if source.len() > TEMPLATE_LIMIT {
            let reason = format!("it has {} bytes, expected at most {TEMPLATE_LIMIT}", source.len());
            return Err(Error::ChatTemplate { reason });
        }
        let mut environment = Environment::new();
        environment.set_syntax(
            SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(refused)?,
        );
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_unknown_method_callback(unknown_method_callback);
        environment.set_fuel(Some(FUEL));
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        let jinja = without_marks(source);
        guarded(|| environment.add_template_owned(NAME, jinja))?;
        let [bos_token, eos_token] = [bos_token, eos_token].map(|token| token.map(str::to_string));
        Ok(ChatTemplate { environment, source: source.into(), bos_token, eos_token })
    }

    /// The template and its tokens, as they are offered to a client.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let offered = (&self.source, &self.bos_token, &self.eos_token);
        serde_json::to_vec(&offered).expect("texts serialise")
    }

    /// The inverse.
    ///
    /// # Errors
    /// The bytes are no such text, or the template does not parse.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<ChatTemplate, Error> {
        let malformed = |e: serde_json::Error| Error::ChatTemplate { reason: e.to_string() };
        let (source, bos, eos): (String, Option<String>, Option<String>) =
            serde_json::from_slice(bytes).map_err(malformed)?;
        ChatTemplate::parse(&source, bos.as_deref(), eos.as_deref())
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text of the token that begins a text, if the model has one.
    pub fn bos_token(&self) -> Option<&str> {
        self.bos_token.as_deref()
    }

    /// The text of the token that ends a text, if the model has one.
    pub fn eos_token(&self) -> Option<&str> {
        self.eos_token.as_deref()
    }

    /// The conversation as one text, special tokens spelled out: [`Tokenizer::encode_rendered`]
    /// reads it. With `add_generation_prompt` it ends where the model's next turn begins.
    ///
    /// # Errors
    ///
    /// If the template refuses the conversation, fails, or exceeds its bounds.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, Error> {
        let turn =
            |m: &Message| Value::from_pairs([("role", m.role.as_str()), ("content", m.content.as_str())]);
        let values = context! {
            messages => Value::from(messages.iter().map(turn).collect::<Vec<_>>()),
            add_generation_prompt,
            tools => Value::from(()),
            documents => Value::from(()),
            bos_token => known(&self.bos_token),
            eos_token => known(&self.eos_token),
        };
        let template = self.environment.get_template(NAME).map_err(refused)?;
        let text = guarded(|| template.render(values))?;
        if text.len() > RENDERED_LIMIT {
            let reason = format!("it makes {} bytes of text, expected at most {RENDERED_LIMIT}", text.len());
            return Err(Error::ChatTemplate { reason });
        }
        Ok(text)
    }

    /// The token that ends a turn: the first special one that the template puts after what the
    /// model says. `None` if there is none or the template fails on a plain question and answer.
    pub fn end_of_turn(&self, tokenizer: &Tokenizer) -> Option<u32> {
        const ANSWER: &str = "Sotto answers.";
        let turns = [Message::new("user", "?"), Message::new("assistant", ANSWER)];
        let text = self.render(&turns, false).ok()?;
        let (_, rest) = text.rsplit_once(ANSWER)?;
        let ids = tokenizer.encode_rendered(rest, usize::MAX).ok()?;
        ids.into_iter().find(|&id| tokenizer.is_special(id))
    }
}

/// A token, or nothing: templates may ask whether it is defined.
fn known(token: &Option<String>) -> Value {
    token.as_deref().map_or(Value::UNDEFINED, Value::from)
}

/// Where a folder may have its template, the first that does.
fn from_folder(folder: &Path) -> Result<Option<ChatTemplate>, Error> {
    let config = read_json(&folder.join("tokenizer_config.json"))?.unwrap_or_default();
    let jinja = folder.join("chat_template.jinja");
    let source = if jinja.exists() {
        let text = read_small(&jinja, TEMPLATE_LIMIT as u64, CURE)?;
        Some(String::from_utf8(text).map_err(|_| malformed(&jinja, "not a text in UTF-8".into(), CURE))?)
    } else {
        match read_json(&folder.join("chat_template.json"))? {
            Some(json) => named(&json["chat_template"]),
            None => named(&config["chat_template"]),
        }
    };
    let Some(source) = source else { return Ok(None) };
    let (bos, eos) = (token(&config["bos_token"]), token(&config["eos_token"]));
    ChatTemplate::parse(&source, bos, eos).map(Some)
}

/// A template, or of a list of named ones the default.
fn named(value: &Json) -> Option<String> {
    match value {
        Json::String(source) => Some(source.clone()),
        Json::Array(list) => {
            let default = list.iter().find(|entry| entry["name"] == "default");
            let only = if list.len() == 1 { list.first() } else { None };
            default.or(only)?["template"].as_str().map(str::to_string)
        }
        _ => None,
    }
}

/// A token, written as its text or as an object with its text.
fn token(value: &Json) -> Option<&str> {
    value.as_str().or_else(|| value["content"].as_str())
}

fn read_json(file: &Path) -> Result<Option<Json>, Error> {
    if !file.exists() {
        return Ok(None);
    }
    let text = read_small(file, FILE_LIMIT, CURE)?;
    serde_json::from_slice(&text).map(Some).map_err(|cause| {
        let (reason, cure) = json_fault(&text).unwrap_or_else(|| (format!("malformed JSON ({cause})"), CURE));
        malformed(file, reason, cure)
    })
}

fn malformed(file: &Path, reason: String, cure: &'static str) -> Error {
    Error::Malformed { file: file.into(), reason, cure }
}

/// Blocks that mark what the model says, for training, mean nothing here.
fn without_marks(source: &str) -> String {
    let mut jinja = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at + 2);
        jinja.push_str(before);
        let sign = tag.len() - tag.trim_start_matches(['-', '+']).len();
        let (head, body) = tag.split_at(sign);
        jinja.push_str(head);
        let word = body.trim_start();
        let named = |name: &str| {
            word.strip_prefix(name).filter(|rest| rest.trim_start().starts_with(['-', '%', '+']))
        };
        rest = match (named("generation"), named("endgeneration")) {
            (Some(rest), _) => {
                jinja.push_str(" if true ");
                rest
            }
            (_, Some(rest)) => {
                jinja.push_str(" endif ");
                rest
            }
            _ => body,
        };
    }
    jinja.push_str(rest);
    jinja
}

fn raise_exception(message: String) -> Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
}

/// The present time, in UTC.
fn strftime_now(format: &str) -> Result<String, minijinja::Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    strftime(format, now).map_err(|reason| minijinja::Error::new(ErrorKind::InvalidOperation, reason))
}

/// JSON as Python's `json.dumps` writes it, without escapes for HTML.
fn to_json(value: &Value, options: Kwargs) -> Result<String, minijinja::Error> {
    let failed = |e: serde_json::Error| minijinja::Error::new(ErrorKind::BadSerialization, e.to_string());
    let indent: Option<usize> = options.get("indent")?;
    for option in ["ensure_ascii", "sort_keys", "separators"] {
        options.get::<Option<Value>>(option)?;
    }
    options.assert_all_used()?;
    let mut text = Bounded(Vec::new());
    match indent {
        None => {
            let mut writer = serde_json::Serializer::with_formatter(&mut text, Spaced);
            value.serialize(&mut writer).map_err(failed)?;
        }
        Some(width) => {
            let indent = " ".repeat(width.min(16));
            let pretty = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
            let mut writer = serde_json::Serializer::with_formatter(&mut text, pretty);
            value.serialize(&mut writer).map_err(failed)?;
        }
    }
    String::from_utf8(text.0).map_err(|e| minijinja::Error::new(ErrorKind::BadSerialization, e.to_string()))
}

/// Takes [`RENDERED_LIMIT`] bytes and no more.
struct Bounded(Vec<u8>);

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > RENDERED_LIMIT {
            return Err(std::io::Error::other("the JSON text is too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// `{"a": 1, "b": [2, 3]}`.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

/// Runs the library on what may be hostile: should it panic, that is an error of the template. It
/// recurses as deeply as expressions are nested, at most once a byte, so that it gets a stack of
/// its own.
fn guarded<T: Send>(call: impl FnOnce() -> Result<T, minijinja::Error> + Send) -> Result<T, Error> {
    let gave_up = |reason: &str| Error::ChatTemplate { reason: reason.into() };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("chat template".into()).stack_size(STACK);
        let thread = thread.spawn_scoped(scope, call).map_err(|_| gave_up("no thread could be started"))?;
        match thread.join() {
            Ok(result) => result.map_err(refused),
            Err(_) => Err(gave_up("the library gave up on it")),
        }
    })
}

/// The cause in one line of bounded length: a template may choose the words.
fn refused(cause: minijinja::Error) -> Error {
    const LENGTH: usize = 300;
    let text = for_terminal(&cause.to_string().replace(['\n', '\t'], " "));
    let cut = if text.chars().count() > LENGTH { "..." } else { "" };
    Error::ChatTemplate { reason: text.chars().take(LENGTH).chain(cut.chars()).collect() }
}
