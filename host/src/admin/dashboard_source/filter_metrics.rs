//! What a filter counts for itself.

use super::{Host, panels::amounts::Amount};
use crate::{
    admin::dashboard::model::{MetricKind, MetricRow},
    config::resolved::canary_name,
    telemetry::{Reading, filter_metrics::FilterMetricKind, labelled::Shown},
};

/// Series that are listed.
const MOST: usize = 200;

/// Its series, and how many more there are.
pub(super) fn rows(host: &Host<'_>, name: &str) -> (Vec<MetricRow>, usize) {
    let mut rows = Vec::new();
    let mut all = 0;
    let canary = canary_name(name);
    for owner in [name, &canary] {
        for metric in host.registry().filter_metrics().gather_of(owner) {
            all += 1;
            if rows.len() < MOST {
                rows.push(plain(metric.name, metric.kind, &metric.reading));
            }
        }
        for family in host.registry().labelled().gather_of(owner) {
            all += family.series.len();
            let room = MOST.saturating_sub(rows.len());
            rows.extend(family.series.into_iter().take(room).map(|(values, shown)| MetricRow {
                labels: family.labels.iter().cloned().zip(values).collect(),
                ..labelled(family.name.clone(), family.kind, shown)
            }));
        }
    }
    let left_out = all - rows.len();
    (rows, left_out)
}

pub(super) fn kind(kind: FilterMetricKind) -> MetricKind {
    match kind {
        FilterMetricKind::Counter => MetricKind::Counter,
        FilterMetricKind::Gauge => MetricKind::Gauge,
        FilterMetricKind::Histogram => MetricKind::Histogram,
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn plain(name: String, of: FilterMetricKind, reading: &Reading) -> MetricRow {
    let (value, quantiles) = match reading {
        Reading::Counter(value) => (*value as f64, None),
        Reading::Time(nanoseconds) => (*nanoseconds as f64 / 1e9, None),
        Reading::Gauge(value) => (*value as f64, None),
        Reading::Histogram(seen) => (seen.count() as f64, seen.quantile(0.5).zip(seen.quantile(0.99))),
    };
    MetricRow { name, kind: kind(of), labels: Vec::new(), value, rate: None, quantiles }
}

fn labelled(name: String, of: FilterMetricKind, shown: Shown) -> MetricRow {
    let amount = Amount::from(shown);
    let quantiles = amount.quantiles().map(|[median, _, most]| (median, most));
    MetricRow { name, kind: kind(of), labels: Vec::new(), value: amount.total(), rate: None, quantiles }
}
