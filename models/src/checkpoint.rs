//! The weights of a model on disk: one `model.safetensors`, or many with an index, or a GGUF file.
//!
//! Files are mapped, not read: opening touches headers only, and [`Checkpoint::tensor`] converts
//! one tensor at a time. Names and shapes are those of the Hugging Face layout, whatever the file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use crate::content::{Content, read_small};
use crate::error::Error;
use crate::gguf_model::GgufModel;
use crate::json_object::json_fault;
use crate::shard::Shard;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const INDEX_LIMIT: u64 = 64 << 20;
const MAX_SHARDS: usize = 1024;
const NO_WEIGHTS: &str = "point to a folder in the Hugging Face layout with safetensors weights, or to a \
    GGUF file (other formats must be converted first)";

/// The tensors of a model, by name.
pub struct Checkpoint {
    /// What to name in an error that concerns no shard in particular.
    file: PathBuf,
    source: Source,
    /// What every name begins with that the files leave out.
    left_out: Option<&'static str>,
}

/// Where the tensors are.
enum Source {
    Safetensors {
        shards: Vec<Shard>,
        /// The shard of each tensor, and its name there.
        places: BTreeMap<String, (usize, String)>,
    },
    Gguf(GgufModel),
}

impl Checkpoint {
    /// Opens the weights in a folder: `model.safetensors`, else the shards named by
    /// `model.safetensors.index.json`.
    ///
    /// The files must not be truncated while the checkpoint is in use.
    ///
    /// # Errors
    ///
    /// A file that is missing, unreadable, truncated or not what it should be; an index that names
    /// a file outside the folder or a tensor that its file lacks.
    pub fn open(folder: &Path) -> Result<Checkpoint, Error> {
        let (single, index) = (folder.join(SINGLE), folder.join(INDEX));
        if single.exists() || !index.exists() {
            if !single.exists() {
                return Err(Error::Missing { file: single, cure: NO_WEIGHTS });
            }
            return Ok(Checkpoint::single(Shard::open(&single)?));
        }
        Checkpoint::sharded(folder, index)
    }

    /// The weights in a safetensors file that is part of the program; `name` stands for it in
    /// errors.
    ///
    /// # Errors
    ///
    /// If the bytes are not a safetensors file.
    pub fn builtin(name: &str, bytes: &'static [u8]) -> Result<Checkpoint, Error> {
        Ok(Checkpoint::single(Shard::parse(name.into(), Content::Builtin(bytes))?))
    }

    /// The weights in a GGUF file.
    pub(crate) fn gguf(model: GgufModel) -> Checkpoint {
        Checkpoint { file: model.gguf().file().into(), source: Source::Gguf(model), left_out: None }
    }

    /// Files of a network that was saved without its head leave out the network's prefix. If no
    /// tensor has it, names are looked up without it.
    pub(crate) fn with_prefix(self, prefix: &'static str) -> Checkpoint {
        let has = |name: &str| name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.'));
        let left_out = (!self.names().any(has)).then_some(prefix);
        Checkpoint { left_out, ..self }
    }

