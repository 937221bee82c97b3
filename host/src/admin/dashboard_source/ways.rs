//! What goes from listeners to clusters: what was counted a second ago, and ten.

use std::collections::BTreeMap;

use super::recent::Recent;
use crate::{
    admin::dashboard::model::Time,
    telemetry::{Reading, Registry, names},
};

/// Pairs of a listener and a cluster that are followed.
const MOST: usize = 2_000;

/// By listener and cluster.
#[derive(Default)]
pub(super) struct Ways(BTreeMap<(String, String), Recent<Count>>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Count {
    answered: u64,
    failed: u64,
    nanoseconds: u64,
}

/// What passes a way now.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Way {
    /// Requests, or connections, per second.
    pub rate: Option<f64>,
    /// Share of them that failed.
    pub errors: Option<f64>,
    /// What each of them takes, in seconds: the mean.
    pub time: Option<f64>,
}

impl Ways {
    /// Looks at what was counted, once a second.
    pub fn sample(&mut self, now: Time, registry: &Registry) {
        let mut counts = BTreeMap::<(String, String), Count>::new();
        let (requests, time) = (names::LISTENER_CLUSTER_REQUESTS.name, names::LISTENER_CLUSTER_TIME.name);
        for family in registry.gather_only(|metric| metric.name == requests || metric.name == time) {
            for (labels, reading) in family.series {
                let [listener, cluster, outcome @ ..] = labels.as_slice() else { continue };
                let count = counts.entry((listener.clone(), cluster.clone())).or_default();
                match (reading, outcome.first().map(String::as_str)) {
                    (Reading::Counter(number), Some("failed")) => count.failed = number,
                    (Reading::Counter(number), _) => count.answered = number,
                    (Reading::Time(number), _) => count.nanoseconds = number,
                    _ => {}
                }
            }
        }
        self.0.retain(|way, _| counts.contains_key(way));
        for (way, count) in counts {
            if self.0.len() >= MOST && !self.0.contains_key(&way) {
                continue;
            }
            let samples = self.0.entry(way).or_insert_with(|| {
                // One that is new has begun at zero, a second ago.
                let mut samples = Recent::default();
                samples.push(Time(now.0.saturating_sub(1_000)), Count::default());
                samples
            });
            samples.push(now, count);
        }
    }

    /// Whether anything of a listener has gone to a cluster.
    pub fn has(&self, listener: &str, cluster: &str) -> bool {
        self.0.contains_key(&(listener.to_owned(), cluster.to_owned()))
    }

    /// What passes from one to the other; nothing is known of what nobody ever went.
    #[expect(clippy::cast_precision_loss, reason = "a rate is an estimate")]
    pub fn of(&self, listener: &str, cluster: &str) -> Way {
        let samples = self.0.get(&(listener.to_owned(), cluster.to_owned()));
        let Some((first, last, seconds)) = samples.and_then(Recent::ends) else { return Way::default() };
        let since = |of: fn(&Count) -> u64| of(&last).saturating_sub(of(&first)) as f64;
        let (answered, failed) = (since(|count| count.answered), since(|count| count.failed));
        let all = answered + failed;
        let share = |part: f64| (all > 0.0).then(|| part / all);
        Way {
            rate: (seconds > 0.0).then(|| all / seconds),
            errors: share(failed),
            time: share(since(|count| count.nanoseconds) / 1e9),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{rc::Rc, time::Duration};

    use super::*;
    use crate::cluster::ways::Passed;

    #[test]
    fn a_way_shows_what_passed_it_in_the_last_ten_seconds() {
        let (registry, counted) = (Registry::new(), crate::cluster::ways::Ways::default());
        let (web, mut ways) = (Rc::new(()), Ways::default());
        ways.sample(Time(0), &registry);
        assert_eq!(ways.of("web", "app"), Way::default());
        for second in 1..=60_u64 {
            for failed in [false, false, false, second > 55] {
                let passed = Passed { failed, time: Duration::from_millis(if failed { 0 } else { 20 }) };
                counted.note(&web, passed, (&registry, "web", "app"));
            }
            ways.sample(Time(second * 1_000), &registry);
        }
        let way = ways.of("web", "app");
        assert_eq!((way.rate, way.errors), (Some(4.0), Some(0.125)));
        assert!((way.time.unwrap() - 0.0175).abs() < 1e-9, "{way:?}");
        let known = ["web", "we", "web2"].map(|listener| ["app", "other"].map(|cluster| ways.has(listener, cluster)));
        assert_eq!(known, [[true, false], [false, false], [false, false]]);
        assert_eq!(ways.of("web", "other"), Way::default());
    }
}
