//! What can be done with a filter.

use maud::{Markup, html};

use super::{Context, widget};
use crate::admin::dashboard::{
    action::{self, Action, Load},
    model::FilterPage,
};

pub(super) fn actions(context: &Context<'_>, filter: &FilterPage) -> Markup {
    let name = || filter.summary.name.clone();
    let load = Action::Load { filter: name(), load: Load::default() };
    let may = context.viewer.csrf.is_some();
    html! {
        div.head {
            h2 { "Change" }
            (widget::button(context, &Action::Reload, "Reload configuration and modules", ""))
            @if !filter.changes.is_empty() { (widget::button(context, &Action::TakeBack { filter: name() }, "Roll back last change", "")) }
        }
        @if !filter.changes.is_empty() {
            ol.changes { @for change in filter.changes.iter().take(5) { li { (change) } } }
        }
        details #swap open[filter.changes.is_empty() && filter.canary.is_none() && may] {
            summary { "Swap, or try another version out" }
            form.load method="post" action=(action::PATH) enctype="multipart/form-data" data-confirm={ "Load this into " (name()) "? Streams that have begun end on the version that they have." } {
                (widget::hidden(context, &load))
                fieldset disabled[!may] {
                    legend.hidden { "Another version of " (name()) }
                    label { span { "Module" } input name="module" type="text" maxlength="500" autocomplete="off" placeholder="builtin:NAME; empty: as it is"; }
                    label { span { "or a file" } input name="file" type="file" accept=".wasm,application/wasm"; }
                    label { span { "Canary" } input.number name="canary" type="text" inputmode="decimal" maxlength="8" pattern="[0-9.]+ ?%?" placeholder="5%"; span.hint { "of new streams; empty: all of them, at once" } }
                    label { span { "Judged after" } input.number name="min_streams" type="text" inputmode="numeric" maxlength="9" pattern="[0-9]+" placeholder="100"; span.hint { "streams" } }
                    label.wide { span { "Configuration" } textarea name="configuration" rows="4" maxlength="100000" spellcheck="false" placeholder="JSON; empty: as it is" {} }
                    div.buttons { button.primary type="submit" title=[widget::why_not(context)] { "Load" } }
                }
            }
        }
    }
}
