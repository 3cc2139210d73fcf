//! Answers in OpenAI's form, whole and in pieces.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use sotto_shares::Rng;

use super::{Endpoint, request::Kind};
use crate::{
    likelihood::{Likelihood, TokenLikelihood},
    remote_model::RemoteModel,
    report::{Answer, Report},
};

/// Seconds since 1970.
pub fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// What all parts of an answer have in common.
pub struct Reply {
    kind: Kind,
    id: String,
    created: u64,
    model: String,
    fingerprint: String,
}

/// Tokens of a request and its answers.
#[derive(Clone, Copy, Default)]
pub struct Usage {
    /// Of all prompts.
    pub prompt: usize,
    /// Of all answers.
    pub new: usize,
}

impl Usage {
    fn object(self) -> Value {
        let Usage { prompt, new } = self;
        json!({ "prompt_tokens": prompt, "completion_tokens": new, "total_tokens": prompt + new })
    }
}

impl Reply {
    /// A reply with a name of its own.
    pub fn new(kind: Kind, endpoint: &Endpoint) -> Reply {
        let number = u128::from_le_bytes(Rng::from_os().bytes());
        let prefix = if kind == Kind::Chat { "chatcmpl" } else { "cmpl" };
        Reply {
            kind,
            id: format!("{prefix}-{number:032x}"),
            created: unix_time(),
            model: endpoint.name.clone(),
            fingerprint: endpoint.fingerprint(),
        }
    }

    /// The whole answer: a choice for each report.
    pub fn whole(&self, reports: &[Report], prompt_tokens: usize) -> Value {
        let mut usage = Usage { prompt: prompt_tokens, new: 0 };
        let (mut choices, mut costs) = (vec![], vec![]);
        for (index, report) in reports.iter().enumerate() {
            let Some(answer) = report.answer() else { continue };
            usage.new += answer.tokens.len();
            choices.push(self.choice(index, answer));
            costs.push(report.outline());
        }
        let object = if self.kind == Kind::Chat { "chat.completion" } else { "text_completion" };
        let mut all = self.frame(object, choices);
        all.insert("usage".into(), usage.object());
        all.insert("sotto".into(), json!({ "sessions": costs }));
        all.into()
    }

    fn choice(&self, index: usize, answer: &Answer) -> Value {
        let finish = finish_reason(answer);
        let logprobs = self.logprobs(&answer.likelihoods, &mut 0);
        match self.kind {
            Kind::Chat => json!({
                "index": index,
                "message": { "role": "assistant", "content": answer.text, "refusal": null },
                "logprobs": logprobs,
                "finish_reason": finish,
            }),
            Kind::Text => json!({
                "index": index, "text": answer.text, "logprobs": logprobs, "finish_reason": finish,
            }),
        }
    }

    /// The piece that begins a choice, if it has one.
    pub fn start(&self, index: usize) -> Option<Value> {
        (self.kind == Kind::Chat).then(|| {
            let delta = json!({ "role": "assistant", "content": "", "refusal": null });
            self.piece(json!({ "index": index, "delta": delta, "logprobs": null, "finish_reason": null }))
        })
    }

    /// Some more text, and how likely its tokens were; `offset` counts the characters of these.
    pub fn text(&self, index: usize, text: &str, tokens: &[TokenLikelihood], offset: &mut usize) -> Value {
        let logprobs = self.logprobs(tokens, offset);
        self.piece(match self.kind {
            Kind::Chat => json!({
                "index": index, "delta": { "content": text }, "logprobs": logprobs, "finish_reason": null,
            }),
            Kind::Text => {
                json!({ "index": index, "text": text, "logprobs": logprobs, "finish_reason": null })
            }
        })
    }

    /// The piece that ends a choice.
    pub fn finish(&self, index: usize, answer: &Answer) -> Value {
        let finish = finish_reason(answer);
        self.piece(match self.kind {
            Kind::Chat => json!({ "index": index, "delta": {}, "logprobs": null, "finish_reason": finish }),
            Kind::Text => json!({ "index": index, "text": "", "logprobs": null, "finish_reason": finish }),
        })
    }

