//! One filter: what runs, how it does, what went wrong, and what can be done.

mod actions;
mod troubles;

use maud::{Markup, html};

use super::{Context, Page, Region, Section, filters, widget};
use crate::admin::dashboard::{
    link,
    model::{Callout, Canary, FilterPage, MetricRow, Tally, Version, VersionRole},
    units,
};

pub(super) fn page(context: &Context<'_>, name: &str) -> Option<Page> {
    let filter = context.source.filter(name)?;
    let summary = &filter.summary;
    let regions = vec![
        Region { id: "facts-of-filter", html: facts(context, &filter) },
        Region { id: "versions", html: versions(context, &filter) },
        Region {
            id: "canary",
            html: filter.canary.as_ref().map_or_else(Markup::default, |canary| trial(context, name, canary)),
        },
        Region { id: "change", html: actions::actions(context, &filter) },
        Region { id: "traps", html: troubles::traps(context, &filter) },
        Region { id: "refusals", html: troubles::refusals(context, &filter) },
        Region { id: "callouts", html: callouts(&filter.callouts) },
        Region { id: "metrics", html: metrics(&filter) },
        Region { id: "configuration", html: configuration(&filter) },
    ];
    let tools = filters::tabs(name, summary.panels > 0, false);
    Some(Page { title: format!("Filter {name}"), section: Section::Filters, tools: Some(tools), regions, live: true })
}

fn facts(context: &Context<'_>, filter: &FilterPage) -> Markup {
    let summary = &filter.summary;
    let words = |words: &[String]| if words.is_empty() { units::UNKNOWN.to_owned() } else { words.join(", ") };
    html! {
        p.lead {
            (filters::state(summary)) " " span.code { (summary.module) } " · " (widget::provenance(&summary.provenance, context.now))
        }
        dl.pairs {
            dt { "Listeners" } dd {
                @if summary.listeners.is_empty() { (units::UNKNOWN) }
                @for (place, listener) in summary.listeners.iter().enumerate() {
                    @if place > 0 { ", " }
                    a href=(link::service(crate::admin::dashboard::model::ServiceKind::Listener, listener)) { (listener) }
                }
            }
            dt { "ABI" } dd { (filter.abi) }
            dt { "Callbacks" } dd { (words(&filter.callbacks)) }
            dt { "May use" } dd { (words(&filter.grants)) }
            dt { "On failure" } dd { (filter.on_failure) }
            dt { "Isolation" } dd { (filter.isolation) }
        }
    }
}

