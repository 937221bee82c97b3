//! `GET /explain`: what a request would meet. Nothing that runs is touched: the request goes through a proxy of its own.

use std::sync::Arc;

use http::StatusCode;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::Admin;
use crate::{
    dry_run::{self, Asked, Unexplained},
    reload::keeper,
    snapshot::Snapshot,
};

/// Answers a question.
pub(super) async fn run(admin: &Arc<Admin>, query: &str) -> (StatusCode, Value) {
    let failed = |status, why: String| (status, json!({ "error": why }));
    let asked = match read(query) {
        Ok(asked) => asked,
        Err(why) => return failed(StatusCode::BAD_REQUEST, why),
    };
    let (admin, runtime) = (Arc::clone(admin), Handle::current());
    let explained = keeper::aside(move || {
        let snapshot = admin.keeper.proxy.snapshot();
        explain(&admin, &snapshot, &asked, &runtime).map(|told| (told, snapshot.generation))
    });
    match explained.await {
        Ok(Ok((mut told, generation))) => {
            if let Some(fields) = told.as_object_mut() {
                fields.insert("generation".to_owned(), generation.into());
            }
            (StatusCode::OK, told)
        }
        Ok(Err((status, why))) => failed(status, why),
        Err(error) => failed(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// Has what runs in a snapshot explained. Blocks; one question is answered at a time.
///
/// # Errors
/// Why it is not, with the status that says so.
pub(super) fn explain(
    admin: &Admin,
    snapshot: &Snapshot,
    asked: &Asked,
    runtime: &Handle,
) -> Result<Value, (StatusCode, String)> {
    let Ok(_turn) = admin.explanations.try_acquire() else {
        let why = "another explanation is under way; ask again in a second";
        return Err((StatusCode::TOO_MANY_REQUESTS, why.to_owned()));
    };
    let prepare = |config| admin.keeper.proxy.prepare_apart(config);
    let (config, clusters) = (Arc::clone(&snapshot.config), Some(&*snapshot.clusters));
    dry_run::explain(config, asked, clusters, runtime, prepare).map_err(|error| match error {
        Unexplained::Request(why) => (StatusCode::BAD_REQUEST, why),
        Unexplained::Configuration(report) => (StatusCode::INTERNAL_SERVER_ERROR, report.summary()),
    })
}

/// What is not understood is not ignored: it may change what the request meets.
fn read(query: &str) -> Result<Asked, String> {
    let mut asked = Asked::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decode_str(value);
        let value = value.decode_utf8().map_err(|_| format!("`{key}` is not UTF-8"))?.into_owned();
        match key {
            "url" => asked.url = value,
            "method" => asked.method = Some(value),
            "header" => asked.headers.push(dry_run::header(&value)?),
            "listener" => asked.listener = Some(value),
            "from" => asked.from = Some(dry_run::source(&value)?),
            "http2" if value == "true" || value == "false" => asked.http2 = value == "true",
            "http2" => return Err(format!("`http2` is `true` or `false`, not `{value}`")),
            _ => {
                let known = "`url`, `method`, `header`, `listener`, `from` and `http2`";
                return Err(format!("there is no parameter `{key}`; there are {known}"));
            }
        }
    }
    if asked.url.is_empty() {
        return Err("`url` is missing: /explain?url=http%3A%2F%2Fexample.com%2F".to_owned());
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_read_to_its_end_or_refused() {
        let asked =
            read("url=http%3A%2F%2Fa%2Fb%3Fc%3D1&header=x-a%3A%201&header=x-b:2&method=PUT&http2=true").unwrap();
        assert_eq!((asked.url.as_str(), asked.method.as_deref(), asked.http2), ("http://a/b?c=1", Some("PUT"), true));
        assert_eq!(asked.headers, [("x-a".to_owned(), "1".to_owned()), ("x-b".to_owned(), "2".to_owned())]);
        for bad in [
            "",
            "url=",
            "url=http://a/&x=1",
            "url=http://a/&header=x",
            "url=http://a/&from=here",
            "url=http://a/&http2=1",
            "url=%ff",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
