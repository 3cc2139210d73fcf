//! All stocks of one party.
//!
//! | stock | made by | spent by |
//! |---|---|---|
//! | COTs, both directions | [`sotto_ot`], which keeps them | protocols on bits; other stocks |
//! | random one-hots | [`sotto_ot`] | `functions/`, [`crate::lookup`] |
//! | triples, square pairs| [`crate::mul`], [`crate::square`] | the same |
//! | masks and their images under a weight | [`crate::linear`] | the same |
//! | row triples | [`crate::rows`] | the same, [`crate::rms_norm`] |
//! | matrix triples | [`crate::matmul`] | the same |
//!
//! Attention's masks are not here. Those of keys and values stay with their rows in a
//! [`crate::kv_cache::KvCache`], and the others with them. The ledger of all draws is compared
//! between the parties before anything is revealed ([`crate::Session::checkpoint`]).

use std::collections::{BTreeMap, VecDeque};

use sotto_ot::{OneHots, Wanted};
use sotto_shares::Ring;

use super::{
    background::Request,
    stock::{Ledger, Stock},
};
use crate::{
    Precision, cost,
    linear::LinearMasks,
    matmul::{MatmulMasks, MatmulShape},
    mul::Triples,
    rows::{RowShape, RowTriples},
    square::Squares,
};

/// One party's correlations. Dropping it wipes them.
#[derive(Default)]
pub(crate) struct Stocks {
    /// By the bits of their index, and its ring.
    pub one_hots: BTreeMap<(u32, Ring), Stock<OneHots>>,
    /// Requests for several kinds of them.
    pub one_hots_in_flight: VecDeque<(Vec<Wanted>, Request<Vec<OneHots>>)>,
    /// One-hots drawn so far.
    pub one_hots_drawn: cost::OneHots,
    pub triples: BTreeMap<Ring, Stock<Triples>>,
    pub squares: BTreeMap<Ring, Stock<Squares>>,
    /// By the precision and the number of their matrix.
    pub linear: BTreeMap<(Precision, u32), Stock<LinearMasks>>,
    pub rows: BTreeMap<RowShape, Stock<RowTriples>>,
    pub matmul: BTreeMap<MatmulShape, VecDeque<MatmulMasks>>,
    pub ledger: Ledger,
}

impl Stocks {
    /// How many one-hots of a kind there are.
    pub fn one_hots(&self, key: &(u32, Ring)) -> usize {
        self.one_hots.get(key).map_or(0, Stock::len)
    }

    /// Writes a draw into the ledger.
    pub fn record(&mut self, kind: &'static str, parameter: u64, count: usize) {
        self.ledger.record(kind, parameter, count);
    }
}
