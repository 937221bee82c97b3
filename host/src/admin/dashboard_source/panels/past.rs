//! What the panels of filters showed in the last hour.
//!
//! Once a second each metric that a panel names is read and summed up; steps of five seconds are kept, of a few groups each. All of it is
//! bounded: [`MOST`] panels that differ, [`TRACKED`] groups of each. Reading a metric of a hundred thousand series takes a while, so the
//! next look waits for a hundred times as long as this one took.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Instant,
};

use super::amounts::{Amounts, Group, between};
use crate::{admin::dashboard::model::Time, telemetry::filter_metrics::FilterMetricKind, wasm::panels::Panel};

/// Panels that are kept, of all filters together. Those that show the same in another way are one.
pub(in crate::admin::dashboard_source) const MOST: usize = 128;
/// Groups of a panel whose past is kept.
pub(super) const TRACKED: usize = 16;
/// Length of a step, in milliseconds.
pub(super) const STEP: u64 = 5_000;
/// Steps that are kept: an hour.
const STEPS: usize = 720;
/// What is shown as it is now is that of so many milliseconds.
const NOW: u64 = 5_500;
/// The share of its time that is spent looking: one in so many.
const SPARING: u32 = 100;
/// Steps by which it is judged whether a group is still worth its place: a minute.
const LATELY: usize = 12;

/// What a panel shows, however it is drawn. In the order of metrics.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::admin::dashboard_source) struct Key {
    pub metric: String,
    pub labels: Vec<String>,
    pub only: Vec<(String, String)>,
    pub percentile: u8,
}

impl Key {
    pub fn of(panel: &Panel) -> Self {
        Self {
            metric: panel.metric.clone(),
            labels: panel.labels.clone(),
            only: panel.only.clone(),
            percentile: panel.percentile,
        }
    }
}

/// The past of all panels.
#[derive(Debug, Default)]
pub(in crate::admin::dashboard_source) struct Pasts {
    panels: BTreeMap<Key, Past>,
    /// No look before then.
    next: Option<Time>,
}

/// One panel's.
#[derive(Debug, Default)]
pub(in crate::admin::dashboard_source) struct Past {
    /// Looks of the last seconds, at least two where there were as many.
    looks: VecDeque<(Time, Amounts)>,
    /// Where the step began that is not over.
    base: Option<(Time, Amounts)>,
    /// End of the last step.
    end: Time,
    /// Step by step; all are equally long.
    tracked: BTreeMap<Group, VecDeque<Option<f64>>>,
    /// The sum of all groups, where they add up.
    total: VecDeque<Option<f64>>,
}

impl Pasts {
    /// Whether it is time to look.
    pub fn is_due(&self, now: Time) -> bool {
        self.next.is_none_or(|next| now >= next)
    }

    /// Looks at all panels that there are now, in the order of their keys; others are forgotten.
    pub fn look(
        &mut self,
        now: Time,
        wanted: impl Iterator<Item = Key>,
        mut read: impl FnMut(&Key) -> Option<Amounts>,
    ) {
        let began = Instant::now();
        let mut before = std::mem::take(&mut self.panels);
        let mut keys = BTreeSet::new();
        for key in wanted {
            if keys.len() >= MOST {
                break;
            }
            keys.insert(key);
        }
        for key in keys {
            let mut past = before.remove(&key).unwrap_or_default();
            if let Some(amounts) = read(&key) {
                past.add(now, amounts, key.percentile);
            }
            self.panels.insert(key, past);
        }
        let pause = began.elapsed().saturating_mul(SPARING);
        // Whoever looks once a second comes a little earlier or later.
        self.next = (pause.as_millis() > 900)
            .then(|| Time(now.0.saturating_add(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX))));
    }

    pub fn of(&self, key: &Key) -> Option<&Past> {
        self.panels.get(key)
    }
}

