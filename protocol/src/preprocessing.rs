//! What is made before its input exists: in which order, where it is kept, and how it travels.

pub mod ahead;
pub(crate) mod errand;
pub(crate) mod pool;
