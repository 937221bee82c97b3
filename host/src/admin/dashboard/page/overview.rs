//! The first page: rates, latencies and warnings at a glance.

use maud::{Markup, html};

use super::{
    Context, Page, Region, Section,
    chart::{self, Data},
    widget,
};
use crate::admin::dashboard::{
    action::Action,
    link,
    model::{DiffKind, Overview, Reload, ReloadOutcome, Service, ServiceKind, Severity, Trend, Warning},
    units,
};

/// Reloads that are shown.
const RELOADS: usize = 10;
/// Services that are shown; the rest is found by name.
const SERVICES: usize = 200;
const WARNINGS: usize = 50;

pub(super) fn page(context: &Context<'_>) -> Page {
    let mut overview = context.source.overview();
    let regions = vec![
        Region { id: "tiles", html: tiles(context, &overview) },
        Region { id: "warnings", html: warnings(context, &overview.warnings) },
        Region { id: "charts", html: charts(context.source.total(chart::POINTS)) },
        Region { id: "services", html: services(context, &mut overview) },
        Region { id: "reloads", html: reloads(context, &overview.reloads) },
    ];
    Page { title: "Overview".to_owned(), section: Section::Overview, tools: None, regions, live: true }
}

fn tiles(context: &Context<'_>, overview: &Overview) -> Markup {
    let process = context.source.process();
    let listeners = || overview.services.iter().filter(|service| service.kind == ServiceKind::Listener);
    let rate: Option<f64> = listeners().filter_map(|service| service.now.rate).reduce(|sum, rate| sum + rate);
    let requests: u64 = listeners().map(|service| service.hour.requests).sum();
    let good: f64 = listeners().filter_map(|service| Some(service.hour.success? * service.hour.requests as f64)).sum();
    let success = (requests > 0).then(|| good / requests as f64);
    let slowest = listeners().max_by(|one, two| one.now.p99.unwrap_or(0.0).total_cmp(&two.now.p99.unwrap_or(0.0)));
    let (up, all) = overview
        .services
        .iter()
        .filter_map(|service| service.endpoints)
        .fold((0, 0), |(up, all), (one, of)| (up + one, all + of));
    let used = |used: Option<u64>, limit: Option<u64>| match (used, limit) {
        (Some(used), Some(limit)) if limit > 0 => Some(used as f64 / limit as f64),
        _ => None,
    };
    let memory = used(process.memory, process.memory_limit);
    let connections = used(process.connections, process.connections_limit);
    let pressure = |share: Option<f64>| if share.is_some_and(|share| share > 0.9) { "bad" } else { "rate" };
    html! {
        h2.hidden { "At a glance" }
        dl.tiles {
            div { dt { "Requests" } dd { b { (units::rate(rate)) } span.sub { (units::count(requests)) " in the last hour" } } }
            div { dt { "Success, last hour" } dd { b { (widget::success(success)) } span.sub { (units::count((requests as f64 - good).round() as u64)) " failed" } } }
            @if let Some(slowest) = slowest {
                div { dt { "Latency p99, now" } dd { b { (units::duration(slowest.now.p99)) } span.sub { "p50 " (units::duration(slowest.now.p50)) " at " (slowest.name) } } }
            }
            div { dt { "Endpoints up" } dd { b.bad-text[up < all] { (up) "/" (all) } span.sub { a href=(link::page("endpoints?health=unhealthy")) { (all.saturating_sub(up)) " without traffic" } } } }
            div { dt { "Connections" } dd { b { (units::count_or_unknown(process.connections)) } span.sub { (widget::bar(connections, pressure(connections))) " of " (units::count_or_unknown(process.connections_limit)) } } }
            div { dt { "Memory" } dd { b { (units::bytes(process.memory)) } span.sub { @if process.memory_limit.is_some() { (widget::bar(memory, pressure(memory))) " of " (units::bytes(process.memory_limit)) } @else { "no limit is set" } } } }
        }
    }
}

