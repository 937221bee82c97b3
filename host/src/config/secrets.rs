//! Secrets in a configuration as it is written: they are known by their keys, and not shown.

use serde_json::{Map, Value};

/// What stands for a secret.
pub const MASK: &str = "***";
/// The value of a key whose name contains one of these is a secret; of one that ends in `_file` it is a path.
const SECRET: [&str; 9] =
    ["token", "secret", "password", "passwd", "api_key", "apikey", "credential", "private_key", "authorization"];

/// Masks what keys call secret, and all of a filter's `environment`. What comes from `!env` only names its variable.
pub fn mask(value: &mut Value) {
    each(value, &mut |secret| *secret = MASK.into());
}

/// Texts among what would be masked.
pub fn keyed(mut value: Value, found: &mut impl FnMut(&str)) {
    each(&mut value, &mut |secret| {
        if let Value::String(text) = secret {
            found(text);
        }
    });
}

fn each(value: &mut Value, found: &mut impl FnMut(&mut Value)) {
    match value {
        Value::Object(fields) => {
            let holds = holds_secret(fields);
            for (key, value) in fields {
                match value {
                    value if names_variable(value) => {}
                    Value::String(_) if is_secret(key) || (holds && key == "value") => found(value),
                    // A number of tokens is a limit.
                    Value::Number(_) if is_secret(key) && !key.contains("token") => found(value),
                    Value::Object(variables) if key == "environment" => {
                        variables.values_mut().filter(|value| !names_variable(value)).for_each(&mut *found);
                    }
                    value => each(value, found),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| each(item, found)),
        _ => {}
    }
}

fn names_variable(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.starts_with("!env "))
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace('-', "_");
    !key.ends_with("_file") && SECRET.iter().any(|word| key.contains(word))
}

/// Whether an object is of the form `{ name: authorization, value: ... }`, whose value is a secret.
fn holds_secret(fields: &Map<String, Value>) -> bool {
    let mut names = ["name", "key", "header"].into_iter().filter_map(|key| fields.get(key)?.as_str());
    fields.contains_key("value") && names.any(is_secret)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_known_by_their_keys() {
        for key in ["token", "API-Key", "client_secret", "password", "x-authorization", "awsSecret"] {
            assert!(is_secret(key), "{key}");
        }
        for key in ["token_file", "key", "module", "cluster"] {
            assert!(!is_secret(key), "{key}");
        }
        let mut value = json!({
            "a": [{ "token": "x", "environment": { "HOME": "/root", "B": "!env B" }, "config": { "password": 1, "max_tokens": 7 } }],
            "token_file": "t", "secret": "!env S",
        });
        mask(&mut value);
        let masked = json!({
            "a": [{ "token": "***", "environment": { "HOME": "***", "B": "!env B" }, "config": { "password": "***", "max_tokens": 7 } }],
            "token_file": "t", "secret": "!env S",
        });
        assert_eq!(value, masked);
        let mut texts = Vec::new();
        let written = json!({ "token": "!env TWO", "b": { "secret": "three" }, "c": [{ "name": "Authorization", "value": "four" }, { "name": "x", "value": "y" }] });
        keyed(written, &mut |text| texts.push(text.to_owned()));
        assert_eq!(texts, ["three", "four"]);
    }
}
