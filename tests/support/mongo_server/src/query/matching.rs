//! Filters of find, update, delete and `$match`: parsed once, then applied to many documents.

use std::cmp::Ordering;

use bson::{Bson, Document};
use regex_lite::Regex;

use super::{
    condition::{is_operators, tests},
    ordering::{class, compare, equal},
    path,
};
use crate::{
    args::{number, truth},
    error::{Failure, Result},
};

/// A parsed filter: every clause must hold.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    clauses: Vec<Clause>,
}

#[derive(Debug, Clone)]
enum Clause {
    Field { path: String, tests: Vec<Test> },
    Any(Vec<Filter>),
    All(Vec<Filter>),
    None(Vec<Filter>),
    Expression(Bson),
}

/// One condition on the values that a path reaches.
#[derive(Debug, Clone)]
pub(super) enum Test {
    Equal(Bson),
    Order(Bson, fn(Ordering) -> bool),
    In(Vec<Test>),
    Not(Vec<Test>),
    Exists(bool),
    Matches(Regex),
    Size(i64),
    All(Vec<Test>),
    Element(Filter),
    ElementTests(Vec<Test>),
    Type(Vec<u8>),
    Modulo(i64, i64),
}

impl Filter {
    /// Parses a filter document.
    pub(crate) fn parse(filter: &Document) -> Result<Self> {
        let mut clauses = Vec::with_capacity(filter.len());
        for (name, value) in filter {
            match name.as_str() {
                "$and" => clauses.push(Clause::All(Self::list(name, value)?)),
                "$or" => clauses.push(Clause::Any(Self::list(name, value)?)),
                "$nor" => clauses.push(Clause::None(Self::list(name, value)?)),
                "$expr" => clauses.push(Clause::Expression(value.clone())),
                "$comment" => {}
                _ if name.starts_with('$') => {
                    return Err(Failure::bad_value(format!("unknown top level operator: {name}")));
                }
                _ => clauses.push(Clause::Field { path: name.clone(), tests: tests(value)? }),
            }
        }
        Ok(Self { clauses })
    }

    fn list(name: &str, value: &Bson) -> Result<Vec<Self>> {
        let Some(items) = value.as_array().filter(|items| !items.is_empty()) else {
            return Err(Failure::bad_value(format!("{name} must be a nonempty array")));
        };
        let parse = |item: &Bson| match item {
            Bson::Document(filter) => Self::parse(filter),
            _ => Err(Failure::bad_value(format!("{name} argument's entries must be objects"))),
        };
        items.iter().map(parse).collect()
    }

    /// Whether the document satisfies the filter.
    pub(crate) fn matches(&self, document: &Document) -> bool {
        self.clauses.iter().all(|clause| match clause {
            Clause::Field { path, tests } => {
                let values = path::values(document, path);
                tests.iter().all(|test| test.holds(&values))
            }
            Clause::Any(filters) => filters.iter().any(|filter| filter.matches(document)),
            Clause::All(filters) => filters.iter().all(|filter| filter.matches(document)),
            Clause::None(filters) => !filters.iter().any(|filter| filter.matches(document)),
            Clause::Expression(expression) => {
                super::expression::evaluate(expression, document).is_ok_and(|value| truth(value.as_ref()))
            }
        })
    }

    /// The values that `_id` must be one of, if the filter says so: they are looked up instead of scanned for.
    pub(crate) fn ids(&self) -> Option<Vec<&Bson>> {
        self.clauses.iter().find_map(|clause| match clause {
            Clause::Field { path, tests } if path == "_id" => tests.iter().find_map(|test| match test {
                Test::Equal(value) if !matches!(value, Bson::Array(_)) => Some(vec![value]),
                Test::In(members) => members
                    .iter()
                    .map(|member| match member {
                        Test::Equal(value) => Some(value),
                        _ => None,
                    })
                    .collect(),
                _ => None,
            }),
            Clause::All(filters) => filters.iter().find_map(Self::ids),
            _ => None,
        })
    }

    /// Fields that an upsert takes over from the filter.
    pub(crate) fn equalities(&self) -> Vec<(&str, &Bson)> {
        let mut found = Vec::new();
        for clause in &self.clauses {
            match clause {
                Clause::Field { path, tests } => found.extend(tests.iter().filter_map(|test| match test {
                    Test::Equal(value) => Some((path.as_str(), value)),
                    _ => None,
                })),
                Clause::All(filters) => found.extend(filters.iter().flat_map(Self::equalities)),
                _ => {}
            }
        }
        found
    }
}

/// Whether a single value satisfies a condition such as `{$gt: 3}` or `"a"`; `$pull` uses it.
pub(crate) fn value_matches(condition: &Bson, value: &Bson) -> Result<bool> {
    if let (Bson::Document(condition), Bson::Document(value)) = (condition, value)
        && !is_operators(condition)
    {
        return Ok(Filter::parse(condition)?.matches(value));
    }
    let found = [Some(value)];
    Ok(tests(condition)?.iter().all(|test| test.holds(&found)))
}