fn warnings(context: &Context<'_>, warnings: &[Warning]) -> Markup {
    html! {
        @if warnings.is_empty() {
            p.calm { (widget::state("ok", "Nothing needs attention")) }
        } @else {
            h2 { "Needs attention " span.count { (warnings.len()) } }
            ul.warnings {
                @for warning in warnings.iter().take(WARNINGS) {
                    li.critical[warning.severity == Severity::Critical] {
                        (widget::severity(warning.severity))
                        span.what {
                            b { (widget::subject(&warning.subject)) } " " (warning.text)
                            @if let Some(help) = &warning.help { span.help { (help) } }
                        }
                        span.when { @if let Some(since) = warning.since { (widget::ago(since, context.now)) } }
                    }
                }
            }
            @if warnings.len() > WARNINGS { p.muted { "and " (warnings.len() - WARNINGS) " more" } }
        }
    }
}

fn charts(total: Trend) -> Markup {
    let address = |which| format!("{}/data/total?chart={which}", link::BASE);
    html! {
        h2.hidden { "The last hour" }
        div.charts {
            (chart::large("Requests, all listeners", &Data::traffic(total.clone()), &address("traffic")))
            (chart::large("Latency, all listeners", &Data::latency(total), &address("latency")))
        }
    }
}

fn services(context: &Context<'_>, overview: &mut Overview) -> Markup {
    let sort = widget::Sort::of(context.query);
    let services = &mut overview.services;
    match sort.key {
        "name" => sort.by_text(services, |service| service.name.clone()),
        "rate" => sort.by_number(services, |service| service.now.rate),
        "success" => sort.by_number(services, |service| service.hour.success),
        "p50" => sort.by_number(services, |service| service.hour.p50),
        "p90" => sort.by_number(services, |service| service.hour.p90),
        "p99" => sort.by_number(services, |service| service.hour.p99),
        "active" => sort.by_number(services, |service| service.active.map(|active| active as f64)),
        _ => {}
    }
    let path = link::page("");
    let head = |key, label, class| widget::head(context, &path, key, label, class);
    let of_kind = |kind| overview.services.iter().filter(move |service| service.kind == kind).take(SERVICES);
    let left_out = overview.services_left_out as usize + overview.services.len().saturating_sub(2 * SERVICES);
    let content = html! {
        caption.hidden { "Listeners and clusters, the last hour" }
        thead {
            tr {
                (head("name", "Service", ""))
                (head("rate", "Rate", "num"))
                th scope="col" { span.hidden { "Requests, " } "1 h" }
                (head("success", "Success, 1 h", "num"))
                th scope="col" { "Failed" }
                (head("p50", "p50", "num")) (head("p90", "p90", "num")) (head("p99", "p99", "num"))
                th scope="col" { span.hidden { "p99, " } "1 h" }
                (head("active", "In flight", "num"))
                th scope="col" { "Endpoints" }
                th scope="col" { "Defined" } th scope="col" { "Used" }
            }
        }
        @for (kind, label) in [(ServiceKind::Listener, "Listeners"), (ServiceKind::Cluster, "Clusters")] {
            tbody {
                tr.group { th colspan="13" scope="rowgroup" { (label) } }
                @for service in of_kind(kind) { (row(context, service)) }
            }
        }
    };
    html! {
        h2 { "Services" }
        (widget::table("Services", "dense", &content))
        @if left_out > 0 { p.muted { (left_out) " more services have no room here." } }
    }
}

