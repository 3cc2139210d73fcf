//! Embeddings: which texts a request has, and their vectors in OpenAI's form.

use std::mem;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sotto_models::Task;

use super::{
    Endpoint,
    fields::{Fields, kind, wrong},
    refusal::Refusal,
    request::check_model,
};
use crate::{
    report::Report,
    task::{Input, Outcome, TaskRequest},
};

/// Texts of a request at most.
const TEXTS: usize = 2048;

/// A request that can be served.
pub struct Wanted {
    /// The texts.
    pub request: TaskRequest,
    /// Their tokens.
    tokens: usize,
    /// Whether vectors are numbers of 32 bits, the low byte first, in base 64.
    packed: bool,
}

impl Wanted {
    /// Reads a request.
    ///
    /// # Errors
    /// What is wrong with it, or cannot be had.
    pub fn read(body: &[u8], endpoint: &Endpoint) -> Result<Wanted, Refusal> {
        let (mut fields, model) = (Fields::parse(body)?, &endpoint.model);
        check_model(&mut fields, &endpoint.name)?;
        let texts = texts(&mut fields)?;
        let packed = match fields.text("encoding_format")?.as_deref() {
            None | Some("float") => false,
            Some("base64") => true,
            Some(_) => return Err(wrong("encoding_format", "another form", "float or base64")),
        };
        let numbers = model.config().outputs();
        let whole = |value: &Value| value.as_u64() == Some(numbers as u64);
        fields.refuse("dimensions", whole, &format!("vectors have {numbers} numbers"))?;
        fields.finish(&["user"])?;
        let count = |(i, text): (usize, &String)| match model.tokens_of(text) {
            Ok(ids) => Ok(ids.len()),
            Err(e) => Err(Refusal::from(&e).param(format!("input[{i}]"))),
        };
        let tokens = texts.iter().enumerate().map(count).sum::<Result<usize, _>>()?;
        let inputs = texts.into_iter().map(|text| Input { text, context: None }).collect();
        Ok(Wanted { request: TaskRequest { task: Task::Embed, inputs }, tokens, packed })
    }

    /// The answer.
    pub fn answer(&self, endpoint: &Endpoint, report: &Report) -> Value {
        let vectors = report.results().iter().filter_map(|result| match result {
            Outcome::Vector { vector } => Some(vector),
            _ => None,
        });
        let object = |(index, vector): (usize, &Vec<f32>)| {
            let embedding = match self.packed {
                true => {
                    STANDARD.encode(vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()).into()
                }
                false => json!(vector),
            };
            json!({ "object": "embedding", "index": index, "embedding": embedding })
        };
        json!({
            "object": "list",
            "data": vectors.enumerate().map(object).collect::<Vec<_>>(),
            "model": endpoint.name,
            "usage": { "prompt_tokens": self.tokens, "total_tokens": self.tokens },
            "sotto": { "sessions": [report.outline()] },
        })
    }
}

fn texts(fields: &mut Fields) -> Result<Vec<String>, Refusal> {
    const EXPECTED: &str = "a text or a list of texts";
    let list = match fields.take("input") {
        None => return Err(Refusal::field("input", format!("`input` is missing, expected {EXPECTED}"))),
        Some(Value::String(text)) => vec![Value::String(text)],
        Some(Value::Array(list)) => list,
        Some(other) => return Err(wrong("input", kind(&other), EXPECTED)),
    };
    if !(1..=TEXTS).contains(&list.len()) {
        return Err(wrong("input", format!("a list of {}", list.len()), format!("1 to {TEXTS} texts")));
    }
    let text = |mut value: Value| match &mut value {
        Value::String(text) if text.is_empty() => Err(wrong("input", "an empty text", EXPECTED)),
        Value::String(text) => Ok(mem::take(text)),
        // Other programs make them with a tokenizer of their own.
        Value::Number(_) | Value::Array(_) => Err(Refusal::field(
            "input",
            "`input` has tokens, and this model has another tokenizer than OpenAI's; send texts (with \
             LangChain: check_embedding_ctx_length=False)",
        )),
        other => Err(wrong("input", format!("a list with {}", kind(other)), EXPECTED)),
    };
    list.into_iter().map(text).collect()
}
