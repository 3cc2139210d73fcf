//! A model in one GGUF file, as if it were a folder in the Hugging Face layout: names of tensors,
//! the order of their rows, `config.json`, chat template. `gguf_tokenizer.rs` has the tokenizer.
//!
//! LLaMA, Qwen2, Qwen3 and Gemma 3 are read. The file's writer turned the rotary embedding of LLaMA
//! from pairs `(i, i + head_dim / 2)` into neighbours `(2 i, 2 i + 1)` by exchanging rows of the
//! query and key projections; here they are put back. Of Gemma's gains, which are stored less one
//! in a folder, the file has the sums; here the one is taken away again.

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::path::Path;

use serde_json::{Value as Json, json};

use crate::config::Config;
use crate::error::{ConfigError, Error};
use crate::gguf::{Gguf, Info, Value};
use crate::gguf_blocks::READABLE;
use crate::shard::finite;

const CHECK_FILE: &str = "convert the model again, or use its folder in the Hugging Face layout";

/// Frequencies of LLaMA 3, one factor for each pair.
const ROPE_FACTORS: &str = "rope_freqs.weight";

/// The tensors of a GGUF file under the names of Hugging Face.
pub(crate) struct GgufModel {
    gguf: Gguf,
    places: BTreeMap<String, Place>,
}

/// Where a tensor is.
struct Place {
    /// Its name in the file.
    stored: String,
    /// How its rows are ordered.
    rows: Rows,
    /// What the file's writer has added to its numbers.
    added: f32,
}

/// The architectures that are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Llama,
    Qwen2,
    Qwen3,
    Gemma3,
}

impl Kind {
    const ALL: [Kind; 4] = [Kind::Llama, Kind::Qwen2, Kind::Qwen3, Kind::Gemma3];

    /// Its name in `general.architecture`.
    fn name(self) -> &'static str {
        match self {
            Kind::Llama => "llama",
            Kind::Qwen2 => "qwen2",
            Kind::Qwen3 => "qwen3",
            Kind::Gemma3 => "gemma3",
        }
    }

    /// Its `model_type`, and its class.
    fn names(self) -> [&'static str; 2] {
        match self {
            Kind::Llama => ["llama", "LlamaForCausalLM"],
            Kind::Qwen2 => ["qwen2", "Qwen2ForCausalLM"],
            Kind::Qwen3 => ["qwen3", "Qwen3ForCausalLM"],
            Kind::Gemma3 => ["gemma3_text", "Gemma3ForCausalLM"],
        }
    }
}

/// The order of a matrix's rows.
#[derive(Clone, Copy)]
enum Rows {
    Same,
    /// Neighbours are turned together in each of so many heads.
    Interleaved(usize),
}

impl GgufModel {
    /// Opens a file.
    ///
    /// # Errors
    ///
    /// If the file is damaged or has another architecture, or its metadata are incomplete.
    pub(crate) fn open(file: &Path) -> Result<GgufModel, Error> {
        let gguf = Gguf::open(file)?;
        let metadata = Metadata(&gguf);
        let kind = metadata.kind().map_err(|e| metadata.error(e))?;
        let heads = metadata.heads(kind).map_err(|e| metadata.error(e))?;
        let heads = (kind == Kind::Llama).then_some(heads);
        let places = gguf.names().filter(|&name| name != ROPE_FACTORS).map(|name| {
            let (new, rows) = renamed(name, kind, heads);
            let is_gain = kind == Kind::Gemma3 && name.ends_with("_norm.weight");
            (new, Place { stored: name.into(), rows, added: if is_gain { 1.0 } else { 0.0 } })
        });
        Ok(GgufModel { places: places.collect(), gguf })
    }

    pub(crate) fn gguf(&self) -> &Gguf {
        &self.gguf
    }

