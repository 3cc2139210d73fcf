//! How a text becomes a vector, as the files of a sentence-transformers folder say: `modules.json`
//! names what stands behind the transformer, each with a folder of its own.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sotto_protocol::activation::Activation;

use crate::{
    Config, Fields, Tokenizer,
    config::{Dense, EncoderFields, Pooling, Task},
    content::read_small,
    error::{ConfigError, Error},
    json_object::{CHECK_FILE, Object},
};

const MODULES: &str = "modules.json";
const TEXTS: &str = "sentence_bert_config.json";
const PROMPTS: &str = "config_sentence_transformers.json";
const LIMIT: u64 = 1 << 20;
const OTHER: &str = "use a model whose vectors are made otherwise";

/// What the files say.
pub(crate) struct Sentence {
    folder: PathBuf,
    pooling: Pooling,
    dense: Option<(Dense, PathBuf)>,
    normalise: bool,
    /// Tokens of a text at most.
    positions: Option<usize>,
    lower_case: bool,
}

impl Sentence {
    /// Reads the files, if the folder has them.
    ///
    /// # Errors
    /// A file is malformed, or asks for what is not supported.
    pub(crate) fn open(folder: &Path, config: &Config) -> Result<Option<Sentence>, Error> {
        let modules = folder.join(MODULES);
        if !modules.exists() {
            return Ok(None);
        }
        let mut sentence = Sentence {
            folder: folder.into(),
            pooling: Pooling::Mean,
            dense: None,
            normalise: false,
            positions: None,
            lower_case: false,
        };
        sentence.read_prompts()?;
        sentence.read_texts()?;
        let mut expected = ["Transformer", "Pooling", "Dense", "Normalize"].iter();
        for (kind, path) in list(&modules)? {
            // In this order; what is left out is not there.
            if !expected.any(|name| *name == kind) {
                let what = "Transformer, Pooling, at most one Dense, and Normalize, in this order";
                return Err(refuse(&modules, "type", &kind, what));
            }
            match kind.as_str() {
                "Pooling" => sentence.read_pooling(&path, config)?,
                "Dense" => sentence.dense = Some((dense(&folder.join(&path), config)?, folder.join(path))),
                "Normalize" => sentence.normalise = true,
                _ => {}
            }
        }
        Ok(Some(sentence))
    }

    /// The configuration of a model that makes vectors this way, whatever its head.
    ///
    /// # Errors
    /// A number is out of its range.
    pub(crate) fn config(&self, config: Config) -> Result<Config, ConfigError> {
        let mut fields = Fields::from(config);
        let positions = fields.max_position_embeddings;
        fields.encoder = fields.encoder.map(|encoder| EncoderFields {
            task: Task::Embed,
            labels: vec![],
            pooling: self.pooling,
            dense: self.dense.as_ref().map(|(dense, _)| *dense),
            normalise: self.normalise,
            longest: self.positions.filter(|&n| n < positions),
            ..encoder
        });
        Config::try_from(fields)
    }

    /// The folder of the layer behind the pooling.
    pub(crate) fn dense(&self) -> Option<&Path> {
        self.dense.as_ref().map(|(_, folder)| &**folder)
    }

    /// Where texts are meant to be in lower case, the tokenizer must see to that.
    ///
    /// # Errors
    /// It does not.
    pub(crate) fn check_case(&self, tokenizer: &Tokenizer) -> Result<(), Error> {
        let same = || Ok::<_, Error>(tokenizer.encode("A Text", 64)? == tokenizer.encode("a text", 64)?);
        if self.lower_case && !same()? {
            let what = "false, where the tokenizer tells capitals from others";
            return Err(refuse(&self.folder.join(TEXTS), "do_lower_case", "true", what));
        }
        Ok(())
    }

    fn read_texts(&mut self) -> Result<(), Error> {
        let file = self.folder.join(TEXTS);
        if file.exists() {
            let (json, at) = (object(&file)?, |reason| Error::Sentence { file: file.clone(), reason });
            self.lower_case = json.flag("do_lower_case").map_err(at)?;
            if *json.get("max_seq_length") != Value::Null {
                self.positions = Some(json.size("max_seq_length").map_err(at)?.max(1));
            }
        }
        Ok(())
    }

