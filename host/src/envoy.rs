//! A filter in the words of Envoy: for `fyke filter envoy-config`, and for tests that run there.
//!
//! Field names are those of Envoy's v3 API.

use std::{fmt::Write as _, net::SocketAddr, path::Path};

use serde_json::{Value, json};

/// What kind of chain a filter belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// `http_filters` of a connection manager.
    Http,
    /// `filters` of a filter chain.
    Tcp,
}

/// The filter's entry in a chain (`envoy.filters.http.wasm`, `envoy.filters.network.wasm`). `pauses`: its headers are held while the
/// body comes.
#[must_use]
pub fn filter(layer: Layer, name: &str, module: &Path, configuration: &str, pauses: bool) -> Value {
    let (extension, kind) = match layer {
        Layer::Http => ("envoy.filters.http.wasm", "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"),
        Layer::Tcp => {
            ("envoy.filters.network.wasm", "type.googleapis.com/envoy.extensions.filters.network.wasm.v3.Wasm")
        }
    };
    let mut config = json!({
        "name": name,
        "vm_config": { "runtime": "envoy.wasm.runtime.v8", "code": { "local": { "filename": module } } },
    });
    if let Some(map) = config.as_object_mut() {
        if !configuration.is_empty() {
            let value = json!({ "@type": "type.googleapis.com/google.protobuf.StringValue", "value": configuration });
            map.insert("configuration".to_owned(), value);
        }
        if pauses {
            map.insert("allow_on_headers_stop_iteration".to_owned(), json!(true));
        }
    }
    json!({ "name": extension, "typed_config": { "@type": kind, "config": config } })
}

/// A cluster with one endpoint.
#[must_use]
pub fn cluster(name: &str, endpoint: SocketAddr, http2: bool) -> Value {
    let mut cluster = json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address(endpoint) } }] }],
        },
    });
    if let (true, Some(map)) = (http2, cluster.as_object_mut()) {
        map.insert(
            "typed_extension_protocol_options".to_owned(),
            json!({ "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": { "http2_protocol_options": {} },
            } }),
        );
    }
    cluster
}

/// Rules that make labels again of what the SDK wrote into metrics' names, `name.label=.=value;` (`stats_config`).
#[must_use]
pub fn stats_tags(labels: &[String]) -> Value {
    let rule = |label: &String| json!({ "tag_name": label, "regex": format!("(\\.{label}=\\.=(.*?);)(?:\\.|$)") });
    json!({ "stats_tags": labels.iter().map(rule).collect::<Vec<_>>() })
}

fn address(address: SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
}

/// A whole Envoy: one listener with one HTTP filter, everything to the cluster `upstream`.
#[must_use]
pub fn bootstrap(listen: SocketAddr, admin: SocketAddr, filter: &Value, clusters: &[Value], upstream: &str) -> Value {
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "test",
        "codec_type": "AUTO",
        "route_config": { "virtual_hosts": [{
            "name": "all", "domains": ["*"],
            "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": upstream } }],
        }] },
        "http_filters": [filter, {
            "name": "envoy.filters.http.router",
            "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
        }],
    });
    json!({
        "admin": { "address": address(admin) },
        "static_resources": {
            "listeners": [{
                "name": "test",
                "address": address(listen),
                "filter_chains": [{ "filters": [{
                    "name": "envoy.filters.network.http_connection_manager", "typed_config": manager,
                }] }],
            }],
            "clusters": clusters,
        },
    })
}

/// As a YAML document, in block style.
#[must_use]
pub fn yaml(value: &Value) -> String {
    let mut out = String::new();
    write_yaml(&mut out, value, 0);
    out
}

fn write_yaml(out: &mut String, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (at, (key, value)) in map.iter().enumerate() {
                // The first key stands where the caller has come to.
                let lead = if at == 0 { "" } else { indent.as_str() };
                let key = if key.starts_with('@') { format!("{key:?}") } else { key.clone() };
                let _ = write!(out, "{lead}{key}:");
                write_below(out, value, depth + 1);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (at, item) in items.iter().enumerate() {
                let lead = if at == 0 { "" } else { indent.as_str() };
                let _ = write!(out, "{lead}- ");
                write_yaml(out, item, depth + 1);
            }
        }
        scalar => {
            let _ = writeln!(out, "{scalar}");
        }
    }
}

fn write_below(out: &mut String, value: &Value, depth: usize) {
    let is_block =
        value.as_object().is_some_and(|map| !map.is_empty()) || value.as_array().is_some_and(|a| !a.is_empty());
    if is_block {
        let _ = write!(out, "\n{}", "  ".repeat(depth));
    } else {
        out.push(' ');
    }
    write_yaml(out, value, depth);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_reads_as_what_was_written() {
        let value = json!({
            "@type": "a.b/C", "list": [{ "a": 1, "b": [] }, { "c": { "d": "x: y", "e": null } }, [1, [2]]],
            "empty": {}, "text": "\"quoted\"\nlines",
        });
        let text = yaml(&value);
        let read = <saphyr::Yaml<'_> as saphyr::LoadableYamlNode>::load_from_str(&text).unwrap();
        assert_eq!(read.len(), 1, "{text}");
        assert!(text.contains("\"@type\": \"a.b/C\"\n"), "{text}");
        assert!(text.contains("list:\n  - a: 1\n    b: []\n"), "{text}");
        assert_eq!(read[0]["list"][1]["c"]["d"].as_str(), Some("x: y"));
        assert_eq!(read[0]["list"][2][1][0].as_integer(), Some(2));
        assert_eq!(read[0]["text"].as_str(), Some("\"quoted\"\nlines"));
    }

    #[test]
    fn tag_rules_find_what_the_sdk_writes() {
        let tags = stats_tags(&["kind".to_owned()]);
        assert_eq!(tags["stats_tags"][0]["regex"], r"(\.kind=\.=(.*?);)(?:\.|$)");
    }
}
