//! The state machine of one host: what a row of verdicts makes of it. Pure.
//!
//! Envoy's rules (`health_checker_base_impl`):
//! * A host begins failed and pending. Its first check decides at once, either way.
//! * Later it takes `healthy` passed checks in a row to become healthy, and `unhealthy` failed ones to become
//!   unhealthy; a failure that is an answer ([`FailureKind::Active`], [`FailureKind::Passive`]) makes it unhealthy at
//!   once.
//! * Degraded follows the last passed check, without thresholds.
//!
//! HAProxy's rules for an agent: each word takes effect at once and lasts until another takes it back. `drain` and
//! `maint` are taken back by `ready` only, `down` by `up` or `ready`, a weight by another weight. An agent that
//! cannot be asked fails like any check: here it is the check, while HAProxy has another one beside it.

use std::time::Duration;

use super::{AgentReply, Exclusion, Failure, FailureKind, Operation, Settings, Verdict};

/// What a balancer should make of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Health {
    /// Not checked yet: no traffic, and (Envoy's `PENDING_ACTIVE_HC`) not to be counted among the unhealthy.
    Pending,
    /// Traffic.
    Healthy,
    /// Traffic when the healthy ones do not suffice.
    Degraded,
    /// No new traffic but what must go there (sticky sessions); what is under way goes on. An agent said `drain`, or
    /// `0%`.
    Draining,
    /// No traffic.
    Unhealthy,
}

/// What an agent has set for its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Administration {
    /// Nothing.
    #[default]
    Ready,
    /// `drain`.
    Drain,
    /// `maint`.
    Maintenance,
}

/// Whether a verdict moved the host (Envoy's `HealthTransition`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// Nothing new.
    Unchanged,
    /// The host's standing is another now.
    Changed,
    /// More verdicts like this one will change it.
    ChangePending,
}

/// What is told of a check: the verdict, and the standing of the host after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The standing now.
    pub health: Health,
    /// Whether that is news.
    pub transition: Transition,
    /// Whether the host is to be left out of the panic threshold.
    pub exclusion: Exclusion,
    /// What an agent has set.
    pub administration: Administration,
    /// Percentage of its configured weight that an agent wants for the host, 0 to 256.
    pub weight: Option<u16>,
    /// Connections that an agent wants for the host at most; reported only.
    pub max_connections: Option<u32>,
    /// What the check found.
    pub verdict: Verdict,
    /// How long it took; nothing for a failure that traffic saw.
    pub elapsed: Duration,
}

/// The standing of one host. See the module for its rules.
#[derive(Debug, Clone)]
pub struct State {
    healthy_threshold: u32,
    unhealthy_threshold: u32,
    standing: Standing,
    degraded: Mark,
    exclusion: Exclusion,
    passed: u32,
    failed: u32,
    administration: Administration,
    operation: Operation,
    weight: Option<u16>,
    max_connections: Option<u32>,
}

/// By checks alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Pending,
    Up,
    Down,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Set,
    Clear,
}

impl State {
    /// A host that was never checked. Thresholds of 0 count as 1.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            healthy_threshold: settings.healthy.max(1),
            unhealthy_threshold: settings.unhealthy.max(1),
            standing: Standing::Pending,
            degraded: Mark::Clear,
            exclusion: Exclusion::Keep,
            passed: 0,
            failed: 0,
            administration: Administration::Ready,
            operation: Operation::Up,
            weight: None,
            max_connections: None,
        }
    }

    /// The standing now.
    #[must_use]
    pub fn health(&self) -> Health {
        match (self.standing, self.administration, self.operation) {
            (Standing::Pending, ..) => Health::Pending,
            (Standing::Down, ..) | (_, Administration::Maintenance, _) | (.., Operation::Down) => Health::Unhealthy,
            (Standing::Up, Administration::Drain, _) => Health::Draining,
            (Standing::Up, ..) if self.weight == Some(0) => Health::Draining,
            (Standing::Up, ..) if self.degraded == Mark::Set => Health::Degraded,
            (Standing::Up, ..) => Health::Healthy,
        }
    }

    /// Takes a verdict into account.
    pub fn apply(&mut self, verdict: &Verdict) -> Transition {
        let before = (self.health(), self.exclusion, self.weight, self.max_connections);
        let transition = match verdict {
            Verdict::Passed => self.pass(Mark::Clear),
            Verdict::Degraded => self.pass(Mark::Set),
            Verdict::Agent(reply) => self.obey(reply),
            Verdict::Failed(failure) => self.fail(failure),
        };
        let after = (self.health(), self.exclusion, self.weight, self.max_connections);
        match transition {
            Transition::Unchanged if before != after => Transition::Changed,
            transition => transition,
        }
    }

    /// Takes a verdict into account and tells all that a [`super::Report`] wants to know.
    #[must_use]
    pub fn see(&mut self, verdict: Verdict, elapsed: Duration) -> Seen {
        let transition = self.apply(&verdict);
        Seen {
            health: self.health(),
            transition,
            exclusion: self.exclusion,
            administration: self.administration,
            weight: self.weight,
            max_connections: self.max_connections,
            verdict,
            elapsed,
        }
    }

    fn pass(&mut self, degraded: Mark) -> Transition {
        self.failed = 0;
        self.degraded = degraded;
        match self.standing {
            Standing::Up => {
                // Asked for by a failure that did not suffice to make it unhealthy.
                self.exclusion = Exclusion::Keep;
                Transition::Unchanged
            }
            // One suffices the first time: a start is quicker, at little loss of certainty.
            Standing::Pending => self.rise(),
            Standing::Down => {
                self.passed = self.passed.saturating_add(1);
                if self.passed >= self.healthy_threshold { self.rise() } else { Transition::ChangePending }
            }
        }
    }

    fn rise(&mut self) -> Transition {
        self.standing = Standing::Up;
        self.exclusion = Exclusion::Keep;
        self.passed = 0;
        Transition::Changed
    }

    fn fail(&mut self, failure: &Failure) -> Transition {
        self.passed = 0;
        if failure.exclusion == Exclusion::Exclude {
            self.exclusion = Exclusion::Exclude;
        }
        let at_once = match failure.kind {
            FailureKind::Active | FailureKind::Passive => Mark::Set,
            FailureKind::Retriable | FailureKind::Network | FailureKind::Timeout => Mark::Clear,
        };
        match self.standing {
            Standing::Down => Transition::Unchanged,
            Standing::Pending => self.fall(),
            Standing::Up => {
                self.failed = self.failed.saturating_add(1);
                if at_once == Mark::Set || self.failed >= self.unhealthy_threshold {
                    self.fall()
                } else {
                    Transition::ChangePending
                }
            }
        }
    }

    fn fall(&mut self) -> Transition {
        self.standing = Standing::Down;
        Transition::Changed
    }

    fn obey(&mut self, reply: &AgentReply) -> Transition {
        self.failed = 0;
        self.degraded = Mark::Clear;
        self.administration = reply.administration.unwrap_or(self.administration);
        self.operation = reply.operation.unwrap_or(self.operation);
        self.weight = reply.weight.or(self.weight);
        self.max_connections = reply.max_connections.or(self.max_connections);
        match self.standing {
            Standing::Up => Transition::Unchanged,
            Standing::Pending | Standing::Down => self.rise(),
        }
    }
}

#[cfg(test)]
mod tests;
