//! Messages that are part of many others.

use std::net::IpAddr;

use data_encoding::BASE64;
use serde_json::{Map, Value};

use super::context::Context;
use crate::{reader::Reader, units, units::Object};

/// `envoy.config.core.v3.Address`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    Ip(IpAddr, u16),
    /// A name that is looked up.
    Name(String, u16),
    /// A socket in the file system, and its permissions.
    Unix(String, u64),
}

impl Address {
    /// As Fyke's configuration writes it.
    pub fn text(&self) -> String {
        match self {
            Self::Ip(address, port) => units::socket(*address, *port),
            Self::Name(name, port) => format!("{name}:{port}"),
            Self::Unix(path, _) => format!("unix:{path}"),
        }
    }
}

/// Which ports an address may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ports {
    /// Zero is any free one.
    Any,
    /// Zero is a mistake.
    Set,
}

pub(super) fn address(reader: &Reader<'_>, ports: Ports) -> Option<Address> {
    if let Some(pipe) = reader.message("pipe") {
        let (path, mode) = (pipe.text_or_empty("path"), pipe.unsigned("mode").unwrap_or(0));
        if path.is_empty() || path.starts_with('@') {
            pipe.refuse_at("path", "must be the path of a socket in the file system");
            return None;
        }
        return Some(Address::Unix(path.to_owned(), mode));
    }
    let Some(socket) = reader.message("socket_address") else {
        if !reader.has("envoy_internal_address") {
            reader.refuse_here("has no address");
        }
        return None;
    };
    socket_address(&socket, ports)
}

pub(super) fn socket_address(socket: &Reader<'_>, ports: Ports) -> Option<Address> {
    socket.only("protocol", "TCP", "only TCP is spoken");
    host_and_port(socket, ports)
}

/// An address of whatever protocol.
pub(super) fn host_and_port(socket: &Reader<'_>, ports: Ports) -> Option<Address> {
    // Has a meaning for dual-stack sockets only, which take IPv4 here as the system says.
    socket.ignore("ipv4_compat", "the system decides whether an IPv6 socket takes IPv4 as well");
    if socket.has("named_port") {
        socket.refuse("named_port", "ports have no names here: write the number");
        return None;
    }
    let host = socket.text_or_empty("address");
    let least = u64::from(ports == Ports::Set);
    let port = match socket.unsigned("port_value") {
        None if ports == Ports::Any => 0,
        None => {
            socket.refuse_at("port_value", "is missing");
            return None;
        }
        Some(port) => match u16::try_from(port) {
            Ok(port) if u64::from(port) >= least => port,
            _ => {
                socket.refuse_at("port_value", format!("{port} is no port from {least} to 65535"));
                return None;
            }
        },
    };
    if host.is_empty() {
        socket.refuse_at("address", "is missing");
        return None;
    }
    Some(match host.parse() {
        Ok(address) => Address::Ip(address, port),
        Err(_) => Address::Name(host.to_owned(), port),
    })
}

/// `envoy.config.core.v3.DataSource` that must be a file: its path.
pub(super) fn file(context: &Context<'_>, reader: &Reader<'_>, what: &str) -> Option<String> {
    reader.ignore("watched_directory", "files are read again with the configuration, or by `reload: watch`");
    if let Some(path) = reader.text("filename") {
        return Some(path.to_owned());
    }
    if let Some(text) = reader.text("inline_string") {
        return context.keep(what, text.as_bytes(), &reader.place().key("inline_string"));
    }
    if let Some(text) = reader.text("inline_bytes") {
        let bytes = BASE64.decode(text.as_bytes()).unwrap_or_default();
        return context.keep(what, &bytes, &reader.place().key("inline_bytes"));
    }
    reader.refuse("environment_variable", "is in the environment: put it into a file, and name that");
    None
}

/// `envoy.config.core.v3.DataSource` that must be text in the file itself.
pub(super) fn inline_text(reader: &Reader<'_>) -> Option<String> {
    if let Some(text) = reader.text("inline_string") {
        return Some(text.to_owned());
    }
    if let Some(text) = reader.text("inline_bytes") {
        let text = BASE64.decode(text.as_bytes()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        if text.is_none() {
            reader.refuse_at("inline_bytes", "is no text in UTF-8");
        }
        return text;
    }
    reader.refuse("filename", "is in a file of its own: write it here");
    reader.refuse("environment_variable", "is in the environment: write it here");
    None
}

/// `envoy.type.v3.Percent`
pub(super) fn percent(reader: &Reader<'_>) -> f64 {
    let value = reader.number("value").unwrap_or(0.0);
    if !(0.0..=100.0).contains(&value) {
        reader.refuse_at("value", format!("{value} is no share of a hundred"));
        return 0.0;
    }
    value
}

/// `envoy.type.v3.FractionalPercent`, of a hundred.
pub(super) fn fractional(reader: &Reader<'_>) -> f64 {
    let numerator = reader.number("numerator").unwrap_or(0.0);
    let denominator = match reader.text("denominator") {
        Some("TEN_THOUSAND") => 10_000.0,
        Some("MILLION") => 1_000_000.0,
        _ => 100.0,
    };
    // Envoy takes more than all for all.
    (numerator / denominator * 100.0).min(100.0)
}

/// `envoy.config.core.v3.RuntimeFractionalPercent`, of a hundred.
pub(super) fn runtime_fraction(reader: &Reader<'_>) -> f64 {
    runtime_key(reader);
    reader.message("default_value").map_or(0.0, |value| fractional(&value))
}

/// `envoy.config.core.v3.RuntimeDouble`
pub(super) fn runtime_double(reader: &Reader<'_>) -> Option<f64> {
    runtime_key(reader);
    reader.number("default_value")
}

fn runtime_key(reader: &Reader<'_>) {
    reader.ignore("runtime_key", "no layer of a runtime sets it: the default counts");
}

/// `envoy.type.matcher.v3.RegexMatcher`
pub(super) fn regex(reader: &Reader<'_>) -> Option<String> {
    // RE2 is Envoy's only engine; its limits are fields of it.
    if let Some(engine) = reader.message("google_re2") {
        engine.ignore("max_program_size", "expressions are bounded by their input here");
    }
    let text = reader.text_or_empty("regex");
    if let Err(error) = regex_lite::Regex::new(text) {
        reader.refuse_at("regex", format!("is no expression here: {error}"));
        return None;
    }
    Some(text.to_owned())
}

/// `envoy.type.matcher.v3.RegexMatchAndSubstitute`
pub(super) fn substitution(reader: &Reader<'_>) -> Option<Value> {
    let pattern = reader.message("pattern").and_then(|pattern| regex(&pattern));
    let substitution = reader.text_or_empty("substitution");
    let mut object = Object::default();
    object.set("pattern", pattern?);
    object.set("substitution", substitution);
    Some(object.into())
}

/// What a `StringMatcher` asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Matches {
    /// `exact`, `prefix`, `suffix`, `contains` or `regex`.
    pub kind: &'static str,
    pub text: String,
    pub ignore_case: bool,
}

