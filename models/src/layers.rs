//! Layers that networks share, written once over any [`Evaluator`](crate::evaluator::Evaluator).

mod attention;
mod decoder;
mod encoder;
mod gated_mlp;
mod mlp;

pub use attention::{Attention, causal, in_pairs};
pub use decoder::{Decoder, Layer, Names};
pub use encoder::{Encoder, EncoderLayer, EncoderNames, Head, LayerNames, LayerShape};
pub use gated_mlp::GatedMlp;
pub use mlp::Mlp;

use sotto_protocol::linear::Exactness;

use crate::{
    error::Error,
    evaluator::Norm,
    weights::{DIAGONAL, Projection, ProjectionPart, Source},
};

/// A matrix behind a norm, or behind none.
fn matrix<S: Source>(
    source: &S,
    inputs: usize,
    norm: Option<&Norm>,
    parts: Vec<ProjectionPart>,
    stream: bool,
) -> Result<S::Weight, Error> {
    let whole = stream.then_some(DIAGONAL);
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
    let whole = part.is_none().then_some(0);
    let (parts, norm) = (part.into_iter().collect(), norm.cloned());
    source.matrix(&Projection { inputs, parts, norm, whole, exactness: Exactness::Exact })
}
