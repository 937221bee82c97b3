//! Asks once more, for those without JavaScript.

use maud::html;

use super::{Context, Page, Region, Section, widget};
use crate::admin::dashboard::action::{self, Action};

pub(crate) fn confirm(context: &Context<'_>, action: &Action) -> Page {
    let html = html! {
        p.lead { (action.question()) }
        form.buttons method="post" action=(action::PATH) {
            (widget::hidden(context, action))
            input type="hidden" name="confirmed" value="yes";
            button.primary type="submit" { "Do it" }
            a.button href=(action.page()) { "Cancel" }
        }
    };
    Page {
        title: "Are you sure?".to_owned(),
        section: Section::Other,
        tools: None,
        regions: vec![Region { id: "question", html }],
        live: false,
    }
}
