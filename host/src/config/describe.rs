//! Reading the derived schema, and saying what it expects in the words of the format.

use serde_json::Value as Json;

use crate::config::{
    suggest,
    tree::{Node, Value},
    units,
};

/// The schema of the whole file, for following its references.
#[derive(Clone, Copy)]
pub(crate) struct Schema<'a> {
    pub root: &'a Json,
}

impl<'a> Schema<'a> {
    /// The schema that a `$ref` means, or the schema itself.
    pub fn follow(self, mut schema: &'a Json) -> &'a Json {
        while let Some(pointer) = schema.get("$ref").and_then(Json::as_str).and_then(|target| target.strip_prefix('#'))
        {
            match self.root.pointer(pointer) {
                Some(target) => schema = target,
                None => break,
            }
        }
        schema
    }

    /// What a schema expects, with its article.
    pub fn described(self, schema: &'a Json) -> String {
        let schema = self.follow(schema);
        if let Some(unit) = schema.get(units::KEYWORD).and_then(Json::as_str) {
            return units::described(unit).to_owned();
        }
        if let Some(choices) = self.all_choices(schema) {
            return match choices.as_slice() {
                [only] => format!("{only:?}"),
                several => format!("one of {}", several.join(", ")),
            };
        }
        if let Some(branches) = branches(schema) {
            let mut all: Vec<_> = branches.iter().map(|branch| self.described(branch)).collect();
            all.dedup();
            return all.join(" or ");
        }
        match schema.get("type").and_then(Json::as_str) {
            Some("object") => match words(schema, "required").as_slice() {
                [only] if schema.get("properties").and_then(Json::as_object).is_some_and(|known| known.len() == 1) => {
                    format!("{{ {only}: ... }}")
                }
                _ => "a map".to_owned(),
            },
            Some("array") => match schema.get("items").map(|items| self.described(items)) {
                Some(item) if item == "a string" => "a list of strings".to_owned(),
                _ => "a list".to_owned(),
            },
            Some("integer") => "a whole number".to_owned(),
            Some("number") => "a number".to_owned(),
            Some("boolean") => "true or false".to_owned(),
            _ => "a string".to_owned(),
        }
    }

    /// The words among which a schema lets one choose, if it is nothing but such a choice.
    pub fn all_choices(self, schema: &'a Json) -> Option<Vec<&'a str>> {
        let schema = self.follow(schema);
        choices(schema).or_else(|| {
            branches(schema)?
                .iter()
                .map(|branch| choices(self.follow(branch)))
                .collect::<Option<Vec<_>>>()
                .map(|all| all.concat())
        })
    }
}

/// How to write what was probably meant.
pub(crate) fn remedy(node: &Node, schema: &Json, branches: &[&Json]) -> Option<String> {
    if node.env.is_some() {
        return None;
    }
    let is = |name: &str| branches.iter().any(|branch| branch.get("type").and_then(Json::as_str) == Some(name));
    let near = |text: &str| suggest::nearest(text, branches.iter().filter_map(|branch| choices(branch)).flatten());
    // A lone value in quotes is no answer where a map would do as well.
    let quoted = is("string") && !is("object");
    let unit = branches.iter().find_map(|branch| branch.get(units::KEYWORD)?.as_str());
    match &node.value {
        Value::Int(value) if unit.is_some() => Some(units::with_unit(unit?, &value.to_string())),
        Value::Int(value) if quoted => Some(format!("write \"{value}\" with quotes")),
        Value::Bool(value) if quoted => Some(format!("write \"{value}\" with quotes")),
        Value::Float(value) if quoted => Some(format!("write \"{value}\" with quotes")),
        Value::String(text) if branches.iter().any(|branch| keys(branch).contains(&text.as_str())) => {
            Some(format!("write {{ {text}: ... }}"))
        }
        Value::String(text) if near(text).is_some() => near(text).map(|word| format!("did you mean {word:?}?")),
        Value::String(text) if is("array") => Some(format!("write [{text}]")),
        Value::String(text) if is("integer") && text.parse::<u64>().is_ok() => {
            Some("write it without quotes".to_owned())
        }
        Value::String(text) if is("boolean") && matches!(text.as_str(), "yes" | "on") => Some("write true".to_owned()),
        Value::String(text) if is("boolean") && matches!(text.as_str(), "no" | "off") => Some("write false".to_owned()),
        Value::Seq(_) if is("object") && schema.get("additionalProperties").is_some_and(Json::is_object) => {
            Some("write a map from names: `name: { ... }`".to_owned())
        }
        Value::Null => Some("write a value, or take the key out".to_owned()),
        _ => None,
    }
}

/// The alternatives of a schema.
pub(crate) fn branches(schema: &Json) -> Option<&[Json]> {
    schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Json::as_array).map(Vec::as_slice)
}

/// The words that a string may be.
pub(crate) fn choices(schema: &Json) -> Option<Vec<&str>> {
    if let Some(only) = schema.get("const").and_then(Json::as_str) {
        return Some(vec![only]);
    }
    schema.get("enum").is_some().then(|| words(schema, "enum"))
}

/// The strings of a keyword's list.
pub(crate) fn words<'a>(schema: &'a Json, keyword: &str) -> Vec<&'a str> {
    schema.get(keyword).and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str).collect()
}

/// Key names of an object in the schema.
pub(crate) fn keys(object: &Json) -> Vec<&str> {
    let known = object.get("properties").and_then(Json::as_object);
    let known = known.map(|known| known.keys().map(String::as_str).filter(|key| *key != "$schema").collect());
    known.unwrap_or_default()
}

/// Whether any string will do.
pub(crate) fn is_free_string(schema: &Json) -> bool {
    is_type(schema, "string") && choices(schema).is_none()
}

pub(crate) fn is_type(schema: &Json, name: &str) -> bool {
    schema.get("type").and_then(Json::as_str) == Some(name)
}
