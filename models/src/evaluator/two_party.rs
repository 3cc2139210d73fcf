//! The arithmetic on shares: every operation is a protocol between client and server.
//!
//! A step comes with its plan. At each part of the network, the planner of the protocols makes what
//! the part takes, together with as much of what follows as memory permits.

use std::{iter::repeat_n, ops::Range};

use sotto_net::Half;
use sotto_protocol::{
    Error, Precision, Role, Schedule,
    activation::{self, Activation},
    attend, extend, gate,
    kv_cache::{self, Heads, KvCache},
    layer_norm,
    linear::Matrix,
    mux, overflow_check,
    planner::{self, Step},
    reveal, rms_norm,
    rope::{self, Angles},
    rows, top_k, truncate,
};
use sotto_shares::{Ring, Shape, Share, XorShare, encode};

use crate::evaluator::{Arithmetic, Part, Plan, Progress, Tokens};

/// Keys and values of the positions so far, layer by layer.
#[derive(Default)]
pub struct Caches {
    layers: Vec<KvCache>,
    /// So many positions, the first ones, are there for their number only. The client's secret; at
    /// the server it is zero.
    hidden: usize,
}

impl Caches {
    /// Positions so far.
    pub fn len(&self) -> usize {
        self.layers.first().map_or(0, KvCache::len)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes held by all layers.
    pub fn bytes(&self) -> usize {
        self.layers.iter().map(KvCache::bytes).sum()
    }

    /// The first positions, of which there are none yet, will be there for their number only.
    ///
    /// # Panics
    /// If there are positions already.
    pub(crate) fn hide(&mut self, positions: usize) {
        assert!(self.is_empty(), "what has been seen cannot be hidden");
        self.hidden = positions;
    }
}

/// By how much the scores of hidden positions are moved, to base 2. They weigh nothing as long as
/// none is 495 above the largest that is seen, which nothing checks; and pass the check of scores
/// as long as they are above -256.
const HIDDEN: f64 = -512.0;

/// One party's side of a step.
pub struct TwoParty<'a, R: Role> {
    me: &'a mut R,
    caches: &'a mut Caches,
    step: Step<R::Weight>,
    position: usize,
}

impl<'a, R: Role> TwoParty<'a, R> {
    /// A step of which the plan is known, at its place among others.
    pub fn new(
        me: &'a mut R,
        caches: &'a mut Caches,
        plan: Plan<'_, R::Weight>,
        progress: Progress,
    ) -> TwoParty<'a, R> {
        let precision = me.session().precision();
        if caches.layers.is_empty() {
            caches.layers = plan.heads().into_iter().map(|heads| KvCache::new(heads, precision)).collect();
        }
        let position = plan.position;
        TwoParty { me, caches, step: plan.into_step(progress), position }
    }
}

/// Runs a protocol inside a span of the meter.
macro_rules! span {
    ($me:expr, $name:literal, $protocol:expr) => {{
        $me.session_mut().ch.meter.enter($name, Half::Online);
        let result = $protocol.await;
        $me.session_mut().ch.meter.leave();
        result
    }};
}

