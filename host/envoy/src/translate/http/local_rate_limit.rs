//! `envoy.extensions.filters.http.local_ratelimit.v3` to `builtin:rate-limit`.

use serde_json::{Map, Value};

use super::{
    ext_authz::status,
    per_route::{Innermost, innermost},
    rules::{self, Descriptor},
};
use crate::{
    finding::Severity,
    reader::Reader,
    translate::{common, route::Layers},
    units::{self, Object},
};

pub(super) fn definition(config: Value) -> Object {
    let mut allow = Object::default();
    allow.set("shared_data", true);
    let mut definition = Object::default();
    definition.set("module", "builtin:rate-limit");
    definition.set("allow", allow);
    definition.set("config", config);
    definition
}

pub(super) fn per_route(layers: &Layers<'_, '_>, name: &str) -> Option<Value> {
    if !layers.is_said(name) {
        return None;
    }
    let config = match innermost(layers, name) {
        Innermost::Config(config) => config,
        Innermost::Disabled(_) => return Some(nothing()),
        Innermost::Nothing => return None,
    };
    let limits = match layers.action {
        Some(action) => action.messages("rate_limits"),
        None => layers.host.messages("rate_limits"),
    };
    Some(self::config(&config, &limits, &layers.label()))
}

/// No limit at all.
fn nothing() -> Value {
    Value::Object(Map::new())
}

/// The filter's configuration. `limits` are those of the route, `label` is what tells it from others.
pub(super) fn config(reader: &Reader<'_>, limits: &[Reader<'_>], label: &str) -> Value {
    reader.ignore("stat_prefix", "limits are counted by their rule");
    // Both are zero where nothing is said: the filter does nothing then.
    let share = |key: &str| reader.message(key).map_or(0.0, |share| common::runtime_fraction(&share));
    let (enabled, enforced) = (share("filter_enabled"), share("filter_enforced"));
    if enabled <= 0.0 {
        for key in reader.keys() {
            reader.raw(key);
        }
        reader.ignore_here("is switched off: filter_enabled is 0%");
        return nothing();
    }
    if enabled < 100.0 {
        reader.refuse_at("filter_enabled", "a rule is about all requests, or about a share of its keys: `rollout`");
    }
    if enforced > 0.0 && enforced < 100.0 {
        reader.refuse_at("filter_enforced", "a rule refuses, or is a `shadow` that only counts");
    }
    let shadow = enforced <= 0.0;
    let mut rules = Vec::new();
    let own = reader.messages("rate_limits");
    let stage = reader.unsigned("stage").unwrap_or(0);
    let descriptors: Vec<Descriptor> =
        own.iter().chain(limits).filter_map(|limit| rules::descriptor(limit, stage)).collect();
    for (index, wanted) in reader.messages("descriptors").into_iter().enumerate() {
        descriptor(&wanted, index, &descriptors, shadow, &mut rules);
    }
    if let Some(bucket) = reader.message("token_bucket") {
        let mut rule = Object::default();
        rule.set("name", "requests");
        rule.set_some("limit", self::limit(&bucket));
        rule.set_if("shadow", shadow);
        if rule.has("limit") {
            rules.push(rule.into());
        }
    }
    let mut config = Object::default();
    config.set("domain", domain(reader, label));
    if reader.boolean("always_consume_default_token_bucket") == Some(false) && rules.len() > 1 {
        config.set("apply", "most_specific");
    }
    config.set_filled("rules", rules);
    config.set("answer", answer(reader));
    reader.only(
        "local_rate_limit_per_downstream_connection",
        false,
        "limits are the process's; `key` says what is counted apart",
    );
    reader.ignore("max_dynamic_descriptors", "the table of counts is bounded by the host");
    for header in reader.messages("request_headers_to_add_when_not_enforced") {
        header.ignore_whole("a shadow is seen in metrics, not by the upstream");
    }
    if reader.text("vh_rate_limits").is_some_and(|option| option != "OVERRIDE") {
        reader.refuse_at("vh_rate_limits", "a route's limits take the place of its virtual host's");
    }
    config.into()
}

