//! One endpoint, as all workers see it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use super::{
    Choice,
    balance::Health,
    choice::Labels,
    health::outlier::HostOutlier,
    learned::Learned,
    load::{LoadWeights, Report, Reported, told::Told},
    view::milliseconds,
};
use crate::{config::resolved, telemetry::histogram::SharedDurations};

/// An endpoint of one membership: what is written of it, and what is known.
#[derive(Debug)]
pub struct SharedEndpoint {
    /// What is written.
    pub settings: Arc<resolved::Endpoint>,
    /// What is known. It outlives generations.
    pub status: Arc<Status>,
    /// What requests tell of it, where somebody wants to know.
    pub outlier: Option<Arc<HostOutlier>>,
}

impl SharedEndpoint {
    /// Its address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.settings.address
    }

    /// A label: what a filter has learned, else what the configuration says.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<String> {
        self.with_label(key, |value| value.map(str::to_owned))
    }

    /// All labels.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.settings.labels.clone();
        if let Some(learned) = self.status.learned.all() {
            labels.extend(learned.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        labels
    }

    /// Whether it is what a request asks for: this endpoint, if it says which one, and one with these labels. Takes no lock.
    #[must_use]
    pub fn meets(&self, choice: &Choice) -> bool {
        choice.endpoint.is_none_or(|wanted| wanted == self.address())
            && self.has_labels(choice.labels.as_deref().unwrap_or_default())
    }

    /// Whether it has all of these.
    #[must_use]
    pub fn has_labels(&self, labels: &Labels) -> bool {
        labels.iter().all(|(key, wanted)| self.with_label(key, |value| value == Some(wanted.as_str())))
    }

    fn with_label<T>(&self, key: &str, look: impl FnOnce(Option<&str>) -> T) -> T {
        self.status
            .learned
            .with(key, |learned| look(learned.or_else(|| self.settings.labels.get(key).map(String::as_str))))
    }
}

/// What is known of an endpoint, by whoever watches it.
#[derive(Debug)]
pub struct Status {
    marks: AtomicU16,
    /// What it says of its own weight, of 100.
    percent: AtomicU32,
    /// Milliseconds since 1970; 0: from the beginning.
    healthy_since: AtomicU64,
    /// Connections that are open to it, over all workers.
    pub connections: AtomicU32,
    /// What the last health check found wrong; empty: nothing.
    pub finding: Mutex<String>,
    /// The last health check.
    pub checked: Mutex<Option<Checked>>,
    /// The weight that an operator has set; [`NO_WEIGHT`]: none has.
    weight: AtomicU32,
    /// The weight that discovery has told since; [`NO_WEIGHT`]: none.
    discovered: AtomicU32,
    /// What it has said of its load.
    pub reported: Reported,
    /// The weight that was made of it; [`NO_WEIGHT`]: none.
    reported_weight: AtomicU32,
    /// What became of requests to it. Apart from the rest, which every pick reads; and whoever reads it need not keep the rest alive.
    pub tally: Arc<Tally>,
    /// What filters have learned of it.
    pub learned: Learned,
    /// Where it is checked: to be notified when an answer of its own says that it is failing.
    pub gave_up: OnceLock<Arc<Notify>>,
}

/// There is none.
const NO_WEIGHT: u32 = u32::MAX;

fn known(weight: &AtomicU32) -> Option<u32> {
    Some(weight.load(Ordering::Relaxed)).filter(|weight| *weight != NO_WEIGHT)
}

/// What a health check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// When it ended, in milliseconds since 1970.
    pub at: u64,
    /// How long it took; nothing for a failure that requests saw.
    pub took: Option<Duration>,
    /// Whether it passed.
    pub passed: bool,
    /// What was wrong; empty: nothing.
    pub finding: String,
}

/// What became of requests to an endpoint since it is known, over all workers.
#[derive(Debug, Default)]
pub struct Tally {
    /// From the loan of a connection to the head of the answer.
    pub answers: SharedDurations,
    /// Requests that are under way, and that ever were.
    pub requests: Begun,
    /// Answers 500 to 599.
    pub server_errors: AtomicU64,
    /// Connections that did not come about.
    pub connect_failures: AtomicU64,
    /// Connections, or answers, that took too long.
    pub timeouts: AtomicU64,
    /// Connections that broke before there was an answer.
    pub resets: AtomicU64,
    /// What it has said of its load, where a control plane wants to hear of it.
    pub told: Told,
}

/// Requests that have a connection: how many have begun, and how many have not ended. One number in memory, so that a request costs
/// no more than if only one of the two were counted, and a reading of both is of one moment.
#[derive(Debug, Default)]
pub struct Begun(AtomicU64);

/// The upper half of [`Begun`] is those that have begun, the lower half those that are under way.
const ONE_BEGUN: u64 = 1 << 32;

impl Begun {
    /// One begins; [`Begun::end`] ends it.
    pub fn begin(&self) {
        self.0.fetch_add(ONE_BEGUN + 1, Ordering::Relaxed);
    }

