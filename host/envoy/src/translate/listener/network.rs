//! Filters of connections: `envoy.config.listener.v3.Filter`.

use serde_json::Value;

use super::{
    chain::{Chain, Protocol},
    redis,
};
use crate::{
    finding::Severity,
    reader::Reader,
    translate::{common, context::Context, extension, http, on_demand, rbac},
    units::{self, Object},
};

const NETWORK: &str = "envoy.extensions.filters.network.";
const HTTP: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/// What a chain speaks, by its last filter.
pub(super) fn protocol(filters: &[Reader<'_>]) -> Protocol {
    let http = filters.iter().any(|filter| {
        filter.message("typed_config").is_some_and(|config| {
            let http = config.type_name() == HTTP;
            // It is looked at only here.
            config.leave();
            http
        })
    });
    if http { Protocol::Http } else { Protocol::Tcp }
}

/// Translates the filters of a chain; whether the last one does something with connections.
pub(super) fn filters(context: &Context<'_>, filters: Vec<Reader<'_>>, chain: &mut Chain) -> bool {
    let mut terminated = false;
    for filter in filters.into_iter().map(Reader::unit) {
        if terminated {
            filter.refuse_whole("stands behind a filter that is the last");
            continue;
        }
        let name = filter.text_or_empty("name").to_owned();
        let warming = |discovery: &Reader<'_>| {
            discovery.raw("apply_default_config_without_warming");
        };
        let Some(config) = extension::configuration(context, &filter, &name, warming) else {
            filter.leave();
            continue;
        };
        let kind = config.type_name();
        if chain.protocol == Protocol::Http && kind != HTTP {
            config.refuse_whole(format!(
                "{kind} stands in front of HTTP: on a listener of HTTP all filters are of requests"
            ));
            continue;
        }
        terminated = one(context, config, &name, chain);
    }
    terminated
}

/// One filter; whether it is the last.
fn one(context: &Context<'_>, config: Reader<'_>, name: &str, chain: &mut Chain) -> bool {
    let kind = config.type_name();
    let mut add = |wanted: &str, definition: Object| {
        let name = context.filters.borrow_mut().add(wanted, definition.into(), &chain.filters);
        chain.filters.push(name);
    };
    match kind.strip_prefix(NETWORK).unwrap_or_default() {
        "http_connection_manager.v3.HttpConnectionManager" => {
            let manager = http::translate(context, &config);
            chain.filters.extend(manager.filters);
            chain.limits = manager.limits;
            chain.drain = manager.drain;
            true
        }
        "tcp_proxy.v3.TcpProxy" => tcp_proxy(context, &config, chain),
        "mongo_proxy.v3.MongoProxy" => {
            add("mongo", mongo(context, &config));
            false
        }
        "redis_proxy.v3.RedisProxy" => match redis::translate(context, &config) {
            Some((cluster, definition)) => {
                add("redis", definition);
                chain.target.set("cluster", cluster);
                true
            }
            None => {
                config.leave();
                false
            }
        },
        "local_ratelimit.v3.LocalRateLimit" => {
            if let Some(definition) = local_rate_limit(&config) {
                add("rate-limit", definition);
            }
            false
        }
        "rbac.v3.RBAC" => {
            match rbac::definition(&config) {
                Some(definition) => add("rbac", definition),
                None => config.leave(),
            }
            false
        }
        "wasm.v3.Wasm" => {
            let plugin = config.message("config");
            if let Some((wanted, definition)) = plugin.and_then(|plugin| http::wasm_plugin(context, &plugin, name)) {
                add(&wanted, definition);
            }
            false
        }
        _ => {
            let hint = match kind.strip_prefix(NETWORK).and_then(|kind| kind.split('.').next()) {
                Some("ext_authz") => ": WITHOUT IT CONNECTIONS ARE LET IN THAT WERE NOT",
                Some("connection_limit") => {
                    ": `limits.connections` of a listener, or `concurrency` of builtin:rate-limit"
                }
                _ => "",
            };
            config.refuse_whole(format!("the filter {kind} is not supported{hint}"));
            false
        }
    }
}

/// `envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy`
fn tcp_proxy(context: &Context<'_>, config: &Reader<'_>, chain: &mut Chain) -> bool {
    config.ignore("stat_prefix", "statistics have the listener's name");
    let logs = http::logs(context, config.messages("access_log"));
    for (index, (wanted, log)) in logs.into_iter().enumerate() {
        let name = context.filters.borrow_mut().add(&wanted, log, &chain.filters);
        chain.filters.insert(index, name);
    }
    let there = target(context, config, &mut chain.target);
    let idle = if config.has("idle_timeout") {
        config.limit("idle_timeout")
    } else {
        Some(std::time::Duration::from_secs(3600))
    };
    chain.limits.set_some("idle_timeout", idle.map(units::duration));
    chain.connect_attempts = config.bounded("max_connect_attempts", 1, 100);
    for policy in config.messages("hash_policy") {
        match policy.message("source_ip") {
            // Connections are always hashed by their client's address.
            Some(source) => drop(source),
            None => policy.refuse_here("connections are hashed by their client's address"),
        }
    }
    config.ignore_all(
        &["access_log_flush_interval", "flush_access_log_on_connected"],
        "a connection is logged once, at its end",
    );
    if let Some(options) = config.message("access_log_options") {
        options.ignore_whole("a connection is logged once, at its end");
    }
    config.refuse("tunneling_config", "connections are not put into tunnels");
    there
}

