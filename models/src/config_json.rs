//! `config.json` of Hugging Face, read strictly: what would change the answer and is not
//! implemented is refused by name; what has no influence on inference is ignored.
//!
//! Each architecture's page says which fields it has and what they are called; what most of them
//! share is here, under LLaMA's names. Both spellings of the rotary parameters are read:
//! `rope_theta` beside `rope_scaling` (with `rope_type`, or `type` as it was once called), and the
//! newer `rope_parameters`.

mod rope;

use serde_json::{Value, json};
use sotto_protocol::activation::Activation;

use crate::config::{
    Config, EPSILONS, EncoderFields, Fields, LocalRope, Pooling, RopeScaling, Scores, Task, between,
};
use crate::error::ConfigError;
use crate::json_object::{CHECK_FILE, Object};
use crate::network::{Architecture, Classes, MODEL_TYPES, ModelType};
use rope::{Rope, required};

const OTHER_MODEL: &str = "use a checkpoint of a supported architecture in the Hugging Face layout";

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
        let kind = json.get("model_type").as_str();
        let Some(&ModelType { name: model_type, classes, architecture, .. }) =
            MODEL_TYPES.iter().find(|of| kind == Some(of.name))
        else {
            let names: Vec<String> = MODEL_TYPES.iter().map(|of| format!("{:?}", of.name)).collect();
            return Err(json.refuse("model_type", &names.join(" or "), OTHER_MODEL));
        };
        // Another architecture may have the same fields and mean something else by them.
        let task = task(&json, classes)?;
        refuse_variants(&json, model_type)?;
        let mut reader = Reader { json: &json, model_type, task, warnings };
        let fields = architecture.fields(&mut reader)?;
        Config::try_from(Fields { architecture, ..fields })
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

    /// The text of a `config.json` that reads back as this configuration of a LLaMA.
    ///
    /// # Panics
    ///
    /// If it is another architecture's.
    pub fn to_json(&self) -> String {
        assert_eq!(self.architecture, Architecture::Llama, "only a LLaMA is written");
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
            "rms_norm_eps": self.norm_eps,
            "rope_theta": self.rope_theta,
            "rope_scaling": self.rope_scaling.as_ref().map(scaling_json),
            "attention_bias": self.output_bias,
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

/// What a model of one of these classes does, as `architectures` says.
fn task(json: &Object, classes: Classes) -> Result<Task, ConfigError> {
    let prefix = match classes {
        Classes::Decoder(class) => {
            json.only("architectures", &[Value::Null, json!([class])], OTHER_MODEL)?;
            return Ok(Task::Generate);
        }
        Classes::Encoder(prefix) => prefix,
    };
    let stated = json.get("architectures");
    let named = HEADS.iter().find(|(class, _)| *stated == json!([format!("{prefix}{class}")]));
    match (stated, named) {
        (Value::Null, _) => Ok(Task::Embed),
        (_, Some((_, task))) => Ok(*task),
        _ => {
            let names: Vec<String> =
                HEADS.iter().map(|(class, _)| format!("[\"{prefix}{class}\"]")).collect();
            Err(json.refuse("architectures", &format!("absent or {}", names.join(" or ")), OTHER_MODEL))
        }
    }
}

/// The classes of an encoder, by what follows its name.
const HEADS: [(&str, Task); 5] = [
    ("Model", Task::Embed),
    ("ForSequenceClassification", Task::Classify),
    ("ForTokenClassification", Task::Tag),
    ("ForMaskedLM", Task::FillMask),
    ("ForQuestionAnswering", Task::Answer),
];

/// Switches that would change the answer and that no architecture here implements.
fn refuse_variants(json: &Object, model_type: &str) -> Result<(), ConfigError> {
    const OFF: [Value; 2] = [Value::Null, Value::Bool(false)];
    const NONE: [Value; 1] = [Value::Null];
    json.only("quantization_config", &NONE, "save the model unquantised, in f32, f16 or bf16")?;
    let one = [Value::Null, json!(1)];
    json.only(
        "pretraining_tp",
        &one,
        "set it to 1: the weights stay the same, only the order of summation changes",
    )?;
    let caps = ["attn_logit_softcapping", "final_logit_softcapping"];
    let caps = caps.iter().filter(|_| model_type != "gemma2");
    for field in caps.chain(&["clip_qkv", "num_local_experts"]) {
        json.only(field, &NONE, OTHER_MODEL)?;
    }
    for field in ["use_qk_norm", "rope_interleaved", "is_encoder_decoder", "add_cross_attention"] {
        json.only(field, &OFF, OTHER_MODEL)?;
    }
    Ok(())
}

/// A `config.json`, as the page of an architecture reads it.
pub(crate) struct Reader<'a> {
    /// The file.
    pub(crate) json: &'a Object,
    /// Its `model_type`.
    pub(crate) model_type: &'static str,
    /// What its class is for.
    pub(crate) task: Task,
    /// Remarks for the model's owner.
    pub(crate) warnings: &'a mut Vec<String>,
}

