//! Models: networks written once, ways to run them, what lies on disk, and the service that two parties make
//! of it.
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
//! | `service`       | offer, request, generation: what the two programs say to each other|
//! | `config`        | the public shape of a LLaMA, checked                               |
//! | `rope`          | rotary frequencies                                                 |
//! | `folder`        | a model's files, checked against each other                        |
//! | `checkpoint`    | safetensors, mapped, one tensor at a time                          |
//! | `quantize`      | matrices of 16-bit integers                                        |
//! | `tokenizer`     | text to ids and back, as a stream                                  |
//! | `sampling`      | logits to the next token                                           |
//! | `random`        | models with random weights, for tests and measurements             |

pub mod architectures;
mod builtin;
pub mod calibration;
pub mod checkpoint;
pub mod config;
mod config_json;
mod content;
pub mod error;
pub mod evaluator;
pub mod folder;
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
pub mod service;
mod shard;
pub mod tokenizer;
pub mod weights;

pub use calibration::Texts;
pub use checkpoint::Checkpoint;
pub use config::{Config, Fields, Llama3Scaling};
pub use error::{ConfigError, Error};
pub use evaluator::{Evaluator, Tokens};
pub use folder::Folder;
pub use model::{MAX_POSITIONS, Model};
pub use quantize::{QuantMatrix, RealMatrix};
pub use reference::Reference;
pub use rope::rope_inverse_frequencies;
pub use sampling::{Sampler, Sampling};
pub use tokenizer::{Stream, Tokenizer};
