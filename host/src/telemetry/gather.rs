//! The registry as exporters read it: one [`MetricReading`] per series.
//!
//! What filters define for themselves comes after the proxy's own, what has labels last. Where a filter's name would
//! become one of the proxy's own, `filter_` is put in front, as in the Prometheus exposition.

use std::{borrow::Cow, sync::Arc};

use super::{
    exemplar,
    filter_metrics::{FilterMetricKind, OF_FILTERS},
    histogram::{Buckets, HistogramReading},
    labelled::{self, Shown},
    reading::{Attributes, Exemplar, Histogram, MetricReading, MetricValue, Number, UnixTime, Value},
    registry::{FamilyReading, Reading, Registry},
};

/// Which buckets of the proxy's own histograms are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// All that there are, for exporters that compute from them.
    Fine,
    /// Those that the Prometheus exposition shows.
    Exposed,
}

/// Everything that the registry holds, and what was read elsewhere. `start` is when the process began to count, `now` when it
/// is read.
#[must_use]
pub fn gather(
    registry: &Registry,
    more: Vec<FamilyReading>,
    detail: Detail,
    (start, now): (UnixTime, UnixTime),
) -> Vec<MetricReading> {
    let reader = Reader { detail, start, now, seconds: bounds(Buckets::Seconds), numbers: bounds(Buckets::Numbers) };
    let mut out = Vec::new();
    for family in registry.gather().into_iter().chain(more) {
        let metric = family.metric;
        for (values, reading) in family.series {
            let labels = metric.labels.iter().zip(values).map(|(name, value)| ((*name).into(), value.into())).collect();
            let (value, exemplars) = reader.value(&reading);
            out.push(MetricReading {
                help: metric.help.into(),
                unit: unit(metric.name).into(),
                ..reader.reading(metric.name.into(), labels, value, exemplars)
            });
        }
    }
    for metric in registry.filter_metrics().gather() {
        let (value, exemplars) = reader.value(&metric.reading);
        out.push(reader.reading(apart(metric.name).into(), Vec::new(), value, exemplars));
    }
    for family in registry.labelled().gather() {
        let labelled::FamilyReading { name, kind, labels, series } = family;
        for (values, shown) in series {
            let labels = labels.iter().zip(values).map(|(name, value)| (Cow::Owned(name.clone()), Value::from(value)));
            out.push(reader.reading(name.clone().into(), labels.collect(), shown_value(kind, shown), Vec::new()));
        }
    }
    out
}

struct Reader {
    detail: Detail,
    start: UnixTime,
    now: UnixTime,
    /// Shared by all histograms of one reading.
    seconds: Arc<[f64]>,
    numbers: Arc<[f64]>,
}

impl Reader {
    fn reading(
        &self,
        name: Cow<'static, str>,
        labels: Attributes,
        value: MetricValue,
        exemplars: Vec<Exemplar>,
    ) -> MetricReading {
        let Self { start, now: time, .. } = *self;
        MetricReading { name, help: OF_FILTERS.into(), unit: "".into(), labels, value, start, time, exemplars }
    }

    #[expect(clippy::cast_precision_loss, reason = "an exposition is a float")]
    fn value(&self, reading: &Reading) -> (MetricValue, Vec<Exemplar>) {
        let value = match reading {
            Reading::Counter(value) => MetricValue::Counter((*value).into()),
            Reading::Time(nanoseconds) => MetricValue::Counter((*nanoseconds as f64 / 1e9).into()),
            Reading::Gauge(value) => MetricValue::Gauge((*value).into()),
            Reading::Histogram(histogram) => {
                let exemplars = histogram.exemplars().iter().map(|one| exemplar(one, histogram.buckets())).collect();
                return (MetricValue::Histogram(self.histogram(histogram)), exemplars);
            }
        };
        (value, Vec::new())
    }

    fn histogram(&self, histogram: &HistogramReading) -> Histogram {
        let sum = histogram.sum();
        let made = match self.detail {
            Detail::Fine => {
                let bounds = match histogram.buckets() {
                    Buckets::Seconds => &self.seconds,
                    Buckets::Numbers => &self.numbers,
                };
                Histogram::new(Arc::clone(bounds), histogram.counts().to_vec(), sum)
            }
            Detail::Exposed => cumulative(histogram.cumulative(), histogram.count(), sum),
        };
        or_empty(made.ok())
    }
}

fn shown_value(kind: FilterMetricKind, shown: Shown) -> MetricValue {
    match (kind, shown) {
        (FilterMetricKind::Counter, Shown::Number(number)) => MetricValue::Counter(number.into()),
        (_, Shown::Number(number)) => MetricValue::Gauge(number.into()),
        #[expect(clippy::cast_precision_loss, reason = "an exposition is a float")]
        (_, Shown::Histogram { buckets, sum, count }) => {
            let buckets = buckets.into_iter().map(|(bound, count)| (bound as f64, count));
            MetricValue::Histogram(or_empty(cumulative(buckets, count, sum as f64).ok()))
        }
    }
}

/// A histogram of cumulative counts. Of bounds that are one as floats, the last counts.
fn cumulative(
    buckets: impl Iterator<Item = (f64, u64)>,
    count: u64,
    sum: f64,
) -> Result<Histogram, super::reading::HistogramError> {
    let (mut bounds, mut totals): (Vec<f64>, Vec<u64>) = (Vec::new(), Vec::new());
    for (bound, total) in buckets {
        if bounds.last() == Some(&bound) {
            totals.pop();
        } else {
            bounds.push(bound);
        }
        totals.push(total);
    }
    totals.push(count);
    let mut below = 0;
    let counts = totals.into_iter().map(|total| total.saturating_sub(std::mem::replace(&mut below, total))).collect();
    Histogram::new(bounds.into(), counts, sum)
}

/// The bounds of the registry rise and are finite, and there are as many counts.
fn or_empty(histogram: Option<Histogram>) -> Histogram {
    debug_assert!(histogram.is_some(), "a histogram of the registry is one of OTLP");
    histogram.unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "an exposition is a float")]
fn exemplar(exemplar: &exemplar::Exemplar, buckets: Buckets) -> Exemplar {
    let value = match buckets {
        Buckets::Seconds => Number::Float(exemplar.value as f64 / 1e9),
        Buckets::Numbers => exemplar.value.into(),
    };
    Exemplar { time: exemplar.time, value, labels: Vec::new(), trace: Some((exemplar.trace, exemplar.span)) }
}

/// As [`HistogramReading::cumulative`] has them.
#[expect(clippy::cast_precision_loss, reason = "an exposition is a float")]
fn bounds(buckets: Buckets) -> Arc<[f64]> {
    let divisor = match buckets {
        Buckets::Seconds => 1e9,
        Buckets::Numbers => 1.0,
    };
    buckets.bounds().iter().map(|bound| *bound as f64 / divisor).collect()
}

/// As UCUM has it. Names of the proxy's own metrics end with their unit.
fn unit(name: &str) -> &'static str {
    let name = name.strip_suffix("_total").unwrap_or(name);
    if name.ends_with("_seconds") {
        "s"
    } else if name.ends_with("_bytes") {
        "By"
    } else {
        ""
    }
}

/// A filter's name that would become one that begins with `fyke_`.
fn apart(name: String) -> String {
    let rest = name.strip_prefix("fyke").and_then(|rest| rest.chars().next());
    match rest {
        Some(next) if !next.is_ascii_alphanumeric() && next != ':' => format!("filter_{name}"),
        _ => name,
    }
}

#[cfg(test)]
mod tests;
