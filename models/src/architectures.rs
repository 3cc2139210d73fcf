//! Networks, each on a page: configuration, loading, forward.

pub mod bert;
pub mod distilbert;
pub mod electra;
pub mod gemma;
pub mod gpt2;
pub mod gpt_neox;
pub mod llama;
pub mod phi;
pub mod phi3;
pub mod roberta;
pub mod stablelm;
pub mod starcoder2;
