//! Pages as HTML, written by the server.
//!
//! A page is a frame around *regions*: parts with an id that can be sent again by themselves when what they show has
//! changed. Everything can be read and done without JavaScript; with it, regions are kept up to date and charts can be
//! asked for single values. Text is escaped by `maud`'s types; there is no other way to put text into a page.
//!
//! One file for each page; what they share is in [`widget`], [`chart`] and [`frame`].

mod certificates;
pub(crate) mod chart;
mod confirm;
mod endpoints;
mod events;
mod explain;
mod filter;
mod filters;
mod find;
mod flow;
mod frame;
mod message;
mod overview;
mod panels;
mod service;
mod sign_in;
mod sources;
mod tap;
#[cfg(test)]
mod tests;
mod widget;

use maud::Markup;
use percent_encoding::percent_decode_str;

pub(crate) use self::{
    confirm::confirm,
    message::{Message, message},
    sign_in::sign_in,
};
use crate::admin::dashboard::{
    link::{BASE, Query},
    model::{ServiceKind, Time, Viewer},
    source::Source,
};

/// Which entry of the navigation a page belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Overview,
    Flow,
    Endpoints,
    Filters,
    Explain,
    Tap,
    Sources,
    Certificates,
    Events,
    /// None of them.
    Other,
}

/// A part of a page that can be sent by itself.
#[derive(Debug)]
pub(crate) struct Region {
    /// Unique in the page, and the same every time.
    pub id: &'static str,
    /// Its content.
    pub html: Markup,
}

/// A page.
#[derive(Debug)]
pub(crate) struct Page {
    /// For the browser's title and the heading.
    pub title: String,
    /// Where it is in the navigation.
    pub section: Section,
    /// Beside the heading: tabs, forms.
    pub tools: Option<Markup>,
    /// From top to bottom.
    pub regions: Vec<Region>,
    /// Whether there is something to keep up to date.
    pub live: bool,
}

/// What pages are written from.
pub(crate) struct Context<'a> {
    /// Where the numbers come from.
    pub source: &'a dyn Source,
    /// What is asked for.
    pub query: &'a Query,
    /// Who looks.
    pub viewer: &'a Viewer,
    /// When.
    pub now: Time,
}

/// The page of a path, without its frame; `None`: there is none.
pub(crate) fn page(path: &str, context: &Context<'_>) -> Option<Page> {
    let below = path.strip_prefix(BASE)?.trim_matches('/');
    let parts: Vec<_> = if below.is_empty() { Vec::new() } else { below.split('/').map(decoded).collect() };
    let parts: Option<Vec<String>> = parts.into_iter().collect();
    let parts = parts?;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match parts.as_slice() {
        [] => Some(overview::page(context)),
        ["services", kind, name] => service::page(context, ServiceKind::of_word(kind)?, name),
        ["flow"] => Some(flow::page(context)),
        ["endpoints"] => Some(endpoints::page(context)),
        ["filters"] => Some(filters::page(context)),
        ["filters", name] => filter::page(context, name),
        ["filters", name, "panels"] => panels::page(context, name),
        ["explain"] => Some(explain::page(context)),
        ["tap"] => Some(tap::page(context)),
        ["sources"] => Some(sources::page(context)),
        ["certificates"] => Some(certificates::page(context)),
        ["events"] => Some(events::page(context)),
        ["find"] => Some(find::page(context)),
        ["sign-in"] => Some(sign_in(context, None)),
        _ => None,
    }
}

/// A page in its frame.
pub(crate) fn framed(page: &Page, context: &Context<'_>, location: &str) -> String {
    frame::frame(page, context, location).into_string()
}

/// Regions of the frame that change while a page is looked at.
pub(crate) fn frame_regions(page: &Page, context: &Context<'_>) -> Vec<Region> {
    frame::regions(page.section, context)
}

/// A part of a path, decoded; `None`: it is no UTF-8.
pub(crate) fn decoded(part: &str) -> Option<String> {
    percent_decode_str(part).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}
