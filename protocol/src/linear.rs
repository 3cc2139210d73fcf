//! Products of matrices: a private weight times shared rows ([`client`], [`server`]), and shared
//! times shared.

pub mod kv_cache;
pub mod lattice;
pub mod matmul;
pub mod rows;
mod weights;

#[cfg(test)]
pub(crate) use weights::layout;
pub use weights::{Exactness, LinearMasks, Matrix, Weight, WeightShape, Weights, client, ideal, server};
pub(crate) use weights::{answer, arrive, ask, bytes, missing};
