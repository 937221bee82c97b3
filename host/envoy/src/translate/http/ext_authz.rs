//! `envoy.extensions.filters.http.ext_authz.v3` to `builtin:ext-authz`.

use serde_json::{Map, Value};

use super::per_route::{Innermost, innermost};
use crate::{
    finding::Severity,
    reader::Reader,
    translate::{common, context::Context, route::Layers},
    units::{self, Object},
};

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
    let enabled = reader.message("filter_enabled").map_or(100.0, |share| common::runtime_fraction(&share));
    if enabled < 100.0 {
        reader.refuse_at("filter_enabled", "the service is asked about all requests");
    }
    let mut config = Object::default();
    let (cluster, service) = self::service(context, reader)?;
    let grpc = service.0 == "grpc";
    config.set(service.0, service.1);
    if reader.flag("failure_mode_allow") {
        config.set("failure_mode", "allow");
    }
    reader.only("failure_mode_allow_header_add", false, "requests that were not asked about carry no mark");
    let status = reader.message("status_on_error").and_then(|status| self::status(&status));
    config.set_some("status_on_error", status);
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
    if let Some(body) = reader.message("with_request_body") {
        body.refuse_whole("a service is told about heads of requests, not about bodies");
    }
    Some(Base { cluster, config: config.into() })
}

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
        request.refuse("headers_to_add", "the service sees headers of the request only");
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

/// A route's `check_settings`. One that switches the filter off cannot be.
pub(super) fn per_route(context: &Context<'_>, base: &Base, layers: &Layers<'_, '_>, name: &str) -> Option<Value> {
    let config = match innermost(layers, name) {
        Innermost::Config(config) => config,
        Innermost::Disabled(reader) => {
            reader.refuse_here(OFF);
            return None;
        }
        Innermost::Nothing => return None,
    };
    if config.flag("disabled") {
        config.refuse_at("disabled", OFF);
        return None;
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
    let extensions = settings.entries("context_extensions");
    if !extensions.is_empty() {
        let map: Map<String, Value> =
            extensions.into_iter().map(|(key, value)| (key.to_owned(), value.clone())).collect();
        match all.get_mut("grpc").and_then(Value::as_object_mut) {
            Some(grpc) => drop(grpc.insert("context_extensions".to_owned(), map.into())),
            None => settings.report_at("context_extensions", Severity::Ignored, "a service of HTTP is told none"),
        }
    }
    settings.raw("disable_request_body_buffering");
    Some(Value::Object(all))
}

const OFF: &str = "the service is asked on every route: a route cannot switch it off";
