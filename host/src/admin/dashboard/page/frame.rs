//! What is around every page: navigation, search, the state of the process, and the dialogs of the keyboard.

use maud::{DOCTYPE, Markup, html};

use super::{Context, Page, Region, Section, widget};
use crate::admin::dashboard::{
    action,
    assets::{self, Asset},
    link, units,
};

struct Entry {
    section: Section,
    path: &'static str,
    label: &'static str,
    /// After `g`.
    key: &'static str,
}

const fn entry(section: Section, path: &'static str, label: &'static str, key: &'static str) -> Entry {
    Entry { section, path, label, key }
}

const ENTRIES: [Entry; 9] = [
    entry(Section::Overview, "", "Overview", "o"),
    entry(Section::Flow, "flow", "Flow", "f"),
    entry(Section::Endpoints, "endpoints", "Endpoints", "e"),
    entry(Section::Filters, "filters", "Filters", "i"),
    entry(Section::Explain, "explain", "Route tester", "r"),
    entry(Section::Tap, "tap", "Live tap", "t"),
    entry(Section::Sources, "sources", "Sources", "s"),
    entry(Section::Certificates, "certificates", "Certificates", "c"),
    entry(Section::Events, "events", "Events", "v"),
];

/// The page, whole. `location` is its path and query.
pub(super) fn frame(page: &Page, context: &Context<'_>, location: &str) -> Markup {
    let viewer = context.viewer;
    let node = context.source.process().node;
    let live = page.live.then(|| format!("{}/live?page={}", link::BASE, link::escaped(location)));
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                title { (page.title) " · " @if !node.is_empty() { (node) " · " } "Fyke" }
                link rel="icon" type="image/svg+xml" href=(assets::path(Asset::Icon));
                link rel="stylesheet" href=(assets::path(Asset::ChartStyle));
                link rel="stylesheet" href=(assets::path(Asset::Style));
                script src=(assets::path(Asset::Script)) {}
                script src=(assets::path(Asset::ChartScript)) defer {}
            }
            body data-live=[live] {
                a.skip href="#main" { "Skip to content" }
                header.top {
                    a.brand href=(link::page("")) {
                        svg viewBox="0 0 24 24" width="20" height="20" aria-hidden="true" {
                            path d="M3 4h18l-4.5 6H7.5z M8.2 11.5h7.6l-2.3 4h-3z M10.8 17h2.4v4h-2.4z" {}
                        }
                        "Fyke"
                    }
                    @if !node.is_empty() { span.node { (node) } }
                    form.find role="search" action=(link::page("find")) {
                        label.hidden for="find" { "Find listeners, clusters, endpoints, filters, certificates" }
                        input #find name="q" type="search" placeholder="Find…" autocomplete="off" maxlength="200" aria-keyshortcuts="/" value=[find(page, context)];
                    }
                    p.live #live { "As of " (units::clock(context.now)) " UTC" }
                    button.plain.scripted #theme type="button" hidden aria-label="Colours: as the system" { "◐" }
                    button.plain.scripted #keys type="button" hidden aria-keyshortcuts="?" aria-label="Keyboard shortcuts" { "?" }
                    @match &viewer.csrf {
                        Some(csrf) if viewer.signs_in => {
                            form method="post" action=(action::SIGN_OUT) {
                                input type="hidden" name="csrf" value=(csrf);
                                button.plain type="submit" { "Sign out" }
                            }
                        },
                        None if viewer.signs_in => { a.plain href={ (link::page("sign-in")) "?to=" (link::escaped(location)) } { "Sign in" } },
                        _ => {},
                    }
                }
                p.stale #stale role="alert" hidden {}
                nav.side aria-label="Pages" {
                    @for region in regions(page.section, context) { div id=(region.id) data-region="" { (region.html) } }
                }
                main #main tabindex="-1" {
                    div.title {
                        h1 { (page.title) }
                        @if let Some(tools) = &page.tools { (tools) }
                    }
                    @if let Some(done) = action::done_of_word(context.query.value("done")) { p.done role="status" { (widget::state("ok", done)) } }
                    @for region in &page.regions {
                        section.region id=(region.id) data-region="" { (region.html) }
                    }
                }
                (dialogs())
            }
        }
    }
}

/// The search that is answered stays in its field.
fn find<'a>(page: &Page, context: &Context<'a>) -> Option<&'a str> {
    (page.section == Section::Other).then(|| context.query.value("q")).filter(|text| !text.is_empty())
}

/// What of it changes while a page is looked at.
pub(super) fn regions(section: Section, context: &Context<'_>) -> Vec<Region> {
    let process = context.source.process();
    let badge = |of: Section| match of {
        Section::Endpoints if process.endpoints_down > 0 => Some((process.endpoints_down, "down", "bad")),
        Section::Filters if process.filters_noteworthy > 0 => Some((process.filters_noteworthy, "to look at", "info")),
        Section::Sources if process.sources_failing > 0 => Some((process.sources_failing, "failing", "warn")),
        Section::Certificates if process.certificates_expiring > 0 => {
            Some((process.certificates_expiring, "expiring", "warn"))
        }
        _ => None,
    };
    let pages = html! {
        ul.pages {
            @for entry in &ENTRIES {
                li {
                    a href=(link::page(entry.path)) aria-current=[(entry.section == section).then_some("page")] aria-keyshortcuts={ "g " (entry.key) } {
                        (entry.label)
                        @if let Some((count, what, tone)) = badge(entry.section) {
                            span class={ "badge " (tone) } { (count) span.hidden { " " (what) } }
                        }
                    }
                }
            }
        }
    };
    let facts = html! {
        dl.facts {
            @if process.draining { dt.hidden { "State" } dd { (widget::state("drain", "draining")) } }
            dt { "Generation" } dd.num { (process.generation) " " span.muted { (widget::age(Some(process.generation_since), context.now)) } }
            dt { "Up" } dd.num { (widget::age(Some(process.started), context.now)) }
            dt { "Workers" } dd.num { (process.workers) }
            dt { "Version" } dd { (process.version) }
            dt { "Process" } dd.num { (process.pid) }
        }
    };
    vec![Region { id: "pages", html: pages }, Region { id: "facts", html: facts }]
}

/// Shown by JavaScript only.
fn dialogs() -> Markup {
    html! {
        dialog #help aria-labelledby="help-title" {
            h2 #help-title { "Keyboard" }
            dl.shortcuts {
                dt { kbd { "/" } } dd { "Find, or filter what the page lists" }
                @for entry in &ENTRIES { dt { kbd { "g" } " " kbd { (entry.key) } } dd { (entry.label) } }
                dt { kbd { "[" } " " kbd { "]" } } dd { "Table before, table after" }
                dt { kbd { "p" } } dd { "Pause or go on" }
                dt { kbd { "?" } } dd { "This list" }
                dt { kbd { "Esc" } } dd { "Close" }
            }
            form method="dialog" { button type="submit" { "Close" } }
        }
        dialog #confirm aria-labelledby="confirm-title" {
            h2 #confirm-title { "Are you sure?" }
            p #confirm-text {}
            form.buttons method="dialog" {
                button type="submit" value="no" { "Cancel" }
                button.primary type="submit" value="yes" #confirm-yes { "Do it" }
            }
        }
        div.toasts #toasts role="status" {}
    }
}
