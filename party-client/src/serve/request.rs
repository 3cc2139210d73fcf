//! What a request wants, in the form of OpenAI's API, and what cannot be had.
//!
//! A field that changes the answer and is not here is refused by name: an answer that silently
//! leaves out what was asked for is a wrong one. Fields that change nothing are ignored.

use serde_json::Value;
use sotto_models::{Message, Penalties, service::Answers};
use sotto_net::compute;
use sotto_shares::Rng;

use super::{
    Endpoint,
    fields::{Fields, kind, wrong},
    refusal::Refusal,
};
use crate::{
    generate::{GenerationRequest, Prompt},
    remote_model::RemoteModel,
};

/// New tokens of a completion, unless the request says how many.
const DEFAULT_COMPLETION: usize = 16;
/// Texts to stop at.
const STOPS: usize = 16;
/// Bytes of one of them.
const STOP_BYTES: usize = 1024;
/// Likeliest tokens at each place.
const LIKELIEST: usize = 20;
/// Answers to one request.
const CHOICES: usize = 128;
/// Fields that change nothing of an answer.
const HARMLESS: [&str; 9] = [
    "metadata",
    "parallel_tool_calls",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
];

/// Which form an answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The next turn of a conversation.
    Chat,
    /// The continuation of a text.
    Text,
}

/// What comes along with a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamOptions {
    /// The sum of tokens at its end.
    pub usage: bool,
    /// How far things are, and what they have cost: an extension.
    pub progress: bool,
}

/// A request that can be served.
pub struct Wanted {
    /// How it is streamed, if it is.
    pub stream: Option<StreamOptions>,
    /// Tokens of all prompts.
    pub prompt_tokens: usize,
    /// One generation for each choice.
    pub generations: Vec<GenerationRequest>,
}

impl Wanted {
    /// Reads a request.
    ///
    /// # Errors
    /// What is wrong with it, or cannot be had.
    pub fn read(body: &[u8], kind: Kind, endpoint: &Endpoint) -> Result<Wanted, Refusal> {
        let (mut fields, model) = (Fields::parse(body)?, &endpoint.model);
        check_model(&mut fields, &endpoint.name)?;
        let stream = stream_options(&mut fields)?;
        let choices = fields.count("n", 1..=CHOICES)?.unwrap_or(1);
        let (constant_length, pad_to) = (endpoint.constant_length, endpoint.pad_to);
        let common = GenerationRequest { constant_length, pad_to, ..options(&mut fields, kind, model)? };
        let prompts = match kind {
            Kind::Chat => vec![conversation(&mut fields, model)?],
            Kind::Text => prompts(&mut fields)?,
        };
        refuse_what_there_is_not(&mut fields, kind, choices)?;
        fields.finish(&HARMLESS)?;
        if prompts.len() * choices > CHOICES {
            let message =
                format!("{} prompts of {choices} answers each, expected {CHOICES} in all", prompts.len());
            return Err(Refusal::field("n", message));
        }
        let mut wanted = Wanted { stream, prompt_tokens: 0, generations: vec![] };
        for prompt in prompts {
            let fitted = compute(|| fit(GenerationRequest { prompt, ..common.clone() }, kind, model))?;
            wanted.prompt_tokens += fitted.1;
            wanted.generations.extend((0..choices).map(|choice| GenerationRequest {
                seed: common.seed.wrapping_add(choice as u64),
                ..fitted.0.clone()
            }));
        }
        Ok(wanted)
    }
}

/// Checks whom a request is for.
///
/// # Errors
/// Another model, or none.
pub fn check_model(fields: &mut Fields, name: &str) -> Result<(), Refusal> {
    match fields.text("model")? {
        None => Err(Refusal::field("model", format!("`model` is missing, expected \"{name}\""))),
        Some(given) if given == name => Ok(()),
        Some(_) => {
            let message =
                format!("there is no such model, expected \"{name}\"; GET /v1/models tells what is here");
            let refusal = Refusal::new(hyper::StatusCode::NOT_FOUND, "invalid_request_error", message);
            Err(refusal.param("model").code("model_not_found"))
        }
    }
}

