//! Charts: small ones inside of tables, and large ones that JavaScript replaces by ones that can be asked for single values.

use maud::{Markup, html};
use serde::Serialize;

use crate::admin::dashboard::{
    model::{Chart, Panel, Time, Trend, Unit},
    units,
};

/// Steps of a large chart.
pub(crate) const POINTS: usize = 240;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 58.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 22.0;

/// What a chart shows; as JSON what the browser draws it from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Data {
    pub start: Time,
    pub step: f64,
    pub unit: Unit,
    pub stacked: bool,
    pub series: Vec<Series>,
}

/// A line of a chart.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Series {
    pub name: String,
    /// Name of its colour.
    pub tone: String,
    pub values: Vec<Option<f64>>,
}

impl Data {
    /// Requests, and those that failed.
    pub(crate) fn traffic(trend: Trend) -> Self {
        Self {
            start: trend.start,
            step: trend.step,
            unit: Unit::PerSecond,
            stacked: false,
            series: vec![series("requests", "rate", trend.rate), series("failed", "bad", trend.failures)],
        }
    }

    /// Quantiles of durations.
    pub(crate) fn latency(trend: Trend) -> Self {
        Self {
            start: trend.start,
            step: trend.step,
            unit: Unit::Seconds,
            stacked: false,
            series: vec![
                series("p99", "p99", trend.p99),
                series("p90", "p90", trend.p90),
                series("p50", "p50", trend.p50),
            ],
        }
    }

    /// What a filter's panel shows.
    pub(crate) fn panel(panel: Panel) -> Self {
        let tones = (1..=crate::admin::dashboard::model::SERIES).map(|number| format!("c{number}"));
        let title = panel.title;
        let named = |name: String| if name.is_empty() { title.clone() } else { name };
        Self {
            start: panel.start,
            step: panel.step,
            unit: panel.unit,
            stacked: panel.chart == Chart::Stacked,
            series: panel
                .series
                .into_iter()
                .zip(tones)
                .map(|(one, tone)| Series { name: named(one.name), tone, values: one.values })
                .collect(),
        }
    }

    /// From where to where each value of each series is drawn: from nothing, or of a stack from what lies below.
    fn spans(&self) -> Vec<Vec<Option<(f64, f64)>>> {
        let mut below: Vec<f64> = Vec::new();
        let each = self.series.iter().map(|series| {
            let spans = series.values.iter().enumerate().map(|(place, value)| {
                let value = value.filter(|value| value.is_finite())?;
                if !self.stacked {
                    return Some((0.0, value));
                }
                if below.len() <= place {
                    below.resize(place + 1, 0.0);
                }
                let sum = below.get_mut(place)?;
                let floor = *sum;
                *sum += value;
                Some((floor, *sum))
            });
            spans.collect()
        });
        each.collect()
    }
}

fn series(name: &str, tone: &str, values: Vec<Option<f64>>) -> Series {
    Series { name: name.to_owned(), tone: tone.to_owned(), values }
}

/// A number in its unit.
pub(crate) fn written(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Number => units::number(value),
        Unit::PerSecond => units::rate(Some(value)),
        Unit::Seconds => units::duration(Some(value)),
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "negative ones are none")]
        Unit::Bytes => units::bytes(Some(value.max(0.0) as u64)),
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "negative ones are none")]
        Unit::BytesPerSecond => format!("{}/s", units::bytes(Some(value.max(0.0) as u64))),
        Unit::Share => units::share(Some(value)),
    }
}

/// A line without axes, as high as a line of text. `label` says what it is to those who do not see it; the top is the
/// largest value, or `least` where that is more, so that a little is not drawn as if it were much.
pub(crate) fn spark(values: &[Option<f64>], least: f64, tone: &str, label: &str) -> Markup {
    let largest = values.iter().flatten().copied().filter(|value| value.is_finite()).fold(least, f64::max);
    let (width, height) = (72.0, 20.0);
    let step = width / (values.len().max(2) - 1) as f64;
    let point = |place: usize, value: f64| {
        let share = if largest > 0.0 { (value / largest).clamp(0.0, 1.0) } else { 0.0 };
        (place as f64 * step, height - 1.5 - share * (height - 3.0))
    };
    let lines = runs(values, point);
    html! {
        svg class={ "spark " (tone) } viewBox="0 0 72 20" width="72" height="20" role="img" aria-label=(label) preserveAspectRatio="none" {
            path.area d=(areas(&lines, height)) {}
            path.line d=(paths(&lines)) {}
        }
    }
}