impl<R: Role> Arithmetic for TwoParty<'_, R> {
    type Weight = R::Weight;

    fn precision(&self) -> Precision {
        self.me.session().precision()
    }

    fn position(&self) -> usize {
        self.position
    }

    async fn enter(&mut self, part: Part) -> Result<(), Error> {
        if let Part::Layer(1..) | Part::Head = part {
            // A layer has ended: long queues of the overflow check are evaluated.
            span!(self.me, "ranges", overflow_check::run_if_full(self.me.session_mut()))?;
        }
        let (step, caches) = (&self.step, &mut self.caches.layers);
        let index = match part {
            Part::Embedding => {
                return span!(self.me, "planner", planner::enter_step(self.me, step, caches));
            }
            Part::Layer(i) => i + 1,
            Part::Head => step.parts.len() - 1,
        };
        span!(self.me, "planner", planner::enter_part(self.me, step, index, caches))
    }

    async fn embed(&mut self, table: &R::Weight, tokens: Tokens<'_>) -> Result<Share, Error> {
        let x = one_hots(tokens, table.shape().inner, self.precision());
        span!(self.me, "embed", self.me.product(table, &x))
    }

    fn rows_of(&self, table: &R::Weight, rows: Range<usize>) -> Option<(Vec<i32>, u32)> {
        table.rows(rows)
    }

    async fn linear(&mut self, w: &R::Weight, x: &Share) -> Result<Share, Error> {
        span!(self.me, "linear", self.me.product(w, x))
    }

    async fn scores(&mut self, layer: usize, _: Heads, q: &Share, k: &Share) -> Result<Share, Error> {
        let cache = &mut self.caches.layers[layer];
        span!(self.me, "attention", kv_cache::scores(self.me.session_mut(), cache, q, k))
    }

    async fn truncate(&mut self, x: &Share, bits: u32, ring: Ring) -> Result<Share, Error> {
        span!(self.me, "truncate", truncate::truncate(self.me.session_mut(), x, bits, ring))
    }

    async fn extend(&mut self, x: &Share, ring: Ring) -> Result<Share, Error> {
        let [out] = span!(self.me, "truncate", extend::extend(self.me.session_mut(), [(x, ring)]))?;
        Ok(out)
    }

    fn check_rows(&mut self, x: &Share, unit: u32, top: u32) {
        overflow_check::rows(self.me.session_mut(), &x.reduce(Ring::new(x.frac() + unit + top)), top);
    }

    fn check_numbers(&mut self, x: &Share, unit: u32, top: u32) {
        overflow_check::numbers(self.me.session_mut(), &x.reduce(Ring::new(x.frac() + unit + top)), top);
    }

    async fn rms_norm(&mut self, x: &Share, eps: f64) -> Result<Share, Error> {
        span!(self.me, "rms_norm", rms_norm::rms_norm(self.me.session_mut(), x, eps))
    }

    async fn layer_norm(&mut self, x: &Share, eps: f64) -> Result<Share, Error> {
        span!(self.me, "layer_norm", layer_norm::layer_norm(self.me.session_mut(), x, eps))
    }

    async fn rope(
        &mut self,
        (x, frac): (&Share, u32),
        frequencies: &[f64],
        v: &Share,
    ) -> Result<[Share; 2], Error> {
        let (angles, p) = (Angles { frequencies, start: self.position }, self.precision());
        let (x, v) = ((x, p.attention()), (v, p.sums()));
        span!(self.me, "rope", rope::rope(self.me.session_mut(), x, angles, v, [frac, p.frac()]))
    }

    fn hide(&self, x: Share) -> Share {
        let (hidden, columns) = (self.caches.hidden, x.shape().cols);
        if hidden == 0 {
            return x;
        }
        let (ring, shape, frac) = (x.ring(), x.shape(), x.frac());
        let lower = encode(HIDDEN, frac, ring);
        let of = |(i, &x): (usize, &u64)| if i % columns < hidden { x.wrapping_add(lower) } else { x };
        let data = x.data().iter().enumerate().map(|at| ring.reduce(of(at))).collect();
        Share::new(ring, frac, shape, data)
    }

    async fn attend(
        &mut self,
        layer: usize,
        x: &Share,
        visible: &[usize],
        v: &Share,
    ) -> Result<[Share; 2], Error> {
        let cache = &mut self.caches.layers[layer];
        span!(self.me, "softmax", attend::attend(self.me.session_mut(), cache, x, visible, v))
    }

    async fn activate(&mut self, f: Activation, x: &Share, ring: Ring) -> Result<Share, Error> {
        span!(self.me, "activation", activation::activate(self.me.session_mut(), f, x, ring))
    }

    async fn gate(&mut self, f: Activation, x: &Share, y: &Share, dropped: u32) -> Result<Share, Error> {
        let p = self.precision();
        // Where turns are saved, in a ring from which the product's truncation is local.
        let ring = match self.me.session().schedule() {
            Schedule::Throughput => p.product(),
            Schedule::Latency => Ring::new(p.linear().bits() + dropped),
        };
        let y = y.truncate_reduce(y.frac() - p.frac()).add_public(self.me.session().me, 1);
        let [x, y] = span!(
            self.me,
            "activation",
            activation::activate_in_parallel(self.me.session_mut(), f, x, p.argument(), (&y, ring))
        )?;
        span!(self.me, "mul", gate::product(self.me, &x, &y))
    }

    async fn row_of(&mut self, x: &Share, tokens: Tokens<'_>, id: u32) -> Result<Share, Error> {
        let Shape { rows, cols } = x.shape();
        // The client knows the bits; the server's shares of them are zero.
        let is_it = |at: usize| tokens.ids().is_some_and(|ids| ids[at] == id);
        let bits = (0..rows).flat_map(|at| repeat_n(u64::from(is_it(at)), cols)).collect();
        let bits = XorShare::new(1, bits);
        let [kept] = span!(self.me, "select", mux::mux(self.me.session_mut(), [(&bits, x)]))?;
        let sum = (1..rows).fold(kept.rows(0..1), |sum, at| &sum + &kept.rows(at..at + 1));
        Ok(sum)
    }

    async fn mul_rows(&mut self, x: &Share, y: &Share) -> Result<Share, Error> {
        span!(self.me, "mul", rows::scale(self.me.session_mut(), x, y))
    }
}

