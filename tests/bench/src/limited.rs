//! Rate limits in Fyke's words, and whether they have counted.

use std::{net::SocketAddr, path::Path};

use anyhow::ensure;

use crate::{ask, contestant::Task, process};

/// The header whose values are limited, with one of them.
pub const HEADER: &str = "x-tenant: blue";

/// The router, and a filter that does nothing.
pub fn empty(task: Task, listen: SocketAddr, admin: SocketAddr, module: &Path) -> String {
    chain(task, listen, admin, &format!("{{ module: {:?} }}", module.display().to_string()), "")
}

/// The router, and a rule that this process counts; `told`: which answers say so.
pub fn local(task: Task, listen: SocketAddr, admin: SocketAddr, told: &str) -> String {
    let filter = format!(
        "{{ module: \"builtin:rate-limit\", allow: {{ shared_data: true }}, config: {{ failure_mode: closed, answer: {{ ratelimit: {told} }}, \
         rules: [{{ name: tenant, key: [{{ from: {{ request_header: x-tenant }} }}], limit: 1M/s }}] }} }}"
    );
    chain(task, listen, admin, &filter, "")
}

/// The router, and the same rule, counted by Redis. The load is on Redis' core too, so it may take its time; but a request
/// that it has not counted must fail.
pub fn redis(task: Task, listen: SocketAddr, admin: SocketAddr, redis: SocketAddr) -> String {
    let filter = "{ module: \"builtin:rate-limit\", allow: { shared_data: true, clusters: [limits] }, config: { answer: { ratelimit: refused }, \
         redis: { cluster: limits, timeout: 2s, failure_mode: closed }, \
         rules: [{ name: tenant, key: [{ from: { request_header: x-tenant } }], global: true, limit: 1M/s }] } }";
    chain(task, listen, admin, filter, &format!("  limits: {{ protocol: tcp, endpoints: [\"{redis}\"] }}\n"))
}

fn chain(task: Task, listen: SocketAddr, admin: SocketAddr, filter: &str, clusters: &str) -> String {
    format!(
        "workers: {}\nadmin: {{ address: \"{admin}\" }}\nlisteners:\n  web:\n    address: \"{listen}\"\n    filters: [router, it]\nfilters:\n  \
         router: {{ module: \"builtin:router\", config: {{ routes: [{{ cluster: app }}] }} }}\n  it: {filter}\nclusters:\n  \
         app: {{ endpoints: [\"{}\"] }}\n{clusters}",
        task.workers, task.upstream,
    )
}

/// How many requests the rule has let through.
pub fn counted(admin: SocketAddr) -> anyhow::Result<f64> {
    let metrics = ask::page(admin, "/metrics")?;
    Ok(["outcome=\"ok\"", "outcome=\"near\""]
        .map(|outcome| ask::sum(&metrics, "rate_limit_total", outcome))
        .iter()
        .sum())
}

/// Fails where fewer requests were counted than answered.
pub fn check(admin: SocketAddr, answered: u64) -> anyhow::Result<()> {
    let counted = counted(admin)?;
    ensure!(
        counted >= process::precise(answered),
        "{answered} requests were answered, and the rule has counted {counted}"
    );
    Ok(())
}
