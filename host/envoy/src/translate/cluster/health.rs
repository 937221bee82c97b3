//! `envoy.config.core.v3.HealthCheck` to `health_check:`.

use serde_json::{Map, Value};

use crate::{
    reader::Reader,
    units::{self, Object},
};

const REDIS: &str = "envoy.extensions.health_checkers.redis.v3.Redis";

pub(super) fn translate(reader: &Reader<'_>, http2: bool, config: &mut Object) {
    let mut checks = reader.messages("health_checks").into_iter();
    let Some(first) = checks.next() else { return };
    for further in checks {
        further.refuse_whole("a cluster has one health check, the first");
    }
    let mut check = Object::default();
    if !kind(&first, http2, &mut check) {
        return first.leave();
    }
    let interval = first.limit("interval");
    check.set_some("interval", interval.map(units::duration));
    check.set_some("timeout", first.limit("timeout").map(units::duration));
    check.set_some("healthy", first.bounded("healthy_threshold", 1, u32::MAX.into()));
    check.set_some("unhealthy", first.bounded("unhealthy_threshold", 1, u32::MAX.into()));
    let share = first.bounded("interval_jitter_percent", 0, 100);
    let share = share.and_then(|share| u32::try_from(share).ok());
    let of_interval = share.zip(interval).map(|(share, interval)| interval * share / 100);
    check.set_some("jitter", first.duration("interval_jitter").or(of_interval).map(units::duration));
    check.set_some("no_traffic_interval", first.limit("no_traffic_interval").map(units::duration));
    check.set_some("unhealthy_interval", first.limit("unhealthy_interval").map(units::duration));
    check.set_some("reuse_connection", first.boolean("reuse_connection"));
    first.ignore("initial_jitter", "first checks are spread over a tenth of the interval");
    first.ignore_all(
        &["event_log_path", "event_logger", "always_log_health_check_failures", "always_log_health_check_success"],
        "changes of health are logged by the proxy",
    );
    config.set("health_check", check);
}

/// False, with a finding: this kind of check cannot be.
fn kind(check: &Reader<'_>, http2: bool, object: &mut Object) -> bool {
    if let Some(http) = check.message("http_health_check") {
        object.set("http", self::http(&http, http2));
        return true;
    }
    if let Some(tcp) = check.message("tcp_health_check") {
        let mut bytes = Object::default();
        let send = tcp.message("send").and_then(|payload| self::payload(&payload));
        bytes.set_some("send", send);
        let receive = tcp.messages("receive");
        let receive: Vec<_> = receive.iter().filter_map(|payload| self::payload(payload)).collect();
        bytes.set_filled("receive", receive);
        object.set("tcp", bytes);
        return true;
    }
    if let Some(grpc) = check.message("grpc_health_check") {
        object.set("grpc", grpc.text_or_empty("service_name"));
        return true;
    }
    let Some(custom) = check.message("custom_health_check") else {
        check.refuse_here("says nothing about what is asked");
        return false;
    };
    custom.text("name");
    match custom.any("typed_config") {
        Some((REDIS, redis)) => {
            let mut settings = Object::default();
            settings.set_some("key", redis.text("key").filter(|key| !key.is_empty()));
            object.set("redis", settings);
            true
        }
        Some((other, config)) => {
            config.refuse_whole(format!("the health check {other} is not supported"));
            false
        }
        None => {
            custom.refuse_here("has no typed_config");
            false
        }
    }
}

fn http(http: &Reader<'_>, http2: bool) -> Value {
    let path = http.text_or_empty("path");
    if !path.starts_with('/') {
        http.refuse_at("path", "begins with a slash");
    }
    let mut object = Object::default();
    object.set("path", path);
    object.set_some("host", http.text("host").filter(|host| !host.is_empty()));
    object.set_some("method", http.text("method").filter(|method| *method != "METHOD_UNSPECIFIED"));
    let mut headers = Map::new();
    for option in http.messages("request_headers_to_add") {
        let Some(header) = option.message("header") else { continue };
        let (key, value) = (header.text_or_empty("key"), header.text_or_empty("value"));
        option.raw("append");
        option.raw("append_action");
        if value.contains('%') {
            header.refuse_at("value", "headers of checks have no commands in them");
        }
        headers.insert(key.to_ascii_lowercase(), Value::from(value));
    }
    object.set_filled("headers", headers);
    object.set_filled("statuses", statuses(http, "expected_statuses"));
    object.set_filled("retriable", statuses(http, "retriable_statuses"));
    let asked = http.text("codec_client_type").unwrap_or("HTTP1");
    let spoken = if http2 { "HTTP2" } else { "HTTP1" };
    if asked != spoken {
        http.refuse_at("codec_client_type", format!("a check speaks what the cluster does, {spoken}"));
    }
    http.ignore("response_buffer_size", "bodies of checks are not looked at");
    let only_path = object.clone().filled().and_then(|object| object.as_object().map(Map::len)) == Some(1);
    if only_path { Value::from(path) } else { object.into() }
}

/// Half-open ranges, to closed ones.
fn statuses(http: &Reader<'_>, key: &str) -> Vec<Value> {
    let ranges = http.messages(key).into_iter().filter_map(|range| {
        let (start, end) = (range.signed("start").unwrap_or(0), range.signed("end").unwrap_or(0));
        if start < 100 || end > 600 || start >= end {
            range.refuse_here(format!("{start} to {end} is no range of statuses"));
            return None;
        }
        let last = end - 1;
        Some(if start == last { Value::from(start) } else { Value::from(format!("{start}-{last}")) })
    });
    ranges.collect()
}

/// Bytes, which Envoy writes in hexadecimal and Fyke as text.
fn payload(payload: &Reader<'_>) -> Option<Value> {
    let bytes = match (payload.text("text"), payload.text("binary")) {
        (Some(text), _) => data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok(),
        (None, Some(binary)) => data_encoding::BASE64.decode(binary.as_bytes()).ok(),
        (None, None) => None,
    };
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    if text.is_none() {
        payload.refuse_here("is no text in UTF-8, or not hexadecimal");
    }
    text.map(Value::String)
}
