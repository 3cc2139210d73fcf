//! Models: networks written once, ways to run them, what lies on disk, and the service that two
//! parties make of it.
//!
//! | file            | subject                                                            |
//! |-----------------|--------------------------------------------------------------------|
//! | `evaluator`     | the operations that networks are written in, and ways to run them  |
//! | `architectures` | the networks, each on a page                                       |
//! | `layers`        | layers that they share                                             |
//! | `network`       | which networks there are                                           |
//! | `weights`       | a network's weights, for every way to run it                       |
//! | `model`         | a model as its owner serves it                                     |
//! | `calibration`   | scales that fit a model's numbers into the rings                   |
//! | `reference`     | the whole model in f32                                             |
//! | `agreement`     | how far fixed point agrees with it                                 |
//! | `service`       | offer, request, tasks: what the two programs say to each other     |
//! | `config`        | the public shape of a model, checked                               |
//! | `rope`          | rotary frequencies                                                 |
//! | `folder`        | a model's files, checked against each other                        |
//! | `sentence`      | how a text becomes a vector, as sentence-transformers says         |
//! | `checkpoint`    | safetensors or GGUF, mapped, one tensor at a time                  |
//! | `gguf`          | a GGUF file; `gguf_model`, `gguf_tokenizer` read a model from it   |
//! | `quantize`      | matrices of integers, 16 significant bits a column                 |
//! | `tokenizer`     | text to ids and back, as a stream                                  |
//! | `chat_template` | a conversation as one text, by the model's template                |
//! | `text`          | text on its way to a terminal                                      |
//! | `sampling`      | logits to the next token                                           |
//! | `random`        | models with random weights, for tests and measurements             |

mod agreement;
pub mod architectures;
mod builtin;
mod calendar;
pub mod calibration;
pub mod chat_template;
pub mod checkpoint;
pub mod config;
mod config_json;
mod content;
pub mod error;
pub mod evaluator;
pub mod folder;
mod gguf;
mod gguf_blocks;
mod gguf_model;
mod gguf_tokenizer;
mod json_object;
pub mod layers;
mod model;
pub mod network;
pub mod quantize;
pub mod random;
mod random_tokenizer;
mod reference;
pub mod rope;
pub mod sampling;
mod sentence;
pub mod service;
mod shard;
pub mod text;
pub mod tokenizer;
pub mod weights;

pub use agreement::{Agreement, CLEAR_LEAD};
pub use calibration::{Cache, Texts};
pub use chat_template::{ChatTemplate, Message};
pub use checkpoint::Checkpoint;
pub use config::{
    Config, Dense, EncoderFields, Fields, Llama3Scaling, LocalRope, Pooling, RopeScaling, Scores, Task,
    YarnScaling,
};
pub use error::{ConfigError, Error};
pub use evaluator::{Evaluator, Tokens};
pub use folder::Folder;
pub use model::{MAX_POSITIONS, Model};
pub use quantize::{QuantMatrix, RealMatrix};
pub use reference::Reference;
pub use rope::{rope_attention_factor, rope_inverse_frequencies};
pub use sampling::{Penalties, Sampler, Sampling};
pub use tokenizer::{Encoded, Stream, Tokenizer};