    /// The piece at the end of a stream that says how many tokens there were.
    pub fn usage(&self, usage: Usage) -> Value {
        let mut all = self.frame(self.chunk(), vec![]);
        all.insert("usage".into(), usage.object());
        all.into()
    }

    /// A piece without text, about the session: an extension.
    pub fn progress(&self, about: Value) -> Value {
        let mut all = self.frame(self.chunk(), vec![]);
        all.insert("sotto".into(), about);
        all.into()
    }

    fn piece(&self, choice: Value) -> Value {
        self.frame(self.chunk(), vec![choice]).into()
    }

    fn chunk(&self) -> &'static str {
        if self.kind == Kind::Chat { "chat.completion.chunk" } else { "text_completion" }
    }

    fn frame(&self, object: &str, choices: Vec<Value>) -> Map<String, Value> {
        let values = [
            ("id", self.id.as_str().into()),
            ("object", object.into()),
            ("created", self.created.into()),
            ("model", self.model.as_str().into()),
            ("system_fingerprint", self.fingerprint.as_str().into()),
            ("choices", choices.into()),
        ];
        values.map(|(name, value): (&str, Value)| (name.to_string(), value)).into_iter().collect()
    }

    fn logprobs(&self, tokens: &[TokenLikelihood], offset: &mut usize) -> Value {
        if tokens.is_empty() {
            return Value::Null;
        }
        match self.kind {
            Kind::Chat => {
                let content = tokens.iter().map(|token| {
                    let mut entry = chat_likelihood(&token.chosen);
                    let rivals: Vec<Value> = token.likeliest.iter().map(chat_likelihood).collect();
                    entry["top_logprobs"] = rivals.into();
                    entry
                });
                json!({ "content": content.collect::<Vec<_>>(), "refusal": null })
            }
            Kind::Text => {
                let starts = tokens.iter().map(|token| {
                    let start = *offset;
                    *offset += token.chosen.text.chars().count();
                    start
                });
                let starts: Vec<usize> = starts.collect();
                let rivals = tokens.iter().map(|token| {
                    let all = token.likeliest.iter().map(|one| (one.text.clone(), json!(one.logprob)));
                    all.collect::<Map<_, _>>()
                });
                let rivals = tokens[0].likeliest.first().map(|_| rivals.collect::<Vec<_>>());
                json!({
                    "tokens": tokens.iter().map(|token| token.chosen.text.as_str()).collect::<Vec<_>>(),
                    "token_logprobs": tokens.iter().map(|token| token.chosen.logprob).collect::<Vec<_>>(),
                    "top_logprobs": rivals,
                    "text_offset": starts,
                })
            }
        }
    }
}

fn chat_likelihood(one: &Likelihood) -> Value {
    json!({ "token": one.text, "logprob": one.logprob, "bytes": one.text.as_bytes() })
}

fn finish_reason(answer: &Answer) -> &'static str {
    if answer.ended || answer.stopped { "stop" } else { "length" }
}

/// A model as `/v1/models` lists it, with what is public of it.
pub fn model(endpoint: &Endpoint) -> Value {
    let model: &RemoteModel = &endpoint.model;
    let summary = model.summary();
    json!({
        "id": endpoint.name,
        "object": "model",
        "created": endpoint.created,
        "owned_by": endpoint.upstream.server,
        "max_model_len": model.positions(),
        "sotto": {
            "fingerprint": endpoint.fingerprint(),
            "model": summary.text,
            "reveals": model.revealed(),
            "task": model.task().name(),
            "conversational": model.is_conversational(),
            "audited": model.audited(),
            "tokenizer": model.tokenizer_digest(),
            "precision": endpoint.upstream.precision,
        },
    })
}