/// `envoy.type.matcher.v3.StringMatcher`
pub(super) fn string_matcher(reader: &Reader<'_>) -> Option<Matches> {
    let ignore_case = reader.flag("ignore_case");
    for kind in ["exact", "prefix", "suffix", "contains"] {
        if let Some(text) = reader.text(kind) {
            return Some(Matches { kind, text: text.to_owned(), ignore_case });
        }
    }
    if let Some(expression) = reader.message("safe_regex") {
        // Envoy does not look at it there.
        return regex(&expression).map(|text| Matches { kind: "regex", text, ignore_case: false });
    }
    if !reader.has("custom") {
        reader.refuse_here("says nothing about the value");
    }
    None
}

/// `envoy.config.core.v3.Metadata`: its `filter_metadata`, by namespace.
pub(super) fn metadata(reader: &Reader<'_>) -> Map<String, Value> {
    let entries = reader.entries("filter_metadata").into_iter();
    entries.map(|(namespace, value)| (namespace.to_owned(), value.clone())).collect()
}

/// The labels by which `envoy.lb` of some metadata chooses endpoints. What else is in the metadata is said to be left out.
pub(super) fn labels(reader: &Reader<'_>) -> Map<String, Value> {
    let place = reader.place().key("filter_metadata");
    let mut labels = Map::new();
    for (namespace, value) in reader.entries("filter_metadata") {
        let place = place.key(namespace);
        if namespace != "envoy.lb" {
            crate::reader::report(
                reader.findings(),
                &place,
                crate::Severity::Ignored,
                "only envoy.lb chooses endpoints",
            );
            continue;
        }
        for (key, value) in value.as_object().into_iter().flatten() {
            match label(value) {
                Some(text) => drop(labels.insert(key.clone(), Value::String(text))),
                None => {
                    let reason = "a label is text, a number, true or false";
                    crate::reader::report(reader.findings(), &place.key(key), crate::Severity::Refused, reason);
                }
            }
        }
    }
    labels
}

/// A scalar as text, the way that both sides of a comparison are written.
pub(super) fn label(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => match number.as_f64() {
            // `Struct` knows floats only: 1 and 1.0 are the same.
            Some(float) if float.fract() == 0.0 && float.abs() < 9e15 => {
                #[expect(clippy::cast_possible_truncation, reason = "whole, and within 2^53")]
                let whole = float as i64;
                Some(whole.to_string())
            }
            _ => Some(number.to_string()),
        },
        Value::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}

/// `envoy.config.core.v3.CidrRange`
pub(super) fn network(reader: &Reader<'_>) -> Option<(IpAddr, u8)> {
    let text = reader.text_or_empty("address_prefix");
    let Ok(address) = text.parse::<IpAddr>() else {
        reader.refuse_at("address_prefix", format!("{text:?} is no IP address"));
        return None;
    };
    let most = if address.is_ipv4() { 32 } else { 128 };
    // Without a length everything of the family is meant.
    let length = if reader.has("prefix_len") { reader.bounded("prefix_len", 0, most)? } else { 0 };
    u8::try_from(length).ok().map(|length| (address, length))
}

/// The name of the cluster that a `GrpcService` is, and its timeout.
pub(super) fn grpc_service<'a>(reader: &Reader<'a>) -> Option<(&'a str, Option<std::time::Duration>)> {
    let timeout = reader.limit("timeout");
    reader.refuse("google_grpc", "Google's client is not part of this proxy: use envoy_grpc");
    let service = reader.message("envoy_grpc")?;
    let cluster = service.text_or_empty("cluster_name");
    if cluster.is_empty() {
        service.refuse_at("cluster_name", "is missing");
        return None;
    }
    Some((cluster, timeout))
}

/// `transport_api_version`: the third is the only one that there is.
pub(super) fn api_version(reader: &Reader<'_>, key: &str) {
    if let Some(version) = reader.text(key)
        && !matches!(version, "V3" | "AUTO")
    {
        reader.refuse_at(key, "only the third version of the API is spoken");
    }
}
