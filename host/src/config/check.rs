//! The tree against the schema: unknown and missing keys, types, choices, units and ranges, all of them at once.
//!
//! This is a validator for the few keywords that [`super::schema`] produces, not a general one: it can descend
//! into the branch that was meant, and it speaks of what was written in the words of the format. What is wrong is
//! also taken out of the tree, so that the rest can be resolved and its mistakes reported in the same run.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use crate::config::{
    describe::{Schema, branches, choices, is_free_string, is_type, keys, remedy, words},
    report::Diagnostics,
    source::Span,
    suggest,
    tree::{Key, Node, Value, join, join_index, quote},
    units,
};

/// Whether a part of the tree may stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Keep,
    /// It has been reported.
    Remove,
}

use Verdict::{Keep, Remove};

/// Checks the tree. Returns the paths that were taken out of it, `None` if nothing of it can be used.
pub(crate) fn check(root: &mut Node, schema: &Json, diagnostics: &mut Diagnostics<'_>) -> Option<BTreeSet<String>> {
    let mut checker = Checker { schema: Schema { root: schema }, diagnostics, removed: BTreeSet::new() };
    let place = Place { path: "", key: None };
    match checker.node(root, schema, &place) {
        Keep => Some(checker.removed),
        Remove => None,
    }
}

struct Place<'a> {
    path: &'a str,
    key: Option<&'a Key>,
}

struct Checker<'a, 'b, 'c> {
    schema: Schema<'a>,
    diagnostics: &'b mut Diagnostics<'c>,
    removed: BTreeSet<String>,
}

impl<'a> Checker<'a, '_, '_> {
    fn node(&mut self, node: &mut Node, schema: &'a Json, place: &Place<'_>) -> Verdict {
        if matches!(node.value, Value::Bad) {
            return Remove;
        }
        let schema = self.schema.follow(schema);
        if let Some(branches) = branches(schema) {
            return self.choose(node, schema, branches, place);
        }
        let Some(expected) = schema.get("type").and_then(Json::as_str) else {
            return Keep; // Anything: a filter's own business.
        };
        read_environment(node, expected);
        match (expected, &mut node.value) {
            ("object", Value::Map(entries)) => {
                let mut taken = std::mem::take(entries);
                let verdict = self.object(&mut taken, schema, node.span, place);
                node.value = Value::Map(taken);
                verdict
            }
            ("array", Value::Seq(items)) => {
                let mut taken = std::mem::take(items);
                let verdict = self.array(&mut taken, schema, node.span, place);
                node.value = Value::Seq(taken);
                verdict
            }
            ("string", Value::String(_)) => self.string(node, schema, place),
            ("integer", Value::Int(value)) => {
                let value = *value;
                self.range(node, value, schema, place)
            }
            ("boolean", Value::Bool(_)) | ("number", Value::Int(_) | Value::Float(_)) => Keep,
            _ => self.wrong_type(node, schema, &[schema], place),
        }
    }

    fn object(&mut self, entries: &mut Vec<(Key, Node)>, schema: &'a Json, span: Span, place: &Place<'_>) -> Verdict {
        let properties = schema.get("properties").and_then(Json::as_object);
        let others = schema.get("additionalProperties").filter(|others| **others != Json::Bool(false));
        let closed = schema.get("additionalProperties") == Some(&Json::Bool(false));
        let required = words(schema, "required");
        let mut verdict = Keep;
        let written: BTreeSet<String> = entries.iter().map(|(key, _)| key.text.clone()).collect();
        entries.retain_mut(|(key, value)| {
            let path = join(place.path, &key.text);
            let place = Place { path: &path, key: Some(key) };
            let result = match (properties.and_then(|known| known.get(&key.text)), others) {
                (Some(known), _) => self.node(value, known, &place),
                (None, Some(_)) if key.text.is_empty() => {
                    self.diagnostics.error(key.span, &path, "a name cannot be empty");
                    Remove
                }
                (None, Some(others)) => self.node(value, others, &place),
                (None, None) if closed => self.unknown(key, schema, &path),
                (None, None) => Keep,
            };
            if result == Remove {
                if required.contains(&key.text.as_str()) {
                    verdict = Remove;
                }
                self.removed.insert(path);
            }
            result == Keep
        });
        for missing in required.iter().filter(|key| !written.contains(**key)) {
            let message = match place.key {
                Some(key) => format!("{} lacks {missing:?}", quote(&key.text)),
                None => format!("{missing:?} is missing"),
            };
            let description = properties
                .and_then(|known| known.get(*missing)?.get("description")?.as_str())
                .map(|text| format!("{missing}: {text}"));
            let mut problem = self.diagnostics.problem(place.key.map_or(span, |key| key.span), place.path, message);
            problem.help = description;
            self.diagnostics.push(problem);
            verdict = Remove;
        }
        verdict
    }

