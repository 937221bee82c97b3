//! Parsing of conditions: what stands behind a field's name in a filter.

use std::cmp::Ordering;

use bson::{Bson, Document};
use regex_lite::{Regex, RegexBuilder};

use super::matching::{Filter, Test};
use crate::{
    args::{integer, truth},
    error::{Failure, Result},
};

/// Whether a document is a set of operators rather than a value.
pub(super) fn is_operators(document: &Document) -> bool {
    document.keys().next().is_some_and(|name| name.starts_with('$') && !matches!(name.as_str(), "$ref" | "$id" | "$db"))
}

/// The conditions in `{$gt: 3, ...}`, or equality with any other value.
pub(super) fn tests(condition: &Bson) -> Result<Vec<Test>> {
    let Bson::Document(operators) = condition else { return Ok(vec![member(condition)?]) };
    if !is_operators(operators) {
        return Ok(vec![Test::Equal(condition.clone())]);
    }
    let mut found = Vec::with_capacity(operators.len());
    for (name, value) in operators {
        let list = || match value {
            Bson::Array(items) => items.iter().map(member).collect::<Result<Vec<_>>>(),
            _ => Err(Failure::bad_value(format!("{name} needs an array"))),
        };
        found.push(match name.as_str() {
            "$eq" => Test::Equal(value.clone()),
            "$ne" => Test::Not(vec![Test::Equal(value.clone())]),
            "$gt" => Test::Order(value.clone(), Ordering::is_gt),
            "$gte" => Test::Order(value.clone(), Ordering::is_ge),
            "$lt" => Test::Order(value.clone(), Ordering::is_lt),
            "$lte" => Test::Order(value.clone(), Ordering::is_le),
            "$in" => Test::In(list()?),
            "$nin" => Test::Not(vec![Test::In(list()?)]),
            "$all" => Test::All(list()?),
            "$not" => Test::Not(tests(value)?),
            "$exists" => Test::Exists(truth(Some(value))),
            "$size" => Test::Size(integer(value).ok_or_else(|| Failure::bad_value("$size must be a whole number"))?),
            "$type" => Test::Type(types(value)?),
            "$mod" => modulo(value)?,
            "$elemMatch" => match value {
                Bson::Document(inner) if is_operators(inner) && !inner.keys().any(|name| logical(name)) => {
                    Test::ElementTests(tests(value)?)
                }
                Bson::Document(inner) => Test::Element(Filter::parse(inner)?),
                _ => return Err(Failure::bad_value("$elemMatch needs an Object")),
            },
            "$regex" => Test::Matches(match value {
                Bson::RegularExpression(regex) => {
                    let options = operators.get_str("$options").unwrap_or(regex.options.as_str());
                    pattern(regex.pattern.as_str(), options)?
                }
                Bson::String(text) => pattern(text, operators.get_str("$options").unwrap_or_default())?,
                _ => return Err(Failure::bad_value("$regex has to be a string")),
            }),
            "$options" if operators.contains_key("$regex") => continue,
            "$comment" => continue,
            _ => return Err(Failure::bad_value(format!("unknown operator: {name}"))),
        });
    }
    Ok(found)
}

fn logical(name: &str) -> bool {
    matches!(name, "$and" | "$or" | "$nor" | "$expr")
}

fn member(value: &Bson) -> Result<Test> {
    match value {
        Bson::RegularExpression(regex) => Ok(Test::Matches(pattern(regex.pattern.as_str(), regex.options.as_str())?)),
        other => Ok(Test::Equal(other.clone())),
    }
}

fn pattern(text: &str, options: &str) -> Result<Regex> {
    RegexBuilder::new(text)
        .case_insensitive(options.contains('i'))
        .multi_line(options.contains('m'))
        .dot_matches_new_line(options.contains('s'))
        .ignore_whitespace(options.contains('x'))
        .build()
        .map_err(|error| Failure::new(51091, format!("Regular expression is invalid: {error}")))
}

fn modulo(value: &Bson) -> Result<Test> {
    match value.as_array().map(Vec::as_slice) {
        Some([divisor, remainder]) => match (integer(divisor), integer(remainder)) {
            (Some(divisor), Some(remainder)) if divisor != 0 => Ok(Test::Modulo(divisor, remainder)),
            _ => Err(Failure::bad_value("divisor cannot be 0")),
        },
        _ => Err(Failure::bad_value("malformed mod, needs to be an array of two numbers")),
    }
}

fn types(value: &Bson) -> Result<Vec<u8>> {
    let items = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    let mut found = Vec::new();
    for item in items {
        match item {
            Bson::String(name) => match name.as_str() {
                "double" => found.push(1),
                "string" => found.push(2),
                "object" => found.push(3),
                "array" => found.push(4),
                "binData" => found.push(5),
                "objectId" => found.push(7),
                "bool" => found.push(8),
                "date" => found.push(9),
                "null" => found.push(10),
                "regex" => found.push(11),
                "int" => found.push(16),
                "timestamp" => found.push(17),
                "long" => found.push(18),
                "decimal" => found.push(19),
                "number" => found.extend([1, 16, 18, 19]),
                _ => return Err(Failure::bad_value(format!("Unknown type name alias: {name}"))),
            },
            other => match integer(other).and_then(|number| u8::try_from(number).ok()) {
                Some(number) => found.push(number),
                None => return Err(Failure::bad_value("type must be represented as a number or a string")),
            },
        }
    }
    Ok(found)
}
