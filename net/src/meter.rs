//! Cost accounting: seconds, bytes, turns and oblivious transfers, attributed to spans.

use std::{
    collections::BTreeMap,
    ops::{Add, AddAssign, Sub},
    time::{Duration, Instant},
};

/// The half of a protocol: before its input exists, or after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Half {
    /// Makes correlations. It needs no input.
    Offline,
    /// Uses the correlations.
    Online,
}

/// What a cost is attributed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpanKey {
    /// The part of the session: `"setup"`, `"prefill"`, `"decode"`.
    pub phase: &'static str,
    /// The operation: `"linear"`, `"softmax"`.
    pub op: &'static str,
    /// Offline or online.
    pub half: Half,
}

/// A cost as one party sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Wall-clock time.
    pub seconds: f64,
    /// Bytes sent, framing included.
    pub sent: u64,
    /// Bytes received, framing included.
    pub received: u64,
    /// One-way message delays on the critical path.
    pub turns: u64,
    /// Correlated oblivious transfers drawn, in both directions together.
    pub cots: u64,
}

impl Cost {
    /// Bytes in both directions.
    pub fn bytes(&self) -> u64 {
        self.sent + self.received
    }
}

impl Add for Cost {
    type Output = Cost;
    fn add(self, o: Cost) -> Cost {
        Cost {
            seconds: self.seconds + o.seconds,
            sent: self.sent + o.sent,
            received: self.received + o.received,
            turns: self.turns + o.turns,
            cots: self.cots + o.cots,
        }
    }
}

impl Sub for Cost {
    type Output = Cost;
    fn sub(self, o: Cost) -> Cost {
        Cost {
            seconds: self.seconds - o.seconds,
            sent: self.sent - o.sent,
            received: self.received - o.received,
            turns: self.turns - o.turns,
            cots: self.cots - o.cots,
        }
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, o: Cost) {
        *self = *self + o;
    }
}

/// Attributes the channel's traffic to spans. Spans nest; a cost counts for the innermost one only.
pub struct Meter {
    start: Instant,
    total: Cost,
    marked: Cost,
    phase: &'static str,
    open: Vec<(&'static str, Half)>,
    spans: BTreeMap<SpanKey, Cost>,
    tags: BTreeMap<&'static str, u64>,
}

impl Meter {
    pub(crate) fn new() -> Meter {
        Meter {
            start: Instant::now(),
            total: Cost::default(),
            marked: Cost::default(),
            phase: "setup",
            open: vec![("session", Half::Online)],
            spans: BTreeMap::new(),
            tags: BTreeMap::new(),
        }
    }

    pub(crate) fn sent(&mut self, tag: &'static str, bytes: usize) {
        self.total.sent += bytes as u64;
        *self.tags.entry(tag).or_default() += bytes as u64;
    }

    pub(crate) fn received(&mut self, tag: &'static str, bytes: usize) {
        self.total.received += bytes as u64;
        *self.tags.entry(tag).or_default() += bytes as u64;
    }

    pub(crate) fn reached(&mut self, turns: u64) {
        self.total.turns = self.total.turns.max(turns);
    }

    /// Adds correlated oblivious transfers that were drawn.
    pub fn drew(&mut self, cots: u64) {
        self.total.cots += cots;
    }

    /// The cost since the channel was opened.
    pub fn total(&self) -> Cost {
        Cost { seconds: self.elapsed().as_secs_f64(), ..self.total }
    }

    /// Time since the channel was opened.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Costs count for `phase` from now on.
    pub fn phase(&mut self, phase: &'static str) {
        self.flush();
        self.phase = phase;
    }

    /// Opens a span inside the current one.
    pub fn enter(&mut self, op: &'static str, half: Half) {
        self.flush();
        self.open.push((op, half));
    }

    /// Opens the offline half of the current span's operation.
    pub fn enter_offline(&mut self) {
        let op = self.open.last().map_or("session", |o| o.0);
        self.enter(op, Half::Offline);
    }

    /// Closes the innermost span.
    ///
    /// # Panics
    /// If no span was entered.
    pub fn leave(&mut self) {
        self.flush();
        assert!(self.open.len() > 1, "leave without enter");
        self.open.pop();
    }

    /// The cost of each span so far.
    pub fn spans(&mut self) -> BTreeMap<SpanKey, Cost> {
        self.flush();
        self.spans.clone()
    }

    /// The span that costs count for now.
    pub(crate) fn span(&self) -> SpanKey {
        let (op, half) = *self.open.last().expect("the outermost span is never closed");
        SpanKey { phase: self.phase, op, half }
    }

    /// Counts the last `bytes` received for `span`.
    pub(crate) fn attribute(&mut self, span: SpanKey, bytes: u64) {
        self.spans.entry(span).or_default().received += bytes;
        self.marked.received += bytes;
    }

    /// Bytes per frame tag, both directions.
    pub fn tags(&self) -> &BTreeMap<&'static str, u64> {
        &self.tags
    }

    fn flush(&mut self) {
        let now = self.total();
        *self.spans.entry(self.span()).or_default() += now - self.marked;
        self.marked = now;
    }
}
