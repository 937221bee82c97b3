//! Properties (PROXY-WASM.md, section 4), in Envoy's encodings: strings raw, numbers 8 bytes, booleans one byte,
//! times and durations in nanoseconds, maps as serialized pairs.

use std::time::UNIX_EPOCH;

use fyke_engine::Map;
use http::{HeaderMap, Version, header};

use tokio::time::Instant;

use super::{
    exchange::{Exchange, Kind, Peer, Redirect},
    trace,
};
use crate::{
    certificate::{Certificate, Tls},
    config::resolved,
    upstream::flags,
};

/// No cluster has a longer name.
const LONGEST_NAME: usize = 1024;

fn segments(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    // A trailing NUL ends the path and does not begin another segment.
    path.strip_suffix(&[0]).unwrap_or(path).split(|byte| *byte == 0)
}

fn number(out: &mut Vec<u8>, value: u64) -> bool {
    out.extend_from_slice(&value.to_le_bytes());
    true
}

fn nanoseconds(out: &mut Vec<u8>, value: u128) -> bool {
    number(out, u64::try_from(value).unwrap_or(u64::MAX))
}

fn text(out: &mut Vec<u8>, value: impl AsRef<[u8]>) -> bool {
    out.extend_from_slice(value.as_ref());
    true
}

fn optional(out: &mut Vec<u8>, value: Option<impl AsRef<[u8]>>) -> bool {
    value.is_some_and(|value| text(out, value))
}

/// A JSON value as a property: strings raw, numbers as doubles, booleans as a byte, anything else as JSON.
fn json(out: &mut Vec<u8>, value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::String(value) => text(out, value),
        serde_json::Value::Bool(value) => text(out, [u8::from(*value)]),
        serde_json::Value::Number(value) => text(out, value.as_f64().unwrap_or_default().to_le_bytes()),
        other => text(out, other.to_string()),
    }
}

fn json_at<'a, 'b>(
    mut value: Option<&'a serde_json::Value>,
    rest: impl Iterator<Item = &'b [u8]>,
) -> Option<&'a serde_json::Value> {
    for key in rest {
        value = value?.get(std::str::from_utf8(key).ok()?);
    }
    value
}

fn fields(out: &mut Vec<u8>, map: Option<&HeaderMap>, name: Option<&[u8]>) -> bool {
    let (Some(map), Some(name)) = (map, name) else { return false };
    let Ok(name) = header::HeaderName::from_bytes(name) else { return false };
    joined(out, map.get_all(name).iter().map(header::HeaderValue::as_bytes))
}

/// All values of a field.
fn joined<'a>(out: &mut Vec<u8>, values: impl Iterator<Item = &'a [u8]>) -> bool {
    let mut found = false;
    for value in values {
        if found {
            out.push(b',');
        }
        out.extend_from_slice(value);
        found = true;
    }
    found
}

fn pairs(out: &mut Vec<u8>, map: &dyn Map) -> bool {
    let start = out.len();
    out.extend_from_slice(&u32::try_from(map.len()).unwrap_or(u32::MAX).to_le_bytes());
    let mut count = 0u32;
    map.for_each(&mut |key, value| {
        count += 1;
        out.extend_from_slice(&u32::try_from(key.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
    });
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&count.to_le_bytes());
    }
    map.for_each(&mut |key, value| {
        out.extend_from_slice(key);
        out.push(0);
        out.extend_from_slice(value);
        out.push(0);
    });
    true
}

/// What a plugin knows without a stream.
pub fn of_plugin(
    path: &[u8],
    settings: Option<&resolved::Filter>,
    node: &resolved::Node,
    sample: Option<f64>,
    out: &mut Vec<u8>,
) -> bool {
    let mut path = segments(path);
    match path.next().unwrap_or_default() {
        b"plugin_name" => optional(out, settings.map(|settings| settings.plain_name())),
        b"plugin_root_id" => optional(out, settings.map(|settings| &settings.root_id)),
        b"plugin_vm_id" => {
            optional(out, settings.map(|settings| settings.vm.as_deref().unwrap_or(settings.plain_name())))
        }
        b"fyke" => {
            path.next() == Some(b"tracing")
                && path.next() == Some(b"sample")
                && optional(out, sample.map(f64::to_le_bytes))
        }
        b"node" => match path.next() {
            Some(b"id") => text(out, &node.id),
            Some(b"cluster") => text(out, &node.cluster),
            Some(b"locality") => path.next() == Some(b"zone") && text(out, &node.zone),
            Some(b"metadata") => {
                let Some(key) = path.next().and_then(|key| std::str::from_utf8(key).ok()) else { return false };
                json_at(node.metadata.get(key), path).is_some_and(|value| json(out, value))
            }
            _ => false,
        },
        _ => false,
    }
}

