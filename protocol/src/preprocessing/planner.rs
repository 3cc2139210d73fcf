//! Makes what is about to be drawn: together, in the turns of one request, or in the background.
//!
//! | client                     |                     | server                                   |
//! |----------------------------|---------------------|------------------------------------------|
//! | uploads, one after the other | `-- */upload ->`  | works on each as it comes                |
//! | takes what they lead to    | `<- */reply --`     | and replies                              |
//!
//! Both parties work at the same time, and layers to come do not wait for a round trip each. Both
//! call the planner at the same points with the same steps, which follow from public shapes. What
//! is in stock or in flight is not made again. A protocol draws from its stock, and waits for what
//! is in flight there.
//!
//! Over a low-latency link, the planner makes all that a part and those after it need as soon as
//! some of it is missing for that part, as far as memory permits. Over a high-latency link, it
//! begins to, and waits only for what exceeds the limit of bytes in flight. Then it also begins
//! what the next token will need while this one is evaluated.
//!
//! The parts: [`crate::linear`], [`crate::rows`], [`crate::kv_cache`], [`crate::mul`], and
//! one-hots.

use std::{borrow::Borrow, collections::VecDeque};

use sotto_shares::{Ring, Share};

use super::{
    demand::{Demand, What, functions},
    one_hots,
};
use crate::{
    Client, Error, Server, Session,
    cost::CostModel,
    kv_cache::{self, KvCache},
    linear::{self, Matrix, Weight, WeightShape},
    mul, rows,
};

pub use super::demand::{Attention, Function, Kind, Need, Part, Step};

/// Bytes of stock in flight at most, unless a single need is larger.
const IN_FLIGHT: usize = 64 << 20;

/// One of the two parties: what it knows of a matrix, and its part in products and in what is made
/// for them.
#[allow(async_fn_in_trait)]
pub trait Role {
    /// What it knows of a matrix: the integers, or the shape alone.
    type Weight: Matrix;

    /// The common part of the session.
    fn session(&self) -> &Session;

    /// The same, to change it.
    fn session_mut(&mut self) -> &mut Session;

    /// A private matrix times shared rows ([`crate::linear`]).
    async fn product(&mut self, w: &Self::Weight, x: &Share) -> Result<Share, Error>;

    /// Begins to make what is missing. Triples are only made by [`ensure`].
    ///
    /// # Errors
    /// There is no layout for it.
    fn request(&mut self, need: &mut Need<'_, Self::Weight>) -> Result<(), Error>;

    /// Makes `n` triples ([`crate::mul`]).
    ///
    /// # Errors
    /// What the peer or the network does.
    async fn make_triples(&mut self, ring: Ring, n: usize) -> Result<(), Error>;
}

impl Role for Client {
    type Weight = WeightShape;

    fn session(&self) -> &Session {
        &self.session
    }

    fn session_mut(&mut self) -> &mut Session {
        &mut self.session
    }

    async fn product(&mut self, w: &WeightShape, x: &Share) -> Result<Share, Error> {
        linear::client(self, w, x).await
    }

    fn request(&mut self, need: &mut Need<'_, WeightShape>) -> Result<(), Error> {
        let (n, coming) = (need.to_make(&mut self.session), need.coming());
        match &mut need.what {
            _ if n == 0 => Ok(()),
            What::Linear(w, span) => linear::ask(self, w, n, span),
            What::Rows(shape) => rows::ask(self, *shape, n),
            What::Positions(cache, ..) => kv_cache::ask(self, cache, &coming),
            What::Triples(_) => Ok(()),
        }
    }

    async fn make_triples(&mut self, ring: Ring, n: usize) -> Result<(), Error> {
        mul::client(self, ring, n).await
    }
}

impl Role for Server {
    type Weight = Weight;

    fn session(&self) -> &Session {
        &self.session
    }

    fn session_mut(&mut self) -> &mut Session {
        &mut self.session
    }

    async fn product(&mut self, w: &Weight, x: &Share) -> Result<Share, Error> {
        linear::server(self, w, x).await
    }

    fn request(&mut self, need: &mut Need<'_, Weight>) -> Result<(), Error> {
        let (n, coming) = (need.to_make(&mut self.session), need.coming());
        match &mut need.what {
            _ if n == 0 => Ok(()),
            What::Linear(w, span) => linear::answer(self, w, n, span),
            What::Rows(shape) => rows::answer(self, *shape, n),
            What::Positions(cache, ..) => kv_cache::answer(self, cache, &coming),
            What::Triples(_) => Ok(()),
        }
    }

