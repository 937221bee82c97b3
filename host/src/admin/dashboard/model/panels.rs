//! Panels: charts that a filter's author declares in its manifest, drawn without a change to the host.

use serde::Serialize;

use super::{MetricKind, Time};
pub use crate::wasm::panels::{Chart, PANELS};

/// Most lines of a chart; the host sums up the rest as one.
pub const SERIES: usize = 12;
/// Most rows of a table.
pub const ROWS: usize = 20;

/// What numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Just a number.
    #[default]
    Number,
    /// Something per second.
    PerSecond,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// Bytes per second.
    BytesPerSecond,
    /// A share, 0 to 1.
    Share,
}

/// The panels of a filter.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct PanelPage {
    /// The filter.
    pub filter: String,
    /// In the order of its manifest; those whose metric is not defined are left out.
    pub panels: Vec<Panel>,
}

/// A panel with its numbers.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Panel {
    /// Its heading.
    pub title: String,
    /// The metric that it shows.
    pub metric: String,
    /// What that is: of a counter is shown how fast it rises, of a histogram a percentile.
    pub kind: MetricKind,
    /// Labels by which it is split.
    pub labels: Vec<String>,
    /// Series that count, as `label=value`; empty: all.
    pub only: Vec<String>,
    /// A sentence or two; empty: none.
    pub description: String,
    /// Which percentile of a histogram is shown.
    pub percentile: u8,
    /// How it is drawn.
    pub chart: Chart,
    /// What the numbers are.
    pub unit: Unit,
    /// Beginning of the first step.
    pub start: Time,
    /// Length of a step, in seconds.
    pub step: f64,
    /// Bounded by the kind of chart; empty: nothing has been counted yet.
    pub series: Vec<PanelSeries>,
    /// Series that are not shown singly.
    pub left_out: usize,
    /// What all of them have now, shown or not, where that adds up.
    pub sum: Option<f64>,
}

/// A series of a panel.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct PanelSeries {
    /// What it is called; empty: the only one.
    pub name: String,
    /// Its label values, in the order of the labels; empty: the only one, or one that sums up others.
    pub labels: Vec<String>,
    /// Step by step.
    pub values: Vec<Option<f64>>,
    /// Now.
    pub now: Option<f64>,
    /// Since the process began: a counter's count, a histogram's number of observations, what a gauge has.
    pub total: Option<f64>,
    /// Median, 90th and 99th percentile since then.
    pub quantiles: Option<[f64; 3]>,
}
