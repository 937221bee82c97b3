//! All filters.

use maud::{Markup, html};

use super::{Context, Page, Region, Section, widget};
use crate::admin::dashboard::{link, model::FilterSummary, units};

/// Filters that are shown.
const MOST: usize = 500;

pub(super) fn page(context: &Context<'_>) -> Page {
    let text = context.query.value("q").to_lowercase();
    let mut filters = context.source.filters();
    let wanted = |filter: &FilterSummary| {
        [&filter.name, &filter.module, &filter.version].iter().any(|one| one.to_lowercase().contains(&text))
    };
    filters.retain(wanted);
    sort(context, &mut filters);
    let tools = html! {
        form.filter action=(link::page("filters")) data-soft="" {
            label { span.hidden { "Name, module or version" } input.narrow name="q" type="search" maxlength="200" data-filter="" placeholder="name, module, version" value=(context.query.value("q")); }
            @if !context.query.value("sort").is_empty() { input type="hidden" name="sort" value=(context.query.value("sort")); }
            button.unscripted type="submit" { "Filter" }
        }
    };
    let regions = vec![Region { id: "filters", html: table(context, &filters) }];
    Page { title: "Filters".to_owned(), section: Section::Filters, tools: Some(tools), regions, live: true }
}

#[expect(clippy::cast_precision_loss, reason = "to sort by")]
fn sort(context: &Context<'_>, filters: &mut [FilterSummary]) {
    let sort = widget::Sort::of(context.query);
    let whole = |number: Option<u64>| number.map(|number| number as f64);
    match sort.key {
        "name" => sort.by_text(filters, |filter| filter.name.clone()),
        "rate" => sort.by_number(filters, |filter| filter.rate),
        "errors" => sort.by_number(filters, |filter| filter.errors),
        "instances" => sort.by_number(filters, |filter| whole(filter.instances)),
        "memory" => sort.by_number(filters, |filter| whole(filter.memory)),
        "cpu" => sort.by_number(filters, |filter| filter.cpu_p99),
        "traps" => sort.by_number(filters, |filter| whole(filter.traps)),
        _ => {}
    }
}

fn table(context: &Context<'_>, filters: &[FilterSummary]) -> Markup {
    let path = link::page("filters");
    let head = |key, label, class| widget::head(context, &path, key, label, class);
    let content = html! {
        caption.hidden { "Filters" }
        thead { tr {
            (head("name", "Filter", "")) th scope="col" { "State" } th scope="col" { "Module" } th scope="col" { "Listeners" }
            (head("rate", "Streams", "num")) (head("errors", "Failed", "num")) (head("cpu", "CPU p99", "num"))
            (head("instances", "Instances", "num")) (head("memory", "Memory", "num")) (head("traps", "Traps", "num"))
            th scope="col" { "Panels" } th scope="col" { "Defined" } th scope="col" { "Used" }
        } }
        tbody { @for filter in filters.iter().take(MOST) { (row(context, filter)) } }
    };
    html! {
        h2.hidden { "All filters" }
        @if filters.is_empty() { (widget::nothing("No filter fits.")) } @else { (widget::table("Filters", "dense", &content)) }
    }
}

pub(super) fn state(filter: &FilterSummary) -> Markup {
    html! {
        @if filter.breaker_open {
            (widget::state("bad", "breaker open"))
        } @else if let Some(share) = filter.canary {
            (widget::state("info", &format!("canary {}", units::exact_share(share))))
        } @else {
            (widget::state("ok", "runs"))
        }
    }
}

fn row(context: &Context<'_>, filter: &FilterSummary) -> Markup {
    html! {
        tr data-key=(filter.name) {
            th scope="row" { a href=(link::filter(&filter.name)) { (filter.name) } span.detail { (filter.version) } }
            td { (state(filter)) }
            td.code.short title=(filter.module) { (filter.module) }
            td {
                @for (place, listener) in filter.listeners.iter().enumerate() {
                    @if place > 0 { ", " }
                    a.quiet href=(link::service(crate::admin::dashboard::model::ServiceKind::Listener, listener)) { (listener) }
                }
            }
            td.num { (units::rate(filter.rate)) }
            td.num { (widget::errors(filter.errors)) }
            td.num { (units::duration(filter.cpu_p99)) }
            td.num { (units::count_or_unknown(filter.instances)) }
            td.num { (units::bytes(filter.memory)) }
            td.num { (widget::trouble(filter.traps)) }
            td { @if filter.panels > 0 { a href=(link::panels(&filter.name)) aria-label={ (filter.panels) " panels of " (filter.name) } { (filter.panels) } } @else { span.muted { (units::UNKNOWN) } } }
            td { (widget::origin(&filter.provenance)) }
            td { (widget::short_used(&filter.provenance, context.now)) }
        }
    }
}

/// Links between the two pages of a filter.
pub(super) fn tabs(name: &str, has_panels: bool, on_panels: bool) -> Markup {
    html! {
        nav.tabs aria-label="Filter" {
            a href=(link::filter(name)) aria-current=[(!on_panels).then_some("page")] { "State" }
            @if has_panels || on_panels { a href=(link::panels(name)) aria-current=[on_panels.then_some("page")] { "Panels" } }
        }
    }
}
