//! The alphabet on shares: [`Client`] and [`Server`] spell each letter with a protocol.

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
    softmax, top_k, truncate,
};
use sotto_shares::{Ring, Shape, Share};

use crate::evaluator::{Evaluator, Foreseen, Function, Part, RESIDUAL, RESIDUAL_FRAC, Tokens};

/// What the two roles do differently: they hold different things of a matrix, and only one has keys.
#[allow(async_fn_in_trait)]
pub trait Role {
    /// What this role knows of a matrix.
    type Weight: Matrix;
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

/// Runs a protocol inside a span of the meter.
macro_rules! span {
    ($me:expr, $name:literal, $protocol:expr) => {{
        $me.session().ch.meter.enter($name, Half::Online);
        let result = $protocol.await;
        $me.session().ch.meter.leave();
        result
    }};
}

/// Elements of a gated product at a time, which bounds memory.
const GATED: usize = 1 << 19;

/// A part of a gated product: by OTs for every bit of the smaller factor, or, where bits are saved and it takes fewer, by triples under encryption,
/// an extension and an opening.
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

/// What a function of a layer takes, some positions later.
fn bill(f: &Function<'_>, precision: Precision, schedule: Schedule, positions: usize) -> Bill {
    match *f {
        Function::RmsNorm(shape, eps) => rms_norm::bill(precision, schedule, shape, eps),
        Function::LayerNorm(shape, eps) => layer_norm::bill(precision, schedule, shape, eps),
        Function::Softmax(visible) => {
            let visible: Vec<usize> = visible.iter().map(|n| n + positions).collect();
            softmax::bill(precision, schedule, &visible)
        }
        Function::Activation(f, n, ring) => activation::bill(f, precision, schedule, n, ring.bits()),
    }
}

/// Sees to it that there are `n` row triples to draw, and some for tokens to come.
async fn rows_for<R: Role>(me: &mut R, shape: RowShape, n: usize) -> Result<(), Error> {
    let more = me.session().lookahead;
    me.make(vec![Need::Rows(shape, n, more)]).await
}

/// Bytes of what is made ahead for several parts at most.
const AHEAD: usize = 64 << 20;

/// Needs of several parts: those of the first, rows for all of them, and the others' matrices and caches.
struct Needs<'a, W> {
    first: Vec<Need<'a, W>>,
    /// How many the first part takes, how many all take, and how many to make beyond those: rows of one shape are one need.
    rows: Vec<(RowShape, [usize; 2], usize)>,
    others: Vec<Need<'a, W>>,
}

