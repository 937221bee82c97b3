//! One filter.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::{Host, filter_metrics, filters, number};
use crate::{
    admin::{
        board,
        dashboard::model::{Callout, Canary, FilterPage, Frame, Refusal, Tally, Trap, Version, VersionRole},
    },
    config::resolved::{self, Allow, Choice, Isolation, OnFailure},
    reload::audit::Outcome,
    telemetry::{event_kinds, events, names},
    wasm::{
        build::FilterFacts,
        trial::{Reading, Trial},
        vm::TRAP_REASONS,
    },
};

/// Changes and refusals that are told.
const MOST: usize = 20;

pub(super) fn filter(host: &Host<'_>, name: &str) -> Option<FilterPage> {
    let snapshot = &host.snapshot;
    let settings = snapshot.config.filters.get(name)?;
    let facts = snapshot.blueprint.facts(name);
    let trial = snapshot.trials.get(name);
    let (metrics, metrics_left_out) = filter_metrics::rows(host, name);
    let vm = filters::vm(settings);
    let by_reason = |reason: &&str| {
        let labels = [("filter", vm), ("reason", *reason)];
        let count = number(host.registry(), &names::FILTER_TRAPS, &labels).filter(|count| *count > 0)?;
        Some(((*reason).to_owned(), count))
    };
    Some(FilterPage {
        summary: filters::summary(host, settings),
        on_failure: match settings.on_failure {
            OnFailure::Close => "close".to_owned(),
            OnFailure::Open => "open".to_owned(),
        },
        isolation: match settings.isolation {
            Isolation::Worker => "worker".to_owned(),
            Isolation::Stream => "stream".to_owned(),
        },
        abi: facts.as_ref().map(|facts| facts.abi.clone()).unwrap_or_default(),
        callbacks: facts.iter().flat_map(|facts| facts.callbacks.iter()).map(|one| one.name().to_owned()).collect(),
        grants: grants(&settings.allow),
        versions: versions(host, settings, facts.as_ref(), trial.map(|trial| &**trial)),
        canary: trial.map(|trial| canary(host, trial)),
        changes: changes(host, name),
        traps: traps(host, vm, facts.as_ref()),
        traps_by_reason: TRAP_REASONS.iter().filter_map(by_reason).collect(),
        refusals: refusals(host, name),
        callouts: callouts(host, settings),
        metrics,
        metrics_left_out,
        configuration: configuration(host, name),
    })
}

/// The last traps, newest first, as the events have them: of a crowd one a second.
fn traps(host: &Host<'_>, vm: &str, facts: Option<&FilterFacts>) -> Vec<Trap> {
    let news = host.registry().events().after(0);
    let its = news.events.iter().rev().filter(|event| event.kind.name == event_kinds::TRAP.name && event.subject == vm);
    let one = |event: &Arc<events::Event>| {
        let text = |key: &str| event.fields.get(key).and_then(Value::as_str).unwrap_or_default();
        let more = if event.repeats > 0 { format!(" (and {} more)", event.repeats) } else { String::new() };
        Trap {
            at: board::time(event.at),
            reason: text("reason").to_owned(),
            message: format!("{}{more}", event.message.strip_prefix("filter trapped: ").unwrap_or(&event.message)),
            phase: text("callback").to_owned(),
            worker: event.fields.get("worker").and_then(Value::as_u64).and_then(|worker| u32::try_from(worker).ok()),
            version: filters::version(facts),
            backtrace: text("backtrace").lines().map(frame).collect(),
        }
    };
    its.take(MOST).map(one).collect()
}

/// `0: 0x2a1 - module!function`, or what follows it.
fn frame(line: &str) -> Frame {
    let (number, rest) = line.split_once(": ").unwrap_or(("", line));
    let rest = if number.bytes().all(|byte| byte.is_ascii_digit()) { rest } else { line };
    let (place, function) = rest.trim().split_once(" - ").unwrap_or(("", rest.trim()));
    let function = function.split_once('!').map_or(function, |(_, function)| function);
    Frame { function: function.to_owned(), place: place.to_owned() }
}

