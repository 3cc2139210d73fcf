//! A model as it lies on disk: `config.json`, safetensors weights, `tokenizer.json`, and optionally
//! a `generation_config.json`, checked against each other when opened.

use std::collections::HashSet;
use std::path::Path;

use crate::chat_template::ChatTemplate;
use crate::checkpoint::Checkpoint;
use crate::config::{Config, EncoderFields, Fields, Task};
use crate::content::read_small;
use crate::error::Error;
use crate::gguf_model::GgufModel;
use crate::gguf_tokenizer::tokenizer_json;
use crate::json_object::Object;
use crate::network::AnyNetwork;
use crate::sentence::Sentence;
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
        let sentence = match config.task() {
            Task::Generate => None,
            _ => Sentence::open(folder, &config)?,
        };
        let config = sentence.as_ref().map_or(Ok(config.clone()), |sentence| sentence.config(config));
        let config = config.map_err(|reason| Error::Config { file: folder.join(CONFIG), reason })?;
        let tokenizer = Tokenizer::open(&folder.join(TOKENIZER), &config)?;
        let config = with_mask(folder, config, &tokenizer)?;
        let template = ChatTemplate::open(folder);
        let mut checkpoint = Checkpoint::open(folder)?.with_prefix(config.architecture.prefix());
        if let Some(sentence) = &sentence {
            sentence.check_case(&tokenizer)?;
            if let Some(dense) = sentence.dense() {
                checkpoint = checkpoint.with_part(EncoderFields::DENSE, dense)?;
            }
        }
        if config.task() == Task::Embed && sentence.is_none() {
            warnings.push("no modules.json: a text's vector is the mean of its tokens', as it is".into());
        }
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
        let warnings = folder.check()?;
        Ok(Folder { warnings, ..folder })
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
        warnings.extend(self.warnings);
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

    /// Every weight is there as the configuration says, and nothing else but what is harmless; what
    /// is left out of heads.
    fn check(&self) -> Result<Vec<String>, Error> {
        let mut known = HashSet::new();
        let listing = Listing::default();
        AnyNetwork::load(&self.config, &listing)?;
        for Tensor { name, shape } in listing.tensors() {
            self.checkpoint.check(&name, &shape)?;
            known.insert(self.checkpoint.stored(&name).to_string());
        }
        let others = self.checkpoint.names().filter(|name| !known.contains(*name) && !self.is_harmless(name));
        let (heads, unknown): (Vec<&str>, Vec<&str>) = others.partition(|name| self.is_of_a_head(name));
        if let Some(name) = unknown.first() {
            return Err(Error::TensorUnknown { file: self.checkpoint.file().into(), tensor: (*name).into() });
        }
        let ignored = (!heads.is_empty()).then(|| {
            let (n, task) = (heads.len(), self.config.task().name());
            format!("{n} tensors of heads that `{task}` does not use are ignored: {}", heads.join(", "))
        });
        Ok(ignored.into_iter().collect())
    }

    /// Tensors of the heads that encoders may have.
    fn is_of_a_head(&self, name: &str) -> bool {
        let prefix = self.config.architecture.prefix();
        let own = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.')).unwrap_or(name);
        let head = own.split('.').next().unwrap_or_default();
        self.config.architecture.is_encoder() && HEADS.contains(&head)
    }

    /// Tensors that repeat what the configuration says: stored frequencies, masks of a causal
    /// attention, and the head where it is the embedding.
    fn is_harmless(&self, name: &str) -> bool {
        let is = |buffer: &str| {
            name.strip_suffix(buffer).is_some_and(|path| path.is_empty() || path.ends_with('.'))
        };
        is("rotary_emb.inv_freq")
            || self.config.architecture.buffers().iter().any(|buffer| is(buffer))
            || (matches!(name, "lm_head.weight" | "embed_out.weight") && self.config.tie_word_embeddings)
    }
}

/// Where the heads of encoders are.
const HEADS: [&str; 12] = [
    "classifier",
    "cls",
    "discriminator_predictions",
    "generator_lm_head",
    "generator_predictions",
    "lm_head",
    "pooler",
    "pre_classifier",
    "qa_outputs",
    "vocab_layer_norm",
    "vocab_projector",
    "vocab_transform",
];

/// Adds the mask to a configuration whose head looks for what is in its place.
fn with_mask(folder: &Path, config: Config, tokenizer: &Tokenizer) -> Result<Config, Error> {
    let mut fields = Fields::from(config);
    if let Some(encoder) = &mut fields.encoder
        && encoder.task == Task::FillMask
    {
        let named = mask_name(folder)?;
        let names = named.iter().map(String::as_str).chain(["[MASK]", "<mask>"]);
        let mask = names.into_iter().find_map(|name| tokenizer.id_of(name)).ok_or(Error::NoMask)?;
        encoder.mask_token = Some(mask);
    }
    Config::try_from(fields).map_err(|reason| Error::Config { file: folder.join(CONFIG), reason })
}

/// What the tokenizer's files call the mask.
fn mask_name(folder: &Path) -> Result<Option<String>, Error> {
    let file = folder.join("tokenizer_config.json");
    if !file.exists() {
        return Ok(None);
    }
    let text = read_small(&file, CONFIG_LIMIT, "take the file again from the model's source")?;
    let json = Object::parse(&text).map_err(|reason| Error::Config { file, reason })?;
    let mask = json.get("mask_token");
    Ok(mask.as_str().or(mask["content"].as_str()).map(String::from))
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