    /// The configuration that the metadata state.
    ///
    /// # Errors
    ///
    /// Names the field that is missing, unsupported or out of range.
    pub(crate) fn config(&self, warnings: &mut Vec<String>) -> Result<Config, Error> {
        let metadata = Metadata(&self.gguf);
        let config = metadata.config_json().and_then(|json| {
            let text = json.to_string();
            Config::from_json_with(text.as_bytes(), warnings)
        });
        config.map_err(|reason| metadata.error(reason))
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// Checks a tensor's type and shape without reading it. `None` if it is not here.
    pub(crate) fn check(&self, name: &str, shape: &[usize]) -> Option<Result<(), Error>> {
        let Place { stored, rows, .. } = self.places.get(name)?;
        Some(self.checked(name, self.gguf.info(stored)?, *rows, shape).map(|_| ()))
    }

    /// Reads a tensor as f32, row-major. `None` if it is not here.
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Option<Result<Vec<f32>, Error>> {
        let Place { stored, rows, added } = self.places.get(name)?;
        let info = self.gguf.info(stored)?;
        let read = self.checked(name, info, *rows, shape).and_then(|blocks| {
            let mut values = rows.undo(self.gguf.read(info, |bytes| blocks.read(bytes)), shape);
            if *added != 0.0 {
                values.iter_mut().for_each(|x| *x -= added);
            }
            finite(self.gguf.file(), name, values)
        });
        Some(read)
    }

    fn checked(
        &self,
        name: &str,
        info: &Info,
        rows: Rows,
        shape: &[usize],
    ) -> Result<crate::gguf_blocks::Blocks, Error> {
        let (file, tensor) = (self.gguf.file().to_path_buf(), name.to_string());
        let blocks = match &info.blocks {
            Ok(blocks) => *blocks,
            Err(actual) => {
                let expected = READABLE;
                return Err(Error::TensorType { file, tensor, actual: actual.clone(), expected });
            }
        };
        let whole_heads = match rows {
            Rows::Same => true,
            Rows::Interleaved(heads) => shape.first().is_some_and(|n| n.is_multiple_of(2 * heads)),
        };
        if info.shape != shape || !whole_heads {
            let actual = info.shape.clone();
            return Err(Error::TensorShape { file, tensor, actual, expected: shape.into() });
        }
        Ok(blocks)
    }
}

impl Rows {
    /// Row `half * width / 2 + i` of each head is row `2 i + half` of the file.
    fn undo(self, values: Vec<f32>, shape: &[usize]) -> Vec<f32> {
        let (Rows::Interleaved(heads), Some(&outs)) = (self, shape.first()) else { return values };
        let (width, row) = (outs / heads, values.len() / outs);
        let from = |to: usize| {
            let (head, place) = (to / width, to % width);
            let (half, i) = (place / (width / 2), place % (width / 2));
            head * width + 2 * i + half
        };
        (0..outs).flat_map(|to| values[from(to) * row..][..row].iter().copied()).collect()
    }
}

/// The name in the Hugging Face layout, and the order of rows, of heads that are stored interleaved
/// or not; a name that is not known stays as it is.
fn renamed(name: &str, kind: Kind, interleaved: Option<Heads>) -> (String, Rows) {
    let same = |name: &str| (name.to_string(), Rows::Same);
    match name {
        "token_embd.weight" => return same("model.embed_tokens.weight"),
        "output_norm.weight" => return same("model.norm.weight"),
        "output.weight" => return same("lm_head.weight"),
        _ => (),
    }
    let mut parts = name.split('.');
    let (Some("blk"), Some(layer), Some(module), Some(end @ ("weight" | "bias")), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return same(name);
    };
    let order =
        |heads: fn(Heads) -> usize| interleaved.map_or(Rows::Same, |all| Rows::Interleaved(heads(all)));
    let (module, rows) = match module {
        "attn_norm" => ("input_layernorm", Rows::Same),
        "attn_q" => ("self_attn.q_proj", order(|heads| heads.query)),
        "attn_k" => ("self_attn.k_proj", order(|heads| heads.key)),
        "attn_v" => ("self_attn.v_proj", Rows::Same),
        "attn_q_norm" => ("self_attn.q_norm", Rows::Same),
        "attn_k_norm" => ("self_attn.k_norm", Rows::Same),
        "attn_output" => ("self_attn.o_proj", Rows::Same),
        "post_attention_norm" => ("post_attention_layernorm", Rows::Same),
        "ffn_norm" if kind == Kind::Gemma3 => ("pre_feedforward_layernorm", Rows::Same),
        "ffn_norm" => ("post_attention_layernorm", Rows::Same),
        "post_ffw_norm" => ("post_feedforward_layernorm", Rows::Same),
        "ffn_gate" => ("mlp.gate_proj", Rows::Same),
        "ffn_up" => ("mlp.up_proj", Rows::Same),
        "ffn_down" => ("mlp.down_proj", Rows::Same),
        _ => return same(name),
    };
    (format!("model.layers.{layer}.{module}.{end}"), rows)
}

#[derive(Clone, Copy)]
struct Heads {
    query: usize,
    key: usize,
}

/// Typed fields of the metadata, with errors that name them.
pub(crate) struct Metadata<'a>(pub(crate) &'a Gguf);

