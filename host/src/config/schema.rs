//! The JSON Schema of the configuration, derived from [`super::raw`].

use serde_json::{Map, Value, json};

use crate::config::raw;

/// JSON Schema (draft 2020-12) of a configuration file, for `fyke schema` and for editors.
#[must_use]
pub fn schema() -> Value {
    let mut schema = internal();
    walk(&mut schema, &mut |object| object.retain(|keyword, _| !keyword.starts_with("x-fyke-")));
    schema
}

/// The same, with the schemas of filters in it: `config` of a filter whose `module` is one of these must fit its schema.
pub fn schema_with_modules(modules: impl IntoIterator<Item = (String, Value)>) -> Value {
    let mut schema = schema();
    let mut rules = Vec::new();
    for (module, mut config) in modules {
        // Its own `$id` keeps the `#/...` references inside it from meaning the whole file.
        if let Some(config) = config.as_object_mut() {
            config.remove("$schema");
            config.entry("$id").or_insert_with(|| json!(format!("urn:fyke:{module}")));
        }
        rules.push(json!({
            "if": { "properties": { "module": { "const": module } }, "required": ["module"] },
            "then": { "properties": { "config": config } },
        }));
    }
    if let Some(filter) = schema.pointer_mut("/$defs/Filter").and_then(Value::as_object_mut)
        && !rules.is_empty()
    {
        filter.insert("allOf".to_owned(), rules.into());
    }
    schema
}

/// The schema with the keywords that [`super::check`] reads. Nothing is nullable: a key without a value is a mistake.
pub(crate) fn internal() -> Value {
    let mut schema = schemars::schema_for!(raw::File).to_value();
    walk(&mut schema, &mut without_null);
    schema
}

fn without_null(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(branches)) = object.get_mut("anyOf") {
        branches.retain(|branch| branch != &json!({ "type": "null" }));
        if let [Value::Object(only)] = branches.as_slice() {
            let only = only.clone();
            object.remove("anyOf");
            for (keyword, value) in only {
                object.entry(keyword).or_insert(value);
            }
        }
    }
    if object.get("default") == Some(&Value::Null) {
        object.remove("default");
    }
}

fn walk(value: &mut Value, visit: &mut dyn FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            visit(object);
            object.values_mut().for_each(|inner| walk(inner, visit));
        }
        Value::Array(items) => items.iter_mut().for_each(|inner| walk(inner, visit)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_has_descriptions_and_no_secrets_of_ours() {
        let schema = schema();
        assert_eq!(schema["title"], "Fyke");
        assert!(schema["properties"]["listeners"]["description"].is_string());
        assert!(!schema.to_string().contains("x-fyke-"));
        assert!(!schema.to_string().contains("null"));
    }

    #[test]
    fn configurations_of_modules_are_part_of_it() {
        let router = json!({ "$schema": "x", "type": "object", "properties": { "a": { "$ref": "#/$defs/A" } }, "$defs": { "A": { "type": "string" } } });
        let schema = schema_with_modules([("builtin:router".to_owned(), router)]);
        let validator = jsonschema::validator_for(&schema).unwrap();
        let with = |config: Value| json!({ "listeners": {}, "filters": { "r": { "module": "builtin:router", "config": config } } });
        assert!(validator.is_valid(&with(json!({ "a": "x" }))));
        assert!(!validator.is_valid(&with(json!({ "a": 1 }))));
    }
}
