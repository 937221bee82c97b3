//! Readings as lines. No I/O.

use super::{
    name::{Head, Labels, Naming, sorted},
    number::{self, Plain, Rounded, rate},
    settings::{Dialect, Histograms, Settings},
    statistics::DropReason,
    tracker::{Id, Tracker},
};
use crate::telemetry::reading::{Histogram, MetricReading, MetricValue, Number, UnixTime};

/// Quantiles of [`Histograms::Summary`], and what they are called.
const QUANTILES: [(f64, &str); 4] = [(0.5, ".p50"), (0.9, ".p90"), (0.95, ".p95"), (0.99, ".p99")];

/// Writes lines, and remembers what was written last.
#[derive(Debug)]
pub(super) struct Lines {
    naming: Naming,
    dialect: Dialect,
    histograms: Histograms,
    tracker: Tracker,
}

impl Lines {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            naming: Naming::new(settings.dialect, &settings.prefix),
            dialect: settings.dialect,
            histograms: settings.histograms,
            tracker: Tracker::new(settings.memory),
        }
    }

    /// Begins a flush.
    pub(super) fn begin(&mut self) {
        self.tracker.begin();
    }

    /// Adds what a reading has to say to `units`, each of which is one line or several that must not be parted.
    ///
    /// # Errors
    /// Why it says nothing. That nothing is new is no error.
    pub(super) fn read(&mut self, reading: &MetricReading, units: &mut Vec<String>) -> Result<(), DropReason> {
        let labels = sorted(&reading.labels);
        let head = self.naming.head(&reading.name, &labels);
        let name = reading.name.as_ref();
        match &reading.value {
            MetricValue::Counter(now) => {
                let id = Id { kind: b'c', name, labels: &labels };
                push_counter(units, &head, "", self.tracker.counter(&id, reading.start, *now)?);
                Ok(())
            }
            MetricValue::Gauge(now) => self.gauge(&head, name, &labels, *now, units),
            MetricValue::Histogram(now) => {
                let id = Id { kind: b'h', name, labels: &labels };
                self.histogram(&head, &id, (reading.start, now), reading.unit == "s", units)
            }
        }
    }

    /// Ends a flush, and adds what there is to say of series that are gone.
    pub(super) fn finish(&mut self, units: &mut Vec<String>) {
        units.extend(self.tracker.finish());
    }

    fn gauge(
        &mut self,
        head: &Head,
        name: &str,
        labels: &Labels<'_>,
        now: Number,
        units: &mut Vec<String>,
    ) -> Result<(), DropReason> {
        if !number::is_finite(now) {
            return Err(DropReason::Number);
        }
        let zero = |unit: &mut String| head.line(unit, "", 0, "g", None);
        let mut unit = String::new();
        // Plain servers keep the last value of a gauge for ever: one that is gone would be told for ever. To Datadog, what
        // is not sent is not there.
        if self.dialect == Dialect::Plain {
            let ended = || {
                let mut unit = String::new();
                zero(&mut unit);
                unit
            };
            match self.tracker.gauge(&Id { kind: b'g', name, labels }, ended) {
                // Its end will not be told, but it need not wait for that.
                Ok(()) | Err(DropReason::Memory) => {}
                Err(reason) => return Err(reason),
            }
            if number::is_negative(now) {
                zero(&mut unit);
            }
        }
        head.line(&mut unit, "", Plain(now), "g", None);
        units.push(unit);
        Ok(())
    }

    fn histogram(
        &mut self,
        head: &Head,
        id: &Id<'_>,
        (start, now): (UnixTime, &Histogram),
        time: bool,
        units: &mut Vec<String>,
    ) -> Result<(), DropReason> {
        let observed = self.tracker.histogram(id, start, now)?;
        let count = observed.count();
        if count == 0 {
            return Ok(());
        }
        let (kind, scale) = match self.histograms {
            Histograms::Summary => {
                push_counter(units, head, ".count", count.into());
                if observed.sum.is_finite() {
                    push_counter(units, head, ".sum", observed.sum.into());
                }
                for (quantile, part) in QUANTILES {
                    if let Some(value) = observed.quantile(now.bounds(), quantile) {
                        push_quantile(units, head, part, value, self.dialect);
                    }
                }
                return Ok(());
            }
            Histograms::Timers if time => ("ms", 1000.0),
            Histograms::Timers => ("h", 1.0),
            Histograms::Distributions => ("d", 1.0),
        };
        for (value, count) in observed.values(now.bounds()) {
            let value = value * scale;
            // Only of bounds at the end of what a float can be.
            if value.is_finite() {
                let mut unit = String::new();
                head.line(&mut unit, "", Rounded(value.into()), kind, rate(count));
                units.push(unit);
            }
        }
        Ok(())
    }
}

/// No line where there is nothing to add.
fn push_counter(units: &mut Vec<String>, head: &Head, part: &str, since: Number) {
    let since = Rounded(since);
    if !since.is_zero() {
        let mut unit = String::new();
        head.line(&mut unit, part, since, "c", None);
        units.push(unit);
    }
}

fn push_quantile(units: &mut Vec<String>, head: &Head, part: &str, value: f64, dialect: Dialect) {
    let mut unit = String::new();
    if dialect == Dialect::Plain && value < 0.0 {
        head.line(&mut unit, part, 0, "g", None);
    }
    head.line(&mut unit, part, Rounded(value.into()), "g", None);
    units.push(unit);
}

#[cfg(test)]
mod tests;
