//! Rotary embeddings in a `config.json`, in their old and new spellings.

use serde_json::{Value, json};

use super::{CHECK_FILE, Object, Rotated};
use crate::config::{Llama3Scaling, RopeScaling, YarnScaling, between};
use crate::error::ConfigError;

/// The rotary parameters.
pub(super) struct Rope {
    pub(super) theta: f64,
    pub(super) scaling: Option<RopeScaling>,
    /// Positions that may be used.
    pub(super) positions: usize,
    /// The part of a head that is rotated, if it is not all.
    pub(super) part: Option<f64>,
}

impl Rope {
    /// From either spelling; where both are there, they must say the same.
    pub(super) fn read(
        json: &Object,
        rotated: Rotated,
        warnings: &mut Vec<String>,
    ) -> Result<Rope, ConfigError> {
        let mut found: Vec<(&str, Rope)> = vec![];
        for field in ["rope_parameters", "rope_scaling"] {
            if let Some(inner) = json.object(field)? {
                found.push((field, Rope::read_object(json, &inner, field, rotated)?));
            }
        }
        if let [(_, new), (field, old)] = &found[..]
            && new.scaling != old.scaling
        {
            return Err(json.refuse(field, "the same as rope_parameters", CHECK_FILE));
        }
        let plain = || Ok(Rope { part: part(json, rotated)?, ..Rope::plain(json, None)? });
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
        let old_name = json.number("rotary_emb_base")?;
        let theta = theta.or(json.number("rope_theta")?).or(old_name).unwrap_or(10_000.0);
        Ok(Rope { theta, scaling: None, positions: positions(json)?, part: None })
    }

    pub(super) fn read_object(
        json: &Object,
        inner: &Object,
        field: &str,
        rotated: Rotated,
    ) -> Result<Rope, ConfigError> {
        let theta = inner.number("rope_theta")?;
        if let (Some(a), Some(b)) = (json.number("rope_theta")?, theta)
            && a != b
        {
            return Err(inner.refuse("rope_theta", &format!("{a}, as beside it"), CHECK_FILE));
        }
        let here = *inner.get("partial_rotary_factor") != Value::Null;
        let part = match rotated {
            Rotated::Part(_, absent) if here => part(inner, Rotated::Part("partial_rotary_factor", absent))?,
            Rotated::Whole if here => part(inner, rotated)?,
            _ => part(json, rotated)?,
        };
        let plain = Rope { part, ..Rope::plain(json, theta)? };
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

/// The part of a head that is rotated; `None` for all of it.
fn part(json: &Object, rotated: Rotated) -> Result<Option<f64>, ConfigError> {
    match rotated {
        Rotated::Whole => {
            let whole = [Value::Null, json!(1), json!(1.0)];
            let cure = "use a model whose rotary embedding turns whole heads";
            json.only("partial_rotary_factor", &whole, cure)?;
            Ok(None)
        }
        Rotated::Part(field, absent) => {
            let part = json.number_or(field, absent)?;
            between(field, part, 0.0..=1.0)?;
            Ok(Some(part).filter(|&part| part < 1.0))
        }
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

pub(super) fn required(json: &Object, field: &str) -> Result<f64, ConfigError> {
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
