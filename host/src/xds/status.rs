//! How a control plane is, for operators.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use fyke_envoy::xds::{ResourceType, Update, Verdict};
use serde_json::{Value, json};

use crate::clock::seconds;

/// What is told of one.
#[derive(Debug)]
pub struct Known {
    /// Where it is.
    pub address: String,
    /// Since when there is a connection.
    pub connected: Option<SystemTime>,
    /// Why there is none.
    pub why_not: String,
    /// When something of it was accepted last.
    pub updated: Option<SystemTime>,
    /// What counts was known when the process ended before.
    pub from_disk: bool,
    /// Updates so far.
    pub updates: u64,
    /// Resources refused so far.
    pub refusals: u64,
    /// What counts, by type: how many, and the newest version.
    pub resources: BTreeMap<&'static str, (usize, String)>,
    /// Those that wait for others, by type and name.
    pub waiting: Vec<(&'static str, String)>,
    /// Those that it does not know any more, and stay.
    pub forgotten: Vec<(&'static str, String)>,
    /// Those that are refused now, and why.
    pub refused: Vec<(&'static str, String, String)>,
}

/// Refusals that are kept.
const KEPT: usize = 50;

/// How one is.
#[derive(Debug)]
pub struct Status {
    address: String,
    state: Mutex<State>,
}

/// What is known of it.
#[derive(Debug, Default, Clone)]
struct State {
    connected: Option<SystemTime>,
    why_not: String,
    /// When something of it was accepted last.
    updated: Option<SystemTime>,
    /// What counts was known when the process ended before.
    from_disk: bool,
    /// Versions of what was accepted, by type and name.
    accepted: BTreeMap<ResourceType, BTreeMap<String, String>>,
    /// Types of which it has not been heard what there is.
    pending: BTreeSet<ResourceType>,
    /// It was heard of all, and nothing waited for anything.
    settled: bool,
    updates: u64,
    refusals: u64,
    /// Those that wait for others, by type and name.
    waiting: Vec<(ResourceType, String)>,
    /// Those that are refused now, by type and name, and why.
    refused: BTreeMap<(ResourceType, String), String>,
    /// What it does not know any more, and is not believed to have meant.
    forgotten: BTreeSet<(ResourceType, String)>,
    /// Of loads, where it is told of them.
    reports: Option<Reports>,
}

/// How it goes with reports of loads.
#[derive(Debug, Default, Clone)]
struct Reports {
    /// It has said that it wants them.
    wanted: bool,
    sent: u64,
    why_not: String,
}

impl Status {
    /// Nothing is known of it yet. Of these types it is asked for everything.
    #[must_use]
    pub fn new(address: String, whole: &[ResourceType]) -> Self {
        let pending = whole.iter().copied().collect();
        Self { address, state: Mutex::new(State { pending, ..State::default() }) }
    }

    fn note<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// There is a connection.
    pub fn connected(&self) {
        self.note(|state| {
            state.connected = Some(SystemTime::now());
            state.why_not.clear();
        });
    }

    /// There is none.
    ///
    /// Returns whether that is new, or why.
    pub fn disconnected(&self, why: &str) -> bool {
        self.note(|state| {
            let new = state.connected.take().is_some() || state.why_not != why;
            why.clone_into(&mut state.why_not);
            new
        })
    }

    /// An update was looked at; what is refused of it is told by [`Self::refused`].
    pub fn updated(&self, update: &Update, verdict: &Verdict) {
        self.note(|state| {
            state.updates += 1;
            state.updated = Some(SystemTime::now());
            state.from_disk = update.restored;
            let stays = |name: &&String| verdict.stays.contains(name);
            let removed = update.removed.iter().filter(|name| !stays(name)).map(|name| (update.kind, name.clone()));
            for key in removed.chain(verdict.gone.iter().cloned()) {
                state.accepted.entry(key.0).or_default().remove(&key.1);
                state.refused.remove(&key);
            }
            let versions = state.accepted.entry(update.kind).or_default();
            let is_refused = |name: &String| verdict.refused.iter().any(|(refused, _)| refused == name);
            for resource in update.added.iter().filter(|one| !is_refused(&one.name)) {
                versions.insert(resource.name.clone(), resource.version.clone());
                state.refused.remove(&(update.kind, resource.name.clone()));
            }
        });
    }

    /// These wait for others.
    pub fn waits<'a>(&self, waiting: impl Iterator<Item = &'a (ResourceType, String)>) {
        self.note(|state| state.waiting = waiting.take(KEPT).cloned().collect());
    }

    /// It names these no more, which stay until it says what there is.
    pub fn forgets(&self, forgotten: &BTreeSet<(ResourceType, String)>) {
        self.note(|state| state.forgotten.clone_from(forgotten));
    }

    /// How many of what it had sent it does not know any more, and stay.
    #[must_use]
    pub fn forgotten(&self) -> usize {
        self.note(|state| state.forgotten.len())
    }

    /// It has said what there is of a type, or says nothing.
    pub fn settles(&self, kind: ResourceType) {
        self.note(|state| {
            state.pending.remove(&kind);
            state.settled |= state.pending.is_empty() && state.waiting.is_empty();
        });
    }

    /// It was waited for long enough.
    pub fn settle(&self) {
        self.note(|state| state.settled = true);
    }

    /// Whether it has said once what there is, or was waited for long enough.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.note(|state| state.settled || (state.pending.is_empty() && state.waiting.is_empty()))
    }

    /// These were refused, and why.
    pub fn refused(&self, kind: ResourceType, refused: &[(String, String)]) {
        self.note(|state| {
            state.refusals += refused.len() as u64;
            for (name, why) in refused {
                if state.refused.len() < KEPT {
                    state.refused.insert((kind, name.clone()), why.clone());
                }
            }
        });
    }

    /// These are not refused any more.
    pub fn mended(&self, kind: ResourceType, names: &[String]) {
        self.note(|state| state.refused.retain(|(of, name), _| *of != kind || !names.contains(name)));
    }

    /// It wants to hear of loads.
    pub fn load_reports_wanted(&self) {
        self.note(|state| {
            let reports = state.reports.get_or_insert_default();
            reports.wanted = true;
            reports.why_not.clear();
        });
    }

    /// It was told of loads.
    pub fn load_report_sent(&self) {
        self.note(|state| state.reports.get_or_insert_default().sent += 1);
    }

    /// It cannot be told of loads, and why. Returns whether that is new.
    pub fn load_reports_lost(&self, why_not: &str) -> bool {
        self.note(|state| {
            let reports = state.reports.get_or_insert_default();
            let is_new = reports.why_not.is_empty();
            reports.wanted = false;
            why_not.clone_into(&mut reports.why_not);
            is_new
        })
    }

    /// Whether there is a connection.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.note(|state| state.connected.is_some())
    }