/// What is known of a stream.
pub fn of_stream(exchange: &Exchange, path: &[u8], out: &mut Vec<u8>) -> bool {
    let whole = path.strip_suffix(&[0]).unwrap_or(path);
    let mut path = segments(whole);
    let found = match path.next().unwrap_or_default() {
        b"request" if exchange.kind == Kind::Tcp => request_of_tcp(exchange, path.next().unwrap_or_default(), out),
        b"response" if exchange.kind == Kind::Tcp => response_of_tcp(exchange, path.next().unwrap_or_default(), out),
        b"request" => request(exchange, path.next().unwrap_or_default(), path.next(), out),
        b"response" => response(exchange, path.next().unwrap_or_default(), path.next(), out),
        b"source" => peer(out, &exchange.connection.remote, path.next()),
        b"destination" => peer(out, &exchange.connection.local, path.next()),
        b"connection" => connection(exchange, path.next().unwrap_or_default(), out),
        b"upstream" => match path.next() {
            Some(b"local_address") => optional(out, exchange.ends.local.map(|address| address.to_string())),
            Some(b"transport_failure_reason") => optional(out, exchange.upstream_failure.as_ref()),
            Some(b"request_attempt_count") => exchange.attempts > 0 && number(out, u64::from(exchange.attempts)),
            Some(b"cx_pool_ready_duration") => between(out, exchange.asked.at, exchange.asked.ready),
            Some(b"num_endpoints") => {
                exchange.routed_to.as_ref().is_some_and(|cluster| number(out, cluster.size() as u64))
            }
            Some(part @ (b"address" | b"port")) => address(out, exchange.upstream, Some(part)),
            Some(part) => exchange.ends.tls.as_ref().is_some_and(|tls| of_tls(out, tls, part)),
            None => false,
        },
        b"cluster_name" => optional(out, cluster(exchange)),
        b"route_name" => optional(out, exchange.selection.as_ref().map(|selection| &selection.route.action.name)),
        kind @ (b"route_metadata" | b"cluster_metadata" | b"listener_metadata" | b"upstream_host_metadata") => {
            metadata(exchange, kind, path, out)
        }
        b"xds" => match path.next().unwrap_or_default() {
            kind @ (b"route_metadata" | b"cluster_metadata" | b"listener_metadata" | b"upstream_host_metadata") => {
                metadata(exchange, kind, path, out)
            }
            b"cluster_name" => optional(out, cluster(exchange)),
            b"route_name" => optional(out, exchange.selection.as_ref().map(|selection| &selection.route.action.name)),
            b"virtual_host_name" => {
                optional(out, exchange.selection.as_ref().map(|selection| &selection.route.action.virtual_host))
            }
            b"filter_chain_name" => text(out, &*exchange.connection.listener),
            b"listener_direction" => number(out, 0),
            _ => false,
        },
        b"fyke" if whole == b"fyke\0redirect" => exchange.redirect != Redirect::None && text(out, [1]),
        b"fyke" if path.next() == Some(b"trace") => trace::property(exchange, path.next().unwrap_or_default(), out),
        b"filter_state" => custom(exchange, whole.get(b"filter_state\0".len()..).unwrap_or_default(), out),
        _ => false,
    };
    found || custom(exchange, whole, out)
}

/// Stores a property for this stream: readable by every filter of it.
pub fn set(exchange: &mut Exchange, path: &[u8], value: &[u8]) {
    let path = path.strip_suffix(&[0]).unwrap_or(path);
    if path == b"fyke\0cluster" {
        let name = value.get(..LONGEST_NAME).is_none().then(|| std::str::from_utf8(value).ok()).flatten();
        exchange.cluster = name.filter(|name| !name.is_empty()).map(str::to_owned);
        return;
    }
    if path == b"fyke\0redirect" {
        if exchange.redirect == Redirect::Asked {
            exchange.redirect = Redirect::Refused;
        }
        return;
    }
    // Bounded: a filter that floods its own stream gets no more than a buffer's worth.
    let others: usize =
        exchange.properties.iter().filter(|(key, _)| key != path).map(|(key, value)| key.len() + value.len()).sum();
    if others + path.len() + value.len() > exchange.limit {
        return;
    }
    match exchange.properties.iter_mut().find(|(key, _)| key == path) {
        Some((_, old)) => *old = value.to_vec(),
        None => exchange.properties.push((path.to_vec(), value.to_vec())),
    }
}

