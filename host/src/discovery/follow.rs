//! Asks a source again and again, and tells its cluster.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde_json::json;
use tokio::sync::watch;

use super::{
    kept::Kept,
    source::{Said, Source, SourceError},
};
use crate::{
    cluster::{members::Change, shared::SharedCluster},
    config::resolved::{Discovery, Endpoint, Place},
    telemetry::{Events, event_kinds},
};

/// The shortest and the longest time for which an answer is taken to hold, and for which a failed question is not asked again.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(10);
/// After the first failure, and doubled after each: at most what is usual.
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// When names of which nothing was heard are asked for again, at the latest, while others answer.
const SOON: Duration = Duration::from_secs(5);
/// How often a file is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Addresses that a message names.
const NAMED: usize = 5;

/// The task of one cluster.
pub struct Follower {
    cluster: Arc<SharedCluster>,
    settings: Arc<Discovery>,
    events: Events,
    kept: Option<Kept>,
    asked: watch::Sender<bool>,
    failures: u32,
}

impl Follower {
    pub fn new(
        cluster: Arc<SharedCluster>,
        settings: Arc<Discovery>,
        events: Events,
        kept: Option<Kept>,
        asked: watch::Sender<bool>,
    ) -> Self {
        Self { cluster, settings, events, kept, asked, failures: 0 }
    }

    fn name(&self) -> &str {
        &self.cluster.settings.name
    }

    /// What was known when the process ended before counts until there is an answer.
    pub fn begin_with_what_is_kept(&self) {
        if !self.cluster.membership().endpoints.is_empty() {
            return;
        }
        let Some(hosts) = self.kept.as_ref().and_then(Kept::read) else { return };
        self.cluster.discovered(&hosts);
        self.cluster.found.note(|state| {
            state.hosts = hosts.len();
            state.from_disk = true;
        });
        tracing::info!(cluster = self.name(), hosts = hosts.len(), "endpoints as they were last known");
    }

