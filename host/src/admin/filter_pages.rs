//! `/filters` as JSON.

use serde_json::{Value, json};

use super::pages::count;
use crate::{
    config::resolved::{self, Isolation, OnFailure},
    snapshot::Snapshot,
    telemetry::{Reading, Registry, names},
    wasm::{
        build::FilterFacts,
        trial::{self, Trial},
        vm::TRAP_REASONS,
    },
};

/// All of them.
pub fn filters(snapshot: &Snapshot, registry: &Registry) -> Value {
    let names = snapshot.config.filters.keys();
    names
        .filter_map(|name| Some((name.clone(), filter(snapshot, registry, name)?)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// One.
pub fn filter(snapshot: &Snapshot, registry: &Registry, name: &str) -> Option<Value> {
    let settings = snapshot.config.filters.get(name)?;
    let value = version(registry, settings, &snapshot.blueprint.facts(name)?);
    let own = json!({
        "generation": snapshot.versions.get(name),
        "changes": snapshot.overlay.depth(name),
        "listeners": snapshot.config.listeners.iter().filter(|listener| listener.filter_lists().flatten().any(|one| one.name == name)).map(|listener| &listener.name).collect::<Vec<_>>(),
        "isolation": match settings.isolation { Isolation::Worker => "worker", Isolation::Stream => "stream" },
        "on_failure": match settings.on_failure { OnFailure::Close => "close", OnFailure::Open => "open" },
        "origin": format!("{}:{}", settings.origin.file, settings.origin.line),
        "canary": snapshot.trials.get(name).and_then(|trial| canary(snapshot, registry, trial)),
    });
    Some(with(value, own))
}

/// Those that have trapped, or are not called for now.
pub fn trouble(snapshot: &Snapshot, registry: &Registry) -> Vec<Value> {
    let one = |(name, settings): (&String, &std::sync::Arc<resolved::Filter>)| {
        let vm = settings.vm.as_deref().unwrap_or(name);
        let traps: i64 = TRAP_REASONS
            .iter()
            .map(|reason| count(registry, &names::FILTER_TRAPS, &[("filter", vm), ("reason", reason)]))
            .sum();
        let failed: i64 = ["close", "open"]
            .iter()
            .map(|policy| count(registry, &names::FILTER_FAILED_STREAMS, &[("filter", name), ("policy", policy)]))
            .sum();
        let breaker_open = count(registry, &names::FILTER_BREAKER, &[("filter", vm)]) > 0;
        (traps > 0 || breaker_open)
            .then(|| json!({ "filter": name, "traps": traps, "failed_streams": failed, "breaker_open": breaker_open }))
    };
    snapshot.config.filters.iter().filter_map(one).collect()
}

fn canary(snapshot: &Snapshot, registry: &Registry, trial: &Trial) -> Option<Value> {
    let settings = &trial.settings;
    let value = version(registry, &settings.version, &snapshot.blueprint.facts(&settings.version.name)?);
    let (stable, canary) = trial.read();
    let on = &settings.rollback_on;
    let percent = |share: f64| format!("{}%", share * 100.0);
    let own = json!({
        "percent": settings.share * 100.0,
        "min_streams": settings.min_streams,
        "rollback_on": {
            "traps": percent(on.traps),
            "errors": percent(on.errors),
            "latency": on.latency.map(|latency| format!("+{}", percent(latency))),
        },
        "trial": { "canary": tally(&canary), "stable": tally(&stable) },
    });
    Some(with(value, own))
}

/// An object with the entries of another one behind its own.
fn with(mut value: Value, more: Value) -> Value {
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    value
}

fn tally(reading: &trial::Reading) -> Value {
    json!({
        "streams": reading.streams,
        "errors": reading.errors,
        "failed": reading.failed,
        "typical_seconds": reading.typical_time().map(|time| time.as_secs_f64()),
    })
}

/// What is the same of a filter and a canary.
fn version(registry: &Registry, settings: &resolved::Filter, facts: &FilterFacts) -> Value {
    let name = settings.name.as_str();
    // Instances belong to VMs, which are named after their filter unless several share one.
    let vm = settings.vm.as_deref().filter(|_| !settings.is_canary()).unwrap_or(name);
    let callbacks: Vec<_> = facts.callbacks.iter().map(fyke_engine::Callback::name).collect();
    let of_vm = |metric| count(registry, metric, &[("filter", vm)]);
    let of_filter = |metric| count(registry, metric, &[("filter", name)]);
    let traps: i64 = TRAP_REASONS
        .iter()
        .map(|reason| count(registry, &names::FILTER_TRAPS, &[("filter", vm), ("reason", reason)]))
        .sum();
    let failed: i64 = ["close", "open"]
        .iter()
        .map(|policy| count(registry, &names::FILTER_FAILED_STREAMS, &[("filter", name), ("policy", policy)]))
        .sum();
    let cpu = match registry.read(&names::FILTER_CPU, &[("filter", name)]) {
        Some(Reading::Histogram(times)) => {
            json!({ "p50": times.quantile(0.5), "p90": times.quantile(0.9), "p99": times.quantile(0.99) })
        }
        _ => Value::Null,
    };
    json!({
        "module": settings.module.to_string(),
        "sha256": facts.hash,
        "name": facts.version.0,
        "version": facts.version.1,
        "abi": facts.abi,
        "callbacks": callbacks,
        "instances": of_vm(&names::FILTER_INSTANCES),
        "memory": of_vm(&names::FILTER_MEMORY),
        "streams": of_filter(&names::FILTER_STREAMS),
        "calls": of_filter(&names::FILTER_CALLS),
        "call_cpu_seconds": cpu,
        "local_replies": of_filter(&names::FILTER_LOCAL_REPLIES),
        "failed_streams": failed,
        "traps": traps,
        "replaced": of_vm(&names::FILTER_INSTANCES_REPLACED),
        "recycled": of_vm(&names::FILTER_INSTANCES_RECYCLED),
        "breaker_open": of_vm(&names::FILTER_BREAKER) > 0,
        "callouts": of_vm(&names::FILTER_CALLOUTS),
    })
}
