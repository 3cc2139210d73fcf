//! The models that can be measured: the built-in one, a folder, or random weights.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sotto_models::{Config, Fields, Folder, random::write_random_folder};

/// The folder of a random model inside the scratch folder.
const RANDOM: &str = "model";

/// The random models there are.
const NAMES: &str = "random:15m, random:gpt2-small, random:smollm2-135m, random:llama-1b, \
                     random:LAYERSxWIDTHxFFNxVOCABULARY";

/// Writes the model's folder, if it is a random one.
///
/// # Errors
/// The name is that of no random model, or a file cannot be written.
pub fn provide(model: &str, scratch: &Path) -> Result<()> {
    let Some(size) = model.strip_prefix("random:") else { return Ok(()) };
    let fields = match size {
        // The shape of the well-known small storytellers, with their vocabulary.
        "15m" => fields(288, 6, 768, 32_000),
        "gpt2-small" => decoder([12, 768, 2048, 32_000], [12, 12]),
        "smollm2-135m" => decoder([30, 576, 1536, 49_152], [9, 3]),
        "llama-1b" => decoder([16, 2048, 8192, 128_256], [32, 8]),
        _ => {
            let sides: Vec<usize> = size.split('x').map_while(|side| side.parse().ok()).collect();
            let Ok(sides @ [_, width, ..]) = <[usize; 4]>::try_from(sides) else {
                anyhow::bail!("random:{size} is unknown; there is {NAMES}");
            };
            anyhow::ensure!(width > 0 && width % 64 == 0, "the width is {width}, expected a multiple of 64");
            decoder(sides, [width / 64; 2])
        }
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

/// A LLaMA of so many layers, so wide, with so wide an MLP and so many tokens; with so many query
/// heads and key heads.
fn decoder([layers, width, ffn, vocabulary]: [usize; 4], [heads, key_heads]: [usize; 2]) -> Fields {
    Fields {
        num_hidden_layers: layers,
        num_key_value_heads: key_heads,
        max_position_embeddings: 2048,
        ..fields(width, heads, ffn, vocabulary)
    }
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
