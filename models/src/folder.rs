//! A model as it lies on disk: `config.json`, safetensors weights, `tokenizer.json`, and optionally a
//! `generation_config.json`, checked against each other when opened.

use std::collections::HashSet;
use std::path::Path;

use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::content::read_small;
use crate::error::Error;
use crate::network::AnyNetwork;
use crate::tokenizer::Tokenizer;
use crate::weights::{Listing, Tensor};

const CONFIG: &str = "config.json";
const GENERATION: &str = "generation_config.json";
const TOKENIZER: &str = "tokenizer.json";
const CONFIG_LIMIT: u64 = 1 << 20;

/// A model's files. Every weight that the model needs is there with the right shape, and there is no other.
pub struct Folder {
    config: Config,
    tokenizer: Tokenizer,
    checkpoint: Checkpoint,
}

impl Folder {
    /// Opens a folder in the Hugging Face layout. Weights are checked by name, type and shape, not yet read.
    ///
    /// # Errors
    ///
    /// Names the first file, field or tensor that is missing, unsupported, or contradicts another.
    pub fn open(folder: &Path) -> Result<Folder, Error> {
        let cure = "point to a model's folder in the Hugging Face layout";
        let config = read_small(&folder.join(CONFIG), CONFIG_LIMIT, cure)?;
        let generation = match folder.join(GENERATION) {
            file if file.exists() => Some(read_small(&file, CONFIG_LIMIT, cure)?),
            _ => None,
        };
        let config = config_from(folder, &config, generation.as_deref())?;
        let tokenizer = Tokenizer::open(&folder.join(TOKENIZER), &config)?;
        Folder::new(config, tokenizer, Checkpoint::open(folder)?)
    }

    /// Checks the weights against the configuration.
    pub(crate) fn new(config: Config, tokenizer: Tokenizer, checkpoint: Checkpoint) -> Result<Folder, Error> {
        let folder = Folder { config, tokenizer, checkpoint };
        folder.check()?;
        Ok(folder)
    }

    /// The model's shape.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The model's tensors, by name.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Every weight is there as the configuration says, and nothing else.
    fn check(&self) -> Result<(), Error> {
        let mut known = HashSet::new();
        let listing = Listing::default();
        AnyNetwork::load(&self.config, &listing)?;
        for Tensor { name, shape } in listing.tensors() {
            self.checkpoint.check(&name, &shape)?;
            known.insert(name);
        }
        match self.checkpoint.names().find(|name| !known.contains(*name) && !self.is_harmless(name)) {
            None => Ok(()),
            Some(name) => {
                Err(Error::TensorUnknown { file: self.checkpoint.file().into(), tensor: name.into() })
            }
        }
    }

    /// Tensors that repeat what the configuration says: stored frequencies, and the head where it is the
    /// embedding.
    fn is_harmless(&self, name: &str) -> bool {
        name.ends_with(".rotary_emb.inv_freq")
            || (name == "lm_head.weight" && self.config.tie_word_embeddings)
    }
}

/// The configuration of a folder from the texts of its `config.json` and `generation_config.json`.
pub(crate) fn config_from(folder: &Path, config: &[u8], generation: Option<&[u8]>) -> Result<Config, Error> {
    let at = |name| move |reason| Error::Config { file: folder.join(name), reason };
    let config = Config::from_json(config).map_err(at(CONFIG))?;
    match generation {
        None => Ok(config),
        Some(text) => config.with_generation_json(text).map_err(at(GENERATION)),
    }
}