fn custom(exchange: &Exchange, path: &[u8], out: &mut Vec<u8>) -> bool {
    let bare = path.strip_prefix(b"wasm.").unwrap_or(path);
    exchange.properties.iter().find(|(key, _)| key == path || key == bare).is_some_and(|(_, value)| text(out, value))
}

fn cluster(exchange: &Exchange) -> Option<&str> {
    exchange
        .routed_to
        .as_ref()
        .map(|cluster| &*cluster.name)
        .or(exchange.cluster.as_deref())
        .or_else(|| exchange.selection.as_ref().and_then(|selection| selection.cluster()))
}

fn peer(out: &mut Vec<u8>, peer: &Peer, part: Option<&[u8]>) -> bool {
    match part {
        Some(b"address") => text(out, peer.text()),
        part => address(out, peer.end.ip(), part),
    }
}

fn address(out: &mut Vec<u8>, address: Option<std::net::SocketAddr>, part: Option<&[u8]>) -> bool {
    let Some(address) = address else { return false };
    match part {
        Some(b"address") => text(out, address.to_string()),
        Some(b"port") => number(out, u64::from(address.port())),
        _ => false,
    }
}

fn connection(exchange: &Exchange, part: &[u8], out: &mut Vec<u8>) -> bool {
    let tls = exchange.connection.tls.as_ref();
    match part {
        b"id" => number(out, exchange.connection.id),
        b"mtls" => text(out, [u8::from(tls.is_some_and(|tls| tls.peer.is_some()))]),
        b"requested_server_name" => optional(out, tls.and_then(|tls| tls.server_name.as_ref())),
        // Why the host has ended a connection; the other ends are the peers' own.
        b"termination_details" => {
            exchange.kind == Kind::Tcp
                && !matches!(&*exchange.details, "" | "closed" | "downstream_reset" | "upstream_reset")
                && text(out, exchange.details.as_bytes())
        }
        part => tls.is_some_and(|tls| of_tls(out, tls, part)),
    }
}

/// What both connections know of their TLS.
fn of_tls(out: &mut Vec<u8>, tls: &Tls, part: &[u8]) -> bool {
    let own = || tls.own();
    let peer = tls.peer.as_ref();
    match part {
        b"tls_version" => text(out, tls.version),
        b"subject_local_certificate" => optional(out, own().map(Certificate::subject)),
        b"subject_peer_certificate" => optional(out, peer.map(Certificate::subject)),
        b"dns_san_local_certificate" => optional(out, own().and_then(Certificate::dns_san)),
        b"dns_san_peer_certificate" => optional(out, peer.and_then(Certificate::dns_san)),
        b"uri_san_local_certificate" => optional(out, own().and_then(Certificate::uri_san)),
        b"uri_san_peer_certificate" => optional(out, peer.and_then(Certificate::uri_san)),
        b"sha256_peer_certificate_digest" => optional(out, peer.map(Certificate::digest)),
        _ => false,
    }
}

/// A value of what the configuration says of a route, a cluster, a listener or an endpoint. Envoy's paths name `filter_metadata` and a namespace
/// first: a namespace is the first key here.
fn metadata<'a>(exchange: &Exchange, kind: &[u8], path: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) -> bool {
    let mut path = path.peekable();
    path.next_if_eq(&&b"filter_metadata"[..]);
    let Some(key) = path.next().and_then(|key| std::str::from_utf8(key).ok()) else { return false };
    let cluster = exchange.routed_to.as_ref().map(|cluster| &cluster.shared);
    let value = match kind {
        b"route_metadata" => exchange.selection.as_ref().and_then(|selection| selection.route.action.metadata.get(key)),
        b"cluster_metadata" => cluster.and_then(|cluster| cluster.settings.metadata.get(key)),
        b"listener_metadata" => exchange.connection.listener_metadata.get(key),
        _ => {
            let Some((cluster, address)) = cluster.zip(exchange.upstream) else { return false };
            return optional(out, cluster.label(address, key));
        }
    };
    json_at(value, path).is_some_and(|value| json(out, value))
}

