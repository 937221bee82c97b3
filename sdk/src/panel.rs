//! Panels: charts of a filter's metrics, which Fyke's dashboard draws on a page of the filter's own.
//!
//! They are put together while the filter is compiled and are part of the module's manifest (custom section `fyke.manifest`), so they cost a
//! stream nothing, and other hosts ignore them. What is wrong with one is an error of the compiler.

mod json;

#[doc(hidden)]
pub use json::{bytes, check, length};

/// A chart of one metric. See [`HttpFilter::PANELS`](crate::HttpFilter::PANELS).
///
/// ```
/// use fyke_sdk::{Panel, Unit};
///
/// const PANELS: &[Panel] = &[
///     Panel::line("Requests", "shop_requests_total").by(&["region"]).unit(Unit::PerSecond),
///     Panel::top("Refused, by customer", "shop_refused_total").by(&["customer"]).only(&[("reason", "quota")]),
///     Panel::table("Latency", "shop_duration_ms").by(&["region"]).unit(Unit::Milliseconds).describe("From the first byte to the last."),
/// ];
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Panel {
    title: &'static str,
    metric: &'static str,
    chart: Chart,
    labels: &'static [&'static str],
    only: &'static [(&'static str, &'static str)],
    unit: Unit,
    percentile: u8,
    description: &'static str,
}

/// How a panel is drawn. Counters are shown by how fast they rise, histograms by a percentile, gauges as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Chart {
    /// A line for each series, over the last hour; those with the largest values.
    Line,
    /// Areas on top of each other, over the last hour. For what adds up.
    Stacked,
    /// A bar for each series, as it is now, in the order of the labels.
    Bar,
    /// The series with the largest values now, with their share of all.
    Top,
    /// A row for each series: what it is now, and since the process began; of histograms the percentiles.
    Table,
    /// One number with its last hour, for each series.
    Number,
}

/// What the numbers of a metric are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unit {
    /// Just a number.
    Number,
    /// Something that happens: so many per second.
    PerSecond,
    /// A duration.
    Seconds,
    /// The same in thousandths.
    Milliseconds,
    /// The same in millionths.
    Microseconds,
    /// Bytes; of a counter, bytes per second.
    Bytes,
    /// A share in percent, 0 to 100.
    Percent,
}

impl Panel {
    /// Lines over the last hour. The title has 1 to 80 bytes, and the metric is one that the filter defines in `configure`. Where a
    /// configuration defines other metrics, panels whose metric nobody has defined are left out.
    #[must_use]
    pub const fn line(title: &'static str, metric: &'static str) -> Self {
        Self::new(title, metric, Chart::Line)
    }

    /// Areas on top of each other.
    #[must_use]
    pub const fn stacked(title: &'static str, metric: &'static str) -> Self {
        Self::new(title, metric, Chart::Stacked)
    }

    /// Bars.
    #[must_use]
    pub const fn bar(title: &'static str, metric: &'static str) -> Self {
        Self::new(title, metric, Chart::Bar)
    }

    /// The largest first.
    #[must_use]
    pub const fn top(title: &'static str, metric: &'static str) -> Self {
        Self::new(title, metric, Chart::Top)
    }

    /// A row for each series.
    #[must_use]
    pub const fn table(title: &'static str, metric: &'static str) -> Self {
        Self::new(title, metric, Chart::Table)
    }

    /// Single numbers.
    #[must_use]
    pub const fn number(title: &'static str, metric: &'static str) -> Self {
        Self::new(title, metric, Chart::Number)
    }

    /// Its heading.
    #[must_use]
    pub const fn title(&self) -> &'static str {
        self.title
    }

    /// The metric that it draws.
    #[must_use]
    pub const fn metric(&self) -> &'static str {
        self.metric
    }

    /// The labels that tell its series apart: what [`Self::by`] was given.
    #[must_use]
    pub const fn labels(&self) -> &'static [&'static str] {
        self.labels
    }

    const fn new(title: &'static str, metric: &'static str, chart: Chart) -> Self {
        Self { title, metric, chart, labels: &[], only: &[], unit: Unit::Number, percentile: 99, description: "" }
    }

    /// Labels that tell its series apart, at most 8; over the others it is summed up. `["*"]` are all that the metric has. Default: none, so
    /// that there is one series.
    #[must_use]
    pub const fn by(mut self, labels: &'static [&'static str]) -> Self {
        self.labels = labels;
        self
    }

    /// Series that count: those where each of these labels has this value, at most 8 of them. `5*` is any value that begins with `5`; of
    /// a label that is there twice, either value will do. Default: all.
    #[must_use]
    pub const fn only(mut self, labels: &'static [(&'static str, &'static str)]) -> Self {
        self.only = labels;
        self
    }

    /// What the numbers are. Default: [`Unit::Number`].
    #[must_use]
    pub const fn unit(mut self, unit: Unit) -> Self {
        self.unit = unit;
        self
    }

    /// Which percentile of a histogram is drawn, 1 to 99. Default: 99. A chart without labels shows 50, 90 and 99 beside it.
    #[must_use]
    pub const fn percentile(mut self, percentile: u8) -> Self {
        self.percentile = percentile;
        self
    }

    /// A sentence or two below the heading, at most 400 bytes. Default: none.
    #[must_use]
    pub const fn describe(mut self, description: &'static str) -> Self {
        self.description = description;
        self
    }
}

#[cfg(test)]
mod tests;
