//! `fyke explain URL`: which listener, chain, filters, route and cluster a request would meet, and why the others did not match.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use clap::Args;
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::{BAD_CONFIGURATION, FAILED, Output, complain, process, remote};
use crate::{
    config,
    dry_run::{self, Asked, Unexplained},
    reload::prepare::{self, Records},
};

/// `fyke explain`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Where the request goes, such as https://api.example.com/users?id=1
    url: String,
    /// Explain this configuration (default: what a running proxy runs)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Method (default: GET)
    #[arg(short = 'X', long, value_name = "METHOD")]
    method: Option<String>,
    /// A header; may be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = dry_run::header)]
    headers: Vec<(String, String)>,
    /// The listener (default: the one at the URL's port)
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// Where the client is (default: 127.0.0.1)
    #[arg(long, value_name = "ADDRESS", value_parser = dry_run::source)]
    from: Option<SocketAddr>,
    /// Over HTTP/2
    #[arg(long)]
    http2: bool,
    #[command(flatten)]
    target: remote::Target,
}

/// Explains.
pub(super) fn run(arguments: &Arguments, output: Output) -> u8 {
    let Some(file) = &arguments.config else {
        let question = remote::Question { method: Method::GET, path: path(arguments), body: None };
        return match remote::answer(&arguments.target, question, output) {
            Ok(told) => remote::told(&told, output, || words(&told)),
            Err(code) => code,
        };
    };
    let runtime = match process::control_plane() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return FAILED;
        }
    };
    let asked = Asked {
        url: arguments.url.clone(),
        method: arguments.method.clone(),
        headers: arguments.headers.clone(),
        listener: arguments.listener.clone(),
        from: arguments.from,
        http2: arguments.http2,
    };
    let prepare = |config| prepare::prepare(config, &Records::discarded());
    let explained = config::load(file)
        .map_err(Unexplained::from)
        .and_then(|config| dry_run::explain(Arc::new(config), &asked, None, runtime.handle(), prepare));
    let code = match explained {
        Ok(told) => remote::told(&told, output, || words(&told)),
        Err(Unexplained::Configuration(report)) => complain(&report, output),
        Err(Unexplained::Request(why)) => {
            eprintln!("error: {why}");
            BAD_CONFIGURATION
        }
    };
    runtime.shutdown_background();
    code
}

fn path(arguments: &Arguments) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let mut path = format!("/explain?url={}", encoded(&arguments.url));
    let mut add = |key: &str, value: &str| path.push_str(&format!("&{key}={}", encoded(value)));
    if let Some(method) = &arguments.method {
        add("method", method);
    }
    for (name, value) in &arguments.headers {
        add("header", &format!("{name}: {value}"));
    }
    if let Some(listener) = &arguments.listener {
        add("listener", listener);
    }
    if let Some(from) = arguments.from {
        add("from", &from.to_string());
    }
    if arguments.http2 {
        add("http2", "true");
    }
    path
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn list<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// The explanation, from the outside in.
fn words(told: &Value) -> String {
    let mut lines = Vec::new();
    let request = told.get("request").unwrap_or(&Value::Null);
    lines.push(format!("{} {}", text(request, "method"), text(request, "url")));
    choice(told, "listener", &mut lines);
    if told.get("listener").is_none_or(Value::is_null) {
        lines.push("no listener takes it; --listener names one".to_owned());
        return lines.join("\n");
    }
    if list(told, "chains").next().is_some() {
        choice(told, "chain", &mut lines);
        match told.get("chain").and_then(Value::as_str) {
            None => {
                lines.push("no chain takes it: the connection is closed".to_owned());
                return lines.join("\n");
            }
            Some(chain) if !list(told, "chains").any(|one| text(one, "chain") == chain) => {
                lines.push(format!("chain: {chain}, because no other matches"));
            }
            Some(_) => {}
        }
    }
    for filter in list(told, "filters") {
        lines.push(format!("filter {}", text(filter, "filter")));
        let says = list(filter, "says").filter_map(Value::as_str);
        lines.extend(says.map(|line| format!("  {line}")));
        let did = list(filter, "did").filter_map(Value::as_str);
        lines.extend(did.map(|line| format!("  did: {line}")));
    }
    if let Some(route) = told.get("route").filter(|route| route.is_object()) {
        lines.push(format!("route {}", text(route, "name")));
        // How a route is executed matters where something is sent.
        if told.get("cluster").is_some_and(Value::is_object) {
            lines.extend(policies(route).into_iter().map(|line| format!("  {line}")));
        }
    }
    let called: Vec<&str> = list(told, "called").filter_map(Value::as_str).collect();
    if !called.is_empty() {
        lines.push(format!("called on the way: {} (answered here with 200 and no body)", called.join(", ")));
    }
    if let Some(cluster) = told.get("cluster").filter(|cluster| cluster.is_object()) {
        lines.push(format!(
            "cluster {} ({}), {}",
            text(cluster, "name"),
            text(cluster, "origin"),
            text(cluster, "load_balancer")
        ));
        let total = cluster.get("endpoints_total").and_then(Value::as_u64).unwrap_or(0);
        if total == 0 {
            lines.push("  it has no endpoints".to_owned());
        }
        lines.extend(list(cluster, "endpoints").map(endpoint));
    }
    if let Some(answer) = told.get("answer").filter(|answer| answer.is_object()) {
        lines.push(self::answer(answer));
    }
    if let Some(sent) = told.get("sent").filter(|sent| sent.is_object()) {
        lines.push(format!("the upstream is sent {} {}", text(sent, "method"), text(sent, "path")));
        lines.push(format!("  host: {}", text(sent, "host")));
        let header = |pair: &Value| Some(format!("  {}: {}", pair.get(0)?.as_str()?, pair.get(1)?.as_str()?));
        lines.extend(list(sent, "headers").filter_map(header));
    }
    lines.join("\n")
}

