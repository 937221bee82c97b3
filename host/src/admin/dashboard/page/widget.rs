//! Small parts that several pages share.

use maud::{Markup, html};

use super::Context;
use crate::admin::dashboard::{
    action::{self, Action},
    link::{self, Query},
    model::{Health, LastUsed, Provenance, Severity, Subject, Time},
    units,
};

/// A state: by shape, by word and by colour.
pub(super) fn state(tone: &str, word: &str) -> Markup {
    html! {
        span class={ "state " (tone) } { (shape(tone)) (word) }
    }
}

/// The shape of a tone. Each one is another outline, so that no colour is needed to tell them apart.
pub(super) fn shape(tone: &str) -> Markup {
    html! {
        svg.shape viewBox="0 0 12 12" width="10" height="10" aria-hidden="true" {
            @match tone {
                "ok" => { circle cx="6" cy="6" r="4.5" {} },
                "warn" => { path d="M6 .8 11.6 11H.4z" {} },
                "bad" => { path d="M3.6.5h4.8l3.1 3.1v4.8l-3.1 3.1H3.6L.5 8.4V3.6z" {} path.cut d="M3.8 3.8l4.4 4.4M8.2 3.8L3.8 8.2" {} },
                "drain" => { path d="M6 .4 11.6 6 6 11.6.4 6z" {} },
                "info" => { circle.hollow cx="6" cy="6" r="4" {} },
                _ => { path.hollow d="M1.5 6h9" {} },
            }
        }
    }
}

pub(super) fn health_tone(health: Health) -> &'static str {
    match health {
        Health::Healthy => "ok",
        Health::Degraded => "warn",
        Health::Draining => "drain",
        Health::Unhealthy => "bad",
    }
}

pub(super) fn severity(severity: Severity) -> Markup {
    let tone = match severity {
        Severity::Info => "info",
        Severity::Warning => "warn",
        Severity::Critical => "bad",
    };
    state(tone, severity.word())
}

/// How long ago something was, with the moment itself.
pub(super) fn ago(time: Time, now: Time) -> Markup {
    let moment = units::timestamp(time);
    html! {
        time datetime=(moment) title=(moment) { (units::span(now.seconds_since(time))) " ago" }
    }
}

/// How old something is, in as few letters as can be.
pub(super) fn short_age(time: Option<Time>, now: Time) -> Markup {
    html! {
        @match time {
            Some(time) => {
                @let moment = units::timestamp(time);
                time datetime=(moment) title={ "since " (moment) } { (units::short_span(now.seconds_since(time))) }
            },
            None => { (units::UNKNOWN) },
        }
    }
}

/// How old something is, with the moment when it began.
pub(super) fn age(time: Option<Time>, now: Time) -> Markup {
    html! {
        @match time {
            Some(time) => {
                @let moment = units::timestamp(time);
                time datetime=(moment) title={ "since " (moment) } { (units::span(now.seconds_since(time))) }
            },
            None => { (units::UNKNOWN) },
        }
    }
}

/// A time of day.
pub(super) fn clock(time: Time) -> Markup {
    let moment = units::timestamp(time);
    html! { time.num datetime=(moment) title=(moment) { (units::clock(time)) } }
}

/// Where something is written without its folder: the file's name says enough, and the whole path is a pointer away.
pub(super) fn short(origin: &str) -> &str {
    origin.rsplit('/').next().unwrap_or(origin)
}

/// Where something was defined.
pub(super) fn origin(provenance: &Provenance) -> Markup {
    html! {
        @match &provenance.origin {
            Some(origin) => { span.origin title={ "defined at " (origin) } { (short(origin)) } },
            None => { span.muted { (units::UNKNOWN) } },
        }
    }
}

/// Where something was defined that is part of something else: only the line where that is in the same file.
pub(super) fn origin_within(provenance: &Provenance, whole: &Provenance) -> Markup {
    let file = |provenance: &Provenance| -> Option<String> {
        Some(provenance.origin.as_deref()?.rsplit_once(':')?.0.to_owned())
    };
    let line = provenance.origin.as_deref().and_then(|origin| origin.rsplit_once(':')).map(|(_, line)| line);
    match line.filter(|_| file(provenance) == file(whole)) {
        Some(line) => {
            html! { span.origin title={ "defined at " (provenance.origin.as_deref().unwrap_or_default()) } { ":" (line) } }
        }
        None => origin(provenance),
    }
}

/// When something was last used, in as few letters as can be.
pub(super) fn short_used(provenance: &Provenance, now: Time) -> Markup {
    match provenance.last_used {
        LastUsed::At(time) if now.seconds_since(time) >= 5.0 => short_age(Some(time), now),
        _ => last_used(provenance, now),
    }
}

/// When something was last used, in words.
pub(super) fn last_used(provenance: &Provenance, now: Time) -> Markup {
    html! {
        @match provenance.last_used {
            LastUsed::Unknown => { span.muted { (units::UNKNOWN) } },
            LastUsed::Never => { span.muted { "never" } },
            LastUsed::At(time) if now.seconds_since(time) < 5.0 => { "now" },
            LastUsed::At(time) => { (ago(time, now)) },
        }
    }
}

/// Both, on one line.
pub(super) fn provenance(provenance: &Provenance, now: Time) -> Markup {
    html! {
        span.provenance { "defined at " (origin(provenance)) ", used " (last_used(provenance, now)) }
    }
}

/// A link to what something is about.
pub(super) fn subject(subject: &Subject) -> Markup {
    html! {
        @match subject {
            Subject::Process => { span { "process" } },
            other => { a href=(link::subject(other)) { (other.name()) } },
        }
    }
}