fn versions(
    host: &Host<'_>,
    settings: &resolved::Filter,
    facts: Option<&FilterFacts>,
    trial: Option<&Trial>,
) -> Vec<Version> {
    let share = trial.map_or(0.0, |trial| trial.settings.share);
    let generation = host.snapshot.versions.get(&settings.name).copied().unwrap_or(host.snapshot.generation);
    let stable = version(host, settings, facts, VersionRole::Stable, generation, 1.0 - share);
    let canary = trial.map(|trial| {
        let settings = &trial.settings.version;
        let facts = host.snapshot.blueprint.facts(&settings.name);
        let generation = host.snapshot.versions.get(&settings.name).copied().unwrap_or(host.snapshot.generation);
        version(host, settings, facts.as_ref(), VersionRole::Canary, generation, share)
    });
    std::iter::once(stable).chain(canary).collect()
}

fn version(
    host: &Host<'_>,
    settings: &resolved::Filter,
    facts: Option<&FilterFacts>,
    role: VersionRole,
    generation: u64,
    share: f64,
) -> Version {
    let history = host.admin.keeper.proxy.history();
    let brought = history.iter().find(|snapshot| snapshot.generation == generation);
    let (rate, errors) = host.admin.board.kept().filter_rate(&settings.name);
    let of_vm = |metric| host.number(metric, &[("filter", filters::vm(settings))]);
    Version {
        role,
        version: filters::version(facts),
        sha256: facts.map(|facts| facts.hash.clone()).unwrap_or_default(),
        generation,
        since: brought.map(|snapshot| board::time(snapshot.since)),
        share,
        rate,
        errors,
        instances: of_vm(&names::FILTER_INSTANCES),
        memory: of_vm(&names::FILTER_MEMORY),
        memory_limit: Some(settings.limits.memory as u64),
        cpu: filters::cpu(host, &settings.name),
        cpu_limit: Some(settings.limits.call_time.as_secs_f64()),
        traps: Some(filters::traps(host, settings)),
    }
}

fn canary(host: &Host<'_>, trial: &Trial) -> Canary {
    let settings = &trial.settings;
    let (stable, canary) = trial.read();
    let on = &settings.rollback_on;
    let percent = |share: f64| format!("{}%", share * 100.0);
    let latency = on.latency.map(|latency| format!("latency above +{}", percent(latency)));
    let facts = host.snapshot.blueprint.facts(&settings.version.name);
    Canary {
        version: filters::version(facts.as_ref()),
        share: settings.share,
        since: None,
        min_streams: settings.min_streams,
        canary: tally(&canary),
        stable: tally(&stable),
        rollback_on: [format!("traps above {}", percent(on.traps)), format!("errors above +{}", percent(on.errors))]
            .into_iter()
            .chain(latency)
            .collect(),
    }
}

fn tally(reading: &Reading) -> Tally {
    Tally {
        streams: reading.streams,
        errors: reading.errors,
        failed: reading.failed,
        typical: reading.typical_time().map(|time| time.as_secs_f64()),
    }
}

/// What could be taken back, in the words of whoever did it, newest first.
fn changes(host: &Host<'_>, name: &str) -> Vec<String> {
    let depth = host.snapshot.overlay.depth(name).min(MOST);
    let entries = host.admin.keeper.audit.entries();
    let its = entries.iter().rev().filter(|entry| {
        let is_change = !entry.what.starts_with("filter rollback ");
        is_change && concerns(&entry.what, name) && matches!(entry.outcome, Outcome::Applied(_))
    });
    let mut changes: Vec<String> = its.take(depth).map(|entry| format!("{} by {}", entry.what, entry.who)).collect();
    // What is older than the log.
    changes.resize(depth, "an earlier change over the admin endpoint".to_owned());
    changes
}

/// Whether an entry of the audit log is about a filter: `filter load NAME ...`.
fn concerns(what: &str, name: &str) -> bool {
    let rest = what.strip_prefix("filter ").and_then(|rest| rest.split_once(' ')).map(|(_, rest)| rest);
    rest.and_then(|rest| rest.strip_prefix(name)).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', ':']))
}

