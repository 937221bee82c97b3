//! From readings to decisions.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Decisions, Flags, Level, Pressure, Trigger, trigger::Tracker};

/// What can run out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resource {
    /// Resident memory, of `limits.memory` or what the control group grants.
    Memory,
    /// Downstream connections, of `limits.connections`.
    Connections,
}

/// What can be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Leave new connections in the kernel's queue (Envoy's `stop_accepting_connections`).
    StopAccepting,
    /// Close connections after the answer (Envoy's `disable_http_keepalive`).
    DisableKeepAlive,
    /// Answer a share of requests with 503 (Envoy's `stop_accepting_requests`, which may be scaled).
    ShedRequests,
}

/// When an action is taken: as far as the resource asks for that asks for most.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rule {
    /// Pressure on memory.
    pub memory: Option<Trigger>,
    /// Pressure on connections.
    pub connections: Option<Trigger>,
}

/// When which action is taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// Default: memory from 98%, until it was below 95% for 1 s. Not for connections: their limit is exact already, and
    /// they would stop short of it.
    pub stop_accepting: Rule,
    /// Default: memory or connections from 90%, until both were below 85% for 5 s.
    pub disable_keep_alive: Rule,
    /// Default: memory above 95%, all requests at 100%, until it was below 93% for 1 s. Not for connections: refusing
    /// their requests closes none.
    pub shed_requests: Rule,
}

impl Default for Rules {
    fn default() -> Self {
        const SHORT: Duration = Duration::from_secs(1);
        const LONG: Duration = Duration::from_secs(5);
        let p = Pressure::new;
        let keep_alive = Trigger::threshold(p(0.90), p(0.85), LONG).ok();
        Self {
            stop_accepting: Rule { memory: Trigger::threshold(p(0.98), p(0.95), SHORT).ok(), connections: None },
            disable_keep_alive: Rule { memory: keep_alive, connections: keep_alive },
            shed_requests: Rule {
                memory: Trigger::scaled(p(0.95), Pressure::FULL, p(0.93), SHORT).ok(),
                connections: None,
            },
        }
    }
}

/// Pressure, as far as it could be read.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Readings {
    /// Of memory.
    pub memory: Option<Pressure>,
    /// Of connections.
    pub connections: Option<Pressure>,
}

/// Something that workers do from now on, or do no longer: for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// What.
    pub action: Action,
    /// How far until now.
    pub from: Level,
    /// How far from now on.
    pub to: Level,
    /// What asks for it most; when it ends, what asked for it last.
    pub by: Resource,
}

/// Decides what a process stops doing. One per process.
#[derive(Debug)]
pub struct Manager {
    actions: [ActionState; 3],
    last: Readings,
    decisions: Decisions,
    flags: Arc<Flags>,
}

#[derive(Debug)]
struct ActionState {
    action: Action,
    memory: Option<Tracker>,
    connections: Option<Tracker>,
    by: Resource,
}

impl Manager {
    /// A manager that has read nothing yet: workers do as always.
    #[must_use]
    pub fn new(rules: &Rules) -> Self {
        let state = |action, rule: &Rule| ActionState {
            action,
            memory: rule.memory.map(Tracker::new),
            connections: rule.connections.map(Tracker::new),
            by: Resource::Memory,
        };
        Self {
            actions: [
                state(Action::StopAccepting, &rules.stop_accepting),
                state(Action::DisableKeepAlive, &rules.disable_keep_alive),
                state(Action::ShedRequests, &rules.shed_requests),
            ],
            last: Readings::default(),
            decisions: Decisions::default(),
            flags: Arc::default(),
        }
    }

    /// What workers read.
    #[must_use]
    pub fn flags(&self) -> Arc<Flags> {
        Arc::clone(&self.flags)
    }

    /// Takes readings, tells the workers and says what is different. To be called regularly, every 100 ms or so: hold
    /// times end here only. A reading that is missing counts as the last one.
    pub fn update(&mut self, now: Instant, readings: Readings) -> Vec<Change> {
        self.last.memory = readings.memory.or(self.last.memory);
        self.last.connections = readings.connections.or(self.last.connections);
        let mut changes = Vec::new();
        for state in &mut self.actions {
            let (action, from) = (state.action, self.decisions.level(state.action));
            let to = state.update(now, self.last);
            if from != to {
                self.decisions = self.decisions.with(action, to);
                changes.push(Change { action, from, to, by: state.by });
            }
        }
        self.flags.store(self.decisions);
        changes
    }
}