    /// See [`Begun::begin`].
    pub fn end(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Those that are under way.
    #[must_use]
    pub fn active(&self) -> u32 {
        self.read().1
    }

    /// Those that have begun, modulo 2^32, and those that are under way.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the halves of a number")]
    pub fn read(&self) -> (u32, u32) {
        let both = self.0.load(Ordering::Relaxed);
        ((both >> 32) as u32, both as u32)
    }
}

/// Who watches a cluster's endpoints no more.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gone {
    /// Outlier detection.
    pub outliers: bool,
    /// Health checks.
    pub checks: bool,
    /// Agents beside them.
    pub agents: bool,
}

impl Gone {
    /// Whether anybody is.
    #[must_use]
    pub const fn is_any(self) -> bool {
        self.outliers || self.checks || self.agents
    }
}

/// A reason not to use an endpoint, or to use it less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Mark {
    /// The active health check failed.
    FailedCheck = 1,
    /// Outlier detection has ejected it.
    Ejected = 2,
    /// It says that it is degraded.
    Degraded = 4,
    /// It takes no new requests where others can.
    Draining = 8,
    /// An operator has it drain.
    Drained = 16,
    /// Discovery no longer knows it, but it is still healthy.
    Absent = 32,
    /// An agent beside it says that it is down.
    AgentDown = 64,
    /// An agent beside it has it drain.
    AgentDraining = 128,
    /// An agent beside it has it in maintenance.
    AgentMaintenance = 256,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            marks: AtomicU16::new(0),
            percent: AtomicU32::new(100),
            healthy_since: AtomicU64::new(0),
            connections: AtomicU32::new(0),
            finding: Mutex::default(),
            checked: Mutex::default(),
            weight: AtomicU32::new(NO_WEIGHT),
            discovered: AtomicU32::new(NO_WEIGHT),
            reported: Reported::default(),
            reported_weight: AtomicU32::new(NO_WEIGHT),
            tally: Arc::default(),
            learned: Learned::default(),
            gave_up: OnceLock::new(),
        }
    }
}

impl Status {
    /// What it says of its own weight (an agent check), of 100. Returns whether that changed anything.
    pub fn weigh(&self, percent: u32) -> bool {
        self.percent.swap(percent, Ordering::Relaxed) != percent
    }

    /// What it says of its own weight, of 100.
    #[must_use]
    pub fn percent(&self) -> u32 {
        self.percent.load(Ordering::Relaxed)
    }

    /// The weight that an operator has set.
    #[must_use]
    pub fn weight(&self) -> Option<u32> {
        known(&self.weight)
    }

    /// An operator sets a weight; `None`: what is written counts again. Returns whether that changed anything.
    pub fn set_weight(&self, weight: Option<u32>) -> bool {
        let weight = weight.unwrap_or(NO_WEIGHT);
        self.weight.swap(weight, Ordering::Relaxed) != weight
    }

    /// Discovery tells its weight. Returns whether that changed anything.
    pub fn discover_weight(&self, weight: u32) -> bool {
        self.discovered.swap(weight, Ordering::Relaxed) != weight
    }

    /// The endpoint says how busy it is.
    pub fn report(&self, settings: &LoadWeights, report: &Report) {
        if let Some(weight) = settings.weight(report) {
            self.reported.note(weight, milliseconds());
        }
    }

    /// The weight that was made of what it reports.
    #[must_use]
    pub fn reported_weight(&self) -> Option<u32> {
        known(&self.reported_weight)
    }

    /// A weight was made of what it reports; `None`: what is written or discovered counts again.
    pub fn report_weight(&self, weight: Option<u32>) {
        self.reported_weight.store(weight.unwrap_or(NO_WEIGHT), Ordering::Relaxed);
    }

    /// The weight that counts: an operator's, else that which was made of reports, else that which discovery has told, else that which is written.
    #[must_use]
    pub fn weight_beside(&self, written: u32) -> u32 {
        self.weight().or_else(|| self.reported_weight()).or_else(|| known(&self.discovered)).unwrap_or(written)
    }

    /// When it became healthy again, in milliseconds since 1970, if it was not from the beginning.
    #[must_use]
    pub fn healthy_since(&self) -> Option<u64> {
        Some(self.healthy_since.load(Ordering::Relaxed)).filter(|since| *since > 0)
    }

    /// It is healthy from now on.
    pub fn recovered(&self, now: u64) {
        self.healthy_since.store(now, Ordering::Relaxed);
    }

    /// Sets or takes away a mark. Returns whether that changed anything.
    pub fn mark(&self, mark: Mark, on: bool) -> bool {
        let bit = mark as u16;
        let before =
            if on { self.marks.fetch_or(bit, Ordering::AcqRel) } else { self.marks.fetch_and(!bit, Ordering::AcqRel) };
        (before & bit != 0) != on
    }

