//! Envoy's runtime: what layers set takes the place of defaults in resources that name a key.
//!
//! There is no runtime in a proxy that runs: a layer that changes is a configuration that changes. So resources are settled
//! before anything else reads them, and a key that a layer sets is gone from them then.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::Resources;
use crate::canonical::TYPE;

/// `envoy.extensions.filters.http.fault.v3.HTTPFault`
const FAULT: &str = "envoy.extensions.filters.http.fault.v3.HTTPFault";

/// The longest delay, in milliseconds: a year.
const LONGEST: u64 = 365 * 24 * 3600 * 1000;

/// Values by key, such as `routing.canary`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Runtime {
    values: BTreeMap<String, Value>,
    /// Those that some field has named.
    named: RefCell<BTreeSet<String>>,
}

/// What a field that has a default holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    Flag,
    Number,
    /// `envoy.type.v3.FractionalPercent`
    Fraction,
}

impl Runtime {
    /// What these layers (`google.protobuf.Struct`) set together; later ones prevail.
    pub fn of<'a>(layers: impl IntoIterator<Item = &'a Value>) -> Self {
        let mut runtime = Self::default();
        for layer in layers.into_iter().filter_map(Value::as_object) {
            runtime.add("", layer);
        }
        runtime
    }

    fn add(&mut self, prefix: &str, values: &Map<String, Value>) {
        for (key, value) in values {
            let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            match value {
                Value::Object(inner) if !is_fraction(inner) => self.add(&name, inner),
                _ => drop(self.values.insert(name, value.clone())),
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    fn get(&self, key: &str) -> Option<&Value> {
        let (key, value) = self.values.get_key_value(key)?;
        self.named.borrow_mut().insert(key.clone());
        Some(value)
    }

    /// Keys that no field has named, once resources are settled.
    pub fn unnamed(&self) -> Vec<String> {
        let named = self.named.borrow();
        self.values.keys().filter(|key| !named.contains(*key)).cloned().collect()
    }

    /// Resources as they are meant now.
    pub fn settle(&self, resources: &Resources) -> Resources {
        let mut settled = resources.clone();
        let lists = settled.listeners.iter_mut().chain(&mut settled.clusters);
        let named = settled.routes.values_mut().chain(settled.extensions.values_mut());
        for resource in lists.chain(named) {
            self.apply(resource);
        }
        settled
    }

    fn apply(&self, value: &mut Value) {
        match value {
            Value::Array(list) => list.iter_mut().for_each(|item| self.apply(item)),
            Value::Object(object) => {
                self.apply_key(object);
                self.apply_weights(object);
                if object.get(TYPE).and_then(Value::as_str) == Some(FAULT) {
                    self.apply_fault(object);
                }
                // Metadata is anybody's.
                let parts = object.iter_mut().filter(|(key, _)| *key != "metadata");
                parts.for_each(|(_, part)| self.apply(part));
            }
            _ => {}
        }
    }

    /// `RuntimeFractionalPercent`, `RuntimeFeatureFlag` and `RuntimeDouble`.
    fn apply_key(&self, object: &mut Map<String, Value>) {
        let Some(set) = object.get("runtime_key").and_then(Value::as_str).and_then(|key| self.get(key)) else {
            return;
        };
        let holds = match object.get("default_value") {
            Some(Value::Bool(_)) => Holds::Flag,
            Some(Value::Object(_)) => Holds::Fraction,
            _ => Holds::Number,
        };
        if let Some(value) = as_held(set, holds) {
            object.insert("default_value".to_owned(), value);
            object.shift_remove("runtime_key");
        }
    }

    /// `runtime_key_prefix` of weighted clusters: a key for each of them.
    fn apply_weights(&self, object: &mut Map<String, Value>) {
        let Some(prefix) = object.get("runtime_key_prefix").and_then(Value::as_str).map(str::to_owned) else { return };
        let Some(Value::Array(clusters)) = object.get_mut("clusters") else { return };
        let mut all = true;
        for cluster in clusters.iter_mut().filter_map(Value::as_object_mut) {
            let name = cluster.get("name").and_then(Value::as_str).unwrap_or_default();
            let set = self.get(&format!("{prefix}.{name}")).and_then(|set| as_held(set, Holds::Number));
            match set.filter(Value::is_u64) {
                Some(weight) => drop(cluster.insert("weight".to_owned(), weight)),
                None => all = false,
            }
        }
        if all {
            object.shift_remove("runtime_key_prefix");
        }
    }

    /// The fault filter's keys have names of their own, which a configuration may change.
    fn apply_fault(&self, fault: &mut Map<String, Value>) {
        let mut set = |named: &str, usual: &str, holds| {
            let own = fault.shift_remove(named);
            let key = own.as_ref().and_then(Value::as_str).filter(|key| !key.is_empty()).unwrap_or(usual);
            let value = self.get(key).and_then(|set| as_held(set, holds));
            if let (None, Some(own)) = (&value, own) {
                fault.insert(named.to_owned(), own);
            }
            value
        };
        let delayed = set("delay_percent_runtime", "fault.http.delay.fixed_delay_percent", Holds::Fraction);
        let aborted = set("abort_percent_runtime", "fault.http.abort.abort_percent", Holds::Fraction);
        let duration = set("delay_duration_runtime", "fault.http.delay.fixed_duration_ms", Holds::Number);
        let status = set("abort_http_status_runtime", "fault.http.abort.http_status", Holds::Number);
        let active = set("max_active_faults_runtime", "fault.http.max_active_faults", Holds::Number);
        // Only what the fields can hold.
        let whole =
            |value: Option<Value>, most: u64| value.and_then(|value| value.as_u64()).filter(|value| *value <= most);
        let duration = whole(duration, LONGEST).filter(|ms| *ms > 0);
        let duration = duration.map(|ms| json!(format!("{}.{:03}s", ms / 1000, ms % 1000)));
        let status = whole(status, 599).filter(|status| *status >= 200).map(Value::from);
        let active = whole(active, u32::MAX.into()).map(Value::from);
        for (part, key, value) in [
            ("delay", "percentage", delayed),
            ("delay", "fixed_delay", duration),
            ("abort", "percentage", aborted),
            ("abort", "http_status", status),
        ] {
            // What is not there at all the runtime does not bring into being.
            if let (Some(value), Some(Value::Object(part))) = (value, fault.get_mut(part)) {
                part.insert(key.to_owned(), value);
            }
        }
        if let Some(active) = active {
            fault.insert("max_active_faults".to_owned(), active);
        }
    }
}

/// Where a layer has a value that no key can have: its place in words, and why.
pub(super) fn problem(layer: &Value) -> Option<(String, &'static str)> {
    fn within(place: &str, value: &Value) -> Option<(String, &'static str)> {
        match value {
            Value::Array(_) => Some((place.to_owned(), "is a list: a runtime has numbers, flags, texts and fractions")),
            Value::Null => Some((place.to_owned(), "is null: a runtime has numbers, flags, texts and fractions")),
            Value::Object(object) => object.iter().find_map(|(key, value)| {
                within(&if place.is_empty() { key.clone() } else { format!("{place}.{key}") }, value)
            }),
            _ => None,
        }
    }
    within("", layer)
}

fn is_fraction(object: &Map<String, Value>) -> bool {
    !object.is_empty() && object.keys().all(|key| matches!(key.as_str(), "numerator" | "denominator"))
}

/// What a layer sets, as a field holds it. `None`: it cannot; then the default counts, as in Envoy.
fn as_held(set: &Value, holds: Holds) -> Option<Value> {
    let number = || match set {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse::<f64>().ok(),
        _ => None,
    };
    let number = || number().filter(|number| number.is_finite() && *number >= 0.0);
    match holds {
        Holds::Flag => match set {
            Value::Bool(_) => Some(set.clone()),
            Value::String(text) => text.trim().parse::<bool>().ok().map(Value::Bool),
            _ => None,
        },
        Holds::Number => number().map(plain),
        Holds::Fraction => match set {
            Value::Object(_) => Some(set.clone()),
            _ => number().map(
                |number| json!({ "numerator": plain((number.min(100.0) * 1e4).round()), "denominator": "MILLION" }),
            ),
        },
    }
}

/// A number without a fraction where it has none.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is a whole number from 0 to 2^53")]
fn plain(number: f64) -> Value {
    if number.fract() == 0.0 && number <= 2_f64.powi(53) { json!(number as u64) } else { json!(number) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(layer: Value, mut resource: Value) -> Value {
        Runtime::of([&layer]).apply(&mut resource);
        resource
    }

    #[test]
    fn keys_are_paths_and_later_layers_prevail() {
        let (first, second) = (json!({ "a": { "b": 1, "c": { "numerator": 5 } }, "d": true }), json!({ "a.b": 2 }));
        let runtime = Runtime::of([&first, &second]);
        let expected = [("a.b", json!(2)), ("a.c", json!({ "numerator": 5 })), ("d", json!(true))];
        assert_eq!(runtime.values, expected.into_iter().map(|(key, value)| (key.to_owned(), value)).collect());
    }

    #[test]
    fn what_a_layer_sets_takes_the_place_of_the_default_and_of_nothing_else() {
        let route = json!({ "match": { "prefix": "/", "runtime_fraction": { "runtime_key": "a", "default_value": { "numerator": 1 } } } });
        let seen = settled(json!({ "a": 12.5 }), route.clone());
        assert_eq!(
            seen["match"]["runtime_fraction"],
            json!({ "default_value": { "numerator": 125_000, "denominator": "MILLION" } })
        );
        let whole = settled(json!({ "a": { "numerator": 7, "denominator": "TEN_THOUSAND" } }), route.clone());
        assert_eq!(whole["match"]["runtime_fraction"]["default_value"]["numerator"], 7);
        // Another key, and values that a share cannot have.
        for layer in [json!({ "b": 12 }), json!({ "a": "many" }), json!({ "a": -1 }), json!({ "a": true })] {
            assert_eq!(settled(layer, route.clone()), route);
        }
        let metadata = json!({ "metadata": route });
        assert_eq!(settled(json!({ "a": 12 }), metadata.clone()), metadata);
    }

    #[test]
    fn flags_numbers_and_shares_are_held_as_their_field_holds_them() {
        let of = |default: Value, set: Value| {
            settled(json!({ "k": set }), json!({ "runtime_key": "k", "default_value": default }))
        };
        assert_eq!(of(json!(false), json!(true)), json!({ "default_value": true }));
        assert_eq!(of(json!(false), json!("true")), json!({ "default_value": true }));
        assert_eq!(of(json!(1.5), json!(2)), json!({ "default_value": 2 }));
        assert_eq!(of(json!({ "numerator": 1 }), json!(200))["default_value"]["numerator"], 1_000_000);
    }

    #[test]
    fn weights_of_clusters_have_a_key_each() {
        let clusters = json!({ "runtime_key_prefix": "shift", "clusters": [{ "name": "a", "weight": 1 }, { "name": "b", "weight": 2 }] });
        let both = settled(json!({ "shift": { "a": 30, "b": 70 } }), clusters.clone());
        assert_eq!(both, json!({ "clusters": [{ "name": "a", "weight": 30 }, { "name": "b", "weight": 70 }] }));
        let one = settled(json!({ "shift": { "a": 30 } }), clusters);
        assert_eq!((&one["clusters"][0]["weight"], &one["clusters"][1]["weight"]), (&json!(30), &json!(2)));
        assert_eq!(one["runtime_key_prefix"], "shift", "for the other one there is none");
    }

    #[test]
    fn faults_have_keys_without_saying_so() {
        let fault = json!({ "@type": FAULT, "abort": { "http_status": 503, "percentage": {} }, "abort_percent_runtime": "mine" });
        let layer = json!({
            "mine": 10, "fault": { "http": { "abort": { "http_status": 500 }, "delay": { "fixed_delay_percent": 100 }, "max_active_faults": 3 } },
        });
        let seen = settled(layer, fault);
        let share = json!({ "numerator": 100_000, "denominator": "MILLION" });
        assert_eq!(seen["abort"], json!({ "http_status": 500, "percentage": share }));
        assert_eq!((&seen["max_active_faults"], seen.get("delay")), (&json!(3), None));
        assert_eq!(seen.get("abort_percent_runtime"), None);
        // What a field cannot hold leaves it.
        let fault = json!({ "@type": FAULT, "abort": { "http_status": 503 }, "delay": { "fixed_delay": "1s" }, "max_active_faults": 7 });
        for (status, ms, active) in [
            (json!(503.5), json!(1e15), json!(1.5)),
            (json!(700), json!(0), json!(-1)),
            (json!("x"), json!(true), json!(1e12)),
        ] {
            let http = json!({ "abort": { "http_status": status }, "delay": { "fixed_duration_ms": ms }, "max_active_faults": active });
            assert_eq!(settled(json!({ "fault": { "http": http } }), fault.clone()), fault);
        }
    }

    #[test]
    fn a_list_is_no_value_of_a_runtime() {
        assert_eq!(problem(&json!({ "a": { "b": [1] } })).unwrap().0, "a.b");
        assert_eq!(problem(&json!({ "a": { "numerator": 1 }, "b": "x", "c": 1, "d": false })), None);
    }
}
