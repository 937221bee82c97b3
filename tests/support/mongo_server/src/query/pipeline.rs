//! Stages of an aggregation, each from documents to documents.

use bson::{Bson, Document, doc};

use super::{expression, matching::Filter, ordering, path, projection::Projection};
use crate::{
    args::integer,
    error::{Failure, Result},
};

/// Runs the stages in order.
pub(crate) fn run(stages: &[&Document], mut documents: Vec<Document>) -> Result<Vec<Document>> {
    for stage in stages {
        documents = apply(stage, documents)?;
    }
    Ok(documents)
}

/// The stages that an update may consist of, applied to one document.
pub(crate) fn reshape(stages: &[Document], document: Document) -> Result<Document> {
    let stages: Vec<&Document> = stages.iter().collect();
    Ok(run(&stages, vec![document])?.into_iter().next().unwrap_or_default())
}

fn apply(stage: &Document, mut documents: Vec<Document>) -> Result<Vec<Document>> {
    let (Some((name, value)), 1) = (stage.iter().next(), stage.len()) else {
        return Err(Failure::new(40323, "A pipeline stage specification object must contain exactly one field."));
    };
    let object = || value.as_document().ok_or_else(|| Failure::type_mismatch(name, "object"));
    let whole = || integer(value).filter(|value| *value >= 0).ok_or_else(|| Failure::type_mismatch(name, "long"));
    match name.as_str() {
        "$match" => {
            let filter = Filter::parse(object()?)?;
            documents.retain(|document| filter.matches(document));
            Ok(documents)
        }
        "$limit" => {
            documents.truncate(usize::try_from(whole()?).unwrap_or(usize::MAX));
            Ok(documents)
        }
        "$skip" => {
            let count = usize::try_from(whole()?).unwrap_or(usize::MAX).min(documents.len());
            documents.drain(..count);
            Ok(documents)
        }
        "$sort" => {
            let keys = ordering::sort_keys(object()?);
            documents.sort_by(|left, right| ordering::by_keys(left, right, &keys));
            Ok(documents)
        }
        "$project" => {
            let projection = Projection::parse(object()?)?;
            documents.iter().map(|document| projection.apply(document)).collect()
        }
        "$addFields" | "$set" => {
            let fields = object()?;
            for document in &mut documents {
                let before = document.clone();
                for (path, value) in fields {
                    if let Some(value) = expression::evaluate(value, &before)? {
                        *path::place(document, path)? = value;
                    }
                }
            }
            Ok(documents)
        }
        "$unset" => {
            let paths = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
            for document in &mut documents {
                for path in paths.iter().filter_map(Bson::as_str) {
                    path::remove(document, path);
                }
            }
            Ok(documents)
        }
        "$replaceRoot" | "$replaceWith" => {
            let root = if name == "$replaceRoot" { object()?.get("newRoot").unwrap_or(&Bson::Null) } else { value };
            let replace = |document: &Document| match expression::evaluate(root, document)? {
                Some(Bson::Document(inner)) => Ok(inner),
                _ => Err(Failure::new(40228, "'newRoot' must evaluate to an object")),
            };
            documents.iter().map(replace).collect()
        }
        "$unwind" => unwind(value, &documents),
        "$group" => group(object()?, &documents),
        "$count" => {
            let name =
                value.as_str().ok_or_else(|| Failure::new(40156, "the count field must be a non-empty string"))?;
            let count = i32::try_from(documents.len()).unwrap_or(i32::MAX);
            Ok(if documents.is_empty() { Vec::new() } else { vec![doc! { name: count }] })
        }
        _ => Err(Failure::new(40324, format!("Unrecognized pipeline stage name: '{name}'"))),
    }
}

fn unwind(value: &Bson, documents: &[Document]) -> Result<Vec<Document>> {
    let path = value.as_document().and_then(|options| options.get("path")).unwrap_or(value).as_str();
    let Some(path) = path.and_then(|path| path.strip_prefix('$')) else {
        return Err(Failure::new(28818, "path option to $unwind stage should be prefixed with a '$'"));
    };
    let mut unwound = Vec::new();
    for document in documents {
        match path::value(document, path) {
            Some(Bson::Array(items)) => {
                for item in items {
                    let mut single = document.clone();
                    *path::place(&mut single, path)? = item.clone();
                    unwound.push(single);
                }
            }
            None | Some(Bson::Null) => {}
            Some(_) => unwound.push(document.clone()),
        }
    }
    Ok(unwound)
}

