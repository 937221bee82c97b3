//! What exporters read: a series at a moment. OTLP has the richest form of it, so its types are everybody's.

pub use super::otlp::{
    metric::{BOUNDS, Exemplar, Histogram, HistogramError, MetricReading, MetricValue, Number},
    value::{Attributes, UnixTime, Value},
};
