//! What somebody should look at, worst first.

use std::{cmp::Reverse, net::SocketAddr, sync::PoisonError};

use super::{Host, certificates, filters};
use crate::{
    admin::{
        board,
        dashboard::model::{Severity, Subject, Time, Warning},
    },
    cluster::{balance::Health, shared::SharedCluster},
    reload::audit::Outcome,
    telemetry::names,
};

/// More are not counted out.
const MOST: usize = 200;
/// Canaries that were taken back are worth a warning for so long, in seconds.
const LATELY: f64 = 3_600.0;

pub(super) fn warnings(host: &Host<'_>) -> Vec<Warning> {
    let mut warnings = Vec::new();
    overload(host, &mut warnings);
    changes(host, &mut warnings);
    of_endpoints(host, &mut warnings);
    of_filters(host, &mut warnings);
    of_certificates(host, &mut warnings);
    warnings.sort_by_key(|warning| Reverse(warning.severity));
    warnings.truncate(MOST);
    warnings
}

fn overload(host: &Host<'_>, warnings: &mut Vec<Warning>) {
    for (action, what) in [
        ("stop_accepting", "accepts no more connections"),
        ("shed_requests", "answers some requests with 503"),
        ("disable_keep_alive", "closes connections after their answer"),
    ] {
        let level = host.number(&names::OVERLOAD_ACTIVE, &[("action", action)]).unwrap_or(0);
        if level > 0 {
            warnings.push(Warning {
                severity: Severity::Critical,
                subject: Subject::Process,
                text: format!("is overloaded and {what} ({level}%)"),
                help: Some("raise `limits`, or give it less to do".to_owned()),
                since: None,
            });
        }
    }
}

/// The last change was refused, or canaries were taken back.
fn changes(host: &Host<'_>, warnings: &mut Vec<Warning>) {
    let entries = host.admin.keeper.audit.entries();
    if let Some(entry) = entries.last()
        && let Outcome::Refused(why) = &entry.outcome
    {
        warnings.push(Warning {
            severity: Severity::Warning,
            subject: Subject::Process,
            text: format!("runs what ran before: the last change ({} by {}) was refused", entry.what, entry.who),
            help: why.lines().next().map(str::to_owned),
            since: Some(board::time(entry.when)),
        });
    }
    for entry in entries.iter().rev().filter(|entry| entry.who == "canary") {
        let at = board::time(entry.when);
        let rest = entry.what.strip_prefix("filter abort ").and_then(|rest| rest.split_once(": "));
        let Some((filter, why)) = rest.filter(|_| host.now.seconds_since(at) < LATELY) else { continue };
        warnings.push(Warning {
            severity: Severity::Warning,
            subject: Subject::Filter(filter.to_owned()),
            text: format!("had a canary that was taken back: {why}"),
            help: None,
            since: Some(at),
        });
    }
}

fn of_endpoints(host: &Host<'_>, warnings: &mut Vec<Warning>) {
    let kept = host.admin.board.kept();
    for (name, down) in kept.down() {
        let Some(cluster) = host.snapshot.clusters.get(name) else { continue };
        if warnings.len() >= 2 * MOST {
            return;
        }
        let all = cluster.membership().endpoints.len();
        let dead = down.values().filter(|(health, _)| *health == Health::Unhealthy).count();
        if dead > 0 && dead == all {
            warnings.push(Warning {
                severity: Severity::Critical,
                subject: Subject::Cluster(name.clone()),
                text: format!("has no healthy endpoint: all {all} are unhealthy"),
                help: Some("`panic_threshold` says whether requests go to them all the same".to_owned()),
                since: down.values().map(|(_, since)| *since).max(),
            });
        }
        for (address, (health, since)) in down.iter().take(MOST) {
            warnings.push(of_endpoint(cluster, *address, *health, *since, (all - dead.min(all), all)));
        }
    }
}

fn of_endpoint(
    cluster: &SharedCluster,
    address: SocketAddr,
    health: Health,
    since: Time,
    (up, all): (usize, usize),
) -> Warning {
    let name = &cluster.settings.name;
    let why = cluster.membership().endpoint(address).map(|endpoint| why(endpoint).join(", "));
    let severity = if health == Health::Draining { Severity::Info } else { Severity::Warning };
    Warning {
        severity,
        subject: Subject::Endpoint { cluster: name.clone(), address: address.to_string() },
        text: format!("of {name} is {}: {}", health.label(), why.unwrap_or_default()),
        help: Some(format!("{up} of {all} endpoints take its requests")),
        since: Some(since),
    }
}

/// Why an endpoint is not healthy, with what the last check found.
pub(super) fn why(endpoint: &crate::cluster::endpoint::SharedEndpoint) -> Vec<String> {
    let finding = endpoint.status.finding.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut reasons: Vec<String> = endpoint.status.reasons().into_iter().map(str::to_owned).collect();
    match reasons.first_mut() {
        Some(first) if first == "health check failed" && !finding.is_empty() => {
            first.push_str(": ");
            first.push_str(&finding);
        }
        _ => {}
    }
    reasons
}

fn of_filters(host: &Host<'_>, warnings: &mut Vec<Warning>) {
    for name in host.snapshot.config.filters.keys() {
        let subject = || Subject::Filter(name.clone());
        if filters::is_broken(host, name) {
            warnings.push(Warning {
                severity: Severity::Critical,
                subject: subject(),
                text: "traps too often to be replaced now".to_owned(),
                help: Some("its streams meet `on_failure` until it is tried again".to_owned()),
                since: None,
            });
        }
        let traps = host.admin.board.kept().recent_traps(name);
        if traps > 0 {
            let times = if traps == 1 { "once".to_owned() } else { format!("{traps} times") };
            warnings.push(Warning {
                severity: Severity::Warning,
                subject: subject(),
                text: format!("has trapped {times} in the last hour"),
                help: Some("its page says why and where".to_owned()),
                since: None,
            });
        }
    }
}

fn of_certificates(host: &Host<'_>, warnings: &mut Vec<Warning>) {
    for certificate in certificates::certificates(host).iter() {
        let left = certificates::days_left(certificate, host.now);
        let name = certificate.names.first().cloned().unwrap_or_default();
        if left < certificates::SOON {
            let severity = if left < certificates::NOW { Severity::Critical } else { Severity::Warning };
            let text =
                if left < 0.0 { "has expired".to_owned() } else { format!("expires in {:.0} days", left.floor()) };
            let help = Some("renew it, then reload".to_owned());
            warnings.push(Warning { severity, subject: Subject::Certificate(name), text, help, since: None });
        }
    }
}
