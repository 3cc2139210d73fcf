//! The arithmetic on shares: every operation is a protocol between [`Client`] and [`Server`].
//!
//! A step comes with its [`Plan`]. At each part of the network, what the part takes is made, together with
//! as much of what follows as memory permits.

use sotto_net::Half;
use sotto_protocol::{
    Client, Error, Precision, Schedule, Server, Session,
    activation::{self, Activation},
    ahead::{self, Matrix, Need},
    attend,
    cost::Bill,
    extend,
    kv_cache::{self, Heads, KvCache},
    layer_norm, linear,
    linear::{Weight, WeightShape},
    mul, mul_small, ranges, reveal, rms_norm,
    rope::{self, Angles},
    rows::{self, RowShape},
    top_k, truncate,
};
use sotto_shares::{Ring, Shape, Share};

use crate::evaluator::{
    Arithmetic, Part, Plan, Tokens,
    plan::{Demand, Function},
};

/// What the two roles do differently: they hold different things of a matrix, and only one has keys.
#[allow(async_fn_in_trait)]
pub trait Role {
    /// What this role knows of a matrix.
    type Weight: Matrix + Clone;
    /// The common part of the session.
    fn session(&mut self) -> &mut Session;
    /// How exact activations are in it.
    fn exactness(&self) -> Precision;
    /// A private matrix times shared rows.
    async fn product(&mut self, w: &Self::Weight, x: &Share) -> Result<Share, Error>;
    /// Sees to it that there is what is needed.
    async fn make(&mut self, needs: Vec<Need<'_, Self::Weight>>) -> Result<(), Error>;
    /// Begins what will be needed.
    fn begin(&mut self, needs: &mut [Need<'_, Self::Weight>]) -> Result<(), Error>;
    /// Sees to it that there are `n` multiplication triples to draw.
    async fn triples(&mut self, ring: Ring, n: usize) -> Result<(), Error>;
}

impl Role for Client {
    type Weight = WeightShape;
    fn session(&mut self) -> &mut Session {
        &mut self.session
    }
    fn exactness(&self) -> Precision {
        self.session.precision
    }
    async fn product(&mut self, w: &WeightShape, x: &Share) -> Result<Share, Error> {
        linear::client(self, w, x).await
    }
    async fn make(&mut self, needs: Vec<Need<'_, WeightShape>>) -> Result<(), Error> {
        ahead::client(self, needs).await
    }
    fn begin(&mut self, needs: &mut [Need<'_, WeightShape>]) -> Result<(), Error> {
        ahead::begin_client(self, needs)
    }
    async fn triples(&mut self, ring: Ring, n: usize) -> Result<(), Error> {
        mul::client(self, ring, n).await
    }
}

impl Role for Server {
    type Weight = Weight;
    fn session(&mut self) -> &mut Session {
        &mut self.session
    }
    fn exactness(&self) -> Precision {
        self.session.precision
    }
    async fn product(&mut self, w: &Weight, x: &Share) -> Result<Share, Error> {
        linear::server(self, w, x).await
    }
    async fn make(&mut self, needs: Vec<Need<'_, Weight>>) -> Result<(), Error> {
        ahead::server(self, needs).await
    }
    fn begin(&mut self, needs: &mut [Need<'_, Weight>]) -> Result<(), Error> {
        ahead::begin_server(self, needs)
    }
    async fn triples(&mut self, ring: Ring, n: usize) -> Result<(), Error> {
        mul::server(self, ring, n).await
    }
}

/// Keys and values of the positions so far, layer by layer.
#[derive(Default)]
pub struct Caches(Vec<KvCache>);

impl Caches {
    /// Positions so far.
    pub fn len(&self) -> usize {
        self.0.first().map_or(0, KvCache::len)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes held by all layers.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(KvCache::bytes).sum()
    }
}

/// One party's side of a step.
pub struct TwoParty<'a, R: Role> {
    me: &'a mut R,
    caches: &'a mut Caches,
    plan: Plan<'a, R::Weight>,
}

impl<'a, R: Role> TwoParty<'a, R> {
    /// A step of which the plan is known.
    pub fn new(me: &'a mut R, caches: &'a mut Caches, plan: Plan<'a, R::Weight>) -> TwoParty<'a, R> {
        let precision = me.exactness();
        if caches.0.is_empty() {
            caches.0 = plan.heads().into_iter().map(|heads| KvCache::new(heads, precision)).collect();
        }
        TwoParty { me, caches, plan }
    }
}

/// Runs a protocol inside a span of the meter.
macro_rules! span {
    ($me:expr, $name:literal, $protocol:expr) => {{
        $me.session().ch.meter.enter($name, Half::Online);
        let result = $protocol.await;
        $me.session().ch.meter.leave();
        result
    }};
}

impl<R: Role> Arithmetic for TwoParty<'_, R> {
    type Weight = R::Weight;

    fn precision(&self) -> Precision {
        self.me.exactness()
    }

    fn position(&self) -> usize {
        self.plan.position
    }

    async fn enter(&mut self, part: Part) -> Result<(), Error> {
        if let Part::Layer(1..) | Part::Head = part {
            // A layer has ended: long queues of the overflow check are evaluated.
            span!(self.me, "ranges", ranges::relieve(self.me.session()))?;
        }
        let (first, end, layers) = (0, self.plan.parts.len(), self.plan.layers());
        match part {
            Part::Embedding => {
                self.prepare(first..end).await?;
                self.anticipate()?;
                self.foresee(0, true).await
            }
            Part::Layer(i) => {
                self.prepare(i + 1..layers + 1).await?;
                self.foresee(i, false).await
            }
            Part::Head => Ok(()),
        }
    }

    async fn embed(&mut self, table: &R::Weight, tokens: Tokens<'_>) -> Result<Share, Error> {
        let x = one_hots(tokens, table.shape().inner, self.precision());
        span!(self.me, "embed", self.me.product(table, &x))
    }

    async fn linear(&mut self, w: &R::Weight, x: &Share) -> Result<Share, Error> {
        span!(self.me, "linear", self.me.product(w, x))
    }

    async fn scores(&mut self, layer: usize, _: Heads, q: &Share, k: &Share) -> Result<Share, Error> {
        let cache = &mut self.caches.0[layer];
        span!(self.me, "attention", async {
            let more = self.me.session().lookahead;
            self.me.make(vec![Need::Positions(cache, k.shape.rows, more)]).await?;
            kv_cache::scores(self.me.session(), cache, q, k).await
        })
    }

    async fn truncate(&mut self, x: &Share, bits: u32, ring: Ring) -> Result<Share, Error> {
        span!(self.me, "truncate", truncate::truncate(self.me.session(), x, bits, ring))
    }

    async fn extend(&mut self, x: &Share, ring: Ring) -> Result<Share, Error> {
        let [out] = span!(self.me, "truncate", extend::extend(self.me.session(), [(x, ring)]))?;
        Ok(out)
    }

    fn check_rows(&mut self, x: &Share, unit: u32, top: u32) {
        ranges::rows(self.me.session(), &x.reduce(Ring::new(x.frac + unit + top)), top);
    }

    fn check_numbers(&mut self, x: &Share, unit: u32, top: u32) {
        ranges::numbers(self.me.session(), &x.reduce(Ring::new(x.frac + unit + top)), top);
    }

    async fn rms_norm(&mut self, x: &Share, eps: f64) -> Result<Share, Error> {
        span!(self.me, "rms_norm", async {
            rows_for(self.me, rms_norm::row_shape(self.precision(), x.shape.cols), x.shape.rows).await?;
            rms_norm::rms_norm(self.me.session(), x, eps).await
        })
    }

    async fn layer_norm(&mut self, x: &Share, eps: f64) -> Result<Share, Error> {
        span!(self.me, "layer_norm", async {
            rows_for(self.me, rms_norm::row_shape(self.precision(), x.shape.cols), x.shape.rows).await?;
            layer_norm::layer_norm(self.me.session(), x, eps).await
        })
    }

    async fn rope(&mut self, x: &Share, frequencies: &[f64], v: &Share) -> Result<[Share; 2], Error> {
        let (angles, p) = (Angles { frequencies, start: self.plan.position }, self.precision());
        let (x, v) = ((x, p.attention()), (v, p.sums()));
        span!(self.me, "rope", rope::rope(self.me.session(), x, angles, v, p.frac()))
    }

    async fn attend(
        &mut self,
        layer: usize,
        x: &Share,
        visible: &[usize],
        v: &Share,
    ) -> Result<[Share; 2], Error> {
        let cache = &mut self.caches.0[layer];
        span!(self.me, "softmax", attend::attend(self.me.session(), cache, x, visible, v))
    }

    async fn activate(&mut self, f: Activation, x: &Share, ring: Ring) -> Result<Share, Error> {
        span!(self.me, "activation", activation::activate(self.me.session(), f, x, ring))
    }

    async fn gate(&mut self, f: Activation, x: &Share, y: &Share) -> Result<Share, Error> {
        let p = self.precision();
        // Where turns are saved, in a ring from which the product's truncation is local.
        let ring = match self.me.session().schedule {
            Schedule::Throughput => p.product(),
            Schedule::Latency => Ring::new(p.linear().bits() + p.frac()),
        };
        let y = y.truncate_reduce(y.frac - p.frac()).add_public(self.me.session().me, 1);
        let [x, y] = span!(
            self.me,
            "activation",
            activation::activate_beside(self.me.session(), f, x, p.argument(), (&y, ring))
        )?;
        span!(self.me, "mul", async {
            let mut data = Vec::with_capacity(x.len());
            for (x, y) in x.blocks(GATED).zip(y.blocks(GATED)) {
                data.extend_from_slice(&gated(self.me, &x, &y).await?.data);
            }
            Ok(Share::new(y.ring, x.frac + y.frac, x.shape, data))
        })
    }

    async fn mul_rows(&mut self, x: &Share, y: &Share) -> Result<Share, Error> {
        span!(self.me, "mul", async {
            rows_for(self.me, RowShape::scale(self.precision(), x.shape.cols), x.shape.rows).await?;
            rows::scale(self.me.session(), x, y).await
        })
    }
}

/// Elements of a gated product at a time, which bounds memory.
const GATED: usize = 1 << 19;

/// A part of a gated product: by OTs for every bit of the smaller factor, or, where bits are saved and it
/// takes fewer, by triples under encryption, an extension and an opening.
async fn gated<R: Role>(me: &mut R, x: &Share, y: &Share) -> Result<Share, Error> {
    let (n, least) = (x.len(), activation::least(me.exactness()));
    let (ots, openings) = match me.exactness() {
        Precision::Default => (203, 25),
        Precision::High => (239, 27),
    };
    let (by_ots, by_triples) = (ots * n, mul::lattice_len(n) + openings * n);
    if me.session().schedule == Schedule::Latency || by_ots < by_triples {
        return mul_small::mul_small(me.session(), x, y, least).await;
    }
    me.triples(y.ring, n).await?;
    let moved = x.add_public(me.session().me, least);
    let [wide] = extend::extend_positive(me.session(), [(&moved, y.ring)]).await?;
    let wide = wide.add_public(me.session().me, least.wrapping_neg());
    mul::mul(me.session(), &wide, y).await
}

/// Runs a protocol by the schedule of fewest bits: for what happens once a token and concerns the whole
/// vocabulary, so that turns are not worth its bits, and one-hots for it are not what layers need.
macro_rules! saving_bits {
    ($me:expr, $protocol:expr) => {
        async {
            let schedule = std::mem::replace(&mut $me.session().schedule, Schedule::Throughput);
            let result = $protocol.await;
            $me.session().schedule = schedule;
            result
        }
    };
}

/// Reveals `x` to the client; the server gets nothing. Nothing is revealed unless both sides agree on all
/// that went before.
///
/// # Errors
/// What the peer or the network does.
pub async fn reveal<R: Role>(me: &mut R, x: &Share) -> Result<Option<Vec<f64>>, Error> {
    span!(me, "session", me.session().checkpoint())?;
    span!(me, "reveal", saving_bits!(me, reveal::to_client(me.session(), x)))
}

/// Reveals the position of each row's largest number to the client, who may have added its own numbers
/// before; otherwise as [`reveal`](fn@reveal).
///
/// # Errors
/// What the peer or the network does.
pub async fn reveal_best<R: Role>(
    me: &mut R,
    x: &Share,
    added: &[f64],
) -> Result<Option<Vec<u32>>, Error> {
    span!(me, "session", me.session().checkpoint())?;
    let best = span!(me, "reveal", saving_bits!(me, reveal::best_to_client(me.session(), x, added)))?;
    Ok(best.map(|best| best.into_iter().map(|i| i as u32).collect()))
}

/// Reveals the `k` largest numbers of a row to the client, and where they are; otherwise as
/// [`reveal`](fn@reveal).
///
/// # Errors
/// What the peer or the network does.
pub async fn reveal_top<R: Role>(
    me: &mut R,
    x: &Share,
    k: usize,
) -> Result<Option<Vec<(usize, f64)>>, Error> {
    span!(me, "session", me.session().checkpoint())?;
    span!(me, "reveal", saving_bits!(me, top_k::top_to_client(me.session(), x, k)))
}

/// `[T, V]`: a row for each token, with the number one at its id. The party that does not know them holds
/// zeros.
///
/// # Panics
/// If an id is not below `vocabulary`.
pub(crate) fn one_hots(tokens: Tokens<'_>, vocabulary: usize, precision: Precision) -> Share {
    let mut x = Share::zeros(precision.linear(), precision.frac(), Shape::new(tokens.count(), vocabulary));
    if let Tokens::Known(ids) = tokens {
        for (row, &id) in x.data.chunks_mut(vocabulary).zip(ids) {
            row[id as usize] = 1 << precision.frac();
        }
    }
    x
}

/// Sees to it that there are `n` row triples to draw, and some for tokens to come.
async fn rows_for<R: Role>(me: &mut R, shape: RowShape, n: usize) -> Result<(), Error> {
    let more = me.session().lookahead;
    me.make(vec![Need::Rows(shape, n, more)]).await
}

/// Bytes of what is made ahead for several parts at most.
const AHEAD: usize = 64 << 20;

impl<R: Role> TwoParty<'_, R> {
    /// Makes what the first of these parts needs, together with what the others need. Over a high-latency
    /// link all of it is made in the background, and the evaluation waits for each of these things where it
    /// needs it.
    async fn prepare(&mut self, parts: std::ops::Range<usize>) -> Result<(), Error> {
        let precision = self.me.exactness();
        let s = self.me.session();
        let (lookahead, far) = (s.lookahead, s.is_far());
        let skipped = self.plan.parts[..parts.start].iter().filter(|p| p.attention.is_some()).count();
        let needs = Needs::of(
            &self.plan.parts[parts],
            &mut self.caches.0[skipped..],
            self.plan.rows,
            precision,
            lookahead,
        );
        let (first_rows, rows) = (needs.first_rows(), needs.all_rows());
        if !far && !needs.first.iter().chain(&first_rows).any(|need| need.is_lacking(s)) {
            return Ok(());
        }
        let me = &mut *self.me;
        span!(me, "ahead", async {
            let first = needs.first.len();
            let mut all = needs.first;
            all.extend(rows);
            all.extend(needs.others);
            if far {
                me.begin(&mut all)?;
                all.truncate(first);
                all.extend(first_rows);
                // What is still lacking is more than may be under way.
                let s = me.session();
                if !all.iter().any(|need| need.is_lacking(s)) {
                    return Ok(());
                }
            }
            me.make(all).await
        })
    }

    /// Begins what the same parts will need again, one token later, if it is not there.
    fn anticipate(&mut self) -> Result<(), Error> {
        let precision = self.me.exactness();
        let s = self.me.session();
        if self.plan.rows != 1 || !s.is_far() || s.horizon == 0 {
            return Ok(());
        }
        let lookahead = s.lookahead.min(s.horizon - 1);
        let Needs { first, rows, others } =
            Needs::of(&self.plan.parts, &mut self.caches.0, self.plan.rows, precision, lookahead);
        // What this step takes is there or coming, so that twice as many are lacking if the next one's are.
        let again = first.into_iter().chain(others).map(|need| match need {
            Need::Linear(w, n, more) => Need::Linear(w, 2 * n, more),
            Need::Positions(cache, n, more) => Need::Later(cache, n, more),
            other => other,
        });
        let mut again: Vec<_> = again.collect();
        again.extend(rows.into_iter().map(|(shape, [_, n], more)| Need::Rows(shape, 2 * n, more)));
        self.me.session().ch.meter.enter("ahead", Half::Online);
        let begun = self.me.begin(&mut again);
        self.me.session().ch.meter.leave();
        begun
    }

    /// Says which functions come next, from a layer on: if what they take is not there for the next layer,
    /// it is made for as much as memory permits.
    async fn foresee(&mut self, layer: usize, start: bool) -> Result<(), Error> {
        let plan = &self.plan;
        let (head, layers) = (plan.parts.len() - 1, 1..plan.layers() + 1);
        let and_head = |of: std::ops::Range<usize>| {
            let head = if start { &plan.parts[head..] } else { &[] };
            tally(plan.parts[of].iter().chain(head))
        };
        let (first, second) = ((layer + 1).min(layers.end), (layer + 2).min(layers.end));
        let (here, rest) = (and_head(first..second), and_head(first..layers.end));
        let later = if plan.rows == 1 { and_head(layers) } else { vec![] };
        let s = self.me.session();
        let (lookahead, next) = (s.lookahead, s.horizon.min(1));
        let cost = |f: &Function, positions| f.bill(s.precision, s.schedule, positions);
        let all = here.iter().flat_map(|&(f, n)| std::iter::repeat_n(cost(f, 0), n));
        let now = all.fold(Bill::default(), |sum, bill| sum + bill);
        let rest: Vec<(Bill, usize)> = rest.iter().map(|&(f, n)| (cost(f, 0), n)).collect();
        let mut soon = rest.clone();
        soon.extend(later.iter().map(|&(f, n)| (cost(f, 1), n * next)));
        let mut ahead = rest;
        // Rows of scores grow with each token.
        ahead.extend(later.iter().map(|&(f, n)| (cost(f, lookahead.div_ceil(2)), n * lookahead)));
        span!(self.me, "ahead", self.me.session().foresee(&now, &soon, &ahead))
    }
}

/// The functions of some parts, each with how often it occurs.
fn tally<'a, W: 'a>(parts: impl Iterator<Item = &'a Demand<W>>) -> Vec<(&'a Function, usize)> {
    let mut counted: Vec<(&Function, usize)> = vec![];
    for function in parts.flat_map(|part| &part.functions) {
        match counted.iter_mut().find(|(other, _)| *other == function) {
            Some((_, n)) => *n += 1,
            None => counted.push((function, 1)),
        }
    }
    counted
}

/// Needs of several parts: those of the first, rows for all of them, and the others' matrices and caches.
struct Needs<'a, W> {
    first: Vec<Need<'a, W>>,
    /// How many the first part takes, how many all take, and how many to make beyond those: rows of one
    /// shape are one need.
    rows: Vec<(RowShape, [usize; 2], usize)>,
    others: Vec<Need<'a, W>>,
}

impl<'a, W: Matrix> Needs<'a, W> {
    /// Of as many parts as fit into memory, in a step of `step` rows with `lookahead` tokens after it.
    fn of(
        parts: &'a [Demand<W>],
        caches: &'a mut [KvCache],
        step: usize,
        precision: Precision,
        lookahead: usize,
    ) -> Needs<'a, W> {
        let (mut needs, mut bytes) = (Needs { first: vec![], rows: vec![], others: vec![] }, 0);
        let mut caches = caches.iter_mut();
        // Rows of tokens to come are for the first of them to make: the prompt's answer does not wait.
        let later = |n: usize| if step == 1 { n * lookahead } else { 0 };
        for (i, part) in parts.iter().enumerate() {
            let mut of_part: Vec<Need<'a, W>> =
                part.matrices.iter().map(|(w, n)| Need::Linear(w, *n, lookahead)).collect();
            let mut rows = vec![];
            if let Some((width, n)) = part.norms {
                rows.push((rms_norm::row_shape(precision, width), n, later(n)));
            }
            if let Some((heads, n)) = part.attention {
                let count = n * heads.key_value * heads.group;
                rows.push((RowShape::scale(precision, heads.width), count, later(count)));
                let cache = caches.next().expect("a cache for every attention");
                of_part.push(Need::Positions(cache, n, lookahead));
            }
            let of_rows = rows.iter().map(|&(shape, n, more)| Need::<W>::Rows(shape, n, more).bytes());
            bytes += of_part.iter().map(Need::bytes).chain(of_rows).sum::<usize>();
            if i > 0 && bytes > AHEAD {
                break;
            }
            for (shape, n, more) in rows {
                let first = if i == 0 { n } else { 0 };
                match needs.rows.iter_mut().find(|(other, ..)| *other == shape) {
                    Some((_, [_, all], beyond)) => (*all, *beyond) = (*all + n, *beyond + more),
                    None => needs.rows.push((shape, [first, n], more)),
                }
            }
            if i == 0 { &mut needs.first } else { &mut needs.others }.extend(of_part);
        }
        needs
    }

    fn first_rows(&self) -> Vec<Need<'a, W>> {
        self.rows.iter().map(|&(shape, [n, _], more)| Need::Rows(shape, n, more)).collect()
    }

    fn all_rows(&self) -> Vec<Need<'a, W>> {
        self.rows.iter().map(|&(shape, [_, n], more)| Need::Rows(shape, n, more)).collect()
    }
}
