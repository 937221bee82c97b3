//! What a request meets, and why.
//!
//! The host says which listener and chain it takes, and has the request sent through a run: its filters do what they do, answers of
//! clusters aside. Before each filter looks at the request it is asked to explain itself (`fyke.explain.v1`): what routes are and why one
//! does not match, only the filter knows.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{
    asked::{Asked, Wish},
    entrance::{chains, listener},
    run::{DryRun, Sent},
    stand_in::Received,
};
use crate::{
    cluster::clusters::SharedClusters,
    config::{
        Config, Origin, Report,
        resolved::{Cluster, Endpoint, Filter},
    },
    reload::prepare::Prepared,
    wasm::{route::RouteAction, tap::Outcome},
};

/// How long it may take until it is clear what becomes of the request.
const PATIENCE: Duration = Duration::from_secs(20);
/// What a filter may take to explain itself: it may have thousands of routes to go through.
const CALL: Duration = Duration::from_secs(5);
/// Endpoints that are listed.
const ENDPOINTS: usize = 100;

/// Why there is no explanation.
#[derive(Debug)]
pub enum Unexplained {
    /// The request cannot be one.
    Request(String),
    /// The configuration is wrong.
    Configuration(Report),
}

impl From<Report> for Unexplained {
    fn from(report: Report) -> Self {
        Self::Configuration(report)
    }
}

/// What a request would meet. `known` is what runs, where it does: it knows who is healthy. Blocks; must not be called by a task.
///
/// # Errors
/// When the request or the configuration is wrong.
pub fn explain(
    config: Arc<Config>,
    asked: &Asked,
    known: Option<&SharedClusters>,
    runtime: &tokio::runtime::Handle,
    prepare: impl FnOnce(Config) -> Result<Prepared, Report>,
) -> Result<Value, Unexplained> {
    let wish = Wish::read(asked).map_err(Unexplained::Request)?;
    let (listeners, listener) = listener(&config, asked, &wish)?;
    let mut told = json!({
        "request": { "method": wish.method.as_str(), "url": asked.url },
        "listeners": listeners,
        "listener": listener.map(|listener| &listener.name),
    });
    let Some(listener) = listener else { return Ok(told) };
    let (chains, chain) = chains(listener, &wish);
    let insert = |told: &mut Value, key: &str, value: Value| {
        if let Some(fields) = told.as_object_mut() {
            fields.insert(key.to_owned(), value);
        }
    };
    insert(&mut told, "chains", chains);
    insert(&mut told, "chain", chain.clone().map_or(Value::Null, Value::String));
    if chain.is_none() {
        return Ok(told);
    }
    let request = wish.request(listener);
    let dry_run = DryRun::new(patient(&config), runtime, prepare)?;
    dry_run.stand_ins.tell(&BTreeMap::new());
    let sent = dry_run.begin(true)?.send(&request, PATIENCE);
    insert(&mut told, "filters", filters(&sent));
    let no_outcome = Outcome::default();
    let outcome = sent.report.as_ref().map_or(&no_outcome, |report| &report.outcome);
    insert(&mut told, "route", outcome.route.as_deref().map_or(Value::Null, |action| route(action, outcome)));
    let called: Vec<&String> = config
        .clusters
        .keys()
        .filter(|name| outcome.cluster.as_ref() != Some(name) && dry_run.stand_ins.received(name).0 > 0)
        .collect();
    insert(&mut told, "called", json!(called));
    let reached = outcome.cluster.as_ref().and_then(|name| dry_run.stand_ins.received(name).1);
    let cluster = outcome.cluster.as_ref().and_then(|name| config.clusters.get(name));
    insert(
        &mut told,
        "cluster",
        cluster.map_or(Value::Null, |cluster| self::cluster(cluster, outcome.route.as_deref(), known)),
    );
    insert(&mut told, "sent", reached.as_ref().map_or(Value::Null, self::sent));
    // What a stand-in answers is nobody's answer.
    let answer = match (&sent.answer, &reached) {
        (_, Some(_)) => Value::Null,
        (Ok(answer), None) => json!({
            "status": answer.status,
            "by": outcome.replied_by.clone(),
            "response_code_details": outcome.details,
            "location": answer.headers.get("location").map(|value| String::from_utf8_lossy(value.as_bytes())),
        }),
        (Err(error), None) => json!({ "error": error }),
    };
    insert(&mut told, "answer", answer);
    Ok(told)
}