impl Test {
    fn holds(&self, values: &[Option<&Bson>]) -> bool {
        match self {
            Self::Exists(wanted) => values.iter().any(Option::is_some) == *wanted,
            Self::Not(tests) => !tests.iter().all(|test| test.holds(values)),
            Self::In(members) => members.iter().any(|member| member.holds(values)),
            Self::All(members) => !members.is_empty() && members.iter().all(|member| member.holds(values)),
            Self::Size(size) => {
                values.iter().flatten().any(|value| value.as_array().is_some_and(|items| items.len() as i64 == *size))
            }
            Self::Element(filter) => values.iter().flatten().any(|value| {
                let items = value.as_array().map_or(&[][..], Vec::as_slice);
                items.iter().any(|item| item.as_document().is_some_and(|inner| filter.matches(inner)))
            }),
            Self::ElementTests(tests) => values.iter().flatten().any(|value| {
                let items = value.as_array().map_or(&[][..], Vec::as_slice);
                items.iter().any(|item| tests.iter().all(|test| test.holds(&[Some(item)])))
            }),
            _ => values.iter().any(|value| self.holds_for(*value)),
        }
    }

    // A value, or any element of it if it is an array.
    fn holds_for(&self, value: Option<&Bson>) -> bool {
        if self.holds_exactly(value) {
            return true;
        }
        match value {
            Some(Bson::Array(items)) => items.iter().any(|item| self.holds_exactly(Some(item))),
            _ => false,
        }
    }

    fn holds_exactly(&self, value: Option<&Bson>) -> bool {
        match (self, value) {
            (Self::Equal(Bson::Null), None | Some(Bson::Undefined)) => true,
            (Self::Equal(wanted), Some(value)) => equal(wanted, value),
            (Self::Order(bound, accept), Some(value)) => class(bound) == class(value) && accept(compare(value, bound)),
            (Self::Order(Bson::Null, accept), None) => accept(Ordering::Equal),
            (Self::Matches(regex), Some(Bson::String(text) | Bson::Symbol(text))) => regex.is_match(text),
            (Self::Type(types), Some(value)) => types.contains(&(value.element_type() as u8)),
            (Self::Modulo(divisor, remainder), Some(value)) => {
                number(value).is_some_and(|value| (value as i64).checked_rem(*divisor) == Some(*remainder))
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    fn matches(filter: Document, document: Document) -> bool {
        Filter::parse(&filter).unwrap().matches(&document)
    }

    #[test]
    fn comparisons_stay_inside_a_class() {
        assert!(matches(doc! { "a": { "$gt": 3, "$lte": 5 } }, doc! { "a": 5_i64 }));
        assert!(!matches(doc! { "a": { "$gt": 3 } }, doc! { "a": "z" }));
        assert!(!matches(doc! { "a": { "$gt": 3 } }, doc! {}));
    }

    #[test]
    fn null_equals_missing_and_ne_is_its_opposite() {
        assert!(matches(doc! { "a": null }, doc! {}));
        assert!(matches(doc! { "a.b": null }, doc! { "a": 1 }));
        assert!(!matches(doc! { "a": { "$ne": null } }, doc! {}));
        assert!(matches(doc! { "a": { "$exists": false } }, doc! { "b": 1 }));
    }

    #[test]
    fn paths_go_through_arrays() {
        let document = doc! { "a": [ { "b": 1 }, { "b": [2, 3] } ], "tags": ["x", "y"] };
        assert!(matches(doc! { "a.b": 1 }, document.clone()));
        assert!(matches(doc! { "a.b": 3 }, document.clone()));
        assert!(matches(doc! { "a.0.b": 1 }, document.clone()));
        assert!(!matches(doc! { "a.1.b": 1 }, document.clone()));
        assert!(matches(doc! { "tags": { "$in": ["q", "y"] } }, document.clone()));
        assert!(matches(doc! { "tags": { "$all": ["x", "y"], "$size": 2 } }, document.clone()));
        assert!(matches(doc! { "a": { "$elemMatch": { "b": 1 } } }, document.clone()));
        assert!(!matches(doc! { "tags": { "$nin": ["x"] } }, document));
    }

    #[test]
    fn logic_and_patterns() {
        let document = doc! { "n": "Alice", "k": 4 };
        assert!(matches(
            doc! { "$or": [ { "k": 1 }, { "n": { "$regex": "^al", "$options": "i" } } ] },
            document.clone()
        ));
        assert!(matches(doc! { "$nor": [ { "k": 1 } ], "$and": [ { "k": { "$mod": [2, 0] } } ] }, document.clone()));
        assert!(matches(doc! { "k": { "$not": { "$gt": 4 } }, "n": { "$type": "string" } }, document.clone()));
        assert!(matches(doc! { "$expr": { "$eq": ["$k", 4] } }, document));
        assert!(Filter::parse(&doc! { "a": { "$nope": 1 } }).is_err());
        assert!(Filter::parse(&doc! { "$where": "1" }).is_err());
    }

    #[test]
    fn ids_are_found_where_a_lookup_is_enough() {
        let filter = Filter::parse(&doc! { "_id": 3, "a": 1 }).unwrap();
        assert_eq!(filter.ids(), Some(vec![&Bson::Int32(3)]));
        let filter = Filter::parse(&doc! { "_id": { "$in": [1, 2] } }).unwrap();
        assert_eq!(filter.ids().unwrap().len(), 2);
        assert_eq!(Filter::parse(&doc! { "_id": { "$gt": 2 } }).unwrap().ids(), None);
    }
}
