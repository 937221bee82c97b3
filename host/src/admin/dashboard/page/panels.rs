//! Charts that a filter's author has declared. Nothing here knows any filter.

use maud::{Markup, html};

use super::{
    Context, Page, Region, Section,
    chart::{self, Data},
    filters, widget,
};
use crate::admin::dashboard::{
    link,
    model::{Chart, Panel, Unit},
    units,
};

pub(super) fn page(context: &Context<'_>, name: &str) -> Option<Page> {
    let page = context.source.panels(name)?;
    let shown = page.panels.into_iter().take(crate::admin::dashboard::model::PANELS).enumerate();
    let html = html! {
        h2.hidden { "Panels" }
        div.panels {
            @for (place, panel) in shown { (draw(name, place, panel)) }
        }
    };
    let tools = filters::tabs(name, true, true);
    let regions = vec![
        Region {
            id: "hint",
            html: html! { p.lead { "Declared in the manifest of " a href=(link::filter(name)) { (name) } ". " span.muted { "The last hour, as this filter counts." } } },
        },
        Region { id: "panels", html },
    ];
    Some(Page { title: format!("Filter {name}"), section: Section::Filters, tools: Some(tools), regions, live: true })
}

fn draw(filter: &str, place: usize, mut panel: Panel) -> Markup {
    panel.series.truncate(crate::admin::dashboard::model::SERIES);
    let declaration = panel.declaration.clone();
    let foot = html! {
        p.source {
            @if !declaration.help.is_empty() { (declaration.help) " " }
            span.code.muted { (declaration.metric) @if !declaration.labels.is_empty() { " by " (declaration.labels.join(", ")) } }
        }
    };
    html! {
        article.panel.wide[matches!(declaration.chart, Chart::Line | Chart::Stacked)] data-key=(place) {
            @match declaration.chart {
                _ if panel.series.is_empty() => { h3 { (declaration.title) } (widget::nothing("Nothing has been counted yet.")) },
                Chart::Line | Chart::Stacked => {
                    (chart::large(&declaration.title, &Data::panel(panel), &format!("{}/data/panels/{}/{place}", link::BASE, link::escaped(filter))))
                },
                Chart::Bars => { h3 { (declaration.title) } (bars(&panel)) },
                Chart::Number => { h3 { (declaration.title) } (numbers(&panel)) },
            }
            (foot)
        }
    }
}

fn now(value: Option<f64>, unit: Unit) -> String {
    value.map_or_else(|| units::UNKNOWN.to_owned(), |value| chart::written(value, unit))
}

fn bars(panel: &Panel) -> Markup {
    let unit = panel.declaration.unit;
    let largest = panel.series.iter().filter_map(|series| series.now).filter(|now| now.is_finite()).fold(0.0, f64::max);
    let width = |value: Option<f64>| {
        let share = value.filter(|value| value.is_finite() && largest > 0.0).map_or(0.0, |value| value / largest);
        format!("{:.1}", share.clamp(0.0, 1.0) * 200.0)
    };
    html! {
        table.bars {
            caption.hidden { (panel.declaration.title) ", now" }
            tbody {
                @for (place, series) in panel.series.iter().enumerate() {
                    tr data-key=(series.name) {
                        th scope="row" { (if series.name.is_empty() { "all" } else { &series.name }) }
                        td {
                            svg viewBox="0 0 200 12" width="100%" height="12" preserveAspectRatio="none" aria-hidden="true" {
                                rect class={ "fill-c" (place + 1) } width=(width(series.now)) height="12" rx="2" {}
                            }
                        }
                        td.num { (now(series.now, unit)) }
                    }
                }
            }
        }
    }
}

fn numbers(panel: &Panel) -> Markup {
    let unit = panel.declaration.unit;
    html! {
        @for series in &panel.series {
            div.big {
                b { (now(series.now, unit)) }
                @if !series.name.is_empty() { span.muted { (series.name) } }
                (chart::spark(&series.values, 0.0, "rate", &format!("{} {}, the last hour", panel.declaration.title, series.name)))
            }
        }
    }
}