fn group(specification: &Document, documents: &[Document]) -> Result<Vec<Document>> {
    let Some(key) = specification.get("_id") else {
        return Err(Failure::new(15955, "a group specification must include an _id"));
    };
    // Groups in the order in which their keys appear; an ordered map finds them again.
    let mut groups: Vec<(Bson, Vec<&Document>)> = Vec::new();
    let mut places: std::collections::BTreeMap<OrderedKey, usize> = std::collections::BTreeMap::new();
    for document in documents {
        let value = expression::evaluate(key, document)?.unwrap_or(Bson::Null);
        let place = *places.entry(OrderedKey(value.clone())).or_insert_with(|| {
            groups.push((value, Vec::new()));
            groups.len() - 1
        });
        if let Some((_, members)) = groups.get_mut(place) {
            members.push(document);
        }
    }
    let mut results = Vec::with_capacity(groups.len());
    for (key, members) in groups {
        let mut result = doc! { "_id": key };
        for (name, accumulator) in specification.iter().filter(|(name, _)| *name != "_id") {
            result.insert(name.clone(), accumulate(name, accumulator, &members)?);
        }
        results.push(result);
    }
    Ok(results)
}

fn accumulate(name: &str, accumulator: &Bson, members: &[&Document]) -> Result<Bson> {
    let Some((operator, operand)) = accumulator.as_document().and_then(|document| document.iter().next()) else {
        return Err(Failure::new(40234, format!("The field '{name}' must be an accumulator object")));
    };
    let values: Vec<Option<Bson>> =
        members.iter().map(|document| expression::evaluate(operand, document)).collect::<Result<_>>()?;
    let present = || values.iter().flatten().filter(|value| !matches!(value, Bson::Null));
    Ok(match operator.as_str() {
        "$sum" => expression::sum(present()),
        "$avg" => expression::average(present()),
        "$min" => present().min_by(|a, b| ordering::compare(a, b)).cloned().unwrap_or(Bson::Null),
        "$max" => present().max_by(|a, b| ordering::compare(a, b)).cloned().unwrap_or(Bson::Null),
        "$push" => Bson::Array(values.into_iter().flatten().collect()),
        "$first" => values.first().cloned().flatten().unwrap_or(Bson::Null),
        "$last" => values.last().cloned().flatten().unwrap_or(Bson::Null),
        "$count" => Bson::Int32(i32::try_from(members.len()).unwrap_or(i32::MAX)),
        "$addToSet" => {
            let mut set: Vec<Bson> = Vec::new();
            for value in values.into_iter().flatten() {
                if !set.iter().any(|known| ordering::equal(known, &value)) {
                    set.push(value);
                }
            }
            Bson::Array(set)
        }
        _ => return Err(Failure::new(15952, format!("unknown group operator '{operator}'"))),
    })
}

/// A value that is a key of an ordered map.
struct OrderedKey(Bson);

impl PartialEq for OrderedKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for OrderedKey {}

impl PartialOrd for OrderedKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for OrderedKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        ordering::compare(&self.0, &other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_accumulated() {
        let documents = vec![doc! { "k": "a", "v": 1 }, doc! { "k": "b", "v": 5 }, doc! { "k": "a", "v": 3 }];
        let stages = [
            doc! { "$match": { "v": { "$lt": 10 } } },
            doc! { "$group": { "_id": "$k", "sum": { "$sum": "$v" }, "avg": { "$avg": "$v" }, "lo": { "$min": "$v" }, "hi": { "$max": "$v" }, "all": { "$push": "$v" }, "n": { "$sum": 1 } } },
            doc! { "$sort": { "_id": 1 } },
        ];
        let stages: Vec<&Document> = stages.iter().collect();
        let groups = run(&stages, documents).unwrap();
        assert_eq!(
            groups.first(),
            Some(&doc! { "_id": "a", "sum": 4, "avg": 2.0, "lo": 1, "hi": 3, "all": [1, 3], "n": 2 })
        );
        assert_eq!(groups.len(), 2);
    }

    #[test]
    fn an_unknown_stage_is_refused() {
        assert_eq!(run(&[&doc! { "$nope": {} }], Vec::new()).unwrap_err().code, 40324);
    }
}