    async fn make_triples(&mut self, ring: Ring, n: usize) -> Result<(), Error> {
        mul::server(self, ring, n).await
    }
}

/// Has what is needed in stock.
///
/// # Errors
/// The peer's messages are malformed or missing, or there is no layout for a need.
pub async fn ensure<R: Role>(me: &mut R, needs: Vec<Need<'_, R::Weight>>) -> Result<(), Error> {
    let mut begun = VecDeque::new();
    for mut need in needs {
        while need.to_make(me.session_mut()) > 0
            && me.session().requests.in_flight() + need.bytes() > IN_FLIGHT
        {
            let Some(earlier): Option<Need<'_, R::Weight>> = begun.pop_front() else { break };
            earlier.arrive(me.session_mut()).await?;
        }
        if let What::Triples(ring) = need.what {
            let n = need.to_make(me.session_mut());
            me.make_triples(ring, n).await?;
        }
        me.request(&mut need)?;
        begun.push_back(need);
    }
    for need in begun {
        need.arrive(me.session_mut()).await?;
    }
    Ok(())
}

/// Begins what will be needed, in this order, as far as memory permits. Waits for nothing.
fn begin<R: Role>(me: &mut R, needs: &mut [Need<'_, R::Weight>]) -> Result<(), Error> {
    for need in needs {
        let s = me.session_mut();
        if need.to_make(s) == 0 {
            continue;
        }
        if s.requests.in_flight() + need.bytes() > IN_FLIGHT {
            break;
        }
        me.request(need)?;
    }
    Ok(())
}

/// Enters a step: its protocols follow its schedule, and what its first part needs is there or in
/// flight. Parts are then entered in their order; the first of them is with the step.
///
/// `caches` has the caches of all layers, by their number.
///
/// # Errors
/// The peer's messages are malformed or missing, or a part is too large for one message.
///
/// # Panics
/// If there is no part, or a cache is missing, in the middle of a step or after one that failed.
pub async fn enter_step<R: Role, W: Borrow<R::Weight>>(
    me: &mut R,
    step: &Step<W>,
    caches: &mut [KvCache],
) -> Result<(), Error> {
    me.session_mut().set_schedule(step.schedule);
    products(me, step, 0, caches).await?;
    if me.session().is_high_latency() && step.repeats() && step.tokens_after > 0 {
        let (precision, more) = (me.session().precision(), step.ahead().min(step.tokens_after - 1));
        begin(me, &mut Demand::of(step, 0, caches, precision, more).again())?;
    }
    all_one_hots(me, step, 0).await
}

/// Enters a part of a step: what it needs is there or in flight.
///
/// # Errors
/// As [`enter_step`].
///
/// # Panics
/// As [`enter_step`].
pub async fn enter_part<R: Role, W: Borrow<R::Weight>>(
    me: &mut R,
    step: &Step<W>,
    index: usize,
    caches: &mut [KvCache],
) -> Result<(), Error> {
    products(me, step, index, caches).await?;
    all_one_hots(me, step, index).await
}

/// Masks and triples of the parts from `index` on.
async fn products<R: Role, W: Borrow<R::Weight>>(
    me: &mut R,
    step: &Step<W>,
    index: usize,
    caches: &mut [KvCache],
) -> Result<(), Error> {
    let s = me.session();
    let (precision, far, more) = (s.precision(), s.is_high_latency(), step.ahead());
    let demand = Demand::of(step, index, caches, precision, more);
    if !far {
        return if demand.is_first_missing(me.session_mut()) {
            ensure(me, demand.all()).await
        } else {
            Ok(())
        };
    }
    begin(me, &mut demand.all())?;
    // What is missing still is more than may be in flight.
    let first = Demand::of(step, index, caches, precision, more);
    if first.is_first_missing(me.session_mut()) { ensure(me, first.only_first()).await } else { Ok(()) }
}

/// One-hots for the functions of the parts from `index` on, and of tokens to come.
async fn all_one_hots<R: Role, W>(me: &mut R, step: &Step<W>, index: usize) -> Result<(), Error> {
    let (precision, schedule) = (me.session().precision(), me.session().schedule());
    let parts = &step.parts[index..];
    let Some(next) = parts.iter().find(|part| !part.functions.is_empty()) else { return Ok(()) };
    let cost = |function: &Function, positions| function.cost(precision, schedule, positions);
    let now = next
        .functions
        .iter()
        .fold(CostModel::default(), |all, (f, times)| (0..*times).fold(all, |all, _| all + cost(f, 0)));
    let here = functions(parts).into_iter().map(|(f, times)| (cost(f, 0), times));
    let (mut soon, mut ahead): (Vec<_>, Vec<_>) = here.map(|once| (once.clone(), once)).unzip();
    if step.repeats() && step.tokens_after > 0 {
        // Rows of scores grow with each token.
        let (tokens, all) = (step.ahead(), functions(&step.parts));
        soon.extend(all.iter().map(|(f, times)| (cost(f, 1), *times)));
        ahead.extend(all.iter().map(|(f, times)| (cost(f, tokens.div_ceil(2)), times * tokens)));
    }
    one_hots::ensure(me.session_mut(), &now, &soon, &ahead).await
}
