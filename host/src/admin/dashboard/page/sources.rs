//! Who says what there is: control planes, and where clusters find their endpoints. What fails is on top.

use maud::{Markup, html};

use super::{Context, Page, Region, Section, widget};
use crate::admin::dashboard::{
    model::{ControlPlane, Discovery, Subject},
    units,
};

const MOST: usize = 500;
/// Names that are told of each kind.
const NAMED: usize = 20;

pub(super) fn page(context: &Context<'_>) -> Page {
    let mut sources = context.source.sources();
    sources
        .control_planes
        .sort_by_key(|one| one.connected.is_some() && one.refused.is_empty() && one.forgotten.is_empty());
    sources.discoveries.sort_by_key(|one| one.failure.is_empty());
    let regions = vec![
        Region { id: "control-planes", html: planes(context, &sources.control_planes) },
        Region { id: "discoveries", html: discoveries(context, &sources.discoveries) },
    ];
    Page { title: "Sources".to_owned(), section: Section::Sources, tools: None, regions, live: true }
}

fn plane_state(plane: &ControlPlane) -> Markup {
    html! {
        @if plane.connected.is_none() {
            (widget::state("bad", "not connected"))
        } @else if !plane.refused.is_empty() {
            (widget::state("warn", "refused"))
        } @else if !plane.forgotten.is_empty() {
            (widget::state("warn", "has forgotten"))
        } @else if !plane.waiting.is_empty() {
            (widget::state("info", "waits"))
        } @else {
            (widget::state("ok", "connected"))
        }
    }
}

/// Some names, and how many there are besides.
fn names(label: &str, names: &[String]) -> Markup {
    html! {
        @if !names.is_empty() {
            p { (label) " " (names.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", "))
                @if names.len() > NAMED { span.muted { " and " (names.len() - NAMED) " more" } } }
        }
    }
}

fn planes(context: &Context<'_>, planes: &[ControlPlane]) -> Markup {
    let content = html! {
        caption.hidden { "Control planes" }
        thead { tr {
            th scope="col" { "Name" } th scope="col" { "State" } th scope="col" { "Connected" } th scope="col" { "Address" }
            th scope="col" { "Resources" } th.num scope="col" { "Updates" } th scope="col" { "Last" } th scope="col" { "Why" } th scope="col" { "Defined" }
        } }
        tbody {
            @for one in planes.iter().take(MOST) {
                tr data-key=(one.name) {
                    th scope="row" { (one.name) }
                    td { (plane_state(one)) }
                    td.nowrap { (widget::short_age(one.connected, context.now)) }
                    td.code { (one.address) }
                    td.nowrap {
                        @for of in &one.resources { p { (units::count(of.count as u64)) " " (of.kind) @if !of.version.is_empty() { span.muted { " (" (of.version) ")" } } } }
                        @if one.resources.is_empty() { span.muted { "nothing" } }
                    }
                    td.num { (units::count(one.updates)) }
                    td.nowrap { (widget::short_age(one.updated, context.now)) @if one.from_disk { " " span.muted { "from disk" } } }
                    td.wrap {
                        @if one.connected.is_none() && !one.why_not.is_empty() { p { (one.why_not) } }
                        @for (what, why) in one.refused.iter().take(NAMED) { p { (what) ": " (why) } }
                        (names("Stays although it does not name it any more:", &one.forgotten))
                        (names("Waits for others:", &one.waiting))
                    }
                    td { (widget::origin(&one.provenance)) }
                }
            }
        }
    };
    html! {
        h2 { "Control planes" }
        @if planes.is_empty() { (widget::nothing("The configuration names no control plane.")) } @else { (widget::table("Control planes", "dense", &content)) }
    }
}

fn discovery_state(one: &Discovery) -> Markup {
    html! {
        @if one.hosts == 0 && one.answered.is_none() {
            (widget::state("bad", "nothing yet"))
        } @else if !one.failure.is_empty() {
            (widget::state("warn", "stays as it is"))
        } @else {
            (widget::state("ok", "known"))
        }
    }
}

fn discoveries(context: &Context<'_>, discoveries: &[Discovery]) -> Markup {
    let content = html! {
        caption.hidden { "Endpoints by discovery" }
        thead { tr {
            th scope="col" { "Cluster" } th scope="col" { "State" } th scope="col" { "By" } th scope="col" { "Of" } th.num scope="col" { "Endpoints" }
            th scope="col" { "Version" } th scope="col" { "Changed" } th scope="col" { "Answered" } th.num scope="col" { "Changes" } th.num scope="col" { "Failures" }
            th scope="col" { "Defined" }
        } }
        tbody {
            @for one in discoveries.iter().take(MOST) {
                tr data-key=(one.cluster) {
                    th scope="row" { (widget::subject(&Subject::Cluster(one.cluster.clone()))) }
                    td.wrap { (discovery_state(one)) @if !one.failure.is_empty() { p { (one.failure) } } }
                    td { (one.source) }
                    td.code { (one.place) }
                    td.num { (one.hosts) }
                    td.code { @if one.version.is_empty() { span.muted { (units::UNKNOWN) } } @else { (one.version) } }
                    td.nowrap { (widget::short_age(one.updated, context.now)) @if one.from_disk { " " span.muted { "from disk" } } }
                    td.nowrap { (widget::short_age(one.answered, context.now)) }
                    td.num { (units::count(one.updates)) }
                    td.num { (widget::trouble(Some(one.failures))) }
                    td { (widget::origin(&one.provenance)) }
                }
            }
        }
    };
    html! {
        h2 { "Endpoints by discovery" }
        @if discoveries.is_empty() { (widget::nothing("No cluster finds its endpoints anywhere: all are in the configuration.")) } @else { (widget::table("Endpoints by discovery", "dense", &content)) }
        @if discoveries.len() > MOST { p.muted { (discoveries.len() - MOST) " more are on /clusters." } }
    }
}
