//! `config.json` of Hugging Face, read strictly: what would change the answer and is not
//! implemented is refused by name; what has no influence on inference is ignored.
//!
//! Defaults are those of `LlamaConfig`. Both spellings of the rotary parameters are read:
//! `rope_theta` beside `rope_scaling` (with `rope_type`, or `type` as it was once called), and the
//! newer `rope_parameters`.

use serde_json::{Value, json};

use crate::config::{Config, Fields, Llama3Scaling, RopeScaling, YarnScaling};
use crate::error::ConfigError;
use crate::json_object::{CHECK_FILE, Object};

const OTHER_MODEL: &str = "use a checkpoint of the LLaMA family in the Hugging Face layout";

impl Config {
    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    ///
    /// Names the first field that is malformed, unsupported or out of range.
    pub fn from_json(text: &[u8]) -> Result<Config, ConfigError> {
        Config::from_json_with(text, &mut Vec::new())
    }

    /// The same, with remarks for the model's owner about what is read otherwise than it is
    /// written.
    ///
    /// # Errors
    ///
    /// As [`Config::from_json`].
    pub fn from_json_with(text: &[u8], warnings: &mut Vec<String>) -> Result<Config, ConfigError> {
        let json = Object::parse(text)?;
        refuse_other_models(&json)?;
        refuse_variants(&json)?;
        let heads = json.size("num_attention_heads")?;
        let hidden = json.size("hidden_size")?;
        let Rope { theta: rope_theta, scaling: rope_scaling, positions } = Rope::read(&json, warnings)?;
        refuse_windows(&json, positions)?;
        Config::try_from(Fields {
            vocab_size: json.size("vocab_size")?,
            hidden_size: hidden,
            intermediate_size: json.size("intermediate_size")?,
            num_hidden_layers: json.size("num_hidden_layers")?,
            num_attention_heads: heads,
            num_key_value_heads: json.size_or("num_key_value_heads", heads)?,
            head_dim: head_dim(&json, hidden, heads)?,
            max_position_embeddings: positions,
            rms_norm_eps: json.number_or("rms_norm_eps", 1e-6)?,
            rope_theta,
            rope_scaling,
            attention_bias: json.flag("attention_bias")?,
            mlp_bias: json.flag("mlp_bias")?,
            tie_word_embeddings: json.flag("tie_word_embeddings")?,
            bos_token_id: token_ids(&json, "bos_token_id", &[1])?.first().copied(),
            eos_token_ids: token_ids(&json, "eos_token_id", &[2])?,
        })
    }

    /// Adds the ending tokens of a `generation_config.json`, where chat models list more of them.
    /// Ids that the vocabulary has not are left out, with a remark: the model cannot say them.
    ///
    /// # Errors
    ///
    /// Names the field that is malformed or out of range.
    pub fn with_generation_json(
        self,
        text: &[u8],
        warnings: &mut Vec<String>,
    ) -> Result<Config, ConfigError> {
        let json = Object::parse(text)?;
        let vocab = self.vocab_size;
        let (known, unknown): (Vec<u32>, Vec<u32>) =
            token_ids(&json, "eos_token_id", &[])?.into_iter().partition(|&id| (id as usize) < vocab);
        if !unknown.is_empty() {
            let remark = "generation_config.json: `eos_token_id` has ids beyond the vocabulary";
            warnings.push(format!("{remark} of {vocab}, which are ignored: {unknown:?}"));
        }
        self.with_ending_tokens(&known)
    }

    /// Adds tokens that end an answer to those already known.
    ///
    /// # Errors
    ///
    /// If there are too many, or one is not below `vocab_size`.
    pub fn with_ending_tokens(self, ids: &[u32]) -> Result<Config, ConfigError> {
        let mut fields = Fields::from(self);
        for &id in ids {
            if !fields.eos_token_ids.contains(&id) {
                fields.eos_token_ids.push(id);
            }
        }
        Config::try_from(fields)
    }

    /// The text of a `config.json` that reads back as this configuration.
    pub fn to_json(&self) -> String {
        let value = json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_act": "silu",
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "max_position_embeddings": self.max_position_embeddings,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "rope_scaling": self.rope_scaling.as_ref().map(scaling_json),
            "attention_bias": self.attention_bias,
            "mlp_bias": self.mlp_bias,
            "tie_word_embeddings": self.tie_word_embeddings,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": self.eos_token_ids,
        });
        format!("{value:#}\n")
    }
}

