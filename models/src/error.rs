//! What can go wrong with a model's files, a prompt or an option. Every message is one line that
//! names the guilty, what was found, what was expected, and the cure.

use std::io;
use std::path::PathBuf;

/// A model that cannot be loaded, or a request that it cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that the model needs is not there.
    #[error("{}: no such file; {cure}", .file.display())]
    Missing {
        /// The file.
        file: PathBuf,
        /// What to do.
        cure: &'static str,
    },
    /// The operating system refused a file.
    #[error("{}: cannot be read: {cause}; check the path and its permissions", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the operating system says.
        cause: io::Error,
    },
    /// The operating system refused to write a file.
    #[error(
        "{}: cannot be written: {cause}; \
         check the path, its permissions and the free space",
        .file.display()
    )]
    Write {
        /// The file.
        file: PathBuf,
        /// What the operating system says.
        cause: io::Error,
    },
    /// A file is larger than any real one of its kind.
    #[error(
        "{}: {bytes} bytes, expected at most {limit}; \
         this is not the file of a supported model",
        .file.display()
    )]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// Its size in bytes.
        bytes: u64,
        /// The largest size accepted, in bytes.
        limit: u64,
    },
    /// A file is truncated or is not what its name says.
    #[error("{}: {reason}; {cure}", .file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// What to do.
        cure: &'static str,
    },
    /// `config.json` asks for something unsupported or impossible.
    #[error("{}: {reason}", .file.display())]
    Config {
        /// The file.
        file: PathBuf,
        /// The field at fault.
        reason: ConfigError,
    },
    /// The index of a sharded checkpoint names a file outside the model's folder.
    #[error(
        "{}: shard {shard:?} is not a plain file name; \
         take the index from a trusted copy of the model",
        .file.display()
    )]
    ShardOutside {
        /// The index.
        file: PathBuf,
        /// The entry.
        shard: String,
    },
    /// The checkpoint lacks a tensor.
    #[error("{}: tensor `{tensor}` is missing, expected shape {expected:?}; {cure}", .file.display())]
    TensorMissing {
        /// The checkpoint or its index.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape according to `config.json`.
        expected: Vec<usize>,
        /// What to do.
        cure: &'static str,
    },
    /// The checkpoint has a tensor that the model does not use: leaving it out would change the
    /// answer.
    #[error(
        "{}: tensor `{tensor}` is not part of the model that config.json describes; \
         use a checkpoint without it (biases and adapters are not supported)",
        .file.display()
    )]
    TensorUnknown {
        /// The checkpoint or its index.
        file: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// A tensor has a number format that is not read.
    #[error(
        "{}: tensor `{tensor}` has type {actual}, expected {expected}; \
         save the model in one of these",
        .file.display()
    )]
    TensorType {
        /// The checkpoint.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its type.
        actual: String,
        /// The types that are read.
        expected: &'static str,
    },
    /// A tensor's shape contradicts `config.json`.
    #[error(
        "{}: tensor `{tensor}` has shape {actual:?}, expected {expected:?} by the configuration \
         (config.json, or the metadata of a GGUF file); take both from the same model",
        .file.display()
    )]
    TensorShape {
        /// The checkpoint.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shape in the checkpoint.
        actual: Vec<usize>,
        /// The shape according to `config.json`.
        expected: Vec<usize>,
    },
    /// A weight is not a number.
    #[error(
        "{}: tensor `{tensor}` has {actual} at element {index}, expected finite numbers; \
         the file is damaged or the training diverged",
        .file.display()
    )]
    TensorNotFinite {
        /// The checkpoint.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// Position in row-major order.
        index: usize,
        /// NaN or an infinity.
        actual: f32,
    },
    /// A matrix has a value that does not fit 16 bits at any scale.
    #[error("matrix `{matrix}` has magnitude {actual}, expected at most 32767; check the checkpoint")]
    WeightTooLarge {
        /// The matrix.
        matrix: String,
        /// Its largest magnitude.
        actual: f64,
    },
    /// The tokenizer can produce ids that the embedding does not have.
    #[error(
        "{}: largest token id is {largest}, expected below vocab_size {vocab} of config.json; \
         take both files from the same model",
        .file.display()
    )]
    Vocabulary {
        /// The tokenizer's file.
        file: PathBuf,
        /// Its largest id.
        largest: u32,
        /// Rows of the embedding.
        vocab: usize,
    },
    /// A model that finds words in place of a mask has none.
    #[error(
        "the tokenizer has no mask token, expected one (`mask_token` of tokenizer_config.json, [MASK] or <mask>); \
         take all files from the same model"
    )]
    NoMask,
    /// A file of a sentence-transformers folder asks for something unsupported.
    #[error("{}: {reason}", .file.display())]
    Sentence {
        /// The file.
        file: PathBuf,
        /// The field at fault.
        reason: ConfigError,
    },
    /// The prompt has no token.
    #[error("the prompt is empty, expected at least one character; pass some text")]
    PromptEmpty,
    /// The prompt is longer than the model or the session admits.
    #[error("the prompt has {actual} tokens, expected at most {limit}; shorten it")]
    PromptTooLong {
        /// Tokens in the prompt, special ones included.
        actual: usize,
        /// Tokens admitted.
        limit: usize,
    },
    /// The model's chat template cannot be read, or refuses a conversation.
    #[error("the chat template failed: {reason}; check the conversation, or pass a plain text instead")]
    ChatTemplate {
        /// What is wrong.
        reason: String,
    },
    /// The tokenizer could not encode or decode.
    #[error("the tokenizer failed: {reason}; check that tokenizer.json belongs to the model")]
    Tokenize {
        /// What it says.
        reason: String,
    },
    /// A token id without a row in the embedding.
    #[error("token id {id} is out of range, expected below {vocab}; the ids do not belong to this model")]
    TokenOutOfRange {
        /// The id.
        id: u32,
        /// Rows of the embedding.
        vocab: usize,
    },
    /// A sampling option is out of its range.
    #[error("{option} is {actual}, expected {expected}")]
    Sampling {
        /// The option.
        option: &'static str,
        /// Its value.
        actual: f64,
        /// Its range.
        expected: &'static str,
    },
}

/// A field of a model's configuration that is unsupported or impossible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` is {actual}, expected {expected}; {cure}")]
pub struct ConfigError {
    /// The field, by its name in `config.json`.
    pub field: String,
    /// What it holds.
    pub actual: String,
    /// What it may hold.
    pub expected: String,
    /// What to do.
    pub cure: &'static str,
}
