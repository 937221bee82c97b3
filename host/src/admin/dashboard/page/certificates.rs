//! Certificates, the one that expires first on top.

use maud::{Markup, html};

use super::{Context, Page, Region, Section, widget};
use crate::admin::dashboard::{
    link,
    model::{Certificate, CertificateUse, Time},
    units,
};

const MOST: usize = 500;
const DAY: f64 = 86_400.0;
/// Fewer days than this need attention.
const SOON: f64 = 21.0;
/// Fewer than this, now.
const NOW: f64 = 7.0;

pub(super) fn page(context: &Context<'_>) -> Page {
    let mut certificates = context.source.certificates();
    certificates.sort_by_key(|certificate| certificate.not_after);
    sort(context, &mut certificates);
    let regions = vec![Region { id: "certificates", html: table(context, &certificates) }];
    Page { title: "Certificates".to_owned(), section: Section::Certificates, tools: None, regions, live: true }
}

#[expect(clippy::cast_precision_loss, reason = "to sort by")]
fn sort(context: &Context<'_>, certificates: &mut [Certificate]) {
    let sort = widget::Sort::of(context.query);
    match sort.key {
        "name" => sort.by_text(certificates, |one| one.names.join(" ")),
        "issuer" => sort.by_text(certificates, |one| one.issuer.clone()),
        "expires" => sort.by_number(certificates, |one| Some(one.not_after.0 as f64)),
        "handshakes" => sort.by_number(certificates, |one| one.handshakes.map(|count| count as f64)),
        _ => {}
    }
}

fn state(certificate: &Certificate, now: Time) -> Markup {
    let days = certificate.not_after.seconds_since(now) / DAY;
    html! {
        @if now < certificate.not_before {
            (widget::state("bad", "not yet valid"))
        } @else if certificate.not_after <= now {
            (widget::state("bad", "expired"))
        } @else if days < NOW {
            (widget::state("bad", "expires"))
        } @else if days < SOON {
            (widget::state("warn", "expires soon"))
        } @else {
            (widget::state("ok", "valid"))
        }
    }
}

/// How much of its life is left, and how long that is.
fn remaining(certificate: &Certificate, now: Time) -> Markup {
    let life = certificate.not_after.seconds_since(certificate.not_before).max(1.0);
    let left = certificate.not_after.seconds_since(now);
    let tone = match left / DAY {
        days if days < NOW => "bad",
        days if days < SOON => "warn",
        _ => "rate",
    };
    html! {
        (widget::bar(Some(left / life), tone)) " "
        span.num {
            @if left > 0.0 { "in " (in_days(left)) } @else { (units::span(now.seconds_since(certificate.not_after))) " ago" }
        }
    }
}

fn in_days(left: f64) -> String {
    if left >= 2.0 * DAY { format!("{:.0} d", (left / DAY).floor()) } else { units::span(left) }
}

fn table(context: &Context<'_>, certificates: &[Certificate]) -> Markup {
    let path = link::page("certificates");
    let head = |key, label, class| widget::head(context, &path, key, label, class);
    let content = html! {
        caption.hidden { "Certificates" }
        thead { tr {
            (head("name", "Names", "")) th scope="col" { "State" } (head("expires", "Expires", "")) th scope="col" { "On" } th scope="col" { "Use" }
            (head("issuer", "Issuer", "")) th scope="col" { "Key" } (head("handshakes", "Handshakes", "num"))
            th scope="col" { "SHA-256" } th scope="col" { "Defined" } th scope="col" { "Used" }
        } }
        tbody {
            @for one in certificates.iter().take(MOST) {
                tr data-key=(one.fingerprint) {
                    th.names scope="row" { @for name in one.names.iter().take(6) { span { (name) } } @if one.names.len() > 6 { span.muted { "and " (one.names.len() - 6) " more" } } }
                    td { (state(one, context.now)) }
                    td.nowrap { (remaining(one, context.now)) }
                    td.num { time datetime=(units::timestamp(one.not_after)) title=(units::timestamp(one.not_after)) { (units::date(one.not_after)) } }
                    td.users {
                        (one.usage.word())
                        @for user in &one.used_by { " " (widget::subject(user)) }
                    }
                    td.wrap { (one.issuer) }
                    td { (one.key) }
                    td.num { @if one.usage == CertificateUse::Authority { span.muted { (units::UNKNOWN) } } @else { (units::count_or_unknown(one.handshakes)) } }
                    td.code title={ (one.fingerprint) " · serial " (one.serial) } { (one.fingerprint.chars().take(8).collect::<String>()) }
                    td { (widget::origin(&one.provenance)) }
                    td { (widget::short_used(&one.provenance, context.now)) }
                }
            }
        }
    };
    html! {
        h2.hidden { "All certificates" }
        @if certificates.is_empty() { (widget::nothing("The configuration names no certificate.")) } @else { (widget::table("Certificates", "dense", &content)) }
    }
}
