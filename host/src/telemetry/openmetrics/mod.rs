//! The OpenMetrics 1.0 text format, with exemplars.
//!
//! # What this is
//! [`negotiate`] reads an `Accept` header and says which of the two formats a scraper wants; [`render`] writes this one.
//! The other is [`prometheus`](super::prometheus), which remains what a browser or `curl` gets.
//!
//! # The same series in both formats
//! A scraper that asks for this format must find the series that it has found in the other, so names and labels are made by
//! the same rules ([`prometheus`](super::prometheus) has them), with two differences that OpenMetrics wants:
//! * `le` is written as the specification's "Considerations: Canonical Numbers" has it: `1.0`, `1e-05`, not `1`, `0.00001`.
//!   Prometheus reads both as the same since its version 3.0.
//! * A counter's family is called without `_total`, its sample with it. What a filter counts under a name without
//!   `_total` would change its name; it is exposed as `unknown` instead and keeps it, as Go's client does
//!   (`expfmt.MetricFamilyToOpenMetrics`). It has no exemplars then.
//!
//! `_created` is not written: Prometheus takes it for a series of its own.
//!
//! # Invariants
//! * What is written can be read, whatever names, labels and numbers filters have made: names become legal and unique, a number
//!   that a sample must not have (a counter below zero, a sum of a histogram that can fall) is left out.
//! * A family is in one piece, a series in it once.

mod accept;
mod exemplar;
mod family;
mod number;

use std::fmt::Write as _;

pub use self::accept::{Format, negotiate};
use self::{
    family::{Family, Kind, Series, families},
    number::float,
};
use super::reading::{Exemplar, Histogram, MetricReading, MetricValue, Number};

/// The `Content-Type` of what [`render`] returns.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All readings as text. Those of one metric need not be one after another; the order of metrics is that in which they
/// first occur.
#[must_use]
pub fn render(readings: Vec<MetricReading>) -> String {
    let mut out = String::with_capacity(16 * 1024);
    for family in families(readings) {
        render_family(&mut out, &family);
    }
    out.push_str("# EOF\n");
    out
}

fn render_family(out: &mut String, family: &Family) {
    let Family { name, kind, unit, help, .. } = family;
    // Writing to a string cannot fail.
    let _ = writeln!(out, "# TYPE {name} {}", kind.word());
    if !unit.is_empty() {
        let _ = writeln!(out, "# UNIT {name} {unit}");
    }
    if !help.is_empty() {
        let _ = write!(out, "# HELP {name} ");
        escape(out, help);
        out.push('\n');
    }
    let mut bounds = Bounds::default();
    for series in &family.series {
        match &series.value {
            MetricValue::Histogram(histogram) => {
                render_histogram(out, name, series, histogram, bounds.of(histogram));
            }
            MetricValue::Counter(number) => {
                let mut exemplar = None;
                let mut suffix = "";
                if *kind == Kind::Counter {
                    (exemplar, suffix) = (exemplar::newest(&series.exemplars), "_total");
                }
                if number::is_count(*number) {
                    sample(out, (name, suffix), &series.labels, &number::text(*number), exemplar);
                }
            }
            MetricValue::Gauge(number) => sample(out, (name, ""), &series.labels, &number::text(*number), None),
        }
    }
}

/// Bounds as they are written: most series of a family have the same.
#[derive(Default)]
struct Bounds {
    numbers: Vec<f64>,
    texts: Vec<String>,
}

impl Bounds {
    fn of(&mut self, histogram: &Histogram) -> &[String] {
        if self.texts.is_empty() || self.numbers != histogram.bounds() {
            self.numbers = histogram.bounds().to_vec();
            self.texts = self.numbers.iter().map(|bound| float(*bound)).chain(["+Inf".to_owned()]).collect();
        }
        &self.texts
    }
}

fn render_histogram(out: &mut String, name: &str, series: &Series, histogram: &Histogram, bounds: &[String]) {
    let exemplars = exemplar::by_bucket(&series.exemplars, histogram.bounds());
    let (mut total, mut labels) = (0_u64, series.labels.clone());
    for ((bound, held), exemplar) in bounds.iter().zip(histogram.counts()).zip(exemplars) {
        total = total.saturating_add(*held);
        labels.truncate(series.labels.len());
        push_label(&mut labels, "le", bound);
        sample(out, (name, "_bucket"), &labels, &total.to_string(), exemplar);
    }
    // A sum that can fall is none that can be taken the rate of; without it there must be no count either.
    let falls = histogram.bounds().first().is_some_and(|first| *first < 0.0);
    if !falls && histogram.sum() >= 0.0 {
        sample(out, (name, "_sum"), &series.labels, &float(histogram.sum()), None);
        sample(out, (name, "_count"), &series.labels, &total.to_string(), None);
    }
}

fn sample(out: &mut String, (name, suffix): (&str, &str), labels: &str, value: &str, exemplar: Option<&Exemplar>) {
    let _ = if labels.is_empty() {
        write!(out, "{name}{suffix} {value}")
    } else {
        write!(out, "{name}{suffix}{{{labels}}} {value}")
    };
    if let Some(exemplar) = exemplar {
        exemplar::write(out, exemplar);
    }
    out.push('\n');
}

fn push_label(labels: &mut String, name: &str, value: &str) {
    if !labels.is_empty() {
        labels.push(',');
    }
    labels.push_str(name);
    labels.push_str("=\"");
    escape(labels, value);
    labels.push('"');
}

/// `escaped-string` of the specification's grammar, for labels and help alike.
fn escape(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' => out.push_str("\\\""),
            other => out.push(other),
        }
    }
}

/// The number as a float, for comparisons.
#[expect(clippy::cast_precision_loss, reason = "an exposition is a float")]
fn as_float(number: Number) -> f64 {
    match number {
        Number::Integer(number) => number as f64,
        Number::Float(number) => number,
    }
}

#[cfg(test)]
mod tests;
