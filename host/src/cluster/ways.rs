//! What comes to a cluster from each listener, on one worker.

use std::{
    any::Any,
    cell::RefCell,
    rc::{Rc, Weak},
    time::Duration,
};

use crate::telemetry::{
    names,
    registry::{Counter, Registry},
};

/// Counts by listener. A cluster has few of them, so they are looked for one after the other.
#[derive(Default)]
pub struct Ways(RefCell<Vec<Way>>);

struct Way {
    /// Who comes: what the listener counts with. As long as this is here it is nobody else's address.
    from: Weak<dyn Any>,
    answered: Counter,
    failed: Counter,
    time: Counter,
}

impl std::fmt::Debug for Ways {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ways").field("listeners", &self.0.borrow().len()).finish()
    }
}

/// What came, and what became of it.
#[derive(Debug, Clone, Copy)]
pub struct Passed {
    /// Nobody answered, or the answer was one of 500 to 599.
    pub failed: bool,
    /// How long it took.
    pub time: Duration,
}

impl Ways {
    /// A request, or a connection, has come to `cluster` from a listener. `from` is the listener's own, the same each time.
    pub fn note<T: 'static>(
        &self,
        from: &Rc<T>,
        passed: Passed,
        (registry, listener, cluster): (&Registry, &str, &str),
    ) {
        let own = Rc::as_ptr(from).cast::<()>();
        let mut ways = self.0.borrow_mut();
        let known = ways.iter().find(|way| way.from.as_ptr().cast::<()>() == own);
        if let Some(way) = known {
            return way.note(passed);
        }
        let counter = |outcome| {
            let labels = [("listener", listener), ("cluster", cluster), ("outcome", outcome)];
            registry.counter(&names::LISTENER_CLUSTER_REQUESTS, &labels)
        };
        let time = registry.counter(&names::LISTENER_CLUSTER_TIME, &[("listener", listener), ("cluster", cluster)]);
        let way = Way {
            from: Rc::downgrade(from) as Weak<dyn Any>,
            answered: counter("answered"),
            failed: counter("failed"),
            time,
        };
        way.note(passed);
        ways.retain(|way| way.from.strong_count() > 0);
        ways.push(way);
    }
}

impl Way {
    fn note(&self, Passed { failed, time }: Passed) {
        if failed {
            self.failed.bump()
        } else {
            self.answered.bump()
        }
        self.time.bump_time(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Reading;

    #[test]
    fn each_listener_is_counted_for_itself_and_two_of_one_name_together() {
        let registry = Registry::new();
        let ways = Ways::default();
        let (web, api, again) = (Rc::new(1), Rc::new(1), Rc::new(2_u8));
        let passed = |failed| Passed { failed, time: Duration::from_secs(2) };
        ways.note(&web, passed(false), (&registry, "web", "app"));
        ways.note(&api, passed(true), (&registry, "api", "app"));
        ways.note(&web, passed(false), (&registry, "web", "app"));
        ways.note(&again, passed(false), (&registry, "web", "app"));
        let read = |listener, outcome| {
            let labels = [("listener", listener), ("cluster", "app"), ("outcome", outcome)];
            registry.read(&names::LISTENER_CLUSTER_REQUESTS, &labels)
        };
        assert_eq!(read("web", "answered"), Some(Reading::Counter(3)));
        assert_eq!(
            (read("api", "answered"), read("api", "failed")),
            (Some(Reading::Counter(0)), Some(Reading::Counter(1)))
        );
        drop(again);
        ways.note(&Rc::new(3_u16), passed(false), (&registry, "new", "app"));
        assert_eq!(ways.0.borrow().len(), 3, "one that is gone is forgotten when another one comes");
        let time = registry.read(&names::LISTENER_CLUSTER_TIME, &[("listener", "web"), ("cluster", "app")]);
        assert_eq!(time, Some(Reading::Time(6_000_000_000)));
    }
}
