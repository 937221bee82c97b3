//! The event tail, newest first.

use maud::{Markup, html};

use super::{Context, Page, Region, Section, widget};
use crate::admin::dashboard::{
    link,
    model::{Event, EventKind, Severity},
};

/// Events that are looked at.
const KEPT: usize = 1_000;
/// Events that are shown.
const MOST: usize = 200;

pub(super) fn page(context: &Context<'_>) -> Page {
    let query = context.query;
    let kind = EventKind::of_word(query.value("kind"));
    let least = match query.value("severity") {
        "critical" => Severity::Critical,
        "warning" => Severity::Warning,
        _ => Severity::Info,
    };
    let text = query.value("q").to_lowercase();
    let mentions = |event: &Event| {
        [event.text.as_str(), event.detail.as_str(), event.subject.name()]
            .iter()
            .any(|one| one.to_lowercase().contains(&text))
    };
    let mut events = context.source.events(KEPT);
    events.retain(|event| kind.is_none_or(|kind| event.kind == kind) && event.severity >= least && mentions(event));
    let regions = vec![Region { id: "events", html: list(context, &events) }];
    let tools = Some(filter(context, kind, least));
    Page { title: "Events".to_owned(), section: Section::Events, tools, regions, live: true }
}

fn filter(context: &Context<'_>, kind: Option<EventKind>, least: Severity) -> Markup {
    html! {
        form.filter action=(link::page("events")) data-soft="" {
            label { "Kind "
                select name="kind" {
                    option value="" { "all" }
                    @for one in EventKind::ALL { option value=(one.word()) selected[Some(one) == kind] { (one.word()) } }
                }
            }
            label { "At least "
                select name="severity" {
                    @for one in [Severity::Info, Severity::Warning, Severity::Critical] { option value=(one.word()) selected[one == least] { (one.word()) } }
                }
            }
            label { span.hidden { "Text" } input.narrow name="q" type="search" maxlength="200" data-filter="" placeholder="text" value=(context.query.value("q")); }
            button.unscripted type="submit" { "Filter" }
            button.scripted #pause type="button" hidden aria-keyshortcuts="p" { "Pause" }
        }
    }
}

fn list(context: &Context<'_>, events: &[Event]) -> Markup {
    html! {
        h2.hidden { "Events, newest first" }
        @if events.is_empty() { (widget::nothing("Nothing has happened that fits.")) }
        ol.events {
            @for event in events.iter().take(MOST) {
                li data-key=(event.id) {
                    (widget::clock(event.at))
                    (widget::severity(event.severity))
                    span.kind { (event.kind.word()) }
                    span.what {
                        b { (widget::subject(&event.subject)) } " " (event.text)
                        @if !event.detail.is_empty() { details id={ "event-" (event.id) } { summary { "more" } pre.report tabindex="0" { (event.detail) } } }
                    }
                    span.when { (widget::ago(event.at, context.now)) }
                }
            }
        }
        @if events.len() > MOST { p.muted { "and " (events.len() - MOST) " before" } }
    }
}
