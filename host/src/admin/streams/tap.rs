//! Requests as they finish, with what their filters did.

use std::time::Duration;

use http::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;

use super::{End, Outlet, Streams};
use crate::{
    admin::{body::Body, json as respond, query},
    config::units,
    telemetry::events::milliseconds,
    wasm::{
        exchange::Kind,
        tap::{Report, Tap, Watching, Wish},
    },
};

/// Streams that are looked at in a second when nobody says.
const RATE: u32 = 100;
/// And when somebody does.
const HIGHEST: u32 = 1000;
/// Fields that one wish may name.
const HEADERS: usize = 16;
/// How often it is said what was missed.
const MISSED: Duration = Duration::from_secs(1);

fn read(query: &str) -> Result<(Wish, Option<u64>), String> {
    let (mut wish, mut limit) = (Wish { rate: Some(RATE), ..Wish::default() }, None);
    let known =
        ["status", "method", "path_prefix", "header", "route", "listener", "cluster", "min_latency", "limit", "rate"];
    for (key, value) in query::pairs(query)? {
        match key.as_str() {
            "status" => wish.status = Some(status(&value)?),
            "method" => wish.method = Some(value),
            "path_prefix" => wish.path_prefix = Some(value),
            "header" if wish.headers.len() == HEADERS => return Err(format!("`header` may be given {HEADERS} times")),
            "header" => {
                let (name, value) = match value.split_once(':') {
                    Some((name, value)) => (name, Some(value.trim().to_owned())),
                    None => (value.as_str(), None),
                };
                wish.headers.push((name.trim().to_ascii_lowercase(), value));
            }
            "route" => wish.route = Some(value),
            "listener" => wish.listener = Some(value),
            "cluster" => wish.cluster = Some(value),
            "min_latency" => {
                let time: units::Duration =
                    serde_json::from_value(value.into()).map_err(|error| format!("`min_latency`: {error}"))?;
                wish.min_latency = Some(time.0);
            }
            "limit" => {
                let number = value.parse().ok().filter(|number| *number > 0);
                limit = Some(number.ok_or_else(|| format!("`limit` is a number above 0, not {value}"))?);
            }
            "rate" => {
                let rate = value.parse().ok().filter(|rate| (1..=HIGHEST).contains(rate));
                wish.rate = Some(rate.ok_or_else(|| format!("`rate` is a number from 1 to {HIGHEST}, not {value}"))?);
            }
            key => return Err(query::unknown(key, &known)),
        }
    }
    Ok((wish, limit))
}

/// `404`, or `5xx` as its first digit.
fn status(text: &str) -> Result<u16, String> {
    let class = text.strip_suffix("xx").and_then(|digit| digit.parse().ok()).filter(|digit| (1..=5).contains(digit));
    let whole = text.parse().ok().filter(|status| (100..=599).contains(status));
    class.or(whole).ok_or_else(|| format!("`status` is a status such as 404, or a class such as 5xx, not {text}"))
}

/// `/v1/tap`
pub(in crate::admin) fn answer(streams: &Streams, tap: &Tap, method: &Method, query: &str) -> Response<Body> {
    match read(query) {
        Ok((wish, limit)) => {
            let tap = tap.clone();
            streams.begin(method, "tap", move |outlet| async move {
                // Watched for no longer than it is read.
                let watching = tap.watch(wish);
                tell(outlet, watching, limit).await
            })
        }
        Err(error) => respond(StatusCode::BAD_REQUEST, &json!({ "error": error })),
    }
}

async fn tell(mut outlet: Outlet, mut watching: Watching, limit: Option<u64>) -> Result<(), End> {
    let mut told = 0;
    let mut said = (0, 0);
    let mut timer = tokio::time::interval(MISSED);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    outlet.comment("requests as they finish").await?;
    while limit.is_none_or(|limit| told < limit) {
        let next = async {
            tokio::select! {
                report = watching.next() => Some(report),
                _ = timer.tick() => None,
            }
        };
        match outlet.wait(next).await? {
            Some(Some(report)) => {
                told += 1;
                outlet.event("request", None, &shown(&report)).await?;
            }
            Some(None) => break,
            None => {
                let missed = watching.missed();
                if missed != said {
                    said = missed;
                    outlet.event("missed", None, &json!({ "skipped": missed.0, "dropped": missed.1 })).await?;
                }
            }
        }
    }
    Ok(())
}

fn shown(report: &Report) -> Value {
    let filters: Vec<Value> =
        report.notes.iter().map(|(filter, notes)| json!({ "filter": filter, "notes": notes })).collect();
    let mut value = json!({
        "at": milliseconds(report.at),
        "kind": match report.kind { Kind::Http => "http", Kind::Tcp => "tcp" },
        "listener": report.listener,
        "client": report.client,
        "line": report.line,
        "duration": report.duration.as_secs_f64(),
        "bytes_in": report.received,
        "bytes_out": report.sent,
        "details": report.outcome.details,
        "filter_seconds": report.spent.as_secs_f64(),
        "filters": filters,
    });
    let more = [
        ("method", (report.kind == Kind::Http).then(|| json!(report.method))),
        ("path", (report.kind == Kind::Http).then(|| json!(report.path))),
        ("status", report.status.map(|status| json!(status))),
        ("route", report.outcome.route_name().map(|route| json!(route))),
        ("cluster", report.outcome.cluster.as_ref().map(|cluster| json!(cluster))),
        ("upstream", report.outcome.endpoint.map(|upstream| json!(upstream))),
    ];
    if let Some(fields) = value.as_object_mut() {
        fields.extend(more.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_understood_to_their_end_or_refused() {
        let (wish, limit) =
            read("status=5xx&path_prefix=/x&header=Name:+value&header=other&min_latency=100ms&limit=3").unwrap();
        assert_eq!((wish.status, limit), (Some(5), Some(3)));
        assert_eq!(wish.headers, [("name".to_owned(), Some("value".to_owned())), ("other".to_owned(), None)]);
        assert_eq!((wish.min_latency, wish.rate), (Some(Duration::from_millis(100)), Some(RATE)));
        assert_eq!(read("status=404").unwrap().0.status, Some(404));
        for wrong in
            ["status=6xx", "status=5x", "status=99", "limit=0", "rate=0", "rate=1001", "min_latency=1", "path=/x"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(read(&"header=a&".repeat(HEADERS + 1)).is_err());
    }
}
