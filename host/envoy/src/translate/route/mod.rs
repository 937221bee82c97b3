//! `envoy.config.route.v3.RouteConfiguration` to the configuration of `builtin:router`.

mod action;
mod filters;
mod matching;
mod policy;
mod virtual_host;

use std::collections::BTreeSet;

use serde_json::Value;

pub(super) use filters::{Layers, PerRoute};
pub(super) use matching::{header_matcher, parameter_matcher};
pub(super) use policy::one_upgrade;

use super::{context::Context, headers::Changes};
use crate::{reader::Reader, units, units::Object};

/// What a route configuration needs to know of the connection manager that it belongs to.
#[derive(Default)]
pub(super) struct Surroundings {
    /// Filters that may have a configuration for a route.
    pub filters: Vec<PerRoute>,
    /// Nobody knows which filters there are: the configuration is looked at by itself.
    pub unknown: bool,
    /// For routes that have no `idle_timeout`.
    pub idle_timeout: Option<String>,
    /// For routes that say nothing about upgrades.
    pub upgrades: Vec<Value>,
    /// Changes to all responses.
    pub response_headers: Changes,
}

impl Surroundings {
    /// Of a route configuration that is looked at by itself.
    pub fn unknown() -> Self {
        Self { unknown: true, ..Self::default() }
    }
}

/// The filters that some part of a route configuration has a word about, by their names in Envoy; and whether it limits rates.
pub(super) fn mentions(configuration: &Value) -> Mentions {
    let mut mentions = Mentions::default();
    let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    mentions.note(configuration);
    for host in list(configuration, "virtual_hosts") {
        mentions.note(&host);
        for route in list(&host, "routes") {
            mentions.note(&route);
            if let Some(action) = route.get("route") {
                mentions.note(action);
            }
        }
    }
    mentions
}

/// What [`mentions`] finds.
#[derive(Debug, Default)]
pub(super) struct Mentions {
    pub filters: BTreeSet<String>,
    pub rate_limits: bool,
    pub cors: bool,
    pub tracing: bool,
}

impl Mentions {
    fn note(&mut self, value: &Value) {
        let typed = value.get("typed_per_filter_config").and_then(Value::as_object);
        self.filters.extend(typed.into_iter().flat_map(|map| map.keys().cloned()));
        self.rate_limits |= value.get("rate_limits").is_some();
        self.cors |= value.get("cors").is_some();
        self.tracing |= value.get("tracing").is_some() || value.get("decorator").is_some();
    }
}

/// The configuration of the router.
pub(super) fn translate(context: &Context<'_>, reader: Reader<'_>, around: &Surroundings) -> Value {
    let mut config = Object::default();
    reader.text("name");
    // What says nothing here: missing clusters are said where they are missing, ports of authorities never count.
    reader.raw("validate_clusters");
    reader.raw("ignore_port_in_host_matching");
    reader.only(
        "most_specific_header_mutations_wins",
        false,
        "the outermost change to a header has the last word: the route's, the virtual host's, this one's",
    );
    let mut domains = BTreeSet::new();
    let hosts: Vec<Value> = reader
        .messages("virtual_hosts")
        .into_iter()
        .map(Reader::unit)
        .filter_map(|host| virtual_host::translate(context, &host, &reader, around, &mut domains))
        .collect();
    let empty = hosts.is_empty();
    config.set("virtual_hosts", hosts);
    let request = Changes::of(&reader, "request");
    let mut response = Changes::of(&reader, "response");
    response.merge_defaults(&around.response_headers);
    config.set_filled("request_headers", request.into_object());
    config.set_filled("response_headers", response.into_object());
    let longest = reader.unsigned("max_direct_response_body_size_bytes");
    config.set_some("max_direct_response_body", longest.map(units::bytes));
    // Read by each virtual host, since the router has no such words at its top.
    drop(reader.messages("request_mirror_policies").into_iter().map(Reader::leave).collect::<Vec<_>>());
    reader.raw("typed_per_filter_config");
    if empty {
        return nothing();
    }
    bare(config).into()
}

/// One virtual host without a name that serves every domain and says nothing else is written as bare `routes:`.
fn bare(config: Object) -> Object {
    let mut map: serde_json::Map<String, Value> = config.into();
    let routes = map.get("virtual_hosts").and_then(Value::as_array).and_then(|hosts| match hosts.as_slice() {
        [only] => {
            let only = only.as_object()?;
            let says_more = only.keys().any(|key| !matches!(key.as_str(), "domains" | "routes"));
            let every = only.get("domains").and_then(Value::as_array).is_some_and(|domains| domains == &["*"]);
            (every && !says_more).then(|| only.get("routes").cloned())?
        }
        _ => None,
    });
    let mut object = Object::default();
    if let Some(routes) = routes {
        map.shift_remove("virtual_hosts");
        object.set("routes", routes);
    }
    for (key, value) in map {
        object.set(&key, value);
    }
    object
}

/// A router that answers everything with 404, which a connection manager without routes does.
pub(super) fn nothing() -> Value {
    serde_json::json!({ "routes": [{ "respond": { "status": 404 } }] })
}
