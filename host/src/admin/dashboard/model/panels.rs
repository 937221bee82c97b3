//! Panels: charts that a filter's author declares in its manifest, drawn without a change to the host.
//!
//! ```json
//! { "panels": [{ "title": "Refused", "metric": "rate_limit_refused", "labels": ["policy"], "chart": "line", "unit": "per_second" }] }
//! ```

use serde::{Deserialize, Serialize};

use super::Time;

/// Most panels of a filter.
pub const PANELS: usize = 24;
/// Most series of a panel; the host sums up the rest as one.
pub const SERIES: usize = 12;
const TITLE: usize = 80;
const NAME: usize = 256;
const LABELS: usize = 8;

/// A panel as a manifest declares it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declaration {
    /// Its heading, at most 80 characters.
    pub title: String,
    /// The metric that it shows, as the filter defines it.
    pub metric: String,
    /// Labels by which it is split; the others are summed up. Default: none.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Kind of chart. Default: `line`.
    #[serde(default)]
    pub chart: Chart,
    /// What the numbers are. Default: `number`.
    #[serde(default)]
    pub unit: Unit,
    /// One sentence below the heading. Default: none.
    #[serde(default)]
    pub help: String,
}

/// Why a declaration is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeclarationError {
    /// There are more than [`PANELS`].
    TooMany,
    /// The panel with this index has no title, or too long a one.
    Title(usize),
    /// The panel with this index names no metric, or too long a one.
    Metric(usize),
    /// The panel with this index splits by too many labels.
    Labels(usize),
}

impl std::fmt::Display for DeclarationError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooMany => write!(formatter, "a filter may declare {PANELS} panels"),
            Self::Title(index) => write!(formatter, "panels[{index}]: `title` has 1 to {TITLE} characters"),
            Self::Metric(index) => write!(formatter, "panels[{index}]: `metric` has 1 to {NAME} bytes"),
            Self::Labels(index) => {
                write!(formatter, "panels[{index}]: at most {LABELS} labels of at most {NAME} bytes")
            }
        }
    }
}

impl std::error::Error for DeclarationError {}

impl Declaration {
    /// Checks what a manifest declares.
    ///
    /// # Errors
    /// The first panel that is not as it should be.
    pub fn check(all: &[Self]) -> Result<(), DeclarationError> {
        if all.len() > PANELS {
            return Err(DeclarationError::TooMany);
        }
        for (index, one) in all.iter().enumerate() {
            if one.title.trim().is_empty() || one.title.chars().count() > TITLE {
                return Err(DeclarationError::Title(index));
            }
            if one.metric.is_empty() || one.metric.len() > NAME {
                return Err(DeclarationError::Metric(index));
            }
            if one.labels.len() > LABELS || one.labels.iter().any(|label| label.is_empty() || label.len() > NAME) {
                return Err(DeclarationError::Labels(index));
            }
        }
        Ok(())
    }
}

/// Kinds of charts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Chart {
    /// A line for each series, over the last hour.
    #[default]
    Line,
    /// Areas on top of each other, over the last hour.
    Stacked,
    /// A bar for each series, as it is now.
    Bars,
    /// One number, as it is now, with its last hour.
    Number,
}

/// What numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Just a number.
    #[default]
    Number,
    /// Something per second. Counters are always shown so.
    PerSecond,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// A share, 0 to 1.
    Share,
}

/// The panels of a filter.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct PanelPage {
    /// The filter.
    pub filter: String,
    /// In the order of its manifest.
    pub panels: Vec<Panel>,
}

/// A panel with its numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Panel {
    /// What the manifest says.
    pub declaration: Declaration,
    /// Beginning of the first step.
    pub start: Time,
    /// Length of a step, in seconds.
    pub step: f64,
    /// At most [`SERIES`]; empty: the filter has not counted anything yet.
    pub series: Vec<PanelSeries>,
}

/// A series of a panel.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PanelSeries {
    /// Its label values, in the order of the declaration; empty: the only one.
    pub name: String,
    /// Step by step.
    pub values: Vec<Option<f64>>,
    /// Now.
    pub now: Option<f64>,
}
