//! Layers that networks share, written once over any [`Evaluator`](crate::evaluator::Evaluator).

mod attention;
mod decoder;
mod encoder;
mod gated_mlp;
mod mlp;
mod norm;

pub use attention::{Attention, causal, in_pairs, projections};
pub use decoder::{Decoder, Layer, Names};
pub use encoder::{Encoder, EncoderLayer, EncoderNames, Head, LayerNames, LayerShape};
pub use gated_mlp::{GatedMlp, gated_projections};
pub use mlp::Mlp;
pub use norm::GainedNorm;

use sotto_protocol::linear::Exactness;

use crate::{
    Config,
    error::Error,
    evaluator::Norm,
    weights::{DIAGONAL, Projection, ProjectionPart, Source},
};

/// What a layer's matrices read: so many columns, the output of a norm or of none.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// Columns.
    pub width: usize,
    /// The norm.
    pub norm: Option<&'a Norm>,
}

impl<'a> From<&'a Norm> for Input<'a> {
    fn from(norm: &'a Norm) -> Input<'a> {
        Input { width: norm.width, norm: Some(norm) }
    }
}

impl Input<'_> {
    /// The residual stream, as it is.
    pub fn stream(c: &Config) -> Input<'static> {
        Input { width: c.hidden_size, norm: None }
    }

    /// Its columns behind gain, bias and projection of its norm.
    fn outputs(&self) -> usize {
        self.norm.map_or(self.width, Norm::outputs)
    }
}

/// A matrix behind a norm, or behind none.
fn matrix<S: Source>(
    source: &S,
    inputs: usize,
    norm: Option<&Norm>,
    parts: Vec<ProjectionPart>,
    stream: bool,
) -> Result<S::Weight, Error> {
    let whole = stream.then(|| (-f64::from(DIAGONAL)).exp2());
    source.matrix(&Projection { inputs, parts, norm: norm.cloned(), whole, exactness: Exactness::Rounded })
}

/// The matrix from the residual stream's last norm to what is revealed.
///
/// # Errors
/// As [`Source::matrix`].
pub fn head<S: Source>(source: &S, norm: &Norm, part: ProjectionPart) -> Result<S::Weight, Error> {
    output(source, norm.width, Some(norm), Some(part))
}

/// The matrix to what is revealed, behind a norm or behind none: what the part makes of its input,
/// or that itself.
///
/// # Errors
/// As [`Source::matrix`].
pub fn output<S: Source>(
    source: &S,
    inputs: usize,
    norm: Option<&Norm>,
    part: Option<ProjectionPart>,
) -> Result<S::Weight, Error> {
    let whole = part.is_none().then_some(1.0);
    let (parts, norm) = (part.into_iter().collect(), norm.cloned());
    source.matrix(&Projection { inputs, parts, norm, whole, exactness: Exactness::Exact })
}