/// Rules of the same name in the same domain share what they count, so each place has a domain of its own.
fn domain(reader: &Reader<'_>, label: &str) -> String {
    let location = reader.place().location();
    let way = location.resource.rsplit_once('"').map_or("", |(_, way)| way);
    let numbers: Vec<&str> = way.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty()).collect();
    format!("{}/{}/{label}", location.name, numbers.join("-"))
}

/// `envoy.type.v3.TokenBucket`
pub(in crate::translate) fn limit(bucket: &Reader<'_>) -> Option<Value> {
    let burst = bucket.bounded("max_tokens", 1, 1_000_000_000_000_000);
    let amount =
        if bucket.has("tokens_per_fill") { bucket.bounded("tokens_per_fill", 1, u32::MAX.into())? } else { 1 };
    let interval = bucket.limit("fill_interval")?;
    if interval.subsec_nanos() % 1_000_000 != 0 || interval.as_millis() == 0 {
        bucket.refuse_at("fill_interval", "spans have whole milliseconds");
        return None;
    }
    let mut object = Object::default();
    object.set("rate", format!("{amount}/{}", units::duration(interval)));
    object.set_some("burst", burst);
    Some(object.into())
}

/// One descriptor with a limit of its own, for each rate limit that makes it.
fn descriptor(wanted: &Reader<'_>, index: usize, made: &[Descriptor], shadow: bool, rules: &mut Vec<Value>) {
    let entries: Vec<(String, String)> = wanted
        .messages("entries")
        .iter()
        .map(|entry| (entry.text_or_empty("key").to_owned(), entry.text_or_empty("value").to_owned()))
        .collect();
    let limit = wanted.message("token_bucket").and_then(|bucket| self::limit(&bucket));
    let Some(limit) = limit else { return };
    let mut found = false;
    for (number, descriptor) in made.iter().enumerate() {
        let Some(descriptor) = fitting(&entries, descriptor) else { continue };
        found = true;
        let name = if number == 0 { format!("descriptor-{index}") } else { format!("descriptor-{index}-{number}") };
        let mut rule = rules::rule(&name, &descriptor, false);
        rule.set("limit", limit.clone());
        rule.set_if("shadow", shadow);
        rules.push(rule.into());
    }
    if !found {
        let reason = "no rate limit of the filter or the route makes this descriptor";
        crate::reader::report(wanted.findings(), wanted.place(), Severity::Ignored, reason);
    }
}

/// The conditions and the key under which a rate limit makes the entries. `None`: it never does.
fn fitting(entries: &[(String, String)], made: &Descriptor) -> Option<Descriptor> {
    let same = entries.len() == made.entries.len()
        && entries.iter().zip(&made.entries).all(|((key, _), entry)| *key == entry.key);
    if !same || entries.is_empty() {
        return None;
    }
    let mut fitting = Descriptor { entries: Vec::new(), ..made.clone() };
    for ((_, value), entry) in entries.iter().zip(&made.entries) {
        match &entry.constant {
            Some(constant) if value.is_empty() || constant == value => {}
            Some(_) => return None,
            // Any value, each with a bucket of its own.
            None if value.is_empty() => fitting.entries.push(entry.clone()),
            None => {
                let mut condition = Object::default();
                condition.set("from", entry.source.clone());
                condition.set("is", value.clone());
                fitting.conditions.push(condition.into());
            }
        }
    }
    Some(fitting)
}

/// What Envoy tells clients.
fn answer(reader: &Reader<'_>) -> Value {
    let mut answer = Object::default();
    let status = reader.message("status").and_then(|status| self::status(&status));
    match status {
        Some(status @ 400..) => answer.set("status", status),
        Some(_) => reader.refuse_at("status", "must be 400 or more"),
        None => {}
    }
    answer.set("body", "local_rate_limited");
    rules::answer(reader, answer)
}
