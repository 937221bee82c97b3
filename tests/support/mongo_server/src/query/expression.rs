//! The small part of the aggregation expressions that tests need.

use bson::{Bson, Document};

use super::{
    ordering::{compare, equal},
    path,
};
use crate::{
    args::{integer, number, truth},
    error::{Failure, Result},
};

/// The value of an expression; `None` if it is a field that is missing.
pub(crate) fn evaluate(expression: &Bson, document: &Document) -> Result<Option<Bson>> {
    match expression {
        Bson::String(text) => Ok(match text.strip_prefix("$$") {
            Some("ROOT" | "CURRENT") => Some(Bson::Document(document.clone())),
            Some("NOW") => Some(Bson::DateTime(bson::DateTime::now())),
            Some(variable) => match variable.strip_prefix("ROOT.").or(variable.strip_prefix("CURRENT.")) {
                Some(path) => field(document, path),
                None => return Err(Failure::new(17276, format!("Use of undefined variable: {variable}"))),
            },
            None => match text.strip_prefix('$') {
                Some(path) => field(document, path),
                None => Some(expression.clone()),
            },
        }),
        Bson::Array(items) => {
            let values: Result<Vec<_>> =
                items.iter().map(|item| Ok(evaluate(item, document)?.unwrap_or(Bson::Null))).collect();
            Ok(Some(Bson::Array(values?)))
        }
        Bson::Document(inner) => match inner.iter().next() {
            Some((name, operand)) if name.starts_with('$') => operator(name, operand, document).map(Some),
            _ => {
                let mut built = Document::new();
                for (name, value) in inner {
                    if let Some(value) = evaluate(value, document)? {
                        built.insert(name.clone(), value);
                    }
                }
                Ok(Some(Bson::Document(built)))
            }
        },
        other => Ok(Some(other.clone())),
    }
}

// A path through an array collects the values of its elements.
fn field(document: &Document, path: &str) -> Option<Bson> {
    if let Some(value) = path::value(document, path) {
        return Some(value.clone());
    }
    let found: Vec<Bson> = path::values(document, path).into_iter().flatten().cloned().collect();
    if found.is_empty() { None } else { Some(Bson::Array(found)) }
}

fn operator(name: &str, operand: &Bson, document: &Document) -> Result<Bson> {
    if name == "$literal" {
        return Ok(operand.clone());
    }
    let arguments: Vec<Bson> = match operand {
        Bson::Array(items) => {
            items.iter().map(|item| Ok(evaluate(item, document)?.unwrap_or(Bson::Null))).collect::<Result<_>>()?
        }
        other => vec![evaluate(other, document)?.unwrap_or(Bson::Null)],
    };
    let first = arguments.first().cloned().unwrap_or(Bson::Null);
    let second = arguments.get(1).cloned().unwrap_or(Bson::Null);
    let order = || compare(&first, &second);
    Ok(match name {
        "$eq" => Bson::Boolean(equal(&first, &second)),
        "$ne" => Bson::Boolean(!equal(&first, &second)),
        "$gt" => Bson::Boolean(order().is_gt()),
        "$gte" => Bson::Boolean(order().is_ge()),
        "$lt" => Bson::Boolean(order().is_lt()),
        "$lte" => Bson::Boolean(order().is_le()),
        "$and" => Bson::Boolean(arguments.iter().all(|value| truth(Some(value)))),
        "$or" => Bson::Boolean(arguments.iter().any(|value| truth(Some(value)))),
        "$not" => Bson::Boolean(!truth(Some(&first))),
        "$ifNull" => arguments.into_iter().find(|value| !matches!(value, Bson::Null)).unwrap_or(Bson::Null),
        "$cond" => condition(operand, document)?,
        "$concat" => {
            let parts: Option<String> = arguments.iter().map(Bson::as_str).collect();
            parts.map_or(Bson::Null, Bson::String)
        }
        "$toString" => match first {
            Bson::String(text) => Bson::String(text),
            Bson::ObjectId(id) => Bson::String(id.to_hex()),
            Bson::Null => Bson::Null,
            other => Bson::String(other.to_string()),
        },
        "$size" => match first {
            Bson::Array(items) => Bson::Int32(i32::try_from(items.len()).unwrap_or(i32::MAX)),
            _ => return Err(Failure::new(17124, "The argument to $size must be an array")),
        },
        "$add" | "$sum" => sum(flatten(&arguments)),
        "$multiply" => fold(&arguments, i64::checked_mul, |a, b| a * b),
        "$subtract" => fold(&arguments, i64::checked_sub, |a, b| a - b),
        "$divide" => match (number(&first), number(&second)) {
            (Some(left), Some(right)) if right != 0.0 => Bson::Double(left / right),
            _ => return Err(Failure::bad_value("can't $divide by zero")),
        },
        "$mod" => match (integer(&first), integer(&second)) {
            (Some(left), Some(right)) => left.checked_rem(right).map_or(Bson::Null, Bson::Int64),
            _ => Bson::Null,
        },
        "$min" => flatten(&arguments).min_by(|a, b| compare(a, b)).cloned().unwrap_or(Bson::Null),
        "$max" => flatten(&arguments).max_by(|a, b| compare(a, b)).cloned().unwrap_or(Bson::Null),
        "$avg" => average(flatten(&arguments)),
        _ => return Err(Failure::new(168, format!("Unrecognized expression '{name}'"))),
    })
}