fn scaling_json(scaling: &RopeScaling) -> Value {
    match scaling {
        RopeScaling::Linear(factor) => json!({ "rope_type": "linear", "factor": factor }),
        RopeScaling::Yarn(s) => json!({
            "rope_type": "yarn",
            "factor": s.factor,
            "attention_factor": s.attention_factor,
            "beta_fast": s.beta_fast,
            "beta_slow": s.beta_slow,
            "truncate": s.truncate,
            "original_max_position_embeddings": s.original_max_position_embeddings,
        }),
        RopeScaling::Llama3(s) => json!({
            "rope_type": "llama3",
            "factor": s.factor,
            "low_freq_factor": s.low_freq_factor,
            "high_freq_factor": s.high_freq_factor,
            "original_max_position_embeddings": s.original_max_position_embeddings,
        }),
    }
}

/// Another architecture may have the same fields and mean something else by them.
fn refuse_other_models(json: &Object) -> Result<(), ConfigError> {
    json.only("model_type", &[json!("llama")], OTHER_MODEL)?;
    json.only("architectures", &[Value::Null, json!(["LlamaForCausalLM"])], OTHER_MODEL)?;
    json.only("hidden_act", &[Value::Null, json!("silu")], "use a checkpoint with the SiLU activation")
}

/// Switches of a LLaMA that would change its answer and that are not implemented.
fn refuse_variants(json: &Object) -> Result<(), ConfigError> {
    const OFF: [Value; 2] = [Value::Null, Value::Bool(false)];
    const NONE: [Value; 1] = [Value::Null];
    json.only("quantization_config", &NONE, "save the model unquantised, in f32, f16 or bf16")?;
    let one = [Value::Null, json!(1)];
    json.only(
        "pretraining_tp",
        &one,
        "set it to 1: the weights stay the same, only the order of summation changes",
    )?;
    let whole = [Value::Null, json!(1), json!(1.0)];
    json.only("partial_rotary_factor", &whole, "use a model whose rotary embedding turns whole heads")?;
    for field in ["attn_logit_softcapping", "final_logit_softcapping", "clip_qkv", "num_local_experts"] {
        json.only(field, &NONE, OTHER_MODEL)?;
    }
    for field in ["use_qk_norm", "rope_interleaved", "is_encoder_decoder", "add_cross_attention"] {
        json.only(field, &OFF, OTHER_MODEL)?;
    }
    Ok(())
}

fn head_dim(json: &Object, hidden: usize, heads: usize) -> Result<usize, ConfigError> {
    if *json.get("head_dim") != Value::Null {
        return json.size("head_dim");
    }
    match hidden.checked_rem(heads) {
        Some(0) => Ok(hidden / heads),
        _ => Err(json.refuse(
            "hidden_size",
            &format!("a multiple of num_attention_heads = {heads}"),
            CHECK_FILE,
        )),
    }
}

/// Attention to a window is full attention where the window holds the whole context.
fn refuse_windows(json: &Object, positions: usize) -> Result<(), ConfigError> {
    let cure = "use a model with full attention, or lower max_position_embeddings to the window";
    if json.get("use_sliding_window") == &Value::Bool(false) {
        return Ok(());
    }
    let window = json.size_or("sliding_window", 0)?;
    let whole = window >= positions;
    if window != 0 && !whole {
        let expected = format!("absent or at least max_position_embeddings = {positions}");
        return Err(json.refuse("sliding_window", &expected, cure));
    }
    let layers = json.get("layer_types").as_array().map_or(&[][..], Vec::as_slice);
    let full = |kind: &Value| kind == "full_attention" || (whole && kind == "sliding_attention");
    if layers.iter().all(full) {
        return Ok(());
    }
    Err(json.refuse("layer_types", "only \"full_attention\"", "use a model with full attention"))
}

/// The rotary parameters.
struct Rope {
    theta: f64,
    scaling: Option<RopeScaling>,
    /// Positions that may be used.
    positions: usize,
}

impl Rope {
    /// From either spelling; where both are there, they must say the same.
    fn read(json: &Object, warnings: &mut Vec<String>) -> Result<Rope, ConfigError> {
        let mut found: Vec<(&str, Rope)> = vec![];
        for field in ["rope_parameters", "rope_scaling"] {
            if let Some(inner) = json.object(field)? {
                found.push((field, Rope::read_object(json, &inner, field)?));
            }
        }
        if let [(_, new), (field, old)] = &found[..]
            && new.scaling != old.scaling
        {
            return Err(json.refuse(field, "the same as rope_parameters", CHECK_FILE));
        }
        let plain = || Rope::plain(json, None);
        let rope = found.into_iter().next().map_or_else(plain, |(_, rope)| Ok(rope))?;
        let stated = positions(json)?;
        if rope.positions < stated {
            warnings.push(format!(
                "config.json: the rotary embedding is `dynamic`, whose scaling beyond {} positions is not \
                 supported; the context is {} positions instead of {stated}",
                rope.positions, rope.positions
            ));
        }
        Ok(rope)
    }

