//! What the filter counted.

use super::generation::LISTENER;
use crate::telemetry::{Reading, Registry, labelled::Shown, names};

/// The value of a counter or gauge, and how many values a histogram was given.
pub(super) fn read(registry: &Registry, name: &str, labels: &[(String, String)]) -> Option<(i64, u64)> {
    if labels.is_empty() {
        let found = registry.filter_metrics().gather().into_iter().find(|metric| metric.name == name)?;
        return Some(match found.reading {
            Reading::Counter(count) | Reading::Time(count) => (i64::try_from(count).unwrap_or(i64::MAX), count),
            Reading::Gauge(value) => (value, 0),
            Reading::Histogram(histogram) => (0, histogram.count()),
        });
    }
    let family = registry.labelled().gather().into_iter().find(|family| family.name == name)?;
    let wanted: Option<Vec<&str>> = family
        .labels
        .iter()
        .map(|label| labels.iter().find(|(name, _)| name == label).map(|(_, value)| value.as_str()))
        .collect();
    let wanted = wanted?;
    let (_, shown) = family.series.into_iter().find(|(values, _)| *values == wanted)?;
    Some(match shown {
        Shown::Number(value) => (value, 0),
        Shown::Histogram { count, .. } => (0, count),
    })
}

/// Requests that are open at the listener.
pub(super) fn open_requests(registry: &Registry) -> i64 {
    match registry.read(&names::LISTENER_REQUESTS_ACTIVE, &[("listener", LISTENER)]) {
        Some(Reading::Gauge(open)) => open,
        _ => 0,
    }
}
