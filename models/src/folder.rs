//! A model as it lies on disk: `config.json`, safetensors weights, `tokenizer.json`, and optionally
//! a `generation_config.json`, checked against each other when opened.

use std::collections::HashSet;
use std::path::Path;

use crate::chat_template::ChatTemplate;
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::content::read_small;
use crate::error::Error;
use crate::gguf_model::GgufModel;
use crate::gguf_tokenizer::tokenizer_json;
use crate::network::AnyNetwork;
use crate::tokenizer::Tokenizer;
use crate::weights::{Listing, Tensor};

const CONFIG: &str = "config.json";
const GENERATION: &str = "generation_config.json";
const TOKENIZER: &str = "tokenizer.json";
const CONFIG_LIMIT: u64 = 1 << 20;

/// A model's files. Every weight that the model needs is there with the right shape, and there is
/// no other.
pub struct Folder {
    config: Config,
    tokenizer: Tokenizer,
    checkpoint: Checkpoint,
    chat_template: Option<ChatTemplate>,
    warnings: Vec<String>,
}

impl Folder {
    /// Opens a folder in the Hugging Face layout, or a GGUF file that holds a whole model. Weights
    /// are checked by name, type and shape, not yet read.
    ///
    /// # Errors
    ///
    /// Names the first file, field or tensor that is missing, unsupported, or contradicts another.
    pub fn open(folder: &Path) -> Result<Folder, Error> {
        if folder.is_file() {
            return Folder::open_gguf(folder);
        }
        let cure = "point to a model's folder in the Hugging Face layout";
        let config = read_small(&folder.join(CONFIG), CONFIG_LIMIT, cure)?;
        let generation = match folder.join(GENERATION) {
            file if file.exists() => Some(read_small(&file, CONFIG_LIMIT, cure)?),
            _ => None,
        };
        let mut warnings = Vec::new();
        let config = config_from(folder, &config, generation.as_deref(), &mut warnings)?;
        let tokenizer = Tokenizer::open(&folder.join(TOKENIZER), &config)?;
        let template = ChatTemplate::open(folder);
        let checkpoint = Checkpoint::open(folder)?.with_prefix(config.architecture.prefix());
        Folder::new(config, tokenizer, checkpoint)?.with_template(template, warnings)
    }

    fn open_gguf(file: &Path) -> Result<Folder, Error> {
        let (model, mut warnings) = (GgufModel::open(file)?, Vec::new());
        let config = model.config(&mut warnings)?;
        let tokenizer = Tokenizer::parse(file, tokenizer_json(model.gguf())?, &config)?;
        let template = ChatTemplate::from_gguf(model.gguf());
        Folder::new(config, tokenizer, Checkpoint::gguf(model))?.with_template(template, warnings)
    }

    /// Checks the weights against the configuration.
    pub(crate) fn new(config: Config, tokenizer: Tokenizer, checkpoint: Checkpoint) -> Result<Folder, Error> {
        let folder = Folder { config, tokenizer, checkpoint, chat_template: None, warnings: Vec::new() };
        folder.check()?;
        Ok(folder)
    }

    /// Adds the chat template and the token that ends its turns. A template that cannot be read is
    /// a remark: the model continues texts all the same.
    fn with_template(
        self,
        template: Result<Option<ChatTemplate>, Error>,
        mut warnings: Vec<String>,
    ) -> Result<Folder, Error> {
        let chat_template = template.unwrap_or_else(|error| {
            warnings.push(error.to_string());
            None
        });
        let end = chat_template.as_ref().and_then(|template| template.end_of_turn(&self.tokenizer));
        let at = |reason| Error::Config { file: self.checkpoint.file().into(), reason };
        let config = self.config.with_ending_tokens(end.as_slice()).map_err(at)?;
        Ok(Folder { config, chat_template, warnings, ..self })
    }

    /// The template of a chat model.
    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.chat_template.as_ref()
    }

    /// Whether the model was trained to answer in turns: it has a chat template.
    pub fn is_instruct(&self) -> bool {
        self.chat_template.is_some()
    }

    /// Remarks for the model's owner: what the files say and is read otherwise.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
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
            known.insert(self.checkpoint.stored(&name).to_string());
        }
        match self.checkpoint.names().find(|name| !known.contains(*name) && !self.is_harmless(name)) {
            None => Ok(()),
            Some(name) => {
                Err(Error::TensorUnknown { file: self.checkpoint.file().into(), tensor: name.into() })
            }
        }
    }

    /// Tensors that repeat what the configuration says: stored frequencies, masks of a causal
    /// attention, and the head where it is the embedding.
    fn is_harmless(&self, name: &str) -> bool {
        let is = |buffer: &str| name.strip_suffix(buffer).is_some_and(|path| path.ends_with('.'));
        is("rotary_emb.inv_freq")
            || self.config.architecture.buffers().iter().any(|buffer| is(buffer))
            || (matches!(name, "lm_head.weight" | "embed_out.weight") && self.config.tie_word_embeddings)
    }
}

/// The configuration of a folder from the texts of its `config.json` and `generation_config.json`.
pub(crate) fn config_from(
    folder: &Path,
    config: &[u8],
    generation: Option<&[u8]>,
    warnings: &mut Vec<String>,
) -> Result<Config, Error> {
    let at = |name| move |reason| Error::Config { file: folder.join(name), reason };
    let config = Config::from_json_with(config, warnings).map_err(at(CONFIG))?;
    match generation {
        None => Ok(config),
        Some(text) => config.with_generation_json(text, warnings).map_err(at(GENERATION)),
    }
}
