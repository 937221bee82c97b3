//! What is different between two configurations, in words, and what of it a running process can follow.

use std::collections::BTreeMap;

use super::prepare::Prepared;
use crate::{
    config::{Config, Origin, Problem, fingerprint::Fingerprint, resolved::Sink},
    snapshot::Snapshot,
};

/// One line for each listener, filter, cluster and section that is not the same, oldest words first. `hashes` tells the content of a
/// filter's module in either, which changes without a word in the configuration.
#[must_use]
pub fn between(old: &Config, new: &Config, hashes: impl Fn(&str) -> (Option<String>, Option<String>)) -> Vec<String> {
    let mut lines = Vec::new();
    if old.rest != new.rest {
        lines.push("settings of the process changed".to_owned());
    }
    // What is written there counts to the process's settings; the files that it names do not.
    let files: Vec<_> =
        telemetry(new).filter(|part| old.rest == new.rest && !telemetry(old).any(|old| old == *part)).collect();
    lines.extend(files.iter().map(|(name, _)| format!("files of {name} changed")));
    if old.reload != new.reload {
        lines.push("reload changed".to_owned());
    }
    let listeners = |config: &Config| -> BTreeMap<String, Fingerprint> {
        config.listeners.iter().map(|one| (one.name.clone(), one.fingerprint)).collect()
    };
    parts("listener", &listeners(old), &listeners(new), &mut lines);
    let filters = |config: &Config| config.filters.iter().map(|(name, one)| (name.clone(), one.fingerprint)).collect();
    parts("filter", &filters(old), &filters(new), &mut lines);
    for (name, filter) in &new.filters {
        let (before, now) = hashes(name);
        if let (Some(before), Some(now)) = (before, now)
            && before != now
            && old.filters.get(name).is_some_and(|old| old.fingerprint == filter.fingerprint)
        {
            let short = |hash: &str| hash.get(..12).unwrap_or(hash).to_owned();
            lines.push(format!("module of filter {name} changed ({} to {})", short(&before), short(&now)));
        }
    }
    let clusters =
        |config: &Config| config.clusters.iter().map(|(name, one)| (name.clone(), one.fingerprint)).collect();
    parts("cluster", &clusters(old), &clusters(new), &mut lines);
    lines
}

/// What sends telemetry, with the files that it names (certificates, keys).
pub(super) fn telemetry(config: &Config) -> impl Iterator<Item = (String, Fingerprint)> + '_ {
    let tracing = config.tracing.iter().map(|tracing| ("tracing".to_owned(), tracing.fingerprint));
    let metrics = config.metrics.iter().map(|metrics| ("metrics".to_owned(), metrics.fingerprint));
    let sinks = config.sinks.iter().filter_map(|(name, sink)| match sink {
        Sink::Otlp(collector) => Some((format!("sink {name}"), collector.fingerprint)),
        Sink::Stdout | Sink::File(_) => None,
    });
    tracing.chain(metrics).chain(sinks)
}

fn parts(
    kind: &str,
    old: &BTreeMap<String, Fingerprint>,
    new: &BTreeMap<String, Fingerprint>,
    lines: &mut Vec<String>,
) {
    for (name, part) in new {
        match old.get(name) {
            None => lines.push(format!("{kind} {name} added")),
            Some(before) if before != part => lines.push(format!("{kind} {name} changed")),
            Some(_) => {}
        }
    }
    lines.extend(old.keys().filter(|name| !new.contains_key(*name)).map(|name| format!("{kind} {name} removed")));
}

/// Whether a generation would be no other one.
pub(super) fn is_same(before: &Snapshot, prepared: &Prepared) -> bool {
    let (old, new) = (&before.config, &prepared.config);
    let listeners = old.listeners.iter().map(|one| one.fingerprint).eq(new.listeners.iter().map(|one| one.fingerprint))
        && old.listeners.iter().map(|one| &one.name).eq(new.listeners.iter().map(|one| &one.name));
    let clusters = old.clusters.iter().map(|(name, one)| (name, one.fingerprint));
    let filters = old.filters.iter().map(|(name, one)| (name, one.fingerprint));
    old.rest == new.rest
        && telemetry(old).eq(telemetry(new))
        && old.reload == new.reload
        && listeners
        && clusters.eq(new.clusters.iter().map(|(name, one)| (name, one.fingerprint)))
        && filters.eq(new.filters.iter().map(|(name, one)| (name, one.fingerprint)))
        && prepared.blueprint.is_same(&before.blueprint)
}

/// What a running process cannot change.
pub(super) fn fixed(old: &Config, new: &Config) -> Vec<Problem> {
    let file = new.sources.main().to_owned();
    let admin = |config: &Config| config.admin.as_ref().map(|admin| (admin.address.clone(), admin.token_file.clone()));
    let parts = [
        ("workers", old.workers == new.workers),
        ("state", old.state == new.state),
        ("admin", admin(old) == admin(new)),
    ];
    let changed = parts.into_iter().filter(|(_, same)| !same);
    let problem = |(name, _)| {
        Problem::new(
            Origin { file: file.clone(), line: 0, column: 0 },
            format!("`{name}` cannot change while the process runs"),
        )
        .help("start the process anew for that, or put back what it was")
    };
    changed.map(problem).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_is_renewed_in_place_is_a_difference() {
        let folder = tempfile::tempdir().unwrap();
        let renew = || {
            let key = rcgen::KeyPair::generate().unwrap();
            let params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
            std::fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        };
        let collector = "{ address: 'https://127.0.0.1:1', tls: { ca: ca.pem } }";
        for (text, told) in [
            (format!("tracing: {{ otlp: {collector} }}\n"), "files of tracing changed"),
            (format!("metrics: {{ otlp: {collector} }}\n"), "files of metrics changed"),
            (format!("sinks: {{ far: {{ otlp: {collector} }} }}\n"), "files of sink far changed"),
        ] {
            let path = folder.path().join("proxy.yaml");
            std::fs::write(&path, format!("{text}listeners: {{ web: {{ address: '127.0.0.1:0', cluster: app }} }}\nclusters: {{ app: {{ endpoints: ['127.0.0.1:1'] }} }}\n")).unwrap();
            let load = || crate::config::load(&path).unwrap();
            renew();
            let (old, same) = (load(), load());
            renew();
            let new = load();
            let nothing = |_: &str| (None, None);
            assert_eq!(between(&old, &same, nothing), [""; 0]);
            assert!(telemetry(&old).eq(telemetry(&same)) && !telemetry(&old).eq(telemetry(&new)));
            assert_eq!(between(&old, &new, nothing), [told]);
        }
    }
}
