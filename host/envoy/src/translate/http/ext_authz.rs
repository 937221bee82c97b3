//! `envoy.extensions.filters.http.ext_authz.v3` to `builtin:ext-authz`.

use serde_json::{Map, Value};

use super::per_route::{Innermost, unwrapped};
use crate::{
    finding::Severity,
    reader::Reader,
    translate::{common, context::Context, format, route::Layers},
    units::{self, Object},
};

/// What a listener holds of a request, where its configuration does not say (`limits.buffer`).
const HELD: u64 = 1 << 20;

/// What the filter does on every route.
#[derive(Debug, Clone)]
pub(in crate::translate) struct Base {
    cluster: String,
    config: Map<String, Value>,
}

impl Base {
    pub fn definition(&self) -> Object {
        let mut allow = Object::default();
        allow.set("clusters", [self.cluster.as_str()].map(Value::from).to_vec());
        let mut definition = Object::default();
        definition.set("module", "builtin:ext-authz");
        definition.set("allow", allow);
        definition.set("config", self.config.clone());
        definition
    }
}

pub(super) fn translate(context: &Context<'_>, reader: &Reader<'_>) -> Option<Base> {
    common::api_version(reader, "transport_api_version");
    let mut config = Object::default();
    let (cluster, service) = self::service(context, reader)?;
    let grpc = service.0 == "grpc";
    config.set(service.0, service.1);
    failures(reader, &mut config);
    if let Some(body) = reader.message("with_request_body") {
        config.set_some("body", self::body(&body, grpc));
    }
    share(reader, &mut config);
    reader.only("enable_dynamic_metadata_ingestion", true, "what the service says becomes properties of the stream");
    reader.ignore("clear_route_cache", "the route is chosen again where the router stands behind this filter");
    reader.ignore("charge_cluster_response_stats", "verdicts are counted by the filter");
    reader.ignore("stat_prefix", "verdicts are counted under the filter's name");
    reader.ignore("include_peer_certificate", "principals of the client's certificate are told, not the certificate");
    reader.ignore("validate_mutations", "headers that make no sense are never set");
    reader.ignore("encode_raw_headers", "headers are told as text");
    if let Some(list) = reader.message("allowed_headers") {
        if grpc {
            list.ignore_whole("a service of gRPC is told all headers");
        } else {
            let names = names(&list);
            let mut http = config_of(&config, "http");
            let mut all: Vec<Value> =
                http.get("request_headers").and_then(Value::as_array).cloned().unwrap_or_default();
            all.extend(names.into_iter().map(Value::from));
            http.insert("request_headers".to_owned(), all.into());
            config.set("http", http);
        }
    }
    Some(Base { cluster, config: config.into() })
}

/// What becomes of requests while the service cannot be asked.
fn failures(reader: &Reader<'_>, config: &mut Object) {
    let allow = reader.flag("failure_mode_allow");
    if allow {
        config.set("failure_mode", "allow");
    }
    let status = reader.message("status_on_error").and_then(|status| self::status(&status));
    config.set_some("status_on_error", status);
    if reader.flag("failure_mode_allow_header_add") {
        if allow {
            config.set("failure_header", true);
        } else {
            let reason = "means nothing without failure_mode_allow";
            reader.report_at("failure_mode_allow_header_add", Severity::Ignored, reason);
        }
    }
}

/// Which requests the service is asked about, and what becomes of the others.
fn share(reader: &Reader<'_>, config: &mut Object) {
    let enabled = reader.message("filter_enabled").map_or(100.0, |share| common::runtime_fraction(&share));
    let deny = reader.message("deny_at_disable").is_some_and(|flag| {
        flag.ignore("runtime_key", "no layer of a runtime sets it: the default counts");
        flag.flag("default_value")
    });
    if enabled < 100.0 {
        config.set("fraction", units::percent(enabled));
        if deny {
            config.set("unasked", "deny");
        }
    }
}

/// `BufferSettings`
fn body(reader: &Reader<'_>, grpc: bool) -> Option<Value> {
    let most = u64::from(u32::MAX);
    let mut body = Object::default();
    let Some(max) = reader.unsigned("max_request_bytes").filter(|max| (1..=most).contains(max)) else {
        reader.refuse_at("max_request_bytes", format!("is not from 1 to {most}"));
        reader.raw("allow_partial_message");
        reader.raw("pack_as_bytes");
        return None;
    };
    body.set("max", units::bytes(max));
    if max > HELD {
        reader.refuse_at("max_request_bytes", BEYOND);
    }
    if reader.flag("allow_partial_message") {
        body.set("partial", true);
        reader.refuse_at("allow_partial_message", BEYOND);
    }
    if reader.flag("pack_as_bytes") {
        if grpc {
            body.set("as_bytes", true);
        } else {
            reader.report_at("pack_as_bytes", Severity::Ignored, "a body goes over HTTP as it is");
        }
    }
    Some(body.into())
}

