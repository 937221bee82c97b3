//! Charts that a filter's author has declared. Nothing here knows any filter.

use maud::{Markup, html};

use super::{
    Context, Page, Region, Section,
    chart::{self, Data},
    filters, widget,
};
use crate::admin::dashboard::{
    link,
    model::{Chart, MetricKind, PANELS, Panel, PanelSeries, ROWS, SERIES, Unit},
    units,
};

pub(super) fn page(context: &Context<'_>, name: &str) -> Option<Page> {
    let page = context.source.panels(name)?;
    // What has counted nothing comes last, where it is in nobody's way. Charts are found by their place in the manifest.
    let mut shown: Vec<(usize, Panel)> = page.panels.into_iter().take(PANELS).enumerate().collect();
    shown.sort_by_cached_key(|(_, panel)| is_empty(panel));
    let html = html! {
        h2.hidden { "Panels" }
        @if shown.is_empty() { (widget::nothing("None of the metrics that its panels show has been defined yet.")) }
        div.panels {
            @for (place, panel) in shown { (draw(name, place, panel)) }
        }
    };
    let tools = filters::tabs(name, true, true);
    let regions = vec![
        Region {
            id: "hint",
            html: html! { p.lead { "Declared in the manifest of " a href=(link::filter(name)) { (name) } ". " span.muted { "Now, and the last hour, as this filter counts." } } },
        },
        Region { id: "panels", html },
    ];
    Some(Page { title: format!("Filter {name}"), section: Section::Filters, tools: Some(tools), regions, live: true })
}

fn draw(filter: &str, place: usize, mut panel: Panel) -> Markup {
    let (chart, title) = (panel.chart, panel.title.clone());
    panel.series.truncate(if matches!(chart, Chart::Line | Chart::Stacked) { SERIES } else { ROWS });
    let foot = foot(&panel);
    let is_empty = is_empty(&panel);
    let is_wide = matches!(chart, Chart::Line | Chart::Stacked | Chart::Table) && !is_empty;
    html! {
        article.panel.wide[is_wide] data-key=(place) {
            @match chart {
                _ if is_empty => { h3 { (title) } (widget::nothing("Nothing has been counted yet.")) },
                Chart::Line | Chart::Stacked => {
                    (chart::large(&title, &Data::panel(panel), &format!("{}/data/panels/{}/{place}", link::BASE, link::escaped(filter))))
                },
                Chart::Bar => { h3 { (title) } (bars(&panel)) },
                Chart::Top => { h3 { (title) } (top(&panel)) },
                Chart::Table => { h3 { (title) } (table(&panel)) },
                Chart::Number => { h3 { (title) } (numbers(&panel)) },
            }
            (foot)
        }
    }
}

/// Whether nothing has been counted yet; what a gauge shows is something even where it is zero.
fn is_empty(panel: &Panel) -> bool {
    let is_nothing = |value: Option<f64>| value.is_none_or(|value| value == 0.0);
    let has_nothing = |series: &PanelSeries| {
        is_nothing(series.total) && is_nothing(series.now) && series.values.iter().all(|value| is_nothing(*value))
    };
    panel.series.is_empty() || (panel.kind != MetricKind::Gauge && panel.series.iter().all(has_nothing))
}

/// What it is that is shown.
fn foot(panel: &Panel) -> Markup {
    let is_listed = !matches!(panel.chart, Chart::Line | Chart::Stacked);
    html! {
        p.source {
            @if !panel.description.is_empty() { (panel.description) " " }
            @if is_listed && panel.left_out > 0 { span { "and " (units::count(panel.left_out as u64)) " more " } }
            span.code.muted {
                @if panel.kind == MetricKind::Histogram && panel.chart != Chart::Table { "p" (panel.percentile) " of " }
                (panel.metric)
                @if !panel.only.is_empty() { "{" (panel.only.join(", ")) "}" }
                @if !panel.labels.is_empty() { " by " (panel.labels.join(", ")) }
            }
        }
    }
}

fn now(value: Option<f64>, unit: Unit) -> String {
    value
        .filter(|value| value.is_finite())
        .map_or_else(|| units::UNKNOWN.to_owned(), |value| chart::written(value, unit))
}

fn name(series: &PanelSeries) -> &str {
    if series.name.is_empty() { "all" } else { &series.name }
}

