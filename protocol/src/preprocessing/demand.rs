//! What a step of a model takes, part by part, and the needs that follow from it.

use std::borrow::Borrow;

use sotto_shares::{Ring, Shape};

use crate::{
    Error, Precision, Schedule, Session,
    activation::{self, Activation},
    cost::CostModel,
    kv_cache::{Coming, Heads, KvCache},
    layer_norm,
    linear::{self, Matrix},
    rms_norm,
    rows::{self, RowShape},
    softmax,
};

/// One evaluation of a model: of a prompt, or of a token. Both parties make the same from public
/// shapes.
pub struct Step<W> {
    /// Its parts, in the order of evaluation: the embedding, each layer, the head.
    pub parts: Vec<Part<W>>,
    /// What its protocols save.
    pub schedule: Schedule,
    /// Tokens that it evaluates. After a step of one, those that follow take the same parts again.
    pub tokens: usize,
    /// Tokens that were evaluated before it, one at a time.
    pub tokens_before: usize,
    /// Tokens that may be evaluated after it, one at a time, as far as both parties know.
    pub tokens_after: usize,
    /// Positions that may follow its own in all.
    pub reach: usize,
}

/// Tokens to come for which something is made at a time: at least, and at most.
const AHEAD: [usize; 2] = [7, 15];

impl<W> Step<W> {
    /// Whether the steps after it take the same.
    pub(super) fn repeats(&self) -> bool {
        self.tokens == 1
    }

    /// Tokens after it for which something is made along with its own: as many as came before it.
    /// An answer that ends early has paid for few that never come, and a long one makes many at a
    /// time, which costs less for each.
    pub(super) fn ahead(&self) -> usize {
        let [least, most] = AHEAD;
        self.tokens_before.clamp(least, most).min(self.tokens_after)
    }
}

/// What a part of a model takes.
pub struct Part<W> {
    /// Which part it is.
    pub kind: Kind,
    /// Matrices, each with the number of rows that it multiplies.
    pub matrices: Vec<(W, usize)>,
    /// Its attention, if it has any.
    pub attention: Option<Attention>,
    /// Functions, each with the number of times that it is evaluated. Norms take row triples.
    pub functions: Vec<(Function, usize)>,
}

/// The kinds of parts, which the meter tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Its matrix is the table of token vectors.
    Embedding,
    /// A layer.
    Layer,
    /// What leads from the last layer to the output.
    Head,
}

/// A layer's attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attention {
    /// The number of its cache.
    pub cache: usize,
    /// Heads and widths.
    pub heads: Heads,
    /// New positions.
    pub positions: usize,
}

/// A function of a layer, and its public shape.
#[derive(Clone, Debug, PartialEq)]
pub enum Function {
    /// RMSNorm of rows of this shape, with its epsilon.
    RmsNorm(Shape, f64),
    /// LayerNorm, the same.
    LayerNorm(Shape, f64),
    /// Softmax of rows that see so many positions each.
    Softmax(Vec<usize>),
    /// An activation of so many numbers, to this ring.
    Activation(Activation, usize, Ring),
    /// A soft cap of rows that see so many positions each, to this ring.
    SoftCap(Vec<usize>, Ring),
}

impl Function {
    /// What it sends and spends, so many positions later: each row of scores sees as many more.
    pub fn cost(&self, precision: Precision, schedule: Schedule, positions: usize) -> CostModel {
        match self {
            Function::RmsNorm(shape, eps) => rms_norm::cost(precision, schedule, *shape, *eps),
            Function::LayerNorm(shape, eps) => layer_norm::cost(precision, schedule, *shape, *eps),
            Function::Softmax(visible) => {
                let visible: Vec<usize> = visible.iter().map(|n| n + positions).collect();
                softmax::cost(precision, schedule, &visible)
            }
            Function::Activation(f, n, ring) => activation::cost(*f, precision, schedule, *n, ring.bits()),
            Function::SoftCap(visible, ring) => {
                let n = visible.iter().map(|n| n + positions).sum();
                activation::cost(Activation::SoftCap, precision, schedule, n, ring.bits())
            }
        }
    }

    /// The rows that it normalises.
    fn normalised(&self) -> Option<Shape> {
        match self {
            Function::RmsNorm(shape, _) | Function::LayerNorm(shape, _) => Some(*shape),
            _ => None,
        }
    }
}

/// Correlations that will be drawn, of a matrix or of its shape.
pub struct Need<'a, W> {
    pub(super) what: What<'a, W>,
    /// How many.
    n: usize,
    /// How many to make beyond those if any are missing.
    more: usize,
}

/// Kinds of correlations.
pub(super) enum What<'a, W> {
    /// Masks for rows that the matrix multiplies, in a span of the meter.
    Linear(&'a W, &'static str),
    Rows(RowShape),
    /// Masks for queries of positions: how many may follow them; whether they come after those that
    /// have masks.
    Positions(&'a mut KvCache, usize, bool),
    Triples(Ring),
}

