//! What a metric has counted, summed up by the labels of a panel, and what became of it between two looks.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
};

use super::past::Key;
use crate::telemetry::{Reading, Registry, filter_metrics::FilterMetricKind, labelled::Shown};

/// Groups that are told apart; the smallest beyond them are one.
const GROUPS: usize = 1_000;
/// That one's value of each label.
pub(super) const OTHERS: &str = "(others)";

/// Label values, in the order of the panel's labels.
pub(in crate::admin::dashboard_source) type Group = Vec<String>;

/// A metric as it was at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::admin::dashboard_source) struct Amounts {
    pub kind: FilterMetricKind,
    /// Names of the labels by which it is summed up.
    pub labels: Vec<String>,
    pub groups: BTreeMap<Group, Amount>,
}

/// What one group has.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::admin::dashboard_source) enum Amount {
    /// A counter's count, or what a gauge shows.
    Number(f64),
    /// Cumulative counts by upper bound, and the number of all.
    Histogram(Vec<(f64, u64)>, u64),
}

impl Amount {
    fn add(&mut self, other: &Self) {
        match (self, other) {
            (Self::Number(sum), Self::Number(more)) => *sum += more,
            (Self::Histogram(buckets, count), Self::Histogram(more, others)) => {
                *count += others;
                for ((_, sum), (_, more)) in buckets.iter_mut().zip(more) {
                    *sum += more;
                }
            }
            // Series of a family are of one kind.
            _ => {}
        }
    }

    /// The percentiles of all that it has seen: the median, the 90th and the 99th.
    pub fn quantiles(&self) -> Option<[f64; 3]> {
        let Self::Histogram(buckets, count) = self else { return None };
        Some([quantile(buckets, *count, 0.5)?, quantile(buckets, *count, 0.9)?, quantile(buckets, *count, 0.99)?])
    }