fn target(context: &Context<'_>, config: &Reader<'_>, target: &mut Object) -> bool {
    on_demand::connections(context, config);
    if let Some(cluster) = config.text("cluster") {
        if !context.connects_to(cluster, &config.place().key("cluster")) {
            return false;
        }
        target.set("cluster", cluster);
        return true;
    }
    let Some(weighted) = config.message("weighted_clusters") else {
        config.refuse_here("names no cluster");
        return false;
    };
    let mut list = Vec::new();
    for cluster in weighted.messages("clusters") {
        let name = cluster.text_or_empty("name");
        if !context.connects_to(name, &cluster.place().key("name")) {
            cluster.leave();
            continue;
        }
        let mut object = Object::default();
        object.set("cluster", name);
        object.set("weight", cluster.unsigned("weight").unwrap_or(0));
        list.push(Value::from(object));
    }
    let there = !list.is_empty();
    target.set_filled("weighted_clusters", list);
    there
}

/// `envoy.extensions.filters.network.mongo_proxy.v3.MongoProxy` to `builtin:mongo`.
fn mongo(context: &Context<'_>, config: &Reader<'_>) -> Object {
    let mut object = Object::default();
    object.set_some("stat_prefix", config.text("stat_prefix").filter(|prefix| !prefix.is_empty()));
    let mut commands = config.texts("commands");
    if commands.contains(&"find") {
        commands.retain(|command| *command != "find");
        config.report_at("commands", Severity::Ignored, "find is a query, and counted by collection");
    }
    object.set_filled("commands", commands);
    object.set_if("metadata", config.flag("emit_dynamic_metadata"));
    if let Some(path) = config.text("access_log").filter(|path| !path.is_empty()) {
        let mut sink = Object::default();
        sink.set("file", path);
        let mut log = Object::default();
        log.set("sink", context.sink("mongo", &sink.into()));
        object.set("log", log);
        config.report_at("access_log", Severity::Ignored, "records are JSON, with names of fields and without values");
    }
    if let Some(delay) = config.message("delay") {
        let mut fault = Object::default();
        fault.set_some("delay", delay.limit("fixed_delay").map(units::duration));
        let share = delay.message("percentage").map_or(0.0, |share| common::fractional(&share));
        fault.set("percentage", units::percent(share));
        if fault.has("delay") {
            object.set("fault", fault);
        }
    }
    let mut definition = Object::default();
    definition.set("module", "builtin:mongo");
    definition.set_filled("config", object);
    definition
}

/// `envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit` to `builtin:rate-limit`.
fn local_rate_limit(config: &Reader<'_>) -> Option<Object> {
    let prefix = config.text_or_empty("stat_prefix");
    let key = config.text("share_key").filter(|key| !key.is_empty());
    if let Some(enabled) = config.message("runtime_enabled") {
        if enabled.boolean("default_value") == Some(false) {
            enabled.ignore_whole("is switched off");
            config.raw("token_bucket");
            return None;
        }
        enabled.ignore("runtime_key", "no layer of a runtime sets it: the default counts");
    }
    let limit = config.message("token_bucket").and_then(|bucket| http::token_bucket(&bucket))?;
    let location = config.place().location();
    let mut rule = Object::default();
    rule.set("name", "connections");
    rule.set("limit", limit);
    let mut object = Object::default();
    let numbers: String = location.resource.chars().filter(char::is_ascii_digit).collect();
    object.set("domain", key.map_or_else(|| format!("{}/{prefix}/{numbers}", location.name), str::to_owned));
    object.set("rules", vec![Value::from(rule)]);
    let mut allow = Object::default();
    allow.set("shared_data", true);
    let mut definition = Object::default();
    definition.set("module", "builtin:rate-limit");
    definition.set("allow", allow);
    definition.set("config", object);
    Some(definition)
}

/// One filter, by itself.
pub(in crate::translate) fn check(context: &Context<'_>, config: Reader<'_>) {
    let protocol = if config.type_name() == HTTP { Protocol::Http } else { Protocol::Tcp };
    let mut chain = Chain::new(&config, super::matching::Conditions::default(), protocol);
    one(context, config, "", &mut chain);
}
