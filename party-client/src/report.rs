//! Who saw what, and what it cost: the figures. `text` has them as lines.

mod text;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};
use sotto_net::{Cost, Fingerprint, Half, SpanKey};
use sotto_protocol::Precision;

use crate::{likelihood::TokenLikelihood, session::Options, task::Outcome};

/// All there is to tell at the end of a request. Its `Display` fits a screen; with `{:#}` it has
/// every operation.
#[derive(Serialize)]
pub struct Report {
    /// Where the server was, as the user named it.
    server: String,
    /// Its identity; none without TLS.
    fingerprint: Option<String>,
    /// The simulated network.
    link: SimulatedLink,
    /// How exact the model was computed.
    precision: Precision,
    #[serde(flatten)]
    answer: Option<Answer>,
    comparison: Option<Comparison>,
    /// What came of each text, in the order of the request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    results: Vec<Outcome>,
    /// Whether the server says that the model's audit found nothing.
    audited: bool,
    /// Whether every watched number stayed in its range: otherwise the result may be wrong.
    in_range: bool,
    saw: Disclosure,
    cost: Costs,
}

/// The network that this run imitated.
#[derive(Serialize)]
struct SimulatedLink {
    /// None is as fast as it goes.
    bits_per_second: Option<f64>,
    rtt_seconds: f64,
}

/// An answer.
#[derive(Clone, Serialize, Default)]
pub struct Answer {
    /// The continuation, without the prompt.
    pub text: String,
    /// Its tokens, an ending one included.
    pub tokens: Vec<u32>,
    /// Whether the model ended it.
    pub ended: bool,
    /// Whether a stop sequence ended it.
    #[serde(skip_serializing_if = "is_false")]
    pub stopped: bool,
    /// How likely each token was but an ending one, if the request asks for that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub likelihoods: Vec<TokenLikelihood>,
    /// Wall-clock time of each in seconds; the first one's includes the prompt.
    pub token_seconds: Vec<f64>,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// How far the private evaluation was from the reference.
#[derive(Clone, Serialize, Default)]
pub struct Comparison {
    /// Positions compared.
    pub positions: usize,
    /// Those where both find the same token likeliest.
    pub agreeing: usize,
    /// The gap between the reference's two likeliest tokens that makes a position clear.
    pub clear_gap: f32,
    /// Positions that are clear.
    pub clear_positions: usize,
    /// Those of them where both find the same token likeliest.
    pub clear_agreeing: usize,
    /// The largest distance between two logits.
    pub largest_difference: f32,
}

/// What is public of a model.
#[derive(Clone, Debug, Serialize)]
pub struct ModelSummary {
    /// Its configuration.
    #[serde(rename = "model")]
    pub config: Value,
    /// Matrices of the model of which the client was told how many fraction bits they have.
    pub matrices: usize,
    /// The same in words.
    #[serde(skip)]
    pub text: String,
}

/// Logits that the client was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Logits {
    /// Positions whose logits it was given.
    #[serde(rename = "rows_of_logits")]
    pub rows: usize,
    /// How many of each: of the largest, if not of all.
    #[serde(rename = "logits_in_row")]
    pub in_row: usize,
}

/// What each party learned.
#[derive(Clone, Serialize)]
pub struct Disclosure {
    server: ServerSaw,
    client: ClientSaw,
}

#[derive(Clone, Serialize)]
struct ServerSaw {
    prompt_tokens: usize,
    /// Those of them that the session had read before.
    #[serde(skip_serializing_if = "is_zero")]
    read_before: usize,
    new_tokens_at_most: usize,
    new_tokens: usize,
    /// Of each text, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    text_tokens: Vec<usize>,
    /// When, how much and in what order messages came: that follows from the lengths, and from this
    /// machine's speed.
    timing: bool,
}

#[derive(Clone, Serialize)]
struct ClientSaw {
    #[serde(flatten)]
    model: ModelSummary,
    tokenizer: bool,
    #[serde(flatten)]
    logits: Logits,
}

impl Disclosure {
    /// What followed from a request for `new` tokens after `prompt`, of which `made` were made.
    pub(crate) fn new(
        model: ModelSummary,
        prompt: usize,
        new: usize,
        made: usize,
        logits: Logits,
    ) -> Disclosure {
        Disclosure {
            server: ServerSaw {
                prompt_tokens: prompt,
                read_before: 0,
                new_tokens_at_most: new,
                new_tokens: made,
                text_tokens: vec![],
                timing: true,
            },
            client: ClientSaw { model, tokenizer: true, logits },
        }
    }

    /// The same of a prompt that begins with what the session had read before.
    pub(crate) fn after(mut self, past: usize) -> Disclosure {
        self.server.read_before = past;
        self
    }

