//! The live tap: requests as they end.

use maud::{Markup, html};

use super::{Context, Page, Region, Section, widget};
use crate::admin::dashboard::{
    link,
    model::{ServiceKind, Tap, TapEntry, TapFilter, TapFilterError},
    units,
};

/// Requests that are shown.
const MOST: usize = 100;

pub(super) fn page(context: &Context<'_>) -> Page {
    let value = |key| context.query.value(key);
    let filter = TapFilter::read(value("listener"), value("path"), value("status"), value("header"), value("latency"));
    let listeners = context.source.listeners();
    let regions = vec![
        Region { id: "which", html: form(context, &listeners, filter.as_ref().err()) },
        Region {
            id: "requests",
            html: match filter.as_ref() {
                Err(_) => Markup::default(),
                // As at `/v1/tap`: it shows what users send.
                Ok(_) if context.viewer.csrf.is_none() => html! {
                    h2.hidden { "Requests" }
                    p.lead role="status" { a href={ (link::page("sign-in")) "?to=" (link::escaped(&link::page("tap"))) } { "Sign in" } " to see requests: they show what users send." }
                },
                Ok(filter) => requests(&context.source.tap(filter, MOST)),
            },
        },
    ];
    Page { title: "Live tap".to_owned(), section: Section::Tap, tools: None, regions, live: filter.is_ok() }
}

fn form(context: &Context<'_>, listeners: &[String], error: Option<&TapFilterError>) -> Markup {
    let value = |key: &str| context.query.value(key);
    let field = |name: &'static str, label: &str, hint: &str, bad: bool| {
        html! {
            label { span { (label) }
                input name=(name) type="text" maxlength="256" autocomplete="off" spellcheck="false" placeholder=(hint) value=(value(name))
                    aria-invalid=[bad.then_some("true")] aria-describedby=[bad.then_some("tap-error")];
            }
        }
    };
    html! {
        h2.hidden { "Which requests" }
        form.question action=(link::page("tap")) data-soft="" {
            div.row {
                label { span { "Listener" }
                    select name="listener" {
                        option value="" { "all" }
                        @for listener in listeners { option value=(listener) selected[listener == value("listener")] { (listener) } }
                    }
                }
                (field("path", "Path begins with", "/users", false))
                (field("status", "Status", "5xx or 503", error == Some(&TapFilterError::Status)))
                (field("header", "Request header", "x-team: blue", false))
                (field("latency", "At least", "250ms", error == Some(&TapFilterError::Latency)))
                button.primary type="submit" { "Show" }
                button.scripted #pause type="button" hidden aria-keyshortcuts="p" { "Pause" }
            }
        }
        @if let Some(error) = error { p.error #tap-error role="alert" { (widget::state("bad", "Cannot filter")) " " (error.text()) } }
    }
}

fn requests(tap: &Tap) -> Markup {
    let content = html! {
        caption.hidden { "Requests, newest first" }
        thead { tr {
            th scope="col" { "Ended" } th.num scope="col" { "Status" } th scope="col" { "Method" } th scope="col" { "Path" } th.num scope="col" { "Took" }
            th scope="col" { "Listener" } th scope="col" { "Route" } th scope="col" { "Cluster" } th scope="col" { "Endpoint" } th scope="col" { "Client" }
            th.num scope="col" { "In" } th.num scope="col" { "Out" }
        } }
        tbody { @for entry in &tap.entries { (row(entry)) } }
    };
    if let Some(why) = &tap.unavailable {
        return html! { h2.hidden { "Requests" } p.lead role="status" { (why) } };
    }
    html! {
        h2.hidden { "Requests" }
        p.muted.tally {
            (units::rate(tap.seen)) " fit"
            @if tap.dropped > 0 { " · " (units::count(tap.dropped)) " more fitted in the last minute; there are too many to show them all" }
        }
        @if tap.entries.is_empty() { (widget::nothing("No request has fitted yet.")) } @else { (widget::table("Requests", "dense tap", &content)) }
    }
}

fn row(entry: &TapEntry) -> Markup {
    let tone = match entry.status {
        0 | 500.. => "bad",
        400..500 => "warn",
        _ => "ok",
    };
    html! {
        tr data-key=(entry.id) {
            td { (widget::clock(entry.at)) }
            td.num { (widget::state(tone, &if entry.status == 0 { "none".to_owned() } else { entry.status.to_string() })) }
            td { (entry.method) }
            th.path scope="row" {
                details id={ "tap-" (entry.id) } {
                    summary { (entry.path) @if !entry.details.is_empty() && entry.details != "via_upstream" { span.reason { (entry.details) } } }
                    dl.headers {
                        dt { "authority" } dd { (entry.authority) }
                        dt { "details" } dd { (entry.details) }
                        @for (name, value) in &entry.headers { dt { (name) } dd { (value) } }
                    }
                }
            }
            td.num { (units::duration(Some(entry.duration))) }
            td { (entry.listener) }
            td { (entry.route) }
            td { @if !entry.cluster.is_empty() { a.quiet href=(link::service(ServiceKind::Cluster, &entry.cluster)) { (entry.cluster) } } }
            td.code { (entry.endpoint) }
            td.code { (entry.client) }
            td.num { (units::bytes(Some(entry.received))) }
            td.num { (units::bytes(Some(entry.sent))) }
        }
    }
}
