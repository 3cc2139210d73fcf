//! The alphabet on shares: [`Client`] and [`Server`] spell each letter with a protocol.

use sotto_net::Half;
use sotto_protocol::{
    Error, Precision, Role, Schedule,
    activation::{self, Activation},
    attend, extend, gate,
    kv_cache::{self, Heads, KvCache},
    layer_norm,
    linear::Matrix,
    overflow_check,
    planner::{self, Step},
    reveal, rms_norm,
    rope::{self, Angles},
    rows, top_k, truncate,
};
use sotto_shares::{Ring, Shape, Share};

use crate::evaluator::{Evaluator, RESIDUAL, RESIDUAL_FRAC, Tokens};

/// Runs a protocol inside a span of the meter.
macro_rules! span {
    ($me:expr, $name:literal, $protocol:expr) => {{
        $me.session_mut().ch.meter.enter($name, Half::Online);
        let result = $protocol.await;
        $me.session_mut().ch.meter.leave();
        result
    }};
}

/// Integer bits of watched rows of activations, and top bits that are watched: units of 2048.
const WATCHED: (u32, u32) = (18, 7);

/// Runs a protocol by the schedule of fewest bits: for what happens once a token and concerns the whole vocabulary, so that turns are not worth its
/// bits, and one-hots for it are not what layers need.
macro_rules! saving_bits {
    ($me:expr, $protocol:expr) => {
        async {
            let schedule = $me.session_mut().schedule();
            $me.session_mut().set_schedule(Schedule::Throughput);
            let result = $protocol.await;
            $me.session_mut().set_schedule(schedule);
            result
        }
    };
}

impl<R: Role> Evaluator for R {
    type Weight = R::Weight;
    type Cache = KvCache;

    fn precision(&self) -> Precision {
        self.session().precision()
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
        span!(self, "attention", kv_cache::scores(self.session_mut(), cache, q, k))
    }

    async fn truncate(&mut self, x: &Share, bits: u32, ring: Ring) -> Result<Share, Error> {
        span!(self, "truncate", truncate::truncate(self.session_mut(), x, bits, ring))
    }

    async fn extend(&mut self, x: &Share, ring: Ring) -> Result<Share, Error> {
        let [out] = span!(self, "truncate", extend::extend(self.session_mut(), [(x, ring)]))?;
        Ok(out)
    }

    async fn watch(&mut self, x: &Share) -> Result<(), Error> {
        let (integer, top) = WATCHED;
        overflow_check::rows(self.session_mut(), &x.reduce(Ring::new(integer + x.frac)), top);
        Ok(())
    }

    async fn rms_norm(&mut self, x: &Share, eps: f64) -> Result<Share, Error> {
        span!(self, "rms_norm", rms_norm::rms_norm(self.session_mut(), x, eps))
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
        span!(self, "rope", rope::rope(self.session_mut(), x, angles, v, p.frac()))
    }

    async fn attend(
        &mut self,
        cache: &mut KvCache,
        x: &Share,
        visible: &[usize],
        v: &Share,
    ) -> Result<[Share; 2], Error> {
        span!(self, "softmax", attend::attend(self.session_mut(), cache, x, visible, v))
    }

    async fn layer_norm(&mut self, x: &Share, eps: f64) -> Result<Share, Error> {
        span!(self, "layer_norm", layer_norm::layer_norm(self.session_mut(), x, eps))
    }

    async fn activate(&mut self, f: Activation, x: &Share, ring: Ring) -> Result<Share, Error> {
        span!(self, "activation", activation::activate(self.session_mut(), f, x, ring))
    }

    async fn gate(&mut self, f: Activation, x: &Share, y: &Share) -> Result<Share, Error> {
        let p = self.precision();
        // Where turns matter, in a ring of which the product is a local truncation.
        let ring = match self.session_mut().schedule() {
            Schedule::Throughput => p.product(),
            Schedule::Latency => Ring::new(p.linear().bits() + p.frac()),
        };
        let y = y.truncate_reduce(y.frac - p.frac()).add_public(self.session_mut().me, 1);
        let [x, y] = span!(
            self,
            "activation",
            activation::activate_in_parallel(self.session_mut(), f, x, p.argument(), (&y, ring))
        )?;
        span!(self, "mul", gate::product(self, &x, &y))
    }

    async fn mul_rows(&mut self, x: &Share, y: &Share) -> Result<Share, Error> {
        span!(self, "mul", rows::scale(self.session_mut(), x, y))
    }

    async fn enter_step(&mut self, step: &Step<&R::Weight>, caches: &mut [KvCache]) -> Result<(), Error> {
        span!(self, "planner", planner::enter_step(self, step, caches))
    }

    async fn enter_part(
        &mut self,
        step: &Step<&R::Weight>,
        index: usize,
        caches: &mut [KvCache],
    ) -> Result<(), Error> {
        span!(self, "planner", planner::enter_part(self, step, index, caches))
    }

    async fn layer_done(&mut self) -> Result<(), Error> {
        span!(self, "ranges", overflow_check::run_if_full(self.session_mut()))
    }

    async fn reveal_best(&mut self, x: &Share, added: &[f64]) -> Result<Option<Vec<u32>>, Error> {
        span!(self, "session", self.session_mut().checkpoint())?;
        let best =
            span!(self, "reveal", saving_bits!(self, reveal::best_to_client(self.session_mut(), x, added)))?;
        Ok(best.map(|best| best.into_iter().map(|i| i as u32).collect()))
    }

    async fn reveal_top(&mut self, x: &Share, k: usize) -> Result<Option<Vec<(usize, f64)>>, Error> {
        span!(self, "session", self.session_mut().checkpoint())?;
        span!(self, "reveal", saving_bits!(self, top_k::top_to_client(self.session_mut(), x, k)))
    }

    async fn reveal(&mut self, x: &Share) -> Result<Option<Vec<f64>>, Error> {
        span!(self, "session", self.session_mut().checkpoint())?;
        span!(self, "reveal", saving_bits!(self, reveal::to_client(self.session_mut(), x)))
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
