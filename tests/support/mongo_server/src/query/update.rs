//! Updates: a replacement, or operators.

use std::cmp::Ordering;

use bson::{Bson, DateTime, Document};

use super::{
    matching::{Filter, value_matches},
    ordering::{compare, equal},
    path,
};
use crate::{
    args::{integer, number},
    error::{Failure, Result},
};

/// A parsed update.
#[derive(Debug, Clone)]
pub(crate) enum Update {
    /// The document becomes this one, but keeps its `_id`.
    Replacement(Document),
    /// Changes in order: operator, path, operand.
    Operators(Vec<(Operator, String, Bson)>),
    /// Stages, each a document of expressions.
    Pipeline(Vec<Document>),
}

/// An update operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Set,
    SetOnInsert,
    Unset,
    Increment,
    Multiply,
    Minimum,
    Maximum,
    Push,
    AddToSet,
    Pull,
    Pop,
    Rename,
    CurrentDate,
}

impl Update {
    /// Parses the `u` of an update or the `update` of findAndModify.
    pub(crate) fn parse(update: &Bson) -> Result<Self> {
        let document = match update {
            Bson::Document(document) => document,
            Bson::Array(stages) => {
                let stages: Option<Vec<Document>> = stages.iter().map(|stage| stage.as_document().cloned()).collect();
                return stages.map(Self::Pipeline).ok_or_else(|| Failure::type_mismatch("u", "object"));
            }
            _ => return Err(Failure::type_mismatch("u", "object")),
        };
        if !document.keys().next().is_some_and(|name| name.starts_with('$')) {
            return match document.keys().find(|name| name.starts_with('$')) {
                Some(name) => Err(Failure::new(52, format!("The dollar ($) prefixed field '{name}' is not valid"))),
                None => Ok(Self::Replacement(document.clone())),
            };
        }
        let mut changes = Vec::new();
        for (name, operand) in document {
            let operator = operator(name)?;
            let Bson::Document(fields) = operand else {
                return Err(Failure::failed_to_parse(format!("Modifiers operate on fields but found type for {name}")));
            };
            for (path, operand) in fields {
                if path.split('.').any(|part| part.starts_with('$')) {
                    return Err(Failure::bad_value("the positional operator is not supported by this server"));
                }
                changes.push((operator, path.clone(), operand.clone()));
            }
        }
        Ok(Self::Operators(changes))
    }

    /// Whether `multi` is allowed with it.
    pub(crate) fn is_replacement(&self) -> bool {
        matches!(self, Self::Replacement(_))
    }

    /// The document after the update.
    pub(crate) fn apply(&self, before: &Document, inserting: bool) -> Result<Document> {
        let mut after = match self {
            Self::Replacement(document) => {
                let mut after = Document::new();
                if let Some(id) = document.get("_id").or(before.get("_id")) {
                    after.insert("_id", id.clone());
                }
                after.extend(document.clone());
                after
            }
            Self::Operators(changes) => {
                let mut after = before.clone();
                for (operator, path, operand) in changes {
                    operator.apply(&mut after, path, operand, inserting)?;
                }
                after
            }
            Self::Pipeline(stages) => super::pipeline::reshape(stages, before.clone())?,
        };
        if let (Some(old), Some(new)) = (before.get("_id"), after.get("_id"))
            && !equal(old, new)
        {
            return Err(Failure::new(
                66,
                "Performing an update on the path '_id' would modify the immutable field '_id'",
            ));
        }
        if let (Some(old), None) = (before.get("_id"), after.get("_id")) {
            after.insert("_id", old.clone());
        }
        Ok(after)
    }

    /// The document that an upsert inserts: what the filter demands, then the update; `_id` first.
    pub(crate) fn seed(&self, filter: &Filter) -> Result<Document> {
        let mut seed = Document::new();
        for (path, value) in filter.equalities() {
            if !self.is_replacement() || path == "_id" {
                *path::place(&mut seed, path)? = value.clone();
            }
        }
        let mut after = self.apply(&seed, true)?;
        let id = after.remove("_id").unwrap_or_else(|| Bson::ObjectId(bson::oid::ObjectId::new()));
        let mut document = Document::new();
        document.insert("_id", id);
        document.extend(after);
        Ok(document)
    }
}

fn operator(name: &str) -> Result<Operator> {
    Ok(match name {
        "$set" => Operator::Set,
        "$setOnInsert" => Operator::SetOnInsert,
        "$unset" => Operator::Unset,
        "$inc" => Operator::Increment,
        "$mul" => Operator::Multiply,
        "$min" => Operator::Minimum,
        "$max" => Operator::Maximum,
        "$push" => Operator::Push,
        "$addToSet" => Operator::AddToSet,
        "$pull" => Operator::Pull,
        "$pop" => Operator::Pop,
        "$rename" => Operator::Rename,
        "$currentDate" => Operator::CurrentDate,
        _ => return Err(Failure::failed_to_parse(format!("Unknown modifier: {name}"))),
    })
}

