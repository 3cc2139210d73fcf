//! The pool: correlations made before their inputs exist, each of them handed out once.
//!
//! | stock                | made by                 | spent by                                  |
//! |----------------------|-------------------------|-------------------------------------------|
//! | COTs, both directions| [`sotto_ot`], which keeps them | everything on bits; the stocks below |
//! | random one-hots      | [`sotto_ot`]            | [`crate::segments`], [`crate::activation`], [`crate::exp2`], [`crate::reciprocal`], [`crate::lookup`] |
//! | triples, square pairs| [`crate::mul`], [`crate::square`] | the same                        |
//! | masks and their images under a weight | [`crate::linear`] | the same                       |
//! | row triples          | [`crate::rows`]         | the same, [`crate::rms_norm`]             |
//! | matrix triples       | [`crate::matmul`]       | the same                                  |
//!
//! Attention's masks are not here: those of keys and values stay with their rows in a [`crate::kv_cache::KvCache`], and the others with them.
//!
//! Both parties fill and draw in the same order, since both follow the same public shapes. Entries are named by a
//! session-wide counter that only grows; what was drawn is gone, also after an error. The ledger of all draws is
//! compared between the parties before anything is revealed ([`crate::Session::checkpoint`]).

use std::collections::{BTreeMap, VecDeque};

use sotto_ot::{OneHots, Wanted};
use sotto_shares::Ring;

use crate::{
    Error, Precision, Session, cost,
    errand::Errand,
    linear::LinearMasks,
    matmul::{MatmulMasks, MatmulShape},
    mul::Triples,
    rows::{RowShape, RowTriples},
    square::Squares,
};

/// Entries of one kind, in the order in which they were made.
pub(crate) trait Stock: Sized {
    /// Entries left.
    fn len(&self) -> usize;
    /// Splits off the first `n`.
    fn take(&mut self, n: usize) -> Self;
    /// Adds later entries.
    fn append(&mut self, later: Self);
}

/// Moves `n` entries out of a stock that may not exist yet.
pub(crate) fn draw<T: Stock>(stock: &mut Option<T>, n: usize) -> T {
    let stock = stock.as_mut().expect("the stock was filled before it is drawn from");
    assert!(stock.len() >= n, "the stock was filled before it is drawn from");
    stock.take(n)
}

/// Adds to a stock that may not exist yet.
pub(crate) fn fill<T: Stock>(stock: &mut Option<T>, more: T) {
    match stock {
        Some(stock) => stock.append(more),
        None => *stock = Some(more),
    }
}

/// Entries that a stock lacks for a draw of `n`.
pub(crate) fn lacking<T: Stock>(stock: Option<&T>, n: usize) -> usize {
    n.saturating_sub(stock.map_or(0, T::len))
}

/// A stock, and what is being made for it.
pub(crate) struct Supply<T> {
    pub stock: Option<T>,
    pub coming: VecDeque<Errand<T>>,
}

impl<T> Default for Supply<T> {
    fn default() -> Self {
        Supply { stock: None, coming: VecDeque::new() }
    }
}

impl<T: Stock> Supply<T> {
    /// Entries that it will lack for a draw of `n`.
    pub fn lacking(&self, n: usize) -> usize {
        let coming: usize = self.coming.iter().map(|errand| errand.count).sum();
        lacking(self.stock.as_ref(), n).saturating_sub(coming)
    }

    /// Whether a draw of `n` has to wait for what is being made.
    fn waits(&self, n: usize) -> bool {
        lacking(self.stock.as_ref(), n) > 0 && !self.coming.is_empty()
    }

    /// Moves `n` entries out of stock.
    pub fn draw(&mut self, n: usize) -> T {
        draw(&mut self.stock, n)
    }
}

/// Waits for what is being made, until there are `n` entries in stock or nothing more is coming.
///
/// # Errors
/// What becomes of the errands.
pub(crate) async fn collect<T: Stock + Send + 'static>(
    s: &mut Session,
    supply: impl for<'a> Fn(&'a mut Pool) -> &'a mut Supply<T>,
    n: usize,
) -> Result<(), Error> {
    while supply(&mut s.pool).waits(n) {
        let Some(errand) = supply(&mut s.pool).coming.pop_front() else { break };
        let made = errand.finish(s).await?;
        fill(&mut supply(&mut s.pool).stock, made);
    }
    Ok(())
}

/// One party's correlations. Dropping it wipes them.
#[derive(Default)]
pub(crate) struct Pool {
    pub one_hots: BTreeMap<(u32, Ring), Option<OneHots>>,
    /// What is being made of them.
    pub coming: VecDeque<(Vec<Wanted>, Errand<Vec<OneHots>>)>,
    /// One-hots drawn so far.
    pub drawn: cost::OneHots,
    pub triples: BTreeMap<Ring, Option<Triples>>,
    pub squares: BTreeMap<Ring, Option<Squares>>,
    pub linear: BTreeMap<(Precision, u32), Supply<LinearMasks>>,
    pub rows: BTreeMap<RowShape, Supply<RowTriples>>,
    pub matmul: BTreeMap<MatmulShape, VecDeque<MatmulMasks>>,
    ledger: Ledger,
}

impl Pool {
    /// How many one-hots of a kind there are.
    pub fn one_hots_in_stock(&self, key: &(u32, Ring)) -> usize {
        self.one_hots.get(key).and_then(Option::as_ref).map_or(0, OneHots::len)
    }

    /// Writes a draw into the ledger.
    pub fn record(&mut self, kind: &'static str, parameter: u64, count: usize) {
        self.ledger.record(kind, parameter, count);
    }

    /// A digest of all draws so far.
    pub fn digest(&self) -> [u8; 32] {
        *self.ledger.hash.finalize().as_bytes()
    }
}

/// The order in which entries were handed out: name, parameter, first number, count.
#[derive(Default)]
struct Ledger {
    hash: blake3::Hasher,
    next: u64,
}

impl Ledger {
    fn record(&mut self, kind: &'static str, parameter: u64, count: usize) {
        self.hash.update(kind.as_bytes());
        for number in [parameter, self.next, count as u64] {
            self.hash.update(&number.to_le_bytes());
        }
        self.next += count as u64;
    }
}

impl Stock for OneHots {
    fn len(&self) -> usize {
        self.len()
    }
    fn take(&mut self, n: usize) -> OneHots {
        self.take(n)
    }
    fn append(&mut self, later: OneHots) {
        self.append(later);
    }
}
