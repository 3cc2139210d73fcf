//! The operations that networks are written in.
//!
//! A network is a page in [`crate::architectures`]. It runs on any [`Evaluator`]:
//!
//! | evaluator                                  | a tensor is                   | what it is for            |
//! |--------------------------------------------|-------------------------------|---------------------------|
//! | [`FixedPoint`] over [`TwoParty`]           | one party's share             | private inference         |
//! | [`FixedPoint`] over [`Clear`]              | fixed-point numbers           | the oracle of its tests   |
//! | [`Float`]                                  | f32 numbers                   | reference and calibration |
//! | [`Plan`]                                   | a shape                       | what a step takes         |
//! | [`Bounds`]                                 | bounds on magnitudes          | which ranges are proven   |

mod arithmetic;
pub mod bounds;
pub mod clear;
pub(crate) mod fixed_point;
pub mod float;
pub mod plan;
pub mod scales;
pub mod two_party;

use std::f64::consts::LOG2_E;
use std::ops::Range;

use sotto_protocol::{
    Error,
    activation::{Activation, CAP},
    kv_cache::Heads,
};

use crate::{Config, weights::ProjectionPart};

pub use arithmetic::Arithmetic;
pub use bounds::Bounds;
pub use clear::Clear;
pub use fixed_point::{FixedPoint, RESIDUAL_FRAC, Scaled};
pub use float::Float;
pub use plan::{Plan, Progress};
pub use scales::Scales;
pub use two_party::TwoParty;

/// Tokens as a party knows them.
#[derive(Clone, Copy, Debug)]
pub enum Tokens<'a> {
    /// Their ids.
    Known(&'a [u32]),
    /// Their ids, and how many of them are of the first of two texts.
    Pair(&'a [u32], usize),
    /// Only how many there are.
    Hidden(usize),
}

impl Tokens<'_> {
    /// How many there are.
    pub fn count(&self) -> usize {
        match self {
            Tokens::Known(ids) | Tokens::Pair(ids, _) => ids.len(),
            Tokens::Hidden(n) => *n,
        }
    }

    /// Their ids, where they are known.
    pub fn ids(&self) -> Option<&[u32]> {
        match self {
            Tokens::Known(ids) | Tokens::Pair(ids, _) => Some(ids),
            Tokens::Hidden(_) => None,
        }
    }

    /// The first `n`, and the others; of one text.
    pub fn split_at(&self, n: usize) -> (Self, Self) {
        match *self {
            Tokens::Known(ids) | Tokens::Pair(ids, _) => {
                let (first, rest) = ids.split_at(n);
                (Tokens::Known(first), Tokens::Known(rest))
            }
            Tokens::Hidden(all) => (Tokens::Hidden(n), Tokens::Hidden(all - n)),
        }
    }

    /// Whether a token is of the second of two texts.
    pub fn is_second(&self, at: usize) -> bool {
        matches!(self, Tokens::Pair(_, first) if at >= *first)
    }
}

/// The parts of a network, in the order in which it visits them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// From tokens to the residual stream.
    Embedding,
    /// A layer, counted from 0.
    Layer(usize),
    /// From the residual stream to the outputs.
    Head,
}

/// Which kind of norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// `x / sqrt(mean(x^2) + eps)`.
    Rms,
    /// `(x - mean(x)) / sqrt(var(x) + eps)`.
    Layer,
}

/// A norm over rows of `width` numbers. Gain, bias and what is behind them are names only: they are
/// multiplied into the matrices that follow, or are a matrix, so that no evaluator sees them.
#[derive(Clone, Debug)]
pub struct Norm {
    /// Which kind.
    pub kind: NormKind,
    /// Columns of a row.
    pub width: usize,
    /// Added to the mean square or the variance.
    pub eps: f64,
    /// The tensor of gains, `[width]`, by its name in the checkpoint.
    pub gain: String,
    /// What is added to the stored gains.
    pub gain_offset: f64,
    /// The tensor of biases, `[width]`, if there is one.
    pub bias: Option<String>,
    /// A projection of what the norm puts out, in front of all that follows.
    pub through: Option<Box<ProjectionPart>>,
}

impl Norm {
    /// A decoder's RMSNorm, whose gains are at `path.weight`.
    pub fn rms(c: &Config, path: String) -> Norm {
        let gain = format!("{path}.weight");
        Norm {
            kind: NormKind::Rms,
            width: c.hidden_size,
            eps: c.norm_eps,
            gain,
            gain_offset: 0.0,
            bias: None,
            through: None,
        }
    }

    /// Columns of what follows from its output, gain and bias included.
    pub fn outputs(&self) -> usize {
        self.through.as_ref().map_or(self.width, |part| part.outputs)
    }

    /// A LayerNorm, whose gains are at `path.weight` and whose biases at `path.bias`.
    pub fn layer(c: &Config, path: String) -> Norm {
        let bias = Some(format!("{path}.bias"));
        Norm { kind: NormKind::Layer, bias, ..Norm::rms(c, path) }
    }
}

/// The public shape of an attention.
#[derive(Clone, Debug)]
pub struct AttentionShape {
    /// Heads and their width.
    pub heads: Heads,
    /// Angle a position of each pair of columns, `[head width / 2]`, if queries and keys are
    /// rotated.
    pub rotary: Option<Vec<f64>>,
    /// What products of queries and keys are multiplied by.
    pub scale: f64,
    /// The soft cap of scores, `cap tanh(score / cap)`, if they have one.
    pub cap: Option<f64>,
    /// Whether a position sees only itself and those before it.
    pub causal: bool,
}