    /// The same without what nobody would correct any more: what these have said.
    #[must_use]
    pub fn without(&self, gone: Gone) -> Self {
        let status = Self {
            marks: AtomicU16::new(self.marks.load(Ordering::Acquire)),
            percent: AtomicU32::new(self.percent()),
            healthy_since: AtomicU64::new(self.healthy_since.load(Ordering::Relaxed)),
            weight: AtomicU32::new(self.weight.load(Ordering::Relaxed)),
            discovered: AtomicU32::new(self.discovered.load(Ordering::Relaxed)),
            learned: self.learned.copy(),
            ..Self::default()
        };
        let said: [(bool, &[Mark]); 3] = [
            (gone.outliers, &[Mark::Ejected]),
            (gone.checks, &[Mark::FailedCheck, Mark::Degraded, Mark::Draining]),
            (gone.agents, &[Mark::AgentDown, Mark::AgentDraining, Mark::AgentMaintenance]),
        ];
        for mark in said.into_iter().filter(|(is_gone, _)| *is_gone).flat_map(|(_, marks)| marks) {
            status.mark(*mark, false);
        }
        // Either may have been an agent.
        if gone.checks || gone.agents {
            status.weigh(100);
        }
        status
    }

    /// Whether it has a mark.
    #[must_use]
    pub fn has(&self, mark: Mark) -> bool {
        self.marks.load(Ordering::Relaxed) & mark as u16 != 0
    }

    /// Whether no mark keeps requests away.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.marks.load(Ordering::Relaxed) & UNHEALTHY == 0
    }

    /// All marks together.
    #[must_use]
    pub fn health(&self) -> Health {
        let marks = self.marks.load(Ordering::Relaxed);
        let has = |mark: Mark| marks & mark as u16 != 0;
        if marks & UNHEALTHY != 0 {
            Health::Unhealthy
        } else if has(Mark::Draining)
            || has(Mark::Drained)
            || has(Mark::AgentDraining)
            || self.percent() == 0
            || self.weight() == Some(0)
        {
            Health::Draining
        } else if has(Mark::Degraded) {
            Health::Degraded
        } else {
            Health::Healthy
        }
    }

    /// Why it is not healthy, in words; empty when it is.
    #[must_use]
    pub fn reasons(&self) -> Vec<&'static str> {
        let words = [
            (Mark::FailedCheck, "health check failed"),
            (Mark::Ejected, "ejected as an outlier"),
            (Mark::Degraded, "says that it is degraded"),
            (Mark::Draining, "draining"),
            (Mark::Drained, "drained by an operator"),
            (Mark::Absent, "no longer discovered"),
            (Mark::AgentDown, "its agent says that it is down"),
            (Mark::AgentDraining, "its agent has it drain"),
            (Mark::AgentMaintenance, "its agent has it in maintenance"),
        ];
        let marked = words.into_iter().filter(|(mark, _)| self.has(*mark)).map(|(_, word)| word);
        marked.chain((self.weight() == Some(0)).then_some("has weight 0, set by an operator")).collect()
    }
}

const UNHEALTHY: u16 =
    Mark::FailedCheck as u16 | Mark::Ejected as u16 | Mark::AgentDown as u16 | Mark::AgentMaintenance as u16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operator_wants_outlives_what_checks_found() {
        let status = Status::default();
        assert!(status.mark(Mark::Drained, true) && status.mark(Mark::FailedCheck, true));
        assert!(status.set_weight(Some(7)) && !status.set_weight(Some(7)));
        let next = status.without(Gone { outliers: true, checks: true, agents: true });
        assert_eq!((next.health(), next.weight()), (Health::Draining, Some(7)));
        assert!(next.mark(Mark::Drained, false) && next.health() == Health::Healthy);
        assert!(next.set_weight(Some(0)));
        assert_eq!((next.health(), next.reasons().len(), next.is_usable()), (Health::Draining, 1, true));
        assert!(next.set_weight(None) && next.health() == Health::Healthy);
    }

    #[test]
    fn what_has_begun_is_counted_beyond_its_end_and_wraps_alone() {
        let requests = Begun(AtomicU64::new((u64::from(u32::MAX) << 32) | 1));
        requests.begin();
        assert_eq!(requests.read(), (0, 2));
        requests.end();
        requests.end();
        assert_eq!((requests.read(), requests.active()), ((0, 0), 0));
    }

    #[test]
    fn the_worst_mark_counts_and_each_is_taken_away_alone() {
        let status = Status::default();
        assert!(status.mark(Mark::Degraded, true) && !status.mark(Mark::Degraded, true));
        assert_eq!(status.health(), Health::Degraded);
        assert!(status.mark(Mark::Ejected, true) && status.mark(Mark::FailedCheck, true));
        assert!(status.mark(Mark::Ejected, false));
        assert_eq!((status.health(), status.is_usable()), (Health::Unhealthy, false));
        assert!(status.mark(Mark::FailedCheck, false));
        assert_eq!(status.reasons(), ["says that it is degraded"]);
        assert!(status.mark(Mark::Degraded, false) && status.is_usable());
        assert_eq!(status.health(), Health::Healthy);
    }
}
