//! Projections of find, findAndModify and `$project`: fields in, fields out, computed fields.

use bson::{Bson, Document};

use super::{expression, path};
use crate::{
    args::{integer, number, truth},
    error::{Failure, Result},
};

/// A parsed projection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Projection {
    mode: Mode,
    keep_id: bool,
    paths: Vec<String>,
    computed: Vec<(String, Bson)>,
    slices: Vec<(String, i64)>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Everything,
    Include,
    Exclude,
}

impl Projection {
    /// Parses a projection; an empty one keeps everything.
    pub(crate) fn parse(specification: &Document) -> Result<Self> {
        let mut projection = Self { keep_id: true, ..Self::default() };
        for (name, value) in specification {
            match value {
                Bson::Document(operator) if operator.contains_key("$slice") => {
                    projection.slices.push((name.clone(), operator.get("$slice").and_then(integer).unwrap_or(0)));
                }
                Bson::Document(operator) if operator.keys().next().is_some_and(|key| key.starts_with('$')) => {
                    projection.computed.push((name.clone(), value.clone()));
                }
                Bson::String(_) | Bson::Array(_) => projection.computed.push((name.clone(), value.clone())),
                Bson::Document(nested) => {
                    for (inner, value) in nested {
                        projection.add(format!("{name}.{inner}"), truth(Some(value)))?;
                    }
                }
                Bson::Boolean(_) => projection.add(name.clone(), truth(Some(value)))?,
                _ if number(value).is_some() => projection.add(name.clone(), truth(Some(value)))?,
                _ => return Err(Failure::bad_value(format!("projection of '{name}' is not supported"))),
            }
        }
        if projection.paths.is_empty() && !projection.computed.is_empty() {
            projection.mode = Mode::Include;
        }
        Ok(projection)
    }

    fn add(&mut self, path: String, include: bool) -> Result<()> {
        if path == "_id" {
            self.keep_id = include;
            if include && self.mode == Mode::Everything {
                self.mode = Mode::Include;
            } else if !include && self.mode == Mode::Everything {
                self.mode = Mode::Exclude;
            }
            return Ok(());
        }
        let mode = if include { Mode::Include } else { Mode::Exclude };
        // `{_id: 0}` alone excludes; followed by an inclusion it is one.
        if self.mode == Mode::Everything || (self.mode == Mode::Exclude && self.paths.is_empty()) || self.mode == mode {
            self.mode = mode;
            self.paths.push(path);
            return Ok(());
        }
        Err(Failure::new(31254, format!("Cannot mix inclusion and exclusion at '{path}'")))
    }

    /// The projected document.
    pub(crate) fn apply(&self, document: &Document) -> Result<Document> {
        let mut projected = match self.mode {
            Mode::Everything => document.clone(),
            Mode::Include => {
                let mut kept = Document::new();
                for (name, value) in document {
                    if name == "_id" {
                        if self.keep_id {
                            kept.insert(name.clone(), value.clone());
                        }
                        continue;
                    }
                    if let Some(value) = include(value, &inner_paths(&self.paths, name)) {
                        kept.insert(name.clone(), value);
                    }
                }
                kept
            }
            Mode::Exclude => {
                let mut kept = document.clone();
                if !self.keep_id {
                    kept.remove("_id");
                }
                for path in &self.paths {
                    exclude(&mut kept, path);
                }
                kept
            }
        };
        for (path, value) in &self.computed {
            if let Some(value) = expression::evaluate(value, document)? {
                *path::place(&mut projected, path)? = value;
            }
        }
        for (path, count) in &self.slices {
            if let Some(Bson::Array(items)) = projected.get_mut(path) {
                let keep = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX).min(items.len());
                if *count >= 0 {
                    items.truncate(keep);
                } else {
                    items.drain(..items.len() - keep);
                }
            }
        }
        Ok(projected)
    }
}

// What of `paths` lies below `name`: an empty path means the whole value.
fn inner_paths<'a>(paths: &'a [String], name: &str) -> Vec<&'a str> {
    let below = |path: &'a String| {
        let rest = path.strip_prefix(name)?;
        if rest.is_empty() { Some(rest) } else { rest.strip_prefix('.') }
    };
    paths.iter().filter_map(below).collect()
}

fn include(value: &Bson, paths: &[&str]) -> Option<Bson> {
    if paths.is_empty() {
        return None;
    }
    if paths.contains(&"") {
        return Some(value.clone());
    }
    match value {
        Bson::Document(inner) => {
            let owned: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
            let kept = inner
                .iter()
                .filter_map(|(name, value)| Some((name.clone(), include(value, &inner_paths(&owned, name))?)));
            Some(Bson::Document(kept.collect()))
        }
        Bson::Array(items) => Some(Bson::Array(items.iter().filter_map(|item| include(item, paths)).collect())),
        _ => None,
    }
}

fn exclude(document: &mut Document, path: &str) {
    let Some((head, tail)) = path.split_once('.') else {
        document.remove(path);
        return;
    };
    match document.get_mut(head) {
        Some(Bson::Document(inner)) => exclude(inner, tail),
        Some(Bson::Array(items)) => {
            for item in items {
                if let Bson::Document(inner) = item {
                    exclude(inner, tail);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    fn project(specification: Document, document: Document) -> Document {
        Projection::parse(&specification).unwrap().apply(&document).unwrap()
    }

    #[test]
    fn fields_are_kept_or_dropped() {
        let document = doc! { "_id": 1, "a": { "b": 1, "c": 2 }, "d": [ { "e": 1, "f": 2 } ], "g": 3 };
        assert_eq!(project(doc! { "a.b": 1, "_id": 0 }, document.clone()), doc! { "a": { "b": 1 } });
        assert_eq!(project(doc! { "_id": 0, "g": 1 }, document.clone()), doc! { "g": 3 });
        assert_eq!(project(doc! { "_id": 1 }, document.clone()), doc! { "_id": 1 });
        assert_eq!(
            project(doc! { "d.e": 0, "a": 0 }, document.clone()),
            doc! { "_id": 1, "d": [ { "f": 2 } ], "g": 3 }
        );
        assert_eq!(project(doc! { "_id": 0, "x": "$a.c" }, document.clone()), doc! { "x": 2 });
        assert_eq!(project(doc! {}, document.clone()), document);
        assert!(Projection::parse(&doc! { "a": 1, "g": 0 }).is_err());
    }
}
