//! Models with random weights, for tests and measurements: they cost what a trained model of the
//! same shape costs, and say nothing of sense.

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::fs;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::{Dtype, tensor::TensorView};
use serde_json::json;

use crate::config::Config;
use crate::error::Error;
use crate::network::AnyNetwork;
use crate::random_tokenizer::tokenizer_json;
use crate::weights::{Listing, Tensor as Listed};

/// Writes a model's folder with random f32 weights and a byte-level tokenizer into `dir`, which is
/// made if need be. The same configuration and seed give the same files.
///
/// # Errors
///
/// If a file cannot be written.
pub fn write_random_folder(dir: &Path, config: &Config, seed: u64) -> Result<(), Error> {
    RandomFolder::new(config, seed).write(dir)
}

/// Writes a checkpoint of these tensors with random f32 numbers into `dir`, which is made if need
/// be: for parts of networks.
///
/// # Errors
/// If a file cannot be written.
pub fn write_random_tensors(dir: &Path, tensors: Vec<Listed>, seed: u64) -> Result<(), Error> {
    fs::create_dir_all(dir).map_err(|cause| Error::Write { file: dir.into(), cause })?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut tensor = |Listed { name, shape }: Listed| {
        let bytes = values(&name, &shape, &mut rng).iter().flat_map(|x| x.to_le_bytes()).collect();
        Tensor { name, shape, bytes }
    };
    let tensors: Vec<Tensor> = tensors.into_iter().map(&mut tensor).collect();
    let views = tensors.iter().map(|t| (&t.name, t.view(Dtype::F32)));
    let bytes = safetensors::serialize(views, None).expect("every tensor is well formed");
    write(dir.join("model.safetensors"), bytes)
}

/// How weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floating point.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// The upper half of an f32.
    Bf16,
}

/// A random model about to be written, all weights of which fit in memory.
///
/// Matrices are normal with standard deviation `1 / sqrt(in)`, but 0.02 to 0.08; gains are uniform
/// in 0.9..1.1, biases in -0.1..0.1.
#[derive(Debug, Clone)]
pub struct RandomFolder<'a> {
    config: &'a Config,
    seed: u64,
    precision: Precision,
    shards: usize,
    edits: Vec<(&'a str, Edit)>,
}

/// What changes a weight before it is stored.
type Edit = fn(&mut [f32]);

impl<'a> RandomFolder<'a> {
    /// A model in one file of f32.
    pub fn new(config: &'a Config, seed: u64) -> RandomFolder<'a> {
        RandomFolder { config, seed, precision: Precision::F32, shards: 1, edits: vec![] }
    }

    /// Stores the weights in another precision.
    pub fn precision(self, precision: Precision) -> RandomFolder<'a> {
        RandomFolder { precision, ..self }
    }

    /// Spreads the weights over several files with an index.
    ///
    /// # Panics
    ///
    /// If `shards` is zero.
    pub fn shards(self, shards: usize) -> RandomFolder<'a> {
        assert!(shards > 0, "weights need at least one file");
        RandomFolder { shards, ..self }
    }

    /// Changes a tensor, row-major as it is stored: for models with something unusual.
    pub fn edit(mut self, tensor: &'a str, edit: fn(&mut [f32])) -> RandomFolder<'a> {
        self.edits.push((tensor, edit));
        self
    }

    /// Writes `config.json`, `tokenizer.json` and the weights.
    ///
    /// # Errors
    ///
    /// If a file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<(), Error> {
        fs::create_dir_all(dir).map_err(|cause| Error::Write { file: dir.into(), cause })?;
        write(dir.join("config.json"), self.config.to_json())?;
        write(dir.join("tokenizer.json"), tokenizer_json(self.config))?;
        let tensors = self.tensors();
        if self.shards == 1 {
            return write(dir.join("model.safetensors"), self.serialize(&tensors));
        }
        let mut places = BTreeMap::new();
        for (number, shard) in tensors.chunks(tensors.len().div_ceil(self.shards)).enumerate() {
            let file = format!("model-{:05}-of-{:05}.safetensors", number + 1, self.shards);
            places.extend(shard.iter().map(|tensor| (tensor.name.clone(), file.clone())));
            write(dir.join(file), self.serialize(shard))?;
        }
        write(dir.join("model.safetensors.index.json"), json!({ "weight_map": places }).to_string())
    }

    fn tensors(&self) -> Vec<Tensor> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let listing = Listing::default();
        AnyNetwork::load(self.config, &listing).expect("a list of names has no errors");
        let tensor = |Listed { name, shape }: Listed| {
            let mut values = values(&name, &shape, &mut rng);
            self.edits.iter().filter(|(edited, _)| *edited == name).for_each(|(_, edit)| edit(&mut values));
            let bytes = self.encode(values);
            Tensor { name, shape, bytes }
        };
        listing.tensors().into_iter().map(tensor).collect()
    }

    fn encode(&self, values: Vec<f32>) -> Vec<u8> {
        match self.precision {
            Precision::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Precision::F16 => values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect(),
            Precision::Bf16 => values.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect(),
        }
    }

    fn serialize(&self, tensors: &[Tensor]) -> Vec<u8> {
        let dtype = match self.precision {
            Precision::F32 => Dtype::F32,
            Precision::F16 => Dtype::F16,
            Precision::Bf16 => Dtype::BF16,
        };
        safetensors::serialize(tensors.iter().map(|t| (&t.name, t.view(dtype))), None)
            .expect("every tensor is well formed")
    }
}

struct Tensor {
    name: String,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Tensor {
    fn view(&self, dtype: Dtype) -> TensorView<'_> {
        TensorView::new(dtype, self.shape.clone(), &self.bytes).expect("as many bytes as the shape says")
    }
}

fn values(name: &str, shape: &[usize], rng: &mut ChaCha8Rng) -> Vec<f32> {
    match *shape {
        [outs, ins] => {
            let deviation = (ins as f64).sqrt().recip().clamp(0.02, 0.08);
            (0..outs * ins).map(|_| (normal(rng) * deviation) as f32).collect()
        }
        _ => {
            let range = if name.ends_with(".bias") { -0.1..0.1 } else { 0.9..1.1 };
            (0..shape.iter().product()).map(|_| rng.random_range(range.clone())).collect()
        }
    }
}

/// Box and Muller's method.
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let (u, v): (f64, f64) = rng.random();
    (-2.0 * (1.0 - u).ln()).sqrt() * (TAU * v).cos()
}

fn write(file: PathBuf, content: impl AsRef<[u8]>) -> Result<(), Error> {
    fs::write(&file, content).map_err(|cause| Error::Write { file, cause })
}
