//! The panels that filters declare, with what their metrics have counted.

pub(super) mod amounts;
pub(super) mod past;

use std::{cmp::Ordering, collections::VecDeque};

use self::{
    amounts::{Amount, Group, Metric, OTHERS},
    past::{Key, Past, lately},
};
use super::{Host, filter_metrics};
use crate::{
    admin::dashboard::model::{Chart, Panel, PanelPage, PanelSeries, ROWS, SERIES, Time, Unit},
    snapshot::Snapshot,
    telemetry::{Registry, filter_metrics::FilterMetricKind},
    wasm::{build::FilterFacts, panels as declared},
};

/// Single numbers of a panel.
const NUMBERS: usize = 4;

/// Looks at what all panels show.
pub(super) fn sample(pasts: &mut past::Pasts, now: Time, snapshot: &Snapshot, registry: &Registry) {
    if !pasts.is_due(now) {
        return;
    }
    let filters = snapshot.config.filters.keys().filter_map(|name| snapshot.blueprint.facts(name));
    let keys = filters.flat_map(|facts| facts.panels.iter().map(Key::of).collect::<Vec<_>>());
    // Panels of one metric follow each other: it is read once, and no other one is held meanwhile.
    let mut last: Option<(String, Option<Metric>)> = None;
    pasts.look(now, keys, |key| {
        if last.as_ref().is_none_or(|(name, _)| *name != key.metric) {
            last = Some((key.metric.clone(), Metric::read(registry, &key.metric)));
        }
        last.as_ref()?.1.as_ref()?.by(key)
    });
}

/// Panels of a filter whose metrics somebody has defined, in the order of its manifest.
fn defined<'a>(
    facts: &'a FilterFacts,
    pasts: &'a past::Pasts,
) -> impl Iterator<Item = (&'a declared::Panel, &'a Past)> {
    let past = |panel| pasts.of(&Key::of(panel)).filter(|past| past.is_there());
    facts.panels.iter().filter_map(move |panel| Some((panel, past(panel)?)))
}

/// How many there are.
pub(super) fn count(host: &Host<'_>, filter: &str) -> usize {
    let facts = host.snapshot.blueprint.facts(filter);
    facts.map_or(0, |facts| defined(&facts, &host.admin.board.kept().panels).count())
}

pub(super) fn page(host: &Host<'_>, filter: &str) -> Option<PanelPage> {
    let facts = host.snapshot.blueprint.facts(filter)?;
    if facts.panels.is_empty() {
        return None;
    }
    let kept = host.admin.board.kept();
    let panels = defined(&facts, &kept.panels).filter_map(|(declared, past)| panel(declared, past)).collect();
    Some(PanelPage { filter: filter.to_owned(), panels })
}

/// The one at this place of the page.
pub(super) fn one(host: &Host<'_>, filter: &str, place: usize) -> Option<Panel> {
    let facts = host.snapshot.blueprint.facts(filter)?;
    let kept = host.admin.board.kept();
    let (declared, past) = defined(&facts, &kept.panels).nth(place)?;
    panel(declared, past)
}