    /// A prompt that is put before every text would change the vectors.
    fn read_prompts(&self) -> Result<(), Error> {
        let file = self.folder.join(PROMPTS);
        if file.exists() {
            let cure = "set it to null, and put the prompt before each text yourself";
            let prompt = object(&file)?.only("default_prompt_name", &[Value::Null], cure);
            prompt.map_err(|reason| Error::Sentence { file, reason })?;
        }
        Ok(())
    }

    fn read_pooling(&mut self, path: &str, config: &Config) -> Result<(), Error> {
        let file = self.folder.join(path).join("config.json");
        let (json, at) = (object(&file)?, |reason| Error::Sentence { file: file.clone(), reason });
        let width = config.hidden_size;
        let here = [Value::Null, json!(width)];
        json.only("word_embedding_dimension", &here, "take all files from the same model").map_err(at)?;
        let modes = ["cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens"];
        let others = ["weightedmean_tokens", "lasttoken"];
        let is_on = |mode: &&str| json.flag(&format!("pooling_mode_{mode}"));
        let mut on = vec![];
        for mode in modes.iter().chain(&others) {
            if is_on(mode).map_err(at)? {
                on.push(*mode);
            }
        }
        self.pooling = match (&on[..], json.get("pooling_mode").as_str()) {
            (["cls_token"], _) | ([], Some("cls")) => Pooling::First,
            (["mean_tokens"], _) | ([], Some("mean")) => Pooling::Mean,
            (modes, other) => {
                let found =
                    if modes.is_empty() { other.unwrap_or("absent").into() } else { modes.join(" and ") };
                return Err(refuse(&file, "pooling_mode", &found, "cls_token or mean_tokens, one of them"));
            }
        };
        Ok(())
    }
}

/// Kinds and paths of the modules, in their order.
fn list(file: &Path) -> Result<Vec<(String, String)>, Error> {
    let malformed =
        |reason: &str| Error::Malformed { file: file.into(), reason: reason.into(), cure: CHECK_FILE };
    let text = read_small(file, LIMIT, CHECK_FILE)?;
    let modules: Vec<Value> =
        serde_json::from_slice(&text).map_err(|cause| malformed(&format!("no list of modules ({cause})")))?;
    let of = |module: &Value| {
        let (kind, path) = (module["type"].as_str()?, module["path"].as_str()?);
        let kind = kind.rsplit('.').next().unwrap_or(kind);
        // A folder inside this one.
        let plain = !path.contains(['/', '\\', ':', '\0']) && path != "..";
        plain.then(|| (kind.to_string(), path.to_string()))
    };
    let all: Option<Vec<_>> = modules.iter().map(of).collect();
    let all =
        all.ok_or_else(|| malformed("a module without `type`, or without a `path` that names a folder"))?;
    match all.first() {
        Some((kind, path)) if kind == "Transformer" && path.is_empty() => Ok(all),
        _ => Err(malformed("the first module is no Transformer in this folder")),
    }
}

/// A layer behind the pooling.
fn dense(folder: &Path, config: &Config) -> Result<Dense, Error> {
    let file = folder.join("config.json");
    let (json, at) = (object(&file)?, |reason| Error::Sentence { file: file.clone(), reason });
    let here = [json!(config.hidden_size)];
    json.only("in_features", &here, "take all files from the same model").map_err(at)?;
    let function = json.get("activation_function").as_str().unwrap_or("Tanh");
    let function = match function.rsplit('.').next() {
        Some("Tanh") => Some(Activation::Tanh),
        Some("Identity") => None,
        _ => return Err(at(json.refuse("activation_function", "Tanh or Identity, of torch.nn", OTHER))),
    };
    let bias = json.flag_or("bias", true).map_err(at)?;
    Ok(Dense { outputs: json.size("out_features").map_err(at)?, bias, function })
}

fn object(file: &Path) -> Result<Object, Error> {
    let text = read_small(file, LIMIT, "take the file again from the model's source")?;
    Object::parse(&text).map_err(|reason| Error::Sentence { file: file.into(), reason })
}

fn refuse(file: &Path, field: &str, actual: &str, expected: &str) -> Error {
    let (field, actual, expected) = (field.into(), format!("{actual:?}"), expected.into());
    Error::Sentence { file: file.into(), reason: ConfigError { field, actual, expected, cure: OTHER } }
}