fn versions(context: &Context<'_>, filter: &FilterPage) -> Markup {
    let content = html! {
        caption.hidden { "Versions with streams" }
        thead { tr {
            th scope="col" { "Version" } th scope="col" { "Role" } th scope="col" { "New streams" }
            th.num scope="col" { "Streams" } th.num scope="col" { "Failed" }
            th.num scope="col" { "CPU p50" } th.num scope="col" { "p90" } th.num scope="col" { "p99" } th scope="col" { "of limit" }
            th.num scope="col" { "Instances" } th scope="col" { "Memory each" } th.num scope="col" { "Traps" }
            th.num scope="col" { "Generation" } th.num scope="col" { "Age" } th scope="col" { "SHA-256" }
        } }
        tbody { @for version in &filter.versions { (version_row(context, version)) } }
    };
    html! {
        h2 { "Versions" }
        @if filter.versions.is_empty() { (widget::nothing("No version has streams.")) } @else { (widget::table("Versions", "dense", &content)) }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share is an estimate")]
fn version_row(context: &Context<'_>, version: &Version) -> Markup {
    let (tone, role) = match version.role {
        VersionRole::Stable => ("ok", "stable"),
        VersionRole::Canary => ("info", "canary"),
        VersionRole::Old => ("drain", "ending"),
    };
    let each = match (version.memory, version.instances) {
        (Some(memory), Some(instances)) if instances > 0 => Some(memory / instances),
        _ => None,
    };
    let full = each.zip(version.memory_limit).map(|(used, limit)| used as f64 / limit.max(1) as f64);
    let late = version.cpu.zip(version.cpu_limit).map(|([.., p99], limit)| p99 / limit.max(f64::MIN_POSITIVE));
    let loud = |share: Option<f64>| if share.is_some_and(|share| share > 0.8) { "bad" } else { "rate" };
    let [p50, p90, p99] = version.cpu.map_or([None; 3], |cpu| cpu.map(Some));
    html! {
        tr {
            th scope="row" { (if version.version.is_empty() { units::UNKNOWN } else { &version.version }) }
            td { (widget::state(tone, role)) }
            td { (widget::bar(Some(version.share), "rate")) " " span.num { (units::exact_share(version.share)) } }
            td.num { (units::rate(version.rate)) }
            td.num { (widget::errors(version.errors)) }
            td.num { (units::duration(p50)) } td.num { (units::duration(p90)) } td.num { (units::duration(p99)) }
            td title={ "p99 of a limit of " (units::duration(version.cpu_limit)) } { (widget::bar(late, loud(late))) " " span.num { (units::share(late)) } }
            td.num { (units::count_or_unknown(version.instances)) }
            td title={ "of a limit of " (units::bytes(version.memory_limit)) } { (widget::bar(full, loud(full))) " " span.num { (units::bytes(each)) } }
            td.num { (widget::trouble(version.traps)) }
            td.num { (version.generation) }
            td.num { (widget::short_age(version.since, context.now)) }
            td.code title=(version.sha256) { (version.sha256.chars().take(8).collect::<String>()) }
        }
    }
}

fn trial(context: &Context<'_>, name: &str, canary: &Canary) -> Markup {
    let seen = canary.canary.streams as f64 / canary.min_streams.max(1) as f64;
    let tally = |label: &str, tally: &Tally| {
        let share = |part: u64| (tally.streams > 0).then(|| part as f64 / tally.streams as f64);
        html! {
            tr {
                th scope="row" { (label) }
                td.num { (units::count(tally.streams)) }
                td.num { (units::count(tally.errors)) } td.num { (widget::errors(share(tally.errors))) }
                td.num { (units::count(tally.failed)) } td.num { (widget::errors(share(tally.failed))) }
                td.num { (units::duration(tally.typical)) }
            }
        }
    };
    let content = html! {
        caption.hidden { "Canary against stable" }
        thead { tr {
            th scope="col" { span.hidden { "Version" } } th.num scope="col" { "Streams" }
            th.num scope="col" { "Errors" } th.num scope="col" { "Share" } th.num scope="col" { "Failed" } th.num scope="col" { "Share" } th.num scope="col" { "Typical time" }
        } }
        tbody { (tally("canary", &canary.canary)) (tally("stable", &canary.stable)) }
    };
    let named = || name.to_owned();
    html! {
        div.head {
            h2 { "Canary " (canary.version) " on " (units::exact_share(canary.share)) }
            (widget::button(context, &crate::admin::dashboard::action::Action::Promote { filter: named() }, "Promote", "primary"))
            (widget::button(context, &crate::admin::dashboard::action::Action::Abort { filter: named() }, "Abort", ""))
        }
        p.lead {
            @if seen < 1.0 {
                "Judged after " (units::count(canary.min_streams)) " streams: " (widget::bar(Some(seen), "rate")) " " span.num { (units::count(canary.canary.streams)) }
            } @else { "Judged since it has had " (units::count(canary.min_streams)) " streams" }
            @if let Some(since) = canary.since { "; began " (widget::ago(since, context.now)) }
            @if !canary.rollback_on.is_empty() { ". Taken back by itself when " (canary.rollback_on.join(", or ")) "." }
        }
        (widget::table("Canary", "dense fit", &content))
    }
}

fn callouts(callouts: &[Callout]) -> Markup {
    let content = html! {
        caption.hidden { "Callouts by cluster" }
        thead { tr {
            th scope="col" { "Cluster" } th.num scope="col" { "Rate" } th.num scope="col" { "Calls" } th.num scope="col" { "Failed" }
            th.num scope="col" { "p50" } th.num scope="col" { "p99" }
        } }
        tbody {
            @for callout in callouts {
                tr data-key=(callout.cluster) {
                    th scope="row" { a href=(link::service(crate::admin::dashboard::model::ServiceKind::Cluster, &callout.cluster)) { (callout.cluster) } }
                    td.num { (units::rate(callout.rate)) } td.num { (units::count(callout.calls)) } td.num { (widget::trouble(Some(callout.failed))) }
                    td.num { (units::duration(callout.p50)) } td.num { (units::duration(callout.p99)) }
                }
            }
        }
    };
    html! {
        h2 { "Callouts" }
        @if callouts.is_empty() { (widget::nothing("It calls no cluster.")) } @else { (widget::table("Callouts", "dense fit", &content)) }
    }
}

fn metrics(filter: &FilterPage) -> Markup {
    let content = html! {
        caption.hidden { "Metrics that the filter defines" }
        thead { tr {
            th scope="col" { "Metric" } th scope="col" { "Kind" } th scope="col" { "Labels" } th.num scope="col" { "Value" }
            th.num scope="col" { "Rate" } th.num scope="col" { "p50" } th.num scope="col" { "p99" }
        } }
        tbody { @for metric in &filter.metrics { (metric_row(metric)) } }
    };
    html! {
        h2 { "Metrics" }
        @if filter.metrics.is_empty() { (widget::nothing("It defines no metric.")) } @else { (widget::table("Metrics", "dense fit", &content)) }
        @if filter.metrics_left_out > 0 { p.muted { "and " (filter.metrics_left_out) " more series; /metrics has them all" } }
    }
}

fn metric_row(metric: &MetricRow) -> Markup {
    let (p50, p99) = metric.quantiles.unzip();
    let quantile = |value: Option<f64>| value.map_or_else(|| units::UNKNOWN.to_owned(), units::number);
    html! {
        tr {
            th.code scope="row" { (metric.name) }
            td { (metric.kind.word()) }
            td.code { @for (name, value) in &metric.labels { span.label { (name) "=" b { (value) } } " " } }
            td.num { (units::number(metric.value)) }
            td.num { (units::rate(metric.rate)) }
            td.num { (quantile(p50)) } td.num { (quantile(p99)) }
        }
    }
}

fn configuration(filter: &FilterPage) -> Markup {
    html! {
        details #configuration-text {
            summary { h2 { "Configuration" } }
            pre.report tabindex="0" { (filter.configuration) }
        }
    }
}