fn panel(declared: &declared::Panel, past: &Past) -> Option<Panel> {
    let (amounts, now) = past.now(declared.percentile)?;
    let (unit, factor) = unit(declared.unit, amounts.kind);
    let scaled = |value: Option<f64>| value.map(|value| value * factor);
    let mut rows: Vec<Row> = now
        .into_iter()
        .map(|(group, value)| {
            let amount = amounts.groups.get(&group);
            let past = past.tracked().get(&group);
            Row {
                now: scaled(value),
                total: amount.map(Amount::total),
                quantiles: amount.and_then(Amount::quantiles).map(|each| each.map(|value| value * factor)),
                past: past.map(|past| past.iter().map(|value| scaled(*value)).collect()),
                weight: past.map_or(0.0, lately),
                group,
            }
        })
        .collect();
    let groups = rows.len();
    let chart = declared.chart;
    let adds_up = amounts.kind != FilterMetricKind::Histogram;
    let sum = adds_up.then(|| rows.iter().filter_map(|row| row.now).sum());
    rows.sort_by(Row::largest_first);
    let most = match chart {
        Chart::Line | Chart::Stacked => SERIES,
        Chart::Number => NUMBERS,
        Chart::Bar | Chart::Top | Chart::Table => ROWS,
    };
    let is_line = matches!(chart, Chart::Line | Chart::Stacked);
    // One place is for what is left.
    let most = if is_line && adds_up && groups > most { most - 1 } else { most };
    rows.truncate(most);
    let total: VecDeque<Option<f64>> = past.total().iter().map(|value| scaled(*value)).collect();
    let rest = (is_line && adds_up && groups > rows.len()).then(|| rest(&total, &rows));
    if matches!(chart, Chart::Bar | Chart::Line | Chart::Stacked) {
        rows.sort_by(|one, other| one.group.cmp(&other.group));
    }
    let length = total.len();
    let mut series: Vec<PanelSeries> = rows.into_iter().map(|row| row.shown(length)).collect();
    let left_out = groups - series.len();
    series.extend(rest);
    Some(Panel {
        title: declared.title.clone(),
        metric: declared.metric.clone(),
        kind: filter_metrics::kind(amounts.kind),
        labels: amounts.labels.clone(),
        only: declared.only.iter().map(|(label, value)| format!("{label}={value}")).collect(),
        description: declared.description.clone(),
        percentile: declared.percentile,
        chart,
        unit,
        start: past.start(),
        #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
        step: past::STEP as f64 / 1e3,
        series,
        left_out,
        sum,
    })
}

struct Row {
    group: Group,
    now: Option<f64>,
    total: Option<f64>,
    quantiles: Option<[f64; 3]>,
    past: Option<Vec<Option<f64>>>,
    weight: f64,
}

impl Row {
    /// By what it is now, else by the last minute, else by all that it has ever been. What is summed up comes last.
    fn largest_first(&self, other: &Self) -> Ordering {
        let is_rest = |row: &Self| row.group.first().is_some_and(|value| value == OTHERS);
        let key = |row: &Self| [row.now.unwrap_or(0.0), row.weight, row.total.unwrap_or(0.0)];
        let [mine, theirs] = [key(self), key(other)];
        let by_size = theirs.iter().zip(&mine).map(|(theirs, mine)| theirs.total_cmp(mine));
        let by_size = by_size.fold(Ordering::Equal, Ordering::then);
        is_rest(self).cmp(&is_rest(other)).then(by_size).then_with(|| self.group.cmp(&other.group))
    }

    fn shown(self, length: usize) -> PanelSeries {
        PanelSeries {
            name: self
                .group
                .iter()
                .map(|value| if value.is_empty() { "(none)" } else { value })
                .collect::<Vec<_>>()
                .join(" · "),
            labels: self.group,
            values: self.past.unwrap_or_else(|| vec![None; length]),
            now: self.now,
            total: self.total,
            quantiles: self.quantiles,
        }
    }
}

/// What the rows leave of the total.
fn rest(total: &VecDeque<Option<f64>>, rows: &[Row]) -> PanelSeries {
    let shown = |place: usize| -> f64 {
        let each = rows.iter().filter_map(|row| row.past.as_ref()?.get(place).copied().flatten());
        each.sum()
    };
    let values: Vec<Option<f64>> =
        total.iter().enumerate().map(|(place, total)| total.map(|total| (total - shown(place)).max(0.0))).collect();
    let now = values.last().copied().flatten();
    PanelSeries { name: "others".to_owned(), labels: Vec::new(), values, now, total: None, quantiles: None }
}

