//! `HttpConnectionManager` to the filters of a chain.
//!
//! Envoy runs its filters in order, with the route known to all of them, and the router last. Here the router is a filter like any
//! other, before those that a route has a word about; so it is put in front of the first of these, or last.

mod access_log;
mod cors;
mod ext_authz;
mod fault;
mod header_mutation;
mod local_rate_limit;
pub(super) mod per_route;
mod rate_limit;
mod rules;
mod tracing;
mod wasm;

use serde_json::Value;

use super::{context::Context, extension, headers::Changes, on_demand, rbac, route};
use crate::{
    finding::Severity,
    place::{Place, ResourceKind},
    reader::Reader,
    units::{self, Object},
};
use per_route::{Kind, PerRoute};

pub(super) use access_log::logs;
pub(super) use local_rate_limit::limit as token_bucket;
pub(super) use wasm::plugin as wasm_plugin;

const HTTP: &str = "envoy.extensions.filters.http.";

/// What a connection manager becomes.
#[derive(Debug, Default)]
pub(super) struct Manager {
    /// Names of filters, outermost first.
    pub filters: Vec<String>,
    /// `limits:` of the listener.
    pub limits: Object,
    /// `drain:` of the listener.
    pub drain: Option<String>,
}

/// A filter that is going to be part of a chain.
struct Planned {
    envoy_name: String,
    wanted: String,
    definition: Object,
    kind: Option<Kind>,
}

pub(super) fn translate(context: &Context<'_>, reader: &Reader<'_>) -> Manager {
    let mut manager = Manager::default();
    reader.ignore("stat_prefix", "statistics have the listener's name");
    let mut around = route::Surroundings::default();
    let mut planned = Vec::new();
    let router = self::filters(context, reader, &mut planned);
    settings(reader, &mut manager, &mut around);
    let outer = self::outer(context, reader, &mut planned);
    let routes = routes(context, reader);
    // Those that a route says something about come behind the router.
    let mentions = routes.as_ref().map(|(_, value)| route::mentions(value)).unwrap_or_default();
    planned.retain(|filter| filter.kind.as_ref().is_none_or(|kind| kind.is_of_use(&filter.envoy_name, &mentions)));
    let needs =
        |filter: &Planned| filter.kind.as_ref().is_some_and(|kind| kind.needs_route(&filter.envoy_name, &mentions));
    let at = planned.iter().position(needs).unwrap_or(planned.len());
    let mut names = outer;
    let mut place_of_router = names.len();
    for (index, filter) in planned.into_iter().enumerate() {
        if index == at {
            place_of_router = names.len();
        }
        let name = context.filters.borrow_mut().add(&filter.wanted, filter.definition.into(), &names);
        if let Some(kind) = filter.kind {
            around.filters.push(PerRoute { envoy_name: filter.envoy_name, name: name.clone(), kind });
        }
        names.push(name);
        if index + 1 == at {
            place_of_router = names.len();
        }
    }
    if router {
        let config = match routes {
            Some((routes, _)) => route::translate(context, routes, &around),
            None => route::nothing(),
        };
        let mut definition = Object::default();
        definition.set("module", "builtin:router");
        definition.set("config", config);
        let name = context.filters.borrow_mut().add("router", definition.into(), &names);
        names.insert(place_of_router.min(names.len()), name);
    } else if let Some((routes, _)) = routes {
        routes.leave();
        reader.refuse_at("http_filters", "there is no router among them");
    }
    manager.filters = names;
    manager
}

