//! What is in the world for tests of every kind to look at, and how time passes in it.

use std::time::Duration;

use super::outstanding::Outstanding;
use crate::runtime::Waking;
use crate::testing::host::advance;
use crate::testing::spans::RecordedSpan;
use crate::testing::world::World;

/// The value of a counter or gauge, and how many values a histogram was given.
pub(in crate::testing) fn metric(name: &str, labels: &[(&str, &str)]) -> (i64, usize) {
    let values = values(name, labels);
    (values.last().copied().unwrap_or(0), values.len())
}

fn values(name: &str, labels: &[(&str, &str)]) -> Vec<i64> {
    World::with(|world| {
        // A histogram with buckets of its own is a labelled one, labels or not.
        if let Some((_, _, values)) = world.metrics.iter().find(|(_, known, _)| known == name && labels.is_empty()) {
            return values.clone();
        }
        let Some(metric) = world.labelled.iter().find(|known| known.name == name) else {
            return Vec::new();
        };
        let wanted =
            |label: &String| labels.iter().find(|(name, _)| name == label).map(|(_, value)| (*value).to_owned());
        let values: Option<Vec<String>> = metric.labels.iter().map(wanted).collect();
        values.and_then(|values| metric.series.get(&values).cloned()).unwrap_or_default()
    })
}

pub(in crate::testing) fn logs() -> Vec<String> {
    World::with(|world| world.logs.iter().map(|(_, line)| line.clone()).collect())
}

pub(in crate::testing) fn records() -> Vec<String> {
    World::with(|world| world.sinks.iter().flat_map(|(_, records)| records.clone()).collect())
}

pub(in crate::testing) fn spans() -> Vec<RecordedSpan> {
    World::with(|world| world.spans.clone())
}

/// Goes to the next moment at which something is due, until the time is over. `None`: it is.
pub(super) fn step(end: u64, outstanding: &mut Outstanding, runtime: &impl Waking) -> Option<()> {
    let (now, tick) = World::with(|world| (world.now, world.tick.map(|(at, _)| at)));
    let next = [tick, outstanding.next()].into_iter().flatten().min().filter(|next| *next <= end);
    advance(runtime, Duration::from_nanos(next.unwrap_or(end).saturating_sub(now)));
    outstanding.expire(runtime);
    next.map(|_| ())
}

/// When so much time will have passed.
pub(super) fn end(duration: Duration) -> u64 {
    World::with(|world| world.now).saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}
