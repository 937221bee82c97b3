//! `HttpConnectionManager.Tracing` to `builtin:tracing-context` and `tracing:`.

use serde_json::{Map, Value};

use crate::{
    reader::Reader,
    translate::{common, context::Context},
    units::{self, Object},
};

const OPEN_TELEMETRY: &str = "envoy.config.trace.v3.OpenTelemetryConfig";

/// The filter that continues traces.
pub(super) struct Tracer {
    pub config: Value,
}

impl Tracer {
    pub fn definition(&self) -> Object {
        let mut definition = Object::default();
        definition.set("module", "builtin:tracing-context");
        definition.set_filled("config", self.config.clone());
        definition
    }
}

pub(super) fn translate(context: &Context<'_>, reader: &Reader<'_>) -> Option<Tracer> {
    let tracing = reader.message("tracing")?;
    let provider = tracing.message("provider");
    let exported = match &provider {
        Some(provider) => self::provider(context, provider),
        None => {
            tracing.refuse_here("has no provider");
            false
        }
    };
    tracing.ignore("verbose", "events of a stream are in its spans");
    tracing.ignore("max_path_tag_length", "values of tags are cut at 1,024 bytes");
    tracing.ignore("spawn_upstream_span", "every attempt has a span of its own");
    tracing.ignore("upstream_operation", "spans of attempts are called after the method");
    let share = |key: &str| tracing.message(key).map(|share| common::percent(&share));
    if share("overall_sampling").is_some_and(|share| share < 100.0) {
        tracing.refuse_at("overall_sampling", "is a number here, and not a share: `max_per_second`");
    }
    let mut config = Object::default();
    config.set("sample", units::percent(share("random_sampling").unwrap_or(100.0)));
    if share("client_sampling").is_some_and(|share| share < 100.0) {
        config.set("force_headers", ["x-envoy-force-trace"].map(Value::from).to_vec());
    }
    config.set_filled("tags", tags(&tracing));
    operation(&tracing, &mut config);
    exported.then(|| Tracer { config: config.into() })
}

/// Where spans go: a part of the whole proxy's configuration, the same for all connection managers.
fn provider(context: &Context<'_>, provider: &Reader<'_>) -> bool {
    provider.text("name");
    let Some((kind, config)) = provider.any("typed_config") else {
        provider.refuse_here("has no typed_config");
        return false;
    };
    if kind != OPEN_TELEMETRY {
        config.refuse_whole(format!("spans are exported by OpenTelemetry's protocol, not by {kind}"));
        return false;
    }
    let mut collector = Object::default();
    let mut address = None;
    let service = config.message("grpc_service");
    if let Some((cluster, timeout)) = service.as_ref().and_then(common::grpc_service) {
        context.sends_requests(cluster, &config.place().key("grpc_service"));
        address = context.address_of(cluster, &config.place().key("grpc_service"));
        collector.set_some("timeout", timeout.map(units::duration));
    } else if let Some(service) = config.message("http_service") {
        if let Some(uri) = service.message("http_uri") {
            let text = uri.text_or_empty("uri");
            // The URI says the host and the path; where the service is, the cluster does.
            let cluster = uri.text_or_empty("cluster");
            let found = context.address_of(cluster, &uri.place().key("cluster"));
            address = found.map(|found| {
                if found.contains("://") || found.starts_with("unix:") { found } else { format!("http://{found}") }
            });
            let path = origin(text).and_then(|origin| text.get(origin.len()..)).unwrap_or_default();
            if !matches!(path, "" | "/" | "/v1/traces") {
                uri.refuse_at("uri", "spans go to /v1/traces");
            }
            collector.set_some("timeout", uri.limit("timeout").map(units::duration));
            collector.set("protocol", "http");
        }
        let headers = service.messages("request_headers_to_add");
        let headers: Map<String, Value> = headers
            .iter()
            .filter_map(|option| {
                let header = option.message("header")?;
                option.raw("append_action");
                Some((header.text_or_empty("key").to_owned(), Value::from(header.text_or_empty("value"))))
            })
            .collect();
        collector.set_filled("headers", headers);
    }
    for detector in config.messages("resource_detectors") {
        detector.ignore_whole("a resource has the service's name and the node's");
    }
    config.ignore("max_cache_size", "spans wait in a queue of the proxy");
    if let Some(sampler) = config.message("sampler") {
        sampler.refuse_whole("`sample` and the parent's decision say which traces are recorded");
    }
    let Some(address) = address else {
        config.refuse_here("has no collector that is known");
        return false;
    };
    let mut tracing = Object::default();
    if collector.is_empty() {
        tracing.set("otlp", address);
    } else {
        let mut full = Object::default();
        full.set("address", address);
        let rest: Map<String, Value> = collector.into();
        for (key, value) in rest {
            full.set(&key, value);
        }
        tracing.set("otlp", full);
    }
    tracing.set_some("service", config.text("service_name").filter(|name| !name.is_empty()));
    let tracing = Value::from(tracing);
    let mut there = context.tracing.borrow_mut();
    if there.as_ref().is_some_and(|there| *there != tracing) {
        config.refuse_here("the proxy has one collector, which another connection manager names otherwise");
    }
    there.get_or_insert(tracing);
    true
}