fn stream_options(fields: &mut Fields) -> Result<Option<StreamOptions>, Refusal> {
    let stream = fields.flag("stream")?;
    let mut options = StreamOptions::default();
    if let Some(value) = fields.take("stream_options") {
        if !stream {
            return Err(Refusal::field(
                "stream_options",
                "`stream_options` without `stream`: set `stream` to true",
            ));
        }
        let mut given = Fields::of(value, "stream_options".into())?;
        options.usage = given.flag("include_usage")?;
        options.progress = given.flag("include_progress")?;
        given.flag("include_obfuscation")?;
        given.finish(&[])?;
    }
    Ok(stream.then_some(options))
}

/// All of a generation but its prompt and how long it may become.
fn options(fields: &mut Fields, kind: Kind, model: &RemoteModel) -> Result<GenerationRequest, Refusal> {
    let penalty = |value: Option<f32>| value.unwrap_or(0.0);
    let presence = penalty(fields.number("presence_penalty", -2.0..=2.0)?);
    let frequency = penalty(fields.number("frequency_penalty", -2.0..=2.0)?);
    let penalties =
        Penalties::new(presence, frequency).map_err(|e| Refusal::field("presence_penalty", e.to_string()))?;
    let longest = fields.count("max_tokens", 1..=usize::MAX)?;
    let request = GenerationRequest {
        max_tokens: match kind {
            Kind::Chat => fields.count("max_completion_tokens", 1..=usize::MAX)?.or(longest),
            Kind::Text => longest,
        },
        temperature: fields.number("temperature", 0.0..=100.0)?.unwrap_or(1.0),
        top_k: fields.count("top_k", 1..=usize::MAX)?,
        // Of nothing, the likeliest token is left.
        top_p: fields.number("top_p", 0.0..=1.0)?.filter(|&p| p < 1.0).map(|p| p.max(f32::MIN_POSITIVE)),
        penalties,
        stop_sequences: stops(fields)?,
        likelihoods: likelihoods(fields, kind)?,
        seed: seed(fields)?,
        ..GenerationRequest::greedy(Prompt::Tokens(vec![]))
    };
    check_revealed(&request, model)?;
    Ok(request)
}

/// Refuses what takes logits that the server does not reveal.
fn check_revealed(request: &GenerationRequest, model: &RemoteModel) -> Result<(), Refusal> {
    let refuse = |param: &str, needs: &str| {
        let message = format!("`{param}` cannot be had: the server reveals {}, {needs}", model.revealed());
        Err(Refusal::field(param, message).code("unsupported_parameter"))
    };
    let answers = model.answers();
    if answers != Answers::Logits && request.likelihoods.is_some() {
        return refuse("logprobs", "and a probability takes all logits; leave it out");
    }
    if answers == Answers::Tokens {
        if !request.penalties.are_none() {
            return refuse("presence_penalty", "and penalties take logits; leave both penalties out");
        }
        if request.temperature != 0.0 && !(0.05..=4.0).contains(&request.temperature) {
            return refuse("temperature", "so temperatures are 0 or 0.05 to 4");
        }
        if request.temperature != 0.0 && request.top_p.is_some() {
            return refuse("top_p", "and a choice among some tokens takes logits; leave it out");
        }
        if request.temperature != 0.0 && request.top_k.is_some() {
            return refuse("top_k", "and a choice among some tokens takes logits; leave it out");
        }
    }
    match (answers, request.top_k) {
        (Answers::Top(most), Some(k)) if k > most as usize => {
            refuse("top_k", &format!("so that top_k is at most {most}"))
        }
        _ => Ok(()),
    }
}

fn stops(fields: &mut Fields) -> Result<Vec<String>, Refusal> {
    let stops = match fields.take("stop") {
        None => return Ok(vec![]),
        Some(Value::Array(stops)) => stops,
        Some(one) => vec![one],
    };
    if stops.len() > STOPS {
        return Err(wrong("stop", format!("a list of {}", stops.len()), format!("{STOPS} texts at most")));
    }
    let text = |stop| match stop {
        Value::String(text) if text.len() > STOP_BYTES => {
            Err(wrong("stop", format!("a text of {} bytes", text.len()), format!("{STOP_BYTES} at most")))
        }
        Value::String(text) if !text.is_empty() => Ok(text),
        Value::String(_) => Err(wrong("stop", "an empty text", "a text that can be found")),
        other => Err(wrong("stop", kind(&other), "a text or a list of texts")),
    };
    stops.into_iter().map(text).collect()
}