fn refusals(host: &Host<'_>, name: &str) -> Vec<Refusal> {
    let quoted = format!("filter \"{name}\"");
    let entries = host.admin.keeper.audit.entries();
    let refused = entries.iter().rev().filter_map(|entry| match &entry.outcome {
        Outcome::Refused(why) if concerns(&entry.what, name) || why.contains(&quoted) => Some((entry, why)),
        _ => None,
    });
    let one = |(entry, why): (&crate::reload::audit::Entry, &String)| Refusal {
        at: board::time(entry.when),
        origin: format!("{} by {}", entry.what, entry.who),
        path: String::new(),
        message: why.clone(),
        help: None,
    };
    refused.take(MOST).map(one).collect()
}

/// Calls are counted by filter; where it may call one cluster only, they are that one's.
fn callouts(host: &Host<'_>, settings: &resolved::Filter) -> Vec<Callout> {
    let own = [("filter", filters::vm(settings))];
    let calls = host.number(&names::FILTER_CALLOUTS, &own).unwrap_or(0);
    let [cluster] = settings.allow.clusters.as_slice() else { return Vec::new() };
    let failed = host.number(&names::FILTER_CALLOUTS_FAILED, &own).unwrap_or(0);
    vec![Callout { cluster: cluster.clone(), rate: None, calls, failed, p50: None, p99: None }]
}

/// Keys of `allow` that are granted.
fn grants(allow: &Allow) -> Vec<String> {
    let clusters = allow.clusters.iter().map(|cluster| format!("clusters: {cluster}"));
    let foreign = match &allow.foreign_functions {
        Choice::All => true,
        Choice::Named(names) => !names.is_empty(),
    };
    let others = [
        (allow.shared_data, "shared_data"),
        (allow.queues, "queues"),
        (allow.metrics, "metrics"),
        (allow.set_properties, "set_properties"),
        (foreign, "foreign_functions"),
        (allow.clock, "clock"),
        (allow.random, "random"),
    ];
    clusters.chain(others.into_iter().filter(|(is, _)| *is).map(|(_, word)| word.to_owned())).collect()
}

/// Its configuration as it is written, secrets masked; that of a version that was loaded is nowhere written.
fn configuration(host: &Host<'_>, name: &str) -> String {
    let generation = host.snapshot.generation;
    if let Some((of, known)) = &host.admin.board.kept().configurations
        && *of == generation
    {
        return known.get(name).cloned().unwrap_or_default();
    }
    let written = host.snapshot.config.sources.as_written();
    let filters = written.get("filters").and_then(Value::as_object);
    let text = |config: &Value| match config {
        Value::String(text) => text.clone(),
        config => serde_json::to_string_pretty(config).unwrap_or_default(),
    };
    let each = filters.into_iter().flatten().filter_map(|(name, one)| Some((name.clone(), text(one.get("config")?))));
    let all: BTreeMap<String, String> = each.collect();
    let own = all.get(name).cloned().unwrap_or_default();
    host.admin.board.kept().configurations = Some((generation, all));
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_have_a_function_and_a_place() {
        let of = |line| {
            let Frame { function, place } = frame(line);
            (function, place)
        };
        assert_eq!(of("0: 0x2a1 - f.wasm!shop::price"), ("shop::price".to_owned(), "0x2a1".to_owned()));
        assert_eq!(of("12: 0x0 - <unknown>!<wasm function 3>"), ("<wasm function 3>".to_owned(), "0x0".to_owned()));
        assert_eq!(of("at /src/lib.rs:3"), ("at /src/lib.rs:3".to_owned(), String::new()));
    }

    #[test]
    fn an_entry_is_about_the_filter_that_it_names() {
        for what in ["filter load f", "filter load f builtin:x --canary 5%", "filter abort f: it is worse"] {
            assert!(concerns(what, "f"), "{what}");
        }
        for what in ["reload", "filter load ff", "filter load x f", "rollback 3", "filter f"] {
            assert!(!concerns(what, "f"), "{what}");
        }
    }
}
