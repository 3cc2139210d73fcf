//! Networks, each on a page: configuration, loading, forward.

pub mod bert;
pub mod distilbert;
pub mod electra;
pub mod gemma;
pub mod gemma2;
pub mod gemma3;
pub mod gpt2;
pub mod gpt_neox;
pub mod llama;
pub mod olmo2;
pub mod phi;
pub mod phi3;
pub mod qwen3;
pub mod roberta;
pub mod stablelm;
pub mod starcoder2;
