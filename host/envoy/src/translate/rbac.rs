//! `envoy.extensions.filters.http.rbac.v3` and `envoy.extensions.filters.network.rbac.v3.RBAC` to `builtin:rbac`.
//!
//! A policy with something in it that cannot be said is none: then nothing of the filter is carried over, and that is refused, because whoever
//! it kept out would be let in.

use serde_json::{Map, Value, json};

use super::{
    common,
    http::per_route::{Innermost, innermost},
    route::{Layers, header_matcher},
};
use crate::{reader::Reader, units::Object};

/// The same of requests and of connections.
pub(super) fn definition(reader: &Reader<'_>) -> Option<Object> {
    let config = config(reader)?;
    let mut definition = Object::default();
    definition.set("module", "builtin:rbac");
    definition.set_filled("config", config);
    Some(definition)
}

/// `RBACPerRoute`: without anything in it everybody passes. Where it cannot be said nobody does.
pub(super) fn per_route(layers: &Layers<'_, '_>, name: &str) -> Option<Value> {
    match innermost(layers, name) {
        Innermost::Config(config) => Some(match config.message("rbac") {
            Some(rbac) => self::config(&rbac).map_or_else(|| json!({ "policies": {} }), Value::from),
            None => Value::Object(Map::new()),
        }),
        Innermost::Disabled(_) => Some(Value::Object(Map::new())),
        Innermost::Nothing => None,
    }
}

fn config(reader: &Reader<'_>) -> Option<Object> {
    reader.ignore_all(
        &["rules_stat_prefix", "shadow_rules_stat_prefix", "stat_prefix", "track_per_rule_stats"],
        "verdicts are counted by policy",
    );
    reader.ignore("delay_deny", "a connection is closed at once");
    let mut config = Object::default();
    let mut whole = true;
    for key in ["matcher", "shadow_matcher"] {
        if reader.has(key) {
            reader.refuse(
                key,
                "policies are said by `rules`, not by trees of matchers: WITHOUT IT WHOEVER IT KEPT OUT IS LET IN",
            );
            whole = false;
        }
    }
    if reader.text("enforcement_type").is_some_and(|kind| kind != "ONE_TIME_ON_FIRST_BYTE") {
        reader.refuse_at("enforcement_type", "a connection is looked at once, when it begins");
    }
    if let Some(rules) = reader.message("rules") {
        match self::rules(&rules) {
            Some(Some((action, policies))) => {
                config.set("action", action);
                config.set("policies", policies);
            }
            Some(None) => {}
            None => whole = false,
        }
    }
    if let Some(rules) = reader.message("shadow_rules")
        && let Some(Some((action, policies))) = self::rules(&rules)
    {
        let mut shadow = Object::default();
        shadow.set("action", action);
        shadow.set("policies", policies);
        config.set("shadow", shadow);
    }
    whole.then_some(config)
}

/// `envoy.config.rbac.v3.RBAC`: its action, and its policies. `Some(None)`: it decides nothing. `None`, with a finding: it cannot be said.
fn rules(reader: &Reader<'_>) -> Option<Option<(&'static str, Value)>> {
    if let Some(audit) = reader.message("audit_logging_options") {
        audit.ignore_whole("access logs have `response.code_details`, which names the policy");
    }
    let mut policies = Map::new();
    let mut whole = true;
    let action = match reader.text("action") {
        None | Some("ALLOW") => "allow",
        Some("DENY") => "deny",
        Some(_) => {
            reader.report_at(
                "action",
                crate::Severity::Ignored,
                "nobody is refused, and nothing is told to access logs",
            );
            reader.raw("policies");
            return Some(None);
        }
    };
    for (name, policy) in reader.message_map("policies") {
        for key in ["condition", "checked_condition"] {
            if policy.has(key) {
                policy.refuse(key, "expressions of CEL are not evaluated: WITHOUT IT WHOEVER IT KEPT OUT IS LET IN");
                whole = false;
            }
        }
        if let Some(options) = policy.message("cel_config") {
            options.leave();
        }
        let permissions = list(policy.messages("permissions"));
        let principals = list(policy.messages("principals"));
        match (permissions, principals) {
            (Some(permissions), Some(principals)) => {
                policies.insert(name.to_owned(), json!({ "permissions": permissions, "principals": principals }));
            }
            _ => whole = false,
        }
    }
    whole.then(|| Some((action, Value::Object(policies))))
}