fn likelihoods(fields: &mut Fields, kind: Kind) -> Result<Option<usize>, Refusal> {
    if kind == Kind::Text {
        return fields.count("logprobs", 0..=LIKELIEST);
    }
    let wanted = fields.flag("logprobs")?;
    match fields.count("top_logprobs", 0..=LIKELIEST)? {
        Some(_) if !wanted => {
            Err(Refusal::field("top_logprobs", "`top_logprobs` without `logprobs`: set `logprobs` to true"))
        }
        count => Ok(wanted.then_some(count.unwrap_or(0))),
    }
}

fn seed(fields: &mut Fields) -> Result<u64, Refusal> {
    match fields.take("seed") {
        None => Ok(u64::from_le_bytes(Rng::from_os().bytes())),
        Some(value) => match (value.as_u64(), value.as_i64()) {
            (Some(seed), _) => Ok(seed),
            // Of negative ones, the bits.
            (None, Some(seed)) => Ok(seed as u64),
            (None, None) => Err(wrong("seed", kind(&value), "a whole number")),
        },
    }
}

/// The texts of a completion, or their tokens.
fn prompts(fields: &mut Fields) -> Result<Vec<Prompt>, Refusal> {
    const EXPECTED: &str = "a text, a list of texts, a list of tokens, or a list of such lists";
    let Some(prompt) = fields.take("prompt") else {
        return Err(Refusal::field("prompt", format!("`prompt` is missing, expected {EXPECTED}")));
    };
    let list = match prompt {
        Value::String(text) => return Ok(vec![Prompt::Text(text)]),
        Value::Array(list) => list,
        other => return Err(wrong("prompt", kind(&other), EXPECTED)),
    };
    if list.is_empty() {
        return Err(wrong("prompt", "an empty list", EXPECTED));
    }
    let tokens = |list: &[Value]| -> Option<Vec<u32>> {
        list.iter().map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok())).collect()
    };
    if let Some(tokens) = tokens(&list) {
        return Ok(vec![Prompt::Tokens(tokens)]);
    }
    let one = |value: Value| match value {
        Value::String(text) => Ok(Prompt::Text(text)),
        Value::Array(list) => tokens(&list)
            .map(Prompt::Tokens)
            .ok_or_else(|| wrong("prompt", "a list of other lists", EXPECTED)),
        other => Err(wrong("prompt", format!("a list with {}", kind(&other)), EXPECTED)),
    };
    list.into_iter().map(one).collect()
}

fn conversation(fields: &mut Fields, model: &RemoteModel) -> Result<Prompt, Refusal> {
    if !model.is_conversational() {
        let message = "this model knows no turns: it has no chat template; use /v1/completions";
        return Err(Refusal::field("messages", message).code("no_chat_template"));
    }
    match fields.take("messages") {
        Some(Value::Array(turns)) if !turns.is_empty() => {
            let turns = turns.into_iter().enumerate().map(|(at, turn)| message(turn, at));
            Ok(Prompt::Conversation(turns.collect::<Result<_, _>>()?))
        }
        Some(Value::Array(_)) => Err(wrong("messages", "an empty list", "one message or more")),
        Some(other) => Err(wrong("messages", kind(&other), "a list of messages")),
        None => Err(Refusal::field("messages", "`messages` is missing, expected a list of messages")),
    }
}