    /// Adds the tensors of a part that lies in a folder of its own, under a path.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub(crate) fn with_part(mut self, path: &str, folder: &Path) -> Result<Checkpoint, Error> {
        let file = folder.join(SINGLE);
        if !file.exists() {
            return Err(Error::Missing { file, cure: NO_WEIGHTS });
        }
        let shard = Shard::open(&file)?;
        if let Source::Safetensors { shards, places } = &mut self.source {
            let number = shards.len();
            places.extend(shard.names().into_iter().map(|name| (format!("{path}.{name}"), (number, name))));
            shards.push(shard);
        }
        Ok(self)
    }

    /// The name in the files: without the prefix that they leave out, and as the first versions of
    /// BERT call the gains and biases of norms.
    pub(crate) fn stored<'a>(&self, name: &'a str) -> Cow<'a, str> {
        let rest = self.left_out.and_then(|prefix| name.strip_prefix(prefix)?.strip_prefix('.'));
        let name = rest.unwrap_or(name);
        let old = |new: &str, old: &str| name.strip_suffix(new).map(|path| format!("{path}{old}"));
        let old = old("LayerNorm.weight", "LayerNorm.gamma").or(old("LayerNorm.bias", "LayerNorm.beta"));
        match (old, &self.source) {
            (Some(old), Source::Safetensors { places, .. }) if places.contains_key(&old) => old.into(),
            _ => name.into(),
        }
    }

    /// Its files.
    pub(crate) fn contents(&self) -> impl Iterator<Item = &Content> {
        let (shards, gguf) = match &self.source {
            Source::Safetensors { shards, .. } => (&shards[..], None),
            Source::Gguf(model) => (&[][..], Some(model.gguf().content())),
        };
        shards.iter().map(Shard::content).chain(gguf)
    }

    /// The file to name in errors: the single file, or the index.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The names of all tensors, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let (safetensors, gguf) = match &self.source {
            Source::Safetensors { places, .. } => (Some(places.keys().map(String::as_str)), None),
            Source::Gguf(model) => (None, Some(model.names())),
        };
        safetensors.into_iter().flatten().chain(gguf.into_iter().flatten())
    }

    /// Checks that a tensor is there and has a readable type and the given shape, without reading
    /// its values.
    ///
    /// # Errors
    ///
    /// If not.
    pub fn check(&self, name: &str, shape: &[usize]) -> Result<(), Error> {
        let name = &*self.stored(name);
        let found = match &self.source {
            Source::Safetensors { .. } => self.shard(name).and_then(|(shard, name)| shard.check(name, shape)),
            Source::Gguf(model) => model.check(name, shape),
        };
        found.unwrap_or_else(|| Err(self.missing(name, shape)))
    }

    /// The values of a tensor as f32, row-major.
    ///
    /// # Errors
    ///
    /// If the tensor is missing, has another type or shape, or holds a NaN or an infinity.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let name = &*self.stored(name);
        let found = match &self.source {
            Source::Safetensors { .. } => {
                self.shard(name).and_then(|(shard, name)| shard.tensor(name, shape))
            }
            Source::Gguf(model) => model.tensor(name, shape),
        };
        found.unwrap_or_else(|| Err(self.missing(name, shape)))
    }

    fn single(shard: Shard) -> Checkpoint {
        let places = shard.names().into_iter().map(|name| (name.clone(), (0, name))).collect();
        let file = shard.file().into();
        let source = Source::Safetensors { shards: vec![shard], places };
        Checkpoint { file, source, left_out: None }
    }

    fn sharded(folder: &Path, file: PathBuf) -> Result<Checkpoint, Error> {
        let index = Index::read(&file)?;
        let (mut shards, mut numbers, mut places) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        for (tensor, shard) in index.weight_map {
            let number = match numbers.get(&shard) {
                Some(&number) => number,
                None => {
                    shards.push(Shard::open(&folder.join(&shard))?);
                    numbers.insert(shard.clone(), shards.len() - 1);
                    shards.len() - 1
                }
            };
            if !shards[number].has(&tensor) {
                let reason = format!("tensor `{tensor}` is not in {shard}");
                let cure = "take the index and all shards from the same model";
                return Err(Error::Malformed { file, reason, cure });
            }
            places.insert(tensor.clone(), (number, tensor));
        }
        Ok(Checkpoint { file, source: Source::Safetensors { shards, places }, left_out: None })
    }

    fn shard(&self, name: &str) -> Option<(&Shard, &str)> {
        match &self.source {
            Source::Safetensors { shards, places } => {
                places.get(name).map(|(number, name)| (&shards[*number], &**name))
            }
            Source::Gguf(_) => None,
        }
    }

    fn missing(&self, name: &str, shape: &[usize]) -> Error {
        let cure = match name {
            "lm_head.weight" => {
                "if the head is the embedding, set tie_word_embeddings to true in config.json"
            }
            _ => "use a complete checkpoint in the Hugging Face layout",
        };
        Error::TensorMissing { file: self.file.clone(), tensor: name.into(), expected: shape.into(), cure }
    }
}

/// `model.safetensors.index.json`.
#[derive(Deserialize)]
struct Index {
    /// The file of each tensor.
    weight_map: BTreeMap<String, String>,
}

impl Index {
    fn read(file: &Path) -> Result<Index, Error> {
        let cure = "take the file again from the model's source";
        let malformed = |reason| Error::Malformed { file: file.into(), reason, cure };
        let text = read_small(file, INDEX_LIMIT, NO_WEIGHTS)?;
        let index: Index = serde_json::from_slice(&text).map_err(|cause| {
            let other = || (format!("not an index of tensors ({cause})"), cure);
            let (reason, cure) = json_fault(&text).unwrap_or_else(other);
            Error::Malformed { file: file.into(), reason, cure }
        })?;
        let mut shards: Vec<_> = index.weight_map.values().collect();
        shards.sort_unstable();
        shards.dedup();
        if shards.len() > MAX_SHARDS {
            return Err(malformed(format!("{} shards, expected at most {MAX_SHARDS}", shards.len())));
        }
        match shards.into_iter().find(|shard| !is_file_name(shard)) {
            None => Ok(index),
            Some(shard) => Err(Error::ShardOutside { file: file.into(), shard: shard.clone() }),
        }
    }
}

/// Whether a name stays in its folder on every system: one component, no separator of any of them.
fn is_file_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    let plain = matches!((components.next(), components.next()), (Some(Component::Normal(_)), None));
    plain && !name.contains(['/', '\\', ':', '\0'])
}
