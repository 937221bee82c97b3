//! What rules have done, by their keys. It stays when rules are read again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::Counter;

/// How many series with values of clients there are at most; more count for the rule they are of.
const MOST: usize = 10_000;

/// Bytes of a label with a value of a client's; the rest is left out.
const LONGEST: usize = 128;

/// What a rule has done, in hits.
#[derive(Debug, Default)]
pub struct RuleStats {
    total_hits: Counter,
    over_limit: Counter,
    near_limit: Counter,
    within_limit: Counter,
    shadow_mode: Counter,
    over_limit_with_local_cache: Counter,
    /// Has a client's values in its labels.
    of_values: bool,
}

/// What a hit was, see [`RuleStats::count`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hit {
    /// The counter before and after.
    pub before: u64,
    pub after: u64,
    pub hits: u64,
    pub limit: u64,
    /// From which count on a hit is near the limit.
    pub near: u64,
    pub over: bool,
    pub cached: bool,
    pub shadow: bool,
}

impl RuleStats {
    /// Counts, as envoyproxy/ratelimit does: of hits that reach beyond the limit, those below it are near it.
    pub(crate) fn count(&self, hit: &Hit) {
        self.total_hits.add(hit.hits);
        if !hit.over {
            self.within_limit.add(hit.hits);
            self.near_limit.add(hit.after.saturating_sub(hit.near.max(hit.before)).min(hit.hits));
            return;
        }
        if hit.cached {
            self.over_limit.add(hit.hits);
            self.over_limit_with_local_cache.add(hit.hits);
        } else {
            self.over_limit.add(hit.after.saturating_sub(hit.limit).min(hit.hits));
            self.near_limit.add(hit.limit.saturating_sub(hit.near.max(hit.before)).min(hit.hits));
        }
        if hit.shadow {
            self.shadow_mode.add(hit.hits);
        }
    }

    /// Counts hits that no limit stands against.
    pub(crate) fn count_unlimited(&self, hits: u64) {
        self.total_hits.add(hits);
        self.within_limit.add(hits);
    }

    /// All numbers, with what they are called.
    #[must_use]
    pub fn read(&self) -> [(&'static str, u64); 6] {
        [
            ("total_hits", self.total_hits.get()),
            ("over_limit", self.over_limit.get()),
            ("near_limit", self.near_limit.get()),
            ("within_limit", self.within_limit.get()),
            ("shadow_mode", self.shadow_mode.get()),
            ("over_limit_with_local_cache", self.over_limit_with_local_cache.get()),
        ]
    }
}

/// A domain and the labels of the rules from the outermost to the innermost.
type Series = (String, Vec<String>);

/// The stats of all rules.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    series: RwLock<HashMap<Series, Arc<RuleStats>>>,
    of_values: AtomicUsize,
    dropped: Counter,
}

impl Registry {
    /// Of a rule in the files.
    pub fn of_rule(&self, domain: &str, labels: &[String]) -> Arc<RuleStats> {
        let mut series = self.series.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(series.entry((domain.to_owned(), labels.to_vec())).or_default())
    }

    /// Of labels with values of clients in them. `None` where there are too many already.
    pub fn of_values(&self, domain: &str, mut labels: Vec<String>) -> Option<Arc<RuleStats>> {
        for label in &mut labels {
            label.truncate(label.floor_char_boundary(LONGEST));
        }
        let key = (domain.to_owned(), labels);
        if let Some(stats) = self.series.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Some(Arc::clone(stats));
        }
        let mut series = self.series.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(stats) = series.get(&key) {
            return Some(Arc::clone(stats));
        }
        if self.of_values.load(Ordering::Relaxed) >= MOST {
            self.dropped.add(1);
            return None;
        }
        self.of_values.fetch_add(1, Ordering::Relaxed);
        let stats = Arc::new(RuleStats { of_values: true, ..RuleStats::default() });
        series.insert(key, Arc::clone(&stats));
        Some(stats)
    }

    /// Forgets rules that nobody has any more.
    pub fn prune(&self) {
        let mut series = self.series.write().unwrap_or_else(PoisonError::into_inner);
        series.retain(|_, stats| stats.of_values || Arc::strong_count(stats) > 1);
    }

    /// How often hits were counted for a rule because there were too many series.
    pub fn dropped(&self) -> u64 {
        self.dropped.get()
    }

    /// All series, in their order.
    pub fn read(&self) -> Vec<(Series, Arc<RuleStats>)> {
        let series = self.series.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = series.iter().map(|(key, stats)| (key.clone(), Arc::clone(stats))).collect();
        drop(series);
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(hits: &[Hit]) -> [u64; 5] {
        let stats = RuleStats::default();
        hits.iter().for_each(|hit| stats.count(hit));
        let [(_, total), (_, over), (_, near), (_, within), (_, shadow), _] = stats.read();
        [total, over, near, within, shadow]
    }

    fn hit(before: u64, hits: u64) -> Hit {
        let after = before + hits;
        Hit { before, after, hits, limit: 10, near: 8, over: after > 10, cached: false, shadow: false }
    }

    #[test]
    fn hits_that_reach_over_the_limit_are_split() {
        // total, over, near, within, shadow
        assert_eq!(numbers(&[hit(0, 1)]), [1, 0, 0, 1, 0]);
        assert_eq!(numbers(&[hit(8, 1)]), [1, 0, 1, 1, 0]);
        assert_eq!(numbers(&[hit(5, 5)]), [5, 0, 2, 5, 0]);
        assert_eq!(numbers(&[hit(7, 5)]), [5, 2, 2, 0, 0]);
        assert_eq!(numbers(&[hit(12, 5)]), [5, 5, 0, 0, 0]);
        assert_eq!(numbers(&[Hit { shadow: true, ..hit(12, 5) }]), [5, 5, 0, 0, 5]);
        assert_eq!(numbers(&[Hit { cached: true, ..hit(10, 3) }]), [3, 3, 0, 0, 0]);
    }

    #[test]
    fn long_values_are_cut() {
        let registry = Registry::default();
        registry.of_values("d", vec![format!("k_{}", "ä".repeat(1_000))]);
        let series = registry.read();
        assert_eq!(series[0].0.1[0].len(), LONGEST);
    }

    #[test]
    fn clients_cannot_make_more_series_than_there_may_be() {
        let registry = Registry::default();
        registry.of_rule("d", &["rule".to_owned()]);
        for number in 0..MOST {
            assert!(registry.of_values("d", vec![format!("k_{number}")]).is_some());
        }
        assert!(registry.of_values("d", vec!["k_more".to_owned()]).is_none());
        assert!(registry.of_values("d", vec!["k_0".to_owned()]).is_some(), "those that are there stay");
        assert_eq!(registry.dropped(), 1);
        registry.prune();
        assert_eq!(registry.read().len(), MOST, "the rule that nobody holds is gone");
    }
}