impl Past {
    fn add(&mut self, now: Time, amounts: Amounts, percentile: u8) {
        // Another version of the filter may count otherwise.
        if self.looks.back().is_some_and(|(_, last)| last.kind != amounts.kind || last.labels != amounts.labels) {
            *self = Self::default();
        }
        match &self.base {
            None => self.base = Some((now, amounts.clone())),
            Some((began, base)) => {
                let length = now.0.saturating_sub(began.0);
                if length >= STEP {
                    #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
                    let values = between(base, &amounts, length as f64 / 1e3, percentile);
                    // A look may be late: what happened meanwhile is spread over its steps.
                    let steps = usize::try_from(length / STEP).unwrap_or(STEPS).min(STEPS);
                    self.step(&values, steps, amounts.kind != FilterMetricKind::Histogram);
                    self.end = now;
                    self.base = Some((now, amounts.clone()));
                }
            }
        }
        self.looks.push_back((now, amounts));
        while self.looks.len() > 2 && self.looks.front().is_some_and(|(then, _)| now.0.saturating_sub(then.0) > NOW) {
            self.looks.pop_front();
        }
    }

    fn step(&mut self, values: &BTreeMap<Group, Option<f64>>, steps: usize, adds_up: bool) {
        let length = self.total.len();
        let mut new: Vec<(&Group, f64)> = values
            .iter()
            .filter(|(group, _)| !self.tracked.contains_key(*group))
            .filter_map(|(group, value)| Some((group, value.filter(|value| *value != 0.0)?)))
            .collect();
        new.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        for (group, value) in new.into_iter().take(TRACKED) {
            if self.tracked.len() >= TRACKED {
                // The least of a minute makes room for what is clearly more.
                let least = self.tracked.iter().map(|(group, past)| (lately(past), group.clone()));
                let Some((least, gone)) = least.min_by(|(one, _), (other, _)| one.total_cmp(other)) else { break };
                if value <= 2.0 * least {
                    break;
                }
                self.tracked.remove(&gone);
            }
            self.tracked.insert(group.clone(), std::iter::repeat_n(None, length).collect());
        }
        for (group, past) in &mut self.tracked {
            push(past, values.get(group).copied().flatten(), steps);
        }
        let total = values.values().flatten().sum();
        push(&mut self.total, adds_up.then_some(total), steps);
    }

    /// Whether its metric has been there.
    pub fn is_there(&self) -> bool {
        !self.looks.is_empty()
    }

    /// Each group as it is now, with all that it has; nothing before the first look.
    pub fn now(&self, percentile: u8) -> Option<(&Amounts, BTreeMap<Group, Option<f64>>)> {
        let (end, last) = self.looks.back()?;
        let (begin, first) = self.looks.front()?;
        #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
        let seconds = end.0.saturating_sub(begin.0) as f64 / 1e3;
        Some((last, between(first, last, seconds, percentile)))
    }

    /// Beginning of the first step.
    pub fn start(&self) -> Time {
        Time(self.end.0.saturating_sub(STEP.saturating_mul(self.total.len() as u64)))
    }

    /// Groups whose past is known.
    pub fn tracked(&self) -> &BTreeMap<Group, VecDeque<Option<f64>>> {
        &self.tracked
    }

    /// The sum of all groups, where they add up.
    pub fn total(&self) -> &VecDeque<Option<f64>> {
        &self.total
    }
}

fn push(past: &mut VecDeque<Option<f64>>, value: Option<f64>, steps: usize) {
    past.extend(std::iter::repeat_n(value, steps));
    let over = past.len().saturating_sub(STEPS);
    past.drain(..over);
}