fn message(turn: Value, at: usize) -> Result<Message, Refusal> {
    let mut fields = Fields::of(turn, format!("messages[{at}]"))?;
    let role = match fields.text("role")?.as_deref() {
        Some("system" | "developer") => "system",
        Some("user") => "user",
        Some("assistant") => "assistant",
        Some(_) => {
            return Err(wrong(&fields.name("role"), "another role", "system, developer, user or assistant"));
        }
        None => return Err(wrong(&fields.name("role"), "missing", "system, developer, user or assistant")),
    };
    let name = fields.name("content");
    let content = match fields.take("content") {
        Some(Value::String(text)) => text,
        Some(Value::Array(parts)) => {
            let parts = parts.into_iter().enumerate();
            parts.map(|(at, part)| text_part(part, format!("{name}[{at}]"))).collect::<Result<_, _>>()?
        }
        Some(other) => return Err(wrong(&name, kind(&other), "a text or a list of texts")),
        None => return Err(wrong(&name, "missing", "a text")),
    };
    let none = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
    for field in ["tool_calls", "function_call", "tool_call_id", "audio", "refusal", "name"] {
        fields.refuse(field, none, "messages are a role and a text here")?;
    }
    fields.finish(&["annotations"])?;
    Ok(Message::new(role, content))
}

fn text_part(part: Value, path: String) -> Result<String, Refusal> {
    let mut fields = Fields::of(part, path.clone())?;
    match fields.text("type")?.as_deref() {
        Some("text") => {
            let text =
                fields.text("text")?.ok_or_else(|| wrong(&fields.name("text"), "missing", "a text"))?;
            fields.finish(&[])?;
            Ok(text)
        }
        _ => {
            let message = format!("`{path}` is no text, and the model reads nothing else; leave it out");
            Err(Refusal::field(path, message).code("unsupported_parameter"))
        }
    }
}

fn refuse_what_there_is_not(fields: &mut Fields, kind: Kind, choices: usize) -> Result<(), Refusal> {
    let empty = |value: &Value| match value {
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.is_empty(),
        Value::String(text) => text.is_empty() || text == "none" || text == "auto",
        Value::Bool(value) => !value,
        _ => false,
    };
    let tools = "the endpoint calls no tools";
    for field in ["tools", "tool_choice", "functions", "function_call", "web_search_options"] {
        fields.refuse(field, empty, tools)?;
    }
    let is_text = |value: &Value| value["type"] == "text";
    fields.refuse("response_format", is_text, "answers are free text")?;
    fields.refuse("logit_bias", empty, "the sampler here has no bias")?;
    let only_text = |value: &Value| value.as_array().is_some_and(|all| all.iter().all(|one| one == "text"));
    fields.refuse("modalities", only_text, "answers are text")?;
    fields.refuse("audio", empty, "answers are text")?;
    for field in ["reasoning_effort", "verbosity"] {
        fields.refuse(field, empty, "the model has no such setting")?;
    }
    if kind == Kind::Text {
        fields.refuse("echo", empty, "the prompt is not repeated")?;
        fields.refuse("suffix", empty, "the model continues a text, and does not fill gaps")?;
    }
    let as_many = |value: &Value| value.as_u64() == Some(choices as u64);
    fields.refuse("best_of", as_many, "all answers that are made are returned, by `n`")
}

/// The request with its prompt as tokens and its length as a number, and how many tokens the prompt
/// has.
fn fit(
    mut request: GenerationRequest,
    kind: Kind,
    model: &RemoteModel,
) -> Result<(GenerationRequest, usize), Refusal> {
    let field = if kind == Kind::Chat { "messages" } else { "prompt" };
    request.check().map_err(|e| Refusal::from(&e).param(field))?;
    // Whether both fit is told below, by the name of the field.
    let wanted = request.max_tokens.take();
    let (tokens, _) = model.plan(&request).map_err(|e| Refusal::from(&e).param(field))?;
    let (prompt, context) = (tokens.len(), model.positions());
    // The last token is not read again.
    let room = context + 1 - prompt;
    let default = match kind {
        Kind::Chat => room,
        Kind::Text => room.min(DEFAULT_COMPLETION),
    };
    let new = wanted.unwrap_or(default);
    if new > room {
        return Err(Refusal::too_long(format!(
            "the model's context is {context} tokens, and {prompt} of the prompt with {new} new ones exceed it; \
             shorten the prompt or lower `max_tokens`"
        ))
        .param(field));
    }
    Ok((GenerationRequest { prompt: Prompt::Tokens(tokens), max_tokens: Some(new), ..request }, prompt))
}