    fn unknown(&mut self, key: &Key, schema: &Json, path: &str) -> Verdict {
        let message = format!("unknown key {}", quote(&key.text));
        self.diagnostics.error_with_help(key.span, path, message, suggest::help(&key.text, &keys(schema)));
        Remove
    }

    fn array(&mut self, items: &mut Vec<Node>, schema: &'a Json, span: Span, place: &Place<'_>) -> Verdict {
        let least = schema.get("minItems").and_then(Json::as_u64).unwrap_or(0);
        if (items.len() as u64) < least {
            let help = format!("expected {}", self.schema.described(schema));
            self.diagnostics.error_with_help(span, place.path, "the list is empty", help);
            return Remove;
        }
        let Some(item_schema) = schema.get("items") else {
            return Keep;
        };
        let mut index = 0;
        items.retain_mut(|item| {
            let path = join_index(place.path, index);
            index += 1;
            let verdict = self.node(item, item_schema, &Place { path: &path, key: None });
            if verdict == Remove {
                self.removed.insert(path);
                self.removed.insert(place.path.to_owned());
            }
            verdict == Keep
        });
        Keep
    }

    fn string(&mut self, node: &Node, schema: &Json, place: &Place<'_>) -> Verdict {
        let Value::String(text) = &node.value else {
            return Keep;
        };
        if let Some(choices) = choices(schema) {
            return self.choice(node, text, &choices, place);
        }
        if text.is_empty() && schema.get("minLength").and_then(Json::as_u64).unwrap_or(0) > 0 {
            self.diagnostics.error(node.span, place.path, "this cannot be empty");
            return Remove;
        }
        let Some(unit) = schema.get(units::KEYWORD).and_then(Json::as_str) else {
            return Keep;
        };
        match (units::parse_as(unit, text), &node.env) {
            (Ok(()), _) => Keep,
            (Err(error), None) => {
                self.diagnostics.error_with_help(node.span, place.path, error.message, error.help);
                Remove
            }
            (Err(_), Some(_)) => {
                let message = format!("{} is not {}", node.shown(), units::described(unit));
                self.diagnostics.error(node.span, place.path, message);
                Remove
            }
        }
    }

    fn range(&mut self, node: &Node, value: i128, schema: &Json, place: &Place<'_>) -> Verdict {
        let largest = match schema.get("format").and_then(Json::as_str) {
            Some("uint32") => i128::from(u32::MAX),
            _ => i128::from(u64::MAX),
        };
        let limit = |keyword: &str| schema.get(keyword).and_then(Json::as_i64).map(i128::from);
        let least = limit("minimum").unwrap_or(i128::MIN);
        let most = limit("maximum").unwrap_or(largest);
        if (least..=most).contains(&value) {
            return Keep;
        }
        let bound = if value < least { format!("at least {least}") } else { format!("at most {most}") };
        let message = format!("{} is out of range", node.found().trim_start_matches("the number "));
        self.diagnostics.error_with_help(node.span, place.path, message, format!("expected {bound}"));
        Remove
    }