fn between(out: &mut Vec<u8>, from: Option<Instant>, to: Option<Instant>) -> bool {
    from.zip(to).is_some_and(|(from, to)| nanoseconds(out, to.saturating_duration_since(from).as_nanos()))
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

fn request(exchange: &Exchange, part: &[u8], name: Option<&[u8]>, out: &mut Vec<u8>) -> bool {
    let head = &exchange.request_head;
    match part {
        b"path" | b"url_path" | b"query" if !head.has_path() => false,
        b"path" => text(out, head.path.as_str()),
        b"url_path" => text(out, head.path.path()),
        b"query" => text(out, head.path.query().unwrap_or_default()),
        b"host" => text(out, head.authority()),
        b"scheme" => text(out, head.scheme.as_str()),
        b"method" => text(out, head.method.as_str()),
        b"headers" => match name {
            Some(name) if name.first() == Some(&b':') => optional(out, head.get(name)),
            Some(name) => joined(out, head.values(name)),
            None => pairs(out, head),
        },
        b"referer" => joined(out, head.values(b"referer")),
        b"useragent" => joined(out, head.values(b"user-agent")),
        b"id" => joined(out, head.values(b"x-request-id")),
        b"time" => time(exchange, out),
        b"protocol" => text(out, protocol(exchange.version)),
        b"duration" => duration(exchange, out),
        b"size" => number(out, exchange.request.bytes),
        b"total_size" => number(out, exchange.request.bytes + head_size(head)),
        b"headers_bytes" => number(out, head_size(head)),
        _ => false,
    }
}

fn time(exchange: &Exchange, out: &mut Vec<u8>) -> bool {
    nanoseconds(out, exchange.started_at().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos()))
}

fn duration(exchange: &Exchange, out: &mut Vec<u8>) -> bool {
    exchange.ended.is_some_and(|ended| nanoseconds(out, ended.duration_since(exchange.started).as_nanos()))
}

/// What a connection has of a request: what Envoy's stream info has of both.
fn request_of_tcp(exchange: &Exchange, part: &[u8], out: &mut Vec<u8>) -> bool {
    match part {
        b"time" => time(exchange, out),
        b"duration" => duration(exchange, out),
        b"size" | b"total_size" => number(out, exchange.request.bytes),
        _ => false,
    }
}

fn response_of_tcp(exchange: &Exchange, part: &[u8], out: &mut Vec<u8>) -> bool {
    match part {
        b"code_details" => !exchange.details.is_empty() && text(out, exchange.details.as_bytes()),
        b"flags" => number(out, flags::of(&exchange.details, exchange.further)),
        b"size" | b"total_size" => number(out, exchange.response.passed),
        b"backend_latency" => between(out, exchange.asked.ready, exchange.ended),
        _ => false,
    }
}

fn response(exchange: &Exchange, part: &[u8], name: Option<&[u8]>, out: &mut Vec<u8>) -> bool {
    if part == b"code_details" {
        return !exchange.details.is_empty() && text(out, exchange.details.as_bytes());
    }
    if part == b"flags" {
        return number(out, flags::of(&exchange.details, exchange.further));
    }
    let Some(head) = &exchange.response_head else { return false };
    match part {
        b"code" => number(out, u64::from(head.status.as_u16())),
        b"headers" => match name {
            Some(_) => fields(out, Some(&head.fields), name),
            None => pairs(out, head),
        },
        b"trailers" => fields(out, exchange.response.trailers.as_ref(), name),
        b"grpc_status" => {
            let status = exchange
                .response
                .trailers
                .as_ref()
                .and_then(|trailers| trailers.get("grpc-status"))
                .or_else(|| head.fields.get("grpc-status"));
            let status = status.and_then(|status| status.to_str().ok()).and_then(|status| status.parse().ok());
            status.is_some_and(|status| number(out, status))
        }
        b"size" => number(out, exchange.response.passed),
        b"total_size" => number(out, exchange.response.passed + head_size(head)),
        b"headers_bytes" => number(out, head_size(head)),
        b"backend_latency" => between(out, exchange.asked.ready, exchange.ended),
        _ => false,
    }
}

fn head_size(head: &dyn Map) -> u64 {
    let mut size = 0u64;
    head.for_each(&mut |key, value| size += (key.len() + value.len()) as u64);
    size
}
