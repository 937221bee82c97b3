//! Pages, files, and the numbers of charts.

use super::{Response, is_ours};
use crate::admin::dashboard::{
    assets,
    link::{self, Query},
    model::{ServiceKind, Viewer},
    page::{self, Context, Message, chart},
    source::Source,
};

/// A `GET` or a `HEAD`.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Path and query, as they were sent.
    pub path_and_query: &'a str,
    /// Value of `if-none-match`.
    pub if_none_match: Option<&'a str>,
    /// Who asks.
    pub viewer: &'a Viewer,
}

/// Answers a request that changes nothing. A path that is not [`is_ours`] is not found.
#[must_use]
pub fn respond(request: &Request<'_>, source: &dyn Source) -> Response {
    let (path, query) = request.path_and_query.split_once('?').unwrap_or((request.path_and_query, ""));
    let query = Query::read(query);
    let below = path.strip_prefix(link::BASE).unwrap_or_default();
    if let Some(name) = below.strip_prefix("/assets/") {
        return asset(name, &query, request.if_none_match);
    }
    if let Some(rest) = below.strip_prefix("/data/") {
        return data(rest, &query, source).unwrap_or_else(|| Response::fresh(404, "application/json", &b"{}\n"[..]));
    }
    let context = Context { source, query: &query, viewer: request.viewer, now: source.now() };
    let found = if is_ours(path) { page::page(path, &context) } else { None };
    let (status, page) = match found {
        Some(page) => (200, page),
        None => (404, page::message(&not_found())),
    };
    Response::html(status, page::framed(&page, &context, request.path_and_query))
}

fn not_found() -> Message {
    Message {
        title: "Not found".to_owned(),
        text: "There is no such page, or what it was about is gone.".to_owned(),
        ..Message::default()
    }
}

fn asset(name: &str, query: &Query, known: Option<&str>) -> Response {
    let Some(file) = assets::named(name) else {
        return Response::fresh(404, "text/plain; charset=utf-8", &b"no such file\n"[..]);
    };
    let tag = format!("\"{:016x}\"", file.hash);
    // An address with the right hash is this content for good.
    let is_exact = query.value("v") == tag.trim_matches('"');
    let keep = if is_exact { "public, max-age=31536000, immutable" } else { "no-cache" };
    let is_known = known.is_some_and(|known| {
        known.split(',').any(|one| matches!(one.trim(), "*") || one.trim().trim_start_matches("W/") == tag)
    });
    let response =
        if is_known { Response::new(304, "", &b""[..]) } else { Response::new(200, file.content_type, file.content) };
    response.with("cache-control", keep).with("etag", tag)
}

/// Numbers of a chart.
fn data(rest: &str, query: &Query, source: &dyn Source) -> Option<Response> {
    let parts: Option<Vec<String>> = rest.split('/').map(page::decoded).collect();
    let parts = parts?;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let of_trend = |trend| match query.value("chart") {
        "traffic" => Some(chart::Data::traffic(trend)),
        "latency" => Some(chart::Data::latency(trend)),
        _ => None,
    };
    let data = match parts.as_slice() {
        ["total"] => of_trend(source.total(chart::POINTS))?,
        ["services", kind, name] => of_trend(source.service(ServiceKind::of_word(kind)?, name, chart::POINTS)?.trend)?,
        ["panels", filter, place] => {
            let mut panel = source.panel(filter, place.parse().ok()?)?;
            panel.series.truncate(crate::admin::dashboard::model::SERIES);
            chart::Data::panel(panel)
        }
        _ => return None,
    };
    Some(Response::fresh(200, "application/json", serde_json::to_vec(&data).ok()?))
}