impl<'a, W: Matrix> Need<'a, W> {
    fn new(what: What<'a, W>, n: usize) -> Self {
        Need { what, n, more: 0 }
    }

    /// Masks for `n` rows that the matrix multiplies ([`crate::linear`]).
    pub fn linear(w: &'a W, n: usize) -> Self {
        Need::new(What::Linear(w, "linear masks"), n)
    }

    /// Row triples ([`crate::rows`]).
    pub fn rows(shape: RowShape, n: usize) -> Self {
        Need::new(What::Rows(shape), n)
    }

    /// Masks for the next `n` positions of a cache ([`crate::kv_cache`]).
    pub fn positions(cache: &'a mut KvCache, n: usize) -> Self {
        Need::new(What::Positions(cache, 0, false), n)
    }

    /// Multiplication triples in a ring of 48 bits at most, made under encryption ([`crate::mul`]).
    pub fn triples(ring: Ring, n: usize) -> Self {
        Need::new(What::Triples(ring), n)
    }

    /// If any are missing, `more` are made for later.
    pub fn with_more(mut self, more: usize) -> Self {
        self.more = more;
        self
    }

    /// After the next positions, `reach` may follow: if a cache needs masks of keys and values, it
    /// gets some for those, too.
    pub fn within(mut self, reach: usize) -> Self {
        if let What::Positions(_, most, _) = &mut self.what {
            *most = reach;
        }
        self
    }

    /// As many again, where the first are there or in flight.
    fn again(mut self) -> Self {
        match &mut self.what {
            What::Positions(_, _, later) => *later = true,
            _ => self.n *= 2,
        }
        self
    }

    /// How many have to be made; none if all are in stock or in flight.
    pub(super) fn to_make(&self, s: &mut Session) -> usize {
        let missing = match &self.what {
            What::Linear(w, _) => linear::missing(s, w.shape(), self.n),
            What::Rows(shape) => rows::missing(s, *shape, self.n),
            What::Positions(cache, ..) => {
                if cache.is_missing(&self.coming()) {
                    self.n
                } else {
                    0
                }
            }
            What::Triples(ring) => s.stocks.triples.entry(*ring).or_default().missing(self.n),
        };
        if missing == 0 { 0 } else { missing + self.more }
    }

    /// Positions as [`crate::kv_cache`] takes them.
    pub(super) fn coming(&self) -> Coming {
        let (reach, later) = match &self.what {
            What::Positions(_, reach, later) => (*reach, *later),
            _ => (0, false),
        };
        Coming { n: self.n, more: self.more, reach, later }
    }

    /// Bytes that they take in stock, about.
    pub(super) fn bytes(&self) -> usize {
        let n = self.n + self.more;
        match &self.what {
            What::Linear(w, _) => linear::bytes(w.shape(), n),
            What::Rows(shape) => rows::bytes(*shape, n),
            What::Positions(cache, ..) => cache.masks_bytes(n),
            What::Triples(_) => 24 * n,
        }
    }

    /// Waits for those in flight.
    ///
    /// # Errors
    /// A request has failed.
    pub(super) async fn arrive(self, s: &mut Session) -> Result<(), Error> {
        match self.what {
            What::Linear(w, _) => linear::arrive(s, w.shape(), self.n).await,
            What::Rows(shape) => rows::arrive(s, shape, self.n).await,
            What::Positions(cache, _, false) => cache.arrive(s, self.n).await,
            What::Positions(_, _, true) | What::Triples(_) => Ok(()),
        }
    }
}

/// Bytes of what is made together for several parts at most.
const TOGETHER: usize = 64 << 20;

/// Needs of several parts: those of the first, rows for all of them, and the others' matrices and
/// caches.
pub(super) struct Demand<'a, W> {
    first: Vec<Need<'a, W>>,
    rows: Vec<Rows>,
    others: Vec<Need<'a, W>>,
}

/// Rows of one shape, which are one need of all parts.
struct Rows {
    shape: RowShape,
    /// How many the first part takes.
    first: usize,
    /// How many all parts take.
    all: usize,
    /// How many to make beyond those.
    more: usize,
}

