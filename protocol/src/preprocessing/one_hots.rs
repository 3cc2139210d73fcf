//! One-hot vectors: how many to make, and when.
//!
//! Their numbers follow from the cost model ([`crate::cost`]). Over a low-latency link, all kinds
//! are made in the turns of one, once some are missing. Over a high-latency link, those that are
//! needed at once are made at once, and the others in the background while the evaluation goes on.

use sotto_net::Half;
use sotto_ot::{OneHotCots, Wanted};
use sotto_shares::Ring;

use super::{background, stocks::Stocks};
use crate::{
    Error, Session,
    cost::{self, CostModel},
};

/// The span of the meter.
const SPAN: &str = "one-hots";

/// Bytes of one-hots to make at a time at most.
const MOST: usize = 64 << 20;

/// What functions will take: each of them so many times.
pub(crate) type Times = [(CostModel, usize)];

/// Makes one-hots at once.
///
/// # Errors
/// What the peer or the network does.
pub(crate) async fn make(s: &mut Session, wanted: &[Wanted]) -> Result<(), Error> {
    s.ch.meter.enter(SPAN, Half::Offline);
    let made = sotto_ot::random_one_hots(&mut s.ch, &mut s.ot, wanted, &mut s.rng).await;
    s.ch.meter.leave();
    for (made, w) in made?.into_iter().zip(wanted) {
        s.stocks.one_hots.entry((w.k, w.ring)).or_default().add(made);
    }
    Ok(())
}

/// Begins to make one-hots in the background.
async fn begin(s: &mut Session, wanted: &[Wanted]) -> Result<(), Error> {
    s.ch.meter.enter(SPAN, Half::Offline);
    let cots = OneHotCots::reserve(&mut s.ch, &mut s.ot, wanted).await;
    s.ch.meter.leave();
    let request = background::one_hots(s, SPAN, wanted, cots?);
    s.stocks.one_hots_in_flight.push_back((wanted.to_vec(), request));
    Ok(())
}

/// Waits for requests until there are `enough`, or none in flight has a kind that is missing.
///
/// # Errors
/// A request has failed.
pub(crate) async fn arrive(s: &mut Session, enough: &cost::OneHots) -> Result<(), Error> {
    let helps = |stocks: &Stocks, w: &Wanted| {
        let key = (w.k, w.ring);
        enough.get(&key).is_some_and(|&n| n > stocks.one_hots(&key))
    };
    while s.stocks.one_hots_in_flight.iter().any(|(wanted, _)| wanted.iter().any(|w| helps(&s.stocks, w))) {
        let Some((wanted, request)) = s.stocks.one_hots_in_flight.pop_front() else { break };
        let made = request.finish(s).await?;
        for (made, w) in made.into_iter().zip(&wanted) {
            s.stocks.one_hots.entry((w.k, w.ring)).or_default().add(made);
        }
    }
    Ok(())
}

/// Has the one-hots of `now` in stock. If some are missing, or soon will be, those of `ahead` are
/// made, or a fraction of each kind if all of them exceeded 64 MB.
///
/// Over a low-latency link they are made together if some of `now` are missing. Over a high-latency
/// link those of `now` are made at once, and the others begun if some of `soon` are missing, with
/// at least as many of each kind as `soon` takes. A prompt of thousands of tokens needs more for
/// one layer than is made at a time: its one-hots are made piece by piece where they are drawn.
///
/// # Errors
/// What the peer or the network does.
pub(crate) async fn ensure(
    s: &mut Session,
    now: &CostModel,
    soon: &Times,
    ahead: &Times,
) -> Result<(), Error> {
    let now = now.one_hots();
    if bytes(now) > MOST {
        return Ok(());
    }
    arrive(s, now).await?;
    let (mut all, soon) = (times(ahead), times(soon));
    if s.is_high_latency() {
        for (key, &n) in &soon {
            all.entry(*key).and_modify(|all| *all = n.max(*all)).or_insert(n);
        }
    }
    let parts = bytes(&all).div_ceil(MOST).max(1);
    let at_once = |key: &(u32, Ring)| now.get(key).copied().unwrap_or(0);
    let part = |key: &(u32, Ring)| (all[key] / parts).max(at_once(key));
    let wanted = |n: &dyn Fn(&(u32, Ring)) -> usize| -> Vec<Wanted> {
        let wanted = all.keys().map(|key| Wanted { n: n(key), k: key.0, ring: key.1 });
        wanted.filter(|w| w.n > 0).collect()
    };
    let have = |key: &(u32, Ring)| s.stocks.one_hots(key);
    let missing = wanted(&|key| at_once(key).saturating_sub(have(key)));
    if !s.is_high_latency() {
        let everything = wanted(&|key| part(key).saturating_sub(have(key)));
        return if missing.is_empty() { Ok(()) } else { make(s, &everything).await };
    }
    let will_have = |key: &(u32, Ring)| have(key).max(at_once(key));
    let runs_short = soon.iter().any(|(key, &n)| n > will_have(key));
    let others = wanted(&|key| part(key).saturating_sub(will_have(key)));
    // One-hots of a single bit need no messages: the parties make them where they are drawn.
    if runs_short && s.stocks.one_hots_in_flight.is_empty() && others.iter().any(|w| w.k > 1) {
        begin(s, &others).await?;
    }
    if missing.is_empty() { Ok(()) } else { make(s, &missing).await }
}

/// Bytes of one-hots in stock: the vector of bits, the index, and its share.
fn bytes(wanted: &cost::OneHots) -> usize {
    wanted.iter().map(|(&(k, _), n)| n * ((1usize << k).div_ceil(64) * 8 + 16)).sum()
}

/// The one-hots of so many times each cost.
fn times(costs: &Times) -> cost::OneHots {
    let mut all = cost::OneHots::new();
    for (cost, times) in costs {
        cost.one_hots().iter().for_each(|(key, n)| *all.entry(*key).or_default() += n * times);
    }
    all
}
