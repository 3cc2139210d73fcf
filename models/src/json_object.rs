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
        let error = |(actual, cure): (String, &'static str)| {
            let (field, expected) = ("the whole file".into(), "a JSON object".into());
            ConfigError { field, actual, expected, cure }
        };
        let again = "take the file again from the model's source";
        match serde_json::from_slice(text) {
            Ok(Value::Object(map)) => Ok(Object(map, "")),
            Ok(other) => Err(error((brief(&other), again))),
            Err(cause) => {
                let other = || (format!("malformed ({cause})"), again);
                Err(error(json_fault(text).unwrap_or_else(other)))
            }
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
        self.flag_or(field, false)
    }

    pub(crate) fn flag_or(&self, field: &str, absent: bool) -> Result<bool, ConfigError> {
        match self.get(field) {
            Value::Null => Ok(absent),
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

/// What a file is that was expected to be JSON and is not, where that is known, and the cure.
pub(crate) fn json_fault(text: &[u8]) -> Option<(String, &'static str)> {
    if text.starts_with(b"\xef\xbb\xbf") {
        let cure = "save the file as UTF-8 without a byte order mark";
        return Some(("text that begins with a byte order mark".into(), cure));
    }
    if text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff") {
        return Some(("text in UTF-16".into(), "save the file as UTF-8"));
    }
    if is_lfs_pointer(text) {
        return Some((LFS_POINTER.into(), FETCH_LFS));
    }
    let literal = not_a_number(text)?;
    let cure = "write a number instead, or remove the field; JSON has neither NaN nor infinities";
    Some((format!("JSON with the value {literal}"), cure))
}

/// What a file is that [`is_lfs_pointer`] recognises.
pub(crate) const LFS_POINTER: &str = "a git-LFS pointer and not the file itself";

/// The cure for a git-LFS pointer.
pub(crate) const FETCH_LFS: &str = "run `git lfs pull` in the model's folder, or download the file itself";

/// Whether the bytes are the few lines that git keeps in place of a large file.
pub(crate) fn is_lfs_pointer(bytes: &[u8]) -> bool {
    bytes.starts_with(b"version https://git-lfs")
}

/// The first `NaN` or `Infinity` that stands outside of strings, as some writers of JSON leave it.
fn not_a_number(text: &[u8]) -> Option<&'static str> {
    let (mut quoted, mut escaped) = (false, false);
    for (i, &byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => (),
            b'N' if text[i..].starts_with(b"NaN") => return Some("NaN"),
            b'I' if text[i..].starts_with(b"Infinity") => return Some("Infinity"),
            _ => (),
        }
    }
    None
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