/// A bar as long as its share of the largest.
fn bar(value: Option<f64>, largest: f64, tone: &str) -> Markup {
    let share = value.filter(|value| value.is_finite() && largest > 0.0).map_or(0.0, |value| value / largest);
    let width = format!("{:.1}", share.clamp(0.0, 1.0) * 200.0);
    html! {
        svg viewBox="0 0 200 12" width="100%" height="12" preserveAspectRatio="none" aria-hidden="true" {
            rect class={ "fill-" (tone) } width=(width) height="12" rx="2" {}
        }
    }
}

fn largest(panel: &Panel) -> f64 {
    panel.series.iter().filter_map(|series| series.now).filter(|now| now.is_finite()).fold(0.0, f64::max)
}

fn bars(panel: &Panel) -> Markup {
    let largest = largest(panel);
    html! {
        table.bars {
            caption.hidden { (panel.title) ", now" }
            tbody {
                @for (place, series) in panel.series.iter().enumerate() {
                    tr data-key=(series.name) {
                        th scope="row" title=(name(series)) { (name(series)) }
                        td { (bar(series.now, largest, &format!("c{}", place % SERIES + 1))) }
                        td.num { (now(series.now, panel.unit)) }
                    }
                }
            }
        }
    }
}

/// The largest first, with what each has of all.
fn top(panel: &Panel) -> Markup {
    let largest = largest(panel);
    let share = |value: Option<f64>| match (value, panel.sum) {
        (Some(value), Some(sum)) if sum > 0.0 => units::share(Some(value / sum)),
        _ => units::UNKNOWN.to_owned(),
    };
    html! {
        table.bars.ranked {
            caption.hidden { (panel.title) ", the largest first" }
            thead.hidden { tr { th scope="col" { "Series" } th scope="col" { "Bar" } th scope="col" { "Now" } th scope="col" { "Share" } } }
            tbody {
                @for series in &panel.series {
                    tr data-key=(series.name) {
                        th scope="row" title=(name(series)) { (name(series)) }
                        td { (bar(series.now, largest, "c1")) }
                        td.num { (now(series.now, panel.unit)) }
                        td.num.muted { (share(series.now)) }
                    }
                }
            }
        }
    }
}

/// All that is known.
fn table(panel: &Panel) -> Markup {
    let is_histogram = panel.kind == MetricKind::Histogram;
    let quantile = |series: &PanelSeries, place: usize| {
        now(series.quantiles.and_then(|each| each.get(place).copied()), panel.unit)
    };
    let content = html! {
        caption.hidden { (panel.title) }
        thead { tr {
            @for label in &panel.labels { th scope="col" { (label) } }
            @if panel.labels.is_empty() { th scope="col" { "Series" } }
            th.num scope="col" { @if is_histogram { "p" (panel.percentile) " now" } @else { "Now" } }
            @if is_histogram { th.num scope="col" { "p50" } th.num scope="col" { "p90" } th.num scope="col" { "p99" } }
            @if panel.kind != MetricKind::Gauge { th.num scope="col" { "Total" } }
            th scope="col" { "Last hour" }
        } }
        tbody {
            @for series in &panel.series {
                tr data-key=(series.name) {
                    @if panel.labels.is_empty() || series.labels.len() != panel.labels.len() {
                        th scope="row" colspan=(panel.labels.len().max(1)) { (name(series)) }
                    } @else {
                        @for (place, value) in series.labels.iter().enumerate() {
                            @if place == 0 { th scope="row" { (value) } } @else { td { (value) } }
                        }
                    }
                    td.num { b { (now(series.now, panel.unit)) } }
                    @if is_histogram { @for place in 0..3 { td.num { (quantile(series, place)) } } }
                    @if panel.kind != MetricKind::Gauge { td.num { (series.total.map_or_else(|| units::UNKNOWN.to_owned(), units::number)) } }
                    td { (chart::spark(&series.values, 0.0, "rate", &format!("{}, the last hour", name(series)))) }
                }
            }
        }
    };
    widget::table(&panel.title, "dense", &content)
}

fn numbers(panel: &Panel) -> Markup {
    html! {
        @for series in &panel.series {
            div.big {
                b { (now(series.now, panel.unit)) }
                @if !series.name.is_empty() { span.muted { (series.name) } }
                (chart::spark(&series.values, 0.0, "rate", &format!("{} {}, the last hour", panel.title, series.name)))
            }
        }
    }
}
