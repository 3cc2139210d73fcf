//! What [`FixedPoint`](crate::evaluator::FixedPoint) is made of: operations on fixed-point numbers
//! whose rings are visible.
//!
//! [`TwoParty`](crate::evaluator::TwoParty) computes them on shares by protocols,
//! [`Clear`](crate::evaluator::Clear) in one process. A tensor is a [`Share`] in both; in the clear
//! it is the value.

use std::ops::Range;

use sotto_protocol::{Error, Precision, activation::Activation, kv_cache::Heads, linear::Matrix};
use sotto_shares::{Ring, Share};

use crate::evaluator::{Part, Tokens};

/// Operations on fixed-point numbers.
#[allow(async_fn_in_trait)]
pub trait Arithmetic {
    /// What this side knows of a weight matrix.
    type Weight: Matrix;

    /// How exact activations are: which rings and fraction bits are meant below.
    fn precision(&self) -> Precision;

    /// Positions before this step.
    fn position(&self) -> usize;

    /// Says which part of the network comes next.
    async fn enter(&mut self, part: Part) -> Result<(), Error>;

    /// The rows of `table` `[V, d]` that belong to `tokens`, in the ring of linear layers.
    async fn embed(&mut self, table: &Self::Weight, tokens: Tokens<'_>) -> Result<Share, Error>;

    /// Some rows of a table `[positions, d]`, integers with the table's fraction bits: nothing at
    /// the party that does not have it. Local.
    fn rows_of(&self, table: &Self::Weight, rows: Range<usize>) -> Option<(Vec<i32>, u32)>;

    /// `x W + b`: `[T, K]` activations to `[T, M]` in the same ring, with the weight's fraction
    /// bits added.
    async fn linear(&mut self, w: &Self::Weight, x: &Share) -> Result<Share, Error>;

    /// Adds keys `[T, heads h]` to a layer's cache, and multiplies the queries of the same
    /// positions, `[T group, h]` for each head of keys, by all keys so far: `[heads T group,
    /// positions]`, in the ring of scores, fraction bits added.
    async fn scores(&mut self, layer: usize, heads: Heads, q: &Share, k: &Share) -> Result<Share, Error>;

    /// Drops `bits` fraction bits and goes to `ring`, less than a unit off. Local where `ring` has
    /// at least `bits` bits less than the ring of `x`.
    async fn truncate(&mut self, x: &Share, bits: u32, ring: Ring) -> Result<Share, Error>;

    /// The same numbers in a larger ring.
    async fn extend(&mut self, x: &Share, ring: Ring) -> Result<Share, Error>;

    /// Adds the rows of `x` to the overflow check, in units of `2^unit`: see
    /// [`sotto_protocol::overflow_check::rows`]. `top` bits are looked at. Local.
    fn check_rows(&mut self, x: &Share, unit: u32, top: u32);

    /// Adds the numbers of `x` to the overflow check: below `3 * 2^unit` they pass, from `4 *
    /// 2^unit` on they do not; a number is taken modulo `2^(unit + top)`. Local.
    fn check_numbers(&mut self, x: &Share, unit: u32, top: u32);

    /// `g x / sqrt(mean(x^2) + eps)` for each row: activations, `g` as in
    /// [`sotto_protocol::rms_norm`].
    async fn rms_norm(&mut self, x: &Share, eps: f64) -> Result<Share, Error>;

    /// The same of `x - mean(x)`.
    async fn layer_norm(&mut self, x: &Share, eps: f64) -> Result<Share, Error>;

    /// Rotary embedding of the heads of `x` `[T, heads h]`, in the ring of queries and keys, and
    /// values `v`, which are not rotated, in that of sums. So many fraction bits, and an
    /// activation's. The two travel in one message.
    async fn rope(&mut self, x: (&Share, u32), frequencies: &[f64], v: &Share) -> Result<[Share; 2], Error>;

    /// Lowers the scores `x` `[rows, positions]` of positions that this party wants not to be seen,
    /// so far that they weigh nothing. Local; only the client has such.
    fn hide(&self, x: Share) -> Share {
        x
    }

    /// Attention from scores `x` `[heads T group, positions]`, after [`Self::scores`], whose row
    /// `i` sees the first `visible[i]` positions, and the new values `v` `[T, heads h]`, which join
    /// the layer's cache: sums of values by weights `2^x`, up to a factor a row, and the
    /// reciprocals of the sums of these weights, `[heads T group, h]` and `[heads T group, 1]`, in
    /// the ring and with the fraction bits in which they are multiplied.
    async fn attend(
        &mut self,
        layer: usize,
        x: &Share,
        visible: &[usize],
        v: &Share,
    ) -> Result<[Share; 2], Error>;

    /// An activation function of numbers with an activation's fraction bits, in `ring`, not smaller
    /// than the argument's.
    async fn activate(&mut self, f: Activation, x: &Share, ring: Ring) -> Result<Share, Error>;

    /// `f(x) y`: of `x` in the ring of an activation function's argument, and of as many of the
    /// fraction bits of `y` as an activation has; in the ring of products or a larger one, fraction
    /// bits added, of which so many will be dropped.
    async fn gate(&mut self, f: Activation, x: &Share, y: &Share, dropped: u32) -> Result<Share, Error>;

    /// The row of `x` `[T, d]` where `tokens` have the token `id`, in the same ring: zeros if it is
    /// nowhere.
    async fn row_of(&mut self, x: &Share, tokens: Tokens<'_>, id: u32) -> Result<Share, Error>;

    /// Each row of `x` times its own number in `y` `[T, 1]`, for products of which two bits more
    /// are dropped than `y` has fraction bits.
    async fn mul_rows(&mut self, x: &Share, y: &Share) -> Result<Share, Error>;
}
