//! Functions of one shared number, of a row, and the tables that approximate them.

pub mod activation;
pub(crate) mod curve;
pub mod exp2;
pub mod fit;
pub(crate) mod in_parallel;
pub mod maximum;
pub mod reciprocal;
pub(crate) mod relu;
pub mod segments;
pub mod tables;
pub mod top_k;
