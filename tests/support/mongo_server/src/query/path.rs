//! Dotted paths through documents and arrays.

use bson::{Bson, Document};

use crate::error::{Failure, Result};

/// Every value that `path` reaches, through arrays of documents as well; `None` stands for a place where it is missing.
pub(crate) fn values<'a>(document: &'a Document, path: &str) -> Vec<Option<&'a Bson>> {
    let mut found = Vec::with_capacity(1);
    walk(document, path, &mut found);
    found
}

fn walk<'a>(document: &'a Document, path: &str, found: &mut Vec<Option<&'a Bson>>) {
    let Some((head, tail)) = path.split_once('.') else {
        found.push(document.get(path));
        return;
    };
    match document.get(head) {
        Some(Bson::Document(inner)) => walk(inner, tail, found),
        Some(Bson::Array(items)) => walk_array(items, tail, found),
        _ => found.push(None),
    }
}

fn walk_array<'a>(items: &'a [Bson], path: &str, found: &mut Vec<Option<&'a Bson>>) {
    let (head, tail) = path.split_once('.').map_or((path, None), |(head, tail)| (head, Some(tail)));
    if let Some(item) = head.parse::<usize>().ok().and_then(|index| items.get(index)) {
        match (item, tail) {
            (item, None) => found.push(Some(item)),
            (Bson::Document(inner), Some(tail)) => walk(inner, tail, found),
            (Bson::Array(inner), Some(tail)) => walk_array(inner, tail, found),
            _ => found.push(None),
        }
    }
    for item in items {
        if let Bson::Document(inner) = item {
            walk(inner, path, found);
        }
    }
}

/// The single value at `path`: only documents, and arrays by index, are entered.
pub(crate) fn value<'a>(document: &'a Document, path: &str) -> Option<&'a Bson> {
    let mut parts = path.split('.');
    let mut current = document.get(parts.next()?)?;
    for part in parts {
        current = match current {
            Bson::Document(inner) => inner.get(part)?,
            Bson::Array(items) => items.get(part.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(current)
}

/// The place at `path`, made if it is missing (as `Null`).
pub(crate) fn place<'a>(document: &'a mut Document, path: &str) -> Result<&'a mut Bson> {
    let mut parts = path.split('.');
    let first = parts.next().unwrap_or_default();
    let mut current = document.entry(first).or_insert(Bson::Null);
    for part in parts {
        if matches!(current, Bson::Null) {
            *current = Bson::Document(Document::new());
        }
        current = match current {
            Bson::Document(inner) => inner.entry(part).or_insert(Bson::Null),
            Bson::Array(items) => match part.parse::<usize>() {
                Ok(index) if index < 100_000 => {
                    if items.len() <= index {
                        items.resize(index + 1, Bson::Null);
                    }
                    items.get_mut(index).ok_or_else(|| Failure::bad_value("array index"))?
                }
                _ => return Err(Failure::new(28, format!("Cannot create field '{part}' in an array"))),
            },
            _ => return Err(Failure::new(28, format!("Cannot create field '{part}' in element {{{first}}}"))),
        };
    }
    Ok(current)
}

/// Removes what is at `path`; inside of an array it leaves `Null`.
pub(crate) fn remove(document: &mut Document, path: &str) -> Option<Bson> {
    let Some((parents, last)) = path.rsplit_once('.') else { return document.remove(path) };
    let mut parts = parents.split('.');
    let mut current = document.get_mut(parts.next()?)?;
    for part in parts {
        current = match current {
            Bson::Document(inner) => inner.get_mut(part)?,
            Bson::Array(items) => items.get_mut(part.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    match current {
        Bson::Document(inner) => inner.remove(last),
        Bson::Array(items) => Some(std::mem::take(items.get_mut(last.parse::<usize>().ok()?)?)),
        _ => None,
    }
}