/// Where the routes are.
fn routes<'a>(context: &Context<'a>, reader: &Reader<'a>) -> Option<(Reader<'a>, &'a Value)> {
    if let Some(value) = reader.raw("route_config") {
        let place = reader.place().key("route_config").unit();
        return Some((Reader::new(value, place, context.findings)?, value));
    }
    if let Some(rds) = reader.message("rds") {
        let name = rds.text_or_empty("route_config_name");
        if let Some(source) = rds.message("config_source") {
            super::bootstrap::source(context, source);
        }
        let Some(value) = context.resources.routes.get(name) else {
            if !context.alone {
                rds.refuse_at(
                    "route_config_name",
                    format!("route configuration {name:?} is not here: a control plane has it"),
                );
            }
            return None;
        };
        let place = Place::resource(ResourceKind::RouteConfiguration, name);
        return Some((Reader::new(value, place, context.findings)?, value));
    }
    reader.refuse("scoped_routes", "routes are not scoped: a virtual host, or conditions on headers, do the same");
    if !reader.has("scoped_routes") {
        reader.refuse_here("has no routes");
    }
    None
}

/// Filters that stand outside of all others: logs, ids, traces.
fn outer(context: &Context<'_>, reader: &Reader<'_>, planned: &mut Vec<Planned>) -> Vec<String> {
    let mut names = Vec::new();
    for (wanted, definition) in access_log::logs(context, reader.messages("access_log")) {
        let name = context.filters.borrow_mut().add(&wanted, definition, &names);
        names.push(name);
    }
    reader.ignore_all(
        &["access_log_flush_interval", "flush_access_log_on_new_request"],
        "a request is logged once, at its end",
    );
    if let Some(options) = reader.message("access_log_options") {
        options.ignore_whole("a request is logged once, at its end");
    }
    if let Some(definition) = identity(reader) {
        let name = context.filters.borrow_mut().add("request-id", definition, &names);
        names.push(name);
    }
    if let Some(tracer) = tracing::translate(context, reader) {
        planned.insert(
            0,
            Planned {
                envoy_name: "tracing".to_owned(),
                wanted: "tracing-context".to_owned(),
                definition: tracer.definition(),
                kind: Some(Kind::Tracing(tracer.config)),
            },
        );
    }
    names
}

/// Envoy's `stream_idle_timeout`, where none is written.
const STREAM_IDLE: std::time::Duration = std::time::Duration::from_secs(300);

/// What stands for no limit where there has to be one.
const UNLIMITED: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// `builtin:request-id`
fn identity(reader: &Reader<'_>) -> Option<Value> {
    let generates = reader.boolean("generate_request_id").unwrap_or(true);
    let edge = reader.boolean("use_remote_address") == Some(true);
    let hops = reader.bounded("xff_num_trusted_hops", 0, 1000).unwrap_or(0);
    let keeps = reader.flag("preserve_external_request_id");
    let answers = reader.flag("always_set_request_id_in_response");
    if let Some(extension) = reader.message("request_id_extension")
        && let Some((kind, config)) = extension.any("typed_config")
    {
        if !kind.ends_with(".UuidRequestIdConfig") {
            extension.refuse_here("ids of requests are UUIDs");
        }
        config.leave();
    }
    if edge {
        reader.only("skip_xff_append", false, "the client's address is appended to x-forwarded-for");
    } else {
        reader.flag("skip_xff_append");
    }
    if edge && hops == 0 {
        let reason = "what strangers say in x-forwarded-for is replaced, not appended to";
        reader.report_at("use_remote_address", Severity::Ignored, reason);
    }
    if !generates && !edge && hops == 0 {
        return None;
    }
    if !generates {
        reader.report_at(
            "generate_request_id",
            Severity::Ignored,
            "whoever passes addresses on gives requests an id as well",
        );
    }
    let mut config = Object::default();
    if edge && !keeps {
        config.set("request_id", "replace");
    }
    // Whoever does not use the remote address does not tell it either.
    if !edge {
        config.set("forwarded", "keep");
    }
    config.set_if("response", answers);
    if hops > 0 && edge {
        config.set("trusted_hops", hops);
    }
    let mut definition = Object::default();
    definition.set("module", "builtin:request-id");
    definition.set_filled("config", config);
    Some(definition.into())
}

