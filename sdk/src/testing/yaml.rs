//! Configurations of tests are written as operators write them: in YAML, of which JSON is a part.

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value};

/// Reads one document; nothing reads as null.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let documents = Yaml::load_from_str(text).map_err(|error| error.to_string())?;
    documents.first().map_or(Ok(Value::Null), value)
}

fn value(node: &Yaml<'_>) -> Result<Value, String> {
    Ok(match node {
        Yaml::Value(Scalar::Null) | Yaml::BadValue => Value::Null,
        Yaml::Value(Scalar::Boolean(boolean)) => Value::Bool(*boolean),
        Yaml::Value(Scalar::Integer(number)) => Value::from(*number),
        Yaml::Value(Scalar::FloatingPoint(number)) => Value::from(number.into_inner()),
        Yaml::Value(Scalar::String(text)) => Value::from(text.as_ref()),
        Yaml::Sequence(items) => items.iter().map(value).collect::<Result<_, _>>()?,
        Yaml::Mapping(entries) => {
            let mut map = Map::new();
            for (key, entry) in entries {
                let Yaml::Value(Scalar::String(key)) = key else {
                    return Err(format!("keys of mappings must be text, and this is not: {key:?}"));
                };
                map.insert(key.as_ref().to_owned(), value(entry)?);
            }
            Value::Object(map)
        }
        other => return Err(format!("not supported in configurations: {other:?}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_and_json_are_read_alike() {
        let yaml = parse("a: [1, 2.5, true, ~]\nb: { c: \"1\", d: text }\n").unwrap();
        let json = parse(r#"{"a": [1, 2.5, true, null], "b": {"c": "1", "d": "text"}}"#).unwrap();
        assert_eq!(yaml, json);
        assert_eq!(yaml, serde_json::json!({"a": [1, 2.5, true, null], "b": {"c": "1", "d": "text"}}));
        assert_eq!(parse("").unwrap(), Value::Null);
        assert!(parse("a: [").is_err());
        assert!(parse("1: x").is_err());
    }
}