/// Runs a protocol by the schedule of fewest bits: for what happens once a token and concerns the
/// whole vocabulary, so that turns are not worth its bits, and one-hots for it are not what layers
/// need.
macro_rules! saving_bits {
    ($me:expr, $protocol:expr) => {
        async {
            let schedule = $me.session().schedule();
            $me.session_mut().set_schedule(Schedule::Throughput);
            let result = $protocol.await;
            $me.session_mut().set_schedule(schedule);
            result
        }
    };
}

/// Reveals `x` to the client; the server gets nothing. Nothing is revealed unless both sides agree
/// on all that went before.
///
/// # Errors
/// What the peer or the network does.
pub async fn reveal<R: Role>(me: &mut R, x: &Share) -> Result<Option<Vec<f64>>, Error> {
    span!(me, "session", me.session_mut().checkpoint())?;
    span!(me, "reveal", saving_bits!(me, reveal::to_client(me.session_mut(), x)))
}

/// Reveals the position of each row's largest number to the client, who may have added its own
/// numbers before; otherwise as [`reveal`](fn@reveal).
///
/// # Errors
/// What the peer or the network does.
pub async fn reveal_best<R: Role>(me: &mut R, x: &Share, added: &[f64]) -> Result<Option<Vec<u32>>, Error> {
    span!(me, "session", me.session_mut().checkpoint())?;
    let best = span!(me, "reveal", saving_bits!(me, reveal::best_to_client(me.session_mut(), x, added)))?;
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
    span!(me, "session", me.session_mut().checkpoint())?;
    span!(me, "reveal", saving_bits!(me, top_k::top_to_client(me.session_mut(), x, k)))
}

/// `[T, V]`: a row for each token, with the number one at its id, and at the end for a token of a
/// second text. The party that does not know them holds zeros.
///
/// # Panics
/// If an id is not below `vocabulary`.
pub(crate) fn one_hots(tokens: Tokens<'_>, vocabulary: usize, precision: Precision) -> Share {
    let shape = Shape::new(tokens.count(), vocabulary);
    let mut data = vec![0; shape.len()];
    for (at, &id) in tokens.ids().unwrap_or_default().iter().enumerate() {
        let row = &mut data[at * vocabulary..(at + 1) * vocabulary];
        row[id as usize] = 1 << precision.frac();
        if tokens.is_second(at) {
            row[vocabulary - 1] = 1 << precision.frac();
        }
    }
    Share::new(precision.linear(), precision.frac(), shape, data)
}
