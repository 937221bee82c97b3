//! What is done for a route besides: retries, hedging, mirrors, hashes, upgrades.

use serde_json::{Map, Value};

use super::{Surroundings, header_matcher};
use crate::{
    place::Place,
    reader::Reader,
    translate::{common, context::Context},
    units::{self, Object},
};

const PREVIOUS_HOSTS: &str = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate";
const OMIT_CANARIES: &str = "envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate";
const OMIT_METADATA: &str = "envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig";
const PREVIOUS_PRIORITIES: &str = "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig";
const PREVIOUS_ROUTES: &str = "envoy.extensions.internal_redirect.previous_routes.v3.PreviousRoutesConfig";
const ALLOWED_ROUTES: &str = "envoy.extensions.internal_redirect.allow_listed_routes.v3.AllowListedRoutesConfig";
const SAFE_CROSS_SCHEME: &str = "envoy.extensions.internal_redirect.safe_cross_scheme.v3.SafeCrossSchemeConfig";

/// `retry:`. `buffer` is the longest body that is kept for it.
pub(super) fn retry(reader: &Reader<'_>, buffer: Option<u64>) -> Option<Value> {
    let mut object = Object::default();
    let mut on: Vec<String> = Vec::new();
    for word in reader.text_or_empty("retry_on").split(',').map(str::trim).filter(|word| !word.is_empty()) {
        if word == "http3-post-connect-failure" {
            reader.report_at("retry_on", crate::Severity::Ignored, format!("{word}: HTTP/3 is not spoken"));
        } else if !WORDS.contains(&word) {
            reader.refuse_at("retry_on", format!("{word:?} is not known"));
        } else if !on.iter().any(|there| there == word) {
            on.push(word.to_owned());
        }
    }
    let statuses = reader.unsigneds("retriable_status_codes");
    pair(&mut on, reader, "retriable-status-codes", "retriable_status_codes", !statuses.is_empty());
    let headers: Vec<Value> = reader.messages("retriable_headers").iter().flat_map(retriable).collect();
    pair(&mut on, reader, "retriable-headers", "retriable_headers", !headers.is_empty());
    let meant = |word: &str, on: &[String]| on.iter().any(|there| there == word);
    let (with_statuses, with_headers) = (meant("retriable-status-codes", &on), meant("retriable-headers", &on));
    object.set("on", on);
    object.set_some("attempts", reader.unsigned("num_retries"));
    object.set_some(
        "per_try_timeout",
        reader.duration("per_try_timeout").filter(|time| !time.is_zero()).map(units::duration),
    );
    let idle = reader.duration("per_try_idle_timeout").filter(|time| !time.is_zero());
    object.set_some("per_try_idle_timeout", idle.map(units::duration));
    if with_statuses {
        object.set_filled("statuses", statuses);
    }
    if with_headers {
        object.set_filled("headers", headers);
    }
    if let Some(backoff) = reader.message("retry_back_off") {
        let mut times = Object::default();
        times.set_some("base", backoff.limit("base_interval").map(units::duration));
        times.set_some("max", backoff.limit("max_interval").map(units::duration));
        object.set("backoff", times);
    }
    if let Some(limited) = reader.message("rate_limited_retry_back_off") {
        object.set("rate_limited_backoff", rate_limited(&limited));
    }
    let only: Vec<Value> = reader.messages("retriable_request_headers").iter().flat_map(one_condition).collect();
    object.set_filled("request_headers", only);
    let mut avoided = Map::new();
    for predicate in reader.messages("retry_host_predicate") {
        match predicate.extension() {
            Some((PREVIOUS_HOSTS, config)) => {
                drop(config);
                object.set("avoid_previous_hosts", true);
            }
            Some((OMIT_CANARIES | OMIT_METADATA, config)) if !avoided.is_empty() => {
                config.refuse_whole("endpoints are avoided that have all labels of one set: there is one already");
            }
            Some((OMIT_CANARIES, config)) => {
                drop(config);
                avoided.insert("canary".to_owned(), Value::from("true"));
            }
            Some((OMIT_METADATA, config)) => {
                if let Some(labels) = config.message("metadata_match") {
                    avoided.extend(common::labels(&labels));
                }
            }
            Some((other, config)) => config.refuse_whole(format!("endpoints are not chosen by {other}")),
            None => {}
        }
    }
    object.set_filled("avoid_labels", avoided);
    if let Some(priority) = reader.message("retry_priority") {
        match priority.extension() {
            Some((PREVIOUS_PRIORITIES, config)) => {
                config.ignore("update_frequency", "each try leaves the priorities of all before it");
                object.set("avoid_previous_priorities", true);
            }
            Some((other, config)) => config.refuse_whole(format!("priorities are not chosen by {other}")),
            None => {}
        }
    }
    object.set_some("host_attempts", reader.bounded("host_selection_retry_max_attempts", 1, u32::MAX.into()));
    object.set_some("buffer", buffer.map(units::bytes));
    Some(object.into())
}

