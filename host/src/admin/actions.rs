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

/// Whether a `POST` to this path changes something.
pub(super) fn is_action(path: &str) -> bool {
    matches!(path, "/reload" | "/rollback" | "/drain")
}

/// Makes a change.
pub(super) async fn run(admin: &Arc<Admin>, path: &str, query: &str, headers: &HeaderMap, who: String) -> Answer {
    if let Err(answer) = unchanged_since(admin, headers) {
        return answer;
    }
    let argument = |name: &str| {
        query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let keeper = Arc::clone(&admin.keeper);
    let changed = match path {
        "/reload" if argument("dry_run") == Some("true") => {
            keeper::aside(move || match keeper.difference() {
                Ok(changes) => (StatusCode::OK, json!({ "outcome": "dry_run", "changes": changes })),
                Err(report) => refused(&report),
            })
            .await
        }
        "/reload" => keeper::aside(move || applied(keeper.reload(&who), "applied")).await,
        "/rollback" => {
            let to = match argument("to").map(str::parse) {
                None => None,
                Some(Ok(generation)) => Some(generation),
                Some(Err(_)) => return (StatusCode::BAD_REQUEST, json!({ "error": "`to` is not a number" })),
            };
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
        _ => {
            admin.draining.store(true, Ordering::Relaxed);
            admin.drain.notify_one();
            Ok((StatusCode::ACCEPTED, json!({ "outcome": "draining" })))
        }
    };
    changed.unwrap_or_else(|error| (StatusCode::INTERNAL_SERVER_ERROR, json!({ "error": error.to_string() })))
}

/// RFC 9110, section 13.1.1: whoever names the generation that they have seen changes no other one.
fn unchanged_since(admin: &Admin, headers: &HeaderMap) -> Result<(), Answer> {
    let Some(wanted) = headers.get(header::IF_MATCH) else { return Ok(()) };
    let now = admin.keeper.proxy.snapshot().generation;
    let tags = wanted.to_str().unwrap_or_default();
    if tags.split(',').any(|tag| tag.trim() == "*" || tag.trim().trim_matches('"') == now.to_string()) {
        return Ok(());
    }
    Err((StatusCode::PRECONDITION_FAILED, json!({ "error": format!("generation {now} runs now"), "generation": now })))
}

fn applied(applied: Result<Applied, Report>, outcome: &str) -> Answer {
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

fn refused(report: &Report) -> Answer {
    (StatusCode::UNPROCESSABLE_ENTITY, json!({ "error": report.summary(), "report": report.to_json() }))
}