/// How long a connection may be silent. In Envoy one limit is of connections without requests, and the other of requests; here there is one, and it is the
/// longer one, lest requests that are under way be cut off.
fn idle(reader: &Reader<'_>, common: &Reader<'_>) -> Option<std::time::Duration> {
    let own = common.limit("idle_timeout")?;
    let of_streams = reader.duration("stream_idle_timeout").unwrap_or(STREAM_IDLE);
    // None at all.
    let of_streams = if of_streams.is_zero() { UNLIMITED } else { of_streams };
    if of_streams > own {
        let reason = format!(
            "{}: requests under way count as well, so it is as long as stream_idle_timeout",
            units::duration(of_streams)
        );
        common.report_at("idle_timeout", Severity::Ignored, reason);
    }
    Some(own.max(of_streams))
}

/// Limits, timeouts, and what the proxy always does.
fn settings(reader: &Reader<'_>, manager: &mut Manager, around: &mut route::Surroundings) {
    match reader.text("codec_type") {
        Some("HTTP3") => reader.refuse_at("codec_type", "HTTP/3 is not spoken"),
        Some(one @ ("HTTP1" | "HTTP2")) => {
            reader.report_at("codec_type", Severity::Ignored, format!("{one}: clients may speak HTTP/1.1 and HTTP/2"));
        }
        _ => {}
    }
    let limits = &mut manager.limits;
    limits.set_some("header_bytes", reader.bounded("max_request_headers_kb", 8, 16_384).map(|kib| format!("{kib}KiB")));
    if let Some(common) = reader.message("common_http_protocol_options") {
        limits.set_some("headers", common.bounded("max_headers_count", 1, 10_000));
        limits.set_some("idle_timeout", idle(reader, &common).map(units::duration));
        common.only("headers_with_underscores_action", "ALLOW", "headers with underscores are passed on");
        common.ignore("max_response_headers_kb", "heads of answers are bounded by the host");
    }
    let head = reader.duration("request_headers_timeout").filter(|time| !time.is_zero());
    limits.set_some("header_timeout", head.map(units::duration));
    if let Some(http2) = reader.message("http2_protocol_options") {
        limits.set_some("streams", http2.bounded("max_concurrent_streams", 1, u32::MAX.into()));
        if let Some(probe) = http2.message("connection_keepalive") {
            probe.ignore_whole("connections of clients end with limits.idle_timeout");
        }
        super::cluster::common_http2(&http2);
    }
    if let Some(http1) = reader.message("http_protocol_options") {
        http1.ignore_all(
            &[
                "accept_http_10",
                "allow_absolute_url",
                "enable_trailers",
                "use_balsa_parser",
                "override_stream_error_on_invalid_http_message",
            ],
            "hyper's HTTP/1.1 has one way to do this",
        );
    }
    reader.refuse("http3_protocol_options", "HTTP/3 is not spoken");
    let idle = reader.duration("stream_idle_timeout");
    around.idle_timeout = idle.map(units::duration);
    manager.drain = reader.limit("drain_timeout").map(units::duration);
    reader.only(
        "request_timeout",
        "0s",
        "a request may take as long as its route allows: `timeout`, `max_stream_duration`",
    );
    reader.ignore("delayed_close_timeout", "connections are closed when their answer has gone");
    reader.ignore("stream_flush_timeout", "an answer that nobody reads ends with idle_timeout");
    for upgrade in reader.messages("upgrade_configs") {
        let kind = upgrade.text_or_empty("upgrade_type").to_ascii_lowercase();
        let enabled = upgrade.boolean("enabled").unwrap_or(true);
        upgrade.refuse("filters", "an upgrade meets the same filters as any other request");
        around.upgrades.push(route::one_upgrade(&kind, enabled));
    }
    normalisation(reader);
    if reader.text("server_header_transformation") != Some("PASS_THROUGH") {
        if let Some(server) = reader.text("server_name").filter(|name| !name.is_empty()) {
            let mut changes = Changes::default();
            changes.set("server", server);
            around.response_headers = changes;
        }
    } else {
        reader.raw("server_name");
    }
    reader.ignore("add_user_agent", "the user agent of a request is passed on as it is");
    reader.ignore("stream_error_on_invalid_http_message", "requests that are none are answered with 400");
    reader.ignore("proxy_100_continue", "interim answers are passed on");
    reader.ignore("http1_safe_max_connection_duration", "connections of clients have no age");
    if let Some(internal) = reader.message("internal_address_config") {
        internal.ignore_whole("which addresses are internal is said by the filters that care");
    }
}

