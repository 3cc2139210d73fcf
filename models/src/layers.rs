//! Layers that networks share, written once over any [`Evaluator`](crate::evaluator::Evaluator).

mod attention;
mod decoder;
mod gated_mlp;
mod mlp;

pub use attention::{Attention, causal, in_pairs};
pub use decoder::{Decoder, Layer, Names};
pub use gated_mlp::GatedMlp;
pub use mlp::Mlp;

use sotto_protocol::linear::Exactness;

use crate::{
    error::Error,
    evaluator::Norm,
    weights::{Projection, ProjectionPart, Source},
};

/// A matrix behind a norm, or behind none.
fn matrix<S: Source>(
    source: &S,
    inputs: usize,
    norm: Option<&Norm>,
    parts: Vec<ProjectionPart>,
    stream: bool,
) -> Result<S::Weight, Error> {
    let exactness = Exactness::Rounded;
    source.matrix(&Projection { inputs, parts, norm: norm.cloned(), stream, exactness })
}

/// The matrix from the residual stream's last norm to what is revealed.
///
/// # Errors
/// As [`Source::matrix`].
pub fn head<S: Source>(source: &S, norm: &Norm, part: ProjectionPart) -> Result<S::Weight, Error> {
    source.matrix(&Projection {
        inputs: norm.width,
        parts: vec![part],
        norm: Some(norm.clone()),
        stream: false,
        exactness: Exactness::Exact,
    })
}