const WORDS: &[&str] = &[
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "envoy-ratelimited",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

/// A word and the list that it speaks of: without one the other says nothing, and the router refuses it.
fn pair(on: &mut Vec<String>, reader: &Reader<'_>, word: &str, key: &str, listed: bool) {
    let named = on.iter().any(|there| there == word);
    if named && !listed {
        on.retain(|there| there != word);
        reader.report_at("retry_on", crate::Severity::Ignored, format!("{word} means nothing without {key}"));
    } else if listed && !named {
        reader.report_at(key, crate::Severity::Ignored, format!("means nothing without {word} in retry_on"));
    }
}

/// Conditions on headers of answers, which know fewer kinds.
fn retriable(reader: &Reader<'_>) -> Vec<Value> {
    let conditions = header_matcher(reader);
    let known = ["name", "exact", "prefix", "suffix", "contains", "regex", "present", "invert"];
    let strange =
        conditions.iter().filter_map(Value::as_object).flat_map(Map::keys).find(|key| !known.contains(&key.as_str()));
    if let Some(key) = strange {
        reader.refuse_here(format!("{key} is not possible for headers of answers"));
        return Vec::new();
    }
    alone(conditions, reader)
}

/// A condition of which one of several suffices.
fn one_condition(reader: &Reader<'_>) -> Vec<Value> {
    alone(header_matcher(reader), reader)
}

/// Two conditions on one header cannot be said where one of several suffices.
fn alone(conditions: Vec<Value>, reader: &Reader<'_>) -> Vec<Value> {
    if conditions.len() > 1 {
        reader.refuse_at("invert_match", "is not possible where one of several conditions suffices");
        return Vec::new();
    }
    conditions
}

fn rate_limited(reader: &Reader<'_>) -> Value {
    let mut object = Object::default();
    let headers = reader.messages("reset_headers").into_iter().map(|header| {
        let mut reset = Object::default();
        reset.set("name", header.text_or_empty("name").to_ascii_lowercase());
        reset.set_some(
            "format",
            header.text("format").filter(|format| *format == "UNIX_TIMESTAMP").map(|_| "unix_timestamp"),
        );
        Value::from(reset)
    });
    object.set("headers", headers.collect::<Vec<_>>());
    object.set_some("max", reader.limit("max_interval").map(units::duration));
    object.into()
}

pub(super) fn hedge(reader: &Reader<'_>) -> Option<Value> {
    reader.only("initial_requests", 1, "requests are sent once at first");
    let mut object = Object::default();
    object.set_if("on_per_try_timeout", reader.flag("hedge_on_per_try_timeout"));
    Some(object.into())
}

pub(super) fn mirrors(context: &Context<'_>, policies: Vec<Reader<'_>>) -> Vec<Value> {
    let mut list = Vec::new();
    for policy in policies {
        let mut object = Object::default();
        if policy.flag("disable_shadow_host_suffix_append") {
            object.set("keep_host", true);
        }
        policy.ignore("trace_sampled", "copies are no part of a trace");
        let known = |name: &str, place: &Place| context.sends_requests(name, place);
        let Some(policy) = super::action::destination(policy, "cluster", known, &mut object) else { continue };
        let fraction = policy.message("runtime_fraction").map(|fraction| common::runtime_fraction(&fraction));
        object.set_some("fraction", fraction.map(units::percent));
        list.push(object.into());
    }
    list
}

pub(super) fn hash(action: &Reader<'_>) -> Vec<Value> {
    let mut list = Vec::new();
    for policy in action.messages("hash_policy") {
        let mut object = Object::default();
        if let Some(header) = policy.message("header") {
            object.set("header", header.text_or_empty("header_name").to_ascii_lowercase());
            if let Some(expression) = header.message("regex_rewrite") {
                object.set_some("header_regex", common::substitution(&expression));
            }
        } else if let Some(cookie) = policy.message("cookie") {
            object.set("cookie", self::cookie(&cookie));
        } else if let Some(parameter) = policy.message("query_parameter") {
            object.set("query", parameter.text_or_empty("name"));
        } else if let Some(connection) = policy.message("connection_properties") {
            if !connection.flag("source_ip") {
                connection.refuse_at("source_ip", "only the client's address is hashed of a connection");
                continue;
            }
            object.set("source_address", true);
        } else {
            policy.refuse("filter_state", "only headers, cookies, parameters and addresses are hashed");
            continue;
        }
        object.set_if("terminal", policy.flag("terminal"));
        list.push(object.into());
    }
    list
}

fn cookie(reader: &Reader<'_>) -> Value {
    let mut object = Object::default();
    object.set("name", reader.text_or_empty("name"));
    object.set_some("ttl", reader.duration("ttl").map(units::duration));
    object.set_some("path", reader.text("path").filter(|path| !path.is_empty()));
    let attributes = reader.messages("attributes").into_iter();
    let attributes: Map<String, Value> = attributes
        .map(|attribute| (attribute.text_or_empty("name").to_owned(), Value::from(attribute.text_or_empty("value"))))
        .collect();
    object.set_filled("attributes", attributes);
    object.into()
}

/// `upgrades:` and `connect:` of a route.
pub(super) fn upgrades(action: &Reader<'_>, around: &Surroundings, connects: bool, object: &mut Object) {
    let mut list: Vec<Value> = Vec::new();
    for upgrade in action.messages("upgrade_configs") {
        let kind = upgrade.text_or_empty("upgrade_type").to_ascii_lowercase();
        let enabled = upgrade.boolean("enabled").unwrap_or(true);
        if let Some(config) = upgrade.message("connect_config") {
            config.refuse("proxy_protocol_config", "a tunnel's connection begins with what its client sends");
            config.only("allow_post", false, "only CONNECT makes a tunnel");
            if !connects {
                config.refuse_here("is for routes that match connect_matcher");
            } else {
                object.set("connect", Object::default());
            }
        }
        list.push(one_upgrade(&kind, enabled));
    }
    let names = |list: &[Value]| -> Vec<String> {
        list.iter().filter_map(|one| one.as_str().or_else(|| one.get("type")?.as_str()).map(str::to_owned)).collect()
    };
    let own = names(&list);
    let inherited = around.upgrades.iter().zip(names(&around.upgrades));
    let inherited: Vec<Value> = inherited.filter(|(_, name)| !own.contains(name)).map(|(one, _)| one.clone()).collect();
    // A route that forwards CONNECT allows it by its match.
    list.extend(inherited);
    object.set_filled("upgrades", list);
}

/// `websocket`, or `{ type: websocket, enabled: false }`
pub(in crate::translate) fn one_upgrade(kind: &str, enabled: bool) -> Value {
    if enabled {
        return Value::from(kind);
    }
    let mut object = Object::default();
    object.set("type", kind);
    object.set("enabled", false);
    object.into()
}

pub(super) fn internal_redirect(reader: &Reader<'_>) -> Value {
    let mut object = Object::default();
    object.set_filled("codes", reader.unsigneds("redirect_response_codes"));
    object.set_some("max_hops", reader.unsigned("max_internal_redirects"));
    let crosses = reader.flag("allow_cross_scheme_redirect");
    object.set_if("cross_scheme", crosses);
    let mut allowed: Option<Vec<&str>> = None;
    for predicate in reader.messages("predicates") {
        match predicate.extension() {
            Some((SAFE_CROSS_SCHEME, config)) => {
                drop(config);
                object.set_if("safe_cross_scheme", crosses);
            }
            Some((PREVIOUS_ROUTES, config)) => {
                drop(config);
                object.set("avoid_previous_routes", true);
            }
            Some((ALLOWED_ROUTES, config)) => {
                let names = config.texts("allowed_route_names");
                allowed = Some(match allowed {
                    None => names,
                    Some(before) => before.into_iter().filter(|name| names.contains(name)).collect(),
                });
            }
            Some((other, config)) => config.refuse_whole(format!("redirects are not chosen by {other}")),
            None => {}
        }
    }
    // None at all where no name is on both lists, or on the only one.
    object.set_some("allowed_routes", allowed);
    let copied =
        reader.texts("response_headers_to_copy").into_iter().map(|name| Value::from(name.to_ascii_lowercase()));
    object.set_filled("copy_headers", copied.collect::<Vec<_>>());
    object.into()
}