/// Paths and hosts.
fn normalisation(reader: &Reader<'_>) {
    reader.only("normalize_path", true, "paths are always normalised");
    reader.only("merge_slashes", false, "slashes are not merged: both mean something to some upstreams");
    match reader.text("path_with_escaped_slashes_action") {
        None | Some("KEEP_UNCHANGED" | "IMPLEMENTATION_SPECIFIC_DEFAULT") => {}
        Some(_) => reader.refuse_at("path_with_escaped_slashes_action", "escaped slashes stay escaped"),
    }
    for key in ["strip_matching_host_port", "strip_any_host_port"] {
        if reader.flag(key) {
            let reason = "ports do not count for virtual hosts, but go on to the upstream";
            reader.report_at(key, Severity::Ignored, reason);
        }
    }
}

/// Plans `http_filters`; whether there is a router among them.
fn filters(context: &Context<'_>, reader: &Reader<'_>, planned: &mut Vec<Planned>) -> bool {
    let mut router = false;
    for filter in reader.messages("http_filters").into_iter().map(Reader::unit) {
        if router {
            filter.refuse_whole("stands behind the router, which is the last");
            continue;
        }
        let name = filter.text_or_empty("name").to_owned();
        let optional = filter.flag("is_optional");
        let disabled = filter.flag("disabled");
        if is_bare_router(&filter, &name) {
            filter.raw("typed_config");
            router = true;
            continue;
        }
        let warming = |discovery: &Reader<'_>| {
            discovery.ignore("apply_default_config_without_warming", "a default applies until there is another");
        };
        let Some(config) = extension::configuration(context, &filter, &name, warming) else {
            filter.leave();
            continue;
        };
        if disabled {
            filter.report_at("disabled", Severity::Ignored, "the filter is left out; routes cannot switch it on");
            config.leave();
            continue;
        }
        let kind = config.type_name();
        if kind == "envoy.extensions.filters.http.router.v3.Router" {
            self::router(&config);
            router = true;
            continue;
        }
        planned.extend(self::filter(context, &name, config, optional));
    }
    router
}

/// The router needs no configuration, and older files give it none.
fn is_bare_router(filter: &Reader<'_>, name: &str) -> bool {
    let typed = filter.message("typed_config").is_some_and(|config| {
        let typed = !config.type_name().is_empty();
        config.leave();
        typed
    });
    !typed && !filter.has("config_discovery") && matches!(name, "envoy.filters.http.router" | "envoy.router")
}

fn router(config: &Reader<'_>) {
    config.ignore("dynamic_stats", "routes are counted by their name");
    config.ignore("start_child_span", "every attempt has a span of its own");
    config.ignore("suppress_envoy_headers", "x-envoy-* headers are not added to answers");
    config.ignore("suppress_grpc_request_failure_code_stats", "answers of gRPC are counted by their status");
    config.ignore("respect_expected_rq_timeout", "x-envoy-* headers of requests are passed on as they are");
    for log in config.messages("upstream_log") {
        log.refuse_whole("attempts are told by traces, not by a log");
    }
}

