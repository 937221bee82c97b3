//! What is different between two configurations, in words.

use std::collections::BTreeMap;

use crate::config::{Config, fingerprint::Fingerprint};

/// One line for each listener, filter, cluster and section that is not the same, oldest words first. `hashes` tells the content of a
/// filter's module in either, which changes without a word in the configuration.
#[must_use]
pub fn between(old: &Config, new: &Config, hashes: impl Fn(&str) -> (Option<String>, Option<String>)) -> Vec<String> {
    let mut lines = Vec::new();
    if old.rest != new.rest {
        lines.push("settings of the process changed".to_owned());
    }
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