/// In which unit numbers are shown, and by what they are multiplied for it.
fn unit(unit: declared::Unit, kind: FilterMetricKind) -> (Unit, f64) {
    let is_counter = kind == FilterMetricKind::Counter;
    match unit {
        declared::Unit::Bytes if is_counter => (Unit::BytesPerSecond, 1.0),
        declared::Unit::Bytes => (Unit::Bytes, 1.0),
        // Seconds that pass in a second are a share of it, or more.
        declared::Unit::Seconds if is_counter => (Unit::Number, 1.0),
        declared::Unit::Milliseconds if is_counter => (Unit::Number, 1e-3),
        declared::Unit::Microseconds if is_counter => (Unit::Number, 1e-6),
        declared::Unit::Seconds => (Unit::Seconds, 1.0),
        declared::Unit::Milliseconds => (Unit::Seconds, 1e-3),
        declared::Unit::Microseconds => (Unit::Seconds, 1e-6),
        declared::Unit::Percent => (Unit::Share, 1e-2),
        declared::Unit::PerSecond => (Unit::PerSecond, 1.0),
        declared::Unit::Number if is_counter => (Unit::PerSecond, 1.0),
        declared::Unit::Number => (Unit::Number, 1.0),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{amounts::Amounts, *};

    fn declared(chart: &str, more: serde_json::Value) -> declared::Panel {
        let mut panel = serde_json::json!({ "title": "t", "metric": "m", "chart": chart, "labels": ["who"] });
        panel.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        serde_json::from_value(panel).unwrap()
    }

    fn counted(names: usize, seconds: u64) -> Amounts {
        let each = (0..names).map(|name| (vec![format!("{name:03}")], Amount::Number((name as u64 * seconds) as f64)));
        Amounts { kind: FilterMetricKind::Counter, labels: vec!["who".to_owned()], groups: each.collect() }
    }

    fn shown(declared: &declared::Panel, names: usize) -> Panel {
        let mut pasts = past::Pasts::default();
        for second in 0..=10 {
            pasts.look(Time(second * 1_000), std::iter::once(Key::of(declared)), |_| Some(counted(names, second)));
        }
        panel(declared, pasts.of(&Key::of(declared)).unwrap()).unwrap()
    }

    #[test]
    fn rows_are_bounded_and_the_largest_come_first() {
        let panel = shown(&declared("top", serde_json::Value::Null), 100);
        assert_eq!((panel.series.len(), panel.left_out), (ROWS, 100 - ROWS));
        assert_eq!((panel.series[0].name.as_str(), panel.series[0].now), ("099", Some(99.0)));
        assert_eq!((panel.sum, panel.unit), (Some(4950.0), Unit::PerSecond));
        let panel = shown(&declared("number", serde_json::Value::Null), 100);
        assert_eq!(panel.series.len(), NUMBERS);
    }

    #[test]
    fn lines_are_in_order_and_what_is_left_is_one_of_them() {
        let panel = shown(&declared("stacked", serde_json::Value::Null), 100);
        assert_eq!((panel.series.len(), panel.left_out), (SERIES, 100 - SERIES + 1));
        let names: Vec<&str> = panel.series.iter().map(|series| series.name.as_str()).collect();
        assert!(names.first() == Some(&"089") && names.last() == Some(&"others"), "{names:?}");
        // Together they are everything.
        let last = |series: &PanelSeries| series.values.last().copied().flatten().unwrap();
        assert!((panel.series.iter().map(last).sum::<f64>() - 4950.0).abs() < 1e-6);
        let panel = shown(&declared("line", serde_json::Value::Null), 3);
        assert_eq!((panel.series.len(), panel.left_out), (3, 0));
    }

    #[test]
    fn durations_are_shown_in_seconds_whatever_they_are_counted_in() {
        let histogram = |count: u64| Amounts {
            kind: FilterMetricKind::Histogram,
            labels: vec!["who".to_owned()],
            groups: BTreeMap::from([(vec![String::new()], Amount::Histogram(vec![(1_000.0, count)], count))]),
        };
        let declared = declared("table", serde_json::json!({ "unit": "milliseconds", "percentile": 50 }));
        let mut pasts = past::Pasts::default();
        for second in 0..3 {
            pasts.look(Time(second * 1_000), std::iter::once(Key::of(&declared)), |_| Some(histogram(second)));
        }
        let panel = panel(&declared, pasts.of(&Key::of(&declared)).unwrap()).unwrap();
        let [row] = panel.series.as_slice() else { panic!("{panel:?}") };
        assert_eq!((row.now, row.name.as_str(), panel.unit), (Some(0.5), "(none)", Unit::Seconds));
        assert_eq!((row.total, row.quantiles), (Some(2.0), Some([0.5, 0.9, 0.99])));
        assert_eq!(panel.sum, None);
    }
}
