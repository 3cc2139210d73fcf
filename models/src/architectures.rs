//! Networks, each on a page: configuration, loading, forward.

pub mod bert;
pub mod llama;
