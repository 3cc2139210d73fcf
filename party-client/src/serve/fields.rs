//! The fields of a request: each is taken once, with its type and range; what is left over is
//! refused.

use std::{fmt::Display, ops::RangeInclusive};

use serde_json::{Map, Value};

use super::refusal::Refusal;

/// The fields of an object that are not taken yet.
pub struct Fields {
    all: Map<String, Value>,
    /// What the object is called in errors: nothing, or a path such as `messages[0].`.
    path: String,
}

impl Fields {
    /// The fields of a request's body.
    ///
    /// # Errors
    /// It is no JSON, or no object.
    pub fn parse(body: &[u8]) -> Result<Fields, Refusal> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(all)) => Ok(Fields { all, path: String::new() }),
            Ok(other) => Err(Refusal::mistake(format!("the body is {}, expected an object", kind(&other)))),
            Err(e) => {
                let place = format!("line {}, column {}", e.line(), e.column());
                Err(Refusal::mistake(format!("the body is no JSON, from {place} on; send a JSON object")))
            }
        }
    }

    /// The fields of a value inside, which is called `path`.
    ///
    /// # Errors
    /// It is no object.
    pub fn of(value: Value, path: String) -> Result<Fields, Refusal> {
        match value {
            Value::Object(all) => Ok(Fields { all, path: path + "." }),
            other => Err(wrong(&path, kind(&other), "an object")),
        }
    }

    /// The name of a field in errors.
    pub fn name(&self, field: &str) -> String {
        format!("{}{field}", self.path)
    }

    /// A field of any type. One that is null is as good as none.
    pub fn take(&mut self, field: &str) -> Option<Value> {
        self.all.remove(field).filter(|value| !value.is_null())
    }

    /// A truth value; false where it is left out.
    ///
    /// # Errors
    /// It is something else.
    pub fn flag(&mut self, field: &str) -> Result<bool, Refusal> {
        match self.take(field) {
            None => Ok(false),
            Some(Value::Bool(value)) => Ok(value),
            Some(other) => Err(wrong(&self.name(field), kind(&other), "true or false")),
        }
    }

    /// A text.
    ///
    /// # Errors
    /// It is something else.
    pub fn text(&mut self, field: &str) -> Result<Option<String>, Refusal> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(&self.name(field), kind(&other), "a text")),
        }
    }

    /// A whole number of a range.
    ///
    /// # Errors
    /// It is something else.
    pub fn count(&mut self, field: &str, range: RangeInclusive<usize>) -> Result<Option<usize>, Refusal> {
        let Some(value) = self.take(field) else { return Ok(None) };
        let expected = match *range.end() {
            usize::MAX => format!("a whole number from {} on", range.start()),
            end => format!("a whole number from {} to {end}", range.start()),
        };
        let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
        match count.filter(|count| range.contains(count)) {
            Some(count) => Ok(Some(count)),
            None => Err(wrong(&self.name(field), shown(&value), expected)),
        }
    }

    /// A number of a range.
    ///
    /// # Errors
    /// It is something else.
    pub fn number(&mut self, field: &str, range: RangeInclusive<f32>) -> Result<Option<f32>, Refusal> {
        let Some(value) = self.take(field) else { return Ok(None) };
        match value.as_f64().map(|number| number as f32).filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => {
                let expected = format!("a number from {} to {}", range.start(), range.end());
                Err(wrong(&self.name(field), shown(&value), expected))
            }
        }
    }

    /// Refuses a field that asks for what there is not, unless its value asks for nothing.
    ///
    /// # Errors
    /// It asks.
    pub fn refuse(
        &mut self,
        field: &str,
        harmless: impl Fn(&Value) -> bool,
        why: &str,
    ) -> Result<(), Refusal> {
        match self.take(field) {
            Some(value) if !harmless(&value) => {
                let name = self.name(field);
                let message = format!("`{name}` cannot be had: {why}; leave it out");
                Err(Refusal::field(name, message).code("unsupported_parameter"))
            }
            _ => Ok(()),
        }
    }

    /// Ends the reading: what is left over must be `harmless`, or null.
    ///
    /// # Errors
    /// A field that nobody knows.
    pub fn finish(self, harmless: &[&str]) -> Result<(), Refusal> {
        let unknown =
            |(name, value): &(&String, &Value)| !value.is_null() && !harmless.contains(&name.as_str());
        match self.all.iter().find(unknown) {
            None => Ok(()),
            Some((field, _)) => {
                let name = self.name(field);
                let message =
                    format!("`{name}` is not known here, and might change the answer; leave it out");
                Err(Refusal::field(name, message).code("unknown_parameter"))
            }
        }
    }
}

/// A field of the wrong type or range.
pub fn wrong(name: &str, found: impl Display, expected: impl Display) -> Refusal {
    Refusal::field(name, format!("`{name}` is {found}, expected {expected}"))
}

/// What a value is, in words.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A number as it is, anything else by its kind.
fn shown(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        other => kind(other).into(),
    }
}
