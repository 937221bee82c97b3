//! Levels of the log: shown, and changed for a while.

use std::{sync::Arc, time::Duration};

use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Admin, actions::Answer};
use crate::{
    clock::seconds,
    config::units,
    telemetry::logging::levels::{Change, LevelError, Levels, USUAL},
};

/// Bytes of a wish.
const BODY: usize = 4096;
/// It takes no longer to come.
const PATIENCE: Duration = Duration::from_secs(10);

/// What somebody wants of a level.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    /// Nothing: everything that has no level of its own.
    #[serde(default)]
    target: String,
    /// Nothing: what the process was started with, at once.
    level: Option<String>,
    #[serde(rename = "for")]
    time: Option<units::Duration>,
}

/// `/logging`
pub(super) fn page(levels: &Levels) -> Value {
    let changes: Vec<Value> = levels.changes().iter().map(|(target, change)| shown(target, change)).collect();
    json!({ "level": levels.base(), "changes": changes })
}

fn shown(target: &str, change: &Change) -> Value {
    let left = change.until.duration_since(std::time::SystemTime::now()).unwrap_or_default();
    json!({ "target": target, "level": change.level, "until": seconds(change.until), "seconds_left": left.as_secs() })
}

/// Fulfils a wish.
pub(super) async fn run(admin: &Arc<Admin>, request: Request<Incoming>, who: &str) -> Answer {
    let bad = |error: String| (StatusCode::BAD_REQUEST, json!({ "error": error }));
    let body = match tokio::time::timeout(PATIENCE, Limited::new(request.into_body(), BODY).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            return (StatusCode::PAYLOAD_TOO_LARGE, json!({ "error": format!("a body may have {BODY} bytes") }));
        }
        Ok(Err(error)) => return bad(format!("the body broke off: {error}")),
        Err(_) => return (StatusCode::REQUEST_TIMEOUT, json!({ "error": "the body took too long" })),
    };
    let wish: Wish = match serde_json::from_slice(&body) {
        Ok(wish) => wish,
        Err(error) => {
            let like = r#"{ "target": "fyke::http", "level": "debug", "for": "5m" }"#;
            return bad(format!("the body is not as it should be: {error}; it reads like {like}"));
        }
    };
    let levels = &admin.log.levels;
    let name = if wish.target.is_empty() { "all" } else { &wish.target };
    let Some(level) = &wish.level else {
        if wish.time.is_some() {
            return bad("`for` needs a `level`".to_owned());
        }
        if levels.reset(&wish.target) {
            admin.keeper.note_level(who, name, &format!("log-level {name} --reset"));
        }
        return (StatusCode::OK, page(levels));
    };
    let time = wish.time.map_or(USUAL, |time| time.0);
    match levels.set(&wish.target, level, time) {
        Ok(change) => {
            admin.keeper.note_level(who, name, &format!("log-level {name} {} --for {}s", change.level, time.as_secs()));
            (StatusCode::OK, page(levels))
        }
        Err(error) => {
            let status = match error {
                LevelError::Level { .. } | LevelError::Target(_) | LevelError::Time => StatusCode::BAD_REQUEST,
                LevelError::Many => StatusCode::CONFLICT,
                LevelError::Gone => StatusCode::INTERNAL_SERVER_ERROR,
            };
            (status, json!({ "error": error.to_string() }))
        }
    }
}