impl ActionState {
    fn update(&mut self, now: Instant, readings: Readings) -> Level {
        let level = |tracker: &mut Option<Tracker>, pressure: Option<Pressure>| match (tracker, pressure) {
            (Some(tracker), Some(pressure)) => tracker.update(now, pressure),
            _ => Level::OFF,
        };
        let memory = level(&mut self.memory, readings.memory);
        let connections = level(&mut self.connections, readings.connections);
        let highest = memory.max(connections);
        if highest > Level::OFF {
            self.by = if memory == highest { Resource::Memory } else { Resource::Connections };
        }
        highest
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn readings(memory: f64, connections: f64) -> Readings {
        Readings { memory: Some(Pressure::new(memory)), connections: Some(Pressure::new(connections)) }
    }

    fn after(begin: Instant, milliseconds: u64) -> Instant {
        begin + Duration::from_millis(milliseconds)
    }

    #[test]
    fn the_default_rules_have_all_their_triggers() {
        let rules = Rules::default();
        assert!(rules.stop_accepting.memory.is_some() && rules.stop_accepting.connections.is_none());
        assert!(rules.disable_keep_alive.memory.is_some() && rules.disable_keep_alive.connections.is_some());
        assert!(rules.shed_requests.memory.is_some() && rules.shed_requests.connections.is_none());
    }

    #[test]
    fn actions_follow_each_other_as_memory_runs_out() {
        let mut manager = Manager::new(&Rules::default());
        let (flags, begin) = (manager.flags(), Instant::now());
        assert!(manager.update(begin, readings(0.89, 0.0)).is_empty());
        assert!(flags.load().is_normal());

        let changes = manager.update(begin, readings(0.90, 0.0));
        let (action, by) = (Action::DisableKeepAlive, Resource::Memory);
        assert_eq!(changes, [Change { action, from: Level::OFF, to: Level::FULL, by }]);
        assert!(flags.load().disables_keep_alive() && !flags.load().sheds(0));

        manager.update(begin, readings(0.975, 0.0));
        assert_eq!(flags.load().level(Action::ShedRequests).steps(), 16);
        assert!(!flags.load().stops_accepting());

        manager.update(begin, readings(1.0, 0.0));
        assert!(flags.load().stops_accepting() && flags.load().sheds(u32::MAX));
    }

    #[test]
    fn all_is_as_before_when_the_hold_times_are_over() {
        let mut manager = Manager::new(&Rules::default());
        let (flags, begin) = (manager.flags(), Instant::now());
        manager.update(begin, readings(1.0, 1.0));
        manager.update(after(begin, 999), readings(0.0, 0.0));
        assert!(flags.load().stops_accepting());
        assert_eq!(manager.update(after(begin, 1000), readings(0.0, 0.0)).len(), 2);
        assert!(!flags.load().stops_accepting() && flags.load().disables_keep_alive());
        assert_eq!(manager.update(after(begin, 5000), readings(0.0, 0.0)).len(), 1);
        assert!(flags.load().is_normal());
    }

    #[test]
    fn connections_take_keep_alive_away_and_nothing_else() {
        let mut manager = Manager::new(&Rules::default());
        let changes = manager.update(Instant::now(), readings(0.1, 1.0));
        assert_eq!(changes.iter().map(|change| change.by).collect::<Vec<_>>(), [Resource::Connections]);
        assert!(!manager.flags().load().stops_accepting() && !manager.flags().load().sheds(0));
    }

    #[test]
    fn a_reading_that_fails_leaves_the_last_one_in_force() {
        let mut manager = Manager::new(&Rules::default());
        let begin = Instant::now();
        manager.update(begin, readings(1.0, 0.0));
        manager.update(after(begin, 60_000), Readings::default());
        assert!(manager.flags().load().stops_accepting());
        let mut never_read = Manager::new(&Rules::default());
        assert!(never_read.update(begin, Readings::default()).is_empty());
    }

    proptest! {
        #[test]
        fn raising_a_reading_lowers_no_level(
            steps in prop::collection::vec((0..2000_u64, [0.8..1.0_f64, 0.8..1.0], [0.0..0.2_f64, 0.0..0.2]), 0..60),
        ) {
            let (mut less, mut more) = (Manager::new(&Rules::default()), Manager::new(&Rules::default()));
            let mut now = Instant::now();
            for (after, [memory, connections], [more_memory, more_connections]) in steps {
                now += Duration::from_millis(after);
                less.update(now, readings(memory, connections));
                more.update(now, readings(memory + more_memory, connections + more_connections));
                for action in [Action::StopAccepting, Action::DisableKeepAlive, Action::ShedRequests] {
                    prop_assert!(less.flags().load().level(action) <= more.flags().load().level(action));
                }
            }
        }
    }
}