    /// Resources that are refused as they are now.
    #[must_use]
    pub fn refused_now(&self) -> usize {
        self.note(|state| state.refused.len())
    }

    /// Updates and refused resources so far.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        self.note(|state| (state.updates, state.refusals))
    }

    /// What is told of it.
    #[must_use]
    pub fn known(&self) -> Known {
        let one = |(kind, name): &(ResourceType, String)| (kind.kind().noun(), name.clone());
        self.note(|state| Known {
            address: self.address.clone(),
            connected: state.connected,
            why_not: state.why_not.clone(),
            updated: state.updated,
            from_disk: state.from_disk,
            updates: state.updates,
            refusals: state.refusals,
            resources: state
                .accepted
                .iter()
                .filter(|(_, versions)| !versions.is_empty())
                .map(|(kind, versions)| {
                    let newest = versions.values().max().cloned().unwrap_or_default();
                    (kind.kind().noun(), (versions.len(), newest))
                })
                .collect(),
            waiting: state.waiting.iter().map(one).collect(),
            forgotten: state.forgotten.iter().map(one).collect(),
            refused: state
                .refused
                .iter()
                .map(|((kind, name), why)| (kind.kind().noun(), name.clone(), why.clone()))
                .collect(),
        })
    }

    /// For the admin endpoint.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let state = self.known();
        let resources: BTreeMap<_, _> = state
            .resources
            .iter()
            .map(|(kind, (count, version))| (*kind, json!({ "count": count, "version": version })))
            .collect();
        let refused: Vec<_> =
            state.refused.iter().map(|(kind, name, why)| json!({ "type": kind, "name": name, "why": why })).collect();
        let one = |(kind, name): &(&str, String)| json!({ "type": kind, "name": name });
        let waiting: Vec<_> = state.waiting.iter().map(one).collect();
        let forgotten: Vec<_> = state.forgotten.iter().take(KEPT).map(one).collect();
        let reports = self.note(|state| state.reports.clone());
        let reports = reports.map(|one| json!({ "wanted": one.wanted, "sent": one.sent, "why_not": one.why_not }));
        json!({
            "address": state.address,
            "connected": state.connected.is_some(),
            "since": state.connected.map(seconds),
            "why_not": state.why_not,
            "updated": state.updated.map(seconds),
            "from_disk": state.from_disk,
            "updates": state.updates,
            "resources": resources,
            "waiting": waiting,
            "forgotten": forgotten,
            "refusals": state.refusals,
            "refused": refused,
            "load_reports": reports,
        })
    }
}

#[cfg(test)]
mod tests {
    use fyke_envoy::xds::Resource;

    use super::*;

    #[test]
    fn what_stays_is_counted_until_it_goes() {
        let status = Status::new("127.0.0.1:1".to_owned(), &[]);
        let update = |added: &[&str], removed: &[&str]| Update {
            added: added
                .iter()
                .map(|name| Resource { name: (*name).to_owned(), version: "1".to_owned(), value: Value::Null })
                .collect(),
            removed: removed.iter().map(|name| (*name).to_owned()).collect(),
            ..Update::of(ResourceType::Cluster)
        };
        let count = || status.to_json()["resources"]["cluster"]["count"].clone();
        status.updated(&update(&["a", "b"], &[]), &Verdict::default());
        status.updated(&update(&[], &["a", "b"]), &Verdict { stays: vec!["a".to_owned()], ..Verdict::default() });
        assert_eq!(count(), 1);
        let gone = Verdict { gone: vec![(ResourceType::Cluster, "a".to_owned())], ..Verdict::default() };
        status.updated(&update(&["c", "d"], &[]), &gone);
        assert_eq!(count(), 2);
    }
}
