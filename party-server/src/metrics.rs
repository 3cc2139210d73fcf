//! Counts of what has happened, in the text format of OpenMetrics (Prometheus): the lengths, sizes
//! and times that the log has, added up. Nothing secret; but who reads them often sees each request
//! in them, as in the log.

use std::sync::Arc;

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::Registry,
};
use sotto_party::memory;

use crate::{
    events::{Event, Events, Served},
    queue::Stages,
};

/// One label and its value.
type Label = [(&'static str, &'static str); 1];

/// Seconds that requests take, from one to an hour.
const SECONDS: [f64; 11] = [1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];

/// The counts of a server. Cheap to clone.
#[derive(Clone, Default)]
pub struct Metrics {
    sessions: Counter,
    refused: Family<Label, Counter>,
    failed: Family<Label, Counter>,
    left: Counter,
    cannot_accept: Counter,
    requests: Family<Label, Counter>,
    read_tokens: Counter,
    kept_tokens: Counter,
    made_tokens: Counter,
    texts: Counter,
    bytes: Counter,
    turns: Counter,
    seconds: Seconds,
    most_prompt: Gauge,
    connections: Family<Label, Gauge>,
    memory: Gauge,
}

#[derive(Clone)]
struct Seconds(Histogram);

impl Default for Seconds {
    fn default() -> Seconds {
        Seconds(Histogram::new(SECONDS))
    }
}

impl Metrics {
    /// All of them by name.
    fn registry(&self) -> Registry {
        let mut all = Registry::with_prefix("sotto");
        all.register("build", "The program", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        all.register("sessions", "Sessions begun", self.sessions.clone());
        all.register("refused", "Clients not admitted, by reason", self.refused.clone());
        all.register("failed", "Connections ended early, by whose doing", self.failed.clone());
        all.register("left", "Clients gone without a request", self.left.clone());
        all.register("accept_errors", "Connections that the system refused", self.cannot_accept.clone());
        all.register("requests", "Requests served, by task", self.requests.clone());
        all.register("prompt_tokens", "Tokens of prompts and texts that were read", self.read_tokens.clone());
        all.register("kept_tokens", "Tokens of prompts that sessions had read", self.kept_tokens.clone());
        all.register("new_tokens", "Tokens made", self.made_tokens.clone());
        all.register("texts", "Texts that encoders read", self.texts.clone());
        all.register("transferred_bytes", "Bytes of requests, both ways", self.bytes.clone());
        all.register("turns", "One-way message delays of requests", self.turns.clone());
        all.register("request_seconds", "What requests took", self.seconds.0.clone());
        all.register("max_prompt_tokens", "Tokens of a prompt at most", self.most_prompt.clone());
        all.register("connections", "Connections now, by stage", self.connections.clone());
        all.register("resident_memory_bytes", "Memory that the program holds", self.memory.clone());
        all
    }

    /// The text that is answered with.
    pub fn text(&self, stages: &Stages) -> String {
        let Stages { handshake, waiting, session, idle } = *stages;
        let counts = [("handshake", handshake), ("waiting", waiting), ("session", session), ("idle", idle)];
        for (stage, count) in counts {
            self.connections.get_or_create(&[("stage", stage)]).set(count as i64);
        }
        self.memory.set(memory::resident() as i64);
        let mut text = String::new();
        encode(&mut text, &self.registry()).expect("a string takes all");
        text
    }

    fn served(&self, served: &Served) {
        self.requests.get_or_create(&[("task", served.task.name())]).inc();
        self.read_tokens.inc_by(served.prompt as u64);
        self.kept_tokens.inc_by(served.past.into());
        match served.task {
            sotto_models::Task::Generate => self.made_tokens.inc_by(served.made as u64),
            _ => self.texts.inc_by(served.made as u64),
        };
        self.bytes.inc_by(served.bytes);
        self.turns.inc_by(served.turns);
        self.seconds.0.observe(served.seconds);
    }

    fn count(&self, event: &Event) {
        match event {
            Event::Lengths(lengths) => _ = self.most_prompt.set(lengths.max_prompt as i64),
            Event::CannotAccept(_) => _ = self.cannot_accept.inc(),
            Event::Refused { reason, .. } => {
                _ = self.refused.get_or_create(&[("reason", reason.name())]).inc();
            }
            Event::Begun { .. } => _ = self.sessions.inc(),
            Event::Served { served, .. } => self.served(served),
            Event::Left { .. } => _ = self.left.inc(),
            Event::Failed { error, .. } => {
                _ = self.failed.get_or_create(&[("by", error.fault().name())]).inc();
            }
            _ => (),
        }
    }

    /// Counts events, and tells them to another front end.
    pub fn counting(&self, events: Arc<dyn Events>) -> Arc<dyn Events> {
        Arc::new(Counting { metrics: self.clone(), events })
    }
}

struct Counting {
    metrics: Metrics,
    events: Arc<dyn Events>,
}

impl Events for Counting {
    fn tell(&self, event: Event) {
        self.metrics.count(&event);
        self.events.tell(event);
    }
}
