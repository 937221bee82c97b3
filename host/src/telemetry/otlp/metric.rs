//! Metrics, as they are read and as OTLP has them (`opentelemetry/proto/metrics/v1/metrics.proto`).
//!
//! A [`MetricReading`] is one series at one moment: one data point. Readings of the same name, unit and kind in one
//! request become data points of one metric. Temporality is cumulative: a request that is lost costs nothing that
//! the next does not say again.
//!
//! [`chunks`] splits a reading of everything into requests below a limit of bytes, one at a time.

mod chunk;

use std::{borrow::Cow, sync::Arc};

use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar as WireExemplar, HistogramDataPoint, NumberDataPoint, exemplar, number_data_point,
};

pub use self::chunk::{Chunk, Chunks, chunks};
use crate::telemetry::otlp::value::{Attributes, UnixTime, key_values};

/// Most exemplars of one data point; the rest is left out.
pub const EXEMPLARS: usize = 16;
/// Most bounds of one histogram.
pub const BOUNDS: usize = 1024;

/// A series at a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricReading {
    /// Name of the metric.
    pub name: Cow<'static, str>,
    /// What it tells.
    pub help: Cow<'static, str>,
    /// Its unit as UCUM has it: `s`, `By`, `{request}`; empty: none.
    pub unit: Cow<'static, str>,
    /// Labels of the series.
    pub labels: Attributes,
    /// What it reads.
    pub value: MetricValue,
    /// Since when it counts; of no meaning for gauges.
    pub start: UnixTime,
    /// When it was read.
    pub time: UnixTime,
    /// Single observations that it holds.
    pub exemplars: Vec<Exemplar>,
}

/// What a series reads.
#[derive(Debug, Clone, PartialEq)]
pub enum MetricValue {
    /// A sum that only grows.
    Counter(Number),
    /// A value that goes up and down.
    Gauge(Number),
    /// Observations by bucket.
    Histogram(Histogram),
}

/// A number as OTLP has them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// Whole.
    Integer(i64),
    /// Any.
    Float(f64),
}

impl From<u64> for Number {
    /// OTLP has no unsigned numbers here: what is too large becomes the largest.
    fn from(number: u64) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<i64> for Number {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

/// A histogram that OTLP allows: finite rising bounds, and one bucket more than bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    bounds: Arc<[f64]>,
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    /// `bounds` are inclusive upper bounds, `counts` observations per bucket (not cumulative), the last above every
    /// bound; `sum` is that of all observations.
    ///
    /// # Errors
    /// [`HistogramError`] where OTLP does not allow it.
    pub fn new(bounds: Arc<[f64]>, counts: Vec<u64>, sum: f64) -> Result<Self, HistogramError> {
        if bounds.len() > BOUNDS {
            return Err(HistogramError::TooMany);
        }
        if counts.len() != bounds.len().saturating_add(1) {
            return Err(HistogramError::Counts);
        }
        if bounds.iter().any(|bound| !bound.is_finite()) || !bounds.is_sorted_by(|low, high| low < high) {
            return Err(HistogramError::Bounds);
        }
        Ok(Self { bounds, counts, sum })
    }

    /// Inclusive upper bounds, rising.
    #[must_use]
    pub fn bounds(&self) -> &[f64] {
        &self.bounds
    }

    /// Observations per bucket, one more than bounds.
    #[must_use]
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Sum of all observations.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum
    }
}

impl Default for Histogram {
    /// Without bounds and observations.
    fn default() -> Self {
        Self { bounds: Arc::default(), counts: vec![0], sum: 0.0 }
    }
}

/// Why numbers are no histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HistogramError {
    /// More than [`BOUNDS`].
    #[error("a histogram has more than {BOUNDS} bounds")]
    TooMany,
    /// Counts do not fit bounds.
    #[error("a histogram has not one bucket more than bounds")]
    Counts,
    /// Bounds do not rise, or are not finite.
    #[error("the bounds of a histogram are not finite and rising")]
    Bounds,
}

