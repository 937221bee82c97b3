//! Laws of the order of values, and parsers that survive everything.

use std::cmp::Ordering;

use bson::{Bson, Document};
use proptest::prelude::*;

use super::{matching::Filter, ordering::compare, projection::Projection, update::Update};

fn value() -> impl Strategy<Value = Bson> {
    let leaf = prop_oneof![
        Just(Bson::Null),
        Just(Bson::MinKey),
        Just(Bson::MaxKey),
        any::<bool>().prop_map(Bson::Boolean),
        (-3..3_i32).prop_map(Bson::Int32),
        (-3..3_i64).prop_map(Bson::Int64),
        prop_oneof![Just(f64::NAN), Just(-0.0), Just(1.0), Just(1.5)].prop_map(Bson::Double),
        "[ab]{0,2}".prop_map(Bson::String),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Bson::Array),
            document_of("[ab]", inner).prop_map(Bson::Document),
        ]
    })
}

fn document_of(names: &'static str, inner: impl Strategy<Value = Bson>) -> impl Strategy<Value = Document> {
    prop::collection::vec((names, inner), 0..3).prop_map(|fields| fields.into_iter().collect())
}

const NAMES: &str = "a|b|a\\.b|a\\.0|_id|\\$(and|or|nor|not|in|gt|lt|all|size|mod|type|exists|elemMatch|regex|set|inc|push|pull|unset|each|slice|add)";

fn language() -> impl Strategy<Value = Document> {
    let inner = value().prop_recursive(3, 24, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Bson::Array),
            document_of(NAMES, inner).prop_map(Bson::Document),
        ]
    });
    document_of(NAMES, inner)
}

proptest! {
    #[test]
    fn the_order_is_total(a in value(), b in value(), c in value()) {
        prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
        prop_assert_eq!(compare(&a, &a), Ordering::Equal);
        if compare(&a, &b).is_le() && compare(&b, &c).is_le() {
            prop_assert!(compare(&a, &c).is_le());
        }
    }

    #[test]
    fn every_command_language_is_survived(text in language(), document in document_of("a|b|_id", value())) {
        if let Ok(filter) = Filter::parse(&text) {
            let _ = filter.matches(&document);
            // A lookup by `_id` never finds what the filter refuses, and never misses what it accepts.
            if let (Some(ids), true) = (filter.ids(), filter.matches(&document)) {
                let id = document.get("_id").unwrap_or(&Bson::Null);
                prop_assert!(ids.iter().any(|wanted| compare(wanted, id).is_eq()) || matches!(id, Bson::Array(_)));
            }
        }
        if let Ok(update) = Update::parse(&Bson::Document(text.clone())) {
            let _ = update.apply(&document, true);
        }
        if let Ok(projection) = Projection::parse(&text) {
            let _ = projection.apply(&document);
        }
    }
}
