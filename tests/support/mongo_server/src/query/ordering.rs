//! MongoDB's order of values, across types.

use std::cmp::Ordering;

use bson::{Bson, Document};

use crate::args::number;

/// The class of a value: classes follow each other as MongoDB documents, numbers of every kind share one.
pub(crate) fn class(value: &Bson) -> u8 {
    match value {
        Bson::MinKey => 0,
        Bson::Undefined | Bson::Null => 1,
        Bson::Int32(_) | Bson::Int64(_) | Bson::Double(_) | Bson::Decimal128(_) => 2,
        Bson::String(_) | Bson::Symbol(_) => 3,
        Bson::Document(_) => 4,
        Bson::Array(_) => 5,
        Bson::Binary(_) => 6,
        Bson::ObjectId(_) => 7,
        Bson::Boolean(_) => 8,
        Bson::DateTime(_) => 9,
        Bson::Timestamp(_) => 10,
        Bson::RegularExpression(_) => 11,
        Bson::JavaScriptCode(_) | Bson::JavaScriptCodeWithScope(_) | Bson::DbPointer(_) => 12,
        Bson::MaxKey => 13,
    }
}

/// Total order of values.
pub(crate) fn compare(left: &Bson, right: &Bson) -> Ordering {
    let classes = class(left).cmp(&class(right));
    if classes != Ordering::Equal {
        return classes;
    }
    match (left, right) {
        (Bson::Int32(left), Bson::Int32(right)) => left.cmp(right),
        (Bson::Int64(left), Bson::Int64(right)) => left.cmp(right),
        (Bson::String(left) | Bson::Symbol(left), Bson::String(right) | Bson::Symbol(right)) => left.cmp(right),
        (Bson::Document(left), Bson::Document(right)) => documents(left, right),
        (Bson::Array(left), Bson::Array(right)) => arrays(left, right),
        (Bson::Binary(left), Bson::Binary(right)) => (left.bytes.len(), u8::from(left.subtype), &left.bytes).cmp(&(
            right.bytes.len(),
            u8::from(right.subtype),
            &right.bytes,
        )),
        (Bson::ObjectId(left), Bson::ObjectId(right)) => left.cmp(right),
        (Bson::Boolean(left), Bson::Boolean(right)) => left.cmp(right),
        (Bson::DateTime(left), Bson::DateTime(right)) => left.cmp(right),
        (Bson::Timestamp(left), Bson::Timestamp(right)) => {
            (left.time, left.increment).cmp(&(right.time, right.increment))
        }
        _ => match (number(left), number(right)) {
            (Some(left), Some(right)) => numbers(left, right),
            _ => left.to_string().cmp(&right.to_string()),
        },
    }
}

/// Equality across kinds of numbers.
pub(crate) fn equal(left: &Bson, right: &Bson) -> bool {
    compare(left, right) == Ordering::Equal
}

/// Order of documents under a sort specification such as `{a: 1, b: -1}`; missing sorts as null.
pub(crate) fn by_keys(left: &Document, right: &Document, keys: &[(String, bool)]) -> Ordering {
    for (path, ascending) in keys {
        let order = compare(&sort_key(left, path, *ascending), &sort_key(right, path, *ascending));
        let order = if *ascending { order } else { order.reverse() };
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

/// Keys of a sort specification, with whether they ascend.
pub(crate) fn sort_keys(specification: &Document) -> Vec<(String, bool)> {
    specification.iter().map(|(path, direction)| (path.clone(), number(direction).unwrap_or(1.0) >= 0.0)).collect()
}

// An array sorts by its smallest element when ascending, by its largest when descending.
fn sort_key(document: &Document, path: &str, ascending: bool) -> Bson {
    let mut best: Option<&Bson> = None;
    for value in super::path::values(document, path).into_iter().flatten() {
        let items = match value {
            Bson::Array(items) if !items.is_empty() => items.as_slice(),
            other => std::slice::from_ref(other),
        };
        for item in items {
            let better = best.is_none_or(|best| (compare(item, best) == Ordering::Less) == ascending);
            if better {
                best = Some(item);
            }
        }
    }
    best.cloned().unwrap_or(Bson::Null)
}

// NaN is the smallest number and equal to itself.
fn numbers(left: f64, right: f64) -> Ordering {
    left.partial_cmp(&right).unwrap_or_else(|| right.is_nan().cmp(&left.is_nan()))
}

fn arrays(left: &[Bson], right: &[Bson]) -> Ordering {
    let unequal = left.iter().zip(right).map(|(left, right)| compare(left, right)).find(|order| order.is_ne());
    unequal.unwrap_or_else(|| left.len().cmp(&right.len()))
}

fn documents(left: &Document, right: &Document) -> Ordering {
    for ((left_name, left_value), (right_name, right_value)) in left.iter().zip(right) {
        let order = class(left_value)
            .cmp(&class(right_value))
            .then_with(|| left_name.cmp(right_name))
            .then_with(|| compare(left_value, right_value));
        if order != Ordering::Equal {
            return order;
        }
    }
    left.len().cmp(&right.len())
}

#[cfg(test)]
mod tests {
    use bson::bson;

    use super::*;

    #[test]
    fn numbers_of_every_kind_compare_by_value() {
        assert!(equal(&bson!(1_i32), &bson!(1_i64)));
        assert!(equal(&bson!(1_i32), &bson!(1.0)));
        assert_eq!(compare(&bson!(1_i32), &bson!(1.5)), Ordering::Less);
        assert_eq!(compare(&bson!(f64::NAN), &bson!(-1)), Ordering::Less);
    }

    #[test]
    fn classes_come_before_values() {
        let ascending =
            [Bson::MinKey, Bson::Null, bson!(9), bson!("a"), bson!({}), bson!([]), bson!(true), Bson::MaxKey];
        for (left, right) in ascending.iter().zip(ascending.iter().skip(1)) {
            assert_eq!(compare(left, right), Ordering::Less, "{left} < {right}");
        }
    }

    #[test]
    fn arrays_sort_by_their_smallest_or_largest_element() {
        let (a, b) = (bson::doc! { "v": [5, 1] }, bson::doc! { "v": 3 });
        assert_eq!(by_keys(&a, &b, &[("v".into(), true)]), Ordering::Less);
        assert_eq!(by_keys(&a, &b, &[("v".into(), false)]), Ordering::Less);
    }
}
