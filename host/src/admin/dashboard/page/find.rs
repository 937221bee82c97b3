//! What has a text in its name.

use maud::{Markup, html};

use super::{Context, Page, Region, Section, widget};
use crate::admin::dashboard::model::Subject;

const MOST: usize = 100;

pub(super) fn page(context: &Context<'_>) -> Page {
    let text = context.query.value("q").trim().to_lowercase();
    let found = if text.is_empty() { Vec::new() } else { find(context, &text) };
    let regions = vec![Region { id: "found", html: list(&text, &found) }];
    Page { title: "Find".to_owned(), section: Section::Other, tools: None, regions, live: false }
}

struct Found {
    kind: &'static str,
    subject: Subject,
    detail: String,
}

fn find(context: &Context<'_>, text: &str) -> Vec<Found> {
    let mut found = Vec::new();
    let mut add = |kind, subject: Subject, detail: String| {
        if [subject.name(), &detail].iter().any(|one| one.to_lowercase().contains(text)) {
            found.push(Found { kind, subject, detail });
        }
    };
    let origin =
        |provenance: &crate::admin::dashboard::model::Provenance| provenance.origin.clone().unwrap_or_default();
    for service in context.source.overview().services {
        let subject = match service.kind {
            crate::admin::dashboard::model::ServiceKind::Listener => Subject::Listener(service.name),
            crate::admin::dashboard::model::ServiceKind::Cluster => Subject::Cluster(service.name),
        };
        add(service.kind.word(), subject, format!("{} {}", service.detail, origin(&service.provenance)));
    }
    for filter in context.source.filters() {
        add("filter", Subject::Filter(filter.name), format!("{} {}", filter.module, origin(&filter.provenance)));
    }
    for cluster in context.source.endpoints(None) {
        for endpoint in cluster.endpoints {
            let detail = format!("{} {} {}", cluster.name, endpoint.health.word(), endpoint.reasons.join(", "));
            let subject = Subject::Endpoint { cluster: cluster.name.clone(), address: endpoint.address };
            add("endpoint", subject, detail);
        }
    }
    for certificate in context.source.certificates() {
        let name = certificate.names.first().cloned().unwrap_or_default();
        add("certificate", Subject::Certificate(name), certificate.names.join(", "));
    }
    found
}

fn list(text: &str, found: &[Found]) -> Markup {
    html! {
        @if text.is_empty() {
            p.lead { "Type a name, an address or a place in a file into the field above." }
        } @else if found.is_empty() {
            (widget::nothing("Nothing has that in its name."))
        } @else {
            p.lead { (found.len()) " found" }
            ul.found {
                @for one in found.iter().take(MOST) {
                    li { span.kind { (one.kind) } b { (widget::subject(&one.subject)) } span.detail { (one.detail) } }
                }
            }
            @if found.len() > MOST { p.muted { "and " (found.len() - MOST) " more" } }
        }
    }
}
