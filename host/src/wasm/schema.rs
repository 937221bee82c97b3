//! A filter's configuration against the schema in its module's manifest, before the module runs: all mistakes at once.

use jsonschema::error::{TypeKind, ValidationErrorKind};
use serde_json::Value;

use crate::config::suggest;

/// Mistakes that are told of one configuration.
const MOST: usize = 20;

/// What is wrong, and where (a JSON pointer).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    pub pointer: String,
    pub message: String,
}

/// The mistakes in a configuration. One that is not JSON is the filter's to judge; nothing at all counts as an empty object.
///
/// # Errors
/// When the schema is none.
pub fn check(schema: &Value, configuration: &[u8]) -> Result<Vec<Mistake>, String> {
    let configuration = match configuration.trim_ascii() {
        b"" | b"null" => b"{}",
        other => other,
    };
    let Ok(configuration) = serde_json::from_slice::<Value>(configuration) else { return Ok(Vec::new()) };
    if refers(schema) {
        return Err("it has references".to_owned());
    }
    let validator = jsonschema::validator_for(schema).map_err(|error| error.to_string())?;
    Ok(validator.iter_errors(&configuration).flat_map(|error| told(&error, schema)).take(MOST).collect())
}

/// References could lead in circles; our SDK writes everything in its place.
fn refers(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => {
            members.iter().any(|(key, value)| matches!(key.as_str(), "$ref" | "$dynamicRef") || refers(value))
        }
        Value::Array(items) => items.iter().any(refers),
        _ => false,
    }
}

fn told(error: &jsonschema::ValidationError<'_>, schema: &Value) -> Vec<Mistake> {
    let pointer = error.instance_path().to_string();
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            // .../additionalProperties: what is known is beside it.
            let place = error.schema_path().to_string();
            let known =
                place.rsplit_once('/').and_then(|(object, _)| schema.pointer(object)?.get("properties")?.as_object());
            let known: Vec<&str> = known.into_iter().flatten().map(|(key, _)| key.as_str()).collect();
            unexpected
                .iter()
                .map(|key| Mistake {
                    pointer: format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1")),
                    message: format!("unknown key {key:?}; {}", suggest::help(key, &known)),
                })
                .collect()
        }
        ValidationErrorKind::Required { property } => {
            vec![Mistake { pointer, message: format!("{property} is missing") }]
        }
        ValidationErrorKind::Type { kind } => {
            let expected = match kind {
                TypeKind::Single(one) => one.to_string(),
                TypeKind::Multiple(several) => {
                    several.iter().map(|one| one.to_string()).collect::<Vec<_>>().join(" or ")
                }
            };
            vec![Mistake { pointer, message: format!("expected {expected}, found {}", shown(error.instance())) }]
        }
        ValidationErrorKind::Enum { options } => {
            let options = options.as_array().map(Vec::as_slice).unwrap_or_default();
            let words: Vec<&str> = options.iter().filter_map(Value::as_str).collect();
            let help = suggest::help(error.instance().as_str().unwrap_or_default(), &words);
            vec![Mistake { pointer, message: format!("{} is none of the choices; {help}", shown(error.instance())) }]
        }
        ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
            // The branch that was meant is the one whose type was written.
            let elsewhere = |branch: &&Vec<jsonschema::ValidationError<'static>>| {
                !branch.iter().any(|inner| {
                    matches!(inner.kind(), ValidationErrorKind::Type { .. })
                        && inner.instance_path() == error.instance_path()
                })
            };
            let meant: Vec<_> = context.iter().filter(elsewhere).collect();
            match meant.as_slice() {
                [branch] => branch.iter().flat_map(|inner| told(inner, schema)).collect(),
                _ => {
                    vec![Mistake { pointer, message: format!("{} is none of what it can be", shown(error.instance())) }]
                }
            }
        }
        _ => vec![Mistake { pointer, message: error.to_string() }],
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Object(_) => "a map".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        plain => plain.to_string().chars().take(60).collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mistakes(configuration: &str) -> Vec<(String, String)> {
        let schema = json!({
            "type": "object",
            "properties": {
                "greeting": { "type": "string" },
                "many": { "type": "array", "items": { "type": "integer", "minimum": 0, "maximum": 255 } },
                "mode": { "enum": ["fast", "safe"] },
                "either": { "anyOf": [
                    { "type": "object", "properties": { "a": { "type": "null" } }, "additionalProperties": false },
                    { "type": "string" },
                ] },
            },
            "required": ["greeting"],
            "additionalProperties": false,
        });
        let found = check(&schema, configuration.as_bytes()).unwrap();
        found.into_iter().map(|mistake| (mistake.pointer, mistake.message)).collect()
    }

    fn mistake(pointer: &str, message: &str) -> (String, String) {
        (pointer.to_owned(), message.to_owned())
    }

    #[test]
    fn every_mistake_has_its_place() {
        assert_eq!(mistakes(r#"{"greeting": "x", "many": [1], "mode": "fast"}"#), []);
        assert_eq!(mistakes(""), [mistake("", "\"greeting\" is missing")]);
        let mut found =
            mistakes(r#"{"greting": "x", "greeting": 5, "many": [1, "2", 256], "mode": "save", "either": {"b": 1}}"#);
        found.sort();
        let expected = [
            mistake("/either/b", "unknown key \"b\"; expected \"a\""),
            mistake("/greeting", "expected string, found 5"),
            mistake(
                "/greting",
                "unknown key \"greting\"; did you mean \"greeting\"? expected one of: greeting, many, mode, either",
            ),
            mistake("/many/1", "expected integer, found \"2\""),
            mistake("/many/2", "256 is greater than the maximum of 255"),
            mistake("/mode", "\"save\" is none of the choices; did you mean \"safe\"? expected one of: fast, safe"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn text_is_the_filters_own_and_a_schema_that_is_none_says_so() {
        assert_eq!(mistakes("words, not JSON"), []);
        for bad in
            [json!({ "type": "strin" }), json!({ "$ref": "#" }), json!({ "properties": { "a": { "$ref": "#" } } })]
        {
            assert!(check(&bad, b"{}").is_err(), "{bad}");
        }
    }
}