fn row(context: &Context<'_>, service: &Service) -> Markup {
    let name = &service.name;
    let trend = &service.trend;
    // One in a hundred fills the height.
    let few = trend.rate.iter().flatten().copied().filter(|rate| rate.is_finite()).fold(0.0, f64::max) / 100.0;
    html! {
        tr {
            th scope="row" { a href=(link::service(service.kind, name)) { (name) } span.detail { (service.detail) } }
            td.num { (units::rate(service.now.rate)) }
            td { (chart::spark(&trend.rate, 0.0, "rate", &format!("requests of {name}, the last hour"))) }
            td.num { (widget::success(service.hour.success)) }
            td { (chart::spark(&trend.failures, few, "bad", &format!("failed requests of {name}, the last hour"))) }
            td.num { (units::duration(service.hour.p50)) }
            td.num { (units::duration(service.hour.p90)) }
            td.num { (units::duration(service.hour.p99)) }
            td { (chart::spark(&trend.p99, 0.0, "p99", &format!("99th percentile of {name}, the last hour"))) }
            td.num { (units::count_or_unknown(service.active)) }
            td {
                @match service.endpoints {
                    Some((up, all)) => {
                        a.quiet href={ (link::page("endpoints")) "?cluster=" (link::escaped(name)) } {
                            (widget::state(if up == all { "ok" } else if up == 0 { "bad" } else { "warn" }, &format!("{up}/{all}")))
                        }
                    },
                    None => {},
                }
            }
            td { (widget::origin(&service.provenance)) }
            td { (widget::short_used(&service.provenance, context.now)) }
        }
    }
}

fn reloads(context: &Context<'_>, reloads: &[Reload]) -> Markup {
    html! {
        div.head {
            h2 { "Reloads" }
            (widget::button(context, &Action::Reload, "Reload", "primary"))
            (widget::button(context, &Action::Rollback { to: None }, "Roll back", ""))
        }
        @if reloads.is_empty() { (widget::nothing("Nothing has been changed since the start.")) }
        ol.reloads {
            @for reload in reloads.iter().take(RELOADS) { li { (one_reload(context, reload)) } }
        }
    }
}

fn one_reload(context: &Context<'_>, reload: &Reload) -> Markup {
    let (tone, word) = match reload.outcome {
        ReloadOutcome::Applied => ("ok", "applied"),
        ReloadOutcome::Unchanged => ("none", "unchanged"),
        ReloadOutcome::Refused => ("bad", "refused"),
        ReloadOutcome::RolledBack => ("warn", "rolled back"),
        ReloadOutcome::Drains => ("drain", "drains"),
    };
    let more = !reload.diff.is_empty() || reload.error.is_some() || reload.changes.len() > 1;
    let line = html! {
        (widget::clock(reload.at))
        (widget::state(tone, word))
        span.num { @if let Some(generation) = reload.generation { "generation " (generation) } }
        span.what { (reload.what) span.muted { " by " (reload.who) } }
        span.changes {
            @match reload.changes.as_slice() {
                [] => {},
                [only] => { (only) },
                [first, rest @ ..] => { (first) " and " (rest.len()) " more" },
            }
        }
        span.when { (widget::ago(reload.at, context.now)) }
    };
    html! {
        @if more {
            details id={ "reload-" (reload.at.0) } {
                summary.reload { (line) }
                @if let Some(error) = &reload.error { pre.report tabindex="0" { (error) } }
                @if reload.changes.len() > 1 { ul { @for change in &reload.changes { li { (change) } } } }
                @if !reload.diff.is_empty() {
                    pre.diff tabindex="0" {
                        @for line in &reload.diff {
                            @match line.kind {
                                DiffKind::Added => { ins { "+ " (line.text) "\n" } },
                                DiffKind::Removed => { del { "- " (line.text) "\n" } },
                                DiffKind::Context => { "  " (line.text) "\n" },
                            }
                        }
                    }
                }
                @if let Some(generation) = reload.generation {
                    @if generation != context.source.process().generation {
                        (widget::button(context, &Action::Rollback { to: Some(generation) }, &format!("Roll back to generation {generation}"), ""))
                    }
                }
            }
        } @else {
            p.reload { (line) }
        }
    }
}