impl Operator {
    fn apply(self, document: &mut Document, path: &str, operand: &Bson, inserting: bool) -> Result<()> {
        match self {
            Self::SetOnInsert if !inserting => {}
            Self::Set | Self::SetOnInsert => *path::place(document, path)? = operand.clone(),
            Self::Unset => {
                path::remove(document, path);
            }
            Self::CurrentDate => *path::place(document, path)? = Bson::DateTime(DateTime::now()),
            Self::Rename => {
                if let (Some(value), Some(target)) = (path::remove(document, path), operand.as_str()) {
                    *path::place(document, target)? = value;
                }
            }
            Self::Increment | Self::Multiply => {
                let place = path::place(document, path)?;
                *place = arithmetic(self, place, operand, path)?;
            }
            Self::Minimum | Self::Maximum => {
                let missing = path::value(document, path).is_none();
                let place = path::place(document, path)?;
                let wanted = if self == Self::Minimum { Ordering::Less } else { Ordering::Greater };
                if missing || compare(operand, place) == wanted {
                    *place = operand.clone();
                }
            }
            Self::Push | Self::AddToSet => {
                let place = path::place(document, path)?;
                if matches!(place, Bson::Null) {
                    *place = Bson::Array(Vec::new());
                }
                let Bson::Array(items) = place else { return Err(not_an_array(path)) };
                add(items, self, operand);
            }
            Self::Pull => match path::value(document, path) {
                None => {}
                Some(Bson::Array(items)) => {
                    let mut kept = Vec::with_capacity(items.len());
                    for item in items {
                        if !value_matches(operand, item)? {
                            kept.push(item.clone());
                        }
                    }
                    *path::place(document, path)? = Bson::Array(kept);
                }
                Some(_) => return Err(not_an_array(path)),
            },
            Self::Pop => {
                if path::value(document, path).is_some() {
                    let Bson::Array(items) = path::place(document, path)? else { return Err(not_an_array(path)) };
                    if integer(operand) == Some(-1) && !items.is_empty() {
                        items.remove(0);
                    } else {
                        items.pop();
                    }
                }
            }
        }
        Ok(())
    }
}

fn not_an_array(path: &str) -> Failure {
    Failure::bad_value(format!("The field '{path}' must be an array"))
}

fn add(items: &mut Vec<Bson>, operator: Operator, operand: &Bson) {
    let each = operand.as_document().filter(|modifiers| modifiers.contains_key("$each"));
    let added = match each {
        Some(modifiers) => modifiers.get_array("$each").cloned().unwrap_or_default(),
        None => vec![operand.clone()],
    };
    for item in added {
        if operator == Operator::Push || !items.iter().any(|known| equal(known, &item)) {
            items.push(item);
        }
    }
    // `$slice` keeps the first or, if negative, the last elements.
    if let Some(slice) = each.and_then(|modifiers| modifiers.get("$slice")).and_then(integer) {
        let keep = usize::try_from(slice.unsigned_abs()).unwrap_or(usize::MAX).min(items.len());
        if slice >= 0 {
            items.truncate(keep);
        } else {
            items.drain(..items.len() - keep);
        }
    }
}

fn arithmetic(operator: Operator, current: &Bson, operand: &Bson, path: &str) -> Result<Bson> {
    let zero = Bson::Int32(0);
    let current = if matches!(current, Bson::Null) { &zero } else { current };
    let (Some(left), Some(right)) = (number(current), number(operand)) else {
        return Err(Failure::new(14, format!("Cannot apply an arithmetic update to the field '{path}': not a number")));
    };
    if let (Some(a), Some(b), false, false) =
        (integer(current), integer(operand), matches!(current, Bson::Double(_)), matches!(operand, Bson::Double(_)))
    {
        let result = if operator == Operator::Increment { a.checked_add(b) } else { a.checked_mul(b) };
        let small = matches!((current, operand), (Bson::Int32(_), Bson::Int32(_)));
        return match result {
            Some(value) if small => Ok(i32::try_from(value).map_or(Bson::Int64(value), Bson::Int32)),
            Some(value) => Ok(Bson::Int64(value)),
            None => Err(Failure::bad_value(format!("arithmetic overflow at '{path}'"))),
        };
    }
    Ok(Bson::Double(if operator == Operator::Increment { left + right } else { left * right }))
}

#[cfg(test)]
mod tests {
    use bson::{bson, doc};

    use super::*;

    fn update(update: Document, before: Document) -> Document {
        Update::parse(&Bson::Document(update)).unwrap().apply(&before, false).unwrap()
    }

    #[test]
    fn operators_change_their_paths() {
        let after = update(
            doc! { "$set": { "a.b": 1 }, "$inc": { "n": 2, "m": 1.5 }, "$unset": { "x": "" }, "$push": { "l": { "$each": [1, 2, 3], "$slice": -2 } } },
            doc! { "_id": 1, "n": 1, "x": 5 },
        );
        assert_eq!(after, doc! { "_id": 1, "n": 3, "a": { "b": 1 }, "m": 1.5, "l": [2, 3] });
    }

    #[test]
    fn sets_minimum_maximum_and_pull() {
        let after = update(
            doc! { "$addToSet": { "s": 1 }, "$min": { "lo": 3 }, "$max": { "hi": 3 }, "$pull": { "l": { "$gt": 1 } }, "$rename": { "o": "p" } },
            doc! { "s": [1], "lo": 5, "hi": 5, "l": [1, 2, 3], "o": true },
        );
        assert_eq!(after, doc! { "s": [1], "lo": 3, "hi": 5, "l": [1], "p": true });
    }

    #[test]
    fn the_id_does_not_change() {
        let replace = Update::parse(&bson!({ "v": 1 })).unwrap();
        assert_eq!(replace.apply(&doc! { "_id": 7, "w": 1 }, false).unwrap(), doc! { "_id": 7, "v": 1 });
        let change = Update::parse(&bson!({ "$set": { "_id": 8 } })).unwrap();
        assert_eq!(change.apply(&doc! { "_id": 7 }, false).unwrap_err().code, 66);
    }

    #[test]
    fn an_upsert_starts_from_the_filter() {
        let filter = Filter::parse(&doc! { "_id": 4, "k": { "$gt": 1 }, "c": "x" }).unwrap();
        let change = Update::parse(&bson!({ "$inc": { "n": 1 }, "$setOnInsert": { "new": true } })).unwrap();
        assert_eq!(change.seed(&filter).unwrap(), doc! { "_id": 4, "c": "x", "n": 1, "new": true });
    }
}