/// Plans one filter.
fn filter(context: &Context<'_>, name: &str, config: Reader<'_>, optional: bool) -> Option<Planned> {
    let kind = config.type_name();
    let envoy_name = name.to_owned();
    let known = kind.strip_prefix(HTTP).unwrap_or_default();
    let plan = |wanted: &str, definition: Object, kind: Option<Kind>| {
        Some(Planned { envoy_name: envoy_name.clone(), wanted: wanted.to_owned(), definition, kind })
    };
    match known {
        "wasm.v3.Wasm" => {
            let plugin = config.message("config")?;
            let (wanted, definition) = wasm::plugin(context, &plugin, name)?;
            plan(&wanted, definition, Some(Kind::Wasm))
        }
        "cors.v3.Cors" => plan("cors", cors::nobody(), Some(Kind::Cors)),
        "fault.v3.HTTPFault" => plan("fault", fault::definition(&config), Some(Kind::Fault)),
        "header_mutation.v3.HeaderMutation" => {
            let base = header_mutation::Base::of(&config);
            plan("headers", base.definition(), Some(Kind::Headers(Box::new(base))))
        }
        "ext_authz.v3.ExtAuthz" => {
            let Some(base) = ext_authz::translate(context, &config) else {
                config.leave();
                return None;
            };
            plan("ext-authz", base.definition(), Some(Kind::ExtAuthz(base)))
        }
        "local_ratelimit.v3.LocalRateLimit" => {
            let base = local_rate_limit::config(&config, &[], "all");
            plan("rate-limit", local_rate_limit::definition(base), Some(Kind::LocalRateLimit))
        }
        "ratelimit.v3.RateLimit" => {
            let Some(base) = rate_limit::Base::of(context, &config) else {
                config.leave();
                return None;
            };
            plan("global-rate-limit", base.definition(), Some(Kind::RateLimit(base)))
        }
        "rbac.v3.RBAC" => {
            let Some(definition) = rbac::definition(&config) else {
                config.leave();
                return None;
            };
            plan("rbac", definition, Some(Kind::Rbac))
        }
        "on_demand.v3.OnDemand" => {
            on_demand::filter(context, &config);
            None
        }
        _ => {
            let reason = format!("the filter {} is not supported", kind.strip_prefix(HTTP).unwrap_or(kind));
            if optional && !context_knows(kind) {
                config.ignore_whole(format!("{reason}, and optional"));
            } else {
                config.refuse_whole(match hint(known) {
                    Some(hint) => format!("{reason}: {hint}"),
                    None => reason,
                });
            }
            None
        }
    }
}

/// `is_optional` is for filters that a proxy does not know; one of Envoy's own is missed.
fn context_knows(kind: &str) -> bool {
    kind.starts_with(HTTP)
}

/// What does the same here, or nearly.
fn hint(kind: &str) -> Option<&'static str> {
    Some(match kind.split('.').next().unwrap_or_default() {
        "grpc_web" | "grpc_http1_bridge" | "grpc_json_transcoder" => "a Wasm filter could translate bodies",
        "buffer" => "`limits.buffer` of the listener bounds what is held",
        "compressor" | "decompressor" => "bodies are passed on as they are",
        "lua" | "dynamic_modules" | "ext_proc" => "write it as a Wasm filter, with fyke-sdk",
        "health_check" => "`respond` of a route answers without the upstream",
        "stateful_session" => "`hash: [{ cookie: ... }]` of a route keeps clients with an endpoint",
        "csrf" | "jwt_authn" | "oauth2" | "basic_auth" | "api_key_auth" => {
            "WITHOUT IT REQUESTS ARE LET IN THAT WERE NOT; `builtin:ext-authz` asks a service about each"
        }
        _ => return None,
    })
}

/// `envoy.config.core.v3.TypedExtensionConfig`, by itself.
pub(super) fn check_extension(context: &Context<'_>, value: &Value, place: Place) {
    let name = place.location().name;
    let Some(reader) = Reader::new(value, place, context.findings) else { return };
    reader.text("name");
    let Some((kind, config)) = reader.any("typed_config") else {
        reader.refuse_here("has no typed_config");
        return;
    };
    if kind == "envoy.extensions.filters.http.router.v3.Router" {
        router(&config);
    } else if kind.starts_with("envoy.extensions.filters.network.") {
        super::listener::check_network_filter(context, config);
    } else {
        drop(filter(context, &name, config, false));
    }
}
