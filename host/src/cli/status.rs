//! `fyke status`: what a running proxy is doing, on one screen.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::words::{bytes, printable, time};

/// The status in words.
pub(super) fn words(value: &Value) -> String {
    let mut lines = Vec::new();
    let healthy = value.get("healthy").and_then(Value::as_bool) == Some(true);
    let state = match (flag(value, "draining"), healthy) {
        (true, _) => "draining",
        (false, true) => "healthy",
        (false, false) => "NOT HEALTHY",
    };
    lines.push(format!(
        "generation {}, {state}; version {}, process {}, up {}",
        text(value, "generation"),
        text(value, "version"),
        text(value, "pid"),
        time(Duration::from_secs(number(value, "uptime_seconds")))
    ));
    lines.push(format!(
        "since {}; workers: {}, filters: {}, clusters: {}",
        ago(number(value, "since")),
        text(value, "workers"),
        text(value, "filters"),
        text(value, "clusters")
    ));
    if let Some(change) = value.get("last_change").filter(|change| !change.is_null()) {
        let why = change.get("error").and_then(Value::as_str).map(|why| format!(": {why}")).unwrap_or_default();
        let what = format!("{} by {}", text(change, "what"), text(change, "who"));
        lines.push(format!("last change: {what}, {}: {}{why}", ago(number(change, "when")), text(change, "outcome")));
    }
    lines.push(usage(value));
    match number(value, "log_levels") {
        0 => {}
        count => lines.push(format!("log levels changed for a while: {count} (`fyke log-level` shows them)")),
    }
    section(&mut lines, "listeners", listeners(value));
    section(&mut lines, "endpoints that are not healthy", list(value, "unhealthy").map(endpoint).collect());
    section(&mut lines, "filters in trouble", list(value, "trouble").map(trouble).collect());
    let canaries: Vec<String> = list(value, "canaries").filter_map(Value::as_str).map(str::to_owned).collect();
    section(&mut lines, "canaries", canaries);
    let warnings: Vec<String> = list(value, "warnings").filter_map(Value::as_str).map(str::to_owned).collect();
    section(&mut lines, "warnings", warnings);
    lines.iter().map(|line| printable(line)).collect::<Vec<_>>().join("\n")
}

fn section(lines: &mut Vec<String>, title: &str, items: Vec<String>) {
    if !items.is_empty() {
        lines.push(format!("{title}:"));
        lines.extend(items.into_iter().map(|item| format!("  {item}")));
    }
}

fn listeners(value: &Value) -> Vec<String> {
    let listeners = value.get("listeners").and_then(Value::as_object).into_iter().flatten();
    listeners.map(|(name, address)| format!("{name}: {}", address.as_str().unwrap_or_default())).collect()
}

fn usage(value: &Value) -> String {
    let of = |what: &str, key: &str| {
        value
            .get("overload")
            .and_then(|overload| overload.get(what))
            .and_then(|used| used.get(key))
            .and_then(Value::as_f64)
    };
    let limit = of("memory", "limit").map(|limit| format!(" of {}", bytes(limit))).unwrap_or_default();
    format!(
        "memory: {}{limit}; connections: {:.0} of {:.0}",
        bytes(of("memory", "used").unwrap_or(0.0)),
        of("connections", "used").unwrap_or(0.0),
        of("connections", "limit").unwrap_or(0.0)
    )
}

fn endpoint(value: &Value) -> String {
    let reasons: Vec<&str> = list(value, "reasons").filter_map(Value::as_str).collect();
    let check = value.get("last_check").and_then(Value::as_str).map(|check| format!(" ({check})")).unwrap_or_default();
    let (cluster, address, health) = (text(value, "cluster"), text(value, "address"), text(value, "health"));
    format!("{cluster} {address}: {health}: {}{check}", reasons.join(", "))
}

fn trouble(value: &Value) -> String {
    let open = if flag(value, "breaker_open") { "; its policy applies to every stream for now" } else { "" };
    let (traps, failed) = (text(value, "traps"), text(value, "failed_streams"));
    format!("{}: traps: {traps}, streams that failed: {failed}{open}", text(value, "filter"))
}

fn ago(moment: u64) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{} ago", time(now.saturating_sub(Duration::from_secs(moment))))
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn text(value: &Value, key: &str) -> String {
    match value.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "-".to_owned(),
        Some(value) => value.to_string(),
    }
}

fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or(0)
}

fn flag(value: &Value, key: &str) -> bool {
    value.get(key).and_then(Value::as_bool).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_wrong_is_on_the_screen_and_what_is_not_is_not() {
        let mut value = json!({
            "version": "1.2.3", "pid": 7, "uptime_seconds": 303, "healthy": true, "draining": false, "generation": 2, "since": 0,
            "workers": 2, "filters": 1, "clusters": 1, "listeners": { "web": "127.0.0.1:80" }, "last_change": null, "log_levels": 0,
            "unhealthy": [], "trouble": [], "canaries": [], "warnings": [],
            "overload": { "memory": { "used": 1_048_576, "limit": null }, "connections": { "used": 1, "limit": 10 } },
        });
        let shown = words(&value);
        assert!(shown.starts_with("generation 2, healthy; version 1.2.3, process 7, up 5m 3s\n"), "{shown}");
        assert!(
            shown.contains("  web: 127.0.0.1:80") && shown.contains("memory: 1.0 MiB; connections: 1 of 10"),
            "{shown}"
        );
        for absent in ["warnings", "trouble", "canaries", "not healthy", "last change"] {
            assert!(!shown.contains(absent), "{absent}: {shown}");
        }
        value["healthy"] = false.into();
        value["warnings"] = json!(["look\x1b[2J"]);
        value["unhealthy"] = json!([{ "cluster": "app", "address": "a:1", "health": "unhealthy", "reasons": ["health check failed"], "last_check": "refused" }]);
        value["last_change"] =
            json!({ "when": 0, "who": "signal", "what": "reload", "outcome": "refused", "error": "why" });
        let shown = words(&value);
        for present in [
            "2, NOT HEALTHY;",
            "app a:1: unhealthy: health check failed (refused)",
            "look?[2J",
            "reload by signal",
            "refused: why",
        ] {
            assert!(shown.contains(present), "{present}: {shown}");
        }
    }
}
