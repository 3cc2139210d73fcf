//! Who saw what, and what it cost.

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Formatter},
    time::Duration,
};

use serde::Serialize;
use sotto_models::{Config, Fields, service::Ranges};
use sotto_net::{Cost, Fingerprint, Half, SpanKey};
use sotto_protocol::Precision;

use crate::args::Args;

/// All there is to tell at the end of a run.
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
    /// Whether the server says that the model's audit found nothing.
    audited: bool,
    /// Whether every watched number stayed in its range: otherwise the result may be wrong.
    pub in_range: bool,
    saw: Saw,
    cost: Costs,
}

/// The network that this run pretended to be on.
#[derive(Serialize)]
struct SimulatedLink {
    /// None is as fast as it goes.
    bits_per_second: Option<f64>,
    rtt_seconds: f64,
}

/// An answer.
#[derive(Serialize, Default)]
pub struct Answer {
    /// The continuation, without the prompt.
    pub text: String,
    /// Its tokens, an ending one included.
    pub tokens: Vec<u32>,
    /// Whether the model ended it.
    pub ended: bool,
    /// Wall-clock time of each; the first one's includes the prompt.
    pub token_seconds: Vec<f64>,
}

/// How far the private evaluation was from the reference.
#[derive(Serialize, Default)]
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

/// What each party learned.
#[derive(Serialize)]
pub struct Saw {
    server: ServerSaw,
    client: ClientSaw,
}

#[derive(Serialize)]
struct ServerSaw {
    prompt_tokens: usize,
    new_tokens_at_most: usize,
    new_tokens: usize,
    /// When, how much and in what order messages came: that follows from the lengths, and from this
    /// machine's speed.
    timing: bool,
}

#[derive(Serialize)]
struct ClientSaw {
    model: Fields,
    /// Matrices of the model of which it was told how many fraction bits they have.
    matrices: usize,
    tokenizer: bool,
    /// Positions whose logits it was given.
    rows_of_logits: usize,
    /// How many of each it was given: of the largest, if not of all.
    logits_in_row: usize,
}

impl Saw {
    /// What followed from a request for `new` tokens after `prompt`, of which `made` were made;
    /// `logits`: rows that were revealed, and numbers of each.
    pub fn new(config: &Config, prompt: usize, new: usize, made: usize, logits: [usize; 2]) -> Saw {
        Saw {
            server: ServerSaw {
                prompt_tokens: prompt,
                new_tokens_at_most: new,
                new_tokens: made,
                timing: true,
            },
            client: ClientSaw {
                model: config.clone().into(),
                matrices: 4 * config.num_hidden_layers + 2,
                tokenizer: true,
                rows_of_logits: logits[0],
                logits_in_row: logits[1],
            },
        }
    }
}

/// What a part of the run cost, as the client sees it.
#[derive(Serialize, Clone, Copy, Default)]
struct Price {
    seconds: f64,
    sent_bytes: u64,
    received_bytes: u64,
    turns: u64,
    /// Correlated oblivious transfers, both directions.
    cots: u64,
}

#[derive(Serialize)]
struct Costs {
    /// Hello, oblivious transfers, keys, tokenizer.
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

type Spans = BTreeMap<SpanKey, Cost>;

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
    pub fn new(
        args: &Args,
        server: Option<Fingerprint>,
        saw: Saw,
        (audited, ranges): (bool, Ranges),
        spans: &Spans,
    ) -> Report {
        Report {
            server: args.server.clone(),
            fingerprint: server.map(|fingerprint| fingerprint.to_string()),
            link: SimulatedLink { bits_per_second: args.link.rate, rtt_seconds: args.link.rtt.as_secs_f64() },
            precision: args.precision,
            answer: None,
            comparison: None,
            audited,
            in_range: ranges == Ranges::Kept,
            cost: Costs::new(spans, saw.server.new_tokens),
            saw,
        }
    }

    /// The report of a generation.
    pub fn with_answer(self, answer: Answer) -> Report {
        Report { answer: Some(answer), ..self }
    }

