//! The alphabet in which models are written.
//!
//! A letter is a function of a transformer on fixed-point tensors. [`Client`](sotto_protocol::Client) and
//! [`Server`](sotto_protocol::Server) spell it with protocols on shares; [`Clear`](crate::Clear) computes the
//! same numbers in one process and is the oracle of their tests. A tensor is a [`Share`] everywhere; in the clear it is the value.

use sotto_protocol::{Error, Precision, activation::Activation, kv_cache::Heads, planner::Step};
use sotto_shares::{Ring, Share};

/// The ring of the residual stream: `|x| < 2^14`, since norms extend it.
pub const RESIDUAL: Ring = Ring::new(34);
/// Fraction bits of the residual stream.
pub const RESIDUAL_FRAC: u32 = 18;

/// Tokens as a party knows them.
#[derive(Clone, Copy, Debug)]
pub enum Tokens<'a> {
    /// Their ids.
    Known(&'a [u32]),
    /// Only how many there are.
    Hidden(usize),
}

impl Tokens<'_> {
    /// How many there are.
    pub fn count(&self) -> usize {
        match self {
            Tokens::Known(ids) => ids.len(),
            Tokens::Hidden(n) => *n,
        }
    }
}

/// One party's way, or the plain way, to evaluate a model.
///
/// Every method fails only for what the peer or the network does; shapes that do not fit are our own mistake and panic.
#[allow(async_fn_in_trait)]
pub trait Evaluator {
    /// What this side knows of a matrix: its integers, or its shape alone.
    type Weight;

    /// Keys and values of a layer.
    type Cache;

    /// How exact activations are: which rings and fraction bits are meant below.
    fn precision(&self) -> Precision;

    /// The rows of `table` `[V, d]` that belong to `tokens`: `[T, d]` in the residual ring.
    async fn embed(&mut self, table: &Self::Weight, tokens: Tokens<'_>) -> Result<Share, Error>;

    /// `x W`: `[T, K]` activations to `[T, M]` in the same ring, with the weight's fraction bits added.
    async fn linear(&mut self, w: &Self::Weight, x: &Share) -> Result<Share, Error>;

    /// Keys and values of a layer, without any position.
    fn cache(&self, heads: Heads) -> Self::Cache;

    /// Adds keys `[T, heads h]` to a layer's cache, and multiplies the queries of the same positions, `[T group, h]` for each head of keys, by
    /// all keys so far: `[heads T group, positions]`, in the ring of scores, fraction bits added.
    async fn scores(&mut self, cache: &mut Self::Cache, q: &Share, k: &Share) -> Result<Share, Error>;

    /// Drops `bits` fraction bits and goes to `ring`, less than a unit off. Local where `ring` is small enough.
    async fn truncate(&mut self, x: &Share, bits: u32, ring: Ring) -> Result<Share, Error>;

    /// The same numbers in a larger ring.
    async fn extend(&mut self, x: &Share, ring: Ring) -> Result<Share, Error>;

    /// Notes that the rows of `x`, activations below 2^18, must have norms below 2^13 or so: what is known of that is told at the end. Local.
    async fn watch(&mut self, x: &Share) -> Result<(), Error>;

    /// `x / rms(x)` for each row of the residual stream: activations.
    async fn rms_norm(&mut self, x: &Share, eps: f64) -> Result<Share, Error>;

    /// Rotary embedding of the heads of `x` `[T, heads h]`, whose first row is at position `start`, in the ring of queries and keys; and values `v`, which are not rotated, in that of sums. An
    /// activation's fraction bits both.
    async fn rope(
        &mut self,
        x: &Share,
        frequencies: &[f64],
        start: usize,
        v: &Share,
    ) -> Result<[Share; 2], Error>;

    /// Attention from scores `x` `[heads T group, positions]`, after [`Self::scores`], whose row `i` sees the first `visible[i]` positions, and the new values
    /// `v` `[T, heads h]`, which join the layer's cache: sums of values by weights `2^x`, up to a factor a row, and the reciprocals of the sums of these weights, `[heads T group, h]` and
    /// `[heads T group, 1]`, in the ring and with the fraction bits in which they are multiplied.
    async fn attend(
        &mut self,
        cache: &mut Self::Cache,
        x: &Share,
        visible: &[usize],
        v: &Share,
    ) -> Result<[Share; 2], Error>;

    /// LayerNorm without gain and bias, of the residual stream; the result is an activation.
    async fn layer_norm(&mut self, x: &Share, eps: f64) -> Result<Share, Error>;

    /// An activation function of numbers with an activation's fraction bits, in `ring`, not smaller than the argument's.
    async fn activate(&mut self, f: Activation, x: &Share, ring: Ring) -> Result<Share, Error>;

    /// `f(x) y`: of `x` in the ring of an activation function's argument, and of as many of the fraction bits of `y` as an activation has; in the ring of products or a larger one,
    /// fraction bits added.
    async fn gate(&mut self, f: Activation, x: &Share, y: &Share) -> Result<Share, Error>;

    /// Each row of `x` times its own number in `y` `[T, 1]`, for products of which two bits more are dropped than `y` has fraction bits.
    async fn mul_rows(&mut self, x: &Share, y: &Share) -> Result<Share, Error>;

    /// Enters a step, and with it its first part: what it takes is made, or begun.
    async fn enter_step(
        &mut self,
        step: &Step<&Self::Weight>,
        caches: &mut [Self::Cache],
    ) -> Result<(), Error>;

    /// Enters a part of a step.
    async fn enter_part(
        &mut self,
        step: &Step<&Self::Weight>,
        index: usize,
        caches: &mut [Self::Cache],
    ) -> Result<(), Error>;

    /// Says that a layer has been evaluated.
    async fn layer_done(&mut self) -> Result<(), Error>;

    /// Reveals the position of each row's largest number to the client, who may have added its own numbers before; otherwise as [`Self::reveal`].
    async fn reveal_best(&mut self, x: &Share, added: &[f64]) -> Result<Option<Vec<u32>>, Error>;

    /// Reveals the `k` largest numbers of a row to the client, and where they are; otherwise as [`Self::reveal`].
    async fn reveal_top(&mut self, x: &Share, k: usize) -> Result<Option<Vec<(usize, f64)>>, Error>;

    /// Reveals `x` to the client; the server gets nothing. Nothing is revealed unless both sides agree on all that went before.
    async fn reveal(&mut self, x: &Share) -> Result<Option<Vec<f64>>, Error>;
}