/// Which columns of a head the position rotates.
#[derive(Clone, Copy)]
pub(crate) enum Rotated {
    /// All.
    Whole,
    /// The part that a field says, with its default.
    Part(&'static str, f64),
}

/// What most architectures call the width, the layers and the heads.
const SIZES: [&str; 3] = ["hidden_size", "num_hidden_layers", "num_attention_heads"];

impl Reader<'_> {
    /// Vocabulary, width, layers and heads, by the names of the last three.
    pub(crate) fn sizes(&self, [width, layers, count]: [&'static str; 3]) -> Result<Fields, ConfigError> {
        let json = self.json;
        let (hidden, heads) = (json.size(width)?, json.size(count)?);
        let absent = match self.model_type {
            "qwen3" => Some(128),
            "gemma" | "gemma2" | "gemma3_text" => Some(256),
            _ => None,
        };
        let head_dim = match hidden.checked_rem(heads) {
            _ if *json.get("head_dim") != Value::Null => json.size("head_dim")?,
            _ if absent.is_some_and(|_| !json.has("head_dim")) => absent.unwrap_or_default(),
            Some(0) => hidden / heads,
            _ => return Err(json.refuse(width, &format!("a multiple of {count} = {heads}"), CHECK_FILE)),
        };
        Ok(Fields {
            vocab_size: json.size("vocab_size")?,
            hidden_size: hidden,
            num_hidden_layers: json.size(layers)?,
            num_attention_heads: heads,
            num_key_value_heads: heads,
            head_dim,
            ..Fields::default()
        })
    }

    /// What most decoders share, under LLaMA's names; to be completed by what is the
    /// architecture's own.
    pub(crate) fn decoder(&mut self, rotated: Rotated) -> Result<Fields, ConfigError> {
        let rope = Rope::read(self.json, rotated, self.warnings)?;
        self.decoder_by(rope)
    }

    /// The same, where layers with a window are rotated by frequencies of their own, under Gemma's
    /// names: whole heads.
    pub(crate) fn decoder_of_two_ropes(&mut self) -> Result<Fields, ConfigError> {
        const NEW: &str = "rope_parameters";
        let json = self.json;
        let kinds = match json.object(NEW)? {
            Some(all) => [all.object("full_attention")?, all.object("sliding_attention")?],
            None => [None, None],
        };
        let (rope, rope_theta) = match kinds {
            [Some(full), Some(sliding)] => {
                let plain = [Value::Null, json!("default")];
                sliding.only(
                    "rope_type",
                    &plain,
                    "use a model whose windows have plain rotary embeddings",
                )?;
                (Rope::read_object(json, &full, NEW, Rotated::Whole)?, required(&sliding, "rope_theta")?)
            }
            [None, None] => {
                let rope = Rope::read(json, Rotated::Whole, self.warnings)?;
                let stated = [NEW, "rope_theta"].iter().any(|field| *json.get(field) != Value::Null);
                let theta = if stated { rope.theta } else { 1e6 };
                (Rope { theta, ..rope }, json.number_or("rope_local_base_freq", 10_000.0)?)
            }
            _ => {
                return Err(json.refuse(
                    NEW,
                    "both \"full_attention\" and \"sliding_attention\"",
                    CHECK_FILE,
                ));
            }
        };
        let layers = self.sliding_layers(6)?;
        Ok(Fields { local_rope: Some(LocalRope { rope_theta, layers }), ..self.decoder_by(rope)? })
    }

    /// The layers whose attention sees a window: all but each `absent`-th, or as the file says.
    fn sliding_layers(&self, absent: usize) -> Result<Vec<u32>, ConfigError> {
        let (json, field) = (self.json, "layer_types");
        let layers = json.size("num_hidden_layers")?;
        let slides: Vec<bool> = match json.get(field) {
            Value::Null => {
                let interval = json.size_or("sliding_window_pattern", absent)?.max(1);
                (0..layers).map(|i| (i + 1) % interval != 0).collect()
            }
            Value::Array(list) if list.len() == layers => {
                list.iter().map(|kind| kind == "sliding_attention").collect()
            }
            _ => return Err(json.refuse(field, "a kind for each layer", CHECK_FILE)),
        };
        Ok((0..).zip(slides).filter(|(_, slides)| *slides).map(|(layer, _)| layer).collect())
    }

    /// What most decoders share, with this rotary embedding.
    fn decoder_by(&mut self, rope: Rope) -> Result<Fields, ConfigError> {
        let json = self.json;
        let sizes = self.sizes(SIZES)?;
        let Rope { theta: rope_theta, scaling: rope_scaling, positions, part } = rope;
        let positions = self.window(positions)?;
        Ok(Fields {
            intermediate_size: json.size("intermediate_size")?,
            num_key_value_heads: json.size_or("num_key_value_heads", sizes.num_attention_heads)?,
            max_position_embeddings: positions,
            rotary_dim: part.map(|part| (sizes.head_dim as f64 * part) as usize),
            rope_theta,
            rope_scaling,
            tie_word_embeddings: json.flag("tie_word_embeddings")?,
            ..sizes
        })
    }

    /// What most encoders share, under BERT's names.
    pub(crate) fn encoder(&mut self) -> Result<Fields, ConfigError> {
        let json = self.json;
        let sizes = self.sizes(SIZES)?;
        let absolute = [Value::Null, json!("absolute")];
        json.only("position_embedding_type", &absolute, "use a model with learned positions")?;
        let known = ["gelu", "gelu_new", "gelu_pytorch_tanh", "silu"];
        Ok(Fields {
            intermediate_size: json.size("intermediate_size")?,
            max_position_embeddings: json.size_or("max_position_embeddings", 512)?,
            activation: self.activation("hidden_act", "gelu", &known)?,
            norm_eps: self.eps("layer_norm_eps", 1e-12)?,
            rotary_dim: Some(0),
            encoder: Some(self.head(sizes.hidden_size, json.size_or("type_vocab_size", 2)?)?),
            ..sizes
        })
    }

    /// An encoder's head, and its embedding.
    pub(crate) fn head(&self, hidden: usize, token_types: usize) -> Result<EncoderFields, ConfigError> {
        let json = self.json;
        json.only("is_decoder", &[Value::Null, false.into()], OTHER_MODEL)?;
        if self.task == Task::FillMask {
            let tied = [Value::Null, true.into()];
            json.only("tie_word_embeddings", &tied, "use a model whose head is its embedding")?;
        }
        Ok(EncoderFields {
            task: self.task,
            embedding_size: hidden,
            token_types,
            first_position: 0,
            longest: None,
            labels: match self.task {
                Task::Classify | Task::Tag => self.labels()?,
                _ => vec![],
            },
            scores: self.scores()?,
            mask_token: None,
            pooling: Pooling::Mean,
            dense: None,
            normalise: false,
        })
    }

    /// What the labels are called, by their numbers; two that have no names, if there are none.
    fn labels(&self) -> Result<Vec<String>, ConfigError> {
        let (json, field) = (self.json, "id2label");
        let names = match json.get(field) {
            Value::Null => return Ok(vec!["LABEL_0".into(), "LABEL_1".into()]),
            Value::Object(names) => names,
            _ => return Err(json.refuse(field, "an object of names by numbers", CHECK_FILE)),
        };
        let name = |i: usize| names.get(&i.to_string()).and_then(Value::as_str).map(String::from);
        let labels: Option<Vec<String>> = (0..names.len()).map(name).collect();
        labels.ok_or_else(|| json.refuse(field, "a name for each number from \"0\" on", CHECK_FILE))
    }

    /// What becomes of the labels' numbers, as pipelines of transformers decide it.
    fn scores(&self) -> Result<Scores, ConfigError> {
        let one = self.task == Task::Classify && self.labels()?.len() == 1;
        match self.json.get("problem_type").as_str() {
            Some("regression") => Ok(Scores::Plain),
            Some("multi_label_classification") => Ok(Scores::Sigmoid),
            Some("single_label_classification") => Ok(Scores::Softmax),
            None if one => Ok(Scores::Sigmoid),
            None => Ok(Scores::Softmax),
            Some(_) => {
                let expected =
                    "\"single_label_classification\", \"multi_label_classification\" or \"regression\"";
                Err(self.json.refuse("problem_type", expected, CHECK_FILE))
            }
        }
    }

    /// The MLP's activation function, one of those that are named here.
    pub(crate) fn activation(
        &self,
        field: &str,
        absent: &str,
        supported: &[&str],
    ) -> Result<Activation, ConfigError> {
        let name = match self.json.get(field) {
            Value::Null => absent,
            value => value.as_str().unwrap_or_default(),
        };
        let known = match name {
            "silu" | "swish" => Some(Activation::Silu),
            "gelu" => Some(Activation::Gelu),
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Some(Activation::GeluTanh),
            _ => None,
        };
        known.filter(|_| supported.contains(&name)).ok_or_else(|| {
            let names: Vec<String> = supported.iter().map(|name| format!("{name:?}")).collect();
            self.json.refuse(field, &names.join(" or "), "use a checkpoint with such an activation")
        })
    }

    /// What norms add to the mean square or the variance.
    pub(crate) fn eps(&self, field: &str, absent: f64) -> Result<f64, ConfigError> {
        let eps = self.json.number_or(field, absent)?;
        between(field, eps, EPSILONS)?;
        Ok(eps)
    }

    /// The token that begins a text, and those that end an answer.
    pub(crate) fn ends(
        &self,
        begin: Option<u32>,
        end: Option<u32>,
    ) -> Result<(Option<u32>, Vec<u32>), ConfigError> {
        let begin = token_ids(self.json, "bos_token_id", begin.as_slice())?.first().copied();
        Ok((begin, token_ids(self.json, "eos_token_id", end.as_slice())?))
    }

    /// The layers for which `no_rope_layers` has a zero: one number a layer. Every fourth, or as
    /// `no_rope_layer_interval` says, if there is no such list.
    pub(crate) fn unrotated_layers(&self) -> Result<Vec<u32>, ConfigError> {
        let (json, field) = (self.json, "no_rope_layers");
        let layers = json.size("num_hidden_layers")?;
        let flag = |value: &Value| value.as_u64().filter(|&flag| flag < 2);
        let flags: Option<Vec<u64>> = match json.get(field) {
            Value::Null => {
                let interval = json.size_or("no_rope_layer_interval", 4)?.max(1);
                Some((0..layers).map(|i| u64::from((i + 1) % interval != 0)).collect())
            }
            Value::Array(list) => list.iter().map(flag).collect(),
            _ => None,
        };
        let flags = flags.filter(|flags| flags.len() == layers);
        let flags = flags.ok_or_else(|| json.refuse(field, "a list of 0 or 1 for each layer", CHECK_FILE))?;
        Ok((0..).zip(flags).filter(|(_, flag)| *flag == 0).map(|(layer, _)| layer).collect())
    }

    /// The positions for which attention to a window is full attention.
    fn window(&mut self, positions: usize) -> Result<usize, ConfigError> {
        let json = self.json;
        if json.get("use_sliding_window") == &Value::Bool(false) {
            return Ok(positions);
        }
        // The default of these; null says that there is none.
        let slides = matches!(self.model_type, "mistral" | "gemma2" | "gemma3_text");
        let absent = if slides && !json.has("sliding_window") { 4096 } else { 0 };
        let window = json.size_or("sliding_window", absent)?;
        let layers = json.get("layer_types").as_array().map_or(&[][..], Vec::as_slice);
        let known = |kind: &Value| kind == "full_attention" || (window > 0 && kind == "sliding_attention");
        if !layers.iter().all(known) {
            let cure = "use a model with full attention, or with windows of a stated width";
            return Err(json.refuse("layer_types", "only \"full_attention\"", cure));
        }
        let sliding = layers.is_empty() || layers.iter().any(|kind| kind == "sliding_attention");
        if !sliding || window == 0 || window >= positions {
            return Ok(positions);
        }
        self.warnings.push(format!(
            "config.json: attention sees a window of {window} positions; the context is {window} positions \
             instead of {positions}, for which that is full attention"
        ));
        Ok(window)
    }
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