    fn plain(json: &Object, theta: Option<f64>) -> Result<Rope, ConfigError> {
        let theta = theta.or(json.number("rope_theta")?).unwrap_or(10_000.0);
        Ok(Rope { theta, scaling: None, positions: positions(json)? })
    }

    fn read_object(json: &Object, inner: &Object, field: &str) -> Result<Rope, ConfigError> {
        let theta = inner.number("rope_theta")?;
        if let (Some(a), Some(b)) = (json.number("rope_theta")?, theta)
            && a != b
        {
            return Err(inner.refuse("rope_theta", &format!("{a}, as beside it"), CHECK_FILE));
        }
        let whole = [Value::Null, json!(1), json!(1.0)];
        let cure = "use a model whose rotary embedding turns whole heads";
        inner.only("partial_rotary_factor", &whole, cure)?;
        let plain = Rope::plain(json, theta)?;
        let kind = if *inner.get("rope_type") == Value::Null { "type" } else { "rope_type" };
        let absent = *inner.get(kind) == Value::Null && field == "rope_parameters";
        let scaling = match inner.get(kind).as_str() {
            Some("default") => return Ok(plain),
            None if absent => return Ok(plain),
            Some("dynamic") => {
                let positions = plain.positions.min(original(json, inner)?);
                return Ok(Rope { positions, ..plain });
            }
            Some("linear") => RopeScaling::Linear(required(inner, "factor")?),
            Some("yarn") => RopeScaling::Yarn(yarn(json, inner)?),
            Some("llama3") => RopeScaling::Llama3(llama3(json, inner)?),
            _ => {
                let expected = "\"default\", \"linear\", \"dynamic\", \"yarn\" or \"llama3\"";
                return Err(inner.refuse(kind, expected, "use a model with one of these rotary embeddings"));
            }
        };
        Ok(Rope { scaling: Some(scaling), ..plain })
    }
}

fn positions(json: &Object) -> Result<usize, ConfigError> {
    json.size_or("max_position_embeddings", 2048)
}

/// The positions before the scaling: beside the scaling, in it, or the model's.
fn original(json: &Object, inner: &Object) -> Result<usize, ConfigError> {
    const FIELD: &str = "original_max_position_embeddings";
    if *json.get(FIELD) != Value::Null {
        return json.size(FIELD);
    }
    inner.size_or(FIELD, positions(json)?)
}

fn required(json: &Object, field: &str) -> Result<f64, ConfigError> {
    json.number(field)?.ok_or_else(|| json.refuse(field, "a number", CHECK_FILE))
}

fn llama3(json: &Object, inner: &Object) -> Result<Llama3Scaling, ConfigError> {
    Ok(Llama3Scaling {
        factor: required(inner, "factor")?,
        low_freq_factor: required(inner, "low_freq_factor")?,
        high_freq_factor: required(inner, "high_freq_factor")?,
        original_max_position_embeddings: original(json, inner)?,
    })
}

/// The attention factor is `0.1 ln(factor) + 1` unless the file says something else.
fn yarn(json: &Object, inner: &Object) -> Result<YarnScaling, ConfigError> {
    let original_max_position_embeddings = original(json, inner)?;
    let stretched = positions(json)? as f64 / original_max_position_embeddings.max(1) as f64;
    let factor = inner.number_or("factor", stretched)?;
    let scale = |m: f64| if factor <= 1.0 { 1.0 } else { 0.1 * m * libm::log(factor) + 1.0 };
    let set = |field| inner.number(field).map(|m| m.filter(|&m| m != 0.0));
    let inferred = match (set("mscale")?, set("mscale_all_dim")?) {
        (Some(m), Some(all)) => scale(m) / scale(all),
        _ => scale(1.0),
    };
    Ok(YarnScaling {
        factor,
        attention_factor: inner.number_or("attention_factor", inferred)?,
        beta_fast: set("beta_fast")?.unwrap_or(32.0),
        beta_slow: set("beta_slow")?.unwrap_or(1.0),
        truncate: *inner.get("truncate") == Value::Null || inner.flag("truncate")?,
        original_max_position_embeddings,
    })
}

/// One id, a list of ids, or null for none.
fn token_ids(json: &Object, field: &str, absent: &[u32]) -> Result<Vec<u32>, ConfigError> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    let ids = match json.get(field) {
        Value::Null if json.has(field) => Some(Vec::new()),
        Value::Null => Some(absent.to_vec()),
        Value::Array(list) => list.iter().map(id).collect(),
        value => id(value).map(|id| vec![id]),
    };
    ids.ok_or_else(|| json.refuse(field, "a token id, a list of them, or null", CHECK_FILE))
}
