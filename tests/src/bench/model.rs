//! The models that can be measured: the built-in one, a folder, or random weights.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sotto_models::{Config, Fields, Folder, random::write_random_folder};

/// The folder of a random model inside the scratch folder.
const RANDOM: &str = "model";

/// Writes the model's folder, if it is a random one.
///
/// # Errors
/// The name is that of no random model, or a file cannot be written.
pub fn provide(model: &str, scratch: &Path) -> Result<()> {
    let Some(size) = model.strip_prefix("random:") else { return Ok(()) };
    let fields = match size {
        // 15 million parameters: the shape of the well-known small storytellers, with their
        // vocabulary.
        "15m" => fields(288, 6, 768, 32_000),
        _ => anyhow::bail!("random:{size} is unknown; there is random:15m"),
    };
    Ok(write_random_folder(&scratch.join(RANDOM), &Config::try_from(fields)?, 1)?)
}

/// Opens the model.
///
/// # Errors
/// It is not there, or not one that can be served.
pub fn open(model: &str, scratch: &Path) -> Result<Folder> {
    let path = match model {
        "builtin" => return Ok(Folder::builtin()?),
        _ if model.starts_with("random:") => scratch.join(RANDOM),
        path => PathBuf::from(path),
    };
    Folder::open(&path).with_context(|| format!("model {model}"))
}

/// A LLaMA of six layers with as many key heads as query heads and a tied output head.
pub fn fields(hidden_size: usize, heads: usize, intermediate_size: usize, vocab_size: usize) -> Fields {
    Fields {
        vocab_size,
        hidden_size,
        intermediate_size,
        num_hidden_layers: 6,
        num_attention_heads: heads,
        num_key_value_heads: heads,
        head_dim: hidden_size / heads,
        max_position_embeddings: 256,
        norm_eps: 1e-5,
        rope_theta: 10_000.0,
        tie_word_embeddings: true,
        bos_token_id: Some(1),
        eos_token_ids: vec![2],
        ..Fields::default()
    }
}