/// A chart with axes. `data` is where JavaScript finds its numbers.
pub(crate) fn large(title: &str, data: &Data, address: &str) -> Markup {
    let spans = data.spans();
    let largest = spans.iter().flatten().flatten().map(|(_, top)| *top).fold(0.0, f64::max);
    let ceiling = nice(largest, data.unit);
    let steps = data.series.iter().map(|series| series.values.len()).max().unwrap_or(0);
    let across = (WIDTH - LEFT - 8.0) / (steps.max(2) - 1) as f64;
    let up = HEIGHT - TOP - BOTTOM;
    let point =
        |place: usize, value: f64| (LEFT + place as f64 * across, TOP + up * (1.0 - (value / ceiling).clamp(0.0, 1.0)));
    html! {
        figure.chart data-chart=(address) {
            figcaption {
                span.title { (title) }
                span.legend {
                    @for series in &data.series {
                        span.key {
                            svg.swatch viewBox="0 0 10 10" width="10" height="10" aria-hidden="true" { rect class={ "fill-" (series.tone) } width="10" height="10" rx="2" {} }
                            @if series.name != title { (series.name) }
                            @if let Some(last) = series.values.iter().rev().find_map(|value| *value) { " " b.num { (written(last, data.unit)) } }
                        }
                    }
                }
            }
            div.canvas {
                @if data.series.iter().all(|series| series.values.iter().all(Option::is_none)) {
                    p.nothing { "Nothing was counted in the last hour." }
                } @else {
                    svg.plot viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label={ (title) ", the last hour; highest " (written(largest, data.unit)) } {
                        @for share in [0.0, 0.5, 1.0] {
                            @let (_, y) = point(0, ceiling * share);
                            path.grid d={ "M" (LEFT) " " (format!("{y:.1}")) "H" (WIDTH - 8.0) } {}
                            text.tick x=(LEFT - 6.0) y=(format!("{:.1}", y + 4.0)) text-anchor="end" { (written(ceiling * share, data.unit)) }
                        }
                        @for (x, label) in hours(data, steps, across) {
                            text.tick x=(format!("{x:.1}")) y=(HEIGHT - 6.0) text-anchor="middle" { (label) }
                        }
                        @for (series, spans) in data.series.iter().zip(&spans) {
                            @let tops: Vec<Option<f64>> = spans.iter().map(|span| span.map(|(_, top)| top)).collect();
                            @if data.stacked { path class={ "stack fill-" (series.tone) } d=(bands(spans, point)) {} }
                            path class={ "line stroke-" (series.tone) } d=(paths(&runs(&tops, point))) {}
                        }
                    }
                }
            }
        }
    }
}

/// Places of round times on the horizontal axis.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "steps are whole milliseconds")]
fn hours(data: &Data, steps: usize, across: f64) -> Vec<(f64, String)> {
    const QUARTER: u64 = 15 * 60 * 1_000;
    let step = (data.step * 1e3).max(1.0) as u64;
    let end = data.start.0.saturating_add(step.saturating_mul(steps as u64));
    let first = data.start.0.div_ceil(QUARTER);
    let moments = (first..first.saturating_add(8))
        .map(|quarter| quarter.saturating_mul(QUARTER))
        .take_while(|moment| *moment <= end);
    moments
        .map(|moment| {
            let place = (moment - data.start.0) as f64 / step as f64;
            (LEFT + place * across, units::clock(Time(moment)).get(..5).unwrap_or_default().to_owned())
        })
        .filter(|(x, _)| (LEFT + 14.0..WIDTH - 20.0).contains(x))
        .collect()
}

/// The next round number, whose half is round, too; of bytes, a power of two.
fn nice(largest: f64, unit: Unit) -> f64 {
    if !largest.is_finite() || largest <= 0.0 {
        return 1.0;
    }
    match unit {
        Unit::Bytes | Unit::BytesPerSecond => largest.log2().ceil().exp2(),
        Unit::Share => {
            if largest <= 1.0 {
                nice(largest, Unit::Number).min(1.0)
            } else {
                largest
            }
        }
        _ => {
            let power = 10_f64.powf(largest.log10().floor());
            let steps = [1.0, 1.2, 1.6, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0].map(|step| step * power);
            steps.into_iter().find(|step| *step >= largest * 0.999).unwrap_or(largest)
        }
    }
}

