//! Where the token of the admin endpoint is given, for changes.

use maud::html;

use super::{Context, Page, Region, Section, widget};
use crate::admin::dashboard::{action, link};

pub(crate) fn sign_in(context: &Context<'_>, error: Option<&str>) -> Page {
    let to = context.query.value("to");
    let html = html! {
        p.lead { "Everybody who can reach this page may look. To change something, give the token of the admin endpoint; the file that it is in is named in the log of the start." }
        @if let Some(error) = error { p.error #sign-in-error role="alert" { (widget::state("bad", error)) } }
        form.question method="post" action=(action::SIGN_IN) {
            @if link::is_own(to) { input type="hidden" name="to" value=(to); }
            div.row {
                label { span { "Token" } input name="token" type="password" required maxlength="512" autocomplete="current-password" aria-invalid=[error.map(|_| "true")] aria-describedby=[error.map(|_| "sign-in-error")]; }
                button.primary type="submit" { "Sign in" }
            }
        }
    };
    Page {
        title: "Sign in".to_owned(),
        section: Section::Other,
        tools: None,
        regions: vec![Region { id: "sign-in", html }],
        live: false,
    }
}
