//! Panels that a module declares in its manifest: charts of its own metrics, for the dashboard.
//!
//! ```json
//! { "panels": [{ "title": "Refused", "metric": "limit_refused_total", "labels": ["policy"], "chart": "top", "unit": "per_second" }] }
//! ```
//!
//! `fyke-sdk` writes them (`HttpFilter::PANELS`); any other SDK may.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Most panels of a filter.
pub const PANELS: usize = 24;
const TITLE: usize = 80;
const NAME: usize = 256;
const LABELS: usize = 8;
const DESCRIPTION: usize = 400;

/// A panel, as a manifest declares it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Panel {
    /// Its heading: 1 to 80 bytes.
    pub title: String,
    /// The metric that it shows, as the filter defines it.
    pub metric: String,
    /// Labels by which it is split, at most 8; over others it is summed up. `*` alone: all that there are. Default: none.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Series that count: label and value, or the beginning of one with `*` behind it. Of a label that is there twice either will do.
    /// At most 8. Default: all of them.
    #[serde(default)]
    pub only: Vec<(String, String)>,
    /// Default: `line`.
    #[serde(default)]
    pub chart: Chart,
    /// Default: `number`.
    #[serde(default)]
    pub unit: Unit,
    /// The percentile of a histogram that is drawn, 1 to 99. Default: 99.
    #[serde(default = "percentile")]
    pub percentile: u8,
    /// At most 400 bytes. Default: none.
    #[serde(default)]
    pub description: String,
}

fn percentile() -> u8 {
    99
}

/// How it is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Chart {
    /// A line for each series, over the last hour.
    #[default]
    Line,
    /// Areas on top of each other, over the last hour.
    Stacked,
    /// A bar for each series.
    Bar,
    /// Those with the largest values.
    Top,
    /// A row for each series.
    Table,
    /// Single numbers.
    Number,
}

/// What the metric's numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Just numbers.
    #[default]
    Number,
    /// Something that happens.
    PerSecond,
    /// Durations.
    Seconds,
    /// The same.
    Milliseconds,
    /// The same.
    Microseconds,
    /// Bytes.
    Bytes,
    /// Shares, 0 to 100.
    Percent,
}

/// Reads the panels of a manifest.
///
/// # Errors
/// What is wrong, and with which of them. None of them counts then.
pub fn read(value: &Value) -> Result<Vec<Panel>, String> {
    let Value::Array(values) = value else { return Err("panels: must be a list".to_owned()) };
    if values.len() > PANELS {
        return Err(format!("panels: there are {}; a filter may declare {PANELS}", values.len()));
    }
    let one = |(index, value): (usize, &Value)| {
        let panel: Panel = serde_path_to_error::deserialize(value).map_err(|error| {
            let place = error.path().to_string();
            // A dot alone is the panel itself.
            let place = if place == "." { String::new() } else { format!(".{place}") };
            format!("panels[{index}]{place}: {}", error.inner())
        })?;
        match panel.mistake() {
            Some(mistake) => Err(format!("panels[{index}].{mistake}")),
            None => Ok(panel),
        }
    };
    values.iter().enumerate().map(one).collect()
}

impl Panel {
    fn mistake(&self) -> Option<String> {
        let is_name = |name: &str| (1..=NAME).contains(&name.len());
        if self.title.trim().is_empty() || self.title.len() > TITLE {
            return Some(format!("title: has 1 to {TITLE} bytes"));
        }
        if !is_name(&self.metric) {
            return Some(format!("metric: has 1 to {NAME} bytes"));
        }
        if self.labels.len() > LABELS || !self.labels.iter().all(|label| is_name(label)) {
            return Some(format!("labels: at most {LABELS}, with 1 to {NAME} bytes each"));
        }
        if self.labels.len() > 1 && self.labels.iter().any(|label| label == "*") {
            return Some("labels: `*` are all labels, and stands alone".to_owned());
        }
        if self.only.len() > LABELS || !self.only.iter().all(|(label, value)| is_name(label) && value.len() <= NAME) {
            return Some(format!(
                "only: at most {LABELS} pairs of a label and a value, with at most {NAME} bytes each"
            ));
        }
        if !(1..=99).contains(&self.percentile) {
            return Some("percentile: is 1 to 99".to_owned());
        }
        (self.description.len() > DESCRIPTION).then(|| format!("description: has at most {DESCRIPTION} bytes"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_panel_needs_a_title_and_a_metric_and_nothing_else() {
        let panels = read(&json!([
            { "title": "a", "metric": "m" },
            {
                "title": "b", "metric": "m", "labels": ["*"], "only": [["status", "5*"]], "chart": "top",
                "unit": "milliseconds", "percentile": 50, "description": "d",
            },
        ]))
        .unwrap();
        let [a, b] = panels.as_slice() else { panic!("{panels:?}") };
        assert_eq!((a.chart, a.unit, a.percentile, a.labels.len()), (Chart::Line, Unit::Number, 99, 0));
        assert_eq!((b.chart, b.unit, b.percentile), (Chart::Top, Unit::Milliseconds, 50));
        assert_eq!(b.only, [("status".to_owned(), "5*".to_owned())]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let panel = |more: Value| {
            let mut panel = json!({ "title": "a", "metric": "m" });
            panel.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!([{ "title": "a", "metric": "m" }, panel])
        };
        for (value, words) in [
            (json!({}), "panels: must be a list"),
            (Value::Array(vec![json!({ "title": "a", "metric": "m" }); 25]), "a filter may declare 24"),
            (json!([{ "metric": "m" }]), "panels[0]"),
            (panel(json!({ "titel": "x" })), "titel"),
            (panel(json!({ "title": " " })), "panels[1].title: has 1 to 80"),
            (panel(json!({ "title": "x".repeat(81) })), "title"),
            (panel(json!({ "metric": "" })), "metric"),
            (panel(json!({ "chart": "pie" })), "panels[1].chart"),
            (panel(json!({ "unit": "hours" })), "unit"),
            (panel(json!({ "labels": vec!["a"; 9] })), "labels"),
            (panel(json!({ "labels": ["a", "*"] })), "stands alone"),
            (panel(json!({ "only": [["", "x"]] })), "only"),
            (panel(json!({ "percentile": 100 })), "percentile"),
            (panel(json!({ "description": "x".repeat(401) })), "description"),
        ] {
            let why = read(&value).unwrap_err();
            assert!(why.contains(words), "{why:?} has no {words:?}");
        }
    }
}