impl<'a, W: Matrix> Needs<'a, W> {
    /// Of as many parts as fit into memory, with `lookahead` tokens after them.
    fn of(parts: Vec<Part<'a, W, KvCache>>, precision: Precision, lookahead: usize) -> Needs<'a, W> {
        let (mut needs, mut bytes) = (Needs { first: vec![], rows: vec![], others: vec![] }, 0);
        for (i, part) in parts.into_iter().enumerate() {
            let mut of_part: Vec<Need<'a, W>> =
                part.matrices.into_iter().map(|(w, n)| Need::Linear(w, n, lookahead)).collect();
            let mut rows = vec![];
            // Rows of tokens to come are for the first of them to make: the prompt's answer does not wait for them.
            let later = |n: usize, a_token: usize| if n == a_token { a_token * lookahead } else { 0 };
            if let Some([width, n, a_token]) = part.norms {
                rows.push((rms_norm::row_shape(precision, width), n, later(n, a_token)));
            }
            if let Some((cache, heads, n)) = part.attention {
                let count = heads.key_value * heads.group;
                rows.push((RowShape::scale(precision, heads.width), n * count, later(n * count, count)));
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

/// Makes what the first part needs, together with what the others need; if messages take their time, all of it is made beside the evaluation, which
/// waits for each of these things where it needs it.
async fn prepare<R: Role>(me: &mut R, parts: Vec<Part<'_, R::Weight, KvCache>>) -> Result<(), Error> {
    let (precision, s) = (me.exactness(), me.session());
    let (lookahead, far) = (s.lookahead, s.is_far());
    let needs = Needs::of(parts, precision, lookahead);
    let (first_rows, rows) = (needs.first_rows(), needs.all_rows());
    if !far && !needs.first.iter().chain(&first_rows).any(|need| need.is_lacking(s)) {
        return Ok(());
    }
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
}

/// Begins what the same parts will need again, one token later, if it is not there.
fn anticipate<R: Role>(me: &mut R, parts: Vec<Part<'_, R::Weight, KvCache>>) -> Result<(), Error> {
    let (precision, s) = (me.exactness(), me.session());
    let Needs { first, rows, others } = Needs::of(parts, precision, s.lookahead.min(s.horizon - 1));
    // What this step takes is there or coming, so that twice as many are lacking if the next one's are.
    let again = first.into_iter().chain(others).map(|need| match need {
        Need::Linear(w, n, more) => Need::Linear(w, 2 * n, more),
        Need::Positions(cache, n, more) => Need::Later(cache, n, more),
        other => other,
    });
    let mut again: Vec<_> = again.collect();
    again.extend(rows.into_iter().map(|(shape, [_, n], more)| Need::Rows(shape, 2 * n, more)));
    me.begin(&mut again)
}

/// Integer bits of watched rows of activations, and top bits that are watched: units of 2048.
const WATCHED: (u32, u32) = (18, 7);

/// Runs a protocol by the schedule of fewest bits: for what happens once a token and concerns the whole vocabulary, so that turns are not worth its
/// bits, and one-hots for it are not what layers need.
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

impl<R: Role> Evaluator for R {
    type Weight = R::Weight;
    type Cache = KvCache;

    fn precision(&self) -> Precision {
        self.exactness()
    }

    async fn embed(&mut self, table: &R::Weight, tokens: Tokens<'_>) -> Result<Share, Error> {
        let shape = *table.shape();
        let x = one_hots(tokens, shape.inner, self.precision());
        let rows = span!(self, "embed", self.product(table, &x))?;
        self.truncate(&rows, rows.frac - RESIDUAL_FRAC, RESIDUAL).await
    }

    async fn linear(&mut self, w: &R::Weight, x: &Share) -> Result<Share, Error> {
        span!(self, "linear", self.product(w, x))
    }

    fn cache(&self, heads: Heads) -> KvCache {
        KvCache::new(heads, self.precision())
    }

    async fn scores(&mut self, cache: &mut KvCache, q: &Share, k: &Share) -> Result<Share, Error> {
        span!(self, "attention", async {
            let more = self.session().lookahead;
            self.make(vec![Need::Positions(cache, k.shape.rows, more)]).await?;
            kv_cache::scores(self.session(), cache, q, k).await
        })
    }

    async fn truncate(&mut self, x: &Share, bits: u32, ring: Ring) -> Result<Share, Error> {
        span!(self, "truncate", truncate::truncate(self.session(), x, bits, ring))
    }

    async fn extend(&mut self, x: &Share, ring: Ring) -> Result<Share, Error> {
        let [out] = span!(self, "truncate", extend::extend(self.session(), [(x, ring)]))?;
        Ok(out)
    }

    async fn watch(&mut self, x: &Share) -> Result<(), Error> {
        let (integer, top) = WATCHED;
        ranges::rows(self.session(), &x.reduce(Ring::new(integer + x.frac)), top);
        Ok(())
    }

    async fn rms_norm(&mut self, x: &Share, eps: f64) -> Result<Share, Error> {
        span!(self, "rms_norm", async {
            rows_for(self, rms_norm::row_shape(self.precision(), x.shape.cols), x.shape.rows).await?;
            rms_norm::rms_norm(self.session(), x, eps).await
        })
    }

    async fn rope(
        &mut self,
        x: &Share,
        frequencies: &[f64],
        start: usize,
        v: &Share,
    ) -> Result<[Share; 2], Error> {
        let (angles, p) = (Angles { frequencies, start }, self.precision());
        let (x, v) = ((x, p.attention()), (v, p.sums()));
        span!(self, "rope", rope::rope(self.session(), x, angles, v, p.frac()))
    }

    async fn attend(
        &mut self,
        cache: &mut KvCache,
        x: &Share,
        visible: &[usize],
        v: &Share,
    ) -> Result<[Share; 2], Error> {
        span!(self, "softmax", attend::attend(self.session(), cache, x, visible, v))
    }

    async fn layer_norm(&mut self, x: &Share, eps: f64) -> Result<Share, Error> {
        span!(self, "layer_norm", async {
            rows_for(self, rms_norm::row_shape(self.precision(), x.shape.cols), x.shape.rows).await?;
            layer_norm::layer_norm(self.session(), x, eps).await
        })
    }

    async fn activate(&mut self, f: Activation, x: &Share, ring: Ring) -> Result<Share, Error> {
        span!(self, "activation", activation::activate(self.session(), f, x, ring))
    }

    async fn gate(&mut self, f: Activation, x: &Share, y: &Share) -> Result<Share, Error> {
        let p = self.precision();
        // Where turns matter, in a ring of which the product is a local truncation.
        let ring = match self.session().schedule {
            Schedule::Throughput => p.product(),
            Schedule::Latency => Ring::new(p.linear().bits() + p.frac()),
        };
        let y = y.truncate_reduce(y.frac - p.frac()).add_public(self.session().me, 1);
        let [x, y] = span!(
            self,
            "activation",
            activation::activate_beside(self.session(), f, x, p.argument(), (&y, ring))
        )?;
        span!(self, "mul", async {
            let mut data = Vec::with_capacity(x.len());
            for (x, y) in x.blocks(GATED).zip(y.blocks(GATED)) {
                data.extend_from_slice(&gated(self, &x, &y).await?.data);
            }
            Ok(Share::new(y.ring, x.frac + y.frac, x.shape, data))
        })
    }

    async fn mul_rows(&mut self, x: &Share, y: &Share) -> Result<Share, Error> {
        span!(self, "mul", async {
            rows_for(self, RowShape::scale(self.precision(), x.shape.cols), x.shape.rows).await?;
            rows::scale(self.session(), x, y).await
        })
    }

    async fn prepare(&mut self, parts: Vec<Part<'_, R::Weight, KvCache>>) -> Result<(), Error> {
        span!(self, "ahead", prepare(self, parts))
    }

    fn anticipate(&mut self, parts: Vec<Part<'_, R::Weight, KvCache>>) -> Result<(), Error> {
        let s = self.session();
        if !s.is_far() || s.horizon == 0 {
            return Ok(());
        }
        s.ch.meter.enter("ahead", Half::Online);
        let begun = anticipate(self, parts);
        self.session().ch.meter.leave();
        begun
    }

    async fn foresee(&mut self, functions: &[Foreseen<'_>]) -> Result<(), Error> {
        let s = self.session();
        let times = |bill: Bill, n: usize| (0..n).fold(Bill::default(), |sum, _| sum + bill.clone());
        let next = s.horizon.min(1);
        let (mut now, mut soon, mut ahead) = (Bill::default(), vec![], vec![]);
        for f in functions {
            // Rows of scores grow with each token.
            let [once, then, later] =
                [0, 1, s.lookahead.div_ceil(2)].map(|n| bill(&f.function, s.precision, s.schedule, n));
            now = now + times(once.clone(), f.now);
            soon.extend([(once.clone(), f.step), (then, f.later * next)]);
            ahead.extend([(once, f.step), (later, f.later * s.lookahead)]);
        }
        span!(self, "ahead", self.session().foresee(&now, &soon, &ahead))
    }

    async fn layer_done(&mut self) -> Result<(), Error> {
        span!(self, "ranges", ranges::relieve(self.session()))
    }

    async fn reveal_best(&mut self, x: &Share, added: &[f64]) -> Result<Option<Vec<u32>>, Error> {
        span!(self, "session", self.session().checkpoint())?;
        let best =
            span!(self, "reveal", saving_bits!(self, reveal::best_to_client(self.session(), x, added)))?;
        Ok(best.map(|best| best.into_iter().map(|i| i as u32).collect()))
    }

    async fn reveal_top(&mut self, x: &Share, k: usize) -> Result<Option<Vec<(usize, f64)>>, Error> {
        span!(self, "session", self.session().checkpoint())?;
        span!(self, "reveal", saving_bits!(self, top_k::top_to_client(self.session(), x, k)))
    }

    async fn reveal(&mut self, x: &Share) -> Result<Option<Vec<f64>>, Error> {
        span!(self, "session", self.session().checkpoint())?;
        span!(self, "reveal", saving_bits!(self, reveal::to_client(self.session(), x)))
    }
}

/// `[T, V]`: a row for each token, with the number one at its id. The party that does not know them holds zeros.
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