fn condition(operand: &Bson, document: &Document) -> Result<Bson> {
    let (test, yes, no) = match operand {
        Bson::Array(items) => (items.first(), items.get(1), items.get(2)),
        Bson::Document(parts) => (parts.get("if"), parts.get("then"), parts.get("else")),
        _ => return Err(Failure::new(17080, "$cond needs three arguments")),
    };
    let (Some(test), Some(yes), Some(no)) = (test, yes, no) else {
        return Err(Failure::new(17080, "$cond needs three arguments"));
    };
    let chosen = if truth(evaluate(test, document)?.as_ref()) { yes } else { no };
    Ok(evaluate(chosen, document)?.unwrap_or(Bson::Null))
}

fn flatten(arguments: &[Bson]) -> impl Iterator<Item = &Bson> {
    let items = match arguments {
        [Bson::Array(items)] => items.as_slice(),
        other => other,
    };
    items.iter().filter(|value| !matches!(value, Bson::Null))
}

/// The sum of whatever numbers there are, in the widest kind among them.
pub(crate) fn sum<'a>(values: impl Iterator<Item = &'a Bson>) -> Bson {
    let mut total = Bson::Int32(0);
    for value in values.filter(|value| number(value).is_some()) {
        total = combine(&total, value, i64::checked_add, |a, b| a + b);
    }
    total
}

/// The mean of whatever numbers there are, or null.
pub(crate) fn average<'a>(values: impl Iterator<Item = &'a Bson>) -> Bson {
    let numbers: Vec<f64> = values.filter_map(number).collect();
    if numbers.is_empty() { Bson::Null } else { Bson::Double(numbers.iter().sum::<f64>() / numbers.len() as f64) }
}

fn fold(values: &[Bson], exact: fn(i64, i64) -> Option<i64>, float: fn(f64, f64) -> f64) -> Bson {
    let mut values = values.iter();
    let Some(first) = values.next() else { return Bson::Null };
    values.fold(first.clone(), |total, value| combine(&total, value, exact, float))
}

fn combine(left: &Bson, right: &Bson, exact: fn(i64, i64) -> Option<i64>, float: fn(f64, f64) -> f64) -> Bson {
    let whole = |value: &Bson| match value {
        Bson::Int32(value) => Some(i64::from(*value)),
        Bson::Int64(value) => Some(*value),
        _ => None,
    };
    if let (Some(a), Some(b)) = (whole(left), whole(right))
        && let Some(result) = exact(a, b)
    {
        let wide = matches!(left, Bson::Int64(_)) || matches!(right, Bson::Int64(_));
        return match i32::try_from(result) {
            Ok(small) if !wide => Bson::Int32(small),
            _ => Bson::Int64(result),
        };
    }
    match (number(left), number(right)) {
        (Some(a), Some(b)) => Bson::Double(float(a, b)),
        _ => Bson::Null,
    }
}