/// The mean of the last minute.
pub(super) fn lately(past: &VecDeque<Option<f64>>) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "there are twelve")]
    let share = 1.0 / LATELY as f64;
    past.iter().rev().take(LATELY).flatten().sum::<f64>() * share
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::dashboard_source::panels::amounts::Amount;

    fn key(metric: &str) -> Key {
        Key { metric: metric.to_owned(), labels: vec!["who".to_owned()], only: Vec::new(), percentile: 99 }
    }

    fn counts(counts: &[(&str, f64)]) -> Amounts {
        Amounts {
            kind: FilterMetricKind::Counter,
            labels: vec!["who".to_owned()],
            groups: counts.iter().map(|(name, count)| (vec![(*name).to_owned()], Amount::Number(*count))).collect(),
        }
    }

    fn group(name: &str) -> Group {
        vec![name.to_owned()]
    }

    #[test]
    fn rates_are_those_of_the_last_seconds_and_the_past_that_of_five_seconds_each() {
        let mut past = Past::default();
        for second in 0..=60_u32 {
            let rate = if second <= 30 { 2.0 } else { 0.0 };
            let count = f64::from(second.min(30)) * 2.0;
            past.add(Time(u64::from(second) * 1_000), counts(&[("a", count)]), 99);
            if second == 30 {
                let (_, now) = past.now(99).unwrap();
                assert_eq!(now.get(&group("a")), Some(&Some(rate)));
            }
        }
        assert_eq!(past.now(99).unwrap().1.get(&group("a")), Some(&Some(0.0)));
        let steps: Vec<_> = past.tracked().get(&group("a")).unwrap().iter().flatten().copied().collect();
        assert_eq!(steps, [2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!((past.total().len(), past.start()), (12, Time(0)));
    }

    #[test]
    fn a_late_look_leaves_no_gap_and_an_hour_is_all_that_is_kept() {
        let mut past = Past::default();
        past.add(Time(0), counts(&[("a", 0.0)]), 99);
        past.add(Time(20_000), counts(&[("a", 40.0)]), 99);
        assert_eq!(past.tracked().get(&group("a")).unwrap(), &[Some(2.0); 4]);
        for step in 1..1_000 {
            past.add(Time(20_000 + step * STEP), counts(&[("a", 40.0)]), 99);
        }
        assert_eq!(past.tracked().get(&group("a")).unwrap().len(), STEPS);
        assert_eq!(past.total().len(), STEPS);
        past.add(Time(u64::MAX), counts(&[("a", 40.0)]), 99);
        assert_eq!(past.total().len(), STEPS);
    }

    #[test]
    fn the_busiest_have_a_past_and_new_ones_take_the_place_of_idle_ones() {
        let names: Vec<String> = (0..40).map(|number| format!("{number:02}")).collect();
        let at = |factor: &dyn Fn(usize) -> f64| -> Amounts {
            let each: Vec<(&str, f64)> =
                names.iter().enumerate().map(|(place, name)| (name.as_str(), factor(place))).collect();
            counts(&each)
        };
        let mut past = Past::default();
        past.add(Time(0), at(&|_| 0.0), 99);
        past.add(Time(STEP), at(&|place| place as f64), 99);
        assert_eq!(past.tracked().len(), TRACKED);
        assert!(past.tracked().contains_key(&group("39")) && !past.tracked().contains_key(&group("01")));
        // From now on only one that was not among them counts.
        for step in 2..30 {
            let more = step as f64 * 1e3;
            past.add(Time(step * STEP), at(&|place| place as f64 + if place == 1 { more } else { 0.0 }), 99);
        }
        assert_eq!(past.tracked().len(), TRACKED);
        let new = past.tracked().get(&group("01")).unwrap();
        assert_eq!((new.len(), new.front().copied().flatten()), (past.total().len(), None));
    }

    #[test]
    fn what_no_panel_names_any_more_is_forgotten_and_panels_are_bounded() {
        let mut pasts = Pasts::default();
        let read = |_: &Key| Some(counts(&[("a", 1.0)]));
        pasts.look(Time(0), [key("m"), key("m"), key("n")].into_iter(), read);
        assert!(pasts.is_due(Time(1)) && pasts.of(&key("m")).is_some() && pasts.panels.len() == 2);
        pasts.look(Time(1_000), (0..200).map(|number| key(&number.to_string())), read);
        assert!(pasts.of(&key("m")).is_none());
        assert_eq!(pasts.panels.len(), MOST);
    }

    #[test]
    fn a_metric_that_counts_otherwise_begins_anew() {
        let mut past = Past::default();
        past.add(Time(0), counts(&[("a", 1.0)]), 99);
        past.add(Time(STEP), counts(&[("a", 2.0)]), 99);
        assert_eq!(past.total().len(), 1);
        past.add(Time(2 * STEP), Amounts { labels: vec!["other".to_owned()], ..counts(&[("a", 5.0)]) }, 99);
        assert_eq!((past.total().len(), past.tracked().len()), (0, 0));
    }
}