/// The configuration in which filters have the time to explain themselves.
fn patient(config: &Config) -> Arc<Config> {
    let mut patient = config.clone();
    for filter in config.filters.values() {
        let mut filter = Filter::clone(filter);
        filter.limits.call_time = filter.limits.call_time.max(CALL);
        patient.put(&Arc::new(filter));
    }
    Arc::new(patient)
}

pub(super) fn place(origin: &Origin) -> String {
    format!("{}:{}:{}", origin.file, origin.line, origin.column)
}

/// What each filter says and has done.
fn filters(sent: &Sent) -> Value {
    let Some(report) = &sent.report else { return Value::Array(Vec::new()) };
    let one = |(name, notes): &(String, Vec<String>)| {
        let says = report.explained.iter().find(|(known, _)| known == name).map(|(_, lines)| lines);
        // What becomes of a stand-in's answer says nothing.
        let did: Vec<&String> = notes.iter().filter(|note| !note.starts_with("response")).collect();
        json!({ "filter": name, "says": says, "did": did })
    };
    report.notes.iter().map(one).collect()
}

/// The request as an endpoint gets it.
fn sent(received: &Received) -> Value {
    let headers = received.headers.iter();
    let headers = headers.map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]));
    json!({
        "method": received.method,
        "path": received.path,
        "host": received.host,
        "headers": headers.collect::<Vec<_>>(),
    })
}

/// How the host executes a route.
fn route(action: &RouteAction, outcome: &Outcome) -> Value {
    let milliseconds = |limit: u64| (limit > 0).then_some(limit);
    let retry = action.retry.as_ref().map(|retry| {
        json!({
            "on": retry.on,
            "attempts": retry.attempts,
            "per_try_timeout_ms": milliseconds(retry.per_try_timeout_ms),
        })
    });
    let mirrors = action.mirror.iter().map(|mirror| match (&mirror.cluster, &mirror.cluster_header) {
        (None, Some(header)) => format!("the cluster that the header {header} names"),
        (cluster, _) => cluster.clone().unwrap_or_default(),
    });
    json!({
        "name": action.name,
        "virtual_host": action.virtual_host,
        "timeout_ms": outcome.timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
        "idle_timeout_ms": milliseconds(action.idle_timeout_ms),
        "max_stream_duration_ms": milliseconds(action.max_stream_duration_ms),
        "retry": retry,
        "mirror": mirrors.collect::<Vec<_>>(),
        "auto_host": action.auto_host,
    })
}

fn cluster(cluster: &Cluster, action: Option<&RouteAction>, known: Option<&SharedClusters>) -> Value {
    let shared = known.and_then(|known| known.get(&cluster.name));
    let membership = shared.map(|shared| shared.membership());
    let wanted = action.and_then(|action| action.endpoint_labels.as_ref());
    let fits = |endpoint: &Endpoint| {
        wanted.is_none_or(|wanted| {
            wanted.iter().all(|(key, value)| endpoint.labels.get(&**key).is_some_and(|has| **has == **value))
        })
    };
    let one = |endpoint: &Endpoint| {
        let status = membership.as_ref().and_then(|membership| {
            let found = membership.endpoint(endpoint.address)?;
            Some((found.status.health().label(), found.status.reasons()))
        });
        let reasons = match &status {
            _ if !fits(endpoint) => vec!["it has not the labels that the route wants"],
            Some((_, reasons)) => reasons.clone(),
            None => Vec::new(),
        };
        json!({
            "address": endpoint.address,
            "weight": endpoint.weight,
            "priority": endpoint.priority,
            "zone": endpoint.zone,
            "labels": endpoint.labels,
            "health": status.as_ref().map_or("unknown", |(health, _)| *health),
            "eligible": reasons.is_empty(),
            "why_not": reasons,
        })
    };
    json!({
        "name": cluster.name,
        "origin": place(&cluster.origin),
        "load_balancer": cluster.balancing.policy_name(),
        "endpoints": cluster.endpoints.iter().take(ENDPOINTS).map(|endpoint| one(endpoint)).collect::<Vec<_>>(),
        "endpoints_total": cluster.endpoints.len(),
    })
}
