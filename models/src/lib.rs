//! Models: what lies on disk, what both parties know of it, and the reference in f32.
//!
//! | file            | subject                                                            |
//! |-----------------|--------------------------------------------------------------------|
//! | `config`        | the public shape of a LLaMA, checked                               |
//! | `param`         | its weights: names and shapes                                      |
//! | `rope`          | rotary frequencies                                                 |
//! | `folder`        | a model's files, checked against each other                        |
//! | `checkpoint`    | safetensors, mapped, one tensor at a time                          |
//! | `quantize`      | matrices of 16-bit integers                                        |
//! | `tokenizer`     | text to ids and back, as a stream                                  |
//! | `sampling`      | logits to the next token                                           |
//! | `float`         | the whole model in f32                                             |
//! | `random`        | models with random weights, for tests and measurements             |

mod builtin;
pub mod checkpoint;
pub mod config;
mod config_json;
mod content;
pub mod error;
pub mod float;
mod float_ops;
pub mod folder;
mod json_object;
pub mod param;
pub mod quantize;
pub mod random;
mod random_tokenizer;
pub mod rope;
pub mod sampling;
mod shard;
pub mod tokenizer;

pub use checkpoint::Checkpoint;
pub use config::{Config, Fields, Llama3Scaling};
pub use error::{ConfigError, Error};
pub use float::FloatModel;
pub use folder::Folder;
pub use param::Param;
pub use quantize::{QuantMatrix, RealMatrix};
pub use rope::rope_inverse_frequencies;
pub use sampling::{Sampler, Sampling};
pub use tokenizer::{Stream, Tokenizer};
