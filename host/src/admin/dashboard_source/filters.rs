//! The list of filters.

use super::{Host, panels, provenance, sum};
use crate::{
    admin::dashboard::model::FilterSummary,
    config::resolved,
    telemetry::{Reading, names},
    wasm::{build::FilterFacts, vm::TRAP_REASONS},
};

/// Whether a filter traps too often to be replaced now, on some worker.
pub(super) fn is_broken(host: &Host<'_>, name: &str) -> bool {
    let vm = host.snapshot.config.filters.get(name).map_or(name, |settings| vm(settings));
    host.number(&names::FILTER_BREAKER, &[("filter", vm)]).is_some_and(|workers| workers > 0)
}

/// Instances belong to VMs, which are named after their filter unless several share one.
pub(super) fn vm(settings: &resolved::Filter) -> &str {
    settings.vm.as_deref().filter(|_| !settings.is_canary()).unwrap_or(&settings.name)
}

/// The version of a module as it says, with its name where it has no number.
pub(super) fn version(facts: Option<&FilterFacts>) -> String {
    let Some((name, version)) = facts.map(|facts| &facts.version) else { return String::new() };
    version.clone().or_else(|| name.clone()).unwrap_or_default()
}

/// Quantiles of the processor time of calls, in seconds.
pub(super) fn cpu(host: &Host<'_>, name: &str) -> Option<[f64; 3]> {
    match host.registry().read(&names::FILTER_CPU, &[("filter", name)]) {
        Some(Reading::Histogram(times)) => Some([times.quantile(0.5)?, times.quantile(0.9)?, times.quantile(0.99)?]),
        _ => None,
    }
}

pub(super) fn traps(host: &Host<'_>, settings: &resolved::Filter) -> u64 {
    sum(host.registry(), &names::FILTER_TRAPS, ("filter", vm(settings)), "reason", &TRAP_REASONS)
}

pub(super) fn summary(host: &Host<'_>, settings: &resolved::Filter) -> FilterSummary {
    let (name, snapshot) = (settings.name.as_str(), &host.snapshot);
    let facts = snapshot.blueprint.facts(name);
    let listeners = snapshot.config.listeners.iter();
    let has = |listener: &&resolved::Listener| listener.filter_lists().flatten().any(|one| one.name == name);
    let (rate, errors, used) = {
        let kept = host.admin.board.kept();
        let (rate, errors) = kept.filter_rate(name);
        (rate, errors, kept.filter_used(name))
    };
    let of_vm = |metric| host.number(metric, &[("filter", vm(settings))]);
    FilterSummary {
        name: name.to_owned(),
        module: settings.module.to_string(),
        version: version(facts.as_ref()),
        provenance: provenance(&settings.origin, used),
        listeners: listeners.filter(has).map(|listener| listener.name.clone()).collect(),
        rate,
        errors,
        instances: of_vm(&names::FILTER_INSTANCES),
        memory: of_vm(&names::FILTER_MEMORY),
        cpu_p99: cpu(host, name).map(|[_, _, p99]| p99),
        traps: facts.is_some().then(|| traps(host, settings)),
        breaker_open: is_broken(host, name),
        canary: snapshot.trials.get(name).map(|trial| trial.settings.share),
        panels: panels::count(host, name),
    }
}
