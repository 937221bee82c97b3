//! `envoy.extensions.filters.http.fault.v3.HTTPFault` to `builtin:fault`.

use serde_json::{Map, Value};

use super::per_route::{Innermost, innermost};
use crate::{
    reader::Reader,
    translate::{
        common,
        route::{Layers, header_matcher},
    },
    units::{self, Object},
};

pub(super) fn definition(reader: &Reader<'_>) -> Object {
    let mut definition = Object::default();
    definition.set("module", "builtin:fault");
    definition.set_filled("config", config(reader));
    definition
}

pub(super) fn per_route(layers: &Layers<'_, '_>, name: &str) -> Option<Value> {
    match innermost(layers, name) {
        Innermost::Config(config) => Some(self::config(&config).into()),
        Innermost::Disabled(_) => Some(Value::Object(Map::new())),
        Innermost::Nothing => None,
    }
}

fn config(reader: &Reader<'_>) -> Object {
    let mut object = Object::default();
    if let Some(delay) = reader.message("delay") {
        object.set_some("delay", self::delay(&delay));
    }
    if let Some(abort) = reader.message("abort") {
        let mut answer = Object::default();
        answer.set_some("status", abort.bounded("http_status", 200, 599));
        answer.set("fraction", share(&abort));
        abort.refuse("grpc_status", "an abort is a status of HTTP");
        abort.refuse("header_abort", "requests ask for faults with x-fault-abort: `by_header`");
        if answer.has("status") {
            object.set("abort", answer);
        }
    }
    let mut headers = Map::new();
    for matcher in reader.messages("headers") {
        match header_matcher(&matcher).as_slice() {
            [condition]
                if condition.as_object().is_some_and(|object| object.len() == 2) && condition["exact"].is_string() =>
            {
                headers.insert(condition["name"].as_str().unwrap_or_default().to_owned(), condition["exact"].clone());
            }
            _ => matcher.refuse_here("faults are for requests whose headers have exact values"),
        }
    }
    object.set_filled("headers", headers);
    object.set_some("max_active", reader.unsigned("max_active_faults"));
    for key in [
        "delay_percent_runtime",
        "abort_percent_runtime",
        "delay_duration_runtime",
        "abort_http_status_runtime",
        "max_active_faults_runtime",
        "response_rate_limit_percent_runtime",
        "abort_grpc_status_runtime",
    ] {
        reader.ignore(key, "no layer of a runtime sets it: the configuration counts");
    }
    reader.ignore("disable_downstream_cluster_stats", "faults are counted by the filter");
    object
}

fn delay(delay: &Reader<'_>) -> Option<Value> {
    delay.refuse("header_delay", "requests ask for faults with x-fault-delay: `by_header`");
    let duration = delay.limit("fixed_delay");
    let share = share(delay);
    let mut object = Object::default();
    object.set("duration", units::duration(duration?));
    object.set("fraction", share);
    Some(object.into())
}

/// Of no requests, where nothing is said.
fn share(reader: &Reader<'_>) -> String {
    units::percent(reader.message("percentage").map_or(0.0, |share| common::fractional(&share)))
}
