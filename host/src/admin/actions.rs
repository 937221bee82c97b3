//! What callers can change.

use std::sync::{Arc, atomic::Ordering};

use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};

use super::Admin;
use crate::{
    config::Report,
    reload::{
        keeper::{self, RollbackError},
        proxy::Applied,
    },
};

/// An answer: its status, and what it says.
pub(super) type Answer = (StatusCode, Value);

/// What somebody wants of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Reload,
    /// Only to know what a reload would do.
    Difference,
    /// The generation before, or this one.
    Rollback(Option<u64>),
    /// Control planes are followed again.
    Release,
    Drain,
}

impl Wish {
    /// What is not understood is not ignored: it may have been meant to prevent something.
    fn read(path: &str, query: &str) -> Result<Self, String> {
        let (mut wish, known) = match path {
            "/reload" => (Self::Reload, Some("dry_run")),
            "/rollback" => (Self::Rollback(None), Some("to")),
            "/release" => (Self::Release, None),
            _ => (Self::Drain, None),
        };
        for (count, pair) in query.split('&').filter(|pair| !pair.is_empty()).enumerate() {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if known != Some(key) {
                let only = known.map(|known| format!("; `{known}` is the only one")).unwrap_or_default();
                return Err(format!("there is no parameter `{key}`{only}"));
            }
            if count > 0 {
                return Err(format!("`{key}` is given twice"));
            }
            wish = match (wish, value) {
                (Self::Reload, "true") => Self::Difference,
                (Self::Reload, "false") => Self::Reload,
                (Self::Rollback(_), value) => match value.parse() {
                    Ok(generation) => Self::Rollback(Some(generation)),
                    Err(_) => return Err(format!("`to` is the number of a generation, not `{value}`")),
                },
                _ => return Err(format!("`{key}` is `true` or `false`, not `{value}`")),
            };
        }
        Ok(wish)
    }
}

/// Makes a change.
pub(super) async fn run(admin: &Arc<Admin>, path: &str, query: &str, who: String) -> Answer {
    let wish = match Wish::read(path, query) {
        Ok(wish) => wish,
        Err(error) => return (StatusCode::BAD_REQUEST, json!({ "error": error })),
    };
    let keeper = Arc::clone(&admin.keeper);
    let changed = match wish {
        Wish::Difference => {
            keeper::aside(move || match keeper.difference() {
                Ok(changes) => (StatusCode::OK, json!({ "outcome": "dry_run", "changes": changes })),
                Err(report) => refused(&report),
            })
            .await
        }
        Wish::Reload => keeper::aside(move || applied(keeper.reload(&who), "applied")).await,
        Wish::Rollback(to) => {
            keeper::aside(move || match keeper.rollback(&who, to) {
                Ok(done) => applied(Ok(done), "rolled_back"),
                Err(RollbackError::Refused(report)) => refused(&report),
                Err(error @ RollbackError::Unknown { .. }) => {
                    (StatusCode::NOT_FOUND, json!({ "error": error.to_string() }))
                }
                Err(error @ RollbackError::Only) => (StatusCode::CONFLICT, json!({ "error": error.to_string() })),
            })
            .await
        }
        Wish::Release => keeper::aside(move || applied(keeper.release(&who), "applied")).await,
        Wish::Drain => {
            admin.draining.store(true, Ordering::Relaxed);
            admin.drain.notify_one();
            Ok((StatusCode::ACCEPTED, json!({ "outcome": "draining" })))
        }
    };
    changed.unwrap_or_else(|error| (StatusCode::INTERNAL_SERVER_ERROR, json!({ "error": error.to_string() })))
}

/// RFC 9110, section 13.1.1: whoever names the generation that they have seen changes no other one.
pub(super) fn unchanged_since(admin: &Admin, headers: &HeaderMap) -> Result<(), Answer> {
    let Some(wanted) = headers.get(header::IF_MATCH) else { return Ok(()) };
    let now = admin.keeper.proxy.snapshot().generation;
    let tags = wanted.to_str().unwrap_or_default();
    if tags.split(',').any(|tag| tag.trim() == "*" || tag.trim().trim_matches('"') == now.to_string()) {
        return Ok(());
    }
    Err((StatusCode::PRECONDITION_FAILED, json!({ "error": format!("generation {now} runs now"), "generation": now })))
}

pub(super) fn applied(applied: Result<Applied, Report>, outcome: &str) -> Answer {
    match applied {
        Ok(Applied::Generation(generation)) => {
            (StatusCode::OK, json!({ "outcome": outcome, "generation": generation }))
        }
        Ok(Applied::Unchanged(generation)) => {
            (StatusCode::OK, json!({ "outcome": "unchanged", "generation": generation }))
        }
        Err(report) => refused(&report),
    }
}

pub(super) fn refused(report: &Report) -> Answer {
    (StatusCode::UNPROCESSABLE_ENTITY, json!({ "error": report.summary(), "report": report.to_json() }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_parameter_that_is_not_understood_is_no_wish() {
        let read = |path, query| Wish::read(path, query);
        assert_eq!(read("/reload", ""), Ok(Wish::Reload));
        assert_eq!(read("/reload", "dry_run=false"), Ok(Wish::Reload));
        assert_eq!(read("/reload", "dry_run=true&"), Ok(Wish::Difference));
        assert_eq!(read("/rollback", ""), Ok(Wish::Rollback(None)));
        assert_eq!(read("/rollback", "to=7"), Ok(Wish::Rollback(Some(7))));
        assert_eq!(read("/drain", ""), Ok(Wish::Drain));
        for (path, query, word) in [
            ("/reload", "dry_run=1", "`1`"),
            ("/reload", "dry_run", "`dry_run`"),
            ("/reload", "dryrun=true", "`dryrun`"),
            ("/reload", "dry_run=true&dry_run=false", "twice"),
            ("/reload", "to=1", "`to`"),
            ("/rollback", "to", "`to`"),
            ("/rollback", "to=", "`to`"),
            ("/rollback", "to=-1", "`-1`"),
            ("/rollback", "generation=1", "`generation`"),
            ("/drain", "now", "`now`"),
        ] {
            let error = read(path, query).unwrap_err();
            assert!(error.contains(word), "{path}?{query}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_query_of_any_kind_is_understood_to_its_end_or_refused(
            path in prop_oneof![Just("/reload"), Just("/rollback"), Just("/drain")],
            query in prop_oneof![any::<String>(), "((dry_run|to|TO|dry%5Frun|x)?=?(true|false|True|1|-1|99999999999999999999|)&?){0,3}"],
        ) {
            let wish = Wish::read(path, &query);
            let pairs: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty()).collect();
            // A change that is made is the one that the whole query asks for.
            let expected = match (path, pairs.as_slice()) {
                ("/reload", [] | ["dry_run=false"]) => Some(Wish::Reload),
                ("/reload", ["dry_run=true"]) => Some(Wish::Difference),
                ("/rollback", []) => Some(Wish::Rollback(None)),
                ("/rollback", [one]) => {
                    one.strip_prefix("to=").and_then(|number| number.parse().ok()).map(|number| Wish::Rollback(Some(number)))
                }
                ("/drain", []) => Some(Wish::Drain),
                _ => None,
            };
            prop_assert_eq!(wish.ok(), expected, "{}?{}", path, query);
        }
    }
}