    /// One of several forms: goes into the one that was meant.
    fn choose(&mut self, node: &mut Node, schema: &'a Json, branches: &'a [Json], place: &Place<'_>) -> Verdict {
        let branches: Vec<&'a Json> = branches.iter().map(|branch| self.schema.follow(branch)).collect();
        if branches.iter().any(|branch| is_type(branch, "integer")) {
            read_environment(node, "integer");
        }
        if let Some(choices) = self.schema.all_choices(schema) {
            return match &node.value {
                Value::String(text) => self.choice(node, text, &choices, place),
                _ => self.wrong_type(node, schema, &[schema], place),
            };
        }
        let words: Vec<&str> = branches.iter().filter_map(|branch| self.schema.all_choices(branch)).flatten().collect();
        let fitting = match &node.value {
            Value::Int(_) => branches.iter().find(|branch| is_type(branch, "integer")),
            Value::Seq(_) => branches.iter().find(|branch| is_type(branch, "array")),
            Value::String(text) if words.contains(&text.as_str()) => return Keep,
            Value::String(_) => branches.iter().find(|branch| is_free_string(branch)),
            Value::Map(entries) => {
                let takes = |key: &str| branches.iter().find(|branch| self.takes(branch, key));
                let nothing = |key: &str| words.contains(&key) && takes(key).is_none();
                if let Some((key, _)) = entries.iter().find(|(key, _)| nothing(&key.text)) {
                    let message = format!("{} takes nothing", quote(&key.text));
                    let (path, help) = (join(place.path, &key.text), format!("write just `{}`", key.text));
                    self.diagnostics.error_with_help(key.span, &path, message, help);
                    return Remove;
                }
                let named = entries.iter().find_map(|(key, _)| takes(&key.text));
                let form = named.or_else(|| branches.iter().find(|branch| self.is_map(branch)));
                if named.is_none()
                    && form.is_some_and(|form| forms(form).next().is_some())
                    && let Some((key, _)) = entries.first()
                {
                    // None of several choices with settings was meant more than another.
                    let message = format!("unknown key {}", quote(&key.text));
                    let (path, help) = (join(place.path, &key.text), suggest::help(&key.text, &words));
                    self.diagnostics.error_with_help(key.span, &path, message, help);
                    return Remove;
                }
                form
            }
            _ => None,
        };
        match fitting {
            Some(branch) => self.node(node, branch, place),
            None => self.wrong_type(node, schema, &branches, place),
        }
    }

    /// Whether a form is a map that has this key, or has a form that is one: a choice with settings.
    fn takes(&self, schema: &'a Json, key: &str) -> bool {
        schema.get("properties").is_some_and(|properties| properties.get(key).is_some())
            || forms(schema).any(|form| self.takes(self.schema.follow(form), key))
    }

    /// Whether a form is a map, or has one that is.
    fn is_map(&self, schema: &'a Json) -> bool {
        is_type(schema, "object") || forms(schema).any(|form| self.is_map(self.schema.follow(form)))
    }

    fn choice(&mut self, node: &Node, text: &str, choices: &[&str], place: &Place<'_>) -> Verdict {
        if choices.contains(&text) {
            return Keep;
        }
        if node.env.is_some() {
            let message = format!("{} is not one of the choices", node.shown());
            self.diagnostics.error_with_help(node.span, place.path, message, suggest::expected(choices));
        } else {
            let message = format!("unknown value {}", quote(text));
            self.diagnostics.error_with_help(node.span, place.path, message, suggest::help(text, choices));
        }
        Remove
    }

    fn wrong_type(&mut self, node: &Node, schema: &'a Json, branches: &[&'a Json], place: &Place<'_>) -> Verdict {
        let expected: Vec<String> = branches.iter().map(|branch| self.schema.described(branch)).collect();
        let message = format!("expected {}, found {}", expected.join(" or "), node.found());
        let span = match place.key {
            // A value that is not there has no place of its own.
            Some(key) if !node.is_scalar() || matches!(node.value, Value::Null) => key.span,
            _ => node.span,
        };
        let mut problem = self.diagnostics.problem(span, place.path, message);
        problem.help = remedy(node, schema, branches);
        self.diagnostics.push(problem);
        Remove
    }
}

/// The forms that a value may have.
fn forms(schema: &Json) -> impl Iterator<Item = &Json> {
    ["oneOf", "anyOf"].into_iter().filter_map(|keyword| schema.get(keyword)?.as_array()).flatten()
}

/// What comes from the environment is text; where the schema wants a number or a truth value, it is read as one.
fn read_environment(node: &mut Node, expected: &str) {
    if let (Some(_), Value::String(text)) = (&node.env, &node.value) {
        let text = text.trim();
        let read = match expected {
            "integer" => text.parse::<i128>().ok().map(Value::Int),
            "number" => text.parse::<f64>().ok().filter(|value| value.is_finite()).map(Value::Float),
            "boolean" => text.parse::<bool>().ok().map(Value::Bool),
            _ => None,
        };
        if let Some(value) = read {
            node.value = value;
        }
    }
}
