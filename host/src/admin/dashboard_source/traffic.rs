//! How fast endpoints are used, and how fast they answer: what they have counted, a second and a minute ago.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
};

use super::recent::Recent;
use crate::{
    admin::dashboard::model::{LastUsed, Time},
    cluster::endpoint::{SharedEndpoint, Tally},
    snapshot::Snapshot,
    telemetry::HistogramReading,
};

/// Endpoints that are followed; those of the clusters that come first.
const MOST: usize = 2_000;
/// Quantiles are those of one to two minutes, in milliseconds.
const MINUTE: u64 = 60_000;

/// What is known of endpoints.
#[derive(Default)]
pub(super) struct Endpoints {
    known: BTreeMap<(Arc<str>, SocketAddr), Followed>,
}

#[derive(Default)]
struct Followed {
    seen: Time,
    /// Requests and failures.
    recent: Recent<(u64, u64)>,
    /// What was answered until a minute ago or more, and what was until less.
    older: Option<HistogramReading>,
    newer: Option<(Time, HistogramReading)>,
    /// When it was last seen to be used.
    used: Option<Time>,
}

/// How an endpoint does.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Traffic {
    pub rate: Option<f64>,
    /// Share of requests that failed, those included that found no connection.
    pub errors: Option<f64>,
    pub p50: Option<f64>,
    pub p99: Option<f64>,
    pub used: LastUsed,
}

/// Requests that were sent to it, whatever became of them; those that are under way are not among them.
pub(super) fn requests(tally: &Tally) -> u64 {
    let lost = [&tally.timeouts, &tally.resets].map(|counter| counter.load(Ordering::Relaxed));
    lost.into_iter().fold(tally.answers.count(), u64::saturating_add)
}

/// Those of them, and of attempts to connect, that came to nothing or to a 5xx.
fn failures(tally: &Tally) -> u64 {
    let failed = [&tally.connect_failures, &tally.timeouts, &tally.resets, &tally.server_errors];
    failed.into_iter().fold(0, |all, counter| all.saturating_add(counter.load(Ordering::Relaxed)))
}

impl Endpoints {
    /// Looks at the endpoints of clusters in use, once a second.
    pub fn sample(&mut self, now: Time, snapshot: &Snapshot) {
        let mut room = MOST;
        for (name, cluster) in snapshot.clusters.iter().filter(|(_, cluster)| cluster.is_used()) {
            if room == 0 {
                break;
            }
            let name: Arc<str> = name.as_str().into();
            let membership = cluster.membership();
            for endpoint in membership.endpoints.iter().take(room) {
                let key = (Arc::clone(&name), endpoint.address());
                self.known.entry(key).or_default().add(now, &endpoint.status.tally);
            }
            room = room.saturating_sub(membership.endpoints.len());
        }
        self.known.retain(|_, followed| followed.seen == now);
    }

    /// How one does.
    pub fn of(&self, cluster: &str, endpoint: &SharedEndpoint) -> Traffic {
        let Some(followed) = self.known.get(&(Arc::from(cluster), endpoint.address())) else {
            return Traffic::default();
        };
        followed.read(endpoint.status.tally.answers.read())
    }
}

impl Followed {
    fn add(&mut self, now: Time, tally: &Tally) {
        self.seen = now;
        let count = requests(tally);
        match self.recent.last() {
            Some((before, _)) if count > before => self.used = Some(now),
            None if count > 0 => self.used = Some(now),
            _ => {}
        }
        self.recent.push(now, (count, failures(tally)));
        let is_due = self.newer.as_ref().is_none_or(|(then, _)| now.0.saturating_sub(then.0) >= MINUTE);
        if is_due && let Some(answers) = tally.answers.read() {
            self.older = self.newer.replace((now, answers)).map(|(_, before)| before);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate is an estimate")]
    fn read(&self, answers: Option<HistogramReading>) -> Traffic {
        let ends = self.recent.ends();
        let rate = ends.and_then(|((first, _), (last, _), seconds)| {
            (seconds > 0.0).then(|| last.saturating_sub(first) as f64 / seconds)
        });
        let errors = ends.and_then(|((first, failed), (last, fails), _)| {
            let (requests, failed) = (last.saturating_sub(first), fails.saturating_sub(failed));
            // Who found no connection is no request of the endpoint's.
            (requests > 0 || failed > 0).then(|| failed as f64 / requests.max(failed) as f64)
        });
        let lately = answers.map(|now| match &self.older {
            Some(before) => now.since(before),
            None => now,
        });
        let quantile = |quantile| lately.as_ref().and_then(|lately| lately.quantile(quantile));
        let used = match (self.used, self.recent.last()) {
            (Some(at), _) => LastUsed::At(at),
            (None, Some((0, _))) => LastUsed::Never,
            _ => LastUsed::Unknown,
        };
        Traffic { rate, errors, p50: quantile(0.5), p99: quantile(0.99), used }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn rates_are_those_of_ten_seconds_and_quantiles_those_of_the_last_minutes() {
        let (tally, mut followed) = (Tally::default(), Followed::default());
        followed.add(Time(0), &tally);
        assert_eq!(
            followed.read(None),
            Traffic { rate: None, errors: None, p50: None, p99: None, used: LastUsed::Never }
        );
        for second in 1..=30_u64 {
            (0..5).for_each(|_| tally.answers.observe(Duration::from_secs(1)));
            followed.add(Time(second * 1_000), &tally);
        }
        let now = followed.read(tally.answers.read());
        assert_eq!((now.rate, now.used), (Some(5.0), LastUsed::At(Time(30_000))));
        assert!((0.5..1.5).contains(&now.p50.unwrap()), "{now:?}");
        for second in 31..=200_u64 {
            tally.answers.observe(Duration::from_millis(1));
            tally.timeouts.fetch_add(1, Ordering::Relaxed);
            followed.add(Time(second * 1_000), &tally);
        }
        let now = followed.read(tally.answers.read());
        assert_eq!(now.rate, Some(2.0));
        assert!(now.p99.unwrap() < 0.01, "{now:?}");
    }
}