/// Points of each run without a gap. A value alone is a run of its own.
fn runs(values: &[Option<f64>], point: impl Fn(usize, f64) -> (f64, f64)) -> Vec<Vec<(f64, f64)>> {
    let mut runs: Vec<Vec<(f64, f64)>> = Vec::new();
    let mut open = false;
    for (place, value) in values.iter().enumerate() {
        let Some(value) = value.filter(|value| value.is_finite()) else {
            open = false;
            continue;
        };
        if !open {
            runs.push(Vec::new());
            open = true;
        }
        if let Some(run) = runs.last_mut() {
            run.push(point(place, value));
        }
    }
    runs
}

fn paths(runs: &[Vec<(f64, f64)>]) -> String {
    let mut path = String::new();
    for run in runs {
        for (place, (x, y)) in run.iter().enumerate() {
            path.push_str(&format!("{}{x:.1} {y:.1}", if place == 0 { "M" } else { "L" }));
        }
        // A point alone would not be seen.
        if let [(x, y)] = run.as_slice() {
            path.push_str(&format!("M{:.1} {y:.1}H{:.1}", x - 0.8, x + 0.8));
        }
    }
    path
}

/// From a line down to the bottom.
fn areas(runs: &[Vec<(f64, f64)>], bottom: f64) -> String {
    let mut path = String::new();
    for run in runs {
        let (Some((first, _)), Some((last, _))) = (run.first(), run.last()) else { continue };
        path.push_str(&format!("M{first:.1} {bottom:.1}"));
        for (x, y) in run {
            path.push_str(&format!("L{x:.1} {y:.1}"));
        }
        path.push_str(&format!("L{last:.1} {bottom:.1}Z"));
    }
    path
}

/// From a line down to the one below.
fn bands(spans: &[Option<(f64, f64)>], point: impl Fn(usize, f64) -> (f64, f64) + Copy) -> String {
    let tops: Vec<Option<f64>> = spans.iter().map(|span| span.map(|(_, top)| top)).collect();
    let floors: Vec<Option<f64>> = spans.iter().map(|span| span.map(|(floor, _)| floor)).collect();
    let mut path = String::new();
    for (top, floor) in runs(&tops, point).iter().zip(runs(&floors, point)) {
        for (place, (x, y)) in top.iter().chain(floor.iter().rev()).enumerate() {
            path.push_str(&format!("{}{x:.1} {y:.1}", if place == 0 { "M" } else { "L" }));
        }
        path.push('Z');
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_parts_a_line() {
        let values = [Some(1.0), Some(2.0), None, Some(f64::NAN), Some(3.0)];
        let runs = runs(&values, |place, value| (place as f64, value));
        assert_eq!(runs, [vec![(0.0, 1.0), (1.0, 2.0)], vec![(4.0, 3.0)]]);
        assert_eq!(paths(&runs), "M0.0 1.0L1.0 2.0M4.0 3.0M3.2 3.0H4.8");
    }

    #[test]
    fn axes_end_at_round_numbers() {
        assert_eq!(
            [0.0, 0.7, 1.0, 13.0, 210.0, f64::NAN].map(|value| nice(value, Unit::Number)),
            [1.0, 0.8, 1.0, 16.0, 250.0, 1.0]
        );
        assert_eq!(nice(3_000.0, Unit::Bytes), 4_096.0);
        assert_eq!(nice(0.93, Unit::Share), 1.0);
    }

    #[test]
    fn a_stack_adds_up() {
        let one = |values: &[Option<f64>]| series("s", "c1", values.to_vec());
        let data = Data {
            start: Time(0),
            step: 5.0,
            unit: Unit::Number,
            stacked: true,
            series: vec![one(&[Some(1.0), None]), one(&[Some(2.0), Some(5.0)])],
        };
        assert_eq!(data.spans(), [vec![Some((0.0, 1.0)), None], vec![Some((1.0, 3.0)), Some((0.0, 5.0))]]);
    }
}