/// All of them, or nothing: one that is left out would change what the others mean.
fn list(readers: Vec<Reader<'_>>) -> Option<Vec<Value>> {
    let all: Vec<Option<Value>> = readers.iter().map(rule).collect();
    all.into_iter().collect()
}

/// `Permission` or `Principal`, which have most of their conditions in common. `None`, with a finding: it cannot be said.
fn rule(reader: &Reader<'_>) -> Option<Value> {
    for (key, part, kind) in [
        ("and_rules", "rules", "all_of"),
        ("or_rules", "rules", "any_of"),
        ("and_ids", "ids", "all_of"),
        ("or_ids", "ids", "any_of"),
    ] {
        if let Some(set) = reader.message(key) {
            return list(set.messages(part)).map(|rules| json!({ kind: rules }));
        }
    }
    for key in ["not_rule", "not_id"] {
        if let Some(inner) = reader.message(key) {
            return rule(&inner).map(|rule| json!({ "not": rule }));
        }
    }
    if reader.boolean("any").is_some() {
        return Some(json!({ "any": true }));
    }
    if let Some(header) = reader.message("header") {
        let mut conditions: Vec<Value> =
            header_matcher(&header).into_iter().map(|condition| json!({ "header": condition })).collect();
        return match conditions.len() {
            0 => None,
            1 => conditions.pop(),
            _ => Some(json!({ "all_of": conditions })),
        };
    }
    if let Some(path) = reader.message("url_path") {
        return text(&path.message("path")?).map(|text| json!({ "path": text }));
    }
    if let Some(name) = reader.message("requested_server_name") {
        return text(&name).map(|text| json!({ "server_name": text }));
    }
    if let Some(authenticated) = reader.message("authenticated") {
        return match authenticated.message("principal_name") {
            Some(name) => text(&name).map(|text| json!({ "authenticated": text })),
            None => Some(json!({ "authenticated": {} })),
        };
    }
    for (key, name) in
        [("destination_ip", "destination_ip"), ("source_ip", "source_ip"), ("direct_remote_ip", "source_ip")]
    {
        if let Some(range) = reader.message(key) {
            let (address, length) = common::network(&range)?;
            return Some(json!({ name: [format!("{address}/{length}")] }));
        }
    }
    if let Some(port) = reader.bounded("destination_port", 0, 65_535) {
        return Some(json!({ "destination_port": port }));
    }
    if let Some(range) = reader.message("destination_port_range") {
        let (start, end) = (range.bounded("start", 0, 65_535).unwrap_or(0), range.bounded("end", 1, 65_536)?);
        return Some(json!({ "destination_port_range": { "start": start, "end": end } }));
    }
    let reason = if reader.has("remote_ip") {
        "x-forwarded-for is not looked at: direct_remote_ip is where the connection comes from"
    } else {
        "has no counterpart among the conditions of `builtin:rbac`"
    };
    for key in reader.keys() {
        reader.raw(key);
    }
    reader.refuse_here(format!("{reason}. WITHOUT IT WHOEVER IT KEPT OUT IS LET IN"));
    None
}

fn text(reader: &Reader<'_>) -> Option<Value> {
    let matches = common::string_matcher(reader)?;
    let mut text = Object::default();
    text.set(matches.kind, matches.text);
    text.set_if("ignore_case", matches.ignore_case);
    Some(text.into())
}
