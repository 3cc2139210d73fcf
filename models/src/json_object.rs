//! Typed fields of a JSON object, with errors that name the field.

use serde_json::{Map, Value};

use crate::error::ConfigError;

/// The cure where nothing better is known.
pub(crate) const CHECK_FILE: &str = "check config.json against the model's original";

/// A JSON object, and where it stands in the file.
pub(crate) struct Object(Map<String, Value>, &'static str);

impl Object {
    /// The object that is the whole text.
    pub(crate) fn parse(text: &[u8]) -> Result<Object, ConfigError> {
        let cure = "take the file again from the model's source";
        let error = |actual: String| {
            let expected = "a JSON object".into();
            ConfigError { field: "the whole file".into(), actual, expected, cure }
        };
        match serde_json::from_slice(text) {
            Ok(Value::Object(map)) => Ok(Object(map, "")),
            Ok(other) => Err(error(brief(&other))),
            Err(cause) => Err(error(format!("malformed ({cause})"))),
        }
    }

    /// Whether the field is written down, be it as null.
    pub(crate) fn has(&self, field: &str) -> bool {
        self.0.contains_key(field)
    }

    /// The value of a field; absent reads as null.
    pub(crate) fn get(&self, field: &str) -> &Value {
        self.0.get(field).unwrap_or(&Value::Null)
    }

    /// Refuses a field that holds anything but one of the supported values.
    pub(crate) fn only(
        &self,
        field: &str,
        supported: &[Value],
        cure: &'static str,
    ) -> Result<(), ConfigError> {
        if supported.contains(self.get(field)) {
            return Ok(());
        }
        let named: Vec<_> = supported.iter().map(brief).collect();
        Err(self.refuse(field, &named.join(" or "), cure))
    }

    /// A whole number that must be there.
    pub(crate) fn size(&self, field: &str) -> Result<usize, ConfigError> {
        let size = self.get(field).as_u64().and_then(|n| usize::try_from(n).ok());
        size.ok_or_else(|| self.refuse(field, "a whole number", CHECK_FILE))
    }

    pub(crate) fn size_or(&self, field: &str, absent: usize) -> Result<usize, ConfigError> {
        if *self.get(field) == Value::Null { Ok(absent) } else { self.size(field) }
    }

    /// A number, if there is one.
    pub(crate) fn number(&self, field: &str) -> Result<Option<f64>, ConfigError> {
        match self.get(field) {
            Value::Null => Ok(None),
            value => value.as_f64().map(Some).ok_or_else(|| self.refuse(field, "a number", CHECK_FILE)),
        }
    }

    pub(crate) fn number_or(&self, field: &str, absent: f64) -> Result<f64, ConfigError> {
        Ok(self.number(field)?.unwrap_or(absent))
    }

    /// A switch; absent reads as off.
    pub(crate) fn flag(&self, field: &str) -> Result<bool, ConfigError> {
        match self.get(field) {
            Value::Null => Ok(false),
            value => value.as_bool().ok_or_else(|| self.refuse(field, "true or false", CHECK_FILE)),
        }
    }

    /// An object inside this one, if there is one.
    pub(crate) fn object(&self, field: &'static str) -> Result<Option<Object>, ConfigError> {
        match self.get(field) {
            Value::Null => Ok(None),
            Value::Object(map) => Ok(Some(Object(map.clone(), field))),
            _ => Err(self.refuse(field, "an object or null", CHECK_FILE)),
        }
    }

    /// The error that names a field, what it holds, and what it should.
    pub(crate) fn refuse(&self, field: &str, expected: &str, cure: &'static str) -> ConfigError {
        let full = if self.1.is_empty() { field.to_string() } else { format!("{}.{field}", self.1) };
        let actual = self.0.get(field).map_or("absent".into(), brief);
        ConfigError { field: full, actual, expected: expected.into(), cure }
    }
}

/// A value in one short line, whatever the file holds.
fn brief(value: &Value) -> String {
    const LENGTH: usize = 60;
    if value.is_null() {
        return "absent".into();
    }
    let text = value.to_string();
    if text.chars().count() <= LENGTH {
        text
    } else {
        text.chars().take(LENGTH).chain("...".chars()).collect()
    }
}