    /// How much there is, whatever it is.
    pub fn total(&self) -> f64 {
        match self {
            Self::Number(number) => *number,
            #[expect(clippy::cast_precision_loss, reason = "for people")]
            Self::Histogram(_, count) => *count as f64,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
impl From<Shown> for Amount {
    fn from(shown: Shown) -> Self {
        match shown {
            Shown::Number(value) => Self::Number(value as f64),
            Shown::Histogram { buckets, count, .. } => {
                Self::Histogram(buckets.into_iter().map(|(bound, count)| (bound as f64, count)).collect(), count)
            }
        }
    }
}

/// A metric with all its series: one with labels, or one that a filter has defined by the ABI's own functions.
#[derive(Debug)]
pub(super) struct Metric {
    kind: FilterMetricKind,
    labels: Vec<String>,
    series: Vec<(Vec<String>, Amount)>,
}

impl Metric {
    /// `None`: nobody has defined it.
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    pub fn read(registry: &Registry, name: &str) -> Option<Self> {
        if let Some(family) = registry.labelled().named(name) {
            let series = family.series.into_iter().map(|(values, shown)| (values, shown.into())).collect();
            return Some(Self { kind: family.kind, labels: family.labels, series });
        }
        let plain = registry.filter_metrics().named(name)?;
        let amount = match &plain.reading {
            Reading::Counter(value) => Amount::Number(*value as f64),
            Reading::Time(nanoseconds) => Amount::Number(*nanoseconds as f64 / 1e9),
            Reading::Gauge(value) => Amount::Number(*value as f64),
            Reading::Histogram(seen) => Amount::Histogram(seen.cumulative().collect(), seen.count()),
        };
        Some(Self { kind: plain.kind, labels: Vec::new(), series: vec![(Vec::new(), amount)] })
    }

    /// Summed up as a panel wants it; `None`: it lacks one of the labels that are named.
    pub fn by(&self, key: &Key) -> Option<Amounts> {
        let place = |label: &String| self.labels.iter().position(|name| name == label);
        let labels: Vec<usize> = match key.labels.as_slice() {
            [all] if all == "*" => (0..self.labels.len()).collect(),
            some => some.iter().map(place).collect::<Option<_>>()?,
        };
        let mut only: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
        for (label, value) in &key.only {
            only.entry(place(label)?).or_default().push(value);
        }
        let counts = |values: &[String]| {
            only.iter().all(|(place, wanted)| {
                values.get(*place).is_some_and(|value| wanted.iter().any(|wanted| fits(wanted, value)))
            })
        };
        let mut groups: HashMap<Group, Amount> = HashMap::new();
        for (values, amount) in self.series.iter().filter(|(values, _)| counts(values)) {
            let group: Group = labels.iter().filter_map(|place| values.get(*place).cloned()).collect();
            match groups.get_mut(&group) {
                Some(known) => known.add(amount),
                None => drop(groups.insert(group, amount.clone())),
            }
        }
        let labels = labels.iter().filter_map(|place| self.labels.get(*place).cloned()).collect();
        Some(Amounts { kind: self.kind, labels, groups: bounded(groups) })
    }
}

fn fits(wanted: &str, value: &str) -> bool {
    wanted.strip_suffix('*').map_or(wanted == value, |begin| value.starts_with(begin))
}

fn bounded(groups: HashMap<Group, Amount>) -> BTreeMap<Group, Amount> {
    if groups.len() <= GROUPS {
        return groups.into_iter().collect();
    }
    let mut all: Vec<(Group, Amount)> = groups.into_iter().collect();
    #[expect(clippy::cast_possible_truncation, reason = "to sort by")]
    all.sort_by_cached_key(|(group, amount)| (Reverse(amount.total() as i64), group.clone()));
    let rest = all.split_off(GROUPS - 1);
    let mut rest = rest.into_iter();
    if let Some((group, mut others)) = rest.next() {
        rest.for_each(|(_, amount)| others.add(&amount));
        all.push((vec![OTHERS.to_owned(); group.len()], others));
    }
    all.into_iter().collect()
}

/// What each group shows between two moments: how fast a counter rose, a percentile of what a histogram saw, what a gauge has. A
/// histogram without labels shows several percentiles, by their names.
pub(super) fn between(before: &Amounts, now: &Amounts, seconds: f64, percentile: u8) -> BTreeMap<Group, Option<f64>> {
    let mut shown = BTreeMap::new();
    for (group, amount) in &now.groups {
        let before = before.groups.get(group);
        match amount {
            Amount::Number(value) if now.kind == FilterMetricKind::Counter => {
                // A series that was not there has begun from nothing.
                let past = before.map_or(0.0, Amount::total);
                shown.insert(group.clone(), (seconds > 0.0).then(|| (value - past).max(0.0) / seconds));
            }
            Amount::Number(value) => drop(shown.insert(group.clone(), Some(*value))),
            Amount::Histogram(..) => {
                let seen = since(before, amount);
                let of = |percentile: u8| quantile(&seen.0, seen.1, f64::from(percentile) / 100.0);
                if now.labels.is_empty() {
                    let mut percentiles = vec![50, 90, 99, percentile];
                    percentiles.sort_unstable();
                    percentiles.dedup();
                    shown.extend(percentiles.into_iter().map(|one| (vec![format!("p{one}")], of(one))));
                } else {
                    shown.insert(group.clone(), of(percentile));
                }
            }
        }
    }
    shown
}

/// What a histogram saw between two moments.
fn since(before: Option<&Amount>, now: &Amount) -> (Vec<(f64, u64)>, u64) {
    match (before, now) {
        (Some(Amount::Histogram(before, past)), Amount::Histogram(now, count)) => {
            let each = now.iter().enumerate().map(|(place, (bound, count))| {
                (*bound, count.saturating_sub(before.get(place).map_or(0, |(_, before)| *before)))
            });
            (each.collect(), count.saturating_sub(*past))
        }
        (_, Amount::Histogram(now, count)) => (now.clone(), *count),
        _ => (Vec::new(), 0),
    }
}

/// Interpolated within its bucket; the last bound for what is above it.
#[expect(clippy::cast_precision_loss, reason = "a quantile is an estimate")]
fn quantile(cumulative: &[(f64, u64)], count: u64, quantile: f64) -> Option<f64> {
    if count == 0 {
        return None;
    }
    let rank = quantile * count as f64;
    let (mut lower, mut below) = (0.0_f64, 0.0);
    for (bound, total) in cumulative {
        let (upper, total) = (*bound, *total as f64);
        if total > below && total >= rank {
            let lower = lower.min(upper);
            return Some(lower + (upper - lower) * ((rank - below) / (total - below)).clamp(0.0, 1.0));
        }
        (lower, below) = (upper, total);
    }
    Some(lower)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::labelled::Definition;

    fn key(labels: &[&str], only: &[(&str, &str)]) -> Key {
        Key {
            metric: "m".to_owned(),
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            only: only.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect(),
            percentile: 99,
        }
    }

    fn registry(kind: FilterMetricKind, records: &[(i64, [&str; 2])]) -> Registry {
        let registry = Registry::new();
        let definition = Definition {
            name: "m".to_owned(),
            kind,
            labels: vec!["who".to_owned(), "status".to_owned()],
            buckets: if kind == FilterMetricKind::Histogram { vec![10, 100] } else { Vec::new() },
        };
        let family = registry.labelled().define("f", 10_000, definition).unwrap();
        for (value, values) in records {
            let mut encoded = Vec::new();
            for text in values {
                encoded.extend_from_slice(&u32::try_from(text.len()).unwrap().to_le_bytes());
                encoded.extend_from_slice(text.as_bytes());
            }
            family.record(*value, &encoded).unwrap();
        }
        registry
    }

    fn read(registry: &Registry, key: &Key) -> Option<Amounts> {
        Metric::read(registry, &key.metric)?.by(key)
    }

    fn numbers(amounts: &Amounts) -> Vec<(String, f64)> {
        amounts.groups.iter().map(|(group, amount)| (group.join(","), amount.total())).collect()
    }

    #[test]
    fn series_are_summed_up_by_the_labels_that_are_named_and_others_do_not_count() {
        let records = [(1, ["a", "200"]), (2, ["a", "503"]), (4, ["b", "200"]), (8, ["b", "500"])];
        let registry = registry(FilterMetricKind::Counter, &records);
        let of = |labels: &[&str], only: &[(&str, &str)]| read(&registry, &key(labels, only));
        assert_eq!(numbers(&of(&[], &[]).unwrap()), [(String::new(), 15.0)]);
        assert_eq!(numbers(&of(&["who"], &[]).unwrap()), [("a".to_owned(), 3.0), ("b".to_owned(), 12.0)]);
        assert_eq!(
            numbers(&of(&["who"], &[("status", "5*")]).unwrap()),
            [("a".to_owned(), 2.0), ("b".to_owned(), 8.0)]
        );
        let either = of(&[], &[("status", "503"), ("status", "500"), ("who", "b")]).unwrap();
        assert_eq!(numbers(&either), [(String::new(), 8.0)]);
        let all = of(&["*"], &[]).unwrap();
        assert_eq!((all.labels.len(), all.groups.len()), (2, 4));
        assert!(of(&["whom"], &[]).is_none() && of(&[], &[("code", "5*")]).is_none());
        assert!(read(&Registry::new(), &key(&[], &[])).is_none());
    }

    #[test]
    fn counters_are_rates_and_gauges_what_they_are() {
        let before = read(&registry(FilterMetricKind::Counter, &[(5, ["a", "1"])]), &key(&["who"], &[])).unwrap();
        let now = read(&registry(FilterMetricKind::Counter, &[(9, ["a", "1"]), (6, ["b", "1"])]), &key(&["who"], &[]))
            .unwrap();
        let shown = between(&before, &now, 2.0, 99);
        assert_eq!(shown.into_values().collect::<Vec<_>>(), [Some(2.0), Some(3.0)]);
        let gauge = read(&registry(FilterMetricKind::Gauge, &[(-7, ["a", "1"])]), &key(&["who"], &[])).unwrap();
        assert_eq!(between(&gauge, &gauge, 0.0, 99).into_values().collect::<Vec<_>>(), [Some(-7.0)]);
    }

    #[test]
    fn a_histogram_shows_what_it_saw_since() {
        let before = registry(FilterMetricKind::Histogram, &[(5, ["a", "1"]); 10]);
        let now = [[(5, ["a", "1"]); 10], [(50, ["a", "1"]); 10]].concat();
        let now = registry(FilterMetricKind::Histogram, &now);
        let read = |registry: &Registry, labels: &[&str]| read(registry, &key(labels, &[])).unwrap();
        let shown = between(&read(&before, &["who"]), &read(&now, &["who"]), 1.0, 50);
        assert_eq!(shown.into_values().collect::<Vec<_>>(), [Some(55.0)]);
        let shown = between(&read(&before, &[]), &read(&now, &[]), 1.0, 50);
        assert_eq!(shown.keys().map(|group| group.join("")).collect::<Vec<_>>(), ["p50", "p90", "p99"]);
        // Nothing was seen: nothing is shown.
        let shown = between(&read(&now, &["who"]), &read(&now, &["who"]), 1.0, 50);
        assert_eq!(shown.into_values().collect::<Vec<_>>(), [None]);
    }

    #[test]
    fn groups_beyond_the_bound_are_one() {
        let names: Vec<String> = (0..GROUPS + 50).map(|number| format!("n{number:05}")).collect();
        let records: Vec<(i64, [&str; 2])> = names
            .iter()
            .enumerate()
            .map(|(place, name)| (1 + i64::try_from(place).unwrap(), [name.as_str(), "x"]))
            .collect();
        let amounts = read(&registry(FilterMetricKind::Counter, &records), &key(&["who"], &[])).unwrap();
        assert_eq!(amounts.groups.len(), GROUPS);
        let sum: f64 = amounts.groups.values().map(Amount::total).sum();
        let all = records.iter().map(|(count, _)| *count).sum::<i64>();
        assert!((sum - f64::from(i32::try_from(all).unwrap())).abs() < 0.5, "{sum}");
        assert!(
            amounts.groups.contains_key(&vec![OTHERS.to_owned()])
                && !amounts.groups.contains_key(&vec!["n00000".to_owned()])
        );
    }

    #[test]
    fn quantiles_lie_in_their_buckets() {
        let buckets = [(10.0, 5), (100.0, 9), (1_000.0, 9)];
        assert_eq!(quantile(&buckets, 10, 0.5), Some(10.0));
        assert_eq!(quantile(&buckets, 10, 0.7), Some(55.0));
        assert_eq!(quantile(&buckets, 10, 0.99), Some(1_000.0));
        assert_eq!(quantile(&buckets, 0, 0.5), None);
        assert_eq!(quantile(&[], 3, 0.5), Some(0.0));
    }
}
