//! What went wrong in a filter.

use maud::{Markup, html};

use super::{Context, widget};
use crate::admin::dashboard::{model::FilterPage, units};

const MOST: usize = 20;
const FRAMES: usize = 64;

pub(super) fn traps(context: &Context<'_>, filter: &FilterPage) -> Markup {
    html! {
        h2 { "Traps " @if let Some(traps) = filter.summary.traps.filter(|traps| *traps > 0) { span.count { (units::count(traps)) } } }
        @if filter.summary.traps.is_some_and(|traps| traps > 0) && filter.traps.is_empty() {
            (widget::nothing("The log says when, where and why."))
        } @else if filter.traps.is_empty() {
            (widget::nothing("It has not trapped."))
        }
        @if !filter.traps_by_reason.is_empty() {
            p.reasons { @for (reason, count) in &filter.traps_by_reason { span { (reason) " " b.num { (units::count(*count)) } } } }
        }
        @for trap in filter.traps.iter().take(MOST) {
            details.trap id={ "trap-" (trap.at.0) "-" (trap.worker.unwrap_or_default()) } {
                summary {
                    (widget::clock(trap.at)) (widget::state("bad", &trap.reason))
                    span.what { (trap.message) }
                    span.muted { (trap.phase) @if let Some(worker) = trap.worker { ", worker " (worker) } @if !trap.version.is_empty() { ", " (trap.version) } }
                    span.when { (widget::ago(trap.at, context.now)) }
                }
                @if trap.backtrace.is_empty() { (widget::nothing("The module has no names; there is no backtrace.")) }
                ol.backtrace {
                    @for frame in trap.backtrace.iter().take(FRAMES) {
                        li { span.code { (frame.function) } span.place { (frame.place) } }
                    }
                }
                @if trap.backtrace.len() > FRAMES { p.muted { "and " (trap.backtrace.len() - FRAMES) " outer frames" } }
            }
        }
    }
}

pub(super) fn refusals(context: &Context<'_>, filter: &FilterPage) -> Markup {
    html! {
        h2 { "Refused configurations " @if !filter.refusals.is_empty() { span.count { (filter.refusals.len()) } } }
        @if filter.refusals.is_empty() { (widget::nothing("It has refused none.")) }
        @for refusal in filter.refusals.iter().take(MOST) {
            div.refusal {
                p {
                    (widget::clock(refusal.at)) " " span.origin { (refusal.origin) } " " span.code { (refusal.path) }
                    span.when { (widget::ago(refusal.at, context.now)) }
                }
                pre.report tabindex="0" { (refusal.message) @if let Some(help) = &refusal.help { "\nhelp: " (help) } }
            }
        }
    }
}
