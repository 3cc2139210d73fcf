//! Models: written once over an alphabet of secure letters; what lies on disk; the reference in f32.
//!
//! | file            | subject                                                            |
//! |-----------------|--------------------------------------------------------------------|
//! | `config`        | the public shape of a LLaMA, checked                               |
//! | `param`         | its weights: names and shapes                                      |
//! | `rope`          | rotary frequencies                                                 |
//! | `folder`        | a model's files, checked against each other                        |
//! | `checkpoint`    | safetensors or GGUF, mapped, one tensor at a time                  |
//! | `gguf`          | a GGUF file; `gguf_model`, `gguf_tokenizer` read a model from it   |
//! | `quantize`      | matrices of 16-bit integers                                        |
//! | `tokenizer`     | text to ids and back, as a stream                                  |
//! | `chat_template` | a conversation as one text, by the model's template                |
//! | `text`          | text on its way to a terminal                                      |
//! | `sampling`      | logits to the next token                                           |
//! | `float`         | the whole model in f32                                             |
//! | `evaluator`     | the alphabet                                                       |
//! | `llama`, `bert` | LLaMA, and a layer of BERT, in that alphabet                       |
//! | `attention`     | attention, which they share                                        |
//! | `secure`        | the alphabet on shares, for client and server                      |
//! | `clear`         | the alphabet in the clear: the oracle                              |
//! | `audit`         | what the weights may make overflow                                 |
//! | `conversation`  | offer, request, generation: what the two programs say to each other|
//! | `random`        | models with random weights, for tests and measurements             |

mod attention;
pub mod audit;
pub mod bert;
mod builtin;
mod calendar;
pub mod chat_template;
pub mod checkpoint;
pub mod clear;
pub mod config;
mod config_json;
mod content;
pub mod conversation;
pub mod error;
pub mod evaluator;
pub mod float;
mod float_ops;
pub mod folder;
mod gguf;
mod gguf_blocks;
mod gguf_model;
mod gguf_tokenizer;
mod json_object;
pub mod llama;
pub mod param;
pub mod quantize;
pub mod random;
mod random_tokenizer;
pub mod rope;
pub mod sampling;
pub mod secure;
mod shard;
pub mod text;
pub mod tokenizer;

pub use chat_template::{ChatTemplate, Message};
pub use checkpoint::Checkpoint;
pub use clear::Clear;
pub use config::{Config, Fields, Llama3Scaling, RopeScaling, YarnScaling};
pub use error::{ConfigError, Error};
pub use evaluator::{Evaluator, Tokens};
pub use float::FloatModel;
pub use folder::Folder;
pub use llama::{Cache, Llama, Revealed, Wanted};
pub use param::Param;
pub use quantize::{QuantMatrix, RealMatrix};
pub use rope::{rope_attention_factor, rope_inverse_frequencies};
pub use sampling::{Sampler, Sampling};
pub use tokenizer::{Stream, Tokenizer};