impl Metadata<'_> {
    /// The error of the file.
    pub(crate) fn error(&self, reason: ConfigError) -> Error {
        Error::Config { file: self.0.file().into(), reason }
    }

    /// The error that names a field, what it holds, and what it should.
    pub(crate) fn refuse(&self, key: &str, expected: &str) -> ConfigError {
        let actual = self.0.get(key).map_or("absent".into(), brief);
        ConfigError { field: key.into(), actual, expected: expected.into(), cure: CHECK_FILE }
    }

    pub(crate) fn text(&self, key: &str) -> Result<Option<&str>, ConfigError> {
        match self.0.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(self.refuse(key, "a text")),
        }
    }

    pub(crate) fn size(&self, key: &str) -> Result<Option<u64>, ConfigError> {
        match self.0.get(key) {
            None => Ok(None),
            Some(&Value::Natural(n)) => Ok(Some(n)),
            Some(&Value::Integer(n)) if n >= 0 => Ok(Some(n.unsigned_abs())),
            Some(_) => Err(self.refuse(key, "a whole number")),
        }
    }

    pub(crate) fn flag_or(&self, key: &str, absent: bool) -> Result<bool, ConfigError> {
        match self.0.get(key) {
            None => Ok(absent),
            Some(&Value::Flag(flag)) => Ok(flag),
            Some(_) => Err(self.refuse(key, "true or false")),
        }
    }

    pub(crate) fn list(&self, key: &str) -> Result<Option<&[Value]>, ConfigError> {
        match self.0.get(key) {
            None => Ok(None),
            Some(Value::List(list)) => Ok(Some(list)),
            Some(_) => Err(self.refuse(key, "a list")),
        }
    }

    fn number(&self, key: &str) -> Result<Option<f64>, ConfigError> {
        match self.0.get(key) {
            None => Ok(None),
            Some(&Value::Real(x)) => Ok(Some(x)),
            Some(&Value::Natural(n)) => Ok(Some(n as f64)),
            Some(_) => Err(self.refuse(key, "a number")),
        }
    }

    fn required(&self, key: &str) -> Result<u64, ConfigError> {
        self.size(key)?.ok_or_else(|| self.refuse(key, "a whole number"))
    }

    fn kind(&self) -> Result<Kind, ConfigError> {
        const KEY: &str = "general.architecture";
        let stated = self.text(KEY)?;
        Kind::ALL.into_iter().find(|kind| stated == Some(kind.name())).ok_or_else(|| {
            let names: Vec<String> = Kind::ALL.iter().map(|kind| format!("{:?}", kind.name())).collect();
            self.refuse(KEY, &names.join(" or "))
        })
    }

    fn heads(&self, kind: Kind) -> Result<Heads, ConfigError> {
        let own = |key: &str| format!("{}.attention.{key}", kind.name());
        let query = self.required(&own("head_count"))?;
        let key = self.size(&own("head_count_kv"))?.unwrap_or(query);
        let count = |key: &str, n: u64| match usize::try_from(n) {
            Ok(n @ 1..=512) => Ok(n),
            _ => Err(self.refuse(key, "1 to 512")),
        };
        let query = count(&own("head_count"), query)?;
        Ok(Heads { query, key: count(&own("head_count_kv"), key)? })
    }

    /// The text of a `config.json` that says the same.
    fn config_json(&self) -> Result<Json, ConfigError> {
        let kind = self.kind()?;
        let (heads, own) = (self.heads(kind)?, |key: &str| format!("{}.{key}", kind.name()));
        let hidden = self.required(&own("embedding_length"))?;
        let turned = self.size(&own("rope.dimension_count"))?;
        let width =
            self.size(&own("attention.key_length"))?.or(turned).unwrap_or(hidden / heads.query as u64);
        for key in [&own("rope.dimension_count"), &own("attention.value_length")] {
            if self.size(key)?.is_some_and(|n| n != width) {
                return Err(self.refuse(key, &format!("{width}, the width of a head")));
            }
        }
        if self.size(&own("expert_count"))?.is_some_and(|n| n > 0) {
            return Err(
                self.refuse(&own("expert_count"), "0 or absent: mixtures of experts are not supported")
            );
        }
        for key in ["attn_logit_softcapping", "final_logit_softcapping"] {
            if self.number(&own(key))?.is_some_and(|cap| cap != 0.0) {
                return Err(self.refuse(&own(key), "0 or absent: soft caps are not supported"));
            }
        }
        let eps = &own("attention.layer_norm_rms_epsilon");
        let rows = |name| self.0.info(name).and_then(|info| info.shape.first().copied());
        let theta = self.number(&own("rope.freq_base"))?;
        let theta = theta.unwrap_or(if kind == Kind::Gemma3 { 1e6 } else { 10_000.0 });
        let scaling = match self.rope_scaling(kind)? {
            None => self.rope_factors(theta, width)?,
            scaling => scaling,
        };
        let layers = self.required(&own("block_count"))?;
        // The file does not say what scores are divided by the root of: the width of a head, but in
        // the largest Gemma 3.
        let scalar = if layers == 62 { hidden / heads.query as u64 } else { width };
        let [model_type, class] = kind.names();
        let mut json = json!({
            "architectures": [class],
            "model_type": model_type,
            "hidden_act": "silu",
            "vocab_size": rows("token_embd.weight"),
            "hidden_size": hidden,
            "intermediate_size": self.required(&own("feed_forward_length"))?,
            "num_hidden_layers": layers,
            "num_attention_heads": heads.query,
            "num_key_value_heads": heads.key,
            "head_dim": width,
            "max_position_embeddings": self.required(&own("context_length"))?,
            "rms_norm_eps": self.number(eps)?.ok_or_else(|| self.refuse(eps, "a number"))?,
            "rope_theta": theta,
            "rope_scaling": scaling,
            "sliding_window": self.size(&own("attention.sliding_window"))?.filter(|&n| n > 0),
            // Qwen2 has biases of queries, keys and values, and says so nowhere.
            "attention_bias": kind != Kind::Qwen2 && self.0.info("blk.0.attn_q.bias").is_some(),
            "mlp_bias": self.0.info("blk.0.ffn_gate.bias").is_some(),
            "tie_word_embeddings": self.0.info("output.weight").is_none(),
            "bos_token_id": self.size("tokenizer.ggml.bos_token_id")?,
            "eos_token_id": self.ends()?,
        });
        if kind == Kind::Gemma3 {
            json["rope_local_base_freq"] =
                json!(self.number(&own("rope.freq_base_swa"))?.unwrap_or(10_000.0));
            json["query_pre_attn_scalar"] = json!(scalar);
            json["sliding_window_pattern"] = json!(self.pattern(&own("attention.sliding_window_pattern"))?);
        }
        Ok(json)
    }

    /// Of how many layers one sees everything.
    fn pattern(&self, key: &str) -> Result<u64, ConfigError> {
        match self.0.get(key) {
            None => Ok(6),
            Some(Value::Natural(_) | Value::Integer(_)) => self.required(key),
            Some(_) => Err(self.refuse(key, "a whole number")),
        }
    }

    /// The tokens that end a text, a turn or a message.
    fn ends(&self) -> Result<Vec<u64>, ConfigError> {
        let mut ends = Vec::new();
        for key in ["eos_token_id", "eot_token_id", "eom_token_id"] {
            let id = self.size(&format!("tokenizer.ggml.{key}"))?;
            ends.extend(id.filter(|id| !ends.contains(id)));
        }
        Ok(ends)
    }

    fn rope_scaling(&self, kind: Kind) -> Result<Option<Json>, ConfigError> {
        let own = |key: &str| format!("{}.rope.{key}", kind.name());
        let factor = match self.number(&own("scaling.factor"))? {
            None => self.number(&own("scale_linear"))?,
            factor => factor,
        };
        let stated = &own("scaling.type");
        match self.text(stated)? {
            Some("none") => Ok(None),
            None if factor.is_none_or(|f| f == 1.0) => Ok(None),
            None | Some("linear") => Ok(Some(json!({ "rope_type": "linear", "factor": factor }))),
            Some("yarn") => {
                let set = |key: &str| self.number(&own(&format!("scaling.{key}")));
                let scale = 1.0 + 0.1 * libm::log(factor.unwrap_or(1.0).max(1.0));
                Ok(Some(json!({
                    "rope_type": "yarn",
                    "factor": factor,
                    "attention_factor": set("attn_factor")?.unwrap_or(1.0) * scale,
                    "beta_fast": set("yarn_beta_fast")?,
                    "beta_slow": set("yarn_beta_slow")?,
                    "original_max_position_embeddings": self.size(&own("scaling.original_context_length"))?,
                })))
            }
            Some(_) => Err(self.refuse(stated, "\"none\", \"linear\" or \"yarn\"")),
        }
    }

    /// LLaMA 3's scaling, of which the file keeps the factors and not the parameters. Those of all
    /// released models are tried.
    fn rope_factors(&self, theta: f64, width: u64) -> Result<Option<Json>, ConfigError> {
        let Some(info) = self.0.info(ROPE_FACTORS) else { return Ok(None) };
        let refuse = |actual: &str| ConfigError {
            field: ROPE_FACTORS.into(),
            actual: actual.into(),
            expected: "factors as in LLaMA 3.1 to 3.3, one for each pair".into(),
            cure: "use the model's folder in the Hugging Face layout",
        };
        let blocks = info.blocks.as_ref().map_err(|name| refuse(name))?;
        let factors = self.0.read(info, |bytes| blocks.read(bytes));
        if info.shape[..] != [(width / 2) as usize] {
            return Err(refuse(&format!("of shape {:?}", info.shape)));
        }
        let factor = f64::from(factors.iter().copied().fold(1.0, f32::max));
        let stated = |(i, &stated): (usize, &f32)| {
            let turns = 8192.0 * libm::pow(theta, -2.0 * i as f64 / width as f64) / TAU;
            let kept = ((turns - 1.0) / 3.0).clamp(0.0, 1.0);
            let expected = 1.0 / (kept + (1.0 - kept) / factor);
            (f64::from(stated) - expected).abs() < 1e-3 * expected
        };
        if !factors.iter().enumerate().all(stated) {
            return Err(refuse("other factors"));
        }
        Ok(Some(json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        })))
    }
}

/// A value in one short line.
fn brief(value: &Value) -> String {
    match value {
        Value::List(list) => format!("a list of {}", list.len()),
        Value::Text(text) if text.chars().count() > 60 => {
            format!("{:?}...", text.chars().take(60).collect::<String>())
        }
        Value::Text(text) => format!("{text:?}"),
        Value::Natural(n) => n.to_string(),
        Value::Integer(n) => n.to_string(),
        Value::Real(x) => x.to_string(),
        Value::Flag(flag) => flag.to_string(),
    }
}
