//! The frame of every page.

use std::{sync::atomic::Ordering, time::SystemTime};

use serde_json::Value;

use super::{Host, certificates, filters, sources};
use crate::{
    admin::{
        board,
        dashboard::model::{Process, Time},
    },
    cluster::balance::Health,
    telemetry::names,
};

pub(super) fn process(host: &Host<'_>) -> Process {
    let (snapshot, proxy) = (&host.snapshot, &host.admin.keeper.proxy);
    let overload = proxy.overload();
    let used = |resource: &str, which: &str| overload.get(resource)?.get(which).and_then(Value::as_u64);
    let started = host.number(&names::PROCESS_START, &[]).unwrap_or(0);
    let down = {
        let kept = host.admin.board.kept();
        let each = kept.down().values().flat_map(|endpoints| endpoints.values());
        each.filter(|(health, _)| *health == Health::Unhealthy).count()
    };
    let noteworthy = |name: &&String| snapshot.trials.contains_key(*name) || filters::is_broken(host, name);
    Process {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node: snapshot.config.node.id.clone(),
        pid: std::process::id(),
        generation: snapshot.generation,
        generation_since: board::time(snapshot.since),
        started: if started > 0 { Time(started * 1_000) } else { board::time(SystemTime::now()) },
        workers: snapshot.config.workers,
        draining: host.admin.draining.load(Ordering::Relaxed),
        memory: used("memory", "used").filter(|bytes| *bytes > 0),
        memory_limit: used("memory", "limit"),
        connections: used("connections", "used"),
        connections_limit: used("connections", "limit"),
        endpoints_down: down,
        filters_noteworthy: snapshot.config.filters.keys().filter(noteworthy).count(),
        sources_failing: sources::failing(host),
        certificates_expiring: certificates::certificates(host)
            .iter()
            .filter(|one| certificates::days_left(one, host.now) < certificates::SOON)
            .count(),
    }
}
