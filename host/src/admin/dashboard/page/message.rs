//! A page that says one thing: that something is not there, or was refused.

use maud::html;

use super::{Page, Region, Section, widget};
use crate::admin::dashboard::link;

/// What to say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Message {
    pub title: String,
    pub text: String,
    /// More than one line of it; empty: nothing.
    pub report: String,
    /// Where to go on.
    pub back: String,
    pub is_good: bool,
}

pub(crate) fn message(message: &Message) -> Page {
    let back = if message.back.is_empty() { link::page("") } else { message.back.clone() };
    let html = html! {
        p.verdict role="status" { (widget::state(if message.is_good { "ok" } else { "bad" }, &message.text)) }
        @if !message.report.is_empty() { pre.report tabindex="0" { (message.report) } }
        p { a.button href=(back) { "Back" } }
    };
    Page {
        title: message.title.clone(),
        section: Section::Other,
        tools: None,
        regions: vec![Region { id: "message", html }],
        live: false,
    }
}
