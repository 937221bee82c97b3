//! `envoy.extensions.filters.http.ratelimit.v3` to `builtin:rate-limit` with a service.

use serde_json::{Map, Value};

use super::{
    ext_authz::status,
    per_route::{Innermost, innermost},
    rules,
};
use crate::{
    reader::Reader,
    translate::{common, context::Context, route::Layers},
    units::{self, Object},
};

/// What the filter does on every route.
#[derive(Debug, Clone)]
pub(in crate::translate) struct Base {
    cluster: String,
    stage: u64,
    domain: String,
    global: Value,
    answer: Value,
    failure_mode: &'static str,
    rules: Vec<Value>,
}

impl Base {
    pub fn of(context: &Context<'_>, reader: &Reader<'_>) -> Option<Self> {
        let stage = reader.unsigned("stage").unwrap_or(0);
        let service = reader.message("rate_limit_service")?;
        common::api_version(&service, "transport_api_version");
        let grpc = service.message("grpc_service")?;
        let (cluster, timeout) = common::grpc_service(&grpc)?;
        let there = context.sends_requests(cluster, &grpc.place().key("envoy_grpc").key("cluster_name"));
        let timeout = reader.limit("timeout").or(timeout);
        let mut global = Object::default();
        global.set("cluster", cluster);
        global.set_some("timeout", timeout.map(units::duration));
        for key in ["filter_enabled", "filter_enforced"] {
            let share = reader.message(key).map_or(100.0, |share| common::runtime_fraction(&share));
            if share < 100.0 {
                reader.refuse_at(key, "the service is asked about all requests, and what it says counts");
            }
        }
        if reader.text("request_type").is_some_and(|kind| !kind.is_empty() && kind != "both") {
            reader.refuse_at("request_type", "requests from inside and outside are limited alike");
        }
        reader.ignore("disable_x_envoy_ratelimited_header", "x-envoy-ratelimited is not added");
        reader.ignore("stat_prefix", "limits are counted by their rule");
        if let Some(status) = reader.message("status_on_error") {
            status.refuse_whole(
                "a request that is refused because nobody could be asked is answered like any other that is",
            );
        }
        let answer = answer(reader);
        let failure_mode = if reader.flag("failure_mode_deny") { "closed" } else { "open" };
        let limits = reader.messages("rate_limits");
        let base = Self {
            cluster: cluster.to_owned(),
            stage,
            domain: reader.text_or_empty("domain").to_owned(),
            global: global.into(),
            answer,
            failure_mode,
            rules: rules(&limits, stage, "all"),
        };
        there.then_some(base)
    }

    pub fn definition(&self) -> Object {
        let mut allow = Object::default();
        allow.set("shared_data", true);
        allow.set("clusters", [self.cluster.as_str()].map(Value::from).to_vec());
        let mut definition = Object::default();
        definition.set("module", "builtin:rate-limit");
        definition.set("allow", allow);
        definition.set_filled("config", self.config(&self.domain, self.rules.clone()));
        definition
    }

    /// Without rules nobody is asked, and there is nothing to say.
    fn config(&self, domain: &str, rules: Vec<Value>) -> Value {
        let mut config = Object::default();
        if rules.is_empty() {
            return config.into();
        }
        config.set("domain", domain);
        config.set("global", self.global.clone());
        config.set("failure_mode", self.failure_mode);
        config.set("answer", self.answer.clone());
        config.set("rules", rules);
        config.into()
    }
}

fn rules(limits: &[Reader<'_>], stage: u64, label: &str) -> Vec<Value> {
    let descriptors = limits.iter().filter_map(|limit| {
        limit.refuse("limit", "limits are not overridden by metadata");
        limit.only("apply_on_stream_done", false, "the service is asked before a request goes on");
        rules::descriptor(limit, stage)
    });
    let named = descriptors
        .enumerate()
        .map(|(index, descriptor)| rules::rule(&format!("limit-{label}-{index}"), &descriptor, true));
    named.map(Value::from).collect()
}

/// The route's limits, and its virtual host's where it has none or says so.
pub(super) fn per_route(base: &Base, layers: &Layers<'_, '_>, name: &str) -> Option<Value> {
    let mut domain = base.domain.clone();
    let (mut limits, mut hosts) = (Vec::new(), layers.route.is_none());
    let mut said = false;
    match innermost(layers, name) {
        Innermost::Disabled(_) if layers.is_said(name) => return Some(Value::Object(Map::new())),
        Innermost::Config(config) => {
            if let Some(own) = config.text("domain").filter(|domain| !domain.is_empty()) {
                domain = own.to_owned();
            }
            limits = config.messages("rate_limits");
            match config.text("vh_rate_limits") {
                Some("INCLUDE") => hosts = true,
                Some("IGNORE") => hosts = false,
                _ => {}
            }
            config.only("override_option", "DEFAULT", "a route's limits take the place of the filter's");
            said = layers.is_said(name);
        }
        _ => {}
    }
    if let Some(action) = layers.action {
        hosts |= action.boolean("include_vh_rate_limits") == Some(true);
        if limits.is_empty() {
            limits = action.messages("rate_limits");
        }
    }
    let own = !limits.is_empty();
    if layers.route.is_some() && !own && !said {
        // The virtual host's configuration counts.
        return None;
    }
    if hosts || (layers.route.is_some() && !own) {
        limits.extend(layers.host.messages("rate_limits"));
    }
    if limits.is_empty() && !said {
        return None;
    }
    let mut rules = self::rules(&limits, base.stage, &layers.label());
    rules.extend(base.rules.iter().cloned());
    Some(base.config(&domain, rules))
}

/// What Envoy tells clients.
fn answer(reader: &Reader<'_>) -> Value {
    let mut answer = Object::default();
    // As in Envoy, where less means the default.
    if let Some(status @ 400..) = reader.message("rate_limited_status").and_then(|status| self::status(&status)) {
        answer.set("status", status);
    }
    answer.set("body", "");
    rules::answer(reader, answer)
}
