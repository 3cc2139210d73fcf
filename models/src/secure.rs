//! The alphabet on shares: [`Client`] and [`Server`] spell each letter with a protocol.

use sotto_net::Half;
use sotto_protocol::{
    Client, Error, Precision, Schedule, Server, Session,
    activation::{self, Activation},
    extend,
    kv_cache::{self, Heads, KvCache},
    layer_norm, linear,
    linear::{Weight, WeightShape},
    mul, mul_small, ranges, reveal, rms_norm,
    rope::{self, Angles},
    rows::{self, RowShape},
    softmax::{self, Softmax},
    truncate,
};
use sotto_shares::{Ring, Shape, Share};

use crate::evaluator::{Evaluator, RESIDUAL, RESIDUAL_FRAC, Tokens};

/// What the two roles do differently: they hold different things of a matrix, and only one has keys.
#[allow(async_fn_in_trait)]
pub trait Role {
    /// What this role knows of a matrix.
    type Weight;
    /// The common part of the session.
    fn session(&mut self) -> &mut Session;
    /// How exact activations are in it.
    fn exactness(&self) -> Precision;
    /// The public shape of a matrix.
    fn shape(w: &Self::Weight) -> &WeightShape;
    /// A private matrix times shared rows.
    async fn product(&mut self, w: &Self::Weight, x: &Share) -> Result<Share, Error>;
    /// Sees to it that there are masks for the queries of `n` more positions.
    async fn positions(&mut self, cache: &mut KvCache, n: usize) -> Result<(), Error>;
    /// Sees to it that there are `n` row triples to draw.
    async fn rows(&mut self, shape: RowShape, n: usize) -> Result<(), Error>;
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
    fn shape(w: &WeightShape) -> &WeightShape {
        w
    }
    async fn product(&mut self, w: &WeightShape, x: &Share) -> Result<Share, Error> {
        linear::client(self, w, x).await
    }
    async fn positions(&mut self, cache: &mut KvCache, n: usize) -> Result<(), Error> {
        kv_cache::client(self, cache, n).await
    }
    async fn rows(&mut self, shape: RowShape, n: usize) -> Result<(), Error> {
        rows::client(self, shape, n).await
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
    fn shape(w: &Weight) -> &WeightShape {
        &w.shape
    }
    async fn product(&mut self, w: &Weight, x: &Share) -> Result<Share, Error> {
        linear::server(self, w, x).await
    }
    async fn positions(&mut self, cache: &mut KvCache, n: usize) -> Result<(), Error> {
        kv_cache::server(self, cache, n).await
    }
    async fn rows(&mut self, shape: RowShape, n: usize) -> Result<(), Error> {
        rows::server(self, shape, n).await
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

/// Integer bits of watched rows of activations, and top bits that are watched: units of 2048.
const WATCHED: (u32, u32) = (18, 7);

/// Top bits of attention's sums that are watched: units of `2^14`.
const SUMS_WATCHED: u32 = 4;

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
        let shape = *R::shape(table);
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
            self.positions(cache, k.shape.rows).await?;
            kv_cache::scores(self.session(), cache, q, k).await
        })
    }

    async fn sums(&mut self, cache: &mut KvCache, p: &Share, v: &Share) -> Result<Share, Error> {
        let sums = span!(self, "attention", kv_cache::sums(self.session(), cache, p, v))?;
        ranges::numbers(self.session(), &sums, SUMS_WATCHED);
        Ok(sums)
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
            self.rows(rms_norm::row_shape(self.precision(), x.shape.cols), x.shape.rows).await?;
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

    async fn softmax(&mut self, x: &Share, visible: &[usize]) -> Result<Softmax, Error> {
        span!(self, "softmax", softmax::softmax(self.session(), x, visible))
    }

    async fn layer_norm(&mut self, x: &Share, eps: f64) -> Result<Share, Error> {
        span!(self, "layer_norm", async {
            self.rows(rms_norm::row_shape(self.precision(), x.shape.cols), x.shape.rows).await?;
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
            self.rows(RowShape::scale(self.precision(), x.shape.cols), x.shape.rows).await?;
            rows::scale(self.session(), x, y).await
        })
    }

    async fn layer_done(&mut self, rows: usize, index: usize, layers: usize) -> Result<(), Error> {
        let left = layers - 1 - index;
        // A prefill says nothing of what another schedule will need.
        let s = self.session();
        let tokens = if rows == 1 || s.decode == s.schedule { s.lookahead } else { 0 };
        // After a prefill come single rows, and a row of scores is up to twice as long as they were on average.
        let (parts, unit) = match (rows, left) {
            (1, _) => (left + layers * tokens, 1),
            (_, 0) => (2 * layers * tokens.min(1), rows),
            (_, _) => (left, 1),
        };
        span!(self, "ahead", self.session().foresee(parts, unit))?;
        span!(self, "ranges", ranges::relieve(self.session()))
    }

    async fn reveal_best(&mut self, x: &Share) -> Result<Option<Vec<u32>>, Error> {
        span!(self, "session", self.session().checkpoint())?;
        let best = span!(self, "reveal", saving_bits!(self, reveal::best_to_client(self.session(), x)))?;
        Ok(best.map(|best| best.into_iter().map(|i| i as u32).collect()))
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