    pub async fn run(mut self, mut source: Source) {
        loop {
            let said = source.ask().await;
            let (version, wait) = (self.cluster.version(), self.heard(said));
            if self.cluster.version() != version {
                // When the workers have taken it in, what was before goes.
                self.cluster.clear_away_later();
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// The source has spoken, or has not. Returns how long to wait before it is asked again.
    pub(super) fn heard(&mut self, said: Result<Said, SourceError>) -> Duration {
        let holds = said.as_ref().ok().and_then(|said| said.holds);
        let lacks = said.as_ref().is_ok_and(|said| said.lacks.is_some());
        let failed = said.is_err();
        self.hear(said);
        // Nobody may wait for it any more.
        let _ = self.asked.send(true);
        let pause = self.pause(holds, failed);
        if lacks { pause.min(SOON) } else { pause }
    }

    /// How long to wait before the source is asked again. `holds`: how long it says that its answer is good for.
    fn pause(&mut self, holds: Option<Duration>, failed: bool) -> Duration {
        if matches!(self.settings.place, Place::File(_)) {
            return LOOK;
        }
        if self.settings.is_told() && !failed {
            return Duration::ZERO;
        }
        let usual = self.settings.refresh.or(holds).unwrap_or(self.settings.usual()).clamp(SHORTEST, LONGEST);
        if failed {
            let wait = FIRST_RETRY.saturating_mul(1 << self.failures.min(12)).min(usual);
            self.failures = self.failures.saturating_add(1);
            return wait.mul_f64(0.5 + fastrand::f64() / 2.0);
        }
        self.failures = 0;
        match self.settings.place {
            // Asked after it has ended, by a little: asked before, servers in between would answer out of their memory.
            Place::Dns(_) => usual + SHORTEST.mul_f64(fastrand::f64() / 10.0),
            // As Envoy's v1 clients did: delay and up to as much again.
            _ => usual.mul_f64(1.0 + fastrand::f64()),
        }
    }

    fn hear(&self, said: Result<Said, SourceError>) {
        match said {
            Ok(Said { hosts: Some(hosts), .. }) if hosts.is_empty() && !self.settings.is_told() => self.nothing(),
            Ok(said) => self.something(said),
            Err(error) => self.failed(&error),
        }
    }

    fn nothing(&self) {
        let first = self.fails("it names no endpoint, which changes nothing".to_owned(), |state| {
            state.empty += 1;
            state.answered = Some(SystemTime::now());
        });
        if first && self.cluster.membership().endpoints.is_empty() {
            // A service that has not come up yet is nobody's mistake.
            tracing::info!(cluster = self.name(), "discovery names no endpoint yet");
        } else if first {
            tracing::warn!(cluster = self.name(), "discovery names no endpoint: those that are known stay");
        }
    }

    fn failed(&self, error: &SourceError) {
        let first = self.fails(error.to_string(), |state| match error {
            SourceError::Unreachable(_) => state.unreachable += 1,
            SourceError::Malformed(_) => state.malformed += 1,
        });
        if first {
            tracing::warn!(cluster = self.name(), "discovery says nothing, endpoints stay as they are: {error}");
        }
    }

    /// Returns whether it is the first of its kind in a row.
    fn fails(&self, why: String, count: impl FnOnce(&mut crate::cluster::found::State)) -> bool {
        let mut first = false;
        self.cluster.found.note(|state| {
            count(state);
            first = state.failure != why;
            state.failure = why.clone();
        });
        if first {
            let fields = json!({ "why": why });
            let message = format!("discovery: {why}");
            self.events.tell(&event_kinds::DISCOVERY_FAILED, self.name(), message, fields);
        }
        first
    }

    fn something(&self, mut said: Said) {
        let now = SystemTime::now();
        let lacks = said.lacks.take();
        if let (Some(hosts), Some(lacks)) = (&mut said.hosts, &lacks) {
            let known = self.cluster.membership();
            let stays = |host: &&Arc<Endpoint>| host.hostname.as_ref().is_some_and(|name| lacks.names.contains(name));
            hosts.extend(known.endpoints.iter().map(|endpoint| &endpoint.settings).filter(stays).map(Arc::clone));
        }
        let change = said.hosts.as_ref().map(|hosts| self.cluster.discovered(hosts)).unwrap_or_default();
        let mut recovered = false;
        self.cluster.found.note(|state| {
            if lacks.is_none() {
                recovered = !state.failure.is_empty();
                state.failure.clear();
            }
            state.answered = Some(now);
            if let Some(hosts) = &said.hosts {
                state.hosts = hosts.len();
                state.from_disk = false;
                state.version.clone_from(&said.version);
                state.updated.get_or_insert(now);
            }
            if change.is_none() {
                state.unchanged += 1;
            } else {
                state.updates += 1;
                state.updated = Some(now);
            }
        });
        if let Some(lacks) = lacks
            && self.fails(lacks.why.clone(), |state| state.unreachable += 1)
        {
            let why = lacks.why;
            tracing::warn!(
                cluster = self.name(),
                "discovery says nothing of some, whose endpoints stay as they are: {why}"
            );
        }
        if recovered {
            tracing::info!(cluster = self.name(), "discovery answers again");
        }
        if change.is_none() {
            return;
        }
        self.tell(&change);
        if let (Some(kept), Some(hosts)) = (&self.kept, &said.hosts)
            && let Err(error) = kept.write(hosts)
        {
            tracing::warn!(cluster = self.name(), "endpoints are not kept for the next start: {error}");
        }
    }

    fn tell(&self, change: &Change) {
        let list = |what: &str, addresses: &[std::net::SocketAddr]| {
            let named: Vec<_> = addresses.iter().take(NAMED).map(ToString::to_string).collect();
            let more = addresses.len() - named.len();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            (!named.is_empty()).then(|| format!("{what} {}{more}", named.join(", ")))
        };
        let parts = [
            list("added", &change.added),
            list("removed", &change.removed),
            list("absent and still healthy", &change.absent),
            (change.altered > 0).then(|| format!("{} altered", change.altered)),
        ];
        let words = parts.into_iter().flatten().collect::<Vec<_>>().join("; ");
        tracing::info!(cluster = self.name(), "endpoints: {words}");
        // Weights may change all the time, and say little.
        if !(change.added.is_empty() && change.removed.is_empty() && change.absent.is_empty()) {
            let fields = json!({
                "added": change.added.len(), "removed": change.removed.len(),
                "absent": change.absent.len(), "altered": change.altered,
            });
            self.events.tell(&event_kinds::ENDPOINTS_DISCOVERED, self.name(), format!("endpoints: {words}"), fields);
        }
    }
}