const BEYOND: &str =
    "a body is held whole while the service is asked: one above limits.buffer of the listener is answered with 413";

fn config_of(config: &Object, key: &str) -> Map<String, Value> {
    let map: Map<String, Value> = config.clone().into();
    map.get(key).and_then(Value::as_object).cloned().unwrap_or_default()
}

/// The cluster, and how it is asked.
fn service(context: &Context<'_>, reader: &Reader<'_>) -> Option<(String, (&'static str, Value))> {
    if let Some(grpc) = reader.message("grpc_service") {
        let (cluster, timeout) = common::grpc_service(&grpc)?;
        if !context.sends_requests(cluster, &grpc.place().key("envoy_grpc").key("cluster_name")) {
            return None;
        }
        let mut object = Object::default();
        object.set("cluster", cluster);
        object.set_some("timeout", timeout.map(units::duration));
        return Some((cluster.to_owned(), ("grpc", object.into())));
    }
    let Some(http) = reader.message("http_service") else {
        reader.refuse_here("names no service");
        return None;
    };
    let uri = http.message("server_uri")?;
    let cluster = uri.text_or_empty("cluster");
    // Its path is not sent; that is what path_prefix is for.
    uri.ignore("uri", "the cluster says where the service is");
    if !context.sends_requests(cluster, &uri.place().key("cluster")) {
        http.leave();
        return None;
    }
    let mut object = Object::default();
    object.set("cluster", cluster);
    object.set_some("timeout", uri.limit("timeout").map(units::duration));
    object.set_some("path_prefix", http.text("path_prefix").filter(|prefix| !prefix.is_empty()));
    if let Some(request) = http.message("authorization_request") {
        if let Some(list) = request.message("allowed_headers") {
            object.set_filled("request_headers", names(&list));
        }
        object.set_filled("headers_to_add", added(&request));
    }
    let response = http.message("authorization_response");
    if let Some(list) = response.as_ref().and_then(|response| response.message("allowed_upstream_headers")) {
        object.set_filled("upstream_headers", names(&list));
    }
    let shown = response.as_ref().and_then(|response| response.message("allowed_client_headers"));
    object.set(
        "client_headers",
        match shown {
            None => vec!["*".to_owned()],
            // Nothing named is nothing kept back.
            Some(list) if !list.has("patterns") => vec!["*".to_owned()],
            Some(list) => {
                let mut shown = names(&list);
                // Envoy adds these to whatever is named.
                shown.extend(["www-authenticate", "location"].map(str::to_owned));
                shown.dedup();
                shown
            }
        },
    );
    if let Some(retry) = http.message("retry_policy") {
        retry.refuse_whole("the service is asked once");
    }
    Some((cluster.to_owned(), ("http", object.into())))
}

/// `headers_to_add`, which take the place of the request's own.
fn added(request: &Reader<'_>) -> Map<String, Value> {
    let mut added = Map::new();
    for header in request.messages("headers_to_add") {
        let name = header.text_or_empty("key").to_ascii_lowercase();
        let value = header.text_or_empty("value");
        header.refuse("raw_value", "is no text: write it as value");
        let framing = ["", "host", "content-length", "transfer-encoding", "connection", "x-envoy-auth-partial-body"];
        if name.starts_with(':') || framing.contains(&name.as_str()) {
            header.refuse_at("key", format!("{name:?} is said by the filter itself"));
        } else if let Some(problem) = format::problem(value, format::IN_HEADERS) {
            header.refuse_at("value", problem);
        } else {
            added.insert(name, value.into());
        }
    }
    added
}

/// Names of headers; here they are whole.
fn names(list: &Reader<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for pattern in list.messages("patterns") {
        match common::string_matcher(&pattern) {
            Some(matches) if matches.kind == "exact" => names.push(matches.text.to_ascii_lowercase()),
            Some(matches) => pattern.refuse_at(matches.kind, "names of headers are whole"),
            None => {}
        }
    }
    names
}

/// `envoy.type.v3.HttpStatus`, whose enumerators are called `Forbidden` and so on.
pub(super) fn status(reader: &Reader<'_>) -> Option<u16> {
    let name = reader.text("code")?;
    let found = STATUSES.iter().find(|(known, _)| *known == name).map(|(_, status)| *status);
    if found.is_none() {
        reader.refuse_at("code", format!("{name} is no status that can be answered"));
    }
    found
}

const STATUSES: &[(&str, u16)] = &[
    ("OK", 200),
    ("NoContent", 204),
    ("BadRequest", 400),
    ("Unauthorized", 401),
    ("PaymentRequired", 402),
    ("Forbidden", 403),
    ("NotFound", 404),
    ("MethodNotAllowed", 405),
    ("NotAcceptable", 406),
    ("RequestTimeout", 408),
    ("Conflict", 409),
    ("Gone", 410),
    ("PreconditionFailed", 412),
    ("PayloadTooLarge", 413),
    ("ExpectationFailed", 417),
    ("UnprocessableEntity", 422),
    ("Locked", 423),
    ("FailedDependency", 424),
    ("UpgradeRequired", 426),
    ("PreconditionRequired", 428),
    ("TooManyRequests", 429),
    ("RequestHeaderFieldsTooLarge", 431),
    ("InternalServerError", 500),
    ("NotImplemented", 501),
    ("BadGateway", 502),
    ("ServiceUnavailable", 503),
    ("GatewayTimeout", 504),
    ("InsufficientStorage", 507),
];

/// What a route says: that the service is not asked, or how (`check_settings`). Of what is around it only `context_extensions` count as well.
pub(super) fn per_route(context: &Context<'_>, base: &Base, layers: &Layers<'_, '_>, name: &str) -> Option<Value> {
    let mut configs = layers.configs(name);
    let innermost = unwrapped(configs.pop()?);
    let mut extensions = Map::new();
    for outer in configs {
        around(unwrapped(outer), &mut extensions);
    }
    let config = match innermost {
        Innermost::Config(config) => config,
        Innermost::Disabled(_) => return Some(off()),
        Innermost::Nothing => return None,
    };
    if config.flag("disabled") {
        return Some(off());
    }
    let settings = config.message("check_settings")?;
    let mut all = base.config.clone();
    if settings.has("grpc_service") || settings.has("http_service") {
        let (cluster, service) = self::service(context, &settings)?;
        if cluster != base.cluster {
            settings.refuse_here(format!("the filter may ask cluster {:?} only", base.cluster));
            return None;
        }
        all.shift_remove("grpc");
        all.shift_remove("http");
        all.insert(service.0.to_owned(), service.1);
    }
    extended(&settings, &mut extensions);
    if !extensions.is_empty() {
        match all.get_mut("grpc").and_then(Value::as_object_mut) {
            Some(grpc) => drop(grpc.insert("context_extensions".to_owned(), extensions.into())),
            None if settings.has("context_extensions") => {
                settings.report_at("context_extensions", Severity::Ignored, "a service of HTTP is told none");
            }
            None => {}
        }
    }
    let grpc = all.contains_key("grpc");
    if settings.flag("disable_request_body_buffering") {
        all.shift_remove("body");
    }
    if let Some(body) = settings.message("with_request_body").and_then(|body| self::body(&body, grpc)) {
        all.insert("body".to_owned(), body);
    }
    // The filter's own may be for a service of gRPC.
    if !grpc && let Some(body) = all.get_mut("body").and_then(Value::as_object_mut) {
        body.shift_remove("as_bytes");
    }
    Some(Value::Object(all))
}

/// What a layer says that is not the innermost one.
fn around(layer: Innermost<'_>, extensions: &mut Map<String, Value>) {
    match layer {
        Innermost::Config(config) => {
            if let Some(settings) = config.message("check_settings") {
                extended(&settings, extensions);
                settings.leave();
            }
            // It is translated where it counts.
            config.leave();
        }
        Innermost::Disabled(reader) => reader.leave(),
        Innermost::Nothing => {}
    }
}

fn extended(settings: &Reader<'_>, extensions: &mut Map<String, Value>) {
    extensions
        .extend(settings.entries("context_extensions").into_iter().map(|(key, value)| (key.to_owned(), value.clone())));
}

/// The configuration of a route on which nobody is asked.
fn off() -> Value {
    let mut config = Object::default();
    config.set("disabled", true);
    config.into()
}