/// One observation of a series, with the trace in which it was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    /// When.
    pub time: UnixTime,
    /// What was observed.
    pub value: Number,
    /// Labels that the series does not have.
    pub labels: Attributes,
    /// Trace and span.
    pub trace: Option<([u8; 16], [u8; 8])>,
}

/// A reading without what its metric says.
enum Point {
    Number(NumberDataPoint),
    Histogram(HistogramDataPoint),
}

fn point(
    labels: Attributes,
    value: MetricValue,
    (start, time): (UnixTime, UnixTime),
    exemplars: Vec<Exemplar>,
) -> Point {
    let attributes = key_values(labels).0;
    let exemplars = exemplars.into_iter().take(EXEMPLARS).map(exemplar).collect();
    let (start_time_unix_nano, number) = match value {
        MetricValue::Counter(number) => (start.0, number),
        MetricValue::Gauge(number) => (0, number),
        MetricValue::Histogram(Histogram { bounds, counts, sum }) => {
            return Point::Histogram(HistogramDataPoint {
                attributes,
                start_time_unix_nano: start.0,
                time_unix_nano: time.0,
                count: counts.iter().fold(0, |all: u64, count| all.saturating_add(*count)),
                sum: Some(sum),
                bucket_counts: counts,
                explicit_bounds: bounds.to_vec(),
                exemplars,
                ..HistogramDataPoint::default()
            });
        }
    };
    let value = match number {
        Number::Integer(number) => number_data_point::Value::AsInt(number),
        Number::Float(number) => number_data_point::Value::AsDouble(number),
    };
    Point::Number(NumberDataPoint {
        attributes,
        start_time_unix_nano,
        time_unix_nano: time.0,
        exemplars,
        value: Some(value),
        ..NumberDataPoint::default()
    })
}

fn exemplar(exemplar: Exemplar) -> WireExemplar {
    let (trace_id, span_id) = exemplar.trace.map_or((Vec::new(), Vec::new()), |(t, s)| (t.to_vec(), s.to_vec()));
    WireExemplar {
        filtered_attributes: key_values(exemplar.labels).0,
        time_unix_nano: exemplar.time.0,
        span_id,
        trace_id,
        value: Some(match exemplar.value {
            Number::Integer(number) => exemplar::Value::AsInt(number),
            Number::Float(number) => exemplar::Value::AsDouble(number),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_that_otlp_does_not_allow_cannot_be_made() {
        let make = |bounds: &[f64], counts: &[u64]| Histogram::new(bounds.into(), counts.to_vec(), 0.0).err();
        assert_eq!(make(&[1.0, 2.0], &[0, 0, 0]), None);
        assert_eq!(make(&[], &[0]), None);
        assert_eq!(make(&[1.0], &[0]), Some(HistogramError::Counts));
        assert_eq!(make(&[1.0, 1.0], &[0; 3]), Some(HistogramError::Bounds));
        assert_eq!(make(&[f64::NAN], &[0; 2]), Some(HistogramError::Bounds));
        assert_eq!(make(&[1.0, f64::INFINITY], &[0; 3]), Some(HistogramError::Bounds));
        assert_eq!(make(&[0.0; BOUNDS + 1], &[0; BOUNDS + 2]), Some(HistogramError::TooMany));
    }

    #[test]
    fn a_count_beyond_the_range_stays_at_its_end() {
        assert_eq!(Number::from(u64::MAX), Number::Integer(i64::MAX));
        let full = Histogram::new([1.0].as_slice().into(), vec![u64::MAX, 5], 1.0).unwrap();
        let Point::Histogram(point) =
            point(Vec::new(), MetricValue::Histogram(full), (UnixTime(1), UnixTime(2)), Vec::new())
        else {
            panic!("no histogram")
        };
        assert_eq!(point.count, u64::MAX);
    }
}