/// Scheme, host and port of a URL.
fn origin(uri: &str) -> Option<&str> {
    let rest = uri.split_once("://").map(|(scheme, _)| scheme.len() + 3)?;
    let length = uri.get(rest..)?.find('/').map_or(uri.len(), |slash| rest + slash);
    uri.get(..length)
}

fn tags(reader: &Reader<'_>) -> Map<String, Value> {
    let mut tags = Map::new();
    for tag in reader.messages("custom_tags") {
        let name = tag.text_or_empty("tag");
        let mut object = Object::default();
        if let Some(literal) = tag.message("literal") {
            object.set("literal", literal.text_or_empty("value"));
        } else if let Some(header) = tag.message("request_header") {
            object.set("header", header.text_or_empty("name").to_ascii_lowercase());
            object.set_some("default", default_of(&header));
        } else if let Some(metadata) = tag.message("metadata") {
            match property(&metadata) {
                Some(property) => object.set("property", property),
                None => continue,
            }
            object.set_some("default", default_of(&metadata));
        } else {
            for key in ["environment", "value"] {
                tag.refuse(key, "a tag is text, a header of the request or a property of the stream");
            }
            continue;
        }
        tags.insert(name.to_owned(), object.into());
    }
    tags
}

fn default_of<'a>(reader: &Reader<'a>) -> Option<&'a str> {
    reader.text("default_value").filter(|value| !value.is_empty())
}

/// A path in the metadata of the route, as a property.
fn property(metadata: &Reader<'_>) -> Option<String> {
    let kind = metadata.message("kind");
    let of_route = kind.as_ref().is_some_and(|kind| kind.message("route").is_some());
    if !of_route {
        metadata.refuse_here("only the route's metadata is read");
        return None;
    }
    let key = metadata.message("metadata_key")?;
    let mut path = vec!["route_metadata".to_owned(), key.text_or_empty("key").to_owned()];
    path.extend(key.messages("path").iter().filter_map(|segment| segment.text("key").map(str::to_owned)));
    Some(path.join("."))
}

fn operation(reader: &Reader<'_>, config: &mut Object) {
    if let Some(operation) = reader.text("operation").filter(|operation| !operation.is_empty()) {
        if operation.contains('%') {
            reader.refuse_at("operation", "properties in it are written %{route_name}");
        } else {
            config.set("operation", operation);
        }
    }
}

/// What a route says instead. Nothing is inherited by a route's configuration, so what the manager says is repeated.
pub(super) fn per_route(base: &Value, tracing: Option<&Reader<'_>>, decorator: Option<&Reader<'_>>) -> Value {
    let mut config: Map<String, Value> = base.as_object().cloned().unwrap_or_default();
    if let Some(tracing) = tracing {
        let share = |key: &str| tracing.message(key).map(|share| common::fractional(&share));
        if let Some(share) = share("random_sampling") {
            config.insert("sample".to_owned(), units::percent(share).into());
        }
        if share("overall_sampling").is_some_and(|share| share < 100.0) {
            tracing.refuse_at("overall_sampling", "is a number here, and not a share: `max_per_second`");
        }
        if share("client_sampling").is_some_and(|share| share < 100.0) {
            config.insert("force_headers".to_owned(), vec!["x-envoy-force-trace"].into());
        }
        let own = tags(tracing);
        if !own.is_empty() {
            let mut all = config.get("tags").and_then(Value::as_object).cloned().unwrap_or_default();
            all.extend(own);
            config.insert("tags".to_owned(), all.into());
        }
        let mut named = Object::default();
        operation(tracing, &mut named);
        tracing.ignore("upstream_operation", "spans of attempts are called after the method");
        config.extend(Map::from(named));
    }
    if let Some(decorator) = decorator {
        decorator.ignore("propagate", "the name of a span is not sent to the upstream");
        config.insert("operation".to_owned(), decorator.text_or_empty("operation").into());
    }
    Value::Object(config)
}