impl AttentionShape {
    /// What queries and keys together are multiplied by: the softmax is to base 2, and what a soft
    /// cap is a function of is [`CAP`] at the cap.
    pub fn factor(&self) -> f64 {
        self.scale * self.cap.map_or(LOG2_E, |cap| CAP / cap)
    }

    /// What a capped score, at most [`CAP`], is multiplied by in front of a softmax to base 2.
    pub fn after_cap(cap: f64) -> f64 {
        cap * LOG2_E / CAP
    }

    /// Columns of the queries.
    pub fn query_columns(&self) -> usize {
        self.heads.key_value * self.heads.group * self.heads.width
    }

    /// Columns of the keys, and of the values.
    pub fn key_columns(&self) -> usize {
        self.heads.key_value * self.heads.width
    }

    /// How many positions each row of scores sees, `[key heads * rows * group]`, if `rows` new
    /// positions follow `past` ones.
    pub fn visible(&self, rows: usize, past: usize) -> Vec<usize> {
        let (heads, group) = (self.heads.key_value, self.heads.group);
        let of = |row: usize| if self.causal { past + row + 1 } else { past + rows };
        (0..heads * rows * group).map(|i| of(i % (rows * group) / group)).collect()
    }
}

/// A way to run a network.
///
/// Every method fails only for what the peer or the network connection does. Shapes that do not fit
/// are a mistake in this program and panic.
#[allow(async_fn_in_trait)]
pub trait Evaluator {
    /// A matrix of numbers, one row a position.
    type Tensor;
    /// What this side knows of a weight matrix.
    type Weight;

    /// Positions before this step.
    fn position(&self) -> usize;

    /// Says which part of the network comes next.
    async fn enter(&mut self, part: Part) -> Result<(), Error>;

    /// The rows of `table` `[V, d]` that belong to `tokens`: the residual stream `[T, d]`. To those
    /// of a second text, the table's last row is added.
    async fn embed(&mut self, table: &Self::Weight, tokens: Tokens<'_>) -> Result<Self::Tensor, Error>;

    /// Adds the row of `table` `[positions, d]` that belongs to each position to the residual
    /// stream, right behind [`Evaluator::embed`]. Local: positions are public.
    async fn add_positions(&mut self, h: &Self::Tensor, table: &Self::Weight) -> Result<Self::Tensor, Error>;

    /// Normalises each row of the residual stream, without gain and bias.
    async fn norm(&mut self, norm: &Norm, x: &Self::Tensor) -> Result<Self::Tensor, Error>;

    /// Normalises a linear layer's output, which does not join the residual stream: each part of
    /// as many columns as the norm has, without gain and bias.
    async fn norm_parts(&mut self, norm: &Norm, y: &Self::Tensor) -> Result<Self::Tensor, Error>;

    /// The residual stream as a linear layer takes it, without a norm.
    async fn unnormalised(&mut self, h: &Self::Tensor) -> Result<Self::Tensor, Error>;

    /// `x W + b`: `[T, K]` to `[T, M]`; of longer rows each part of `K` columns, `[T, n K]` to `[T,
    /// n M]`.
    async fn linear(&mut self, w: &Self::Weight, x: &Self::Tensor) -> Result<Self::Tensor, Error>;

    /// Attention of the new positions, from queries `[T, heads h]`, keys and values `[T, key heads
    /// h]`, of which queries and keys together are multiplied by [`AttentionShape::factor`]: means
    /// of values `[T, heads h]`. Keys and values join the layer's cache.
    async fn attention(
        &mut self,
        layer: usize,
        shape: &AttentionShape,
        qkv: [&Self::Tensor; 3],
    ) -> Result<Self::Tensor, Error>;

    /// `f(x)`, element by element.
    async fn activate(&mut self, f: Activation, x: &Self::Tensor) -> Result<Self::Tensor, Error>;

    /// `f(x) y`, element by element.
    async fn gate(
        &mut self,
        f: Activation,
        x: &Self::Tensor,
        y: &Self::Tensor,
    ) -> Result<Self::Tensor, Error>;

    /// `h + y`: a linear layer's output joins the residual stream `h`.
    async fn add(&mut self, h: &Self::Tensor, y: &Self::Tensor) -> Result<Self::Tensor, Error>;

    /// A linear layer's output, times `2^doublings`, becomes the residual stream.
    async fn stream(&mut self, y: &Self::Tensor, doublings: u32) -> Result<Self::Tensor, Error>;

    /// An activation function's results become the residual stream, for a norm behind them.
    async fn new_stream(&mut self, y: &Self::Tensor) -> Result<Self::Tensor, Error>;

    /// The mean `[1, d]` of all rows of what a norm has put out.
    async fn mean(&mut self, x: &Self::Tensor) -> Result<Self::Tensor, Error>;

    /// The row `[1, d]` of what a norm has put out where `tokens` have the token `id`, which they
    /// have once. Who does not know them does not learn which row it is.
    async fn row_of(&mut self, x: &Self::Tensor, tokens: Tokens<'_>, id: u32) -> Result<Self::Tensor, Error>;

    /// Some columns of `x`.
    fn columns(&self, x: &Self::Tensor, range: Range<usize>) -> Self::Tensor;

    /// Some rows of `x`.
    fn rows(&self, x: &Self::Tensor, range: Range<usize>) -> Self::Tensor;
}

/// The result of an evaluation that talks to nobody, and so never waits.
///
/// # Panics
/// If it waits.
pub fn immediate<T>(evaluation: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(evaluation).poll(&mut context) {
        std::task::Poll::Ready(result) => result,
        std::task::Poll::Pending => panic!("an evaluation in one process does not wait"),
    }
}