impl<'a, M: Matrix> Demand<'a, M> {
    /// Of a step's parts from `index` on, as many as fit into memory, and `more` tokens after them.
    ///
    /// # Panics
    /// If a cache is missing, or two parts have the same.
    pub fn of<W: Borrow<M>>(
        step: &'a Step<W>,
        index: usize,
        caches: &'a mut [KvCache],
        precision: Precision,
        more: usize,
    ) -> Demand<'a, M> {
        let mut caches: Vec<Option<&mut KvCache>> = caches.iter_mut().map(Some).collect();
        let (mut demand, mut bytes) = (Demand { first: vec![], rows: vec![], others: vec![] }, 0);
        // Rows for tokens to come are the first of these tokens' to make: a prompt does not wait
        // for them.
        let later = if step.repeats() { more } else { 0 };
        for (i, part) in step.parts[index..].iter().enumerate() {
            let (mut needs, rows) = (part.linear(more, step.tokens), part.rows(precision));
            if let Some(Attention { cache, positions, .. }) = part.attention {
                let cache = caches[cache].take().expect("each part has a cache of its own");
                needs.push(Need::positions(cache, positions).with_more(more).within(step.reach));
            }
            let of_rows = rows.iter().map(|&(shape, n)| rows::bytes(shape, n * (1 + later)));
            bytes += needs.iter().map(Need::bytes).chain(of_rows).sum::<usize>();
            if i > 0 && bytes > TOGETHER {
                break;
            }
            rows.into_iter().for_each(|(shape, n)| demand.add_rows(shape, n, n * later, i == 0));
            if i == 0 { &mut demand.first } else { &mut demand.others }.extend(needs);
        }
        demand
    }

    fn add_rows(&mut self, shape: RowShape, n: usize, more: usize, is_first: bool) {
        let first = if is_first { n } else { 0 };
        match self.rows.iter_mut().find(|rows| rows.shape == shape) {
            Some(rows) => {
                (rows.first, rows.all, rows.more) = (rows.first + first, rows.all + n, rows.more + more)
            }
            None => self.rows.push(Rows { shape, first, all: n, more }),
        }
    }

    /// Rows of the first part.
    fn first_rows(&self) -> Vec<Need<'a, M>> {
        self.rows.iter().map(|rows| Need::rows(rows.shape, rows.first).with_more(rows.more)).collect()
    }

    /// Rows of all parts.
    fn all_rows(&self) -> Vec<Need<'a, M>> {
        self.rows.iter().map(|rows| Need::rows(rows.shape, rows.all).with_more(rows.more)).collect()
    }

    /// Whether something of the first part is neither in stock nor in flight.
    pub fn is_first_missing(&self, s: &mut Session) -> bool {
        self.first.iter().any(|need| need.to_make(s) > 0)
            || self.first_rows().iter().any(|need| need.to_make(s) > 0)
    }

    /// What all parts need, the first part's matrices and cache first.
    pub fn all(self) -> Vec<Need<'a, M>> {
        let rows = self.all_rows();
        self.first.into_iter().chain(rows).chain(self.others).collect()
    }

    /// What the first part needs.
    pub fn only_first(self) -> Vec<Need<'a, M>> {
        let rows = self.first_rows();
        self.first.into_iter().chain(rows).collect()
    }

    /// What the same parts will need once more, after this time.
    pub fn again(self) -> Vec<Need<'a, M>> {
        let rows = self.all_rows();
        self.first.into_iter().chain(self.others).chain(rows).map(Need::again).collect()
    }
}

impl<W> Part<W> {
    /// Masks for its matrices, and for so many tokens more. A matrix of heads multiplies several
    /// rows of a token.
    fn linear<'a, M: Matrix>(&'a self, more: usize, tokens: usize) -> Vec<Need<'a, M>>
    where
        W: Borrow<M>,
    {
        let span = match self.kind {
            Kind::Embedding => "embedding",
            Kind::Layer | Kind::Head => "linear masks",
        };
        let need = |(w, n): &'a (W, usize)| {
            let later = more * n.div_ceil(tokens.max(1));
            Need::new(What::Linear(w.borrow(), span), *n).with_more(later)
        };
        self.matrices.iter().map(need).collect()
    }

    /// Rows that it takes: of norms, and of the sums of values that are divided.
    fn rows(&self, precision: Precision) -> Vec<(RowShape, usize)> {
        let normalised =
            self.functions.iter().filter_map(|(f, times)| f.normalised().map(|shape| (shape, times)));
        let norms =
            normalised.map(|(shape, times)| (rms_norm::row_shape(precision, shape.cols), shape.rows * times));
        let divided = self.attention.map(|Attention { heads, positions, .. }| {
            let rows = positions * heads.key_value * heads.group;
            (RowShape::scale(precision, heads.width), rows)
        });
        norms.chain(divided).collect()
    }
}

/// Functions, each with the number of times that parts evaluate it.
pub(super) fn functions<W>(parts: &[Part<W>]) -> Vec<(&Function, usize)> {
    let mut all: Vec<(&Function, usize)> = vec![];
    for (function, times) in parts.iter().flat_map(|part| &part.functions) {
        match all.iter_mut().find(|(other, _)| *other == function) {
            Some((_, sum)) => *sum += times,
            None => all.push((function, *times)),
        }
    }
    all
}
