//! `config.json` of Hugging Face, read strictly: what would change the answer and is not implemented is
//! refused by name; what has no influence on inference is ignored.
//!
//! Defaults are those of `LlamaConfig`. Both spellings of the rotary parameters are read: `rope_theta` beside
//! `rope_scaling` (with `rope_type`, or `type` as it was once called), and the newer `rope_parameters`.

use serde_json::{Value, json};

use crate::config::{Config, Fields, Llama3Scaling};
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
        let json = Object::parse(text)?;
        refuse_other_models(&json)?;
        refuse_variants(&json)?;
        let heads = json.size("num_attention_heads")?;
        let hidden = json.size("hidden_size")?;
        let (rope_theta, rope_scaling) = rope(&json)?;
        Config::try_from(Fields {
            vocab_size: json.size("vocab_size")?,
            hidden_size: hidden,
            intermediate_size: json.size("intermediate_size")?,
            num_hidden_layers: json.size("num_hidden_layers")?,
            num_attention_heads: heads,
            num_key_value_heads: json.size_or("num_key_value_heads", heads)?,
            head_dim: head_dim(&json, hidden, heads)?,
            max_position_embeddings: json.size_or("max_position_embeddings", 2048)?,
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
    ///
    /// # Errors
    ///
    /// Names the field that is malformed or out of range.
    pub fn with_generation_json(self, text: &[u8]) -> Result<Config, ConfigError> {
        let json = Object::parse(text)?;
        let mut fields = Fields::from(self);
        for id in token_ids(&json, "eos_token_id", &[])? {
            if !fields.eos_token_ids.contains(&id) {
                fields.eos_token_ids.push(id);
            }
        }
        Config::try_from(fields)
    }

    /// The text of a `config.json` that reads back as this configuration.
    pub fn to_json(&self) -> String {
        let scaling = self.rope_scaling.map(|s| {
            json!({
                "rope_type": "llama3",
                "factor": s.factor,
                "low_freq_factor": s.low_freq_factor,
                "high_freq_factor": s.high_freq_factor,
                "original_max_position_embeddings": s.original_max_position_embeddings,
            })
        });
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
            "rope_scaling": scaling,
            "attention_bias": self.attention_bias,
            "mlp_bias": self.mlp_bias,
            "tie_word_embeddings": self.tie_word_embeddings,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": self.eos_token_ids,
        });
        format!("{value:#}\n")
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
    if json.get("use_sliding_window") != &Value::Bool(false) {
        json.only("sliding_window", &NONE, "use a model with full attention")?;
    }
    let layers = json.get("layer_types").as_array();
    if layers.is_some_and(|l| l.iter().any(|t| t != "full_attention")) {
        return Err(json.refuse("layer_types", "only \"full_attention\"", "use a model with full attention"));
    }
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

/// `rope_theta` and the scaling, from either spelling.
fn rope(json: &Object) -> Result<(f64, Option<Llama3Scaling>), ConfigError> {
    let outer = json.number("rope_theta")?;
    let field = if *json.get("rope_parameters") == Value::Null { "rope_scaling" } else { "rope_parameters" };
    let Some(inner) = json.object(field)? else { return Ok((outer.unwrap_or(10_000.0), None)) };
    let theta = match (outer, inner.number("rope_theta")?) {
        (Some(a), Some(b)) if a != b => {
            return Err(inner.refuse("rope_theta", &format!("{a}, as beside it"), CHECK_FILE));
        }
        (a, b) => b.or(a).unwrap_or(10_000.0),
    };
    let whole = [Value::Null, json!(1), json!(1.0)];
    inner.only("partial_rotary_factor", &whole, "use a model whose rotary embedding turns whole heads")?;
    let kind = if *inner.get("rope_type") == Value::Null { "type" } else { "rope_type" };
    match inner.get(kind).as_str() {
        Some("default") => Ok((theta, None)),
        None if kind == "type" && *inner.get(kind) == Value::Null && field == "rope_parameters" => {
            Ok((theta, None))
        }
        Some("llama3") => Ok((theta, Some(llama3(&inner)?))),
        _ => Err(inner.refuse(
            kind,
            "\"default\" or \"llama3\"",
            "use a model with one of these rotary embeddings",
        )),
    }
}

fn llama3(json: &Object) -> Result<Llama3Scaling, ConfigError> {
    let required = |field| json.number(field)?.ok_or_else(|| json.refuse(field, "a number", CHECK_FILE));
    Ok(Llama3Scaling {
        factor: required("factor")?,
        low_freq_factor: required("low_freq_factor")?,
        high_freq_factor: required("high_freq_factor")?,
        original_max_position_embeddings: json.size("original_max_position_embeddings")?,
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