    /// What followed from a request for texts of these lengths.
    pub(crate) fn of_texts(model: ModelSummary, tokens: Vec<usize>, logits: Logits) -> Disclosure {
        let mut saw = Disclosure::new(model, tokens.iter().sum(), 0, 0, logits);
        saw.server.text_tokens = tokens;
        saw
    }
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// What a part of the run cost, as the client sees it.
#[derive(Serialize, Clone, Copy, Default)]
struct Price {
    seconds: f64,
    sent_bytes: u64,
    received_bytes: u64,
    /// One-way message delays on the critical path.
    turns: u64,
    /// Correlated oblivious transfers, both directions.
    cots: u64,
}

#[derive(Serialize)]
struct Costs {
    /// Queue, hello, oblivious transfers, keys, tokenizer.
    setup: Price,
    /// Correlations, made for the prompt and the tokens expected to follow, and later on for more.
    offline: Price,
    /// What depends on the prompt.
    prefill: Price,
    /// What depends on the tokens after it.
    decode: Price,
    /// A mean over all tokens after the first one, offline part included.
    per_token: Option<Mean>,
    total: Price,
    operations: Vec<Operation>,
}

#[derive(Serialize)]
struct Mean {
    seconds: f64,
    bytes: f64,
    turns: f64,
}

#[derive(Serialize)]
struct Operation {
    phase: &'static str,
    operation: &'static str,
    half: &'static str,
    #[serde(flatten)]
    price: Price,
}

impl From<Cost> for Price {
    fn from(c: Cost) -> Price {
        Price {
            seconds: c.seconds,
            sent_bytes: c.sent,
            received_bytes: c.received,
            turns: c.turns,
            cots: c.cots,
        }
    }
}

/// The meter's costs, by phase, operation and half.
pub(crate) type Spans = BTreeMap<SpanKey, Cost>;

impl Costs {
    fn new(spans: &Spans, made: usize) -> Costs {
        let sum = |wanted: &dyn Fn(&SpanKey) -> bool| {
            let costs = spans.iter().filter(|(key, _)| wanted(key)).map(|(_, cost)| *cost);
            costs.fold(Cost::default(), |a, b| a + b)
        };
        let decode = sum(&|key| key.phase == "decode");
        let later = made.saturating_sub(1) as f64;
        let per_token = (later > 0.0).then(|| Mean {
            seconds: decode.seconds / later,
            bytes: decode.bytes() as f64 / later,
            turns: decode.turns as f64 / later,
        });
        let online = |phase| sum(&|key| key.phase == phase && key.half == Half::Online).into();
        let operations = spans.iter().filter(|(_, cost)| **cost != Cost::default()).map(|(key, cost)| {
            Operation { phase: key.phase, operation: key.op, half: half(key.half), price: (*cost).into() }
        });
        Costs {
            setup: sum(&|key| key.phase == "setup").into(),
            offline: sum(&|key| key.phase != "setup" && key.half == Half::Offline).into(),
            prefill: online("prefill"),
            decode: online("decode"),
            per_token,
            total: sum(&|_| true).into(),
            operations: operations.collect(),
        }
    }
}

fn half(half: Half) -> &'static str {
    match half {
        Half::Offline => "offline",
        Half::Online => "online",
    }
}

impl Report {
    /// A run's report, from what was seen and the costs that the meter has attributed.
    pub(crate) fn new(
        options: &Options,
        server: Option<Fingerprint>,
        saw: Disclosure,
        (audited, in_range): (bool, bool),
        spans: &Spans,
    ) -> Report {
        let link = options.link;
        Report {
            server: options.server.clone(),
            fingerprint: server.map(|fingerprint| fingerprint.to_string()),
            link: SimulatedLink { bits_per_second: link.rate, rtt_seconds: link.rtt.as_secs_f64() },
            precision: options.precision,
            answer: None,
            comparison: None,
            results: vec![],
            audited,
            in_range,
            cost: Costs::new(spans, saw.server.new_tokens),
            saw,
        }
    }

    /// The report of a generation.
    pub(crate) fn with_answer(self, answer: Answer) -> Report {
        Report { answer: Some(answer), ..self }
    }

    /// The report of a comparison.
    pub(crate) fn with_comparison(self, comparison: Comparison) -> Report {
        Report { comparison: Some(comparison), ..self }
    }

    /// Tokens of the prompt that the session had read before.
    pub fn read_before(&self) -> usize {
        self.saw.server.read_before
    }

    /// Tokens of the prompt.
    pub fn prompt_tokens(&self) -> usize {
        self.saw.server.prompt_tokens
    }

    /// The wall-clock time of the session, and its bytes in both directions.
    pub fn total(&self) -> (f64, u64) {
        let Price { seconds, sent_bytes, received_bytes, .. } = self.cost.total;
        (seconds, sent_bytes + received_bytes)
    }

    /// What the server saw, and what it cost by phase, without the answer.
    pub(crate) fn outline(&self) -> Value {
        let Costs { setup, offline, prefill, decode, total, .. } = &self.cost;
        json!({
            "in_range": self.in_range,
            "audited": self.audited,
            "server_saw": self.saw.server,
            "cost": {
                "setup": setup, "offline": offline, "prefill": prefill, "decode": decode, "total": total,
            },
        })
    }

    /// The report of a task.
    pub(crate) fn with_results(self, results: Vec<Outcome>) -> Report {
        Report { results, ..self }
    }

    /// What came of each text, if that was asked for.
    pub fn results(&self) -> &[Outcome] {
        &self.results
    }

    /// The answer, if one was asked for.
    pub fn answer(&self) -> Option<&Answer> {
        self.answer.as_ref()
    }

    /// The comparison, if one was asked for.
    pub fn comparison(&self) -> Option<&Comparison> {
        self.comparison.as_ref()
    }

    /// Whether every watched number stayed in its range: otherwise the result may be wrong.
    pub fn in_range(&self) -> bool {
        self.in_range
    }
}