/// A share of something, as a bar. The number stands beside it.
pub(super) fn bar(share: Option<f64>, tone: &str) -> Markup {
    let width = share.filter(|share| share.is_finite()).unwrap_or_default().clamp(0.0, 1.0) * 60.0;
    html! {
        svg.bar viewBox="0 0 60 8" width="60" height="8" aria-hidden="true" {
            rect.track width="60" height="8" rx="2" {}
            rect class=(tone) width=(format!("{width:.1}")) height="8" rx="2" {}
        }
    }
}

/// A share of what succeeded: loud only when something did not.
pub(super) fn success(share: Option<f64>) -> Markup {
    html! { span.num.bad-text[share.is_some_and(|share| share < 0.95)].warn-text[share.is_some_and(|share| (0.95..0.99).contains(&share))] { (units::share(share)) } }
}

/// A share of what failed, likewise.
pub(super) fn errors(share: Option<f64>) -> Markup {
    html! { span.num.bad-text[share.is_some_and(|share| share > 0.05)].warn-text[share.is_some_and(|share| share > 0.01 && share <= 0.05)] { (units::share(share)) } }
}

/// How many of all were problems: louder the more there are.
pub(super) fn share_of_trouble(count: Option<u64>, all: Option<u64>) -> Markup {
    let share = count.map(|count| count as f64 / all.unwrap_or_default().max(1) as f64);
    html! { span.num.zero[count == Some(0)].bad-text[share.is_some_and(|share| share > 0.01)].warn-text[share.is_some_and(|share| share > 0.002 && share <= 0.01)] { (units::count_or_unknown(count)) } }
}

/// How a number of problems is written: loud unless it is nothing.
pub(super) fn trouble(count: Option<u64>) -> Markup {
    html! { span.num.zero[count == Some(0)].bad-text[count.is_some_and(|count| count > 0)] { (units::count_or_unknown(count)) } }
}

/// A button that has something done, with the fields that say what. Viewers who may not change anything see it, and why it
/// does not work.
pub(super) fn button(context: &Context<'_>, action: &Action, label: &str, tone: &str) -> Markup {
    html! {
        form.act method="post" action=(action::PATH) data-confirm=[action.wants_confirmation().then(|| action.question())] {
            (hidden(context, action))
            button class=(tone) type="submit" disabled[context.viewer.csrf.is_none()] title=[why_not(context)] { (label) }
        }
    }
}

/// The fields that every form which changes something has.
pub(super) fn hidden(context: &Context<'_>, action: &Action) -> Markup {
    html! {
        input type="hidden" name="csrf" value=[context.viewer.csrf.as_deref()];
        @for (name, value) in action.fields() { input type="hidden" name=(name) value=(value); }
    }
}

/// Why a viewer cannot do something.
pub(super) fn why_not(context: &Context<'_>) -> Option<&'static str> {
    match context.viewer {
        viewer if viewer.csrf.is_some() => None,
        viewer if viewer.signs_in => Some("sign in to change something"),
        _ => Some("this viewer may only look"),
    }
}

/// By what a table is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sort<'a> {
    pub key: &'a str,
    pub falls: bool,
}

impl<'a> Sort<'a> {
    /// From `?sort=rate`, or `?sort=-rate` where it falls.
    pub(super) fn of(query: &'a Query) -> Self {
        let value = query.value("sort");
        match value.strip_prefix('-') {
            Some(key) => Self { key, falls: true },
            None => Self { key: value, falls: false },
        }
    }

    /// Sorts rows by a number; what is not known comes last, either way.
    pub(super) fn by_number<T>(self, rows: &mut [T], number: impl Fn(&T) -> Option<f64>) {
        rows.sort_by(|one, two| match (number(one), number(two)) {
            (Some(one), Some(two)) if self.falls => two.total_cmp(&one),
            (Some(one), Some(two)) => one.total_cmp(&two),
            (one, two) => two.is_some().cmp(&one.is_some()),
        });
    }

    /// Sorts rows by a text.
    pub(super) fn by_text<T>(self, rows: &mut [T], text: impl Fn(&T) -> String) {
        rows.sort_by(|one, two| {
            let (one, two) = (text(one), text(two));
            if self.falls { two.cmp(&one) } else { one.cmp(&two) }
        });
    }
}

/// The head of a column by which a table can be sorted. A second click turns the order around; numbers fall first.
pub(super) fn head(context: &Context<'_>, path: &str, key: &str, label: &str, class: &str) -> Markup {
    let sort = Sort::of(context.query);
    let is_this = sort.key == key;
    let falls_first = class.contains("num");
    let next = match (is_this, sort.falls) {
        (true, true) => key.to_owned(),
        (true, false) => format!("-{key}"),
        (false, _) if falls_first => format!("-{key}"),
        (false, _) => key.to_owned(),
    };
    let order = is_this.then_some(if sort.falls { "descending" } else { "ascending" });
    html! {
        th class=(class) scope="col" aria-sort=[order] {
            a.sort href={ (path) (context.query.with("sort", &next)) } data-soft="" {
                (label)
                @match order {
                    Some("descending") => { span.arrow aria-hidden="true" { "↓" } },
                    Some(_) => { span.arrow aria-hidden="true" { "↑" } },
                    None => {},
                }
            }
        }
    }
}

/// A table that may be wider than the window; then it can be scrolled by keyboard.
pub(super) fn table(label: &str, class: &str, content: &Markup) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(label) {
            table class=(class) { (content) }
        }
    }
}

/// What stands where there is nothing.
pub(super) fn nothing(text: &str) -> Markup {
    html! { p.nothing { (text) } }
}