    /// The report of a comparison.
    pub fn with_comparison(self, comparison: Comparison) -> Report {
        Report { comparison: Some(comparison), ..self }
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let tls = match &self.fingerprint {
            Some(fingerprint) => format!("TLS, {fingerprint}"),
            None => "WITHOUT TLS".into(),
        };
        writeln!(f, "server {} ({tls}{}), precision {}", self.server, self.link, self.precision.name())?;
        if let Some(comparison) = &self.comparison {
            write!(f, "{comparison}")?;
        }
        write!(f, "{}\n{}", self.saw, self.cost)
    }
}

impl Display for SimulatedLink {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.bits_per_second {
            None => Ok(()),
            Some(rate) => {
                let rtt = Duration::from_secs_f64(self.rtt_seconds);
                write!(f, "; simulated network of {} Mbit/s, {rtt:?}", rate / 1e6)
            }
        }
    }
}

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let share = |part: usize, of: usize| 100.0 * part as f64 / of.max(1) as f64;
        let (all, same) = (self.positions, self.agreeing);
        writeln!(f, "same likeliest token      {same} of {all} positions ({:.2} %)", share(same, all))?;
        let (all, same) = (self.clear_positions, self.clear_agreeing);
        let percent = share(same, all);
        writeln!(f, "  where it leads by {}   {same} of {all} positions ({percent:.2} %)", self.clear_gap)?;
        writeln!(f, "largest logit difference  {:.4}", self.largest_difference)
    }
}

impl Display for Saw {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (s, c) = (&self.server, &self.client);
        let m = &c.model;
        writeln!(
            f,
            "the server saw  that the prompt has {} tokens, that at most {} new ones were wanted and {} made, at what precision, and when",
            s.prompt_tokens, s.new_tokens_at_most, s.new_tokens
        )?;
        writeln!(
            f,
            "the client saw  the model's shape ({} layers of width {}, MLP {}, {} + {} heads of {}, vocabulary {}, \
             context {}), the fraction bits of its {} matrices, its tokenizer, {} rows of {} logits, whether its numbers \
             may leave their ranges, and whether one did",
            m.num_hidden_layers,
            m.hidden_size,
            m.intermediate_size,
            m.num_attention_heads,
            m.num_key_value_heads,
            m.head_dim,
            m.vocab_size,
            m.max_position_embeddings,
            c.matrices,
            c.rows_of_logits,
            c.logits_in_row
        )?;
        writeln!(f, "nothing else    was shown to either: all other messages are encrypted, masked or random")
    }
}

impl Display for Costs {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:28}{:>10}{:>12}{:>12}{:>8}{:>12}",
            "", "seconds", "MB sent", "MB received", "turns", "COTs"
        )?;
        row(f, "set-up", self.setup)?;
        row(f, "offline", self.offline)?;
        row(f, "prefill, online", self.prefill)?;
        row(f, "decode, online", self.decode)?;
        row(f, "total", self.total)?;
        if let Some(mean) = &self.per_token {
            let megabytes = mean.bytes / 1e6;
            let what = "each token after the first";
            writeln!(f, "{what:28}{:>10.3}{megabytes:>24.3}{:>8.0}", mean.seconds, mean.turns)?;
        }
        for phase in ["prefill", "decode"] {
            let operations: Vec<&Operation> = self.operations.iter().filter(|o| o.phase == phase).collect();
            if !operations.is_empty() {
                writeln!(f, "{phase}")?;
            }
            for operation in operations {
                row(f, &format!("  {}, {}", operation.operation, operation.half), operation.price)?;
            }
        }
        Ok(())
    }
}

fn row(f: &mut Formatter<'_>, what: &str, p: Price) -> fmt::Result {
    let (sent, received) = (p.sent_bytes as f64 / 1e6, p.received_bytes as f64 / 1e6);
    writeln!(f, "{what:28}{:>10.3}{sent:>12.3}{received:>12.3}{:>8}{:>12}", p.seconds, p.turns, p.cots)
}
