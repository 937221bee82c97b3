//! `envoy.extensions.filters.network.redis_proxy.v3.RedisProxy` to `builtin:redis`, where it fits: one cluster of one server, whose connections clients
//! share. Envoy spreads keys over a cluster's endpoints, which the filter does not.

use serde_json::Value;

use crate::{
    reader::Reader,
    translate::{common, context::Context},
    units::{self, Object},
};

const OPTIONS: &str = "envoy.extensions.filters.network.redis_proxy.v3.RedisProtocolOptions";

/// The cluster, and the filter. `None`, with a finding: it does not fit.
pub(super) fn translate(context: &Context<'_>, config: &Reader<'_>) -> Option<(String, Object)> {
    config.ignore("stat_prefix", "statistics have the filter's name");
    config.ignore("latency_in_micros", "times are in microseconds");
    let settings = config.message("settings");
    let patience = settings.as_ref().and_then(|settings| settings.duration("op_timeout"));
    if let Some(settings) = &settings {
        settings.ignore_all(
            &[
                "max_buffer_size_before_flush",
                "buffer_flush_timeout",
                "max_upstream_unknown_connections",
                "enable_command_stats",
            ],
            "commands that arrive together go together, and all are counted",
        );
        settings.only("enable_hashtagging", false, "keys are not spread over servers");
        settings.only("enable_redirection", false, "answers that redirect go to the client");
        settings.only("read_policy", "MASTER", "all commands go to the same server");
    }
    let routes = config.message("prefix_routes")?;
    for route in routes.messages("routes") {
        route.refuse_whole("keys do not choose a cluster");
    }
    routes.raw("case_insensitive");
    let Some(all) = routes.message("catch_all_route") else {
        routes.refuse_at("catch_all_route", "is missing: it names the one cluster");
        return None;
    };
    let cluster = all.text_or_empty("cluster").to_owned();
    if !context.sends_bytes(&cluster, &all.place().key("cluster")) {
        all.leave();
        return None;
    }
    let resource = context.resources.clusters.iter().find(|resource| resource["name"] == cluster.as_str());
    let servers = resource.map_or(1, servers);
    if servers > 1 {
        let reason =
            format!("Envoy spreads keys over its {servers} endpoints, and here they would be taken for equals");
        all.refuse_at("cluster", reason);
        return None;
    }
    let mut pool = Object::default();
    pool.set("cluster", cluster.clone());
    pool.set_some("reply_timeout", patience.filter(|time| !time.is_zero()).map(units::duration));
    if let Some(options) = resource.and_then(options) {
        let secret = |key: &str| {
            let text = options.get(key)?.get("inline_string")?.as_str()?;
            (!text.is_empty()).then(|| text.to_owned())
        };
        pool.set_some("user", secret("auth_username"));
        pool.set_some("password", secret("auth_password"));
        if options.get("auth_password").is_some() && secret("auth_password").is_none() {
            all.refuse_at("cluster", "the password of its RedisProtocolOptions is not written in it");
        }
    }
    clients(config, &mut pool);
    let mut object = Object::default();
    object.set("pool", pool);
    let mut allow = Object::default();
    allow.set("clusters", [cluster.as_str()].map(Value::from).to_vec());
    let mut definition = Object::default();
    definition.set("module", "builtin:redis");
    definition.set("allow", allow);
    definition.set("config", object);
    Some((cluster, definition))
}

/// Who clients have to be.
fn clients(config: &Reader<'_>, pool: &mut Object) {
    let mut passwords: Vec<String> = Vec::new();
    if let Some(source) = config.message("downstream_auth_password") {
        passwords.extend(common::inline_text(&source));
    }
    for source in config.messages("downstream_auth_passwords") {
        passwords.extend(common::inline_text(&source));
    }
    let user = config.message("downstream_auth_username").and_then(|source| common::inline_text(&source));
    if passwords.len() > 1 {
        config.refuse_at("downstream_auth_passwords", "clients have one password, the first");
    }
    if let Some(password) = passwords.into_iter().next() {
        let mut clients = Object::default();
        clients.set_some("user", user);
        clients.set("password", password);
        pool.set("clients", clients);
    } else if user.is_some() {
        config.refuse_at("downstream_auth_username", "means nothing without a password");
    }
}

/// How many endpoints a cluster names.
fn servers(cluster: &Value) -> usize {
    let localities = cluster.pointer("/load_assignment/endpoints").and_then(Value::as_array);
    let counts =
        localities.into_iter().flatten().map(|locality| locality["lb_endpoints"].as_array().map_or(0, Vec::len));
    counts.sum()
}

fn options(cluster: &Value) -> Option<&Value> {
    let options = cluster.get("typed_extension_protocol_options")?.as_object()?;
    options.values().find(|options| options["@type"] == OPTIONS)
}
