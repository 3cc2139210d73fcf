//! Small models to test with.

#![allow(dead_code)]

use sotto_models::{
    Config, Fields, Folder,
    network::AnyNetwork,
    weights::{Listing, Tensor},
};

/// A LLaMA of odd sizes: three heads of 12, 101 tokens.
pub fn odd() -> Fields {
    Fields {
        vocab_size: 101,
        hidden_size: 36,
        intermediate_size: 50,
        num_hidden_layers: 2,
        num_attention_heads: 3,
        num_key_value_heads: 3,
        head_dim: 12,
        max_position_embeddings: 128,
        norm_eps: 1e-5,
        rope_theta: 10_000.0,
        tie_word_embeddings: false,
        bos_token_id: Some(1),
        eos_token_ids: vec![2],
        ..Fields::default()
    }
}

pub fn config(fields: Fields) -> Config {
    Config::try_from(fields).unwrap()
}

/// A model with room for all bytes in its tokenizer.
pub fn bytes() -> Config {
    config(Fields { vocab_size: 300, ..odd() })
}

/// The tensors of a model, in the order in which its network asks for them.
pub fn tensors(config: &Config) -> Vec<Tensor> {
    let listing = Listing::default();
    AnyNetwork::load(config, &listing).unwrap();
    listing.tensors()
}

/// One of them, by its name, and its shape.
pub fn read(folder: &Folder, name: &str) -> (Vec<f32>, Vec<usize>) {
    let all = tensors(folder.config());
    let shape = all.into_iter().find(|tensor| tensor.name == name).unwrap().shape;
    (folder.checkpoint().tensor(name, &shape).unwrap(), shape)
}