/// Those that do not take it first, then the one that does.
fn choice(told: &Value, key: &str, lines: &mut Vec<String>) {
    let all: Vec<&Value> = list(told, &format!("{key}s")).collect();
    let taken = |one: &&&Value| one.get("taken").and_then(Value::as_bool) == Some(true);
    for one in all.iter().filter(|one| !taken(one)).chain(all.iter().filter(taken)) {
        let not = if taken(&one) { "" } else { "not " };
        lines.push(format!("{not}{key} {} ({}): {}", text(one, key), text(one, "origin"), text(one, "why")));
    }
}

fn policies(route: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    let limit = |key: &str| route.get(key).and_then(Value::as_u64);
    lines.push(match limit("timeout_ms") {
        Some(limit) => format!("timeout {limit} ms"),
        None => "no timeout".to_owned(),
    });
    for (key, what) in [("idle_timeout_ms", "idle timeout"), ("max_stream_duration_ms", "at most")] {
        lines.extend(limit(key).map(|limit| format!("{what} {limit} ms")));
    }
    match route.get("retry").filter(|retry| retry.is_object()) {
        Some(retry) => {
            let on: Vec<&str> = list(retry, "on").filter_map(Value::as_str).collect();
            let attempts = retry.get("attempts").and_then(Value::as_u64).unwrap_or(0);
            lines.push(format!("up to {attempts} retries on {}", on.join(", ")));
        }
        None => lines.push("no retries".to_owned()),
    }
    let mirrors: Vec<&str> = list(route, "mirror").filter_map(Value::as_str).collect();
    if !mirrors.is_empty() {
        lines.push(format!("a copy goes to {}", mirrors.join(", ")));
    }
    lines
}

fn endpoint(endpoint: &Value) -> String {
    let number = |key: &str| endpoint.get(key).and_then(Value::as_u64).unwrap_or(0);
    let mut line = format!("  {} weight {}", text(endpoint, "address"), number("weight"));
    if number("priority") > 0 {
        line.push_str(&format!(", priority {}", number("priority")));
    }
    if text(endpoint, "health") != "unknown" {
        line.push_str(&format!(", {}", text(endpoint, "health")));
    }
    let why: Vec<&str> = list(endpoint, "why_not").filter_map(Value::as_str).collect();
    if !why.is_empty() {
        line.push_str(&format!(": {}", why.join(", ")));
    }
    line
}

fn answer(answer: &Value) -> String {
    if let Some(error) = answer.get("error").and_then(Value::as_str) {
        return format!("there is no answer: {error}");
    }
    let status = answer.get("status").and_then(Value::as_u64).unwrap_or(0);
    let by = match answer.get("by").and_then(Value::as_str) {
        Some(filter) => format!("filter {filter}"),
        None => "the proxy".to_owned(),
    };
    let details = match text(answer, "response_code_details") {
        "" => String::new(),
        details => format!(" ({details})"),
    };
    let location = match text(answer, "location") {
        "" => String::new(),
        location => format!(", location {location}"),
    };
    format!("{by} answers with {status}{details}{location}")
}
